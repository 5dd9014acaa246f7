//! What was built as one file: the same folder gives the same bytes, on any machine.
//!
//! Entries are sorted, belong to nobody, and have one of two modes. The time of a file says nothing
//! about when it was made: it follows from what is in it.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use tar::{Builder, EntryType, Header};
use tempfile::NamedTempFile;
use vrooli_deploy_core::diagnostics::{Code, rules};
use walkdir::WalkDir;

use crate::blocks::{self, BLOCK, fill};
use crate::store::{Cutter, StoredFile};

/// How many links a path may go through; the kernel stops at as many.
const MOST_LINKS: u32 = 40;
/// The earliest time that an entry has, in seconds since 1970: 2001-09-09.
const EARLIEST: u64 = 1_000_000_000;
/// How many different times there are. The last is in 2018, so that none lies in the future.
const TIMES: u64 = 1 << 29;

/// A folder as one file, which goes with this.
#[derive(Debug)]
pub struct Archive {
    file: StoredFile,
    entries: u64,
    _packed: NamedTempFile,
}

/// Why a folder cannot be packed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// A link leads out of the folder: on a host it would lead to something else.
    #[error("{} leads out of what was built, to {}", .link.display(), .target.display())]
    LeadsOutside {
        /// The link, from the folder.
        link: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// A socket, a pipe or a device.
    #[error("{} is neither a file nor a folder nor a link", .path.display())]
    NoFile {
        /// What, from the folder.
        path: PathBuf,
    },
    /// It was written while it was packed.
    #[error("{} was changed while it was being packed", .path.display())]
    Changed {
        /// What, from the folder.
        path: PathBuf,
    },
    /// Something cannot be read, or the archive cannot be written.
    #[error("cannot pack {}", .path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
}

impl ArchiveError {
    /// The message's code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::LeadsOutside { .. } => rules::ARTEFACT_LEADS_OUTSIDE,
            Self::NoFile { .. } | Self::Changed { .. } | Self::Io { .. } => rules::ARTEFACT_UNPACKABLE,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::LeadsOutside { .. } => {
                "make a build that brings what it needs: copies in the place of links (`python -m venv --copies`, `cp -L`), or links from there that are relative and stay inside".to_owned()
            }
            Self::NoFile { .. } => "let the last build step remove it; a program makes it anew when it runs".to_owned(),
            Self::Changed { .. } => "a build step leaves a process running; let it end before the step does".to_owned(),
            Self::Io { .. } => "mend what the system says, and run the command again".to_owned(),
        }
    }
}

impl From<ArchiveError> for vrooli_deploy_core::provider::ProviderError {
    fn from(error: ArchiveError) -> Self {
        use vrooli_deploy_core::provider::ErrorKind;
        let kind = match &error {
            ArchiveError::Io { error, .. } if error.kind() == io::ErrorKind::StorageFull => ErrorKind::Quota,
            _ => ErrorKind::App,
        };
        Self::new(kind, error.to_string())
            .with_code(error.code().to_string())
            .with_help(error.help())
            .with_source(error)
    }
}

/// What files that are being packed begin with.
const PREFIX: &str = ".archive-";
/// The same of an image that is saved.
pub(crate) const IMAGE_PREFIX: &str = ".image-";

impl Archive {
    /// Removes what was being packed in a folder by somebody who was killed.
    pub(crate) fn remove_left_behind(scratch: &Path) {
        for entry in fs::read_dir(scratch).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if [PREFIX, IMAGE_PREFIX].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
                // Tried again the next time.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Packs a folder, to a file in `scratch` that is removed when this is dropped. It is as large
    /// as the folder; a few MiB of memory are enough.
    ///
    /// # Errors
    /// See [`ArchiveError`].
    pub fn pack(folder: &Path, scratch: &Path) -> Result<Self, ArchiveError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |error| ArchiveError::Io { path, error }
        };
        let folder = folder.canonicalize().map_err(at(folder))?;
        let packed = tempfile::Builder::new().prefix(PREFIX).tempfile_in(scratch).map_err(at(scratch))?;
        let mut packing = Packing::to(packed.as_file());
        let mut entries = 0;
        for entry in WalkDir::new(&folder).min_depth(1).sort_by(|a, b| a.file_name().cmp(b.file_name())) {
            let entry = entry.map_err(|error| ArchiveError::Io {
                path: error.path().unwrap_or(&folder).to_owned(),
                error: error.into(),
            })?;
            let inside = entry.path().strip_prefix(&folder).unwrap_or(entry.path());
            packing.add(&folder, inside, entry.file_type())?;
            entries += 1;
        }
        let file = StoredFile::cut(packed.path(), packing.end().map_err(at(packed.path()))?);
        Ok(Self { file, entries, _packed: packed })
    }

    /// The archive itself, in pieces.
    #[must_use]
    pub fn file(&self) -> &StoredFile {
        &self.file
    }

    /// How many files, folders and links are in it.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries
    }
}

