//! From a path to a checked manifest, whatever dialect lies there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::overlay::{self, Layer, Layers};
use super::yaml::{Document, SourceFile, SpanIndex, child};
use super::{DeploymentManifest, SCHEMA_VERSION, crosswalk, schema, semantics, shape};
use crate::diagnostics::{Checked, Diagnostic, Fix, Severity, rules};
use crate::import;

/// Which language a file was written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dialect {
    /// Vrooli's `.vrooli/service.json`.
    ServiceJson,
    /// This product's own manifest.
    Manifest,
}

/// A manifest, and where it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedManifest {
    /// The manifest.
    pub manifest: DeploymentManifest,
    /// The app's folder, absolute: paths in the manifest start here.
    pub root: PathBuf,
    /// The file that was read, as the user would name it.
    pub file: PathBuf,
    /// What it was written in.
    pub dialect: Dialect,
    /// The folder that is copied for a build, absolute: [`root`](Self::root) or one above it.
    pub context: PathBuf,
    /// Where each part stands in the file, for diagnostics that are found later. Pointers are
    /// those of the file's own dialect.
    pub spans: SpanIndex,
}

/// Names under which a folder may hold a manifest of ours, first come first served.
const MANIFEST_NAMES: [&str; 6] = [
    "deployment.yaml",
    "deployment.yml",
    "deployment.json",
    "manifest.yaml",
    "manifest.yml",
    "manifest.json",
];

/// Names under which a folder may hold a compose file.
const COMPOSE_NAMES: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];

/// Reads the manifest at `path`: a file, or an app's folder. In a folder the first of these
/// is read, and what else is there is named:
///
/// 1. `deployment.yaml`, `.yml`, `.json`, then `manifest.yaml`, `.yml`, `.json`, if it is a
///    manifest of ours (it has `schema_version`): who wrote one meant it;
/// 2. `.vrooli/service.json`, the scenario's own description;
/// 3. any other file of these names, or a compose file, which is refused with its dialect's
///    name rather than misread.
pub fn load(path: &Path) -> Checked<LoadedManifest> {
    load_with(path, &Layers::default())
}

/// The same with values files and choices laid over it. What is wrong with the result is
/// said where it was said: in the manifest or in the file that was laid over it.
pub fn load_with(path: &Path, layers: &Layers) -> Checked<LoadedManifest> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => {
            return refused(
                rules::UNREADABLE
                    .diagnostic(format!("cannot read `{}`: {error}", path.display()))
                    .help("give a scenario's folder or a manifest file"),
            );
        }
    };
    if !metadata.is_dir() {
        return match SourceFile::read(path) {
            Ok(source) => read(source, folder_of(path), true, layers),
            Err(diagnostic) => refused(*diagnostic),
        };
    }
    load_folder(path, layers)
}

/// Reads a manifest whose text is known. Its path says how to read it (`.json`, else YAML)
/// and where it would lie; no file is looked at.
pub fn load_text(path: &Path, text: impl Into<String>) -> Checked<LoadedManifest> {
    read(SourceFile::new(path, text), folder_of(path), false, &Layers::default())
}

fn load_folder(folder: &Path, layers: &Layers) -> Checked<LoadedManifest> {
    let mut ours: Vec<SourceFile> = Vec::new();
    let mut foreign: Vec<PathBuf> = Vec::new();
    let mut diagnostics = Vec::new();
    for name in MANIFEST_NAMES {
        let path = folder.join(name);
        if !path.is_file() {
            continue;
        }
        match SourceFile::read(&path) {
            // A file with a syntax error may be ours: better its error than a silent pass.
            Ok(source) => match dialect_of(&source) {
                Ok(Some(Dialect::Manifest)) | Err(Unreadable) => ours.push(source),
                Ok(_) => foreign.push(path),
            },
            Err(diagnostic) => return refused(*diagnostic),
        }
    }
    let service_json = folder.join(".vrooli").join("service.json");
    let has_service_json = service_json.is_file();
    let mut ours = ours.into_iter();
    let mut checked = if let Some(first) = ours.next() {
        let chosen = first.path.clone();
        for other in ours.map(|source| source.path).chain(has_service_json.then(|| service_json.clone())) {
            let mut diagnostic = rules::SEVERAL_MANIFESTS
                .diagnostic(format!("`{}` is read, `{}` is not", chosen.display(), other.display()))
                .help("give the file itself to choose another");
            if other == service_json {
                // The usual state of a scenario for which somebody wrote a manifest.
                diagnostic.severity = Severity::Info;
            }
            diagnostics.push(diagnostic);
        }
        read(first, folder.to_owned(), true, layers)
    } else if has_service_json {
        for other in foreign {
            diagnostics.push(rules::SEVERAL_MANIFESTS.diagnostic(format!(
                "`{}` is read, `{}` is not: it is written in another language",
                service_json.display(),
                other.display()
            )));
        }
        match SourceFile::read(&service_json) {
            Ok(source) => read(source, folder.to_owned(), true, layers),
            Err(diagnostic) => refused(*diagnostic),
        }
    } else {
        let other = foreign
            .into_iter()
            .next()
            .or_else(|| COMPOSE_NAMES.iter().map(|name| folder.join(name)).find(|path| path.is_file()));
        match other.map(|path| SourceFile::read(&path)) {
            Some(Ok(source)) => read(source, folder.to_owned(), true, layers),
            Some(Err(diagnostic)) => refused(*diagnostic),
            None => refused(
                rules::NOTHING_TO_DEPLOY
                    .diagnostic(format!("`{}` holds nothing that describes an app", folder.display()))
                    .help("a scenario's folder has `.vrooli/service.json`; a manifest of our own is `deployment.yaml`"),
            ),
        }
    };
    diagnostics.append(&mut checked.diagnostics);
    checked.diagnostics = diagnostics;
    checked
}

