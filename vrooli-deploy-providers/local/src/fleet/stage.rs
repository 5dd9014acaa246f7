//! A release's own folder: a copy of its artefact, the app's data linked in, and its record.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use vrooli_deploy_core::names::ReleaseNumber;
use vrooli_deploy_core::provider::{ErrorKind, OpCtx, ProviderError, Result};
use vrooli_deploy_core::release::Release;

use super::LocalFleet;
use crate::files::copy_tree;
use crate::layout::{Durability, create_dir, read_json, remove_tree, write_json};

impl LocalFleet {
    /// Copies, links, and writes the record last: a folder without a record is not staged.
    pub(super) fn stage_release(&self, cx: &OpCtx, release: &Release) -> Result<()> {
        let folder = self.layout.release(release.number);
        let fail = |what: &str, e: &io::Error| io_error(what, &folder, e);
        if let Some(there) = self.staged_release(release.number)? {
            if there.digest == release.digest {
                return Ok(());
            }
            return Err(ProviderError::new(
                ErrorKind::Conflict,
                format!("{} holds another release {}", folder.display(), release.number),
            )
            .with_help("deploy again: it gets a new number"));
        }
        create_dir(&self.layout.releases()).map_err(|e| fail("make", &e))?;
        remove_tree(&folder).map_err(|e| fail("clear", &e))?;
        create_dir(&folder).map_err(|e| fail("make", &e))?;
        let artefact = Path::new(&release.bundle.artefact.location);
        let root = self.layout.release_root(release.number);
        copy_tree(artefact, &root, &cx.cancellation).map_err(|e| fail("copy the artefact into", &e))?;
        let app_root = inside(&root, &release.bundle.artefact.root)?;
        self.link_data(&app_root).map_err(|e| fail("link the data folder into", &e))?;
        write_json(&self.layout.release_record(release.number), release, Durability::Durable)
            .map_err(|e| fail("write the record of", &e))
    }

    /// `../data` of a scenario is one folder an app: what the artefact brings is put there
    /// once, never over what the app has written.
    fn link_data(&self, app_root: &Path) -> io::Result<()> {
        let data = self.layout.data();
        create_dir(&data)?;
        let link = app_root.join("data");
        match fs::symlink_metadata(&link) {
            Ok(seen) if seen.is_dir() => {
                seed(&link, &data)?;
                fs::remove_dir_all(&link)?;
            }
            Ok(_) => fs::remove_file(&link)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        // Relative, so that a state folder that is moved keeps its data.
        let depth = link
            .parent()
            .and_then(|p| p.strip_prefix(self.layout.root()).ok())
            .map_or(0, |p| p.components().count());
        let mut target = PathBuf::new();
        for _ in 0..depth {
            target.push("..");
        }
        match data.strip_prefix(self.layout.root()) {
            Ok(relative) => target.push(relative),
            Err(_) => target = data,
        }
        std::os::unix::fs::symlink(target, link)
    }

    pub(super) fn staged_release(&self, number: ReleaseNumber) -> Result<Option<Release>> {
        let path = self.layout.release_record(number);
        read_json(&path).map_err(|e| io_error("read", &path, &e))
    }

    pub(super) fn staged_releases(&self) -> Result<Vec<Release>> {
        let folder = self.layout.releases();
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(io_error("read", &folder, &e)),
        };
        let mut releases = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| io_error("read", &folder, &e))?;
            let Some(number) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else { continue };
            releases.extend(self.staged_release(number)?);
        }
        releases.sort_by_key(|r| r.number);
        Ok(releases)
    }
}

/// Copies files that are not there yet.
fn seed(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            create_dir(&target)?;
            seed(&entry.path(), &target)?;
        } else if kind.is_file() && !target.exists() {
            let draft = to.join(format!(".{}.seed", entry.file_name().to_string_lossy()));
            fs::copy(entry.path(), &draft)?;
            fs::rename(&draft, &target)?;
        }
    }
    Ok(())
}

/// A path from a release's record, kept inside its folder.
fn inside(root: &Path, relative: &str) -> Result<PathBuf> {
    let path = Path::new(relative);
    if path.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir)) {
        Ok(root.join(path))
    } else {
        Err(ProviderError::new(ErrorKind::Config, format!("`{relative}` leads out of the release's folder")))
    }
}

pub(super) fn io_error(what: &str, path: &Path, error: &io::Error) -> ProviderError {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Quota,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Permission,
        io::ErrorKind::Interrupted => ErrorKind::Cancelled,
        _ => ErrorKind::Unexpected,
    };
    ProviderError::new(kind, format!("cannot {what} {}: {error}", path.display()))
}
