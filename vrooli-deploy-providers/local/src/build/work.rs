//! The work copy: as the sources say, beside what earlier builds left. Only what changed
//! is written; what the sources no longer have is removed; what builds made is kept.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use vrooli_deploy_core::provider::{Cancellation, ErrorKind, ProviderError, Result};

use super::hashes::{Hash, hexadecimal, unhexadecimal};
use super::select::{Entry, EntryKind, Stamp};
use super::source::Source;
use crate::{failure, files};

const HEADER: &str = "vrooli-deploy work 1";

/// What was written into a work copy, so that the next time only the difference is.
#[derive(Debug, Default, PartialEq, Eq)]
struct Written {
    files: BTreeMap<PathBuf, (Hash, bool, Stamp)>,
    others: BTreeSet<PathBuf>,
}

/// Brings the work copy up to date. Killed in the middle it is brought up to date by the
/// next call: what is about to be written is noted before.
pub(super) fn update(source: &Source, work: &Path, cancellation: &Cancellation) -> Result<()> {
    let (list, pending) = (work.with_extension("list"), work.with_extension("pending"));
    files::make_private(work).map_err(failure::at("make", work))?;
    let before = read(&list)?;
    let begun = read(&pending)?;
    let wanted: BTreeSet<&Path> = source.entries.iter().map(|(entry, _)| entry.path.as_path()).collect();

    let note =
        Written { others: wanted.iter().map(|path| path.to_path_buf()).collect(), ..Written::default() };
    write(&pending, &note)?;

    let ours = [&before, &begun].into_iter().flat_map(|w| w.files.keys().chain(w.others.iter()));
    // Longest first: a folder goes after what was in it.
    let mut gone: Vec<&PathBuf> = ours.filter(|path| !wanted.contains(path.as_path())).collect();
    gone.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
    for path in gone {
        remove(&work.join(path))?;
    }

    let mut writer = Writer { work, folders: HashSet::new() };
    let mut after = Written::default();
    for (entry, hash) in &source.entries {
        if cancellation.is_cancelled() {
            return Err(failure::cancelled("copying the sources"));
        }
        let to = work.join(&entry.path);
        match (&entry.kind, hash) {
            (EntryKind::Folder, _) => {
                writer.folder(&entry.path)?;
                after.others.insert(entry.path.clone());
            }
            (EntryKind::Link { target }, _) => {
                writer.link(source, entry, target)?;
                after.others.insert(entry.path.clone());
            }
            (EntryKind::File { executable }, Some(hash)) => {
                let known = before.files.get(&entry.path);
                let same = known.is_some_and(|(was, mode, stamp)| {
                    was == hash
                        && mode == executable
                        && fs::symlink_metadata(&to)
                            .is_ok_and(|meta| meta.is_file() && Stamp::of(&meta) == *stamp)
                });
                if !same {
                    writer.file(source, entry, *executable)?;
                }
                let meta = fs::symlink_metadata(&to).map_err(failure::at("read", &to))?;
                after.files.insert(entry.path.clone(), (*hash, *executable, Stamp::of(&meta)));
            }
            (EntryKind::File { .. }, None) => {}
        }
    }
    write(&list, &after)?;
    files::absent_is_ok(fs::remove_file(&pending)).map_err(failure::at("remove", &pending))
}

/// Removes what the sources no longer have; a folder only if a build left nothing in it.
fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => match fs::remove_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            other => other,
        },
        Ok(_) => fs::remove_file(path),
        // Its folder may have become a file.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(()),
        Err(error) => Err(error),
    };
    files::absent_is_ok(removed).map_err(failure::at("remove", path))
}

struct Writer<'a> {
    work: &'a Path,
    /// Seen to be folders, not links to somewhere else.
    folders: HashSet<PathBuf>,
}

