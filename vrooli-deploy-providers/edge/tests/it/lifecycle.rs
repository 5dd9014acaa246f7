//! Edges and supervisors that die, are replaced, and come back.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncReadExt as _;
use vrooli_deploy_edge::{Edge, EdgeError, EdgeLink, EdgeOptions, EdgeReader, ListenerId, Refusal};

use crate::cutover::{Load, websocket};
use crate::support::{App, Client, Rig, command, get, listen, listener_id, release, site, table, until};

const LONG: Duration = Duration::from_secs(30);

fn signal(edge: &EdgeLink, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(edge.status().pid).unwrap()).unwrap();
    assert_ne!(pid, rustix::process::getpid(), "an edge of its own process");
    kill_process(pid, signal).unwrap();
}

/// Kills an edge as hard as can be, and waits until it is gone.
pub(crate) async fn kill(edge: &EdgeLink) {
    signal(edge, Signal::KILL);
    assert_eq!(edge.closed().await.status.unwrap().code(), None);
    assert!(matches!(edge.ping().await, Err(EdgeError::Closed)));
}

pub(crate) async fn a_killed_edge_refuses_nobody() {
    let mut rig = Rig::process().await;
    let app = App::start("app").await;
    rig.serve("r1", app.address).await;
    let stop = Arc::new(AtomicBool::new(false));
    let refused = Arc::new(AtomicU64::new(0));
    let done = Arc::new(AtomicU64::new(0));
    let (stopping, refusing, doing) = (stop.clone(), refused.clone(), done.clone());
    let address = rig.address;
    let load = tokio::spawn(async move {
        while !stopping.load(Ordering::Relaxed) {
            match Client::connect(address).await {
                Err(_) => {
                    refusing.fetch_add(1, Ordering::Relaxed);
                }
                Ok(mut client) => {
                    // Open at a kill, a connection may be cut.
                    let served = client.get("/").await.is_ok_and(|reply| reply.status == 200);
                    doing.fetch_add(u64::from(served), Ordering::Relaxed);
                }
            }
        }
    });
    for _ in 0..3 {
        let target = done.load(Ordering::Relaxed) + 20;
        until(async || done.load(Ordering::Relaxed) >= target).await;
        kill(&rig.edge).await;
        // Nobody serves now, and these must be served all the same.
        let waiting: Vec<_> = (0..20).map(|_| tokio::spawn(get(address, "/").into_future())).collect();
        tokio::time::sleep(Duration::from_millis(30)).await;
        let listeners = rig.edge.listeners().unwrap();
        rig.edge = EdgeLink::spawn(rig.command(), listeners).await.unwrap();
        for one in waiting {
            let reply = one.await.unwrap().expect("connected while nobody served");
            assert_eq!(reply.text(), "app", "the routes came back from the file");
        }
    }
    stop.store(true, Ordering::Relaxed);
    load.await.unwrap();
    assert_eq!(refused.load(Ordering::Relaxed), 0);
    let end = rig.edge.stop(LONG).await.unwrap();
    assert!(end.status.unwrap().success());
    assert!(!rig.folder.path().join("edge.sock").exists());
}

