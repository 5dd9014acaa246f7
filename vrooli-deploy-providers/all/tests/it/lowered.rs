//! Lowering a manifest as the workspace does it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::Value;
use vrooli_deploy_core::cost::BillItem;
use vrooli_deploy_core::diagnostics::{Checked, Diagnostic};
use vrooli_deploy_core::manifest::yaml::SpanIndex;
use vrooli_deploy_core::manifest::{ComputeConfig, DeploymentManifest, LoadedManifest, Tier, load_text};
use vrooli_deploy_core::names::{ProviderName, ResourceKind, StackId};
use vrooli_deploy_core::provider::{AnyKind, LowerOptions, ProviderFactory};
use vrooli_deploy_core::requirements::{DeriveOptions, derive};
use vrooli_deploy_core::stack::Stack;

/// The folder beside the checkout, or `None` after saying what is skipped.
pub(crate) fn shared(what: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("VROOLI_DEPLOY_SHARED").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")),
        PathBuf::from,
    );
    let path = shared.join(what);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: there is no {} (VROOLI_DEPLOY_SHARED says where it is)", path.display());
    None
}

/// A provider and how it runs apps.
pub(crate) const TARGETS: [(&str, &str); 4] =
    [("aws", "fargate"), ("aws", "ec2"), ("digitalocean", "droplet"), ("digitalocean", "app-platform")];

pub(crate) fn factory(provider: &str) -> std::sync::Arc<dyn ProviderFactory> {
    let registry = vrooli_deploy_providers::registry();
    registry.get(&ProviderName::new(provider).unwrap()).unwrap().clone()
}

pub(crate) fn kinds(provider: &str) -> BTreeMap<ResourceKind, &'static dyn AnyKind> {
    factory(provider).kinds().into_iter().map(|kind| (kind.kind(), kind)).collect()
}

pub(crate) fn stack_id(manifest: &DeploymentManifest, environment: &str) -> StackId {
    StackId { app: manifest.app.name.clone(), environment: environment.parse().unwrap() }
}

/// Lowers a manifest on tier 4, dead resources dropped as the user would.
pub(crate) fn lower(
    manifest: &DeploymentManifest,
    spans: &SpanIndex,
    provider: &str,
    environment: &str,
) -> Checked<Stack> {
    let drop = ["n8n", "windmill"].iter().filter_map(|name| (*name).parse().ok()).collect();
    let options = DeriveOptions { tier: Some(Tier::Saas), drop, ..DeriveOptions::default() };
    let requirements = derive(manifest, &options).value.unwrap();
    let provided: BTreeSet<_> = manifest
        .env
        .keys()
        .chain(manifest.services.values().flat_map(|service| service.env.keys()))
        .chain(manifest.secrets.keys())
        .cloned()
        .collect();
    let options = LowerOptions {
        infrastructure: manifest.infrastructure.clone(),
        networking: manifest.networking.clone(),
        domain: manifest.app.domain.clone(),
        provided,
        spans: spans.clone(),
        ..LowerOptions::default()
    };
    factory(provider).lower(&stack_id(manifest, environment), &requirements, &options)
}

/// The same without places.
pub(crate) fn lower_plain(
    manifest: &DeploymentManifest,
    provider: &str,
    environment: &str,
) -> Checked<Stack> {
    lower(manifest, &SpanIndex::default(), provider, environment)
}

pub(crate) fn with_compute(mut manifest: DeploymentManifest, kind: &str) -> DeploymentManifest {
    manifest.infrastructure.compute = Some(ComputeConfig { kind: kind.to_owned(), size: None, count: None });
    manifest
}

/// A manifest of our own dialect.
pub(crate) fn manifest(value: &Value) -> LoadedManifest {
    let checked = load_text("deployment.json".as_ref(), serde_json::to_string_pretty(value).unwrap());
    match checked.value {
        Some(loaded) => loaded,
        None => panic!("{:?}", checked.diagnostics),
    }
}

/// All that a stack is billed for.
pub(crate) fn bill(provider: &str, stack: &Stack) -> Vec<BillItem> {
    let kinds = kinds(provider);
    stack
        .resources
        .values()
        .flat_map(|resource| kinds[&resource.kind].bill(&resource.spec).unwrap())
        .collect()
}

/// A stack that can be planned: kinds take their specs, references lead somewhere, nothing
/// waits for itself.
pub(crate) fn check_stack(provider: &str, stack: &Stack) {
    let kinds = kinds(provider);
    for (key, resource) in &stack.resources {
        let kind = kinds.get(&resource.kind).unwrap_or_else(|| panic!("{key}: no kind {}", resource.kind));
        kind.check(&resource.spec).unwrap_or_else(|error| panic!("{key}: {error}"));
        let mut references = Vec::new();
        collect(&resource.spec, &mut references);
        for (target, output) in references {
            let target = stack
                .resources
                .iter()
                .find(|(other, _)| other.as_str() == target)
                .unwrap_or_else(|| panic!("{key} refers to {target}, which is not there"));
            let outputs = kinds[&target.1.kind].output_names();
            assert!(outputs.contains(&output.as_str()), "{key}: {} has no output {output}", target.1.kind);
        }
        for first in &resource.after {
            assert!(stack.resources.contains_key(first), "{key} waits for {first}, which is not there");
        }
    }
    let mut done: BTreeSet<&str> = BTreeSet::new();
    while done.len() < stack.resources.len() {
        let ready: Vec<&str> = stack
            .resources
            .iter()
            .filter(|(key, _)| !done.contains(key.as_str()))
            .filter(|(_, resource)| {
                let mut references = Vec::new();
                collect(&resource.spec, &mut references);
                references.iter().all(|(target, _)| done.contains(target.as_str()))
                    && resource.after.iter().all(|first| done.contains(first.as_str()))
            })
            .map(|(key, _)| key.as_str())
            .collect();
        assert!(!ready.is_empty(), "resources wait for each other");
        done.extend(ready);
    }
}

fn collect(value: &Value, into: &mut Vec<(String, String)>) {
    match value {
        Value::Object(map) => match (map.get("$ref"), map.get("output")) {
            (Some(Value::String(key)), Some(Value::String(output))) => {
                into.push((key.clone(), output.clone()))
            }
            _ => map.values().for_each(|value| collect(value, into)),
        },
        Value::Array(items) => items.iter().for_each(|value| collect(value, into)),
        _ => {}
    }
}

/// A diagnostic that a person can act on: its code has a page, and an error says what to do.
pub(crate) fn check_diagnostic(diagnostic: &Diagnostic) {
    use vrooli_deploy_core::diagnostics::Severity;
    assert!(diagnostic.code.rule().is_some(), "{diagnostic}");
    assert!(!diagnostic.message.ends_with('.'), "{diagnostic}");
    if diagnostic.severity == Severity::Error {
        assert!(diagnostic.help.as_deref().is_some_and(|help| help.len() > 5), "{diagnostic}");
    }
}
