//! Files on a host by their content: only what is not there yet is sent.
//!
//! A file is cut where its content says so, so that a change in one place leaves the pieces
//! before and after as they were. A piece that has arrived stays: sending goes on where it broke
//! off. A file has its name only once all of it is there and is what it should be.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use vrooli_deploy_core::provider::Cancellation;

use super::{Phase, RemoteError, RemoteExec};
use crate::facts::Lines;

/// No piece but the last is smaller, in bytes.
const SMALLEST: usize = 256 * 1024;
/// A piece ends, past the smallest, at one place in so many: so it is about 1.25 MiB.
const ONE_IN: u64 = 1 << 20;
/// No piece is larger, in bytes.
const LARGEST: usize = 4 * 1024 * 1024;
/// So many bytes are sent in one phase; what has arrived by then stays.
const BATCH: u64 = 64 * 1024 * 1024;
/// So many bytes a second arrive at least, or the phase is over.
const SLOWEST: u64 = 128 * 1024;
/// What is left free on a disk, in bytes, whatever is sent.
const KEPT_FREE: u64 = 64 * 1024 * 1024;

/// A piece of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Piece {
    digest: String,
    offset: u64,
    length: u64,
}

/// A file of this machine, by its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    path: PathBuf,
    digest: String,
    size: u64,
    pieces: Vec<Piece>,
}

/// What it took to have a file on a host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sent {
    /// Round trips.
    pub phases: u32,
    /// Pieces that were sent.
    pub pieces: usize,
    /// Bytes of them.
    pub bytes: u64,
}

impl StoredFile {
    /// Looks at a file, in pieces: however large it is, a few MiB of memory are enough.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(path: &Path) -> std::io::Result<Self> {
        let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
        let gear = gear();
        let (mut whole, mut pieces, mut offset) = (Sha256::new(), Vec::new(), 0);
        let mut buffer = Vec::with_capacity(LARGEST);
        loop {
            let missing = (LARGEST - buffer.len()) as u64;
            (&mut file).take(missing).read_to_end(&mut buffer)?;
            if buffer.is_empty() {
                break;
            }
            let length = end_of_piece(&gear, &buffer);
            whole.update(&buffer[..length]);
            let digest = hex(&Sha256::digest(&buffer[..length]));
            pieces.push(Piece { digest, offset, length: length as u64 });
            offset += length as u64;
            buffer.drain(..length);
        }
        Ok(Self { path: path.to_owned(), digest: hex(&whole.finalize()), size: offset, pieces })
    }

    /// The SHA-256 of all of it, in hexadecimal: its name on a host.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Where it is on every host that it was sent to.
    #[must_use]
    pub fn path_on_host(&self) -> String {
        format!("/var/lib/vrooli-deploy/store/files/{}", self.digest)
    }

    /// Sees to it that a host has the file: one round trip where it has it, two where little is
    /// missing, one more for every 64 MiB.
    ///
    /// # Errors
    /// [`RemoteError::NoRoom`] before anything is sent, if it does not fit; otherwise why a phase
    /// failed. What has arrived stays: the same call again goes on from there.
    pub async fn send(
        &self,
        remote: &dyn RemoteExec,
        cancellation: &Cancellation,
    ) -> Result<Sent, RemoteError> {
        let mut sent = Sent { phases: 1, ..Sent::default() };
        let mut list = format!("{}\n", self.digest);
        for piece in &self.pieces {
            list.push_str(&format!("{}\n", piece.digest));
        }
        let ask = Phase::new("look into the store", include_str!("../scripts/store_ask.sh")).as_root();
        let answer = remote.run(&ask.with_input(list), cancellation).await?;
        let lines = Lines::new(&answer.stdout);
        if lines.get("file") == Some("there") {
            return Ok(sent);
        }
        let missing: BTreeSet<&str> = lines.all("missing").collect();
        let wanted: BTreeMap<&str, &Piece> = self
            .pieces
            .iter()
            .filter(|piece| missing.contains(piece.digest.as_str()))
            .map(|piece| (piece.digest.as_str(), piece))
            .collect();
        let bytes: u64 = wanted.values().map(|piece| piece.length).sum();
        let free = lines.get("free_kib").and_then(|free| free.parse::<u64>().ok()).unwrap_or(0) * 1024;
        let needed = bytes + self.size + KEPT_FREE;
        if needed > free {
            return Err(RemoteError::NoRoom { host: remote.host().clone(), needed, free });
        }
        let mut rest: Vec<&Piece> = wanted.into_values().collect();
        rest.sort_by_key(|piece| piece.offset);
        loop {
            let mut size = 0;
            let count = rest
                .iter()
                .take_while(|piece| {
                    size += piece.length;
                    size <= BATCH
                })
                .count();
            let batch: Vec<&Piece> = rest.drain(..count).collect();
            let size: u64 = batch.iter().map(|piece| piece.length).sum();
            let input = self.input(&batch, rest.is_empty())?;
            let limit = Duration::from_secs(120 + (size + self.size) / SLOWEST);
            let put = Phase::new("send into the store", include_str!("../scripts/store_put.sh"));
            remote.run(&put.as_root().within(limit).with_input(input), cancellation).await?;
            sent.phases += 1;
            sent.pieces += batch.len();
            sent.bytes += size;
            if rest.is_empty() {
                return Ok(sent);
            }
        }
    }

    /// Pieces, each after its name and its length; then, with the last, what the file is made of.
    fn input(&self, batch: &[&Piece], last: bool) -> Result<Vec<u8>, RemoteError> {
        let failed = |words: String| RemoteError::File { file: self.path.display().to_string(), words };
        let mut file = File::open(&self.path).map_err(|e| failed(e.to_string()))?;
        let mut input = Vec::new();
        for piece in batch {
            input.extend_from_slice(format!("{} {}\n", piece.digest, piece.length).as_bytes());
            let start = input.len();
            file.seek(SeekFrom::Start(piece.offset)).map_err(|e| failed(e.to_string()))?;
            (&mut file).take(piece.length).read_to_end(&mut input).map_err(|e| failed(e.to_string()))?;
            if hex(&Sha256::digest(&input[start..])) != piece.digest {
                return Err(failed("it was changed while it was being sent".to_owned()));
            }
        }
        input.extend_from_slice(b"end 0\n");
        if last {
            input.extend_from_slice(format!("{}\n", self.digest).as_bytes());
            for piece in &self.pieces {
                input.extend_from_slice(format!("{}\n", piece.digest).as_bytes());
            }
        }
        Ok(input)
    }
}

