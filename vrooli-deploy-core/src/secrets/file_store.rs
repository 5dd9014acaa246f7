use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use etcetera::BaseStrategy as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;
use zeroize::Zeroize as _;

use super::{Secret, SecretError, SecretRef, SecretStore};

/// The sealed file in the state folder.
const FILE: &str = "secrets.sealed";
/// First bytes of the file.
const MAGIC: &[u8; 8] = b"VDSEAL\0\0";
/// Version of the file that this program writes.
const VERSION: u32 = 1;
const NONCE: usize = 24;
const KEY: usize = 32;
/// Hexadecimal digits of a reference's hash: enough to tell values apart, too few to attack one.
const HASH_DIGITS: usize = 16;

/// Where the key of the store comes from.
#[derive(Debug)]
pub enum KeySource {
    /// A 0600 file in this folder, named after the state's id; `None`: the user's
    /// configuration folder. Made when the store is first written.
    Folder(Option<PathBuf>),
    /// Base64 of 32 bytes, held in memory only.
    Given(Secret<String>),
}

/// Secret values in one file, sealed with XChaCha20-Poly1305. Each change replaces the file
/// whole; several processes take turns by a lock file.
#[derive(Debug)]
pub struct FileStore {
    file: PathBuf,
    lock: PathBuf,
    key: KeyPlace,
    opened: OnceLock<Secret<Vec<u8>>>,
}

#[derive(Debug)]
enum KeyPlace {
    File(PathBuf),
    Given,
}

/// What is sealed.
#[derive(Default, Serialize, Deserialize)]
struct Document {
    /// Key of the hashes in references.
    hash_key: String,
    /// Values by path and version.
    values: BTreeMap<String, BTreeMap<u32, String>>,
    /// The highest version given to each path, also of those that are gone.
    versions: BTreeMap<String, u32>,
}

impl Drop for Document {
    fn drop(&mut self) {
        self.hash_key.zeroize();
        for value in self.values.values_mut().flat_map(BTreeMap::values_mut) {
            value.zeroize();
        }
    }
}

impl FileStore {
    /// Opens the store of a state folder. Makes no file: the first value does.
    ///
    /// # Errors
    /// When a given key is none, or the user has no configuration folder.
    pub fn open(dir: &Path, state: Uuid, key: KeySource) -> Result<Self, SecretError> {
        let file = dir.join(FILE);
        let opened = OnceLock::new();
        let key = match key {
            KeySource::Given(text) => {
                let bytes = STANDARD.decode(text.expose().trim()).ok().filter(|b| b.len() == KEY).ok_or_else(|| {
                    SecretError::Key {
                        place: file.display().to_string(),
                        message: format!("the given key is not base64 of {KEY} bytes"),
                    }
                })?;
                let _ = opened.set(Secret::new(bytes));
                KeyPlace::Given
            }
            KeySource::Folder(folder) => {
                let folder = match folder {
                    Some(folder) => folder,
                    None => etcetera::choose_base_strategy()
                        .map_err(|e| SecretError::Key { place: file.display().to_string(), message: e.to_string() })?
                        .config_dir()
                        .join("vrooli-deploy/keys"),
                };
                KeyPlace::File(folder.join(format!("{state}.key")))
            }
        };
        Ok(Self { lock: dir.join("locks/secrets.lock"), file, key, opened })
    }

    fn io(&self, path: &Path, error: &io::Error) -> SecretError {
        SecretError::Io { place: path.display().to_string(), message: error.to_string() }
    }

    fn damaged(&self, message: impl Into<String>) -> SecretError {
        SecretError::Damaged { place: self.file.display().to_string(), message: message.into() }
    }

