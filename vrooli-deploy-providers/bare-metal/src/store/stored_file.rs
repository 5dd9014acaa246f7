use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

use super::pieces::{Cutter, Piece};
use crate::blocks::{self, BLOCK};
use crate::remote::PhaseStream;

/// What a `tar` is padded to, in bytes.
const PADDED: usize = 512;

/// A file of this machine by its content, in pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    path: PathBuf,
    size: u64,
    pub(super) pieces: Vec<Piece>,
}

impl StoredFile {
    /// Looks at a file, in pieces: however large it is, a few MiB of memory are enough.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(path: &Path) -> io::Result<Self> {
        let (mut file, mut cutter) = (File::open(path)?, Cutter::new());
        blocks::each(&mut file, &mut vec![0; BLOCK], |read| {
            cutter.take(read);
            Ok(())
        })?;
        Ok(Self::cut(path, cutter))
    }

    /// A file that was cut while it was written.
    pub(crate) fn cut(path: &Path, cutter: Cutter) -> Self {
        let pieces = cutter.end();
        let size = pieces.iter().map(|piece| piece.length).sum();
        Self { path: path.to_owned(), size, pieces }
    }

    /// Where it is on this machine.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What its content is known by, in hexadecimal: the SHA-256 of those of its pieces, in their order.
    #[must_use]
    pub fn digest(&self) -> String {
        digest_of(self.pieces.iter().map(|piece| piece.digest.as_str()))
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How many pieces it has; some may be the same.
    #[must_use]
    pub fn pieces(&self) -> usize {
        self.pieces.len()
    }

    /// The pieces of these names, each once, to be sent. `checked`: a file that was changed since is seen
    /// here; else by who gets them, for whom they are not what they are called.
    pub(super) fn part(&self, names: &BTreeSet<&str>, checked: bool) -> Part {
        let mut left = names.clone();
        let pieces = self.pieces.iter().filter(|piece| left.remove(piece.digest.as_str())).cloned().collect();
        Part { path: self.path.clone(), pieces, checked }
    }
}

/// Pieces on their way: a `tar` of files that bear their digests, read from the disk as it is sent.
#[derive(Debug, Clone)]
pub(super) struct Part {
    path: PathBuf,
    pieces: Vec<Piece>,
    checked: bool,
}

impl Part {
    pub(super) fn count(&self) -> usize {
        self.pieces.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.length).sum()
    }
}

impl PhaseStream for Part {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        let file = File::open(&self.path)?;
        let pieces = self.pieces.clone().into_iter();
        let checked = self.checked;
        Ok(Box::new(PartReader { file, pieces, checked, buffer: Vec::new(), at: 0, ended: false }))
    }
}

struct PartReader {
    file: File,
    pieces: std::vec::IntoIter<Piece>,
    checked: bool,
    buffer: Vec<u8>,
    at: usize,
    ended: bool,
}

impl PartReader {
    /// The next piece, whole: never more than one is in memory.
    fn fill(&mut self) -> io::Result<()> {
        self.buffer.clear();
        self.at = 0;
        let Some(piece) = self.pieces.next() else {
            if !std::mem::replace(&mut self.ended, true) {
                self.buffer.resize(2 * PADDED, 0);
            }
            return Ok(());
        };
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_path(&piece.digest)?;
        header.set_mode(0o600);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(piece.length);
        header.set_cksum();
        self.buffer.extend_from_slice(header.as_bytes());
        let start = self.buffer.len();
        self.file.seek(SeekFrom::Start(piece.offset))?;
        (&mut self.file).take(piece.length).read_to_end(&mut self.buffer)?;
        let sent = &self.buffer[start..];
        let changed =
            sent.len() as u64 != piece.length || self.checked && hex(&Sha256::digest(sent)) != piece.digest;
        if changed {
            return Err(io::Error::other("it was changed while it was being sent"));
        }
        self.buffer.resize(self.buffer.len().next_multiple_of(PADDED), 0);
        Ok(())
    }
}

impl Read for PartReader {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.at == self.buffer.len() {
            self.fill()?;
        }
        let count = to.len().min(self.buffer.len() - self.at);
        to[..count].copy_from_slice(&self.buffer[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// What is known by the digests of what it is made of, in hexadecimal.
pub(super) fn digest_of<'a>(pieces: impl Iterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    pieces.for_each(|piece| hash.update(piece));
    hex(&hash.finalize())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::pieces::{LARGEST, SMALLEST};

    /// Bytes without a pattern.
    fn noise(length: usize, seed: u8) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 32);
        let mut block = Sha256::digest([seed]);
        while bytes.len() < length {
            bytes.extend_from_slice(&block);
            block = Sha256::digest(block);
        }
        bytes.truncate(length);
        bytes
    }

    fn stored(bytes: &[u8]) -> (tempfile::TempDir, StoredFile) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), bytes).unwrap();
        let file = StoredFile::read(&folder.path().join("file")).unwrap();
        (folder, file)
    }

    #[test]
    fn a_change_changes_the_pieces_around_it_only() {
        let before = noise(3 << 20, 1);
        let mut after = before.clone();
        after.splice(1_500_000..1_500_000, *b"inserted");
        let ((_a, before), (_b, after)) = (stored(&before), stored(&after));
        assert!(before.pieces.len() > 5, "{}", before.pieces.len());
        let known: BTreeSet<_> = before.pieces.iter().map(|piece| &piece.digest).collect();
        let new = after.pieces.iter().filter(|piece| !known.contains(&piece.digest)).count();
        assert!((1..=3).contains(&new), "{new} of {}", after.pieces.len());
    }

    #[test]
    fn pieces_are_the_whole_file_and_no_larger_than_they_may_be() {
        for length in [0, 1, SMALLEST, LARGEST, LARGEST + 1, 3 << 20] {
            let bytes = if length % 2 == 0 { vec![0; length] } else { noise(length, 2) };
            let (_folder, file) = stored(&bytes);
            assert_eq!(file.size, length as u64);
            let mut at = 0;
            for piece in &file.pieces {
                assert_eq!(piece.offset, at);
                assert!(piece.length > 0 && piece.length <= LARGEST as u64);
                let there = &bytes[at as usize..][..piece.length as usize];
                assert_eq!(piece.digest, hex(&Sha256::digest(there)));
                at += piece.length;
            }
            assert_eq!(at, length as u64);
        }
    }

    #[test]
    fn pieces_are_sent_once_as_files_that_bear_their_names() {
        // Two pieces of the largest size are the same.
        let (folder, file) = stored(&vec![0; 2 * LARGEST + 5]);
        let names: BTreeSet<&str> = file.pieces.iter().map(|piece| piece.digest.as_str()).collect();
        let part = file.part(&names, true);
        assert_eq!((part.count(), part.bytes()), (2, LARGEST as u64 + 5));
        let mut read = tar::Archive::new(part.open().unwrap());
        let mut seen = Vec::new();
        for entry in read.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            assert_eq!(entry.path().unwrap().to_str().unwrap(), hex(&Sha256::digest(&bytes)));
            seen.push(bytes.len());
        }
        assert_eq!(seen, [LARGEST, 5]);
        // What has changed since is not sent under the old name.
        std::fs::write(folder.path().join("file"), noise(3 * LARGEST, 3)).unwrap();
        let error = io::copy(&mut part.open().unwrap(), &mut io::sink()).unwrap_err();
        assert!(error.to_string().contains("changed"), "{error}");
    }
}
