//! Lines of `fitness` and `swaps`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use vrooli_deploy_core::fitness::{Blocker, Cause, Fitness, Remark, Term, TierFitness};
use vrooli_deploy_core::manifest::SwapConfig;
use vrooli_deploy_core::requirements::Size;
use vrooli_deploy_core::swaps::{Consequence, KnownSwap, SwapAnalysis, TierChange, Verdict};

use super::PlaceLine;
use crate::output::word;

/// How fit an app is for a tier (`fitness`); one line a tier.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct FitnessLine {
    /// The app.
    pub(crate) app: String,
    /// `local`, `desktop`, `mobile`, `saas` or `enterprise`.
    pub(crate) tier: String,
    /// 0 to 100.
    pub(crate) overall: u8,
    /// `excellent`, `good`, `fair`, `poor`, `critical`.
    pub(crate) band: String,
    /// `ready`, `warning`, `below-threshold` or `blocked`.
    pub(crate) status: String,
    /// May it be deployed?
    pub(crate) passes: bool,
    /// The score that is wanted at least.
    pub(crate) threshold: u8,
    /// The score below which it is warned.
    pub(crate) warning_below: u8,
    /// What a Go API with a Node page and PostgreSQL comes to.
    pub(crate) baseline: u8,
    /// Version of the points and weights.
    pub(crate) policy: u32,
    /// By name: `portability`, `resources`, `licensing`, `platform_support`.
    pub(crate) dimensions: BTreeMap<String, DimensionLine>,
    /// What a person put on top of what was worked out.
    pub(crate) adjustments: Vec<TermLine>,
    /// What makes it impossible, whatever the score.
    pub(crate) blockers: Vec<BlockerLine>,
    /// What a person should know.
    pub(crate) warnings: Vec<RemarkLine>,
    /// Dependencies that were left out because somebody asked for it.
    pub(crate) dropped: Vec<String>,
    /// Swaps that were made.
    pub(crate) swaps_applied: Vec<SwapPairLine>,
    /// What it takes, as far as that is known.
    pub(crate) size: SizeLine,
}

/// A dimension of fitness.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct DimensionLine {
    /// 0 to 100: the sum of the terms.
    pub(crate) score: u8,
    /// In hundredths of the whole.
    pub(crate) weight: u8,
    /// Where it comes from.
    pub(crate) terms: Vec<TermLine>,
}

/// A part of a score.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct TermLine {
    /// Its name.
    pub(crate) name: String,
    /// What it adds, or, below zero, takes.
    pub(crate) points: i32,
    /// Why.
    pub(crate) why: String,
    /// What caused it.
    pub(crate) cause: CauseLine,
}

/// What caused something.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct CauseLine {
    /// A dependency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dependency: Option<String>,
    /// A field of the app's file, as a JSON pointer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) field: Option<String>,
    /// Where that stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) place: Option<PlaceLine>,
    /// What was known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) knowledge: Option<String>,
}

/// Something that makes a deployment impossible.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct BlockerLine {
    /// `VD0330`.
    pub(crate) code: String,
    /// What.
    pub(crate) message: String,
    /// What caused it.
    pub(crate) cause: CauseLine,
    /// What would help, or `no known alternative`.
    pub(crate) suggestions: Vec<String>,
    /// Swaps that would help.
    pub(crate) swaps: Vec<SwapPairLine>,
}

/// Something that a person should know.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct RemarkLine {
    /// `VD0331`.
    pub(crate) code: String,
    /// What.
    pub(crate) message: String,
    /// What caused it.
    pub(crate) cause: CauseLine,
}

/// A swap.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct SwapPairLine {
    /// What is replaced.
    pub(crate) from: String,
    /// What takes its place.
    pub(crate) to: String,
}

/// What something takes; what is not known is absent.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct SizeLine {
    /// To run at all.
    pub(crate) minimum: AmountLine,
    /// To run well.
    pub(crate) recommended: AmountLine,
    /// Parts of which nothing is known.
    pub(crate) unknown: Vec<String>,
}

