//! An app of one release.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

type Reply = Response<BoxBody<Bytes, Infallible>>;

/// What the app has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) connections: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) posts: AtomicU64,
    /// Requests and tunnels that have begun and not ended.
    pub(crate) open: AtomicU64,
    /// Lets the requests to `/held` go on.
    pub(crate) release: Notify,
}

/// A running app. It ends, with all its connections, when this is dropped.
pub(crate) struct App {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Seen>,
    accepting: AbortHandle,
}

impl Drop for App {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl App {
    /// Starts an app that answers with its name.
    ///
    /// `/held` waits for `seen.release`; `/upload` says how many bytes came; `/download/N`
    /// sends N bytes; `/headers` says what it was sent; `/events` sends one event a wake-up;
    /// `/echo` changes to the protocol that was asked for and sends everything back;
    /// `/trailers` ends with one; `/status/N` has that status; `/asset-NAME.js` exists for the
    /// app of that name and is a page for others; what begins with `/missing` is a 404.
    pub(crate) async fn start(name: &'static str) -> Self {
        Self::start_at(name, SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// The same at an address.
    pub(crate) async fn start_at(name: &'static str, address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let counting = seen.clone();
        let accepting = tokio::spawn(async move {
            // Owned by this task: they end with it.
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                counting.connections.fetch_add(1, Ordering::Relaxed);
                let seen = counting.clone();
                connections.spawn(async move {
                    let service = hyper::service::service_fn(|request| {
                        let seen = seen.clone();
                        async move { Ok::<_, Infallible>(answer(name, &seen, request).await) }
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .header_read_timeout(None)
                        .serve_connection(TokioIo::new(stream), service)
                        .with_upgrades()
                        .await;
                });
            }
        });
        Self { address, seen, accepting: accepting.abort_handle() }
    }

    pub(crate) fn posts(&self) -> u64 {
        self.seen.posts.load(Ordering::Relaxed)
    }

    pub(crate) fn requests(&self) -> u64 {
        self.seen.requests.load(Ordering::Relaxed)
    }

    pub(crate) fn open(&self) -> u64 {
        self.seen.open.load(Ordering::Relaxed)
    }
}

struct OpenGuard(Arc<Seen>);

impl OpenGuard {
    fn new(seen: &Arc<Seen>) -> Self {
        seen.open.fetch_add(1, Ordering::Relaxed);
        Self(seen.clone())
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn answer(name: &'static str, seen: &Arc<Seen>, request: Request<Incoming>) -> Reply {
    seen.requests.fetch_add(1, Ordering::Relaxed);
    let open = OpenGuard::new(seen);
    let path = request.uri().path().to_owned();
    match path.as_str() {
        "/held" => {
            seen.release.notified().await;
            text(name)
        }
        "/upload" => upload(seen, request).await,
        "/headers" => headers(&request),
        "/events" => events(seen.clone(), open),
        "/echo" => echo(seen.clone(), request, open),
        "/trailers" => trailers(request).await,
        _ => {
            if let Some(count) = path.strip_prefix("/download/") {
                let body = Zeros(count.parse().unwrap());
                return Response::new(BoxBody::new(body));
            }
            if let Some(code) = path.strip_prefix("/status/") {
                let mut reply = text(name);
                *reply.status_mut() = code.parse().unwrap();
                return reply;
            }
            if path.starts_with("/missing") {
                let mut reply = text("not here");
                *reply.status_mut() = StatusCode::NOT_FOUND;
                return reply;
            }
            if path.starts_with("/asset-") {
                let mine = path == format!("/asset-{name}.js");
                let kind = if mine { "text/javascript" } else { "text/html" };
                let mut reply = text(name);
                let kind = http::HeaderValue::from_static(kind);
                reply.headers_mut().insert("content-type", kind);
                return reply;
            }
            text(name)
        }
    }
}

fn text(text: impl Into<Bytes>) -> Reply {
    Response::new(BoxBody::new(Full::new(text.into())))
}

async fn upload(seen: &Seen, request: Request<Incoming>) -> Reply {
    let mut body = request.into_body();
    let mut count = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            // The client broke off; nobody reads this.
            return text("");
        };
        count += frame.data_ref().map_or(0, Bytes::len);
    }
    seen.posts.fetch_add(1, Ordering::Relaxed);
    text(count.to_string())
}

fn headers(request: &Request<Incoming>) -> Reply {
    let mut lines = vec![format!("{} {}", request.method(), request.uri())];
    for (name, value) in request.headers() {
        lines.push(format!("{name}: {}", value.to_str().unwrap()));
    }
    text(lines.join("\n"))
}

fn events(seen: Arc<Seen>, open: OpenGuard) -> Reply {
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Frame<Bytes>, Infallible>>(1);
    tokio::spawn(async move {
        let _open = open;
        for number in 0.. {
            tokio::select! {
                () = seen.release.notified() => {}
                () = sender.closed() => return,
            }
            let event = Bytes::from(format!("data: {number}\n\n"));
            if sender.send(Ok(Frame::data(event))).await.is_err() {
                return;
            }
        }
    });
    let mut reply = Response::new(BoxBody::new(Channel(receiver)));
    let kind = http::HeaderValue::from_static("text/event-stream");
    reply.headers_mut().insert("content-type", kind);
    reply
}

struct Channel(tokio::sync::mpsc::Receiver<Result<Frame<Bytes>, Infallible>>);

impl Body for Channel {
    type Data = Bytes;
    type Error = Infallible;
    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx)
    }
}

struct Zeros(u64);

impl Body for Zeros {
    type Data = Bytes;
    type Error = Infallible;
    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        static PIECE: [u8; 64 << 10] = [0; 64 << 10];
        let length = self.0.min(PIECE.len() as u64);
        self.0 -= length;
        let piece = Bytes::from_static(&PIECE[..usize::try_from(length).unwrap()]);
        std::task::Poll::Ready((length > 0).then(|| Ok(Frame::data(piece))))
    }
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0)
    }
}

