//! Connections to backends, kept for the next request.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::body::Upload;
use crate::options::Limits;

/// Most idle connections kept to one backend. At a thousand clients a core all of theirs stay.
const IDLE_PER_BACKEND: usize = 1_024;

/// A connection that a request can be sent on.
pub(crate) type Sender = SendRequest<Upload>;

/// The idle connections of one worker.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: RefCell<HashMap<SocketAddr, Vec<Idle>>>,
}

#[derive(Debug)]
struct Idle {
    sender: Sender,
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
    ) -> Option<Sender> {
        let mut idle = self.idle.borrow_mut();
        let known = idle.get_mut(&backend)?;
        while let Some(last) = known.pop() {
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
            if last.sender.is_ready() && !last.sender.is_closed() {
                return Some(last.sender);
            }
        }
        None
    }

    pub(crate) fn put(&self, backend: SocketAddr, sender: Sender, now: u64) {
        if sender.is_closed() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        let known = idle.entry(backend).or_default();
        if known.len() < IDLE_PER_BACKEND {
            known.push(Idle { sender, since: now });
        }
    }

    /// Closes what was idle for too long.
    pub(crate) fn sweep(&self, now: u64, limits: &Limits) {
        let limit = crate::millis::of(limits.backend_idle);
        self.idle.borrow_mut().retain(|_, known| {
            known.retain(|one| !one.sender.is_closed() && now.saturating_sub(one.since) <= limit);
            !known.is_empty()
        });
    }
}

/// Opens a connection to a backend.
pub(crate) async fn connect(backend: SocketAddr, limits: &Limits) -> io::Result<Sender> {
    let stream = tokio::time::timeout(limits.connect, TcpStream::connect(backend))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    stream.set_nodelay(true)?;
    let mut builder = http1::Builder::new();
    builder.max_buf_size(limits.piece_bytes()).max_header_size(limits.header_bytes);
    if let Some(fields) = limits.unusual_header_fields() {
        builder.max_headers(fields);
    }
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::task::spawn_local(async move {
        // What went wrong is reported to the request; afterwards nobody needs to know.
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%backend, %error, "a connection to a backend ended");
        }
    });
    Ok(sender)
}