/// An amount of machine.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct AmountLine {
    /// Memory, in mebibytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ram_mb: Option<u64>,
    /// Processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_cores: Option<f64>,
    /// Disk, in mebibytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) disk_mb: Option<u64>,
    /// Memory of a graphics card, in mebibytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) gpu_vram_mb: Option<u64>,
}

/// A swap that is known (`swaps list`).
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct SwapLine {
    /// The app's dependency; absent in the list of all swaps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dependency: Option<String>,
    /// What is replaced.
    pub(crate) from: String,
    /// What takes its place.
    pub(crate) to: String,
    /// `drop-in`, `migration`, `fallback`, `managed-service`, `api-alternative`, …
    pub(crate) relationship: String,
    /// Tiers that it is meant for.
    pub(crate) applicable_tiers: Vec<String>,
    /// Tiers that refuse it, and why.
    pub(crate) refused: BTreeMap<String, String>,
    /// `low`, `medium` or `high`.
    pub(crate) effort: String,
    /// What it changes.
    pub(crate) impact: String,
    /// What is lost.
    pub(crate) limitations: Vec<String>,
    /// Where this comes from.
    pub(crate) source: String,
}

/// What a swap would do (`swaps analyze`).
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct SwapAnalysisLine {
    /// What is replaced.
    pub(crate) from: String,
    /// What takes its place.
    pub(crate) to: String,
    /// What is known of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) known: Option<SwapLine>,
    /// What it changes in each tier.
    pub(crate) tiers: Vec<TierChangeLine>,
    /// What else must change.
    pub(crate) consequences: Vec<ConsequenceLine>,
}

/// What a swap changes in a tier.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct TierChangeLine {
    /// The tier.
    pub(crate) tier: String,
    /// `meant`, `unusual`, `refused` or `unknown`.
    pub(crate) verdict: String,
    /// Why it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<String>,
    /// The score without it.
    pub(crate) before: u8,
    /// The score with it.
    pub(crate) after: u8,
    /// The difference.
    pub(crate) delta: i16,
    /// Blockers that go.
    pub(crate) unblocks: Vec<String>,
    /// Blockers that come.
    pub(crate) blocks: Vec<String>,
}

/// Something that must change because of a swap (`swaps cascade`).
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ConsequenceLine {
    /// `dependent`, `sql`, `code`, `single-instance`, `volume`, `secret`, `network`, …
    pub(crate) kind: String,
    /// What must change.
    pub(crate) what: String,
    /// Why.
    pub(crate) why: String,
    /// Swaps that would follow from it.
    pub(crate) then: Vec<SwapPairLine>,
    /// Steps from the swap.
    pub(crate) depth: u32,
}

impl FitnessLine {
    pub(crate) fn new(fitness: &Fitness, tier: &TierFitness) -> Self {
        Self {
            app: fitness.app.to_string(),
            tier: tier.tier.to_string(),
            overall: tier.overall,
            band: tier.band.clone(),
            status: word(&tier.status),
            passes: tier.passes(),
            threshold: tier.threshold,
            warning_below: tier.warning,
            baseline: tier.baseline,
            policy: fitness.policy,
            dimensions: tier
                .dimensions
                .iter()
                .map(|dimension| {
                    let line = DimensionLine {
                        score: dimension.score,
                        weight: dimension.weight,
                        terms: dimension.terms.iter().map(TermLine::from).collect(),
                    };
                    (word(&dimension.dimension), line)
                })
                .collect(),
            adjustments: tier.adjustments.iter().map(TermLine::from).collect(),
            blockers: tier.blockers.iter().map(BlockerLine::from).collect(),
            warnings: tier.warnings.iter().map(RemarkLine::from).collect(),
            dropped: fitness.dropped.iter().map(ToString::to_string).collect(),
            swaps_applied: fitness.swaps.iter().map(SwapPairLine::from).collect(),
            size: SizeLine {
                minimum: tier.size.total.minimum.into(),
                recommended: tier.size.total.recommended.into(),
                unknown: tier.size.unknown.clone(),
            },
        }
    }
}

