//! What strategies promise, on many hosts that vanish and come back.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use vrooli_deploy_core::engine::{Decision, OutcomeKind};
use vrooli_deploy_core::names::ReleaseNumber;
use vrooli_deploy_tests::crash::on_virtual_time;
use vrooli_deploy_tests::simfleet::{SimError, SimFleet, SimSession, Wanted};

/// A strategy, and what it promises for so many instances.
#[derive(Debug, Clone)]
struct Promise {
    strategy: Value,
    /// Instances that serve at any moment.
    floor: usize,
    /// Instances that may be there.
    ceiling: usize,
    warm: bool,
}

fn promise(kind: u32, count: usize, batch: usize, surge: usize, missing: usize) -> Promise {
    let warm = |strategy: Value| Promise { strategy, floor: count, ceiling: 2 * count, warm: true };
    match kind {
        0 => warm(json!({"type": "blue-green"})),
        1 => warm(json!({"type": "rolling", "batch": batch})),
        2 => warm(json!({"type": "canary", "steps": [10, 50], "watch": "5s"})),
        _ => Promise {
            strategy: json!({"type": "rolling", "batch": batch, "surge": surge, "max_unavailable": missing}),
            floor: count - missing,
            ceiling: count + surge,
            warm: false,
        },
    }
}

fn wanted(version: &str, count: usize, strategy: &Value) -> Wanted {
    Wanted {
        version: version.to_owned(),
        count: u32::try_from(count).unwrap(),
        worker: true,
        strategy: serde_json::from_value(strategy.clone()).unwrap(),
    }
}

/// A fleet on which the first release serves, with what is promised from here on.
async fn serving(hosts: usize, count: usize, promise: &Promise) -> SimSession {
    serving_on(SimFleet::new(hosts, true), count, promise).await
}

async fn serving_on(fleet: SimFleet, count: usize, promise: &Promise) -> SimSession {
    let session = SimSession::new(fleet);
    let outcome = session.run(&wanted("1", count, &json!("blue-green"))).await.unwrap();
    assert_eq!(outcome.kind, OutcomeKind::Applied, "{outcome:#?}");
    let mut world = session.fleet.world();
    (world.floor, world.ceiling, world.warm) = (Some(promise.floor), Some(promise.ceiling), promise.warm);
    drop(world);
    session
}

/// A host that cannot be reached for a while, from some time on.
#[derive(Debug, Clone)]
struct Absence {
    host: usize,
    from: u64,
    long: u64,
}

fn vanish(session: &SimSession, absences: &[Absence]) {
    let now = Instant::now();
    let mut world = session.fleet.world();
    let count = world.hosts.len();
    for absence in absences {
        let from = now + Duration::from_millis(absence.from);
        let until = from + Duration::from_secs(absence.long);
        world.hosts[absence.host % count].away.push((from, until));
    }
}

/// Runs until it is settled, once every host is back.
async fn converge(session: &SimSession, wanted: &Wanted) {
    sleep(Duration::from_secs(600)).await;
    for _ in 0..3 {
        let outcome = session.run(wanted).await.unwrap();
        let settled = [OutcomeKind::Applied, OutcomeKind::NoChange, OutcomeKind::RolledBack];
        if settled.contains(&outcome.kind) {
            session.verify(&outcome).await;
            return;
        }
    }
    panic!("it does not settle");
}

#[test]
fn three_hundred_hosts_roll_in_waves_and_go_back_as_one() {
    on_virtual_time(async {
        let many = || SimFleet::new(300, true);
        let rolling = || promise(1, 300, 50, 0, 0);
        for (fleet, promise) in
            [(many(), rolling()), (many().whole(), rolling()), (many(), promise(3, 300, 30, 10, 20))]
        {
            let session = serving_on(fleet, 300, &promise).await;
            let good = wanted("2", 300, &promise.strategy);
            let outcome = session.run(&good).await.unwrap();
            assert_eq!(outcome.kind, OutcomeKind::Applied, "{outcome:#?}");
            session.verify(&outcome).await;
            // The very last wave has an instance that is never well: every host goes back.
            let bad = wanted("3-sick:299", 300, &promise.strategy);
            let outcome = session.run(&bad).await.unwrap();
            assert_eq!(outcome.kind, OutcomeKind::RolledBack, "{outcome:#?}");
            assert_eq!(outcome.release, Some(ReleaseNumber(2)));
            session.verify(&outcome).await;
        }
    });
}

#[test]
fn a_host_that_missed_the_commit_is_brought_forward() {
    on_virtual_time(async {
        let promise = promise(0, 6, 1, 0, 0);
        let session = serving(6, 6, &promise).await;
        let next = wanted("2", 6, &promise.strategy);
        // Killed right after the commit: nobody was told.
        let fleet = session.fleet.clone();
        tokio::select! {
            _ = session.run(&next) => panic!("it was to be killed"),
            () = async { while fleet.world().committed != Some(ReleaseNumber(2)) { sleep(Duration::from_millis(1)).await } } => {}
        }
        vanish(&session, &[Absence { host: 3, from: 0, long: 90 }]);
        let outcome = session.run(&next).await;
        assert!(outcome.is_err() || outcome.is_ok_and(|o| o.kind != OutcomeKind::Applied), "a host is away");
        converge(&session, &next).await;
        assert_eq!(session.state().await.unwrap().current, Some(ReleaseNumber(2)));
    });
}