    fn locked(&self) -> Result<File, SecretError> {
        if let Some(folder) = self.lock.parent() {
            fs::create_dir_all(folder).map_err(|e| self.io(folder, &e))?;
        }
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&self.lock)
            .map_err(|e| self.io(&self.lock, &e))?;
        lock.lock().map_err(|e| self.io(&self.lock, &e))?;
        Ok(lock)
    }

    /// The key; made if `make` and neither key nor sealed file is there.
    fn key(&self, make: bool) -> Result<&[u8], SecretError> {
        if let Some(key) = self.opened.get() {
            return Ok(key.expose());
        }
        let KeyPlace::File(path) = &self.key else {
            return Err(self.damaged("the given key is gone"));
        };
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound && make && !self.file.exists() => self.make_key(path)?,
            Err(e) => {
                return Err(SecretError::Key {
                    place: self.file.display().to_string(),
                    message: format!(
                        "its key {} cannot be read: {e}; put the key back, or give it as VROOLI_DEPLOY_KEY",
                        path.display()
                    ),
                });
            }
        };
        if bytes.len() != KEY {
            return Err(SecretError::Key {
                place: self.file.display().to_string(),
                message: format!("its key {} has {} bytes, not {KEY}", path.display(), bytes.len()),
            });
        }
        Ok(self.opened.get_or_init(|| Secret::new(bytes)).expose())
    }

    fn make_key(&self, path: &Path) -> Result<Vec<u8>, SecretError> {
        let mut key = vec![0; KEY];
        random(&mut key).map_err(|e| self.io(path, &e))?;
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|e| self.io(folder, &e))?;
        }
        replace(path, &key).map_err(|e| self.io(path, &e))?;
        Ok(key)
    }

    fn read(&self) -> Result<Document, SecretError> {
        let mut bytes = Vec::new();
        match File::open(&self.file) {
            Ok(mut file) => file.read_to_end(&mut bytes).map_err(|e| self.io(&self.file, &e))?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Document::default()),
            Err(e) => return Err(self.io(&self.file, &e)),
        };
        let head = MAGIC.len() + 4 + NONCE;
        if bytes.len() < head || !bytes.starts_with(MAGIC) {
            return Err(self.damaged("it does not start as a secret store does"));
        }
        let mut version = [0; 4];
        version.copy_from_slice(&bytes[MAGIC.len()..MAGIC.len() + 4]);
        let version = u32::from_le_bytes(version);
        if version > VERSION {
            return Err(SecretError::Version { place: self.file.display().to_string(), version });
        }
        let cipher = XChaCha20Poly1305::new_from_slice(self.key(false)?).map_err(|e| self.damaged(e.to_string()))?;
        let nonce = XNonce::try_from(&bytes[MAGIC.len() + 4..head]).map_err(|e| self.damaged(e.to_string()))?;
        let payload = Payload { msg: &bytes[head..], aad: &bytes[..MAGIC.len() + 4] };
        let mut plain = cipher
            .decrypt(&nonce, payload)
            .map_err(|_| self.damaged("its seal does not fit: it was changed, or sealed with another key"))?;
        let document = serde_json::from_slice(&plain).map_err(|_| self.damaged("what is sealed cannot be read"));
        plain.zeroize();
        document
    }

    fn write(&self, document: &Document) -> Result<(), SecretError> {
        let mut plain = serde_json::to_vec(document).map_err(|_| self.damaged("it cannot be written"))?;
        let mut nonce = [0; NONCE];
        random(&mut nonce).map_err(|e| self.io(&self.file, &e))?;
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        let cipher = XChaCha20Poly1305::new_from_slice(self.key(true)?).map_err(|e| self.damaged(e.to_string()))?;
        let sealed = cipher.encrypt(&XNonce::from(nonce), Payload { msg: &plain, aad: &bytes });
        plain.zeroize();
        bytes.extend(nonce);
        bytes.extend(sealed.map_err(|_| self.damaged("it cannot be sealed"))?);
        replace(&self.file, &bytes).map_err(|e| self.io(&self.file, &e))
    }

    fn reference(&self, document: &Document, path: &str, version: u32, value: &str) -> SecretRef {
        SecretRef {
            store: self.name().to_owned(),
            path: path.to_owned(),
            version,
            hash: keyed_hash(document.hash_key.as_bytes(), value.as_bytes()),
        }
    }
}

impl SecretStore for FileStore {
    fn name(&self) -> &str {
        "file"
    }

    fn put(&self, path: &str, value: &Secret<String>) -> Result<SecretRef, SecretError> {
        let _lock = self.locked()?;
        let mut document = self.read()?;
        if document.hash_key.is_empty() {
            let mut key = [0; KEY];
            random(&mut key).map_err(|e| self.io(&self.file, &e))?;
            document.hash_key = STANDARD.encode(key);
        }
        if let Some((version, latest)) = document.values.get(path).and_then(BTreeMap::last_key_value)
            && latest == value.expose()
        {
            return Ok(self.reference(&document, path, *version, latest));
        }
        let version = document.versions.get(path).copied().unwrap_or_default() + 1;
        document.versions.insert(path.to_owned(), version);
        document.values.entry(path.to_owned()).or_default().insert(version, value.expose().clone());
        self.write(&document)?;
        Ok(self.reference(&document, path, version, value.expose()))
    }

    fn get(&self, reference: &SecretRef) -> Result<Secret<String>, SecretError> {
        let document = self.read()?;
        document
            .values
            .get(&reference.path)
            .and_then(|versions| versions.get(&reference.version))
            .map(|value| Secret::new(value.clone()))
            .ok_or_else(|| SecretError::NotFound { path: reference.path.clone(), version: reference.version })
    }

