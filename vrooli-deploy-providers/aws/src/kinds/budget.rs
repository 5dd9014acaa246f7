//! `aws.budget`: what a stack may cost a month, and who is told by e-mail.

#[cfg(feature = "native")]
pub(crate) mod native;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::{BillItem, Decimal};
use vrooli_deploy_core::names::{EmailAddress, OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Op, Ownership, Permission, PhysicalId, ResourceKindDef,
};

use super::Actions;

/// The kind `aws.budget`.
#[derive(Debug, Clone, Copy)]
pub struct Budget;

/// What is wanted of a budget.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetSpec {
    /// Its name, unique in the account: a budget is in no region.
    pub name: String,
    /// What may be spent a month, in US dollars, as decimal text.
    pub monthly_usd: String,
    /// Whose costs are counted: those that bear this value of the tag `vrooli:stack`.
    pub stack: String,
    /// When somebody is told. At most five.
    pub alerts: BTreeSet<Alert>,
    /// Who is told. At most ten.
    pub notify: BTreeSet<EmailAddress>,
}

/// When somebody is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    /// Of what.
    pub on: AlertOn,
    /// When it is more than so many percent of what may be spent.
    pub percent: u32,
}

/// What an alert is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AlertOn {
    /// What is spent.
    Actual,
    /// What AWS expects for the whole month.
    Forecast,
}

/// What is seen of a budget.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BudgetObserved {
    /// Its name.
    pub name: String,
    /// What may be spent, in US dollars, as decimal text.
    pub monthly_usd: String,
    /// Whose costs are counted; empty where anything else is.
    pub stack: String,
    /// Is it one of costs, by the month, that stays the same? One that somebody changed is made that again.
    pub fixed_monthly: bool,
    /// When somebody is told, and who.
    pub alerts: Vec<SeenAlert>,
    /// How many further alerts somebody gave it that are not of percents exceeded.
    pub other_alerts: u32,
}

/// When somebody is told, and who.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct SeenAlert {
    /// When.
    #[serde(flatten)]
    pub when: Alert,
    /// Who: addresses, and topics of SNS that somebody added.
    pub notify: BTreeSet<String>,
}

/// `200.0` is `200`. What is no number differs from everything.
fn same_amount(want: &str, have: &str) -> bool {
    let amount = |text: &str| text.parse::<Decimal>().ok();
    amount(want).is_some_and(|want| amount(have) == Some(want))
}

/// Are other people told than are wanted, of anything?
fn others_told(want: &BTreeSet<EmailAddress>, have: &[SeenAlert]) -> bool {
    let wanted: BTreeSet<&str> = want.iter().map(EmailAddress::as_str).collect();
    have.iter().any(|alert| alert.notify.iter().map(String::as_str).collect::<BTreeSet<_>>() != wanted)
}

impl ResourceKindDef for Budget {
    type Spec<F: Form> = BudgetSpec;
    type Observed = BudgetObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("aws.budget")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id"]
    }
    fn diff(&self, want: &BudgetSpec, have: &BudgetObserved) -> Change {
        let BudgetSpec { name, monthly_usd, stack, alerts, notify } = want;
        let seen: BTreeSet<Alert> = have.alerts.iter().map(|alert| alert.when).collect();
        Diff::new()
            .replace("name", *name != have.name)
            .update("monthly_usd", !same_amount(monthly_usd, &have.monthly_usd))
            .update("stack", *stack != have.stack)
            .update("fixed_monthly", !have.fixed_monthly)
            .update("alerts", *alerts != seen)
            .update("other_alerts", have.other_alerts > 0)
            .update("notify", others_told(notify, &have.alerts))
            .done()
    }
    /// Nothing: budgets without actions are free, by the page of AWS Budgets' prices (read 2026-11-23).
    fn bill(&self, _: &BudgetSpec) -> Vec<BillItem> {
        Vec::new()
    }
    fn permissions(&self, op: Op, want: &BudgetSpec) -> Vec<Permission> {
        // Whatever is read is one right, and whatever is changed another. Which account it is may be asked by anybody.
        let budget = Actions {
            find: &["budgets:ListTagsForResource", "budgets:ViewBudget"],
            create: &["budgets:ModifyBudget", "budgets:TagResource"],
            update: &["budgets:ModifyBudget"],
            delete: &["budgets:ModifyBudget"],
        };
        let listed = Actions { find: &["tag:GetResources"], create: &[], update: &[], delete: &[] };
        let mut all = budget.of(op, format!("arn:aws:budgets::*:budget/{}", want.name));
        all.extend(listed.of(op, "*"));
        all
    }
    fn ownership(&self, _: &ResourceKey, want: &BudgetSpec) -> Ownership {
        Ownership::DerivedName(want.name.clone())
    }
    fn outputs(&self, id: &PhysicalId, _: &BudgetObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([("id", id.0.clone().into())])
    }
    fn may_hold_data(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use vrooli_deploy_core::provider::pure::{Answer, check_kind};

    use super::*;

    #[test]
    fn differences_are_answered() {
        let told = |notify: &[&str]| json!([{"on": "actual", "percent": 80, "notify": notify}]);
        let want = json!({"name": "app-default", "monthly_usd": "200", "stack": "app/default", "alerts": [{"on": "actual", "percent": 80}], "notify": ["a@example.com"]});
        let have = json!({"name": "app-default", "monthly_usd": "200.0", "stack": "app/default", "fixed_monthly": true, "alerts": told(&["a@example.com"]), "other_alerts": 0});
        let forecast = json!([{"on": "forecast", "percent": 80, "notify": ["a@example.com"]}]);
        let answers = [
            ("name", json!("other"), Answer::Replace),
            ("monthly_usd", json!("200.01"), Answer::Update),
            ("stack", json!(""), Answer::Update),
            ("fixed_monthly", json!(false), Answer::Update),
            ("alerts", forecast, Answer::Update),
            ("alerts", json!([]), Answer::Update),
            ("other_alerts", json!(1), Answer::Update),
        ];
        check_kind(&Budget, &want, &have, &answers).unwrap();
    }

    #[test]
    fn whoever_is_told_too_much_or_too_little_is_a_difference() {
        let want = BTreeSet::from([EmailAddress::new("a@example.com").unwrap()]);
        let seen = |notify: &[&str]| SeenAlert {
            when: Alert { on: AlertOn::Actual, percent: 80 },
            notify: notify.iter().map(|&one| one.to_owned()).collect(),
        };
        assert!(!others_told(&want, &[seen(&["a@example.com"])]));
        assert!(others_told(&want, &[seen(&["a@example.com"]), seen(&[])]));
        assert!(others_told(&want, &[seen(&["a@example.com", "arn:aws:sns:us-east-1:1:costs"])]));
    }
}
