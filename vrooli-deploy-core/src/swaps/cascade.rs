use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::known::{ForceKind, KnownSwap, Verdict, effective, known, list};
use crate::manifest::{DeploymentManifest, SwapConfig, Tier};
use crate::names::DependencyName;
use crate::requirements::catalogue;

/// Something that must change because of a swap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Consequence {
    /// Of what kind.
    pub kind: ForceKind,
    /// What must change: a dependency, a service, a file, a variable, or the app itself.
    pub what: String,
    /// Why.
    pub why: String,
    /// Swaps that would follow from it, each on its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub then: Vec<SwapConfig>,
    /// Of what follows itself: how many steps from the swap. The swap's own are 1.
    pub depth: u32,
}

/// What else a swap forces upon an app, and what that forces in turn: other resources that
/// need what is taken away, SQL and code that must be written anew, secrets that must be there.
#[must_use]
pub fn cascade(manifest: &DeploymentManifest, swap: &SwapConfig, tier: Tier) -> Vec<Consequence> {
    let mut found = Vec::new();
    follow(manifest, swap, tier, 1, &mut Vec::new(), &mut found);
    found
}

/// As deep as resources can need each other; the catalogue has no longer chain.
const MAX_DEPTH: u32 = 4;

fn follow(
    manifest: &DeploymentManifest,
    swap: &SwapConfig,
    tier: Tier,
    depth: u32,
    path: &mut Vec<String>,
    found: &mut Vec<Consequence>,
) {
    let (from, to) = (catalogue().canonical(swap.from.as_str()), catalogue().canonical(swap.to.as_str()));
    path.push(from.to_owned());
    let needed: Vec<_> = manifest
        .dependencies
        .resources
        .iter()
        .filter(|(_, dependency)| dependency.enabled)
        .map(|(name, dependency)| (name, dependency, effective(name, dependency, &manifest.swaps).kind))
        .collect();
    let swapped: Vec<_> =
        needed.iter().filter(|(name, _, kind)| **name == swap.from || kind == from).collect();
    for (name, _, kind) in &needed {
        let Some(resource) = catalogue().find(kind) else { continue };
        if !resource.needs.iter().any(|needs| needs == from) || resource.needs.iter().any(|needs| needs == to)
        {
            continue;
        }
        let then: Vec<SwapConfig> = list()
            .iter()
            .filter(|known| known.from == *kind && known.verdict(tier) == Verdict::Meant)
            .filter_map(|known| {
                Some(SwapConfig { from: (*name).clone(), to: DependencyName::new(known.to.as_str()).ok()? })
            })
            .collect();
        found.push(Consequence {
            kind: ForceKind::Dependent,
            what: name.to_string(),
            why: if then.is_empty() {
                format!("`{name}` needs `{from}`; no alternative to it is known: keep one for it, or drop `{name}`")
            } else {
                format!("`{name}` needs `{from}`")
            },
            then: then.clone(),
            depth,
        });
        if depth < MAX_DEPTH && !path.contains(kind) {
            for next in &then {
                follow(manifest, next, tier, depth + 1, path, found);
            }
        }
    }
    let mut push = |kind, what: String, why: &str| {
        let consequence = Consequence { kind, what, why: why.to_owned(), then: Vec::new(), depth };
        if !found.contains(&consequence) {
            found.push(consequence);
        }
    };
    for force in known(swap).map(|known: &KnownSwap| known.forces.as_slice()).unwrap_or_default() {
        if let Some(primitive) = force.if_primitive
            && !needed.iter().any(|(_, dependency, kind)| {
                !dependency.heuristic
                    && catalogue().find(kind).is_some_and(|known| known.primitive == primitive)
            })
        {
            continue;
        }
        match force.kind {
            ForceKind::Sql => {
                for (_, dependency, _) in &swapped {
                    for file in &dependency.initialization {
                        push(force.kind, file.file.clone(), &force.why);
                    }
                    for extension in &dependency.extensions {
                        push(force.kind, format!("extension {extension}"), &force.why);
                    }
                }
            }
            ForceKind::Buckets => {
                let buckets = swapped.iter().flat_map(|(_, dependency, _)| &dependency.buckets);
                let named: Vec<_> = buckets.cloned().collect();
                if named.is_empty() {
                    push(force.kind, "buckets".to_owned(), &force.why);
                }
                for bucket in named {
                    push(force.kind, bucket, &force.why);
                }
            }
            ForceKind::SingleInstance => {
                let several = manifest.services.iter().filter(|(_, service)| service.scaling.max > 1);
                let names: Vec<String> = several.map(|(name, _)| name.to_string()).collect();
                if names.is_empty() {
                    push(force.kind, "services".to_owned(), &force.why);
                }
                for name in names {
                    push(force.kind, name, &force.why);
                }
            }
            // Named below, each by its variable.
            ForceKind::Secret => {}
            kind => push(kind, manifest.app.name.to_string(), &force.why),
        }
    }
    for secret in catalogue().find(to).map(|known| known.secrets.as_slice()).unwrap_or_default() {
        let has = catalogue().find(from).is_some_and(|known| known.secrets.contains(secret));
        let given = manifest.secrets.contains_key(&secret.variable);
        let made = secret.strategy(tier).is_some_and(|word| matches!(word, "generate" | "strip"));
        if !has && !given && !made {
            push(ForceKind::Secret, secret.variable.to_string(), &format!("`{to}` is used with it"));
        }
    }
    path.pop();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(resources: serde_json::Value) -> DeploymentManifest {
        serde_json::from_value(serde_json::json!({
            "schema_version": "v0.1", "target": "desktop", "provider": "local", "app": { "name": "a" },
            "services": { "api": { "run": "./a", "scaling": { "min": 1, "max": 3 } } },
            "dependencies": { "resources": resources },
        }))
        .unwrap()
    }

    #[test]
    fn what_a_database_in_a_file_forces() {
        let manifest = manifest(serde_json::json!({
            "postgres": { "initialization": [{ "file": "s.sql", "type": "schema" }], "extensions": ["vector"] },
            "judge0": {},
        }));
        let found = cascade(&manifest, &"postgres=sqlite".parse().unwrap(), Tier::Desktop);
        let kinds: Vec<_> = found.iter().map(|c| (c.kind, c.what.as_str())).collect();
        assert_eq!(
            kinds,
            [
                (ForceKind::Dependent, "judge0"),
                (ForceKind::Sql, "s.sql"),
                (ForceKind::Sql, "extension vector"),
                (ForceKind::SingleInstance, "api"),
                (ForceKind::Volume, "a"),
                (ForceKind::Code, "a"),
            ]
        );
        assert!(found[0].why.contains("no alternative"));
    }

    #[test]
    fn a_service_over_the_network_wants_its_key_and_new_vectors() {
        let with =
            |resources| cascade(&manifest(resources), &"ollama=openrouter".parse().unwrap(), Tier::Saas);
        let kinds = |found: Vec<Consequence>| found.into_iter().map(|c| c.kind).collect::<Vec<_>>();
        let found = kinds(with(serde_json::json!({ "ollama": {}, "qdrant": {} })));
        assert!(found.contains(&ForceKind::Secret) && found.contains(&ForceKind::RebuildVectors));
        let found = kinds(with(serde_json::json!({ "ollama": {} })));
        assert!(!found.contains(&ForceKind::RebuildVectors));
    }
}
