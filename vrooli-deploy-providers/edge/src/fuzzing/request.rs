//! A client's request, from its first byte to what an app is sent of it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::first_bytes::{self, Speaks};
use crate::head_watch::{ClientIo, Clock, HeadWatch};
use crate::headers;
use crate::names::{ListenerId, ReleaseName, ServiceName, SiteId};
use crate::options::Limits;
use crate::origin::{Origin, OriginHeader, TrustedProxies};
use crate::table::{ReleaseRoute, Rule, SiteTable};

const CLIENT: &str = "10.0.0.1";

/// The bytes as a client's connection: what an app is sent of each request is one request,
/// with one host, one length and our word about where it came from, whatever the bytes said.
pub fn request(bytes: &[u8]) {
    let speaks = first_bytes::speaks(bytes);
    for end in 0..bytes.len().min(32) {
        let early = first_bytes::speaks(&bytes[..end]);
        assert!(early.is_none() || early == speaks, "what is decided stays so");
    }
    if speaks != Some(Speaks::Http1) {
        return;
    }
    // Cut differently it says the same.
    let (whole, pieces) = (taken(bytes, bytes.len()), taken(bytes, 1 + bytes.len() % 5));
    assert_eq!(whole.len(), pieces.len(), "what is a request does not hang on how it arrives");
    for (one, other) in std::iter::zip(whole, pieces) {
        assert_eq!((&one.head.method, &one.head.uri), (&other.head.method, &other.head.uri));
        assert_eq!(one.head.headers, other.head.headers);
        assert_eq!(one.body, other.body);
        passed_on(one);
    }
}

/// A request that was taken, with its body.
struct Taken {
    head: Parts,
    body: Bytes,
    trailers: Option<HeaderMap>,
    empty: bool,
    length: Option<u64>,
}

/// What the edge takes of a connection, as [`crate::serve`] and [`crate::proxy`] do it.
fn taken(bytes: &[u8], piece: usize) -> Vec<Taken> {
    let watch = HeadWatch::new(Clock::default());
    let memory = Memory { input: bytes.to_vec(), at: 0, piece: piece.max(1), output: Rc::default() };
    let all = RefCell::new(Vec::new());
    let service = service_fn(|request: Request<Incoming>| {
        let two_lengths = watch.begin();
        let (watch, all) = (&watch, &all);
        async move {
            let admitted = headers::admit(&request, two_lengths).is_ok();
            let (head, body) = request.into_parts();
            let (empty, length) = (body.is_end_stream(), body.size_hint().exact());
            let mut response = Response::new(Empty::<Bytes>::new());
            if !admitted {
                *response.status_mut() = StatusCode::BAD_REQUEST;
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                watch.end(empty);
            } else if let Ok(body) = body.collect().await {
                let trailers = body.trailers().cloned();
                all.borrow_mut().push(Taken { head, body: body.to_bytes(), trailers, empty, length });
                watch.end(true);
            }
            Ok::<_, Infallible>(response)
        }
    });
    {
        let io = TokioIo::new(ClientIo::new(memory, watch.clone()));
        let connection = crate::serve::builder(&Limits::default()).serve_connection(io, service);
        // That it ends with an error is the client's doing.
        let _ = drive(pin!(connection));
    }
    all.into_inner()
}

