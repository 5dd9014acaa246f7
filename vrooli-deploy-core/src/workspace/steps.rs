//! Steps that need no strategy, and what decides whether any are needed. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use crate::engine::{ReleaseStatus, StackState};
use crate::manifest::{KeepConfig, Overlap, StrategyConfig};
use crate::names::ReleaseNumber;
use crate::plan::{PlannedRelease, ReleaseAction, Stage, Step, StepAction, StepId, Undo};
use crate::provider::{FleetCapabilities, Routing, UnitObserved, UnitState};
use crate::release::Release;
use crate::release::strategy::{Situation, StepGraph};

/// Earlier releases that stay staged for rollback when nothing says otherwise.
const RETAINED: u32 = 5;

/// Does the release serve: all its units run and all traffic goes to it?
pub(super) fn serves(release: &Release, units: &[UnitObserved], routing: &Routing) -> bool {
    let wanted: BTreeSet<_> = release
        .bundle
        .services
        .iter()
        .flat_map(|(name, config)| crate::release::strategy::units(name, config))
        .collect();
    let running = UnitObserved::running(units, release.number);
    let others = units.iter().any(|u| u.release != release.number && u.state != UnitState::Stopped);
    wanted == running && !others && routing.weights == Routing::all_to(release.number).weights
}

/// The release to go back to from that one: of the good ones before it, the one that served last.
pub(super) fn former(state: &StackState, from: Option<ReleaseNumber>) -> Option<ReleaseNumber> {
    state
        .releases
        .iter()
        .filter(|(number, record)| {
            record.status == ReleaseStatus::Good && from.is_none_or(|from| **number < from)
        })
        .max_by_key(|(number, record)| (record.committed, **number))
        .map(|(number, _)| *number)
}

/// Releases that are staged and that nothing needs once `next` is the current one: all but those
/// that served last, as many as are kept and as long. The one that a rollback without a wish
/// goes to is always one of them.
pub(super) fn expired(
    state: &StackState,
    next: ReleaseNumber,
    keep: Option<KeepConfig>,
    now: Timestamp,
) -> Vec<ReleaseNumber> {
    let keep = keep.unwrap_or_default();
    let count = keep.count.unwrap_or(RETAINED).max(1) as usize;
    let former = former(state, Some(next));
    let mut earlier: Vec<_> = state
        .releases
        .iter()
        .filter(|(number, record)| record.status == ReleaseStatus::Good && **number != next)
        .map(|(number, record)| (former == Some(*number), record.committed, *number))
        .collect();
    earlier.sort_unstable();
    earlier
        .into_iter()
        .rev()
        .enumerate()
        .filter(|(place, (needed, committed, _))| {
            let old = keep.age.zip(*committed).is_some_and(|(age, committed)| {
                Duration::try_from(now.duration_since(committed)).unwrap_or_default() > age
            });
            *place >= count || (!needed && old)
        })
        .map(|(_, (_, _, number))| number)
        .collect()
}

/// Brings the units of a staged release up and its traffic back; units of others end.
/// Empty when it serves already.
pub(super) fn start_steps(
    next: &PlannedRelease,
    units: &[UnitObserved],
    routing: &Routing,
    fleet: &FleetCapabilities,
    expired: &[ReleaseNumber],
) -> Vec<Step> {
    let config = StrategyConfig::default();
    let because = "it does not serve";
    let situation =
        Situation { next, current: None, routing, units, fleet, config: &config, because, expired };
    let running = UnitObserved::running(units, next.number);
    let complete = situation
        .services()
        .iter()
        .flat_map(|(name, config)| crate::release::strategy::units(name, config))
        .all(|unit| running.contains(&unit));
    let alone = units.iter().all(|u| u.release == next.number || u.state == UnitState::Stopped);
    if complete && alone && routing.weights == Routing::all_to(next.number).weights {
        return Vec::new();
    }
    StepGraph::new(&situation)
        .start(Overlap::Allowed)
        .start(Overlap::Exclusive)
        .shift(Routing::all_to(next.number))
        .retire()
        .done()
}

