//! Which files a release needs applied: those that its resources declare, folders as the
//! files in them.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::irreversible;
use crate::diagnostics::{Diagnostic, Severity, rules};
use crate::manifest::{InitializationFile, InitializationKind};
use crate::names::Digest;
use crate::provider::{ErrorKind, ProviderError, Result};
use crate::release::Migration;
use crate::requirements::ResourceRequirement;

/// The end of names of files that take a migration back.
const BACKWARDS: [&str; 4] = [".down.sql", "_down.sql", ".rollback.sql", "_rollback.sql"];

/// The files that a release needs applied, in order, with their digests: the release's
/// migration level. `root` is the manifest's folder. What cannot be read, or lies outside of it, is
/// an error among the diagnostics.
pub fn migrations<'a>(
    root: &Path,
    resources: impl Iterator<Item = &'a ResourceRequirement>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<Migration> {
    let mut all = Vec::new();
    for requirement in resources.filter(|requirement| takes_files(requirement)) {
        for declared in &requirement.initialization {
            let found = declared_files(root, declared, diagnostics).and_then(|files| {
                files.into_iter().map(|file| migration(root, requirement, file)).collect::<Result<Vec<_>>>()
            });
            match found {
                Ok(found) => all.extend(found),
                Err(error) => {
                    let message = format!(
                        "`{}` of `{}` is not applied: {}",
                        declared.file,
                        requirement.name,
                        error.message()
                    );
                    diagnostics.push(
                        Diagnostic::new(rules::FILE_MISSING, Severity::Error, message).help(
                            error
                                .help()
                                .unwrap_or("correct the path under `initialization`, or remove the entry"),
                        ),
                    );
                }
            }
        }
    }
    all
}

fn migration(root: &Path, requirement: &ResourceRequirement, file: String) -> Result<Migration> {
    let path = inside(root, &file)?;
    let content = fs::read(&path).map_err(unreadable(&path))?;
    Ok(Migration {
        resource: requirement.name.to_string(),
        digest: Digest::of(&content),
        irreversible: irreversible(&String::from_utf8_lossy(&content)),
        file,
    })
}

/// Does a resource take files of SQL?
pub(super) fn takes_files(requirement: &ResourceRequirement) -> bool {
    requirement.resource == "postgres"
}

/// What a file says that a release was made with.
///
/// # Errors
/// `Conflict` when it is another one by now; `App` when it is no text.
pub(super) fn text(root: &Path, migration: &Migration) -> Result<String> {
    let path = inside(root, &migration.file)?;
    let content = fs::read(&path).map_err(unreadable(&path))?;
    if Digest::of(&content) != migration.digest {
        return Err(ProviderError::new(
            ErrorKind::Conflict,
            format!("`{}` is not the file that the release was made with", path.display()),
        )
        .with_help("deploy again: that makes a new release from the sources"));
    }
    String::from_utf8(content).map_err(|error| {
        ProviderError::new(
            ErrorKind::App,
            format!("`{}` is not UTF-8: {}", migration.file, error.utf8_error()),
        )
        .with_help("save it as UTF-8")
    })
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> ProviderError {
    move |error| {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            io::ErrorKind::PermissionDenied => ErrorKind::Permission,
            _ => ErrorKind::Unexpected,
        };
        ProviderError::new(kind, format!("cannot read `{}`: {error}", path.display()))
    }
}

fn is_sql(kind: InitializationKind) -> bool {
    match kind {
        InitializationKind::Schema
        | InitializationKind::Migration
        | InitializationKind::Seed
        | InitializationKind::Data => true,
        InitializationKind::Config
        | InitializationKind::Workflow
        | InitializationKind::App
        | InitializationKind::Script => false,
    }
}

