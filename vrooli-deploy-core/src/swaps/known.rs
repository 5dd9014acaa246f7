use std::collections::BTreeMap;
use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::manifest::crosswalk::embedded;
use crate::manifest::{DeploymentManifest, ResourceDependency, SwapConfig, Tier};
use crate::names::DependencyName;
use crate::requirements::{Primitive, catalogue};

#[derive(Debug, Default, Deserialize)]
struct Swaps {
    swaps: Vec<KnownSwap>,
}

/// A swap that is known to be possible.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KnownSwap {
    /// What it replaces, by the catalogue's name.
    pub from: String,
    /// What takes its place.
    pub to: String,
    /// How the two stand to each other.
    pub relationship: Relationship,
    /// Tiers that it is meant for.
    pub tiers: Vec<Tier>,
    /// What it takes to make the app work with it.
    pub effort: Effort,
    /// What it changes.
    pub impact: String,
    /// What is lost.
    pub limitations: Vec<String>,
    /// Tiers in which it is refused, and why.
    pub refused: BTreeMap<Tier, String>,
    /// What else must change with it.
    pub forces: Vec<Force>,
    /// Where this comes from.
    pub source: String,
}

/// How two resources stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Relationship {
    /// The same in another form.
    DropIn,
    /// Data and code move.
    Migration,
    /// Less, but enough.
    Fallback,
    /// Somebody else runs the same.
    ManagedService,
    /// A service over the network does the same.
    ApiAlternative,
    /// A cloud's own service does the same.
    CloudAlternative,
    /// The app does it itself.
    Embedded,
}

/// What a swap takes to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    /// Configuration.
    Low,
    /// Some code.
    Medium,
    /// Parts of the app are written anew.
    High,
}

/// Something that must change with a swap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Force {
    /// Of what kind.
    pub kind: ForceKind,
    /// Why.
    pub why: String,
    /// Only if the app needs something of this kind.
    #[serde(default)]
    pub if_primitive: Option<Primitive>,
}

/// Of what kind something is that must change with a swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ForceKind {
    /// Another resource needs what is taken away.
    Dependent,
    /// SQL files and extensions.
    Sql,
    /// The app's code.
    Code,
    /// No more than one instance may run.
    SingleInstance,
    /// A folder that outlives releases.
    Volume,
    /// A secret must be there.
    Secret,
    /// The internet must be reached.
    Network,
    /// Stored vectors must be computed again.
    RebuildVectors,
    /// Buckets must be made and filled.
    Buckets,
}

static SWAPS: LazyLock<Swaps> = LazyLock::new(|| embedded(include_str!("data/swaps.json")));

/// All known swaps.
#[must_use]
pub fn list() -> &'static [KnownSwap] {
    &SWAPS.swaps
}

/// What is known of this swap; aliases are understood.
#[must_use]
pub fn known(swap: &SwapConfig) -> Option<&'static KnownSwap> {
    let (from, to) = (catalogue().canonical(swap.from.as_str()), catalogue().canonical(swap.to.as_str()));
    list().iter().find(|known| known.from == from && known.to == to)
}

/// The known swaps of an app's dependencies, and for which dependency each is. Disabled
/// dependencies have none.
#[must_use]
pub fn offers(manifest: &DeploymentManifest) -> Vec<(DependencyName, &'static KnownSwap)> {
    manifest
        .dependencies
        .resources
        .iter()
        .filter(|(_, dependency)| dependency.enabled)
        .flat_map(|(name, dependency)| {
            let kind = effective(name, dependency, &manifest.swaps).kind;
            list().iter().filter(move |known| known.from == kind).map(|known| (name.clone(), known))
        })
        .collect()
}

/// What a tier says to a swap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// It is meant for it.
    Meant,
    /// It is meant for others; it may be made all the same.
    Unusual,
    /// It is refused.
    Refused {
        /// Why.
        why: String,
    },
    /// Nothing is known of such a swap.
    Unknown,
}

impl KnownSwap {
    /// What a tier says to it.
    #[must_use]
    pub fn verdict(&self, tier: Tier) -> Verdict {
        match self.refused.get(&tier) {
            Some(why) => Verdict::Refused { why: why.clone() },
            None if self.tiers.contains(&tier) => Verdict::Meant,
            None => Verdict::Unusual,
        }
    }
}

/// What a dependency is once swaps are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Effective {
    /// The catalogue's name of it, or the declared one where nothing is known.
    pub(crate) kind: String,
    /// What the app declares, if that is something else.
    pub(crate) declared: Option<String>,
    /// Which of the swaps met it, by place.
    pub(crate) met: Vec<usize>,
}

pub(crate) fn effective(
    name: &DependencyName,
    dependency: &ResourceDependency,
    swaps: &[SwapConfig],
) -> Effective {
    let declared = catalogue().canonical(dependency.kind.as_deref().unwrap_or(name.as_str())).to_owned();
    let mut kind = declared.clone();
    let mut met = Vec::new();
    for (place, swap) in swaps.iter().enumerate() {
        let named = swap.from == *name && met.is_empty();
        if named || catalogue().canonical(swap.from.as_str()) == kind {
            catalogue().canonical(swap.to.as_str()).clone_into(&mut kind);
            met.push(place);
        }
    }
    let declared = (declared != kind).then_some(declared);
    Effective { kind, declared, met }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_can_be_read_and_speaks_the_catalogue_s_language() {
        serde_json::from_str::<Swaps>(include_str!("data/swaps.json")).unwrap();
        assert!(list().len() > 10);
        for swap in list() {
            for name in [&swap.from, &swap.to] {
                assert_eq!(catalogue().find(name).map(|known| &known.name), Some(name));
            }
            assert!(swap.tiers.iter().all(|tier| !swap.refused.contains_key(tier)), "{}", swap.to);
        }
    }

    #[test]
    fn hosted_tiers_keep_their_servers() {
        for (from, to) in [("postgres", "sqlite"), ("redis", "in-memory-cache"), ("vault", "file-secrets")] {
            let swap: SwapConfig = format!("{from}={to}").parse().unwrap();
            let known = known(&swap).unwrap();
            assert!(matches!(known.verdict(Tier::Saas), Verdict::Refused { .. }), "{swap}");
            assert_eq!(known.verdict(Tier::Desktop), Verdict::Meant, "{swap}");
        }
    }

    #[test]
    fn swaps_follow_each_other_and_lead_back() {
        let name = DependencyName::new("llm").unwrap();
        let dependency: ResourceDependency = serde_json::from_str(r#"{ "type": "ollama" }"#).unwrap();
        let swaps = |list: &[&str]| -> Vec<SwapConfig> { list.iter().map(|s| s.parse().unwrap()).collect() };
        let kind = |list: &[&str]| effective(&name, &dependency, &swaps(list));
        assert_eq!(kind(&["llm=openrouter"]).kind, "openrouter");
        assert_eq!(kind(&["ollama=openrouter", "openrouter=anthropic"]).kind, "anthropic");
        assert_eq!(kind(&["ollama=openrouter", "openrouter=ollama"]).declared, None);
        assert_eq!(kind(&["redis=in-process"]).met, Vec::<usize>::new());
    }
}