fn refused<T>(diagnostic: Diagnostic) -> Checked<T> {
    Checked { value: None, diagnostics: vec![diagnostic] }
}

/// The app's folder for a file: the one it lies in, or the one above `.vrooli`.
pub(crate) fn folder_of(file: &Path) -> PathBuf {
    let folder = file.parent().unwrap_or(Path::new(""));
    let folder = match folder.file_name() {
        Some(name) if name == ".vrooli" => folder.parent().unwrap_or(Path::new("")),
        _ => folder,
    };
    if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() }
}

struct Unreadable;

fn dialect_of(source: &SourceFile) -> Result<Option<Dialect>, Unreadable> {
    let document = Document::parse(source.clone()).value.ok_or(Unreadable)?;
    Ok(recognise(&document.value, &source.path).ok())
}

/// Tells a dialect by its keys; `Err` names one that is not read here.
fn recognise(value: &Value, path: &Path) -> Result<Dialect, &'static str> {
    let has = |key: &str| value.get(key).is_some();
    let is_service_json = path.file_name().is_some_and(|name| name == "service.json");
    if has("schema_version") || (has("app") && (has("target") || has("provider"))) {
        Ok(Dialect::Manifest)
    } else if has("lifecycle") || (has("service") && has("dependencies")) || is_service_json {
        Ok(Dialect::ServiceJson)
    } else if has("apiVersion") && has("kind") {
        Err("a Kubernetes object")
    } else if has("deployment") || has("pattern") {
        Err("a `deployment.yaml` of the pattern language (`deployment:`, `platform:`, `database:`)")
    } else if value.get("services").is_some_and(Value::is_object)
        && (has("version") || has("networks") || has("volumes") || looks_like_compose(value, path))
    {
        Err("a Compose file")
    } else {
        Ok(Dialect::Manifest)
    }
}

fn looks_like_compose(value: &Value, path: &Path) -> bool {
    let named = path.file_name().is_some_and(|name| COMPOSE_NAMES.iter().any(|compose| name == *compose));
    let services = value.get("services").and_then(Value::as_object);
    named || services.is_some_and(|services| services.values().any(|service| service.get("image").is_some()))
}

fn read(source: SourceFile, root: PathBuf, on_disk: bool, layers: &Layers) -> Checked<LoadedManifest> {
    let file = source.path.clone();
    let parsed = Document::parse(source);
    let mut diagnostics = parsed.diagnostics;
    let Some(mut document) = parsed.value else {
        return Checked { value: None, diagnostics };
    };
    let dialect = match recognise(&document.value, &file) {
        Ok(dialect) => dialect,
        Err(name) => {
            diagnostics.push(
                rules::FOREIGN_DIALECT
                    .diagnostic(format!("`{}` is {name}, which is not read yet", file.display()))
                    .help("give a scenario's folder, its `.vrooli/service.json`, or a manifest with `schema_version: v0.1`"),
            );
            return Checked { value: None, diagnostics };
        }
    };
    // A path that does not exist (a manifest from a text) is taken as it is.
    let root = std::fs::canonicalize(&root).or_else(|_| std::path::absolute(&root)).unwrap_or(root);
    let folder = on_disk.then_some(root.as_path());
    let manifest = match dialect {
        Dialect::ServiceJson => {
            let mut checked = import::service_json::import(&document, folder);
            diagnostics.append(&mut checked.diagnostics);
            match checked.value {
                Some(manifest) if !layers.layers.is_empty() => {
                    laid_over(&file, &manifest, folder, layers, &mut diagnostics)
                }
                value => value,
            }
        }
        Dialect::Manifest => {
            diagnostics.extend(overlay::environments(&mut document, layers.environment.as_ref()));
            lay(&mut document, layers, &mut diagnostics);
            let mut checked = decode(&mut document);
            diagnostics.append(&mut checked.diagnostics);
            if let (Some(manifest), Some(folder)) = (&checked.value, folder) {
                diagnostics.extend(semantics::check_files(&document, manifest, folder));
            }
            checked.value
        }
    };
    let value = manifest.map(|manifest| {
        let context = manifest.build.context.as_deref().unwrap_or(".");
        let context = Path::new(context).components().fold(root.clone(), |mut path, part| {
            if part == std::path::Component::ParentDir {
                path.pop();
            }
            path
        });
        LoadedManifest { manifest, root, file, dialect, context, spans: document.spans }
    });
    Checked { value, diagnostics }
}

