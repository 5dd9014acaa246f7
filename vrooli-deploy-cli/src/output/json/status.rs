//! How an app is.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::SeenLine;
use crate::errors::Failure;

/// An app of the workspace.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct AppLine {
    /// The app.
    pub(crate) app: String,
    /// Its environment.
    pub(crate) environment: String,
    /// Who runs it.
    pub(crate) provider: Option<String>,
    /// The folder it came from.
    pub(crate) source: Option<String>,
    /// The release that serves.
    pub(crate) release: Option<String>,
    /// `running`, `impaired`, `stopped`, `empty`, `interrupted`, `unknown`, …
    pub(crate) health: String,
    /// Where it is reached.
    pub(crate) urls: Vec<String>,
    /// Who is changing it right now.
    pub(crate) changed_by: Option<LeaseLine>,
}

/// Who is changing an app.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct LeaseLine {
    /// Who.
    pub(crate) name: String,
    /// On which machine.
    pub(crate) host: String,
    /// Since when, RFC 3339.
    pub(crate) since: String,
    /// Address of the run, in CI.
    pub(crate) run_url: Option<String>,
}

/// How an app is.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct StatusLine {
    /// In short.
    #[serde(flatten)]
    pub(crate) app: AppLine,
    /// Its instances.
    pub(crate) units: Vec<UnitLine>,
    /// Traffic: weights by release.
    pub(crate) routing: BTreeMap<String, u32>,
    /// What it stands on.
    pub(crate) resources: Vec<ResourceLine>,
    /// Certificates that it is reached with, one a server.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) certificates: Vec<CertificateLine>,
    /// What each release does (`status --watch`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) releases: Vec<SeenLine>,
    /// The open watch (`status --watch`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) watch: Option<WatchLine>,
    /// What came of the last change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_change: Option<LastChangeLine>,
    /// For people.
    pub(crate) notes: Vec<String>,
}

/// A certificate as a server has it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct CertificateLine {
    /// The server.
    pub(crate) host: String,
    /// The host names that it is for.
    pub(crate) names: Vec<String>,
    /// Who signed it, as it says; none: there is none yet.
    pub(crate) issuer: Option<String>,
    /// The number that its issuer gave it, in hexadecimal.
    pub(crate) serial: Option<String>,
    /// Until when it is valid, RFC 3339.
    pub(crate) not_after: Option<String>,
    /// When the server renews it by itself, RFC 3339.
    pub(crate) renew_at: Option<String>,
    /// The server's edge serves with it.
    pub(crate) serves: bool,
    /// What is wrong with it, with its code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
}

/// The last change that came to an end.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct LastChangeLine {
    /// `deploy`, `rollback`, …
    pub(crate) command: String,
    /// The release that it was to bring.
    pub(crate) release: Option<String>,
    /// When it ended, RFC 3339.
    pub(crate) at: String,
    /// `applied`, `rolled_back`, `partial`, …
    pub(crate) outcome: String,
    /// Ended by another than the command that began it: a watch that nobody waited for.
    pub(crate) taken_over: bool,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<Failure>,
}

/// A watch that is open.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct WatchLine {
    /// The new release.
    pub(crate) release: String,
    /// The one it is compared with.
    pub(crate) old: Option<String>,
    /// Since when, RFC 3339.
    pub(crate) since: String,
    /// How long it is to be watched, in milliseconds.
    pub(crate) window_millis: u64,
    /// `pass`, `fail` or `inconclusive`, so far.
    pub(crate) verdict: String,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// An instance.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct UnitLine {
    /// Its release.
    pub(crate) release: String,
    /// Which: `api.0`.
    pub(crate) unit: String,
    /// The host it is on.
    pub(crate) host: String,
    /// `running`, `restarting`, `failed` or `stopped`.
    pub(crate) state: String,
    /// Process id.
    pub(crate) pid: Option<u32>,
    /// Ports by name.
    pub(crate) ports: BTreeMap<String, u16>,
    /// How often it was started again.
    pub(crate) restarts: u32,
    /// How it ended last.
    pub(crate) last_exit: Option<String>,
}

/// A resource.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ResourceLine {
    /// Its key.
    pub(crate) key: String,
    /// Its kind.
    pub(crate) kind: String,
    /// What the provider calls it.
    pub(crate) id: String,
}

/// A release.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ReleaseLine {
    /// `r12`.
    pub(crate) release: String,
    /// Digest of its bundle.
    pub(crate) digest: String,
    /// The app's version.
    pub(crate) version: String,
    /// When it was built, RFC 3339.
    pub(crate) created: String,
    /// When it was last made current, RFC 3339.
    pub(crate) committed: Option<String>,
    /// `candidate`, `good`, `failed` or `removed`.
    pub(crate) status: String,
    /// Does it serve now?
    pub(crate) current: bool,
    /// Why its deployment failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<String>,
    /// The version of a profile that it was made from: `profile-7 v3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) profile: Option<String>,
}
