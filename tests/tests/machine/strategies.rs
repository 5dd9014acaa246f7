//! Strategies on this machine: no request is lost, and whoever is killed, a watch ends.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::bench::{Bench, PATIENCE, get, replace};

/// The app with two instances, deployed, with that strategy for what follows.
fn replicas(bench: &Bench, strategy: &str) -> (PathBuf, String) {
    let app = bench.app("replicas");
    let url = bench.run(&["deploy", app.to_str().unwrap()]).expect(0)["urls"][0].as_str().unwrap().to_owned();
    replace(&app, "env:\n", &format!("strategy: {strategy}\nenv:\n"));
    (app, url)
}

/// Asks all the time until it is told to stop. What was not answered with 200, and who answered.
struct Load {
    stop: Arc<AtomicBool>,
    asking: std::thread::JoinHandle<(u32, Vec<String>, BTreeSet<String>)>,
}

impl Load {
    fn on(url: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, url) = (Arc::clone(&stop), url.trim_end_matches('/').to_owned());
        let asking = std::thread::spawn(move || {
            let (mut count, mut bad, mut versions) = (0, Vec::new(), BTreeSet::new());
            while !stopped.load(Ordering::SeqCst) {
                let path = if count % 5 == 0 { "/slow/150" } else { "/" };
                match get(&url, path) {
                    Ok((200, body)) if path == "/" => drop(versions.insert(version(&body))),
                    Ok((200, _)) => {}
                    other => bad.push(format!("{count} {path}: {other:?}")),
                }
                count += 1;
            }
            (count, bad, versions)
        });
        Self { stop, asking }
    }

    fn end(self) -> BTreeSet<String> {
        self.stop.store(true, Ordering::SeqCst);
        let (count, bad, versions) = self.asking.join().unwrap();
        assert_eq!(bad, Vec::<String>::new(), "of {count} requests");
        assert!(count > 10, "only {count} requests");
        versions
    }
}

fn version(body: &str) -> String {
    let answer: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    answer["version"].as_str().unwrap_or_default().to_owned()
}

fn answered_by(bench: &Bench, url: &str) -> BTreeSet<String> {
    (0..40).map(|_| version(&bench.get(url, "/").unwrap().1)).collect()
}

fn only(version: &str) -> BTreeSet<String> {
    BTreeSet::from([version.to_owned()])
}

#[track_caller]
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn deploy_under_load(strategy: &str) {
    let bench = Bench::new();
    let (app, url) = replicas(&bench, strategy);
    bench.set_version(&app, "two");
    let load = Load::on(&url);
    bench.run(&["deploy", app.to_str().unwrap()]).expect(0);
    let seen = load.end();
    assert!(seen.contains("two"), "{seen:?}");
    assert_eq!(answered_by(&bench, &url), only("two"));
    bench.run(&["destroy", "replicas", "--data", "replicas"]).expect(0);
    bench.expect_no_process();
}

#[test]
fn rolling_with_room_loses_nothing() {
    deploy_under_load("{ type: rolling, batch: 1 }");
}

#[test]
fn rolling_in_place_loses_nothing() {
    deploy_under_load("{ type: rolling, surge: 0 }");
}

#[test]
fn a_canary_loses_nothing() {
    deploy_under_load("{ type: canary, steps: [30, 70], watch: 2s, min_requests: 3 }");
}

#[test]
fn a_hold_is_promoted_or_given_up() {
    let bench = Bench::new();
    let (app, url) = replicas(&bench, "{ type: canary, canary_percent: 50, watch: 1s, hold: true }");
    let path = app.to_str().unwrap();
    bench.set_version(&app, "two");
    let held = bench.run(&["deploy", path]).expect(8);
    assert_eq!(held["kind"], "on_hold");
    assert_eq!(held["waiting"]["weights"], json!({"r1": 50, "r2": 50}), "{held}");
    let status = bench.run(&["status", "replicas"]).expect(0);
    assert_eq!(status["health"], "on_hold");
    assert!(status["notes"].to_string().contains("r2 gets 50 % of the requests, r1 the others"), "{status}");
    let both = BTreeSet::from(["1".to_owned(), "two".to_owned()]);
    assert_eq!(answered_by(&bench, &url), both);
    assert_eq!(bench.run(&["resume", "replicas"]).expect(8)["kind"], "on_hold");
    assert_eq!(bench.run(&["promote", "replicas"]).expect(0)["release"], "r2");
    assert_eq!(answered_by(&bench, &url), only("two"));
    bench.run(&["promote", "replicas"]).expect(1);

    replace(&app, "APP_VERSION: \"two\"", "APP_VERSION: \"three\"");
    bench.run(&["deploy", path]).expect(8);
    assert_eq!(bench.run(&["abort", "replicas"]).expect(0)["release"], "r2");
    assert_eq!(answered_by(&bench, &url), only("two"));
    // A hold keeps nobody out: what comes ends it.
    bench.run(&["deploy", path]).expect(8);
    bench.run(&["rollback", "replicas"]).expect(0);
    assert_eq!(answered_by(&bench, &url), only("1"));
    bench.run(&["destroy", "replicas", "--data", "replicas"]).expect(0);
    bench.expect_no_process();
}

