//! This machine as a provider: supervised processes behind the edge.
//!
//! [`layout`] says where everything lies in the state folder, [`process`] runs what has
//! to outlive the program that deployed it, and [`child`] is the door through which the
//! embedding program becomes one of its own hidden subcommands.

#[cfg(feature = "native")]
pub mod child;
#[cfg(feature = "native")]
pub mod environment;
#[cfg(feature = "native")]
pub mod layout;
#[cfg(feature = "native")]
pub mod process;

/// Reads one of the data files that are compiled in. A test reads every one of them, so
/// the default is never met.
pub(crate) fn knowledge<T: serde::de::DeserializeOwned + Default>(text: &str, name: &str) -> T {
    serde_json::from_str(text).unwrap_or_else(|error| {
        tracing::error!(name, %error, "a data file of this program cannot be read");
        T::default()
    })
}

/// A data file, read strictly: for the test beside each use.
#[cfg(test)]
pub(crate) fn check_knowledge<T: serde::de::DeserializeOwned>(text: &str) {
    serde_json::from_str::<T>(text).unwrap();
}
