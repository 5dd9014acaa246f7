//! Clients and apps that mean no good, or are broken.

use std::time::Duration;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use vrooli_deploy_edge::{AccessLogOptions, Failure, Limits, Rule};

use crate::support::{App, Client, Rig, get, raw, raw_app, read_head, release, service, site, table, until};

pub(crate) async fn refuses_ambiguous_requests() {
    let rig = Rig::embedded().await;
    let app = App::start("app").await;
    rig.serve("r1", app.address).await;
    let smuggled = "GET /status/299 HTTP/1.1\r\nHost: a\r\n\r\n";
    let long = "x".repeat(100 << 10);
    let many = "X-A: 1\r\n".repeat(200);
    for (attempt, expected) in [
        // Two lengths, in both orders, and hidden in several ways.
        (
            format!(
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
            ),
            "400",
        ),
        (
            format!(
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{smuggled}"
            ),
            "400",
        ),
        (
            format!(
                "POST / HTTP/1.1\r\nHost: a\r\ntransfer-ENCODING: chunked\r\nX: 1\r\ncontent-LENGTH: 40\r\n\r\n0\r\n\r\n{smuggled}"
            ),
            "400",
        ),
        (
            format!(
                "POST / HTTP/1.1\nHost: a\nContent-Length: 4\nTransfer-Encoding: chunked\n\n0\r\n\r\n{smuggled}"
            ),
            "400",
        ),
        (
            format!(
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd{smuggled}"
            ),
            "400",
        ),
        (format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 5\r\n\r\nabcd{smuggled}"), "400"),
        (format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\nabcd{smuggled}"), "400"),
        (format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x4\r\n\r\nabcd{smuggled}"), "400"),
        (format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 4\r\n\r\nabcd{smuggled}"), "400"),
        (
            format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n{smuggled}"),
            "400",
        ),
        (
            format!("POST / HTTP/1.1\r\nHost: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
            "400",
        ),
        (format!("POST / HTTP/1.1\r\nHost: a\r\nX: 1\r\n Content-Length: 4\r\n\r\nabcd{smuggled}"), "400"),
        (
            format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{smuggled}"),
            "400",
        ),
        (
            format!(
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{smuggled}"
            ),
            "400",
        ),
        (
            format!(
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n{smuggled}"
            ),
            "501",
        ),
        (
            format!(
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
            ),
            "501",
        ),
        (
            format!("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
            "400",
        ),
        // Hosts.
        (format!("GET / HTTP/1.1\r\n\r\n{smuggled}"), "400"),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n{smuggled}"), "400"),
        (format!("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n{smuggled}"), "400"),
        (format!("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n{smuggled}"), "400"),
        (format!("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n{smuggled}"), "400"),
        // Not HTTP, or too much of it.
        (format!("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n{smuggled}"), "405"),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n{smuggled}"), "400"),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n{smuggled}"), "400"),
        (format!("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n{smuggled}"), "400"),
        (format!("GET / HTTP/1.1 \r\nHost: a\r\n\r\n{smuggled}"), "400"),
        (format!("GET / HTTP/9.9\r\nHost: a\r\n\r\n{smuggled}"), ""),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"), "431"),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), "431"),
    ] {
        let answer = raw(rig.address, attempt.as_bytes()).await;
        let shown = &attempt[..attempt.len().min(160)];
        let status = answer.split(' ').nth(1).unwrap_or("");
        if !expected.is_empty() {
            assert_eq!(status, expected, "{shown:?}\ngot {answer:?}");
        }
        assert!(!answer.contains(" 299 "), "smuggled by {shown:?}: {answer:?}");
        assert!(!answer.contains(" 200 "), "answered {shown:?}: {answer:?}");
    }
    assert_eq!(app.requests(), 0, "an ambiguous request reached the app");

    // Bodies that are wrong on the way end the connection, and what follows is no request.
    for attempt in [
        format!("POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{smuggled}"),
        format!(
            "POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n{smuggled}"
        ),
        format!(
            "POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{smuggled}"
        ),
    ] {
        let answer = raw(rig.address, attempt.as_bytes()).await;
        assert!(!answer.contains(" 299 "), "smuggled by {attempt:?}: {answer:?}");
        assert!(!answer.contains(" 200 "), "answered {attempt:?}: {answer:?}");
    }
    assert_eq!(get(rig.address, "/").await.unwrap().text(), "app");
}

pub(crate) async fn closes_slow_clients_and_serves_others() {
    let rig = Rig::with_limits(Limits {
        request_header: Duration::from_millis(300),
        keep_alive: Duration::from_secs(4),
        ..Limits::default()
    })
    .await;
    let app = App::start("app").await;
    rig.serve("r1", app.address).await;
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut client = Client::connect(rig.address).await.unwrap();
        client.send("GET / HTTP/1.1\r\nHost: a\r\nX: ").await.unwrap();
        slow.push(client);
    }
    let trickling = tokio::spawn(async move {
        // One more byte each time does not help them.
        while !slow.is_empty() {
            for index in (0..slow.len()).rev() {
                let mut byte = [0];
                let read = slow[index].stream.read(&mut byte);
                let read = tokio::time::timeout(Duration::from_millis(1), read).await;
                if read.is_ok() || slow[index].send("x").await.is_err() {
                    slow.swap_remove(index);
                }
            }
        }
    });
    let mut served = 0;
    while !trickling.is_finished() {
        assert_eq!(get(rig.address, "/").await.unwrap().status, 200);
        served += 1;
    }
    trickling.await.unwrap();
    assert!(served > 0);

    // An idle connection gets longer than a header does.
    let mut idle = Client::connect(rig.address).await.unwrap();
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!(idle.get("/").await.unwrap().status, 200);
    }
    assert!(idle.is_closed().await);
    let metrics = rig.edge.metrics().await.unwrap();
    assert!(metrics.expired >= 51, "{metrics:?}");
    until(async || rig.edge.metrics().await.unwrap().connections == 0).await;
}

pub(crate) async fn gives_up_on_slow_apps_and_uploads() {
    let rig = Rig::with_limits(Limits {
        response_header: Duration::from_secs(2),
        request_body_pause: Duration::from_secs(2),
        response_body_pause: Duration::from_secs(2),
        ..Limits::default()
    })
    .await;
    let stalls = raw_app(|mut stream, _| async move {
        let _ = read_head(&mut stream).await;
        // Until the edge gives up.
        let _ = stream.read_u8().await;
    })
    .await;
    rig.serve("r1", stalls).await;
    let reply = get(rig.address, "/").await.unwrap();
    assert_eq!(reply.status, 504);

    let app = App::start("app").await;
    rig.serve("r1", app.address).await;
    let mut client = Client::connect(rig.address).await.unwrap();
    client.send("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345").await.unwrap();
    let reply = client.reply(true).await.unwrap();
    assert_eq!(reply.status, 408);
    assert!(client.is_closed().await);

    // A slow upload that moves is left alone, however long it takes in all.
    let mut client = Client::connect(rig.address).await.unwrap();
    client.send("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n").await.unwrap();
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        client.send("x").await.unwrap();
    }
    assert_eq!(client.reply(true).await.unwrap().text(), "10");

    // And a client that takes nothing is let go.
    let mut client = Client::connect(rig.address).await.unwrap();
    client.send("GET /download/1000000000 HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    until(async || {
        let metrics = rig.edge.metrics().await.unwrap();
        let counted = metrics.release(&site(), &release("r1")).unwrap();
        counted.failures.get(&Failure::ClientSlow) == Some(&2) && counted.in_flight == 0
    })
    .await;
    drop(client);
    let metrics = rig.edge.metrics().await.unwrap();
    let counted = metrics.release(&site(), &release("r1")).unwrap();
    assert_eq!(counted.failures.get(&Failure::TimedOut), Some(&1));
}

