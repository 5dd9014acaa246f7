use std::net::IpAddr;
use std::path::PathBuf;

use crate::diagnostics::Diagnostic;
use crate::engine::{Event, EventSink};
use crate::manifest::LoadedManifest;
use crate::names::{AppName, DependencyName, Digest, EnvironmentName, ProviderName, StackId, VariableName};
use crate::profile::ProfileVersion;
use crate::provider::Cancellation;
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
    /// Another strategy than the manifest's, by name.
    pub strategy: Option<String>,
    /// Fixed public port.
    pub port: Option<u16>,
    /// Address to listen on; default loopback.
    pub listen: Option<IpAddr>,
    /// Take over an app of the same name that came from another folder.
    pub adopt: bool,
    /// Provide optional dependencies too.
    pub include_optional: bool,
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
}

/// What becomes of data when a stack is destroyed.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct DestroyOptions {
    /// The app's name: databases and volumes are deleted too. Anything else is refused.
    pub data: Option<String>,
}

/// How a change is run: who asks, who listens, how it is stopped.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Run {
    /// Who, for the lease. Default: this process.
    pub holder: Option<Holder>,
    /// Called with every event, in order.
    pub events: EventSink,
    /// Cancel it to stop within 2 s; the next run resolves what was left.
    pub cancellation: Cancellation,
}

impl Default for Run {
    fn default() -> Self {
        Self { holder: None, events: EventSink::default(), cancellation: Cancellation::new() }
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

    /// The same, with a way to stop it.
    #[must_use]
    pub fn with_cancellation(mut self, cancellation: Cancellation) -> Self {
        self.cancellation = cancellation;
        self
    }
}
