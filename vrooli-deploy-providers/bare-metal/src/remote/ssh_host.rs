//! One host over `ssh`: its connection, the sessions on it, and what they came to.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use openssh::Session;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{Mutex as AsyncMutex, Semaphore};
use vrooli_deploy_core::provider::Cancellation;

use super::bounded::{LARGEST_WORDS, first_of, last, last_of};
use super::phase::{BEGIN, KILL_AFTER};
use super::ssh::{Base, LOGIN, RoundTrips};
use super::stream::{self, Asked};
use super::{Phase, PhaseOutput, RemoteError, RemoteExec, kept};
use crate::host::HostName;

/// How long an unused connection stays, in seconds, should we be killed.
const IDLE: u64 = 60;
/// How many sessions `sshd` allows on one connection unless it is told otherwise (`MaxSessions`).
const MAX_SESSIONS: usize = 10;
/// How often a host may refuse a session to one phase.
const MOST_REFUSED: u32 = 100;

/// A connection that stands.
#[derive(Debug)]
pub(super) struct Connection {
    session: Arc<Session>,
    control: PathBuf,
    /// Does it stay for the next command?
    kept: bool,
}

impl Connection {
    fn new(control: PathBuf, kept: bool) -> Self {
        let session = Session::resume_mux(control.clone().into_boxed_path(), None);
        Self { session: Arc::new(session), control, kept }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        // Milliseconds, on a local socket. If it does not work, the idle master ends by itself.
        let _ = kept::end(&self.control);
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
    pub(super) fn new(base: Arc<Base>, name: HostName) -> Self {
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
        let place = self.base.kept.as_ref().map(|kept| (kept, kept.place(&self.name)));
        if let Some((_, place)) = &place
            && kept::answers(place)
        {
            return Ok(Connection::new(place.clone(), true));
        }
        self.connections.fetch_add(1, Ordering::Relaxed);
        let number = self.base.numbers.fetch_add(1, Ordering::Relaxed);
        let control = self.base.folder.path().join(number.to_string());
        let mut ssh = self.base.ssh();
        // It goes into the background once it is logged in; until then, dropping it kills it.
        ssh.arg("-S").arg(&control).args(["-M", "-N", "-f", "-o"]);
        let idle = if place.is_some() { self.base.options.keep.as_secs() } else { IDLE };
        ssh.arg(format!("ControlPersist={idle}")).arg("--").arg(self.name.as_str());
        let (status, words) = self.base.say(ssh, self.base.options.connect + LOGIN).await?;
        if status == Some(0) {
            return Ok(match place {
                Some((kept, place)) if kept.keep(&control, &place).is_some() => Connection::new(place, true),
                _ => Connection::new(control, false),
            });
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
            if gone.kept {
                // The next one is not to find it.
                let _ = kept::end(&gone.control);
                let _ = std::fs::remove_file(&gone.control);
            }
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
                tracing::debug!(host = %self.host(), phase = phase.name, "round trip");
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
        let (asked, allowed) = Asked::new();
        let talk = async {
            let write = async {
                let Some(mut stdin) = stdin else { return Ok(()) };
                // A script that does not read all of it, or a host that is gone: the status says.
                let _ = stdin.write_all(text.as_bytes()).await;
                let _ = stdin.write_all(phase.input.expose()).await;
                let copied = match &phase.stream {
                    Some(stream) => stream::send(&**stream, &mut stdin, allowed).await,
                    None => Ok(()),
                };
                let _ = stdin.shutdown().await;
                copied
            };
            let (stdout, stderr, copied) =
                tokio::join!(first_of(stdout, phase.largest_output, asked), last_of(stderr), write);
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
            Err(openssh::Error::Remote(error)) if error.kind() == io::ErrorKind::NotFound => 127,
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
