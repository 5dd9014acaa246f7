//! HTTP/2, with and without TLS.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::{Body, Frame};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use vrooli_deploy_edge::SiteTable;

use crate::support::{App, Client, Rig, release, site, table, until};

type Sender = http2::SendRequest<Full<Bytes>>;

async fn connect(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Sender {
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn get(sender: &mut Sender, path: &str) -> (u16, Bytes) {
    send(sender, Request::get(format!("http://a.test{path}")).body(Full::default()).unwrap()).await
}

async fn send(sender: &mut Sender, request: Request<Full<Bytes>>) -> (u16, Bytes) {
    let answer = sender.send_request(request).await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.into_body().collect().await.unwrap().to_bytes())
}

fn shifted(fence: u64, old: &App, new: &App) -> SiteTable {
    table(fence, &[("r1", 0, &[old.address]), ("r2", 100, &[new.address])])
}

pub(crate) async fn carries_many_requests_on_one_connection() {
    let rig = Rig::embedded().await;
    let app = App::start("app").await;
    rig.serve("r1", app.address).await;
    let mut sender = connect(TcpStream::connect(rig.address).await.unwrap()).await;
    let slow = {
        let mut sender = sender.clone();
        tokio::spawn(async move { get(&mut sender, "/held").await })
    };
    until(|| async { app.requests() == 1 }).await;
    for _ in 0..20 {
        assert_eq!(get(&mut sender, "/").await.0, 200);
    }
    app.seen.release.notify_one();
    assert_eq!(slow.await.unwrap().0, 200);

    let body = Bytes::from(vec![b'x'; 3 << 20]);
    let upload = Request::post("http://a.test/upload").body(Full::new(body.clone())).unwrap();
    assert_eq!(send(&mut sender, upload).await, (200, Bytes::from(body.len().to_string())));
    let (status, download) = get(&mut sender, "/download/3000000").await;
    assert_eq!((status, download.len()), (200, 3_000_000));
}

pub(crate) async fn tells_the_app_the_same_as_http1() {
    let rig = Rig::embedded().await;
    let app = App::start("app").await;
    rig.serve("r1", app.address).await;
    let mut sender = connect(TcpStream::connect(rig.address).await.unwrap()).await;
    let request = Request::get("http://a.test/headers")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("x-forwarded-for", "6.6.6.6")
        .body(Full::default())
        .unwrap();
    let (status, seen) = send(&mut sender, request).await;
    let seen = String::from_utf8_lossy(&seen).to_ascii_lowercase();
    assert_eq!(status, 200);
    for line in ["host: a.test", "cookie: a=1; b=2", "x-forwarded-for: 127.0.0.1", "x-forwarded-proto: http"]
    {
        assert!(seen.lines().any(|have| have == line), "{line}\nnot in\n{seen}");
    }
}

pub(crate) async fn a_drain_cuts_its_release_and_no_other() {
    let rig = Rig::embedded().await;
    let (old, new) = (App::start("old").await, App::start("new").await);
    rig.serve("r1", old.address).await;
    let mut sender = connect(TcpStream::connect(rig.address).await.unwrap()).await;
    let stuck = {
        let mut sender = sender.clone();
        tokio::spawn(async move { get(&mut sender, "/held").await })
    };
    until(|| async { rig.edge.sites().await.unwrap()[0].in_flight[&release("r1")] == 1 }).await;
    rig.edge.set_site(shifted(2, &old, &new)).await.unwrap();
    assert_eq!(get(&mut sender, "/").await.1, "new");
    let drained = rig.edge.drain(&site(), &release("r1"), Duration::from_millis(50)).await.unwrap();
    assert_eq!((drained.in_flight, drained.cut), (1, 1));
    assert_eq!(stuck.await.unwrap().0, 503);
    // The connection lives on.
    assert_eq!(get(&mut sender, "/").await.1, "new");
}

pub(crate) async fn idle_connections_end_and_others_go_on() {
    let limits = vrooli_deploy_edge::Limits {
        keep_alive: Duration::from_millis(300),
        ..vrooli_deploy_edge::Limits::default()
    };
    let rig = Rig::with_limits(limits).await;
    let app = App::start("app").await;
    rig.serve("r1", app.address).await;
    let mut idle = connect(TcpStream::connect(rig.address).await.unwrap()).await;
    assert_eq!(get(&mut idle, "/").await.0, 200);
    let mut busy = connect(TcpStream::connect(rig.address).await.unwrap()).await;
    let held = tokio::spawn(async move { get(&mut busy, "/held").await });
    until(|| async { idle.is_closed() }).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    // Longer than an idle connection may be: it is not idle.
    app.seen.release.notify_one();
    assert_eq!(held.await.unwrap().0, 200);
    // Half a preface is no request either.
    let mut half = Client::connect(rig.address).await.unwrap();
    half.send("PRI * HTTP/2.0\r\n").await.unwrap();
    assert!(half.is_closed().await);
}

/// A body that does not say how long it is: with a length there could be no trailers.
struct Frames(Vec<Frame<Bytes>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop().map(Ok))
    }
}

