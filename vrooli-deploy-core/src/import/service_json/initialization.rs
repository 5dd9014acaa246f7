//! Files that prepare a resource: which, what they are, in what order, and are they there.

use std::path::Path;

use serde_json::Value;

use super::files;
use super::patterns::PATTERNS;
use super::reader::Reader;
use super::resources::usable;
use crate::diagnostics::{Severity, rules};
use crate::manifest::{DependenciesConfig, InitializationFile, InitializationKind};
use crate::names::DependencyName;

/// Reads `initialization` of a resource, and other keys under which files are named.
/// `alive`: files of a resource that is disabled or gone are not looked for.
pub(super) fn read(
    reader: &Reader<'_>,
    root: Option<&Path>,
    at: &str,
    resource: &DependencyName,
    alive: bool,
) -> Vec<InitializationFile> {
    let mut items: Vec<(u64, InitializationFile)> = Vec::new();
    let list = format!("{at}/initialization");
    match reader.get(&list) {
        Some(Value::Array(values)) => {
            for index in 0..values.len() {
                items.extend(item(reader, root, &format!("{list}/{index}"), resource, alive));
            }
        }
        // One object or one path instead of a list.
        Some(Value::Object(_) | Value::String(_)) => items.extend(item(reader, root, &list, resource, alive)),
        Some(_) => {
            reader.count(&list);
        }
        None => {}
    }
    for key in ["schema_file", "config/schema", "config/schema_file", "schema"] {
        let at = format!("{at}/{key}");
        let file = reader.get(&at).and_then(Value::as_str).filter(|text| text.ends_with(".sql"));
        if let Some(file) = file
            && !items.iter().any(|(_, item)| item.file == file)
            && usable(reader, &at, file)
        {
            let item = InitializationFile { file: file.to_owned(), kind: InitializationKind::Schema };
            if exists(reader, root, &at, resource, &item, alive) {
                items.push((0, item));
            }
        }
    }
    // Stable: items of equal order stay as they are written.
    items.sort_by_key(|(order, _)| *order);
    items.into_iter().map(|(_, item)| item).collect()
}

fn item(
    reader: &Reader<'_>,
    root: Option<&Path>,
    at: &str,
    resource: &DependencyName,
    alive: bool,
) -> Option<(u64, InitializationFile)> {
    let object = reader.get(at).is_some_and(Value::is_object);
    let (path_at, path) = if object {
        ["file", "directory", "path", "dir"].iter().find_map(|key| {
            let at = format!("{at}/{key}");
            reader.full_text(&at).map(|path| (at, path))
        })?
    } else {
        (at.to_owned(), reader.full_text(at)?)
    };
    if !usable(reader, &path_at, &path) {
        return None;
    }
    let folder = path.ends_with('/')
        || path_at.ends_with("/directory")
        || path_at.ends_with("/dir")
        || root.is_some_and(|root| root.join(&path).is_dir());
    let path = path.trim_start_matches("./").trim_end_matches('/').to_owned();
    let declared = object.then(|| reader.full_text(&format!("{at}/type"))).flatten();
    let kind = kind(reader, at, &path, declared.as_deref(), folder);
    let order = if object { reader.number(&format!("{at}/order")).unwrap_or(0) } else { 0 };
    let item = InitializationFile { file: path, kind };
    exists(reader, root, &path_at, resource, &item, alive).then_some((order, item))
}

fn kind(
    reader: &Reader<'_>,
    at: &str,
    path: &str,
    declared: Option<&str>,
    folder: bool,
) -> InitializationKind {
    let sql = path.ends_with(".sql") || path.to_ascii_lowercase().contains("migration");
    let guess = || {
        if folder && sql {
            InitializationKind::Migration
        } else if path.ends_with(".sql") {
            let name = path.rsplit('/').next().unwrap_or(path);
            if name.contains("seed") || name.contains("data") {
                InitializationKind::Seed
            } else {
                InitializationKind::Schema
            }
        } else if path.ends_with(".sh") || path.ends_with(".py") {
            InitializationKind::Script
        } else {
            InitializationKind::Config
        }
    };
    match declared {
        // A folder of SQL files is applied file by file, whatever it is called.
        Some("schema" | "migration" | "migrations") if folder => InitializationKind::Migration,
        Some("schema") => InitializationKind::Schema,
        Some("migration" | "migrations") => InitializationKind::Migration,
        Some("seed" | "seeds") => InitializationKind::Seed,
        // SQL that is called data or configuration fills tables.
        Some("data" | "config") if path.ends_with(".sql") => InitializationKind::Seed,
        Some("data") => InitializationKind::Data,
        Some("config") => InitializationKind::Config,
        Some("workflow") => InitializationKind::Workflow,
        Some("app") => InitializationKind::App,
        Some("script") => InitializationKind::Script,
        Some(other) => {
            let guess = guess();
            reader.note(
                rules::INITIALIZATION_IMPORT,
                &format!("{at}/type"),
                format!("`{other}` is not a type of initialization file; `{path}` is taken for {guess:?}")
                    .replace("taken for", "taken for a file of type"),
                "known are schema, migration, seed, data, config, workflow, app and script",
            );
            guess
        }
        None => guess(),
    }
}

fn exists(
    reader: &Reader<'_>,
    root: Option<&Path>,
    at: &str,
    resource: &DependencyName,
    item: &InitializationFile,
    alive: bool,
) -> bool {
    let Some(root) = root else { return true };
    if root.join(&item.file).exists() {
        return true;
    }
    // Without its tables an app only seems to work.
    let severity = match item.kind {
        _ if !alive => Severity::Info,
        InitializationKind::Schema | InitializationKind::Migration => Severity::Error,
        _ => Severity::Warning,
    };
    reader.note_as(
        severity,
        rules::FILE_MISSING,
        at,
        format!("`{}`, which prepares `{resource}`, does not exist", item.file),
        "add the file, or remove the entry",
    );
    false
}

/// Names SQL files under `initialization/` that no entry declares: they are not applied.
pub(super) fn name_undeclared(reader: &Reader<'_>, root: &Path, dependencies: &DependenciesConfig) {
    let declared: Vec<&str> = dependencies
        .resources
        .values()
        .flat_map(|resource| resource.initialization.iter().map(|item| item.file.as_str()))
        .collect();
    for file in files::list(root, &PATTERNS.initialization_folder) {
        let covered = declared
            .iter()
            .any(|path| *path == file || file.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')));
        if file.ends_with(".sql") && !covered {
            reader.note(
                rules::UNDECLARED_FILE,
                "/dependencies/resources",
                format!("`{file}` is not declared and will not be applied"),
                format!("if the app needs it, add `{{\"file\": \"{file}\", \"type\": \"schema\"}}` to `initialization` of its resource"),
            );
        }
    }
}
