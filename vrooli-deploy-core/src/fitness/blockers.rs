//! What makes a deployment impossible, whatever the score.

use super::sheet::Sheet;
use super::{Cause, residency};
use crate::diagnostics::{Severity, rules};
use crate::manifest::yaml::SpanIndex;
use crate::manifest::{Tier, TierStatus};
use crate::requirements::metadata::said;
use crate::requirements::{DropReason, Need, ResourceForm, SecretClass, catalogue};
use crate::swaps::{self, effective};

pub(super) fn check(sheet: &mut Sheet<'_>) {
    swaps(sheet);
    dead(sheet);
    scenarios(sheet);
    graphics(sheet);
    secrets(sheet);
    residency::check(sheet);
    cost(sheet);
    declared(sheet);
}

/// Swaps that the tier refuses, or that name something unknown.
fn swaps(sheet: &mut Sheet<'_>) {
    let nowhere = SpanIndex::default();
    let spans = sheet.input.spans.unwrap_or(&nowhere);
    for found in swaps::check(sheet.manifest, &sheet.manifest.swaps, sheet.tier, spans) {
        if found.severity == Severity::Error {
            let place = found.labels.first().map(|label| label.span.clone());
            let mut cause = Cause { knowledge: Some("swaps".to_owned()), ..sheet.places.field(&["/swaps"]) };
            cause.place = place.or(cause.place);
            sheet.block(true, found.code, found.message, cause, found.help.into_iter().collect(), Vec::new());
        }
    }
}

/// A required resource that no longer exists. On this machine the app starts without it.
fn dead(sheet: &mut Sheet<'_>) {
    for dropped in &sheet.requirements.dropped {
        if dropped.reason != DropReason::Dead {
            continue;
        }
        let name = &dropped.name;
        let Some(dependency) = sheet.manifest.dependencies.resources.get(name) else { continue };
        let kind = effective(name, dependency, &sheet.manifest.swaps).kind;
        let Some(known) = catalogue().find(&kind) else { continue };
        let why = known.dead.as_deref().unwrap_or("it no longer exists");
        let (mut suggestions, swaps) = sheet.alternatives(name, &known.name);
        suggestions.push(format!("accept that what uses it will not work: `--drop {name}`"));
        let cause = sheet.dependency(name, format!("catalogue: {}.dead", known.name));
        let blocks = dropped.required && sheet.tier != Tier::Local;
        let message = format!("`{name}` is required, but cannot be provided: {why}");
        sheet.block(blocks, rules::DEAD_RESOURCE, message, cause, suggestions, swaps);
    }
}

fn scenarios(sheet: &mut Sheet<'_>) {
    let Some(closure) = sheet.input.scenarios else { return };
    for circle in &closure.cycles {
        let names: Vec<&str> = circle.iter().map(|name| name.as_str()).collect();
        let cause = circle.get(1).map(|name| sheet.places.scenario(name)).unwrap_or_default();
        sheet.block(
            true,
            rules::SCENARIO_CYCLE,
            format!("scenarios need each other in a circle: {}", names.join(" → ")),
            cause,
            vec!["make one of them `\"required\": false`".to_owned()],
            Vec::new(),
        );
    }
    for (name, node) in &closure.nodes {
        let blocks = node.required && sheet.tier != Tier::Local;
        let cause = sheet.places.scenario(name);
        let path: Vec<&str> = node.path.iter().map(|step| step.as_str()).collect();
        let drop = format!("leave it out: `--drop {name}`");
        if !node.present {
            sheet.block(
                blocks,
                rules::SCENARIO_MISSING,
                format!("the scenario `{name}` is not there ({})", path.join(" → ")),
                cause,
                vec!["put it beside the app, or make it `\"required\": false`".to_owned(), drop],
                Vec::new(),
            );
            continue;
        }
        for (by, range) in &node.mismatches {
            sheet.block(
                blocks,
                rules::SCENARIO_VERSION,
                format!(
                    "`{by}` needs the scenario `{name}` in a version {range}, but it has {}",
                    node.version.as_deref().unwrap_or("none")
                ),
                cause.clone(),
                vec!["deploy a version that fits, or change `versionRange`".to_owned()],
                Vec::new(),
            );
        }
    }
}

/// Graphics cards cost more than all the rest: nobody gets one by accident.
fn graphics(sheet: &mut Sheet<'_>) {
    if !sheet.rules.hosted || sheet.input.options.gpu_budget {
        return;
    }
    let said_of_tier =
        sheet.manifest.metadata.tiers.get(&sheet.tier).and_then(|tier| tier.requirements.as_ref()).or(sheet
            .manifest
            .metadata
            .requirements
            .as_ref());
    let swapped = sheet.needed().any(|resource| resource.swapped_from.is_some());
    let money = "allow for one: `--gpu-budget`";
    if !swapped && said_of_tier.and_then(|said| said.gpu) == Some(true) {
        let cause = sheet.places.tier(sheet.tier);
        sheet.block(
            true,
            rules::GPU_WITHOUT_BUDGET,
            "its metadata says that it needs a graphics card, and there is no budget for one",
            cause,
            vec![money.to_owned()],
            Vec::new(),
        );
    }
    for resource in sheet.needed() {
        let known = catalogue().find(&resource.resource);
        let by_kind = known.filter(|known| known.form == ResourceForm::Server).and_then(|k| k.gpu.as_ref());
        let needed = by_kind.is_some_and(|gpu| gpu.need == Need::Required);
        let declared = said(sheet.manifest, &resource.name, &resource.resource)
            .and_then(|said| said.footprint.as_ref()?.gpu);
        // What the author says of their own app is worth more than what is usual.
        if !declared.unwrap_or(needed) {
            continue;
        }
        let (mut suggestions, swaps) = sheet.alternatives(&resource.name, &resource.resource);
        suggestions.push(money.to_owned());
        let cause = sheet.dependency(&resource.name, format!("catalogue: {}.gpu", resource.resource));
        sheet.block(
            resource.required,
            rules::GPU_WITHOUT_BUDGET,
            format!("`{}` needs a graphics card, and there is no budget for one", resource.name),
            cause,
            suggestions,
            swaps,
        );
    }
}

