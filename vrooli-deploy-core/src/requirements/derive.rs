//! From what an app declares to what it needs.

use std::collections::BTreeSet;

use super::{DropReason, DroppedDependency, Requirements, ResourceRequirement, catalogue};
use crate::diagnostics::{Checked, Diagnostic, Severity, rules};
use crate::manifest::{Command, DeploymentManifest, ResourceDependency, Tier};
use crate::names::DependencyName;

/// The knobs of [`derive()`].
#[derive(Debug, Clone, Default)]
pub struct DeriveOptions {
    /// Provide optional resources too.
    pub include_optional: bool,
    /// Dependencies to leave out, beside those that the manifest drops.
    pub drop: Vec<DependencyName>,
    /// The tier; `None` means the manifest's.
    pub tier: Option<Tier>,
}

/// Decides for each declared resource whether it is needed. The first that holds:
///
/// 1. disabled → dropped ([`DropReason::Disabled`]);
/// 2. the user dropped it → [`DropReason::Asked`];
/// 3. optional, and optional ones were not asked for → [`DropReason::Optional`];
/// 4. guessed by a tool and confirmed by nothing → [`DropReason::Heuristic`];
/// 5. no longer exists → [`DropReason::Dead`], a warning on the local tier, else an error;
/// 6. else it is needed, known or not: the provider decides whether it can provide it.
///
/// The value is there even with errors, so that a report can show it.
pub fn derive(manifest: &DeploymentManifest, options: &DeriveOptions) -> Checked<Requirements> {
    let tier = options.tier.unwrap_or(manifest.target);
    let asked: BTreeSet<&DependencyName> = manifest.drop.iter().chain(&options.drop).collect();
    let mut requirements = Requirements {
        app: manifest.app.name.clone(),
        services: manifest.services.clone(),
        resources: Vec::new(),
        dropped: Vec::new(),
        data_volume: keeps_data(manifest),
    };
    let mut diagnostics = Vec::new();
    for (name, dependency) in &manifest.dependencies.resources {
        let (verdict, diagnostic) = judge(name, dependency, &asked, tier, options.include_optional);
        diagnostics.extend(diagnostic);
        match verdict {
            Some(reason) => requirements.dropped.push(DroppedDependency {
                name: name.clone(),
                reason,
                required: dependency.required,
            }),
            None => requirements.resources.push(requirement(manifest, name, dependency)),
        }
    }
    for name in &options.drop {
        let known = manifest.dependencies.resources.contains_key(name)
            || manifest.dependencies.scenarios.contains_key(name);
        if !known {
            let near = crate::manifest::shape::nearest(
                name.as_str(),
                manifest.dependencies.resources.keys().map(DependencyName::as_str),
            );
            diagnostics.push(
                rules::DROP_WITHOUT_TARGET
                    .diagnostic(format!("`{name}` is to be dropped, but the app does not declare it"))
                    .help(near.map_or_else(
                        || "check the name".to_owned(),
                        |near| format!("did you mean `{near}`?"),
                    )),
            );
        }
    }
    Checked { value: Some(requirements), diagnostics }
}