#[test]
fn what_was_promoted_asks_nobody_again() {
    let bench = Bench::new();
    // Nobody asks anything of it: each watch sees too little, and would hold.
    let canary =
        "{ type: canary, steps: [20, 60], watch: 1s, min_requests: 100000, inconclusive: hold, hold: true }";
    let (app, url) = replicas(&bench, canary);
    let path = app.to_str().unwrap();
    bench.set_version(&app, "two");
    bench.run(&["deploy", path]).expect(8);
    let promoted = bench.run(&["promote", "replicas"]).expect(0);
    assert_eq!((&promoted["kind"], &promoted["release"]), (&"applied".into(), &"r2".into()));
    assert_eq!(answered_by(&bench, &url), only("two"));
    assert_eq!(bench.run(&["status", "replicas"]).expect(0)["health"], "running");
    // What was promoted is what is wanted: there is nothing to hold again.
    assert_eq!(bench.run(&["deploy", path]).expect(0)["kind"], "no_change");
    bench.run(&["destroy", "replicas", "--data", "replicas"]).expect(0);
    bench.expect_no_process();
}

#[test]
fn a_watch_that_nobody_waits_for_is_ended_by_the_supervisor() {
    let bench = Bench::new();
    let (app, url) = replicas(&bench, "{ watch: 3s, min_requests: 1 }");
    let path = app.to_str().unwrap();
    bench.set_version(&app, "two");
    bench.run(&["deploy", path, "--no-wait"]).expect(8);
    eventually("the supervisor commits", || {
        let status = bench.run(&["status", "replicas"]).expect(0);
        status["release"] == "r2" && status["health"] == "running"
    });
    assert_eq!(answered_by(&bench, &url), only("two"));
    // Its instances answer 503 to whoever asks for their health after a while.
    replace(&app, "run: [./server]", "run: [./server, --then, \"1500:unhealthy\"]");
    replace(&app, "APP_VERSION: \"two\"", "APP_VERSION: \"three\"");
    replace(&app, "min_requests: 1", "min_requests: 100000");
    bench.run(&["deploy", path, "--no-wait"]).expect(8);
    eventually("the supervisor goes back", || {
        let status = bench.run(&["status", "replicas"]).expect(0);
        status["last_outcome"]["kind"] == "rolled_back" && status["health"] == "running"
    });
    assert_eq!(answered_by(&bench, &url), only("two"));
    // Whoever asks what came of it is not told that all is well.
    let told = bench.run(&["resume", "replicas"]).expect(3);
    assert_eq!((&told["kind"], &told["release"]), (&"rolled_back".into(), &"r2".into()), "{told}");
    let releases = bench.run(&["releases", "replicas"]).expect(0);
    assert_eq!((&releases[0]["number"], &releases[0]["status"]), (&"r3".into(), &"failed".into()));
    assert!(releases[0]["failure"].as_str().is_some_and(|why| !why.is_empty()), "{releases}");
    bench.run(&["destroy", "replicas", "--data", "replicas"]).expect(0);
    bench.expect_no_process();
}

/// Waits until somebody who holds the lease watches.
fn being_watched(bench: &Bench) {
    eventually("it watches", || {
        let status = bench.run(&["status", "replicas"]).expect(0);
        status["notes"].to_string().contains("being watched") && !status["lease"].is_null()
    });
}