/// An archive that is being written.
struct Packing<'a> {
    archive: Builder<BufWriter<Cut<'a>>>,
    block: Vec<u8>,
}

impl<'a> Packing<'a> {
    fn to(file: &'a File) -> Self {
        let to = BufWriter::with_capacity(1 << 20, Cut { to: file, cutter: Cutter::new() });
        Self { archive: Builder::new(to), block: vec![0; BLOCK] }
    }

    fn add(&mut self, folder: &Path, inside: &Path, kind: fs::FileType) -> Result<(), ArchiveError> {
        let path = folder.join(inside);
        let failed = |error| ArchiveError::Io { path: path.clone(), error };
        let mut header = Header::new_gnu();
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        if kind.is_dir() {
            header.set_entry_type(EntryType::Directory);
            header.set_mode(0o755);
            header.set_mtime(EARLIEST);
            self.archive.append_data(&mut header, inside, io::empty()).map_err(failed)
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).map_err(failed)?;
            if !leads_inside(folder, inside, &target) {
                return Err(ArchiveError::LeadsOutside { link: inside.to_owned(), target });
            }
            header.set_entry_type(EntryType::Symlink);
            header.set_mode(0o777);
            header.set_mtime(EARLIEST);
            self.archive.append_link(&mut header, inside, &target).map_err(failed)
        } else if kind.is_file() {
            match self.add_file(&path, inside, header) {
                Ok(true) => Ok(()),
                Ok(false) => Err(ArchiveError::Changed { path: inside.to_owned() }),
                Err(error) => Err(failed(error)),
            }
        } else {
            Err(ArchiveError::NoFile { path: inside.to_owned() })
        }
    }

    /// Adds a file; no: it was written meanwhile.
    fn add_file(&mut self, path: &Path, inside: &Path, mut header: Header) -> io::Result<bool> {
        let mut file = File::open(path)?;
        let before = file.metadata()?;
        let size = before.len();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(if before.permissions().mode() & 0o111 != 0 { 0o755 } else { 0o644 });
        header.set_size(size);
        let read = fill(&mut file, &mut self.block)?;
        let begin = &self.block[..read];
        if size <= read as u64 {
            header.set_mtime(time_of(crc32fast::hash(begin)));
            self.archive.append_data(&mut header, inside, begin)?;
            return Ok(size == read as u64);
        }
        // Its time stands before what it follows from: it is read twice.
        let mut sum = crc32fast::Hasher::new();
        sum.update(begin);
        let rest = blocks::each(&mut file, &mut self.block, |read| {
            sum.update(read);
            Ok(())
        })?;
        if read as u64 + rest != size {
            return Ok(false);
        }
        header.set_mtime(time_of(sum.finalize()));
        file.rewind()?;
        let content = BufReader::with_capacity(BLOCK, Exact { left: size, file: &mut file });
        match self.archive.append_data(&mut header, inside, content) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            other => other?,
        }
        let stamp = |of: &fs::Metadata| (of.len(), of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec());
        Ok(stamp(&before) == stamp(&file.metadata()?))
    }

    fn end(self) -> io::Result<Cutter> {
        let to = self.archive.into_inner()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(to.cutter)
    }
}

/// A file that is cut into pieces while it is written.
struct Cut<'a> {
    to: &'a File,
    cutter: Cutter,
}

impl io::Write for Cut<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.cutter.take(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// The time of a file follows from what is in it. One time for all would be as reproducible, and
/// wrong: web servers make an `ETag` of size and time, so that a changed file of the same size
/// would be taken for the old one by every browser that has it.
fn time_of(sum: u32) -> u64 {
    EARLIEST + u64::from(sum) % TIMES
}

/// So many bytes and no fewer: an archive with a gap would be read wrong from there on.
struct Exact<'a> {
    file: &'a mut File,
    left: u64,
}

