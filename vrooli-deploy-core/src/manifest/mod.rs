//! The narrow waist: one schema, versioned and published. Every dialect is imported into
//! a [`DeploymentManifest`]; everything after it reads nothing else.

mod budget;
pub(crate) mod credentials;
pub mod crosswalk;
mod load;
mod metadata;
mod overlay;
pub(crate) mod places;
pub(crate) mod redaction;
mod schema;
mod secrets;
pub(crate) mod semantics;
pub(crate) mod shape;
mod strategy;
pub mod yaml;

pub use budget::{BudgetConfig, BudgetProblem};
#[cfg(feature = "engine")]
pub(crate) use load::folder_of;
pub use load::{Dialect, LoadedManifest, load, load_text, load_with};
pub(crate) use load::{placeholder, placeholders};
pub use metadata::{
    AdaptationMetadata, DependencyMetadata, MetadataConfig, OverrideMetadata, RequirementsMetadata,
    SupportMetadata, SwapConfig, SwappableMetadata, TierMetadata, TierSecretMetadata, TierStatus,
};
pub use overlay::{Layer, Layers};
pub use schema::{SCHEMA_URL, schema};
pub use secrets::{GeneratorKind, IfUnavailable, SecretConfig, SecretSource, VaultSource, VaultToken};
pub use strategy::{KeepConfig, StrategyConfig, StrategyKind, StrategyProblem};

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::{AppName, DependencyName, ImageRef, PortName, ProviderName, ServiceName, VariableName};

/// The version of the manifest schema that this library writes.
pub const SCHEMA_VERSION: &str = "v0.1";

/// Where an app runs, in Vrooli's five tiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// 1: this machine.
    Local,
    /// 2: a desktop program.
    Desktop,
    /// 3: a phone.
    Mobile,
    /// 4: servers or a cloud.
    Saas,
    /// 5: a customer's own machines.
    Enterprise,
}

/// One app, described for deployment. Schema v0.1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeploymentManifest {
    /// For editors; ignored.
    #[serde(rename = "$schema", default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// `v0.1`.
    pub schema_version: String,
    /// The tier.
    pub target: Tier,
    /// Who runs it.
    pub provider: ProviderName,
    /// The app itself.
    pub app: AppConfig,
    /// What it stands on.
    #[serde(default, skip_serializing_if = "is_default")]
    pub infrastructure: InfrastructureConfig,
    /// How it is reached.
    #[serde(default, skip_serializing_if = "is_default")]
    pub networking: NetworkingConfig,
    /// How its source becomes an artefact. Steps run in this order, before those of the services.
    #[serde(default, skip_serializing_if = "is_default")]
    pub build: BuildConfig,
    /// What runs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub services: BTreeMap<ServiceName, ServiceConfig>,
    /// What it needs from others.
    #[serde(default, skip_serializing_if = "is_default")]
    pub dependencies: DependenciesConfig,
    /// Dependencies to leave out although they are declared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drop: Vec<DependencyName>,
    /// Resources to put in the place of others, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub swaps: Vec<SwapConfig>,
    /// Variables whose value in this file looks like a secret and is none: a public key, a
    /// password of a test. They are not refused.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub not_secret: BTreeSet<VariableName>,
    /// Environment variables of every service. Never a secret: see `secrets`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<VariableName, String>,
    /// Secrets by reference, by the variable in which services find them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<VariableName, SecretConfig>,
    /// Requests that must be answered right before and after a release takes traffic.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub smoke: Vec<SmokeTest>,
    /// How one release follows another.
    #[serde(default, skip_serializing_if = "is_default")]
    pub strategy: StrategyConfig,
    /// What is said about where it can run. Read by `fitness`; changes nothing else.
    #[serde(default, skip_serializing_if = "is_default")]
    pub metadata: MetadataConfig,
}

pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The app itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AppConfig {
    /// Its name.
    pub name: AppName,
    /// Its version, as its authors count.
    #[serde(default = "default_version")]
    pub version: String,
    /// The host name it is reached at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// One sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// SPDX expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
}

fn default_version() -> String {
    "0.0.0".to_owned()
}

/// What the app stands on. Sizes are the provider's own names.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InfrastructureConfig {
    /// The provider's name of the region, for everything that does not say another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Machines or containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compute: Option<ComputeConfig>,
    /// The main database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<PartConfig>,
    /// The main cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<PartConfig>,
    /// Object storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<PartConfig>,
    /// Whose key data and secrets are encrypted with where they are kept.
    #[serde(default, skip_serializing_if = "is_default")]
    pub encryption: EncryptionKey,
    /// What the stack may cost a month, and who is told when it costs more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetConfig>,
    /// Servers that are there already (bare metal).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<ServerConfig>,
}

