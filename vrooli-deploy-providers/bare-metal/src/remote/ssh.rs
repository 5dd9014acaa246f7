//! Hosts over the user's own `ssh`: one connection a host, kept while it is needed.
//!
//! We start the master of a connection ourselves, so that we can end it, give it our
//! configuration and hear all that it and those on the way say; on its control socket the
//! `openssh` crate opens sessions without a process for each.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;

use super::bounded::{LARGEST_WORDS, last};
use super::kept::KeptConnections;
use super::ssh_config::{self, Patience};
use super::ssh_words::{Meaning, meaning};
use super::{Fingerprint, HostKeys, OfferedKey, RemoteError, SshHost, keys};
use crate::host::HostName;

/// How long logging in may take beyond the connection itself.
pub(super) const LOGIN: Duration = Duration::from_secs(20);
/// The longest folder in which a socket of `ssh` still has a path that a socket can have.
const LONGEST_FOLDER: usize = 56;
/// What our folders of sockets begin with.
const FOLDER: &str = ".ssh-";

/// How long connections of commands stay; as long as Ansible's do unless it is told otherwise.
const KEEP: Duration = Duration::from_secs(60);
/// What the folder of their sockets is called.
const KEPT: &str = ".kept";

/// How to connect.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SshOptions {
    /// A configuration in the place of `~/.ssh/config` and `/etc/ssh/ssh_config`.
    pub config: Option<PathBuf>,
    /// How long a host may take to answer, in whole seconds.
    pub connect: Duration,
    /// A host that does not answer three times so long is gone, in whole seconds.
    pub alive: Duration,
    /// How long a connection that nobody uses stays for the next program with the same folder, configuration, keys
    /// and agent, in whole seconds. Zero, the default: it ends with this one.
    pub keep: Duration,
}

impl SshOptions {
    /// The default, with the file that `VROOLI_DEPLOY_SSH_CONFIG` names as configuration, and connections that stay
    /// for a minute, or for as many seconds as `VROOLI_DEPLOY_SSH_KEEP` says.
    #[must_use]
    pub fn from_environment() -> Self {
        let config = std::env::var_os("VROOLI_DEPLOY_SSH_CONFIG").filter(|file| !file.is_empty());
        let keep = std::env::var("VROOLI_DEPLOY_SSH_KEEP").ok().and_then(|text| text.trim().parse().ok());
        let keep = keep.map_or(KEEP, Duration::from_secs);
        Self { config: config.map(Into::into), keep, ..Self::default() }
    }

    /// The same with connections of this program alone: who asks whether a host can be reached is told of this moment.
    #[must_use]
    pub fn anew(self) -> Self {
        Self { keep: Duration::ZERO, ..self }
    }
}

impl Default for SshOptions {
    fn default() -> Self {
        let (connect, alive) = (Duration::from_secs(10), Duration::from_secs(5));
        Self { config: None, connect, alive, keep: Duration::ZERO }
    }
}

/// What hosts were asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RoundTrips {
    /// Connections that were made, or tried.
    pub connections: u64,
    /// Phases that were sent.
    pub phases: u64,
}

/// Connections to hosts: at most one each, opened when it is first needed and closed with this.
#[derive(Debug)]
pub struct SshConnections {
    // Before the folder that their sockets are in.
    hosts: Mutex<BTreeMap<HostName, Arc<SshHost>>>,
    base: Arc<Base>,
}

/// What all connections have in common.
#[derive(Debug)]
pub(super) struct Base {
    /// Sockets, and the configuration that `ssh` is given. Gone with this.
    pub(super) folder: TempDir,
    /// Held as long as the folder is used: what is left by the dead is known by it.
    _lock: fs::File,
    config: PathBuf,
    keys: HostKeys,
    pub(super) options: SshOptions,
    pub(super) numbers: AtomicU64,
    /// Connections that stay.
    pub(super) kept: Option<KeptConnections>,
}

