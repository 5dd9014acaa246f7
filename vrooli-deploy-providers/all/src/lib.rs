#![doc = include_str!("../../../README.md")]

pub mod prices;

use vrooli_deploy_core::provider::Registry;

#[cfg(feature = "aws")]
pub use vrooli_deploy_provider_aws as aws;
#[cfg(feature = "bare-metal")]
pub use vrooli_deploy_provider_bare_metal as bare_metal;
#[cfg(feature = "digitalocean")]
pub use vrooli_deploy_provider_digitalocean as digitalocean;
#[cfg(feature = "local")]
pub use vrooli_deploy_provider_local as local;

/// All providers that this build has.
#[must_use]
pub fn registry() -> Registry {
    let registry = Registry::new();
    #[cfg(feature = "local")]
    let registry = registry.with(local::LocalFactory::new());
    #[cfg(feature = "aws")]
    let registry = registry.with(aws_factory());
    #[cfg(feature = "digitalocean")]
    let registry = registry.with(digitalocean::DigitalOceanFactory);
    #[cfg(feature = "bare-metal")]
    let registry = registry.with(bare_metal_factory());
    registry
}

/// AWS, whose images are built on this machine, where this build can.
#[cfg(feature = "aws")]
fn aws_factory() -> aws::AwsFactory {
    let factory = aws::AwsFactory::new();
    #[cfg(all(feature = "aws-native", feature = "local"))]
    let factory = factory.with_images(std::sync::Arc::new(local::build::image_builder));
    factory
}

/// Servers whose apps are built on this machine, where this build can.
#[cfg(feature = "bare-metal")]
fn bare_metal_factory() -> bare_metal::BareMetalFactory {
    let factory = bare_metal::BareMetalFactory::new();
    #[cfg(feature = "local")]
    let factory = factory
        .with_builder(std::sync::Arc::new(local::build::builder))
        .with_images(std::sync::Arc::new(local::build::image_builder));
    factory
}

/// All providers that this build has, with this machine as the program configured it. With
/// [`LocalFactory::in_process`](local::LocalFactory::in_process) apps run inside the program
/// and end with it; then `run_if_child` is not needed:
///
/// ```no_run
/// use vrooli_deploy_providers::local::LocalFactory;
///
/// # async fn serve() {
/// let here = LocalFactory::new().in_process();
/// let registry = vrooli_deploy_providers::registry_with_local(here.clone());
/// // … open a workspace with `registry`, deploy, serve …
/// here.shutdown().await;
/// # }
/// ```
#[cfg(feature = "local")]
#[must_use]
pub fn registry_with_local(local: local::LocalFactory) -> Registry {
    registry().with(local)
}

/// Runs a hidden subcommand and ends the process, if this process was started as one.
///
/// Supervisor, edge and shims are this very program, started again with a marker as its
/// first argument. Call it first in `main`, before threads or a runtime are started.
pub fn run_if_child(registry: &Registry) {
    let _ = registry;
    // What is none of its own it leaves alone.
    #[cfg(feature = "bare-metal-native")]
    bare_metal::run_if_child();
    #[cfg(feature = "local")]
    local::run_if_child();
}