/// Whose key encrypts what is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EncryptionKey {
    /// The provider's own.
    #[default]
    ProviderManaged,
    /// One that is made for the app, in the user's account: who may use it says the user, and who has used it
    /// the provider's log. It is billed.
    CustomerManaged,
}

/// Machines or containers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ComputeConfig {
    /// `droplet`, `fargate`, `ec2`, `process`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// The provider's name of a size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// How many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub count: Option<u32>,
}

/// A database, cache or store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PartConfig {
    /// `managed-postgres`, `managed-redis`, `spaces`, `s3`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// The provider's name of a size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// A region other than the app's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Engine version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Who makes and keeps its password. Chosen when it is made: what runs would lose it with another.
    #[serde(default, skip_serializing_if = "is_default")]
    pub password: PasswordKeeper,
}

/// Who makes and keeps the password of a database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PasswordKeeper {
    /// It is made by the deployment, and kept where the app's secrets are.
    #[default]
    Stored,
    /// The provider makes it, and keeps it in a secret of its own.
    Managed,
}

/// A server that is there already.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServerConfig {
    /// Host name or address.
    pub host: String,
    /// `app`, `database`, …
    pub role: String,
    /// What it costs a month in US dollars, as decimal text, for estimates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monthly_usd: Option<String>,
}

/// How the app is reached.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NetworkingConfig {
    /// A load balancer in front.
    #[serde(default, skip_serializing_if = "is_default")]
    pub load_balancer: bool,
    /// Where certificates come from: `letsencrypt`, `managed`, `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssl: Option<String>,
    /// A content delivery network in front.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cdn: bool,
    /// A certificate of one's own, and what browsers are told. Servers of one's own only.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tls: TlsConfig,
    /// Bytes of the largest body that a request may have; a larger one is answered 413. Default: any.
    /// Servers of one's own only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_body_bytes: Option<u64>,
    /// Are answers compressed for clients that take it? Default: yes. Servers of one's own only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compress: Option<bool>,
}

/// TLS where the app is reached.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TlsConfig {
    /// The secret that holds a certificate with its chain, as PEM; with `key`. Without, certificates
    /// come from where `ssl` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<VariableName>,
    /// The secret that holds its private key, as PEM. No service gets the two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<VariableName>,
    /// For how long browsers are told to come by TLS only (HSTS). Default: they are not told, because
    /// they cannot be told otherwise before the time is over.
    #[serde(default, with = "crate::duration::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::duration::Text>")]
    pub hsts: Option<Duration>,
}

/// How source becomes an artefact.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BuildConfig {
    /// The folder that is copied for the build, relative to the manifest's: `.`, or `../..`
    /// for a scenario that uses `packages/` of its repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Paths under the context that are left out, in gitignore's syntax, beside those that always are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Paths under the context that the app needs, in gitignore's syntax; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// What to run, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<BuildStep>,
    /// Where images are run and none is given: the images to build and to run in, each by its digest, by
    /// name: `rust`, `go`, `node`, and `runtime` for what needs nothing else.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub base_images: BTreeMap<String, ImageRef>,
}

/// One command of a build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BuildStep {
    /// For people.
    pub name: String,
    /// What to run.
    pub run: Command,
    /// Run only if these paths (relative to the manifest's folder) exist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub if_exists: Vec<String>,
    /// Run only if these paths do not exist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unless_exists: Vec<String>,
}

/// A command: one string for the shell, or a list of arguments without one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Command {
    /// Given to `sh -c` as it is.
    Shell(String),
    /// Program and arguments.
    Exec(Vec<String>),
}

/// One service: something that runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceConfig {
    /// Further build steps, for this service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub build: Vec<BuildStep>,
    /// What to run.
    pub run: Command,
    /// Working directory, relative to the manifest's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
    /// Ports it listens on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<PortName, PortConfig>,
    /// How to see that it is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthConfig>,
    /// Which requests it gets through the edge; the first port serves them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteConfig>,
    /// How many run.
    #[serde(default, skip_serializing_if = "is_default")]
    pub scaling: ScalingConfig,
    /// May two releases of it run side by side? Default: yes with a port, no without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Overlap>,
    /// Environment variables of this service alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<VariableName, String>,
    /// Services that must be healthy before this one starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<ServiceName>,
    /// How long it may take to end by itself once asked to. Default 10 s.
    #[serde(default, with = "crate::duration::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::duration::Text>")]
    pub stop_grace: Option<Duration>,
    /// What it runs in, on machines of one's own: `native`, a program of the machine, or `docker`, a container
    /// of the machine's Docker. Where everything runs from images it says nothing. Default: native.
    #[serde(default, skip_serializing_if = "is_default")]
    pub runtime: Runtime,
    /// With `runtime: docker`: the image, by its digest. Default: the app's own, built by its Dockerfile, or by
    /// one that is written from its build steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageRef>,
}

