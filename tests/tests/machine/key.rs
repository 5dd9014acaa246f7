//! The key of the secret store, given by whoever deploys and lying in no file.

use std::process::Command;

use crate::bench::{Bench, Ran, ran};

/// Base64 of 32 bytes.
const KEY: &str = "c2VjcmV0LWtleS1vZi10aGlydHktdHdvLWJ5dGVzISE=";

fn with_key(bench: &Bench, words: &[&str]) -> Command {
    let mut command = bench.command(words);
    command.env("VROOLI_DEPLOY_KEY", KEY).env("FIXTURE_API_TOKEN", "token-of-a-test");
    command
}

fn run(bench: &Bench, words: &[&str]) -> Ran {
    ran(&with_key(bench, words).output().unwrap())
}

/// Ends processes of a role, as `kill -9` does.
fn kill(bench: &Bench, role: &str) {
    for line in bench.processes() {
        let mut words = line.split_whitespace();
        let pid = words.next().and_then(|p| p.parse().ok()).and_then(rustix::process::Pid::from_raw);
        if words.nth(2) == Some(role)
            && let Some(pid) = pid
        {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
    }
}

#[track_caller]
fn nobody_shows_it(bench: &Bench) {
    let lines = bench.processes();
    assert!(!lines.is_empty());
    for line in lines {
        let pid = line.split(' ').next().unwrap();
        for file in ["environ", "cmdline"] {
            let bytes = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            assert!(!String::from_utf8_lossy(&bytes).contains(KEY), "{file} of {line}");
        }
    }
    let mut folders = vec![bench.folder().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => folders.push(entry.path()),
                kind if kind.is_file() => {
                    let bytes = std::fs::read(entry.path()).unwrap_or_default();
                    assert!(!String::from_utf8_lossy(&bytes).contains(KEY), "{}", entry.path().display());
                }
                _ => {}
            }
        }
    }
}

#[test]
fn no_process_that_stays_shows_it_and_a_lost_one_is_asked_for() {
    let bench = Bench::new();
    let app = bench.app("secrets");
    let path = app.to_str().unwrap();
    let url = run(&bench, &["deploy", path]).expect(0)["urls"][0].as_str().unwrap().to_owned();
    assert_eq!(bench.get(&url, "/").unwrap().0, 200);
    nobody_shows_it(&bench);

    // The supervisor knows it: what ends is started again with its secrets.
    kill(&bench, "shim");
    serves(&bench, &url);

    // A killed one took it along: its successor has it from the next command.
    kill(&bench, "supervisor");
    kill(&bench, "shim");
    run(&bench, &["resume", path]).expect(0);
    serves(&bench, &url);
    nobody_shows_it(&bench);

    // Nothing is changed by somebody who does not have it, and it is said what is missing.
    let refused =
        ran(&bench.command(&["deploy", path]).env("FIXTURE_API_TOKEN", "token-of-a-test").output().unwrap());
    let text = refused.expect(1).to_string();
    assert!(text.contains("VROOLI_DEPLOY_KEY"), "{text}");
    serves(&bench, &url);

    run(&bench, &["destroy", path, "--data", "secrets"]).expect(0);
    bench.expect_no_process();
}

fn serves(bench: &Bench, url: &str) {
    let until = std::time::Instant::now() + crate::bench::PATIENCE;
    while !bench.get(url, "/").is_ok_and(|(status, _)| status == 200) {
        assert!(std::time::Instant::now() < until, "nobody answers at {url}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
