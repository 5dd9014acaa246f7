//! Local packages of Node that nobody built: they are built before the app's own steps.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use vrooli_deploy_core::manifest::Command;
use vrooli_deploy_core::provider::Result;
use vrooli_deploy_core::sources::node::{Installer, installer, local_packages};
use vrooli_deploy_core::sources::{SourceTree, normal};

use super::hashes::hexadecimal;
use super::source::Source;
use super::step::Stage;
use crate::{environment, failure, files, programs};

/// Builds the local packages that the app's own packages depend on, those first that
/// others need: each that has a build script and whose sources hold no finished build.
pub(super) async fn build_local_packages(
    stage: &mut Stage<'_>,
    source: &Source,
    tree: &SourceTree,
    work: &Path,
) -> Result<()> {
    let (packages, notes) = local_packages(tree, &source.root);
    for note in notes {
        stage.console.line(&note);
    }
    let stamps_file = work.with_extension("packages");
    let mut stamps: BTreeMap<String, String> =
        fs::read(&stamps_file).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    for package in packages {
        let folder = work.join(&package.folder);
        let stamp = stamp(source, &package.folder);
        let name = package.folder.display().to_string();
        let entry = normal(&folder.join(&package.entry));
        if entry.exists() && stamps.get(&name) == Some(&stamp) {
            continue;
        }
        stage.console.line(&format!("`{name}` is used by the app and nobody built it: building it first"));
        let Installer { tool, words, unpinned } = installer(tree, &package.folder, |tool| {
            programs::find(tool, environment::get(&stage.variables, "PATH")).is_some()
        });
        if let Some(tool) = unpinned {
            stage.console.line(&format!(
                "warning: `{name}` has a lock file of {tool}, which is not installed: installed with npm, versions not pinned ({})",
                programs::install(tool)
            ));
        }
        if package.has_dependencies {
            stage.run(&format!("{name}: install"), &Command::Exec(words), &folder).await?;
        }
        let build = [tool, "run", "build"].map(str::to_owned).to_vec();
        stage.run(&format!("{name}: build"), &Command::Exec(build), &folder).await?;
        if !entry.exists() {
            stage.console.line(&format!(
                "warning: `{name}` was built, and its `main` ({}) is still not there",
                package.entry.display()
            ));
        }
        stamps.insert(name, stamp);
        let text = serde_json::to_vec(&stamps).unwrap_or_default();
        files::write_atomic(&stamps_file, &text).map_err(failure::at("write", &stamps_file))?;
    }
    Ok(())
}

/// Changes when a source of the package does.
fn stamp(source: &Source, relative: &Path) -> String {
    let mut hasher = Sha256::new();
    for (entry, hash) in source.entries.iter().filter(|(entry, _)| entry.path.starts_with(relative)) {
        hasher.update(entry.path.as_os_str().as_encoded_bytes());
        hasher.update([0]);
        hasher.update(hash.unwrap_or_default());
    }
    hexadecimal(&hasher.finalize().into())
}
