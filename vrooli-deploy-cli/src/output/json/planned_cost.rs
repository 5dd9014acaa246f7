//! What a plan does to the bill. Amounts are decimal text.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use vrooli_deploy_core::cost::{Estimate, PlannedCost};

use super::DiagnosticLine;
use super::estimate::{BudgetLine, LevelsLine};

/// What a plan does to the bill of a month.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct PlannedCostLine {
    /// What all amounts are in: `USD`.
    pub(crate) currency: String,
    /// The usage that decides: `low`, `expected` or `high`.
    pub(crate) level: String,
    /// The usage profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) usage: Option<String>,
    /// What is there costs so much; null: nobody can say.
    pub(crate) before: Option<LevelsLine>,
    /// What will be there costs so much; null: nobody can say.
    pub(crate) after: Option<LevelsLine>,
    /// How much more that is at the level that decides, less with a minus; null: nobody can say.
    pub(crate) change: Option<String>,
    /// The same by line, of those that change.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) lines: BTreeMap<String, String>,
    /// Is the cost of everything known that will be there?
    pub(crate) complete: bool,
    /// Is a figure of it not verified (grade D)?
    pub(crate) approximate: bool,
    /// Why something cannot be said.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) diagnostics: Vec<DiagnosticLine>,
    /// What the budget says (`--max-monthly`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) budget: Option<BudgetLine>,
}

impl From<&PlannedCost> for PlannedCostLine {
    fn from(cost: &PlannedCost) -> Self {
        let (before, after) = (cost.before.as_ref(), cost.after.as_ref());
        Self {
            currency: after.map_or_else(|| "USD".to_owned(), |after| after.currency.to_string()),
            level: cost.level.to_string(),
            usage: after.map(|after| after.usage.clone()),
            before: before.map(LevelsLine::total),
            after: after.map(LevelsLine::total),
            change: cost.change().map(|change| change.to_string()),
            lines: cost
                .lines()
                .into_iter()
                .map(|(line, change)| (line.word().to_owned(), change.to_string()))
                .collect(),
            complete: after.is_some_and(Estimate::complete),
            approximate: after.is_some_and(|after| after.approximate(cost.level)),
            diagnostics: cost.diagnostics.iter().map(Into::into).collect(),
            budget: cost.judgement.as_ref().map(Into::into),
        }
    }
}
