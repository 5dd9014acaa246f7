//! Resources and scenarios that the file declares, in every shape that exists: maps, lists
//! of names, lists of objects, `required` and `optional` groups, scenarios among resources.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::initialization;
use super::patterns::PATTERNS;
use super::reader::Reader;
use crate::diagnostics::{Severity, rules};
use crate::manifest::semantics::stays_inside;
use crate::manifest::yaml::child;
use crate::manifest::{DependenciesConfig, ResourceDependency, ScenarioDependency};
use crate::names::DependencyName;
use crate::requirements::{KnownResource, catalogue};

const RESOURCES: &str = "/dependencies/resources";
const SCENARIOS: &str = "/dependencies/scenarios";

/// Where an entry stands and what its surroundings say about it.
struct Entry {
    name: String,
    at: String,
    /// From a `required` or `optional` group.
    required: Option<bool>,
}

/// What one entry says.
enum Declared {
    Resource(DependencyName, ResourceDependency),
    Scenario(DependencyName, ScenarioDependency),
}

/// Reads `dependencies`.
pub(super) fn read(reader: &Reader<'_>, root: Option<&Path>) -> DependenciesConfig {
    let mut dependencies = DependenciesConfig::default();
    let mut places: BTreeMap<DependencyName, String> = BTreeMap::new();
    for entry in entries(reader) {
        match declared(reader, root, &entry) {
            Some(Declared::Resource(name, resource)) => {
                let merged = match dependencies.resources.remove(&name) {
                    Some(first) => {
                        let first_at = places.get(&name).cloned().unwrap_or_default();
                        reader.push(
                            rules::CONTRADICTION
                                .diagnostic(format!("`{name}` is declared twice; what a person wrote wins over what a tool guessed"))
                                .at(reader.key_span(&entry.at), "again here")
                                .at(reader.key_span(&first_at), "first here")
                                .help("keep one entry"),
                        );
                        merge(first, resource)
                    }
                    None => resource,
                };
                places.insert(name.clone(), entry.at);
                dependencies.resources.insert(name, merged);
            }
            Some(Declared::Scenario(name, scenario)) => {
                reader.note(
                    rules::SCENARIO_AS_RESOURCE,
                    &entry.at,
                    format!(
                        "`{name}` is a scenario; it is read as if it stood under `dependencies.scenarios`"
                    ),
                    "move it there",
                );
                dependencies.scenarios.entry(name).or_insert(scenario);
            }
            None => {}
        }
    }
    for (name, scenario) in scenarios(reader) {
        dependencies.scenarios.insert(name, scenario);
    }
    dependencies
}

/// The entries of `dependencies.resources`, in the order of the file.
fn entries(reader: &Reader<'_>) -> Vec<Entry> {
    match reader.get(RESOURCES) {
        None => Vec::new(),
        Some(Value::Array(_)) => group(reader, RESOURCES, None),
        Some(Value::Object(map)) => {
            let mut entries = Vec::new();
            for (key, value) in map {
                let at = child(RESOURCES, key);
                let required = match key.as_str() {
                    "required" => Some(true),
                    "optional" => Some(false),
                    _ => None,
                };
                if required.is_some() && !value.is_boolean() {
                    entries.extend(group(reader, &at, required));
                } else if key == "details" && value.is_object() {
                    reader.note(
                        rules::METADATA_NOT_USED,
                        &at,
                        "the `details` of resources are not used",
                        "put them into the entries themselves",
                    );
                } else if !value.is_null() {
                    entries.push(Entry { name: key.clone(), at, required: None });
                }
            }
            entries
        }
        Some(_) => {
            reader.keys(RESOURCES);
            Vec::new()
        }
    }
}

/// The entries of a list or map of resources, such as `resources.required`.
fn group(reader: &Reader<'_>, at: &str, required: Option<bool>) -> Vec<Entry> {
    let entries: Vec<Entry> = match reader.get(at) {
        Some(Value::Array(items)) => items
            .iter()
            .enumerate()
            .filter_map(|(index, item)| {
                let at = child(at, &index.to_string());
                let name = match item {
                    Value::String(name) => Some(name.clone()),
                    Value::Object(_) => ["name", "id", "resource", "type"]
                        .iter()
                        .find_map(|key| reader.full_text(&format!("{at}/{key}"))),
                    _ => None,
                };
                if name.is_none() {
                    reader.note_as(
                        Severity::Warning,
                        rules::ODD_SHAPE,
                        &at,
                        "an entry without a name is ignored",
                        "give it a `name`",
                    );
                }
                name.map(|name| Entry { name, at, required })
            })
            .collect(),
        Some(Value::Object(map)) => map
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, _)| Entry { name: key.clone(), at: child(at, key), required })
            .collect(),
        Some(_) => {
            reader.keys(at);
            Vec::new()
        }
        None => Vec::new(),
    };
    if !entries.is_empty() {
        reader.note(
            rules::ODD_SHAPE,
            at,
            "resources stand in a group or list here; they are read as if each were an entry of `dependencies.resources`",
            "write `\"postgres\": {\"type\": \"postgres\", \"enabled\": true, \"required\": true}`",
        );
    }
    entries
}

