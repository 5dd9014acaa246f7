//! The file lock that is the life of a lease, and the witness that lies in the same file.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use super::checksum::checksum;

/// How often a taken lock is tried again.
const RETRY: Duration = Duration::from_millis(5);

/// An exclusive kernel lock on a file. The kernel gives it back when its process ends,
/// whatever way; no clock decides.
#[derive(Debug)]
pub(super) struct LockFile {
    file: File,
}

impl LockFile {
    /// Takes the lock; `None` when it stays taken for `wait`. A child of a process that was
    /// killed between fork and exec may hold it for some milliseconds longer than its parent.
    pub(super) fn acquire(path: &Path, wait: Duration) -> io::Result<Option<Self>> {
        let deadline = Instant::now() + wait;
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(path)?;
            match file.try_lock() {
                // A lock on a file that is no longer the one of that name keeps nobody out.
                Ok(()) if same_file(&file, path)? => return Ok(Some(Self { file })),
                Ok(()) | Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            std::thread::sleep(RETRY.min(left));
        }
    }

    /// Is the lock taken by anyone, this process included? Changes nothing on disk.
    pub(super) fn is_taken(path: &Path) -> io::Result<bool> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        match file.try_lock_shared() {
            Ok(()) => {
                file.unlock()?;
                Ok(false)
            }
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Gives the lock back now, even while a child between fork and exec has the file open.
    pub(super) fn unlock(&self) {
        if let Err(error) = self.file.unlock() {
            tracing::debug!(%error, "a lease's lock could not be given back; it ends with this process");
        }
    }

    /// Writes down what has been acknowledged.
    pub(super) fn witness(&self, witness: Witness) {
        if let Err(error) = self.file.write_all_at(witness.encode().as_bytes(), 0) {
            tracing::debug!(%error, "the witness of a journal could not be written");
        }
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        self.unlock();
    }
}

fn same_file(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(named) => Ok((held.dev(), held.ino()) == (named.dev(), named.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The last acknowledged record of a journal, kept outside the database: SQLite takes a
/// damaged write-ahead log for one that ends early and drops committed records without a
/// word. The witness is written after each commit, without a sync of its own, so it may be
/// older than the journal but never newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Witness {
    pub(super) seq: u64,
    pub(super) fence: u64,
    pub(super) checksum: u32,
}

impl Witness {
    fn encode(self) -> String {
        let line = format!("{:020} {:020} {:08x}", self.seq, self.fence, self.checksum);
        format!("{line} {:08x}\n", checksum(&[line.as_bytes()]))
    }

    /// Reads it; `None` when there is none, or one that power loss left unreadable.
    pub(super) fn read(path: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(path).ok()?;
        let (line, sum) = text.trim_end().rsplit_once(' ')?;
        if u32::from_str_radix(sum, 16).ok()? != checksum(&[line.as_bytes()]) {
            tracing::debug!(place = %path.display(), "the witness of a journal cannot be read and is ignored");
            return None;
        }
        let mut words = line.split(' ');
        Some(Self {
            seq: words.next()?.parse().ok()?,
            fence: words.next()?.parse().ok()?,
            checksum: u32::from_str_radix(words.next()?, 16).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_keeps_others_out_until_it_is_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.lock");
        let held = LockFile::acquire(&path, Duration::ZERO).unwrap().unwrap();
        assert!(LockFile::is_taken(&path).unwrap());
        assert!(LockFile::acquire(&path, Duration::ZERO).unwrap().is_none());
        held.unlock();
        assert!(!LockFile::is_taken(&path).unwrap());
        assert!(LockFile::acquire(&path, Duration::ZERO).unwrap().is_some());
    }

    #[test]
    fn a_lock_on_a_file_that_was_replaced_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.lock");
        let old = LockFile::acquire(&path, Duration::ZERO).unwrap().unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        assert!(!same_file(&old.file, &path).unwrap());
        let new = LockFile::acquire(&path, Duration::ZERO).unwrap().unwrap();
        assert!(same_file(&new.file, &path).unwrap());
    }

    #[test]
    fn a_witness_reads_back_and_a_garbled_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.lock");
        assert_eq!(Witness::read(&path), None);
        let held = LockFile::acquire(&path, Duration::ZERO).unwrap().unwrap();
        assert_eq!(Witness::read(&path), None);
        let witness = Witness { seq: 12, fence: 3, checksum: 0xdead_beef };
        held.witness(Witness { seq: u64::MAX, ..witness });
        held.witness(witness);
        assert_eq!(Witness::read(&path), Some(witness));
        held.file.write_all_at(b"7", 0).unwrap();
        assert_eq!(Witness::read(&path), None);
    }
}
