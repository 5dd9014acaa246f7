//! The edge's own file: what it serves, so that it comes back with it.
//!
//! A header line, then one line a record, each with a checksum of its own: one bad line never
//! takes the others down. Lines that cannot be read are moved to a file beside it.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use serde::{Deserialize, Serialize};

use crate::challenges::ChallengeAnswer;
use crate::names::SiteId;
use crate::table::{Reverted, SiteTable};

const HEADER: &str = "{\"format\":\"vrooli-edge-state\",\"version\":1}";
/// A file larger than this is not ours.
const MAX_BYTES: u64 = 256 << 20;

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Record {
    /// A site that is served.
    Site {
        table: Box<SiteTable>,
        /// When the table reverts, by the machine's clock.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revert_at_unix_ms: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reverted: Option<Reverted>,
    },
    /// A site that was removed: its fence still holds.
    Fence { site: SiteId, fence: u64 },
    /// What an authority is told when it asks, until a time by the machine's clock.
    Answer { answer: ChallengeAnswer, until_unix_ms: u64 },
}

/// A record that could not be loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedEntry {
    /// The line in the state file, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// What was found in the file.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) records: Vec<(usize, Record)>,
    pub(crate) rejected: Vec<RejectedEntry>,
}

/// The file and the folder it lies in. The folder is held open: it may be moved.
#[derive(Debug)]
pub(crate) struct StateFile {
    folder: OwnedFd,
    name: String,
}

impl StateFile {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("{} does not name a file", path.display()))
        })?;
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        Ok(Self { folder: open_folder(folder)?, name: name.to_owned() })
    }

    /// Whether the folder was deleted. One that was only moved is still there.
    pub(crate) fn folder_is_gone(&self) -> bool {
        rustix::fs::fstat(&self.folder).is_ok_and(|stat| stat.st_nlink == 0)
    }

    /// Opens the file that says which edge serves, for locking.
    pub(crate) fn open_lock(&self) -> io::Result<File> {
        let name = format!("{}.lock", self.name);
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(File::from(rustix::fs::openat(&self.folder, name, flags, Mode::RUSR | Mode::WUSR)?))
    }

    /// Reads every record that can be read. An absent file holds none.
    pub(crate) fn load(&self) -> io::Result<Loaded> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = match rustix::fs::openat(&self.folder, &self.name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::NOENT) => return Ok(Loaded::default()),
            Err(error) => return Err(error.into()),
        };
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the state file is over 256 MiB"));
        }
        let (loaded, bad_lines) = parse(&bytes)?;
        if !bad_lines.is_empty() {
            // Best effort: the copy is for a person to look at, the edge goes on without it.
            if let Err(error) = self.write(&format!("{}.rejected", self.name), &bad_lines) {
                tracing::warn!(%error, "could not keep the lines that were rejected");
            }
        }
        Ok(loaded)
    }

    /// Replaces the file as a whole; on an error the old one is still there.
    pub(crate) fn save<'a>(&self, records: impl Iterator<Item = &'a Record>) -> io::Result<()> {
        let mut bytes = Vec::from(HEADER);
        bytes.push(b'\n');
        for record in records {
            bytes.extend_from_slice(line(record)?.as_bytes());
        }
        self.write(&self.name, &bytes)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        replace(&self.folder, name, bytes)
    }
}

/// Replaces a file of a folder as a whole, 0600, durably; on an error the old one is still there.
/// What root writes belongs to whom the folder does: an edge with a user of its own has to read it.
pub(crate) fn replace(folder: &OwnedFd, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = format!(".{name}.new");
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::TRUNC | OFlags::CLOEXEC;
    let written = rustix::fs::openat(folder, &temporary, flags | OFlags::NOFOLLOW, Mode::RUSR | Mode::WUSR)
        .map_err(io::Error::from)
        .and_then(|file| {
            let mut file = File::from(file);
            if rustix::process::geteuid().is_root() {
                let owner = rustix::fs::fstat(folder)?;
                let (user, group) = (Uid::from_raw(owner.st_uid), Gid::from_raw(owner.st_gid));
                rustix::fs::fchown(&file, Some(user), Some(group))?;
            }
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| {
            rustix::fs::renameat(folder, &temporary, folder, name)?;
            Ok(rustix::fs::fsync(folder)?)
        });
    if written.is_err() {
        // Nothing half-written stays; if this fails too the next write truncates it.
        let _ = rustix::fs::unlinkat(folder, &temporary, AtFlags::empty());
    }
    written
}

pub(crate) fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

#[derive(Serialize, Deserialize)]
struct Line<T> {
    crc: String,
    entry: T,
}

/// A record as a line of the file.
pub(crate) fn line(record: &Record) -> io::Result<String> {
    let entry = serde_json::to_string(record)?;
    let crc = format!("{:08x}", crc32fast::hash(entry.as_bytes()));
    // By hand, so that the checksum is over exactly the bytes that are in the file.
    Ok(format!("{{\"crc\":\"{crc}\",\"entry\":{entry}}}\n"))
}

/// What the bytes of a file say, and the lines of it that say nothing.
///
/// # Errors
/// When it is of a newer version.
pub(crate) fn parse(bytes: &[u8]) -> io::Result<(Loaded, Vec<u8>)> {
    let mut loaded = Loaded::default();
    let mut bad_lines = Vec::new();
    for (number, bytes) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        if bytes.is_empty() {
            continue;
        }
        if number == 1 {
            check_header(bytes)?;
            if bytes == HEADER.as_bytes() {
                continue;
            }
        }
        match parse_line(bytes) {
            Ok(record) => loaded.records.push((number, record)),
            Err(reason) => {
                bad_lines.extend_from_slice(bytes);
                bad_lines.push(b'\n');
                loaded.rejected.push(RejectedEntry { line: number, reason });
            }
        }
    }
    Ok((loaded, bad_lines))
}

