//! One client's connection, from its first byte to its last.

use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::first_bytes::{self, Looked, Speaks};
use crate::flight::{Connection, EndConnection};
use crate::head_watch::{ClientIo, HeadWatch};
use crate::names::ListenerId;
use crate::options::Limits;
use crate::proxy;
use crate::worker::{Seat, Worker};

/// Serves a connection in a task of its own. It is among the worker's connections already.
pub(crate) fn begin(
    worker: &Rc<Worker>,
    id: ListenerId,
    stream: TcpStream,
    client: SocketAddr,
    seat: Option<Seat>,
) {
    // Small answers wait for nothing. An error means the client has gone, which reading shows.
    let _ = stream.set_nodelay(true);
    let connection = Rc::new(Connection::new(id, client, HeadWatch::new(worker.clock.clone())));
    let slot = worker.connections.insert(connection.clone());
    let open = Open { worker: worker.clone(), slot, _seat: seat };
    tokio::task::spawn_local(async move {
        if let Err(error) = serve(&open.worker, &connection, stream).await {
            tracing::debug!(%client, %error, "a client's connection ended");
            // The parser has told the client itself.
            if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
                open.worker.count_refused();
                open.worker.not_understood(&connection, "malformed");
            }
        }
    });
}

/// Held as long as a client's connection is served.
struct Open {
    worker: Rc<Worker>,
    slot: usize,
    _seat: Option<Seat>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.worker.connections.remove(self.slot);
        self.worker.totals().connections.fetch_sub(1, Ordering::Relaxed);
        self.worker.room.notify_one();
    }
}

type Ended = Result<(), Box<dyn std::error::Error + Send + Sync>>;

async fn serve(worker: &Rc<Worker>, connection: &Rc<Connection>, stream: TcpStream) -> Ended {
    let Ok(looked) = connection.end.or(pin!(first_bytes::look(stream))).await else { return Ok(()) };
    match looked? {
        None => Ok(()),
        Some((Speaks::Http1, stream)) => http1(worker, connection, stream).await,
        Some((Speaks::Http2, stream)) => http2(worker, connection, stream).await,
        Some((Speaks::Tls, stream)) => tls(worker, connection, stream).await,
    }
}

#[cfg(feature = "tls")]
async fn tls(worker: &Rc<Worker>, connection: &Rc<Connection>, stream: Looked) -> Ended {
    let acceptor = tokio_rustls::TlsAcceptor::from(worker.shared.tls.config());
    let handshake = tokio::time::timeout(worker.limits().request_header, acceptor.accept(stream));
    let Ok(shaken) = connection.end.or(pin!(handshake)).await else { return Ok(()) };
    let stream = shaken??;
    connection.secure.set(true);
    // The handshake was the first sign of life; now the first request may take its time.
    connection.watch.rest();
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        http2(worker, connection, stream).await
    } else {
        http1(worker, connection, stream).await
    }
}

#[cfg(not(feature = "tls"))]
async fn tls(_: &Rc<Worker>, _: &Rc<Connection>, _: Looked) -> Ended {
    Err("it speaks TLS, which this edge was built without".into())
}

/// How HTTP/1 is read.
pub(crate) fn builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    // Ours, from the first byte of a header, is in `Connection::check`.
    builder.header_read_timeout(None);
    builder.max_buf_size(limits.piece_bytes()).max_header_size(limits.header_bytes);
    if let Some(fields) = limits.unusual_header_fields() {
        builder.max_headers(fields);
    }
    builder
}

async fn http1<S>(worker: &Rc<Worker>, connection: &Rc<Connection>, stream: S) -> Ended
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(ClientIo::new(stream, connection.watch.clone()));
    let service = service_fn(|request| proxy::handle(worker.clone(), connection.clone(), request));
    let http = builder(worker.limits()).serve_connection(io, service).with_upgrades();
    let mut http = pin!(http);
    let ended = drive(connection, |cx, politely| {
        if politely {
            http.as_mut().graceful_shutdown();
        }
        http.as_mut().poll(cx)
    });
    Ok(ended.await?)
}

async fn http2<S>(worker: &Rc<Worker>, connection: &Rc<Connection>, stream: S) -> Ended
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    connection.multiplexed.set(true);
    let service = service_fn(|request| proxy::handle(worker.clone(), connection.clone(), request));
    let limit = u32::try_from(worker.limits().header_bytes).unwrap_or(u32::MAX);
    let http = http2::Builder::new(OnThisThread)
        .max_header_list_size(limit)
        .max_concurrent_streams(worker.limits().streams_per_connection)
        .serve_connection(TokioIo::new(stream), service);
    let mut http = pin!(http);
    let ended = drive(connection, |cx, politely| {
        if politely {
            http.as_mut().graceful_shutdown();
        }
        http.as_mut().poll(cx)
    });
    Ok(ended.await?)
}

/// Runs a connection, tells it when it is to end politely, and drops it when at once.
async fn drive<E>(
    connection: &Connection,
    mut poll: impl FnMut(&mut Context<'_>, bool) -> Poll<Result<(), E>>,
) -> Result<(), E> {
    std::future::poll_fn(|cx| {
        let mut politely = false;
        loop {
            if let Poll::Ready(ended) = poll(cx, politely) {
                return Poll::Ready(ended);
            }
            match connection.end.poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(EndConnection::AtOnce) => return Poll::Ready(Ok(())),
                Poll::Ready(EndConnection::Politely) => politely = true,
            }
        }
    })
    .await
}

/// Runs the tasks of an HTTP/2 connection where the connection itself runs.
#[derive(Debug, Clone, Copy)]
struct OnThisThread;

impl<F: Future + 'static> hyper::rt::Executor<F> for OnThisThread
where
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
