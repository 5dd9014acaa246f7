//! What real apps do, one case each: the old release keeps serving, and the message says
//! what a person needs.

use crate::bench::{Bench, Ran, replace};

/// Deploys a good release, makes it bad, deploys again: refused, and the old one serves on.
fn goes_bad(fixture: &str, make_bad: impl FnOnce(&std::path::Path)) -> (Bench, Ran, String) {
    let bench = Bench::new();
    let app = bench.app(fixture);
    let path = app.to_str().unwrap();
    let url = bench.run(&["deploy", path]).expect(0)["urls"][0].as_str().unwrap().to_owned();
    make_bad(&app);
    let ran = bench.run(&["deploy", path]);
    assert_eq!(bench.get(&url, "/").unwrap().0, 200, "the old release keeps serving");
    assert_eq!(bench.run(&["status", path]).expect(0)["release"], "r1");
    (bench, ran, url)
}

#[test]
fn a_first_deploy_that_is_never_well_leaves_nothing() {
    for (fixture, says) in [
        ("degraded", "degraded"),
        ("unhealthy", "unhealthy"),
        ("html-health", "HTML"),
        ("crash-at-start", "does not stay up"),
    ] {
        let bench = Bench::new();
        let app = bench.app(fixture);
        let ran = bench.run(&["deploy", app.to_str().unwrap()]);
        let value = ran.expect(3);
        assert_eq!(value["kind"], "rolled_back");
        let cause = value["cause"].to_string();
        assert!(cause.contains(says), "{fixture}: {cause}");
        bench.expect_no_process();
        assert!(value["left_behind"].as_array().is_none_or(Vec::is_empty), "{value}");
        let releases = bench.state().join("apps");
        let staged: Vec<_> = walk(&releases).into_iter().filter(|p| p.ends_with("release.json")).collect();
        assert!(staged.is_empty(), "{staged:?}");
    }
}

#[test]
fn degraded_is_taken_when_allowed() {
    let bench = Bench::new();
    let app = bench.app("degraded");
    bench.run(&["deploy", app.to_str().unwrap(), "--allow-degraded"]).expect(0);
}

#[test]
fn a_failing_build_shows_the_compilers_lines() {
    let bench = Bench::new();
    let app = bench.app("failing-build");
    let ran = bench.run(&["deploy", app.to_str().unwrap()]);
    let events = ran.events.clone();
    let value = ran.expect(3);
    assert!(value["cause"].to_string().contains("error"), "{value}");
    assert!(events.contains("step_output"), "{events}");
    bench.expect_no_process();
}

#[test]
fn a_new_release_that_is_not_well_changes_nothing() {
    let (_bench, ran, _) = goes_bad("healthy", |app| {
        replace(app, "run: [./server]", "run: [./server, --health, unhealthy]");
        replace(app, "      path: /health\n", "      path: /health\n      startup_grace: 3s\n");
    });
    let value = ran.expect(3);
    let cause = value["cause"].to_string();
    assert!(cause.contains("503"), "the probe's status: {cause}");
    assert!(cause.contains("unhealthy"), "and its body: {cause}");
}

#[test]
fn an_app_that_ignores_its_port_is_told_where_it_listens() {
    let bench = Bench::new();
    let app = bench.app("wrong-port");
    let value = bench.run(&["deploy", app.to_str().unwrap()]).expect(3);
    assert!(value["cause"].to_string().contains("instead"), "{value}");
}

#[test]
fn an_app_that_binds_all_interfaces_is_named() {
    let bench = Bench::new();
    let app = bench.app("binds-all");
    let ran = bench.run(&["deploy", app.to_str().unwrap()]);
    assert!(ran.events.contains("all interfaces"), "{}", ran.events);
    ran.expect(0);
}

#[test]
fn an_app_that_ignores_sigterm_is_ended_all_the_same() {
    let bench = Bench::new();
    let app = bench.app("ignores-term");
    bench.run(&["deploy", app.to_str().unwrap()]).expect(0);
    bench.run(&["destroy", app.to_str().unwrap(), "--data", "ignores-term"]).expect(0);
    bench.expect_no_process();
}

#[test]
fn a_shell_that_dies_while_its_child_serves_on() {
    let bench = Bench::new();
    let app = bench.app("orphan-child");
    let url = bench.run(&["deploy", app.to_str().unwrap()]).expect(0)["urls"][0].as_str().unwrap().to_owned();
    assert_eq!(bench.get(&url, "/").unwrap().0, 200);
    bench.run(&["stop", app.to_str().unwrap()]).expect(0);
    bench.expect_no_process();
}

#[test]
fn what_an_app_prints_of_its_secrets_is_not_in_our_messages() {
    let bench = Bench::new();
    let app = bench.app("secret-printer");
    replace(&app, "{ generate: { length: 40 } }", "{ environment: { name: PLANTED } }");
    let ran = bench
        .command(&["deploy", app.to_str().unwrap()])
        .env("PLANTED", "planted-canary-Zq81/+x")
        .output()
        .unwrap();
    let ran = crate::bench::ran(&ran);
    assert_eq!(ran.code, Some(3), "{}", ran.value);
    let forms = ["planted-canary-Zq81/+x", "planted-canary-Zq81%2F%2Bx", "cGxhbnRlZC1jYW5hcnktWnE4MS8reA"];
    for form in forms {
        assert!(!ran.value.to_string().contains(form), "{}", ran.value);
        assert!(!ran.events.contains(form), "{}", ran.events);
    }
    let logs = bench.state().join("apps");
    for file in walk(&bench.state()) {
        // What an app logs is the app's.
        if file.starts_with(&logs) && file.extension().is_some_and(|e| e == "log") {
            continue;
        }
        let bytes = std::fs::read(&file).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        for form in forms {
            assert!(!text.contains(form), "{}", file.display());
        }
    }
}

#[test]
fn two_deploys_at_once_one_works_and_the_other_says_who() {
    let bench = Bench::new();
    let app = bench.app("slow-start");
    let path = app.to_str().unwrap().to_owned();
    let first = bench
        .command(&["deploy", &path])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let end = std::time::Instant::now() + crate::bench::PATIENCE;
    let refused = loop {
        let second = bench.run(&["stop", &path]);
        if second.code == Some(5) {
            break second;
        }
        assert!(std::time::Instant::now() < end, "{second:?}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    let text = refused.value["error"].as_str().unwrap();
    assert!(text.contains("pid") && text.contains("since"), "{text}");
    crate::bench::ran(&first.wait_with_output().unwrap()).expect(0);
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files.extend(walk(&entry.path())),
            Ok(kind) if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
    files
}