impl Writer<'_> {
    /// Makes a folder and those above it. A link in the way is removed: what is written
    /// stays inside the work copy, wherever a build's links lead.
    fn folder(&mut self, relative: &Path) -> Result<()> {
        let mut path = self.work.to_path_buf();
        for part in relative.components() {
            path.push(part);
            if self.folders.contains(&path) {
                continue;
            }
            match fs::symlink_metadata(&path) {
                Ok(meta) if meta.is_dir() => {}
                Ok(_) => {
                    fs::remove_file(&path).map_err(failure::at("remove", &path))?;
                    fs::create_dir(&path).map_err(failure::at("make", &path))?;
                }
                Err(_) => fs::create_dir(&path).map_err(failure::at("make", &path))?,
            }
            self.folders.insert(path.clone());
        }
        Ok(())
    }

    fn clear(&mut self, relative: &Path) -> Result<PathBuf> {
        if let Some(folder) = relative.parent() {
            self.folder(folder)?;
        }
        let to = self.work.join(relative);
        files::remove_tree(&to).map_err(failure::at("replace", &to))?;
        Ok(to)
    }

    fn file(&mut self, source: &Source, entry: &Entry, executable: bool) -> Result<()> {
        let to = self.clear(&entry.path)?;
        let from = source.context.join(&entry.path);
        fs::copy(&from, &to).map_err(failure::at("copy", &from))?;
        let mode = if executable { 0o755 } else { 0o644 };
        fs::set_permissions(&to, fs::Permissions::from_mode(mode)).map_err(failure::at("write", &to))?;
        let meta = fs::metadata(&from).map_err(failure::at("read", &from))?;
        if Stamp::of(&meta) != entry.stamp {
            return Err(ProviderError::new(
                ErrorKind::Conflict,
                format!("`{}` was written while it was being copied", from.display()),
            )
            .with_help("run the same command again when nothing writes to the sources"));
        }
        Ok(())
    }

    fn link(&mut self, source: &Source, entry: &Entry, target: &Path) -> Result<()> {
        let target = match target.strip_prefix(&source.context) {
            // Into the user's tree: a build would write through it.
            Ok(inside) => entry
                .path
                .parent()
                .into_iter()
                .flat_map(Path::components)
                .map(|_| "..")
                .collect::<PathBuf>()
                .join(inside),
            Err(_) => target.to_path_buf(),
        };
        let path = self.work.join(&entry.path);
        if fs::read_link(&path).is_ok_and(|have| have == target) {
            return Ok(());
        }
        let to = self.clear(&entry.path)?;
        std::os::unix::fs::symlink(&target, &to).map_err(failure::at("make", &to))
    }
}

fn write(path: &Path, written: &Written) -> Result<()> {
    let mut text = format!("{HEADER}\n");
    let plain = |path: &PathBuf| path.to_str().filter(|path| !path.contains('\n')).map(str::to_owned);
    for (path, (hash, executable, stamp)) in &written.files {
        let Some(path) = plain(path) else { continue };
        let Stamp { size, modified, changed, inode } = stamp;
        // Writing to a String cannot fail.
        let _ =
            writeln!(text, "f {} {executable} {size} {modified} {changed} {inode} {path}", hexadecimal(hash));
    }
    for path in &written.others {
        if let Some(path) = plain(path) {
            let _ = writeln!(text, "o {path}");
        }
    }
    text.push_str("end\n");
    files::write_atomic(path, text.as_bytes()).map_err(failure::at("write", path))
}

/// A list that cannot be read is none: then everything is written.
fn read(path: &Path) -> Result<Written> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(parse(&text).unwrap_or_default()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Written::default()),
        Err(error) => Err(failure::io("read", path, &error)),
    }
}