pub(crate) async fn accepts_no_more_than_it_holds() {
    let rig = Rig::with_limits(Limits { connections_per_worker: 2, ..Limits::default() }).await;
    let app = App::start("app").await;
    rig.serve("r1", app.address).await;
    // Two workers with two each; the fifth waits and is served when one leaves.
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = Client::connect(rig.address).await.unwrap();
        assert_eq!(client.get("/").await.unwrap().status, 200);
        clients.push(client);
    }
    let fifth = tokio::spawn(get(rig.address, "/").into_future());
    assert_eq!(clients[0].get("/").await.unwrap().status, 200);
    assert_eq!(rig.edge.metrics().await.unwrap().connections, 4);
    assert!(!fifth.is_finished());
    clients.pop();
    assert_eq!(fifth.await.unwrap().unwrap().status, 200);
}

pub(crate) async fn one_client_does_not_take_all_connections() {
    let rig = Rig::with_limits(Limits { connections_per_client: Some(2), ..Limits::default() }).await;
    let app = App::start("app").await;
    rig.serve("r1", app.address).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut client = Client::connect(rig.address).await.unwrap();
        assert_eq!(client.get("/").await.unwrap().status, 200);
        held.push(client);
    }
    assert!(get(rig.address, "/").await.is_err(), "the third is closed");
    assert_eq!(rig.edge.metrics().await.unwrap().refused, 1);
    for client in &mut held {
        assert_eq!(client.get("/").await.unwrap().status, 200);
    }
    // Another client is another matter.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let stream = tokio::io::BufReader::new(socket.connect(rig.address).await.unwrap());
    assert_eq!(Client { stream }.get("/").await.unwrap().status, 200);
    held.pop();
    // That it has gone is seen a moment later.
    until(async || get(rig.address, "/").await.is_ok()).await;
}

