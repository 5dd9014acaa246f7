//! Digests of programs that were read before, so that each is read once.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What changes when a file does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let seen = fs::metadata(path).ok()?;
        Some(Self {
            device: seen.dev(),
            inode: seen.ino(),
            size: seen.size(),
            modified: (seen.mtime(), seen.mtime_nsec()),
            changed: (seen.ctime(), seen.ctime_nsec()),
        })
    }
}

/// Digests in a file; without one none are kept.
#[derive(Debug, Clone, Default)]
pub(crate) struct ProgramDigests {
    file: Option<PathBuf>,
}

type Kept = BTreeMap<PathBuf, (Stamp, String)>;

impl ProgramDigests {
    /// Those that a file keeps. It need not be there.
    pub(crate) fn in_file(file: PathBuf) -> Self {
        Self { file: Some(file) }
    }

    fn read(&self) -> Kept {
        let text = self.file.as_ref().and_then(|file| fs::read(file).ok());
        // What cannot be read is kept anew.
        text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    /// The digest of a file that is as it was when it was kept.
    pub(crate) fn get(&self, path: &Path) -> Option<String> {
        let (stamp, digest) = self.read().remove(path)?;
        (Stamp::of(path)? == stamp).then_some(digest)
    }

    /// Keeps a digest, if the file did not change while it was read. That it cannot be kept is no
    /// error: it is read again the next time.
    pub(crate) fn keep(&self, path: &Path, before: Option<Stamp>, digest: &str) {
        let (Some(file), Some(stamp)) = (&self.file, before) else { return };
        let Some(folder) = file.parent().filter(|_| Stamp::of(path).as_ref() == Some(&stamp)) else { return };
        let mut kept = self.read();
        kept.retain(|path, _| path.exists());
        kept.insert(path.to_owned(), (stamp, digest.to_owned()));
        let write = || {
            let mut draft = tempfile::NamedTempFile::new_in(folder)?;
            draft.write_all(&serde_json::to_vec(&kept)?)?;
            draft.persist(file).map_err(|error| error.error)
        };
        if let Err(error) = write() {
            tracing::debug!(%error, "the digest of a program is not kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_kept_until_the_file_changes() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        fs::write(&program, "one").unwrap();
        let digests = ProgramDigests::in_file(folder.path().join("kept.json"));
        assert_eq!(digests.get(&program), None);
        digests.keep(&program, Stamp::of(&program), "1");
        assert_eq!(digests.get(&program).as_deref(), Some("1"));
        let stamp = Stamp::of(&program);
        fs::write(&program, "two!").unwrap();
        assert_eq!(digests.get(&program), None);
        // It changed while it was read.
        digests.keep(&program, stamp, "2");
        assert_eq!(digests.get(&program), None);
        fs::write(folder.path().join("kept.json"), "x").unwrap();
        assert_eq!(digests.get(&program), None);
        ProgramDigests::default().keep(&program, Stamp::of(&program), "3");
        assert_eq!(ProgramDigests::default().get(&program), None);
    }
}