fn secrets(sheet: &mut Sheet<'_>) {
    if let Some(ready) = &sheet.input.options.secrets {
        for secret in ready.iter().filter(|secret| !secret.resolved) {
            let cause = match &secret.dependency {
                Some(name) => sheet.places.resource(name),
                None => sheet.places.field(&["/secrets"]),
            };
            let why = secret.why.as_deref().unwrap_or("nothing says where its value comes from");
            sheet.block(
                secret.infrastructure,
                rules::BLOCKED_BY_SECRET,
                format!("the secret `{}` has no value: {why}", secret.name),
                cause,
                vec![format!("say where it comes from: `secrets.{}` in the manifest", secret.name)],
                Vec::new(),
            );
        }
        return;
    }
    if !sheet.rules.hosted {
        return;
    }
    let given = |variable: &str| {
        let manifest = sheet.manifest;
        manifest.secrets.keys().any(|name| name.as_str() == variable)
            || manifest.env.keys().any(|name| name.as_str() == variable)
            || manifest.services.values().any(|service| service.env.keys().any(|n| n.as_str() == variable))
    };
    let mut open = Vec::new();
    for resource in sheet.needed() {
        let Some(known) = catalogue().find(&resource.resource) else { continue };
        for secret in &known.secrets {
            let unplanned =
                secret.class == SecretClass::Infrastructure && secret.strategy(sheet.tier).is_none();
            if unplanned && !given(secret.variable.as_str()) {
                let cause = sheet.dependency(&resource.name, format!("catalogue: {}.secrets", known.name));
                open.push((resource.required, secret.variable.to_string(), cause));
            }
        }
    }
    for secret in
        sheet.manifest.metadata.tiers.get(&sheet.tier).map(|t| t.secrets.as_slice()).unwrap_or_default()
    {
        let infrastructure = secret.classification.as_deref() == Some("infrastructure");
        let owner = secret.id.split('/').next().unwrap_or_default();
        let planned = catalogue()
            .find(owner)
            .is_some_and(|known| known.secrets.iter().any(|secret| secret.strategy(sheet.tier).is_some()));
        let variable = secret.id.replace(['/', '-'], "_").to_ascii_uppercase();
        if infrastructure && secret.strategy.is_none() && !planned && !given(&variable) {
            open.push((true, secret.id.clone(), sheet.places.tier(sheet.tier)));
        }
    }
    for (required, name, cause) in open {
        sheet.block(
            required,
            rules::BLOCKED_BY_SECRET,
            format!("the infrastructure secret `{name}` has no strategy in the tier {}", sheet.tier),
            cause,
            vec![format!("say where it comes from: `secrets.{name}` in the manifest")],
            Vec::new(),
        );
    }
}

fn cost(sheet: &mut Sheet<'_>) {
    let Some(gate) = sheet.input.options.cost else { return };
    if gate.monthly.currency == gate.budget.currency && gate.monthly.amount > gate.budget.amount {
        sheet.block(
            true,
            rules::BLOCKED_BY_COST,
            format!(
                "it costs {} {currency} a month, and may cost {} {currency}",
                gate.monthly,
                gate.budget,
                currency = gate.budget.currency
            ),
            Cause { knowledge: Some("cost estimate".to_owned()), ..Cause::default() },
            vec!["choose smaller sizes, or allow for more".to_owned()],
            Vec::new(),
        );
    }
}

fn declared(sheet: &mut Sheet<'_>) {
    let Some(said) = sheet.manifest.metadata.tiers.get(&sheet.tier) else { return };
    if said.status != Some(TierStatus::Blocked) || sheet.confirmed("declared-blocked") {
        return;
    }
    let reasons = if said.constraints.is_empty() {
        said.notes.clone().unwrap_or_else(|| "no reason is given".to_owned())
    } else {
        said.constraints.join("; ")
    };
    let suggestions = said
        .adaptations
        .iter()
        .map(|adaptation| {
            let impact =
                adaptation.impact.as_deref().map(|impact| format!(" ({impact})")).unwrap_or_default();
            format!("its metadata proposes `{}` for `{}`{impact}", adaptation.swap, adaptation.dependency)
        })
        .collect();
    let cause = sheet.places.tier(sheet.tier);
    let message = format!("its metadata says that it does not run in the tier {}: {reasons}", sheet.tier);
    sheet.block(true, rules::DECLARED_BLOCKED, message, cause, suggestions, Vec::new());
}
