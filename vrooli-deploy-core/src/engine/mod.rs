//! The journalled executor: what is done, how it is written down first, how an
//! interrupted run is resolved, and what came of it.

mod entry;
mod event;
mod outcome;
mod stack_state;

pub use entry::{Entry, JournalRecord, StepOutput, StepFailure};
pub use event::Event;
pub use outcome::{LeftBehind, Outcome, OutcomeKind};
pub use stack_state::{OpenPlan, ReleaseRecord, ReleaseStatus, ResourceState, StackState, StepState};
