//! What a plan does to the bill, and what it takes away, as people read it before they say yes.

use std::collections::BTreeSet;

use vrooli_deploy_core::cost::{Estimate, Level, Money, PlannedCost};
use vrooli_deploy_core::diagnostics::Severity;
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::plan::{Plan, StepAction};

use super::plan::replaced;
use super::style::{Paint, harmless};

/// So many names are said; of more, how many.
const NAMES: usize = 8;

/// What a month costs then, and what changes.
pub(super) fn planned_cost(paint: Paint, cost: &PlannedCost) -> String {
    let level = cost.level;
    let mut text = format!("  {} ", paint.cyan("cost:"));
    let Some(after) = &cost.after else {
        let why = cost.diagnostics.iter().find(|found| found.severity == Severity::Error);
        text.push_str("not known");
        if let Some(why) = why {
            text.push_str(&format!(": {}: {}", why.code, harmless(&why.message)));
        }
        return text;
    };
    let total = |level| after.total(level);
    text.push_str(&format!(
        "{} a month at {level} usage ({}; low {}, high {}){}",
        paint.bold(&amount(after, level)),
        harmless(&after.usage),
        total(Level::Low),
        total(Level::High),
        than_now(cost).map(|words| format!(", {words}")).unwrap_or_default()
    ));
    let lines = cost.lines();
    if !lines.is_empty() {
        let signed = |money: Money| {
            let plus = if money.amount.is_sign_negative() { "" } else { "+" };
            format!("{plus}{money}")
        };
        let each: Vec<String> =
            lines.into_iter().map(|(line, money)| format!("{} {}", line.word(), signed(money))).collect();
        text.push_str(&paint.dim(&format!("\n        {}", each.join(", "))));
    }
    for unknown in &after.unknown {
        text.push_str(&paint.dim(&format!("\n        not in it: {}", harmless(&unknown.what))));
    }
    text
}

/// `~178.40 USD`, or `at least 12.00 USD`.
fn amount(estimate: &Estimate, level: Level) -> String {
    let least = if estimate.complete() { "" } else { "at least " };
    let unsure = if estimate.approximate(level) { "~" } else { "" };
    format!("{least}{unsure}{} {}", estimate.total(level), estimate.currency)
}

/// `58.40 more than now`. `None` where nothing is there yet, or nobody can say.
fn than_now(cost: &PlannedCost) -> Option<String> {
    let before = cost.before.as_ref()?;
    let change = cost.change()?;
    if change.amount.is_zero() {
        return Some("as now".to_owned());
    }
    if before.lines.is_empty() {
        return None;
    }
    let word = if change.amount.is_sign_negative() { "less" } else { "more" };
    Some(format!("{} {word} than now", Money { amount: change.amount.abs(), ..change }))
}

/// What cannot be taken back or is paid for, a line each.
pub(crate) fn in_words(paint: Paint, plan: &Plan, cost: Option<&PlannedCost>) -> String {
    let replaced = replaced(plan);
    let (mut data, mut anew, mut gone): (Vec<&ResourceKey>, BTreeSet<&ResourceKey>, Vec<&ResourceKey>) =
        Default::default();
    for step in &plan.steps {
        match &step.action {
            StepAction::Delete { key, holds_data: true, .. } => data.push(key),
            StepAction::Delete { key, .. } if replaced.contains(key) => {
                anew.insert(key);
            }
            StepAction::Delete { key, .. } => gone.push(key),
            _ => {}
        }
    }
    let mut words = Vec::new();
    if !data.is_empty() {
        words.push(format!("deletes for good, WITH ITS DATA: {}", named(&data)));
    }
    if !anew.is_empty() {
        let anew: Vec<&ResourceKey> = anew.into_iter().collect();
        words.push(format!("puts a new one in the place of: {}", named(&anew)));
    }
    if !gone.is_empty() {
        words.push(format!("removes: {}", named(&gone)));
    }
    if plan.command == "destroy" {
        words.push(format!("ends {}", plan.stack));
    }
    match cost {
        Some(cost) if cost.after.is_none() => {
            words.push("costs nobody can say how much more a month".to_owned());
        }
        Some(cost) => {
            if let Some(change) = cost.change().filter(|change| !change.amount.is_zero()) {
                let less = change.amount.is_sign_negative();
                let word = if less { "less" } else { "more" };
                let much = Money { amount: change.amount.abs(), ..change };
                words.push(format!("costs {much} {} a month {word} than now", much.currency));
            }
        }
        None => {}
    }
    words
        .iter()
        .map(|words| format!("{} this {}", paint.yellow("!"), harmless(words)))
        .collect::<Vec<_>>()
        .join("\n")
}

fn named(keys: &[&ResourceKey]) -> String {
    let mut names: Vec<String> = keys.iter().take(NAMES).map(ToString::to_string).collect();
    if keys.len() > NAMES {
        names.push(format!("{} more", keys.len() - NAMES));
    }
    names.join(", ")
}
