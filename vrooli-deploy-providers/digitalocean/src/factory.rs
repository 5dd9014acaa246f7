use std::sync::Arc;

use vrooli_deploy_core::diagnostics::Checked;
use vrooli_deploy_core::names::{ProviderName, StackId};
use vrooli_deploy_core::provider::{
    AnyKind, ErrorKind, LowerOptions, OpenContext, Provider, ProviderError, ProviderFactory, Result,
};
use vrooli_deploy_core::requirements::Requirements;
use vrooli_deploy_core::stack::{Resource, Stack};

/// Makes the `digitalocean` provider.
#[derive(Debug, Clone, Copy, Default)]
pub struct DigitalOceanFactory;

impl ProviderFactory for DigitalOceanFactory {
    fn name(&self) -> ProviderName {
        match ProviderName::new("digitalocean") {
            Ok(name) => name,
            // A literal of ours, and valid: see the test.
            Err(error) => unreachable!("{error}"),
        }
    }

    fn lower(&self, stack: &StackId, requirements: &Requirements, options: &LowerOptions) -> Checked<Stack> {
        crate::lower::lower(stack, requirements, options)
    }

    fn kinds(&self) -> Vec<&'static dyn AnyKind> {
        crate::kinds::all()
    }

    fn connections(&self, resource: &Resource) -> Option<u32> {
        let text = |field: &str| resource.spec.get(field).and_then(|value| value.as_str());
        crate::catalogue::catalogue().connections(text("engine")?, text("size")?)
    }

    fn open(&self, _: &OpenContext) -> Result<Arc<dyn Provider>> {
        Err(ProviderError::new(
            ErrorKind::Unsupported,
            "this build has only the pure half of `digitalocean`: it plans and prices, but cannot make calls",
        )
        .with_code("VD0778")
        .with_help("estimates and plans work; to deploy, build with the native half of the provider"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_name_is_valid() {
        assert_eq!(DigitalOceanFactory.name().as_str(), "digitalocean");
    }
}
