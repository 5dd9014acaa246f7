use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::outcome::Outcome;
use crate::diagnostics::Code;
use crate::names::ReleaseNumber;
use crate::plan::{Plan, StepId};
use crate::provider::{ErrorKind, MigrationReport, OpToken, Outputs, PhysicalId, Routing};
use crate::release::Release;

/// One line of a stack's journal as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JournalRecord {
    /// Counts from 1, without gaps.
    pub seq: u64,
    /// The lease under which it was written.
    pub fence: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub entry: Entry,
}

/// What is written down. An intent log: `Started` is durable before the call leaves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "entry")]
pub enum Entry {
    /// A plan begins. Its steps, undo and tokens are fixed from here on.
    PlanOpened {
        /// This run.
        run: Uuid,
        /// The plan.
        plan: Plan,
    },
    /// A step's call is about to leave.
    Started {
        /// The step.
        step: StepId,
        /// Token of a create.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<OpToken>,
        /// The spec with its references resolved; secrets as references.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        spec: Option<Value>,
    },
    /// The call succeeded.
    Succeeded {
        /// The step.
        step: StepId,
        /// What it gave.
        output: StepOutput,
    },
    /// The call failed, or recovery found that it never happened.
    Failed {
        /// The step.
        step: StepId,
        /// Why.
        failure: StepFailure,
    },
    /// A step's undo is about to be done.
    UndoStarted {
        /// The step.
        step: StepId,
    },
    /// It is undone.
    UndoSucceeded {
        /// The step.
        step: StepId,
    },
    /// It could not be undone.
    UndoFailed {
        /// The step.
        step: StepId,
        /// Why.
        failure: StepFailure,
    },
    /// The plan waits with both releases there, and its lease is about to be given up.
    Held {
        /// The step that waits.
        step: StepId,
        /// Why, for people.
        reason: String,
        /// True: the watch goes on without us. False: a person decides.
        watching: bool,
    },
    /// Somebody goes on with a plan that was held.
    Resumed {
        /// The step that waited.
        step: StepId,
    },
    /// A person took the release of the open plan for good: nothing later in it asks again.
    Promoted {
        /// The step that waited.
        step: StepId,
    },
    /// The release is the current one: made before any host is told.
    Committed {
        /// Which.
        release: ReleaseNumber,
    },
    /// The plan is over.
    PlanClosed {
        /// What came of it.
        outcome: Outcome,
    },
    /// The stack is gone; what was is history.
    Destroyed,
    /// State was lost and rebuilt from what is there.
    Rebuilt {
        /// The state that was found.
        state: Box<super::stack_state::StackState>,
    },
}

/// What a step gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "gave")]
pub enum StepOutput {
    /// Nothing that later steps need.
    Nothing,
    /// A resource that was made, changed or adopted.
    Resource {
        /// What the provider calls it.
        id: PhysicalId,
        /// What was seen.
        observed: Value,
        /// Its outputs, secret ones as references.
        outputs: Outputs,
    },
    /// The release with its bundle fixed.
    Release {
        /// The release.
        release: Box<Release>,
    },
    /// Files that were applied.
    Migrated {
        /// Which.
        report: MigrationReport,
    },
    /// Traffic as it was before.
    Shifted {
        /// The earlier routing.
        before: Routing,
    },
}

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepFailure {
    /// The message's code.
    pub code: Code,
    /// What kind of failure.
    pub kind: ErrorKind,
    /// A phrase for people; the provider's own words.
    pub message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Named facts: the last log lines, a probe's status and body. Without secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub context: Vec<(String, String)>,
    /// True when it is not known whether it happened.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ambiguous: bool,
}
