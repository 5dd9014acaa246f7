use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use etcetera::BaseStrategy;
use sha2::{Digest, Sha256};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::secrets::generate::fill;
use crate::secrets::{Secret, SecretError};

/// Where the key of a sealed file comes from.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// Base64 of 32 bytes, as the caller has it; never written to disk.
    Given(Secret<String>),
    /// A folder with one file a state, `<state id>.key`; by default `vrooli-deploy/keys` in the
    /// user's configuration folder. The key is made when the first secret is stored.
    Folder(Option<PathBuf>),
}

/// 32 bytes, and an id that tells keys apart without saying anything about them.
pub(super) struct Key {
    pub(super) bytes: Secret<[u8; 32]>,
    pub(super) id: [u8; 8],
}

impl Key {
    pub(super) fn new(bytes: Secret<[u8; 32]>) -> Self {
        let hash =
            Sha256::new().chain_update(b"vrooli-deploy key id").chain_update(bytes.expose()).finalize();
        let mut id = [0; 8];
        id.copy_from_slice(&hash[..8]);
        Self { bytes, id }
    }

    fn decode(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(STANDARD.decode(text.trim()).ok()?);
        Some(Self::new(Secret::new(<[u8; 32]>::try_from(bytes.as_slice()).ok()?)))
    }
}

/// A key, or the file that it lies in or will lie in.
pub(super) enum Keeper {
    Given(Key),
    File(PathBuf),
}

impl Keeper {
    pub(super) fn new(source: KeySource, state: Uuid, sealed: &Path) -> Result<Self, SecretError> {
        let refuse = |message: &str| SecretError::Key {
            place: sealed.display().to_string(),
            message: message.to_owned(),
        };
        match source {
            KeySource::Given(text) => Key::decode(text.expose()).map(Self::Given).ok_or_else(|| {
                refuse(
                    "the key that was given (VROOLI_DEPLOY_KEY) is not the base64 of 32 bytes; \
                     `head -c 32 /dev/urandom | base64` makes one",
                )
            }),
            KeySource::Folder(folder) => {
                let folder = match folder {
                    Some(folder) => folder,
                    None => etcetera::choose_base_strategy()
                        .map_err(|_| {
                            refuse("this user has no home folder for its key; set HOME, or give the key as VROOLI_DEPLOY_KEY")
                        })?
                        .config_dir()
                        .join("vrooli-deploy")
                        .join("keys"),
                };
                Ok(Self::File(folder.join(format!("{state}.key"))))
            }
        }
    }

    /// The key as it was given; `None` when it has a file.
    pub(super) fn given(&self) -> Option<Secret<String>> {
        match self {
            Self::Given(key) => Some(Secret::new(STANDARD.encode(key.bytes.expose()))),
            Self::File(_) => None,
        }
    }

    /// The key; `None` when its file is not there.
    pub(super) fn read(&self) -> Result<Option<Key>, SecretError> {
        let path = match self {
            Self::Given(key) => {
                return Ok(Some(Key { bytes: key.bytes.clone(), id: key.id }));
            }
            Self::File(path) => path,
        };
        let failed = |message: String| SecretError::Key { place: path.display().to_string(), message };
        let text = match std::fs::read(path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(failed(format!("{error}; make the key file readable for this user")));
            }
        };
        let mode = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(failed(format!(
                "others may read the key (mode {mode:03o}); run `chmod 600` on it, and change the secrets if someone did"
            )));
        }
        let key = std::str::from_utf8(&text).ok().and_then(Key::decode);
        key.map(Some).ok_or_else(|| {
            failed(
                "the key file is damaged: it should hold the base64 of 32 bytes; restore it from a backup"
                    .to_owned(),
            )
        })
    }

    /// Makes the key and its file. Only while the store is locked and has no key.
    pub(super) fn create(&self) -> Result<Key, SecretError> {
        let mut bytes = Zeroizing::new([0; 32]);
        fill(&mut *bytes)?;
        if let Self::File(path) = self {
            store(path, &Zeroizing::new(format!("{}\n", &*Zeroizing::new(STANDARD.encode(*bytes))))).map_err(|error| {
                SecretError::Key {
                    place: path.display().to_string(),
                    message: format!(
                        "the key cannot be kept there: {error}; make the folder writable, or give a key of your own as \
                         VROOLI_DEPLOY_KEY"
                    ),
                }
            })?;
        }
        Ok(Key::new(Secret::new(*bytes)))
    }

    /// Where the key is or should be, for people.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Given(_) => "VROOLI_DEPLOY_KEY".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }
}

/// Writes a file that was not there, whole or not at all.
fn store(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let new = path.with_extension("key.new");
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        // Unlike a rename, a link never replaces a key that is in use.
        .and_then(|()| std::fs::hard_link(&new, path));
    let removed = std::fs::remove_file(&new);
    written.and(removed)?;
    File::open(folder)?.sync_all()
}
