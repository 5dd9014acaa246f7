//! The two programs as a user meets them: started, asked, ended, started again.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

const API: &str = env!("CARGO_BIN_EXE_picker-wheel-api");
const UI: &str = env!("CARGO_BIN_EXE_picker-wheel-ui");

/// A running program; killed when the test is over, whatever its end.
struct Running {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
    port: u16,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.body))
    }
}

/// A folder laid out like the scenario, without files.
fn scenario() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for part in ["api", "ui/dist"] {
        fs::create_dir_all(folder.path().join(part)).expect("a folder");
    }
    folder
}

fn command(program: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(folder)
        .env_clear()
        .env("VROOLI_LIFECYCLE_MANAGED", "true")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn start(mut command: Command) -> Running {
    let mut child = command.spawn().expect("the program starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a first line");
    let port = line
        .trim()
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok())
        .unwrap_or_else(|| panic!("no port in the first line: {line}"));
    Running {
        child,
        stdout,
        port,
    }
}

fn start_api(folder: &TempDir) -> Running {
    let mut command = command(API, &folder.path().join("api"));
    command.env("API_PORT", "0");
    start(command)
}

fn refused(mut command: Command) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command.output().expect("the program starts");
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

impl Running {
    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("connects");
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("sends");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("answers");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        Answer {
            status: head[9..12].parse().expect("a status"),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    /// Asks it to end, as the lifecycle does, and returns its exit code and last words.
    fn terminate(mut self) -> (Option<i32>, String) {
        let asked = Command::new("kill")
            .arg("-TERM")
            .arg(self.child.id().to_string())
            .status()
            .expect("kill is there");
        assert!(asked.success());
        let mut log = String::new();
        self.stdout.read_to_string(&mut log).expect("a log");
        (self.child.wait().expect("ends").code(), log)
    }
}

#[test]
fn wheels_and_spins_outlive_the_program() {
    let folder = scenario();
    let api = start_api(&folder);

    let health = api.ask("GET", "/health", None);
    assert_eq!(health.status, 200);
    assert_eq!(health.json()["status"], "healthy");
    assert_eq!(health.json()["readiness"], true);
    assert_eq!(health.json()["dependencies"]["storage"]["connected"], true);

    let wheel = json!({"name": " Lunch ", "options": [{"label": "Soup"}, {"label": "Pizza", "weight": 3, "color": "#112233"}]});
    let made = api.ask("POST", "/api/wheels", Some(&wheel));
    assert_eq!(made.status, 201, "{}", made.body);
    let id = made.json()["id"].as_str().expect("an id").to_owned();
    assert_eq!(made.json()["name"], "Lunch");

    let spun = api.ask(
        "POST",
        "/api/spin",
        Some(&json!({"wheel_id": id, "session_id": "s1"})),
    );
    assert_eq!(spun.status, 200, "{}", spun.body);
    let index = usize::try_from(spun.json()["index"].as_u64().expect("an index")).expect("small");
    assert_eq!(spun.json()["result"], ["Soup", "Pizza"][index]);

    let (code, log) = api.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("POST /api/spin 200"), "{log}");
    assert!(log.contains("ends"), "{log}");

    let api = start_api(&folder);
    let kept = api.ask("GET", &format!("/api/wheels/{id}"), None);
    assert_eq!(kept.status, 200);
    assert_eq!(kept.json()["spins"], 1);
    let history = api.ask("GET", "/api/history", None).json();
    assert_eq!(history[0]["session_id"], "s1");

    assert_eq!(
        api.ask("DELETE", &format!("/api/wheels/{id}"), None).status,
        204
    );
    assert_eq!(
        api.ask("DELETE", &format!("/api/wheels/{id}"), None).status,
        404
    );
    assert_eq!(
        api.ask("GET", &format!("/api/wheels/{id}"), None).status,
        404
    );
}

