use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::capabilities::FleetCapabilities;
use super::certificate::CertificateSeen;
use super::context::OpCtx;
use super::error::Result;
use super::samples::Reading;
use crate::manifest::{BuildStep, Command, Runtime, ServiceConfig};
use crate::names::{Digest, ImageRef, ReleaseNumber, ServiceName, UnitId, VariableName};
use crate::plan::Draft;
use crate::release::{Capacity, Release};

/// What carries releases. Every call is idempotent: made twice with the same arguments it
/// has the effect of once. A call with a lower `cx.fence` than was seen is refused (`Fenced`).
#[async_trait]
pub trait Fleet: Debug + Send + Sync {
    /// What it can do.
    fn capabilities(&self) -> FleetCapabilities;
    /// What a release is to run on, by place, as the stack's specs say it. It is part of a release, so another answer
    /// makes another release. A fleet that runs it on whatever is there has none. Makes no call.
    fn capacity(&self) -> BTreeMap<String, Capacity> {
        BTreeMap::new()
    }
    /// Refuses a release that could not serve there, whatever becomes of it, before anything is done for it.
    /// Reads only.
    async fn admits(&self, _cx: &OpCtx, _draft: &Draft) -> Result<()> {
        Ok(())
    }
    /// The digest of everything a build reads: files, steps, tool versions. Reads only.
    async fn source_digest(&self, cx: &OpCtx, request: &BuildRequest) -> Result<Digest>;
    /// What a build would do that people want to know before it is done, a sentence each. Reads only.
    async fn foresee(&self, _cx: &OpCtx, _request: &BuildRequest) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
    /// Builds in a work copy. The user's tree is never written; lines go to `cx.output`.
    /// A build whose source digest is already built returns what was built.
    async fn build(&self, cx: &OpCtx, request: &BuildRequest) -> Result<Artefact>;
    /// Puts artefact and release record where they will run. Starts nothing.
    async fn stage(&self, cx: &OpCtx, release: &Release) -> Result<()>;
    /// Applies what the release's resources need applied (schema, migrations, seeds), each file once.
    async fn migrate(&self, cx: &OpCtx, release: &Release) -> Result<MigrationReport>;
    /// Starts one unit of a staged release; `Ok` once it runs, healthy or not.
    async fn start(&self, cx: &OpCtx, release: &Release, unit: &UnitId) -> Result<UnitObserved>;
    /// Waits until the unit is well or its startup grace is over.
    async fn probe(&self, cx: &OpCtx, release: &Release, unit: &UnitId) -> Result<ProbeReport>;
    /// Runs the release's smoke tests, at its units or through the edge.
    async fn smoke(&self, cx: &OpCtx, release: &Release, through_edge: bool) -> Result<SmokeReport>;
    /// Sets which releases get traffic. The answer is what was set before.
    async fn route(&self, cx: &OpCtx, routing: &Routing) -> Result<Routing>;
    /// What is set now.
    async fn routing(&self, cx: &OpCtx) -> Result<Routing>;
    /// Waits until those units of the release, none named: all of them, have no request in
    /// flight, `deadline` at most. They get no new ones: the routing names them as resting, or
    /// gives their release nothing.
    async fn drain(
        &self,
        cx: &OpCtx,
        release: ReleaseNumber,
        units: &BTreeSet<UnitId>,
        deadline: Duration,
    ) -> Result<DrainReport>;
    /// What was measured of each release, oldest first; the last is of now. Where readings are
    /// kept, those after `since` (all that are kept without it); else only the one of now. A
    /// fleet that measures nothing gives none. Reads only.
    async fn samples(&self, cx: &OpCtx, since: Option<Timestamp>) -> Result<Vec<Reading>>;
    /// Tells what of ours runs there to go on with the stack's open watch, whose lease was just
    /// given up. Only asked of a fleet that `keeps_watch`.
    async fn keep_watch(&self, cx: &OpCtx) -> Result<()>;
    /// Stops one unit: its own grace, then by force, with all its descendants. Not running is `Ok`.
    async fn stop(&self, cx: &OpCtx, release: ReleaseNumber, unit: &UnitId) -> Result<()>;
    /// Removes a staged release, its units stopped. Not there is `Ok`.
    async fn remove(&self, cx: &OpCtx, release: ReleaseNumber) -> Result<()>;
    /// Brings back what watches over units and serves them, if that was killed; what was
    /// stopped on purpose stays so. Called before a change is planned.
    async fn revive(&self, cx: &OpCtx) -> Result<()>;
    /// All units of the stack, whatever their release.
    async fn list(&self, cx: &OpCtx) -> Result<Vec<UnitObserved>>;
    /// Releases that are staged, by their own records (for rebuilding a lost state).
    async fn staged(&self, cx: &OpCtx) -> Result<Vec<Release>>;
    /// How what the release that serves runs by is not as it was brought to its hosts, beyond what
    /// [`list`](Self::list) and [`routing`](Self::routing) say. A fleet whose releases nobody can change where
    /// they are has none. Reads only.
    async fn differences(&self, _cx: &OpCtx, _release: &Release) -> Result<Vec<FleetDifference>> {
        Ok(Vec::new())
    }
    /// Removes whatever else of the stack is left when its resources and releases are gone
    /// (work copies, empty folders). Data is kept unless `data` is set.
    async fn forget(&self, cx: &OpCtx, data: bool) -> Result<()>;
    /// URLs under which the app is reached.
    async fn urls(&self, cx: &OpCtx) -> Result<Vec<String>>;
    /// Sees to it that the app is reached by TLS where the release says so, with a certificate that is
    /// good. Called once a release serves, and again with every later change; it never fails one: what
    /// could not be done is in the answer, for people, and what served before serves on. A fleet that
    /// has no edges of ours has nothing to do.
    async fn secure(&self, _cx: &OpCtx, _release: &Release) -> Vec<String> {
        Vec::new()
    }
    /// The certificates that there are for the stack, on each host. Reads only.
    async fn certificates(&self, _cx: &OpCtx) -> Result<Vec<CertificateSeen>> {
        Ok(Vec::new())
    }
    /// Lines that units wrote, oldest first, without secrets.
    async fn logs(&self, cx: &OpCtx, query: &LogQuery) -> Result<LogPage>;
}

