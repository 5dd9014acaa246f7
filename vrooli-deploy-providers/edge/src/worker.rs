//! One core of the edge: a thread with its own runtime, connections and routes.

use std::cell::{Cell, RefCell};
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{JoinHandle, LocalSet};

use crate::access_log::{AccessLog, Lines};
use crate::assets::AssetExtensions;
use crate::flight::{Connection, EndConnection, InFlight, Stop};
use crate::head_watch::Clock;
use crate::metrics::Failure;
use crate::names::ListenerId;
use crate::options::{EdgeOptions, Limits};
use crate::routes::{Published, Routes};
use crate::serve;
use crate::signal::Slots;
use crate::stats::{ReleaseStats, WorkerTotals};
use crate::upstream::Pool;

/// What all workers and the control share.
#[derive(Debug)]
pub(crate) struct Shared {
    published: Mutex<Arc<Published>>,
    generation: AtomicU64,
    pub(crate) totals: Box<[WorkerTotals]>,
    pub(crate) limits: Limits,
    assets: AssetExtensions,
    access_log: Option<AccessLog>,
    /// Takes backends that a request could not reach.
    reports: mpsc::UnboundedSender<SocketAddr>,
    /// How many connections each client has, where that is limited.
    clients: Mutex<HashMap<IpAddr, u32>>,
    /// Where each worker takes over connections that another one accepted.
    doors: Box<[mpsc::UnboundedSender<Accepted>]>,
    #[cfg(feature = "tls")]
    pub(crate) tls: crate::tls::Tls,
}

/// A connection on its way to the worker that is to serve it.
#[derive(Debug)]
pub(crate) struct Accepted {
    listener: ListenerId,
    stream: std::net::TcpStream,
    client: SocketAddr,
    seat: Option<Seat>,
}

/// One of the connections that a client's address may have at once.
#[derive(Debug)]
pub(crate) struct Seat {
    shared: Arc<Shared>,
    address: IpAddr,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut clients = self.shared.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = clients.entry(self.address) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// So many more connections than another worker has one keeps before it hands them on.
const AHEAD: u64 = 4;

impl Shared {
    /// What is shared, and for each worker where its connections come in.
    pub(crate) fn new(
        workers: usize,
        options: &EdgeOptions,
        reports: mpsc::UnboundedSender<SocketAddr>,
    ) -> io::Result<(Arc<Self>, Vec<mpsc::UnboundedReceiver<Accepted>>)> {
        let (doors, rooms): (Vec<_>, _) = (0..workers).map(|_| mpsc::unbounded_channel()).unzip();
        let shared = Arc::new(Self {
            doors: doors.into(),
            #[cfg(feature = "tls")]
            tls: {
                let tls = crate::tls::Tls::new(options.certificates.clone()).map_err(io::Error::other)?;
                tls.load();
                tls
            },
            clients: Mutex::default(),
            published: Mutex::default(),
            generation: AtomicU64::new(0),
            totals: (0..workers).map(|_| WorkerTotals::default()).collect(),
            limits: options.limits.clone(),
            assets: AssetExtensions::load()?,
            access_log: options.access_log.as_ref().map(AccessLog::open).transpose()?,
            reports,
        });
        Ok((shared, rooms))
    }

    /// A seat for one more connection of a client, if seats are counted; an error if it has all.
    fn seat(self: &Arc<Self>, address: IpAddr) -> Result<Option<Seat>, ()> {
        let Some(most) = self.limits.connections_per_client else { return Ok(None) };
        let address = address.to_canonical();
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let count = clients.entry(address).or_default();
        if *count >= most.max(1) {
            return Err(());
        }
        *count += 1;
        Ok(Some(Seat { shared: self.clone(), address }))
    }

    /// Who is to serve a connection that a worker has accepted. The kernel wakes them all, and
    /// who is awake first would take nearly everything.
    fn whose(&self, accepted_by: usize) -> usize {
        let open = |worker: usize| self.totals[worker].connections.load(Ordering::Relaxed);
        let least = (0..self.totals.len()).min_by_key(|worker| open(*worker)).unwrap_or(accepted_by);
        if open(accepted_by) > open(least) + AHEAD { least } else { accepted_by }
    }

