//! Secrets in one sealed file.

mod document;
mod key;
mod seal;

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use uuid::Uuid;

use self::document::Document;
use self::key::{Keeper, Key};
use self::seal::Refusal;
use super::{Secret, SecretError, SecretRef, SecretStore};

pub use self::key::KeySource;

/// Name of this store in a [`SecretRef`].
const NAME: &str = "file";
/// How long another process may take to change the file: it does so in milliseconds.
const LOCK: Duration = Duration::from_secs(10);

/// The default secret store: `secrets.sealed` in the state folder (0600), sealed with
/// XChaCha20-Poly1305 under a key that lies elsewhere ([`KeySource`]).
///
/// The file is replaced as a whole, so a reader sees it before or after a change and a crash
/// leaves one or the other; changes of several processes take turns. Values in memory are
/// wiped after use. No version of a path is ever given twice.
pub struct FileStore {
    sealed: PathBuf,
    lock: PathBuf,
    keeper: Keeper,
}

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStore").field("sealed", &self.sealed).finish_non_exhaustive()
    }
}

impl FileStore {
    /// The store of the state with that id, in its folder. Neither file nor key need be
    /// there; they are made with the first secret. The folder must be there.
    ///
    /// # Errors
    /// [`SecretError::Key`] when a key is given that is none, or no place for it is known.
    pub fn open(dir: &Path, state: Uuid, key: KeySource) -> Result<Self, SecretError> {
        let sealed = dir.join("secrets.sealed");
        let keeper = Keeper::new(key, state, &sealed)?;
        Ok(Self { lock: dir.join("secrets.lock"), sealed, keeper })
    }

    /// The document and the key it was sealed with; `None` when there is no file.
    fn read(&self) -> Result<Option<(Document, Key)>, SecretError> {
        let file = match std::fs::read(&self.sealed) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.io(&error)),
        };
        seal::look(&file).map_err(|refusal| self.refused(refusal))?;
        let Some(key) = self.keeper.read()? else {
            return Err(SecretError::Key {
                place: self.sealed.display().to_string(),
                message: format!(
                    "its key is not at {}; put the key file back there, or give the key as VROOLI_DEPLOY_KEY",
                    self.keeper.place()
                ),
            });
        };
        let plain = seal::open(&key, &file).map_err(|refusal| self.refused(refusal))?;
        // The error would show a part of what it could not read.
        let document = serde_json::from_slice(&plain)
            .map_err(|_| self.refused(Refusal::Damaged("what is sealed in it has another shape")))?;
        Ok(Some((document, key)))
    }

    /// Changes the document under the lock. `change` says whether there is anything to write.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut Document) -> Result<(T, bool), SecretError>,
    ) -> Result<T, SecretError> {
        let _lock = self.take_turn()?;
        let (mut document, key) = match self.read()? {
            Some((document, key)) => (document, Some(key)),
            None => (Document::new()?, None),
        };
        let (result, changed) = change(&mut document)?;
        if changed {
            let key = match key {
                Some(key) => key,
                // There is nothing to open yet, but a key of an earlier try may be there.
                None => self.keeper.read()?.map_or_else(|| self.keeper.create(), Ok)?,
            };
            let plain = document
                .to_bytes()
                .map_err(|error| self.io(&io::Error::new(io::ErrorKind::InvalidData, error.to_string())))?;
            self.replace(&seal::seal(&key, &plain)?).map_err(|error| self.io(&error))?;
        }
        Ok(result)
    }

    /// Waits until no other process changes the file. The lock ends with its holder.
    fn take_turn(&self) -> Result<File, SecretError> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&self.lock)
            .map_err(|error| self.io(&error))?;
        let deadline = Instant::now() + LOCK;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(error)) => return Err(self.io(&error)),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(SecretError::Io {
                        place: self.lock.display().to_string(),
                        message:
                            "another process is changing it and does not get done; end that process and run \
                                  the same command again"
                                .to_owned(),
                    });
                }
            }
        }
    }

    /// Puts a new file in the place of the old one, whole or not at all.
    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let new = self.sealed.with_extension("sealed.new");
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
            .and_then(|()| std::fs::rename(&new, &self.sealed));
        if written.is_err() {
            // What is left of it would only take up room.
            let _ = std::fs::remove_file(&new);
            return written;
        }
        File::open(self.sealed.parent().unwrap_or(Path::new(".")))?.sync_all()
    }

    fn io(&self, error: &io::Error) -> SecretError {
        let next = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "; nothing was changed. Free some space and run the same command again"
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                "; nothing was changed. Make the folder and its files accessible for this user, or use another folder \
                 with `--state-dir`"
            }
            _ => "",
        };
        SecretError::Io { place: self.sealed.display().to_string(), message: format!("{error}{next}") }
    }

    fn refused(&self, refusal: Refusal) -> SecretError {
        let place = self.sealed.display().to_string();
        match refusal {
            Refusal::Version(version) => SecretError::Version { place, version },
            Refusal::Damaged(how) => SecretError::Damaged {
                place,
                message: format!("{how}. Nothing was changed: restore the file from a backup"),
            },
            Refusal::OtherKey => SecretError::Key {
                place,
                message: format!(
                    "it was sealed with another key than the one at {}; put that key back, or give it as \
                     VROOLI_DEPLOY_KEY",
                    self.keeper.place()
                ),
            },
        }
    }

    fn reference(document: &Document, path: &str, version: u32, value: &str) -> SecretRef {
        let had_back = document.secrets.get(path).and_then(|versions| versions.hash(version));
        let hash = had_back.map_or_else(|| document.hash(path, value), ToOwned::to_owned);
        SecretRef { store: NAME.to_owned(), path: path.to_owned(), version, hash }
    }
}