    fn latest(&self, path: &str) -> Result<Option<SecretRef>, SecretError> {
        let document = self.read()?;
        Ok(document
            .values
            .get(path)
            .and_then(BTreeMap::last_key_value)
            .map(|(version, value)| self.reference(&document, path, *version, value)))
    }

    fn list(&self, prefix: &str) -> Result<Vec<SecretRef>, SecretError> {
        let document = self.read()?;
        Ok(document
            .values
            .iter()
            .filter(|(path, _)| path.starts_with(prefix))
            .flat_map(|(path, versions)| {
                versions.iter().map(|(version, value)| self.reference(&document, path, *version, value))
            })
            .collect())
    }

    fn remove(&self, references: &[SecretRef]) -> Result<(), SecretError> {
        if references.is_empty() {
            return Ok(());
        }
        let _lock = self.locked()?;
        let mut document = self.read()?;
        for reference in references {
            if let Some(versions) = document.values.get_mut(&reference.path) {
                if let Some(mut value) = versions.remove(&reference.version) {
                    value.zeroize();
                }
                if versions.is_empty() {
                    document.values.remove(&reference.path);
                }
            }
        }
        self.write(&document)
    }
}

/// HMAC-SHA256, shortened: says whether two values are the same, and nothing else.
fn keyed_hash(key: &[u8], value: &[u8]) -> String {
    const BLOCK: usize = 64;
    let mut block = [0_u8; BLOCK];
    let short = Sha256::digest(key);
    let key = if key.len() > BLOCK { short.as_slice() } else { key };
    block[..key.len()].copy_from_slice(key);
    let pad = |with: u8| block.map(|b| b ^ with);
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(value).finalize();
    let outer: [u8; 32] = Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into();
    block.zeroize();
    outer.iter().map(|b| format!("{b:02x}")).collect::<String>()[..HASH_DIGITS].to_owned()
}

pub(super) fn random(bytes: &mut [u8]) -> io::Result<()> {
    getrandom::fill(bytes).map_err(|e| io::Error::other(e.to_string()))
}

/// Replaces a file whole, or not at all.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let draft = path.with_extension("draft");
    // What a killed process left of an earlier try.
    match fs::remove_file(&draft) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(dir: &Path, state: Uuid) -> FileStore {
        FileStore::open(dir, state, KeySource::Folder(Some(dir.join("keys")))).unwrap()
    }

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    #[test]
    fn values_are_versioned_and_sealed() {
        let dir = tempfile::tempdir().unwrap();
        let id = Uuid::from_u128(1);
        let first = store(dir.path(), id).put("a/b/c", &secret("planted-canary")).unwrap();
        assert_eq!(first.version, 1);
        assert_eq!(store(dir.path(), id).put("a/b/c", &secret("planted-canary")).unwrap(), first);
        let second = store(dir.path(), id).put("a/b/c", &secret("other")).unwrap();
        assert_eq!(second.version, 2);
        assert_ne!(first.hash, second.hash);
        let again = store(dir.path(), id);
        assert_eq!(again.get(&first).unwrap().expose(), "planted-canary");
        assert_eq!(again.latest("a/b/c").unwrap(), Some(second.clone()));
        assert_eq!(again.list("a/b/").unwrap(), [first.clone(), second.clone()]);
        let bytes = fs::read(dir.path().join(FILE)).unwrap();
        assert!(!bytes.windows(14).any(|w| w == b"planted-canary"));
        again.remove(&[second]).unwrap();
        // A version is never given twice.
        assert_eq!(again.put("a/b/c", &secret("third")).unwrap().version, 3);
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path(), Uuid::from_u128(1));
        let reference = store.put("x", &secret("value")).unwrap();
        let file = dir.path().join(FILE);
        let good = fs::read(&file).unwrap();
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 1;
            fs::write(&file, &bad).unwrap();
            assert!(store.get(&reference).is_err(), "byte {place}");
        }
        for length in 0..good.len() {
            fs::write(&file, &good[..length]).unwrap();
            assert!(store.get(&reference).is_err(), "length {length}");
        }
    }

    #[test]
    fn without_its_key_it_says_where_the_key_was() {
        let dir = tempfile::tempdir().unwrap();
        let id = Uuid::from_u128(1);
        let reference = store(dir.path(), id).put("x", &secret("value")).unwrap();
        fs::remove_dir_all(dir.path().join("keys")).unwrap();
        let error = store(dir.path(), id).get(&reference).unwrap_err().to_string();
        assert!(error.contains("keys") && error.contains(".key"), "{error}");
        // A new key would make the old values unreadable for ever.
        assert!(store(dir.path(), id).put("y", &secret("v")).is_err());
    }
}
