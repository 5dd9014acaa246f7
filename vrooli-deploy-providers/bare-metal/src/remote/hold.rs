//! A script that is kept running for as long as something is held.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::task::JoinHandle;

use super::bounded::{LARGEST_WORDS, last, last_of};
use super::phase::BEGIN;
use super::ssh_host::{Child, Trouble};
use super::{Phase, RemoteError, RemoteExec as _, SshHost};

/// How often a host may refuse a session.
const MOST_REFUSED: u32 = 50;

/// A script that runs on a host until this is dropped: then its input ends. It gets a byte from
/// time to time, so that it knows that we are there.
#[derive(Debug)]
pub(crate) struct Held {
    host: Arc<SshHost>,
    alive: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Held {
    /// Does it still run, as far as we know?
    pub(crate) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::SeqCst)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.task.abort();
        self.host.release();
    }
}

impl SshHost {
    /// A session that is kept: it counts as one of those that the host allows, until
    /// [`release`](Self::release).
    pub(super) async fn open(self: &Arc<Self>, phase: &Phase) -> Result<Child, RemoteError> {
        let unreachable = |words| RemoteError::Unreachable { host: self.host().clone(), words };
        let (mut again, mut refused) = (true, 0);
        loop {
            let connection = self.connected().await?;
            let Ok(permit) = self.sessions.acquire().await else {
                return Err(RemoteError::Cancelled { sent: false });
            };
            match self.begin(&connection, phase).await {
                Ok(child) => {
                    permit.forget();
                    return Ok(child);
                }
                Err(Trouble::NoSession(_)) if refused < MOST_REFUSED => {
                    refused += 1;
                    drop(permit);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(Trouble::NoSession(words)) => return Err(unreachable(words)),
                Err(Trouble::Gone { words, .. }) => {
                    self.forget(&connection).await;
                    if !std::mem::take(&mut again) {
                        return Err(unreachable(words));
                    }
                }
                Err(Trouble::Input { file, words }) => return Err(RemoteError::File { file, words }),
                Err(Trouble::TooLong) => return Err(unreachable("no session was opened".to_owned())),
            }
        }
    }

    /// A kept session has ended.
    pub(super) fn release(&self) {
        self.sessions.add_permits(1);
    }

    /// Starts a script and gives what it printed up to a line that begins with `until`; if it goes
    /// on after that, it is held. One round trip.
    pub(crate) async fn hold(
        self: &Arc<Self>,
        phase: &Phase,
        until: &str,
        beat: Duration,
    ) -> Result<(String, Held), RemoteError> {
        let child = self.open(phase).await?;
        let alive = Arc::new(AtomicBool::new(true));
        let (said, rest) = match started(child, phase, until).await {
            Ok(started) => started,
            Err(words) => {
                self.release();
                return Err(if words.contains("sudo") {
                    RemoteError::NoRoot { host: self.host().clone(), words }
                } else {
                    RemoteError::Failed { host: self.host().clone(), phase: phase.name, status: -1, words }
                });
            }
        };
        let task = tokio::spawn(keep(rest, beat, Arc::clone(&alive)));
        Ok((said, Held { host: Arc::clone(self), alive, task }))
    }
}

/// What is kept of a script that was started.
struct Rest {
    child: Child,
    stdin: openssh::ChildStdin,
    stdout: BufReader<openssh::ChildStdout>,
}

async fn started(mut child: Child, phase: &Phase, until: &str) -> Result<(String, Rest), String> {
    let ends = (child.stdin().take(), child.stdout().take(), child.stderr().take());
    let (Some(mut stdin), Some(stdout), stderr) = ends else { return Err("it has no input".to_owned()) };
    let mut stdout = BufReader::new(stdout);
    let talk = async {
        // A script that does not read all of it: what it prints says why.
        let _ = stdin.write_all(phase.text().as_bytes()).await;
        let _ = stdin.write_all(phase.input.expose()).await;
        let _ = stdin.flush().await;
        let (mut said, mut begun) = (String::new(), false);
        let mut line = String::new();
        while said.len() < phase.largest_output {
            line.clear();
            if !matches!(stdout.read_line(&mut line).await, Ok(1..)) {
                return None;
            }
            if begun {
                said.push_str(&line);
                if line.starts_with(until) {
                    return Some(said);
                }
            }
            begun |= line.trim_end() == BEGIN;
        }
        None
    };
    match tokio::time::timeout(phase.limit, talk).await {
        Ok(Some(said)) => Ok((said, Rest { child, stdin, stdout })),
        Ok(None) => {
            let words = tokio::time::timeout(Duration::from_secs(5), last_of(stderr)).await;
            Err(last(&words.unwrap_or_default(), LARGEST_WORDS))
        }
        Err(_) => Err(format!("it did not begin within {} s", phase.limit.as_secs())),
    }
}

/// Signs of life, until nobody takes them any more.
async fn keep(rest: Rest, beat: Duration, alive: Arc<AtomicBool>) {
    let Rest { child, mut stdin, mut stdout } = rest;
    let mut line = String::new();
    loop {
        tokio::select! {
            // It prints no more: anything that is read here is its end.
            _ = stdout.read_line(&mut line) => break,
            () = tokio::time::sleep(beat) => {
                if stdin.write_all(b".").await.is_err() || stdin.flush().await.is_err() {
                    break;
                }
            }
        }
    }
    alive.store(false, Ordering::SeqCst);
    drop(child);
}
