//! The SQLite store, seen from outside.

mod damage;
mod disk;
mod journal;
mod kill;
mod lease;
mod lost;
mod revisions;

use std::path::Path;

use serde_json::{Value, json};
use uuid::Uuid;
use vrooli_deploy_core::engine::Entry;
use vrooli_deploy_core::names::StackId;
use vrooli_deploy_core::state::{Holder, Lease, SqliteStore, StateStore};

/// Runs a future on the poorest runtime there is: one thread, no timers, no I/O.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

pub(crate) fn stack(app: &str) -> StackId {
    StackId { app: app.parse().unwrap(), environment: "default".parse().unwrap() }
}

pub(crate) fn holder(name: &str) -> Holder {
    Holder { id: Uuid::from_u128(7), name: name.to_owned(), host: "here".to_owned(), run_url: None }
}

pub(crate) fn entry(value: Value) -> Entry {
    serde_json::from_value(value).unwrap()
}

/// Opens a plan that creates `steps` resources.
pub(crate) fn opened(stack: &StackId, steps: usize) -> Entry {
    let incarnation = Uuid::from_u128(1);
    let steps: Vec<Value> = (0..steps)
        .map(|i| {
            json!({
                "id": format!("create:thing/{i}"), "stage": "expand",
                "action": {
                    "do": "create", "key": format!("thing/{i}"), "kind": "test.thing",
                    "spec": {"size": 1.5, "name": "ü \"quoted\""}, "generation": 1,
                },
                "undo": {"undo": "delete"}, "after": [], "reason": "it is wanted",
            })
        })
        .collect();
    entry(json!({
        "entry": "plan_opened", "run": Uuid::from_u128(2),
        "plan": {
            "stack": stack, "provider": "local", "incarnation": incarnation, "command": "deploy", "steps": steps,
            "release": null, "digest": format!("sha256:{}", "0".repeat(64)),
        },
    }))
}

pub(crate) fn started(step: usize) -> Entry {
    entry(json!({"entry": "started", "step": format!("create:thing/{step}"), "spec": {"size": 1.5}}))
}

pub(crate) fn succeeded(step: usize) -> Entry {
    entry(json!({
        "entry": "succeeded", "step": format!("create:thing/{step}"),
        "output": {"gave": "resource", "id": format!("id-{step}"), "observed": {"size": 1.5}, "outputs": {}},
    }))
}

pub(crate) fn closed() -> Entry {
    entry(json!({"entry": "plan_closed", "outcome": {"kind": "applied"}}))
}

/// All entries of one plan.
pub(crate) fn plan(stack: &StackId, steps: usize) -> Vec<Entry> {
    let mut entries = vec![opened(stack, steps)];
    for step in 0..steps {
        entries.extend([started(step), succeeded(step)]);
    }
    entries.push(closed());
    entries
}

pub(crate) async fn acquire(store: &SqliteStore, stack: &StackId) -> Box<dyn Lease> {
    store.acquire(stack, &holder("test")).await.unwrap()
}

/// Appends at the end of the journal, whatever it is.
pub(crate) async fn append(store: &SqliteStore, lease: &dyn Lease, stack: &StackId, entries: &[Entry]) {
    let end = store.load(stack).await.unwrap().seq;
    lease.append(end, entries).await.unwrap();
}

/// A folder with two closed plans, one open one and a setting; nobody has it open.
pub(crate) fn filled(dir: &Path) -> StackId {
    let app = stack("shop");
    block_on(async {
        let store = SqliteStore::open(dir).unwrap();
        let lease = acquire(&store, &app).await;
        append(&store, &*lease, &app, &plan(&app, 3)).await;
        append(&store, &*lease, &app, &plan(&app, 2)).await;
        append(&store, &*lease, &app, &[opened(&app, 2), started(0)]).await;
        store.set_setting(&app, "source", Some(&json!({"root": "/somewhere"}))).await.unwrap();
        lease.release().await.unwrap();
    });
    app
}
