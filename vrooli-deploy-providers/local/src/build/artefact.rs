//! What a build made, kept under the digest of its content and never changed again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use vrooli_deploy_core::names::{Digest, ServiceName, StackId};
use vrooli_deploy_core::provider::{Artefact, BuiltImage, Cancellation, ErrorKind, ProviderError, Result};

use super::hashes::{Hash, Hashes};
use super::select::{self, Entry, EntryKind, Rules};
use super::source::{Source, add_tree};
use crate::layout::{Layout, hexadecimal};
use crate::{failure, files};

const TEMPORARY: &str = ".tmp-";

/// Keeps what lies in the work copy; what is kept already under the same digest is not
/// written again. Killed at any moment it leaves at worst a folder that [`clean`] removes.
pub(super) fn keep(
    layout: &Layout,
    stack: &StackId,
    source: &Source,
    images: BTreeMap<ServiceName, BuiltImage>,
    cancellation: &Cancellation,
) -> Result<Artefact> {
    let work = layout.work(stack);
    let mut hashes = Hashes::read(layout.stack(stack).join("hashes").join("work"));
    let mut entries = Vec::new();
    for entry in select::walk(&Rules::of_artefact(&work), cancellation)? {
        if cancellation.is_cancelled() {
            return Err(failure::cancelled("keeping what was built"));
        }
        let absolute = work.join(&entry.path);
        let hash = match entry.kind {
            EntryKind::File { .. } => {
                Some(hashes.of(&work, &entry.path, entry.stamp).map_err(failure::at("read", &absolute))?)
            }
            _ => None,
        };
        entries.push((entry, hash));
    }
    hashes.write();
    let digest = digest(&entries, &images);
    let root = &source.root;
    let artefact = Artefact {
        location: location(layout, stack, &digest),
        root: if root.as_os_str().is_empty() { ".".to_owned() } else { root.to_string_lossy().into_owned() },
        source: source.digest.clone(),
        digest,
        images,
    };
    if !is_whole(layout, stack, &artefact)? {
        copy(layout, stack, &artefact, &work, &entries, cancellation)?;
    }
    record(layout, stack, &artefact)?;
    Ok(artefact)
}

fn digest(entries: &[(Entry, Option<Hash>)], images: &BTreeMap<ServiceName, BuiltImage>) -> Digest {
    let mut hasher = Sha256::new();
    let mut part = |label: &str, bytes: &[u8]| {
        hasher.update((label.len() as u64).to_be_bytes());
        hasher.update(label.as_bytes());
        hasher.update((bytes.len() as u64).to_be_bytes());
        hasher.update(bytes);
    };
    part("format", b"vrooli-deploy artefact 1");
    add_tree(entries, &mut part);
    for (service, image) in images {
        part(service.as_str(), image.id.as_str().as_bytes());
    }
    Digest::from_hash(&hasher.finalize().into())
}

/// Relative to the state folder, which may be moved.
fn location(layout: &Layout, stack: &StackId, digest: &Digest) -> String {
    let path = layout.artefact(stack, digest);
    path.strip_prefix(layout.root()).unwrap_or(&path).to_string_lossy().into_owned()
}

fn list_file(layout: &Layout, stack: &StackId, digest: &Digest) -> PathBuf {
    layout.built(stack).join(format!("{}.list", hexadecimal(digest)))
}

fn record_file(layout: &Layout, stack: &StackId, source: &Digest) -> PathBuf {
    layout.built(stack).join(format!("{}.json", hexadecimal(source)))
}

fn copy(
    layout: &Layout,
    stack: &StackId,
    artefact: &Artefact,
    work: &Path,
    entries: &[(Entry, Option<Hash>)],
    cancellation: &Cancellation,
) -> Result<()> {
    let parent = layout.artefacts(stack);
    files::make_private(&parent).map_err(failure::at("make", &parent))?;
    let temporary = tempfile::Builder::new()
        .prefix(TEMPORARY)
        .tempdir_in(&parent)
        .map_err(failure::at("make", &parent))?;
    let mut list = String::new();
    for (entry, _) in entries {
        if cancellation.is_cancelled() {
            return Err(failure::cancelled("keeping what was built"));
        }
        let (from, to) = (work.join(&entry.path), temporary.path().join(&entry.path));
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).map_err(failure::at("make", folder))?;
        }
        match &entry.kind {
            EntryKind::Folder => fs::create_dir_all(&to).map_err(failure::at("make", &to))?,
            EntryKind::Link { target } => {
                std::os::unix::fs::symlink(target, &to).map_err(failure::at("make", &to))?
            }
            EntryKind::File { executable } => {
                // Shares the blocks where the file system can; a later write to one of the
                // two never shows in the other.
                let length = fs::copy(&from, &to).map_err(failure::at("copy", &from))?;
                let mode = if *executable { 0o755 } else { 0o644 };
                fs::set_permissions(&to, fs::Permissions::from_mode(mode))
                    .map_err(failure::at("write", &to))?;
                if length != entry.stamp.size {
                    return Err(ProviderError::new(
                        ErrorKind::App,
                        format!(
                            "`{}` is still being written although the build has ended",
                            entry.path.display()
                        ),
                    )
                    .with_help("a build step leaves a process running; let it end before the step does"));
                }
                if let Some(path) = entry.path.to_str().filter(|path| !path.contains('\n')) {
                    // Writing to a String cannot fail.
                    let _ = writeln!(list, "{length} {path}");
                }
            }
        }
    }
    let built = layout.built(stack);
    files::make_private(&built).map_err(failure::at("make", &built))?;
    let list_file = list_file(layout, stack, &artefact.digest);
    files::write_atomic(&list_file, list.as_bytes()).map_err(failure::at("write", &list_file))?;
    let to = layout.artefact(stack, &artefact.digest);
    // One that is there is not whole, or we would not be here.
    files::remove_tree(&to).map_err(failure::at("remove", &to))?;
    let folder = temporary.keep();
    fs::rename(&folder, &to).map_err(failure::at("name", &to))
}

