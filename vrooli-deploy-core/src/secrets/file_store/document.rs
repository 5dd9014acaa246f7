//! What is inside the seal.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use crate::secrets::generate::fill;
use crate::secrets::{Secret, SecretError};

/// All secrets, and the key of their hashes. The only type with values that can be
/// serialised, and only this folder can see it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    /// Base64 of 32 bytes.
    hash_key: Text,
    pub(super) secrets: BTreeMap<String, Versions>,
}

/// The versions of one path.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Versions {
    /// The highest version that was ever given: none is given twice.
    last: u32,
    kept: BTreeMap<u32, Text>,
    /// Hashes of versions that were had back, made with the key of a store that is lost.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    hashes: BTreeMap<u32, String>,
}

/// A text that is wiped when it is dropped and never shown.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Text(String);

impl Drop for Text {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Text(…)")
    }
}

impl Document {
    /// No secrets and a new hash key.
    pub(super) fn new() -> Result<Self, SecretError> {
        let mut key = Zeroizing::new([0; 32]);
        fill(&mut *key)?;
        Ok(Self { hash_key: Text(STANDARD.encode(*key)), secrets: BTreeMap::new() })
    }

    /// Tells whether a value changed, and nothing else: HMAC-SHA-256 over path and value,
    /// the first 16 bytes in hexadecimal. The path is in it so that two paths with the same
    /// value do not show it.
    pub(super) fn hash(&self, path: &str, value: &str) -> String {
        use fmt::Write as _;
        let length = (path.len() as u64).to_le_bytes();
        let hash = hmac_sha256(self.hash_key.0.as_bytes(), &[&length, path.as_bytes(), value.as_bytes()]);
        let mut text = String::with_capacity(32);
        for byte in &hash[..16] {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    /// JSON, in one buffer of the right size: growing it would leave copies behind.
    pub(super) fn to_bytes(&self) -> serde_json::Result<Zeroizing<Vec<u8>>> {
        let mut size = Size(0);
        serde_json::to_writer(&mut size, self)?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(size.0));
        serde_json::to_writer(&mut *bytes, self)?;
        Ok(bytes)
    }
}

impl Versions {
    /// Adds a value, unless it is the newest one already. Returns its version and whether it was added.
    pub(super) fn put(&mut self, value: &Secret<String>) -> Option<(u32, bool)> {
        if let Some((version, newest)) = self.kept.last_key_value()
            && newest.0 == *value.expose()
        {
            return Some((*version, false));
        }
        self.last = self.last.checked_add(1)?;
        self.kept.insert(self.last, Text(value.expose().clone()));
        Some((self.last, true))
    }

    /// Keeps a value that was had back as that version. Was there none yet?
    pub(super) fn put_back(&mut self, version: u32, hash: &str, value: &Secret<String>) -> bool {
        if self.kept.contains_key(&version) {
            return false;
        }
        self.last = self.last.max(version);
        self.kept.insert(version, Text(value.expose().clone()));
        self.hashes.insert(version, hash.to_owned());
        true
    }

    /// The hash that a version was had back with.
    pub(super) fn hash(&self, version: u32) -> Option<&str> {
        self.hashes.get(&version).map(String::as_str)
    }

    pub(super) fn get(&self, version: u32) -> Option<&str> {
        self.kept.get(&version).map(|text| text.0.as_str())
    }

    pub(super) fn remove(&mut self, version: u32) -> bool {
        self.hashes.remove(&version);
        self.kept.remove(&version).is_some()
    }

    /// Versions that are kept, oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (u32, &str)> {
        self.kept.iter().map(|(version, text)| (*version, text.0.as_str()))
    }
}

/// Counts what is written.
struct Size(usize);

impl std::io::Write for Size {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// RFC 2104 over SHA-256, for keys of at most one block (64 bytes).
fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut inner_key = Zeroizing::new([0x36_u8; 64]);
    let mut outer_key = Zeroizing::new([0x5c_u8; 64]);
    for ((inner, outer), byte) in inner_key.iter_mut().zip(outer_key.iter_mut()).zip(key) {
        *inner ^= byte;
        *outer ^= byte;
    }
    let mut inner = Sha256::new().chain_update(*inner_key);
    for part in parts {
        inner.update(part);
    }
    Sha256::new().chain_update(*outer_key).chain_update(inner.finalize()).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keyed_hash_is_the_standard_one() {
        // RFC 4231, test case 2.
        let hash = hmac_sha256(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(hash[..8], [0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e]);
    }

    #[test]
    fn hashes_tell_values_paths_and_stores_apart() {
        let (one, two) = (Document::new().unwrap(), Document::new().unwrap());
        let hash = one.hash("a/b", "value");
        assert_eq!(hash.len(), 32);
        assert_eq!(hash, one.hash("a/b", "value"));
        for other in [
            one.hash("a/b", "valuf"),
            one.hash("a/c", "value"),
            one.hash("a/bv", "alue"),
            two.hash("a/b", "value"),
        ] {
            assert_ne!(hash, other);
        }
    }

    #[test]
    fn the_buffer_never_grows() {
        let mut document = Document::new().unwrap();
        document.secrets.entry("p".to_owned()).or_default().put(&Secret::new("\"\n\u{1}ü".repeat(100)));
        let bytes = document.to_bytes().unwrap();
        assert_eq!(bytes.len(), bytes.capacity());
        let read: Document = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(read.secrets["p"].get(1), document.secrets["p"].get(1));
    }
}
