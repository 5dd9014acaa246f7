use serde::{Deserialize, Serialize};

use super::entry::StepFailure;
use crate::names::ReleaseNumber;
use crate::plan::StepId;

/// What came of a run. A rollback is never called success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Which of the honest ones.
    pub kind: OutcomeKind,
    /// The release that serves now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseNumber>,
    /// The step that failed, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<(StepId, StepFailure)>,
    /// What is still there although it should not be, or stays on purpose.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_behind: Vec<LeftBehind>,
}

/// Which outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeKind {
    /// Nothing was to be done.
    NoChange,
    /// Done.
    Applied,
    /// Not decided yet: a person decides, or whoever watches. The release before it is kept.
    OnHold,
    /// Failed, and all is as before but for what is listed.
    RolledBack,
    /// Failed in part; what remains is listed. Where that is only because somebody did not answer on
    /// the way back, the plan stays open and the next run goes on with it.
    Partial,
    /// An undo failed or something is not known: a person decides.
    Stuck,
    /// Stopped by the user; the next run resolves it.
    Interrupted,
}

impl OutcomeKind {
    /// The exit code of the command line.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::NoChange | Self::Applied => 0,
            Self::RolledBack => 3,
            Self::Partial => 4,
            Self::Stuck => 6,
            Self::OnHold => 8,
            Self::Interrupted => 130,
        }
    }
}

/// What becomes of a plan that waits with both releases there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// The new release is good: go on.
    Promote,
    /// It is not: go back.
    Abort,
    /// Go on watching.
    Watch,
}

/// Something that is still there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftBehind {
    /// What: a resource key, a migration, a release.
    pub what: String,
    /// Why it is there.
    pub why: String,
}