/// Is everything of an artefact there, as far as names and sizes tell? After a power cut
/// files may be there and empty.
fn is_whole(layout: &Layout, stack: &StackId, artefact: &Artefact) -> Result<bool> {
    let folder = layout.artefact(stack, &artefact.digest);
    let list = match fs::read_to_string(list_file(layout, stack, &artefact.digest)) {
        Ok(list) => list,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failure::io("read", &folder, &error)),
    };
    Ok(folder.is_dir()
        && list.lines().all(|line| {
            line.split_once(' ').is_some_and(|(size, path)| {
                fs::symlink_metadata(folder.join(path)).is_ok_and(|meta| meta.len().to_string() == size)
            })
        }))
}

fn record(layout: &Layout, stack: &StackId, artefact: &Artefact) -> Result<()> {
    let path = record_file(layout, stack, &artefact.source);
    let mut text = serde_json::to_vec_pretty(artefact)
        .map_err(|error| ProviderError::new(ErrorKind::Unexpected, error.to_string()))?;
    text.push(b'\n');
    files::write_memory(&path, &text).map_err(failure::at("write", &path))
}

/// What was built from these sources, if all of it is still there.
pub(super) fn built(layout: &Layout, stack: &StackId, source: &Digest) -> Result<Option<Artefact>> {
    let path = record_file(layout, stack, source);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failure::io("read", &path, &error)),
    };
    // A damaged record is none: it is built again.
    let artefact: Option<Artefact> = serde_json::from_slice(&text).ok();
    match artefact {
        Some(artefact) if artefact.source == *source && is_whole(layout, stack, &artefact)? => {
            Ok(Some(artefact))
        }
        _ => Ok(None),
    }
}

/// Removes what killed builds left.
pub(super) fn clean(layout: &Layout, stack: &StackId) -> Result<()> {
    for folder in [layout.artefacts(stack), layout.built(stack), layout.stack(stack)] {
        files::remove_temporary(&folder).map_err(failure::at("clean", &folder))?;
    }
    Ok(())
}

/// Removes artefacts that nobody needs any more, and the records of them. Where none is needed what was built
/// last stays: a first deployment that failed is tried again.
///
/// # Errors
/// When one cannot be removed.
pub(super) fn prune(layout: &Layout, stack: &StackId, keep: &BTreeSet<Digest>) -> Result<()> {
    let last = if keep.is_empty() { last(layout, stack)? } else { BTreeSet::new() };
    let keep = if keep.is_empty() { &last } else { keep };
    let kept: BTreeSet<&[u8]> = keep.iter().map(|digest| hexadecimal(digest).as_bytes()).collect();
    for entry in read(&layout.built(stack))? {
        let needless = match entry.extension().and_then(std::ffi::OsStr::to_str) {
            Some("list") => entry.file_stem().is_some_and(|stem| !kept.contains(stem.as_bytes())),
            Some("json") => fs::read(&entry)
                .ok()
                .and_then(|text| serde_json::from_slice::<Artefact>(&text).ok())
                .is_none_or(|artefact| !keep.contains(&artefact.digest)),
            _ => false,
        };
        if needless {
            files::absent_is_ok(fs::remove_file(&entry)).map_err(failure::at("remove", &entry))?;
        }
    }
    for entry in read(&layout.artefacts(stack))? {
        if entry.file_name().is_some_and(|name| {
            !kept.contains(name.as_bytes()) && !name.as_bytes().starts_with(TEMPORARY.as_bytes())
        }) {
            files::remove_tree(&entry).map_err(failure::at("remove", &entry))?;
        }
    }
    Ok(())
}

/// The ids of the images of what was built and is kept.
pub(super) fn images(layout: &Layout, stack: &StackId) -> Result<BTreeSet<Digest>> {
    let records = read(&layout.built(stack))?.into_iter().filter_map(|path| fs::read(path).ok());
    let artefacts = records.filter_map(|text| serde_json::from_slice::<Artefact>(&text).ok());
    Ok(artefacts.flat_map(|artefact| artefact.images.into_values()).map(|image| image.id).collect())
}

/// What was built last, if anything was.
fn last(layout: &Layout, stack: &StackId) -> Result<BTreeSet<Digest>> {
    let mut records = Vec::new();
    for entry in read(&layout.built(stack))? {
        if entry.extension().is_some_and(|extension| extension == "json")
            && let Ok(written) = fs::metadata(&entry).and_then(|meta| meta.modified())
        {
            records.push((written, entry));
        }
    }
    let artefact = records.into_iter().max().and_then(|(_, record)| fs::read(record).ok());
    let artefact = artefact.and_then(|text| serde_json::from_slice::<Artefact>(&text).ok());
    Ok(artefact.map(|artefact| artefact.digest).into_iter().collect())
}

fn read(folder: &Path) -> Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => {
            entries.map(|entry| entry.map(|e| e.path()).map_err(failure::at("read", folder))).collect()
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failure::io("read", folder, &error)),
    }
}
