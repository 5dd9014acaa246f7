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
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use openssh::Session;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::sync::{Mutex as AsyncMutex, Semaphore};
use vrooli_deploy_core::provider::Cancellation;

use super::phase::{BEGIN, KILL_AFTER};
use super::ssh_config::{self, Patience};
use super::ssh_words::{Meaning, meaning};
use super::{
    Fingerprint, HostKeys, OfferedKey, Phase, PhaseOutput, PhaseStream, RemoteError, RemoteExec, keys,
};
use crate::host::HostName;

/// How many sessions `sshd` allows on one connection unless it is told otherwise (`MaxSessions`).
const MAX_SESSIONS: usize = 10;
/// How often a host may refuse a session to one phase.
const MOST_REFUSED: u32 = 100;
/// How much is kept of what `ssh` or a script complains, in bytes.
pub(super) const LARGEST_WORDS: usize = 4 * 1024;
/// How long logging in may take beyond the connection itself.
const LOGIN: Duration = Duration::from_secs(20);
/// How long an unused connection stays, in seconds, should we be killed.
const IDLE: u64 = 60;
/// The longest folder in which a socket of `ssh` still has a path that a socket can have.
const LONGEST_FOLDER: usize = 56;
/// What our folders of sockets begin with.
const FOLDER: &str = ".ssh-";

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
}

impl SshOptions {
    /// The default, with the file that `VROOLI_DEPLOY_SSH_CONFIG` names as configuration.
    #[must_use]
    pub fn from_environment() -> Self {
        let config = std::env::var_os("VROOLI_DEPLOY_SSH_CONFIG").filter(|file| !file.is_empty());
        Self { config: config.map(Into::into), ..Self::default() }
    }
}

