use super::{Secret, SecretRef};

/// A store of secret values. Values are versioned and kept as long as a retained release
/// refers to them.
pub trait SecretStore: std::fmt::Debug + Send + Sync {
    /// Name of the store, as [`SecretRef::store`] says it.
    fn name(&self) -> &str;
    /// Stores a value; when it equals the newest version of the path, that one is returned.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    fn put(&self, path: &str, value: &Secret<String>) -> Result<SecretRef, SecretError>;
    /// Keeps a value that was had back as that very version, whatever the store knows of its path: what
    /// refers to it is right again. One that is there already stays as it is.
    ///
    /// # Errors
    /// When the store cannot be read or written, or keeps no such values.
    fn put_back(&self, reference: &SecretRef, _: &Secret<String>) -> Result<(), SecretError> {
        Err(SecretError::Io {
            place: format!("the store `{}`", self.name()),
            message: format!("it cannot take back a value that was lost (`{}`)", reference.path),
        })
    }
    /// Reads one version.
    ///
    /// # Errors
    /// When the store cannot be read, or the version is not there.
    fn get(&self, reference: &SecretRef) -> Result<Secret<String>, SecretError>;
    /// The newest version of a path.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn latest(&self, path: &str) -> Result<Option<SecretRef>, SecretError>;
    /// All references whose path starts with the prefix.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn list(&self, prefix: &str) -> Result<Vec<SecretRef>, SecretError>;
    /// Removes versions. Those that are not there are skipped.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn remove(&self, references: &[SecretRef]) -> Result<(), SecretError>;
    /// The key that the store was opened with, where it lies in no file: for a process of ours
    /// that outlives this one and opens the store itself. It is passed on by pipe or socket
    /// alone. `None`: there is nothing to pass on.
    fn given_key(&self) -> Option<Secret<String>> {
        None
    }
}

/// A secret store failed. Says no part of a value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The store's file cannot be read or written.
    #[error("cannot use the secret store at {place}: {message}")]
    Io {
        /// Where.
        place: String,
        /// Why.
        message: String,
    },
    /// The file is no secret store, or was changed by another hand.
    #[error("the secret store at {place} is damaged: {message}")]
    Damaged {
        /// Where.
        place: String,
        /// How that was seen.
        message: String,
    },
    /// The key is not there or not the right one.
    #[error("the secret store at {place} cannot be opened: {message}")]
    Key {
        /// Where.
        place: String,
        /// Why.
        message: String,
    },
    /// Made by a newer version.
    #[error("the secret store at {place} has version {version}, newer than this program")]
    Version {
        /// Where.
        place: String,
        /// Which.
        version: u32,
    },
    /// There is no such value.
    #[error("no secret at `{path}`, version {version}")]
    NotFound {
        /// The path.
        path: String,
        /// The version.
        version: u32,
    },
}