/// The files of SQL of one declaration, relative to the root: those of a folder in the order of their
/// names, but for those that take a migration back.
///
/// # Errors
/// When it cannot be read, or lies outside of the root.
pub(crate) fn declared_files(
    root: &Path,
    declared: &InitializationFile,
    notes: &mut Vec<Diagnostic>,
) -> Result<Vec<String>> {
    if !is_sql(declared.kind) {
        return Ok(Vec::new());
    }
    let path = inside(root, &declared.file)?;
    let file = declared.file.trim_start_matches("./").trim_end_matches('/').to_owned();
    if !fs::metadata(&path).map_err(unreadable(&path))?.is_dir() {
        return Ok(vec![file]);
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(&path).map_err(unreadable(&path))? {
        let entry = entry.map_err(unreadable(&path))?;
        if let Ok(name) = entry.file_name().into_string()
            && name.to_ascii_lowercase().ends_with(".sql")
            && entry.path().is_file()
        {
            names.push(name);
        }
    }
    names.sort();
    let (backwards, forwards): (Vec<String>, Vec<String>) = names
        .into_iter()
        .partition(|name| BACKWARDS.iter().any(|end| name.to_ascii_lowercase().ends_with(end)));
    if !backwards.is_empty() {
        notes.push(rules::STATEMENTS_LEFT_OUT.diagnostic(format!(
            "in `{file}`, files that take a migration back are not applied: {}",
            backwards.join(", ")
        )));
    }
    Ok(forwards.into_iter().map(|name| format!("{file}/{name}")).collect())
}

/// The path of a declared file, which must lie inside, links followed.
fn inside(root: &Path, file: &str) -> Result<PathBuf> {
    let outside = || {
        ProviderError::new(ErrorKind::Config, format!("`{file}` lies outside of the app's folder"))
            .with_help("files under `initialization` are part of the app: move it there")
    };
    let path = join_inside(root, file).ok_or_else(outside)?;
    match (fs::canonicalize(&path), fs::canonicalize(root)) {
        (Ok(real), Ok(root)) if !real.starts_with(&root) => Err(outside()),
        _ => Ok(path),
    }
}

/// Joins a relative path that must stay inside: no root, no `..`, no prefix.
#[must_use]
pub fn join_inside(root: &Path, relative: &str) -> Option<PathBuf> {
    let mut joined = root.to_path_buf();
    for part in Path::new(relative).components() {
        match part {
            Component::Normal(part) => joined.push(part),
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(joined)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn requirement(files: serde_json::Value) -> Vec<ResourceRequirement> {
        serde_json::from_value(json!([
            { "name": "postgres", "resource": "postgres", "primitive": "database", "env": {}, "initialization": files },
            { "name": "n8n", "resource": "n8n", "primitive": "automation", "env": {}, "initialization": [{ "file": "flow.json", "type": "data" }] }
        ]))
        .unwrap()
    }

    #[test]
    fn folders_are_their_files_in_the_order_of_their_names() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("migrations");
        fs::create_dir(&folder).unwrap();
        for name in ["002_b.sql", "001_a.up.sql", "001_a.down.sql", "README.md"] {
            fs::write(folder.join(name), name).unwrap();
        }
        fs::write(root.path().join("schema.sql"), "x").unwrap();
        let wanted = requirement(json!([
            { "file": "./schema.sql", "type": "schema" },
            { "file": "migrations/", "type": "migration" },
            { "file": "flow.json", "type": "workflow" },
            { "file": "gone.sql", "type": "seed" }
        ]));
        let mut said = Vec::new();
        let found = migrations(root.path(), wanted.iter(), &mut said);
        let codes: Vec<_> = said.iter().map(|note| note.code).collect();
        assert_eq!(codes, [rules::STATEMENTS_LEFT_OUT, rules::FILE_MISSING]);
        let files: Vec<String> = found.into_iter().map(|migration| migration.file).collect();
        assert_eq!(files, ["schema.sql", "migrations/001_a.up.sql", "migrations/002_b.sql"]);
    }

    #[test]
    fn paths_stay_inside() {
        let root = Path::new("/r");
        assert_eq!(join_inside(root, "./a/b"), Some(PathBuf::from("/r/a/b")));
        assert_eq!(join_inside(root, "../a"), None);
        assert_eq!(join_inside(root, "a/../../b"), None);
        assert_eq!(join_inside(root, "/etc/passwd"), None);
    }

    #[test]
    fn files_outside_are_refused_links_followed() {
        let root = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.path().join("link.sql")).unwrap();
        for file in ["../x.sql", "/etc/passwd", "link.sql"] {
            let wanted = requirement(json!([{ "file": file, "type": "schema" }]));
            let mut said = Vec::new();
            assert_eq!(migrations(root.path(), wanted.iter(), &mut said), [], "{file}");
            assert!(said[0].message.contains("outside"), "{said:?}");
        }
    }
}
