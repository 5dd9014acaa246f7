//! A release: one versioned bundle of everything that serves. Content-addressed; its
//! history entry is `rN`.

mod capacity;
mod claims;
pub mod comparison;
mod draft;
mod front;
pub mod migration;
pub mod sequential;
pub mod smoke;
pub mod strategy;
pub mod verdict;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::manifest::{ServiceConfig, SmokeTest, StrategyConfig};
use crate::names::{AppName, Digest, EnvironmentName, PortName, ReleaseNumber, ServiceName, VariableName};
use crate::provider::{Artefact, OutputValue};
use crate::requirements::ResourceRequirement;
use crate::secrets::SecretRef;
use crate::stack::Reference;

pub use capacity::Capacity;
pub use claims::{Claim, claims};
pub use draft::{DraftInput, draft};
pub use front::{Front, OwnCertificate};
pub use migration::Irreversible;

/// One release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Release {
    /// Its number.
    pub number: ReleaseNumber,
    /// Digest of its bundle.
    pub digest: Digest,
    /// Everything that serves.
    pub bundle: Bundle,
}

impl Release {
    /// Numbers a bundle.
    ///
    /// # Errors
    /// When the bundle cannot be written as JSON, which no bundle read from JSON does.
    pub fn new(number: ReleaseNumber, bundle: Bundle) -> Result<Self, serde_json::Error> {
        Ok(Self { number, digest: Digest::of_json(&bundle)?, bundle })
    }
}

/// Everything that serves. Two releases with equal bundles are the same thing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Bundle {
    /// The app.
    pub app: AppName,
    /// Its environment.
    pub environment: EnvironmentName,
    /// Its version as its authors count.
    pub version: String,
    /// What was built.
    pub artefact: Artefact,
    /// What runs: commands, ports, health, routes, replica counts.
    pub services: BTreeMap<ServiceName, ServiceConfig>,
    /// Environment variables by service.
    pub env: BTreeMap<ServiceName, BTreeMap<VariableName, EnvValue>>,
    /// Smoke tests.
    pub smoke: Vec<SmokeTest>,
    /// How it took over.
    pub strategy: StrategyConfig,
    /// The host name that it is reached at, where several apps share an address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// The edge in front of it.
    #[serde(default, skip_serializing_if = "crate::manifest::is_default")]
    pub front: Front,
    /// What it runs on, by place, as the fleet says it. Nothing where it runs on what is there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub capacity: BTreeMap<String, Capacity>,
    /// Resources it uses, with the files that it needs applied.
    pub resources: Vec<ResourceRequirement>,
    /// Digest of each file that must be applied before it starts, in order: the migration level.
    pub migrations: Vec<Migration>,
}

/// A file that must be applied before a release starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Migration {
    /// The resource it is applied to, as the app calls it.
    pub resource: String,
    /// Path inside the manifest's folder.
    pub file: String,
    /// Digest of its content.
    pub digest: Digest,
    /// What of it cannot be taken back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub irreversible: Vec<Irreversible>,
}

impl Migration {
    /// Is it the same file with the same content? What is thought of it does not count.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.resource, &self.file, &self.digest) == (&other.resource, &other.file, &other.digest)
    }
}

impl Bundle {
    /// Files of this release, with what cannot be taken back, that another one does not have.
    pub fn irreversible_beyond<'a>(&'a self, older: &'a Self) -> impl Iterator<Item = &'a Migration> {
        beyond(&self.migrations, &older.migrations)
    }
}

/// Files with what cannot be taken back that are not among older ones.
pub(crate) fn beyond<'a>(
    files: &'a [Migration],
    older: &'a [Migration],
) -> impl Iterator<Item = &'a Migration> {
    files
        .iter()
        .filter(|file| !file.irreversible.is_empty() && !older.iter().any(|known| known.is_same(file)))
}

/// A value of an environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EnvValue {
    /// As it is.
    Value(String),
    /// From the secret store, at this version.
    Secret(SecretRef),
    /// An output of a resource. Resolved to `Value` or `Secret` before the release is staged.
    Output(Reference),
    /// The port number that the named port of a service got in the same release.
    Port {
        /// Whose port.
        service: ServiceName,
        /// Which port.
        port: PortName,
    },
    /// The folder that is kept over releases, as an absolute path.
    DataDir,
}

impl EnvValue {
    /// What an output of a resource becomes in an environment. `None` for a list or an object.
    #[must_use]
    pub fn from_output(output: &OutputValue) -> Option<Self> {
        Some(match output {
            OutputValue::Secret(reference) => Self::Secret(reference.clone()),
            OutputValue::Plain(serde_json::Value::String(text)) => Self::Value(text.clone()),
            OutputValue::Plain(value @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_))) => {
                Self::Value(value.to_string())
            }
            OutputValue::Plain(_) => return None,
        })
    }
}
