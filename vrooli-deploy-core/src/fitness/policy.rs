//! Points, weights, budgets and thresholds: data with a version.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::{Dimension, TIERS};
use crate::diagnostics::{Checked, rules};
use crate::manifest::Tier;
use crate::manifest::crosswalk::embedded;
use crate::manifest::yaml::{Document, SourceFile};
use crate::requirements::{Primitive, Size};

/// How fitness is worked out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Rises when a score may change.
    pub version: u32,
    /// Where it comes from.
    pub source: String,
    /// When it was written, as a date.
    pub as_of: String,
    /// What each dimension counts, in hundredths. They add up to 100.
    pub weights: BTreeMap<Dimension, u8>,
    /// When a score is too low.
    pub thresholds: Thresholds,
    /// Names of scores, the highest first; the last starts at 0.
    pub bands: Vec<Band>,
    /// Points by tier.
    pub tiers: BTreeMap<Tier, TierPolicy>,
}

/// When a score is too low.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    /// Below this it is not deployed.
    pub gate: u8,
    /// Below this it is warned.
    pub warning: u8,
}

/// A name for scores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Band {
    /// The name.
    pub name: String,
    /// The lowest score that has it.
    pub from: u8,
}

/// Points of each dimension that something takes.
pub type Points = BTreeMap<Dimension, u8>;

/// What counts in a tier.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TierPolicy {
    /// What a plain scenario comes to, by the documents; a test holds it true.
    pub documented_baseline: u8,
    /// What the tier itself takes.
    pub terms: Vec<TermRule>,
    /// How much machine there is, and what a share of it takes.
    pub budget: BTreeMap<Measure, BudgetRule>,
    /// What each kind of resource takes.
    pub primitives: BTreeMap<Primitive, Points>,
    /// What each runtime takes, once.
    pub runtimes: BTreeMap<String, Points>,
    /// What it takes, once, that services run as processes of their own.
    #[serde(default)]
    pub server_process: Points,
    /// What a resource takes that nobody knows.
    pub unknown_resource: Points,
    /// What a part takes of whose size nothing is known.
    pub unknown_size: u8,
    /// What a resource takes that runs there with limits.
    pub limited: Points,
    /// What a part of the app takes that runs there with limits: its data lies on one machine.
    pub limited_embedded: Points,
    /// What a resource takes that does not run there.
    pub unsupported: Points,
    /// What another scenario takes.
    pub scenario: u8,
    /// What all other scenarios take at most.
    pub scenario_limit: u8,
    /// What a resource takes that wants a graphics card.
    pub gpu: u8,
    /// Is it run for others? Then licences, residency and graphics cards can block.
    pub hosted: bool,
    /// What a licence takes that has conditions.
    pub licence_conditions: u8,
    /// What it takes that the app names no licence.
    pub no_licence: u8,
    /// What it takes that a service says nowhere how it is.
    pub no_health: u8,
}

/// Something that a tier itself takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TermRule {
    /// Its name, in kebab-case.
    pub name: String,
    /// Of which dimension.
    pub dimension: Dimension,
    /// How much.
    pub points: u8,
    /// When.
    pub when: TermCondition,
    /// Why.
    pub why: String,
    /// The word with which a person vouches that it does not hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
}

/// When something is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TermCondition {
    /// Always.
    Always,
    /// When the app's metadata does not say that it runs in the tier.
    UndeclaredTier,
    /// When no service may run more than once.
    SingleInstance,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Memory, in mebibytes.
    RamMb,
    /// Processors.
    CpuCores,
    /// Disk, in mebibytes.
    DiskMb,
}

/// How much there is, and what a share of it takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetRule {
    /// How much there is.
    pub budget: f64,
    /// From this share on, so many points: both rise. The last that is reached counts.
    pub bands: Vec<(f64, u8)>,
}

static POLICY: LazyLock<Policy> = LazyLock::new(|| embedded(include_str!("data/policy.json")));

impl Measure {
    /// Of a size.
    pub(crate) fn of(self, size: &Size) -> Option<f64> {
        match self {
            // Far below 2^53: exact.
            Self::RamMb => size.ram_mb.map(|mb| mb as f64),
            Self::CpuCores => size.cpu_cores,
            Self::DiskMb => size.disk_mb.map(|mb| mb as f64),
        }
    }

