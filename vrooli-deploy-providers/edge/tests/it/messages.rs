//! What passes through, and how.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use vrooli_deploy_edge::Failure;

use crate::support::{App, Client, Rig, fetch, get, raw, raw_app, read_head, release, site, table, until};

const MEGABYTE: usize = 1 << 20;

/// Most memory a process has held, in bytes.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kilobytes = line.unwrap().split_whitespace().nth(1).unwrap();
    kilobytes.parse::<u64>().unwrap() * 1024
}

pub(crate) async fn streams_both_ways_without_gathering() {
    let rig = Rig::process().await;
    let app = App::start("app").await;
    rig.serve("r1", app.address).await;
    let pid = rig.edge.status().pid;
    assert_eq!(get(rig.address, "/").await.unwrap().status, 200);
    let before = cfg!(target_os = "linux").then(|| peak(pid));

    let size = 96 * MEGABYTE;
    let mut client = Client::connect(rig.address).await.unwrap();
    let head = format!("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n");
    client.send(head).await.unwrap();
    let piece = vec![7; MEGABYTE];
    for _ in 0..96 {
        client.send(&piece).await.unwrap();
    }
    assert_eq!(client.reply(true).await.unwrap().text(), size.to_string());

    let path = format!("/download/{size}");
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await.unwrap();
    let head = client.head().await.unwrap();
    assert_eq!(head.header("content-length"), Some(size.to_string().as_str()));
    let mut left = size;
    let mut piece = vec![0; 64 << 10];
    while left > 0 {
        let count = client.stream.read(&mut piece).await.unwrap();
        assert!(count > 0, "{left} bytes are missing");
        left -= count;
    }
    // And in chunks, on the same connection.
    let chunked = "POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send(chunked).await.unwrap();
    for _ in 0..8 {
        client.send(format!("{MEGABYTE:x}\r\n")).await.unwrap();
        client.send(&vec![7; MEGABYTE]).await.unwrap();
        client.send("\r\n").await.unwrap();
    }
    client.send("0\r\n\r\n").await.unwrap();
    assert_eq!(client.reply(true).await.unwrap().text(), (8 * MEGABYTE).to_string());

    if let Some(before) = before {
        let grown = peak(pid).saturating_sub(before);
        assert!(grown < 16 * MEGABYTE as u64, "grew by {grown} bytes");
    }
    rig.edge.stop(Duration::from_secs(5)).await.unwrap();
}

pub(crate) async fn passes_events_as_they_come() {
    let rig = Rig::embedded().await;
    let app = App::start("app").await;
    rig.serve("r1", app.address).await;
    let mut client = Client::connect(rig.address).await.unwrap();
    client.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert_eq!(client.head().await.unwrap().status, 200);
    for number in 0..5 {
        // The next one is not even made before this one has arrived.
        app.seen.release.notify_one();
        let event = client.chunk().await.unwrap().unwrap();
        assert_eq!(event, format!("data: {number}\n\n").into_bytes());
    }
    drop(client);
    // The app hears that its client is gone.
    until(async || app.open() == 0).await;
}

