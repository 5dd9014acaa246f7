//! Where an app keeps what is known about its secrets.

use std::path::{Path, PathBuf};

use super::{SecretMetadata, shapes};
use crate::diagnostics::{Checked, Diagnostic};
use crate::manifest::yaml::{Document, SourceFile, child};
use crate::manifest::{Dialect, LoadedManifest};

/// Beside the manifest, in the order of reading.
const FILES: [&str; 5] = [
    ".vrooli/service.json",
    ".vrooli/secrets-deployment.json",
    ".vrooli/secrets.yaml",
    ".vrooli/secrets.json",
    ".vrooli/deployment/deployment-report.json",
];

impl SecretMetadata {
    /// Everything that stands beside an app's manifest: its `service.json`,
    /// `.vrooli/secrets-deployment.json`, `.vrooli/secrets.yaml`, `.vrooli/secrets.json` (names
    /// alone), the analyzer's report, and `resources/<name>/config/secrets.yaml` of the
    /// repository around it. A file that is not there is no error; one that cannot be read is
    /// said in a diagnostic, and the rest is read all the same.
    pub fn load(loaded: &LoadedManifest) -> Checked<Self> {
        let mut metadata = Self::default();
        let mut diagnostics = Vec::new();
        // The app's folder as the user named it, where that is the folder.
        let named = loaded.file.parent().unwrap_or(Path::new(""));
        let named = if named.ends_with(".vrooli") { named.parent().unwrap_or(Path::new("")) } else { named };
        let here = if named.as_os_str().is_empty() { Path::new(".") } else { named };
        let same = std::fs::canonicalize(here).is_ok_and(|folder| folder == loaded.root);
        let folder = if same { named } else { &loaded.root };
        for file in FILES {
            read(&mut metadata, &folder.join(file), loaded, None, &mut diagnostics);
        }
        for (name, dependency) in &loaded.manifest.dependencies.resources {
            let kind = dependency.kind.as_deref().unwrap_or(name.as_str());
            // A name from a manifest becomes a part of a path only if it is a plain word.
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if kind.is_empty() || !kind.chars().all(plain) {
                continue;
            }
            if let Some(repository) = loaded.root.parent().and_then(Path::parent) {
                let path: PathBuf = repository.join("resources").join(kind).join("config/secrets.yaml");
                read(&mut metadata, &path, loaded, Some(name.as_str()), &mut diagnostics);
            }
        }
        if loaded.dialect == Dialect::Manifest {
            for variable in loaded.manifest.secrets.keys() {
                let span = loaded.spans.key(&child("/secrets", variable.as_str()));
                metadata.places.extend(span.map(|span| (variable.clone(), span)));
            }
        }
        Checked { value: Some(metadata), diagnostics }
    }
}

fn read(
    metadata: &mut SecretMetadata,
    path: &Path,
    loaded: &LoadedManifest,
    resource: Option<&str>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    if !path.is_file() {
        return;
    }
    let same = *path == loaded.file;
    match SourceFile::read(path) {
        Ok(source) => {
            let parsed = Document::parse(source);
            // A manifest's own mistakes were said when it was read.
            if !same {
                diagnostics.extend(parsed.diagnostics);
            }
            if let Some(document) = parsed.value {
                diagnostics.extend(shapes::read(metadata, &document, &loaded.manifest.app.name, resource));
            }
        }
        Err(diagnostic) => diagnostics.push(*diagnostic),
    }
}