fn lay(document: &mut Document, layers: &Layers, diagnostics: &mut Vec<Diagnostic>) {
    for layer in &layers.layers {
        match layer {
            Layer::File(path) => {
                diagnostics.extend(overlay::file(document, path, layers.environment.as_ref()));
            }
            Layer::Made(part) => overlay::made(document, part.clone()),
        }
    }
}

/// Lays the layers over what was imported from another dialect. What the import found is not
/// said a second time.
fn laid_over(
    file: &Path,
    manifest: &DeploymentManifest,
    folder: Option<&Path>,
    layers: &Layers,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<DeploymentManifest> {
    let value = match serde_json::to_value(manifest) {
        Ok(value) => value,
        Err(error) => {
            diagnostics.push(rules::INVALID_VALUE.diagnostic(error.to_string()));
            return None;
        }
    };
    let mut document = Document::without_places(file, value);
    // A file that a scenario names and lacks is the import's to judge.
    let missing =
        folder.map(|folder| semantics::check_files(&document, manifest, folder)).unwrap_or_default();
    let known = diagnostics.iter().chain(&missing);
    let said: Vec<_> = known.map(|known| (known.code, known.message.clone())).collect();
    lay(&mut document, layers, diagnostics);
    let mut checked = decode(&mut document);
    if let (Some(manifest), Some(folder)) = (&checked.value, folder) {
        checked.diagnostics.extend(semantics::check_files(&document, manifest, folder));
    }
    checked
        .diagnostics
        .retain(|found| !said.iter().any(|(code, text)| *code == found.code && *text == found.message));
    diagnostics.append(&mut checked.diagnostics);
    checked.value
}

/// Checks a document of the manifest's own dialect and makes the manifest of it.
fn decode(document: &mut Document) -> Checked<DeploymentManifest> {
    let mut diagnostics = Vec::new();
    if !document.value.is_object() {
        let empty = document.value.is_null();
        diagnostics.push(
            rules::WRONG_TYPE
                .diagnostic(if empty { "the manifest is empty" } else { "a manifest is a map" })
                .at(document.spans.value(""), "")
                .help("start with `schema_version: v0.1`, `target`, `provider` and `app`"),
        );
        return Checked { value: None, diagnostics };
    }
    diagnostics.extend(schema_version(document));
    if diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        // A manifest of another version would only give misleading errors.
        return Checked { value: None, diagnostics };
    }
    crosswalk_words(document, &mut diagnostics);
    diagnostics.extend(placeholders(document));
    let known_wrong: Vec<_> = diagnostics
        .iter()
        .flat_map(|diagnostic| &diagnostic.labels)
        .map(|label| label.span.clone())
        .collect();
    let shape = shape::check(document, schema::schema().as_value());
    // What the crosswalk or a placeholder explained already is not said a second time.
    diagnostics.extend(shape.into_iter().filter(|diagnostic| {
        diagnostic.severity != Severity::Error
            || !diagnostic.labels.first().is_some_and(|label| known_wrong.contains(&label.span))
    }));
    if diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        return Checked { value: None, diagnostics };
    }
    match serde_json::from_value::<DeploymentManifest>(document.value.clone()) {
        Ok(manifest) => {
            diagnostics.extend(semantics::check(document, &manifest));
            Checked { value: Some(manifest), diagnostics }
        }
        Err(error) => {
            // The schema is made from the same types, so this is a difference between the two.
            diagnostics
                .push(rules::INVALID_VALUE.diagnostic(error.to_string()).at(document.spans.value(""), ""));
            Checked { value: None, diagnostics }
        }
    }
}

