#![doc = include_str!("../../../README.md")]
#![cfg_attr(not(feature = "local"), expect(unused_imports, reason = "no provider is compiled in"))]

pub mod prices;

use vrooli_deploy_core::provider::Registry;

#[cfg(feature = "local")]
pub use vrooli_deploy_provider_local as local;

/// All providers that this build has.
#[must_use]
pub fn registry() -> Registry {
    let registry = Registry::new();
    #[cfg(feature = "local")]
    let registry = registry.with(local::LocalFactory::new());
    registry
}

/// Runs a hidden subcommand and ends the process, if this process was started as one.
///
/// Supervisor, edge and shims are this very program, started again with a marker as its
/// first argument. Call it first in `main`, before threads or a runtime are started.
pub fn run_if_child(registry: &Registry) {
    let _ = registry;
    #[cfg(feature = "local")]
    local::run_if_child();
}
