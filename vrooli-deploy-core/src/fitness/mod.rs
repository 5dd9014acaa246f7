//! How fit an app is for where it is to run.
//!
//! [`score`] is pure: the same input gives the same bytes. A score is 0 to 100 and never an
//! opinion: it is the weighted mean of four dimensions, and each of those is the sum of named
//! terms that say which input caused them. What makes a deployment impossible is no low score
//! but a [`Blocker`]. Points, weights, budgets and thresholds are data ([`Policy`]).

mod assess;
mod blockers;
mod licensing;
mod places;
mod platform;
mod policy;
mod portability;
mod residency;
mod resources;
mod score;
mod sheet;

pub use assess::{AssessOptions, assess, load, load_with};
pub use policy::{
    Band, BudgetRule, Measure, Points, Policy, TermCondition, TermRule, Thresholds, TierPolicy,
};
pub use score::score;

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cost::Money;
use crate::diagnostics::{Code, Diagnostic, Span, rules};
use crate::manifest::yaml::SpanIndex;
use crate::manifest::{DeploymentManifest, SwapConfig, Tier};
use crate::names::{AppName, DependencyName, ProviderName};
use crate::requirements::{Aggregate, ScenarioClosure};

/// All tiers, in their order.
pub const TIERS: [Tier; 5] = [Tier::Local, Tier::Desktop, Tier::Mobile, Tier::Saas, Tier::Enterprise];

/// What an app is scored by, beside what it needs.
#[derive(Debug, Clone, Copy)]
pub struct FitnessInput<'a> {
    /// Its manifest, as its requirements were derived from.
    pub manifest: &'a DeploymentManifest,
    /// Where its parts stand in its file.
    pub spans: Option<&'a SpanIndex>,
    /// The scenarios that it needs, if they were looked for.
    pub scenarios: Option<&'a ScenarioClosure>,
    /// The rest.
    pub options: &'a FitnessOptions,
}

/// The knobs of [`score`].
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct FitnessOptions {
    /// Points, weights, thresholds. `None` means [`Policy::embedded`].
    pub policy: Option<Policy>,
    /// The score that is wanted at least, 0 to 100. `None` means the policy's.
    pub threshold: Option<u8>,
    /// Who runs it; `None` means the manifest's provider, if that is no machine of one's own.
    pub provider: Option<ProviderName>,
    /// Where; `None` means the manifest's region.
    pub region: Option<String>,
    /// Is there money for graphics cards?
    pub gpu_budget: bool,
    /// What it costs a month, and what it may cost.
    pub cost: Option<CostGate>,
    /// What became of its secrets, if that was worked out. `None`: what the catalogue knows
    /// of them is used.
    pub secrets: Option<Vec<SecretReadiness>>,
    /// What a person vouches for: a term that can be confirmed (`licence-review`), a rule that
    /// is complied with (`hipaa`), a licence that is held (`browserless`), `residency`.
    pub confirmed: BTreeSet<String>,
    /// The day on which it is scored, for overrides that expire. Without one those are not used.
    pub today: Option<jiff::civil::Date>,
}

/// What something costs a month, and what it may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CostGate {
    /// What it costs.
    pub monthly: Money,
    /// What it may cost at most.
    pub budget: Money,
}

/// What became of a secret. Never its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretReadiness {
    /// Its name: the variable.
    pub name: String,
    /// Whose secret it is: the resource's, if it belongs to one.
    pub dependency: Option<DependencyName>,
    /// Is it a secret of what the app stands on? Only those block.
    pub infrastructure: bool,
    /// Will there be a value when the app starts?
    pub resolved: bool,
    /// Why not, and what to do.
    pub why: Option<String>,
}

/// How fit an app is, by tier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Fitness {
    /// Which app.
    pub app: AppName,
    /// Version of the policy that it was scored by.
    pub policy: u32,
    /// When the policy was written, as a date.
    pub policy_as_of: String,
    /// Dependencies that were left out because somebody asked for it.
    pub dropped: Vec<DependencyName>,
    /// Swaps that were made.
    pub swaps: Vec<SwapConfig>,
    /// The tiers that were asked for, in their order.
    pub tiers: Vec<TierFitness>,
}

