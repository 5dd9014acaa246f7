//! What could be in the way of a deployment: looked at on all hosts at once, one round trip
//! each. Changes nothing.

mod judge;
mod limits;
#[cfg(feature = "native")]
mod run;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artefact::Artefact;
use crate::facts;
use crate::host::{HostName, Server};
use crate::remote::Phase;

pub use judge::{Resolved, Seen, judge_dns, judge_host};
#[cfg(feature = "native")]
pub use run::preflight;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckStatus {
    /// Good.
    Pass,
    /// It will do, but look at it.
    Warn,
    /// It will not do.
    Fail,
}

/// One check and how it came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct PreflightCheck {
    /// What was checked: `disk_free`, `ports_80_443`, …
    pub id: String,
    /// How it came out.
    pub status: CheckStatus,
    /// What was seen.
    pub details: String,
    /// What to do, unless it passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What it was seen by.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, String>,
}

/// What to look for beside what is always looked for.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct PreflightOptions {
    /// The app's domain: it must lead to its servers.
    pub domain: Option<String>,
    /// What was built: it must run on the servers that run the app.
    pub artefacts: Vec<Artefact>,
}

/// What was seen of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct HostPreflight {
    /// The server.
    pub server: Server,
    /// All checks, in the order in which they build on each other.
    pub checks: Vec<PreflightCheck>,
}

/// What was seen of all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct Preflight {
    /// What is so of the app as a whole: its domain.
    pub app: Vec<PreflightCheck>,
    /// Host by host.
    pub hosts: Vec<HostPreflight>,
}

impl Preflight {
    /// All checks, with the host that they are about.
    pub fn checks(&self) -> impl Iterator<Item = (Option<&HostName>, &PreflightCheck)> {
        let app = self.app.iter().map(|check| (None, check));
        let hosts = self.hosts.iter();
        app.chain(
            hosts.flat_map(|host| host.checks.iter().map(move |check| (Some(&host.server.host), check))),
        )
    }

    /// The worst of all checks.
    #[must_use]
    pub fn status(&self) -> CheckStatus {
        self.checks().map(|(_, check)| check.status).max().unwrap_or(CheckStatus::Pass)
    }

    /// How many came out so.
    #[must_use]
    pub fn count(&self, status: CheckStatus) -> usize {
        self.checks().filter(|(_, check)| check.status == status).count()
    }
}

/// The phase that looks: the facts and what is particular to a deployment.
#[must_use]
pub fn phase() -> Phase {
    Phase::new("preflight", format!("{}{}", facts::SCRIPT, include_str!("../scripts/preflight.sh")))
}