impl Read for Exact<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read(&mut buffer[..most])?;
        if count == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// Does a link lead to a place in the folder, there or not? Walked as the kernel would: a `..`
/// goes up from where a link on the way has led to, which is not what its text looks like.
fn leads_inside(folder: &Path, link: &Path, target: &Path) -> bool {
    let mut at: Vec<OsString> = link.parent().into_iter().flatten().map(OsStr::to_owned).collect();
    let mut rest: VecDeque<PathBuf> = parts(target).collect();
    let mut links = 0;
    while let Some(part) = rest.pop_front() {
        match part.components().next() {
            Some(Component::Normal(name)) => {
                at.push(name.to_owned());
                let place = at.iter().fold(folder.to_owned(), |path, name| path.join(name));
                if let Ok(further) = fs::read_link(place) {
                    links += 1;
                    if links > MOST_LINKS {
                        // It leads in a circle, and so nowhere.
                        return true;
                    }
                    at.pop();
                    for part in parts(&further).collect::<Vec<_>>().into_iter().rev() {
                        rest.push_front(part);
                    }
                }
            }
            Some(Component::ParentDir) => {
                if at.pop().is_none() {
                    return false;
                }
            }
            Some(Component::CurDir) | None => {}
            Some(Component::RootDir | Component::Prefix(_)) => return false,
        }
    }
    true
}