fn name(reader: &Reader<'_>, entry: &Entry) -> Option<DependencyName> {
    match DependencyName::new(entry.name.trim()) {
        Ok(name) => Some(name),
        Err(error) => {
            reader.note_as(
                Severity::Warning,
                rules::ODD_SHAPE,
                &entry.at,
                format!("{error}; the entry is ignored"),
                "rename it",
            );
            None
        }
    }
}

fn declared(reader: &Reader<'_>, root: Option<&Path>, entry: &Entry) -> Option<Declared> {
    let name = name(reader, entry)?;
    let field = |key: &str| format!("{}/{key}", entry.at);
    let object = reader.get(&entry.at).is_some_and(Value::is_object);
    let text = |key: &str| object.then(|| reader.full_text(&field(key))).flatten();
    let flag = |key: &str| object.then(|| reader.flag(&field(key))).flatten();
    let declared_type = text("type");
    if is_scenario(root, &name, declared_type.as_deref()) {
        return Some(Declared::Scenario(
            name,
            ScenarioDependency {
                enabled: flag("enabled").unwrap_or(true),
                required: flag("required").or(entry.required).unwrap_or(true),
                version: text("version").or_else(|| text("required_version")),
                version_range: text("versionRange"),
                purpose: text("purpose").or_else(|| text("description")),
            },
        ));
    }
    // `"redis": true`
    let switched = reader.get(&entry.at).and_then(Value::as_bool);
    let enabled = flag("enabled").or(switched).unwrap_or(true);
    let required = flag("required").or(entry.required).or(switched).unwrap_or(false);
    if !enabled && flag("required") == Some(true) {
        reader.note(
            rules::CONTRADICTION,
            &entry.at,
            format!("`{name}` is required but not enabled; it is taken as not enabled"),
            "a disabled entry is no dependency: remove `required`, or enable it",
        );
    }
    let purpose = text("purpose").or_else(|| text("description"));
    let heuristic = ["description", "purpose"].iter().filter_map(|key| text(key)).any(|text| {
        let text = text.to_ascii_lowercase();
        PATTERNS.heuristic_marks.iter().any(|mark| text.contains(mark.as_str()))
    });
    let kind = kind(&name, declared_type.as_deref(), text("name").as_deref());
    let known = catalogue().find(kind.as_deref().unwrap_or(name.as_str()));
    let mut resource = ResourceDependency {
        enabled,
        required,
        heuristic,
        version: text("version").or_else(|| text("required_version")),
        purpose: purpose.filter(|_| !heuristic),
        database: None,
        extensions: Vec::new(),
        models: Vec::new(),
        buckets: Vec::new(),
        initialization: Vec::new(),
        kind,
    };
    if object {
        let is_database = known.is_some_and(KnownResource::has_databases);
        if is_database {
            resource.database = database(reader, &entry.at);
            resource.extensions = [field("extensions"), field("config/extensions")]
                .iter()
                .flat_map(|at| reader.texts(at))
                .collect();
        }
        resource.models = models(reader, &entry.at, &name, enabled);
        resource.buckets = buckets(reader, &entry.at);
        let alive = enabled && known.is_none_or(|known| known.dead.is_none());
        resource.initialization = initialization::read(reader, root, &entry.at, &name, alive);
    }
    Some(Declared::Resource(name, resource))
}

/// The catalogue's name of an entry, where it is not the entry's own name.
fn kind(name: &DependencyName, declared: Option<&str>, inner_name: Option<&str>) -> Option<String> {
    let generic = |word: &&str| !PATTERNS.generic_types.iter().any(|generic| generic == word);
    let candidates = [declared.filter(generic), Some(name.as_str()), inner_name];
    let known = candidates
        .into_iter()
        .flatten()
        .find_map(|word| catalogue().find(word))
        .map(|known| known.name.clone());
    let kind = known.or_else(|| declared.filter(generic).map(str::to_owned));
    kind.filter(|kind| kind != name.as_str())
}

