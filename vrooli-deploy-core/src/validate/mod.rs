//! Whether an app may be deployed as it is: a table of rules, each with the input that caused
//! what it says.
//!
//! [`validate`] makes no call and asks no clock: it reads the app's folder and works out the
//! rest. The names of the first six rules are those that Vrooli's deployment-manager prints.

mod budget;
mod database;
mod facts;
mod fitness;
mod health;
mod network;
mod provider;
mod scripts;
mod secrets;
mod source;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cost::Judgement;
use crate::diagnostics::{Checked, Code, Diagnostic, Severity, rules};
use crate::fitness::{Fitness, FitnessOptions, TierFitness};
use crate::manifest::{LoadedManifest, Tier};
use crate::names::{DependencyName, ProviderName, StackId};
use crate::provider::Registry;
use crate::secrets::SecretsPlan;

use facts::Facts;

/// What an app is validated with.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ValidateOptions {
    /// Another provider than the manifest's.
    pub provider: Option<ProviderName>,
    /// Dependencies to leave out, beside those that the manifest drops.
    pub drop: Vec<DependencyName>,
    /// Optional dependencies too.
    pub include_optional: bool,
    /// How fitness is scored: threshold, what a person vouches for, the day.
    pub fitness: FitnessOptions,
    /// What the budget says, if there is one.
    pub budget: Option<Budget>,
    /// What a look at the stores of secrets found. `None`: nobody looked, and only what can be
    /// told without is said.
    pub secrets: Option<Vec<Diagnostic>>,
}

/// What a budget says of an app.
#[derive(Debug, Clone)]
pub enum Budget {
    /// It was judged.
    Judged(Box<Judgement>),
    /// It could not be judged, and why.
    Unknown(Vec<Diagnostic>),
}

/// What the rules say of an app.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Validation {
    /// Which app.
    pub stack: StackId,
    /// Who is to run it.
    pub provider: ProviderName,
    /// Where.
    pub tier: Tier,
    /// Every rule, in the order of the table.
    pub checks: Vec<Check>,
}

/// What a rule says.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// The rule's name, in snake_case.
    pub name: &'static str,
    /// The code that stands for it.
    pub code: Code,
    /// What it came to: the worst of its findings.
    pub status: CheckStatus,
    /// In a few words.
    pub summary: String,
    /// One by one, the worst first.
    pub findings: Vec<Finding>,
}

/// What a rule came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckStatus {
    /// Nothing stands in the way.
    Pass,
    /// It may be deployed; a person should look.
    Warn,
    /// It must not be deployed so.
    Fail,
}

/// One thing that a rule found.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// What, how bad, where.
    pub diagnostic: Diagnostic,
    /// The input that caused it, in words: `env.POSTGRES_URL`.
    pub cause: String,
    /// What to do, each by itself enough unless it says otherwise.
    pub steps: Vec<String>,
}

impl Finding {
    fn new(diagnostic: Diagnostic, cause: impl Into<String>) -> Self {
        let steps = diagnostic.help.clone().into_iter().collect();
        Self { diagnostic, cause: cause.into(), steps }
    }

    fn step(mut self, step: impl Into<String>) -> Self {
        self.steps.push(step.into());
        self
    }

    fn status(&self) -> CheckStatus {
        match self.diagnostic.severity {
            Severity::Error => CheckStatus::Fail,
            Severity::Warning => CheckStatus::Warn,
            Severity::Info => CheckStatus::Pass,
        }
    }
}

/// What a rule answers: findings, and what is to be said when there is none.
#[derive(Debug, Default)]
struct Answer {
    fine: String,
    findings: Vec<Finding>,
}

impl Answer {
    fn fine(text: impl Into<String>) -> Self {
        Self { fine: text.into(), findings: Vec::new() }
    }

    fn with(mut self, findings: impl IntoIterator<Item = Finding>) -> Self {
        self.findings.extend(findings);
        self
    }
}

