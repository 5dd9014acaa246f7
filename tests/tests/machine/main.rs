//! The `local` provider for real: programs built, run, killed and looked for, through the
//! library, on this machine.

mod bench;
mod behaviour;
mod crash;
mod main_job;
mod vrooli;
