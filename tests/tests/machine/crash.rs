//! kill -9 at every journal append, before and after, then the same command again at once:
//! it converges, with nothing left behind.

use serde_json::Value;

use crate::bench::Bench;

/// Kills one command at every append, in a workspace of its own each time, and runs it again.
fn at_every_append(prepare: impl Fn(&Bench) -> Vec<String>, check: impl Fn(&Bench, &Value)) {
    let mut number = 1;
    loop {
        let mut finished = false;
        for when in ["before", "after"] {
            let bench = Bench::new();
            let words = prepare(&bench);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let kill = format!("append:{number}:{when}");
            let mut with_kill = words.clone();
            with_kill.extend(["--kill", &kill]);
            let killed = bench.run(&with_kill);
            if killed.code.is_some() {
                finished = true;
                continue;
            }
            let again = bench.run(&words);
            assert_eq!(again.code, Some(0), "{kill}: {}\n{}", again.value, again.events);
            check(&bench, &again.value);
            no_drafts(&bench, &kill);
        }
        if finished {
            break;
        }
        number += 1;
    }
    assert!(number > 3, "the command made only {number} appends: was anything killed at all?");
}

/// No half-written file is left.
fn no_drafts(bench: &Bench, kill: &str) {
    let mut folders = vec![bench.state()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            assert!(
                !name.ends_with(".tmp") && !name.ends_with(".draft"),
                "{kill}: {}",
                entry.path().display()
            );
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                folders.push(entry.path());
            }
        }
    }
}

#[test]
fn a_first_deploy() {
    at_every_append(
        |bench| vec!["deploy".to_owned(), bench.app("healthy").to_string_lossy().into_owned()],
        |bench, report| {
            let url = report["urls"][0].as_str().unwrap();
            assert_eq!(bench.get(url, "/").unwrap().0, 200);
            one_instance(bench);
            bench.run(&["destroy", "healthy", "--data", "healthy"]).expect(0);
            bench.expect_no_process();
        },
    );
}

#[test]
fn a_redeploy() {
    at_every_append(
        |bench| {
            let app = bench.app("healthy");
            let path = app.to_string_lossy().into_owned();
            bench.run(&["deploy", &path]).expect(0);
            bench.set_version(&app, "two");
            vec!["deploy".to_owned(), path]
        },
        |bench, report| {
            let url = report["urls"][0].as_str().unwrap();
            let (status, body) = bench.get(url, "/").unwrap();
            assert!(status == 200 && body.contains("two"), "{status} {body}");
            one_instance(bench);
        },
    );
}

#[test]
fn a_destroy() {
    at_every_append(
        |bench| {
            let path = bench.app("healthy").to_string_lossy().into_owned();
            bench.run(&["deploy", &path]).expect(0);
            ["destroy", &path, "--data", "healthy"].map(str::to_owned).to_vec()
        },
        |bench, _| {
            bench.expect_no_process();
            assert_eq!(bench.run(&["list"]).expect(0), serde_json::json!([]));
        },
    );
}

/// Exactly the units of the current release run.
fn one_instance(bench: &Bench) {
    let status = bench.run(&["status", "healthy"]).expect(0);
    let units = status["units"].as_array().unwrap();
    assert!(units.iter().all(|u| u["release"] == status["release"]), "{status}");
    assert_eq!(units.len(), 1, "{status}");
}

/// Kills one of our processes of the workspace, by its role.
fn kill(bench: &Bench, role: &str) -> usize {
    let mut killed = 0;
    for line in bench.processes() {
        let mut words = line.split_whitespace();
        let pid = words.next().and_then(|p| p.parse().ok()).and_then(rustix::process::Pid::from_raw);
        // `PID program __vrooli-deploy-child ROLE …`
        if words.nth(2) == Some(role)
            && let Some(pid) = pid
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            killed += 1;
        }
    }
    killed
}

#[test]
fn killed_supervisor_and_edge_and_the_same_command_at_once() {
    let bench = Bench::new();
    let app = bench.app("healthy");
    let path = app.to_str().unwrap();
    let url = bench.run(&["deploy", path]).expect(0)["urls"][0].as_str().unwrap().to_owned();
    let before = bench.get(&url, "/").unwrap().1;

    assert_eq!(kill(&bench, "supervisor"), 1);
    assert_eq!(bench.get(&url, "/").unwrap().1, before, "edge and app do not need the supervisor to serve");
    assert_eq!(bench.run(&["deploy", path]).expect(0)["kind"], "no_change");
    assert_eq!(bench.get(&url, "/").unwrap().1, before, "the app was adopted, not started again");

    assert_eq!(kill(&bench, "edge"), 1);
    // The supervisor holds the socket: a new connection waits for the next edge.
    assert_eq!(bench.get(&url, "/").unwrap().1, before);

    kill(&bench, "supervisor");
    kill(&bench, "edge");
    bench.run(&["deploy", path]).expect(0);
    assert_eq!(bench.get(&url, "/").unwrap().1, before, "both gone: the next command brings them back");

    assert_eq!(kill(&bench, "shim"), 1);
    bench.set_version(&app, "two");
    bench.run(&["deploy", path]).expect(0);
    assert!(bench.get(&url, "/").unwrap().1.contains("two"));
    one_instance(&bench);
    bench.run(&["destroy", path, "--data", "healthy"]).expect(0);
    bench.expect_no_process();
}

/// More with `VROOLI_DEPLOY_KILLS=200`; the moments follow from `VROOLI_DEPLOY_SEED`.
#[test]
fn at_random_moments() {
    let number =
        |name: &str, default: u64| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    let (kills, seed) = (number("VROOLI_DEPLOY_KILLS", 12), number("VROOLI_DEPLOY_SEED", 1));
    let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let bench = Bench::new();
    let app = bench.app("healthy");
    let path = app.to_str().unwrap();
    // The first build takes its time; from here on it is the engine that is hit.
    bench.run(&["deploy", path]).expect(0);
    let mut version = "1".to_owned();
    for round in 0..kills {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let next = format!("v{round}");
        crate::bench::replace(
            &app,
            &format!("APP_VERSION: \"{version}\""),
            &format!("APP_VERSION: \"{next}\""),
        );
        version = next;
        let mut child = bench
            .command(&["deploy", path])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(random % 1200));
        let _ = child.kill();
        let _ = child.wait();
        match random % 5 {
            0 => drop(kill(&bench, "supervisor")),
            1 => drop(kill(&bench, "edge")),
            _ => {}
        }
        let report = bench.run(&["deploy", path]);
        let report = report.expect(0);
        let url = report["urls"][0].as_str().unwrap();
        let body = bench.get(url, "/").unwrap().1;
        assert!(body.contains(&format!("\"{version}\"")), "seed {seed}, round {round}: {body}");
        one_instance(&bench);
        no_drafts(&bench, &format!("seed {seed}, round {round}"));
    }
    bench.run(&["destroy", path, "--data", "healthy"]).expect(0);
    bench.expect_no_process();
}
