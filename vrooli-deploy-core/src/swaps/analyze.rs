use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cascade::{Consequence, cascade};
use super::known::{KnownSwap, Verdict, effective, known};
use crate::diagnostics::{Checked, rules};
use crate::fitness::{AssessOptions, Fitness, TIERS, assess};
use crate::manifest::{LoadedManifest, SwapConfig, Tier};

/// What a swap would do to an app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SwapAnalysis {
    /// The swap.
    pub swap: SwapConfig,
    /// What is known of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<KnownSwap>,
    /// What it changes in each tier, in their order.
    pub tiers: Vec<TierChange>,
    /// What else must change with it, in the tier that was asked for.
    pub consequences: Vec<Consequence>,
}

/// What a swap changes in a tier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TierChange {
    /// The tier.
    pub tier: Tier,
    /// What the tier says to the swap.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The score without it.
    pub before: u8,
    /// The score with it.
    pub after: u8,
    /// Messages of blockers that go.
    pub unblocks: Vec<String>,
    /// Messages of blockers that come.
    pub blocks: Vec<String>,
}

impl TierChange {
    /// What the score gains, or loses.
    #[must_use]
    pub const fn delta(&self) -> i16 {
        self.after as i16 - self.before as i16
    }
}

/// Works out what a swap would do: fitness without it and with it, in every tier, and what
/// it forces in the tier that the options name (else the manifest's). Optional resources count
/// only if it is one of them that is swapped.
pub fn analyze(loaded: &LoadedManifest, swap: &SwapConfig, options: &AssessOptions) -> Checked<SwapAnalysis> {
    let tier = options.tiers.first().copied().unwrap_or(loaded.manifest.target);
    let earlier = loaded.manifest.swaps.len();
    let swaps: Vec<SwapConfig> = loaded.manifest.swaps.iter().chain([swap]).cloned().collect();
    let of_optional = loaded.manifest.dependencies.resources.iter().any(|(name, dependency)| {
        let meets = effective(name, dependency, &swaps).met.contains(&earlier);
        meets && dependency.enabled && !dependency.required
    });
    let before_options = AssessOptions {
        tiers: TIERS.to_vec(),
        include_optional: options.include_optional || of_optional,
        ..options.clone()
    };
    let mut after_options = before_options.clone();
    after_options.swaps.push(swap.clone());
    let before = assess(loaded, &before_options);
    let after = assess(loaded, &after_options);
    // What is wrong with the app itself is no news; what the swap adds is. For whom it is meant
    // is said with each tier.
    let diagnostics = after
        .diagnostics
        .into_iter()
        .filter(|found| !before.diagnostics.contains(found))
        .filter(|found| found.code != rules::SWAP_UNUSUAL)
        .collect();
    let known = known(swap).cloned();
    let value = before.value.zip(after.value).map(|(before, after)| SwapAnalysis {
        swap: swap.clone(),
        tiers: TIERS.into_iter().filter_map(|tier| change(tier, known.as_ref(), &before, &after)).collect(),
        known,
        consequences: cascade(&loaded.manifest, swap, tier),
    });
    Checked { value, diagnostics }
}

fn change(tier: Tier, known: Option<&KnownSwap>, before: &Fitness, after: &Fitness) -> Option<TierChange> {
    let (before, after) = (before.tier(tier)?, after.tier(tier)?);
    let messages = |one: &crate::fitness::TierFitness, other: &crate::fitness::TierFitness| -> Vec<String> {
        one.blockers
            .iter()
            .filter(|blocker| !other.blockers.iter().any(|b| b.message == blocker.message))
            .map(|blocker| blocker.message.clone())
            .collect()
    };
    Some(TierChange {
        tier,
        verdict: known.map_or(Verdict::Unknown, |known| known.verdict(tier)),
        before: before.overall,
        after: after.overall,
        unblocks: messages(before, after),
        blocks: messages(after, before),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::load_text;

    #[test]
    fn a_swap_is_scored_again_and_never_by_a_constant() {
        let text = r#"
schema_version: v0.1
target: desktop
provider: local
app: { name: a, license: MIT }
services: { api: { run: [./a] } }
dependencies:
  resources:
    postgres: { extensions: [vector] }
    redis: { required: false }
    browserless: {}
"#;
        let loaded = load_text("a.yaml".as_ref(), text).value.unwrap();
        let analysed = |swap: &str| {
            analyze(&loaded, &swap.parse().unwrap(), &AssessOptions::default()).into_result().unwrap().0
        };
        let at = |analysis: &SwapAnalysis, tier| {
            analysis.tiers.iter().find(|change| change.tier == tier).unwrap().clone()
        };
        let database = analysed("postgres=sqlite");
        assert!(at(&database, Tier::Desktop).delta() > 0);
        assert!(at(&database, Tier::Saas).delta() < 0);
        assert!(matches!(at(&database, Tier::Saas).verdict, Verdict::Refused { .. }));
        assert!(database.consequences.iter().any(|c| c.what == "extension vector"));
        let cache = analysed("redis=in-process");
        assert!(at(&cache, Tier::Desktop).delta() > 0, "it is optional, and asked about");
        let browser = at(&analysed("browserless=playwright"), Tier::Saas);
        assert_eq!(browser.unblocks.len(), 1);
        assert!(browser.blocks.is_empty() && browser.unblocks[0].contains("SSPL-1.0"));
        assert_eq!(analysed("minio=s3").tiers.iter().map(TierChange::delta).sum::<i16>(), 0);
    }
}
