//! A workspace at a desk of its own, whose AWS is the emulator behind a proxy.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use vrooli_deploy_core::diagnostics::Checked;
use vrooli_deploy_core::engine::{Event, OutcomeKind};
use vrooli_deploy_core::names::{DependencyName, ProviderName, ResourceKind, StackId};
use vrooli_deploy_core::provider::{
    AnyKind, Cancellation, LowerOptions, OpenContext, OpenImageBuilder, Permission, Provider,
    ProviderFactory, Registry, Result,
};
use vrooli_deploy_core::requirements::Requirements;
use vrooli_deploy_core::secrets::Secret;
use vrooli_deploy_core::stack::Stack;
use vrooli_deploy_core::workspace::{
    DeployOptions, DestroyOptions, OperationError, OrphanOptions, RebuildOptions, Report, Run, Target,
    TargetOptions, Workspace, WorkspaceOptions,
};
use vrooli_deploy_provider_aws::AwsFactory;
use vrooli_deploy_provider_aws::native::{Account, AccountOptions, provider};

use crate::fixture::REGION;

/// The provider, with the emulator for an endpoint.
pub(crate) struct Emulated {
    endpoint: String,
    keys: (String, String),
    /// Who builds images, and where they are kept.
    images: Option<(OpenImageBuilder, String)>,
}

impl Emulated {
    pub(crate) fn new(endpoint: String) -> Self {
        let keys = ("AKIDEXAMPLE".to_owned(), "not-a-real-key".to_owned());
        Self { endpoint, keys, images: None }
    }

    /// As a user of the account.
    pub(crate) fn with_keys(mut self, keys: Option<(String, String)>) -> Self {
        self.keys = keys.unwrap_or(self.keys);
        self
    }

    pub(crate) fn with_images(self, builder: OpenImageBuilder, registry: String) -> Self {
        Self { images: Some((builder, registry)), ..self }
    }
}

impl std::fmt::Debug for Emulated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Emulated").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl ProviderFactory for Emulated {
    fn name(&self) -> ProviderName {
        AwsFactory::new().name()
    }
    fn lower(&self, stack: &StackId, requirements: &Requirements, options: &LowerOptions) -> Checked<Stack> {
        AwsFactory::new().lower(stack, requirements, options)
    }
    fn kinds(&self) -> Vec<&'static dyn AnyKind> {
        AwsFactory::new().kinds()
    }
    fn policies(&self, permissions: &BTreeSet<Permission>) -> Vec<Value> {
        AwsFactory::new().policies(permissions)
    }
    fn quota_permissions(&self, kinds: &BTreeSet<ResourceKind>) -> BTreeSet<Permission> {
        AwsFactory::new().quota_permissions(kinds)
    }
    fn open(&self, context: &OpenContext) -> Result<Arc<dyn Provider>> {
        let mut options = AccountOptions::default();
        options.endpoint = Some(self.endpoint.clone());
        options.registry = self.images.as_ref().map(|(_, registry)| registry.clone());
        let images = self.images.as_ref().map(|(open, _)| open(&context.dir));
        options.keys = Some((self.keys.0.clone(), Secret::new(self.keys.1.clone()), None));
        options.region = Some(REGION.to_owned());
        Ok(provider(&Arc::new(Account::new(options, context).with_images(images))))
    }
}

/// A workspace, and what it deploys.
pub(crate) struct Desk {
    pub(crate) workspace: Workspace,
    pub(crate) target: Target,
    pub(crate) deploy: DeployOptions,
    state: tempfile::TempDir,
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn without() -> Vec<DependencyName> {
    vec!["n8n".parse().unwrap()]
}

impl Desk {
    /// An empty one, for the example app under a name, with values of the fixtures.
    pub(crate) async fn new(endpoint: &str, app: &str, values: &str) -> Self {
        Self::on(tempfile::tempdir().unwrap(), endpoint, app, values).await
    }

    /// The same as another process finds it.
    pub(crate) async fn again(self, endpoint: &str, app: &str, values: &str) -> Self {
        Self::on(self.state, endpoint, app, values).await
    }

    async fn on(state: tempfile::TempDir, endpoint: &str, app: &str, values: &str) -> Self {
        let mut options = WorkspaceOptions::new(state.path().join("state"));
        options.key_dir = Some(state.path().join("key"));
        let registry = Registry::new().with(Emulated::new(endpoint.to_owned()));
        let workspace = Workspace::open(options, registry).await.unwrap();
        let target = TargetOptions {
            environment: Some("production".parse().unwrap()),
            name: Some(app.parse().unwrap()),
            values: vec![root().join("tests/fixtures/aws").join(values)],
        };
        let example = root().join("examples/picker-wheel");
        let target = workspace.resolve(example.to_str().unwrap(), &target).await.unwrap();
        let mut deploy = DeployOptions::default();
        deploy.infra_only = true;
        deploy.drop = without();
        Self { workspace, target, deploy, state }
    }

    pub(crate) fn stack(&self) -> &StackId {
        &self.target.stack
    }

    pub(crate) async fn deploy(&self) -> std::result::Result<Report, OperationError> {
        self.deploy_until(u64::MAX).await
    }

    /// Stops after so many steps, as a run that was told to.
    pub(crate) async fn deploy_until(&self, steps: u64) -> std::result::Result<Report, OperationError> {
        let cancellation = Cancellation::new();
        let (stop, left) = (cancellation.clone(), std::sync::atomic::AtomicU64::new(steps));
        let run = Run::new().with_cancellation(cancellation).with_events(move |event| {
            if matches!(event, Event::StepSucceeded { .. })
                && left.fetch_sub(1, std::sync::atomic::Ordering::SeqCst) == 1
            {
                stop.cancel();
            }
        });
        self.workspace.deploy(&self.target, &self.deploy, &run).await?.apply().await
    }

    pub(crate) async fn steps(&self) -> std::result::Result<usize, OperationError> {
        let plan = self.workspace.plan(&self.target, &self.deploy).await?.plan;
        Ok(plan.steps.len())
    }

    pub(crate) fn rebuild_options(take_over: Option<&str>) -> RebuildOptions {
        let mut options = RebuildOptions::default();
        options.take_over = take_over.map(str::to_owned);
        options.drop = without();
        options
    }

    pub(crate) fn everywhere() -> OrphanOptions {
        let mut options = OrphanOptions::default();
        options.provider = Some(AwsFactory::new().name());
        options
    }

    /// Everything goes, data included.
    pub(crate) async fn destroy(&self) -> std::result::Result<(), String> {
        let mut options = DestroyOptions::default();
        options.data = Some(self.stack().app.to_string());
        let change = self.workspace.destroy(self.stack(), &options, &Run::new()).await.map_err(said)?;
        let outcome = change.apply().await.map_err(said)?.outcome;
        match (outcome.kind, outcome.left_behind.is_empty()) {
            (OutcomeKind::Applied, true) => Ok(()),
            _ => Err(format!("{outcome:?}")),
        }
    }
}

pub(crate) fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}