    /// Its name in a term.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::RamMb => "memory",
            Self::CpuCores => "processors",
            Self::DiskMb => "disk",
        }
    }

    /// A figure with its unit.
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::CpuCores if value == 1.0 => "1 core".to_owned(),
            Self::CpuCores => format!("{value} cores"),
            Self::RamMb | Self::DiskMb => format!("{value} MB"),
        }
    }
}

impl BudgetRule {
    /// What this much takes.
    pub(crate) fn points(&self, value: f64) -> u8 {
        let share = value / self.budget;
        self.bands.iter().take_while(|(from, _)| share >= *from).last().map_or(0, |(_, points)| *points)
    }
}

impl Policy {
    /// The policy that is part of this library.
    #[must_use]
    pub fn embedded() -> &'static Self {
        &POLICY
    }

    /// Reads a policy from a file, JSON or YAML, in the form of the embedded one.
    pub fn read(path: &Path) -> Checked<Self> {
        let source = match SourceFile::read(path) {
            Ok(source) => source,
            Err(diagnostic) => return Checked { value: None, diagnostics: vec![*diagnostic] },
        };
        let parsed = Document::parse(source);
        let mut diagnostics = parsed.diagnostics;
        let Some(document) = parsed.value else {
            return Checked { value: None, diagnostics };
        };
        let refused = |why: String| {
            rules::POLICY
                .diagnostic(format!("`{}` is no policy: {why}", path.display()))
                .at(document.spans.value(""), "in this file")
                .help(
                    "take the one in the source of vrooli-deploy (fitness/data/policy.json) and change that",
                )
        };
        match serde_json::from_value::<Self>(document.value.clone()) {
            Ok(policy) => {
                diagnostics.extend(policy.check().into_iter().map(refused));
                let value = diagnostics.is_empty().then_some(policy);
                Checked { value, diagnostics }
            }
            Err(error) => {
                diagnostics.push(refused(error.to_string()));
                Checked { value: None, diagnostics }
            }
        }
    }

    /// What is wrong with it, in words.
    #[must_use]
    pub fn check(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let sum: u32 = self.weights.values().map(|weight| u32::from(*weight)).sum();
        if sum != 100 {
            wrong.push(format!("the weights add up to {sum}, not to 100"));
        }
        if self.thresholds.gate > 100 || self.thresholds.warning > 100 {
            wrong.push("a threshold is above 100".to_owned());
        }
        let falling = self.bands.windows(2).all(|pair| pair[0].from > pair[1].from);
        if !falling || self.bands.last().is_none_or(|band| band.from != 0) {
            wrong.push("the bands do not fall to 0".to_owned());
        }
        for tier in TIERS {
            let Some(rules) = self.tiers.get(&tier) else {
                wrong.push(format!("nothing is said of the tier {tier}"));
                continue;
            };
            for (measure, budget) in &rules.budget {
                let rising =
                    budget.bands.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
                let finite = budget.budget.is_finite() && budget.budget > 0.0;
                let bands = budget.bands.iter().all(|(from, points)| from.is_finite() && *points <= 100);
                if !rising || !finite || !bands {
                    wrong.push(format!("{tier}: the budget of {} makes no sense", measure.name()));
                }
            }
            if rules.terms.iter().any(|term| term.points > 100) {
                wrong.push(format!("{tier}: a term takes more than 100"));
            }
        }
        wrong
    }

    /// The band of a score.
    #[must_use]
    pub fn band(&self, score: u8) -> &str {
        self.bands.iter().find(|band| score >= band.from).map_or("", |band| band.name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_policy_can_be_read_and_is_sound() {
        serde_json::from_str::<Policy>(include_str!("data/policy.json")).unwrap();
        assert_eq!(Policy::embedded().check(), Vec::<String>::new());
        assert_eq!(Policy::embedded().band(80), "excellent");
        assert_eq!(Policy::embedded().band(79), "good");
        assert_eq!(Policy::embedded().band(0), "critical");
    }

    #[test]
    fn an_unsound_policy_is_refused_with_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.json");
        let mut policy = Policy::embedded().clone();
        policy.weights.insert(Dimension::Licensing, 21);
        std::fs::write(&file, serde_json::to_string(&policy).unwrap()).unwrap();
        let found = Policy::read(&file).diagnostics;
        assert!(found[0].message.contains("add up to 101"), "{found:?}");
        std::fs::write(&file, r#"{ "version": 1, "weight": {} }"#).unwrap();
        assert_eq!(Policy::read(&file).diagnostics[0].code, rules::POLICY);
        assert!(Policy::read(&folder.path().join("none")).value.is_none());
    }
}
