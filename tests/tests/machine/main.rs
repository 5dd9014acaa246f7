//! The `local` provider for real: programs built, run, killed and looked for, through the
//! library, on this machine.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests say what went wrong by panicking, and what they skip by printing"
)]

mod behaviour;
mod bench;
mod containers;
mod crash;
mod in_process;
mod key;
mod main_job;
mod redeploys;
mod rollback;
mod strategies;
mod vrooli;
