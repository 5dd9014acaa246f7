//! Files and streams read in blocks, large enough that reading costs little beside what is done with them.

use std::fs::File;
use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

/// What is read at a time, in bytes.
pub(crate) const BLOCK: usize = 256 * 1024;

/// Reads until a block is full, or there is no more.
pub(crate) fn fill(from: &mut impl Read, block: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match from.read(&mut block[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Gives somebody all that is left, block by block; says how much that was, in bytes.
pub(crate) fn each(
    from: &mut impl Read,
    block: &mut [u8],
    mut takes: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<u64> {
    let mut size = 0;
    loop {
        let read = fill(from, block)?;
        if read == 0 {
            return Ok(size);
        }
        takes(block.get(..read).unwrap_or_default())?;
        size += read as u64;
    }
}

/// The SHA-256 of what is left of a file, and how much that is, in bytes.
pub(crate) fn hash_of(file: &mut File) -> io::Result<([u8; 32], u64)> {
    let mut hash = Sha256::new();
    let size = each(file, &mut vec![0; BLOCK], |read| {
        hash.update(read);
        Ok(())
    })?;
    Ok((hash.finalize().into(), size))
}
