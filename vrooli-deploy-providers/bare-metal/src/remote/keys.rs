//! The keys of hosts that somebody vouched for: our own `known_hosts`.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest as _, Sha256};

use super::{Fingerprint, RemoteError};

/// A key that a host showed, before anybody has vouched for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedKey {
    /// `ssh-ed25519`, …
    pub algorithm: String,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// The line of a `known_hosts` file, as `ssh` wrote it.
    line: String,
}

impl OfferedKey {
    /// Reads a line of a `known_hosts` file. `None` for comments and what is no key.
    pub(super) fn read(line: &str) -> Option<Self> {
        let line = line.trim();
        let mut words = line.split_ascii_whitespace().filter(|word| !word.starts_with('@'));
        let names = words.next().filter(|names| !names.starts_with('#'))?;
        let (algorithm, key) = (words.next()?, words.next()?);
        let blob = STANDARD.decode(key).ok()?;
        let digest = STANDARD_NO_PAD.encode(Sha256::digest(&blob));
        let fingerprint = Fingerprint::new(&format!("SHA256:{digest}")).ok()?;
        Some(Self {
            algorithm: algorithm.to_owned(),
            fingerprint,
            line: format!("{names} {algorithm} {key}"),
        })
    }

    fn names(&self) -> &str {
        self.line.split(' ').next().unwrap_or_default()
    }
}

/// The file of keys that were vouched for here. The user's own `known_hosts` is only read, by
/// `ssh` itself.
#[derive(Debug, Clone)]
pub struct HostKeys {
    file: PathBuf,
}

impl HostKeys {
    /// The keys in that folder, which is there.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { file: folder.join("known_hosts") }
    }

    /// Where they are.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Vouches for a key: from now on it is the only one of that name that is kept here.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn trust(&self, key: &OfferedKey) -> Result<(), RemoteError> {
        let folder = self.file.parent().unwrap_or(Path::new("."));
        // Two commands may vouch for two hosts at the same time.
        let lock = fs::File::create(folder.join("known_hosts.lock")).map_err(|e| self.error(&e))?;
        lock.lock().map_err(|e| self.error(&e))?;
        let before = match fs::read_to_string(&self.file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(self.error(&error)),
        };
        let kept = before.lines().filter(|line| line.split_ascii_whitespace().next() != Some(key.names()));
        let text: String = kept.chain([key.line.as_str()]).flat_map(|line| [line, "\n"]).collect();
        replace(&self.file, &text).map_err(|e| self.error(&e))
    }

    fn error(&self, error: &std::io::Error) -> RemoteError {
        RemoteError::File { file: self.file.display().to_string(), words: error.to_string() }
    }
}

/// Puts a whole file in the place of another, or leaves that as it is. Only we can read it.
pub(crate) fn replace(file: &Path, text: &str) -> std::io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    let mut new = tempfile::NamedTempFile::new_in(folder)?;
    new.write_all(text.as_bytes())?;
    new.as_file().sync_all()?;
    new.persist(file)?;
    Ok(())
}

/// The fingerprint of the key on a line (from 1) of a `known_hosts` file.
pub(super) fn fingerprint_at(file: &str, line: usize) -> Option<Fingerprint> {
    let text = fs::read_to_string(file).ok()?;
    let key = OfferedKey::read(text.lines().nth(line.checked_sub(1)?)?)?;
    Some(key.fingerprint)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made with `ssh-keygen -t ed25519`; the fingerprint is the one that `ssh-keygen -l` shows.
    const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIHLsSF6EAE+lIngSda5P9VES13kqVm3r1r4TQ3b1vm/J";
    const SHOWN: &str = "SHA256:wAlINahCZJfL06Dj+yojJeG7v8MB2kDDqoS40AC5S+o";

    #[test]
    fn fingerprints_are_those_of_ssh_keygen() {
        let key = OfferedKey::read(&format!("web1,10.0.0.1 ssh-ed25519 {KEY} a comment")).unwrap();
        assert_eq!(key.fingerprint.to_string(), SHOWN);
        assert_eq!(key.line, format!("web1,10.0.0.1 ssh-ed25519 {KEY}"));
        for none in ["", "# web1 ssh-ed25519 AAAA", "web1 ssh-ed25519", "web1 ssh-ed25519 !"] {
            assert!(OfferedKey::read(none).is_none(), "{none}");
        }
    }

    #[test]
    fn one_name_has_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let keys = HostKeys::new(folder.path());
        for line in ["web1 ssh-ed25519 QUFB", "web2 ssh-ed25519 QUFB", "web1 ssh-rsa QkJC"] {
            keys.trust(&OfferedKey::read(line).unwrap()).unwrap();
        }
        assert_eq!(fs::read_to_string(keys.file()).unwrap(), "web2 ssh-ed25519 QUFB\nweb1 ssh-rsa QkJC\n");
        assert!(fingerprint_at(keys.file().to_str().unwrap(), 2).is_some());
        assert!(fingerprint_at(keys.file().to_str().unwrap(), 0).is_none());
        assert!(fingerprint_at(keys.file().to_str().unwrap(), 3).is_none());
    }
}
