//! A plan as people read it.

use std::collections::BTreeSet;

use vrooli_deploy_core::cost::PlannedCost;
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::plan::{Plan, ReleaseAction, Stage, Step, StepAction, Undo};
use vrooli_deploy_core::provider::Routing;

use super::estimate::parts;
use super::planned_cost::planned_cost;
use super::style::{Paint, harmless};

/// What a step is to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Add,
    Change,
    Remove,
    Replace,
    Neutral,
}

/// All steps by stage, with reasons; notes; what it costs, with more words part by part; counts and digest.
pub(crate) fn plan(paint: Paint, plan: &Plan, cost: Option<&PlannedCost>, verbose: bool) -> String {
    let mut text = format!(
        "{} of {} on {}",
        paint.bold(&plan.command),
        paint.bold(&plan.stack.to_string()),
        plan.provider
    );
    if let Some(release) = &plan.release {
        match plan.current {
            Some(current) if current == release.number => text.push_str(&format!(", release {current}")),
            Some(current) => text.push_str(&format!(", release {} ({current} serves now)", release.number)),
            None => text.push_str(&format!(", release {}", release.number)),
        }
    }
    let replaced = replaced(plan);
    let mut counts = [0_usize; 4];
    for (stage, title) in [
        (Stage::Expand, "first, beside what runs"),
        (Stage::Release, "the change of release"),
        (Stage::Contract, "after the commit"),
    ] {
        let mut steps = plan.steps.iter().filter(|s| s.stage == stage).peekable();
        if steps.peek().is_some() {
            text.push_str(&format!("\n\n  {}", paint.dim(title)));
        }
        for step in steps {
            let (mark, line) = described(step, &replaced);
            let symbol = match mark {
                Mark::Add => paint.green("+"),
                Mark::Change => paint.yellow("~"),
                Mark::Remove => paint.red("-"),
                Mark::Replace => paint.yellow("±"),
                Mark::Neutral => paint.dim("·"),
            };
            if let Some(count) = counts.get_mut(mark as usize) {
                *count += 1;
            }
            text.push_str(&format!("\n  {symbol} {}", harmless(&line)));
            if !step.reason.is_empty() && !line.starts_with(&step.reason) {
                text.push_str(&paint.dim(&format!("  — {}", harmless(&step.reason))));
            }
            // That a delete deletes need not be said.
            let deletes = matches!(step.action, StepAction::Delete { .. });
            if let Undo::Keep { reason } = &step.undo
                && !deletes
            {
                text.push_str(&paint.yellow(&format!("\n      not undone: {}", harmless(reason))));
            }
        }
    }
    if plan.is_empty() {
        text.push_str("\n\n  nothing to do");
    }
    if !plan.notes.is_empty() {
        text.push('\n');
    }
    for note in &plan.notes {
        text.push_str(&format!("\n  {} {}", paint.yellow("note:"), harmless(note)));
    }
    if let Some(cost) = cost {
        text.push_str(&format!("\n\n{}", planned_cost(paint, cost)));
        for part in cost.after.iter().filter(|_| verbose).flat_map(|estimate| &estimate.lines) {
            text.push_str(&parts(paint, part, cost.level));
        }
    }
    let [add, change, remove, _] = counts;
    // A create and a delete each.
    let replace = replaced.len();
    text.push_str(&format!(
        "\n\n  {add} to add, {change} to change, {replace} to replace, {remove} to remove; plan {}",
        paint.bold(plan.digest.short())
    ));
    text
}

/// Keys that are made in one stage and deleted in another: replaced.
pub(super) fn replaced(plan: &Plan) -> BTreeSet<&ResourceKey> {
    let made: BTreeSet<_> = plan
        .steps
        .iter()
        .filter_map(|s| match &s.action {
            StepAction::Create { key, .. } => Some(key),
            _ => None,
        })
        .collect();
    plan.steps
        .iter()
        .filter_map(|s| match &s.action {
            StepAction::Delete { key, .. } if made.contains(key) => Some(key),
            _ => None,
        })
        .collect()
}