fn judge(
    name: &DependencyName,
    dependency: &ResourceDependency,
    asked: &BTreeSet<&DependencyName>,
    tier: Tier,
    include_optional: bool,
) -> (Option<DropReason>, Option<Diagnostic>) {
    let kind = dependency.kind.as_deref().unwrap_or(name.as_str());
    let known = catalogue().find(kind);
    if !dependency.enabled {
        return (Some(DropReason::Disabled), None);
    }
    if asked.contains(name) {
        return (Some(DropReason::Asked), None);
    }
    if !dependency.required && !include_optional {
        let diagnostic = rules::OPTIONAL_RESOURCE
            .diagnostic(format!("`{name}` is optional and left out"))
            .help("optional resources are provided if you ask for them with `--include-optional`");
        return (Some(DropReason::Optional), Some(diagnostic));
    }
    if dependency.heuristic {
        let diagnostic = rules::HEURISTIC_RESOURCE
            .diagnostic(format!("`{name}` is left out: a tool guessed it, and nothing confirms it"))
            .help(format!("if the app does use it, declare `{name}` with a purpose of your own"));
        return (Some(DropReason::Heuristic), Some(diagnostic));
    }
    if let Some(why) = known.and_then(|known| known.dead.as_deref()) {
        let mut diagnostic = rules::DEAD_RESOURCE.diagnostic(format!("`{name}` cannot be provided: {why}"));
        if tier == Tier::Local || !dependency.required {
            diagnostic.severity = Severity::Warning;
            diagnostic = diagnostic.help("the app runs without it; what it does through it will fail");
        } else {
            diagnostic =
                diagnostic.help(format!("accept that with `--drop {name}`, or remove the dependency"));
        }
        return (Some(DropReason::Dead), Some(diagnostic));
    }
    let diagnostic = known.is_none().then(|| {
        rules::UNKNOWN_RESOURCE
            .diagnostic(format!("`{name}` is no resource that is known"))
            .help(match catalogue().nearest(kind) {
                Some(near) => format!("did you mean `{near}`? If not, the provider must know it, or drop it with `--drop {name}`"),
                None => format!("the provider must know it, or drop it with `--drop {name}`"),
            })
    });
    (None, diagnostic)
}

fn requirement(
    manifest: &DeploymentManifest,
    name: &DependencyName,
    dependency: &ResourceDependency,
) -> ResourceRequirement {
    let kind = dependency.kind.as_deref().unwrap_or(name.as_str());
    let known = catalogue().find(kind);
    let primitive = known.map_or(super::Primitive::Service, |known| known.primitive);
    let has_database = known.is_some_and(|known| known.env.values().any(|output| output == "database"));
    ResourceRequirement {
        name: name.clone(),
        resource: known.map_or_else(|| kind.to_owned(), |known| known.name.clone()),
        primitive,
        version: dependency.version.clone(),
        database: dependency
            .database
            .clone()
            .or_else(|| has_database.then(|| catalogue().database_name(&manifest.app.name))),
        extensions: dependency.extensions.clone(),
        buckets: dependency.buckets.clone(),
        initialization: dependency.initialization.clone(),
        env: known.map(|known| known.env.clone()).unwrap_or_default(),
        required: dependency.required,
        models: dependency.models.clone(),
        size: known.and_then(|known| known.footprint),
        swapped_from: None,
    }
}

/// Does a command of the app name its `data` folder?
fn keeps_data(manifest: &DeploymentManifest) -> bool {
    let steps = manifest.build.steps.iter().map(|step| &step.run);
    let services = manifest.services.values();
    let service_steps = services.clone().flat_map(|service| service.build.iter().map(|step| &step.run));
    let runs = services.map(|service| &service.run);
    steps.chain(service_steps).chain(runs).any(|command| match command {
        Command::Shell(line) => {
            line.split(|c: char| c.is_whitespace() || matches!(c, '=' | '"' | '\'' | ';')).any(names_data)
        }
        Command::Exec(arguments) => arguments.iter().any(|argument| argument.split('=').any(names_data)),
    })
}

