//! What our program on a server does by itself, asked for in the conversation with it that goes on: no other
//! session is opened, so nobody logs in, becomes root and starts shells once more.

use std::time::Instant;

use async_trait::async_trait;
use tokio::io::AsyncWriteExt as _;
use vrooli_deploy_core::provider::wire::Exec;
use vrooli_deploy_core::provider::{Cancellation, ErrorKind, OpCtx, ProviderError};

use super::app_host::Talk;
use crate::host::HostName;
use crate::remote::{
    self, Asked, KILL_AFTER, Phase, PhaseOutput, RemoteError, RemoteExec, SshHost, first_of,
};

/// A server that is talked with; phases that need a shell get a session.
pub(super) struct ByTalk<'a> {
    talk: &'a Talk,
    host: &'a SshHost,
    cx: &'a OpCtx,
}

impl<'a> ByTalk<'a> {
    pub(super) fn new(talk: &'a Talk, host: &'a SshHost, cx: &'a OpCtx) -> Self {
        Self { talk, host, cx }
    }

    fn explained(&self, phase: &Phase, error: &ProviderError) -> RemoteError {
        let (host, words) = (self.host.host().clone(), error.message().to_owned());
        match error.kind() {
            ErrorKind::Cancelled => RemoteError::Cancelled { sent: true },
            ErrorKind::Timeout => RemoteError::TooLong { host, phase: phase.name, limit: phase.limit },
            // The host ends it when it hears nothing of us.
            ErrorKind::Ambiguous => RemoteError::Lost {
                host,
                phase: phase.name,
                settles: phase.limit + std::time::Duration::from_secs(KILL_AFTER),
                words,
            },
            _ => RemoteError::Failed { host, phase: phase.name, status: -1, words },
        }
    }
}

#[async_trait]
impl RemoteExec for ByTalk<'_> {
    fn host(&self) -> &HostName {
        self.host.host()
    }

    async fn run(&self, phase: &Phase, cancellation: &Cancellation) -> Result<PhaseOutput, RemoteError> {
        let Some(words) = phase.of_program else { return self.host.run(phase, cancellation).await };
        let began = Instant::now();
        let mut cx = self.cx.clone();
        (cx.deadline, cx.cancellation) = (began + phase.limit, cancellation.clone());
        let Exec { mut input, output, exit } = match self.talk.fleet.exec(&cx, words).await {
            Ok(exec) => exec,
            // The conversation is over. Nothing was asked.
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                return self.host.run(phase, cancellation).await;
            }
            Err(error) => return Err(self.explained(phase, &error)),
        };
        let (asked, allowed) = Asked::new();
        let write = async move {
            // One that does not read all of it has ended: its status says why.
            let _ = input.write_all(phase.input.expose()).await;
            let copied = match &phase.stream {
                Some(stream) => remote::send(&**stream, &mut input, allowed).await,
                None => Ok(()),
            };
            let _ = input.shutdown().await;
            copied
        };
        let ((stdout, truncated), copied, exited) =
            tokio::join!(first_of(Some(output), phase.largest_output, asked), write, exit.wait());
        if let (Err(error), Some(stream)) = (copied, &phase.stream) {
            return Err(RemoteError::File { file: stream.name(), words: error.to_string() });
        }
        let exited = exited.map_err(|error| self.explained(phase, &error))?;
        let stdout = String::from_utf8_lossy(&stdout).into_owned();
        if exited.status != 0 {
            let words = if exited.words.is_empty() { stdout } else { exited.words };
            let host = self.host.host().clone();
            return Err(RemoteError::Failed { host, phase: phase.name, status: exited.status, words });
        }
        let mut printed = PhaseOutput::new(stdout, began.elapsed());
        (printed.stderr, printed.truncated) = (exited.words, truncated);
        Ok(printed)
    }
}
