//! From one release to the next.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use vrooli_deploy_edge::{EdgeError, EdgeLink, Failure, Refusal, Revert, SiteState};

use crate::support::{App, Client, Rig, fetch, get, release, site, table, until};

const LONG: Duration = Duration::from_secs(60);

/// Clients of all kinds, until they are told to stop. What fails is kept as text.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    pub(crate) done: Arc<AtomicU64>,
    pub(crate) posts: Arc<AtomicU64>,
    clients: JoinSet<Result<(), String>>,
}

impl Load {
    pub(crate) fn start(address: SocketAddr) -> Self {
        let mut load = Self {
            stop: Arc::default(),
            done: Arc::default(),
            posts: Arc::default(),
            clients: JoinSet::new(),
        };
        for _ in 0..6 {
            load.client(address, keep_alive);
            load.client(address, one_shot);
            load.client(address, slow_upload);
        }
        load
    }

    fn client<F>(
        &mut self,
        address: SocketAddr,
        run: impl FnOnce(SocketAddr, Arc<AtomicBool>, Arc<AtomicU64>, Arc<AtomicU64>) -> F,
    ) where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let client = run(address, self.stop.clone(), self.done.clone(), self.posts.clone());
        self.clients.spawn(client);
    }

    /// Waits for so many more requests.
    pub(crate) async fn more(&self, count: u64) {
        let target = self.done.load(Ordering::Relaxed) + count;
        until(async || self.done.load(Ordering::Relaxed) >= target || self.clients.is_empty()).await;
    }

    /// Ends the clients; says what failed.
    pub(crate) async fn end(mut self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut failed = Vec::new();
        while let Some(ended) = self.clients.join_next().await {
            failed.extend(ended.unwrap().err());
        }
        failed
    }
}

async fn keep_alive(
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    _: Arc<AtomicU64>,
) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("keep-alive: {error}");
    let mut client = Client::connect(address).await.map_err(failed)?;
    while !stop.load(Ordering::Relaxed) {
        let reply = client.get("/").await.map_err(failed)?;
        if reply.status != 200 {
            return Err(format!("keep-alive: {} {}", reply.status, reply.text()));
        }
        done.fetch_add(1, Ordering::Relaxed);
        if reply.header("connection") == Some("close") {
            client = Client::connect(address).await.map_err(failed)?;
        }
    }
    Ok(())
}

