//! All real scenarios, on both clouds.

use std::collections::BTreeMap;

use vrooli_deploy_core::diagnostics::Severity;
use vrooli_deploy_core::manifest::{DeploymentManifest, load_text};

use super::lowered::{TARGETS, check_diagnostic, check_stack, lower_plain, shared, with_compute};

/// Every scenario of the corpus, by name.
pub(crate) fn scenarios() -> Vec<(String, DeploymentManifest)> {
    let Some(folder) = shared("corpus/service-json") else {
        return Vec::new();
    };
    let mut scenarios: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(path).unwrap();
            let place = format!("scenarios/{name}/.vrooli/service.json");
            (name, load_text(place.as_ref(), text).value.unwrap().manifest)
        })
        .collect();
    scenarios.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(scenarios.len() >= 48, "the corpus has {} files", scenarios.len());
    scenarios
}

#[test]
fn every_scenario_lowers_or_says_what_to_do() {
    let mut whole: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, manifest) in scenarios() {
        for (provider, compute) in TARGETS {
            for environment in ["default", "production"] {
                let manifest = with_compute(manifest.clone(), compute);
                let checked = lower_plain(&manifest, provider, environment);
                let again = lower_plain(&manifest, provider, environment);
                assert_eq!(checked, again, "{name}: the same input gives the same stack");
                checked.diagnostics.iter().for_each(check_diagnostic);
                let errors: Vec<_> =
                    checked.diagnostics.iter().filter(|said| said.severity == Severity::Error).collect();
                let stack = checked.value.unwrap();
                check_stack(provider, &stack);
                // What is an error is a resource that the cloud does not offer, nothing else.
                for error in &errors {
                    assert_eq!(error.code.to_string(), "VD0760", "{name} on {provider}/{compute}: {error}");
                }
                assert!(stack.resources.len() > 3, "{name} on {provider}/{compute}");
                if errors.is_empty() {
                    *whole.entry(provider).or_default() += 1;
                }
            }
        }
    }
    println!("lowered without an error: {whole:?}");
    for count in whole.values() {
        assert!(*count >= 48, "most scenarios can go to a cloud as they are: {whole:?}");
    }
}
