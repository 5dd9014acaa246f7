//! Small file operations that a kill at any instant leaves whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path};
use std::time::{Duration, Instant};

use vrooli_deploy_core::provider::{ErrorKind, OpCtx, ProviderError, Result};

use crate::failure;

/// Writes a file so that a reader sees the old content or the new, never a part, also
/// after a power cut. Readable by its owner only.
pub(crate) fn write_atomic(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = folder_of(path);
    let file = draft(folder, content)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    File::open(folder)?.sync_all()
}

/// The same without waiting for the disk: after a power cut it may be the old content, or damaged. For
/// what is checked when it is read, and can be had again.
pub(crate) fn write_memory(path: &Path, content: &[u8]) -> io::Result<()> {
    draft(folder_of(path), content)?.persist(path).map(drop).map_err(|e| e.error)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or_else(|| Path::new("."))
}

fn draft(folder: &Path, content: &[u8]) -> io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::Builder::new().prefix(".tmp-").tempfile_in(folder)?;
    file.write_all(content)?;
    Ok(file)
}

/// Removes what [`write_atomic`] and [`write_memory`] left when they were killed.
pub(crate) fn remove_temporary(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b".tmp-") {
            remove_tree(&entry.path())?;
        }
    }
    Ok(())
}

/// Makes a folder and its parents, for its owner only where it is new.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Removes a file, a link or a whole tree, read-only folders in it included (module
/// caches are). What is not there is `Ok`.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    let remove = || match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match remove() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            for entry in walkdir::WalkDir::new(path).into_iter().flatten() {
                if entry.file_type().is_dir()
                    && let Ok(meta) = entry.metadata()
                    && meta.mode() & 0o700 != 0o700
                {
                    // The removal that follows says what is wrong if this fails.
                    let _ =
                        fs::set_permissions(entry.path(), fs::Permissions::from_mode(meta.mode() | 0o700));
                }
            }
            absent_is_ok(remove())
        }
        other => absent_is_ok(other),
    }
}

/// `NotFound` is what was wanted.
pub(crate) fn absent_is_ok(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Removes a folder and then its parents up to (not including) `stop`, as far as they are empty.
pub(crate) fn remove_empty_up_to(path: &Path, stop: &Path) {
    let mut folder = Some(path);
    while let Some(path) = folder {
        if path == stop || !path.starts_with(stop) || fs::remove_dir(path).is_err() {
            return;
        }
        folder = path.parent();
    }
}

/// How often a lock that is held is tried again.
const LOCK_POLL: Duration = Duration::from_millis(20);

/// Takes a lock file, waiting for its holder until the deadline. The lock is the open
/// file: a child that was given the file holds it on after our own death, so that nobody
/// works beside what that child still does.
///
/// # Errors
/// `Conflict` when it is still held at the deadline, `Cancelled`, or what the disk says.
pub(crate) async fn lock(cx: &OpCtx, path: &Path, what: &str) -> Result<File> {
    if let Some(folder) = path.parent() {
        make_private(folder).map_err(failure::at("make", folder))?;
    }
    loop {
        if let Some(file) = try_lock(path).map_err(failure::at("lock", path))? {
            return Ok(file);
        }
        if cx.cancellation.is_cancelled() {
            return Err(failure::cancelled(what));
        }
        if Instant::now() >= cx.deadline {
            return Err(ProviderError::new(
                ErrorKind::Conflict,
                format!("{what} is still being worked on by another process"),
            )
            .with_context("lock", path.display().to_string())
            .with_help("wait until it has ended and run the same command again"));
        }
        tokio::select! {
            () = tokio::time::sleep(LOCK_POLL) => {}
            () = cx.cancellation.cancelled() => {}
        }
    }
}

/// Takes a lock file if nobody holds it.
pub(crate) fn try_lock(path: &Path) -> io::Result<Option<File>> {
    loop {
        let file =
            File::options().create(true).truncate(false).read(true).write(true).mode(0o600).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Ok(None),
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
        // Whoever removed the whole stack meanwhile removed this file with it.
        match fs::metadata(path) {
            Ok(meta) if meta.ino() == file.metadata()?.ino() => return Ok(Some(file)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(folder) = path.parent() {
                    make_private(folder)?;
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// Copies a tree: folders, files with their executable bit, links as they are. Shares the
/// blocks where the file system can; a later write to one never shows in the other.
pub(crate) fn copy_tree(from: &Path, to: &Path, stop: &dyn Fn() -> bool) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        if stop() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy_tree(&entry.path(), &target, stop)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path())?, &target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

/// The last lines of a text file; empty when it cannot be read.
pub(crate) fn last_lines(path: &Path, lines: usize) -> Vec<String> {
    use std::io::{Read, Seek, SeekFrom};
    const WINDOW: u64 = 32 * 1024;
    let read = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(WINDOW)))?;
        let mut bytes = Vec::new();
        file.take(WINDOW).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all.iter().skip(all.len().saturating_sub(lines)).map(|line| (*line).to_owned()).collect()
}

/// A path from a record, which must not lead out of where it starts.
pub(crate) fn inside(relative: &str) -> Result<&Path> {
    let path = Path::new(relative);
    if path.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir)) {
        Ok(path)
    } else {
        Err(ProviderError::new(ErrorKind::Config, format!("`{relative}` leads out of its folder")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write_atomic(&path, b"one").unwrap();
        write_atomic(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        write_memory(&path, b"three").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"three");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_lock_is_held_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = try_lock(&path).unwrap().unwrap();
        assert!(try_lock(&path).unwrap().is_none());
        drop(held);
        assert!(try_lock(&path).unwrap().is_some());
    }
}
