//! Integration tests of the library, in one binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests say what went wrong by panicking, and what they skip by printing"
)]

#[cfg(feature = "engine")]
mod process;
#[cfg(feature = "engine")]
mod secrets;
#[cfg(feature = "engine")]
mod state;
