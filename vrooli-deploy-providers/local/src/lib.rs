//! This machine as a provider.
//!
//! The pure half ([`kinds`], [`lower`]) is always compiled; what touches the machine is
//! behind the feature `native`.

pub mod kinds;
pub mod lower;

#[cfg(feature = "native")]
mod account;
#[cfg(feature = "native")]
pub mod build;
#[cfg(feature = "native")]
pub mod environment;
#[cfg(feature = "native")]
mod failure;
#[cfg(feature = "native")]
mod files;
#[cfg(feature = "native")]
pub mod layout;
#[cfg(feature = "native")]
pub mod migrate;
#[cfg(feature = "native")]
mod programs;
#[cfg(feature = "native")]
mod tool;

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
