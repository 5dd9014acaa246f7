//! Servers of the user as a provider.
//!
//! The pure half: which server is for what, what it costs by the user's own word, and what is
//! asked of it. With the feature `native`: hosts that are known ([`hosts`]), phases that run on
//! them ([`remote`]), what could be in the way of a deployment ([`preflight`]), and releases that
//! are carried to all of them as one ([`fleet`]).

#[cfg(feature = "native")]
pub mod archive;
pub mod artefact;
#[cfg(feature = "native")]
mod blocks;
mod factory;
pub mod facts;
#[cfg(feature = "native")]
pub mod fleet;
pub mod ground;
pub mod host;
#[cfg(feature = "native")]
pub mod hosts;
pub mod kinds;
pub mod lower;
#[cfg(feature = "native")]
pub mod own;
pub mod preflight;
pub mod remote;
pub mod render;
#[cfg(feature = "native")]
pub mod store;

pub use factory::BareMetalFactory;

/// Runs a hidden subcommand and ends the process with its status, if this process was started as one,
/// on a server; else does nothing. First in `main`, before threads and runtimes, and before the one of
/// this machine, which ends what it does not know.
#[cfg(feature = "native")]
pub fn run_if_child() {
    store::run_if_child();
}