fn echo(seen: Arc<Seen>, mut request: Request<Incoming>, open: OpenGuard) -> Reply {
    let Some(protocol) = request.headers().get("upgrade").cloned() else {
        return text("no upgrade asked");
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let (_seen, _open) = (seen, open);
        let Ok(upgraded) = upgrade.await else { return };
        let mut stream = TokioIo::new(upgraded);
        let mut buffer = vec![0; 4096];
        while let Ok(count) = stream.read(&mut buffer).await {
            if count == 0 || stream.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
    });
    let mut reply = text("");
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = reply.headers_mut();
    headers.insert("connection", http::HeaderValue::from_static("upgrade"));
    headers.insert("upgrade", protocol);
    reply
}

/// Sends back the trailers that came with the request.
async fn trailers(request: Request<Incoming>) -> Reply {
    let collected = request.into_body().collect().await.unwrap();
    let trailers: HeaderMap = collected.trailers().cloned().unwrap_or_default();
    let body = collected.to_bytes();
    let (sender, receiver) = tokio::sync::mpsc::channel(2);
    sender.try_send(Ok(Frame::data(body))).unwrap();
    sender.try_send(Ok(Frame::trailers(trailers))).unwrap();
    let mut reply = Response::new(BoxBody::new(Channel(receiver)));
    let names = http::HeaderValue::from_static("x-sum");
    reply.headers_mut().insert("trailer", names);
    reply
}

/// A server that does what it is told with each connection.
pub(crate) async fn raw_app<F>(serve: impl Fn(TcpStream, u64) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for number in 1.. {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream, number));
        }
    });
    address
}

/// Reads one request without a body.
pub(crate) async fn read_head(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tokio::time::timeout(Duration::from_secs(30), stream.read_u8()).await??);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}
