//! One conversation with a supervisor, or with someone who only reads.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::UnixStream;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinSet;

use crate::control::Control;
use crate::error::Refusal;
use crate::protocol::{Answer, Call, Greeting, Response, ResponseBody};
use crate::socket::{self, LineReader, LineWriter};

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// May do everything; one at a time.
    Supervisor,
    /// May only read.
    Reader,
}

/// Why the edge is to end.
#[derive(Debug)]
pub(crate) enum Ending {
    /// A supervisor asked for it.
    Asked {
        grace: Duration,
        linger: Duration,
        /// Told as soon as another edge may serve.
        retired: oneshot::Sender<()>,
        /// Resolves when the supervisor has been told.
        told: oneshot::Receiver<()>,
    },
    /// SIGTERM.
    Terminated,
    StateFolderGone,
    WorkerLost,
    /// The supervisor is gone and the edge has nothing to serve, or it belongs to the program
    /// that embeds it.
    LinkClosed,
}

/// A line from the other end, of which only the number is understood yet: so that what is
/// not understood is answered too.
#[derive(Debug, Deserialize)]
pub(crate) struct RawRequest {
    pub(crate) id: u64,
    call: Box<RawValue>,
}

impl RawRequest {
    /// What is asked, if whoever asks may.
    pub(crate) fn call(&self, role: Role) -> Result<Call, Refusal> {
        let unknown = |reason: String| Refusal::Unknown { reason };
        let call: Call = serde_json::from_str(self.call.get()).map_err(|error| unknown(error.to_string()))?;
        if role == Role::Supervisor || call.is_reading() {
            Ok(call)
        } else {
            Err(unknown("this socket is for reading only".to_owned()))
        }
    }
}

type SharedWriter = Rc<Mutex<LineWriter>>;

/// Marks the supervisor's place as taken for as long as it is held.
struct Attached(Rc<Control>);

impl Drop for Attached {
    fn drop(&mut self) {
        self.0.attached.set(false);
    }
}

/// Answers until the link ends.
pub(crate) async fn serve(
    control: Rc<Control>,
    stream: UnixStream,
    role: Role,
    endings: mpsc::UnboundedSender<Ending>,
) {
    let (mut reader, writer) = socket::split(stream);
    // What the greeting's version says is for the other side to judge.
    if let Err(error) = socket::read_greeting(&mut reader).await {
        tracing::debug!(%error, "nobody we know");
        return;
    }
    let busy = role == Role::Supervisor && control.attached.get();
    let greeting = Greeting::new(Some(control.status()), busy);
    let attached = (role == Role::Supervisor && !busy).then(|| {
        control.attached.set(true);
        Attached(control.clone())
    });
    if writer.message(&greeting, None).await.is_err() || busy {
        return;
    }
    let session = Session { control, role, writer: Rc::new(Mutex::new(writer.clone())), endings };
    session.run(&mut reader).await;
    writer.shut_down();
    drop(attached);
}

struct Session {
    control: Rc<Control>,
    role: Role,
    writer: SharedWriter,
    endings: mpsc::UnboundedSender<Ending>,
}

