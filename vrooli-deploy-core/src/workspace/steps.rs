//! Steps that need no strategy, and what decides whether any are needed. Pure.

use std::collections::BTreeSet;

use crate::engine::{ReleaseStatus, StackState};
use crate::manifest::{Overlap, StrategyConfig};
use crate::names::ReleaseNumber;
use crate::plan::{PlannedRelease, ReleaseAction, Stage, Step, StepAction, StepId, Undo};
use crate::provider::{FleetCapabilities, Routing, UnitObserved, UnitState};
use crate::release::Release;
use crate::release::strategy::{Situation, StepGraph};

/// Releases beside the current one that stay staged for rollback.
const RETAINED: usize = 5;

/// Does the release serve: all its units run and all traffic goes to it?
pub(super) fn serves(release: &Release, units: &[UnitObserved], routing: &Routing) -> bool {
    let wanted: BTreeSet<_> = release
        .bundle
        .services
        .iter()
        .flat_map(|(name, config)| crate::release::strategy::units(name, config))
        .collect();
    let running: BTreeSet<_> = units
        .iter()
        .filter(|u| u.release == release.number && matches!(u.state, UnitState::Running))
        .map(|u| u.unit.clone())
        .collect();
    let others = units.iter().any(|u| u.release != release.number && u.state != UnitState::Stopped);
    wanted == running && !others && routing.weights == Routing::all_to(release.number).weights
}

/// Releases that are staged and that no rollback needs: all but the current one and the
/// newest good ones.
pub(super) fn expired(state: &StackState) -> Vec<ReleaseNumber> {
    let mut good: Vec<_> = state
        .releases
        .iter()
        .filter(|(number, record)| record.status == ReleaseStatus::Good && Some(**number) != state.current)
        .map(|(number, record)| (record.committed, *number))
        .collect();
    good.sort_unstable();
    let keep = good.len().saturating_sub(RETAINED);
    good.into_iter().take(keep).map(|(_, number)| number).collect()
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
    let situation = Situation { next, current: None, routing, units, fleet, config: &config, expired };
    let running: BTreeSet<_> = units
        .iter()
        .filter(|u| u.release == next.number && u.state == UnitState::Running)
        .map(|u| &u.unit)
        .collect();
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
    for seen in units.iter().filter(|u| u.state != UnitState::Stopped) {
        steps.push(Step {
            id: StepId(format!("stop:{}/{}", seen.release, seen.unit)),
            stage: Stage::Release,
            action: StepAction::Release {
                release: owner,
                action: ReleaseAction::Stop { old: seen.release, unit: seen.unit.clone() },
            },
            undo: Undo::Release {
                release: seen.release,
                action: ReleaseAction::Start { unit: seen.unit.clone() },
            },
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
    use crate::names::UnitId;

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
    fn a_stop_ends_traffic_first_and_leaves_what_is_stopped_alone() {
        let units = [seen(1, "web.0", UnitState::Stopped), seen(2, "web.0", UnitState::Running)];
        let steps = stop_steps(&units, &Routing::all_to(ReleaseNumber(2)), Some(ReleaseNumber(2)));
        let ids: Vec<&str> = steps.iter().map(|s| s.id.0.as_str()).collect();
        assert_eq!(ids, ["shift:none", "stop:r2/web.0"]);
        assert!(steps[1].after.contains(&steps[0].id));
    }

    #[test]
    fn nothing_is_to_be_stopped_where_nothing_runs() {
        assert!(stop_steps(&[], &Routing::default(), None).is_empty());
    }
}