#[test]
fn a_host_that_is_lost_on_the_way_back_is_said_and_taken_back_once_it_is_there() {
    on_virtual_time(async {
        let promise = promise(1, 6, 2, 0, 0);
        let session = serving(6, 6, &promise).await;
        let next = wanted("2", 6, &promise.strategy);
        let (first, second) = (ReleaseNumber(1), ReleaseNumber(2));
        let fleet = session.fleet.clone();
        // Lost as soon as it serves the new release.
        let (outcome, ()) = tokio::join!(session.run(&next), async {
            while !fleet.world().hosts[0].routing.weights.contains_key(&second) {
                sleep(Duration::from_millis(1)).await;
            }
            vanish(&session, &[Absence { host: 0, from: 0, long: 90 }]);
        });
        let outcome = outcome.unwrap();
        assert_eq!(outcome.kind, OutcomeKind::Partial, "{outcome:#?}");
        assert_eq!(outcome.release, Some(first));
        assert!(outcome.left_behind.iter().any(|left| left.why.contains("host 0")), "{outcome:#?}");
        for (at, host) in fleet.world().hosts.iter().enumerate().skip(1) {
            assert!(!host.routing.weights.contains_key(&second), "host {at}");
        }
        converge(&session, &next).await;
        // The number of the one that went back is not given again.
        assert_eq!(session.state().await.unwrap().current, Some(ReleaseNumber(3)));
    });
}

#[test]
fn abandoned_traffic_goes_back_by_itself_on_every_host() {
    on_virtual_time(async {
        let promise = promise(2, 8, 1, 0, 0);
        let session = serving(8, 8, &promise).await;
        let next = wanted("2", 8, &json!({"type": "canary", "steps": [25], "watch": "10m"}));
        // Killed in its watch.
        let _ = tokio::time::timeout(Duration::from_secs(30), session.run(&next)).await;
        assert!(session.fleet.world().hosts.iter().all(|h| h.routing.weights.len() == 2), "it is watched");
        sleep(Duration::from_secs(60)).await;
        let world = session.fleet.world();
        assert!(
            world.hosts.iter().all(|h| h.routing.weights.keys().eq([&ReleaseNumber(1)])),
            "all went back"
        );
    });
}

#[test]
fn two_runs_never_interleave() {
    on_virtual_time(async {
        let promise = promise(0, 4, 1, 0, 0);
        let session = serving(4, 4, &promise).await;
        let (a, b) = (wanted("2", 4, &json!("canary")), wanted("3", 4, &json!({"type": "rolling"})));
        let (first, second) = tokio::join!(session.run(&a), async {
            sleep(Duration::from_secs(2)).await;
            session.run(&b).await
        });
        assert!(matches!(second, Err(SimError::State(_))), "the lease is held: {second:?}");
        assert_eq!(first.unwrap().kind, OutcomeKind::Applied);
        // One that is killed, whose calls arrive late, and another that comes at once.
        let again = wanted("4", 4, &json!("canary"));
        let _ = tokio::time::timeout(Duration::from_millis(1200), session.run(&again)).await;
        let outcome = session.run(&b).await.unwrap();
        assert_eq!(outcome.kind, OutcomeKind::Applied);
        sleep(Duration::from_secs(60)).await;
        session.verify(&outcome).await;
    });
}

#[test]
fn a_hold_on_many_hosts_is_promoted_or_given_up() {
    on_virtual_time(async {
        let strategy = json!({"type": "canary", "watch": "5s", "hold": true});
        let promise = Promise { strategy: strategy.clone(), ..promise(2, 12, 1, 0, 0) };
        for (decision, kind, current) in
            [(Decision::Promote, OutcomeKind::Applied, 2), (Decision::Abort, OutcomeKind::RolledBack, 1)]
        {
            let session = serving(12, 12, &promise).await;
            let outcome = session.run(&wanted("2", 12, &strategy)).await.unwrap();
            assert_eq!(outcome.kind, OutcomeKind::OnHold);
            sleep(Duration::from_secs(86_400)).await;
            session.verify(&outcome).await;
            let outcome = session.decide(decision).await.unwrap();
            assert_eq!((outcome.kind, outcome.release), (kind, Some(ReleaseNumber(current))));
            session.verify(&outcome).await;
        }
    });
}

