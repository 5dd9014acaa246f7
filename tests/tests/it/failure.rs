//! What a user sees when something fails.

use serde_json::json;
use vrooli_deploy_core::engine::{
    ApplyError, ApplyOptions, Event, EventSink, OutcomeKind, RecoverOptions, ReleaseStatus, codes,
};
use vrooli_deploy_core::names::ReleaseNumber;
use vrooli_deploy_core::provider::{Cancellation, ErrorKind};
use vrooli_deploy_core::state::StateStore as _;
use vrooli_deploy_tests::crash::{Scenario, count, on_virtual_time};
use vrooli_deploy_tests::fakecloud::{FakeCloud, FakeCloudOptions, Fault, kinds};
use vrooli_deploy_tests::session::{
    ReleaseWish, Session, SessionError, Wish, key, stack_id, untouched, verify,
};

fn session() -> Session {
    Session::new(FakeCloud::default())
}

fn refused() -> Fault {
    Fault::Refuse(ErrorKind::Unexpected, "it does not work".to_owned())
}

/// Fails each call in turn. Whatever it was for, the world is clean or as before, or what is
/// left after Commit is listed; and the next run finishes.
fn fail_each(scenario: &Scenario) {
    let (_, calls) = count(scenario, &FakeCloudOptions::default());
    let mut rolled_back = 0;
    for number in 0..calls {
        on_virtual_time(async {
            let session = vrooli_deploy_tests::crash::prepared(scenario, FakeCloudOptions::default()).await;
            session.cloud.fail_call(session.cloud.count() + number, refused());
            match session.run(&scenario.wish).await {
                Ok(outcome) => match outcome.kind {
                    OutcomeKind::RolledBack => {
                        rolled_back += 1;
                        verify(&session, &scenario.wish, &outcome).await;
                        let (step, failure) = outcome.cause.unwrap();
                        assert_eq!(failure.message, "it does not work", "{step}");
                    }
                    OutcomeKind::Partial => {
                        assert!(!outcome.left_behind.is_empty(), "call {number}: {outcome:#?}");
                        assert_eq!(
                            outcome.release,
                            Some(ReleaseNumber(2)),
                            "call {number}: committed before"
                        );
                    }
                    // A call whose failure does no harm: it was made again, or read again.
                    OutcomeKind::Applied => verify(&session, &scenario.wish, &outcome).await,
                    other => panic!("call {number}: {other:?}"),
                },
                Err(SessionError::Provider(error)) => assert_eq!(error.message(), "it does not work"),
                Err(other) => panic!("call {number}: {other}"),
            }
            session.cloud.heal();
            let outcome = session.run(&scenario.wish).await.unwrap();
            assert!(
                matches!(outcome.kind, OutcomeKind::Applied | OutcomeKind::NoChange),
                "call {number}: {outcome:#?}"
            );
            verify(&session, &scenario.wish, &outcome).await;
        });
    }
    assert!(rolled_back > 10, "only {rolled_back} of {calls} failures were rolled back");
}

#[test]
fn any_failing_call_of_a_first_deployment_leaves_nothing() {
    fail_each(&Scenario {
        name: "first",
        before: vec![],
        wish: Wish::full(),
        outcome: OutcomeKind::Applied,
        delete_data: false,
        floor: None,
    });
}

#[test]
fn any_failing_call_of_an_upgrade_leaves_the_old_release_serving() {
    fail_each(&Scenario {
        name: "upgrade",
        before: vec![Wish::full()],
        wish: Wish::full().without("bucket/files").release(ReleaseWish::version("2")),
        outcome: OutcomeKind::Applied,
        delete_data: false,
        floor: None,
    });
}

