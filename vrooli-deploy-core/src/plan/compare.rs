use std::collections::BTreeMap;

use serde_json::Value;

use super::{Plan, Step, StepId, digest};

/// How a plan made now differs from a saved one, a phrase each; empty when they decide the
/// same. What has to be shown when a saved plan is refused. Pure.
#[must_use]
pub fn compare(saved: &Plan, fresh: &Plan) -> Vec<String> {
    if saved.digest == fresh.digest {
        return Vec::new();
    }
    let mut differences = Vec::new();
    let mut say = |what: &str, was: String, is: String| {
        if was != is {
            differences.push(format!("{what} was {was}, is {is}"));
        }
    };
    say("the stack", saved.stack.to_string(), fresh.stack.to_string());
    say("the provider", saved.provider.to_string(), fresh.provider.to_string());
    say("the command", saved.command.clone(), fresh.command.clone());
    let current = |plan: &Plan| plan.current.map_or_else(|| "none".to_owned(), |r| r.to_string());
    say("the current release", current(saved), current(fresh));
    let next =
        |plan: &Plan| plan.release.as_ref().map_or_else(|| "none".to_owned(), |r| r.number.to_string());
    say("the next release", next(saved), next(fresh));

    let (Ok(was), Ok(is)) = (digest::decisions(saved), digest::decisions(fresh)) else {
        differences.push("one of the plans cannot be read".to_owned());
        return differences;
    };
    if next(saved) == next(fresh) {
        for (pointer, what) in [
            ("/release/source", "the source"),
            ("/release/request", "how it is built"),
            ("/release/draft/env", "environment variables"),
            ("/release/draft/services", "services"),
            ("/release/draft/migrations", "SQL files"),
            ("/release/draft", "the release"),
            ("/release", "the release"),
        ] {
            // The more exact phrase is enough.
            if was.pointer(pointer) != is.pointer(pointer) {
                differences.push(format!("{what} changed"));
                break;
            }
        }
    }
    steps(saved, fresh, &was, &is, &mut differences);
    if differences.is_empty() {
        differences.push("objects of the plan were made anew or taken away by another hand".to_owned());
    }
    differences
}

fn steps(saved: &Plan, fresh: &Plan, was: &Value, is: &Value, differences: &mut Vec<String>) {
    let old = by_id(saved, was);
    let new = by_id(fresh, is);
    for (id, (step, _)) in &old {
        if !new.contains_key(id) {
            differences.push(format!("no longer needed: {}{}", step.action.title(), because(step)));
        }
    }
    for (id, (step, json)) in &new {
        match old.get(id) {
            None => differences.push(format!("new: {}{}", step.action.title(), because(step))),
            Some((_, before)) if before != json => {
                let fields = changed(before, json);
                differences.push(format!(
                    "other than saved: {} ({})",
                    step.action.title(),
                    fields.join(", ")
                ));
            }
            Some(_) => {}
        }
    }
}

fn because(step: &Step) -> String {
    if step.reason.is_empty() { String::new() } else { format!(" ({})", step.reason) }
}

fn by_id<'a>(plan: &'a Plan, json: &'a Value) -> BTreeMap<&'a StepId, (&'a Step, &'a Value)> {
    let steps = json.get("steps").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    plan.steps.iter().zip(steps).map(|(step, json)| (&step.id, (step, json))).collect()
}

/// Names of the parts of a step that differ, one level into its action.
fn changed(before: &Value, after: &Value) -> Vec<String> {
    let mut names = Vec::new();
    for part in ["stage", "undo", "after"] {
        if before.get(part) != after.get(part) {
            names.push(part.to_owned());
        }
    }
    let empty = serde_json::Map::new();
    let (a, b) = (
        before.get("action").and_then(Value::as_object).unwrap_or(&empty),
        after.get("action").and_then(Value::as_object).unwrap_or(&empty),
    );
    for name in a.keys().chain(b.keys()) {
        if a.get(name) != b.get(name) && !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}
