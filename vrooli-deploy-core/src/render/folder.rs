//! Rendered files in a folder of the user's: nothing that somebody else wrote is written over.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::file_tree::{FilePath, FileTree};
use crate::names::Digest;

/// The file in which it stands what was written: by its digest we know our own again.
pub const MARKER: &str = ".vrooli-deploy-rendered.json";
const VERSION: u32 = 1;

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileState {
    /// It was not there.
    Made,
    /// It was another.
    Changed,
    /// It was the same.
    Unchanged,
    /// It is not rendered any more, and was taken away.
    Removed,
    /// It is not rendered any more, but somebody changed it: it stays.
    Kept,
}

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WrittenFiles {
    /// What became of each file.
    pub files: BTreeMap<FilePath, FileState>,
}

impl WrittenFiles {
    /// Is the folder another than before?
    #[must_use]
    pub fn changed(&self) -> bool {
        let changes = |state: &FileState| !matches!(state, FileState::Unchanged | FileState::Kept);
        self.files.values().any(changes)
    }
}

/// Why nothing was written, or not all of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// Files are there that are not as we wrote them. Nothing was written.
    #[error("{} was not written by this program, or was changed since", list(.files))]
    Foreign {
        /// Which.
        files: Vec<PathBuf>,
    },
    /// Another format is in the folder. Nothing was written.
    #[error("{} holds what was rendered as `{format}`", .folder.display())]
    OtherFormat {
        /// Where.
        folder: PathBuf,
        /// What it holds.
        format: String,
    },
    /// The file system said no; run it again and it goes on from there.
    #[error("cannot use {}: {message}", .path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        message: String,
    },
}

fn list(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// What stands in [`MARKER`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Marker {
    version: u32,
    format: String,
    /// Digests that a file may have while it is ours; while it is being written, the old and the new.
    files: BTreeMap<FilePath, BTreeSet<Digest>>,
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    move |error| FolderError::Io { path: path.to_owned(), message: error.to_string() }
}

/// What is there of a file.
enum There {
    Nothing,
    File(Digest),
    /// A folder, a link, or something that cannot be read.
    Other,
}

impl FileTree {
    /// Writes the files into a folder, which is made. Each appears whole or not at all; killed in
    /// between, the next time goes on. What was rendered before and is not any more goes, unless
    /// somebody changed it. With `overwrite` files of others are written over.
    ///
    /// # Errors
    /// [`FolderError::Foreign`] and [`FolderError::OtherFormat`]: then nothing was written.
    pub fn write(&self, folder: &Path, format: &str, overwrite: bool) -> Result<WrittenFiles, FolderError> {
        let before = read_marker(folder)?;
        if !overwrite && !before.files.is_empty() && before.format != format {
            return Err(FolderError::OtherFormat { folder: folder.to_owned(), format: before.format });
        }
        let digests: BTreeMap<&FilePath, Digest> =
            self.files().map(|(path, file)| (path, Digest::of(file.text.as_bytes()))).collect();
        let ours = |path: &FilePath, digest: &Digest| {
            before.files.get(path).is_some_and(|known| known.contains(digest))
        };
        let mut written = WrittenFiles::default();
        let mut foreign = Vec::new();
        for (path, _) in self.files() {
            let wanted = digests.get(path);
            let state = match there(folder, path)? {
                There::Nothing => FileState::Made,
                There::File(digest) if Some(&digest) == wanted => FileState::Unchanged,
                There::File(digest) if overwrite || ours(path, &digest) => FileState::Changed,
                There::File(_) | There::Other => {
                    foreign.push(folder.join(path.as_str()));
                    continue;
                }
            };
            written.files.insert(path.clone(), state);
        }
        if !foreign.is_empty() {
            return Err(FolderError::Foreign { files: foreign });
        }
        for (path, known) in before.files.iter().filter(|(path, _)| !digests.contains_key(path)) {
            match there(folder, path)? {
                There::Nothing => {}
                There::File(digest) if known.contains(&digest) => {
                    written.files.insert(path.clone(), FileState::Removed);
                }
                There::File(_) | There::Other => {
                    written.files.insert(path.clone(), FileState::Kept);
                }
            }
        }
        fs::create_dir_all(folder).map_err(failed(folder))?;
        let mut marker = Marker { version: VERSION, format: format.to_owned(), files: before.files };
        for (path, digest) in &digests {
            marker.files.entry((*path).clone()).or_default().insert(digest.clone());
        }
        // From here on both are known for ours, whatever of it comes to the disk.
        put_marker(folder, &marker)?;
        for (path, file) in self.files() {
            let at = folder.join(path.as_str());
            let changed = written.files.get(path) != Some(&FileState::Unchanged);
            if changed {
                if let Some(parent) = at.parent() {
                    fs::create_dir_all(parent).map_err(failed(parent))?;
                }
                put(&at, file.text.as_bytes(), file.executable).map_err(failed(&at))?;
            }
        }
        for (path, state) in &written.files {
            if *state == FileState::Removed {
                let at = folder.join(path.as_str());
                fs::remove_file(&at).map_err(failed(&at))?;
                // Folders that are empty by now; one that is not stays.
                let mut parent = at.parent();
                while let Some(empty) = parent.filter(|parent| *parent != folder) {
                    if fs::remove_dir(empty).is_err() {
                        break;
                    }
                    parent = empty.parent();
                }
            }
        }
        let own = digests.into_iter().map(|(path, digest)| (path.clone(), BTreeSet::from([digest])));
        put_marker(folder, &Marker { files: own.collect(), ..marker })?;
        Ok(written)
    }
}