fn parse(text: &str) -> Option<Written> {
    let body = text.strip_prefix(HEADER)?.strip_prefix('\n')?.strip_suffix("end\n")?;
    let mut written = Written::default();
    for line in body.lines() {
        if let Some(path) = line.strip_prefix("o ") {
            written.others.insert(PathBuf::from(path));
            continue;
        }
        let mut fields = line.strip_prefix("f ")?.splitn(7, ' ');
        let hash = unhexadecimal(fields.next()?)?;
        let executable = fields.next()?.parse().ok()?;
        let stamp = Stamp {
            size: fields.next()?.parse().ok()?,
            modified: fields.next()?.parse().ok()?,
            changed: fields.next()?.parse().ok()?,
            inode: fields.next()?.parse().ok()?,
        };
        written.files.insert(PathBuf::from(fields.next()?), (hash, executable, stamp));
    }
    Some(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Layout;
    use vrooli_deploy_core::names::{AppName, EnvironmentName, StackId};
    use vrooli_deploy_core::provider::BuildRequest;

    struct Place {
        folder: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            let place = Self { folder: tempfile::tempdir().unwrap() };
            fs::create_dir_all(place.tree()).unwrap();
            fs::create_dir_all(place.folder.path().join("state")).unwrap();
            place
        }
        fn tree(&self) -> PathBuf {
            self.folder.path().join("tree")
        }
        fn work(&self) -> PathBuf {
            self.folder.path().join("state/work")
        }
        fn update(&self) {
            let stack = StackId {
                app: AppName::new("a").unwrap(),
                environment: EnvironmentName::new("default").unwrap(),
            };
            let request = BuildRequest {
                root: self.tree(),
                context: self.tree(),
                exclude: Vec::new(),
                include: Vec::new(),
                steps: Vec::new(),
                pass_env: Vec::new(),
                env: BTreeMap::new(),
                image: None,
                runs: Vec::new(),
                base_images: BTreeMap::new(),
                containers: None,
            };
            let none = Cancellation::new();
            let source = super::super::source::read(
                &Layout::new(self.folder.path().join("state")),
                &stack,
                &request,
                &none,
            )
            .unwrap();
            update(&source, &self.work(), &none).unwrap();
        }
    }

    #[test]
    fn only_what_changed_is_written_and_what_is_gone_is_removed() {
        let place = Place::new();
        fs::create_dir(place.tree().join("old")).unwrap();
        fs::write(place.tree().join("a"), "a").unwrap();
        fs::write(place.tree().join("old/b"), "b").unwrap();
        fs::write(place.tree().join("old/c"), "c").unwrap();
        std::os::unix::fs::symlink(
            fs::canonicalize(place.tree()).unwrap().join("a"),
            place.tree().join("old/link"),
        )
        .unwrap();
        place.update();
        let kept = Stamp::of(&fs::metadata(place.work().join("a")).unwrap());
        assert_eq!(fs::read_link(place.work().join("old/link")).unwrap(), Path::new("../a"));
        fs::write(place.work().join("old/output"), "made").unwrap();
        fs::remove_file(place.tree().join("old/b")).unwrap();
        fs::write(place.tree().join("old/c"), "changed").unwrap();
        // What a build wrote over a source is put back.
        fs::write(place.work().join("old/c"), "by a build").unwrap();
        place.update();
        assert_eq!(Stamp::of(&fs::metadata(place.work().join("a")).unwrap()), kept);
        assert!(!place.work().join("old/b").exists());
        assert_eq!(fs::read_to_string(place.work().join("old/c")).unwrap(), "changed");
        assert_eq!(fs::read_to_string(place.work().join("old/output")).unwrap(), "made");
    }

    #[test]
    fn what_a_killed_update_wrote_is_removed_when_the_source_is_gone() {
        let place = Place::new();
        fs::write(place.tree().join("a"), "a").unwrap();
        place.update();
        // As a kill after the note and one file leaves it.
        let note = Written { others: [PathBuf::from("a"), PathBuf::from("b")].into(), ..Written::default() };
        write(&place.work().with_extension("pending"), &note).unwrap();
        fs::write(place.work().join("b"), "half").unwrap();
        place.update();
        assert!(!place.work().join("b").exists());
        assert!(!place.work().with_extension("pending").exists());
    }

    #[test]
    fn a_link_that_a_build_made_is_not_followed() {
        let place = Place::new();
        fs::create_dir(place.tree().join("sub")).unwrap();
        fs::write(place.tree().join("sub/a"), "a").unwrap();
        place.update();
        let elsewhere = place.folder.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        fs::remove_dir_all(place.work().join("sub")).unwrap();
        std::os::unix::fs::symlink(&elsewhere, place.work().join("sub")).unwrap();
        place.update();
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
        assert_eq!(fs::read_to_string(place.work().join("sub/a")).unwrap(), "a");
    }
}