fn described(step: &Step, replaced: &BTreeSet<&ResourceKey>) -> (Mark, String) {
    match &step.action {
        StepAction::Create { key, kind, .. } if replaced.contains(key) => {
            (Mark::Replace, format!("{kind} {key} (new)"))
        }
        StepAction::Create { key, kind, .. } => (Mark::Add, format!("{kind} {key}")),
        StepAction::Update { key, kind, fields, .. } => {
            (Mark::Change, format!("{kind} {key}: {}", fields.join(", ")))
        }
        StepAction::Delete { key, kind, id, .. } if replaced.contains(key) => {
            (Mark::Replace, format!("{kind} {key} (old: {id})"))
        }
        StepAction::Delete { key, kind, id, holds_data } => {
            let data = if *holds_data { " WITH ITS DATA" } else { "" };
            (Mark::Remove, format!("{kind} {key}{data} ({id})"))
        }
        StepAction::Adopt { key, kind, id, .. } => (Mark::Change, format!("{kind} {key}: taken over ({id})")),
        StepAction::Release { release, action } => match action {
            ReleaseAction::Build => (Mark::Add, format!("build {release}")),
            ReleaseAction::Stage => (Mark::Neutral, format!("stage {release}")),
            ReleaseAction::Migrate => (Mark::Change, "apply schema, migrations and seeds".to_owned()),
            ReleaseAction::Yield { old, unit } => (Mark::Remove, format!("stop {unit} of {old}")),
            ReleaseAction::Start { unit } => (Mark::Add, format!("start {unit} of {release}")),
            ReleaseAction::Probe { unit } => (Mark::Neutral, format!("wait until {unit} is well")),
            ReleaseAction::Smoke { through_edge: false } => {
                (Mark::Neutral, "smoke tests at the instances".to_owned())
            }
            ReleaseAction::Smoke { through_edge: true } => {
                (Mark::Neutral, "smoke tests through the edge".to_owned())
            }
            ReleaseAction::Shift { routing } => (Mark::Change, format!("traffic: {}", shares(routing))),
            ReleaseAction::Watch { window, old, .. } => {
                let with = old.map(|old| format!(" beside {old}")).unwrap_or_default();
                (Mark::Neutral, format!("watch{with} for {}", vrooli_deploy_core::duration::format(*window)))
            }
            ReleaseAction::Hold => (Mark::Neutral, "hold until `promote` or `abort`".to_owned()),
            ReleaseAction::Commit => (Mark::Neutral, format!("commit {release}")),
            ReleaseAction::Drain { old, units, deadline } => (
                Mark::Neutral,
                format!(
                    "let requests to {}{old} finish, {} at most",
                    units.iter().map(|unit| format!("{unit} ")).collect::<String>(),
                    vrooli_deploy_core::duration::format(*deadline)
                ),
            ),
            ReleaseAction::Stop { old, unit } => (Mark::Remove, format!("stop {unit} of {old}")),
            ReleaseAction::Remove { old } => (Mark::Remove, format!("remove {old}")),
        },
    }
}

/// `r2 100 %`, or `r1 90 %, r2 10 %`.
pub(super) fn shares(routing: &Routing) -> String {
    let total: u64 = routing.weights.values().map(|w| u64::from(*w)).sum();
    if total == 0 {
        return "none".to_owned();
    }
    routing
        .weights
        .iter()
        .map(|(release, weight)| format!("{release} {} %", u64::from(*weight) * 100 / total))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn example() -> Plan {
        let resource = |action: &str, stage: &str, extra: serde_json::Value| {
            let mut step = json!({
                "id": format!("{action}:x"), "stage": stage,
                "action": {"do": action, "key": "database/main", "kind": "local.postgres"},
                "undo": {"undo": "nothing"}, "after": [], "reason": "port changes"
            });
            for (name, value) in extra.as_object().unwrap() {
                step["action"][name] = value.clone();
            }
            step
        };
        serde_json::from_value(json!({
            "stack": {"app": "wheel", "environment": "default"},
            "provider": "local",
            "incarnation": "00000000-0000-0000-0000-000000000000",
            "command": "deploy",
            "steps": [
                resource("create", "expand", json!({"spec": {}, "generation": 2})),
                {"id": "migrate:r2", "stage": "release", "action": {"do": "release", "release": "r2", "action": "migrate"},
                 "undo": {"undo": "keep", "reason": "SQL"}, "after": [], "reason": ""},
                {"id": "shift:r2", "stage": "release",
                 "action": {"do": "release", "release": "r2", "action": "shift", "routing": {"weights": {"r1": 1, "r2": 3}}},
                 "undo": {"undo": "unshift"}, "after": [], "reason": ""},
                resource("delete", "contract", json!({"id": "old"}))
            ],
            "current": "r1",
            "notes": ["mind the gap"],
            "digest": format!("sha256:{}", "a".repeat(64))
        }))
        .unwrap()
    }

    #[test]
    fn a_replacement_is_shown_as_one_and_counted_in_no_other() {
        assert_eq!(
            plan(Paint(false), &example(), None, false),
            "deploy of wheel/default on local\n\n  first, beside what runs\n  \
             ± local.postgres database/main (new)  — port changes\n\n  the change of release\n  \
             ~ apply schema, migrations and seeds\n      not undone: SQL\n  \
             ~ traffic: r1 25 %, r2 75 %\n\n  after the commit\n  \
             ± local.postgres database/main (old: old)  — port changes\n\n  note: mind the gap\n\n  \
             0 to add, 2 to change, 1 to replace, 0 to remove; plan aaaaaaaaaaaa"
        );
    }
}