fn names_data(word: &str) -> bool {
    let word = word.trim_start_matches("./").trim_start_matches("../");
    word == "data" || word.starts_with("data/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostics::Code;

    fn manifest(resources: serde_json::Value) -> DeploymentManifest {
        serde_json::from_value(serde_json::json!({
            "schema_version": "v0.1",
            "target": "local",
            "provider": "local",
            "app": { "name": "a-b" },
            "dependencies": { "resources": resources },
        }))
        .unwrap()
    }

    struct Derived {
        needed: Vec<String>,
        dropped: Vec<(String, DropReason)>,
        found: Vec<(Code, Severity)>,
    }

    fn derived(manifest: &DeploymentManifest, options: &DeriveOptions) -> Derived {
        let checked = derive(manifest, options);
        let value = checked.value.unwrap();
        let needed = value.resources.iter().map(|resource| resource.name.to_string());
        let dropped = value.dropped.iter().map(|dropped| (dropped.name.to_string(), dropped.reason));
        let found = checked.diagnostics.iter().map(|diagnostic| (diagnostic.code, diagnostic.severity));
        Derived { needed: needed.collect(), dropped: dropped.collect(), found: found.collect() }
    }

    #[test]
    fn each_reason_is_given() {
        let manifest = manifest(serde_json::json!({
            "postgres": {},
            "off": { "enabled": false },
            "redis": { "required": false },
            "qdrant": { "heuristic": true },
            "n8n": {},
            "strange": {},
        }));
        let Derived { needed, dropped, found } = derived(&manifest, &DeriveOptions::default());
        assert_eq!(needed, ["postgres", "strange"]);
        let expected = [
            ("n8n", DropReason::Dead),
            ("off", DropReason::Disabled),
            ("qdrant", DropReason::Heuristic),
            ("redis", DropReason::Optional),
        ];
        assert_eq!(dropped, expected.map(|(name, reason)| (name.to_owned(), reason)));
        assert!(found.contains(&(rules::DEAD_RESOURCE, Severity::Warning)));
        assert!(found.contains(&(rules::UNKNOWN_RESOURCE, Severity::Warning)));
    }

    #[test]
    fn a_dead_resource_is_an_error_away_from_home_unless_it_is_dropped() {
        let manifest = manifest(serde_json::json!({ "n8n": {} }));
        let mut options = DeriveOptions { tier: Some(Tier::Saas), ..DeriveOptions::default() };
        assert!(derive(&manifest, &options).has_errors());
        options.drop = vec![DependencyName::new("n8n").unwrap()];
        let Derived { dropped, found, .. } = derived(&manifest, &options);
        assert_eq!(dropped, [("n8n".to_owned(), DropReason::Asked)]);
        assert!(found.is_empty());
    }

    #[test]
    fn the_contract_of_a_database_is_complete() {
        let checked = derive(
            &manifest(serde_json::json!({ "db": { "type": "postgresql" } })),
            &DeriveOptions::default(),
        );
        let database = checked.value.unwrap().resources.remove(0);
        assert_eq!(database.resource, "postgres");
        assert_eq!(database.database.as_deref(), Some("vrooli_a_b"));
        let env: Vec<_> =
            database.env.iter().map(|(variable, output)| (variable.as_str(), output.as_str())).collect();
        assert!(env.contains(&("POSTGRES_URL", "url")) && env.contains(&("POSTGRES_SSLMODE", "sslmode")));
    }

    #[test]
    fn optional_resources_come_when_asked_and_unknown_drops_are_named() {
        let manifest = manifest(serde_json::json!({ "redis": { "required": false } }));
        let options = DeriveOptions {
            include_optional: true,
            drop: vec![DependencyName::new("reddis").unwrap()],
            tier: None,
        };
        let Derived { needed, found, .. } = derived(&manifest, &options);
        assert_eq!(needed, ["redis"]);
        assert_eq!(found, [(rules::DROP_WITHOUT_TARGET, Severity::Warning)]);
    }

    #[test]
    fn a_data_folder_is_noticed() {
        let mut manifest = manifest(serde_json::json!({}));
        assert!(!derive(&manifest, &DeriveOptions::default()).value.unwrap().data_volume);
        manifest.build.steps.push(crate::manifest::BuildStep {
            name: "dirs".into(),
            run: Command::Shell("mkdir -p data/keys logs".into()),
            if_exists: Vec::new(),
            unless_exists: Vec::new(),
        });
        assert!(derive(&manifest, &DeriveOptions::default()).value.unwrap().data_volume);
    }
}