    /// Puts routes into force for every request from now on.
    pub(crate) fn publish(&self, published: Published) {
        let generation = published.generation;
        *self.published.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(published);
        self.generation.store(generation, Ordering::SeqCst);
    }

    fn published(&self) -> Arc<Published> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Which requests and tunnels.
#[derive(Debug, Clone)]
pub(crate) enum Flights {
    All,
    /// Those of one release.
    Of(Arc<ReleaseStats>),
    /// Those that one of these backends answers.
    At(Arc<BTreeSet<SocketAddr>>),
}

impl Flights {
    fn has(&self, flight: &InFlight) -> bool {
        match self {
            Self::All => true,
            Self::Of(release) => Arc::ptr_eq(release, &flight.stats),
            Self::At(backends) => flight.backend.get().is_some_and(|at| backends.contains(&at)),
        }
    }
}

/// What the control asks of a worker.
pub(crate) enum Command {
    AddListener(ListenerId, std::net::TcpListener, oneshot::Sender<io::Result<()>>),
    RemoveListener(ListenerId, oneshot::Sender<()>),
    /// How much is under way of some.
    Busy(Flights, oneshot::Sender<u64>),
    /// Ends what is under way of some; `at_once` with its connections. Answers how many there
    /// were.
    Cut {
        which: Flights,
        stop: Stop,
        at_once: bool,
        done: oneshot::Sender<u64>,
    },
    /// Accepts no more, and closes each connection after its next answer.
    Retire(oneshot::Sender<()>),
    /// Closes idle connections.
    CloseIdle,
    /// How many connections, and requests or tunnels, there are.
    Count(oneshot::Sender<usize>),
}

/// One core of the edge.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) clock: Clock,
    routes: RefCell<Rc<Routes>>,
    pub(crate) pool: Pool,
    pub(crate) flights: Slots<InFlight>,
    pub(crate) connections: Slots<Connection>,
    listeners: RefCell<HashMap<ListenerId, JoinHandle<()>>>,
    /// Rung when a connection ends while there were too many.
    pub(crate) room: Notify,
    retired: Cell<bool>,
    random: Cell<u64>,
    lines: Lines,
}

impl Worker {
    pub(crate) fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    pub(crate) fn assets(&self) -> &AssetExtensions {
        &self.shared.assets
    }

    /// Milliseconds by the worker's clock.
    pub(crate) fn now(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired.get()
    }

    /// The access log, and what this worker has not written of it yet.
    pub(crate) fn access_log(&self) -> Option<(&AccessLog, &Lines)> {
        self.shared.access_log.as_ref().map(|log| (log, &self.lines))
    }

    /// Says that a backend could not be reached.
    pub(crate) fn report(&self, backend: SocketAddr) {
        // Nobody listens when the edge ends.
        let _ = self.shared.reports.send(backend);
    }

    /// Writes down that a connection ended before a request on it was understood.
    pub(crate) fn not_understood(&self, connection: &Connection, failure: &str) {
        if let Some((log, lines)) = self.access_log() {
            log.not_understood(lines, &connection.client, connection.secure.get(), failure);
        }
    }

