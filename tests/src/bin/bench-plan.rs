//! Plans a synthetic stack and prints what it took: `bench-plan [resources]`.
//! Figures to keep (release build): 10,000 resources in at most 1 s and 500 MB.

use std::time::{Duration, Instant};

use serde_json::json;
use uuid::Uuid;
use vrooli_deploy_core::engine::{ApplyOptions, EventSink, Outcome, StackState};
use vrooli_deploy_core::plan::{
    AssembleInput, Inventory, ResourceInput, ResourceOptions, assemble, check, resources,
};
use vrooli_deploy_tests::crash::on_virtual_time;
use vrooli_deploy_tests::fakecloud::{FakeCloud, FakeCloudOptions, kinds};
use vrooli_deploy_tests::session::{Session, Wish, key, resource};

/// Networks with nine subnets each.
fn wish(count: usize) -> Wish {
    let mut wish = Wish::default();
    for n in 0..count {
        let (network, rest) = (n / 10, n % 10);
        if rest == 0 {
            let spec = json!({"cidr": "10.0.0.0/8", "label": format!("network {network}")});
            wish.resources.insert(key(&format!("network/n{network}")), resource(kinds::NETWORK, spec));
        } else {
            let spec = json!({
                "network": {"$ref": format!("network/n{network}"), "output": "id"},
                "cidr": format!("10.{rest}.0.0/16"),
                "public": false,
            });
            wish.resources.insert(key(&format!("subnet/n{network}-{rest}")), resource(kinds::SUBNET, spec));
        }
    }
    wish
}

fn plan(
    wish: &Wish,
    state: &StackState,
    inventory: &Inventory,
) -> Result<vrooli_deploy_core::plan::Plan, String> {
    let provider = FakeCloud::default().provider();
    let resources = resources(&ResourceInput {
        stack: &wish.stack(),
        state,
        inventory,
        incarnation: Uuid::from_u128(7),
        provider: &*provider,
        options: &ResourceOptions::default(),
    })
    .map_err(|e| e.to_string())?;
    assemble(AssembleInput {
        stack: wish.stack().id,
        provider: provider.name().clone(),
        incarnation: Uuid::from_u128(7),
        command: "deploy".to_owned(),
        resource_steps: resources.steps,
        release_steps: Vec::new(),
        release: None,
        current: None,
        notes: resources.notes,
        inventory,
    })
    .map_err(|e| e.to_string())
}

/// The most memory that this process has used, in megabytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or_default() / 1024
}

#[expect(clippy::print_stdout, reason = "a program that prints")]
fn say(what: &str, took: Duration, steps: usize) {
    println!("{what:<28} {:>7.0} ms  {steps:>6} steps  peak {:>4} MB", took.as_secs_f64() * 1000.0, peak());
}

fn main() -> Result<(), String> {
    let count: usize = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(10_000);
    let wish = wish(count);
    let begun = Instant::now();
    let first = plan(&wish, &StackState::default(), &Inventory::seen([]))?;
    say("plan of a new stack", begun.elapsed(), first.steps.len());
    let begun = Instant::now();
    let findings = check(&first, &StackState::default());
    if !findings.is_empty() {
        return Err(format!("{findings:?}"));
    }
    say("check of that plan", begun.elapsed(), first.steps.len());

    // What it is like once everything is there, and when everything changes.
    let (state, inventory) = on_virtual_time(async {
        let options = FakeCloudOptions {
            latency: Duration::ZERO,
            lag: Duration::ZERO,
            page: 1000,
            ..FakeCloudOptions::default()
        };
        let mut session = Session::new(FakeCloud::new(options));
        session.concurrency = 256;
        let (lease, mut state) = (session.lease().await?, session.state().await?);
        let begun = Instant::now();
        let outcome: Result<Outcome, _> = session
            .engine()
            .apply(&*lease, &mut state, first.clone(), ApplyOptions::default(), &EventSink::default())
            .await;
        let outcome = outcome.map_err(|e| vrooli_deploy_core::state::StateError::Io {
            place: "apply".to_owned(),
            message: e.to_string(),
        })?;
        say(&format!("apply ({:?}, fake cloud)", outcome.kind), begun.elapsed(), first.steps.len());
        let world = session.cloud.world();
        let seen = world.objects.values().map(|o| {
            let found = vrooli_deploy_core::provider::Found {
                key: o.marks.key.clone(),
                id: o.id.clone(),
                observed: o.fields.clone(),
                token: o.marks.token,
            };
            (wish.resources[&o.marks.key].kind.clone(), found)
        });
        let inventory = Inventory::seen(seen);
        drop(world);
        Ok::<_, vrooli_deploy_core::state::StateError>((state, inventory))
    })
    .map_err(|e| e.to_string())?;
    let begun = Instant::now();
    let same = plan(&wish, &state, &inventory)?;
    say("plan when nothing changed", begun.elapsed(), same.steps.len());
    let begun = Instant::now();
    let gone = plan(&Wish::default(), &state, &inventory)?;
    say("plan when nothing is wanted", begun.elapsed(), gone.steps.len());
    Ok(())
}
