use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::message::{
    Answer, Ask, Call, CallContext, HostSettings, PROTOCOL, SILENCE, Tell, invalid, lengths_and_bytes,
    read_values, receive, send,
};
use crate::names::ReleaseNumber;
use crate::provider::{Cancellation, ErrorKind, Fleet, OpCtx, OutputSink, ProviderError, Result};
use crate::secrets::{Secret, SecretRef};

/// How long calls may take to end that nobody waits for any more.
const GRACE: Duration = Duration::from_secs(2);
/// Lines of output and answers that wait to be written.
const WAITING: usize = 256;

/// What serves a fleet on a server.
#[async_trait]
pub trait Agent: Send + Sync {
    /// Its fleet.
    fn fleet(&self) -> Arc<dyn Fleet>;

    /// Takes what it is told of the server, before any call.
    ///
    /// # Errors
    /// When it cannot work there.
    async fn begin(&self, settings: &HostSettings) -> Result<()>;

    /// Keeps values that a release refers to, for as long as the release is there. What was kept
    /// for it before is written over.
    ///
    /// # Errors
    /// `Fenced` when somebody else holds the lease; when they cannot be written.
    async fn keep_values(
        &self,
        cx: &OpCtx,
        release: ReleaseNumber,
        values: Vec<(SecretRef, Secret<String>)>,
    ) -> Result<()>;

    /// The values that are kept for a release.
    ///
    /// # Errors
    /// `Fenced` when somebody else holds the lease; when they cannot be read.
    async fn kept_values(
        &self,
        cx: &OpCtx,
        release: ReleaseNumber,
    ) -> Result<Vec<(SecretRef, Secret<String>)>>;
}

/// A line, and the bytes that follow it.
struct Said {
    line: Tell,
    follows: Secret<Vec<u8>>,
}

impl From<Tell> for Said {
    fn from(line: Tell) -> Self {
        Self { line, follows: Secret::new(Vec::new()) }
    }
}

/// Serves calls until the input ends, or nothing is heard for 30 s; then those that are being made are cancelled. A fault of one
/// call is its answer, and no other's.
///
/// # Errors
/// When what is read is no such conversation.
pub async fn serve(
    agent: Arc<dyn Agent>,
    reader: impl AsyncRead + Send + Unpin,
    writer: impl AsyncWrite + Send + Unpin + 'static,
) -> io::Result<()> {
    let mut reader = BufReader::new(reader);
    let (say, mut said) = mpsc::channel::<Said>(WAITING);
    let writing = tokio::spawn(async move {
        let mut writer = writer;
        while let Some(Said { line, follows }) = said.recv().await {
            let written = async {
                send(&mut writer, &line).await?;
                writer.write_all(follows.expose()).await?;
                writer.flush().await
            };
            // Who does not read has left, or is about to: the input ends then.
            if written.await.is_err() {
                return;
            }
        }
    });
    let heard = listen(&agent, &mut reader, &say).await;
    drop(say);
    let _ = writing.await;
    heard
}

type Running = Arc<Mutex<BTreeMap<u64, Cancellation>>>;