pub(crate) async fn passes_trailers_and_events() {
    let rig = Rig::embedded().await;
    let app = App::start("app").await;
    rig.serve("r1", app.address).await;
    let stream = TcpStream::connect(rig.address).await.unwrap();
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-sum", http::HeaderValue::from_static("42"));
    let body = Frames(vec![Frame::trailers(trailers), Frame::data(Bytes::from_static(b"abc"))]);
    let request = Request::post("http://a.test/trailers").header("te", "trailers").header("trailer", "x-sum");
    let answer = sender.send_request(request.body(body).unwrap()).await.unwrap();
    let whole = answer.into_body().collect().await.unwrap();
    assert_eq!(whole.trailers().unwrap()["x-sum"], "42");
    assert_eq!(whole.to_bytes(), "abc");

    let events = Request::get("http://a.test/events").body(Frames(Vec::new())).unwrap();
    let mut events = sender.send_request(events).await.unwrap().into_body();
    for number in 0..3 {
        app.seen.release.notify_one();
        let frame = events.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), format!("data: {number}\n\n"));
    }
    // They end with their release, cleanly.
    rig.edge.set_site(table(2, &[("r1", 0, &[app.address])])).await.unwrap();
    let drained = rig.edge.drain(&site(), &release("r1"), Duration::ZERO).await.unwrap();
    assert_eq!(drained.cut, 1);
    assert!(events.collect().await.expect("a clean end").to_bytes().is_empty());
}

#[cfg(feature = "tls")]
pub(crate) mod tls {
    use std::sync::Arc;

    use rustls::pki_types::{CertificateDer, ServerName};
    use tokio_rustls::TlsConnector;
    use tokio_rustls::client::TlsStream;

    use super::*;

    /// A certificate of its own making for some names, as the folder wants it.
    fn certificate(names: &[&str]) -> (String, CertificateDer<'static>) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        (format!("{}{}", made.cert.pem(), made.signing_key.serialize_pem()), made.cert.der().clone())
    }

    async fn shake(
        rig: &Rig,
        trusted: &CertificateDer<'static>,
        name: &'static str,
        alpn: &[&[u8]],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(trusted.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|one| one.to_vec()).collect();
        let stream = TcpStream::connect(rig.address).await.unwrap();
        let name = ServerName::try_from(name).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    pub(crate) async fn one_listener_speaks_all_of_them() {
        let rig = Rig::embedded().await;
        let app = App::start("app").await;
        rig.serve("r1", app.address).await;
        let (pem, trusted) = certificate(&["a.test", "*.b.test"]);
        std::fs::write(rig.certificates().join("a.pem"), pem).unwrap();
        let loaded = rig.edge.load_certificates().await.unwrap();
        assert_eq!(loaded[0].names, ["a.test", "*.b.test"]);

        let stream = shake(&rig, &trusted, "a.test", &[b"h2"]).await.unwrap();
        let mut sender = connect(stream).await;
        let request = Request::get("https://a.test/headers").body(Full::default()).unwrap();
        let (status, seen) = send(&mut sender, request).await;
        let seen = String::from_utf8_lossy(&seen).to_ascii_lowercase();
        assert_eq!(status, 200);
        assert!(seen.contains("x-forwarded-proto: https"), "{seen}");

        for (name, alpn) in [("a.test", &[b"http/1.1".as_slice()][..]), ("c.b.test", &[])] {
            let stream = shake(&rig, &trusted, name, alpn).await.unwrap();
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            let request = Request::get("/").header("host", name).body(Full::<Bytes>::default()).unwrap();
            assert_eq!(sender.send_request(request).await.unwrap().status(), 200, "{name}");
        }
        // Plain HTTP is served as before.
        assert_eq!(crate::support::get(rig.address, "/").await.unwrap().status, 200);
        // A name that no file is good for gets no certificate of another.
        assert!(shake(&rig, &trusted, "z.test", &[b"h2"]).await.is_err());
    }

    pub(crate) async fn certificates_are_swapped_and_a_bad_one_takes_no_other_down() {
        let rig = Rig::embedded().await;
        let app = App::start("app").await;
        rig.serve("r1", app.address).await;
        let ((first, trusts_first), (second, trusts_second)) =
            (certificate(&["a.test"]), certificate(&["a.test"]));
        let (other, trusts_other) = certificate(&["o.test"]);
        let folder = rig.certificates();
        std::fs::write(folder.join("a.pem"), first).unwrap();
        std::fs::write(folder.join("o.pem"), other).unwrap();
        rig.edge.load_certificates().await.unwrap();
        let mut open = connect(shake(&rig, &trusts_first, "a.test", &[b"h2"]).await.unwrap()).await;

        std::fs::write(folder.join("a.pem"), "-----BEGIN CERTIFICATE-----\nnonsense\n").unwrap();
        let loaded = rig.edge.load_certificates().await.unwrap();
        assert!(loaded[0].problem.is_some() && loaded[1].problem.is_none(), "{loaded:?}");
        assert!(shake(&rig, &trusts_other, "o.test", &[b"h2"]).await.is_ok());
        assert!(shake(&rig, &trusts_first, "a.test", &[b"h2"]).await.is_ok(), "what was good serves on");

        std::fs::write(folder.join("a.pem"), second).unwrap();
        rig.edge.load_certificates().await.unwrap();
        assert!(shake(&rig, &trusts_second, "a.test", &[b"h2"]).await.is_ok());
        assert!(shake(&rig, &trusts_first, "a.test", &[b"h2"]).await.is_err());
        // Connections that were open are kept.
        assert_eq!(get(&mut open, "/").await.0, 200);
    }

    pub(crate) async fn a_handshake_that_never_ends_holds_nobody_up() {
        let limits = vrooli_deploy_edge::Limits {
            request_header: Duration::from_millis(300),
            ..vrooli_deploy_edge::Limits::default()
        };
        let rig = Rig::with_limits(limits).await;
        let app = App::start("app").await;
        rig.serve("r1", app.address).await;
        let mut slow = Client::connect(rig.address).await.unwrap();
        slow.send([0x16, 3, 1, 2, 0, 1]).await.unwrap();
        assert_eq!(crate::support::get(rig.address, "/").await.unwrap().status, 200);
        assert!(slow.is_closed().await);
    }
}