pub(crate) async fn passes_odd_but_good_messages() {
    let rig = Rig::embedded().await;
    let app = App::start("app").await;
    rig.serve("r1", app.address).await;

    let mut client = Client::connect(rig.address).await.unwrap();
    client
        .send("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(client.reply(true).await.unwrap().status, 100);
    client.send("hello").await.unwrap();
    assert_eq!(client.reply(true).await.unwrap().text(), "5");

    client.send("HEAD /download/1000 HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let head = client.reply(false).await.unwrap();
    assert_eq!((head.status, head.header("content-length")), (200, Some("1000")));

    client
        .send(
            "POST /trailers HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTrailer: x-sum\r\n\
             Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 42\r\n\r\n",
        )
        .await
        .unwrap();
    let reply = client.reply(true).await.unwrap();
    assert_eq!(reply.text(), "abc");
    assert_eq!(reply.trailers, [("x-sum".to_owned(), "42".to_owned())]);

    // What asks for something may bring a body as well, of a length that nobody said.
    client
        .send(
            "GET /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
             5\r\nquery\r\n0\r\n\r\n",
        )
        .await
        .unwrap();
    assert_eq!(client.reply(true).await.unwrap().text(), "5");

    // Two at once, answered in order.
    let two = "GET /status/201 HTTP/1.1\r\nHost: a\r\n\r\nGET /status/202 HTTP/1.1\r\nHost: a\r\n\r\n";
    client.send(two).await.unwrap();
    assert_eq!(client.reply(true).await.unwrap().status, 201);
    assert_eq!(client.reply(true).await.unwrap().status, 202);

    // HTTP/1.0, without a host; and a full address in place of a path.
    let old = raw(rig.address, b"GET /headers HTTP/1.0\r\n\r\n").await;
    assert!(old.starts_with("HTTP/1.0 200") || old.starts_with("HTTP/1.1 200"), "{old}");
    assert!(!old.contains("transfer-encoding"), "{old}");
    assert!(old.contains(&format!("host: {}", app.address)), "{old}");
    let full = "GET http://a.test/headers HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    let reply = fetch(rig.address, full).await.unwrap();
    assert!(reply.text().contains("GET /headers\n"), "{}", reply.text());
    assert!(reply.text().contains("\nhost: a.test"), "{}", reply.text());

    // HTTP/2 over this connection would go past our routes: passed on without the wish.
    let h2c = "GET /headers HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings, close\r\n\
               Upgrade: h2c\r\nHTTP2-Settings: AAA\r\n\r\n";
    let reply = fetch(rig.address, h2c).await.unwrap();
    assert!(!reply.text().contains("upgrade"), "{}", reply.text());
}

/// An app that answers the first request of each connection, then takes one more and closes.
async fn forgetful(heads: Arc<AtomicU64>) -> std::net::SocketAddr {
    raw_app(move |mut stream, _| {
        let heads = heads.clone();
        async move {
            if read_head(&mut stream).await.is_err() {
                return;
            }
            heads.fetch_add(1, Ordering::Relaxed);
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            stream.write_all(answer).await.unwrap();
            if read_head(&mut stream).await.is_ok() {
                heads.fetch_add(1, Ordering::Relaxed);
            }
        }
    })
    .await
}

pub(crate) async fn repeats_only_what_is_safe() {
    let heads = Arc::new(AtomicU64::new(0));
    let address = forgetful(heads.clone()).await;
    let rig = Rig::embedded().await;
    rig.serve("r1", address).await;
    // All on one connection, and so on one worker with one pool.
    let mut client = Client::connect(rig.address).await.unwrap();
    assert_eq!(client.get("/").await.unwrap().text(), "ok");
    assert_eq!(client.get("/").await.unwrap().text(), "ok");
    assert_eq!(heads.load(Ordering::Relaxed), 3, "the second GET was sent twice");
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    let reply = client.reply(true).await.unwrap();
    assert_eq!(reply.status, 502);
    assert!(reply.text().contains("broken"), "{}", reply.text());
    assert_eq!(heads.load(Ordering::Relaxed), 4, "the POST was sent once");
}

pub(crate) async fn reports_an_answer_that_is_cut_short() {
    let rig = Rig::embedded().await;
    for (answer, chunked) in [
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"[..], false),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n", true),
    ] {
        let address = raw_app(move |mut stream, _| async move {
            if read_head(&mut stream).await.is_ok() {
                stream.write_all(answer).await.unwrap();
            }
        })
        .await;
        rig.serve("r1", address).await;
        let error = get(rig.address, "/").await.unwrap_err();
        assert!(
            matches!(error.kind(), std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset),
            "{error}, chunked: {chunked}"
        );
    }
    for nonsense in [
        &b"hello\r\n\r\n"[..],
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    ] {
        let address = raw_app(move |mut stream, _| async move {
            if read_head(&mut stream).await.is_ok() {
                stream.write_all(nonsense).await.unwrap();
            }
        })
        .await;
        rig.serve("r1", address).await;
        let text = String::from_utf8_lossy(nonsense);
        assert_eq!(get(rig.address, "/").await.unwrap().status, 502, "{text}");
    }
    // Floods of headers are not passed on either.
    let address = raw_app(|mut stream, _| async move {
        if read_head(&mut stream).await.is_ok() {
            let many = "X-Flood: 1\r\n".repeat(5_000);
            let answer = format!("HTTP/1.1 200 OK\r\n{many}Content-Length: 0\r\n\r\n");
            // The edge may close before it has all.
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    })
    .await;
    rig.serve("r1", address).await;
    assert_eq!(get(rig.address, "/").await.unwrap().status, 502);
    let metrics = rig.edge.metrics().await.unwrap();
    let counted = &metrics.release(&site(), &release("r1")).unwrap().failures;
    assert_eq!(counted.get(&Failure::Truncated), Some(&2), "{counted:?}");
    assert_eq!(counted.get(&Failure::Broken), Some(&5), "{counted:?}");
}

pub(crate) async fn keeps_connections_to_the_app() {
    let rig = Rig::embedded().await;
    let app = App::start("app").await;
    rig.edge.set_site(table(1, &[("r1", 100, &[app.address])])).await.unwrap();
    let mut client = Client::connect(rig.address).await.unwrap();
    for round in 0..50 {
        let request = match round % 3 {
            0 => "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            1 => "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
            _ => "POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        };
        client.send(request).await.unwrap();
        assert_eq!(client.reply(true).await.unwrap().status, 200);
    }
    assert_eq!(app.seen.connections.load(Ordering::Relaxed), 1);
}

pub(crate) async fn takes_no_larger_body_than_its_site_does() {
    let rig = Rig::embedded().await;
    let app = App::start("app").await;
    let mut site = table(1, &[("r1", 100, &[app.address])]);
    site.max_body_bytes = Some(10);
    rig.edge.set_site(site).await.unwrap();
    let with_length = |body: &str| {
        let length = body.len();
        format!(
            "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
    };
    let reply = fetch(rig.address, with_length("0123456789")).await.unwrap();
    assert_eq!((reply.status, reply.text().as_str()), (200, "10"));
    // Before the app hears of it, and before the client has sent it.
    let mut client = Client::connect(rig.address).await.unwrap();
    let head = "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n";
    client.send(head).await.unwrap();
    assert_eq!(client.reply(true).await.unwrap().status, 413);
    assert!(client.is_closed().await);
    assert_eq!(app.requests(), 1);
    // A body that does not say how long it is, as soon as it is too long.
    let mut client = Client::connect(rig.address).await.unwrap();
    let head = "POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send(head).await.unwrap();
    client.send("a\r\n0123456789\r\n").await.unwrap();
    until(async || app.open() == 1).await;
    client.send("1\r\nx\r\n").await.unwrap();
    let reply = client.reply(true).await.unwrap();
    assert_eq!(reply.status, 413, "{}", reply.text());
    assert!(client.is_closed().await);
    until(async || app.open() == 0).await;
    let metrics = rig.edge.metrics().await.unwrap();
    let counted = metrics.release(&crate::support::site(), &release("r1")).unwrap();
    assert_eq!(counted.failures.get(&Failure::TooLarge), Some(&1));
    assert_eq!((counted.in_flight, metrics.refused), (0, 1));
}

pub(crate) async fn an_upload_goes_on_after_its_answer() {
    let rig = Rig::embedded().await;
    let taken = Arc::new(AtomicU64::new(0));
    let counting = taken.clone();
    let address = raw_app(move |mut stream, _| {
        let counting = counting.clone();
        async move {
            if read_head(&mut stream).await.is_err() {
                return;
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
            let mut piece = vec![0; 64 << 10];
            while let Ok(count @ 1..) = stream.read(&mut piece).await {
                counting.fetch_add(count as u64, Ordering::Relaxed);
            }
        }
    })
    .await;
    rig.serve("r1", address).await;
    let mut client = Client::connect(rig.address).await.unwrap();
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 2 * MEGABYTE);
    client.send(head).await.unwrap();
    assert_eq!(client.reply(true).await.unwrap().text(), "ok");
    client.send(vec![7; 2 * MEGABYTE]).await.unwrap();
    until(async || taken.load(Ordering::Relaxed) >= 2 * MEGABYTE as u64).await;
    // And with that the connection is done with this request.
    assert_eq!(client.get("/").await.unwrap().text(), "ok");
}

fn unzipped(bytes: &[u8]) -> String {
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(bytes), &mut text).unwrap();
    text
}

pub(crate) async fn compresses_what_may_be() {
    let rig = Rig::embedded().await;
    let go_on = Arc::new(tokio::sync::Notify::new());
    let waiting = go_on.clone();
    let page = "<p>the same again and again</p>\n".repeat(2_000);
    let body = page.clone();
    let app = raw_app(move |mut stream, _| {
        let (waiting, body) = (waiting.clone(), body.clone());
        async move {
            while let Ok(head) = read_head(&mut stream).await {
                if head.starts_with("GET /slow") {
                    let head =
                        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";
                    stream.write_all(format!("{head}5\r\nfirst\r\n").as_bytes()).await.unwrap();
                    waiting.notified().await;
                    stream.write_all(b"6\r\nsecond\r\n0\r\n\r\n").await.unwrap();
                    continue;
                }
                let length = body.len();
                let head =
                    format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\n\r\n");
                stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    let mut site = table(1, &[("r1", 100, &[app])]);
    rig.edge.set_site(site.clone()).await.unwrap();
    let ask = async |path: &str, more: &str| {
        let accept = "Accept-Encoding: br, gzip\r\nConnection: close";
        fetch(rig.address, format!("GET {path} HTTP/1.1\r\nHost: a\r\n{accept}\r\n{more}\r\n")).await.unwrap()
    };
    let as_it_is = ask("/", "").await;
    assert_eq!((as_it_is.header("content-encoding"), as_it_is.header("vary")), (None, None));

    site.compress = true;
    rig.edge.set_site(site).await.unwrap();
    let small = ask("/", "").await;
    assert_eq!(small.header("content-encoding"), Some("gzip"));
    assert_eq!((small.header("vary"), small.header("content-length")), (Some("accept-encoding"), None));
    assert!(small.body.len() < page.len() / 20, "{}", small.body.len());
    assert_eq!(unzipped(&small.body), page);
    // Whose it is, nobody has to guess.
    let personal = ask("/", "Cookie: session=1\r\n").await;
    assert_eq!(
        (personal.header("content-encoding"), personal.header("vary")),
        (None, Some("accept-encoding"))
    );
    assert_eq!(personal.text(), page);
    let old = fetch(rig.address, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    assert_eq!(old.text(), page);

    // What is here is not held back for what is not.
    let mut client = Client::connect(rig.address).await.unwrap();
    client.send("GET /slow HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n").await.unwrap();
    assert_eq!(client.head().await.unwrap().header("content-encoding"), Some("gzip"));
    let mut sent = Vec::new();
    let came = |sent: &[u8]| {
        let (mut out, mut piece) = (Vec::new(), [0; 64]);
        let mut reader = flate2::read::GzDecoder::new(sent);
        while let Ok(count @ 1..) = std::io::Read::read(&mut reader, &mut piece) {
            out.extend_from_slice(&piece[..count]);
        }
        String::from_utf8(out).unwrap()
    };
    while came(&sent) != "first" {
        sent.extend(client.chunk().await.unwrap().expect("more of it"));
    }
    go_on.notify_one();
    while let Some(chunk) = client.chunk().await.unwrap() {
        sent.extend(chunk);
    }
    assert_eq!(unzipped(&sent), "firstsecond");
}