/// Most open files that this process may have.
fn raise_open_files() -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

pub(crate) async fn ten_thousand_idle_connections_are_in_nobodys_way() {
    let room = raise_open_files().saturating_sub(1_000);
    let count = usize::try_from(room.min(10_000)).unwrap();
    if count < 10_000 {
        println!("this process may only hold {count} of 10,000 connections");
    }
    let rig = Rig::process().await;
    let app = App::start("app").await;
    rig.serve("r1", app.address).await;
    let mut idle = Vec::with_capacity(count);
    for number in 0..count {
        let mut client = Client::connect(rig.address).await.unwrap();
        // Some have asked before, most never say a word.
        if number % 100 == 0 {
            assert_eq!(client.get("/").await.unwrap().status, 200);
        }
        idle.push(client);
    }
    until(async || rig.edge.metrics().await.unwrap().connections == count as u64).await;
    for _ in 0..50 {
        assert_eq!(get(rig.address, "/").await.unwrap().text(), "app");
    }
    // They are still good.
    for client in idle.iter_mut().step_by(count / 50) {
        assert_eq!(client.get("/").await.unwrap().status, 200);
    }
    drop(idle);
    until(async || rig.edge.metrics().await.unwrap().connections == 0).await;
    rig.edge.stop(Duration::from_secs(5)).await.unwrap();
}

/// An app that reads one request and says these bytes; then it resets, or waits for the edge.
async fn saying(bytes: &'static [u8], resets: bool) -> std::net::SocketAddr {
    raw_app(move |mut stream, _| async move {
        if read_head(&mut stream).await.is_err() {
            return;
        }
        let _ = stream.write_all(bytes).await;
        if resets {
            #[allow(deprecated, reason = "a reset is what is wanted")]
            stream.set_linger(Some(Duration::ZERO)).unwrap();
        } else {
            let _ = stream.read_u8().await;
        }
    })
    .await
}