/// Nobody asks the app anything: what becomes of a watch that saw too little is what was chosen.
#[test]
fn a_watch_that_saw_too_little_ends_as_its_policy_says() {
    on_virtual_time(async {
        for (policy, kind, current) in [
            ("fail", OutcomeKind::RolledBack, 1),
            ("extend", OutcomeKind::RolledBack, 1),
            ("hold", OutcomeKind::OnHold, 2),
            ("probe", OutcomeKind::Applied, 2),
        ] {
            let strategy = json!({
                "type": "blue-green", "watch": "5s", "min_requests": 50, "inconclusive": policy, "deadline": "2m"
            });
            let promise = Promise { strategy: strategy.clone(), ..promise(0, 4, 1, 0, 0) };
            let session = serving_on(SimFleet::new(4, true).measuring(), 4, &promise).await;
            let begun = tokio::time::Instant::now();
            let outcome = session.run(&wanted("2", 4, &strategy)).await.unwrap();
            assert_eq!(outcome.kind, kind, "{policy}: {outcome:#?}");
            if kind != OutcomeKind::OnHold {
                assert_eq!(outcome.release, Some(ReleaseNumber(current)), "{policy}");
            }
            let patient = begun.elapsed() >= Duration::from_secs(120);
            assert_eq!(patient, policy == "extend", "{policy}: {:?}", begun.elapsed());
            session.verify(&outcome).await;
        }
    });
}

/// A person's word is final: whatever was still to be decided later is decided with it, also for
/// whoever goes on where the promotion was killed.
#[test]
fn what_was_promoted_is_never_on_hold_again() {
    on_virtual_time(async {
        for strategy in [
            json!({"type": "blue-green", "watch": "10m", "hold": true}),
            json!({"type": "rolling", "watch": "10m", "hold": true}),
            json!({"type": "canary", "steps": [10, 50], "watch": "10m", "hold": true}),
        ] {
            let promise = Promise { strategy: strategy.clone(), ..promise(2, 6, 1, 0, 0) };
            let session = serving(6, 6, &promise).await;
            let next = wanted("2", 6, &strategy);
            let watched = tokio::time::timeout(Duration::from_secs(60), session.run(&next)).await;
            assert!(watched.is_err(), "{strategy}: it is watched: {watched:?}");
            let promoted =
                tokio::time::timeout(Duration::from_secs(60), session.decide(Decision::Promote)).await;
            let outcome = match promoted {
                Ok(outcome) => outcome.unwrap(),
                // Killed in the watch that comes next.
                Err(_) => session.decide(Decision::Watch).await.unwrap(),
            };
            assert_eq!(
                (outcome.kind, outcome.release),
                (OutcomeKind::Applied, Some(ReleaseNumber(2))),
                "{strategy}"
            );
            session.verify(&outcome).await;
        }
    });
}

/// Killed after the commit, with units of the old release left over: the next run repairs, and
/// a host is lost on the way. What ran before the repair runs after it.
#[test]
fn a_repair_that_fails_ends_nothing_that_serves() {
    on_virtual_time(async {
        let mut failed = 0;
        for kill in 1850..2000 {
            let promise = promise(0, 3, 0, 0, 0);
            let session = serving(3, 3, &promise).await;
            vanish(&session, &[Absence { host: 0, from: 2950, long: 17 }]);
            let next = wanted("2", 3, &promise.strategy);
            let _ = tokio::time::timeout(Duration::from_millis(kill), session.run(&next)).await;
            let outcome = session.run(&next).await;
            let repairs = session.state().await.unwrap().current == Some(ReleaseNumber(2));
            failed += usize::from(repairs && outcome.is_ok_and(|o| o.kind == OutcomeKind::RolledBack));
            converge(&session, &next).await;
        }
        assert!(failed > 0, "no repair failed: nothing was tried");
    });
}

fn promises() -> impl Strategy<Value = (usize, usize, Promise)> {
    (0_u32..5, 2_usize..12, 1_usize..5, 0_usize..4, 0_usize..4, 1_usize..12).prop_map(
        |(kind, count, batch, surge, missing, hosts)| {
            let missing = missing.min(count - 1);
            // With none more and none less nothing can be exchanged; with room for all it is warm.
            let surge = if surge + missing == 0 { 1 } else { surge }.min(count - 1);
            (hosts, count, promise(kind, count, batch, surge, missing))
        },
    )
}

fn absences() -> impl Strategy<Value = Vec<Absence>> {
    proptest::collection::vec(
        (0_usize..12, 0_u64..20_000, 1_u64..90).prop_map(|(host, from, long)| Absence { host, from, long }),
        0..3,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever release, whatever hosts vanish, wherever it is killed: the floor of capacity
    /// holds, old instances of warm forms stay until the commit, and it converges.
    #[test]
    fn what_is_promised_holds(
        (hosts, count, promise) in promises(),
        bad in prop_oneof![3 => Just("".to_owned()), 1 => (0_u32..12).prop_map(|n| format!("-sick:{n}")), 1 => Just("-unsmoked".to_owned())],
        absences in absences(),
        kills in proptest::collection::vec(1_u64..15_000, 0..3),
    ) {
        on_virtual_time(async {
            let session = serving(hosts, count, &promise).await;
            vanish(&session, &absences);
            let next = wanted(&format!("2{bad}"), count, &promise.strategy);
            for millis in kills {
                // Dropped wherever it is; calls that have left arrive all the same.
                let _ = tokio::time::timeout(Duration::from_millis(millis), session.run(&next)).await;
            }
            let _ = session.run(&next).await;
            converge(&session, &next).await;
        });
    }
}