pub(crate) async fn an_edge_without_its_supervisor_serves_on_and_is_taken_over() {
    let rig = Rig::process().await;
    let app = App::start("app").await;
    rig.serve("r1", app.address).await;
    let folder = rig.folder.path().to_owned();
    let (pid, address) = (rig.edge.status().pid, rig.address);
    // While one is attached another is turned away.
    let busy = EdgeLink::reattach(&folder).await;
    assert!(matches!(busy, Err(EdgeError::Busy)), "{busy:?}");
    assert!(EdgeReader::connect(&folder).await.unwrap().is_some());

    let mut client = Client::connect(address).await.unwrap();
    assert_eq!(client.get("/").await.unwrap().status, 200);
    drop(rig.edge);
    assert_eq!(client.get("/").await.unwrap().status, 200);
    assert_eq!(get(address, "/").await.unwrap().text(), "app");

    let edge = EdgeLink::reattach(&folder).await.unwrap().unwrap();
    assert_eq!(edge.status().pid, pid, "the same edge");
    assert_eq!((edge.status().listeners, edge.status().sites), (1, 1));
    let held = edge.listeners().unwrap();
    assert_eq!(held.len(), 1);
    assert_eq!(held[0].0, listener_id());
    let socket = std::net::TcpListener::from(held.into_iter().next().unwrap().1);
    assert_eq!(socket.local_addr().unwrap(), address);
    assert_eq!(edge.sites().await.unwrap()[0].table.site, site());

    // With what it was handed, the second supervisor can do all that the first could.
    kill_taken_over(&edge).await;
    let waiting = tokio::spawn(get(address, "/").into_future());
    let (edge, started) =
        EdgeLink::attach_or_spawn(&folder, || command(&folder), edge.listeners().unwrap()).await.unwrap();
    assert!(started);
    assert_eq!(waiting.await.unwrap().unwrap().text(), "app");
    drop(edge);
    let (edge, started) = EdgeLink::attach_or_spawn(&folder, || command(&folder), Vec::new()).await.unwrap();
    assert!(!started);
    edge.stop(LONG).await.unwrap();
    assert!(EdgeLink::reattach(&folder).await.unwrap().is_none());
}

/// As [`kill`], for an edge that is not our child.
async fn kill_taken_over(edge: &EdgeLink) {
    signal(edge, Signal::KILL);
    assert_eq!(edge.closed().await.status, None);
}

pub(crate) async fn is_replaced_without_a_lost_request() {
    let mut rig = Rig::process().await;
    let app = App::start("app").await;
    rig.serve("r1", app.address).await;
    let load = Load::start(rig.address);
    for _ in 0..3 {
        load.more(100).await;
        let before = rig.edge.status().pid;
        let old = rig.edge.clone();
        rig.edge = rig.edge.replace(rig.command(), LONG).await.unwrap();
        assert_ne!(rig.edge.status().pid, before);
        assert_eq!(rig.edge.status().sites, 1);
        load.more(50).await;
        assert!(old.closed().await.status.unwrap().success());
    }
    let sent = load.posts.clone();
    assert_eq!(load.end().await, Vec::<String>::new());
    assert_eq!(app.posts(), sent.load(Ordering::Relaxed));
    rig.edge.stop(LONG).await.unwrap();
}

/// An upgrade of the edge in the middle of a release: what the old process still carries goes
/// to the new release, and what cannot is told so.
pub(crate) async fn a_retired_edge_follows_and_drains() {
    let mut rig = Rig::process().await;
    let (old, new) = (App::start("old").await, App::start("new").await);
    rig.serve("r1", old.address).await;
    let mut socket = websocket(rig.address).await;
    let mut kept = Client::connect(rig.address).await.unwrap();
    assert_eq!(kept.get("/").await.unwrap().text(), "old");
    let retired = rig.edge.clone();
    let both: &[(&str, u32, &[SocketAddr])] = &[("r1", 0, &[old.address]), ("r2", 100, &[new.address])];
    assert!(matches!(retired.follow(table(1, both)).await, Err(EdgeError::Refused(Refusal::NotRetired))));
    rig.edge = rig.edge.replace(rig.command(), LONG).await.unwrap();

    rig.edge.set_site(table(1, both)).await.unwrap();
    let drained = retired.drain(&site(), &release("r1"), Duration::ZERO).await;
    assert!(matches!(drained, Err(EdgeError::Refused(Refusal::StillRouted { .. }))), "{drained:?}");
    retired.follow(table(1, both)).await.unwrap();
    assert_eq!(kept.get("/").await.unwrap().text(), "new");
    let report = retired.drain(&site(), &release("r1"), Duration::from_millis(50)).await.unwrap();
    assert_eq!(report.cut, 1, "{report:?}");
    let mut rest = Vec::new();
    socket.stream.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"\x88\x02\x03\xf4", "a close frame: 1012");
    assert!(retired.closed().await.status.unwrap().success());
    rig.edge.stop(LONG).await.unwrap();
}