/// Its path, what it says, whether it resets then; what its client gets, and what the log says.
type Broken = (&'static str, &'static [u8], bool, Option<u16>, &'static str);

pub(crate) async fn broken_apps_harm_nobody_else_and_are_written_down() {
    let rig = Rig::with_options(|options| {
        let path = options.state_file.with_file_name("access.log");
        options.access_log = Some(AccessLogOptions { path, every: 1, max_bytes: 16 << 20 });
        options.limits.response_header = Duration::from_secs(1);
        options.limits.request_header = Duration::from_secs(1);
    })
    .await;
    let app = App::start("app").await;
    let flood: &'static [u8] =
        Box::leak(format!("HTTP/1.1 200 OK\r\n{}\r\n", "X-Flood: 1\r\n".repeat(9_000)).into_boxed_str())
            .as_bytes();
    let large: &'static [u8] =
        Box::leak(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(200 << 10)).into_boxed_str())
            .as_bytes();
    let broken: [Broken; 9] = [
        ("/resets", b"", true, Some(502), "broken"),
        ("/stalls", b"", false, Some(504), "timed_out"),
        ("/stalls-in-its-header", b"HTTP/1.1 200 OK\r\nX: ", false, Some(504), "timed_out"),
        ("/half", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", true, None, "truncated"),
        (
            "/half-chunked",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nha",
            true,
            None,
            "truncated",
        ),
        (
            "/bad-chunk",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            false,
            None,
            "truncated",
        ),
        (
            "/two-lengths",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            false,
            Some(502),
            "broken",
        ),
        ("/many-fields", flood, false, Some(502), "broken"),
        ("/large-field", large, false, Some(502), "broken"),
    ];
    let mut site = table(1, &[("r1", 100, &[app.address])]);
    for (path, says, resets, ..) in broken {
        let name = service(&path[1..]);
        site.rules.push(Rule::any_host(path, name.clone()));
        let address = saying(says, resets).await;
        site.releases.get_mut(&release("r1")).unwrap().backends.insert(name, vec![address]);
    }
    rig.edge.set_site(site).await.unwrap();

    let stop = Arc::new(AtomicBool::new(false));
    let (stopping, address) = (stop.clone(), rig.address);
    let others = tokio::spawn(async move {
        let mut served = 0;
        while !stopping.load(Ordering::Relaxed) {
            assert_eq!(get(address, "/").await.unwrap().text(), "app");
            served += 1;
        }
        served
    });
    let mut slow = Client::connect(rig.address).await.unwrap();
    slow.send("GET /never-said HTTP/1.1\r\nX: ").await.unwrap();
    let mut asked = tokio::task::JoinSet::new();
    for (path, _, _, status, _) in broken {
        for _ in 0..4 {
            asked.spawn(async move {
                let got = get(address, path).await.map(|reply| reply.status).ok();
                assert_eq!(got, status, "{path}");
            });
        }
    }
    while let Some(one) = asked.join_next().await {
        one.unwrap();
    }
    assert!(slow.is_closed().await);
    assert!(raw(rig.address, b"GET / HTTP/1.1\r\nHost : a\r\n\r\n").await.contains(" 400 "));
    stop.store(true, Ordering::Relaxed);
    assert!(others.await.unwrap() > 0, "nobody else was served");

    let log = rig.folder.path().join("access.log");
    let failures = |path: &str| {
        let text = std::fs::read_to_string(&log).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.filter(|line| line["path"] == path).map(|line| line["failure"].clone()).collect::<Vec<_>>()
    };
    for (path, .., failure) in broken {
        until(async || failures(path).len() == 4).await;
        assert!(failures(path).iter().all(|said| said == failure), "{path}: {:?}", failures(path));
    }
    // Of requests that nobody understood there is a line as well.
    for failure in ["client_slow", "malformed"] {
        let expected = format!("\"failure\":\"{failure}\"");
        let said = || std::fs::read_to_string(&log).unwrap().lines().any(|line| line.contains(&expected));
        until(async || said()).await;
    }
}

pub(crate) async fn an_app_that_says_too_much_answers_no_other_request() {
    let rig = Rig::embedded().await;
    const LIE: &[u8] =
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 299 Lie\r\nContent-Length: 4\r\n\r\nlie!";
    // In one piece with the answer, and a moment after it.
    for (first, rest) in [(LIE.len(), 0), (LIE.len() - 40, 40)] {
        let address = raw_app(move |mut stream, _| async move {
            while read_head(&mut stream).await.is_ok() {
                stream.write_all(&LIE[..first]).await.unwrap();
                tokio::task::yield_now().await;
                // The edge may have closed it.
                let _ = stream.write_all(&LIE[first..first + rest]).await;
            }
        })
        .await;
        rig.serve("r1", address).await;
        // All on one connection, and so on one worker with one pool.
        let mut client = Client::connect(rig.address).await.unwrap();
        for _ in 0..100 {
            let reply = client.get("/").await.unwrap();
            assert_ne!(reply.text(), "lie!", "an answer to nothing was given to somebody");
            assert!(reply.status == 200 || reply.status == 502, "{}", reply.status);
        }
    }
}
