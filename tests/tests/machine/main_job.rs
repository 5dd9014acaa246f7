//! From a scenario's folder to a running app, and everything that follows in its life.

use serde_json::json;

use crate::bench::Bench;

#[test]
fn deploy_redeploy_roll_back_stop_start_destroy() {
    let bench = Bench::new();
    let app = bench.app("healthy");
    let app = app.to_str().unwrap();

    let first = bench.run(&["deploy", app]).expect(0);
    assert_eq!(first["kind"], "applied");
    assert_eq!(first["release"], "r1");
    let url = first["urls"][0].as_str().unwrap().to_owned();
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    let (status, body) = bench.get(&url, "/").unwrap();
    assert_eq!(status, 200, "{body}");

    // The same again: nothing to do, and the app is not touched.
    let pid = pid(&body);
    let again = bench.run(&["deploy", app]).expect(0);
    assert_eq!(again["kind"], "no_change");
    assert_eq!(self::pid(&bench.get(&url, "/").unwrap().1), pid);

    // A change: a new release at the same address.
    bench.set_version(std::path::Path::new(app), "two");
    let second = bench.run(&["deploy", app]).expect(0);
    assert_eq!((second["kind"].as_str(), second["release"].as_str()), (Some("applied"), Some("r2")));
    assert_eq!(second["urls"][0], json!(url));
    assert!(bench.get(&url, "/").unwrap().1.contains("two"));

    // Back, environment and all.
    let back = bench.run(&["rollback", app]).expect(0);
    assert_eq!(back["release"], "r1");
    assert!(!bench.get(&url, "/").unwrap().1.contains("two"));
    let releases = bench.run(&["releases", app]).expect(0);
    assert_eq!(releases[0]["number"], "r2");
    assert_eq!(releases[1]["current"], true);
    // There is nothing before the first.
    bench.run(&["rollback", app]).expect(1);

    // Off and on.
    bench.run(&["stop", app]).expect(0);
    assert!(bench.get(&url, "/").is_err());
    assert_eq!(bench.run(&["status", app]).expect(0)["health"], "stopped");
    bench.expect_no_process();
    let on = bench.run(&["start", app]).expect(0);
    assert_eq!(on["urls"][0], json!(url));
    assert_eq!(bench.get(&url, "/").unwrap().0, 200);
    assert_eq!(bench.run(&["status", app]).expect(0)["health"], "running");

    // Gone, and nothing left behind: it kept no data.
    let gone = bench.run(&["destroy", app]).expect(0);
    assert_eq!(gone["left_behind"].as_array().map_or(0, Vec::len), 0, "{gone}");
    assert!(bench.get(&url, "/").is_err());
    bench.expect_no_process();
    assert_eq!(bench.run(&["list"]).expect(0), json!([]));
    let apps = bench.state().join("apps");
    let left: Vec<_> = std::fs::read_dir(&apps).into_iter().flatten().flatten().map(|e| e.path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn data_survives_redeploys_and_destroy_keeps_it() {
    let bench = Bench::new();
    let app = bench.app("healthy");
    let path = app.to_str().unwrap();
    let url = bench.run(&["deploy", path]).expect(0)["urls"][0].as_str().unwrap().to_owned();
    post(&url, "/notes", "first");
    bench.set_version(&app, "two");
    bench.run(&["deploy", path]).expect(0);
    post(&url, "/notes", "second");
    let notes = bench.get(&url, "/notes").unwrap().1;
    assert!(notes.contains("first") && notes.contains("two second"), "{notes}");

    let report = bench.run(&["destroy", path]).expect(0);
    let kept = report["left_behind"].to_string();
    assert!(kept.contains("volume/data") && kept.contains("--data=healthy"), "{kept}");
    let url = bench.run(&["deploy", path]).expect(0)["urls"][0].as_str().unwrap().to_owned();
    assert!(bench.get(&url, "/notes").unwrap().1.contains("first"));

    // Another name is no consent.
    bench.run(&["destroy", path, "--data", "other"]).expect(7);
    assert_eq!(bench.get(&url, "/").unwrap().0, 200);
    let report = bench.run(&["destroy", path, "--data", "healthy"]).expect(0);
    assert_eq!(report["left_behind"].as_array().map_or(0, Vec::len), 0, "{report}");
}

#[test]
fn two_apps_side_by_side_and_two_environments_of_one() {
    let bench = Bench::new();
    let (one, two) = (bench.app("healthy"), bench.app("slow-start"));
    let (one, two) = (one.to_str().unwrap(), two.to_str().unwrap());
    let mut urls = vec![
        bench.run(&["deploy", one]).expect(0)["urls"][0].clone(),
        bench.run(&["deploy", two]).expect(0)["urls"][0].clone(),
        bench.run(&["deploy", one, "--env", "staging"]).expect(0)["urls"][0].clone(),
        bench.run(&["deploy", one, "--name", "other"]).expect(0)["urls"][0].clone(),
    ];
    for url in &urls {
        assert_eq!(bench.get(url.as_str().unwrap(), "/").unwrap().0, 200);
    }
    urls.sort_by_key(ToString::to_string);
    urls.dedup();
    assert_eq!(urls.len(), 4, "each has an address of its own");
    assert_eq!(bench.run(&["list"]).expect(0).as_array().unwrap().len(), 4);
    for words in [["destroy", one, "--env", "staging"], ["destroy", one, "--name", "other"]] {
        bench.run(&words).expect(0);
    }
    assert_eq!(
        bench.get(urls[0].as_str().unwrap(), "/").is_ok() as u8
            + bench.get(urls[1].as_str().unwrap(), "/").is_ok() as u8
            + bench.get(urls[2].as_str().unwrap(), "/").is_ok() as u8
            + bench.get(urls[3].as_str().unwrap(), "/").is_ok() as u8,
        2
    );
}

#[test]
fn the_folder_is_deleted_and_the_app_destroyed_by_name() {
    let bench = Bench::new();
    let app = bench.app("healthy");
    let url = bench.run(&["deploy", app.to_str().unwrap()]).expect(0)["urls"][0].as_str().unwrap().to_owned();
    std::fs::remove_dir_all(&app).unwrap();
    assert_eq!(bench.get(&url, "/").unwrap().0, 200, "an app that runs does not need its source");
    let refused = bench.run(&["deploy", "healthy"]).expect(1);
    assert!(refused["error"].as_str().unwrap().contains("gone"), "{refused}");
    bench.run(&["stop", "healthy"]).expect(0);
    bench.run(&["start", "healthy"]).expect(0);
    bench.run(&["destroy", "healthy", "--data", "healthy"]).expect(0);
    bench.expect_no_process();
}

#[test]
fn the_same_name_from_another_folder_is_refused() {
    let bench = Bench::new();
    let app = bench.app("healthy");
    bench.run(&["deploy", app.to_str().unwrap()]).expect(0);
    let other = bench.folder().join("fixtures/apps/elsewhere");
    crate::bench::copy(&app, &other);
    let other = other.to_str().unwrap();
    let refused = bench.run(&["deploy", other]).expect(1);
    assert!(refused["help"].as_str().unwrap().contains("--adopt"), "{refused}");
    bench.run(&["deploy", other, "--adopt"]).expect(0);
}

fn pid(body: &str) -> u64 {
    serde_json::from_str::<serde_json::Value>(body).unwrap()["pid"].as_u64().unwrap()
}

fn post(base: &str, path: &str, body: &str) {
    use std::io::{Read as _, Write as _};
    let address = base.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 2"), "{answer}");
}
