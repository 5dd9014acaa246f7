//! What is true of a release that is not decided yet: which one gets requests, and what is kept.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::engine::{OpenPlan, StackState, StepState};
use crate::names::ReleaseNumber;
use crate::plan::{ReleaseAction, StepAction};
use crate::provider::Routing;

/// A release that is not decided yet: on hold, or being watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The new release.
    pub release: ReleaseNumber,
    /// The one before it, which is kept until it is decided.
    pub old: Option<ReleaseNumber>,
    /// True: it is being watched. False: a person decides.
    pub watching: bool,
    /// Why it waits, for people.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// Do instances of the new release run? What must not run twice starts at the end.
    pub started: bool,
    /// Requests that each release gets, as weights.
    pub weights: BTreeMap<ReleaseNumber, u32>,
}

impl Waiting {
    /// What waits in a stack, if anything does. With what is routed, as far as that was seen;
    /// else as the last shift left it.
    pub(super) fn of(state: &StackState, seen: Option<&Routing>) -> Option<Self> {
        let open = state.open.as_ref()?;
        let held = OpenPlan::waiting(open)?;
        let release = open.plan.release.as_ref()?.number;
        let started = open.plan.steps.iter().any(|step| {
            let starts = matches!(
                &step.action,
                StepAction::Release { release: of, action: ReleaseAction::Start { .. } } if *of == release
            );
            starts && open.steps.get(&step.id) == Some(&StepState::Succeeded)
        });
        let mut weights =
            seen.or_else(|| open.routed()).map(|routing| routing.weights.clone()).unwrap_or_default();
        weights.retain(|_, weight| *weight > 0);
        Some(Self {
            release,
            old: state.current.filter(|current| *current != release),
            watching: held.watching,
            reason: held.reason,
            since: held.since,
            started,
            weights,
        })
    }

    /// Who serves, in words: `r2 gets all requests, r1 is kept warm`.
    #[must_use]
    pub fn who_serves(&self) -> String {
        let new = self.release;
        let total: u64 = self.weights.values().map(|weight| u64::from(*weight)).sum();
        let Some(old) = self.old else { return format!("{new} serves") };
        match (self.started, self.weights.get(&new), self.weights.get(&old)) {
            (false, ..) => format!("{old} serves until then, {new} is ready"),
            (true, Some(_), None) => format!("{new} gets all requests, {old} is kept warm"),
            (true, Some(weight), Some(_)) => {
                let percent = u64::from(*weight) * 100 / total;
                format!("{new} gets {percent} % of the requests, {old} the others")
            }
            (true, None, Some(_)) => format!("all requests went back to {old}"),
            (true, None, None) => format!("neither {new} nor {old} gets requests"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_releases_serve_only_where_both_get_requests() {
        let says = |started, weights: &[(u32, u32)]| {
            Waiting {
                release: ReleaseNumber(2),
                old: Some(ReleaseNumber(1)),
                watching: true,
                reason: String::new(),
                since: Timestamp::UNIX_EPOCH,
                started,
                weights: weights.iter().map(|(release, weight)| (ReleaseNumber(*release), *weight)).collect(),
            }
            .who_serves()
        };
        assert_eq!(says(true, &[(2, 100)]), "r2 gets all requests, r1 is kept warm");
        assert_eq!(says(true, &[(1, 90), (2, 10)]), "r2 gets 10 % of the requests, r1 the others");
        assert_eq!(says(true, &[(1, 100)]), "all requests went back to r1");
        assert_eq!(says(false, &[(2, 100)]), "r1 serves until then, r2 is ready");
        assert_eq!(says(true, &[]), "neither r2 nor r1 gets requests");
    }
}
