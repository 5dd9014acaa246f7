//! This machine as a provider: supervised processes behind the edge.
//!
//! The pure half ([`kinds`], [`lower`]) is always compiled; what touches the machine is
//! behind the feature `native`: [`build`] makes artefacts in a kept work copy, [`fleet`]
//! stages and probes releases, [`process`] runs what has to outlive the program that
//! deployed it, and [`child`] is the door through which the embedding program becomes one
//! of its own hidden subcommands. [`layout`] says where everything lies in the state folder.

pub mod kinds;
pub mod lower;

#[cfg(feature = "native")]
mod account;
#[cfg(feature = "native")]
mod agent;
#[cfg(feature = "native")]
pub mod build;
#[cfg(feature = "native")]
pub mod child;
#[cfg(feature = "native")]
mod claims;
#[cfg(feature = "native")]
mod docker;
#[cfg(feature = "native")]
pub mod environment;
#[cfg(feature = "native")]
mod factory;
#[cfg(feature = "native")]
mod failure;
#[cfg(feature = "native")]
mod files;
#[cfg(feature = "native")]
pub mod fleet;
#[cfg(feature = "native")]
pub mod layout;
#[cfg(feature = "native")]
mod ledger;
#[cfg(feature = "native")]
pub mod process;
#[cfg(feature = "native")]
mod programs;
#[cfg(feature = "native")]
pub mod servers;
#[cfg(feature = "native")]
mod tool;
#[cfg(feature = "native")]
pub mod watch;

#[cfg(feature = "native")]
pub use factory::LocalFactory;

/// Runs a hidden subcommand and ends the process with its status, if this process was
/// started as one; else does nothing. First in `main`, before threads and runtimes.
#[cfg(feature = "native")]
pub fn run_if_child() {
    child::run_if_child(child::ChildHooks::new(child::open_secrets));
}

/// Reads one of the data files that are compiled in. A test reads every one of them, so
/// the default is never met.
#[cfg(feature = "native")]
pub(crate) fn knowledge<T: serde::de::DeserializeOwned + Default>(text: &str, name: &str) -> T {
    serde_json::from_str(text).unwrap_or_else(|error| {
        tracing::error!(name, %error, "a data file of this program cannot be read");
        T::default()
    })
}

/// A data file, read strictly: for the test beside each use.
#[cfg(all(test, feature = "native"))]
#[expect(clippy::unwrap_used, reason = "a test's own check")]
pub(crate) fn check_knowledge<T: serde::de::DeserializeOwned>(text: &str) {
    serde_json::from_str::<T>(text).unwrap();
}