#[test]
fn bad_requests_get_a_reason() {
    let folder = scenario();
    let api = start_api(&folder);
    for (method, path, body, status, why) in [
        (
            "POST",
            "/api/wheels",
            Some(json!({"name": "x", "options": []})),
            400,
            "2 to 40",
        ),
        (
            "POST",
            "/api/wheels",
            Some(json!({"name": 7})),
            400,
            "not what this expects",
        ),
        (
            "POST",
            "/api/spin",
            Some(json!({"wheel_id": "nobody"})),
            404,
            "no such wheel",
        ),
        ("PUT", "/api/wheels", None, 405, "method"),
        ("GET", "/nothing", None, 404, "nothing"),
    ] {
        let answer = api.ask(method, path, body.as_ref());
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        let error = answer.json()["error"]
            .as_str()
            .expect("a reason")
            .to_owned();
        assert!(error.contains(why), "{error}");
    }
    let huge = json!({"name": "x".repeat(100_000), "options": []});
    assert_eq!(api.ask("POST", "/api/wheels", Some(&huge)).status, 413);
}

#[test]
fn an_api_that_cannot_store_is_not_well() {
    let folder = scenario();
    let api = start_api(&folder);
    fs::remove_dir_all(folder.path().join("data")).expect("the data goes");
    let health = api.ask("GET", "/health", None);
    assert_eq!(health.status, 503);
    assert_eq!(health.json()["status"], "unhealthy");
    assert_eq!(health.json()["dependencies"]["storage"]["connected"], false);
}

#[test]
fn nothing_starts_outside_the_lifecycle_or_without_its_port() {
    let folder = scenario();
    let here = folder.path().join("api");

    let mut unmanaged = command(API, &here);
    unmanaged
        .env("API_PORT", "0")
        .env_remove("VROOLI_LIFECYCLE_MANAGED");
    let (code, message) = refused(unmanaged);
    assert_eq!(code, Some(1));
    assert!(message.contains("VROOLI_LIFECYCLE_MANAGED"), "{message}");

    let (code, message) = refused(command(API, &here));
    assert_eq!(code, Some(1));
    assert!(message.contains("API_PORT is not set"), "{message}");

    let mut no_api = command(UI, &folder.path().join("ui"));
    no_api.env("UI_PORT", "0");
    let (code, message) = refused(no_api);
    assert_eq!(code, Some(1));
    assert!(message.contains("API_PORT is not set"), "{message}");

    let mut no_page = command(UI, &folder.path().join("ui"));
    no_page.env("UI_PORT", "0").env("API_PORT", "1");
    let (code, message) = refused(no_page);
    assert_eq!(code, Some(1));
    assert!(message.contains("build-ui"), "{message}");
    assert!(
        !folder.path().join("data").exists(),
        "a refusal leaves nothing behind"
    );
}

#[test]
fn the_page_is_served_and_its_api_passed_on() {
    let folder = scenario();
    fs::write(
        folder.path().join("ui/dist/index.html"),
        "<title>Wheel</title>",
    )
    .expect("writes");
    fs::write(folder.path().join("ui/secret.html"), "not for you").expect("writes");
    let api = start_api(&folder);
    let mut command = command(UI, &folder.path().join("ui"));
    command
        .env("UI_PORT", "0")
        .env("API_PORT", api.port.to_string());
    let ui = start(command);

    let page = ui.ask("GET", "/", None);
    assert_eq!(
        (page.status, page.body.as_str()),
        (200, "<title>Wheel</title>")
    );
    assert!(
        page.head.contains("content-type: text/html"),
        "{}",
        page.head
    );
    for path in ["/../secret.html", "/%2e%2e/secret.html", "/nothing"] {
        assert_eq!(ui.ask("GET", path, None).status, 404, "{path}");
    }

    let health = ui.ask("GET", "/health", None).json();
    assert_eq!(health["status"], "healthy");
    assert_eq!(health["api_connectivity"]["connected"], true);

    let wheel = json!({"name": "Through the page", "options": [{"label": "a"}, {"label": "b"}]});
    assert_eq!(ui.ask("POST", "/api/wheels", Some(&wheel)).status, 201);
    assert!(
        api.ask("GET", "/api/wheels", None)
            .body
            .contains("Through the page")
    );

    drop(api);
    let health = ui.ask("GET", "/health", None);
    assert_eq!(health.status, 200);
    assert_eq!(health.json()["status"], "degraded");
    assert_eq!(health.json()["api_connectivity"]["connected"], false);
    assert_eq!(ui.ask("GET", "/api/wheels", None).status, 502);
}
