//! The supervisor's side of an edge.

mod wire;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::CONTROL_SOCKET;
use crate::challenges::{AccountThumbprint, ChallengeAnswer, ChallengeToken};
use crate::error::{EdgeError, Refusal, Trying as _};
use crate::metrics::{Metrics, Sample};
use crate::names::{ListenerId, ReleaseName, SiteId};
use crate::protocol::{Answer, Call, CertificateState, DrainReport, EdgeStatus, Request, VERSION};
use crate::socket;
use crate::table::{SiteState, SiteTable};

pub(crate) use wire::from_std;
use wire::{Forget, Listeners, Outgoing, Pending, hello, lock, read, reap, write};

/// How long an edge may take to say hello, the wait for its predecessor's lock included.
const HELLO: Duration = Duration::from_secs(15);
/// How long an edge may take for an answer that waits for nothing.
const CALL: Duration = Duration::from_secs(10);
/// How long a predecessor's link may take to end after its process did.
const TAKE_OVER: Duration = Duration::from_secs(2);
/// Longest time a retired edge keeps idle connections for one more request.
const LINGER: Duration = Duration::from_secs(5);

/// A running edge, held by its supervisor. Cheap to clone; when the last clone is dropped the
/// link ends: an edge in a process of its own serves on, one in this process ends.
///
/// It keeps a duplicate of every listener, so that a successor of a killed edge can be given
/// the very same sockets: connections that arrive in between wait in the kernel's queue.
///
/// Needs a tokio runtime with I/O and time, in which it runs its two tasks.
#[derive(Debug, Clone)]
pub struct EdgeLink {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    outbox: mpsc::UnboundedSender<Outgoing>,
    pending: Arc<Pending>,
    next: AtomicU64,
    listeners: Arc<Listeners>,
    status: EdgeStatus,
    theirs: u32,
    ended: watch::Receiver<Option<EdgeEnd>>,
    reading: AbortHandle,
    writing: AbortHandle,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.reading.abort();
        self.writing.abort();
    }
}

/// How an edge's process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EdgeEnd {
    /// Its exit status, if it was started by this supervisor and has ended.
    pub status: Option<ExitStatus>,
}

impl EdgeLink {
    /// Starts an edge process and gives it these listeners.
    ///
    /// `command` is the program with its hidden subcommand, which calls [`run`](crate::run);
    /// where its standard output and error go is the caller's choice. Its standard input
    /// becomes the link. It gets a process group of its own, so that a Ctrl-C in a terminal
    /// does not reach it.
    ///
    /// Returns when the edge serves, at most 15 s later: it waits up to 10 s for another edge
    /// on the same state to end.
    ///
    /// # Errors
    /// [`EdgeError::Closed`] if the process ends first, for instance because another edge
    /// serves the state folder (see [`EdgeLink::attach_or_spawn`]); [`EdgeError::Timeout`]; or
    /// what keeps it from starting.
    pub async fn spawn(command: Command, listeners: Vec<(ListenerId, OwnedFd)>) -> Result<Self, EdgeError> {
        let (ours, theirs) = StdUnixStream::pair().trying("make the edge's link")?;
        let mut command = command;
        command.stdin(Stdio::from(OwnedFd::from(theirs))).process_group(0);
        let child = command.spawn().trying("start the edge's process")?;
        // Its end of the link: only the child may hold it, or its death would not be seen.
        drop(command);
        let link = Self::greet(from_std(ours)?, Some(child)).await?;
        for (id, socket) in listeners {
            link.add_listener(id, socket).await?;
        }
        Ok(link)
    }

