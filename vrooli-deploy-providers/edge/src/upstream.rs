//! Connections to backends, kept for the next request.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::body::Upload;
use crate::options::Limits;

/// Most idle connections kept to one backend. At a thousand clients a core all of theirs stay.
const IDLE_PER_BACKEND: usize = 1_024;

/// What an app on this machine may send before we take it. Given from the beginning, it writes
/// most answers in one go; the kernel by itself gives a small part and more with each round of
/// reading, and each of those wakes the app again. Measured with 1 MB bodies: a quarter less
/// processor time at a thousand connections. The kernel holds twice the number, only while
/// there is something to hold, and less than it would come to by itself.
const RECEIVE: usize = 1 << 20;

type Connection = Pin<Box<dyn Future<Output = hyper::Result<()>>>>;

/// A connection to a backend. It moves only when it is polled, by whoever uses it: what is
/// read is passed on while it is still in the processor's caches, and no other task has to be
/// woken for it.
pub(crate) struct Link {
    sender: SendRequest<Upload>,
    /// None once it has ended.
    connection: Option<Connection>,
}

impl fmt::Debug for Link {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Link").field("open", &self.connection.is_some()).finish_non_exhaustive()
    }
}

impl Link {
    /// Sends a request and waits for the head of the answer.
    pub(crate) async fn send(
        &mut self,
        request: Request<Upload>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Upload>>> {
        let mut answer = pin!(self.sender.try_send_request(request));
        let connection = &mut self.connection;
        std::future::poll_fn(|cx| {
            move_on(connection, cx);
            answer.as_mut().poll(cx)
        })
        .await
    }

    /// Reads and writes what can be.
    pub(crate) fn move_on(&mut self, cx: &mut Context<'_>) {
        move_on(&mut self.connection, cx);
    }

    /// Has it go on by itself until it ends.
    pub(crate) fn detach(self) {
        if let Some(connection) = self.connection {
            tokio::task::spawn_local(async move {
                // What went wrong is reported to whoever waits for it.
                let _ = connection.await;
            });
        }
    }

    /// Whether another request can be sent. What came in meanwhile is looked at, because it
    /// may be the end; nobody is woken for what comes later.
    fn is_free(&mut self) -> bool {
        self.move_on(&mut Context::from_waker(Waker::noop()));
        self.connection.is_some() && self.sender.is_ready() && !self.sender.is_closed()
    }
}

fn move_on(slot: &mut Option<Connection>, cx: &mut Context<'_>) {
    if let Some(connection) = slot
        && let Poll::Ready(ended) = connection.as_mut().poll(cx)
    {
        // What went wrong is reported to the request; afterwards nobody needs to know.
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection to a backend ended");
        }
        *slot = None;
    }
}

/// The idle connections of one worker.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: RefCell<HashMap<SocketAddr, Vec<Idle>>>,
}

#[derive(Debug)]
struct Idle {
    link: Link,
    since: u64,
}

impl Pool {
    /// The connection to a backend that was used last, if it is young enough. A backend may
    /// close an idle one at the very moment we use it; requests that must not be repeated
    /// (`repeatable` is false) only get one that is too young for that.
    pub(crate) fn take(
        &self,
        backend: SocketAddr,
        now: u64,
        limits: &Limits,
        repeatable: bool,
    ) -> Option<Link> {
        let mut idle = self.idle.borrow_mut();
        let known = idle.get_mut(&backend)?;
        while let Some(mut last) = known.pop() {
            let age = now.saturating_sub(last.since);
            if age > crate::millis::of(limits.backend_idle) {
                // The ones below are older still.
                known.clear();
                return None;
            }
            if !repeatable && age > crate::millis::of(limits.backend_idle_unsafe) {
                known.push(last);
                return None;
            }
            if last.link.is_free() {
                return Some(last.link);
            }
        }
        None
    }

    /// Keeps a connection whose answer was read to its end. One whose request is still being
    /// sent goes on with that, and is not used again.
    pub(crate) fn put(&self, backend: SocketAddr, mut link: Link, now: u64) {
        if !link.is_free() {
            return link.detach();
        }
        let mut idle = self.idle.borrow_mut();
        let known = idle.entry(backend).or_default();
        if known.len() < IDLE_PER_BACKEND {
            known.push(Idle { link, since: now });
        }
    }

    /// Closes what was idle for too long.
    pub(crate) fn sweep(&self, now: u64, limits: &Limits) {
        let limit = crate::millis::of(limits.backend_idle);
        self.idle.borrow_mut().retain(|_, known| {
            known.retain_mut(|one| now.saturating_sub(one.since) <= limit && one.link.is_free());
            !known.is_empty()
        });
    }
}

/// Whether the system lets us have [`RECEIVE`]. Asking for more than it allows would give less
/// than not asking, because what was asked for once does not grow any more.
fn may_receive() -> bool {
    static MAY: LazyLock<bool> = LazyLock::new(|| {
        let most = std::fs::read_to_string("/proc/sys/net/core/rmem_max");
        most.is_ok_and(|most| most.trim().parse().is_ok_and(|most: usize| most >= RECEIVE))
    });
    *MAY
}

/// Opens a connection to a backend.
pub(crate) async fn connect(backend: SocketAddr, limits: &Limits) -> io::Result<Link> {
    let stream = tokio::time::timeout(limits.connect, TcpStream::connect(backend))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    stream.set_nodelay(true)?;
    if backend.ip().is_loopback() && may_receive() {
        // Without it is slower, not wrong.
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&stream, RECEIVE);
    }
    let mut builder = http1::Builder::new();
    builder.max_buf_size(limits.piece_bytes()).max_header_size(limits.header_bytes);
    if let Some(fields) = limits.unusual_header_fields() {
        builder.max_headers(fields);
    }
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    Ok(Link { sender, connection: Some(Box::pin(connection.with_upgrades())) })
}
