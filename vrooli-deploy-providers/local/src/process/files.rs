//! How files get into the state folder: whole or not at all, and for their owner only.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use crate::files::{make_private as create_dir, remove_tree};

/// A short path to an entry of a folder that is held open.
pub(crate) fn through(dir: &OwnedFd, plain: &Path, name: &str) -> PathBuf {
    if cfg!(target_os = "linux") {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()))
    } else {
        plain.join(name)
    }
}

/// Must a file be there after the machine lost its power?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Yes: file and folder are synced.
    Synced,
    /// No: what it speaks of does not survive that either.
    Volatile,
}

/// Makes a folder and those above it, up to one that must be there: what was deleted does not
/// come back because something deep in it is written.
pub(crate) fn create_below(base: &Path, path: &Path) -> io::Result<()> {
    let below = path.strip_prefix(base).map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{} is not in {}", path.display(), base.display()),
        )
    })?;
    let mut folder = base.to_owned();
    for part in below {
        folder.push(part);
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
    }
    Ok(())
}

/// Replaces a file (0600) so that a reader, and the next start after a crash, sees the old
/// content or the new and nothing between.
/// On an error the old content is still there.
pub(crate) fn write_atomic(path: &Path, content: &[u8], durability: Durability) -> io::Result<()> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} names no file", path.display())));
    };
    // Always the same draft, because a file has one writer: what a crash left is overwritten by
    // the next write.
    write_by(&dir.join(format!(".{name}.tmp")), path, content, durability)
}

/// The same for a file that several processes may write at once: the last one counts.
pub(crate) fn write_shared(path: &Path, content: &[u8], durability: Durability) -> io::Result<()> {
    static DRAFTS: AtomicU32 = AtomicU32::new(0);
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} names no file", path.display())));
    };
    let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
    write_by(&dir.join(format!(".{name}.{}-{number}.tmp", std::process::id())), path, content, durability)
}

fn write_by(draft: &Path, path: &Path, content: &[u8], durability: Durability) -> io::Result<()> {
    let written = write_new(draft, content, durability).and_then(|()| fs::rename(draft, path));
    if let Err(error) = written {
        let _ = fs::remove_file(draft);
        return Err(error);
    }
    if durability == Durability::Synced
        && let Some(dir) = path.parent()
    {
        sync_dir(dir)?;
    }
    Ok(())
}

fn write_new(path: &Path, content: &[u8], durability: Durability) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    if durability == Durability::Synced {
        file.sync_all()?;
    }
    Ok(())
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Removes drafts that a crash left in a folder.
pub(crate) fn sweep_drafts(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(|n| n.starts_with('.') && n.ends_with(".tmp")) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Writes a value as JSON, atomically.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T, durability: Durability) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    write_atomic(path, &text, durability)
}

/// Reads a JSON file; `None` when it is not there.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let Some(text) = absent_ok(fs::read(path))? else {
        return Ok(None);
    };
    serde_json::from_slice(&text).map(Some).map_err(|e| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged: {e}", path.display()))
    })
}

/// Removes a file. Not there is fine.
pub(crate) fn remove_file(path: &Path) -> io::Result<()> {
    absent_ok(fs::remove_file(path)).map(drop)
}

/// "Not there" as `None`.
pub(crate) fn absent_ok<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_failed_write_leaves_the_old_content_and_only_the_owner_reads() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.json");
        write_json(&path, &1, Durability::Synced).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        // A folder in the place of the draft makes the write fail, also for root.
        fs::create_dir(dir.path().join(".x.json.tmp")).unwrap();
        assert!(write_json(&path, &2, Durability::Synced).is_err());
        assert_eq!(read_json::<i32>(&path).unwrap(), Some(1));
        assert!(read_json::<String>(&path).unwrap_err().to_string().contains("is damaged"));
    }

    #[test]
    fn a_folder_that_is_gone_does_not_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("base");
        let deep = base.join("one/two");
        assert_eq!(create_below(&base, &deep).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(!base.exists());
        fs::create_dir(&base).unwrap();
        create_below(&base, &deep).unwrap();
        create_below(&base, &deep).unwrap();
        assert_eq!(fs::metadata(&deep).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn drafts_are_swept_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        for name in [".x.json.tmp", "x.json", ".hidden"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        sweep_drafts(dir.path());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
