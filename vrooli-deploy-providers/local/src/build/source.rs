//! What a build is made from, and its digest.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use vrooli_deploy_core::manifest::Command;
use vrooli_deploy_core::names::{Digest, StackId};
use vrooli_deploy_core::provider::{BuildRequest, Cancellation, ErrorKind, ProviderError, Result};
use vrooli_deploy_core::sources::SourceTree;

use super::hashes::{Hash, Hashes};
use super::select::{self, Entry, EntryKind, Rules};
use crate::environment::{self, Variables};
use crate::layout::Layout;
use crate::{failure, programs};

/// The sources as they are now.
#[derive(Debug)]
pub(super) struct Source {
    /// Absolute, without links.
    pub(super) context: PathBuf,
    /// The manifest's folder, relative to the context; empty when it is the context.
    pub(super) root: PathBuf,
    /// In the order of their paths; files with the hash of their content.
    pub(super) entries: Vec<(Entry, Option<Hash>)>,
    pub(super) digest: Digest,
}

impl Source {
    /// The same as a list of files, with the texts that say how they are built. What cannot be read or is
    /// no text counts as a file without one.
    pub(super) fn tree(&self) -> SourceTree {
        let mut tree = SourceTree::new();
        for (entry, _) in self.entries.iter().filter(|(entry, _)| entry.kind != EntryKind::Folder) {
            let marker = SourceTree::is_marker(&entry.path);
            let text = marker.then(|| fs::read_to_string(self.context.join(&entry.path)).ok()).flatten();
            tree.add(&entry.path, text);
        }
        tree
    }
}

/// Reads the sources. Nothing of the user's is written; hashes are remembered in the
/// stack's folder, if there is one.
pub(super) fn read(
    layout: &Layout,
    stack: &StackId,
    request: &BuildRequest,
    cancellation: &Cancellation,
) -> Result<Source> {
    let context = fs::canonicalize(&request.context).map_err(failure::at("find", &request.context))?;
    let root = fs::canonicalize(&request.root).map_err(failure::at("find", &request.root))?;
    let root = root.strip_prefix(&context).map(Path::to_path_buf).map_err(|_| {
        ProviderError::new(
            ErrorKind::Config,
            format!(
                "the build's context `{}` does not hold the app's folder `{}`",
                context.display(),
                root.display()
            ),
        )
        .with_help("set `build.context` to a folder above the manifest's, e.g. `../..`")
    })?;
    let rules = Rules::of_sources(&context, &root, &request.include, &request.exclude, layout.root())?;
    let mut hashes = Hashes::read(layout.stack(stack).join("hashes").join("source"));
    let mut entries = Vec::new();
    for entry in select::walk(&rules, cancellation)? {
        if cancellation.is_cancelled() {
            return Err(failure::cancelled("reading the sources"));
        }
        let hash = match entry.kind {
            EntryKind::File { .. } => {
                let absolute = context.join(&entry.path);
                Some(hashes.of(&context, &entry.path, entry.stamp).map_err(failure::at("read", &absolute))?)
            }
            _ => None,
        };
        entries.push((entry, hash));
    }
    // A plan of an app that was never deployed leaves no trace.
    if layout.stack(stack).exists() {
        hashes.write();
    }
    let digest = digest(&root, &entries, request)?;
    Ok(Source { context, root, entries, digest })
}

/// Of files, their modes and links, of the steps and what they may see, and of the tools
/// that they name.
fn digest(root: &Path, entries: &[(Entry, Option<Hash>)], request: &BuildRequest) -> Result<Digest> {
    let mut hasher = Sha256::new();
    let mut part = |label: &str, bytes: &[u8]| {
        hasher.update((label.len() as u64).to_be_bytes());
        hasher.update(label.as_bytes());
        hasher.update((bytes.len() as u64).to_be_bytes());
        hasher.update(bytes);
    };
    part("format", b"vrooli-deploy source 1");
    part("root", root.as_os_str().as_bytes());
    add_tree(entries, &mut part);
    let unwritable = |error: serde_json::Error| ProviderError::new(ErrorKind::Unexpected, error.to_string());
    part("steps", &serde_json::to_vec(&request.steps).map_err(unwritable)?);
    part("env", &serde_json::to_vec(&request.env).map_err(unwritable)?);
    if let Some(containers) = &request.containers {
        part("containers", &serde_json::to_vec(&containers).map_err(unwritable)?);
        part("runs", &serde_json::to_vec(&request.runs).map_err(unwritable)?);
        part("base images", &serde_json::to_vec(&request.base_images).map_err(unwritable)?);
    }
    let variables = environment::of_this_process(&request.pass_env);
    for name in &request.pass_env {
        part(name, environment::get(&variables, name).map(OsStrExt::as_bytes).unwrap_or_default());
    }
    for (name, fingerprint) in tools(request, &variables) {
        part(name, fingerprint.as_bytes());
    }
    Ok(Digest::from_hash(&hasher.finalize().into()))
}

/// Adds a tree to a digest: paths, kinds, whether executable, content.
pub(super) fn add_tree(entries: &[(Entry, Option<Hash>)], part: &mut impl FnMut(&str, &[u8])) {
    for (entry, hash) in entries {
        let (label, content): (&str, &[u8]) = match (&entry.kind, hash) {
            (EntryKind::Folder, _) => ("folder", &[]),
            (EntryKind::Link { target }, _) => ("link", target.as_os_str().as_bytes()),
            (EntryKind::File { executable: true }, Some(hash)) => ("program", hash),
            (EntryKind::File { .. }, Some(hash)) => ("file", hash),
            (EntryKind::File { .. }, None) => ("file", &[]),
        };
        part(label, entry.path.as_os_str().as_bytes());
        part("content", content);
    }
}

/// A fingerprint of each tool that the steps name: where it lies and when it was
/// installed, which an upgrade changes and which costs no start of the tool.
fn tools(request: &BuildRequest, variables: &Variables) -> Vec<(&'static str, String)> {
    let mut named = std::collections::BTreeSet::new();
    for step in &request.steps {
        match &step.run {
            Command::Shell(text) => named.extend(programs::named_in(text)),
            Command::Exec(words) => words.iter().for_each(|word| named.extend(programs::named_in(word))),
        }
    }
    let path = environment::get(variables, "PATH");
    let home = environment::get(variables, "HOME").map(PathBuf::from).unwrap_or_default();
    let fingerprint =
        |file: &Path| match fs::canonicalize(file).and_then(|file| Ok((fs::metadata(&file)?, file))) {
            Ok((meta, file)) => {
                format!("{} {} {}.{}\n", file.display(), meta.size(), meta.mtime(), meta.mtime_nsec())
            }
            Err(_) => "absent\n".to_owned(),
        };
    named
        .into_iter()
        .map(|name| {
            let mut text =
                programs::find(name, path).map_or_else(|| "absent\n".to_owned(), |file| fingerprint(&file));
            for also in programs::also_read(name) {
                text += &fingerprint(
                    &also.strip_prefix("~/").map_or_else(|| PathBuf::from(also), |rest| home.join(rest)),
                );
            }
            (name, text)
        })
        .collect()
}
