//! One release after the other while clients of every kind ask: nobody's request fails, no POST
//! is lost or doubled, WebSockets are told goodbye and event streams end. `bench-redeploy` is the
//! same at length.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use vrooli_deploy_tests::load::{Connection, Kind, Load, LoadOptions, Notes};

use crate::bench::{Bench, PATIENCE, replace};

const LOAD: LoadOptions =
    LoadOptions { keep_alive: 4, one_shot: 2, others: 2, pause: Duration::from_millis(5) };

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn address(url: &str) -> SocketAddr {
    url.trim_start_matches("http://").trim_end_matches('/').parse().unwrap()
}

#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Redeploys with each of these strategies and ways to run the app, in turn, under load.
fn redeploys(turns: &[(&str, &str)]) {
    let (bench, runtime) = (Bench::new(), runtime());
    let app = bench.app("busy");
    let path = app.to_str().unwrap();
    let url = bench.run(&["deploy", path]).expect(0)["urls"][0].as_str().unwrap().to_owned();
    let load = runtime.block_on(async { Load::start(address(&url), LOAD) });
    let tally = load.tally().clone();
    let (mut strategy, mut run) = ("type: blue-green", "[./server, --quiet]");
    for (number, (next_strategy, next_run)) in turns.iter().enumerate() {
        // Everyone is at work, and everyone's connection is with the release that is to go.
        let seen = [Kind::WebSocket, Kind::Events].map(|kind| tally.said_goodbye(kind));
        let done = tally.all_done();
        until("long-lived connections are open", || {
            [Kind::WebSocket, Kind::Events].iter().zip(seen).all(|(k, s)| tally.done(*k) >= s + 2)
        });
        until("requests go on", || tally.all_done() > done + 50);
        let version = format!("{}", number + 2);
        replace(&app, &format!("APP_VERSION: \"{}\"", number + 1), &format!("APP_VERSION: \"{version}\""));
        if strategy != *next_strategy {
            replace(&app, strategy, next_strategy);
            strategy = next_strategy;
        }
        if run != *next_run {
            replace(&app, run, next_run);
            run = next_run;
        }
        bench.run(&["deploy", path]).expect(0);
        until("the new release answers", || tally.versions().contains(&version));
        until("all that was open has been told goodbye", || {
            [Kind::WebSocket, Kind::Events].iter().zip(seen).all(|(k, s)| tally.said_goodbye(*k) >= s + 2)
        });
    }
    for kind in Kind::ALL {
        until("every kind was at work", || tally.done(kind) > 0);
    }
    let tally = runtime.block_on(load.end());
    let failed: Vec<String> = tally.failed().iter().map(|f| format!("{:?}: {}", f.kind, f.why)).collect();
    assert_eq!(failed, Vec::<String>::new(), "of {}", tally.all_done());
    assert!(tally.echoes() > 0);
    let notes = tally.notes(&bench.get(&url, "/notes").unwrap().1);
    assert!(notes.answered > 0);
    assert_eq!(notes, Notes { answered: notes.answered, ..Notes::default() });
    bench.run(&["destroy", "busy", "--data", "busy"]).expect(0);
    bench.expect_no_process();
}

#[test]
fn each_strategy_fails_no_request_of_any_kind() {
    const WELL: &str = "[./server, --quiet]";
    redeploys(&[
        ("type: blue-green", WELL),
        ("type: rolling, batch: 1", WELL),
        ("type: rolling, surge: 0", WELL),
        ("type: canary, steps: [30], watch: 1s, min_requests: 3", WELL),
    ]);
}

#[test]
fn neither_does_an_app_that_is_deaf_or_slow_or_says_too_early_that_it_is_ready() {
    redeploys(&[
        ("type: blue-green", "trap '' TERM; exec ./server --quiet"),
        ("type: blue-green", "[./server, --quiet, --start-after, \"700\"]"),
        ("type: blue-green", "[./server, --quiet, --warm-after, \"1500\"]"),
        ("type: blue-green", "[./server, --quiet]"),
    ]);
}

#[test]
fn connections_that_were_open_before_a_hold_live_until_it_is_promoted() {
    let (bench, runtime) = (Bench::new(), runtime());
    let app = bench.app("busy");
    let path = app.to_str().unwrap();
    let url = bench.run(&["deploy", path]).expect(0)["urls"][0].as_str().unwrap().to_owned();
    let mut socket = runtime.block_on(async {
        let mut socket = Connection::open(address(&url)).await.unwrap();
        socket.upgrade("/socket").await.unwrap();
        socket
    });
    let mut echo = |text: &[u8]| {
        runtime.block_on(async {
            socket.send_frame(1, text).await.unwrap();
            tokio::time::timeout(PATIENCE, socket.frame()).await.unwrap().unwrap()
        })
    };
    assert_eq!(echo(b"before"), (1, b"before".to_vec()));
    replace(&app, "type: blue-green", "type: blue-green, hold: true");
    bench.set_version(&app, "2");
    bench.run(&["deploy", path]).expect(8);
    assert_eq!(echo(b"held"), (1, b"held".to_vec()));
    bench.run(&["promote", "busy"]).expect(0);
    let (opcode, payload) =
        runtime.block_on(async { tokio::time::timeout(PATIENCE, socket.frame()).await.unwrap().unwrap() });
    assert_eq!((opcode, payload), (8, 1012_u16.to_be_bytes().to_vec()));
    bench.run(&["destroy", "busy", "--data", "busy"]).expect(0);
    bench.expect_no_process();
}
