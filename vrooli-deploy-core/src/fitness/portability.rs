//! How easily the app is moved there: what it stands on, and whom else it needs.

use super::sheet::Sheet;
use super::{Cause, Dimension};
use crate::requirements::{DropReason, ResourceForm, catalogue};

pub(super) fn score(sheet: &mut Sheet<'_>) {
    resources(sheet);
    processes(sheet);
    scenarios(sheet);
    left_out(sheet);
}

fn resources(sheet: &mut Sheet<'_>) {
    for resource in sheet.needed() {
        let Some(known) = catalogue().find(&resource.resource) else {
            let cause = sheet.dependency(&resource.name, sheet.knowledge("unknown_resource"));
            let why = format!("nothing is known of `{}`", resource.resource);
            sheet.take_all(&sheet.rules.unknown_resource, "unknown-resource", &why, &cause);
            continue;
        };
        // A part of the app moves with it; a service of others and a command are there or not.
        if known.form != ResourceForm::Server {
            continue;
        }
        let word = primitive_word(known.primitive);
        let cause = sheet.dependency(&resource.name, sheet.knowledge(&format!("primitives.{word}")));
        let mut why = format!("`{}` must be there: {}", resource.name, known.about);
        if sheet.rules.hosted && !known.managed.is_empty() {
            match (&sheet.provider, known.managed_at(sheet.provider.as_ref())) {
                (Some(provider), Some((_, service))) => {
                    why.push_str(&format!(", which {provider} runs as {service}"));
                }
                (Some(_), None) => {}
                (None, _) => {
                    let names: Vec<&str> = known.managed.keys().map(|name| name.as_str()).collect();
                    why.push_str(&format!(", which {} run as a service", names.join(" and ")));
                }
            }
        }
        if let Some(points) = sheet.rules.primitives.get(&known.primitive) {
            sheet.take_all(points, &word, &why, &cause);
        }
    }
}

/// A primitive as data spells it.
pub(super) fn primitive_word(primitive: crate::requirements::Primitive) -> String {
    match serde_json::to_value(primitive) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

fn processes(sheet: &mut Sheet<'_>) {
    let Some(first) = sheet.requirements.services.keys().next() else {
        return;
    };
    let names: Vec<&str> = sheet.requirements.services.keys().map(|name| name.as_str()).collect();
    let cause = Cause { knowledge: Some(sheet.knowledge("server_process")), ..sheet.places.service(first) };
    let why = format!("{} run as servers of their own", names.join(", "));
    sheet.take_all(&sheet.rules.server_process, "server-process", &why, &cause);
}

fn scenarios(sheet: &mut Sheet<'_>) {
    let mut left = sheet.rules.scenario_limit;
    let direct = &sheet.manifest.dependencies.scenarios;
    for (name, dependency) in direct {
        if !dependency.enabled || !dependency.required || sheet.manifest.drop.contains(name) {
            continue;
        }
        let points = sheet.rules.scenario.min(left);
        left -= points;
        let cause = Cause { knowledge: Some(sheet.knowledge("scenario")), ..sheet.places.scenario(name) };
        let looked = sheet.input.scenarios.is_some();
        let why = if looked {
            format!("the scenario `{name}` must be deployed, too")
        } else {
            format!("the scenario `{name}` must be deployed, too; it was not looked for")
        };
        sheet.take(Dimension::Portability, "other-scenario", points, why, cause);
    }
    let Some(closure) = sheet.input.scenarios else { return };
    for (name, node) in &closure.nodes {
        if !node.required || direct.contains_key(name) {
            continue;
        }
        let points = sheet.rules.scenario.min(left);
        left -= points;
        let path: Vec<&str> = node.path.iter().map(|step| step.as_str()).collect();
        let cause = Cause {
            dependency: Some(name.clone()),
            knowledge: Some(sheet.knowledge("scenario")),
            ..Cause::default()
        };
        let why = format!("the scenario `{name}` must be deployed, too ({})", path.join(" → "));
        sheet.take(Dimension::Portability, "other-scenario", points, why, cause);
    }
}

/// What is declared but not counted, and why: it costs nothing, and nobody has to wonder.
fn left_out(sheet: &mut Sheet<'_>) {
    for dropped in &sheet.requirements.dropped {
        let name = &dropped.name;
        let (term, why) = match dropped.reason {
            DropReason::Disabled => continue,
            DropReason::Asked => {
                ("left-out", format!("`{name}` is left out, as you asked; what uses it will not work"))
            }
            DropReason::Optional => ("optional", format!("`{name}` is optional and not counted")),
            DropReason::Heuristic => {
                ("heuristic", format!("`{name}` was only guessed by a tool and is not counted"))
            }
            DropReason::Dead => ("dead", format!("`{name}` no longer exists and is not counted")),
        };
        let cause = sheet.places.resource(name);
        sheet.note(Dimension::Portability, term, why, cause);
    }
}