fn passed_on(Taken { head, body, trailers, empty, length }: Taken) {
    let request = Request::from_parts(head, ());
    let host = headers::admit(&request, false).expect("it was admitted").map(std::borrow::Cow::into_owned);
    if let Some(host) = &host {
        assert!(!host.bytes().any(|byte| byte.is_ascii_uppercase() || byte.is_ascii_control()));
        assert!(!host.contains(['/', '@', '?', '#', ' ', ',']), "{host:?} is no host");
        let address = headers::by_tls(host, 8443, request.uri()).expect("it can be said");
        let address = address.as_bytes();
        assert!(address.starts_with(format!("https://{host}:8443/").as_bytes()), "another host");
    }
    where_it_goes(host.as_deref(), request.uri().path());
    where_it_came_from(request.headers());
    let bucket = crate::sticky::bucket(request.headers(), "release");
    assert!(bucket.is_none_or(|bucket| bucket < crate::sticky::BUCKETS));

    let upgrade = headers::asked_upgrade(&request);
    let (mut head, ()) = request.into_parts();
    let client = HeaderValue::from_static(CLIENT);
    let peer = SocketAddr::from(([10, 0, 0, 1], 1));
    let nameless = || Some(HeaderValue::from_static("127.0.0.1:3000"));
    let whole = Whole::new(&body, trailers, empty, length);
    headers::to_backend(
        &mut head,
        &whole,
        &Origin::of_peer(peer, &client, false),
        upgrade.as_ref(),
        nameless,
    );
    let method = head.method.clone();
    let target = head.uri.to_string();
    let sent = send(head, whole);
    let seen = Seen::read(&sent);
    // What was read is a character for each byte.
    let line = format!("{method} {target} HTTP/1.1").bytes().map(char::from).collect::<String>();
    assert_eq!(seen.line, line);
    assert_eq!(seen.count("host"), 1, "hosts");
    assert_eq!(seen.body, body, "the body");
    for (name, value) in &seen.fields {
        let expected = match name.as_str() {
            "x-forwarded-for" => Some(CLIENT),
            "x-forwarded-proto" => Some("http"),
            "x-forwarded-host" => None,
            "transfer-encoding" => Some("chunked"),
            "connection" if upgrade.is_some() => Some("upgrade"),
            "connection" => Some("te"),
            "keep-alive" | "proxy-connection" | "proxy-authorization" => panic!("{name} went on"),
            "upgrade" => {
                assert!(upgrade.is_some(), "an upgrade that nobody asked for");
                None
            }
            name => {
                assert!(!headers::is_forwarding(name), "{name} went on");
                None
            }
        };
        assert!(expected.is_none_or(|expected| expected == value), "{name}: {value}");
    }
    for name in ["x-forwarded-for", "x-forwarded-proto"] {
        assert_eq!(seen.count(name), 1, "{name}");
    }
}

fn where_it_goes(host: Option<&str>, path: &str) {
    let table = || {
        let mut table = SiteTable::new(SiteId::new("s").ok()?, 1);
        let service = ServiceName::new("ui").ok()?;
        table.rules = vec![
            Rule { host: Some("*.test".into()), path: "/deep/er".into(), service: service.clone() },
            Rule { host: Some("a.test".into()), path: "/".into(), service: service.clone() },
            Rule::any_host("/deep", service.clone()),
        ];
        let backends = [(service, vec![SocketAddr::from(([127, 0, 0, 1], 1))])].into();
        table.releases.insert(ReleaseName::new("r1").ok()?, ReleaseRoute { weight: 1, backends });
        Some((table, ListenerId::new("s").ok()?))
    };
    let (table, listener) = table().expect("names");
    let found = super::routes(std::iter::once(table)).find(&listener, host, path).is_ok();
    let below =
        |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    assert_eq!(found, host == Some("a.test") || below("/deep"), "{host:?} {path}");
}

fn where_it_came_from(headers: &HeaderMap) {
    let client = HeaderValue::from_static(CLIENT);
    let peer = SocketAddr::from(([10, 0, 0, 1], 1));
    for says in [OriginHeader::XForwarded, OriginHeader::Forwarded] {
        for network in ["10.0.0.0/8", "192.0.2.0/24"] {
            let trusted = TrustedProxies { networks: network.parse().into_iter().collect(), says };
            let origin = Origin::of_peer(peer, &client, false).believing(headers, &trusted);
            assert_eq!(origin.client.to_str().ok(), Some(origin.address.to_string().as_str()));
            if network == "192.0.2.0/24" {
                assert_eq!(origin.address, peer.ip(), "a stranger was believed");
                assert!(!origin.secure && origin.host.is_none());
            }
        }
    }
}