    /// Takes over an edge whose supervisor is gone, with its listeners. None when no edge
    /// listens in that folder.
    ///
    /// # Errors
    /// [`EdgeError::Busy`] when another supervisor is attached and stays so for two seconds;
    /// [`EdgeError::Protocol`] when it is not an edge that answers.
    pub async fn reattach(socket_folder: &Path) -> Result<Option<Self>, EdgeError> {
        let started = Instant::now();
        loop {
            let Some(stream) = socket::connect(socket_folder, CONTROL_SOCKET).await? else {
                return Ok(None);
            };
            match Self::greet(stream, None).await {
                Ok(link) => {
                    link.call(Call::Listeners, CALL).await?;
                    return Ok(Some(link));
                }
                // Busy: a killed supervisor's link ends a moment after its process. Closed:
                // the edge is just ending, and then nobody listens there.
                Err(EdgeError::Busy | EdgeError::Closed) if started.elapsed() < TAKE_OVER => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes over the edge that is there, or else starts one with these listeners. Says
    /// whether it was started.
    ///
    /// With an edge that was taken over, `listeners` are added unless it has them already.
    ///
    /// # Errors
    /// Those of [`EdgeLink::reattach`] and [`EdgeLink::spawn`].
    pub async fn attach_or_spawn(
        socket_folder: &Path,
        command: impl FnOnce() -> Command,
        listeners: Vec<(ListenerId, OwnedFd)>,
    ) -> Result<(Self, bool), EdgeError> {
        let Some(link) = Self::reattach(socket_folder).await? else {
            return Ok((Self::spawn(command(), listeners).await?, true));
        };
        for (id, socket) in listeners {
            let known = lock(&link.inner.listeners).contains_key(&id);
            if !known {
                link.add_listener(id, socket).await?;
            }
        }
        Ok((link, false))
    }

    pub(crate) async fn greet(stream: UnixStream, child: Option<Child>) -> Result<Self, EdgeError> {
        let (reader, writer) = socket::split(stream);
        let hello = hello(reader, &writer);
        let greeted = tokio::time::timeout(HELLO, hello).await;
        let greeted = greeted.unwrap_or(Err(EdgeError::Timeout { waited: HELLO }));
        let (reader, greeting) = match greeted {
            Ok(greeted) => greeted,
            Err(error) => {
                writer.shut_down();
                if let Some(child) = child {
                    reap(child).await;
                }
                return Err(error);
            }
        };
        let status = greeting
            .edge
            .ok_or_else(|| EdgeError::Protocol { reason: "it does not say which edge it is".to_owned() })?;
        let (outbox, inbox) = mpsc::unbounded_channel();
        let (ending, ended) = watch::channel(None);
        let pending = Arc::new(Pending(Mutex::new(Some(HashMap::new()))));
        let listeners = Arc::new(Listeners::default());
        let writing = tokio::spawn(write(writer, inbox));
        let reading = read(reader, pending.clone(), listeners.clone());
        let writing_end = writing.abort_handle();
        let closing = pending.clone();
        let reading = tokio::spawn(async move {
            reading.await;
            writing_end.abort();
            lock(&closing.0).take();
            let status = match child {
                Some(child) => reap(child).await,
                None => None,
            };
            let _ = ending.send(Some(EdgeEnd { status }));
        });
        Ok(Self {
            inner: Arc::new(Inner {
                outbox,
                pending,
                next: AtomicU64::new(1),
                listeners,
                status,
                theirs: greeting.version,
                ended,
                reading: reading.abort_handle(),
                writing: writing.abort_handle(),
            }),
        })
    }

    /// What the edge said about itself when the link was made.
    #[must_use]
    pub fn status(&self) -> &EdgeStatus {
        &self.inner.status
    }

    /// Gives the edge a socket that listens for TCP connections. A socket under the same id is
    /// replaced. Sites are served on it as their tables say; until there is one, requests get
    /// a 503.
    ///
    /// # Errors
    /// [`Refusal::Listener`] for a socket that is none of that kind.
    pub async fn add_listener(&self, id: ListenerId, socket: OwnedFd) -> Result<(), EdgeError> {
        let copy = socket.try_clone().trying("duplicate a listener")?;
        let call = Call::AddListener { listener: id.clone() };
        self.call_with(call, Some(copy), CALL).await?;
        lock(&self.inner.listeners).insert(id, socket);
        Ok(())
    }

    /// Makes the edge close a socket; connections made through it stay. The duplicate that the
    /// link kept is closed too, so that with the caller's own copy the address is free.
    ///
    /// # Errors
    /// Only those of the link.
    pub async fn remove_listener(&self, id: &ListenerId) -> Result<(), EdgeError> {
        let call = Call::RemoveListener { listener: id.clone() };
        self.call(call, CALL).await?;
        lock(&self.inner.listeners).remove(id);
        Ok(())
    }

    /// Duplicates of all listeners, also of an edge that is dead: what its successor gets.
    ///
    /// # Errors
    /// When a socket cannot be duplicated: too many open files.
    pub fn listeners(&self) -> Result<Vec<(ListenerId, OwnedFd)>, EdgeError> {
        lock(&self.inner.listeners)
            .iter()
            .map(|(id, socket)| Ok((id.clone(), socket.try_clone().trying("duplicate a listener")?)))
            .collect()
    }

    /// Replaces the routing of one site as a whole, durably; returns what it replaced. From
    /// then on every request follows the new table, also on connections that are open.
    ///
    /// # Errors
    /// [`Refusal::Fenced`], [`Refusal::Table`], or [`Refusal::State`] when it could not be
    /// written. Nothing was changed then.
    pub async fn set_site(&self, table: SiteTable) -> Result<Option<SiteTable>, EdgeError> {
        let table = Box::new(table);
        match self.call(Call::SetSite { table }, CALL).await? {
            Answer::Previous(previous) => Ok(previous.map(|table| *table)),
            other => Err(unexpected(&other)),
        }
    }

    /// Tells a retired edge (see [`EdgeLink::retire`]) what its successor serves: from then on
    /// requests on connections that it still has follow this table, and what its release no
    /// longer serves can be drained. Nothing is written: the state is the successor's.
    ///
    /// # Errors
    /// [`Refusal::NotRetired`] and [`Refusal::Table`]; nothing was changed then.
    pub async fn follow(&self, table: SiteTable) -> Result<(), EdgeError> {
        self.call(Call::Follow { table: Box::new(table) }, CALL).await.map(drop)
    }

    /// Removes a site; returns what it was. Its fence is kept, so that a table from an older
    /// lease cannot bring it back.
    ///
    /// # Errors
    /// [`Refusal::Fenced`] or [`Refusal::State`]; nothing was changed then.
    pub async fn remove_site(&self, site: &SiteId, fence: u64) -> Result<Option<SiteTable>, EdgeError> {
        let call = Call::RemoveSite { site: site.clone(), fence };
        match self.call(call, CALL).await? {
            Answer::Previous(previous) => Ok(previous.map(|table| *table)),
            other => Err(unexpected(&other)),
        }
    }

    /// Every site, in the order of their names.
    ///
    /// # Errors
    /// Only those of the link.
    pub async fn sites(&self) -> Result<Vec<SiteState>, EdgeError> {
        match self.call(Call::Sites, CALL).await? {
            Answer::Sites(sites) => Ok(sites),
            other => Err(unexpected(&other)),
        }
    }

    /// What had been counted at the end of each second after a moment (milliseconds since
    /// 1970), oldest first; the last is of now. Five minutes are kept.
    ///
    /// # Errors
    /// Only those of the link.
    pub async fn samples(&self, since_unix_ms: u64) -> Result<Vec<Sample>, EdgeError> {
        match self.call(Call::Samples { since_unix_ms }, CALL).await? {
            Answer::Samples(samples) => Ok(samples),
            other => Err(unexpected(&other)),
        }
    }

    /// Makes the edge read its folder of certificates anew, without a restart: every handshake
    /// from then on uses what was read. A file that cannot be used is in the answer and takes
    /// no other down.
    ///
    /// # Errors
    /// [`Refusal::Unknown`] when the edge was built without the feature `tls`.
    pub async fn load_certificates(&self) -> Result<Vec<CertificateState>, EdgeError> {
        match self.call(Call::LoadCertificates, CALL).await? {
            Answer::Certificates(certificates) => Ok(certificates),
            other => Err(unexpected(&other)),
        }
    }

    /// Makes the edge answer challenges of a certificate authority, on every listener and before
    /// any route, for a time, also after a restart. What it has no answer for is routed as ever.
    ///
    /// # Errors
    /// [`Refusal::Answers`] or [`Refusal::State`]; nothing was changed then.
    pub async fn place_answers(
        &self,
        answers: Vec<ChallengeAnswer>,
        keep: Duration,
    ) -> Result<(), EdgeError> {
        let call = Call::PlaceAnswers { answers, keep_ms: crate::millis::of(keep) };
        self.call(call, CALL).await.map(drop)
    }

    /// Takes answers back; those it does not have are no error.
    ///
    /// # Errors
    /// [`Refusal::State`]; nothing was changed then.
    pub async fn remove_answers(&self, tokens: Vec<ChallengeToken>) -> Result<(), EdgeError> {
        self.call(Call::RemoveAnswers { tokens }, CALL).await.map(drop)
    }

    /// Makes the edge answer every challenge for these hosts (in lower case), and no others, as the
    /// account that each is certified by: whoever knows an account's thumbprint can answer for it, so
    /// that all edges behind a name do without being told of each order. An edge that is started
    /// anew has to be told again.
    ///
    /// # Errors
    /// Only those of the link.
    pub async fn answer_for(&self, accounts: BTreeMap<String, AccountThumbprint>) -> Result<(), EdgeError> {
        self.call(Call::AnswerFor { accounts }, CALL).await.map(drop)
    }

    /// Waits until no request and no tunnel of a release is under way; at the deadline cuts
    /// those that are (event streams end cleanly, WebSockets get a close frame 1012, requests
    /// without an answer a 503) and counts them. The release must have no weight any more; one
    /// that the edge does not know is drained already. It is not asked for assets from here on.
    ///
    /// # Errors
    /// [`Refusal::StillRouted`].
    pub async fn drain(
        &self,
        site: &SiteId,
        release: &ReleaseName,
        deadline: Duration,
    ) -> Result<DrainReport, EdgeError> {
        self.drain_backends(site, release, BTreeSet::new(), deadline).await
    }

    /// The same for some backends of a release whose others go on serving; none named: all of
    /// it. No release that has weight may name them.
    ///
    /// # Errors
    /// [`Refusal::StillRouted`].
    pub async fn drain_backends(
        &self,
        site: &SiteId,
        release: &ReleaseName,
        backends: BTreeSet<SocketAddr>,
        deadline: Duration,
    ) -> Result<DrainReport, EdgeError> {
        let call = Call::Drain {
            site: site.clone(),
            release: release.clone(),
            backends,
            deadline_ms: crate::millis::of(deadline),
        };
        match self.call(call, deadline.saturating_add(CALL)).await? {
            Answer::Drained(report) => Ok(report),
            other => Err(unexpected(&other)),
        }
    }

    /// What the edge has counted since it started.
    ///
    /// # Errors
    /// Only those of the link.
    pub async fn metrics(&self) -> Result<Metrics, EdgeError> {
        match self.call(Call::Metrics, CALL).await? {
            Answer::Metrics(metrics) => Ok(*metrics),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks whether the edge answers at all.
    ///
    /// # Errors
    /// [`EdgeError::Timeout`] after ten seconds, [`EdgeError::Closed`] at once if it is gone.
    pub async fn ping(&self) -> Result<(), EdgeError> {
        self.call(Call::Ping, CALL).await.map(|_| ())
    }

    /// Resolves when the edge is gone: it ended, was killed, or broke off the link.
    pub async fn closed(&self) -> EdgeEnd {
        let mut ended = self.inner.ended.clone();
        let end = ended.wait_for(Option::is_some).await.ok().and_then(|end| *end);
        end.unwrap_or(EdgeEnd { status: None })
    }

    /// Makes the edge stop accepting, so that another one may serve the same state and
    /// listeners: connections wait in the kernel's queue until it does. Returns as soon as
    /// that is so; the edge answers what is under way and ends by itself, at most `grace`
    /// later. Idle connections are kept for half of that, at most 5 s, in case their clients
    /// are just using them, and closed after one more answer.
    ///
    /// # Errors
    /// Only those of the link.
    pub async fn retire(&self, grace: Duration) -> Result<(), EdgeError> {
        let linger = (grace / 2).min(LINGER);
        self.end(grace, linger).await
    }

    /// Ends the edge: it stops accepting, closes idle connections, answers what is under way
    /// for at most `grace`, and is gone when this returns.
    ///
    /// # Errors
    /// [`EdgeError::Timeout`] when it does not end. That it is gone already is no error.
    pub async fn stop(&self, grace: Duration) -> Result<EdgeEnd, EdgeError> {
        match self.end(grace, Duration::ZERO).await {
            Ok(()) | Err(EdgeError::Closed | EdgeError::Refused(Refusal::Stopping)) => {}
            Err(error) => return Err(error),
        }
        let waited = grace.saturating_add(CALL);
        tokio::time::timeout(waited, self.closed()).await.map_err(|_| EdgeError::Timeout { waited })
    }

    async fn end(&self, grace: Duration, linger: Duration) -> Result<(), EdgeError> {
        let call = Call::Stop { grace_ms: crate::millis::of(grace), linger_ms: crate::millis::of(linger) };
        self.call(call, CALL).await.map(|_| ())
    }

    /// Puts a new edge process in this one's place without a refused connection: this one is
    /// retired (see [`EdgeLink::retire`]), the new one serves the same listeners and state.
    ///
    /// # Errors
    /// Those of [`EdgeLink::retire`] and [`EdgeLink::spawn`]. If the new one does not start the
    /// old one has retired nevertheless: spawn another with [`EdgeLink::listeners`].
    pub async fn replace(&self, command: Command, grace: Duration) -> Result<Self, EdgeError> {
        let listeners = self.listeners()?;
        self.retire(grace).await?;
        Self::spawn(command, listeners).await
    }

    async fn call(&self, call: Call, patience: Duration) -> Result<Answer, EdgeError> {
        self.call_with(call, None, patience).await
    }

    async fn call_with(
        &self,
        call: Call,
        socket: Option<OwnedFd>,
        patience: Duration,
    ) -> Result<Answer, EdgeError> {
        let stable = matches!(call, Call::Listeners | Call::Stop { .. });
        if self.inner.theirs != VERSION && !stable {
            return Err(EdgeError::Version { theirs: self.inner.theirs, ours: VERSION });
        }
        let id = self.inner.next.fetch_add(1, Ordering::Relaxed);
        let line = socket::encode(&Request { id, call }).trying("send a message to the edge")?;
        let (answer, answered) = oneshot::channel();
        match lock(&self.inner.pending.0).as_mut() {
            Some(pending) => pending.insert(id, answer),
            None => return Err(EdgeError::Closed),
        };
        let _forget = Forget { pending: &self.inner.pending, id };
        self.inner.outbox.send((line, socket)).map_err(|_| EdgeError::Closed)?;
        match tokio::time::timeout(patience, answered).await {
            Ok(Ok(outcome)) => Ok(outcome?),
            Ok(Err(_)) => Err(EdgeError::Closed),
            Err(_) => Err(EdgeError::Timeout { waited: patience }),
        }
    }
}

fn unexpected(answer: &Answer) -> EdgeError {
    let kind = match answer {
        Answer::Done => "done",
        Answer::Previous(_) => "previous",
        Answer::Sites(_) => "sites",
        Answer::Metrics(_) => "metrics",
        Answer::Samples(_) => "samples",
        Answer::Certificates(_) => "certificates",
        Answer::Drained(_) => "drained",
    };
    EdgeError::Protocol { reason: format!("it gave an answer to another question: {kind}") }
}
