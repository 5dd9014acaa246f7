//! From what an app declares to what it needs.

use std::collections::BTreeSet;

use super::{
    DropReason, DroppedDependency, KnownResource, Requirements, ResourceForm, ResourceRequirement, catalogue,
    metadata, models,
};
use crate::diagnostics::{Checked, Diagnostic, Severity, rules};
use crate::manifest::places::Places;
use crate::manifest::yaml::SpanIndex;
use crate::manifest::{Command, DeploymentManifest, ResourceDependency, SwapConfig, Tier};
use crate::names::DependencyName;
use crate::swaps::{self, Effective, effective};

/// The knobs of [`derive()`].
#[derive(Debug, Clone, Default)]
pub struct DeriveOptions {
    /// Provide optional resources too.
    pub include_optional: bool,
    /// Dependencies to leave out, beside those that the manifest drops.
    pub drop: Vec<DependencyName>,
    /// Resources to put in the place of others, after those that the manifest swaps.
    pub swaps: Vec<SwapConfig>,
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
/// 6. a part of the app itself → [`Requirements::embedded`]: nothing is made for it;
/// 7. else it is needed, known or not: the provider decides whether it can provide it.
///
/// Swaps are made first: what takes another's place is judged in its stead. The value is
/// there even with errors, so that a report can show it.
///
/// What it says has no places: those of a file that was loaded come with [`derive_at`].
pub fn derive(manifest: &DeploymentManifest, options: &DeriveOptions) -> Checked<Requirements> {
    derive_at(manifest, options, &SpanIndex::default())
}

/// The same for a manifest that was loaded: what it says names the line in the file
/// ([`LoadedManifest::spans`](crate::manifest::LoadedManifest::spans)).
pub fn derive_at(
    manifest: &DeploymentManifest,
    options: &DeriveOptions,
    spans: &SpanIndex,
) -> Checked<Requirements> {
    let places = Places::new(Some(spans));
    let tier = options.tier.unwrap_or(manifest.target);
    let swaps: Vec<SwapConfig> = manifest.swaps.iter().chain(&options.swaps).cloned().collect();
    let asked: BTreeSet<&DependencyName> = manifest.drop.iter().chain(&options.drop).collect();
    let mut requirements = Requirements {
        app: manifest.app.name.clone(),
        services: manifest.services.clone(),
        resources: Vec::new(),
        embedded: Vec::new(),
        dropped: Vec::new(),
        data_volume: keeps_data(manifest),
    };
    let mut diagnostics = swaps::check(manifest, &swaps, tier, spans);
    for (name, dependency) in &manifest.dependencies.resources {
        let effective = effective(name, dependency, &swaps);
        let known = catalogue().find(&effective.kind);
        let place = places.resource(name).span;
        let judged = Judged { name, dependency, known, effective: &effective };
        let (verdict, diagnostic) = judged.verdict(&asked, tier, options.include_optional);
        diagnostics.extend(diagnostic.map(|found| found.at(place.clone(), "declared here")));
        match verdict {
            Some(reason) => requirements.dropped.push(DroppedDependency {
                name: name.clone(),
                reason,
                required: dependency.required,
            }),
            None => {
                let mut found = Vec::new();
                let requirement = judged.requirement(manifest, &mut found);
                diagnostics.extend(found.into_iter().map(|found| found.at(place.clone(), "declared here")));
                let embedded = known.is_some_and(|known| known.form == ResourceForm::Library);
                let list = if embedded { &mut requirements.embedded } else { &mut requirements.resources };
                list.push(requirement);
            }
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

/// A declared resource, and what is known of what it is.
struct Judged<'a> {
    name: &'a DependencyName,
    dependency: &'a ResourceDependency,
    known: Option<&'static KnownResource>,
    effective: &'a Effective,
}

impl Judged<'_> {
    fn verdict(
        &self,
        asked: &BTreeSet<&DependencyName>,
        tier: Tier,
        include_optional: bool,
    ) -> (Option<DropReason>, Option<Diagnostic>) {
        let (name, dependency, known) = (self.name, self.dependency, self.known);
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
            let mut diagnostic =
                rules::DEAD_RESOURCE.diagnostic(format!("`{name}` cannot be provided: {why}"));
            if tier == Tier::Local || !dependency.required {
                diagnostic.severity = Severity::Warning;
                diagnostic = diagnostic.help("the app runs without it; what it does through it will fail");
            } else {
                diagnostic =
                    diagnostic.help(format!("accept that with `--drop {name}`, or remove the dependency"));
            }
            return (Some(DropReason::Dead), Some(diagnostic));
        }
        let kind = &self.effective.kind;
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
        &self,
        manifest: &DeploymentManifest,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> ResourceRequirement {
        let (name, dependency, known) = (self.name, self.dependency, self.known);
        let swapped_from = self.effective.declared.clone();
        let primitive = known.map_or(super::Primitive::Service, |known| known.primitive);
        let has_database = known.is_some_and(KnownResource::has_databases);
        // What prepares one database may prepare another that speaks the same language.
        let same_language = swapped_from
            .as_deref()
            .and_then(|declared| catalogue().find(declared))
            .is_none_or(|declared| has_database && known.is_some_and(|known| known.env == declared.env));
        if !same_language && !dependency.initialization.is_empty() {
            diagnostics.push(
                rules::SWAP_LOSES_FILES
                    .diagnostic(format!(
                        "`{name}` becomes `{}`: {} that prepare it are not applied",
                        self.effective.kind,
                        match dependency.initialization.len() {
                            1 => "1 file".to_owned(),
                            count => format!("{count} files"),
                        }
                    ))
                    .help("write them for the new resource, and let the app apply them"),
            );
        }
        let keep = |list: &Vec<String>| if same_language { list.clone() } else { Vec::new() };
        let is_model = known.is_some_and(|known| known.primitive == super::Primitive::Model);
        let mut requirement = ResourceRequirement {
            name: name.clone(),
            resource: self.effective.kind.clone(),
            primitive,
            version: dependency.version.clone().filter(|_| swapped_from.is_none()),
            database: dependency
                .database
                .clone()
                .or_else(|| has_database.then(|| catalogue().database_name(&manifest.app.name)))
                .filter(|_| has_database || swapped_from.is_none()),
            extensions: keep(&dependency.extensions),
            buckets: dependency.buckets.clone(),
            initialization: if same_language { dependency.initialization.clone() } else { Vec::new() },
            env: known.map(|known| known.env.clone()).unwrap_or_default(),
            required: dependency.required,
            models: if is_model || swapped_from.is_none() { dependency.models.clone() } else { Vec::new() },
            size: None,
            swapped_from,
        };
        requirement.size = metadata::footprint(manifest, &requirement)
            .or_else(|| known.and_then(|known| known.footprint.as_ref()).map(|known| known.size));
        models::enlarge(&mut requirement);
        requirement
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
            ..DeriveOptions::default()
        };
        let Derived { needed, found, .. } = derived(&manifest, &options);
        assert_eq!(needed, ["redis"]);
        assert_eq!(found, [(rules::DROP_WITHOUT_TARGET, Severity::Warning)]);
    }

    #[test]
    fn a_swap_changes_what_is_needed_and_its_inverse_nothing() {
        let manifest = manifest(serde_json::json!({
            "postgres": { "initialization": [{ "file": "a.sql", "type": "schema" }], "extensions": ["pgcrypto"] },
            "ollama": { "models": ["llama3:8b"] },
        }));
        let swapped = |swaps: &[&str], tier| {
            let swaps = swaps.iter().map(|swap| swap.parse().unwrap()).collect();
            derive(&manifest, &DeriveOptions { swaps, tier: Some(tier), ..DeriveOptions::default() })
        };
        let desktop = swapped(&["postgres=sqlite", "ollama=openrouter"], Tier::Desktop);
        assert!(!desktop.has_errors(), "{:?}", desktop.diagnostics);
        assert!(desktop.diagnostics.iter().any(|d| d.code == rules::SWAP_LOSES_FILES));
        let value = desktop.value.unwrap();
        assert_eq!(value.embedded[0].resource, "sqlite");
        assert!(value.embedded[0].initialization.is_empty() && value.embedded[0].database.is_none());
        assert_eq!(value.resources[0].resource, "openrouter");
        assert_eq!(value.resources[0].swapped_from.as_deref(), Some("ollama"));
        assert!(value.resources[0].env.keys().any(|v| v.as_str() == "OPENROUTER_API_KEY"));

        let saas = swapped(&["postgres=sqlite"], Tier::Saas);
        assert!(
            saas.diagnostics.iter().any(|d| d.code == rules::SWAP_REFUSED && d.severity == Severity::Error)
        );
        let managed = swapped(&["postgres=supabase"], Tier::Saas).value.unwrap();
        assert_eq!(managed.resources[1].initialization.len(), 1, "it speaks the same SQL");
        assert_eq!(
            swapped(&["ollama=openrouter", "openrouter=ollama"], Tier::Saas).value,
            swapped(&[], Tier::Saas).value
        );
        let nothing = swapped(&["redis=in-process"], Tier::Desktop).diagnostics;
        assert_eq!(nothing.iter().map(|d| d.code).collect::<Vec<_>>(), [rules::SWAP_WITHOUT_TARGET]);
    }

    #[test]
    fn sizes_come_from_metadata_else_from_the_catalogue() {
        let mut manifest =
            manifest(serde_json::json!({ "playwright": {}, "ollama": { "models": ["llava:13b"] } }));
        let sizes = |manifest: &DeploymentManifest| {
            let value = derive(manifest, &DeriveOptions::default()).value.unwrap();
            let ram = |r: &ResourceRequirement| r.size.unwrap().minimum.ram_mb;
            (ram(&value.resources[0]), ram(&value.embedded[0]))
        };
        assert_eq!(sizes(&manifest), (Some(16384), Some(768)));
        manifest.metadata = serde_json::from_value(serde_json::json!({
            "dependencies": { "playwright-driver": { "footprint": { "ram_mb": 900 } } }
        }))
        .unwrap();
        assert_eq!(sizes(&manifest), (Some(16384), Some(900)));
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
