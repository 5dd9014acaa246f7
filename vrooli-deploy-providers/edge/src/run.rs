//! The life of an edge, from its lock to its last request.

use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::Instant;

use crate::control::Control;
use crate::error::{EdgeError, Trying as _};
use crate::options::EdgeOptions;
use crate::session::{self, Ending, Role};
use crate::socket::NamedSocket;
use crate::state::StateFile;
use crate::worker::{self, Shared, WorkerHandle};
use crate::{CONTROL_SOCKET, READING_SOCKET};

/// How long a new edge waits for the one before it.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// How often the edge looks whether its folder is still there.
const FOLDER_CHECK: Duration = Duration::from_secs(1);

/// Whether the edge is a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Home {
    /// It hears SIGTERM, and goes on without its supervisor.
    Process,
    /// It ends with the program that embeds it.
    Embedded,
}

/// Runs an edge in this process until it is told to end, with standard input as its
/// supervisor's socket. The hidden subcommand of a program calls this and nothing else;
/// [`EdgeLink::spawn`](crate::EdgeLink::spawn) is the other side.
///
/// The edge goes on when its supervisor dies: another one finds it through
/// [`EdgeLink::reattach`](crate::EdgeLink::reattach). It ends by
/// [`EdgeLink::stop`](crate::EdgeLink::stop), by SIGTERM (requests in flight may take
/// [`EdgeOptions::grace`]), when its state folder is deleted, or when it is left alone without
/// a single listener.
///
/// Raises this process's limit of open files as far as it may.
///
/// # Errors
/// [`EdgeError::NoLink`] without a supervisor's socket, [`EdgeError::Locked`] when another edge
/// serves the same state, [`EdgeError::StateFolderGone`], [`EdgeError::WorkerLost`], and
/// whatever keeps it from starting.
pub fn run(options: EdgeOptions) -> Result<(), EdgeError> {
    let link = link_from_stdin()?;
    raise_open_files();
    run_in(options, link, Home::Process)
}

pub(crate) fn run_in(options: EdgeOptions, link: StdUnixStream, home: Home) -> Result<(), EdgeError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .trying("start the edge's runtime")?;
    LocalSet::new().block_on(&runtime, serve(options, link, home))
}

fn link_from_stdin() -> Result<StdUnixStream, EdgeError> {
    let stdin = io::stdin();
    let socket = stdin.as_fd().try_clone_to_owned().trying("duplicate standard input")?;
    let is_ours = rustix::net::sockopt::socket_type(&socket)
        .is_ok_and(|kind| kind == rustix::net::SocketType::STREAM)
        && rustix::net::getsockname(&socket)
            .is_ok_and(|name| name.address_family() == rustix::net::AddressFamily::UNIX);
    if is_ours { Ok(StdUnixStream::from(socket)) } else { Err(EdgeError::NoLink) }
}

fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

