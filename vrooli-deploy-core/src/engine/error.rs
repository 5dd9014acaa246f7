use super::codes;
use super::stack_state::IllegalTransition;
use crate::diagnostics::Code;
use crate::names::StackId;
use crate::plan::{Finding, StepId};
use crate::state::StateError;

/// The engine stopped, or did not begin. What a plan came to is an
/// [`Outcome`](super::Outcome), never an error; after one of these the next run resolves
/// what is open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The journal could not be written: nothing more was begun.
    #[error("the journal could not be written, so nothing more was begun")]
    Journal(#[source] StateError),
    /// The lease was taken over: stopped at once.
    #[error("the lease was lost, so everything was stopped")]
    Lost(#[source] StateError),
    /// Something that we called has seen a newer lease holder: stopped at once.
    #[error("step `{step}` was refused because a newer lease holder is at work: {message}")]
    Fenced {
        /// The step.
        step: StepId,
        /// The provider's words.
        message: String,
    },
    /// A plan is open: [`Engine::recover`](super::Engine::recover) comes first.
    #[error("an interrupted plan of `{stack}` must be resolved first")]
    Open {
        /// The stack.
        stack: StackId,
    },
    /// No plan of the stack waits for a decision.
    #[error("no release is on hold or being watched")]
    NotWaiting,
    /// The plan is not one that may be run. Nothing was changed.
    #[error("the plan of `{stack}` is not one that may be run: {}", .findings.first().map_or("", |f| f.message.as_str()))]
    Refused {
        /// The stack.
        stack: StackId,
        /// What is wrong with it.
        findings: Vec<Finding>,
    },
    /// The store gave records that do not follow the state: it was changed behind our back.
    #[error(transparent)]
    Damaged(#[from] IllegalTransition),
}

impl ApplyError {
    /// The message's code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Journal(_) => codes::JOURNAL,
            Self::Lost(_) | Self::Fenced { .. } => codes::FENCED,
            Self::Open { .. } => codes::OPEN,
            Self::Refused { .. } => codes::REFUSED,
            Self::NotWaiting => codes::NOT_WAITING,
            Self::Damaged(_) => codes::DAMAGED,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        Some(
            match self {
                Self::Journal(_) => {
                    "make the state writable again (space, permissions) and run the command again"
                }
                Self::Lost(_) | Self::Fenced { .. } => {
                    "someone else changes this stack; wait for them and run the command again"
                }
                Self::Open { .. } => "run the command again; what is open is resolved first",
                Self::NotWaiting => "`vrooli-deploy status APP` shows how it is",
                Self::Refused { .. } => {
                    "this is a fault of the planner or of a strategy; please report it with the plan"
                }
                Self::Damaged(_) => "restore the state from a backup, or rebuild it from what is there",
            }
            .to_owned(),
        )
    }
}

impl From<StateError> for ApplyError {
    fn from(error: StateError) -> Self {
        match error {
            lost @ (StateError::Lost { .. } | StateError::Held { .. }) => Self::Lost(lost),
            other => Self::Journal(other),
        }
    }
}
