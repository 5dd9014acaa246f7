use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use uuid::Uuid;

use super::error::Result;
use super::kind::{AnyKind, Permission, PhysicalId};
use super::set::Provider;
use crate::configuration::Configuration;
use crate::diagnostics::Checked;
use crate::manifest::yaml::SpanIndex;
use crate::manifest::{DeploymentManifest, InfrastructureConfig, LoadedManifest, NetworkingConfig};
use crate::names::{ProviderName, ResourceKey, ResourceKind, StackId, VariableName};
use crate::render::Renderer;
use crate::requirements::Requirements;
use crate::secrets::SecretStore;
use crate::stack::{Resource, Stack};

/// Makes a provider for a stack, and says without any call what the stack needs there.
pub trait ProviderFactory: Debug + Send + Sync {
    /// Its name.
    fn name(&self) -> ProviderName;
    /// Turns needs into this provider's own typed resources. Pure.
    fn lower(&self, stack: &StackId, requirements: &Requirements, options: &LowerOptions) -> Checked<Stack>;
    /// The pure halves of all its kinds, for those who price, render and print permissions:
    /// no client, no credentials. A kind that is missing here cannot be priced, and an
    /// estimate says so.
    fn kinds(&self) -> Vec<&'static dyn AnyKind> {
        Vec::new()
    }
    /// How many connections a database of this stack allows at once, where that is known. Pure.
    fn connections(&self, resource: &Resource) -> Option<u32> {
        let _ = resource;
        None
    }
    /// Rights as documents that the provider takes, all of them together: what `permissions` prints.
    /// Pure. None where it has no such form.
    fn policies(&self, permissions: &BTreeSet<Permission>) -> Vec<Value> {
        let _ = permissions;
        Vec::new()
    }
    /// What it takes to hold what a plan makes against the limits of the account, if it makes any of these
    /// kinds. Whoever has it not is told so with the plan, and nothing else. Pure.
    fn quota_permissions(&self, kinds: &BTreeSet<ResourceKind>) -> BTreeSet<Permission> {
        let _ = kinds;
        BTreeSet::new()
    }
    /// What writes a stack of this provider down for other tools. Pure: no client, no credentials.
    fn renderers(&self) -> Vec<&'static dyn Renderer> {
        Vec::new()
    }
    /// What builds images on this machine for its fleet, if anything does.
    fn images(&self, _dir: &std::path::Path) -> Option<Arc<dyn super::ImageBuilder>> {
        None
    }
    /// Opens it for one stack. Makes no call that changes anything.
    ///
    /// # Errors
    /// When it cannot be used here: credentials, tools, a feature that was left out.
    fn open(&self, context: &OpenContext) -> Result<Arc<dyn Provider>>;
}

/// What the user chose beside the manifest.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LowerOptions {
    /// Kinds, sizes, counts and region that the manifest asks for; what it leaves open the
    /// provider chooses from what the app needs, and says so.
    pub infrastructure: InfrastructureConfig,
    /// How the app is reached.
    pub networking: NetworkingConfig,
    /// The host name that the app is reached at.
    pub domain: Option<String>,
    /// Fixed public port.
    pub port: Option<u16>,
    /// Address to listen on; default loopback.
    pub listen: Option<std::net::IpAddr>,
    /// Variables that the manifest sets itself: a resource whose contract they fill is not made.
    pub provided: std::collections::BTreeSet<crate::names::VariableName>,
    /// Where the app's file says what, for the labels of diagnostics. A pointer that is in the
    /// file means the same in every dialect.
    pub spans: SpanIndex,
}

impl LowerOptions {
    /// What a manifest alone says: no flags, no profile, no secrets that are there already.
    #[must_use]
    pub fn of(loaded: &LoadedManifest, manifest: &DeploymentManifest) -> Self {
        let provided: std::collections::BTreeSet<VariableName> = manifest
            .env
            .keys()
            .chain(manifest.services.values().flat_map(|service| service.env.keys()))
            .chain(manifest.secrets.keys())
            .cloned()
            .collect();
        Self {
            infrastructure: manifest.infrastructure.clone(),
            networking: manifest.networking.clone(),
            domain: manifest.app.domain.clone(),
            provided,
            spans: loaded.spans.clone(),
            ..Self::default()
        }
    }
}

/// What a provider is opened with.
#[derive(Debug, Clone)]
pub struct OpenContext {
    /// The state folder.
    pub dir: PathBuf,
    /// Id of the state: the owner of what is made.
    pub owner: Uuid,
    /// The stack.
    pub stack: StackId,
    /// Where secrets are kept.
    pub secrets: Arc<dyn SecretStore>,
    /// The user's credentials and settings for providers: `configuration.value("do_token")`.
    pub configuration: Configuration,
    /// Key and spec of every resource that the stack has or is to have, as far as manifest, state
    /// and an open plan say. A provider whose resources stand on machines of the user's learns here
    /// which machines there are to ask. A key may come more than once.
    pub resources: Vec<(ResourceKey, Value)>,
    /// What kind each of them is: specs of several kinds may look alike.
    pub kinds: BTreeMap<ResourceKey, ResourceKind>,
    /// What the state calls those of them that it has. Hints, so that much can be asked at once: what is
    /// there is asked, and never taken from here.
    pub ids: BTreeMap<ResourceKey, PhysicalId>,
    /// Those of them that the manifest does not ask for any more. Empty where no manifest was read:
    /// then all that is there stays.
    pub leaving: BTreeSet<ResourceKey>,
}

/// The providers that a program was built with. Registration is explicit.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    factories: BTreeMap<ProviderName, Arc<dyn ProviderFactory>>,
}

impl Registry {
    /// No providers yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a provider; one of the same name is replaced.
    #[must_use]
    pub fn with(mut self, factory: impl ProviderFactory + 'static) -> Self {
        self.factories.insert(factory.name(), Arc::new(factory));
        self
    }

    /// Names of all providers.
    pub fn names(&self) -> impl Iterator<Item = &ProviderName> {
        self.factories.keys()
    }

    /// The provider of that name.
    ///
    /// # Errors
    /// [`UnknownProvider`] with the names there are.
    pub fn get(
        &self,
        name: &ProviderName,
    ) -> std::result::Result<&Arc<dyn ProviderFactory>, UnknownProvider> {
        self.factories.get(name).ok_or_else(|| UnknownProvider {
            name: name.clone(),
            known: self.factories.keys().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        })
    }
}

/// This build has no such provider.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this build has no provider `{name}`; it has: {known}")]
pub struct UnknownProvider {
    /// What was asked for.
    pub name: ProviderName,
    /// What there is.
    pub known: String,
}