/// A folder without one holds nothing of ours; one that cannot be read is somebody else's.
fn read_marker(folder: &Path) -> Result<Marker, FolderError> {
    let path = folder.join(MARKER);
    match fs::read(&path) {
        Ok(bytes) => {
            let marker: Marker = serde_json::from_slice(&bytes)
                .map_err(|error| FolderError::Io { path: path.clone(), message: error.to_string() })?;
            if marker.version > VERSION {
                let message = format!("its form is {}, and this program reads {VERSION}", marker.version);
                return Err(FolderError::Io { path, message });
            }
            Ok(marker)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Marker::default()),
        Err(error) => Err(failed(&path)(error)),
    }
}

/// Follows no link below the folder: what is behind one is not ours.
fn there(folder: &Path, path: &FilePath) -> Result<There, FolderError> {
    let mut at = folder.to_owned();
    let mut parts = path.as_str().split('/').peekable();
    while let Some(part) = parts.next() {
        at.push(part);
        let seen = match fs::symlink_metadata(&at) {
            Ok(seen) => seen,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(There::Nothing),
            Err(error) => return Err(failed(&at)(error)),
        };
        if parts.peek().is_some() {
            if !seen.is_dir() {
                return Ok(There::Other);
            }
        } else if !seen.is_file() {
            return Ok(There::Other);
        }
    }
    fs::read(&at).map(|bytes| There::File(Digest::of(&bytes))).map_err(failed(&at))
}

fn put_marker(folder: &Path, marker: &Marker) -> Result<(), FolderError> {
    let path = folder.join(MARKER);
    let text = serde_json::to_string_pretty(marker)
        .map_err(|error| FolderError::Io { path: path.clone(), message: error.to_string() })?;
    put(&path, format!("{text}\n").as_bytes(), false).map_err(failed(&path))
}

