//! Swaps: putting one resource in the place of another.
//!
//! What is known about swaps is data. A swap never changes a scenario: it is an entry in a
//! manifest (or a profile, or a flag), and [`derive`](crate::requirements::derive) reads it.
//! How much one helps is never a constant: fitness is worked out again with it
//! ([`analyze`]).

mod analyze;
mod apply;
mod cascade;
mod known;

pub use analyze::{SwapAnalysis, TierChange, analyze};
pub use apply::{apply, check, joined};
pub use cascade::{Consequence, cascade};
pub(crate) use known::{Effective, effective};
pub use known::{Effort, Force, ForceKind, KnownSwap, Relationship, Verdict, known, list, offers};