/// Which lines of which units.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogQuery {
    /// Of this release; default: those with running units.
    pub release: Option<ReleaseNumber>,
    /// Of this service; default: all.
    pub service: Option<ServiceName>,
    /// At most so many of the last lines of each unit. Ignored with `after`.
    pub lines: usize,
    /// Go on from here: [`LogPage::next`] of an earlier answer.
    pub after: Option<LogCursor>,
}

/// Where a reading of logs ended, a byte offset for each log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogCursor(pub BTreeMap<String, u64>);

/// Lines that units wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPage {
    /// The lines.
    pub lines: Vec<LogLine>,
    /// How to go on.
    pub next: LogCursor,
}

/// A line that a unit wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// The unit's release.
    pub release: ReleaseNumber,
    /// The unit.
    pub unit: UnitId,
    /// The line.
    pub line: String,
}

/// What to build and from what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct BuildRequest {
    /// The manifest's folder (of a scenario: `…/scenarios/<s>`).
    pub root: PathBuf,
    /// The folder to copy, an ancestor of `root` or `root` itself.
    pub context: PathBuf,
    /// Paths to leave out, in gitignore's syntax, relative to the context.
    pub exclude: Vec<String>,
    /// Paths to keep, in gitignore's syntax, relative to the context; empty means all.
    pub include: Vec<String>,
    /// What to run in the copy of `root`, in order.
    pub steps: Vec<BuildStep>,
    /// Variables of the deploying program that builds may see.
    pub pass_env: Vec<String>,
    /// Variables that the manifest sets for builds; they win over those of the deploying program.
    pub env: BTreeMap<VariableName, String>,
    /// An image that is there already: nothing is built. Only asked of a fleet that takes `images`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageRef>,
    /// What the app's services run, where an image is built: it holds what that needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<Command>,
    /// Images to build and to run in, by the names that
    /// [`render::dockerfile`](crate::render::dockerfile::base_names) knows.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub base_images: BTreeMap<String, ImageRef>,
    /// Services that run in containers. Only asked of a fleet that runs `containers`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containers: Option<Containers>,
}

/// Services that run in containers of machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Containers {
    /// Their images; none: the app's own, which is built.
    pub images: BTreeMap<ServiceName, Option<ImageRef>>,
    /// Do all services of the app? Then its build steps only run in images.
    pub all: bool,
}

impl Containers {
    /// Those of an app; none where all its services run as programs.
    #[must_use]
    pub fn of(services: &BTreeMap<ServiceName, ServiceConfig>) -> Option<Self> {
        let contained = services.iter().filter(|(_, service)| service.runtime == Runtime::Docker);
        let images: BTreeMap<_, _> =
            contained.map(|(name, service)| (name.clone(), service.image.clone())).collect();
        let all = images.len() == services.len();
        (!images.is_empty()).then_some(Self { images, all })
    }

    /// Is the app's own image among them?
    #[must_use]
    pub fn builds(&self) -> bool {
        self.images.values().any(Option::is_none)
    }
}

/// What a build made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Artefact {
    /// Digest of what was made.
    pub digest: Digest,
    /// Digest of what it was made from.
    pub source: Digest,
    /// Where it lies, in the provider's terms: a folder under the state, an image reference.
    pub location: String,
    /// The manifest's folder inside the artefact: `scenarios/<s>`, or `.`; in an image its absolute path, `.` if
    /// that is not known.
    pub root: String,
    /// The images of services that run in containers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<ServiceName, BuiltImage>,
}

/// An image that containers are made from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
pub struct BuiltImage {
    /// Its id, which follows from what is in it.
    pub id: Digest,
    /// What it runs on, in the words of images: `linux/amd64`.
    pub platform: String,
    /// The folder in it that a service's working directory is relative to.
    pub root: String,
}