/// How fit an app is for a tier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TierFitness {
    /// The tier.
    pub tier: Tier,
    /// 0 to 100.
    pub overall: u8,
    /// The band that the score is in.
    pub band: String,
    /// What that comes to.
    pub status: Status,
    /// The score that is wanted at least.
    pub threshold: u8,
    /// The score below which it is warned.
    pub warning: u8,
    /// What a plain scenario comes to: a Go API, a Node page, PostgreSQL.
    pub baseline: u8,
    /// The dimensions, in their order.
    pub dimensions: Vec<DimensionScore>,
    /// What a person put on top.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adjustments: Vec<Term>,
    /// What makes it impossible.
    pub blockers: Vec<Blocker>,
    /// What a person should know.
    pub warnings: Vec<Remark>,
    /// What it takes.
    pub size: Aggregate,
}

/// What a score comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Nothing stands in the way.
    Ready,
    /// It may be deployed; the score is low.
    Warning,
    /// The score is below what is wanted.
    BelowThreshold,
    /// Something makes it impossible, whatever the score.
    Blocked,
}

/// A dimension of fitness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Dimension {
    /// How easily it is moved there.
    Portability,
    /// How much machine it takes.
    Resources,
    /// Whether licences allow it.
    Licensing,
    /// Whether the tier can run what it is made of.
    PlatformSupport,
}

impl Dimension {
    /// All, in their order.
    pub const ALL: [Self; 4] = [Self::Portability, Self::Resources, Self::Licensing, Self::PlatformSupport];
}

/// The score of a dimension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DimensionScore {
    /// Which.
    pub dimension: Dimension,
    /// Its weight, in hundredths of the whole.
    pub weight: u8,
    /// 0 to 100: the sum of the terms.
    pub score: u8,
    /// Where it comes from.
    pub terms: Vec<Term>,
}

/// A part of a score.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Term {
    /// Its name, in kebab-case.
    pub name: String,
    /// What it adds, or, below zero, takes.
    pub points: i32,
    /// Why.
    pub why: String,
    /// The input that caused it.
    pub cause: Cause,
}

/// The input that caused something.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cause {
    /// A dependency, as the app calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dependency: Option<DependencyName>,
    /// A field of the app's file, as a JSON pointer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Where that stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    pub place: Option<Span>,
    /// What was known: `policy 1: …`, `catalogue: …`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub knowledge: Option<String>,
}

/// Something that makes a deployment impossible, whatever the score.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Blocker {
    /// Its code.
    #[schemars(with = "String")]
    pub code: Code,
    /// What.
    pub message: String,
    /// The input that caused it.
    pub cause: Cause,
    /// What would help. `no known alternative` when nothing is known to.
    pub suggestions: Vec<String>,
    /// Swaps that would help.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub swaps: Vec<SwapConfig>,
}

/// Something that a person should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Remark {
    /// Its code.
    #[schemars(with = "String")]
    pub code: Code,
    /// What.
    pub message: String,
    /// The input that caused it.
    pub cause: Cause,
}

/// What is said where nothing is known to help.
pub const NO_ALTERNATIVE: &str = "no known alternative";

impl Fitness {
    /// The fitness for a tier, if it was asked for.
    #[must_use]
    pub fn tier(&self, tier: Tier) -> Option<&TierFitness> {
        self.tiers.iter().find(|fitness| fitness.tier == tier)
    }
}

impl TierFitness {
    /// May it be deployed: no blocker, and a score that is high enough?
    #[must_use]
    pub const fn passes(&self) -> bool {
        matches!(self.status, Status::Ready | Status::Warning)
    }

    /// What keeps it from being deployed, as diagnostics. Empty when it [`passes`](Self::passes).
    #[must_use]
    pub fn gate(&self) -> Vec<Diagnostic> {
        let mut found: Vec<Diagnostic> = self
            .blockers
            .iter()
            .map(|blocker| {
                Diagnostic::new(blocker.code, crate::diagnostics::Severity::Error, blocker.message.clone())
                    .at(blocker.cause.place.clone(), "here")
                    .help(blocker.suggestions.join("; or "))
            })
            .collect();
        if self.overall < self.threshold {
            found.push(
                rules::FITNESS_TOO_LOW
                    .diagnostic(format!(
                        "its fitness for the tier {} is {}, and {} is wanted",
                        self.tier, self.overall, self.threshold
                    ))
                    .help("see `vrooli-deploy fitness -v` for what it lacks, or lower `--threshold`"),
            );
        }
        found
    }

    /// The score of a dimension.
    #[must_use]
    pub fn dimension(&self, dimension: Dimension) -> Option<&DimensionScore> {
        self.dimensions.iter().find(|score| score.dimension == dimension)
    }
}
