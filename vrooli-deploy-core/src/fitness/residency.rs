//! Where the data may lie, and which rules must be met.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use super::Cause;
use super::sheet::Sheet;
use crate::diagnostics::rules;
use crate::manifest::crosswalk::embedded;

#[derive(Debug, Default, Deserialize)]
struct Regions {
    groups: BTreeMap<String, Vec<String>>,
    /// Provider → region → country.
    regions: BTreeMap<String, BTreeMap<String, String>>,
}

static REGIONS: LazyLock<Regions> = LazyLock::new(|| embedded(include_str!("data/regions.json")));

pub(super) fn check(sheet: &mut Sheet<'_>) {
    if !sheet.rules.hosted {
        return;
    }
    residency(sheet);
    for rule in &sheet.manifest.metadata.compliance {
        if sheet.confirmed(rule) {
            continue;
        }
        let cause = sheet.places.field(&["/deployment/cloud/compliance", "/metadata/compliance"]);
        sheet.block(
            true,
            rules::COMPLIANCE,
            format!("the app must comply with `{rule}`, and nobody has said that this deployment does"),
            cause,
            vec![format!("once that is reviewed: `--confirm {rule}`")],
            Vec::new(),
        );
    }
}

fn residency(sheet: &mut Sheet<'_>) {
    let wanted = &sheet.manifest.metadata.residency;
    if wanted.is_empty() || sheet.confirmed("residency") {
        return;
    }
    let cause: Cause = sheet.places.field(&[
        "/deployment/cloud/residency",
        "/deployment/cloud/data_residency",
        "/metadata/residency",
    ]);
    let allowed = wanted.join(", ");
    let region = sheet
        .input
        .options
        .region
        .clone()
        .or_else(|| sheet.manifest.infrastructure.region.clone())
        .filter(|region| !region.is_empty());
    let provider = sheet.provider.as_ref().map(ToString::to_string);
    let known = provider.as_deref().and_then(|provider| REGIONS.regions.get(provider));
    let fitting: Vec<&str> = known
        .into_iter()
        .flatten()
        .filter(|(_, country)| fits(wanted, country))
        .map(|(region, _)| region.as_str())
        .collect();
    let suggestion = if fitting.is_empty() {
        "once you know where the data lies: `--confirm residency`".to_owned()
    } else {
        format!("choose a region that lies there: {}", fitting.join(", "))
    };
    let Some(region) = region else {
        let message =
            format!("its data may only lie in {allowed}, and no region is chosen yet; {suggestion}");
        sheet.warn(rules::RESIDENCY, message, cause);
        return;
    };
    let message = match known.and_then(|known| known.get(&region)) {
        Some(country) if fits(wanted, country) => return,
        Some(country) => {
            format!("its data may only lie in {allowed}, but the region `{region}` lies in `{country}`")
        }
        None => {
            format!("its data may only lie in {allowed}, and where the region `{region}` lies is not known")
        }
    };
    sheet.block(true, rules::RESIDENCY, message, cause, vec![suggestion], Vec::new());
}

fn fits(wanted: &[String], country: &str) -> bool {
    wanted.iter().any(|word| {
        let word = word.to_ascii_lowercase();
        word == country || REGIONS.groups.get(&word).is_some_and(|group| group.iter().any(|c| c == country))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn countries_and_groups_are_understood() {
        serde_json::from_str::<Regions>(include_str!("data/regions.json")).unwrap();
        let wanted = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert!(fits(&wanted(&["EU"]), "de"));
        assert!(!fits(&wanted(&["eu"]), "gb"));
        assert!(fits(&wanted(&["us", "ca"]), "ca"));
        assert_eq!(REGIONS.regions["digitalocean"]["fra1"], "de");
        assert_eq!(REGIONS.groups["eu"].len(), 27);
    }
}