impl From<&Term> for TermLine {
    fn from(term: &Term) -> Self {
        Self {
            name: term.name.clone(),
            points: term.points,
            why: term.why.clone(),
            cause: (&term.cause).into(),
        }
    }
}

impl From<&Cause> for CauseLine {
    fn from(cause: &Cause) -> Self {
        Self {
            dependency: cause.dependency.as_ref().map(ToString::to_string),
            field: cause.field.clone(),
            place: cause.place.as_ref().map(|span| PlaceLine {
                file: span.file.display().to_string(),
                line: span.line,
                column: span.column,
                text: String::new(),
            }),
            knowledge: cause.knowledge.clone(),
        }
    }
}

impl From<&Blocker> for BlockerLine {
    fn from(blocker: &Blocker) -> Self {
        Self {
            code: blocker.code.to_string(),
            message: blocker.message.clone(),
            cause: (&blocker.cause).into(),
            suggestions: blocker.suggestions.clone(),
            swaps: blocker.swaps.iter().map(SwapPairLine::from).collect(),
        }
    }
}

impl From<&Remark> for RemarkLine {
    fn from(remark: &Remark) -> Self {
        Self { code: remark.code.to_string(), message: remark.message.clone(), cause: (&remark.cause).into() }
    }
}

impl From<&SwapConfig> for SwapPairLine {
    fn from(swap: &SwapConfig) -> Self {
        Self { from: swap.from.to_string(), to: swap.to.to_string() }
    }
}

impl From<Size> for AmountLine {
    fn from(size: Size) -> Self {
        Self {
            ram_mb: size.ram_mb,
            cpu_cores: size.cpu_cores,
            disk_mb: size.disk_mb,
            gpu_vram_mb: size.gpu_vram_mb,
        }
    }
}

impl From<&KnownSwap> for SwapLine {
    fn from(known: &KnownSwap) -> Self {
        Self {
            dependency: None,
            from: known.from.clone(),
            to: known.to.clone(),
            relationship: word(&known.relationship),
            applicable_tiers: known.tiers.iter().map(ToString::to_string).collect(),
            refused: known.refused.iter().map(|(tier, why)| (tier.to_string(), why.clone())).collect(),
            effort: word(&known.effort),
            impact: known.impact.clone(),
            limitations: known.limitations.clone(),
            source: known.source.clone(),
        }
    }
}

impl From<&SwapAnalysis> for SwapAnalysisLine {
    fn from(analysis: &SwapAnalysis) -> Self {
        Self {
            from: analysis.swap.from.to_string(),
            to: analysis.swap.to.to_string(),
            known: analysis.known.as_ref().map(SwapLine::from),
            tiers: analysis.tiers.iter().map(TierChangeLine::from).collect(),
            consequences: analysis.consequences.iter().map(ConsequenceLine::from).collect(),
        }
    }
}

impl From<&TierChange> for TierChangeLine {
    fn from(change: &TierChange) -> Self {
        let (verdict, why) = verdict(&change.verdict);
        Self {
            tier: change.tier.to_string(),
            verdict: verdict.to_owned(),
            why: why.map(str::to_owned),
            before: change.before,
            after: change.after,
            delta: change.delta(),
            unblocks: change.unblocks.clone(),
            blocks: change.blocks.clone(),
        }
    }
}

/// A verdict in a word, and why.
pub(crate) fn verdict(verdict: &Verdict) -> (&'static str, Option<&str>) {
    match verdict {
        Verdict::Meant => ("meant", None),
        Verdict::Unusual => ("unusual", None),
        Verdict::Refused { why } => ("refused", Some(why)),
        Verdict::Unknown => ("unknown", None),
    }
}

impl From<&Consequence> for ConsequenceLine {
    fn from(consequence: &Consequence) -> Self {
        Self {
            kind: word(&consequence.kind),
            what: consequence.what.clone(),
            why: consequence.why.clone(),
            then: consequence.then.iter().map(SwapPairLine::from).collect(),
            depth: consequence.depth,
        }
    }
}
