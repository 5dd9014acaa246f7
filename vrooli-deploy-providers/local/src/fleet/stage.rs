//! A release's own folder: a copy of its artefact, the app's data linked in, and its record.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use vrooli_deploy_core::names::{ReleaseNumber, StackId};
use vrooli_deploy_core::provider::{ErrorKind, OpCtx, ProviderError, Result};
use vrooli_deploy_core::release::Release;

use super::LocalFleet;
use crate::build::engine_of;
use crate::failure;
use crate::files::{copy_tree, inside, make_private, remove_tree, write_atomic};

impl LocalFleet {
    /// Copies, links, and writes the record last: a folder without a record is not staged.
    pub(super) fn stage_release(&self, cx: &OpCtx, release: &Release) -> Result<()> {
        let (layout, stack) = (&self.machine.layout, &cx.stack);
        let folder = layout.release(stack, release.number);
        if let Some(there) = self.staged_release(stack, release.number)? {
            if there.digest == release.digest {
                return Ok(());
            }
            return Err(ProviderError::new(
                ErrorKind::Conflict,
                format!("{} holds another release {}", folder.display(), release.number),
            )
            .with_help("deploy again: it gets a new number"));
        }
        remove_tree(&folder).map_err(failure::at("clear", &folder))?;
        make_private(&folder).map_err(failure::at("make", &folder))?;
        let artefact = layout.root().join(inside(&release.bundle.artefact.location)?);
        let root = layout.release_root(stack, release.number);
        copy_tree(&artefact, &root, &|| cx.cancellation.is_cancelled()).map_err(|e| match e.kind() {
            io::ErrorKind::Interrupted => failure::cancelled("staging the release"),
            _ => failure::io("copy the artefact into", &root, &e),
        })?;
        let app_root = root.join(inside(&release.bundle.artefact.root)?);
        self.link_data(stack, &app_root).map_err(failure::at("link the data folder into", &app_root))?;
        if !release.bundle.artefact.images.is_empty()
            && let Some(engine) = engine_of(layout, stack)?
        {
            let place = layout.engine(stack, release.number);
            write_atomic(&place, engine.as_bytes()).map_err(failure::at("write", &place))?;
        }
        let record = layout.release_record(stack, release.number);
        let text = serde_json::to_vec_pretty(release).map_err(|e| {
            ProviderError::new(
                ErrorKind::Unexpected,
                format!("release {} cannot be written: {e}", release.number),
            )
        })?;
        write_atomic(&record, &text).map_err(failure::at("write", &record))
    }

    /// A folder that was delivered whole: the app's data are linked in.
    pub(super) fn take_delivered(&self, cx: &OpCtx, release: &Release) -> Result<()> {
        let number = release.number;
        match self.staged_release(&cx.stack, number)? {
            Some(there) if there.digest == release.digest => {}
            there => {
                let what = if there.is_some() { "holds another release" } else { "is not there" };
                let folder = self.machine.layout.release(&cx.stack, number);
                return Err(ProviderError::new(ErrorKind::Conflict, format!("{} {what}", folder.display()))
                    .with_help("deploy again: it gets a new number"));
            }
        }
        let app_root = self.app_root(&cx.stack, release)?;
        let seeds = fs::symlink_metadata(app_root.join("data")).is_ok_and(|seen| seen.is_dir());
        self.link_data(&cx.stack, &app_root).map_err(failure::at("link the data folder into", &app_root))?;
        // What we make as root is the app's.
        let data = self.machine.layout.data(&cx.stack);
        hand_over(&data, &self.machine.layout.release_root(&cx.stack, number), seeds)
            .map_err(failure::at("give to the app", &data))
    }

    /// `../data` of a scenario is one folder an app: what the artefact brings is put there
    /// once, never over what the app has written.
    fn link_data(&self, stack: &StackId, app_root: &Path) -> io::Result<()> {
        let layout = &self.machine.layout;
        let data = layout.data(stack);
        make_private(&data)?;
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
        let up = app_root.strip_prefix(layout.root()).map_or(0, |p| p.components().count());
        let down = data.strip_prefix(layout.root()).unwrap_or(&data);
        let target: PathBuf = std::iter::repeat_n(Path::new(".."), up).chain([down]).collect();
        std::os::unix::fs::symlink(target, link)
    }

    pub(super) fn staged_release(&self, stack: &StackId, number: ReleaseNumber) -> Result<Option<Release>> {
        let path = self.machine.layout.release_record(stack, number);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failure::io("read", &path, &e)),
        };
        serde_json::from_slice(&text).map(Some).map_err(|e| {
            ProviderError::new(
                ErrorKind::Unexpected,
                format!("{} is no record of a release: {e}", path.display()),
            )
        })
    }

    pub(super) fn staged_releases(&self, stack: &StackId) -> Result<Vec<Release>> {
        let folder = self.machine.layout.releases(stack);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(failure::io("read", &folder, &e)),
        };
        let mut releases = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failure::at("read", &folder))?;
            let Some(number) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else { continue };
            releases.extend(self.staged_release(stack, number)?);
        }
        releases.sort_by_key(|r| r.number);
        Ok(releases)
    }

    /// The app's folder in a staged release.
    pub(super) fn app_root(&self, stack: &StackId, release: &Release) -> Result<PathBuf> {
        Ok(self
            .machine
            .layout
            .release_root(stack, release.number)
            .join(inside(&release.bundle.artefact.root)?))
    }
}

/// Gives a folder, and all that is in it if `deep`, to who has another one.
fn hand_over(folder: &Path, like: &Path, deep: bool) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, lchown};
    let owner = fs::metadata(like)?;
    let (uid, gid) = (owner.uid(), owner.gid());
    if fs::symlink_metadata(folder)?.uid() == uid && !deep {
        return Ok(());
    }
    lchown(folder, Some(uid), Some(gid))?;
    if !deep {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            hand_over(&entry.path(), like, true)?;
        } else {
            lchown(entry.path(), Some(uid), Some(gid))?;
        }
    }
    Ok(())
}

/// Copies files that are not there yet.
fn seed(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            make_private(&target)?;
            seed(&entry.path(), &target)?;
        } else if kind.is_file() && !target.exists() {
            let draft = to.join(format!(".{}.seed", entry.file_name().to_string_lossy()));
            fs::copy(entry.path(), &draft)?;
            fs::rename(&draft, &target)?;
        }
    }
    Ok(())
}
