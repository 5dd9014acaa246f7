//! A client connection, and a request or tunnel under way on it.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::HeaderValue;

use crate::access_log::{Answered, Asked};
use crate::head_watch::{ClientPhase, HeadWatch};
use crate::metrics::Failure;
use crate::names::ListenerId;
use crate::options::Limits;
use crate::signal::Signal;
use crate::stats::ReleaseStats;
use crate::worker::Worker;

/// Why a connection is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndConnection {
    /// After the request under way, if there is one.
    Politely,
    /// Now.
    AtOnce,
}

/// A client connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) listener: ListenerId,
    pub(crate) address: SocketAddr,
    /// The client's address as `X-Forwarded-For` says it.
    pub(crate) client: HeaderValue,
    pub(crate) watch: Arc<HeadWatch>,
    pub(crate) end: Signal<EndConnection>,
    /// Whether the body of the request under way was not read to its end yet.
    pub(crate) upload_open: Cell<bool>,
    /// Came by TLS.
    pub(crate) secure: Cell<bool>,
    /// Carries several requests at once (HTTP/2).
    pub(crate) multiplexed: Cell<bool>,
    requests: Cell<u32>,
    expired: Cell<bool>,
}

impl Connection {
    pub(crate) fn new(listener: ListenerId, client: SocketAddr, watch: Arc<HeadWatch>) -> Self {
        let text = client.ip().to_canonical().to_string();
        Self {
            listener,
            address: client,
            client: HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("unknown")),
            watch,
            end: Signal::default(),
            upload_open: Cell::new(false),
            secure: Cell::new(false),
            multiplexed: Cell::new(false),
            requests: Cell::new(0),
            expired: Cell::new(false),
        }
    }

    /// Part of a request's header has come, and not the rest.
    pub(crate) fn was_heard_half(&self) -> bool {
        matches!(self.watch.phase(), ClientPhase::Head(_))
    }

    /// Ends the connection if its client is too slow or idle for too long; true the first time.
    pub(crate) fn check(&self, limits: &Limits) -> bool {
        let now = self.watch.now();
        let over = |since: u64, limit| now.saturating_sub(since) > crate::millis::of(limit);
        let end = match self.watch.phase() {
            // Politeness waits for the last bytes of an answer, which a client may never take.
            ClientPhase::Idle(since) if over(since, limits.keep_alive + limits.response_body_pause) => {
                EndConnection::AtOnce
            }
            ClientPhase::Idle(since) if over(since, limits.keep_alive) => EndConnection::Politely,
            ClientPhase::Head(since) if over(since, limits.request_header) => EndConnection::AtOnce,
            _ => return false,
        };
        self.end.send(end);
        !self.expired.replace(true)
    }
}

/// Held while a request is being answered; the connection is idle again when the last one goes.
#[derive(Debug)]
pub(crate) struct Busy(Rc<Connection>);

impl Busy {
    pub(crate) fn new(connection: &Rc<Connection>) -> Self {
        connection.requests.set(connection.requests.get() + 1);
        Self(connection.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let left = self.0.requests.get().saturating_sub(1);
        self.0.requests.set(left);
        if left == 0 {
            self.0.watch.end(!self.0.upload_open.replace(false));
        }
    }
}

/// Why a flight is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Its release is retired.
    Drained,
    /// The edge ends.
    EdgeEnds,
    /// The backend takes too long.
    Late,
    /// The client takes too long.
    ClientSlow,
    /// The client sends more than it may.
    TooLarge,
}

impl Stop {
    pub(crate) fn failure(self) -> Failure {
        match self {
            Self::Drained | Self::EdgeEnds => Failure::Cut,
            Self::Late => Failure::TimedOut,
            Self::ClientSlow => Failure::ClientSlow,
            Self::TooLarge => Failure::TooLarge,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The answer has not begun.
    Waiting,
    Answering,
    Tunnel,
}

/// What the rest of the worker sees of a request or tunnel under way.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) stats: Arc<ReleaseStats>,
    pub(crate) connection: Rc<Connection>,
    pub(crate) stop: Signal<Stop>,
    /// Who was asked last. Set before anything else of the worker runs.
    pub(crate) backend: Cell<Option<SocketAddr>>,
    phase: Cell<Phase>,
    /// When it last moved, by the worker's clock.
    moved: Cell<u64>,
    /// The client is to send more of its body.
    awaits_client: Cell<bool>,
    /// The client is to take what was answered.
    client_behind: Cell<bool>,
    failure: Cell<Option<Failure>>,
    whole: Cell<bool>,
    status: Cell<Option<(u16, u64)>>,
    sent: Cell<u64>,
}

impl InFlight {
    /// Bytes went either way.
    pub(crate) fn moved(&self) {
        self.moved.set(self.connection.watch.now());
    }

    /// So many bytes of the body went to the client.
    pub(crate) fn sent(&self, bytes: usize) {
        self.sent.set(self.sent.get() + bytes as u64);
    }

    pub(crate) fn awaits_client(&self, awaits: bool) {
        self.awaits_client.set(awaits);
    }

