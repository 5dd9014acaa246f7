use serde::{Deserialize, Serialize};

use super::entry::StepFailure;
use super::outcome::Outcome;
use crate::names::ReleaseNumber;
use crate::plan::{Stage, StepId};
use crate::provider::Counters;
use crate::release::verdict::Verdict;

/// What happens, as it happens. Holds no secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
#[non_exhaustive]
pub enum Event {
    /// An interrupted run is being resolved first.
    Recovering {
        /// Steps that were left dangling.
        dangling: Vec<StepId>,
    },
    /// A plan begins.
    PlanStarted {
        /// Number of its steps.
        steps: usize,
    },
    /// A step begins.
    StepStarted {
        /// The step.
        step: StepId,
        /// When it may run.
        stage: Stage,
        /// What it does, for people.
        title: String,
    },
    /// A line that a step's program wrote.
    StepOutput {
        /// The step.
        step: StepId,
        /// The line, without secrets.
        line: String,
    },
    /// A step is done.
    StepSucceeded {
        /// The step.
        step: StepId,
        /// How long it took, in milliseconds.
        millis: u64,
    },
    /// A step is tried again.
    StepRetried {
        /// The step.
        step: StepId,
        /// Why.
        reason: String,
    },
    /// A step failed.
    StepFailed {
        /// The step.
        step: StepId,
        /// Why.
        failure: StepFailure,
    },
    /// A step is being undone.
    UndoStarted {
        /// The step.
        step: StepId,
    },
    /// A step is undone.
    UndoSucceeded {
        /// The step.
        step: StepId,
    },
    /// A step could not be undone.
    UndoFailed {
        /// The step.
        step: StepId,
        /// Why.
        failure: StepFailure,
    },
    /// A look at a release that is watched.
    Watching {
        /// The step.
        step: StepId,
        /// The new release.
        new: ReleaseNumber,
        /// The one it is compared with.
        old: Option<ReleaseNumber>,
        /// What the new one did since the watch began.
        seen_new: Counters,
        /// What the old one did since then.
        seen_old: Counters,
        /// How long it is watched, in milliseconds.
        elapsed_ms: u64,
        /// How long it is to be watched, in milliseconds.
        window_ms: u64,
        /// What is thought of it so far.
        verdict: Verdict,
    },
    /// The plan waits with both releases there.
    Held {
        /// The step that waits.
        step: StepId,
        /// Why.
        reason: String,
    },
    /// Something worth knowing.
    Note {
        /// For people.
        message: String,
    },
    /// The run is over.
    Finished {
        /// What came of it.
        outcome: Outcome,
    },
}
