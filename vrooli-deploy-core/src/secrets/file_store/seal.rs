//! The sealed file: a header that anyone may read and no-one may change, then everything
//! else under XChaCha20-Poly1305.
//!
//! ```text
//! magic (8) | format version (4, little endian) | key id (8) | nonce (24) | ciphertext and tag
//! ```

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use super::key::Key;
use crate::secrets::SecretError;
use crate::secrets::generate::fill;

const MAGIC: &[u8; 8] = b"VDsecret";
const VERSION: u32 = 1;
const NONCE: usize = 24;
const HEADER: usize = 8 + 4 + 8 + NONCE;

/// Why a file cannot be opened.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Damaged(&'static str),
    Version(u32),
    OtherKey,
}

fn header(key: &Key, nonce: &[u8]) -> Vec<u8> {
    let mut header = Vec::with_capacity(HEADER);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.extend_from_slice(&key.id);
    header.extend_from_slice(nonce);
    header
}

/// Seals bytes. A nonce is 24 random bytes, too many for one to come twice.
pub(super) fn seal(key: &Key, plain: &[u8]) -> Result<Vec<u8>, SecretError> {
    let mut nonce = [0; NONCE];
    fill(&mut nonce)?;
    let mut file = header(key, &nonce);
    let sealed =
        cipher(key).encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: &file }).map_err(|_| {
            SecretError::Io {
                place: "the secret store".to_owned(),
                message: "it is too large to be sealed".to_owned(),
            }
        })?;
    file.extend_from_slice(&sealed);
    Ok(file)
}

/// Opens what was sealed.
pub(super) fn open(key: &Key, file: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let found = Header::read(file)?;
    // The header as it should be: a file that opens with this one has only its header damaged.
    let expected = header(key, &found.nonce);
    let payload = Payload { msg: &file[HEADER..], aad: &expected };
    match cipher(key).decrypt(&XNonce::from(found.nonce), payload) {
        Ok(plain) if file.starts_with(&expected) => Ok(Zeroizing::new(plain)),
        Ok(plain) => {
            drop(Zeroizing::new(plain));
            Err(Refusal::Damaged("its header was changed"))
        }
        Err(_) if found.version > VERSION => Err(Refusal::Version(found.version)),
        Err(_) if found.version < VERSION => Err(Refusal::Damaged("its header was changed")),
        Err(_) if found.key_id != key.id => Err(Refusal::OtherKey),
        Err(_) => Err(Refusal::Damaged("it was changed after it was sealed")),
    }
}

/// Looks at a file without its key: is it ours, and of a version that this program reads?
pub(super) fn look(file: &[u8]) -> Result<(), Refusal> {
    let found = Header::read(file)?;
    if found.version > VERSION { Err(Refusal::Version(found.version)) } else { Ok(()) }
}

struct Header {
    version: u32,
    key_id: [u8; 8],
    nonce: [u8; NONCE],
}

impl Header {
    fn read(file: &[u8]) -> Result<Self, Refusal> {
        let cut = || Refusal::Damaged("it is cut off");
        let (magic, rest) = file.split_first_chunk::<8>().ok_or_else(cut)?;
        let (version, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let (key_id, rest) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
        let (nonce, _) = rest.split_first_chunk::<NONCE>().ok_or_else(cut)?;
        if magic != MAGIC {
            return Err(Refusal::Damaged("it is no secret store"));
        }
        Ok(Self { version: u32::from_le_bytes(*version), key_id: *key_id, nonce: *nonce })
    }
}

fn cipher(key: &Key) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.bytes.expose().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::Secret;

    fn key(byte: u8) -> Key {
        Key::new(Secret::new([byte; 32]))
    }

    #[test]
    fn what_is_sealed_opens_with_the_same_key_only() {
        let file = seal(&key(1), b"plain").unwrap();
        assert_eq!(open(&key(1), &file).unwrap().as_slice(), b"plain");
        assert_eq!(open(&key(2), &file).unwrap_err(), Refusal::OtherKey);
        assert_ne!(file, seal(&key(1), b"plain").unwrap(), "a nonce came twice");
        assert!(!file.windows(5).any(|window| window == b"plain"));
    }

    #[test]
    fn every_bit_counts() {
        let file = seal(&key(1), b"plain").unwrap();
        for at in 0..file.len() * 8 {
            let mut changed = file.clone();
            changed[at / 8] ^= 1 << (at % 8);
            assert!(matches!(open(&key(1), &changed), Err(Refusal::Damaged(_))), "bit {at}");
        }
        for length in 0..file.len() {
            assert!(matches!(open(&key(1), &file[..length]), Err(Refusal::Damaged(_))), "length {length}");
        }
    }

    #[test]
    fn a_newer_file_is_not_called_damaged() {
        let mut file = seal(&key(1), b"plain").unwrap();
        file[8] = 2;
        file.push(0);
        assert_eq!(open(&key(1), &file).unwrap_err(), Refusal::Version(2));
        assert_eq!(look(&file).unwrap_err(), Refusal::Version(2));
        assert_eq!(look(b"VDsecre").unwrap_err(), Refusal::Damaged("it is cut off"));
    }
}
