use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::exec::Exec;
use super::message::{
    Answer, Ask, BEAT, Call, CallContext, CertificateAsk, HostSettings, PROTOCOL, Tell, invalid,
    lengths_and_bytes, read_bytes, read_values, receive, send,
};
use crate::names::{Digest, ReleaseNumber, UnitId};
use crate::provider::{
    Artefact, BuildRequest, CertificateRequest, CertificateSeen, DrainReport, ErrorKind, Fleet,
    FleetCapabilities, LogPage, LogQuery, MigrationReport, OpCtx, OutputSink, ProbeReport, ProviderError,
    Reading, Result, Routing, SmokeReport, UnitObserved,
};
use crate::release::Release;
use crate::secrets::{Secret, SecretRef};

/// How long a greeting may take to be answered.
const GREETING: Duration = Duration::from_secs(60);
/// Lines that wait to be written.
const WAITING: usize = 64;

/// A fleet that a program on a server [serves](super::serve). Builds nothing: that is done here.
/// When the conversation breaks off every call that was being made is `Ambiguous`, and later ones
/// are `Unavailable`; the fleet has to be reached anew then. Dropped, it ends.
pub struct RemoteFleet {
    shared: Arc<Shared>,
    capabilities: FleetCapabilities,
    tasks: [JoinHandle<()>; 2],
}

/// A line, and the bytes that follow it.
pub(super) type Line = (Ask, Secret<Vec<u8>>);

pub(super) struct Shared {
    /// What the server is called, in messages.
    name: String,
    /// To the task that writes: a call that is given up cuts no line off.
    pub(super) lines: mpsc::Sender<Line>,
    waiting: Mutex<Waiting>,
    asked: AtomicU64,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("name", &self.name).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Waiting {
    calls: BTreeMap<u64, Pending>,
    /// Why nothing is answered any more.
    ended: Option<String>,
}

/// What comes back.
#[derive(Debug)]
pub(super) enum Reply {
    Answer(Box<Answer>),
    Values(Vec<(SecretRef, Secret<String>)>),
    Bytes(Secret<Vec<u8>>),
}

struct Pending {
    answer: oneshot::Sender<Result<Reply>>,
    output: OutputSink,
    /// Where what a program prints goes.
    printed: Option<mpsc::UnboundedSender<Secret<Vec<u8>>>>,
}

impl fmt::Debug for RemoteFleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteFleet").field("name", &self.shared.name).finish_non_exhaustive()
    }
}

impl Drop for RemoteFleet {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl RemoteFleet {
    /// Greets who serves the fleet of a server. `name` is what it is called in messages.
    ///
    /// # Errors
    /// What it says when it does not serve; `Unavailable` when it does not answer.
    pub async fn greet(
        name: impl Into<String>,
        reader: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
        settings: &HostSettings,
    ) -> Result<Self> {
        let name = name.into();
        let mut reader = BufReader::new(reader);
        let mut writer = writer;
        let talk = async {
            let hello = Ask::Hello { protocol: PROTOCOL, settings: settings.clone() };
            send(&mut writer, &hello).await?;
            receive::<Tell>(&mut reader).await
        };
        let told = tokio::time::timeout(GREETING, talk).await;
        let unavailable = |words: &str| {
            let message = format!("what serves apps on {name} does not answer: {words}");
            ProviderError::new(ErrorKind::Unavailable, message)
        };
        let capabilities = match told {
            Ok(Ok(Some(Tell::Welcome { capabilities }))) => capabilities,
            Ok(Ok(Some(Tell::Refused { failure }))) => return Err(failure.into()),
            Ok(Ok(Some(_))) => return Err(unavailable("its first line is no greeting")),
            Ok(Ok(None)) => return Err(unavailable("it ended")),
            Ok(Err(error)) => return Err(unavailable(&error.to_string())),
            Err(_) => return Err(unavailable("its greeting took too long")),
        };
        let (lines, written) = mpsc::channel(WAITING);
        let shared = Arc::new(Shared { name, lines, waiting: Mutex::default(), asked: AtomicU64::new(0) });
        let tasks = [tokio::spawn(Arc::clone(&shared).read(reader)), tokio::spawn(write(writer, written))];
        Ok(Self { shared, capabilities, tasks })
    }