fn schema_version(document: &Document) -> Option<Diagnostic> {
    let version = document.value.get("schema_version")?;
    let written = match version {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    if written == SCHEMA_VERSION {
        return None;
    }
    let span = document.spans.value("/schema_version");
    let numbers = |text: &str| -> Option<(u32, u32)> {
        let (major, minor) = text.trim_start_matches('v').split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    let newer = numbers(&written).zip(numbers(SCHEMA_VERSION)).is_some_and(|(written, ours)| written > ours);
    let diagnostic = if newer {
        rules::SCHEMA_VERSION
            .diagnostic(format!(
                "the manifest has schema version `{written}`, this program knows `{SCHEMA_VERSION}`"
            ))
            .help("update vrooli-deploy, or write the manifest for the older version")
    } else {
        rules::SCHEMA_VERSION
            .diagnostic(format!("`{written}` is not a schema version"))
            .help(format!("write `schema_version: {SCHEMA_VERSION}`"))
    };
    let mut diagnostic = diagnostic.at(span.clone(), "here");
    if let Some(span) = span.filter(|span| !newer && span.length > 0) {
        diagnostic.fix = Some(Fix { span, replacement: format!("\"{SCHEMA_VERSION}\"") });
    }
    Some(diagnostic)
}

/// Replaces what people call tiers, providers, strategies and the sides of a swap by their names.
fn crosswalk_words(document: &mut Document, diagnostics: &mut Vec<Diagnostic>) {
    if let Some(swaps) = document.value.get_mut("swaps") {
        crosswalk::swaps(swaps);
    }
    type LookUp = fn(&str) -> Result<String, crosswalk::UnknownWord>;
    let words: [(&str, crate::diagnostics::Code, LookUp); 4] = [
        ("/target", rules::UNKNOWN_TIER, |word| crosswalk::tier(word).map(|tier| tier.to_string())),
        ("/provider", rules::UNKNOWN_PROVIDER, |word| crosswalk::provider(word).map(String::from)),
        ("/strategy", rules::UNKNOWN_STRATEGY, |word| crosswalk::strategy(word).map(|kind| kind.to_string())),
        ("/strategy/type", rules::UNKNOWN_STRATEGY, |word| {
            crosswalk::strategy(word).map(|kind| kind.to_string())
        }),
    ];
    for (pointer, code, look_up) in words {
        let span = document.spans.value(pointer);
        let Some(value) = document.value.pointer_mut(pointer) else {
            continue;
        };
        let word = match value {
            Value::String(word) => word.clone(),
            // `target: 4`
            Value::Number(number) if pointer == "/target" => number.to_string(),
            _ => continue,
        };
        match look_up(&word) {
            Ok(name) => *value = Value::String(name),
            Err(_) if word.contains("{{") => {}
            Err(unknown) => {
                let mut diagnostic =
                    code.diagnostic(unknown.to_string()).at(span.clone(), "here").help(unknown.help());
                if let (Some(near), Some(span)) = (unknown.nearest, span.filter(|span| span.length > 0)) {
                    diagnostic.fix = Some(Fix { span, replacement: format!("\"{near}\"") });
                }
                diagnostics.push(diagnostic);
            }
        }
    }
}

/// Names what a template left open: `{{SCENARIO_ID}}`. One diagnostic a name, at its first
/// place. Bodies of requests may hold such braces for a purpose of their own, and so may
/// commands and descriptions, unless the name is in capitals.
pub(crate) fn placeholders(document: &Document) -> Vec<Diagnostic> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    collect_placeholders("", false, &document.value, &mut found);
    found
        .into_iter()
        .map(|(name, places)| {
            let first = places.first().map(String::as_str).unwrap_or_default();
            let more = match places.len() - 1 {
                0 => String::new(),
                more => format!(" (and at {more} more {})", if more == 1 { "place" } else { "places" }),
            };
            rules::PLACEHOLDER
                .diagnostic(format!("{} still holds the placeholder `{name}`{more}", shape::named(first)))
                .at(document.spans.value(first), "here")
                .help("this is a template: generate a scenario from it, or put the real value here")
        })
        .collect()
}

fn collect_placeholders(
    at: &str,
    capitals_only: bool,
    value: &Value,
    found: &mut BTreeMap<String, Vec<String>>,
) {
    match value {
        Value::String(text) => {
            if let Some(name) = placeholder(text)
                && !(capitals_only && name.bytes().any(|byte| byte.is_ascii_lowercase()))
            {
                found.entry(name.to_owned()).or_default().push(at.to_owned());
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect_placeholders(&child(at, &index.to_string()), capitals_only, item, found);
            }
        }
        Value::Object(map) => {
            for (key, item) in map {
                if !matches!(key.as_str(), "body" | "json") {
                    let capitals_only = capitals_only || matches!(key.as_str(), "run" | "description");
                    collect_placeholders(&child(at, key), capitals_only, item, found);
                }
            }
        }
        _ => {}
    }
}

/// The first `{{NAME}}` of a text.
pub(crate) fn placeholder(text: &str) -> Option<&str> {
    let start = text.find("{{")?;
    let end = text[start..].find("}}")? + start + 2;
    let name = text[start + 2..end - 2].trim();
    let plain = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    plain.then(|| &text[start..end])
}
