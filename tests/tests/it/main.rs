//! Tests of planner, engine and recovery on the fake cloud.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod conformance;
mod crash;
mod deploy;
mod failure;
mod plan;
mod properties;
mod specs;