impl Session {
    async fn run(&self, reader: &mut LineReader) {
        // What is still being waited for when the link ends is given up: the next supervisor
        // asks again.
        let mut waiting = JoinSet::new();
        loop {
            let request: RawRequest = match reader.message().await {
                Ok(Some(request)) => request,
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(%error, "the link to the supervisor broke");
                    return;
                }
            };
            let id = request.id;
            let call = match request.call(self.role) {
                Ok(call) => call,
                Err(refusal) => {
                    self.reply(id, Err(refusal)).await;
                    continue;
                }
            };
            while waiting.try_join_next().is_some() {}
            match call {
                Call::Drain { site, release, backends, deadline_ms } => {
                    let (control, writer) = (self.control.clone(), self.writer.clone());
                    waiting.spawn_local(async move {
                        let deadline = Duration::from_millis(deadline_ms);
                        let drained = if backends.is_empty() {
                            control.drain(site, release, deadline).await
                        } else {
                            control.drain_backends(site, release, backends, deadline).await
                        };
                        reply(&writer, id, drained.map(Answer::Drained)).await;
                    });
                }
                Call::Stop { grace_ms, linger_ms } => self.stop(id, grace_ms, linger_ms),
                Call::Listeners => self.hand_over_listeners(id).await,
                Call::AddListener { listener } => {
                    let added = match reader.descriptor() {
                        Some(socket) => self.control.add_listener(listener, socket).await,
                        None => Err(Refusal::Listener {
                            listener,
                            reason: "no socket came with the request".to_owned(),
                        }),
                    };
                    self.reply(id, added.map(|()| Answer::Done)).await;
                }
                Call::RemoveListener { listener } => {
                    self.control.remove_listener(&listener).await;
                    self.reply(id, Ok(Answer::Done)).await;
                }
                Call::SetSite { table } => {
                    let previous = self.control.set_site(*table);
                    self.reply(id, previous.map(|table| Answer::Previous(table.map(Box::new)))).await;
                }
                Call::Follow { table } => {
                    let followed = self.control.follow(*table);
                    self.reply(id, followed.map(|()| Answer::Done)).await;
                }
                Call::RemoveSite { site, fence } => {
                    let previous = self.control.remove_site(&site, fence);
                    self.reply(id, previous.map(|table| Answer::Previous(table.map(Box::new)))).await;
                }
                Call::Samples { since_unix_ms } => {
                    let samples = self.control.samples(since_unix_ms);
                    self.reply(id, Ok(Answer::Samples(samples))).await;
                }
                Call::LoadCertificates => {
                    let certificates = self.control.load_certificates();
                    self.reply(id, certificates.map(Answer::Certificates)).await;
                }
                Call::PlaceAnswers { answers, keep_ms } => {
                    let placed = self.control.place_answers(answers, keep_ms);
                    self.reply(id, placed.map(|()| Answer::Done)).await;
                }
                Call::RemoveAnswers { tokens } => {
                    let removed = self.control.remove_answers(&tokens);
                    self.reply(id, removed.map(|()| Answer::Done)).await;
                }
                Call::AnswerFor { accounts } => {
                    let told = self.control.answer_for(accounts);
                    self.reply(id, told.map(|()| Answer::Done)).await;
                }
                Call::Ping => self.reply(id, Ok(Answer::Done)).await,
                Call::Sites => self.reply(id, Ok(Answer::Sites(self.control.sites()))).await,
                Call::Metrics => {
                    let metrics = Box::new(self.control.metrics());
                    self.reply(id, Ok(Answer::Metrics(metrics))).await;
                }
            }
        }
    }

    async fn reply(&self, id: u64, answer: Result<Answer, Refusal>) {
        reply(&self.writer, id, answer).await;
    }

    async fn hand_over_listeners(&self, id: u64) {
        let listeners = match self.control.listeners() {
            Ok(listeners) => listeners,
            Err(error) => {
                let reason = error.to_string();
                return self.reply(id, Err(Refusal::Unknown { reason })).await;
            }
        };
        for (listener, socket) in listeners {
            send(&self.writer, id, ResponseBody::Listener(listener), Some(&socket)).await;
        }
        self.reply(id, Ok(Answer::Done)).await;
    }

    fn stop(&self, id: u64, grace_ms: u64, linger_ms: u64) {
        let (retired, is_retired) = oneshot::channel();
        let (telling, told) = oneshot::channel();
        // If nobody listens the edge is ending already.
        let _ = self.endings.send(Ending::Asked {
            grace: Duration::from_millis(grace_ms),
            linger: Duration::from_millis(linger_ms),
            retired,
            told,
        });
        let writer = self.writer.clone();
        tokio::task::spawn_local(async move {
            let answer = match is_retired.await {
                Ok(()) => Ok(Answer::Done),
                Err(_) => Err(Refusal::Stopping),
            };
            reply(&writer, id, answer).await;
            let _ = telling.send(());
        });
    }
}

async fn reply(writer: &SharedWriter, id: u64, answer: Result<Answer, Refusal>) {
    let body = match answer {
        Ok(answer) => ResponseBody::Answer(answer),
        Err(refusal) => ResponseBody::Refused(refusal),
    };
    send(writer, id, body, None).await;
}

async fn send(writer: &SharedWriter, id: u64, body: ResponseBody, socket: Option<&OwnedFd>) {
    let writer = writer.lock().await;
    let mut sent = writer.message(&Response { id, body }, socket).await;
    if let Err(error) = &sent
        && error.kind() == std::io::ErrorKind::InvalidInput
    {
        // Nothing of it has left, so there can be another answer.
        let reason = error.to_string();
        let body = ResponseBody::Refused(Refusal::Unknown { reason });
        sent = writer.message(&Response { id, body }, None).await;
    }
    if let Err(error) = sent {
        tracing::debug!(%error, "could not answer the supervisor");
    }
}
