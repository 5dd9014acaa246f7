use std::collections::{BTreeMap, BTreeSet};

use vrooli_deploy_core::engine::{Outcome, OutcomeKind, ReleaseStatus, StackState};
use vrooli_deploy_core::manifest::Overlap;
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{OutputValue, PhysicalId, Routing};
use vrooli_deploy_core::release::strategy::units;
use vrooli_deploy_core::state::StateStore as _;

use super::{Session, Wish, stack_id};
use crate::fakecloud::kinds;

/// Holds the world against the state and against what is promised for an outcome.
///
/// # Panics
/// When a promise is broken; the message says which.
#[expect(clippy::panic, reason = "it is an assertion")]
pub async fn verify(session: &Session, wish: &Wish, outcome: &Outcome) {
    let state = load(session).await;
    journal(session, &state).await;
    once(session);
    if outcome.kind == OutcomeKind::OnHold {
        held(session, &state);
        return;
    }
    assert!(state.open.is_none(), "a plan is still open after {:?}", outcome.kind);
    match outcome.kind {
        OutcomeKind::Applied | OutcomeKind::NoChange => {
            assert_eq!(outcome.left_behind, Vec::new(), "nothing is left behind by {:?}", outcome.kind);
            resources(session, wish, &state);
            fleet(session, &state, wish.release.is_some());
        }
        OutcomeKind::RolledBack if state.current.is_none() => {
            let world = session.cloud.world();
            let left: Vec<_> = world.of(&stack_id()).map(|o| o.id.to_string()).collect();
            assert_eq!(left, Vec::<String>::new(), "a first deployment that failed leaves nothing");
            assert!(state.resources.is_empty(), "and its state knows of nothing");
            if let Some(fleet) = world.fleets.get(&stack_id()) {
                assert!(fleet.units.is_empty() && fleet.staged.is_empty(), "no unit and no release is left");
                assert_eq!(fleet.routing, Routing::default());
            }
        }
        OutcomeKind::RolledBack => {
            known_objects(session, &state);
            fleet(session, &state, true);
        }
        other => panic!("{other:?} is no settled outcome: {outcome:#?}"),
    }
}

/// Both releases run whole, and traffic is as the plan left it.
#[expect(clippy::panic, reason = "it is an assertion")]
fn held(session: &Session, state: &StackState) {
    let Some(open) = &state.open else { panic!("on hold without an open plan") };
    assert!(open.waiting().is_some_and(|waiting| !waiting.watching), "it waits for a person");
    let world = session.cloud.world();
    let fleet = &world.fleets[&stack_id()];
    let routed = open.routed().map(|routing| routing.weights.clone()).unwrap_or_default();
    assert_eq!(fleet.routing.weights, routed, "traffic is as the plan left it");
    for number in [state.current, open.plan.release.as_ref().map(|r| r.number)].into_iter().flatten() {
        let release = &state.releases[&number].release;
        for (name, config) in &release.bundle.services {
            let allowed = vrooli_deploy_core::release::strategy::overlap(config) == Overlap::Allowed;
            for unit in units(name, config).filter(|_| allowed) {
                assert!(fleet.units.contains_key(&(number, unit.clone())), "{unit} of {number} runs");
            }
        }
    }
}

/// The earlier release serves as before, whatever else happened.
///
/// # Panics
/// When it does not.
pub async fn untouched(session: &Session) {
    let state = load(session).await;
    fleet(session, &state, true);
    once(session);
}

#[expect(clippy::unwrap_used, reason = "memory does not fail")]
async fn load(session: &Session) -> StackState {
    session.state().await.unwrap()
}

