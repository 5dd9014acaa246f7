//! Versions of what a workspace keeps beside its stacks: in memory and in the file alike.

use rusqlite::Connection;
use serde_json::{Value, json};
use uuid::Uuid;
use vrooli_deploy_core::state::{MemoryStore, NewRevision, SqliteStore, StateError, StateStore};

use super::{acquire, append, block_on, opened, stack};
use crate::process::{Running, child_dir, folder};

fn new(key: &str, expected: u32, name: &str, body: Option<Value>) -> NewRevision {
    NewRevision {
        collection: "profile".to_owned(),
        key: key.to_owned(),
        expected,
        by: "ann@here".to_owned(),
        reason: "because".to_owned(),
        name: Some(name.to_owned()),
        body,
    }
}

async fn behaves(store: &dyn StateStore) {
    let first = store.revise(new("profile-1", 0, "shop", Some(json!({"a": "ü"})))).await.unwrap();
    assert_eq!((first.version, first.by.as_str()), (1, "ann@here"));
    let second = store.revise(new("profile-1", 1, "shop", Some(json!({"a": 2})))).await.unwrap();
    assert!(second.version == 2 && second.at >= first.at);
    for stale in [0, 1, 3] {
        let error = store.revise(new("profile-1", stale, "shop", Some(json!({})))).await.unwrap_err();
        assert!(matches!(error, StateError::Changed { found: 2, .. }), "{error}");
    }
    let error = store.revise(new("profile-2", 0, "shop", Some(json!({})))).await.unwrap_err();
    assert!(matches!(&error, StateError::NameTaken { key, .. } if key == "profile-1"), "{error}");
    // What is deleted gives its name back, and keeps its key and its history.
    store.revise(new("profile-1", 2, "shop", None)).await.unwrap();
    store.revise(new("profile-2", 0, "shop", Some(json!({})))).await.unwrap();
    let newest = store.revisions("profile").await.unwrap();
    let seen: Vec<_> = newest.iter().map(|r| (r.key.as_str(), r.version, r.body.is_some())).collect();
    assert_eq!(seen, [("profile-1", 3, false), ("profile-2", 1, true)]);
    let versions = store.versions("profile", "profile-1").await.unwrap();
    assert_eq!(versions[..2], [first, second]);
    assert!(store.revisions("config").await.unwrap().is_empty());
    assert!(store.versions("profile", "profile-9").await.unwrap().is_empty());
}

#[test]
fn both_stores_keep_versions() {
    block_on(behaves(&MemoryStore::new(Uuid::nil())));
    let dir = folder();
    block_on(async {
        let store = SqliteStore::open(dir.path()).unwrap();
        behaves(&store).await;
        store.verify().await.unwrap();
    });
}

#[test]
fn of_many_writers_one_is_first_and_the_others_are_told() {
    let dir = folder();
    let stores: Vec<_> = (0..8).map(|_| SqliteStore::open(dir.path()).unwrap()).collect();
    let threads: Vec<_> = stores
        .into_iter()
        .map(|store| {
            std::thread::spawn(move || block_on(store.revise(new("profile-1", 0, "shop", Some(json!({}))))))
        })
        .collect();
    let results: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    for error in results.into_iter().filter_map(Result::err) {
        assert!(matches!(error, StateError::Changed { expected: 0, found: 1, .. }), "{error}");
    }
}

#[test]
fn a_version_that_is_gone_or_changed_is_missed() {
    for statement in [
        "DELETE FROM revisions WHERE key = 'profile-2'",
        "DELETE FROM revisions WHERE version = 3",
        "UPDATE revisions SET body = '{}' WHERE key = 'profile-1' AND version = 2",
        "UPDATE revisions SET version = 9 WHERE key = 'profile-1' AND version = 3",
        "UPDATE revisions SET body = '{}' WHERE body IS NULL",
    ] {
        let dir = folder();
        block_on(async { behaves(&SqliteStore::open(dir.path()).unwrap()).await });
        Connection::open(dir.path().join("state.db")).unwrap().execute_batch(statement).unwrap();
        block_on(async {
            let store = SqliteStore::open(dir.path()).unwrap();
            let error = store.revisions("profile").await.unwrap_err();
            assert!(matches!(error, StateError::Damaged { .. }), "{statement}: {error}");
            assert!(store.revise(new("profile-7", 0, "new", Some(json!({})))).await.is_err(), "{statement}");
            assert!(store.verify().await.is_err(), "{statement}");
        });
    }
}

const CHILD: &str = "state::revisions::child_that_revises";

#[test]
#[ignore = "is started by another test as a process of its own"]
fn child_that_revises() {
    let Some(dir) = child_dir() else { return };
    block_on(async {
        let store = SqliteStore::open(&dir).unwrap();
        let mut last = store.versions("profile", "profile-1").await.unwrap().len() as u32;
        println!("\nack {last}");
        loop {
            last =
                store.revise(new("profile-1", last, "shop", Some(json!({"n": last})))).await.unwrap().version;
            println!("ack {last}");
        }
    });
}

#[test]
fn no_version_that_was_acknowledged_is_lost_by_a_kill() {
    let dir = folder();
    for round in 1..=6 {
        let mut child = Running::start(CHILD, dir.path());
        let mut acknowledged = 0;
        for _ in 0..round * 4 {
            acknowledged = child.next("ack").unwrap().parse::<u32>().unwrap();
        }
        if let Some(last) = child.kill("ack").last() {
            acknowledged = last.parse().unwrap();
        }
        block_on(async {
            let store = SqliteStore::open(dir.path()).unwrap();
            let versions = store.versions("profile", "profile-1").await.unwrap();
            // The one that was under way may have arrived, whole.
            assert!((acknowledged..=acknowledged + 1).contains(&(versions.len() as u32)));
            for (index, revision) in versions.iter().enumerate() {
                assert_eq!(revision.body, Some(json!({"n": index})));
            }
            store.verify().await.unwrap();
        });
    }
}

#[test]
fn a_state_of_the_schema_before_opens_and_goes_on() {
    let dir = folder();
    let dump = include_str!("schema_1_state.sql");
    Connection::open(dir.path().join("state.db")).unwrap().execute_batch(dump).unwrap();
    let app = stack("shop");
    for _ in 0..2 {
        block_on(async {
            let store = SqliteStore::open(dir.path()).unwrap();
            store.verify().await.unwrap();
            let state = store.load(&app).await.unwrap();
            assert!(state.open.is_some() && state.resources.len() == 3);
            let setting = store.setting(&app, "source").await.unwrap();
            assert_eq!(setting, Some(json!({"root": "/somewhere"})));
        });
    }
    block_on(async {
        let store = SqliteStore::open(dir.path()).unwrap();
        store.revise(new("profile-1", 0, "shop", Some(json!({})))).await.unwrap();
        let lease = acquire(&store, &app).await;
        append(&store, &*lease, &app, &[super::closed(), opened(&app, 1)]).await;
        store.verify().await.unwrap();
    });
}