    pub(crate) fn count_refused(&self) {
        self.totals().refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn totals(&self) -> &WorkerTotals {
        &self.shared.totals[self.index]
    }

    /// The routes in force.
    pub(crate) fn routes(&self) -> Rc<Routes> {
        if !self.is_current(&self.routes.borrow()) {
            *self.routes.borrow_mut() = Rc::new(Routes::compile(&self.shared.published()));
        }
        self.routes.borrow().clone()
    }

    pub(crate) fn is_current(&self, routes: &Routes) -> bool {
        self.shared.generation.load(Ordering::SeqCst) == routes.generation
    }

    /// A number below `below`, for shares of traffic (xorshift64*; nothing secret hangs on it).
    pub(crate) fn random(&self, below: u64) -> u64 {
        let mut state = self.random.get();
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        self.random.set(state);
        let wide = u128::from(state.wrapping_mul(0x2545_f491_4f6c_dd1d)) * u128::from(below);
        u64::try_from(wide >> 64).unwrap_or(0)
    }
}

/// A running worker, as the control sees it.
#[derive(Debug)]
pub(crate) struct WorkerHandle {
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    /// Resolves when the thread has ended.
    pub(crate) ended: oneshot::Receiver<()>,
}

/// Starts one worker. It ends when its commands are dropped.
pub(crate) fn start(
    index: usize,
    shared: Arc<Shared>,
    room: mpsc::UnboundedReceiver<Accepted>,
) -> io::Result<WorkerHandle> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let (commands, inbox) = mpsc::unbounded_channel();
    let (ending, ended) = oneshot::channel();
    std::thread::Builder::new().name(format!("edge-worker-{index}")).spawn(move || {
        // Dropped at the end, also by a panic: that is how the control hears of it.
        let _ending: oneshot::Sender<()> = ending;
        let tasks = LocalSet::new();
        tasks.block_on(&runtime, run(index, shared, inbox, room));
    })?;
    Ok(WorkerHandle { commands, ended })
}

async fn run(
    index: usize,
    shared: Arc<Shared>,
    mut inbox: mpsc::UnboundedReceiver<Command>,
    mut room: mpsc::UnboundedReceiver<Accepted>,
) {
    let worker = Rc::new(Worker {
        index,
        shared,
        clock: Clock::default(),
        routes: RefCell::default(),
        pool: Pool::default(),
        flights: Slots::default(),
        connections: Slots::default(),
        listeners: RefCell::default(),
        room: Notify::new(),
        retired: Cell::new(false),
        random: Cell::new(RandomState::new().hash_one(index) | 1),
        lines: Lines::default(),
    });
    tokio::task::spawn_local(tick(worker.clone()));
    loop {
        tokio::select! {
            // First: what others accepted before they retired is here before they are asked
            // whether anything is left.
            biased;
            Some(accepted) = room.recv() => worker.take_over(accepted),
            command = inbox.recv() => match command {
                Some(command) => worker.obey(command),
                None => return,
            },
        }
    }
}

/// Moves the clock on and looks after the limits.
async fn tick(worker: Rc<Worker>) {
    let started = Instant::now();
    let mut ticks = tokio::time::interval(worker.limits().tick());
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        worker.clock.store(crate::millis::of(started.elapsed()), Ordering::Relaxed);
        for flight in worker.flights.members() {
            flight.check(worker.limits());
        }
        let mut expired = 0;
        for connection in worker.connections.members() {
            if connection.check(worker.limits()) {
                expired += 1;
                if connection.was_heard_half() {
                    worker.not_understood(&connection, Failure::ClientSlow.as_str());
                }
            }
        }
        worker.totals().expired.fetch_add(expired, Ordering::Relaxed);
        worker.pool.sweep(worker.now(), worker.limits());
        if let Some((log, lines)) = worker.access_log() {
            log.flush(lines);
        }
    }
}