impl SshConnections {
    /// Connections whose keys are in `folder`, which is made if it is not there.
    ///
    /// # Errors
    /// [`RemoteError::File`] when the folder cannot be used.
    pub fn open(folder: &Path, options: SshOptions) -> Result<Self, RemoteError> {
        let failed = |error: std::io::Error| RemoteError::File {
            file: folder.display().to_string(),
            words: error.to_string(),
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let folder = folder.canonicalize().map_err(failed)?;
        remove_left_behind(&folder);
        let short = folder.as_os_str().len() <= LONGEST_FOLDER;
        let (place, prefix) =
            if short { (folder.clone(), FOLDER) } else { (std::env::temp_dir(), ".vrooli-ssh-") };
        let (sockets, lock) = own_folder(&place, prefix).map_err(failed)?;
        let keys = HostKeys::new(&folder);
        let patience = Patience { connect: options.connect, alive: options.alive };
        let text = ssh_config::text(keys.file(), options.config.as_deref(), patience)?;
        let config = sockets.path().join("config");
        fs::write(&config, &text).map_err(failed)?;
        // Only where a connection's socket can be given its name.
        let kept = (short && options.keep >= Duration::from_secs(1)).then(|| {
            let decided_by = ssh_config::decided_by(keys.file(), options.config.as_deref());
            KeptConnections::new(folder.join(KEPT), text, decided_by)
        });
        let numbers = AtomicU64::new(1);
        let base = Base { folder: sockets, _lock: lock, config, keys, options, numbers, kept };
        Ok(Self { base: Arc::new(base), hosts: Mutex::default() })
    }

    /// The keys that were vouched for here.
    #[must_use]
    pub fn keys(&self) -> &HostKeys {
        &self.base.keys
    }

    /// A host. Nothing is sent yet.
    #[must_use]
    pub fn host(&self, name: &HostName) -> Arc<SshHost> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(SshHost::new(Arc::clone(&self.base), name.clone()));
        Arc::clone(hosts.entry(name.clone()).or_insert_with(new))
    }

    /// What was asked of all hosts together.
    #[must_use]
    pub fn round_trips(&self) -> RoundTrips {
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.values().map(|host| host.round_trips()).fold(RoundTrips::default(), |sum, host| RoundTrips {
            connections: sum.connections + host.connections,
            phases: sum.phases + host.phases,
        })
    }

    /// Asks a host for its key, without logging in: by the way that the user's configuration
    /// takes, hosts between included, whose own keys must be known. `algorithm` asks for one
    /// kind of key, `ssh-ed25519`.
    ///
    /// # Errors
    /// When the host does not show one.
    pub async fn offered_key(
        &self,
        host: &HostName,
        algorithm: Option<&str>,
    ) -> Result<OfferedKey, RemoteError> {
        self.base.offered_key(host, algorithm).await
    }

    /// Asks a host for a key with this fingerprint, of whatever kind it is, and vouches for it.
    ///
    /// # Errors
    /// [`RemoteError::OtherKey`] when it shows none that has it.
    pub async fn trust_fingerprint(
        &self,
        host: &HostName,
        expected: &Fingerprint,
    ) -> Result<OfferedKey, RemoteError> {
        let first = self.offered_key(host, None).await?;
        let mut offered = Some(first.clone());
        // A provider's page may show the fingerprint of another of its keys than the one that
        // `ssh` would choose.
        let mut others = ["ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512"].iter();
        loop {
            match offered {
                Some(key) if key.fingerprint == *expected => {
                    self.base.keys.trust(&key)?;
                    return Ok(key);
                }
                _ => {}
            }
            let Some(algorithm) = others.next() else {
                return Err(RemoteError::OtherKey {
                    host: host.clone(),
                    expected: expected.clone(),
                    offered: first.fingerprint,
                });
            };
            // A host without such a key does not agree with us on one.
            offered = self.offered_key(host, Some(algorithm)).await.ok();
        }
    }
}

/// Makes a folder that only we can enter, and holds its lock.
fn own_folder(place: &Path, prefix: &str) -> std::io::Result<(TempDir, fs::File)> {
    let folder = tempfile::Builder::new().prefix(prefix).rand_bytes(6).tempdir_in(place)?;
    let lock = fs::File::create(folder.path().join("lock"))?;
    lock.lock()?;
    Ok((folder, lock))
}

