//! Tests of planner, engine and recovery on the fake cloud.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::manual_async_fn,
    clippy::field_reassign_with_default,
    reason = "tests say what went wrong by panicking, and what they skip by printing"
)]
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod conformance;
mod crash;
mod deploy;
mod failure;
mod images;
mod live;
mod orphans;
mod plan;
mod planned_cost;
mod properties;
mod quotas;
mod simfleet;
mod specs;