#[test]
fn a_unit_that_is_not_well_is_shown_with_status_body_and_log() {
    on_virtual_time(async {
        let session = session();
        session.run(&Wish::small()).await.unwrap();
        let wish = Wish::small().release(ReleaseWish::version("2-unhealthy"));
        let outcome = session.run(&wish).await.unwrap();
        assert_eq!(outcome.kind, OutcomeKind::RolledBack);
        assert_eq!(outcome.release, Some(ReleaseNumber(1)));
        let (step, failure) = outcome.cause.as_ref().unwrap();
        assert!(step.0.starts_with("probe:r2/"), "{step}");
        assert_eq!(failure.code, codes::UNHEALTHY);
        let context = |name: &str| failure.context.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        assert_eq!(context("status"), Some("503"));
        assert_eq!(context("body"), Some(r#"{"status":"unhealthy"}"#));
        assert_eq!(context("log"), Some("cannot reach the database"));
        let listed: Vec<_> = outcome.left_behind.iter().map(|l| l.what.as_str()).collect();
        assert_eq!(listed, ["migration 002.sql"], "SQL that ran is listed");
        untouched(&session).await;
        assert_eq!(session.state().await.unwrap().releases[&ReleaseNumber(2)].status, ReleaseStatus::Failed);
    });
}

#[test]
fn a_failed_release_keeps_what_expand_made_and_lists_it() {
    on_virtual_time(async {
        let session = session();
        session.run(&Wish::small()).await.unwrap();
        let mut wish = Wish::full().release(ReleaseWish::version("2-unhealthy"));
        wish.resources.remove(&key("record/main"));
        let outcome = session.run(&wish).await.unwrap();
        assert_eq!(outcome.kind, OutcomeKind::RolledBack);
        let listed: Vec<_> = outcome.left_behind.iter().map(|l| l.what.as_str()).collect();
        assert_eq!(listed, ["bucket/files", "instance/main", "migration 002.sql"]);
        untouched(&session).await;
        let wish = Wish { release: Some(ReleaseWish::version("2")), ..wish };
        let outcome = session.run(&wish).await.unwrap();
        verify(&session, &wish, &outcome).await;
    });
}

#[test]
fn a_stack_without_releases_puts_back_what_it_changed() {
    on_virtual_time(async {
        let session = session();
        let before = Wish::full().bare();
        session.run(&before).await.unwrap();
        let wish = Wish::full().bare().with("network/main", "label", json!("other")).with(
            "subnet/main",
            "public",
            json!(true),
        );
        session.cloud.fail_next("update", Some(kinds::SUBNET), refused());
        let outcome = session.run(&wish).await.unwrap();
        assert_eq!(outcome.kind, OutcomeKind::RolledBack, "{outcome:#?}");
        assert_eq!(outcome.left_behind, []);
        assert!(session.plan(&before).await.unwrap().is_empty(), "all is as it was");
    });
}

#[test]
fn an_undo_that_fails_is_stuck_and_the_next_run_tries_it_again() {
    on_virtual_time(async {
        let session = session();
        session.run(&Wish::small()).await.unwrap();
        let bad = Wish::small().release(ReleaseWish::version("2-unsmoked"));
        session.cloud.fail_always("stop", "r2/", refused());
        let outcome = session.run(&bad).await.unwrap();
        assert_eq!(outcome.kind, OutcomeKind::Stuck);
        assert!(outcome.left_behind.iter().any(|l| l.what.contains("start api.0 of r2")), "{outcome:#?}");
        assert!(session.state().await.unwrap().open.is_some());
        // Still broken: still stuck. Mended: rolled back, and the command is done.
        assert_eq!(session.run(&bad).await.unwrap().kind, OutcomeKind::Stuck);
        session.cloud.heal();
        let good = Wish::small().release(ReleaseWish::version("2"));
        let outcome = session.run(&good).await.unwrap();
        assert_eq!(outcome.kind, OutcomeKind::Applied);
        verify(&session, &good, &outcome).await;
    });
}

#[test]
fn a_stuck_plan_can_be_abandoned() {
    on_virtual_time(async {
        let session = session();
        session.run(&Wish::small()).await.unwrap();
        session.cloud.fail_always("stop", "r2/", refused());
        session.run(&Wish::small().release(ReleaseWish::version("2-unsmoked"))).await.unwrap();
        let (lease, mut state) = (session.lease().await.unwrap(), session.state().await.unwrap());
        let options = RecoverOptions { abandon: true, ..RecoverOptions::default() };
        let report =
            session.engine().recover(&*lease, &mut state, &options, &EventSink::default()).await.unwrap();
        assert_eq!(report.outcome.unwrap().kind, OutcomeKind::Stuck);
        assert!(state.open.is_none());
        drop(lease);
        session.cloud.heal();
        let outcome = session.run(&Wish::small().release(ReleaseWish::version("3"))).await.unwrap();
        assert_eq!(outcome.kind, OutcomeKind::Applied);
        untouched(&session).await;
    });
}

#[test]
fn what_was_committed_is_never_taken_back() {
    on_virtual_time(async {
        let session = session();
        session.run(&Wish::full()).await.unwrap();
        session.cloud.fail_always("delete", "bucket/files", refused());
        let wish = Wish::full().without("bucket/files").release(ReleaseWish::version("2"));
        let outcome = session.run(&wish).await.unwrap();
        assert_eq!(outcome.kind, OutcomeKind::Partial);
        assert_eq!(outcome.release, Some(ReleaseNumber(2)));
        let left: Vec<_> = outcome.left_behind.iter().map(|l| l.what.as_str()).collect();
        assert_eq!(left, ["delete bucket/files"], "the other contract steps were done");
        untouched(&session).await;
    });
}

#[test]
fn a_quota_is_named_in_the_providers_words() {
    on_virtual_time(async {
        let session = session();
        session.cloud.world().quotas.insert(kinds::INSTANCE, 0);
        let outcome = session.run(&Wish::full()).await.unwrap();
        let (_, failure) = outcome.cause.unwrap();
        assert_eq!(failure.kind, ErrorKind::Quota);
        assert_eq!(failure.message, "no more than 0 of fake.instance");
        assert!(failure.context.contains(&("code".to_owned(), "LimitExceeded".to_owned())));
        assert_eq!(session.cloud.world().of(&stack_id()).count(), 0);
    });
}

#[test]
fn a_plan_is_not_run_over_one_that_is_open() {
    on_virtual_time(async {
        let session = session();
        let plan = session.plan(&Wish::small()).await.unwrap();
        let (lease, mut state) = (session.lease().await.unwrap(), session.state().await.unwrap());
        let cancelled = Cancellation::new();
        cancelled.cancel();
        let options = ApplyOptions { cancellation: cancelled, detach: false };
        let engine = session.engine();
        let sink = EventSink::default();
        let outcome = engine.apply(&*lease, &mut state, plan.clone(), options, &sink).await.unwrap();
        assert_eq!(outcome.kind, OutcomeKind::Interrupted);
        let error =
            engine.apply(&*lease, &mut state, plan, ApplyOptions::default(), &sink).await.unwrap_err();
        assert!(matches!(error, ApplyError::Open { .. }), "{error}");
        assert_eq!(error.code(), codes::OPEN);
    });
}

#[test]
fn who_lost_the_lease_stops_before_anything_is_sent() {
    on_virtual_time(async {
        let session = session();
        let plan = session.plan(&Wish::small()).await.unwrap();
        let (lease, mut state) = (session.lease().await.unwrap(), session.state().await.unwrap());
        // A journal that has moved on: what this holder knows is old.
        let sent = session.cloud.count();
        state.seq += 1;
        let error = session
            .engine()
            .apply(&*lease, &mut state, plan, ApplyOptions::default(), &EventSink::default())
            .await
            .unwrap_err();
        assert!(matches!(error, ApplyError::Lost(_)), "{error}");
        assert_eq!(session.cloud.count(), sent);
        assert_eq!(session.store.journal(&stack_id(), 0).await.unwrap().len(), 0);
    });
}

#[test]
fn a_fleet_that_has_seen_a_newer_holder_stops_the_older_one() {
    on_virtual_time(async {
        let session = session();
        let wish = Wish::small();
        let plan = session.plan(&wish).await.unwrap();
        let (lease, mut state) = (session.lease().await.unwrap(), session.state().await.unwrap());
        session.cloud.world().fleets.entry(stack_id()).or_default().fence = 99;
        let error = session
            .engine()
            .apply(&*lease, &mut state, plan, ApplyOptions::default(), &EventSink::default())
            .await
            .unwrap_err();
        assert!(matches!(error, ApplyError::Fenced { .. }), "{error}");
    });
}

#[test]
fn an_interrupted_candidate_can_be_kept_but_gets_no_traffic() {
    on_virtual_time(async {
        let mut session = session();
        session.run(&Wish::small()).await.unwrap();
        let wish = Wish::small().release(ReleaseWish { watch: Some(60), ..ReleaseWish::version("2") });
        // Killed in the watch: traffic has moved, nothing is committed.
        let cancellation = session.cancellation.clone();
        let (outcome, ()) = tokio::join!(session.run(&wish), async {
            tokio::time::sleep(std::time::Duration::from_secs(20)).await;
            cancellation.cancel();
        });
        assert_eq!(outcome.unwrap().kind, OutcomeKind::Interrupted);
        assert!(session.cloud.world().fleets[&stack_id()].routing.weights.contains_key(&ReleaseNumber(2)));
        session.cancellation = Cancellation::new();
        let (lease, mut state) = (session.lease().await.unwrap(), session.state().await.unwrap());
        let options = RecoverOptions { keep_candidate: true, ..RecoverOptions::default() };
        let report =
            session.engine().recover(&*lease, &mut state, &options, &EventSink::default()).await.unwrap();
        assert_eq!(report.outcome.unwrap().kind, OutcomeKind::Interrupted);
        assert_eq!(state.releases[&ReleaseNumber(2)].status, ReleaseStatus::Candidate);
        {
            let world = session.cloud.world();
            let fleet = &world.fleets[&stack_id()];
            assert!(fleet.staged.contains_key(&ReleaseNumber(2)));
            assert!(fleet.units.keys().any(|(release, _)| *release == ReleaseNumber(2)));
            assert!(!fleet.routing.weights.contains_key(&ReleaseNumber(2)));
            assert_eq!(world.violations, Vec::<String>::new());
        }
        drop(lease);
        let outcome = session.run(&wish).await.unwrap();
        verify(&session, &wish, &outcome).await;
    });
}

#[test]
fn undone_twice_is_undone() {
    on_virtual_time(async {
        let session = session();
        session.run(&Wish::small()).await.unwrap();
        let bad = Wish::small().release(ReleaseWish::version("2-unsmoked"));
        session.run(&bad).await.unwrap();
        let once = format!("{:?}", session.cloud.world().fleets);
        // The journal up to the last record of the undo: recovery does the whole of it again.
        let records = session.store.journal(&stack_id(), 0).await.unwrap();
        let mut state = vrooli_deploy_core::engine::StackState::default();
        for record in &records[..records.len() - 1] {
            state.apply(record).unwrap();
        }
        let open = state.open.as_mut().unwrap();
        for step in open.steps.values_mut() {
            if *step == vrooli_deploy_core::engine::StepState::Undone {
                *step = vrooli_deploy_core::engine::StepState::UndoStarted;
            }
        }
        let replay = Session::new(session.cloud.clone());
        let lease = replay.lease().await.unwrap();
        // A store that holds this very state.
        let rebuilt = vrooli_deploy_core::engine::Entry::Rebuilt {
            state: Box::new(vrooli_deploy_core::engine::StackState { seq: 0, ..state }),
        };
        session.cloud.world().fleets.get_mut(&stack_id()).unwrap().fence = 0;
        lease.append(0, &[rebuilt]).await.unwrap();
        let mut state = replay.state().await.unwrap();
        let report = replay
            .engine()
            .recover(&*lease, &mut state, &RecoverOptions::default(), &EventSink::default())
            .await
            .unwrap();
        assert_eq!(report.outcome.unwrap().kind, OutcomeKind::RolledBack);
        let fence = |text: String| text.split("fence").next().unwrap_or_default().to_owned();
        let twice = format!("{:?}", session.cloud.world().fleets);
        assert_eq!(fence(twice), fence(once));
    });
}

/// Deploys where the create of a kind is refused when half of the object is there, and shows at once. Gives
/// what is left of the kind, what was said of it, and deploys again.
async fn refused_halfway(kind: &str) -> (usize, Vec<String>) {
    let options = FakeCloudOptions { lag: std::time::Duration::ZERO, ..FakeCloudOptions::default() };
    let session = Session::new(FakeCloud::new(options));
    let fault = Fault::RefuseHalfway(ErrorKind::Permission, "it may not be finished".to_owned());
    session.cloud.fail_next("create", Some(kind), fault);
    let outcome = session.run(&Wish::full()).await.unwrap();
    assert_eq!(outcome.kind, OutcomeKind::RolledBack, "{outcome:#?}");
    let left = session.cloud.world().of(&stack_id()).filter(|object| object.kind == kind).count();
    let notes = session.events().into_iter().filter_map(|event| match event {
        Event::Note { message } if message.contains("was begun") => Some(message),
        _ => None,
    });
    let notes = notes.collect();
    let outcome = session.run(&Wish::full()).await.unwrap();
    verify(&session, &Wish::full(), &outcome).await;
    (left, notes)
}

#[test]
fn half_an_object_is_taken_back_unless_it_may_stand_on_older_data() {
    on_virtual_time(async {
        assert_eq!(refused_halfway(kinds::SUBNET).await, (0, Vec::new()));
        assert_eq!(refused_halfway(kinds::DATABASE).await, (0, Vec::new()), "its data would be its own");
        let (left, notes) = refused_halfway(kinds::BUCKET).await;
        assert_eq!(left, 1, "the data of an earlier stack may be in it");
        let [note] = notes.as_slice() else { panic!("{notes:?}") };
        assert!(note.contains("bucket/files") && note.contains("may hold data"), "{note}");
    });
}