/// Removes folders of sockets whose process was killed. The connections end by themselves.
fn remove_left_behind(place: &Path) {
    let Ok(entries) = fs::read_dir(place) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(FOLDER) {
            continue;
        }
        // Without its lock it is being made this very moment.
        let Ok(lock) = fs::File::open(entry.path().join("lock")) else { continue };
        if lock.try_lock().is_ok() {
            // Somebody else may have been faster.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

impl Base {
    pub(super) fn ssh(&self) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(&self.config).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        ssh
    }

    /// Runs `ssh` to its end, and gives what it said. Those on the way write to the same place.
    pub(super) async fn say(
        &self,
        mut ssh: Command,
        within: Duration,
    ) -> Result<(Option<i32>, String), RemoteError> {
        let unusable = |error: std::io::Error| RemoteError::Ssh { words: error.to_string() };
        let words = tempfile::NamedTempFile::new_in(self.folder.path()).map_err(unusable)?;
        ssh.stderr(words.reopen().map_err(unusable)?);
        let mut child = ssh.spawn().map_err(unusable)?;
        let status = match tokio::time::timeout(within, child.wait()).await {
            Ok(status) => status.map_err(unusable)?.code(),
            // Dropped, it is killed.
            Err(_) => None,
        };
        let said = fs::read(words.path()).map_err(unusable)?;
        let said = last(&String::from_utf8_lossy(&said), LARGEST_WORDS);
        Ok((status, said))
    }

    pub(super) async fn offered_key(
        &self,
        host: &HostName,
        algorithm: Option<&str>,
    ) -> Result<OfferedKey, RemoteError> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let file = self.folder.path().join(format!("offered-{number}"));
        let mut ssh = self.ssh();
        let mut option = |text: String| {
            ssh.arg("-o").arg(text);
        };
        // Written down before anybody logs in; nobody does.
        option("StrictHostKeyChecking=accept-new".to_owned());
        option(format!("UserKnownHostsFile={}", file.display()));
        option("GlobalKnownHostsFile=/dev/null".to_owned());
        option("PreferredAuthentications=none".to_owned());
        option("ControlMaster=no".to_owned());
        option("ControlPath=none".to_owned());
        if let Some(algorithm) = algorithm {
            option(format!("HostKeyAlgorithms={algorithm}"));
        }
        ssh.arg("--").arg(host.as_str()).arg("true");
        let (status, words) = self.say(ssh, self.options.connect + LOGIN).await?;
        let text = fs::read_to_string(&file).unwrap_or_default();
        // Absent when nothing was written.
        let _ = fs::remove_file(&file);
        match text.lines().find_map(OfferedKey::read) {
            Some(key) => Ok(key),
            None => Err(self.failed(host, status.is_none(), words)),
        }
    }

    /// What a connection that did not come about means.
    pub(super) fn failed(&self, host: &HostName, timed_out: bool, words: String) -> RemoteError {
        let host = host.clone();
        match meaning(&words) {
            Meaning::UnknownKey { name } => {
                RemoteError::UnknownKey { name: name.unwrap_or_else(|| host.to_string()), offered: None }
            }
            Meaning::ChangedKey { name, offered, place } => RemoteError::ChangedKey {
                name: name.unwrap_or_else(|| host.to_string()),
                known: place.as_ref().and_then(|(file, line)| keys::fingerprint_at(file, *line)),
                offered,
                place: place.map(|(file, line)| format!("{file}:{line}")),
            },
            Meaning::Refused => RemoteError::Refused { host, words },
            Meaning::Configuration => RemoteError::Ssh { words },
            Meaning::NoAnswer => RemoteError::NoAnswer { host, after: self.options.connect, words },
            Meaning::Unreachable if timed_out => {
                RemoteError::NoAnswer { host, after: self.options.connect + LOGIN, words }
            }
            Meaning::Unreachable => RemoteError::Unreachable { host, words },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_the_dead_are_removed_and_those_of_the_living_stay() {
        let place = tempfile::tempdir().unwrap();
        let (alive, _lock) = own_folder(place.path(), FOLDER).unwrap();
        let (dead, lock) = own_folder(place.path(), FOLDER).unwrap();
        let dead = dead.keep();
        drop(lock);
        remove_left_behind(place.path());
        assert!(alive.path().exists());
        assert!(!dead.exists());
    }
}