/// Is this entry of `resources` a scenario? Its type says so, or nothing knows it as a
/// resource and it is called like a scenario or lies in the folder beside.
fn is_scenario(root: Option<&Path>, name: &DependencyName, declared: Option<&str>) -> bool {
    let is_type = |word: &str| PATTERNS.scenario_types.iter().any(|known| known == word);
    if declared.is_some_and(is_type) {
        return true;
    }
    if catalogue().find(name.as_str()).is_some()
        || declared.is_some_and(|kind| catalogue().find(kind).is_some())
    {
        return false;
    }
    if declared.is_some_and(|kind| {
        kind != name.as_str() && !PATTERNS.generic_types.iter().any(|generic| generic == kind)
    }) {
        return false;
    }
    let word = name.as_str();
    word.starts_with(PATTERNS.scenario_prefix.as_str())
        || PATTERNS.known_scenarios.iter().any(|known| known == word)
        || root
            .and_then(Path::parent)
            .is_some_and(|siblings| siblings.join(word).join(".vrooli").join("service.json").is_file())
}

fn database(reader: &Reader<'_>, at: &str) -> Option<String> {
    let at = [format!("{at}/database"), format!("{at}/config/database")]
        .into_iter()
        .find(|at| reader.get(at).is_some())?;
    let name = reader.full_text(&at)?;
    match check_database_name(&name) {
        Ok(()) => Some(name),
        Err(rule) => {
            reader.note_as(
                Severity::Error,
                rules::INVALID_VALUE,
                &at,
                format!("`{name}` cannot be the name of a database: {rule}"),
                "rename it",
            );
            None
        }
    }
}

/// Names that need no quoting tricks anywhere.
pub(super) fn check_database_name(name: &str) -> Result<(), &'static str> {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    let start = name.as_bytes().first().is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_');
    if name.len() <= 63 && plain && start {
        Ok(())
    } else {
        Err("letters, digits, `_` and `-`, at most 63, starting with a letter or `_`")
    }
}

fn models(reader: &Reader<'_>, at: &str, name: &DependencyName, enabled: bool) -> Vec<String> {
    let mut models = Vec::new();
    for at in [
        format!("{at}/models"),
        format!("{at}/model"),
        format!("{at}/config/model"),
        format!("{at}/config/models"),
    ] {
        for model in reader.texts(&at) {
            let placeholder = PATTERNS.placeholder_models.iter().any(|mark| model.contains(mark.as_str()))
                || crate::manifest::placeholder(&model).is_some();
            if placeholder {
                let severity = if enabled { Severity::Warning } else { Severity::Info };
                reader.note_as(
                    severity,
                    rules::PLACEHOLDER,
                    &at,
                    format!(
                        "`{name}` still holds the placeholder `{model}` instead of a model; it is ignored"
                    ),
                    "name the model, e.g. `llama3.2`",
                );
            } else if catalogue().find(&model).is_some_and(|known| known.name != name.as_str()) {
                reader.note(
                    rules::ODD_SHAPE,
                    &at,
                    format!("`{model}` is a resource of its own, not a model of `{name}`; it is ignored"),
                    format!("declare `{model}` under `dependencies.resources`"),
                );
            } else if !model.trim().is_empty() && !models.contains(&model) {
                models.push(model);
            }
        }
    }
    models
}

fn buckets(reader: &Reader<'_>, at: &str) -> Vec<String> {
    let buckets = format!("{at}/buckets");
    let mut found = match reader.get(&buckets) {
        Some(Value::Object(_)) => reader.texts(&format!("{buckets}/default_buckets")),
        Some(_) => reader.texts(&buckets),
        None => Vec::new(),
    };
    for at in [format!("{at}/bucket"), format!("{at}/config/bucket"), format!("{at}/config/buckets")] {
        found.extend(reader.texts(&at));
    }
    let mut seen = BTreeSet::new();
    found.retain(|bucket| !bucket.trim().is_empty() && seen.insert(bucket.clone()));
    found
}