/// What a service runs in, on machines of one's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Runtime {
    /// A program of the machine.
    #[default]
    Native,
    /// A container of the machine's Docker.
    Docker,
}

/// A port of a service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PortConfig {
    /// The variable in which every service of the app finds the number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env_var: Option<VariableName>,
    /// A fixed number, where one is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The range that the author had in mind, `15000-19999`. A hint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<String>,
}

/// How to see that a service is well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HealthConfig {
    /// Path of an HTTP check. Without one a TCP connection is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The port that is asked; default: the service's first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<PortName>,
    /// Of one probe. Default 5 s.
    #[serde(default, with = "crate::duration::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::duration::Text>")]
    pub timeout: Option<Duration>,
    /// Between probes of a running release. Default 30 s.
    #[serde(default, with = "crate::duration::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::duration::Text>")]
    pub interval: Option<Duration>,
    /// How long a start may take before it has failed. Default 60 s.
    #[serde(default, with = "crate::duration::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::duration::Text>")]
    pub startup_grace: Option<Duration>,
    /// Take `"status": "degraded"` for healthy.
    #[serde(default, skip_serializing_if = "is_default")]
    pub allow_degraded: bool,
    /// Does an unhealthy answer fail a release? Default yes.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub critical: bool,
}

impl HealthConfig {
    /// How long a start may take of a service that says this, or nothing: 60 s then.
    #[must_use]
    pub fn startup_grace_of(health: Option<&Self>) -> Duration {
        health.and_then(|health| health.startup_grace).unwrap_or(Duration::from_secs(60))
    }
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_yes(value: &bool) -> bool {
    *value
}

/// Which requests a service gets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RouteConfig {
    /// Host name; absent means any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Path prefix, on whole segments: `/api` takes `/api` and `/api/x`, not `/apis`. The longest wins.
    pub path: String,
    /// The port that gets them; default: the service's first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<PortName>,
}

/// How many run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScalingConfig {
    /// At least.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub min: u32,
    /// At most.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub max: u32,
}

fn one() -> u32 {
    1
}

impl Default for ScalingConfig {
    fn default() -> Self {
        Self { min: 1, max: 1 }
    }
}

/// May two releases of a service run side by side?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    /// Yes.
    Allowed,
    /// No: the old one is stopped before the new one starts (workers, schedulers, single writers).
    Exclusive,
}

/// What the app needs from others.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DependenciesConfig {
    /// Databases, caches, stores, models, …
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub resources: BTreeMap<DependencyName, ResourceDependency>,
    /// Other scenarios.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scenarios: BTreeMap<DependencyName, ScenarioDependency>,
}

/// A database, cache, store, model, … that the app declares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceDependency {
    /// The catalogue's name of what it is; default: the dependency's own name.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Is it wanted at all? A disabled entry is no dependency.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub enabled: bool,
    /// Can the app do without?
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub required: bool,
    /// True when a tool guessed it and no person confirmed it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub heuristic: bool,
    /// Version or range, as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// Name of the database, for those that have several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// Extensions that must be there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<String>,
    /// Models (AI).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Buckets (object stores).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub buckets: Vec<String>,
    /// Files to apply once, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub initialization: Vec<InitializationFile>,
}

/// A file that prepares a resource. Applied once, never twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InitializationFile {
    /// Path relative to the manifest's folder; never outside it.
    pub file: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: InitializationKind,
}

/// What an initialization file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum InitializationKind {
    /// Makes tables.
    Schema,
    /// Changes tables. A folder holds several, applied in the order of their names.
    Migration,
    /// Fills tables.
    Seed,
    /// Fills a store.
    Data,
    /// Configures a service.
    Config,
    /// A workflow (n8n, windmill).
    Workflow,
    /// An app of a low-code tool.
    App,
    /// A script.
    Script,
}

/// Another scenario that the app calls.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScenarioDependency {
    /// Is it wanted at all?
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub enabled: bool,
    /// Can the app do without?
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub required: bool,
    /// The version it was written against, as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Versions it works with, as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_range: Option<String>,
    /// What for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
}

/// A request that must be answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SmokeTest {
    /// The service that is asked.
    pub service: ServiceName,
    /// `GET` unless said otherwise.
    #[serde(default = "get")]
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Body, sent as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<serde_json::Value>,
    /// What the answer must be.
    #[serde(default, skip_serializing_if = "is_default")]
    pub expect: SmokeExpectation,
}

fn get() -> String {
    "GET".to_owned()
}

/// What the answer to a smoke test must be.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SmokeExpectation {
    /// Status; default any 2xx.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Start of the content type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// JSON pointers and the values that must be there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub json: BTreeMap<String, serde_json::Value>,
}