/// What a migrate did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrationReport {
    /// Files applied now.
    pub applied: Vec<String>,
    /// Files that had been applied before.
    pub already: Vec<String>,
}

/// How a unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnitState {
    /// Runs.
    Running,
    /// Ended by itself and is about to be started again.
    Restarting,
    /// Ended and is not started again.
    Failed,
    /// Was stopped.
    Stopped,
}

/// A unit as seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct UnitObserved {
    /// Its release.
    pub release: ReleaseNumber,
    /// Which.
    pub unit: UnitId,
    /// The host it is on.
    pub host: String,
    /// How it is.
    pub state: UnitState,
    /// Process id, where that means something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Ports by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<String, u16>,
    /// How often it was started again.
    pub restarts: u32,
    /// How it ended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<String>,
    /// Where its log lies, in the provider's terms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
}

impl UnitObserved {
    /// The units of a release that run, those that several hosts have where all of them run it.
    #[must_use]
    pub fn running(units: &[Self], release: ReleaseNumber) -> BTreeSet<UnitId> {
        let of = |runs: bool| {
            let fits =
                move |unit: &&Self| unit.release == release && (unit.state == UnitState::Running) == runs;
            units.iter().filter(fits).map(|unit| unit.unit.clone())
        };
        let elsewhere: BTreeSet<UnitId> = of(false).collect();
        of(true).filter(|unit| !elsewhere.contains(unit)).collect()
    }

    /// The units that are not stopped on every host, each once.
    #[must_use]
    pub fn left(units: &[Self]) -> BTreeSet<(ReleaseNumber, UnitId)> {
        let left = units.iter().filter(|unit| unit.state != UnitState::Stopped);
        left.map(|unit| (unit.release, unit.unit.clone())).collect()
    }
}

/// What a probe saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// Is it well?
    pub healthy: bool,
    /// HTTP status, where there was an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Body, shortened and without secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Why it is not well (or what is odd although it is).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The last lines of the unit's log when it is not well, without secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}

/// What the smoke tests said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SmokeReport {
    /// How many passed.
    pub passed: u32,
    /// What failed, a phrase each.
    pub failed: Vec<String>,
}

/// What of a release, or of what serves it, another hand changed on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FleetPart {
    /// What watches over units and serves them. [`Fleet::revive`] puts it right.
    Supervisor,
    /// The record of the release: what its units are started with, but for values of secrets.
    Record,
    /// The values of secrets that its units are started with.
    Values,
    /// The image that a unit of it runs from.
    Image,
}

impl FleetPart {
    /// What people call it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Supervisor => "supervisor",
            Self::Record => "record",
            Self::Values => "environment",
            Self::Image => "image",
        }
    }

    /// Is it the release's own? Then only another release, brought there anew, is sure to be right: its units may
    /// have been started with it.
    #[must_use]
    pub const fn is_of_release(self) -> bool {
        !matches!(self, Self::Supervisor)
    }
}

/// Something that is not on a host as it was brought there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetDifference {
    /// The host; empty: this machine.
    pub host: String,
    /// What.
    pub part: FleetPart,
    /// How it differs, for people.
    pub reason: String,
}

impl std::fmt::Display for FleetDifference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.host.is_empty() {
            write!(f, "{}: ", self.host)?;
        }
        f.write_str(&self.reason)
    }
}

impl FleetDifference {
    /// The record of a release, held against what is known of it; none: it is the same, or not staged there,
    /// which its units show.
    #[must_use]
    pub fn of_record(host: &str, staged: &[Release], release: &Release) -> Option<Self> {
        let there = staged.iter().find(|there| there.number == release.number)?;
        let reason = || format!("the record of {} there is not the one that was brought", release.number);
        (there != release).then(|| Self { host: host.to_owned(), part: FleetPart::Record, reason: reason() })
    }
}

/// Which releases get traffic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Routing {
    /// Weights; a release that is not named gets none. Empty: nothing is served.
    pub weights: BTreeMap<ReleaseNumber, u32>,
    /// Units that run and get no requests, although their release does: drained, and warm.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub resting: BTreeMap<ReleaseNumber, BTreeSet<UnitId>>,
    /// If no renewal or commit comes until then, the edge goes back by itself to `revert_to`.
    /// A plan names only `revert_to`; the engine sets the time when the call leaves, and
    /// renews it for as long as it works on the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub revert_at: Option<jiff::Timestamp>,
    /// See `revert_at`. All units of these releases serve then: none rests.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub revert_to: BTreeMap<ReleaseNumber, u32>,
}

impl Routing {
    /// All traffic to one release.
    #[must_use]
    pub fn all_to(release: ReleaseNumber) -> Self {
        Self { weights: BTreeMap::from([(release, 100)]), ..Self::default() }
    }
}

/// What a drain saw.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainReport {
    /// Connections or requests that were still open at the deadline.
    pub cut: u32,
}
