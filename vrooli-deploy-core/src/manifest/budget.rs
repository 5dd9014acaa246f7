//! What a stack may cost a month, and who is told.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::is_default;
use crate::cost::{Decimal, Money};
use crate::names::EmailAddress;

/// What the stack may cost a month, and who is told when it costs more. Nothing is stopped by it: it is the
/// provider's own count, and comes hours after the costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BudgetConfig {
    /// What it may cost a month in US dollars, as decimal text.
    pub monthly_usd: String,
    /// Who is told, by e-mail.
    #[schemars(length(min = 1))]
    pub notify: BTreeSet<EmailAddress>,
    /// At how many percent of it they are told, when so much is spent. Default: 80 and 100.
    #[serde(default = "percents", skip_serializing_if = "are_percents")]
    #[schemars(inner(range(min = 1)))]
    pub at: BTreeSet<u32>,
    /// Are they told, too, when more than all of it is forecast for the month? Default: no.
    #[serde(default, skip_serializing_if = "is_default")]
    pub forecast: bool,
}

/// Early enough to do something, and when it is too late.
fn percents() -> BTreeSet<u32> {
    BTreeSet::from([80, 100])
}

fn are_percents(at: &BTreeSet<u32>) -> bool {
    *at == percents()
}

/// Something of a budget that cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetProblem {
    /// The option, as manifests call it.
    pub field: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: &'static str,
}

impl BudgetConfig {
    /// The limit a month.
    ///
    /// # Errors
    /// A phrase: not a number, zero, negative, or too large.
    pub fn monthly(&self) -> Result<Money, String> {
        let monthly = Money::parse(&self.monthly_usd)?;
        if monthly.amount == Decimal::ZERO { Err("is zero".to_owned()) } else { Ok(monthly) }
    }

    /// What of it is no budget, whatever the manifest's shape allows.
    #[must_use]
    pub fn problems(&self) -> Vec<BudgetProblem> {
        let mut found = Vec::new();
        if let Err(why) = self.monthly() {
            let message = format!("the budget of `{}` US dollars a month {why}", self.monthly_usd);
            found.push(BudgetProblem {
                field: "monthly_usd",
                message,
                help: "write an amount as decimal text: `\"200\"` or `\"12.50\"`",
            });
        }
        if self.notify.is_empty() {
            let message = "the budget tells nobody".to_owned();
            found.push(BudgetProblem {
                field: "notify",
                message,
                help: "name who is told: `notify: [ops@example.com]`, or leave the budget out",
            });
        }
        if self.at.is_empty() && !self.forecast {
            let message = "the budget tells of nothing".to_owned();
            found.push(BudgetProblem {
                field: "at",
                message,
                help: "say at how many percent: `at: [80, 100]`, or ask for the forecast: `forecast: true`",
            });
        }
        found
    }
}
