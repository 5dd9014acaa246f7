//! Whether the tier can run what the app is made of.

use std::collections::BTreeMap;

use super::policy::TermCondition;
use super::sheet::Sheet;
use super::{Cause, Dimension};
use crate::diagnostics::rules;
use crate::manifest::TierStatus;
use crate::requirements::metadata::said;
use crate::requirements::{ResourceForm, Support, catalogue, runtime};

pub(super) fn score(sheet: &mut Sheet<'_>) {
    tier_terms(sheet);
    runtimes(sheet);
    health(sheet);
    support(sheet);
}

fn tier_terms(sheet: &mut Sheet<'_>) {
    for rule in &sheet.rules.terms {
        if rule.confirm.as_deref().is_some_and(|word| sheet.confirmed(word)) {
            let cause = Cause { knowledge: Some(sheet.knowledge(&rule.name)), ..Cause::default() };
            sheet.note(rule.dimension, &rule.name, "vouched for by whoever asked for this score", cause);
            continue;
        }
        let mut cause = Cause::default();
        let mut name = rule.name.as_str();
        let mut why = rule.why.clone();
        match rule.when {
            TermCondition::Always => {}
            TermCondition::UndeclaredTier => {
                let metadata = &sheet.manifest.metadata;
                let declared = metadata.tiers.get(&sheet.tier);
                cause = sheet.places.tier(sheet.tier);
                match declared.and_then(|tier| tier.status) {
                    Some(TierStatus::Ready | TierStatus::Blocked) => continue,
                    Some(TierStatus::Limited) => {
                        name = "declared-limited";
                        let constraints =
                            declared.map(|tier| tier.constraints.join("; ")).unwrap_or_default();
                        why = format!("its metadata says that it runs there with limits: {constraints}");
                    }
                    None if metadata.supported_tiers.contains(&sheet.tier) => continue,
                    None => {}
                }
            }
            TermCondition::SingleInstance => {
                let several = sheet.requirements.services.values().any(|service| service.scaling.max > 1);
                if several || sheet.requirements.services.is_empty() {
                    continue;
                }
                if let Some(first) = sheet.requirements.services.keys().next() {
                    cause = sheet.places.service(first);
                }
            }
        }
        cause.knowledge = Some(sheet.knowledge(&rule.name));
        sheet.take(rule.dimension, name, rule.points, why, cause);
    }
}

/// Each runtime counts once, however many services are written in it.
fn runtimes(sheet: &mut Sheet<'_>) {
    let mut found: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for (name, service) in &sheet.requirements.services {
        if let Some(runtime) = runtime(sheet.manifest, service) {
            found.entry(runtime.name.as_str()).or_default().push(name);
        }
    }
    for (runtime, services) in found {
        let Some(points) = sheet.rules.runtimes.get(runtime) else { continue };
        let names: Vec<&str> = services.iter().map(|name| name.as_str()).collect();
        let cause = Cause {
            knowledge: Some(sheet.knowledge(&format!("runtimes.{runtime}"))),
            ..services.first().map(|name| sheet.places.service(name)).unwrap_or_default()
        };
        let why = format!("{} must be shipped for {}", runtime, names.join(", "));
        sheet.take_all(points, "runtime", &why, &cause);
    }
}

fn health(sheet: &mut Sheet<'_>) {
    let silent: Vec<_> = sheet
        .requirements
        .services
        .iter()
        .filter(|(_, service)| !service.ports.is_empty() && service.health.is_none())
        .map(|(name, _)| name)
        .collect();
    if let Some(first) = silent.first() {
        let names: Vec<&str> = silent.iter().map(|name| name.as_str()).collect();
        let cause = Cause { knowledge: Some(sheet.knowledge("no_health")), ..sheet.places.service(first) };
        let why = format!("{} say nowhere how they are", names.join(", "));
        sheet.take(Dimension::PlatformSupport, "no-health", sheet.rules.no_health, why, cause);
    }
}

/// What the catalogue and the app's metadata say of each resource in the tier.
fn support(sheet: &mut Sheet<'_>) {
    for resource in sheet.needed() {
        let known = catalogue().find(&resource.resource);
        let from_catalogue = known.and_then(|known| known.tiers.get(&sheet.tier));
        let declared = said(sheet.manifest, &resource.name, &resource.resource)
            .and_then(|said| said.support.get(&sheet.tier));
        let refused = declared.filter(|declared| declared.supported == Some(false));
        let (no, why, knowledge) = match (from_catalogue, refused) {
            (_, Some(declared)) => {
                let why = declared.reason.clone().unwrap_or_else(|| "its metadata says so".to_owned());
                (true, why, "metadata of the app".to_owned())
            }
            (Some(support), None) => {
                let place = format!("catalogue: {}.tiers.{}", resource.resource, sheet.tier);
                (support.support == Support::No, support.why.clone(), place)
            }
            (None, None) => continue,
        };
        let cause = sheet.dependency(&resource.name, knowledge);
        if !no {
            let why = format!("`{}` runs there with limits: {why}", resource.name);
            let embedded = known.is_some_and(|known| known.form == ResourceForm::Library);
            let points = if embedded { &sheet.rules.limited_embedded } else { &sheet.rules.limited };
            sheet.take_all(points, "limited-support", &why, &cause);
            continue;
        }
        let message = format!("`{}` does not run in the tier {}: {why}", resource.name, sheet.tier);
        sheet.take_all(&sheet.rules.unsupported, "no-support", &message, &cause);
        let (mut suggestions, swaps) = sheet.alternatives(&resource.name, &resource.resource);
        if let Some(declared) = refused {
            suggestions.extend(
                declared
                    .alternatives
                    .iter()
                    .map(|other| format!("its metadata names `{other}` in its place")),
            );
        }
        sheet.block(resource.required, rules::TIER_UNSUPPORTED, message, cause, suggestions, swaps);
    }
}
