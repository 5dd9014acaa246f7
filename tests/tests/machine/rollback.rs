//! A rollback brings back every part of a release's bundle: one test a part. What cannot be
//! taken back is refused, and what a rollback needs is kept.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::bench::{Bench, ran, replace};

/// Deploys a fixture, changes it, deploys again, goes back. The URL, to look at r1 again.
fn there_and_back(bench: &Bench, app: &Path, change: impl FnOnce(&str)) -> String {
    let path = app.to_str().unwrap();
    let url = bench.run(&["deploy", path]).expect(0)["urls"][0].as_str().unwrap().to_owned();
    change(&url);
    assert_eq!(bench.run(&["deploy", path]).expect(0)["release"], "r2");
    url
}

fn back(bench: &Bench, app: &Path) {
    assert_eq!(bench.run(&["rollback", app.to_str().unwrap()]).expect(0)["release"], "r1");
}

fn version(bench: &Bench, url: &str) -> Value {
    serde_json::from_str::<Value>(&bench.get(url, "/").unwrap().1).unwrap()["version"].clone()
}

#[test]
fn the_artefact() {
    let bench = Bench::new();
    let app = bench.app("healthy");
    // Without the variable the version is a file of the artefact.
    replace(&app, "  APP_VERSION: \"1\"\n", "  OTHER: \"1\"\n");
    std::fs::write(app.join("version.txt"), "file one\n").unwrap();
    let url = there_and_back(&bench, &app, |url| {
        assert_eq!(version(&bench, url), "file one");
        std::fs::write(app.join("version.txt"), "file two\n").unwrap();
    });
    assert_eq!(version(&bench, &url), "file two");
    back(&bench, &app);
    assert_eq!(version(&bench, &url), "file one");
}

#[test]
fn the_environment() {
    let bench = Bench::new();
    let app = bench.app("healthy");
    let url = there_and_back(&bench, &app, |_| {
        replace(&app, "  APP_VERSION: \"1\"\n", "  APP_VERSION: \"two\"\n  ADDED: \"yes\"\n");
    });
    assert_eq!(bench.get(&url, "/env/ADDED").unwrap(), (200, "\"yes\"".to_owned()));
    back(&bench, &app);
    assert_eq!(bench.get(&url, "/env/APP_VERSION").unwrap().1, "\"1\"");
    assert_eq!(bench.get(&url, "/env/ADDED").unwrap().0, 404);
}

#[test]
fn versions_of_secrets() {
    let bench = Bench::new();
    let app = bench.app("secrets");
    let path = app.to_str().unwrap();
    std::fs::write(app.join("license.key"), "license one\n").unwrap();
    let deploy = |token: &str| {
        let mut command = bench.command(&["deploy", path]);
        ran(&command.env("FIXTURE_API_TOKEN", token).output().unwrap()).expect(0)
    };
    let url = deploy("token-one")["urls"][0].as_str().unwrap().to_owned();
    let made = bench.get(&url, "/env/SESSION_KEY").unwrap();
    std::fs::write(app.join("license.key"), "license two\n").unwrap();
    assert_eq!(deploy("token-two")["release"], "r2");
    assert_eq!(bench.get(&url, "/env/API_TOKEN").unwrap().1, "\"token-two\"");
    assert_eq!(bench.get(&url, "/env/LICENSE_KEY").unwrap().1, "\"license two\"");
    // Nobody has the old values any more, except the store.
    back(&bench, &app);
    assert_eq!(bench.get(&url, "/env/API_TOKEN").unwrap().1, "\"token-one\"");
    assert_eq!(bench.get(&url, "/env/LICENSE_KEY").unwrap().1, "\"license one\"");
    assert_eq!(bench.get(&url, "/env/SESSION_KEY").unwrap(), made, "what was made once stays");
}

#[test]
fn health_checks() {
    let bench = Bench::new();
    let app = bench.app("healthy");
    // The second release would never be well by the first one's check, nor the other way round.
    replace(&app, "      path: /health\n", "      path: /env/FIRST\n      startup_grace: 5s\n");
    replace(&app, "  APP_VERSION: \"1\"\n", "  APP_VERSION: \"1\"\n  FIRST: \"ok\"\n");
    let url = there_and_back(&bench, &app, |_| {
        replace(&app, "/env/FIRST", "/env/SECOND");
        replace(&app, "  FIRST: \"ok\"\n", "  SECOND: \"ok\"\n");
    });
    assert_eq!(bench.get(&url, "/env/FIRST").unwrap().0, 404);
    back(&bench, &app);
    assert_eq!(bench.get(&url, "/env/FIRST").unwrap().0, 200);
    assert_eq!(bench.get(&url, "/env/SECOND").unwrap().0, 404);
}

#[test]
fn routes() {
    let bench = Bench::new();
    let app = bench.app("healthy");
    let url = there_and_back(&bench, &app, |_| {
        replace(&app, "      - path: /\n", "      - path: /only\n");
    });
    assert_ne!(bench.get(&url, "/").unwrap().0, 200);
    assert_eq!(bench.get(&url, "/only").unwrap().0, 200);
    back(&bench, &app);
    assert_eq!(bench.get(&url, "/").unwrap().0, 200);
}

