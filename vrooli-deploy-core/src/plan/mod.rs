//! A pure diff from what is there to what is wanted: steps, undo, tokens, reasons.
//! Immutable and bound to a digest; a saved plan is evidence, never instructions.

mod step;

pub use step::{ReleaseAction, Stage, Step, StepAction, StepId, Undo};