#[test]
fn an_open_watch_keeps_no_hotfix_out() {
    let bench = Bench::new();
    let (app, url) = replicas(&bench, "{ watch: 10m }");
    let path = app.to_str().unwrap();
    bench.set_version(&app, "two");
    let left = bench.run(&["deploy", path, "--no-wait"]).expect(8);
    assert_eq!(left["waiting"]["weights"], json!({"r2": 100}), "only one serves: {left}");
    being_watched(&bench);
    let status = bench.run(&["status", "replicas"]).expect(0);
    assert_eq!(status["health"], "watched", "also while somebody watches: {status}");
    assert!(status["notes"].to_string().contains("r2 gets all requests, r1 is kept warm"), "{status}");
    replace(&app, "watch: 10m", "drain: 1s");
    replace(&app, "APP_VERSION: \"two\"", "APP_VERSION: \"three\"");
    // What was watched is given up: the hotfix follows the release that was committed last.
    assert_eq!(bench.run(&["deploy", path]).expect(0)["kind"], "applied");
    assert_eq!(answered_by(&bench, &url), only("three"));

    // Who decides about it is no less welcome than who deploys.
    for (version, decision, serves) in [("four", "promote", "four"), ("five", "abort", "four")] {
        if version == "four" {
            replace(&app, "drain: 1s", "watch: 10m");
        }
        let text = std::fs::read_to_string(app.join("deployment.yaml")).unwrap();
        let old = text.split("APP_VERSION: ").nth(1).unwrap().trim().to_owned();
        replace(&app, &format!("APP_VERSION: {old}"), &format!("APP_VERSION: \"{version}\""));
        bench.run(&["deploy", path, "--no-wait"]).expect(8);
        being_watched(&bench);
        bench.run(&[decision, "replicas"]).expect(0);
        assert_eq!(answered_by(&bench, &url), only(serves), "{decision}");
    }

    // The same with a command that waits for its watch.
    replace(&app, "APP_VERSION: \"five\"", "APP_VERSION: \"six\"");
    let waiting = bench
        .command(&["deploy", path])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    being_watched(&bench);
    bench.run(&["rollback", "replicas"]).expect(0);
    let left = crate::bench::ran(&waiting.wait_with_output().unwrap());
    assert_eq!(left.code, Some(130), "{}", left.value);
    assert_eq!(bench.run(&["status", "replicas"]).expect(0)["health"], "running");
    bench.run(&["destroy", "replicas", "--data", "replicas"]).expect(0);
    bench.expect_no_process();
}

/// Begins a deployment and kills the command once it watches.
fn killed_in_its_watch(bench: &Bench, app: &Path) {
    let said = app.with_file_name("deploy.said");
    let file = std::fs::File::create(&said).unwrap();
    let mut child = bench
        .command(&["deploy", app.to_str().unwrap()])
        .stdout(file.try_clone().unwrap())
        .stderr(file)
        .spawn()
        .unwrap();
    let watches = || {
        let status = bench.run(&["status", "replicas"]).expect(0);
        status["notes"].as_array().is_some_and(|notes| {
            notes.iter().any(|note| note.as_str().is_some_and(|note| note.contains("being watched")))
        })
    };
    let end = Instant::now() + PATIENCE;
    while !watches() {
        let ended = child.try_wait().unwrap();
        if ended.is_some() || Instant::now() > end {
            let said = std::fs::read_to_string(&said).unwrap_or_default();
            panic!("never watches; the command ended: {ended:?}, and said:\n{said}");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_watch_whose_command_is_killed_is_ended_by_the_supervisor() {
    let bench = Bench::new();
    let (app, url) = replicas(&bench, "{ watch: 20s, min_requests: 1 }");
    bench.set_version(&app, "two");
    killed_in_its_watch(&bench, &app);
    assert_eq!(answered_by(&bench, &url), only("two"));
    eventually("the supervisor commits", || {
        let status = bench.run(&["status", "replicas"]).expect(0);
        status["release"] == "r2" && status["health"] == "running"
    });
    assert_eq!(answered_by(&bench, &url), only("two"));
    bench.run(&["destroy", "replicas", "--data", "replicas"]).expect(0);
    bench.expect_no_process();
}

#[test]
fn with_command_and_supervisor_killed_the_edge_goes_back_by_itself() {
    let bench = Bench::new();
    let (app, url) = replicas(&bench, "{ watch: 10m }");
    bench.set_version(&app, "two");
    killed_in_its_watch(&bench, &app);
    assert_eq!(answered_by(&bench, &url), only("two"));
    let supervisors: Vec<Pid> = bench
        .processes()
        .iter()
        .filter(|line| line.split_whitespace().nth(3) == Some("supervisor"))
        .filter_map(|line| Pid::from_raw(line.split_whitespace().next()?.parse().ok()?))
        .collect();
    assert_eq!(supervisors.len(), 1);
    kill_process(supervisors[0], Signal::KILL).unwrap();
    eventually("the edge goes back", || answered_by(&bench, &url) == only("1"));
    // Nobody was there to write it down; the next command does.
    let report = bench.run(&["resume", "replicas"]);
    assert_eq!(report.code, Some(3), "{}\n{}", report.value, report.events);
    assert_eq!(answered_by(&bench, &url), only("1"));
    bench.run(&["destroy", "replicas", "--data", "replicas"]).expect(0);
    bench.expect_no_process();
}