async fn serve(options: EdgeOptions, link: StdUnixStream, home: Home) -> Result<(), EdgeError> {
    let file = StateFile::open(&options.state_file).trying("open the edge's state folder")?;
    let lock = lock(&file).await?;
    let loaded = file.load().trying("read the edge's state file")?;
    let count = match options.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        count => count,
    };
    let (reporting, reports) = mpsc::unbounded_channel();
    let (shared, rooms) = Shared::new(count, &options, reporting).trying("start the edge")?;
    let workers: Vec<WorkerHandle> = std::iter::zip(0.., rooms)
        .map(|(index, room)| worker::start(index, shared.clone(), room))
        .collect::<io::Result<_>>()
        .trying("start the edge's workers")?;
    let commands = workers.iter().map(|one| one.commands.clone()).collect();
    let (threads, handles): (Vec<_>, Vec<_>) =
        workers.into_iter().map(|one| (one.ended, one.commands)).unzip();
    let control = Control::new(shared, commands, file, loaded);
    let control_socket = NamedSocket::bind(&options.socket_folder, CONTROL_SOCKET)?;
    let reading_socket = NamedSocket::bind(&options.socket_folder, READING_SOCKET)?;
    link.set_nonblocking(true).trying("use the supervisor's socket")?;
    let link = UnixStream::from_std(link).trying("use the supervisor's socket")?;

    let (endings, mut ended) = mpsc::unbounded_channel();
    // Dropped when another edge may serve: with them go the sockets and their names.
    let mut doors = tokio::task::JoinSet::new();
    doors.spawn_local(answer(control.clone(), control_socket, Role::Supervisor, home, endings.clone()));
    doors.spawn_local(answer(control.clone(), reading_socket, Role::Reader, home, endings.clone()));
    tokio::task::spawn_local(supervised(control.clone(), link, home, endings.clone()));
    let sampling = control.clone();
    tokio::task::spawn_local(async move { sampling.keep_samples().await });
    tokio::task::spawn_local(crate::health::watch(control.clone(), reports));
    let reverting = control.clone();
    tokio::task::spawn_local(async move { reverting.revert_when_due().await });
    for thread in threads {
        let endings = endings.clone();
        tokio::task::spawn_local(async move {
            let _ = thread.await;
            let _ = endings.send(Ending::WorkerLost);
        });
    }
    tokio::task::spawn_local(watch_folder(control.clone(), endings.clone()));
    if home == Home::Process {
        listen_to_signals(&endings).trying("listen to signals")?;
    }

    let Some(ending) = ended.recv().await else {
        return Ok(());
    };
    control.retire().await;
    doors.shutdown().await;
    drop(lock);
    let (result, grace, linger) = match ending {
        Ending::Asked { grace, linger, retired, told } => {
            let _ = retired.send(());
            // A supervisor that does not read must not keep us.
            let _ = tokio::time::timeout(Duration::from_secs(1), told).await;
            (Ok(()), grace, linger)
        }
        Ending::Terminated => (Ok(()), options.grace, Duration::ZERO),
        Ending::LinkClosed => (Ok(()), Duration::ZERO, Duration::ZERO),
        Ending::StateFolderGone => (Err(EdgeError::StateFolderGone), options.grace, Duration::ZERO),
        Ending::WorkerLost => (Err(EdgeError::WorkerLost), Duration::ZERO, Duration::ZERO),
    };
    control.finish(grace, linger).await;
    drop(handles);
    result
}

/// Takes the lock that makes this edge the only one, waiting a while for another to end.
async fn lock(file: &StateFile) -> Result<File, EdgeError> {
    let lock = file.open_lock().trying("open the edge's lock file")?;
    let started = Instant::now();
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) if started.elapsed() < LOCK_WAIT => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(TryLockError::WouldBlock) => return Err(EdgeError::Locked { waited: LOCK_WAIT }),
            Err(TryLockError::Error(error)) => return Err(error).trying("lock the edge's state"),
        }
    }
}

/// Serves one supervisor, and sees what its end means.
async fn supervised(
    control: Rc<Control>,
    stream: UnixStream,
    home: Home,
    endings: mpsc::UnboundedSender<Ending>,
) {
    session::serve(control.clone(), stream, Role::Supervisor, endings.clone()).await;
    let alone = !control.attached.get() && !control.has_listeners();
    if home == Home::Embedded || alone {
        let _ = endings.send(Ending::LinkClosed);
    } else {
        tracing::warn!("the supervisor's link ended: serving on");
    }
}

/// Answers at one of the edge's own sockets, until it is dropped.
async fn answer(
    control: Rc<Control>,
    socket: NamedSocket,
    role: Role,
    home: Home,
    endings: mpsc::UnboundedSender<Ending>,
) {
    loop {
        match socket.accept().await {
            Ok(stream) if role == Role::Reader || home == Home::Embedded => {
                // An embedded edge belongs to its program: others may look, and are told that
                // it is busy.
                let session = session::serve(control.clone(), stream, role, endings.clone());
                tokio::task::spawn_local(session);
            }
            Ok(stream) => {
                let session = supervised(control.clone(), stream, home, endings.clone());
                tokio::task::spawn_local(session);
            }
            Err(error) => {
                tracing::warn!(%error, "could not accept at the edge's own socket");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn watch_folder(control: Rc<Control>, endings: mpsc::UnboundedSender<Ending>) {
    let mut ticks = tokio::time::interval(FOLDER_CHECK);
    loop {
        ticks.tick().await;
        if control.folder_is_gone() {
            let _ = endings.send(Ending::StateFolderGone);
            return;
        }
    }
}

fn listen_to_signals(endings: &mpsc::UnboundedSender<Ending>) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    // A terminal's Ctrl-C and its end are for the program in front, not for us: heard, so that
    // they do not end us, and ignored.
    for ignored in [SignalKind::interrupt(), SignalKind::hangup()] {
        let mut stream = signal(ignored)?;
        tokio::task::spawn_local(async move { while stream.recv().await.is_some() {} });
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let endings = endings.clone();
    tokio::task::spawn_local(async move {
        if terminate.recv().await.is_some() {
            let _ = endings.send(Ending::Terminated);
        }
    });
    Ok(())
}