pub(crate) async fn two_never_serve_the_same_state() {
    let rig = Rig::process().await;
    let app = App::start("app").await;
    rig.serve("r1", app.address).await;
    let second = tokio::spawn(EdgeLink::spawn(rig.command(), Vec::new()).into_future());
    // The first is asked a lot while the second waits.
    for _ in 0..50 {
        assert_eq!(get(rig.address, "/").await.unwrap().status, 200);
        rig.edge.set_site(table(1, &[("r1", 100, &[app.address])])).await.unwrap();
    }
    assert!(!second.is_finished());
    rig.edge.stop(LONG).await.unwrap();
    let second = second.await.unwrap().unwrap();
    assert_eq!(second.status().sites, 1);
    second.stop(LONG).await.unwrap();
}

pub(crate) async fn ends_politely_on_sigterm() {
    let rig = Rig::process().await;
    let app = App::start("app").await;
    rig.serve("r1", app.address).await;
    let held = tokio::spawn(get(rig.address, "/held").into_future());
    let mut idle = Client::connect(rig.address).await.unwrap();
    assert_eq!(idle.get("/").await.unwrap().status, 200);
    until(async || app.open() == 1).await;
    // What a terminal sends to everyone is not for us.
    signal(&rig.edge, Signal::INT);
    signal(&rig.edge, Signal::HUP);
    rig.edge.ping().await.unwrap();
    signal(&rig.edge, Signal::TERM);
    assert!(idle.is_closed().await);
    app.seen.release.notify_one();
    let reply = held.await.unwrap().unwrap();
    assert_eq!(reply.text(), "app", "what was under way is answered");
    assert!(rig.edge.closed().await.status.unwrap().success());
    // The supervisor still holds the socket: connections wait for the next edge.
    assert!(Client::connect(rig.address).await.is_ok());
}

pub(crate) async fn says_goodbye_to_what_never_ends() {
    let rig = Rig::process().await;
    let app = App::start("app").await;
    rig.serve("r1", app.address).await;
    let mut socket = crate::cutover::websocket(rig.address).await;
    let mut events = Client::connect(rig.address).await.unwrap();
    events.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert_eq!(events.head().await.unwrap().status, 200);
    until(async || app.open() == 2).await;
    let stopping = tokio::spawn({
        let edge = rig.edge.clone();
        async move { edge.stop(Duration::from_millis(200)).await }
    });
    let mut rest = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut socket.stream, &mut rest).await.unwrap();
    assert_eq!(rest, [0x88, 0x02, 0x03, 0xe9], "close 1001");
    assert_eq!(events.chunk().await.unwrap(), None, "events end cleanly");
    assert!(stopping.await.unwrap().unwrap().status.unwrap().success());
}

pub(crate) async fn ends_when_its_folder_is_deleted_but_not_when_it_is_moved() {
    let parent = tempfile::tempdir().unwrap();
    // Far longer than the address of a socket may be.
    let deep = parent.path().join("d".repeat(120)).join("e".repeat(120));
    std::fs::create_dir_all(&deep).unwrap();
    let folder = deep.join("state");
    std::fs::create_dir(&folder).unwrap();
    let (address, socket) = listen();
    let listeners = vec![(listener_id(), OwnedFd::from(socket))];
    let edge = EdgeLink::spawn(command(&folder), listeners).await.unwrap();
    let app = App::start("app").await;
    let serve = table(1, &[("r1", 100, &[app.address])]);
    edge.set_site(serve.clone()).await.unwrap();

    let moved = deep.join("elsewhere");
    std::fs::rename(&folder, &moved).unwrap();
    edge.set_site(serve).await.unwrap();
    assert!(moved.join("edge.json").exists());
    assert_eq!(get(address, "/").await.unwrap().status, 200);
    drop(edge);
    let edge = EdgeLink::reattach(&moved).await.unwrap().unwrap();

    std::fs::remove_dir_all(&moved).unwrap();
    edge.closed().await;
    assert!(EdgeLink::reattach(&moved).await.unwrap().is_none());
}