async fn listen(
    agent: &Arc<dyn Agent>,
    reader: &mut (impl AsyncBufReadExt + Send + Unpin),
    say: &mpsc::Sender<Said>,
) -> io::Result<()> {
    let refuse = async |error: &ProviderError| {
        let _ = say.send(Tell::Refused { failure: error.into() }.into()).await;
        Ok(())
    };
    match receive::<Ask>(reader).await? {
        None => return Ok(()),
        Some(Ask::Hello { protocol: PROTOCOL, settings }) => {
            if let Err(error) = agent.begin(&settings).await {
                return refuse(&error).await;
            }
        }
        Some(Ask::Hello { protocol, .. }) => {
            let words = format!("this program speaks version {PROTOCOL} and was asked in {protocol}");
            return refuse(&ProviderError::new(ErrorKind::Unsupported, words)).await;
        }
        Some(_) => return Err(invalid("the first line is no greeting")),
    }
    let fleet = agent.fleet();
    let closed = || io::Error::from(io::ErrorKind::BrokenPipe);
    say.send(Tell::Welcome { capabilities: fleet.capabilities() }.into()).await.map_err(|_| closed())?;
    let running = Running::default();
    let mut calls = JoinSet::new();
    let heard = loop {
        let ask = match tokio::time::timeout(SILENCE, receive::<Ask>(reader)).await {
            Ok(Ok(Some(ask))) => ask,
            Ok(Ok(None)) => break Ok(()),
            Ok(Err(error)) => break Err(error),
            // The network between us may be gone without a word.
            Err(_) => break Err(io::Error::new(io::ErrorKind::TimedOut, "nothing was heard of who asked")),
        };
        while calls.try_join_next().is_some() {}
        match ask {
            Ask::Hello { .. } => break Err(invalid("a second greeting")),
            Ask::Alive => {}
            Ask::Cancel { id } => {
                if let Some(cancellation) = entries(&running).get(&id) {
                    cancellation.cancel();
                }
            }
            Ask::Call { id, context, call } => {
                let (fleet, cx) = (Arc::clone(&fleet), begin(&running, id, context, say));
                let (say, running) = (say.clone(), Arc::clone(&running));
                calls.spawn(async move {
                    let answer = make(&*fleet, &cx, *call).await;
                    finish(&running, id, answer, &say).await;
                });
            }
            Ask::Kept { id, context, release } => {
                let (agent, cx) = (Arc::clone(agent), begin(&running, id, context, say));
                let (say, running) = (say.clone(), Arc::clone(&running));
                calls.spawn(async move {
                    let said = match agent.kept_values(&cx, release).await {
                        Ok(values) => {
                            let (values, follows) = lengths_and_bytes(&values);
                            Said { line: Tell::Values { id, values }, follows }
                        }
                        Err(error) => Tell::Failed { id, failure: (&error).into() }.into(),
                    };
                    entries(&running).remove(&id);
                    // See `finish`.
                    let _ = say.send(said).await;
                });
            }
            Ask::Values { id, context, release, values } => {
                let values = match read_values(reader, values).await {
                    Ok(values) => values,
                    Err(error) => break Err(error),
                };
                let (agent, cx) = (Arc::clone(agent), begin(&running, id, context, say));
                let (say, running) = (say.clone(), Arc::clone(&running));
                calls.spawn(async move {
                    let kept = agent.keep_values(&cx, release, values).await;
                    finish(&running, id, kept.map(|()| Answer::Done), &say).await;
                });
            }
        }
    };
    for cancellation in entries(&running).values() {
        cancellation.cancel();
    }
    let ended = async { while calls.join_next().await.is_some() {} };
    // What does not end by then is aborted with the set.
    let _ = tokio::time::timeout(GRACE, ended).await;
    heard
}

fn entries(running: &Running) -> std::sync::MutexGuard<'_, BTreeMap<u64, Cancellation>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

fn begin(running: &Running, id: u64, context: CallContext, say: &mpsc::Sender<Said>) -> OpCtx {
    let cancellation = Cancellation::new();
    entries(running).insert(id, cancellation.clone());
    let say = say.clone();
    // Output that nobody takes in time is dropped rather than waited for.
    let output = OutputSink::new(move |line| {
        let _ = say.try_send(Tell::Line { id, line: line.to_owned() }.into());
    });
    context.here(cancellation).with_output(output)
}

async fn finish(running: &Running, id: u64, answer: Result<Answer>, say: &mpsc::Sender<Said>) {
    entries(running).remove(&id);
    let line = match answer {
        Ok(answer) => Tell::Answer { id, answer: Box::new(answer) },
        Err(error) => Tell::Failed { id, failure: (&error).into() },
    };
    // Nobody listens any more: nobody waits either.
    let _ = say.send(line.into()).await;
}

async fn make(fleet: &dyn Fleet, cx: &OpCtx, call: Call) -> Result<Answer> {
    Ok(match call {
        Call::Stage { release } => fleet.stage(cx, &release).await.map(|()| Answer::Done)?,
        Call::Migrate { release } => Answer::Migrated(fleet.migrate(cx, &release).await?),
        Call::Start { release, unit } => Answer::Unit(fleet.start(cx, &release, &unit).await?),
        Call::Probe { release, unit } => Answer::Probed(fleet.probe(cx, &release, &unit).await?),
        Call::Smoke { release, through_edge } => {
            Answer::Smoked(fleet.smoke(cx, &release, through_edge).await?)
        }
        Call::Route { routing } => Answer::Routing(fleet.route(cx, &routing).await?),
        Call::Routing => Answer::Routing(fleet.routing(cx).await?),
        Call::Drain { release, units, deadline_ms } => {
            Answer::Drained(fleet.drain(cx, release, &units, Duration::from_millis(deadline_ms)).await?)
        }
        Call::Samples { since } => Answer::Samples(fleet.samples(cx, since).await?),
        Call::KeepWatch => fleet.keep_watch(cx).await.map(|()| Answer::Done)?,
        Call::Stop { release, unit } => fleet.stop(cx, release, &unit).await.map(|()| Answer::Done)?,
        Call::Remove { release } => fleet.remove(cx, release).await.map(|()| Answer::Done)?,
        Call::Revive => fleet.revive(cx).await.map(|()| Answer::Done)?,
        Call::List => Answer::Units(fleet.list(cx).await?),
        Call::Staged => Answer::Staged(fleet.staged(cx).await?),
        Call::Forget { data } => fleet.forget(cx, data).await.map(|()| Answer::Done)?,
        Call::Urls => Answer::Urls(fleet.urls(cx).await?),
        Call::Logs { query } => Answer::Logs(fleet.logs(cx, &query).await?),
    })
}