/// Replay equals live state, and no record holds a secret.
#[expect(clippy::unwrap_used, reason = "memory does not fail")]
async fn journal(session: &Session, state: &StackState) {
    let records = session.store.journal(&stack_id(), 0).await.unwrap();
    let mut replayed = StackState::default();
    for record in &records {
        replayed.apply(record).unwrap();
    }
    assert_eq!(replayed, *state, "replay equals live state");
    let text = serde_json::to_string(&records).unwrap();
    let events = serde_json::to_string(&session.events()).unwrap();
    for secret in session.secrets.all() {
        assert!(!text.contains(&secret), "a secret is in the journal");
        assert!(!events.contains(&secret), "a secret is in an event");
    }
}

/// Nothing was made twice, applied twice, or served what does not run.
fn once(session: &Session) {
    let world = session.cloud.world();
    assert_eq!(world.violations, Vec::<String>::new());
    for (made, count) in &world.creations {
        let gone = world.deletions.get(made).copied().unwrap_or_default();
        assert!(count - gone <= 1, "{} stands {} times with token {}", made.0, count - gone, made.1.0);
    }
    if let Some(fleet) = world.fleets.get(&stack_id()) {
        assert!(fleet.ledger.values().all(|count| *count == 1), "SQL applied twice: {:?}", fleet.ledger);
    }
}

/// The state knows of every object, and every object of the state is there.
fn known_objects(session: &Session, state: &StackState) {
    let world = session.cloud.world();
    let there: BTreeSet<PhysicalId> = world.of(&stack_id()).map(|o| o.id.clone()).collect();
    let known: BTreeSet<PhysicalId> = state.resources.values().map(|r| r.id.clone()).collect();
    let lost: Vec<_> = known.difference(&there).collect();
    assert!(lost.is_empty(), "the state knows of what is not there: {lost:?}");
}

fn resources(session: &Session, wish: &Wish, state: &StackState) {
    let world = session.cloud.world();
    let there: BTreeMap<PhysicalId, ResourceKey> =
        world.of(&stack_id()).map(|o| (o.id.clone(), o.marks.key.clone())).collect();
    let known: BTreeMap<PhysicalId, ResourceKey> =
        state.resources.iter().map(|(key, r)| (r.id.clone(), key.clone())).collect();
    assert_eq!(there, known, "no orphan, no duplicate, nothing lost (cloud left, state right)");
    let keys: Vec<_> = state.resources.keys().collect();
    assert_eq!(keys, wish.resources.keys().collect::<Vec<_>>(), "what is there is what is wanted");
    // The password that the machine has is the one that the state refers to.
    for (key, resource) in &state.resources {
        let Some(OutputValue::Secret(secret)) =
            resource.outputs.iter().find(|(name, _)| name.as_str() == "password").map(|(_, v)| v)
        else {
            assert!(resource.kind.as_str() != kinds::DATABASE, "the password of {key} is lost");
            continue;
        };
        let stack = stack_id();
        for machine in world.of(&stack).filter(|o| o.kind == kinds::INSTANCE) {
            assert_eq!(machine.fields["password_hash"], secret.hash, "{} has another password", machine.id);
        }
    }
}

fn fleet(session: &Session, state: &StackState, serves: bool) {
    let world = session.cloud.world();
    let Some(fleet) = world.fleets.get(&stack_id()) else { return };
    let Some(current) = state.current.filter(|_| serves) else {
        assert!(fleet.units.is_empty(), "nothing runs: {:?}", fleet.units.keys());
        return;
    };
    let release = &state.releases[&current].release;
    let wanted: BTreeSet<_> = release
        .bundle
        .services
        .iter()
        .flat_map(|(name, config)| units(name, config).map(|unit| (current, unit)))
        .collect();
    let running: BTreeSet<_> = fleet.units.keys().cloned().collect();
    assert_eq!(running, wanted, "the units of {current} run, and no others");
    assert_eq!(fleet.routing.weights, Routing::all_to(current).weights, "all traffic goes to {current}");
    for number in fleet.staged.keys() {
        let status = state.releases.get(number).map(|r| r.status);
        assert_eq!(status, Some(ReleaseStatus::Good), "{number} is staged for nothing");
    }
    assert!(fleet.staged.contains_key(&current), "{current} is staged");
}
