use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::exec::{Exited, Incoming, Printed};
use super::message::{
    Answer, Ask, Call, CallContext, CertificateAsk, HostSettings, PROTOCOL, ProgramSeen, SILENCE, Tell,
    invalid, lengths_and_bytes, read_bytes, read_values, receive, send,
};
use crate::names::ReleaseNumber;
use crate::provider::{
    Cancellation, CertificateRequest, CertificateSeen, ErrorKind, Fleet, OpCtx, OutputSink, ProviderError,
    Result,
};
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

    /// Serves the stack by TLS as it is asked, from here on and over restarts, or not any more: takes
    /// its certificate into use if there is one. Orders none.
    ///
    /// # Errors
    /// `Fenced` when somebody else holds the lease; `Unsupported` when this program has no TLS; a
    /// certificate that is not good. What served before serves on.
    async fn serve_by_tls(
        &self,
        cx: &OpCtx,
        request: Option<CertificateRequest>,
    ) -> Result<Option<CertificateSeen>>;

    /// The certificate that is there.
    ///
    /// # Errors
    /// When it cannot be read.
    async fn look_at_certificate(&self, cx: &OpCtx) -> Result<Option<CertificateSeen>>;

    /// Orders a certificate if none is there or it is to be renewed, and takes it into use.
    ///
    /// # Errors
    /// What the authority says, with its code.
    async fn order_certificate(&self, cx: &OpCtx) -> Result<Option<CertificateSeen>>;

    /// What another server needs that shares the certificate: its account's key, made if there is
    /// none, and the certificate with its key, if there is one.
    ///
    /// # Errors
    /// When it cannot be read.
    async fn give_certificate(&self, cx: &OpCtx) -> Result<Secret<Vec<u8>>>;

    /// Takes that of another server: its account, and its certificate if that is newer and good.
    ///
    /// # Errors
    /// When it is no such thing, or cannot be written.
    async fn take_certificate(&self, cx: &OpCtx, carried: Secret<Vec<u8>>)
    -> Result<Option<CertificateSeen>>;

    /// Runs a program of ours beside this one, by its arguments, until it has ended or nobody waits for it any more.
    ///
    /// # Errors
    /// `Unsupported` for one that it does not know; when it cannot be started.
    async fn exec(&self, cx: &OpCtx, words: &[String], input: Incoming, output: &Printed) -> Result<Exited>;

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
#[derive(Debug)]
pub(super) struct Said {
    pub(super) line: Tell,
    pub(super) follows: Secret<Vec<u8>>,
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
            let own = ProgramSeen::own().version;
            let words = format!(
                "the program there ({own}) speaks version {PROTOCOL} of our protocol and was asked in {protocol}"
            );
            let error = ProviderError::new(ErrorKind::Unsupported, words);
            return refuse(&error.with_help(if protocol < PROTOCOL {
                format!("run this command with `vrooli-deploy` {own} or newer")
            } else {
                "deploy an app to the server: that brings it the program that you run".to_owned()
            }))
            .await;
        }
        Some(_) => return Err(invalid("the first line is no greeting")),
    }
    let fleet = agent.fleet();
    let closed = || io::Error::from(io::ErrorKind::BrokenPipe);
    say.send(Tell::Welcome { capabilities: fleet.capabilities() }.into()).await.map_err(|_| closed())?;
    let running = Running::default();
    // What programs read, as long as it comes.
    let mut inputs = BTreeMap::new();
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
                    let made = make(&*fleet, &cx, *call).await.map(|made| answer(id, made));
                    finish(&running, id, made, &say).await;
                });
            }
            Ask::Certificate { id, context, ask } => {
                let mut carried = None;
                if let CertificateAsk::Take { length } = &ask {
                    match read_bytes(reader, *length).await {
                        Ok(bytes) => carried = Some(bytes),
                        Err(error) => break Err(error),
                    }
                }
                let (agent, cx) = (Arc::clone(agent), begin(&running, id, context, say));
                let (say, running) = (say.clone(), Arc::clone(&running));
                calls.spawn(async move {
                    let seen = match (ask, carried) {
                        (CertificateAsk::Serve { request }, _) => agent.serve_by_tls(&cx, request).await,
                        (CertificateAsk::Look, _) => agent.look_at_certificate(&cx).await,
                        (CertificateAsk::Order, _) => agent.order_certificate(&cx).await,
                        (CertificateAsk::Take { .. }, Some(carried)) => {
                            agent.take_certificate(&cx, carried).await
                        }
                        (CertificateAsk::Give | CertificateAsk::Take { .. }, _) => {
                            let given = agent.give_certificate(&cx).await.map(|follows| {
                                let length = follows.expose().len();
                                Said { line: Tell::Bytes { id, length }, follows }
                            });
                            return finish(&running, id, given, &say).await;
                        }
                    };
                    finish(&running, id, seen.map(|seen| answer(id, Answer::Certificate(seen))), &say).await;
                });
            }
            Ask::Exec { id, context, words } => {
                let (to, input) = Incoming::new();
                inputs.insert(id, to);
                let (agent, cx) = (Arc::clone(agent), begin(&running, id, context, say));
                let (say, running) = (say.clone(), Arc::clone(&running));
                calls.spawn(async move {
                    let output = Printed { id, say: say.clone() };
                    let ended = agent.exec(&cx, &words, input, &output).await;
                    finish(&running, id, ended.map(|ended| answer(id, Answer::Exited(ended))), &say).await;
                });
            }
            Ask::Input { id, length: 0 } => drop(inputs.remove(&id)),
            Ask::Input { id, length } => {
                let bytes = match read_bytes(reader, length).await {
                    Ok(bytes) => bytes,
                    Err(error) => break Err(error),
                };
                // One that has ended reads nothing: why it has is its answer.
                if inputs.get(&id).is_some_and(|to| to.send(bytes).is_err()) {
                    inputs.remove(&id);
                }
            }
            Ask::Kept { id, context, release } => {
                let (agent, cx) = (Arc::clone(agent), begin(&running, id, context, say));
                let (say, running) = (say.clone(), Arc::clone(&running));
                calls.spawn(async move {
                    let kept = agent.kept_values(&cx, release).await.map(|values| {
                        let (values, follows) = lengths_and_bytes(&values);
                        Said { line: Tell::Values { id, values }, follows }
                    });
                    finish(&running, id, kept, &say).await;
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
                    finish(&running, id, kept.map(|()| answer(id, Answer::Done)), &say).await;
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

fn answer(id: u64, answer: Answer) -> Said {
    Tell::Answer { id, answer: Box::new(answer) }.into()
}

async fn finish(running: &Running, id: u64, said: Result<Said>, say: &mpsc::Sender<Said>) {
    entries(running).remove(&id);
    let said = said.unwrap_or_else(|error| Tell::Failed { id, failure: (&error).into() }.into());
    // Nobody listens any more: nobody waits either.
    let _ = say.send(said).await;
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
        Call::Route { mut routing, revert_after_ms } => {
            if let Some(left) = revert_after_ms {
                let at = Timestamp::now().checked_add(Duration::from_millis(left));
                routing.revert_at = Some(at.unwrap_or(Timestamp::MAX));
            }
            Answer::Routing(fleet.route(cx, &routing).await?)
        }
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