/// How much of a text is its first piece: to where the last bytes before it are of a kind
/// that is one in many, whatever stood before them.
fn end_of_piece(gear: &[u64; 256], bytes: &[u8]) -> usize {
    let mut rolling = 0_u64;
    for (at, byte) in bytes.iter().enumerate().skip(SMALLEST.saturating_sub(64)) {
        rolling = (rolling << 1).wrapping_add(gear[usize::from(*byte)]);
        // The upper bits have seen the last 44 bytes and more.
        if at + 1 >= SMALLEST && rolling >> (64 - ONE_IN.trailing_zeros()) == 0 {
            return at + 1;
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

fn hex(bytes: &[u8]) -> String {
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

    fn stored(bytes: &[u8]) -> StoredFile {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), bytes).unwrap();
        StoredFile::read(&folder.path().join("file")).unwrap()
    }

    #[test]
    fn a_change_changes_the_pieces_around_it_only() {
        let before = noise(12 << 20, 1);
        let mut after = before.clone();
        after.splice(5_000_000..5_000_000, *b"inserted");
        let (before, after) = (stored(&before), stored(&after));
        assert!(before.pieces.len() > 5, "{}", before.pieces.len());
        let known: BTreeSet<_> = before.pieces.iter().map(|piece| &piece.digest).collect();
        let new = after.pieces.iter().filter(|piece| !known.contains(&piece.digest)).count();
        assert!((1..=3).contains(&new), "{new} of {}", after.pieces.len());
    }

    #[test]
    fn pieces_are_the_whole_file_and_no_larger_than_they_may_be() {
        for length in [0, 1, SMALLEST, LARGEST, LARGEST + 1, 9 << 20] {
            let bytes = if length % 2 == 0 { vec![0; length] } else { noise(length, 2) };
            let file = stored(&bytes);
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
}
