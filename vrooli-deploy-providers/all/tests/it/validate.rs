//! Every real scenario through requirements, fitness, cost and validation, on both clouds.

use std::collections::BTreeMap;

use vrooli_deploy_core::cost::{AssessOptions, DEFAULT_USAGE, Prices, UsageProfile, assess};
use vrooli_deploy_core::diagnostics::Severity;
use vrooli_deploy_core::fitness;
use vrooli_deploy_core::manifest::{DeploymentManifest, LoadedManifest, Tier, load_text};
use vrooli_deploy_core::requirements::{DeriveOptions, derive};
use vrooli_deploy_core::validate::{CheckStatus, ValidateOptions, validate};

use super::corpus::scenarios;
use super::lowered::stack_id;

fn loaded(name: &str, manifest: DeploymentManifest, provider: &str) -> LoadedManifest {
    let place = format!("scenarios/{name}/.vrooli/service.json");
    let text = super::lowered::shared(&format!("corpus/service-json/{name}.json")).unwrap();
    let mut loaded = load_text(place.as_ref(), std::fs::read_to_string(text).unwrap()).value.unwrap();
    loaded.manifest = manifest;
    loaded.manifest.target = Tier::Saas;
    loaded.manifest.provider = provider.parse().unwrap();
    loaded
}

#[test]
fn every_scenario_gives_reports_or_says_what_to_do() {
    let registry = vrooli_deploy_providers::registry();
    let prices = Prices::embedded();
    let usage = UsageProfile::named(DEFAULT_USAGE).unwrap();
    let mut statuses: BTreeMap<String, usize> = BTreeMap::new();
    for (name, manifest) in scenarios() {
        for provider in ["aws", "digitalocean"] {
            let loaded = loaded(&name, manifest.clone(), provider);
            let stack = stack_id(&loaded.manifest, "default");
            assert!(derive(&loaded.manifest, &DeriveOptions::default()).value.is_some(), "{name}");
            let scored = fitness::assess(&loaded, &fitness::AssessOptions::default());
            assert_eq!(scored.value.unwrap().tiers.len(), 1, "{name}");

            let costed = assess(&registry, &stack, &loaded, &AssessOptions::new(usage, &prices));
            let errors: Vec<_> =
                costed.diagnostics.iter().filter(|found| found.severity == Severity::Error).collect();
            assert_eq!(costed.value.is_none(), !errors.is_empty(), "{name} on {provider}");
            for error in errors {
                assert!(error.help.as_ref().is_some_and(|help| !help.is_empty()), "{name}: {error}");
            }

            let options = ValidateOptions::default();
            let report = validate(&registry, &stack, &loaded, &options).value.unwrap();
            let again = validate(&registry, &stack, &loaded, &options).value.unwrap();
            assert_eq!(report, again, "{name}: the same input gives the same report");
            assert!(!report.is_wrong_input(), "{name} on {provider}");
            for found in report.checks.iter().flat_map(|check| &check.findings) {
                if found.diagnostic.severity == Severity::Error {
                    assert!(!found.steps.is_empty(), "{name}: {}", found.diagnostic);
                    assert!(!found.cause.is_empty(), "{name}: {}", found.diagnostic);
                }
            }
            let status = match report.status() {
                CheckStatus::Pass => "pass",
                CheckStatus::Warn => "warn",
                CheckStatus::Fail => "fail",
            };
            *statuses.entry(format!("{provider} {status}")).or_default() += 1;
        }
    }
    println!("{statuses:?}");
}
