//! What an app needs, in terms that belong to no provider.

mod aggregate;
mod catalogue;
mod derive;
pub(crate) mod metadata;
mod models;
mod runtimes;
mod scenarios;
mod size;
mod versions;

pub use aggregate::{Aggregate, SizedPart, aggregate};
pub use catalogue::{
    Catalogue, GpuNeed, Hosting, KnownFootprint, KnownHealth, KnownResource, KnownSecret, Licence, MadeBy,
    Need, ResourceForm, SecretClass, SecretQuestion, Support, TierSupport, catalogue,
};
pub use derive::{DeriveOptions, derive, derive_at};
pub(crate) use metadata::orphan;
pub use metadata::orphans;
pub use models::model_memory;
pub use runtimes::{Runtime, runtime};
pub use scenarios::{ScenarioClosure, ScenarioNode, resolve_scenarios, scenarios_around};
pub use size::{Footprint, Size};
pub use versions::satisfies;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::manifest::{InitializationFile, ServiceConfig};
use crate::names::{AppName, DependencyName, ResourceKey, ServiceName, VariableName};

/// Everything an app needs. Derived from a manifest and the catalogue of known resources.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Requirements {
    /// Whose.
    pub app: AppName,
    /// What runs.
    pub services: BTreeMap<ServiceName, ServiceConfig>,
    /// Resources that must be there before a service starts.
    pub resources: Vec<ResourceRequirement>,
    /// Parts of the app itself (a database in a file, a library): nothing is made for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub embedded: Vec<ResourceRequirement>,
    /// Declared, but not provided, and why.
    pub dropped: Vec<DroppedDependency>,
    /// Does the app keep files of its own (`../data`)?
    pub data_volume: bool,
}

/// One resource that must be there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceRequirement {
    /// As the app calls it.
    pub name: DependencyName,
    /// The catalogue's name: `postgres`, `redis`.
    pub resource: String,
    /// What it is.
    pub primitive: Primitive,
    /// Version or range as declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Name of the database, for those that have several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// Extensions that must be there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<String>,
    /// Buckets that must be there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub buckets: Vec<String>,
    /// Files to apply once, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub initialization: Vec<InitializationFile>,
    /// The environment contract: variable → output of the resource that fills it.
    pub env: BTreeMap<VariableName, String>,
    /// Does the app fail without it? Optional ones are here only if they were asked for.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub required: bool,
    /// Models that it must have (AI).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// What it takes, as far as that is known: from the app's own metadata, else from the
    /// catalogue. Clouds choose sizes by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Footprint>,
    /// What the app declares, where a swap put another resource in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swapped_from: Option<String>,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_yes(value: &bool) -> bool {
    *value
}

/// What a resource is, in terms that belong to no provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Primitive {
    /// A relational database.
    Database,
    /// A cache or key-value store.
    Cache,
    /// Object storage.
    ObjectStore,
    /// A vector database.
    VectorStore,
    /// A model server.
    Model,
    /// Workflow automation.
    Automation,
    /// A browser to drive.
    Browser,
    /// A message queue.
    Queue,
    /// A store of secrets.
    SecretStore,
    /// Runs code of others.
    Sandbox,
    /// Anything else that listens.
    Service,
}

/// Declared, but not provided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DroppedDependency {
    /// As the app calls it.
    pub name: DependencyName,
    /// Why.
    pub reason: DropReason,
    /// Does the app say that it fails without it?
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
}

/// Why a declared dependency is not provided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DropReason {
    /// The entry is disabled.
    Disabled,
    /// The app can do without.
    Optional,
    /// A tool guessed it and nothing confirms it.
    Heuristic,
    /// The resource no longer exists.
    Dead,
    /// The user said so.
    Asked,
}

impl ResourceRequirement {
    /// The key of the resource that meets it: `database/<name>`, `cache/<name>`, ….
    /// `None` when the name cannot be part of a key.
    #[must_use]
    pub fn key(&self) -> Option<ResourceKey> {
        let prefix = match self.primitive {
            Primitive::Database => "database",
            Primitive::Cache => "cache",
            Primitive::ObjectStore => "store",
            Primitive::VectorStore => "vectors",
            Primitive::Model => "model",
            Primitive::Automation => "automation",
            Primitive::Browser => "browser",
            Primitive::Queue => "queue",
            Primitive::SecretStore => "secrets",
            Primitive::Sandbox => "sandbox",
            Primitive::Service => "service",
        };
        ResourceKey::new(format!("{prefix}/{}", self.name.as_str().to_ascii_lowercase())).ok()
    }
}
