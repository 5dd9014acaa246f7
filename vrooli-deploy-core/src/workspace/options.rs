use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::CostOptions;
use crate::diagnostics::Diagnostic;
use crate::engine::{Event, EventSink};
use crate::manifest::{LoadedManifest, StrategyConfig, StrategyKind};
use crate::names::{
    AppName, DependencyName, Digest, EnvironmentName, ProviderName, ReleaseNumber, StackId, VariableName,
};
use crate::profile::ProfileVersion;
use crate::provider::Cancellation;
use crate::release::verdict::Inconclusive;
use crate::secrets::Secret;
use crate::state::Holder;

/// How to open a workspace.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WorkspaceOptions {
    /// The state folder. Made if it is not there.
    pub dir: PathBuf,
    /// The folder of the key of the secret store; default: in the user's configuration folder.
    /// Remembered in the state folder, for the processes that outlive this one.
    pub key_dir: Option<PathBuf>,
    /// The key of the secret store itself (base64 of 32 bytes); default: a file in `key_dir`,
    /// made when it is first needed.
    pub key: Option<Secret<String>>,
    /// Name of this machine, for leases; default: the kernel's host name.
    pub host: Option<String>,
}

impl WorkspaceOptions {
    /// A workspace in that folder, everything else by default.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), key_dir: None, key: None, host: None }
    }
}

/// What a command is about: a stack and, where it was found, its manifest.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Target {
    /// The stack.
    pub stack: StackId,
    /// The manifest; `None` when the app is known by name and its folder is gone.
    pub manifest: Option<LoadedManifest>,
    /// What was noticed while reading it. When it could not be read: why.
    pub diagnostics: Vec<Diagnostic>,
    /// The profile whose choices are laid over the manifest.
    pub profile: Option<Box<ProfileVersion>>,
    /// Values files that are laid over the manifest beside those of the profile, the weakest first.
    pub values: Vec<PathBuf>,
}

impl Target {
    /// Does the profile ask for optional dependencies too?
    #[must_use]
    pub fn include_optional(&self) -> bool {
        let profile = self.profile.as_ref().and_then(|version| version.profile.as_ref());
        profile.and_then(|profile| profile.settings.include_optional).unwrap_or(false)
    }
}

/// How an argument of the command line becomes a [`Target`].
#[derive(Debug, Clone, Default)]
pub struct TargetOptions {
    /// The environment; default the profile's, else `default`.
    pub environment: Option<EnvironmentName>,
    /// A name other than the manifest's.
    pub name: Option<AppName>,
    /// Values files to lay over the manifest, the weakest first.
    pub values: Vec<PathBuf>,
}

/// The user's choices for a deployment.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct DeployOptions {
    /// Another provider than the manifest's.
    pub provider: Option<ProviderName>,
    /// Another region than the manifest's, by the provider's name; kept from then on.
    pub region: Option<String>,
    /// Make what the app stands on, and stop before what runs it.
    pub infra_only: bool,
    /// An image to run, for providers that run given images; nothing is built.
    pub image: Option<crate::names::ImageRef>,
    /// Images to build and to run in, for providers that run images and build them, by name; they win over
    /// the manifest's and are kept from then on.
    pub base_images: std::collections::BTreeMap<String, crate::names::ImageRef>,
    /// Another strategy than the manifest's, by name.
    pub strategy: Option<String>,
    /// Options of the strategy that win over the manifest's.
    pub strategy_options: StrategyOptions,
    /// Do not wait for a watch: leave it to what runs there, which commits or goes back.
    pub no_wait: bool,
    /// Fixed public port.
    pub port: Option<u16>,
    /// Address to listen on; default loopback.
    pub listen: Option<IpAddr>,
    /// Take over an app of the same name that came from another folder.
    pub adopt: bool,
    /// Provide optional dependencies too.
    pub include_optional: bool,
    /// Resources to put in the place of others, after the manifest's own swaps.
    pub swaps: Vec<crate::manifest::SwapConfig>,
    /// Dependencies to leave out.
    pub drop: Vec<DependencyName>,
    /// Variables of this program that builds may see.
    pub pass_env: Vec<VariableName>,
    /// Take `degraded` for healthy.
    pub allow_degraded: bool,
    /// Build and release although nothing changed.
    pub force: bool,
    /// Go on only if the plan has this digest (a saved plan: evidence, never instructions).
    pub expected: Option<Digest>,
    /// What the plan is priced with, and what it may come to.
    pub cost: CostOptions,
}

/// Options of a strategy that win over the manifest's. See [`StrategyConfig`].
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct StrategyOptions {
    /// Percents of a canary, one after the other.
    pub steps: Vec<u8>,
    /// Instances at a time.
    pub batch: Option<u32>,
    /// Instances beyond a service's number.
    pub surge: Option<u32>,
    /// Instances that may be missing.
    pub max_unavailable: Option<u32>,
    /// A person decides.
    pub hold: bool,
    /// How long it is watched.
    pub watch: Option<Duration>,
    /// What to do when too little was seen.
    pub inconclusive: Option<Inconclusive>,
}

impl StrategyOptions {
    /// The manifest's options with these in their places.
    #[must_use]
    pub fn over(&self, manifest: &StrategyConfig, kind: Option<StrategyKind>) -> StrategyConfig {
        let mut config = manifest.clone();
        if let Some(kind) = kind {
            config.kind = kind;
        }
        if !self.steps.is_empty() {
            config.steps.clone_from(&self.steps);
            config.canary_percent = None;
        }
        config.batch = self.batch.or(config.batch);
        config.surge = self.surge.or(config.surge);
        config.max_unavailable = self.max_unavailable.or(config.max_unavailable);
        config.hold |= self.hold;
        config.watch = self.watch.or(config.watch);
        config.inconclusive = self.inconclusive.or(config.inconclusive);
        if let (Some(deadline), Some(watch)) = (config.deadline, self.watch) {
            // The manifest's deadline was chosen for the manifest's watch.
            config.deadline = Some(deadline.max(watch));
        }
        config
    }
}

/// What becomes of data when a stack is destroyed.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct DestroyOptions {
    /// The app's name: databases and volumes are deleted too. Anything else is refused.
    pub data: Option<String>,
}

/// The knobs of a rollback.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RollbackOptions {
    /// Where to; default: the last release before the current that passed its watch.
    pub to: Option<ReleaseNumber>,
    /// Go back although SQL ran since then that the older release may not live with.
    pub allow_irreversible: bool,
}

/// How a change is run: who asks, who listens, how it is stopped.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Run {
    /// Who, for the lease. Default: this process.
    pub holder: Option<Holder>,
    /// Where people see this run, for the lease: [`run_url`](super::run_url) finds it on build
    /// servers. Not looked at where `holder` says who.
    pub run_url: Option<String>,
    /// Called with every event, in order.
    pub events: EventSink,
    /// Cancel it to stop within 2 s; the next run resolves what was left.
    pub cancellation: Cancellation,
}

impl Default for Run {
    fn default() -> Self {
        Self { holder: None, run_url: None, events: EventSink::default(), cancellation: Cancellation::new() }
    }
}

impl Run {
    /// A run that nobody watches.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, with somebody who watches.
    #[must_use]
    pub fn with_events(mut self, sink: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.events = EventSink::new(sink);
        self
    }

    /// The same, with the page where people see it.
    #[must_use]
    pub fn with_run_url(mut self, url: Option<String>) -> Self {
        self.run_url = url;
        self
    }

    /// The same, with a way to stop it.
    #[must_use]
    pub fn with_cancellation(mut self, cancellation: Cancellation) -> Self {
        self.cancellation = cancellation;
        self
    }
}
