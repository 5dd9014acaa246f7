//! The crash matrix: a scenario, killed at every append and every call, then run again.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use vrooli_deploy_core::engine::{Decision, EngineHooks, Entry, Hook, JournalRecord, Outcome, OutcomeKind};

use crate::fakecloud::{FakeCloud, FakeCloudOptions, Fault};
use crate::session::{Session, Wish, is_settled, stack_id, verify};

/// Where a run is killed. Numbers count from 0 in that run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Point {
    /// Right before the journal entry of that number is appended.
    BeforeAppend(u64),
    /// Right after it is durable.
    AfterAppend(u64),
    /// At the provider call of that number.
    Call(u64, Fault),
}

/// What is done before, and what is killed.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// For people.
    pub name: &'static str,
    /// Runs that are not killed, in order.
    pub before: Vec<Wish>,
    /// The run that is killed, and made again.
    pub wish: Wish,
    /// What it comes to when nobody kills it.
    pub outcome: OutcomeKind,
    /// Data may be deleted.
    pub delete_data: bool,
    /// Units of `api` that must serve at any time from here on.
    pub floor: Option<u32>,
}

struct KillAt {
    cloud: FakeCloud,
    point: Point,
    before: AtomicU64,
    after: AtomicU64,
}

impl KillAt {
    async fn die(&self) {
        self.cloud.kill();
        std::future::pending::<()>().await;
    }
}

#[async_trait]
impl Hook for KillAt {
    async fn before_append(&self, _seq: u64, _entry: &Entry) {
        if self.point == Point::BeforeAppend(self.before.fetch_add(1, Ordering::SeqCst)) {
            self.die().await;
        }
    }
    async fn after_append(&self, _record: &JournalRecord) {
        if self.point == Point::AfterAppend(self.after.fetch_add(1, Ordering::SeqCst)) {
            self.die().await;
        }
    }
}

/// Runs a future on a clock that jumps to the next timer whenever nothing else is to do.
///
/// # Panics
/// When no runtime can be made.
#[expect(clippy::expect_used, reason = "a runtime without I/O")]
pub fn on_virtual_time<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime")
        .block_on(future)
}

/// A session in which everything that comes before has happened.
///
/// # Panics
/// When what comes before fails.
pub async fn prepared(scenario: &Scenario, options: FakeCloudOptions) -> Session {
    let mut session = Session::new(FakeCloud::new(options));
    session.options.delete_data = scenario.delete_data;
    for wish in &scenario.before {
        let outcome = session.run(wish).await;
        let done = [OutcomeKind::Applied, OutcomeKind::OnHold];
        assert!(matches!(&outcome, Ok(o) if done.contains(&o.kind)), "before: {outcome:?}");
    }
    if let Some(fleet) = session.cloud.world().fleets.get_mut(&stack_id()) {
        fleet.floor = scenario.floor;
    }
    session
}

/// Runs the wish, killed at a point. `None` when it was killed; else what it came to.
pub async fn killed_run(session: &mut Session, wish: &Wish, point: &Point) -> Option<Outcome> {
    match point {
        Point::Call(number, fault) => session.cloud.fail_call(session.cloud.count() + number, fault.clone()),
        Point::BeforeAppend(_) | Point::AfterAppend(_) => {
            session.hooks = EngineHooks::new(KillAt {
                cloud: session.cloud.clone(),
                point: point.clone(),
                before: AtomicU64::new(0),
                after: AtomicU64::new(0),
            });
        }
    }
    let cloud = session.cloud.clone();
    let outcome = tokio::select! {
        biased;
        () = cloud.killed() => None,
        outcome = session.run(wish) => outcome.ok(),
    };
    session.hooks = EngineHooks::default();
    session.cloud.heal();
    outcome
}

/// How many entries and calls an undisturbed run makes.
///
/// # Panics
/// When it does not come to its outcome.
#[must_use]
#[expect(clippy::panic, reason = "it is an assertion")]
pub fn count(scenario: &Scenario, options: &FakeCloudOptions) -> (u64, u64) {
    on_virtual_time(async {
        let session = prepared(scenario, options.clone()).await;
        let (entries, calls) = (seq(&session).await, session.cloud.count());
        let outcome = session.run(&scenario.wish).await;
        let outcome = outcome.unwrap_or_else(|error| panic!("{}: {error:?}", scenario.name));
        assert_eq!(outcome.kind, scenario.outcome, "{}: {outcome:#?}", scenario.name);
        verify(&session, &scenario.wish, &outcome).await;
        (seq(&session).await - entries, session.cloud.count() - calls)
    })
}

async fn seq(session: &Session) -> u64 {
    session.state().await.map(|state| state.seq).unwrap_or_default()
}

/// Every point of a scenario: each entry before and after, each call with each parting.
#[must_use]
pub fn points(entries: u64, calls: u64) -> Vec<Point> {
    let appends = (0..entries).flat_map(|n| [Point::BeforeAppend(n), Point::AfterAppend(n)]);
    let partings = (0..calls).flat_map(|n| Fault::PARTINGS.map(|fault| Point::Call(n, fault())));
    appends.chain(partings).collect()
}

/// Kills a scenario at each of the points, one run after the other, then runs it undisturbed,
/// and once more after everything that was still on its way has landed.
///
/// # Panics
/// When a promise is broken. The message names scenario and points.
#[expect(clippy::panic, reason = "it is an assertion")]
pub fn survive(scenario: &Scenario, points: &[Point], options: &FakeCloudOptions) {
    let told = format!("{} killed at {points:?}", scenario.name);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        on_virtual_time(async {
            let mut session = prepared(scenario, options.clone()).await;
            for point in points {
                killed_run(&mut session, &scenario.wish, point).await;
            }
            let outcome = session.run(&scenario.wish).await;
            let outcome = outcome.unwrap_or_else(|error| panic!("the next run failed: {error:?}"));
            assert!(is_settled(&outcome), "the next run did not settle it: {outcome:#?}");
            let wanted = [scenario.outcome, OutcomeKind::NoChange];
            assert!(wanted.contains(&outcome.kind), "wanted {:?}: {outcome:#?}", scenario.outcome);
            let committed = scenario.wish.decide == Some(Decision::Promote)
                && outcome.kind == OutcomeKind::NoChange
                && session.state().await.is_ok_and(|s| s.current.map(|r| r.0) == Some(s.last_release));
            if committed {
                // What follows a commit is found by the next plan, as after any other crash.
                let again = session.run(&Wish { decide: None, ..scenario.wish.clone() }).await;
                let done = [OutcomeKind::Applied, OutcomeKind::NoChange];
                assert!(again.is_ok_and(|o| done.contains(&o.kind)), "the rest of the promotion");
            }
            verify(&session, &scenario.wish, &outcome).await;
            tokio::time::sleep(Duration::from_secs(3600)).await;
            verify(&session, &scenario.wish, &outcome).await;
            if scenario.outcome == OutcomeKind::Applied && scenario.wish.decide.is_none() {
                let again = session.run(&scenario.wish).await;
                assert!(
                    matches!(&again, Ok(o) if o.kind == OutcomeKind::NoChange),
                    "not converged: {again:#?}"
                );
                verify(&session, &scenario.wish, &outcome).await;
            }
        });
    }));
    if let Err(panic) = result {
        let message = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
            .unwrap_or_default();
        panic!("{told}: {message}");
    }
}
