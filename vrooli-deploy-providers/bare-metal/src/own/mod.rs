//! This program on a host: sent once for all its apps, and run there by systemd.
//!
//! The supervisor of a host is a hidden subcommand of the very program that deploys. It is chosen
//! here for the host's machine and C library ([`Programs`]), delivered like any artefact, and a
//! unit keeps it running ([`Supervisor`]).

mod digests;
mod error;
mod program;
mod supervisor;

pub(crate) use digests::ProgramDigests;
pub use error::OwnError;
pub use program::{OwnProgram, Programs};
pub use supervisor::{Installed, Supervisor};