/// Whole or not at all.
fn put(path: &Path, bytes: &[u8], executable: bool) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.tmp", std::process::id()));
    let draft = path.with_file_name(name);
    let write = || {
        let mode = if executable { 0o755 } else { 0o644 };
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, path)
    };
    write().inspect_err(|_| {
        // The first error is the one to tell.
        let _ = fs::remove_file(&draft);
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn tree(files: &[(&str, &str)]) -> FileTree {
        let mut tree = FileTree::new();
        for (path, text) in files {
            tree.add(FilePath::new(*path).unwrap(), *text).unwrap();
        }
        tree
    }

    fn states(written: &WrittenFiles) -> Vec<(&str, FileState)> {
        written.files.iter().map(|(path, state)| (path.as_str(), *state)).collect()
    }

    #[test]
    fn what_is_ours_is_brought_up_to_date_and_what_is_not_stays() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("out");
        let first = tree(&[("a/one.yml", "1"), ("a/b/two.yml", "2"), ("three.yml", "3")]);
        first.write(&at, "ansible", false).unwrap();
        fs::write(at.join("mine.txt"), "mine").unwrap();
        let again = first.write(&at, "ansible", false).unwrap();
        assert!(again.files.values().all(|state| *state == FileState::Unchanged));
        // One is another, one is not wanted any more, and one that is not was changed by hand.
        fs::write(at.join("three.yml"), "by hand").unwrap();
        let second = tree(&[("a/one.yml", "1b"), ("new.yml", "n")]);
        let written = second.write(&at, "ansible", false).unwrap();
        assert_eq!(
            states(&written),
            [
                ("a/b/two.yml", FileState::Removed),
                ("a/one.yml", FileState::Changed),
                ("new.yml", FileState::Made),
                ("three.yml", FileState::Kept)
            ]
        );
        assert!(!at.join("a/b").exists());
        assert_eq!(fs::read_to_string(at.join("a/one.yml")).unwrap(), "1b");
        assert_eq!(fs::read_to_string(at.join("mine.txt")).unwrap(), "mine");
        // It is theirs from now on.
        let third = tree(&[("three.yml", "3")]).write(&at, "ansible", false).unwrap_err();
        assert_eq!(third, FolderError::Foreign { files: vec![at.join("three.yml")] });
        assert!(at.join("a/one.yml").exists(), "nothing was written");
        tree(&[("three.yml", "3")]).write(&at, "ansible", true).unwrap();
        assert_eq!(fs::read_to_string(at.join("three.yml")).unwrap(), "3");
    }

    #[test]
    fn another_format_has_another_folder() {
        let folder = tempfile::tempdir().unwrap();
        tree(&[("a.yml", "1")]).write(folder.path(), "ansible", false).unwrap();
        let refused = tree(&[("b.sh", "1")]).write(folder.path(), "shell", false).unwrap_err();
        assert!(matches!(refused, FolderError::OtherFormat { format, .. } if format == "ansible"));
    }

    #[test]
    fn a_link_leads_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let (at, outside) = (folder.path().join("out"), folder.path().join("outside"));
        fs::create_dir_all(&at).unwrap();
        fs::create_dir_all(&outside).unwrap();
        symlink(&outside, at.join("a")).unwrap();
        fs::write(outside.join("x"), "theirs").unwrap();
        symlink(outside.join("x"), at.join("b.yml")).unwrap();
        for overwrite in [false, true] {
            let refused = tree(&[("a/x", "1"), ("b.yml", "2")]).write(&at, "shell", overwrite).unwrap_err();
            assert_eq!(refused, FolderError::Foreign { files: vec![at.join("a/x"), at.join("b.yml")] });
        }
        assert_eq!(fs::read_to_string(outside.join("x")).unwrap(), "theirs");
    }

    /// Killed after any file, it goes on the next time, also when something else is wanted by then.
    #[test]
    fn what_was_left_half_done_is_taken_up() {
        let (old, new) = (tree(&[("a", "1"), ("b", "1")]), tree(&[("a", "2"), ("b", "2")]));
        for half in [&[][..], &["a"][..], &["a", "b"][..]] {
            let folder = tempfile::tempdir().unwrap();
            old.write(folder.path(), "shell", false).unwrap();
            // What the marker says while it is written.
            let both = |one: &str, two: &str| {
                BTreeSet::from([Digest::of(one.as_bytes()), Digest::of(two.as_bytes())])
            };
            let files = ["a", "b"].map(|name| (FilePath::new(name).unwrap(), both("1", "2")));
            let marker = Marker { version: VERSION, format: "shell".to_owned(), files: files.into() };
            put_marker(folder.path(), &marker).unwrap();
            for name in half {
                fs::write(folder.path().join(name), "2").unwrap();
            }
            tree(&[("a", "3"), ("b", "3")]).write(folder.path(), "shell", false).unwrap();
            new.write(folder.path(), "shell", false).unwrap();
            assert_eq!(fs::read_to_string(folder.path().join("b")).unwrap(), "2");
        }
    }

    #[test]
    fn what_can_be_run_can_be_run() {
        let folder = tempfile::tempdir().unwrap();
        let mut tree = FileTree::new();
        tree.add_executable(FilePath::new("x.sh").unwrap(), "#!/bin/sh\n").unwrap();
        tree.write(folder.path(), "shell", false).unwrap();
        let mode = fs::metadata(folder.path().join("x.sh")).unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0o111 & mode);
        assert_eq!(mode & 0o100, 0o100);
    }
}