impl SecretStore for FileStore {
    fn name(&self) -> &str {
        NAME
    }

    fn put(&self, path: &str, value: &Secret<String>) -> Result<SecretRef, SecretError> {
        self.change(|document| {
            let put = document.secrets.entry(path.to_owned()).or_default().put(value);
            let (version, added) = put.ok_or_else(|| SecretError::Io {
                place: self.sealed.display().to_string(),
                message: format!("`{path}` has no version number left; use another path"),
            })?;
            Ok((Self::reference(document, path, version, value.expose()), added))
        })
    }

    fn put_back(&self, reference: &SecretRef, value: &Secret<String>) -> Result<(), SecretError> {
        self.change(|document| {
            let versions = document.secrets.entry(reference.path.clone()).or_default();
            let added = versions.put_back(reference.version, &reference.hash, value);
            Ok(((), added))
        })
    }

    fn get(&self, reference: &SecretRef) -> Result<Secret<String>, SecretError> {
        let (path, version) = (&reference.path, reference.version);
        let absent = || SecretError::NotFound { path: path.clone(), version };
        let (document, _) = self.read()?.ok_or_else(absent)?;
        let value =
            document.secrets.get(path).and_then(|versions| versions.get(version)).ok_or_else(absent)?;
        if Self::reference(&document, path, version, value).hash != reference.hash {
            return Err(SecretError::Damaged {
                place: self.sealed.display().to_string(),
                message: format!(
                    "version {version} of `{path}` is not the value that is meant: the file comes from another time or \
                     place than the rest of its folder. Restore both from the same backup"
                ),
            });
        }
        Ok(Secret::new(value.to_owned()))
    }

    fn latest(&self, path: &str) -> Result<Option<SecretRef>, SecretError> {
        Ok(self.read()?.and_then(|(document, _)| {
            let (version, value) = document.secrets.get(path)?.iter().next_back()?;
            Some(Self::reference(&document, path, version, value))
        }))
    }

    fn list(&self, prefix: &str) -> Result<Vec<SecretRef>, SecretError> {
        let Some((document, _)) = self.read()? else {
            return Ok(Vec::new());
        };
        let mut references = Vec::new();
        for (path, versions) in document.secrets.iter().filter(|(path, _)| path.starts_with(prefix)) {
            for (version, value) in versions.iter() {
                references.push(Self::reference(&document, path, version, value));
            }
        }
        Ok(references)
    }

    fn given_key(&self) -> Option<Secret<String>> {
        self.keeper.given()
    }

    fn remove(&self, references: &[SecretRef]) -> Result<(), SecretError> {
        // Nothing to remove is nothing to lock, and works in a read-only folder too.
        if references.is_empty() || !self.sealed.exists() {
            return Ok(());
        }
        self.change(|document| {
            let mut changed = false;
            for reference in references {
                if let Some(versions) = document.secrets.get_mut(&reference.path) {
                    changed |= versions.remove(reference.version);
                }
            }
            Ok(((), changed))
        })
    }
}