pub(crate) async fn one_bad_entry_takes_no_other_down() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("edge.json");
    let app = App::start("app").await;
    let (address, socket) = listen();
    let edge = EdgeLink::spawn(command(folder.path()), vec![(listener_id(), socket.into())]).await.unwrap();
    for name in ["aaa", "shop/default", "zzz"] {
        let mut one = table(1, &[("r1", 100, &[app.address])]);
        one.site = vrooli_deploy_edge::SiteId::new(name).unwrap();
        edge.set_site(one).await.unwrap();
    }
    kill(&edge).await;
    // Sites lie in the order of their names, after the header.
    let text = std::fs::read_to_string(&path).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 4);
    lines[1] = lines[1].replace("100", "900");
    lines[3].truncate(40);
    std::fs::write(&path, lines.join("\n")).unwrap();

    let edge = EdgeLink::spawn(command(folder.path()), edge.listeners().unwrap()).await.unwrap();
    let rejected: Vec<_> = edge.status().rejected.iter().map(|one| one.line).collect();
    assert_eq!(rejected, [2, 4]);
    assert_eq!(get(address, "/").await.unwrap().text(), "app");
    let kept = std::fs::read_to_string(folder.path().join("edge.json.rejected")).unwrap();
    assert_eq!(kept, format!("{}\n{}\n", lines[1], lines[3]));
    edge.stop(LONG).await.unwrap();
}

pub(crate) async fn a_full_disk_changes_nothing() {
    let rig = Rig::embedded().await;
    let (one, two) = (App::start("one").await, App::start("two").await);
    rig.serve("r1", one.address).await;
    // What the temporary file would be called is taken by a folder: writing fails, also for
    // root, to whom permissions say nothing.
    let taken = rig.folder.path().join(".edge.json.new");
    std::fs::create_dir(&taken).unwrap();
    let refused = rig.edge.set_site(table(2, &[("r2", 100, &[two.address])])).await;
    assert!(matches!(refused, Err(EdgeError::Refused(Refusal::State { .. }))), "{refused:?}");
    assert_eq!(get(rig.address, "/").await.unwrap().text(), "one");
    std::fs::remove_dir(&taken).unwrap();
    // The refused fence was not kept either.
    let previous = rig.edge.set_site(table(1, &[("r2", 100, &[two.address])])).await.unwrap();
    assert_eq!(previous.unwrap().fence, 1);
    assert_eq!(get(rig.address, "/").await.unwrap().text(), "two");
}