/// A newer version is refused as a whole, because what it means is not known; a header that
/// cannot be read at all is one more bad line.
fn check_header(bytes: &[u8]) -> io::Result<()> {
    #[derive(Deserialize)]
    struct Header {
        version: u64,
    }
    match serde_json::from_slice::<Header>(bytes) {
        Ok(header) if header.version > 1 => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!(
                "the state file has format version {}, this edge knows 1: run a newer one",
                header.version
            ),
        )),
        _ => Ok(()),
    }
}

fn parse_line(bytes: &[u8]) -> Result<Record, String> {
    let line: Line<Box<serde_json::value::RawValue>> =
        serde_json::from_slice(bytes).map_err(|error| format!("not a record: {error}"))?;
    let crc = format!("{:08x}", crc32fast::hash(line.entry.get().as_bytes()));
    if crc != line.crc {
        return Err(format!("its checksum is {}, its content has {crc}", line.crc));
    }
    let record: Record =
        serde_json::from_str(line.entry.get()).map_err(|error| format!("not a record: {error}"))?;
    if let Record::Site { table, .. } = &record {
        table.check().map_err(|error| error.to_string())?;
    }
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str) -> Record {
        Record::Site {
            table: Box::new(SiteTable::new(SiteId::new(name).unwrap(), 7)),
            revert_at_unix_ms: None,
            reverted: None,
        }
    }

    fn saved(folder: &Path) -> (StateFile, std::path::PathBuf) {
        let path = folder.join("edge.json");
        let file = StateFile::open(&path).unwrap();
        let fence = Record::Fence { site: SiteId::new("gone").unwrap(), fence: 3 };
        file.save([record("one"), record("two"), fence].iter()).unwrap();
        (file, path)
    }

    #[test]
    fn what_was_saved_is_loaded_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let (file, _) = saved(folder.path());
        let loaded = file.load().unwrap();
        assert_eq!(loaded.records.len(), 3);
        assert_eq!(loaded.records[1], (3, record("two")));
        assert!(loaded.rejected.is_empty());
        let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "{names:?}");
    }

    #[test]
    fn any_flipped_bit_costs_its_own_line_at_most() {
        let mut good = format!("{HEADER}\n").into_bytes();
        for name in ["one", "two", "three"] {
            good.extend(line(&record(name)).unwrap().into_bytes());
        }
        for index in 0..good.len() {
            let mut bad = good.clone();
            bad[index] ^= 0x04;
            match parse(&bad) {
                Ok((loaded, bad_lines)) => {
                    // A newline that was flipped joins two lines.
                    let lost = if good[index] == b'\n' { 2 } else { 1 };
                    assert!(loaded.records.len() >= 3 - lost, "byte {index}");
                    assert_eq!(loaded.rejected.is_empty(), bad_lines.is_empty());
                    for (_, have) in loaded.records {
                        let whole = ["one", "two", "three"].map(record).contains(&have);
                        assert!(whole, "byte {index} was believed");
                    }
                }
                // Only a header that says another version stops everything.
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::Unsupported, "byte {index}"),
            }
        }
    }

    #[test]
    fn a_truncated_file_loads_up_to_the_cut_and_keeps_the_rest_aside() {
        let folder = tempfile::tempdir().unwrap();
        let (file, path) = saved(folder.path());
        let good = std::fs::read(&path).unwrap();
        std::fs::write(&path, &good[..good.len() - 10]).unwrap();
        let loaded = file.load().unwrap();
        assert_eq!(loaded.records.len(), 2);
        assert_eq!(loaded.rejected[0].line, 4);
        assert!(folder.path().join("edge.json.rejected").exists());
    }

    #[test]
    fn a_newer_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edge.json");
        std::fs::write(&path, "{\"format\":\"vrooli-edge-state\",\"version\":2}\n").unwrap();
        let error = StateFile::open(&path).unwrap().load().unwrap_err();
        assert!(error.to_string().contains("version 2"), "{error}");
    }

    #[test]
    fn a_deleted_folder_is_gone_and_a_moved_one_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("a");
        std::fs::create_dir(&folder).unwrap();
        let (file, _) = saved(&folder);
        let moved = parent.path().join("b");
        std::fs::rename(&folder, &moved).unwrap();
        assert!(!file.folder_is_gone());
        file.save([record("three")].iter()).unwrap();
        assert!(moved.join("edge.json").exists());
        std::fs::remove_dir_all(&moved).unwrap();
        assert!(file.folder_is_gone());
        assert!(file.save([record("four")].iter()).is_err());
    }
}
