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
            assert!(!name.ends_with(".tmp") && !name.ends_with(".draft"), "{kill}: {}", entry.path().display());
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
