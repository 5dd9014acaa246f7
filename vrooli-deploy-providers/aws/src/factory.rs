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
#[derive(Clone, Default)]
pub struct AwsFactory {
    #[cfg(feature = "native")]
    images: Option<vrooli_deploy_core::provider::OpenImageBuilder>,
}

impl std::fmt::Debug for AwsFactory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AwsFactory").finish_non_exhaustive()
    }
}

impl AwsFactory {
    /// Reached as AWS's own tools do it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says who builds images on this machine; without, only images that are given can be run.
    #[cfg(feature = "native")]
    #[must_use]
    pub fn with_images(self, images: vrooli_deploy_core::provider::OpenImageBuilder) -> Self {
        Self { images: Some(images) }
    }
}

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
    fn images(&self, dir: &std::path::Path) -> Option<Arc<dyn vrooli_deploy_core::provider::ImageBuilder>> {
        self.images.as_ref().map(|open| open(dir))
    }

    #[cfg(feature = "native")]
    fn open(&self, context: &OpenContext) -> Result<Arc<dyn Provider>> {
        use crate::native::{Account, AccountOptions, provider};
        let images = self.images(&context.dir);
        let account = Account::new(AccountOptions::of(context)?, context).with_images(images);
        Ok(provider(&Arc::new(account)))
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
        assert_eq!(AwsFactory::new().name().as_str(), "aws");
    }
}
