//! `status --watch`: what a person sees while two releases are there.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::script::Place;

const PATIENCE: Duration = Duration::from_secs(120);

/// A program that prints a JSON object a line, and ends with the test.
struct View(Child, Receiver<Value>);

impl View {
    fn of(place: &Place, words: &[&str]) -> Self {
        let mut child = place.program().args(words).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (send, lines_of) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if send.send(serde_json::from_str(&line).unwrap()).is_err() {
                    return;
                }
            }
        });
        Self(child, lines_of)
    }

    /// Waits for a line, doing something meanwhile.
    fn until(&self, what: &str, mut meanwhile: impl FnMut(), is_it: impl Fn(&Value) -> bool) {
        let end = Instant::now() + PATIENCE;
        let mut last = Value::Null;
        while Instant::now() < end {
            meanwhile();
            if let Ok(line) = self.1.recv_timeout(Duration::from_millis(50)) {
                if is_it(&line) {
                    return;
                }
                last = line;
            }
        }
        panic!("never: {what}; at last: {last:#}");
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn manifest(page: &str) -> String {
    format!(
        "schema_version: v0.1\ntarget: local\nprovider: local\napp:\n  name: seen\nservices:\n  web:\n    \
         run: [sh, -c, \"mkdir -p page && echo {page} > page/index.html && cd page && \
         exec python3 -m http.server $PORT --bind 127.0.0.1\"]\n    \
         ports:\n      http:\n        env_var: PORT\n    health:\n      path: /\n    routes:\n      - path: /\n"
    )
}

#[test]
fn both_releases_are_seen_with_what_they_do_and_what_becomes_of_them() {
    if std::process::Command::new("python3").arg("--version").output().is_err() {
        println!("skipped: python3 is not installed");
        return;
    }
    let place = Place::new();
    let file = place.dir().join("seen.yaml");
    let run = |words: &[&str], code: i32| -> Value {
        let output = place.program().arg("--json").args(words).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {text}");
        serde_json::from_str(text.lines().last().unwrap()).unwrap()
    };
    std::fs::write(&file, manifest("one")).unwrap();
    let result = run(&["deploy", "seen.yaml"], 0);
    let address = result["urls"][0].as_str().unwrap();
    let address = address.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let ask = || {
        let mut stream = TcpStream::connect(&address).unwrap();
        write!(stream, "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    };

    let view = View::of(&place, &["status", "seen", "--watch", "--json"]);
    view.until("one release serves", ask, |line| {
        line["release"] == "r1" && line["releases"][0]["requests"].as_u64() > Some(0)
    });
    std::fs::write(&file, manifest("two")).unwrap();
    let half = [
        "deploy",
        "seen.yaml",
        "--strategy",
        "canary",
        "--canary-percent",
        "50",
        "--watch",
        "30m",
        "--no-wait",
    ];
    run(&half, 8);
    view.until("both do something", ask, |line| {
        let does = |name: &str| {
            line["releases"].as_array().into_iter().flatten().any(|release| {
                release["release"] == name
                    && release["percent"] == 50
                    && release["requests"].as_u64() > Some(0)
                    && release["errors"] == 0
                    && release["p99_us"].as_u64() > Some(0)
            })
        };
        does("r1") && does("r2") && line["watch"]["release"] == "r2" && line["watch"]["old"] == "r1"
    });
    run(&["abort", "seen"], 0);
    view.until("one serves again", ask, |line| {
        line["watch"].is_null() && line["routing"].get("r2").is_none()
    });
    drop(view);
    run(&["destroy", "seen", "--yes"], 0);
}