#[test]
fn replica_counts() {
    let bench = Bench::new();
    let app = bench.app("replicas");
    let running = || {
        let status = bench.run(&["status", "replicas"]).expect(0);
        let units = status["units"].as_array().unwrap().clone();
        units.iter().filter(|unit| unit["state"] == "running").count()
    };
    there_and_back(&bench, &app, |_| {
        assert_eq!(running(), 2);
        replace(&app, "{ min: 2, max: 2 }", "{ min: 3, max: 3 }");
    });
    assert_eq!(running(), 3);
    back(&bench, &app);
    assert_eq!(running(), 2);
}

/// The app with a database; none where no PostgreSQL is installed.
fn with_database(bench: &Bench) -> Option<(PathBuf, String)> {
    let app = bench.app("postgres");
    let first = bench.run(&["deploy", app.to_str().unwrap()]);
    let text = first.value.to_string();
    if text.contains("is installed here") || text.contains("not installed") {
        eprintln!("skipped: postgres: {text}");
        return None;
    }
    let url = first.expect(0)["urls"][0].as_str().unwrap().to_owned();
    Some((app, url))
}

/// Adds a SQL file to the app.
fn migration(app: &Path, name: &str, sql: &str) {
    std::fs::write(app.join("sql").join(name), sql).unwrap();
    let seed = "        - { file: sql/seed.sql, type: seed }\n";
    replace(app, seed, &format!("        - {{ file: sql/{name}, type: migration }}\n{seed}"));
}

#[test]
fn the_migration_level() {
    let bench = Bench::new();
    let Some((app, url)) = with_database(&bench) else { return };
    let path = app.to_str().unwrap();
    migration(&app, "002.sql", "ALTER TABLE things ADD COLUMN note TEXT;\n");
    replace(&app, "APP_VERSION: \"1\"", "APP_VERSION: \"two\"");
    assert_eq!(bench.run(&["deploy", path]).expect(0)["release"], "r2");

    // What only adds may stay: r1 lives with it, and that is said.
    let report = bench.run(&["rollback", path]).expect(0);
    assert_eq!(report["release"], "r1", "{report}");
    assert_eq!(version(&bench, &url), "1");
    let levels = |bench: &Bench| {
        let releases = bench.run(&["releases", path]).expect(0);
        let current = releases.as_array().unwrap().iter().find(|r| r["current"] == true).cloned();
        current.unwrap()["number"].clone()
    };
    assert_eq!(levels(&bench), "r1");
    // Forward again: what ran is not run again (it could not be).
    assert_eq!(bench.run(&["deploy", path]).expect(0)["kind"], "applied");
    assert_eq!(version(&bench, &url), "two");

    // What takes away is named before it runs, and the way back across it is shut.
    migration(&app, "003.sql", "ALTER TABLE things DROP COLUMN note;\n");
    replace(&app, "APP_VERSION: \"two\"", "APP_VERSION: \"three\"");
    let third = bench.run(&["deploy", path]).expect(0)["release"].clone();
    let refused = bench.run(&["rollback", path]).expect(7);
    assert!(refused.to_string().contains("003.sql"), "{refused}");
    assert_eq!(version(&bench, &url), "three", "a refusal changes nothing");
    assert_eq!(levels(&bench), third);
    bench.run(&["rollback", path, "--allow-irreversible"]).expect(0);
    assert_eq!(version(&bench, &url), "two");
    bench.run(&["destroy", path, "--data", "postgres"]).expect(0);
    bench.expect_no_process();
}

#[test]
fn what_a_rollback_needs_is_kept_however_little_is_kept() {
    let bench = Bench::new();
    let app = bench.app("healthy");
    let path = app.to_str().unwrap();
    replace(&app, "env:\n", "strategy: { keep: { count: 1, age: 1ms } }\nenv:\n");
    let mut url = String::new();
    for number in 1..=4 {
        if number > 1 {
            let (from, to) =
                (format!("APP_VERSION: \"{}\"", number - 1), format!("APP_VERSION: \"{number}\""));
            replace(&app, &from, &to);
        }
        url = bench.run(&["deploy", path]).expect(0)["urls"][0].as_str().unwrap().to_owned();
    }
    let releases = bench.run(&["releases", path]).expect(0);
    let kept: Vec<_> = releases
        .as_array()
        .unwrap()
        .iter()
        .filter(|r| r["status"] != "removed")
        .map(|r| &r["number"])
        .collect();
    assert_eq!(kept, [&json!("r4"), &json!("r3")], "what serves, and one earlier: {releases}");
    assert_eq!(bench.run(&["rollback", path]).expect(0)["release"], "r3");
    assert_eq!(version(&bench, &url), "3");
    // Of those that are gone it is said that they are.
    let gone = bench.run(&["rollback", path, "--to", "r1"]).expect(1);
    assert!(gone.to_string().contains("no longer kept"), "{gone}");
}

#[test]
fn a_destroy_that_was_cut_short_and_then_a_deploy() {
    let mut number = 1;
    loop {
        let bench = Bench::new();
        let app = bench.app("healthy");
        let path = app.to_str().unwrap();
        bench.run(&["deploy", path]).expect(0);
        let kill = format!("append:{number}:after");
        let destroyed = bench.run(&["destroy", path, "--kill", &kill]);
        let again = bench.run(&["deploy", path]);
        assert_eq!(again.code, Some(0), "{kill}: {}\n{}", again.value, again.events);
        let url = again.value["urls"][0].as_str().unwrap();
        assert_eq!(bench.get(url, "/").unwrap().0, 200, "{kill}");
        if destroyed.code.is_some() {
            break;
        }
        number += 1;
    }
    assert!(number > 4, "the destroy made only {number} appends");
}