impl Worker {
    fn take_over(self: &Rc<Self>, Accepted { listener, stream, client, seat }: Accepted) {
        match TcpStream::from_std(stream) {
            Ok(stream) => serve::begin(self, listener, stream, client, seat),
            Err(error) => {
                tracing::warn!(%listener, %error, "could not take over a connection");
                self.totals().connections.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// Serves a connection, or has another worker do it that has less to do.
    fn distribute(self: &Rc<Self>, listener: &ListenerId, stream: TcpStream, client: SocketAddr) {
        let Ok(seat) = self.shared.seat(client.ip()) else {
            tracing::debug!(%listener, %client, "a client with all the connections that it may have");
            return self.count_refused();
        };
        let index = self.shared.whose(self.index);
        // Counted here, so that the next one is not meant for the same worker by mistake.
        self.shared.totals[index].connections.fetch_add(1, Ordering::Relaxed);
        self.totals().accepted.fetch_add(1, Ordering::Relaxed);
        if index == self.index {
            return serve::begin(self, listener.clone(), stream, client, seat);
        }
        let sent = stream.into_std().and_then(|stream| {
            let accepted = Accepted { listener: listener.clone(), stream, client, seat };
            // A worker that is gone ends the edge.
            self.shared.doors[index].send(accepted).map_err(|_| io::ErrorKind::BrokenPipe.into())
        });
        if let Err(error) = sent {
            tracing::warn!(%listener, %error, "could not hand on a connection");
            self.shared.totals[index].connections.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn obey(self: &Rc<Self>, command: Command) {
        // Whoever asked may have gone; then nobody needs the answer.
        match command {
            Command::AddListener(id, listener, done) => {
                let added = TcpListener::from_std(listener).map(|listener| {
                    let accepting = accept(self.clone(), id.clone(), listener);
                    let task = tokio::task::spawn_local(accepting);
                    if let Some(replaced) = self.listeners.borrow_mut().insert(id, task) {
                        replaced.abort();
                    }
                });
                let _ = done.send(added);
            }
            Command::RemoveListener(id, done) => {
                let removed = self.listeners.borrow_mut().remove(&id);
                tokio::task::spawn_local(async move {
                    end_accepting(removed).await;
                    let _ = done.send(());
                });
            }
            Command::Busy(which, done) => {
                let busy = self.flights.members().into_iter().filter(|flight| which.has(flight)).count();
                let _ = done.send(busy as u64);
            }
            Command::Cut { which, stop, at_once, done } => {
                let mut cut = 0;
                for flight in self.flights.members() {
                    if which.has(&flight) {
                        flight.cut(stop, at_once);
                        cut += 1;
                    }
                }
                let _ = done.send(cut);
            }
            Command::Retire(done) => {
                self.retired.set(true);
                let listeners: Vec<_> = self.listeners.borrow_mut().drain().collect();
                tokio::task::spawn_local(async move {
                    end_accepting(listeners.into_iter().map(|(_, task)| task)).await;
                    let _ = done.send(());
                });
            }
            Command::CloseIdle => {
                for connection in self.connections.members() {
                    connection.end.send(EndConnection::Politely);
                }
            }
            Command::Count(done) => {
                let _ = done.send(self.connections.len() + self.flights.len());
            }
        }
    }
}

/// Ends accepting and waits until the sockets are closed here.
async fn end_accepting(tasks: impl IntoIterator<Item = JoinHandle<()>>) {
    for task in tasks {
        task.abort();
        // An aborted task ends with an error; that is what was asked for.
        let _ = task.await;
    }
}

async fn accept(worker: Rc<Worker>, id: ListenerId, listener: TcpListener) {
    let limit = worker.limits().connections_per_worker.max(1);
    loop {
        while worker.connections.len() >= limit {
            worker.room.notified().await;
        }
        match listener.accept().await {
            Ok((stream, client)) => worker.distribute(&id, stream, client),
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                // Out of descriptors or memory: connections end, and then there is room.
                tracing::warn!(listener = %id, %error, "could not accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_go_to_who_has_fewer_but_not_for_one_or_two() {
        let (reports, _) = mpsc::unbounded_channel();
        let (shared, _) = Shared::new(3, &EdgeOptions::new("edge.json", "."), reports).unwrap();
        let open = |counts: [u64; 3]| {
            for (totals, count) in std::iter::zip(&shared.totals, counts) {
                totals.connections.store(count, Ordering::Relaxed);
            }
            [0, 1, 2].map(|worker| shared.whose(worker))
        };
        assert_eq!(open([0, 0, 0]), [0, 1, 2]);
        assert_eq!(open([4, 0, 2]), [0, 1, 2]);
        assert_eq!(open([5, 0, 2]), [1, 1, 2]);
        assert_eq!(open([90, 7, 80]), [1, 1, 1]);
    }
}