/// Ends the traffic, then every unit.
pub(super) fn stop_steps(
    units: &[UnitObserved],
    routing: &Routing,
    current: Option<ReleaseNumber>,
) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut after = BTreeSet::new();
    let owner = current.or_else(|| units.first().map(|u| u.release)).unwrap_or(ReleaseNumber(0));
    if !routing.weights.is_empty() {
        let id = StepId("shift:none".to_owned());
        steps.push(Step {
            id: id.clone(),
            stage: Stage::Release,
            action: StepAction::Release {
                release: owner,
                action: ReleaseAction::Shift { routing: Routing::default() },
            },
            undo: Undo::Unshift,
            after: BTreeSet::new(),
            reason: "no new requests".to_owned(),
            token: None,
        });
        after.insert(id);
    }
    for (old, unit) in UnitObserved::left(units) {
        steps.push(Step {
            id: StepId(format!("stop:{old}/{unit}")),
            stage: Stage::Release,
            action: StepAction::Release {
                release: owner,
                action: ReleaseAction::Stop { old, unit: unit.clone() },
            },
            undo: Undo::Release { release: old, action: ReleaseAction::Start { unit } },
            after: after.clone(),
            reason: String::new(),
            token: None,
        });
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ReleaseRecord;
    use crate::names::{Digest, UnitId};
    use crate::plan::ReleaseSource;

    fn seen(release: u32, unit: &str, state: UnitState) -> UnitObserved {
        UnitObserved {
            release: ReleaseNumber(release),
            unit: unit.parse::<UnitId>().unwrap(),
            host: "localhost".to_owned(),
            state,
            pid: None,
            ports: std::collections::BTreeMap::new(),
            restarts: 0,
            last_exit: None,
            log: None,
        }
    }

    #[test]
    fn what_several_hosts_have_runs_where_all_of_them_run_it_and_ends_in_one_step() {
        let on = |host: &str, state| UnitObserved { host: host.to_owned(), ..seen(2, "web.0", state) };
        let all = |second| [on("a", UnitState::Running), on("b", second)];
        let two = ReleaseNumber(2);
        assert_eq!(UnitObserved::running(&all(UnitState::Running), two).len(), 1);
        assert_eq!(UnitObserved::running(&all(UnitState::Stopped), two).len(), 0);
        let steps = stop_steps(&all(UnitState::Running), &Routing::default(), Some(two));
        assert_eq!(steps.iter().map(|step| step.id.0.as_str()).collect::<Vec<_>>(), ["stop:r2/web.0"]);
        assert_eq!(stop_steps(&all(UnitState::Stopped), &Routing::default(), Some(two)).len(), 1);
    }

    #[test]
    fn a_repair_that_is_taken_back_ends_only_what_it_started() {
        let mut release = history(&[1, 2]).releases[&ReleaseNumber(2)].release.clone();
        let services = serde_json::json!({"web": {"run": "./web", "ports": {"http": {}}, "scaling": {"min": 3, "max": 3}}});
        release.bundle.services = serde_json::from_value(services).unwrap();
        let source = ReleaseSource::Staged { release: Box::new(release) };
        let next = PlannedRelease { number: ReleaseNumber(2), source };
        let on =
            |host: &str, unit: &str, state| UnitObserved { host: host.to_owned(), ..seen(2, unit, state) };
        // The first runs, the second on one of two hosts, the third nowhere.
        let units = [
            on("a", "web.0", UnitState::Running),
            on("b", "web.0", UnitState::Running),
            on("a", "web.1", UnitState::Running),
            on("b", "web.1", UnitState::Stopped),
        ];
        let routing = Routing::all_to(ReleaseNumber(2));
        let steps = start_steps(&next, &units, &routing, &FleetCapabilities::default(), &[]);
        let undo = |id: &str| &steps.iter().find(|step| step.id.0 == id).unwrap().undo;
        assert!(matches!(undo("start:r2/web.0"), Undo::Keep { .. }));
        assert!(
            matches!(undo("start:r2/web.1"), Undo::Keep { .. }),
            "it would end on the host where it serves"
        );
        assert_eq!(*undo("start:r2/web.2"), Undo::Stop);
    }

    #[test]
    fn a_stop_ends_traffic_first_and_leaves_what_is_stopped_alone() {
        let units = [seen(1, "web.0", UnitState::Stopped), seen(2, "web.0", UnitState::Running)];
        let steps = stop_steps(&units, &Routing::all_to(ReleaseNumber(2)), Some(ReleaseNumber(2)));
        let ids: Vec<&str> = steps.iter().map(|s| s.id.0.as_str()).collect();
        assert_eq!(ids, ["shift:none", "stop:r2/web.0"]);
        assert!(steps[1].after.contains(&steps[0].id));
    }

    fn history(days: &[i64]) -> StackState {
        let bundle = |number: i64| -> crate::release::Bundle {
            serde_json::from_value(serde_json::json!({
                "app": "shop", "environment": "default", "version": number.to_string(),
                "artefact": {"digest": Digest::of(b"a"), "source": Digest::of(b"s"), "location": "x", "root": "."},
                "services": {}, "env": {}, "smoke": [], "strategy": {"type": "blue-green"},
                "resources": [], "migrations": [],
            }))
            .unwrap()
        };
        let mut state = StackState::default();
        for (number, day) in (1..).zip(days) {
            let at = Timestamp::from_second(day * 86_400).unwrap();
            let number = ReleaseNumber(number);
            let release = Release::new(number, bundle(i64::from(number.0))).unwrap();
            let record = ReleaseRecord {
                release,
                created: at,
                committed: Some(at),
                failure: None,
                status: ReleaseStatus::Good,
            };
            state.releases.insert(number, record);
            state.current = Some(number);
        }
        state
    }

    /// What goes when r9 follows r8, or another release that one.
    fn gone(state: &StackState, next: u32, keep: Option<KeepConfig>) -> Vec<u32> {
        let now = Timestamp::from_second(100 * 86_400).unwrap();
        let mut gone: Vec<u32> =
            expired(state, ReleaseNumber(next), keep, now).into_iter().map(|n| n.0).collect();
        gone.sort_unstable();
        gone
    }

    fn count(count: u32) -> Option<KeepConfig> {
        Some(KeepConfig { count: Some(count), age: None })
    }

    #[test]
    fn earlier_releases_are_kept_by_number_and_age_and_the_one_that_serves_becomes_one() {
        let state = history(&[1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(gone(&state, 9, None), [1, 2, 3]);
        assert_eq!(gone(&state, 9, count(2)), [1, 2, 3, 4, 5, 6]);
        assert_eq!(gone(&state, 9, count(1)), [1, 2, 3, 4, 5, 6, 7]);
        // 95 days: those of day 5 and later are young enough.
        let age = |days: u64| Some(Duration::from_secs(days * 86_400));
        assert_eq!(gone(&state, 9, Some(KeepConfig { count: Some(9), age: age(95) })), [1, 2, 3, 4]);
        // The one that a rollback goes to stays, however old it is.
        let old = Some(KeepConfig { count: Some(9), age: age(1) });
        assert_eq!(gone(&state, 9, old), [1, 2, 3, 4, 5, 6, 7]);
        // Started again: it is the current one already.
        assert_eq!(gone(&state, 8, count(2)), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn after_a_rollback_the_next_one_still_has_where_to_go() {
        // Back from r4 to r3.
        let mut state = history(&[1, 2, 3, 4]);
        assert_eq!(former(&state, state.current), Some(ReleaseNumber(3)));
        assert_eq!(gone(&state, 3, count(1)), [1, 4], "r2 is where a second rollback goes");
        assert_eq!(gone(&state, 3, count(2)), [1]);
        let record = state.releases.get_mut(&ReleaseNumber(3)).unwrap();
        record.committed = Some(Timestamp::from_second(5 * 86_400).unwrap());
        state.current = Some(ReleaseNumber(3));
        assert_eq!(former(&state, state.current), Some(ReleaseNumber(2)));
        // What follows goes back to what served before it, and not to what was given up.
        assert_eq!(former(&state, Some(ReleaseNumber(5))), Some(ReleaseNumber(3)));
        assert_eq!(gone(&state, 5, count(1)), [1, 2, 4]);
    }

    #[test]
    fn nothing_is_to_be_stopped_where_nothing_runs() {
        assert!(stop_steps(&[], &Routing::default(), None).is_empty());
    }
}
