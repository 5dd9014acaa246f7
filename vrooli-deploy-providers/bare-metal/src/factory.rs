use std::sync::Arc;

use vrooli_deploy_core::diagnostics::Checked;
use vrooli_deploy_core::names::{ProviderName, StackId};
use vrooli_deploy_core::provider::pure::{provider_name, pure_half_only};
use vrooli_deploy_core::provider::{AnyKind, LowerOptions, OpenContext, Provider, ProviderFactory, Result};
use vrooli_deploy_core::requirements::Requirements;
use vrooli_deploy_core::stack::Stack;

/// Makes the `bare-metal` provider.
#[derive(Debug, Clone, Copy, Default)]
pub struct BareMetalFactory;

impl ProviderFactory for BareMetalFactory {
    fn name(&self) -> ProviderName {
        provider_name("bare-metal")
    }

    fn lower(&self, stack: &StackId, requirements: &Requirements, options: &LowerOptions) -> Checked<Stack> {
        crate::lower::lower(stack, requirements, options)
    }

    fn kinds(&self) -> Vec<&'static dyn AnyKind> {
        crate::kinds::all()
    }

    fn open(&self, _: &OpenContext) -> Result<Arc<dyn Provider>> {
        Err(pure_half_only("bare-metal"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_name_is_valid() {
        assert_eq!(BareMetalFactory.name().as_str(), "bare-metal");
    }
}
