//! A script that is kept running for as long as something is held.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;

use super::{Conversation, Phase, RemoteError, SshHost};

/// A script that runs on a host until this is dropped: then its input ends. It gets a byte from
/// time to time, so that it knows that we are there.
#[derive(Debug)]
pub(crate) struct Held {
    alive: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Held {
    /// Holds what is talked with.
    pub(crate) fn of(talk: Conversation, beat: Duration) -> Self {
        let alive = Arc::new(AtomicBool::new(true));
        let task = tokio::spawn(keep(talk, beat, Arc::clone(&alive)));
        Self { alive, task }
    }

    /// Does it still run, as far as we know?
    pub(crate) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::SeqCst)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl SshHost {
    /// Starts a script and gives what it printed up to a line that begins with `until`; if it goes
    /// on after that, it is held. One round trip.
    pub(crate) async fn hold(
        self: &Arc<Self>,
        phase: &Phase,
        until: &str,
        beat: Duration,
    ) -> Result<(String, Held), RemoteError> {
        let (said, talk) = self.converse(phase, until).await?;
        Ok((said, Held::of(talk, beat)))
    }
}

/// Signs of life, until nobody takes them any more.
async fn keep(talk: Conversation, beat: Duration, alive: Arc<AtomicBool>) {
    let Conversation { mut reader, mut writer, session } = talk;
    let mut line = String::new();
    loop {
        tokio::select! {
            // It prints no more: anything that is read here is its end.
            _ = reader.read_line(&mut line) => break,
            () = tokio::time::sleep(beat) => {
                if writer.write_all(b".").await.is_err() || writer.flush().await.is_err() {
                    break;
                }
            }
        }
    }
    alive.store(false, Ordering::SeqCst);
    drop(session);
}
