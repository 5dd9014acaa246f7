use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ReleaseTraffic, Waiting, WatchStatus};
use crate::engine::{LastRun, Outcome, ReleaseStatus};
use crate::names::{AppName, Digest, EnvironmentName, ProviderName, ReleaseNumber};
use crate::profile::ProfileRef;
use crate::provider::{CertificateSeen, Routing, UnitObserved};
use crate::state::LeaseInfo;

/// What came of a change, and where the app is reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The app.
    pub app: AppName,
    /// Its environment.
    pub environment: EnvironmentName,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// URLs under which the app is reached.
    pub urls: Vec<String>,
    /// How many steps were done.
    pub steps: usize,
    /// Digest of the plan.
    pub plan: Digest,
    /// What is not decided yet (outcome `OnHold`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
}

/// One line of `list`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StackSummary {
    /// The app.
    pub app: AppName,
    /// Its environment.
    pub environment: EnvironmentName,
    /// Who runs it.
    pub provider: Option<ProviderName>,
    /// The folder it came from.
    pub source: Option<std::path::PathBuf>,
    /// The release that serves.
    pub release: Option<ReleaseNumber>,
    /// How it is.
    pub health: Health,
    /// URLs under which it is reached.
    pub urls: Vec<String>,
    /// Who is changing it right now.
    pub lease: Option<LeaseInfo>,
}

/// How a stack is, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// All units run.
    Running,
    /// Some units do not run.
    Impaired,
    /// Stopped on purpose.
    Stopped,
    /// Destroyed; its databases and volumes are kept.
    DataOnly,
    /// Nothing was committed yet.
    Empty,
    /// What the app stands on is there, and no release of it yet.
    Prepared,
    /// A run was interrupted; the next command resolves it.
    Interrupted,
    /// A new release is there beside the one before it; a person decides.
    OnHold,
    /// A new release is being watched, and the one before it stays warm.
    Watched,
    /// The provider does not answer.
    Unknown,
}

/// What `status` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// The line of `list`.
    #[serde(flatten)]
    pub summary: StackSummary,
    /// All units.
    pub units: Vec<UnitObserved>,
    /// Traffic.
    pub routing: Option<Routing>,
    /// Resources: key, kind, id.
    pub resources: Vec<ResourceSummary>,
    /// What came of the last change.
    pub last_outcome: Option<Outcome>,
    /// What that change was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<LastRun>,
    /// Certificates that it is reached with, of each server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<CertificateSeen>,
    /// What each release does; only of [`Live`](super::Live).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traffic: Vec<ReleaseTraffic>,
    /// The open watch; only of [`Live`](super::Live).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<WatchStatus>,
    /// Notes for people: an interrupted run, a provider that does not answer.
    pub notes: Vec<String>,
}

/// A resource in `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceSummary {
    /// Its key.
    pub key: String,
    /// Its kind.
    pub kind: String,
    /// What the provider calls it.
    pub id: String,
}

/// One line of `releases`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReleaseSummary {
    /// Its number.
    pub number: ReleaseNumber,
    /// Digest of its bundle.
    pub digest: Digest,
    /// The app's version.
    pub version: String,
    /// When it was built.
    pub created: Timestamp,
    /// When it was last made current.
    pub committed: Option<Timestamp>,
    /// What became of it.
    pub status: ReleaseStatus,
    /// Does it serve now?
    pub current: bool,
    /// Why its deployment failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The version of a profile that it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<ProfileRef>,
}
