//! What the stack may cost, and who is told.

use vrooli_deploy_core::diagnostics::rules;
use vrooli_deploy_core::provider::lowering::{Lowering, object_name, resource_key};

use super::Site;
use crate::kinds::budget::{Alert, AlertOn, Budget, BudgetSpec};

/// The budget, if the manifest has one.
pub(super) fn lower(lowering: &mut Lowering<'_>, site: Site<'_>) {
    let Some(wanted) = lowering.options().infrastructure.budget.clone() else { return };
    let Ok(monthly) = wanted.monthly() else { return };
    let actual = wanted.at.iter().map(|&percent| Alert { on: AlertOn::Actual, percent });
    let forecast = wanted.forecast.then_some(Alert { on: AlertOn::Forecast, percent: 100 });
    let alerts: std::collections::BTreeSet<Alert> = actual.chain(forecast).collect();
    let limits = &site.known.defaults.limits;
    let counts = [
        ("at", alerts.len(), limits.alerts_per_budget, "alerts of a budget"),
        ("notify", wanted.notify.len(), limits.addresses_per_alert, "addresses of an alert"),
    ];
    for (field, count, most, what) in counts {
        if count > most {
            let (thing, of) = what.split_once(" of ").unwrap_or((what, "it"));
            let message = format!("{count} {thing}: AWS takes at most {most} of {of}");
            let help = "leave some out, or write to a list that passes it on";
            let at = format!("/infrastructure/budget/{field}");
            lowering.say_at(&at, rules::COUNT.diagnostic(message).help(help));
        }
    }
    let stack = lowering.stack();
    let spec = BudgetSpec {
        // 100 characters, by CreateBudget's reference.
        name: object_name(stack, "", 100),
        monthly_usd: monthly.amount.normalize().to_string(),
        stack: stack.to_string(),
        alerts,
        notify: wanted.notify,
    };
    lowering.add(&resource_key("budget/main"), &Budget, &spec, false);
}
