//! Databases in containers: an app that needs one, from its first deployment to its end, and
//! killed on the way.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::bench::{Bench, copy, program};

const POSTGRES: &str = "vrooli-deploy-test/postgres:15";
const REDIS: &str = "vrooli-deploy-test/redis:7";
const VARIABLES: &[(&str, &str)] = &[
    ("VROOLI_DEPLOY_DATABASES", "docker"),
    ("VROOLI_DEPLOY_POSTGRES_IMAGE", POSTGRES),
    ("VROOLI_DEPLOY_REDIS_IMAGE", REDIS),
];

/// Is there an engine that has the images? Says so when there is not.
fn engine() -> bool {
    let seen = Command::new("docker").args(["image", "inspect", POSTGRES, REDIS]).output();
    let there = seen.is_ok_and(|seen| seen.status.success());
    if !there {
        eprintln!("skipped: no Docker engine answers that has the images of local/tests/images/build.sh");
    }
    there
}

/// Containers (`ps -a`) or volumes (`volume ls`) of a workspace.
fn marked(bench: &Bench, words: &[&str]) -> usize {
    let id = std::fs::read_to_string(bench.state().join("id")).unwrap_or_default();
    let label = format!("label=vrooli-deploy.workspace={}", id.trim());
    let answer = Command::new("docker").args(words).args(["-q", "--filter", &label]).output().unwrap();
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    String::from_utf8_lossy(&answer.stdout).lines().count()
}

#[track_caller]
fn left(bench: &Bench, containers: usize, volumes: usize) {
    assert_eq!((marked(bench, &["ps", "-a"]), marked(bench, &["volume", "ls"])), (containers, volumes));
}

#[test]
fn a_database_in_a_container_is_killed_at_any_moment_and_leaves_nothing() {
    if !engine() {
        return;
    }
    // From the first look to the last step; a first deployment takes some seconds.
    for delay in [100, 300, 600, 1000, 1500, 2200, 3000] {
        let bench = Bench::with(VARIABLES);
        let app = bench.app("postgres");
        let path = app.to_str().unwrap();
        let mut child =
            bench.command(&["deploy", path]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(delay));
        let _ = child.kill();
        child.wait().unwrap();
        let url = bench.run(&["deploy", path]).expect(0)["urls"][0].as_str().unwrap().to_owned();
        assert_eq!(bench.get(&url, "/").unwrap().0, 200, "killed after {delay} ms");
        left(&bench, 1, 1);
        bench.run(&["destroy", path, "--data", "postgres"]).expect(0);
        left(&bench, 0, 0);
        bench.expect_no_process();
    }
}

#[test]
fn a_cache_in_a_container_comes_and_goes_with_its_app() {
    if !engine() {
        return;
    }
    let bench = Bench::with(VARIABLES);
    let app = bench.app("redis");
    let path = app.to_str().unwrap();
    let url = bench.run(&["deploy", path]).expect(0)["urls"][0].as_str().unwrap().to_owned();
    assert_eq!(bench.get(&url, "/").unwrap().0, 200);
    left(&bench, 1, 1);
    bench.run(&["destroy", path]).expect(0);
    left(&bench, 0, 0);
    bench.expect_no_process();
}

#[test]
fn guest_book_keeps_its_guests_in_a_container() {
    if !engine() {
        return;
    }
    for tool in ["go", "node", "npm"] {
        if !program(tool) {
            eprintln!("skipped: the guest book needs `{tool}`, which is not on the PATH");
            return;
        }
    }
    let bench = Bench::with(VARIABLES);
    let repository = bench.folder().join("repository");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/vrooli"), &repository);
    let app = repository.join("scenarios/guest-book");
    let path = app.to_str().unwrap();
    let url = bench.run(&["deploy", path]).expect(0)["urls"][0].as_str().unwrap().to_owned();
    let guests = || {
        let (status, body) = bench.get(&url, "/api/guests").unwrap();
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<serde_json::Value>(&body).unwrap()
    };
    let before = guests();

    // What serves needs its database; without a word the next command brings it back.
    let id = std::fs::read_to_string(bench.state().join("id")).unwrap();
    let label = format!("label=vrooli-deploy.workspace={}", id.trim());
    let container = Command::new("docker").args(["ps", "-q", "--filter", &label]).output().unwrap();
    let container = String::from_utf8(container.stdout).unwrap();
    assert!(Command::new("docker").args(["kill", container.trim()]).output().unwrap().status.success());
    assert_eq!(bench.run(&["deploy", path]).expect(0)["kind"], "no_change");
    assert_eq!(guests(), before);

    // Nothing is seeded twice, and what is kept is found again.
    bench.run(&["deploy", path, "--force"]).expect(0);
    assert_eq!(guests(), before);
    bench.run(&["destroy", path]).expect(0);
    left(&bench, 1, 1);
    let running = Command::new("docker").args(["ps", "-q", "--filter", &label]).output().unwrap();
    assert!(running.stdout.is_empty(), "a server whose data is kept does not go on running");
    let url = bench.run(&["deploy", path]).expect(0)["urls"][0].as_str().unwrap().to_owned();
    let after: serde_json::Value = serde_json::from_str(&bench.get(&url, "/api/guests").unwrap().1).unwrap();
    assert_eq!(after, before);
    bench.run(&["destroy", path, "--data", "guest-book"]).expect(0);
    left(&bench, 0, 0);
    bench.expect_no_process();
}
