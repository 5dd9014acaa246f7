//! Integration tests of the library, in one binary.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests say what went wrong by panicking, and what they skip by printing"
)]

mod corpus;
mod cost;
mod fitness;
mod fitness_properties;
mod manifest;
mod overlays;
#[cfg(feature = "engine")]
mod process;
#[cfg(feature = "engine")]
mod profiles;
mod properties;
#[cfg(feature = "engine")]
mod secrets;
mod secrets_plan;
mod service_json;
#[cfg(feature = "engine")]
mod state;
#[cfg(feature = "engine")]
mod vault;
#[cfg(feature = "engine")]
mod workspace_fitness;