    pub(crate) fn client_behind(&self, behind: bool) {
        self.client_behind.set(behind);
    }

    /// Stops what takes longer than it may.
    pub(crate) fn check(&self, limits: &Limits) {
        let rests = self.connection.watch.now().saturating_sub(self.moved.get());
        match self.phase.get() {
            Phase::Waiting if self.awaits_client.get() => {
                if rests > crate::millis::of(limits.request_body_pause) {
                    self.stop.send(Stop::ClientSlow);
                }
            }
            Phase::Waiting => {
                if rests > crate::millis::of(limits.response_header) {
                    self.stop.send(Stop::Late);
                }
            }
            Phase::Answering if self.client_behind.get() => {
                // Nobody asks the body for more, so only the connection can be ended.
                if rests > crate::millis::of(limits.response_body_pause) {
                    self.failure.set(Some(Failure::ClientSlow));
                    self.connection.end.send(EndConnection::AtOnce);
                }
            }
            Phase::Answering | Phase::Tunnel => {}
        }
    }

    /// Ends it: politely with `stop`, or, if it does not get to hear that, with its
    /// connection.
    pub(crate) fn cut(&self, stop: Stop, at_once: bool) {
        // Other requests of the same connection may be those of another release.
        let alone = stop == Stop::EdgeEnds || !self.connection.multiplexed.get();
        if at_once && alone {
            self.failure.set(Some(stop.failure()));
            self.connection.end.send(EndConnection::AtOnce);
        }
        self.stop.send(stop);
    }
}

/// Counts a request or tunnel as under way for as long as it is held.
#[derive(Debug)]
pub(crate) struct Flight {
    state: Rc<InFlight>,
    worker: Rc<Worker>,
    slot: usize,
    started: Instant,
    /// What to write down when it ends.
    asked: Option<Box<Asked>>,
    /// The status of the edge's own answer, where there was none of the app.
    answered_by_edge: Option<u16>,
}

impl Flight {
    /// Takes over what [`ReleaseStats::enter`] has counted.
    pub(crate) fn entered(
        worker: &Rc<Worker>,
        connection: &Rc<Connection>,
        stats: &Arc<ReleaseStats>,
    ) -> Self {
        let state = Rc::new(InFlight {
            stats: stats.clone(),
            connection: connection.clone(),
            stop: Signal::default(),
            backend: Cell::new(None),
            phase: Cell::new(Phase::Waiting),
            moved: Cell::new(connection.watch.now()),
            awaits_client: Cell::new(false),
            client_behind: Cell::new(false),
            failure: Cell::new(None),
            whole: Cell::new(false),
            status: Cell::new(None),
            sent: Cell::new(0),
        });
        stats.request(worker.index);
        Self {
            slot: worker.flights.insert(state.clone()),
            state,
            worker: worker.clone(),
            started: Instant::now(),
            asked: None,
            answered_by_edge: None,
        }
    }

    /// Has it written to the access log when it ends.
    pub(crate) fn log(&mut self, asked: Option<Box<Asked>>) {
        self.asked = asked;
    }

    /// Takes that back, for another flight that goes on with the same request.
    pub(crate) fn take_log(&mut self) -> Option<Box<Asked>> {
        self.asked.take()
    }

    pub(crate) fn state(&self) -> &Rc<InFlight> {
        &self.state
    }

    /// The answer has begun.
    pub(crate) fn answered(&self, status: u16) {
        let micros = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.state.status.set(Some((status, micros)));
        self.state.stats.response(self.worker.index, status, micros);
        self.state.phase.set(Phase::Answering);
        self.state.moved();
    }

    /// The edge answers in place of the app.
    pub(crate) fn answered_by_edge(&mut self, status: u16) {
        self.answered_by_edge = Some(status);
    }

    pub(crate) fn becomes_tunnel(&self) {
        self.state.phase.set(Phase::Tunnel);
    }

    /// It ended as the app meant it to.
    pub(crate) fn whole(&self) {
        self.state.whole.set(true);
    }

    pub(crate) fn failed(&self, failure: Failure) {
        self.state.failure.set(Some(failure));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let failure = self.state.failure.get();
        let gone = (!self.state.whole.get()).then_some(Failure::ClientGone);
        let failure = failure.or(gone);
        if let Some(failure) = failure {
            self.state.stats.failure(self.worker.index, failure);
        }
        if let (Some(asked), Some((log, lines))) = (&self.asked, self.worker.access_log()) {
            let status = self.state.status.get();
            let answered = Answered {
                site: Some(self.state.stats.site.as_str()),
                release: Some(self.state.stats.release.as_str()),
                status: status.map(|(status, _)| status).or(self.answered_by_edge),
                bytes: self.state.sent.get(),
                first_us: status.map(|(_, micros)| micros),
                total_us: u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX),
                failure: failure.map(Failure::as_str),
            };
            log.answer(lines, asked, answered);
        }
        self.worker.flights.remove(self.slot);
        self.state.stats.leave(self.worker.index);
    }
}
