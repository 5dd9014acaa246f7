//! A program that is talked with on a host, for as long as it is needed.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

use super::bounded::{LARGEST_WORDS, last, last_of};
use super::phase::BEGIN;
use super::ssh_host::{Child, Trouble};
use super::{Phase, RemoteError, RemoteExec as _, SshHost};

/// Both ends of what a script on a host, or the program that it became, reads and prints.
pub(crate) struct Conversation {
    pub(crate) reader: BufReader<openssh::ChildStdout>,
    pub(crate) writer: openssh::ChildStdin,
    /// Held as long as it goes on.
    pub(crate) session: KeptSession,
}

impl std::fmt::Debug for Conversation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conversation").field("session", &self.session).finish_non_exhaustive()
    }
}

impl Conversation {
    /// Says something, and gives what is printed then, at most so much, up to a line that begins with
    /// `until`. None: it has ended, or prints more than that, and is of no use any more.
    pub(crate) async fn ask(&mut self, text: &str, until: &str, most: usize) -> Option<String> {
        self.writer.write_all(text.as_bytes()).await.ok()?;
        self.writer.flush().await.ok()?;
        said(&mut self.reader, until, most).await
    }
}

/// What is printed up to a line that begins with `until`, at most so much; none where there is no such
/// line.
async fn said(reader: &mut (impl AsyncBufRead + Unpin), until: &str, most: usize) -> Option<String> {
    let (mut said, mut line) = (String::new(), String::new());
    while said.len() < most {
        line.clear();
        if !matches!(reader.read_line(&mut line).await, Ok(1..)) {
            return None;
        }
        said.push_str(&line);
        if line.starts_with(until) {
            return Some(said);
        }
    }
    None
}

/// A session that counts as one of those that the host allows, until it is dropped, which ends it.
pub(crate) struct KeptSession {
    host: Arc<SshHost>,
    _child: Child,
}

impl std::fmt::Debug for KeptSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeptSession").field("host", self.host.host()).finish_non_exhaustive()
    }
}

impl Drop for KeptSession {
    fn drop(&mut self) {
        self.host.sessions.add_permits(1);
    }
}

/// How often a host may refuse a session.
const MOST_REFUSED: u32 = 50;

impl SshHost {
    /// Begins a script in a session that is kept.
    async fn open(self: &Arc<Self>, phase: &Phase) -> Result<Child, RemoteError> {
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

    /// Starts a script that goes on reading after its own text, gives what it printed up to a line
    /// that begins with `until`, and hands both ends over. One round trip.
    pub(crate) async fn converse(
        self: &Arc<Self>,
        phase: &Phase,
        until: &str,
    ) -> Result<(String, Conversation), RemoteError> {
        let mut child = self.open(phase).await?;
        let ends = (child.stdin().take(), child.stdout().take(), child.stderr().take());
        let session = KeptSession { host: Arc::clone(self), _child: child };
        let failed = |words: String| {
            if words.contains("sudo") {
                return RemoteError::NoRoot { host: self.host().clone(), words };
            }
            RemoteError::Failed { host: self.host().clone(), phase: phase.name, status: -1, words }
        };
        let (Some(mut writer), Some(stdout), stderr) = ends else {
            return Err(failed("it has no input".to_owned()));
        };
        let mut reader = BufReader::new(stdout);
        let begin = async {
            // A script that does not read all of it: what it prints says why.
            let _ = writer.write_all(phase.text().as_bytes()).await;
            let _ = writer.write_all(phase.input.expose()).await;
            let _ = writer.flush().await;
            // What stands before it comes from the login shell.
            said(&mut reader, BEGIN, phase.largest_output).await?;
            said(&mut reader, until, phase.largest_output).await
        };
        let Some(said) = begin.await else {
            let words = tokio::time::timeout(Duration::from_secs(5), last_of(stderr)).await;
            return Err(failed(last(&words.unwrap_or_default(), LARGEST_WORDS)));
        };
        // What nobody reads would hold it up.
        let host = self.host().clone();
        tokio::spawn(async move {
            let words = last_of(stderr).await;
            if !words.is_empty() {
                tracing::warn!(%host, %words, "a script that is kept on a server said something");
            }
        });
        Ok((said, Conversation { reader, writer, session }))
    }
}
