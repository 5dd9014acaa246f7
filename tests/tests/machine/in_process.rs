//! Apps inside the program that embeds us: nothing is started again as something else, and
//! nothing outlives the program, however it ends.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};

use serde_json::{Value, json};

use crate::bench::Bench;

/// A program that runs apps in itself.
struct Program {
    process: Child,
    said: BufReader<ChildStdout>,
}

impl Program {
    fn start(bench: &Bench, words: &[&str]) -> (Self, Value) {
        let mut words = words.to_vec();
        words.push("--in-process");
        let mut process = bench
            .command(&words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let said = BufReader::new(process.stdout.take().unwrap());
        let mut program = Self { process, said };
        let answer = program.hear();
        (program, answer)
    }

    fn run(&mut self, line: &str) -> Value {
        writeln!(self.process.stdin.as_mut().unwrap(), "{line}").unwrap();
        self.hear()
    }

    fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?}"))
    }

    /// Lets it end by itself.
    fn end(mut self) {
        drop(self.process.stdin.take());
        assert!(self.process.wait().unwrap().code().is_some());
    }

    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn url(report: &Value) -> String {
    report["urls"][0].as_str().unwrap_or_else(|| panic!("{report}")).to_owned()
}

fn pid(body: &str) -> u64 {
    serde_json::from_str::<Value>(body).unwrap()["pid"].as_u64().unwrap()
}

/// The parent of a process, and its process group.
fn parent_and_group(pid: u64) -> (u32, u64) {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let mut fields = stat.rsplit_once(')').unwrap().1.split_whitespace().skip(1);
    (fields.next().unwrap().parse().unwrap(), fields.next().unwrap().parse().unwrap())
}

fn no_hidden_subcommand(bench: &Bench) {
    let hidden: Vec<String> =
        bench.processes().into_iter().filter(|line| line.contains("__vrooli-deploy-child")).collect();
    assert!(hidden.is_empty(), "{hidden:?}");
}

#[test]
fn the_whole_life_of_an_app() {
    let bench = Bench::new();
    let app = bench.app("healthy");
    let path = app.to_str().unwrap();
    let (mut program, report) = Program::start(&bench, &["deploy", path]);
    assert_eq!(report["kind"], "applied", "{report}");
    let url = url(&report);
    let body = bench.get(&url, "/").unwrap().1;
    let (parent, group) = parent_and_group(pid(&body));
    assert_eq!(parent, program.process.id(), "an app is a child of the program");
    assert_eq!(group, pid(&body), "and leads a group of its own");
    no_hidden_subcommand(&bench);
    assert_eq!(program.run(&format!("deploy {path}"))["kind"], "no_change");
    assert_eq!(pid(&bench.get(&url, "/").unwrap().1), pid(&body));

    // A new release while somebody asks all the time: nobody is refused.
    bench.set_version(&app, "two");
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (bench, url, done) = (&bench, &url, &done);
        let asking = scope.spawn(move || {
            let mut answers = 0;
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                let (status, body) = bench.get(url, "/").expect("nobody is refused");
                assert_eq!(status, 200, "{body}");
                answers += 1;
            }
            answers
        });
        let second = program.run(&format!("deploy {path}"));
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        assert_eq!((&second["kind"], &second["release"]), (&json!("applied"), &json!("r2")), "{second}");
        assert!(asking.join().unwrap() > 0);
    });
    assert!(bench.get(&url, "/").unwrap().1.contains("two"));
    assert_eq!(program.run(&format!("rollback {path}"))["release"], "r1");
    assert!(!bench.get(&url, "/").unwrap().1.contains("two"));

    // Others may look, and see the same.
    let status = bench.run(&["status", "healthy"]).expect(0);
    assert_eq!((&status["health"], &status["release"]), (&json!("running"), &json!("r1")), "{status}");

    program.run(&format!("stop {path}"));
    assert!(bench.get(&url, "/").is_err());
    assert_eq!(program.run(&format!("status {path}"))["health"], "stopped");
    assert_eq!(program.run(&format!("start {path}"))["urls"][0], json!(url));
    assert_eq!(bench.get(&url, "/").unwrap().0, 200);

    let gone = program.run(&format!("destroy {path}"));
    assert_eq!(gone["left_behind"].as_array().map_or(0, Vec::len), 0, "{gone}");
    program.end();
    bench.expect_no_process();
}

