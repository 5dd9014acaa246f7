//! What carries a link: the greeting, the two tasks that write and read, who waits for which
//! answer, and the end of the process at the other side.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::error::{EdgeError, Refusal, Trying as _};
use crate::names::ListenerId;
use crate::protocol::{Answer, Greeting, Response, ResponseBody};
use crate::socket::{self, LineReader, LineWriter};

/// How long the process may take to end after its link did.
const REAP: Duration = Duration::from_secs(5);

pub(super) type Outgoing = (Vec<u8>, Option<OwnedFd>);
pub(super) type Outcome = Result<Answer, Refusal>;
pub(super) type Listeners = Mutex<BTreeMap<ListenerId, OwnedFd>>;

/// Who waits for which answer; none once the link has ended.
#[derive(Debug, Default)]
pub(super) struct Pending(pub(super) Mutex<Option<HashMap<u64, oneshot::Sender<Outcome>>>>);

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An answer that nobody waits for any more is not waited for.
pub(super) struct Forget<'a> {
    pub(super) pending: &'a Pending,
    pub(super) id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        if let Some(pending) = lock(&self.pending.0).as_mut() {
            pending.remove(&self.id);
        }
    }
}

pub(crate) fn from_std(stream: StdUnixStream) -> Result<UnixStream, EdgeError> {
    stream.set_nonblocking(true).trying("use the edge's link")?;
    UnixStream::from_std(stream).trying("use the edge's link")
}

pub(super) async fn hello(
    mut reader: LineReader,
    writer: &LineWriter,
) -> Result<(LineReader, Greeting), EdgeError> {
    // That the other side is gone shows when reading.
    let _ = writer.message(&Greeting::new(None, false), None).await;
    let greeting = socket::read_greeting(&mut reader).await?;
    if greeting.busy {
        return Err(EdgeError::Busy);
    }
    Ok((reader, greeting))
}

pub(super) async fn write(writer: LineWriter, mut inbox: mpsc::UnboundedReceiver<Outgoing>) {
    while let Some((line, socket)) = inbox.recv().await {
        if let Err(error) = writer.line(&line, socket.as_ref()).await {
            tracing::debug!(%error, "could not write to the edge");
            // Reading ends too, and tells everyone.
            writer.shut_down();
            return;
        }
    }
}

pub(super) async fn read(mut reader: LineReader, pending: Arc<Pending>, listeners: Arc<Listeners>) {
    loop {
        let Response { id, body } = match reader.message().await {
            Ok(Some(response)) => response,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, "the link to the edge broke");
                return;
            }
        };
        let outcome = match body {
            ResponseBody::Listener(listener) => {
                if let Some(socket) = reader.descriptor() {
                    lock(&listeners).insert(listener, socket);
                }
                continue;
            }
            ResponseBody::Answer(answer) => Ok(answer),
            ResponseBody::Refused(refusal) => Err(refusal),
        };
        let waiting = lock(&pending.0).as_mut().and_then(|all| all.remove(&id));
        if let Some(waiting) = waiting {
            // Whoever asked may have given up.
            let _ = waiting.send(outcome);
        }
    }
}

/// Waits for a process whose link has ended.
pub(super) async fn reap(mut child: Child) -> Option<ExitStatus> {
    let started = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if started.elapsed() < REAP => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Ok(None) | Err(_) => return None,
        }
    }
}
