use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;
use vrooli_deploy_core::diagnostics::Checked;
use vrooli_deploy_core::names::{ProviderName, ResourceKind, StackId};
use vrooli_deploy_core::provider::pure::provider_name;
use vrooli_deploy_core::provider::{
    AnyKind, LowerOptions, OpenContext, Permission, Provider, ProviderFactory, Result,
};
use vrooli_deploy_core::requirements::Requirements;
use vrooli_deploy_core::stack::{Resource, Stack};

/// Makes the `aws` provider.
#[derive(Debug, Clone, Copy, Default)]
pub struct AwsFactory;

impl ProviderFactory for AwsFactory {
    fn name(&self) -> ProviderName {
        provider_name("aws")
    }

    fn lower(&self, stack: &StackId, requirements: &Requirements, options: &LowerOptions) -> Checked<Stack> {
        crate::lower::lower(stack, requirements, options)
    }

    fn kinds(&self) -> Vec<&'static dyn AnyKind> {
        crate::kinds::all()
    }

    fn connections(&self, resource: &Resource) -> Option<u32> {
        let text = |field: &str| resource.spec.get(field).and_then(|value| value.as_str());
        crate::catalogue::catalogue().connections(text("engine")?, text("class")?)
    }

    fn policies(&self, permissions: &BTreeSet<Permission>) -> Vec<Value> {
        crate::policy::policies(permissions, crate::catalogue::catalogue().defaults.limits.policy_characters)
    }

    fn quota_permissions(&self, kinds: &BTreeSet<ResourceKind>) -> BTreeSet<Permission> {
        crate::quotas::permissions(kinds)
    }

    #[cfg(feature = "native")]
    fn open(&self, context: &OpenContext) -> Result<Arc<dyn Provider>> {
        use crate::native::{Account, AccountOptions, provider};
        Ok(provider(&Arc::new(Account::new(AccountOptions::of(context)?, context))))
    }

    #[cfg(not(feature = "native"))]
    fn open(&self, _: &OpenContext) -> Result<Arc<dyn Provider>> {
        Err(vrooli_deploy_core::provider::pure::pure_half_only("aws"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_name_is_valid() {
        assert_eq!(AwsFactory.name().as_str(), "aws");
    }
}