/// What an app sees, read by the letter of the grammar and by nothing that the edge reads with.
struct Seen {
    line: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Seen {
    fn read(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole header");
        let (head, mut rest) = (&bytes[..end], &bytes[end + 4..]);
        let mut lines =
            head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let text = |bytes: &[u8]| bytes.iter().map(|byte| char::from(*byte)).collect::<String>();
        let line = text(lines.next().expect("a request line"));
        assert_eq!(line.bytes().filter(|byte| *byte <= b' ').count(), 2, "{line:?} has three words");
        let fields: Vec<(String, String)> = lines
            .map(|line| {
                let colon = line.iter().position(|byte| *byte == b':').expect("a name and a value");
                let (name, value) = (text(&line[..colon]), text(&line[colon + 1..]));
                let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
                assert!(!name.is_empty() && name.bytes().all(token), "{name:?} is no name");
                assert!(!value.contains(['\r', '\0']), "{value:?} is no value");
                (name.to_ascii_lowercase(), value.trim().to_owned())
            })
            .collect();
        let mut seen = Self { line, fields, body: Vec::new() };
        let (lengths, codings) = (seen.count("content-length"), seen.count("transfer-encoding"));
        assert!(lengths + codings <= 1, "{lengths} lengths and {codings} codings");
        if let Some((_, length)) = seen.fields.iter().find(|(name, _)| name == "content-length") {
            let length: usize = length.parse().expect("a length");
            seen.body = rest.get(..length).expect("a whole body").to_vec();
            rest = &rest[length..];
        } else if codings == 1 {
            loop {
                let (size, after) = cut(rest);
                let size = usize::from_str_radix(&text(size), 16).expect("the size of a chunk");
                rest = after;
                if size == 0 {
                    break;
                }
                seen.body.extend(rest.get(..size).expect("a whole chunk"));
                rest = rest.get(size..).and_then(|rest| rest.strip_prefix(b"\r\n")).expect("its end");
            }
            // Trailers, and the blank line.
            loop {
                let (field, after) = cut(rest);
                rest = after;
                if field.is_empty() {
                    break;
                }
            }
        }
        assert!(rest.is_empty(), "{:?} would be another request", text(rest));
        seen
    }

    fn count(&self, wanted: &str) -> usize {
        self.fields.iter().filter(|(name, _)| name == wanted).count()
    }
}

fn cut(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.windows(2).position(|two| two == b"\r\n").expect("a line with an end");
    (&bytes[..end], &bytes[end + 2..])
}

/// The bytes of a request as they go to an app.
fn send(head: Parts, body: Whole) -> Vec<u8> {
    let output = Rc::new(RefCell::new(Vec::new()));
    let memory = Memory { input: Vec::new(), at: 0, piece: 1, output: output.clone() };
    let sending = async {
        let (mut sender, connection) =
            hyper::client::conn::http1::Builder::new().handshake(TokioIo::new(memory)).await?;
        let mut connection = pin!(connection);
        let mut answer = pin!(sender.send_request(Request::from_parts(head, body)));
        std::future::poll_fn(|cx| {
            // No answer ever comes: both wait when everything has been written.
            let _ = answer.as_mut().poll(cx);
            connection.as_mut().poll(cx)
        })
        .await
    };
    let ended = drive(pin!(sending));
    assert!(ended.is_none(), "what was taken cannot be sent: {ended:?}");
    output.take()
}

/// A body that is all there, in the form that it came in.
struct Whole {
    frames: VecDeque<Frame<Bytes>>,
    empty: bool,
    length: Option<u64>,
}

impl Whole {
    fn new(body: &Bytes, trailers: Option<HeaderMap>, empty: bool, length: Option<u64>) -> Self {
        let mut frames = VecDeque::new();
        if !body.is_empty() {
            frames.push_back(Frame::data(body.clone()));
        }
        frames.extend(trailers.map(Frame::trailers));
        Self { frames, empty, length }
    }
}

impl Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.frames.pop_front().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.empty
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// A connection that is bytes in memory. After them nothing comes, and no end.
struct Memory {
    input: Vec<u8>,
    at: usize,
    piece: usize,
    output: Rc<RefCell<Vec<u8>>>,
}

impl AsyncRead for Memory {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.at == this.input.len() {
            return Poll::Pending;
        }
        let end = (this.at + this.piece.min(to.remaining())).min(this.input.len());
        to.put_slice(&this.input[this.at..end]);
        this.at = end;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Memory {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.output.borrow_mut().extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Goes on with a task until it is done, or nothing more can happen.
fn drive<F: Future>(mut task: Pin<&mut F>) -> Option<F::Output> {
    let woken = Arc::new(Woken(AtomicBool::new(true)));
    let waker = Waker::from(woken.clone());
    while woken.0.swap(false, Ordering::Relaxed) {
        if let Poll::Ready(output) = task.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(output);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_good_is_taken_and_nothing_else() {
        let good =
            b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhiGET /b HTTP/1.1\r\nHost: b\r\n\r\n";
        let both = taken(good, 3);
        let seen: Vec<_> = both.iter().map(|one| (one.head.uri.path(), &one.body[..])).collect();
        assert_eq!(seen, [("/a", &b"hi"[..]), ("/b", b"")]);
        let two_lengths =
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        assert!(taken(two_lengths, 3).is_empty());
    }

    #[test]
    #[should_panic(expected = "would be another request")]
    fn a_request_inside_a_body_would_be_seen() {
        Seen::read(b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n");
    }
}