/// A rule.
struct RuleDef {
    name: &'static str,
    code: Code,
    run: fn(&Facts<'_>) -> Answer,
}

/// All rules. To add one: a function and a line here.
static RULES: &[RuleDef] = &[
    RuleDef { name: "fitness_threshold", code: rules::FITNESS_TOO_LOW, run: fitness::threshold },
    RuleDef { name: "secret_completeness", code: rules::SECRET_UNRESOLVED, run: secrets::complete },
    RuleDef { name: "licensing", code: rules::LICENCE_FORBIDS, run: fitness::licensing },
    RuleDef { name: "resource_limits", code: rules::RESOURCE_LIMITS, run: provider::limits },
    RuleDef { name: "platform_requirements", code: rules::TIER_UNSUPPORTED, run: provider::platform },
    RuleDef { name: "dependency_compatibility", code: rules::DEPENDENCIES, run: provider::dependencies },
    RuleDef { name: "database_tls", code: rules::DATABASE_WITHOUT_TLS, run: database::tls },
    RuleDef { name: "connection_limits", code: rules::POOL_OVER_LIMIT, run: database::pool },
    RuleDef { name: "database_extensions", code: rules::EXTENSION, run: provider::extensions },
    RuleDef { name: "schema_repeatable", code: rules::SQL_RUNS_ONCE, run: scripts::repeatable },
    RuleDef { name: "schema_databases", code: rules::SQL_MAKES_DATABASE, run: scripts::databases },
    RuleDef { name: "shared_network", code: rules::NETWORK_NOT_SHARED, run: network::shared },
    RuleDef { name: "health_checks", code: rules::HEALTH_SAYS_LITTLE, run: health::checks },
    RuleDef { name: "budget", code: rules::OVER_BUDGET, run: budget::within },
];

/// Names of the rules, in their order, with the codes that stand for them.
pub fn rule_names() -> impl Iterator<Item = (&'static str, Code)> {
    RULES.iter().map(|rule| (rule.name, rule.code))
}

/// Codes of words that no provider understands: the input is wrong, and nothing was decided.
const WRONG_INPUT: [Code; 9] = [
    rules::SWAP_UNKNOWN,
    rules::PROVIDER_MISSING,
    rules::UNKNOWN_SIZE,
    rules::UNKNOWN_REGION,
    rules::COMPUTE_TYPE,
    rules::PART_TYPE,
    rules::ENGINE_VERSION,
    rules::COUNT,
    rules::SERVER_ROLE,
];

impl Validation {
    /// The worst of its checks.
    #[must_use]
    pub fn status(&self) -> CheckStatus {
        self.checks.iter().map(|check| check.status).max().unwrap_or(CheckStatus::Pass)
    }

    /// How many checks came to this.
    #[must_use]
    pub fn count(&self, status: CheckStatus) -> usize {
        self.checks.iter().filter(|check| check.status == status).count()
    }

    /// Checks that failed.
    pub fn failed(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.status == CheckStatus::Fail)
    }

    /// What failed is no gate but input that nobody understands: a size, a region, a name.
    #[must_use]
    pub fn is_wrong_input(&self) -> bool {
        self.failed()
            .flat_map(|check| &check.findings)
            .any(|found| found.status() == CheckStatus::Fail && WRONG_INPUT.contains(&found.diagnostic.code))
    }
}

/// Holds an app against every rule. Pure but for the app's folder, which is read.
///
/// There is no value only when its requirements cannot be worked out at all.
pub fn validate(
    registry: &Registry,
    stack: &StackId,
    loaded: &LoadedManifest,
    options: &ValidateOptions,
) -> Checked<Validation> {
    let gathered = facts::gather(registry, stack, loaded, options);
    let Some(facts) = gathered.value else {
        return Checked { value: None, diagnostics: gathered.diagnostics };
    };
    let checks = RULES.iter().map(|rule| check(rule, &facts)).collect();
    Checked {
        value: Some(Validation {
            stack: stack.clone(),
            provider: facts.provider.clone(),
            tier: facts.tier,
            checks,
        }),
        diagnostics: gathered.diagnostics,
    }
}

fn check(rule: &RuleDef, facts: &Facts<'_>) -> Check {
    let Answer { fine, mut findings } = (rule.run)(facts);
    findings.sort_by_key(|found| std::cmp::Reverse(found.diagnostic.severity));
    let status = findings.iter().map(Finding::status).max().unwrap_or(CheckStatus::Pass);
    let told = findings.iter().filter(|found| found.status() != CheckStatus::Pass).count();
    let summary = match (told, findings.first()) {
        (0, _) | (_, None) => fine,
        (1, Some(first)) => first.diagnostic.message.clone(),
        (more, Some(first)) => format!("{}; and {} more", first.diagnostic.message, more - 1),
    };
    Check { name: rule.name, code: rule.code, status, summary, findings }
}

/// What becomes of the secrets of an app, for its fitness: what has no value when it starts, and
/// why. Where it is not run for others nothing blocks.
#[must_use]
pub fn readiness(
    plan: &SecretsPlan,
    stored: &dyn Fn(&crate::secrets::PlannedSecret) -> bool,
) -> Vec<crate::fitness::SecretReadiness> {
    secrets::readiness(plan, stored)
}

/// By code: the first of these that a finding has decides in which check it is told.
fn only<'a>(
    tier: &'a TierFitness,
    codes: &'a [Code],
) -> impl Iterator<Item = &'a crate::fitness::Blocker> + 'a {
    tier.blockers.iter().filter(|blocker| codes.contains(&blocker.code))
}

/// Kept beside the facts: a fitness has one tier here.
fn of_tier(fitness: &Fitness, tier: Tier) -> Option<TierFitness> {
    fitness.tier(tier).cloned()
}

/// How often each word occurs, for summaries.
fn counted(count: usize, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}

type ByName<T> = BTreeMap<String, T>;

#[cfg(test)]
mod tests;