/// Two entries of one resource: each field from the one that a person wrote, else from the other.
fn merge(first: ResourceDependency, second: ResourceDependency) -> ResourceDependency {
    let (better, other) =
        if first.heuristic && !second.heuristic { (second, first) } else { (first, second) };
    let list = |a: Vec<String>, b: Vec<String>| if a.is_empty() { b } else { a };
    ResourceDependency {
        kind: better.kind.or(other.kind),
        enabled: better.enabled,
        required: better.required,
        heuristic: better.heuristic && other.heuristic,
        version: better.version.or(other.version),
        purpose: better.purpose.or(other.purpose),
        database: better.database.or(other.database),
        extensions: list(better.extensions, other.extensions),
        models: list(better.models, other.models),
        buckets: list(better.buckets, other.buckets),
        initialization: if better.initialization.is_empty() {
            other.initialization
        } else {
            better.initialization
        },
    }
}

/// Reads `dependencies.scenarios`.
pub(super) fn scenarios(reader: &Reader<'_>) -> BTreeMap<DependencyName, ScenarioDependency> {
    let entries: Vec<Entry> = match reader.get(SCENARIOS) {
        Some(Value::Array(_)) => group(reader, SCENARIOS, None),
        _ => reader
            .keys(SCENARIOS)
            .into_iter()
            .map(|key| Entry { name: key.to_owned(), at: child(SCENARIOS, key), required: None })
            .collect(),
    };
    entries
        .into_iter()
        .filter_map(|entry| {
            let name = name(reader, &entry)?;
            let scenario = match reader.get(&entry.at)? {
                Value::Object(_) => {
                    let text = |key: &str| reader.full_text(&format!("{}/{key}", entry.at));
                    let flag = |key: &str| reader.flag(&format!("{}/{key}", entry.at));
                    ScenarioDependency {
                        enabled: flag("enabled").unwrap_or(true),
                        required: flag("required").unwrap_or(true),
                        version: text("version"),
                        version_range: text("versionRange").or_else(|| text("version_range")),
                        purpose: text("purpose").or_else(|| text("description")),
                    }
                }
                // `"other": ">=1.0"` and `"other": true`
                Value::Bool(required) => {
                    ScenarioDependency { enabled: true, required: *required, ..ScenarioDependency::default() }
                }
                _ => ScenarioDependency {
                    enabled: true,
                    required: true,
                    version_range: reader.full_text(&entry.at).filter(|text| *text != entry.name),
                    ..ScenarioDependency::default()
                },
            };
            Some((name, scenario))
        })
        .collect()
}

/// Looks for proof that the app uses what a tool only guessed: one of its own sources reads
/// a variable of the resource's contract.
pub(super) fn confirm_heuristics(reader: &Reader<'_>, root: &Path, dependencies: &mut DependenciesConfig) {
    let guessed: Vec<(DependencyName, Vec<String>)> = dependencies
        .resources
        .iter()
        .filter(|(_, resource)| resource.heuristic && resource.enabled)
        .filter_map(|(name, resource)| {
            let known = catalogue().find(resource.kind.as_deref().unwrap_or(name.as_str()))?;
            Some((name.clone(), known.env.keys().map(ToString::to_string).collect()))
        })
        .collect();
    if guessed.is_empty() {
        return;
    }
    let mut proofs: BTreeMap<DependencyName, (String, String)> = BTreeMap::new();
    super::files::visit(root, &["api", "ui", "cli"], &PATTERNS.confirming_sources, &mut |path, text| {
        for (name, variables) in &guessed {
            if let Some(variable) = variables.iter().find(|variable| super::ports::mentions(text, variable)) {
                proofs.entry(name.clone()).or_insert_with(|| (path.to_owned(), variable.clone()));
            }
        }
        proofs.len() < guessed.len()
    });
    for (name, (path, variable)) in proofs {
        if let Some(resource) = dependencies.resources.get_mut(&name) {
            resource.heuristic = false;
            reader.note(
                rules::HEURISTIC_CONFIRMED,
                &child(RESOURCES, name.as_str()),
                format!("`{name}` was only guessed by a tool, but `{path}` reads `{variable}`; it is taken as needed"),
                "write a `purpose` instead of the tool's mark",
            );
        }
    }
}

/// Is the path of a declared file one that can be used?
pub(super) fn usable(reader: &Reader<'_>, at: &str, path: &str) -> bool {
    if stays_inside(path) {
        return true;
    }
    reader.note_as(
        Severity::Error,
        rules::PATH_OUTSIDE,
        at,
        format!("the path `{path}` leaves the scenario's folder"),
        "write a relative path with `/` that stays inside",
    );
    false
}
