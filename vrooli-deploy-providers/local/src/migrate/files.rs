//! Which files a release needs applied: those that its resources declare, folders as the
//! files in them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use vrooli_deploy_core::diagnostics::{Checked, Diagnostic, Severity};
use vrooli_deploy_core::manifest::{InitializationFile, InitializationKind};
use vrooli_deploy_core::names::Digest;
use vrooli_deploy_core::provider::{ErrorKind, ProviderError, Result};
use vrooli_deploy_core::release::Migration;
use vrooli_deploy_core::requirements::ResourceRequirement;

use super::{FILE_MISSING, FILE_SKIPPED};
use crate::{failure, files};

/// The end of names of files that take a migration back.
const BACKWARDS: [&str; 4] = [".down.sql", "_down.sql", ".rollback.sql", "_rollback.sql"];

/// The files that a release needs applied, in order, with their digests: the release's
/// migration level. `root` is the manifest's folder, of the sources or of an artefact.
///
/// # Errors
/// When a file cannot be read, or lies outside of `root`.
pub fn migrations(root: &Path, resources: &[ResourceRequirement]) -> Result<Checked<Vec<Migration>>> {
    let mut found = Checked::ok(Vec::new());
    let mut all = Vec::new();
    for requirement in resources.iter().filter(|requirement| super::takes_files(requirement)) {
        for declared in requirement.initialization.iter().filter(|declared| is_sql(declared)) {
            for file in expand(root, declared, &mut found.diagnostics)? {
                let path = inside(root, &file)?;
                let content = fs::read(&path).map_err(failure::at("read", &path))?;
                all.push(Migration {
                    resource: requirement.name.to_string(),
                    file,
                    digest: Digest::of(&content),
                    irreversible: vrooli_deploy_core::release::migration::irreversible(
                        &String::from_utf8_lossy(&content),
                    ),
                });
            }
        }
    }
    found.value = Some(all);
    Ok(found)
}

fn is_sql(declared: &InitializationFile) -> bool {
    match declared.kind {
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

/// The files of one declaration, relative to the root.
fn expand(root: &Path, declared: &InitializationFile, notes: &mut Vec<Diagnostic>) -> Result<Vec<String>> {
    let path = inside(root, &declared.file)?;
    let file = declared.file.trim_start_matches("./").trim_end_matches('/').to_owned();
    match fs::metadata(&path) {
        Ok(meta) if meta.is_file() => return Ok(vec![file]),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            notes.push(
                Diagnostic::new(
                    FILE_MISSING,
                    Severity::Warning,
                    format!("`{file}` is declared as `initialization` and is not there"),
                )
                .help("add the file, or take the entry out"),
            );
            return Ok(Vec::new());
        }
        Err(error) => return Err(failure::io("read", &path, &error)),
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(&path).map_err(failure::at("read", &path))? {
        let entry = entry.map_err(failure::at("read", &path))?;
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
        notes.push(Diagnostic::new(
            FILE_SKIPPED,
            Severity::Info,
            format!(
                "in `{file}`, files that take a migration back are not applied: {}",
                backwards.join(", ")
            ),
        ));
    }
    Ok(forwards.into_iter().map(|name| format!("{file}/{name}")).collect())
}

/// The path of a declared file, which must lie inside, links followed.
pub(super) fn inside(root: &Path, file: &str) -> Result<PathBuf> {
    let outside = || {
        ProviderError::new(ErrorKind::Config, format!("`{file}` lies outside of the app's folder"))
            .with_help("files under `initialization` are part of the app: move it there")
    };
    let path = files::join_inside(root, file).ok_or_else(outside)?;
    match (fs::canonicalize(&path), fs::canonicalize(root)) {
        (Ok(real), Ok(root)) if !real.starts_with(&root) => Err(outside()),
        _ => Ok(path),
    }
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
        let found = migrations(root.path(), &wanted).unwrap();
        let codes: Vec<_> = found.diagnostics.iter().map(|note| note.code).collect();
        assert_eq!(codes, [FILE_SKIPPED, FILE_MISSING]);
        let files: Vec<String> = found.value.unwrap().into_iter().map(|migration| migration.file).collect();
        assert_eq!(files, ["schema.sql", "migrations/001_a.up.sql", "migrations/002_b.sql"]);
    }

    #[test]
    fn files_outside_are_refused_links_followed() {
        let root = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.path().join("link.sql")).unwrap();
        for file in ["../x.sql", "/etc/passwd", "link.sql"] {
            let wanted = requirement(json!([{ "file": file, "type": "schema" }]));
            assert_eq!(migrations(root.path(), &wanted).unwrap_err().kind(), ErrorKind::Config, "{file}");
        }
    }
}