    /// Does the conversation go on, as far as is known?
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.shared.waiting().ended.is_none()
    }

    /// How many calls were asked for.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.shared.asked.load(Ordering::Relaxed)
    }

    /// Gives the server values that a release refers to. They are in no line and no argument.
    ///
    /// # Errors
    /// See [`Agent::keep_values`](super::Agent::keep_values).
    pub async fn keep_values(
        &self,
        cx: &OpCtx,
        release: ReleaseNumber,
        values: &[(SecretRef, Secret<String>)],
    ) -> Result<()> {
        let (lengths, bytes) = lengths_and_bytes(values);
        let line = |id, context| Ask::Values { id, context, release, values: lengths };
        match self.shared.ask(cx, line, bytes).await? {
            Reply::Answer(answer) => self.done(*answer),
            _ => Err(self.other_question()),
        }
    }

    /// Has the server run a program of ours, by its arguments. Its streams are in other calls' way no longer than
    /// one part of them takes to be sent.
    ///
    /// # Errors
    /// `Unavailable` when the conversation is over. Whatever else goes wrong is how it [exits](Exec::exit).
    pub async fn exec(&self, cx: &OpCtx, words: &[&str]) -> Result<Exec> {
        Exec::begin(&self.shared, cx, words).await
    }

    /// Gets the values that the server keeps for a release.
    ///
    /// # Errors
    /// See [`Agent::kept_values`](super::Agent::kept_values).
    pub async fn kept_values(
        &self,
        cx: &OpCtx,
        release: ReleaseNumber,
    ) -> Result<Vec<(SecretRef, Secret<String>)>> {
        let line = |id, context| Ask::Kept { id, context, release };
        match self.shared.ask(cx, line, Secret::new(Vec::new())).await? {
            Reply::Values(values) => Ok(values),
            Reply::Answer(answer) => Err(self.unexpected(&answer)),
            Reply::Bytes(_) => Err(self.other_question()),
        }
    }

    /// Has the server serve the stack by TLS, or, with none, not any more.
    ///
    /// # Errors
    /// See [`Agent::serve_by_tls`](super::Agent::serve_by_tls).
    pub async fn serve_by_tls(
        &self,
        cx: &OpCtx,
        request: Option<CertificateRequest>,
    ) -> Result<Option<CertificateSeen>> {
        self.certificate(cx, CertificateAsk::Serve { request }, Secret::new(Vec::new())).await
    }

    /// The certificate of the stack that the server has.
    ///
    /// # Errors
    /// See [`Agent::look_at_certificate`](super::Agent::look_at_certificate).
    pub async fn look_at_certificate(&self, cx: &OpCtx) -> Result<Option<CertificateSeen>> {
        self.certificate(cx, CertificateAsk::Look, Secret::new(Vec::new())).await
    }

    /// Has the server order a certificate if one is due.
    ///
    /// # Errors
    /// See [`Agent::order_certificate`](super::Agent::order_certificate).
    pub async fn order_certificate(&self, cx: &OpCtx) -> Result<Option<CertificateSeen>> {
        self.certificate(cx, CertificateAsk::Order, Secret::new(Vec::new())).await
    }

    /// What another server needs that shares the certificate.
    ///
    /// # Errors
    /// See [`Agent::give_certificate`](super::Agent::give_certificate).
    pub async fn give_certificate(&self, cx: &OpCtx) -> Result<Secret<Vec<u8>>> {
        let line = |id, context| Ask::Certificate { id, context, ask: CertificateAsk::Give };
        match self.shared.ask(cx, line, Secret::new(Vec::new())).await? {
            Reply::Bytes(bytes) => Ok(bytes),
            Reply::Answer(answer) => Err(self.unexpected(&answer)),
            Reply::Values(_) => Err(self.other_question()),
        }
    }

    /// Hands the server what another one gave.
    ///
    /// # Errors
    /// See [`Agent::take_certificate`](super::Agent::take_certificate).
    pub async fn take_certificate(
        &self,
        cx: &OpCtx,
        carried: &Secret<Vec<u8>>,
    ) -> Result<Option<CertificateSeen>> {
        let ask = CertificateAsk::Take { length: carried.expose().len() };
        self.certificate(cx, ask, carried.clone()).await
    }

    async fn certificate(
        &self,
        cx: &OpCtx,
        ask: CertificateAsk,
        follows: Secret<Vec<u8>>,
    ) -> Result<Option<CertificateSeen>> {
        let line = |id, context| Ask::Certificate { id, context, ask };
        match self.shared.ask(cx, line, follows).await? {
            Reply::Answer(answer) => match *answer {
                Answer::Certificate(seen) => Ok(seen),
                other => Err(self.unexpected(&other)),
            },
            _ => Err(self.other_question()),
        }
    }

    async fn call(&self, cx: &OpCtx, call: Call) -> Result<Answer> {
        let line = |id, context| Ask::Call { id, context, call: Box::new(call) };
        match self.shared.ask(cx, line, Secret::new(Vec::new())).await? {
            Reply::Answer(answer) => Ok(*answer),
            _ => Err(self.other_question()),
        }
    }

    fn done(&self, answer: Answer) -> Result<()> {
        match answer {
            Answer::Done => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    fn other_question(&self) -> ProviderError {
        let words = format!("{} gave values that nobody asked for", self.shared.name);
        ProviderError::new(ErrorKind::Unexpected, words)
    }

    fn unexpected(&self, answer: &Answer) -> ProviderError {
        self.shared.unexpected(answer)
    }
}

impl Shared {
    pub(super) fn unexpected(&self, answer: &Answer) -> ProviderError {
        let words = format!("{} gave an answer to another question: {answer:?}", self.name);
        ProviderError::new(ErrorKind::Unexpected, words.chars().take(200).collect::<String>())
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(self: Arc<Self>, mut reader: impl AsyncBufRead + Unpin) {
        let why = loop {
            match self.hear(&mut reader).await {
                Ok(true) => {}
                Ok(false) => break "it ended".to_owned(),
                Err(error) => break error.to_string(),
            }
        };
        let left = {
            let mut waiting = self.waiting();
            waiting.ended = Some(why.clone());
            std::mem::take(&mut waiting.calls)
        };
        for pending in left.into_values() {
            let message = format!("the connection to {} broke off: {why}", self.name);
            let _ = pending.answer.send(Err(ProviderError::new(ErrorKind::Ambiguous, message)));
        }
    }

    async fn hear(&self, reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<bool> {
        let answered = |id: u64, answer: Result<Reply>| {
            // Nobody may wait for it any more.
            if let Some(pending) = self.waiting().calls.remove(&id) {
                let _ = pending.answer.send(answer);
            }
        };
        match receive::<Tell>(reader).await? {
            None => return Ok(false),
            Some(Tell::Welcome { .. } | Tell::Refused { .. }) => return Err(invalid("a second greeting")),
            Some(Tell::Answer { id, answer }) => answered(id, Ok(Reply::Answer(answer))),
            Some(Tell::Values { id, values }) => {
                let values = read_values(reader, values).await?;
                answered(id, Ok(Reply::Values(values)));
            }
            Some(Tell::Bytes { id, length }) => {
                let bytes = read_bytes(reader, length).await?;
                answered(id, Ok(Reply::Bytes(bytes)));
            }
            Some(Tell::Output { id, length }) => {
                let bytes = read_bytes(reader, length).await?;
                if let Some(printed) =
                    self.waiting().calls.get(&id).and_then(|pending| pending.printed.as_ref())
                {
                    // Who reads it may be gone.
                    let _ = printed.send(bytes);
                }
            }
            Some(Tell::Failed { id, failure }) => answered(id, Err(failure.into())),
            Some(Tell::Line { id, line }) => {
                let output = self.waiting().calls.get(&id).map(|pending| pending.output.clone());
                if let Some(output) = output {
                    output.line(&line);
                }
            }
        }
        Ok(true)
    }

    /// Sends a line and what follows it, and waits for the answer (P4).
    async fn ask(
        &self,
        cx: &OpCtx,
        line: impl FnOnce(u64, CallContext) -> Ask,
        follows: Secret<Vec<u8>>,
    ) -> Result<Reply> {
        let (id, mut answered) = self.begin(cx, line, follows, None).await?;
        self.answered(cx, id, &mut answered).await
    }

    /// Sends a line and what follows it.
    pub(super) async fn begin(
        &self,
        cx: &OpCtx,
        line: impl FnOnce(u64, CallContext) -> Ask,
        follows: Secret<Vec<u8>>,
        printed: Option<mpsc::UnboundedSender<Secret<Vec<u8>>>>,
    ) -> Result<(u64, oneshot::Receiver<Result<Reply>>)> {
        let id = self.asked.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        {
            let mut waiting = self.waiting();
            if let Some(why) = &waiting.ended {
                let message = format!("the connection to {} is gone: {why}", self.name);
                return Err(ProviderError::new(ErrorKind::Unavailable, message));
            }
            waiting.calls.insert(id, Pending { answer, output: cx.output.clone(), printed });
        }
        let forgotten = Forgotten { shared: self, id };
        tokio::select! {
            // If the server is gone the reader says so, and with the better words.
            _ = self.lines.send((line(id, CallContext::of(cx)), follows)) => {}
            () = cx.cancellation.cancelled() => return Err(cancelled()),
            () = tokio::time::sleep_until(cx.deadline.into()) => return Err(self.too_late()),
        }
        // From here on whoever waits for the answer does that.
        std::mem::forget(forgotten);
        Ok((id, answered))
    }

    /// The answer to what was begun. Whatever ends the wait, nobody is left to wait for.
    pub(super) async fn answered(
        &self,
        cx: &OpCtx,
        id: u64,
        answered: &mut oneshot::Receiver<Result<Reply>>,
    ) -> Result<Reply> {
        let _forgotten = Forgotten { shared: self, id };
        let ended = tokio::select! {
            answer = answered => return answer.unwrap_or_else(|_| {
                let message = format!("the connection to {} broke off", self.name);
                Err(ProviderError::new(ErrorKind::Ambiguous, message))
            }),
            () = cx.cancellation.cancelled() => cancelled(),
            () = tokio::time::sleep_until(cx.deadline.into()) => self.too_late(),
        };
        self.cancel(id);
        Err(ended)
    }

    fn too_late(&self) -> ProviderError {
        ProviderError::new(ErrorKind::Ambiguous, format!("{} did not answer in time", self.name))
    }

    /// Nobody waits for it any more.
    pub(super) fn forget(&self, id: u64) {
        self.waiting().calls.remove(&id);
    }

    /// Tells the server that nobody waits, without waiting for that.
    pub(super) fn cancel(&self, id: u64) {
        let lines = self.lines.clone();
        tokio::spawn(async move { lines.send((Ask::Cancel { id }, Secret::new(Vec::new()))).await });
    }
}

/// Writes what is asked until nobody asks or nobody reads.
async fn write(mut writer: impl AsyncWrite + Unpin, mut lines: mpsc::Receiver<Line>) {
    loop {
        let (line, follows) = match tokio::time::timeout(BEAT, lines.recv()).await {
            Ok(Some(line)) => line,
            Ok(None) => return,
            Err(_) => (Ask::Alive, Secret::new(Vec::new())),
        };
        let written = async {
            send(&mut writer, &line).await?;
            writer.write_all(follows.expose()).await?;
            writer.flush().await
        };
        if written.await.is_err() {
            return;
        }
    }
}

struct Forgotten<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Forgotten<'_> {
    fn drop(&mut self) {
        self.shared.forget(self.id);
    }
}

fn cancelled() -> ProviderError {
    ProviderError::new(ErrorKind::Cancelled, "the call was cancelled")
}

/// Makes a call and takes the answer that belongs to it.
macro_rules! ask {
    ($self:ident, $cx:ident, $call:expr, $answer:path) => {
        match $self.call($cx, $call).await? {
            $answer(value) => Ok(value),
            other => Err($self.unexpected(&other)),
        }
    };
}

#[async_trait]
impl Fleet for RemoteFleet {
    fn capabilities(&self) -> FleetCapabilities {
        self.capabilities.clone()
    }

    async fn source_digest(&self, _: &OpCtx, _: &BuildRequest) -> Result<Digest> {
        Err(builds_nothing())
    }

    async fn build(&self, _: &OpCtx, _: &BuildRequest) -> Result<Artefact> {
        Err(builds_nothing())
    }

    async fn stage(&self, cx: &OpCtx, release: &Release) -> Result<()> {
        self.done(self.call(cx, Call::Stage { release: release.clone() }).await?)
    }

    async fn migrate(&self, cx: &OpCtx, release: &Release) -> Result<MigrationReport> {
        ask!(self, cx, Call::Migrate { release: release.clone() }, Answer::Migrated)
    }

    async fn start(&self, cx: &OpCtx, release: &Release, unit: &UnitId) -> Result<UnitObserved> {
        let call = Call::Start { release: release.clone(), unit: unit.clone() };
        ask!(self, cx, call, Answer::Unit)
    }

    async fn probe(&self, cx: &OpCtx, release: &Release, unit: &UnitId) -> Result<ProbeReport> {
        let call = Call::Probe { release: release.clone(), unit: unit.clone() };
        ask!(self, cx, call, Answer::Probed)
    }

    async fn smoke(&self, cx: &OpCtx, release: &Release, through_edge: bool) -> Result<SmokeReport> {
        ask!(self, cx, Call::Smoke { release: release.clone(), through_edge }, Answer::Smoked)
    }

    async fn route(&self, cx: &OpCtx, routing: &Routing) -> Result<Routing> {
        let left = routing.revert_at.map(|at| at.duration_since(Timestamp::now()));
        let revert_after_ms = left.map(|left| u64::try_from(left.as_millis()).unwrap_or(0));
        ask!(self, cx, Call::Route { routing: routing.clone(), revert_after_ms }, Answer::Routing)
    }

    async fn routing(&self, cx: &OpCtx) -> Result<Routing> {
        ask!(self, cx, Call::Routing, Answer::Routing)
    }

    async fn drain(
        &self,
        cx: &OpCtx,
        release: ReleaseNumber,
        units: &BTreeSet<UnitId>,
        deadline: Duration,
    ) -> Result<DrainReport> {
        let deadline_ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
        ask!(self, cx, Call::Drain { release, units: units.clone(), deadline_ms }, Answer::Drained)
    }

    async fn samples(&self, cx: &OpCtx, since: Option<Timestamp>) -> Result<Vec<Reading>> {
        ask!(self, cx, Call::Samples { since }, Answer::Samples)
    }

    async fn keep_watch(&self, cx: &OpCtx) -> Result<()> {
        self.done(self.call(cx, Call::KeepWatch).await?)
    }

    async fn stop(&self, cx: &OpCtx, release: ReleaseNumber, unit: &UnitId) -> Result<()> {
        self.done(self.call(cx, Call::Stop { release, unit: unit.clone() }).await?)
    }

    async fn remove(&self, cx: &OpCtx, release: ReleaseNumber) -> Result<()> {
        self.done(self.call(cx, Call::Remove { release }).await?)
    }

    async fn revive(&self, cx: &OpCtx) -> Result<()> {
        self.done(self.call(cx, Call::Revive).await?)
    }

    async fn list(&self, cx: &OpCtx) -> Result<Vec<UnitObserved>> {
        ask!(self, cx, Call::List, Answer::Units)
    }

    async fn staged(&self, cx: &OpCtx) -> Result<Vec<Release>> {
        ask!(self, cx, Call::Staged, Answer::Staged)
    }

    async fn forget(&self, cx: &OpCtx, data: bool) -> Result<()> {
        self.done(self.call(cx, Call::Forget { data }).await?)
    }

    async fn urls(&self, cx: &OpCtx) -> Result<Vec<String>> {
        ask!(self, cx, Call::Urls, Answer::Urls)
    }

    async fn logs(&self, cx: &OpCtx, query: &LogQuery) -> Result<LogPage> {
        ask!(self, cx, Call::Logs { query: query.clone() }, Answer::Logs)
    }
}

fn builds_nothing() -> ProviderError {
    ProviderError::new(ErrorKind::Unsupported, "a server builds nothing: builds are made where the app is")
}