fn parts(path: &Path) -> impl Iterator<Item = PathBuf> {
    path.components().map(|component| PathBuf::from(component.as_os_str()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Write as _;
    use std::os::unix::fs::symlink;
    use std::time::{Duration, SystemTime};

    use proptest::prelude::*;

    use super::*;

    fn pack(folder: &Path) -> Result<Archive, ArchiveError> {
        Archive::pack(folder, &std::env::temp_dir())
    }

    #[derive(Debug, Clone)]
    struct Made {
        bytes: Vec<u8>,
        executable: bool,
    }

    fn made() -> impl Strategy<Value = Made> {
        (proptest::collection::vec(any::<u8>(), 0..2000), any::<bool>())
            .prop_map(|(bytes, executable)| Made { bytes, executable })
    }

    /// Two folders with the same in them, made in another order, at another time, by others.
    fn make(folder: &Path, files: &[(&String, &Made)], mode: u32, age: u64) {
        for (path, file) in files {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &file.bytes).unwrap();
            let mode = if file.executable { mode | 0o100 } else { mode & 0o666 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let time = SystemTime::now() - Duration::from_secs(age);
            File::options().append(true).open(&path).unwrap().set_modified(time).unwrap();
        }
        symlink("a/../b", folder.join("link")).unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn same_folder_same_bytes(files in proptest::collection::btree_map("[a-c]{1,3}x(/[a-zäö .-]{1,60}y){0,4}", made(), 0..8)) {
            // What is a file cannot be a folder, too.
            let names: Vec<String> = files.keys().cloned().collect();
            let files: BTreeMap<String, Made> = files.into_iter().filter(|(name, _)| {
                !names.iter().any(|other| other.starts_with(&format!("{name}/")))
            }).collect();
            let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let mut list: Vec<_> = files.iter().collect();
            make(first.path(), &list, 0o644, 0);
            list.reverse();
            make(second.path(), &list, 0o600, 86_400);
            let (first, second) = (pack(first.path()).unwrap(), pack(second.path()).unwrap());
            prop_assert_eq!(first.file().digest(), second.file().digest());
            prop_assert_eq!(first.entries(), second.entries());
            // All of it is in there, as it was.
            let mut read = tar::Archive::new(File::open(first.file().path()).unwrap());
            let mut found = 0;
            for entry in read.entries().unwrap() {
                let mut entry = entry.unwrap();
                if entry.header().entry_type() != EntryType::Regular { continue; }
                let file = &files[entry.path().unwrap().to_str().unwrap()];
                prop_assert_eq!(entry.header().mode().unwrap(), if file.executable { 0o755 } else { 0o644 });
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).unwrap();
                prop_assert_eq!(&bytes, &file.bytes);
                found += 1;
            }
            prop_assert_eq!(found, files.len());
        }
    }

    #[test]
    fn the_bytes_are_these() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("bin")).unwrap();
        fs::write(folder.path().join("bin/app"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(folder.path().join("bin/app"), fs::Permissions::from_mode(0o4711)).unwrap();
        symlink("bin/app", folder.path().join("app")).unwrap();
        // Of another version of this program or of `tar`: hosts would be sent all of it again.
        let expected = "98e031802bc4aaf9181bb0c028b8506d1a5c4513d39a95aaf51825fc6f3af36e";
        assert_eq!(pack(folder.path()).unwrap().file().digest(), expected);
    }

    #[test]
    fn a_file_of_several_blocks_is_packed_as_a_small_one_is() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = |length: usize| (0..length).map(|at| ((at * at) >> 7) as u8).collect::<Vec<u8>>();
        let long = format!("{}.bin", "n".repeat(120));
        let files = [("a", BLOCK - 1), ("b", BLOCK), (&*long, 3 * BLOCK + 700), ("p", BLOCK + 1), ("z", 3)];
        for (name, length) in files {
            fs::write(folder.path().join(name), bytes(length)).unwrap();
        }
        let archive = pack(folder.path()).unwrap();
        let mut read = tar::Archive::new(File::open(archive.file().path()).unwrap());
        let mut found = Vec::new();
        for entry in read.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut there = Vec::new();
            entry.read_to_end(&mut there).unwrap();
            assert_eq!(entry.header().mtime().unwrap(), time_of(crc32fast::hash(&there)));
            found.push((entry.path().unwrap().to_str().unwrap().to_owned(), there.len()));
            assert_eq!(there, bytes(there.len()));
        }
        assert_eq!(found, files.map(|(name, length)| (name.to_owned(), length)));
        // Otherwise packed, hosts would be sent all of it again.
        let expected = "e7e381a507d680666fa9ea790f02c14163fdbe8c5281259ab1fc91626ebe00e2";
        assert_eq!(archive.file().digest(), expected);
    }

    #[test]
    fn a_file_that_is_written_while_it_is_packed_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, vec![0; 64 * BLOCK]).unwrap();
        let ended = std::sync::atomic::AtomicBool::new(false);
        let refused = std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut log = File::options().append(true).open(&path).unwrap();
                while !ended.load(std::sync::atomic::Ordering::SeqCst) {
                    log.write_all(b"line").unwrap();
                }
            });
            let refused = (0..10).find_map(|_| pack(folder.path()).err());
            ended.store(true, std::sync::atomic::Ordering::SeqCst);
            refused
        });
        assert!(
            matches!(&refused, Some(ArchiveError::Changed { path }) if path == Path::new("log")),
            "{refused:?}"
        );
    }

    #[test]
    fn a_changed_file_of_the_same_size_has_another_time() {
        let time = |bytes: &[u8]| {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("app.js"), bytes).unwrap();
            let archive = pack(folder.path()).unwrap();
            let mut read = tar::Archive::new(File::open(archive.file().path()).unwrap());
            let entry = read.entries().unwrap().next().unwrap().unwrap();
            entry.header().mtime().unwrap()
        };
        assert_ne!(time(b"one"), time(b"two"));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        assert!((EARLIEST..now).contains(&time(b"one")));
    }

    #[test]
    fn links_stay_inside() {
        for (target, inside) in [
            ("file", true),
            ("../file", true),
            ("../absent/x", true),
            ("..", true),
            ("../..", false),
            ("/etc/passwd", false),
            ("../sub/../../x", false),
            // Through a link that leads up: its text looks deeper than it is.
            ("../top/top/top/..", false),
            ("../top/sub", true),
            ("circle", true),
        ] {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join("sub")).unwrap();
            symlink(".", folder.path().join("top")).unwrap();
            symlink("circle", folder.path().join("sub/circle")).unwrap();
            symlink(target, folder.path().join("sub/link")).unwrap();
            match pack(folder.path()) {
                Ok(_) => assert!(inside, "{target}"),
                Err(ArchiveError::LeadsOutside { link, target: said }) => {
                    assert!(!inside, "{target}");
                    assert_eq!((link.as_path(), said.as_path()), (Path::new("sub/link"), Path::new(target)));
                }
                Err(other) => panic!("{target}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
        let error = pack(folder.path()).unwrap_err();
        assert!(matches!(&error, ArchiveError::NoFile { path } if path == Path::new("socket")), "{error:?}");
        assert_eq!(error.code().to_string(), "VD0931");
    }
}