async fn one_shot(
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    _: Arc<AtomicU64>,
) -> Result<(), String> {
    while !stop.load(Ordering::Relaxed) {
        match get(address, "/download/20000").await {
            Ok(reply) if reply.status == 200 && reply.body.len() == 20_000 => {}
            Ok(reply) => return Err(format!("one shot: {} {}", reply.status, reply.text())),
            Err(error) => return Err(format!("one shot: {error}")),
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

async fn slow_upload(
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    posts: Arc<AtomicU64>,
) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("upload: {error}");
    while !stop.load(Ordering::Relaxed) {
        let mut client = Client::connect(address).await.map_err(failed)?;
        let head = "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\nConnection: close\r\n\r\n";
        client.send(head).await.map_err(failed)?;
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            client.send("12345").await.map_err(failed)?;
        }
        let reply = client.reply(true).await.map_err(failed)?;
        if reply.status != 200 || reply.text() != "50" {
            return Err(format!("upload: {} {}", reply.status, reply.text()));
        }
        posts.fetch_add(1, Ordering::Relaxed);
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

pub(crate) async fn fails_no_request_under_load() {
    let rig = Rig::embedded().await;
    let mut current = App::start("r0").await;
    let mut posts = 0;
    rig.serve("r0", current.address).await;
    let load = Load::start(rig.address);
    let names = ["r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8"];
    let mut old = "r0";
    for name in names {
        load.more(100).await;
        let next = App::start(name).await;
        let both: &[(&str, u32, &[SocketAddr])] =
            &[(old, 0, &[current.address]), (name, 100, &[next.address])];
        let previous = rig.edge.set_site(table(1, both)).await.unwrap().unwrap();
        assert_eq!(previous.weights().get(&release(old)), Some(&100));
        let report = rig.edge.drain(&site(), &release(old), LONG).await.unwrap();
        assert_eq!(report.cut, 0);
        assert_eq!(current.open(), 0, "drained, and yet something is under way");
        posts += current.posts();
        // Stopped as hard as can be, with the edge's idle connections to it.
        current = next;
        rig.serve(name, current.address).await;
        old = name;
    }
    load.more(100).await;
    let (done, sent) = (load.done.clone(), load.posts.clone());
    assert_eq!(load.end().await, Vec::<String>::new());
    posts += current.posts();
    assert_eq!(posts, sent.load(Ordering::Relaxed), "a POST was lost or doubled");
    assert!(done.load(Ordering::Relaxed) >= 900);
    // All ended whole. Only what was counted while it was open can be missing.
    let metrics = rig.edge.metrics().await.unwrap();
    assert_eq!(metrics.releases.len(), 1, "retired releases are not counted for ever");
    assert!(metrics.releases[0].failures.is_empty(), "{metrics:?}");
}

pub(crate) async fn websocket(address: SocketAddr) -> Client {
    let mut client = Client::connect(address).await.unwrap();
    client
        .send(
            "GET /echo HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n",
        )
        .await
        .unwrap();
    let head = client.head().await.unwrap();
    assert_eq!((head.status, head.header("upgrade")), (101, Some("websocket")));
    client
}

pub(crate) async fn keeps_a_websocket_until_the_drain_deadline() {
    let rig = Rig::embedded().await;
    let (old, new) = (App::start("old").await, App::start("new").await);
    rig.serve("r1", old.address).await;
    let mut socket = websocket(rig.address).await;
    let mut leaves_by_itself = websocket(rig.address).await;
    let mut bare = Client::connect(rig.address).await.unwrap();
    bare.send("GET /echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: custom\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(bare.head().await.unwrap().status, 101);
    let both: &[(&str, u32, &[SocketAddr])] = &[("r1", 0, &[old.address]), ("r2", 100, &[new.address])];
    rig.edge.set_site(table(1, both)).await.unwrap();
    assert_eq!(get(rig.address, "/").await.unwrap().text(), "new");

    // The echo goes on after the shift, with the old release. A frame of 5 bytes, and then
    // half of another one that the goodbye must not tear.
    for frame in [&b"\x82\x05hello"[..], b"\x82\x04ab"] {
        socket.stream.write_all(frame).await.unwrap();
        let mut back = vec![0; frame.len()];
        socket.stream.read_exact(&mut back).await.unwrap();
        assert_eq!(back, frame);
    }
    bare.stream.write_all(b"bytes").await.unwrap();
    let mut back = [0; 5];
    bare.stream.read_exact(&mut back).await.unwrap();
    let states = rig.edge.sites().await.unwrap();
    assert_eq!(states[0].in_flight.get(&release("r1")), Some(&3));
    leaves_by_itself.stream.shutdown().await.unwrap();
    assert!(leaves_by_itself.is_closed().await);

    let (edge, deadline) = (rig.edge.clone(), Duration::from_millis(200));
    let draining = tokio::spawn(async move { edge.drain(&site(), &release("r1"), deadline).await });
    // The rest of the half frame comes when the edge has begun to end this. On a machine that
    // is too busy for it the connection ends within the frame, but never with a goodbye there.
    assert!(bare.is_closed().await);
    let _ = socket.stream.write_all(b"cd").await;
    let mut rest = Vec::new();
    let _ = socket.stream.read_to_end(&mut rest).await;
    let report = draining.await.unwrap().unwrap();
    assert_eq!(report.cut, 2, "{report:?}");
    assert!(b"cd\x88\x02\x03\xf4".starts_with(&rest), "a goodbye inside a frame: {rest:?}");

    // At a boundary the goodbye comes.
    let mut socket = websocket(rig.address).await;
    socket.stream.write_all(b"\x82\x01x").await.unwrap();
    let mut back = [0; 3];
    socket.stream.read_exact(&mut back).await.unwrap();
    let back_again: &[(&str, u32, &[SocketAddr])] = &[("r1", 100, &[old.address]), ("r2", 0, &[new.address])];
    rig.edge.set_site(table(1, back_again)).await.unwrap();
    let report = rig.edge.drain(&site(), &release("r2"), Duration::ZERO).await.unwrap();
    assert_eq!((report.in_flight, report.cut), (1, 1));
    let mut rest = Vec::new();
    socket.stream.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, [0x88, 0x02, 0x03, 0xf4], "close 1012");
}

pub(crate) async fn counts_what_a_drain_waits_for_and_cuts() {
    let rig = Rig::embedded().await;
    let (old, new) = (App::start("old").await, App::start("new").await);
    rig.serve("r1", old.address).await;
    let held = |rig: &Rig| tokio::spawn(get(rig.address, "/held").into_future());
    let first = held(&rig);
    until(async || old.open() == 1).await;

    let still = rig.edge.drain(&site(), &release("r1"), LONG).await;
    assert!(matches!(still, Err(EdgeError::Refused(Refusal::StillRouted { .. }))), "{still:?}");
    let both: &[(&str, u32, &[SocketAddr])] = &[("r1", 0, &[old.address]), ("r2", 100, &[new.address])];
    rig.edge.set_site(table(1, both)).await.unwrap();
    let (edge, draining) = (rig.edge.clone(), release("r1"));
    let drain = tokio::spawn(async move { edge.drain(&site(), &draining, LONG).await });
    // Others are answered while a drain waits, also on the link.
    assert_eq!(get(rig.address, "/").await.unwrap().text(), "new");
    rig.edge.ping().await.unwrap();
    assert!(!drain.is_finished());
    old.seen.release.notify_one();
    let report = drain.await.unwrap().unwrap();
    assert_eq!((report.in_flight, report.cut), (1, 0));
    assert_eq!(first.await.unwrap().unwrap().text(), "old");

    // Now with what never ends: a request, events, a download that nobody takes.
    rig.serve("r1", old.address).await;
    let waiting = held(&rig);
    let mut events = Client::connect(rig.address).await.unwrap();
    events.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert_eq!(events.head().await.unwrap().status, 200);
    let mut untaken = Client::connect(rig.address).await.unwrap();
    untaken.send("GET /download/1000000000 HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert_eq!(untaken.head().await.unwrap().status, 200);
    until(async || in_flight(&rig.edge).await == 3).await;
    rig.edge.set_site(table(1, both)).await.unwrap();
    let report = rig.edge.drain(&site(), &release("r1"), Duration::from_millis(50)).await.unwrap();
    assert_eq!((report.in_flight, report.cut), (3, 3));
    let answer = waiting.await.unwrap().unwrap();
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("retired"), "{}", answer.text());
    assert_eq!(events.chunk().await.unwrap(), None, "events end cleanly");
    assert_eq!(in_flight(&rig.edge).await, 0);
    let metrics = rig.edge.metrics().await.unwrap();
    let counted = metrics.release(&site(), &release("r1")).unwrap();
    assert_eq!(counted.failures.get(&Failure::Cut), Some(&3));

    let unknown = rig.edge.drain(&site(), &release("r7"), LONG).await.unwrap();
    assert_eq!((unknown.in_flight, unknown.cut), (0, 0));
}

async fn in_flight(edge: &EdgeLink) -> u64 {
    let sites = edge.sites().await.unwrap();
    sites.iter().flat_map(|one| one.in_flight.values()).sum()
}

async fn state(edge: &EdgeLink) -> SiteState {
    edge.sites().await.unwrap().remove(0)
}

pub(crate) async fn goes_back_by_itself() {
    let mut rig = Rig::process().await;
    let (old, new) = (App::start("old").await, App::start("new").await);
    let both: &[(&str, u32, &[SocketAddr])] = &[("r1", 0, &[old.address]), ("r2", 100, &[new.address])];
    let mut shifted = table(1, both);
    let back = BTreeMap::from([(release("r1"), 100)]);
    let revert = |after| Some(Revert { after, weights: back.clone() });
    // A table without a way back confirms the one before it.
    shifted.revert = revert(Duration::from_millis(50));
    rig.edge.set_site(shifted.clone()).await.unwrap();
    shifted.revert = None;
    rig.edge.set_site(shifted.clone()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(get(rig.address, "/").await.unwrap().text(), "new");

    shifted.revert = revert(Duration::from_millis(50));
    rig.edge.set_site(shifted.clone()).await.unwrap();
    until(async || state(&rig.edge).await.reverted.is_some()).await;
    assert_eq!(get(rig.address, "/").await.unwrap().text(), "old");
    let held = state(&rig.edge).await;
    assert_eq!(held.table.weights(), BTreeMap::from([(release("r1"), 100), (release("r2"), 0)]));
    assert_eq!(held.table.revert, None);
    let from = BTreeMap::from([(release("r1"), 0), (release("r2"), 100)]);
    assert_eq!(held.reverted.unwrap().from, from);

    // Also when the edge is killed in between.
    shifted.revert = revert(Duration::from_secs(3));
    rig.edge.set_site(shifted).await.unwrap();
    assert_eq!(get(rig.address, "/").await.unwrap().text(), "new");
    crate::lifecycle::kill(&rig.edge).await;
    let listeners = rig.edge.listeners().unwrap();
    rig.edge = EdgeLink::spawn(rig.command(), listeners).await.unwrap();
    until(async || get(rig.address, "/").await.unwrap().text() == "old").await;
    assert!(state(&rig.edge).await.reverted.is_some());
    rig.edge.stop(Duration::ZERO).await.unwrap();
}

pub(crate) async fn who_was_there_before_answers_while_traffic_may_go_back() {
    let rig = Rig::embedded().await;
    let old = App::start("old").await;
    let (gone, socket) = crate::support::listen();
    drop(socket);
    let both: &[(&str, u32, &[SocketAddr])] = &[("r1", 0, &[old.address]), ("r2", 100, &[gone])];
    let mut shifted = table(1, both);
    shifted.revert = Some(Revert {
        after: Duration::from_secs(600),
        weights: BTreeMap::from([(release("r1"), 100), (release("r2"), 0)]),
    });
    rig.edge.set_site(shifted.clone()).await.unwrap();
    for _ in 0..3 {
        assert_eq!(get(rig.address, "/").await.unwrap().text(), "old");
    }
    // What cannot be repeated is not, and every one counts as failed.
    let post = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx";
    assert_eq!(fetch(rig.address, post).await.unwrap().status, 502);
    let metrics = rig.edge.metrics().await.unwrap();
    let counted = |name| metrics.release(&site(), &release(name)).unwrap().failures.clone();
    assert_eq!(counted("r2"), BTreeMap::from([(Failure::Unreachable, 4)]));
    assert_eq!(counted("r1"), BTreeMap::new());
    // Once it stays nobody answers for it.
    shifted.revert = None;
    rig.edge.set_site(shifted).await.unwrap();
    assert_eq!(get(rig.address, "/").await.unwrap().status, 502);
}

pub(crate) async fn refuses_an_older_lease() {
    let rig = Rig::embedded().await;
    let app = App::start("app").await;
    let with_fence = |fence| table(fence, &[("r1", 100, &[app.address])]);
    rig.edge.set_site(with_fence(5)).await.unwrap();
    rig.edge.set_site(with_fence(5)).await.unwrap();
    let older = rig.edge.set_site(with_fence(4)).await;
    assert!(matches!(older, Err(EdgeError::Refused(Refusal::Fenced { given: 4, held: 5, .. }))), "{older:?}");
    assert!(rig.edge.remove_site(&site(), 4).await.is_err());
    assert!(rig.edge.remove_site(&site(), 6).await.unwrap().is_some());
    assert!(rig.edge.set_site(with_fence(5)).await.is_err(), "back from the dead");
    assert_eq!(get(rig.address, "/").await.unwrap().status, 503);
    assert!(rig.edge.set_site(with_fence(7)).await.unwrap().is_none());
    assert_eq!(get(rig.address, "/").await.unwrap().status, 200);
}
