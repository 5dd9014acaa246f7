use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

use crate::archive::hash_of;
use crate::remote::PhaseStream;

// A file is cut where its content says so, not at fixed places: a line that is added in the middle
// moves all that comes after it, and with fixed places every piece from there on would be another.
// The sizes weigh what a small change costs (a piece, at least) against what each piece costs (a
// line to ask, a file on the host): an image of 300 MB is some thousand pieces.

/// No piece but the last is smaller, in bytes.
const SMALLEST: usize = 64 * 1024;
/// A piece ends, past the smallest, at one place in so many: so it is about 320 KiB.
const ONE_IN: u64 = 1 << 18;
/// No piece is larger, in bytes.
const LARGEST: usize = 1024 * 1024;
/// What a `tar` is padded to, in bytes.
const BLOCK: usize = 512;

/// A piece of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) digest: String,
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// A file of this machine by its content, in pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    path: PathBuf,
    digest: String,
    size: u64,
    pub(super) pieces: Vec<Piece>,
}

impl StoredFile {
    /// Looks at a file, in pieces: however large it is, a few MiB of memory are enough.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(path: &Path) -> io::Result<Self> {
        // All of it beside its pieces: who waits for it waits half as long.
        let (whole, pieces) = std::thread::scope(|scope| {
            let whole = scope.spawn(|| hash_of(&mut File::open(path)?));
            let pieces = pieces_of(path);
            let whole = whole.join().unwrap_or_else(|_| Err(io::Error::other("a thread that read it ended")));
            (whole, pieces)
        });
        let ((whole, size), pieces) = (whole?, pieces?);
        if pieces.iter().map(|piece| piece.length).sum::<u64>() != size {
            return Err(io::Error::other("it was changed while it was being read"));
        }
        Ok(Self { path: path.to_owned(), digest: hex(&whole), size, pieces })
    }

    /// Where it is on this machine.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The SHA-256 of all of it, in hexadecimal.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
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

    /// The pieces of these names, each once, to be sent.
    pub(super) fn part(&self, names: &BTreeSet<&str>) -> Part {
        let mut left = names.clone();
        let pieces = self.pieces.iter().filter(|piece| left.remove(piece.digest.as_str())).cloned().collect();
        Part { path: self.path.clone(), pieces }
    }
}

/// Pieces on their way: a `tar` of files that bear their digests, read from the disk as it is sent.
#[derive(Debug, Clone)]
pub(super) struct Part {
    path: PathBuf,
    pieces: Vec<Piece>,
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
        Ok(Box::new(PartReader { file, pieces, buffer: Vec::new(), at: 0, ended: false }))
    }
}

struct PartReader {
    file: File,
    pieces: std::vec::IntoIter<Piece>,
    buffer: Vec<u8>,
    at: usize,
    ended: bool,
}

impl PartReader {
    /// The next piece, whole and checked: never more than one is in memory.
    fn fill(&mut self) -> io::Result<()> {
        self.buffer.clear();
        self.at = 0;
        let Some(piece) = self.pieces.next() else {
            if !std::mem::replace(&mut self.ended, true) {
                self.buffer.resize(2 * BLOCK, 0);
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
        if hex(&Sha256::digest(&self.buffer[start..])) != piece.digest {
            return Err(io::Error::other("it was changed while it was being sent"));
        }
        self.buffer.resize(self.buffer.len().next_multiple_of(BLOCK), 0);
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

fn pieces_of(path: &Path) -> io::Result<Vec<Piece>> {
    let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
    let gear = gear();
    let (mut pieces, mut offset) = (Vec::new(), 0);
    let mut buffer = Vec::with_capacity(LARGEST);
    loop {
        let missing = (LARGEST - buffer.len()) as u64;
        (&mut file).take(missing).read_to_end(&mut buffer)?;
        if buffer.is_empty() {
            return Ok(pieces);
        }
        let length = end_of_piece(&gear, &buffer);
        let digest = hex(&Sha256::digest(&buffer[..length]));
        pieces.push(Piece { digest, offset, length: length as u64 });
        offset += length as u64;
        buffer.drain(..length);
    }
}

/// How much of a text is its first piece: to where the last bytes before it are of a kind
/// that is one in many, whatever stood before them.
fn end_of_piece(gear: &[u64; 256], bytes: &[u8]) -> usize {
    let roll = |rolling: u64, byte: &u8| (rolling << 1).wrapping_add(gear[usize::from(*byte)]);
    // No piece ends before: what stands further back has left the sum by then.
    let Some((before, from)) = bytes.split_at_checked(SMALLEST - 1) else { return bytes.len() };
    let mut rolling = before[before.len() - 63..].iter().fold(0, roll);
    for (at, byte) in from.iter().enumerate() {
        rolling = roll(rolling, byte);
        // The upper bits have seen the last 46 bytes and more.
        if rolling >> (64 - ONE_IN.trailing_zeros()) == 0 {
            return before.len() + at + 1;
        }
    }
    bytes.len()
}

/// A number for each byte that has nothing to do with the byte.
fn gear() -> [u64; 256] {
    let mut gear = [0; 256];
    for (byte, number) in (0_u8..=255).zip(&mut gear) {
        let digest = Sha256::digest([byte]);
        *number = digest.iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte));
    }
    gear
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(file.digest, hex(&Sha256::digest(&bytes)));
            let mut at = 0;
            for piece in &file.pieces {
                assert_eq!(piece.offset, at);
                assert!(piece.length > 0 && piece.length <= LARGEST as u64);
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
        let part = file.part(&names);
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
