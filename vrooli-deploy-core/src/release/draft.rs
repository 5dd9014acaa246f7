//! From manifest, requirements and stack to the bundle that a release will be. Pure but
//! for reading the files that will be applied, whose digests are part of the bundle.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Bundle, EnvValue, Front, migration};
use crate::diagnostics::Checked;
use crate::manifest::DeploymentManifest;
use crate::names::{Digest, EnvironmentName, OutputName, ServiceName, VariableName};
use crate::plan::Draft;
use crate::requirements::{Requirements, ResourceRequirement};
use crate::secrets::SecretRef;
use crate::stack::{Reference, Stack};

/// What a draft is made from.
#[derive(Debug)]
pub struct DraftInput<'a> {
    /// The manifest.
    pub manifest: &'a DeploymentManifest,
    /// The manifest's folder.
    pub root: &'a Path,
    /// The environment of the stack.
    pub environment: &'a EnvironmentName,
    /// What the app needs.
    pub requirements: &'a Requirements,
    /// What it stands on.
    pub stack: &'a Stack,
    /// References to the values of the manifest's secrets.
    pub secrets: &'a BTreeMap<VariableName, SecretRef>,
}

/// Makes the draft: environment of each service, files to apply, everything that serves.
pub fn draft(input: &DraftInput<'_>) -> Checked<Draft> {
    let mut diagnostics = Vec::new();
    let manifest = input.manifest;
    let env =
        manifest.services.keys().map(|service| (service.clone(), environment(input, service))).collect();
    let made = |requirement: &&ResourceRequirement| {
        requirement.key().is_some_and(|key| input.stack.resources.contains_key(&key))
    };
    let needed = input.requirements.resources.iter().filter(made);
    let migrations = migration::migrations(input.root, needed, &mut diagnostics);
    let front = Front::of(manifest, input.secrets, &mut diagnostics);
    Checked {
        value: Some(Draft {
            app: manifest.app.name.clone(),
            environment: input.environment.clone(),
            version: manifest.app.version.clone(),
            services: manifest.services.clone(),
            env,
            smoke: manifest.smoke.clone(),
            strategy: manifest.strategy.clone(),
            domain: manifest.app.domain.clone(),
            front,
            capacity: BTreeMap::new(),
            resources: input.requirements.resources.clone(),
            migrations,
        }),
        diagnostics,
    }
}

/// Weakest first: ports of all services, contracts of resources, the manifest's variables,
/// those of the service, secrets.
fn environment(input: &DraftInput<'_>, service: &ServiceName) -> BTreeMap<VariableName, EnvValue> {
    let manifest = input.manifest;
    let mut env = BTreeMap::new();
    for (owner, config) in &manifest.services {
        for (port, port_config) in &config.ports {
            if let Some(variable) = &port_config.env_var {
                env.insert(variable.clone(), EnvValue::Port { service: owner.clone(), port: port.clone() });
            }
        }
    }
    for requirement in &input.requirements.resources {
        let Some(key) = requirement.key() else { continue };
        if !input.stack.resources.contains_key(&key) {
            continue;
        }
        for (variable, output) in &requirement.env {
            if let Ok(output) = OutputName::new(output.clone()) {
                env.insert(variable.clone(), EnvValue::Output(Reference { key: key.clone(), output }));
            }
        }
    }
    let own = manifest.services.get(service).map(|config| &config.env);
    for (variable, value) in manifest.env.iter().chain(own.into_iter().flatten()) {
        env.insert(variable.clone(), EnvValue::Value(value.clone()));
    }
    // What the edge is given is no service's business.
    let tls = &manifest.networking.tls;
    let of_services =
        |variable: &VariableName| ![&tls.certificate, &tls.key].contains(&&Some(variable.clone()));
    for (variable, reference) in input.secrets.iter().filter(|(variable, _)| of_services(variable)) {
        let only = manifest.secrets.get(variable).map(|s| s.services.as_slice()).unwrap_or_default();
        if only.is_empty() || only.contains(service) {
            env.insert(variable.clone(), EnvValue::Secret(reference.clone()));
        }
    }
    env
}

impl Draft {
    /// Is it to run on what the bundle runs on? Bundles of versions that did not know what they run on count as
    /// the same.
    #[must_use]
    pub fn stands_as(&self, bundle: &Bundle) -> bool {
        bundle.capacity.is_empty() || self.capacity == bundle.capacity
    }

    /// Is this what the bundle already is, source included? References are compared as resolved.
    #[must_use]
    pub fn equals(
        &self,
        bundle: &Bundle,
        source: &Digest,
        resolve: impl Fn(&Reference) -> Option<EnvValue>,
    ) -> bool {
        let env: BTreeMap<ServiceName, BTreeMap<VariableName, EnvValue>> = self
            .env
            .iter()
            .map(|(service, env)| {
                let env = env
                    .iter()
                    .map(|(variable, value)| {
                        let value = match value {
                            EnvValue::Output(reference) => {
                                resolve(reference).unwrap_or_else(|| value.clone())
                            }
                            other => other.clone(),
                        };
                        (variable.clone(), value)
                    })
                    .collect();
                (service.clone(), env)
            })
            .collect();
        bundle.artefact.source == *source
            && self.version == bundle.version
            && self.services == bundle.services
            && env == bundle.env
            && self.smoke == bundle.smoke
            && self.domain == bundle.domain
            && self.front == bundle.front
            && self.stands_as(bundle)
            && self.resources == bundle.resources
            && self.migrations.len() == bundle.migrations.len()
            && self.migrations.iter().zip(&bundle.migrations).all(|(a, b)| a.is_same(b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(capacity: serde_json::Value) -> Bundle {
        let digest = format!("sha256:{}", "0".repeat(64));
        serde_json::from_value(serde_json::json!({
            "app": "shop", "environment": "default", "version": "1",
            "artefact": { "digest": digest, "source": digest, "location": "shop", "root": "." },
            "services": {}, "env": {}, "smoke": [], "strategy": { "type": "blue-green" },
            "capacity": capacity,
            "resources": [], "migrations": [],
        }))
        .unwrap()
    }

    fn of(bundle: &Bundle) -> Draft {
        serde_json::from_value(serde_json::to_value(bundle).unwrap()).unwrap()
    }

    fn on(count: u32, size: &str) -> serde_json::Value {
        serde_json::json!({ "app": { "count": count, "size": size } })
    }

    #[test]
    fn what_it_runs_on_is_part_of_a_release() {
        let small = bundle(on(2, "t3.small"));
        let same = |draft: &Draft| draft.equals(&small, &small.artefact.source, |_| None);
        assert!(same(&of(&small)));
        for other in [on(3, "t3.small"), on(2, "t3.large"), serde_json::json!({})] {
            assert!(!same(&of(&bundle(other))));
        }
    }

    #[test]
    fn a_release_of_a_version_that_did_not_know_is_none_to_replace() {
        let (before, now) = (bundle(serde_json::json!({})), bundle(on(2, "t3.small")));
        assert!(of(&now).equals(&before, &before.artefact.source, |_| None));
        assert!(!serde_json::to_string(&before).unwrap().contains("capacity"));
    }
}
