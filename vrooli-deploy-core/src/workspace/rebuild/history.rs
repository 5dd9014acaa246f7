//! Which releases there are and which of them serves, by what is there alone. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::ReleaseStatus;
use crate::names::{ReleaseNumber, UnitId};
use crate::provider::{Routing, UnitObserved, UnitState};
use crate::release::Release;

/// What is there of releases, in order.
#[derive(Debug, Default, PartialEq)]
pub(super) struct History {
    /// The one that serves, or did before it was stopped.
    pub(super) current: Option<ReleaseNumber>,
    /// Of each that is staged.
    pub(super) releases: BTreeMap<ReleaseNumber, ReleaseStatus>,
    /// Its deployment was never finished: it is taken back, as after any run that was interrupted.
    pub(super) unfinished: BTreeSet<ReleaseNumber>,
    /// Units of others than the current one that still run.
    pub(super) left: BTreeSet<(ReleaseNumber, UnitId)>,
    /// Traffic is not all the current one's, or is to go back by itself.
    pub(super) astray: bool,
    /// Nothing runs.
    pub(super) stopped: bool,
}

/// Reads it off what is staged, what runs and where traffic goes. What goes back by itself was
/// never committed: where it goes back to is what was.
pub(super) fn read(staged: &[Release], units: &[UnitObserved], routing: &Routing) -> History {
    let is_staged = |number: &ReleaseNumber| staged.iter().any(|release| release.number == *number);
    let most = |weights: &BTreeMap<ReleaseNumber, u32>| {
        let some = weights.iter().filter(|(number, weight)| **weight > 0 && is_staged(number));
        // Of two with the same the older: it was there before the other came.
        some.max_by_key(|(number, weight)| (**weight, std::cmp::Reverse(**number))).map(|(number, _)| *number)
    };
    let runs = |number: ReleaseNumber| {
        units.iter().any(|unit| unit.release == number && unit.state != UnitState::Stopped)
    };
    let ran = |number: ReleaseNumber| units.iter().any(|unit| unit.release == number);
    let last = |fits: &dyn Fn(ReleaseNumber) -> bool| {
        staged.iter().map(|release| release.number).filter(|number| fits(*number)).max()
    };
    let current = most(&routing.revert_to)
        .or_else(|| most(&routing.weights))
        .or_else(|| last(&runs))
        .or_else(|| last(&ran))
        .or_else(|| last(&|_| true));
    let unfinished: BTreeSet<_> = staged
        .iter()
        .map(|release| release.number)
        // One that ran and was stopped may have served before a rollback: it stays.
        .filter(|number| current.is_some_and(|current| *number > current) && (runs(*number) || !ran(*number)))
        .collect();
    let status = |number: ReleaseNumber| {
        if unfinished.contains(&number) { ReleaseStatus::Failed } else { ReleaseStatus::Good }
    };
    let served = routing.weights.values().any(|weight| *weight > 0);
    History {
        releases: staged.iter().map(|release| (release.number, status(release.number))).collect(),
        left: UnitObserved::left(units).into_iter().filter(|(of, _)| Some(*of) != current).collect(),
        astray: served
            && current.is_some_and(|current| {
                routing.weights != Routing::all_to(current).weights
                    || !routing.revert_to.is_empty()
                    || !routing.resting.is_empty()
            }),
        stopped: !units.iter().any(|unit| unit.state != UnitState::Stopped),
        unfinished,
        current,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Digest;

    fn staged(numbers: &[u32]) -> Vec<Release> {
        let bundle: crate::release::Bundle = serde_json::from_value(serde_json::json!({
            "app": "shop", "environment": "default", "version": "1",
            "artefact": {"digest": Digest::of(b"a"), "source": Digest::of(b"s"), "location": "x", "root": "."},
            "services": {}, "env": {}, "smoke": [], "strategy": {"type": "blue-green"},
            "resources": [], "migrations": [],
        }))
        .unwrap();
        numbers.iter().map(|n| Release::new(ReleaseNumber(*n), bundle.clone()).unwrap()).collect()
    }

    fn unit(release: u32, state: UnitState) -> UnitObserved {
        UnitObserved {
            release: ReleaseNumber(release),
            unit: "web.0".parse().unwrap(),
            host: "web1".to_owned(),
            state,
            pid: None,
            ports: BTreeMap::new(),
            restarts: 0,
            last_exit: None,
            log: None,
        }
    }

    fn numbers(set: &BTreeSet<ReleaseNumber>) -> Vec<u32> {
        set.iter().map(|number| number.0).collect()
    }

    #[test]
    fn what_serves_is_current_and_what_came_before_it_can_be_gone_back_to() {
        let units = [unit(2, UnitState::Running), unit(1, UnitState::Stopped)];
        let history = read(&staged(&[1, 2]), &units, &Routing::all_to(ReleaseNumber(2)));
        assert_eq!(history.current, Some(ReleaseNumber(2)));
        assert!(history.releases.values().all(|status| *status == ReleaseStatus::Good));
        assert!(history.unfinished.is_empty() && history.left.is_empty());
        assert!(!history.astray && !history.stopped);
    }

    #[test]
    fn what_was_being_watched_goes_back_to_where_its_edge_would() {
        let units = [unit(1, UnitState::Running), unit(2, UnitState::Running)];
        let mut routing = Routing::all_to(ReleaseNumber(2));
        routing.revert_to = Routing::all_to(ReleaseNumber(1)).weights;
        let history = read(&staged(&[1, 2]), &units, &routing);
        assert_eq!(history.current, Some(ReleaseNumber(1)));
        assert_eq!(numbers(&history.unfinished), [2]);
        assert!(history.astray);
        assert_eq!(history.left.iter().map(|(number, _)| number.0).collect::<Vec<_>>(), [2]);
        // On hold nothing goes back by itself: the one with more of the traffic, else the older.
        routing.revert_to.clear();
        for (old, new, current) in [(90, 10, 1), (10, 90, 2), (50, 50, 1)] {
            routing.weights = BTreeMap::from([(ReleaseNumber(1), old), (ReleaseNumber(2), new)]);
            assert_eq!(read(&staged(&[1, 2]), &units, &routing).current, Some(ReleaseNumber(current)));
        }
    }

    #[test]
    fn a_release_that_was_gone_back_from_stays_and_one_that_never_ran_goes() {
        let units = [unit(1, UnitState::Stopped), unit(2, UnitState::Running), unit(3, UnitState::Stopped)];
        let history = read(&staged(&[1, 2, 3, 4]), &units, &Routing::all_to(ReleaseNumber(2)));
        assert_eq!(numbers(&history.unfinished), [4]);
        assert_eq!(history.releases[&ReleaseNumber(3)], ReleaseStatus::Good);
        assert_eq!(history.releases[&ReleaseNumber(4)], ReleaseStatus::Failed);
    }

    #[test]
    fn what_was_stopped_is_current_all_the_same() {
        let units = [unit(1, UnitState::Stopped), unit(2, UnitState::Stopped)];
        let history = read(&staged(&[1, 2, 3]), &units, &Routing::default());
        assert_eq!((history.current, history.stopped), (Some(ReleaseNumber(2)), true));
        assert_eq!(numbers(&history.unfinished), [3]);
        // A worker has no traffic.
        let history = read(&staged(&[1, 2]), &[unit(1, UnitState::Running)], &Routing::default());
        assert_eq!(history.current, Some(ReleaseNumber(1)));
        assert_eq!(read(&[], &[], &Routing::default()).current, None);
    }
}
