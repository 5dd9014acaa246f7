use std::sync::Arc;

use vrooli_deploy_core::diagnostics::Checked;
use vrooli_deploy_core::names::{ProviderName, StackId};
use vrooli_deploy_core::provider::pure::provider_name;
use vrooli_deploy_core::provider::{AnyKind, LowerOptions, OpenContext, Provider, ProviderFactory, Result};
use vrooli_deploy_core::requirements::Requirements;
use vrooli_deploy_core::stack::{Resource, Stack};

/// Changes of one server that are under way together are one round trip there, so there is no number of
/// them that would be too much.
#[cfg(feature = "native")]
const CHANGES_AT_ONCE: usize = 4096;

/// Makes the `bare-metal` provider: servers of the user's own.
#[derive(Clone, Default)]
pub struct BareMetalFactory {
    #[cfg(feature = "native")]
    ssh: Option<crate::remote::SshOptions>,
    #[cfg(feature = "native")]
    builder: Option<vrooli_deploy_core::provider::OpenBuilder>,
    #[cfg(feature = "native")]
    images: Option<vrooli_deploy_core::provider::OpenImageBuilder>,
    #[cfg(feature = "native")]
    programs: Option<crate::own::Programs>,
}

impl std::fmt::Debug for BareMetalFactory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BareMetalFactory").finish_non_exhaustive()
    }
}

impl BareMetalFactory {
    /// Servers that are reached with the user's `ssh`.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says how to connect, whatever the environment says; see
    /// [`SshOptions::from_environment`](crate::remote::SshOptions::from_environment).
    #[cfg(feature = "native")]
    #[must_use]
    pub fn with_ssh(self, ssh: crate::remote::SshOptions) -> Self {
        Self { ssh: Some(ssh), ..self }
    }

    /// Says who builds apps on this machine; without, only what was built before can be carried.
    #[cfg(feature = "native")]
    #[must_use]
    pub fn with_builder(self, builder: vrooli_deploy_core::provider::OpenBuilder) -> Self {
        Self { builder: Some(builder), ..self }
    }

    /// Says who writes down what images are built by, for other tools. Those of services that run in containers
    /// are built with the app.
    #[cfg(feature = "native")]
    #[must_use]
    pub fn with_images(self, images: vrooli_deploy_core::provider::OpenImageBuilder) -> Self {
        Self { images: Some(images), ..self }
    }

    /// Says which programs of ours servers get; default: this very program, see
    /// [`Programs::of_this_process`](crate::own::Programs::of_this_process).
    #[cfg(feature = "native")]
    #[must_use]
    pub fn with_programs(self, programs: crate::own::Programs) -> Self {
        Self { programs: Some(programs), ..self }
    }

    /// The servers of a stack, before they are put together with the kinds: a program that wants to
    /// know what was asked of them keeps it. Reaches none.
    ///
    /// # Errors
    /// When the state folder cannot be used.
    #[cfg(feature = "native")]
    pub fn servers(&self, context: &OpenContext) -> Result<Arc<crate::ground::Servers>> {
        let ssh = self.ssh.clone().unwrap_or_else(crate::remote::SshOptions::from_environment);
        Ok(Arc::new(crate::ground::Servers::open(
            &context.dir,
            ssh,
            &context.resources,
            &context.leaving,
            Arc::clone(&context.secrets),
        )?))
    }

    /// The provider that works with these servers.
    #[cfg(feature = "native")]
    #[must_use]
    pub fn provider(
        &self,
        servers: &Arc<crate::ground::Servers>,
        context: &OpenContext,
    ) -> Arc<dyn Provider> {
        use crate::ground::{OnHost, ServersBackups, ServersLedger};
        use crate::kinds::{backup, directories, firewall, packages, postgres, redis, server, user};
        let builder = self.builder.as_ref().map(|open| open(&context.dir));
        let programs = self.programs.clone().unwrap_or_else(crate::own::Programs::of_this_process);
        let authorities = crate::fleet::Authorities::configured(&context.configuration);
        let fleet = crate::fleet::BareMetalFleet::new(
            servers,
            builder,
            Arc::clone(&context.secrets),
            programs,
            authorities,
        );
        let fleet = Arc::new(fleet);
        let ledger = ServersLedger { servers: Arc::clone(servers), fleet: Arc::clone(&fleet) };
        Arc::new(
            vrooli_deploy_core::provider::ProviderSet::new(self.name())
                .with(OnHost(server::Server), servers)
                .with(OnHost(packages::Packages), servers)
                .with(OnHost(user::User), servers)
                .with(OnHost(directories::Directories), servers)
                .with(OnHost(firewall::Firewall), servers)
                .with(OnHost(postgres::Postgres), servers)
                .with(OnHost(redis::Redis), servers)
                .with(OnHost(backup::Backup), servers)
                .with_at_once(CHANGES_AT_ONCE)
                .with_fleet(fleet)
                .with_ledger(Arc::new(ledger))
                .with_backups(Arc::new(ServersBackups(Arc::clone(servers)))),
        )
    }
}

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

    fn renderers(&self) -> Vec<&'static dyn vrooli_deploy_core::render::Renderer> {
        crate::render::renderers()
    }

    fn connections(&self, resource: &Resource) -> Option<u32> {
        crate::kinds::postgres::connections(resource)
    }

    #[cfg(feature = "native")]
    fn images(
        &self,
        dir: &std::path::Path,
    ) -> Option<std::sync::Arc<dyn vrooli_deploy_core::provider::ImageBuilder>> {
        self.images.as_ref().map(|open| open(dir))
    }

    #[cfg(feature = "native")]
    fn open(&self, context: &OpenContext) -> Result<Arc<dyn Provider>> {
        Ok(self.provider(&self.servers(context)?, context))
    }

    #[cfg(not(feature = "native"))]
    fn open(&self, _: &OpenContext) -> Result<Arc<dyn Provider>> {
        Err(vrooli_deploy_core::provider::pure::pure_half_only("bare-metal"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_name_is_valid() {
        assert_eq!(BareMetalFactory::new().name().as_str(), "bare-metal");
    }
}