#[test]
fn the_end_of_the_program_is_the_end_of_the_app_and_the_next_one_brings_it_back() {
    let bench = Bench::new();
    let app = bench.app("healthy");
    let path = app.to_str().unwrap();
    let (program, report) = Program::start(&bench, &["deploy", path]);
    let url = url(&report);
    let first = pid(&bench.get(&url, "/").unwrap().1);
    program.end();
    assert!(!Path::new(&format!("/proc/{first}")).exists(), "it was waited for");
    assert!(bench.processes().is_empty(), "{:?}", bench.processes());
    assert!(bench.get(&url, "/").is_err());

    let (program, report) = Program::start(&bench, &["resume", path]);
    assert_eq!(report["urls"][0], json!(url), "{report}");
    serves(&bench, &url);
    program.end();
    bench.expect_no_process();
}

/// Waits until the app answers: a program that resumes does not wait for that.
fn serves(bench: &Bench, url: &str) -> String {
    let until = std::time::Instant::now() + crate::bench::PATIENCE;
    loop {
        match bench.get(url, "/") {
            Ok((200, body)) => return body,
            other => assert!(std::time::Instant::now() < until, "{other:?}"),
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn kill_9_leaves_no_process_and_the_next_run_converges() {
    for fixture in ["healthy", "ignores-term", "escapes-group", "orphan-child", "shell-exits"] {
        let bench = Bench::new();
        let app = bench.app(fixture);
        let path = app.to_str().unwrap();
        let (program, report) = Program::start(&bench, &["deploy", path]);
        let url = url(&report);
        assert_eq!(bench.get(&url, "/").unwrap().0, 200, "{fixture}");
        program.kill();
        if fixture == "healthy" {
            // By itself, with nobody to help.
            bench.expect_no_process();
        }

        let (mut program, report) = Program::start(&bench, &["deploy", path]);
        assert!(report["error"].is_null(), "{fixture}: {report}");
        assert_eq!(report["urls"][0], json!(url), "{fixture}: {report}");
        serves(&bench, &url);
        let status = program.run(&format!("status {path}"));
        let units = status["units"].as_array().unwrap();
        assert!(units.iter().all(|unit| unit["state"] == "running"), "{fixture}: {status}");
        program.kill();
        bench.expect_no_process();
    }
}

#[test]
fn kill_9_in_the_middle_of_a_deploy_and_the_same_again() {
    for kill in ["call:1:before", "call:2:after", "append:4:before", "append:8:after"] {
        let bench = Bench::new();
        let app = bench.app("healthy");
        let path = app.to_str().unwrap();
        let output = bench.command(&["deploy", path, "--in-process", "--kill", kill]).output().unwrap();
        assert_eq!(output.status.code(), None, "{kill}: it was killed");
        let (mut program, report) = Program::start(&bench, &["deploy", path]);
        assert_eq!(report["kind"], "applied", "{kill}: {report}");
        serves(&bench, &url(&report));
        let gone = program.run(&format!("destroy {path} --data healthy"));
        assert_eq!(gone["kind"], "applied", "{kill}: {gone}");
        program.end();
        bench.expect_no_process();
    }
}

#[test]
fn a_build_step_ends_with_the_program() {
    let bench = Bench::new();
    let app = bench.app("healthy");
    let begun = bench.folder().join("begun");
    crate::bench::replace(
        &app,
        "run: mkdir -p bin &&",
        &format!("run: touch {} && sleep 1000 &&", begun.display()),
    );
    let mut process = bench.command(&["deploy", app.to_str().unwrap(), "--in-process"]).spawn().unwrap();
    let until = std::time::Instant::now() + crate::bench::PATIENCE;
    while !begun.exists() {
        assert!(std::time::Instant::now() < until, "the step never began");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    process.kill().unwrap();
    process.wait().unwrap();
    let until = std::time::Instant::now() + crate::bench::PATIENCE;
    while works_in(&bench.state(), "sleep") {
        assert!(std::time::Instant::now() < until, "the step lives on");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// Does a program of that name work in a folder?
fn works_in(folder: &Path, name: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder))
            && std::fs::read_to_string(entry.path().join("comm")).is_ok_and(|comm| comm.trim() == name)
    })
}

#[test]
fn servers_end_with_the_program_and_keep_their_data() {
    for fixture in ["redis", "postgres"] {
        let bench = Bench::new();
        let app = bench.app(fixture);
        let path = app.to_str().unwrap();
        let (program, report) = Program::start(&bench, &["deploy", path]);
        if report.to_string().contains("is installed here") || report.to_string().contains("not installed") {
            eprintln!("skipped: {fixture}: {report}");
            program.end();
            continue;
        }
        assert_eq!(report["kind"], "applied", "{fixture}: {report}");
        assert!(!servers(&bench).is_empty(), "{fixture}: a server runs");
        program.kill();
        nothing_serves(&bench, fixture);

        let (program, report) = Program::start(&bench, &["deploy", path]);
        assert!(report["error"].is_null(), "{fixture}: {report}");
        serves(&bench, &url(&report));
        assert!(!servers(&bench).is_empty(), "{fixture}: a server runs again");
        program.end();
        assert!(servers(&bench).is_empty(), "{fixture}: it was waited for");

        let (mut program, _) = Program::start(&bench, &["status", path]);
        program.run(&format!("destroy {path} --data {fixture}"));
        program.end();
        bench.expect_no_process();
    }
}

/// Waits until no server of the workspace is left.
fn nothing_serves(bench: &Bench, what: &str) {
    let until = std::time::Instant::now() + crate::bench::PATIENCE;
    while !servers(bench).is_empty() {
        assert!(std::time::Instant::now() < until, "{what}: {:?}", servers(bench));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// Servers work in their data, which bears the workspace's path or, for root's, its id.
fn servers(bench: &Bench) -> Vec<u32> {
    let id = std::fs::read_to_string(bench.state().join("id")).unwrap();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else { continue };
        let Ok(folder) = std::fs::read_link(entry.path().join("cwd")) else { continue };
        let ours = folder.starts_with(bench.state()) || folder.to_string_lossy().contains(id.trim());
        let program = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if ours && ["postgres", "redis-server", "valkey-server"].contains(&program.trim()) {
            found.push(pid);
        }
    }
    found
}

#[test]
fn a_workspace_is_served_in_one_way_at_a_time() {
    let bench = Bench::new();
    let app = bench.app("healthy");
    let path = app.to_str().unwrap();

    // Apps run in a program: others may look and not change.
    let (mut program, report) = Program::start(&bench, &["deploy", path]);
    let url = url(&report);
    for words in [["deploy", path], ["stop", path], ["destroy", path]] {
        let refused = bench.run(&words);
        assert_ne!(refused.code, Some(0), "{words:?}: {}", refused.value);
        let text = refused.value.to_string();
        assert!(
            text.contains("run inside") && text.contains(&program.process.id().to_string()),
            "{words:?}: {text}"
        );
        assert_eq!(bench.get(&url, "/").unwrap().0, 200, "{words:?} changed nothing");
    }
    assert_eq!(bench.run(&["status", path]).expect(0)["release"], "r1");
    // What was refused half way is resolved by the next command from there.
    assert!(program.run(&format!("deploy {path}"))["error"].is_null());
    program.end();

    // Once it is gone a supervisor process may have it.
    bench.run(&["deploy", path]).expect(0);
    serves(&bench, &url);
    let (mut program, refused) = Program::start(&bench, &["deploy", path]);
    let text = refused.to_string();
    assert!(text.contains("a supervisor process serves this workspace"), "{text}");
    assert!(text.contains("vrooli-deploy stop"), "{text}");
    assert_eq!(bench.get(&url, "/").unwrap().0, 200);
    assert_eq!(program.run(&format!("status {path}"))["health"], "running");

    // Its apps outlive a killed supervisor: they are not taken over either.
    let supervisor = bench
        .processes()
        .into_iter()
        .find(|line| line.contains("__vrooli-deploy-child supervisor"))
        .and_then(|line| line.split(' ').next()?.parse().ok())
        .and_then(rustix::process::Pid::from_raw)
        .unwrap();
    rustix::process::kill_process(supervisor, rustix::process::Signal::KILL).unwrap();
    let refused = program.run(&format!("deploy {path}")).to_string();
    assert!(refused.contains("outlives the program"), "{refused}");
    program.end();

    bench.run(&["destroy", path, "--data", "healthy"]).expect(0);
    bench.expect_no_process();
}