pub(crate) async fn readers_look_and_do_nothing_else() {
    let rig = Rig::process().await;
    let app = App::start("app").await;
    rig.serve("r1", app.address).await;
    for status in [200, 200, 404, 500] {
        let reply = get(rig.address, &format!("/status/{status}")).await.unwrap();
        assert_eq!(reply.status, status);
    }
    let reader = EdgeReader::connect(rig.folder.path()).await.unwrap().unwrap();
    let another = EdgeReader::connect(rig.folder.path()).await.unwrap().unwrap();
    assert_eq!(another.sites().await.unwrap(), rig.edge.sites().await.unwrap());
    let metrics = reader.metrics().await.unwrap();
    let counted = metrics.release(&site(), &release("r1")).unwrap();
    assert_eq!(counted.requests, 4);
    assert_eq!(counted.responses, [0, 2, 0, 1, 1]);
    assert_eq!(counted.latency.count, 4);
    let text = metrics.to_prometheus();
    assert!(
        text.contains("edge_responses_total{site=\"shop/default\",release=\"r1\",class=\"5xx\"} 1"),
        "{text}"
    );

    // By hand on the reading socket: everything that changes is refused.
    for call in [
        r#""listeners""#,
        r#"{"stop":{"grace_ms":0,"linger_ms":0}}"#,
        r#"{"remove_site":{"site":"shop/default","fence":9}}"#,
        r#"{"no_such":1}"#,
    ] {
        let answer = ask_by_hand(rig.folder.path(), call);
        assert!(answer.contains(r#""refused":{"code":"unknown""#), "{answer}");
    }
    // And no path of the traffic side leads to any of it.
    for path in ["/metrics", "/_edge", "/admin"] {
        assert_eq!(get(rig.address, path).await.unwrap().text(), "app");
    }
    let mode = std::fs::metadata(rig.folder.path().join("edge.sock")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o600);
    rig.edge.stop(LONG).await.unwrap();
}

fn ask_by_hand(folder: &std::path::Path, call: &str) -> String {
    use std::io::{BufRead as _, BufReader, Write as _};
    let mut stream = std::os::unix::net::UnixStream::connect(folder.join("edge-read.sock")).unwrap();
    writeln!(stream, r#"{{"protocol":"vrooli-edge","version":1}}"#).unwrap();
    writeln!(stream, r#"{{"id":1,"call":{call}}}"#).unwrap();
    let mut lines = BufReader::new(stream).lines();
    lines.next().unwrap().unwrap();
    lines.next().unwrap().unwrap()
}

pub(crate) async fn an_embedded_edge_ends_with_its_link() {
    let rig = Rig::embedded().await;
    let app = App::start("app").await;
    rig.serve("r1", app.address).await;
    let second = rig.edge.clone();
    drop(rig.edge);
    assert_eq!(get(rig.address, "/").await.unwrap().status, 200);
    let socket = rig.folder.path().join("edge.sock");
    assert!(socket.exists());
    drop(second);
    until(async || !socket.exists()).await;
    // Its state is free, and holds what it held.
    let mut options = EdgeOptions::new(rig.folder.path().join("edge.json"), rig.folder.path());
    options.workers = 1;
    let edge = Edge::in_process(options).await.unwrap();
    assert_eq!(edge.sites().await.unwrap().len(), 1);
    edge.stop(Duration::ZERO).await.unwrap();

    let nowhere = EdgeOptions::new("/nowhere/edge.json", "/nowhere");
    let error = Edge::in_process(nowhere).await.unwrap_err();
    assert!(matches!(error, EdgeError::Io { .. }), "{error:?}");
}

pub(crate) async fn refuses_what_is_no_listener() {
    let rig = Rig::embedded().await;
    let id = || ListenerId::new("other").unwrap();
    let file = std::fs::File::open(rig.folder.path()).unwrap();
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    let unix = std::os::unix::net::UnixListener::bind(rig.folder.path().join("x")).unwrap();
    for bad in [OwnedFd::from(file), datagrams.into(), unix.into()] {
        let refused = rig.edge.add_listener(id(), bad).await;
        assert!(matches!(refused, Err(EdgeError::Refused(Refusal::Listener { .. }))), "{refused:?}");
    }
    assert_eq!(rig.edge.listeners().unwrap().len(), 1);

    // A removed one is closed everywhere: its port can be had again.
    let (address, socket) = listen();
    rig.edge.add_listener(id(), socket.into()).await.unwrap();
    assert_eq!(get(address, "/").await.unwrap().status, 503);
    rig.edge.remove_listener(&id()).await.unwrap();
    assert!(Client::connect(address).await.is_err());
    let _again: SocketAddr = std::net::TcpListener::bind(address).unwrap().local_addr().unwrap();
}
