//! Where terms are written down while a tier is scored.

use std::collections::BTreeMap;

use super::places::Places;
use super::policy::{Points, Policy, TierPolicy};
use super::{Blocker, Cause, Dimension, DimensionScore, FitnessInput, NO_ALTERNATIVE, Remark, Term};
use crate::diagnostics::Code;
use crate::manifest::{DeploymentManifest, SwapConfig, Tier};
use crate::names::{DependencyName, ProviderName};
use crate::requirements::{Requirements, ResourceRequirement};
use crate::swaps::{self, Verdict};

/// A tier that is being scored.
pub(super) struct Sheet<'a> {
    pub(super) tier: Tier,
    pub(super) input: &'a FitnessInput<'a>,
    pub(super) manifest: &'a DeploymentManifest,
    pub(super) requirements: &'a Requirements,
    pub(super) policy: &'a Policy,
    pub(super) rules: &'a TierPolicy,
    pub(super) places: Places<'a>,
    /// Who runs it, where that is known and not a machine of one's own.
    pub(super) provider: Option<ProviderName>,
    terms: BTreeMap<Dimension, Vec<Term>>,
    pub(super) blockers: Vec<Blocker>,
    pub(super) warnings: Vec<Remark>,
}

impl<'a> Sheet<'a> {
    pub(super) fn new(
        tier: Tier,
        input: &'a FitnessInput<'a>,
        requirements: &'a Requirements,
        policy: &'a Policy,
        rules: &'a TierPolicy,
    ) -> Self {
        let own = |provider: &&ProviderName| matches!(provider.as_str(), "local" | "bare-metal");
        let manifest = input.manifest;
        let provider = input
            .options
            .provider
            .clone()
            .or_else(|| Some(&manifest.provider).filter(|p| !own(p)).cloned())
            .filter(|_| rules.hosted);
        Self {
            tier,
            input,
            manifest,
            requirements,
            policy,
            rules,
            places: Places::new(input.spans),
            provider,
            terms: Dimension::ALL.into_iter().map(|dimension| (dimension, Vec::new())).collect(),
            blockers: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Everything that the app needs, made for it or a part of it.
    pub(super) fn needed(&self) -> impl Iterator<Item = &'a ResourceRequirement> + use<'a> {
        self.requirements.resources.iter().chain(&self.requirements.embedded)
    }

    pub(super) fn confirmed(&self, word: &str) -> bool {
        self.input.options.confirmed.contains(word)
    }

    pub(super) fn knowledge(&self, what: &str) -> String {
        format!("policy {}: {}.{what}", self.policy.version, self.tier)
    }

    pub(super) fn dependency(&self, name: &DependencyName, knowledge: impl Into<String>) -> Cause {
        Cause { knowledge: Some(knowledge.into()), ..self.places.resource(name) }
    }

    /// Takes points.
    pub(super) fn take(
        &mut self,
        dimension: Dimension,
        name: &str,
        points: u8,
        why: impl Into<String>,
        cause: Cause,
    ) {
        if points == 0 {
            return;
        }
        let term = Term { name: name.to_owned(), points: -i32::from(points), why: why.into(), cause };
        self.terms.entry(dimension).or_default().push(term);
    }

    /// Takes points of several dimensions for one reason.
    pub(super) fn take_all(&mut self, points: &Points, name: &str, why: &str, cause: &Cause) {
        for (dimension, points) in points {
            self.take(*dimension, name, *points, why, cause.clone());
        }
    }

    /// Notes what was seen and takes nothing.
    pub(super) fn note(&mut self, dimension: Dimension, name: &str, why: impl Into<String>, cause: Cause) {
        let term = Term { name: name.to_owned(), points: 0, why: why.into(), cause };
        self.terms.entry(dimension).or_default().push(term);
    }

    /// Something that makes it impossible, if the app cannot do without; else a warning.
    pub(super) fn block(
        &mut self,
        required: bool,
        code: Code,
        message: impl Into<String>,
        cause: Cause,
        mut suggestions: Vec<String>,
        swaps: Vec<SwapConfig>,
    ) {
        let message = message.into();
        if !required {
            self.warn(code, message, cause);
            return;
        }
        if suggestions.is_empty() {
            suggestions.push(NO_ALTERNATIVE.to_owned());
        }
        let blocker = Blocker { code, message, cause, suggestions, swaps };
        if !self.blockers.contains(&blocker) {
            self.blockers.push(blocker);
        }
    }

    pub(super) fn warn(&mut self, code: Code, message: impl Into<String>, cause: Cause) {
        self.warnings.push(Remark { code, message: message.into(), cause });
    }

    /// Swaps of a dependency that are meant for the tier, and the words that suggest them.
    pub(super) fn alternatives(&self, name: &DependencyName, kind: &str) -> (Vec<String>, Vec<SwapConfig>) {
        let mut words = Vec::new();
        let mut found = Vec::new();
        for known in swaps::list() {
            if known.from == kind
                && known.verdict(self.tier) == Verdict::Meant
                && let Ok(to) = DependencyName::new(known.to.as_str())
            {
                words.push(format!("swap it: `--swap {name}={to}` ({})", known.impact));
                found.push(SwapConfig { from: name.clone(), to });
            }
        }
        (words, found)
    }

    /// The dimensions, each with its terms: it starts at 100, and what would take it below 0
    /// or was never there is written down, too, so that the sum is the score.
    pub(super) fn dimensions(&mut self) -> Vec<DimensionScore> {
        Dimension::ALL
            .into_iter()
            .map(|dimension| {
                let mut terms = vec![Term {
                    name: "start".to_owned(),
                    points: 100,
                    why: "everything starts here".to_owned(),
                    cause: Cause {
                        knowledge: Some(format!("policy {}", self.policy.version)),
                        ..Cause::default()
                    },
                }];
                terms.append(self.terms.entry(dimension).or_default());
                let sum: i32 = terms.iter().map(|term| term.points).sum();
                if sum < 0 {
                    terms.push(Term {
                        name: "floor".to_owned(),
                        points: -sum,
                        why: "nothing scores below 0".to_owned(),
                        cause: Cause {
                            knowledge: Some(format!("policy {}", self.policy.version)),
                            ..Cause::default()
                        },
                    });
                }
                DimensionScore {
                    dimension,
                    weight: self.policy.weights.get(&dimension).copied().unwrap_or(0),
                    score: u8::try_from(sum.clamp(0, 100)).unwrap_or(0),
                    terms,
                }
            })
            .collect()
    }
}
