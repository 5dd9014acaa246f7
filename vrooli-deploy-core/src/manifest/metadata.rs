//! What an app's author, or a tool, says about where the app can run. Fitness reads it;
//! nothing of it changes how the app is deployed.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Tier, is_default};
use crate::names::{DependencyName, ProviderName};
use crate::requirements::Size;

/// What is said about where the app can run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetadataConfig {
    /// Who said it: a tool's name, `manual`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Providers that the author would choose, the best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preferred_providers: Vec<ProviderName>,
    /// Where its data may lie: countries by their two letters, or `eu`. Empty means anywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub residency: Vec<String>,
    /// Rules that a deployment must meet: `gdpr`, `hipaa`, `pci-dss`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub compliance: Vec<String>,
    /// Does it work without a network?
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offline_capable: Option<bool>,
    /// Tiers that it was made for; empty means that nothing is said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub supported_tiers: Vec<Tier>,
    /// What the whole app takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requirements: Option<RequirementsMetadata>,
    /// What is said of each tier.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tiers: BTreeMap<Tier, TierMetadata>,
    /// What is said of each resource or scenario that it needs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dependencies: BTreeMap<DependencyName, DependencyMetadata>,
    /// Values that a person puts in place of those that are worked out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<OverrideMetadata>,
}

/// What something takes, as its author says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RequirementsMetadata {
    /// Memory, in mebibytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ram_mb: Option<u64>,
    /// Processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub cpu_cores: Option<f64>,
    /// Disk, in mebibytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_mb: Option<u64>,
    /// Must there be a graphics card?
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<bool>,
    /// `required`, `optional` or `offline`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// `calculated`, `estimated` or `manual`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// `low`, `medium` or `high`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<String>,
}

impl RequirementsMetadata {
    /// The sizes alone.
    #[must_use]
    pub const fn size(&self) -> Size {
        Size { ram_mb: self.ram_mb, cpu_cores: self.cpu_cores, disk_mb: self.disk_mb, gpu_vram_mb: None }
    }
}

/// What is said of a tier.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TierMetadata {
    /// Can it run there?
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<TierStatus>,
    /// How fit it is said to be, 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub fitness: Option<u8>,
    /// What stands in the way, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    /// What the app takes there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requirements: Option<RequirementsMetadata>,
    /// Swaps that would help.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adaptations: Vec<AdaptationMetadata>,
    /// Secrets that it needs there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<TierSecretMetadata>,
}

/// Can an app run in a tier?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TierStatus {
    /// Yes.
    Ready,
    /// With what the constraints say.
    Limited,
    /// No.
    Blocked,
}

/// A swap that an author proposes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AdaptationMetadata {
    /// What to replace.
    pub dependency: String,
    /// By what.
    pub swap: String,
    /// What it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impact: Option<String>,
    /// How long it takes a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub effort_days: Option<f64>,
}

/// A secret that an app needs in a tier. Its name only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TierSecretMetadata {
    /// `openrouter/api-key`.
    pub id: String,
    /// `infrastructure`, `service` or `user`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classification: Option<String>,
    /// Where its strategy is written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
}

/// What is said of a dependency.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DependencyMetadata {
    /// Is it a scenario? Else a resource.
    #[serde(default, skip_serializing_if = "is_default")]
    pub scenario: bool,
    /// What it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub footprint: Option<RequirementsMetadata>,
    /// How it fits each tier.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub support: BTreeMap<Tier, SupportMetadata>,
    /// What could stand in its place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub swappable_with: Vec<SwappableMetadata>,
}

/// How a dependency fits a tier.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SupportMetadata {
    /// Does it run there?
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supported: Option<bool>,
    /// How fit it is said to be, 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub fitness: Option<u8>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What could stand in its place there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alternatives: Vec<String>,
}

/// What could stand in a dependency's place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SwappableMetadata {
    /// Its name.
    pub id: String,
    /// `drop-in`, `migration`, `fallback`, `future`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relationship: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
}

/// A value that a person puts in place of one that is worked out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OverrideMetadata {
    /// In which tier.
    pub tier: Tier,
    /// The whole score of the tier, 0 to 100.
    #[schemars(range(min = 0, max = 100))]
    pub fitness: u8,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The last day on which it counts, `2026-12-31`; a time of day after it is ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// A resource to put in the place of another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct SwapConfig {
    /// What the app declares, or what it is: `ollama`.
    pub from: DependencyName,
    /// What takes its place: `openrouter`.
    pub to: DependencyName,
}

impl SwapConfig {
    /// The swap that takes this one back.
    #[must_use]
    pub fn inverse(&self) -> Self {
        Self { from: self.to.clone(), to: self.from.clone() }
    }
}

impl std::fmt::Display for SwapConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.from, self.to)
    }
}

impl std::str::FromStr for SwapConfig {
    type Err = String;

    /// Reads `from=to`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (from, to) = text
            .split_once('=')
            .or_else(|| text.split_once("->"))
            .ok_or_else(|| format!("`{text}` is not a swap like `ollama=openrouter`"))?;
        let name = |text: &str| DependencyName::new(text.trim()).map_err(|error| error.to_string());
        Ok(Self { from: name(from)?, to: name(to)? })
    }
}
