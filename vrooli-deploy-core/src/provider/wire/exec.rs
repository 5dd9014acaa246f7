//! A program of ours that runs on a server for a conversation: its standard input, output and error at this end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, DuplexStream, ReadBuf};
use tokio::sync::{mpsc, oneshot};

use super::client::{Line, Reply, Shared};
use super::message::{Answer, Ask};
use super::serve::Said;
use crate::provider::{ErrorKind, OpCtx, ProviderError, Result};
use crate::secrets::Secret;

/// What is sent at a time, in bytes.
const FRAME: usize = 256 * 1024;

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exited {
    /// Its status; -1 where a signal ended it.
    pub status: i32,
    /// The beginning of its standard error.
    pub words: String,
}

/// Bytes that come in parts, as one stream. Whoever sends them sends no more than is taken in good time: what is
/// not read yet is held in memory.
#[derive(Debug)]
pub struct Incoming {
    from: mpsc::UnboundedReceiver<Secret<Vec<u8>>>,
    part: Secret<Vec<u8>>,
    at: usize,
}

impl Incoming {
    pub(super) fn new() -> (mpsc::UnboundedSender<Secret<Vec<u8>>>, Self) {
        let (to, from) = mpsc::unbounded_channel();
        (to, Self { from, part: Secret::new(Vec::new()), at: 0 })
    }
}

impl AsyncRead for Incoming {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        while self.at == self.part.expose().len() {
            let Some(part) = ready!(self.from.poll_recv(cx)) else { return Poll::Ready(Ok(())) };
            (self.part, self.at) = (part, 0);
        }
        let rest = self.part.expose().get(self.at..).unwrap_or_default();
        let count = rest.len().min(into.remaining());
        into.put_slice(rest.get(..count).unwrap_or_default());
        self.at += count;
        Poll::Ready(Ok(()))
    }
}

/// Where what a program prints goes on a server.
#[derive(Debug)]
pub struct Printed {
    pub(super) id: u64,
    pub(super) say: mpsc::Sender<Said>,
}

impl Printed {
    /// Sends on what was printed; false: nobody listens any more.
    pub async fn print(&self, bytes: Vec<u8>) -> bool {
        let line = super::message::Tell::Output { id: self.id, length: bytes.len() };
        self.say.send(Said { line, follows: Secret::new(bytes) }).await.is_ok()
    }
}

/// A program that runs on a server. Dropped before it has ended, it is ended.
#[derive(Debug)]
pub struct Exec {
    /// What it reads. Shut down or dropped, that ends.
    pub input: DuplexStream,
    /// What it prints, up to when it has ended.
    pub output: Incoming,
    /// How it ends.
    pub exit: Exit,
}

/// How a program on a server ends.
#[derive(Debug)]
pub struct Exit {
    shared: Arc<Shared>,
    id: u64,
    answered: oneshot::Receiver<Result<Reply>>,
    cx: OpCtx,
    over: bool,
}

impl Exit {
    /// Waits for it.
    ///
    /// # Errors
    /// `Cancelled`, and `Ambiguous` when it took longer than the context allows or the conversation broke off: what
    /// it has done by then stays done.
    pub async fn wait(mut self) -> Result<Exited> {
        let reply = self.shared.answered(&self.cx, self.id, &mut self.answered).await;
        self.over = true;
        match reply? {
            Reply::Answer(answer) => match *answer {
                Answer::Exited(exited) => Ok(exited),
                other => Err(self.shared.unexpected(&other)),
            },
            _ => Err(ProviderError::new(ErrorKind::Unexpected, "a program's end is something else")),
        }
    }
}

impl Drop for Exit {
    fn drop(&mut self) {
        if !self.over {
            self.shared.forget(self.id);
            self.shared.cancel(self.id);
        }
    }
}

impl Exec {
    /// Asks for it; `words` are its arguments, as the server's program knows them.
    pub(super) async fn begin(shared: &Arc<Shared>, cx: &OpCtx, words: &[&str]) -> Result<Self> {
        let (printed, output) = Incoming::new();
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        let line = |id, context| Ask::Exec { id, context, words };
        let (id, answered) = shared.begin(cx, line, Secret::new(Vec::new()), Some(printed)).await?;
        let exit = Exit { shared: Arc::clone(shared), id, answered, cx: cx.clone(), over: false };
        let (input, feed) = tokio::io::duplex(FRAME);
        tokio::spawn(send(id, feed, shared.lines.clone()));
        Ok(Self { input, output, exit })
    }
}

/// Sends what a program is to read, and that there is no more.
async fn send(id: u64, mut from: DuplexStream, to: mpsc::Sender<Line>) {
    loop {
        let mut part = Vec::with_capacity(FRAME);
        // What was put in by now, and no longer waited for.
        let length = from.read_buf(&mut part).await.unwrap_or(0);
        if to.send((Ask::Input { id, length }, Secret::new(part))).await.is_err() || length == 0 {
            return;
        }
    }
}
