//! Clients and apps that mean no good, or are broken.

use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use vrooli_deploy_edge::{Failure, Limits};

use crate::support::{App, Client, Rig, get, raw, raw_app, read_head, release, site, until};

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