impl Default for SshOptions {
    fn default() -> Self {
        Self { config: None, connect: Duration::from_secs(10), alive: Duration::from_secs(5) }
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
struct Base {
    /// Sockets, and the configuration that `ssh` is given. Gone with this.
    folder: TempDir,
    /// Held as long as the folder is used: what is left by the dead is known by it.
    _lock: fs::File,
    config: PathBuf,
    keys: HostKeys,
    options: SshOptions,
    numbers: AtomicU64,
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
        fs::write(&config, text).map_err(failed)?;
        let base = Base { folder: sockets, _lock: lock, config, keys, options, numbers: AtomicU64::new(1) };
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
    fn ssh(&self) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(&self.config).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        ssh
    }

    /// Runs `ssh` to its end, and gives what it said. Those on the way write to the same place.
    async fn say(&self, mut ssh: Command, within: Duration) -> Result<(Option<i32>, String), RemoteError> {
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

    async fn offered_key(&self, host: &HostName, algorithm: Option<&str>) -> Result<OfferedKey, RemoteError> {
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
    fn failed(&self, host: &HostName, timed_out: bool, words: String) -> RemoteError {
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

/// The last of a text, from the start of a line where that fits.
pub(super) fn last(text: &str, most: usize) -> String {
    let text = text.trim();
    let Some(mut at) = text.len().checked_sub(most).filter(|at| *at > 0) else { return text.to_owned() };
    while !text.is_char_boundary(at) {
        at += 1;
    }
    let rest = &text[at..];
    rest.split_once('\n').map_or(rest, |(_, whole)| whole).to_owned()
}

/// A connection that stands.
#[derive(Debug)]
pub(super) struct Connection {
    session: Arc<Session>,
    control: PathBuf,
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Milliseconds, on a local socket. If it does not work, the idle master ends by itself.
        let _ = std::process::Command::new("ssh")
            .args(["-F", "/dev/null", "-O", "exit", "-S"])
            .arg(&self.control)
            .arg("none")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// A host over `ssh`.
#[derive(Debug)]
pub struct SshHost {
    // Before the folder that its socket is in: a connection is ended by its socket.
    connection: AsyncMutex<Option<Arc<Connection>>>,
    base: Arc<Base>,
    name: HostName,
    pub(super) sessions: Semaphore,
    /// How many sessions the host allows, as far as we know; never less than one.
    allowed: AtomicUsize,
    connections: AtomicU64,
    phases: AtomicU64,
}

/// A session's end of ours.
pub(super) type Child = openssh::Child<Arc<Session>>;

/// Why a session did not end as it should.
pub(super) enum Trouble {
    /// The host opened none: nothing was run.
    NoSession(String),
    /// The connection is gone; had the script been sent?
    Gone { sent: bool, words: String },
    /// It did not end within its limit and what it takes to hear so.
    TooLong,
    /// What it should have read could not be read here; it was cut off.
    Input { file: String, words: String },
}

/// How a script ended.
struct Ended {
    status: i32,
    stdout: Vec<u8>,
    truncated: bool,
    stderr: String,
    took: Duration,
}

impl SshHost {
    fn new(base: Arc<Base>, name: HostName) -> Self {
        Self {
            base,
            name,
            connection: AsyncMutex::new(None),
            sessions: Semaphore::new(MAX_SESSIONS),
            allowed: AtomicUsize::new(MAX_SESSIONS),
            connections: AtomicU64::new(0),
            phases: AtomicU64::new(0),
        }
    }

    /// What was asked of this host.
    #[must_use]
    pub fn round_trips(&self) -> RoundTrips {
        RoundTrips {
            connections: self.connections.load(Ordering::Relaxed),
            phases: self.phases.load(Ordering::Relaxed),
        }
    }

    /// The connection, made if there is none. Whoever comes meanwhile waits for it.
    pub(super) async fn connected(&self) -> Result<Arc<Connection>, RemoteError> {
        let mut connection = self.connection.lock().await;
        if let Some(connection) = &*connection {
            return Ok(Arc::clone(connection));
        }
        let made = Arc::new(self.connect().await?);
        *connection = Some(Arc::clone(&made));
        Ok(made)
    }

    async fn connect(&self) -> Result<Connection, RemoteError> {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let number = self.base.numbers.fetch_add(1, Ordering::Relaxed);
        let control = self.base.folder.path().join(number.to_string());
        let mut ssh = self.base.ssh();
        // It goes into the background once it is logged in; until then, dropping it kills it.
        ssh.arg("-S").arg(&control).args(["-M", "-N", "-f", "-o"]);
        ssh.arg(format!("ControlPersist={IDLE}")).arg("--").arg(self.name.as_str());
        let (status, words) = self.base.say(ssh, self.base.options.connect + LOGIN).await?;
        if status == Some(0) {
            let session = Session::resume_mux(control.clone().into_boxed_path(), None);
            return Ok(Connection { session: Arc::new(session), control });
        }
        Err(self.explained(self.base.failed(&self.name, status.is_none(), words)).await)
    }

    /// The same error by the name that the user gave, with the key that is shown, and with what
    /// hosts on the way said: with a connection that is kept `ssh` does not pass that on.
    async fn explained(&self, error: RemoteError) -> RemoteError {
        let about_keys = matches!(error, RemoteError::UnknownKey { .. } | RemoteError::ChangedKey { .. });
        let cut_off =
            matches!(&error, RemoteError::Unreachable { words, .. } if words.contains("kex_exchange"));
        if !about_keys && !cut_off {
            return error;
        }
        let own = self.name.to_string();
        match (error, self.base.offered_key(&self.name, None).await) {
            (RemoteError::UnknownKey { .. }, Ok(key)) => {
                RemoteError::UnknownKey { name: own, offered: Some(key.fingerprint) }
            }
            (RemoteError::ChangedKey { known, place, .. }, Ok(key)) => {
                RemoteError::ChangedKey { name: own, known, offered: Some(key.fingerprint), place }
            }
            // A host on the way.
            (_, Err(RemoteError::UnknownKey { name, .. })) => {
                let offered = match HostName::new(name.as_str()) {
                    Ok(host) => self.base.offered_key(&host, None).await.ok(),
                    Err(_) => None,
                };
                RemoteError::UnknownKey { name, offered: offered.map(|key| key.fingerprint) }
            }
            (RemoteError::Unreachable { .. }, Err(closer)) => closer,
            (error, _) => error,
        }
    }

    /// Forgets a connection that is gone; the next phase makes a new one.
    pub(super) async fn forget(&self, gone: &Arc<Connection>) {
        let mut connection = self.connection.lock().await;
        if connection.as_ref().is_some_and(|current| Arc::ptr_eq(current, gone)) {
            *connection = None;
        }
    }

    async fn send(&self, phase: &Phase, sent: &AtomicU64) -> Result<PhaseOutput, RemoteError> {
        // A connection that had died unseen is found out before anything is sent: once is enough.
        let mut again = true;
        let mut refused = 0;
        loop {
            let connection = self.connected().await?;
            let Ok(permit) = self.sessions.acquire().await else {
                return Err(RemoteError::Cancelled { sent: false });
            };
            match self.session(&connection, phase, sent).await {
                Ok(ended) => return self.understand(phase, ended),
                Err(Trouble::NoSession(words)) => {
                    // It allows fewer than is usual: so do we, from now on, but never none.
                    let fewer = |allowed: usize| (allowed > 1).then(|| allowed - 1);
                    if self.allowed.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer).is_ok() {
                        permit.forget();
                    } else {
                        drop(permit);
                    }
                    refused += 1;
                    if refused > MOST_REFUSED {
                        return Err(RemoteError::Unreachable { host: self.name.clone(), words });
                    }
                    // One that has just ended here may still be ending there.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(Trouble::Gone { sent: false, .. }) if again => {
                    again = false;
                    self.forget(&connection).await;
                }
                Err(Trouble::Gone { sent: false, words }) => {
                    self.forget(&connection).await;
                    return Err(RemoteError::Unreachable { host: self.name.clone(), words });
                }
                Err(Trouble::Gone { sent: true, words }) => {
                    self.forget(&connection).await;
                    return Err(RemoteError::Lost {
                        host: self.name.clone(),
                        phase: phase.name,
                        settles: phase.limit + Duration::from_secs(KILL_AFTER),
                        words,
                    });
                }
                Err(Trouble::Input { file, words }) => return Err(RemoteError::File { file, words }),
                Err(Trouble::TooLong) => {
                    self.forget(&connection).await;
                    return Err(self.too_long(phase));
                }
            }
        }
    }

    fn too_long(&self, phase: &Phase) -> RemoteError {
        RemoteError::TooLong { host: self.name.clone(), phase: phase.name, limit: phase.limit }
    }

    /// A session in which the host's shell waits for the script.
    pub(super) async fn begin(&self, connection: &Connection, phase: &Phase) -> Result<Child, Trouble> {
        let mut command = Arc::clone(&connection.session).arc_raw_command(phase.command());
        command
            .stdin(openssh::Stdio::piped())
            .stdout(openssh::Stdio::piped())
            .stderr(openssh::Stdio::piped());
        // Should the connection be dead, `ssh` finds that out by then.
        let patience = self.base.options.connect + self.base.options.alive * 4;
        match tokio::time::timeout(patience, command.spawn()).await {
            Ok(child) => {
                let child = child.map_err(|error| opened(&error))?;
                self.phases.fetch_add(1, Ordering::Relaxed);
                Ok(child)
            }
            Err(_) => Err(Trouble::Gone { sent: false, words: "no session was opened in time".to_owned() }),
        }
    }

    /// One session: the script, its input, its output, its status.
    async fn session(
        &self,
        connection: &Connection,
        phase: &Phase,
        sent: &AtomicU64,
    ) -> Result<Ended, Trouble> {
        let began = Instant::now();
        let mut child = self.begin(connection, phase).await?;
        sent.store(1, Ordering::SeqCst);
        let gone = |error: &dyn std::error::Error| Trouble::Gone { sent: true, words: chain(error) };
        let (stdin, stdout, stderr) = (child.stdin().take(), child.stdout().take(), child.stderr().take());
        let text = phase.text();
        let talk = async {
            let write = async {
                let Some(mut stdin) = stdin else { return Ok(()) };
                // A script that does not read all of it, or a host that is gone: the status says.
                let _ = stdin.write_all(text.as_bytes()).await;
                let _ = stdin.write_all(phase.input.expose()).await;
                let copied = match &phase.stream {
                    Some(stream) => copy(&**stream, &mut stdin).await,
                    None => Ok(()),
                };
                let _ = stdin.shutdown().await;
                copied
            };
            let (stdout, stderr, copied) =
                tokio::join!(first_of(stdout, phase.largest_output), last_of(stderr), write);
            (stdout, stderr, copied, child.wait().await)
        };
        // The host ends it at its limit; we hear of it a little later, or it is not there any more.
        let patience = phase.limit + Duration::from_secs(KILL_AFTER) + self.base.options.alive * 4;
        let Ok(((stdout, truncated), stderr, copied, status)) = tokio::time::timeout(patience, talk).await
        else {
            return Err(Trouble::TooLong);
        };
        if let (Err(error), Some(stream)) = (copied, &phase.stream) {
            return Err(Trouble::Input { file: stream.name(), words: error.to_string() });
        }
        let status = match status {
            Ok(status) => status.code().unwrap_or(-1),
            // 127, of the script or of the shell that should have run it.
            Err(openssh::Error::Remote(error)) if error.kind() == std::io::ErrorKind::NotFound => 127,
            Err(error) => return Err(gone(&error)),
        };
        Ok(Ended { status, stdout, truncated, stderr, took: began.elapsed() })
    }

    fn understand(&self, phase: &Phase, ended: Ended) -> Result<PhaseOutput, RemoteError> {
        let text = String::from_utf8_lossy(&ended.stdout);
        let begun = text.split_once(BEGIN).and_then(|(_, rest)| rest.strip_prefix('\n'));
        let host = || self.name.clone();
        match (ended.status, begun) {
            (0, Some(stdout)) => Ok(PhaseOutput {
                stdout: stdout.to_owned(),
                stderr: ended.stderr,
                truncated: ended.truncated,
                took: ended.took,
            }),
            (0, None) => Err(RemoteError::Unreadable {
                host: host(),
                phase: phase.name,
                words: "the script did not run".to_owned(),
            }),
            // `timeout` ended it: asked it to, or killed it.
            (124 | 137, _) if ended.took >= phase.limit => Err(self.too_long(phase)),
            (status, begun) => {
                let words = if ended.stderr.is_empty() {
                    last(begun.unwrap_or(&text), LARGEST_WORDS)
                } else {
                    ended.stderr
                };
                if begun.is_none() && words.contains("sudo") {
                    return Err(RemoteError::NoRoot { host: host(), words });
                }
                Err(RemoteError::Failed { host: host(), phase: phase.name, status, words })
            }
        }
    }
}

/// Sends what is read here, a little at a time. The disk is waited for in a thread of its own.
async fn copy(stream: &dyn PhaseStream, to: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
    let mut reader = stream.open()?;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let read = tokio::task::spawn_blocking(move || {
            let count = reader.read(&mut buffer);
            (reader, buffer, count)
        });
        let count;
        (reader, buffer, count) = read.await.map_err(std::io::Error::other)?;
        let count = count?;
        // Whoever does not read on has ended, and the status says why.
        if count == 0 || to.write_all(&buffer[..count]).await.is_err() {
            return Ok(());
        }
    }
}

/// Why no session was opened.
fn opened(error: &openssh::Error) -> Trouble {
    let words = chain(error);
    if words.contains("open refused") || words.contains("refused the request") {
        Trouble::NoSession(words)
    } else {
        Trouble::Gone { sent: false, words }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

/// The first bytes of a stream, and whether there were more. It is read to its end.
async fn first_of(stream: Option<impl AsyncRead + Unpin>, most: usize) -> (Vec<u8>, bool) {
    let Some(mut stream) = stream else { return (Vec::new(), false) };
    let (mut kept, mut more) = (Vec::new(), false);
    let mut buffer = vec![0; 16 * 1024];
    // An error is an end, too: the status says which.
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        let room = most.saturating_sub(kept.len()).min(count);
        kept.extend_from_slice(&buffer[..room]);
        more |= room < count;
    }
    (kept, more)
}

/// The last of a stream of text. It is read to its end.
pub(super) async fn last_of(stream: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let mut kept = Vec::new();
    let mut buffer = vec![0; 4 * 1024];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..count]);
        if kept.len() > 4 * LARGEST_WORDS {
            kept.drain(..kept.len() - 2 * LARGEST_WORDS);
        }
    }
    last(&String::from_utf8_lossy(&kept), LARGEST_WORDS)
}

#[async_trait]
impl RemoteExec for SshHost {
    fn host(&self) -> &HostName {
        &self.name
    }

    async fn run(&self, phase: &Phase, cancellation: &Cancellation) -> Result<PhaseOutput, RemoteError> {
        let sent = AtomicU64::new(0);
        tokio::select! {
            output = self.send(phase, &sent) => output,
            () = cancellation.cancelled() => {
                Err(RemoteError::Cancelled { sent: sent.load(Ordering::SeqCst) > 0 })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_begin_with_a_line() {
        assert_eq!(last(" all \n", 10), "all");
        assert_eq!(last("first\nsecond\nthird", 10), "third");
        assert_eq!(last("äääääääääääääääääääää", 5), "ää");
    }

    #[tokio::test]
    async fn output_is_bounded_and_read_to_its_end() {
        let (kept, more) = first_of(Some(&b"0123456789"[..]), 4).await;
        assert_eq!((kept.as_slice(), more), (&b"0123"[..], true));
        let (kept, more) = first_of(Some(&b"0123"[..]), 4).await;
        assert_eq!((kept.as_slice(), more), (&b"0123"[..], false));
        let long = format!("{}\nthe end", "x".repeat(100_000));
        assert_eq!(last_of(Some(long.as_bytes())).await, "the end");
    }

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
