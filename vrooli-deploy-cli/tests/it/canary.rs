//! Planted values must not be in anything that the program writes: what it prints in every
//! form and at every loudness, its state, the arguments of processes.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

use crate::script::Place;
use crate::terminal::on_terminal;

/// Each is another in every encoding.
const TYPED: &str = r#"c4nary-typed "q\/+%ü 1"#;
const ARGUMENT: &str = "c4nary-argument/+=2";
const LOGGED: &str = "c4nary-logged \"é\" 3";
const FROM_ENV: &str = "c4nary-env\\n&4";
const FROM_FILE: &str = "c4nary-file <5>";
const FROM_VAULT: &str = "c4nary-vault ?6";
const TOKEN: &str = "c4nary-token.7+";
const IN_METADATA: &str = "c4nary metadata 8";
const ALL: [&str; 8] = [TYPED, ARGUMENT, LOGGED, FROM_ENV, FROM_FILE, FROM_VAULT, TOKEN, IN_METADATA];

/// A value as it may turn up.
fn forms(value: &str) -> Vec<Vec<u8>> {
    let percent = |keep: &dyn Fn(u8) -> bool| -> String {
        value.bytes().map(|b| if keep(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
    };
    let json = serde_json::to_string(value).unwrap();
    let mut forms = vec![
        value.to_owned(),
        percent(&|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b)),
        percent(&|b| b.is_ascii_alphanumeric() || b"-._~ ".contains(&b)).replace(' ', "+"),
        percent(&|_| false).to_lowercase(),
        json[1..json.len() - 1].to_owned(),
        format!("{value:?}").trim_matches('"').to_owned(),
    ];
    for engine in [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD] {
        forms.push(engine.encode(value));
        // As a part of something longer, at any place in a group.
        for before in ["u:", "user:", "admin"] {
            let encoded = engine.encode(format!("{before}{value}:x"));
            let (from, to) = (before.len().div_ceil(3) * 4, (before.len() + value.len()) / 3 * 4);
            forms.push(encoded[from..to].to_owned());
        }
    }
    forms.into_iter().map(String::into_bytes).collect()
}

fn holds(bytes: &[u8], value: &str) -> bool {
    forms(value).iter().any(|form| bytes.windows(form.len()).any(|window| window == form))
}

#[track_caller]
fn clean(bytes: &[u8], what: &str, values: &[&str]) {
    for value in values {
        assert!(!holds(bytes, value), "{what} holds `{value}`:\n{}", String::from_utf8_lossy(bytes));
    }
}

/// Every file under a folder.
fn files(folder: &Path, each: &mut dyn FnMut(&Path, &[u8])) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(&path, each),
            Ok(kind) if kind.is_file() => {
                let mut bytes = Vec::new();
                // Files come and go while an app runs.
                if File::open(&path).and_then(|mut file| file.read_to_end(&mut bytes)).is_ok() {
                    each(&path, &bytes);
                }
            }
            _ => {}
        }
    }
}

/// Answers like Vault: one secret that is there, one that is refused with everything that must
/// not be repeated.
fn vault() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut head = String::new();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while reader.read_line(&mut head).is_ok_and(|read| read > 0) && !head.ends_with("\r\n\r\n") {}
            let (status, body) = if head.starts_with("GET /v1/secret/data/good ") {
                (
                    "200 OK",
                    serde_json::json!({"data": {"data": {"v": FROM_VAULT}, "metadata": {"version": 1}}}),
                )
            } else {
                let said = format!(
                    "{TOKEN} may not read {TYPED}, {} {}",
                    STANDARD.encode(TOKEN),
                    STANDARD.encode(LOGGED)
                );
                ("403 Forbidden", serde_json::json!({"errors": [said]}))
            };
            let body = body.to_string();
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    address
}

struct Canary {
    place: Place,
    vault: String,
    variables: bool,
}

impl Canary {
    fn program(&self) -> Command {
        let mut program = self.place.program();
        program.env("VAULT_ADDR", &self.vault).env("VAULT_TOKEN", TOKEN);
        if self.variables {
            program.env("CANARY_ENV", FROM_ENV);
        }
        program
    }

    /// Runs a command in every form, and looks at all that it prints.
    fn run(&self, arguments: &[&str]) -> Vec<Output> {
        let ways: [&[&str]; 4] = [&[], &["--json"], &["-vvvv"], &["-vvvv", "--json"]];
        ways.iter().map(|way| self.once(&[way, arguments].concat())).collect()
    }

    fn once(&self, arguments: &[&str]) -> Output {
        let output = self.program().args(arguments).output().unwrap();
        for (name, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
            clean(bytes, &format!("{name} of {:?}", arguments[0]), &ALL);
        }
        output
    }

    fn ok(&self, arguments: &[&str]) {
        for output in self.run(arguments) {
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{arguments:?}: {text}");
        }
    }

    fn refused(&self, code: &str, arguments: &[&str]) {
        for output in self.run(arguments) {
            let text = [output.stdout, output.stderr].concat();
            assert!(
                !output.status.success() && String::from_utf8_lossy(&text).contains(code),
                "{code}: {arguments:?}"
            );
        }
    }

    fn set(&self, name: &str, value: &str) -> Output {
        let mut child = self
            .program()
            .args(["secrets", "set", "app", name, "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that refuses before it reads closes its end.
        let _ = writeln!(child.stdin.take().unwrap(), "{value}");
        let output = child.wait_with_output().unwrap();
        clean(&output.stdout, "stdout of set", &ALL);
        clean(&output.stderr, "stderr of set", &ALL);
        output
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        let _ = self.program().args(["destroy", "canary", "--data=canary", "--yes", "--quiet"]).output();
    }
}

const MANIFEST: &str = r#"schema_version: v0.1
target: local
provider: local
app: {name: canary}
services:
  loop:
    run: ["sh", "-c", "echo \"LOGGED=$LOGGED\"; test -n \"$FROM_VAULT$FROM_ENV$FROM_FILE$TYPED\" && echo complete; exec sleep 600"]
secrets:
  TYPED: {from: {prompt: {label: Typed value}}, format: "^c4nary"}
  LOGGED: {from: {prompt: {}}}
  FROM_ENV: {from: {environment: {name: CANARY_ENV}}}
  FROM_FILE: {from: {file: {path: secret.txt}}}
  FROM_VAULT: {from: {vault: {path: good, key: v}}}
  MADE: {from: {generate: {length: 48}}}
"#;

#[test]
fn planted_values_are_in_nothing_that_is_written() {
    let place = Place::new();
    let app = place.dir().join("app");
    std::fs::create_dir_all(app.join(".vrooli")).unwrap();
    std::fs::write(app.join("deployment.yaml"), MANIFEST).unwrap();
    std::fs::write(app.join("secret.txt"), format!("{FROM_FILE}\n")).unwrap();
    let values = serde_json::json!({"OLD_ADMIN": IN_METADATA, "TYPED": IN_METADATA});
    std::fs::write(app.join(".vrooli/secrets.json"), format!("{values:#}")).unwrap();
    let odd = serde_json::json!({"secrets": [{"id": "OTHER", "classification": "odd", "value": IN_METADATA, "required": false}]});
    std::fs::write(app.join(".vrooli/secrets-deployment.json"), format!("{odd:#}")).unwrap();
    let mut canary = Canary { place, vault: vault(), variables: true };

    // Before anything is set, and with everything that can be refused.
    canary.ok(&["secrets", "identify", "app"]);
    canary.refused("VD0810", &["secrets", "validate", "app"]);
    canary.refused("VD0810", &["plan", "app"]);
    canary.refused("", &["secrets", "set", "app", "TYPED", "two", TYPED]);
    canary.refused("", &["secrets", "set", "app", "TYPED", &format!("--{ARGUMENT}")]);
    canary.refused("", &["secrets", "set", "app", "TYPED", "--bogus", LOGGED]);
    canary.refused("VD0828", &["secrets", "set", "app", "TYPD", ARGUMENT]);
    canary.refused("VD0815", &["secrets", "set", "app", "TYPED", &format!("not {ARGUMENT}")]);
    let output = canary.set("TYPED", &format!("not-{TYPED}"));
    assert!(String::from_utf8_lossy(&output.stderr).contains("VD0815"));

    canary.ok(&["secrets", "set", "app", "TYPED", ARGUMENT]);
    assert!(canary.set("TYPED", TYPED).status.success());
    assert!(canary.set("LOGGED", LOGGED).status.success());
    canary.ok(&["secrets", "validate", "app"]);
    canary.ok(&["secrets", "generate", "app"]);
    canary.ok(&["secrets", "rotate", "app", "MADE"]);
    canary.ok(&["secrets", "list", "app"]);
    for format in ["env", "vault", "aws", "k8s"] {
        canary.ok(&["secrets", "template", "app", "--format", format]);
    }
    canary.ok(&["plan", "app"]);
    let saved = canary.place.dir().join("saved.json");
    canary.once(&["plan", "app", "--out", saved.to_str().unwrap()]);
    clean(&std::fs::read(&saved).unwrap(), "the saved plan", &ALL);
    canary.ok(&["up", "app"]);

    // What the app itself writes is its own; what we show of it is filtered.
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let output = canary.once(&["logs", "canary"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if text.contains("complete") {
            assert!(text.contains("LOGGED=[secret]"), "{text}");
            break;
        }
        assert!(Instant::now() < deadline, "the app got all its values: {text}");
        std::thread::sleep(Duration::from_millis(50));
    }
    for command in [["status", "canary"], ["releases", "canary"], ["history", "canary"], ["logs", "canary"]] {
        canary.ok(&command);
    }
    canary.ok(&["list"]);

    // Processes' arguments.
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        if let Ok(arguments) = std::fs::read(entry.path().join("cmdline")) {
            clean(&arguments, "a process's arguments", &ALL);
        }
    }

    // Vault is away, or refuses with words that must not be repeated: the stored value is kept.
    std::fs::write(app.join("deployment.yaml"), MANIFEST.replace("path: good", "path: refused")).unwrap();
    let kept = canary.once(&["plan", "app"]);
    let text = String::from_utf8_lossy(&kept.stderr).into_owned();
    assert!(kept.status.success() && text.contains("VD0820"), "{text}");
    assert!(text.contains("[secret] may not read [secret], [secret] [secret]"), "{text}");
    let refuse = "{path: refused, key: v}}, if_unavailable: refuse}";
    let manifest = MANIFEST.replace("{path: good, key: v}}}", refuse);
    std::fs::write(app.join("deployment.yaml"), manifest).unwrap();
    canary.refused("VD0821", &["plan", "app"]);
    canary.refused("VD0821", &["secrets", "validate", "app"]);
    canary.refused("VD0821", &["up", "app"]);

    // Without its variable and its file the app is deployed with what is kept.
    std::fs::write(app.join("deployment.yaml"), MANIFEST).unwrap();
    std::fs::remove_file(app.join("secret.txt")).unwrap();
    canary.variables = false;
    canary.ok(&["plan", "app"]);
    canary.ok(&["up", "app"]);

    // Everything under the state and configuration folders, but what the app wrote.
    let root = canary.place.dir().parent().unwrap().to_owned();
    let mut looked = 0;
    for folder in ["state", "config", "data"] {
        files(&root.join(folder), &mut |path, bytes| {
            looked += 1;
            let logs = path.extension().is_some_and(|extension| extension == "log")
                || path.components().any(|part| part.as_os_str() == "logs");
            let values: Vec<&str> = ALL.into_iter().filter(|value| !(logs && *value == LOGGED)).collect();
            clean(bytes, &path.display().to_string(), &values);
        });
    }
    assert!(looked > 5, "there is a state folder to look at");
    canary.once(&["destroy", "canary", "--data=canary", "--yes"]);
}

#[test]
fn what_is_looked_for_would_be_found() {
    for value in ALL {
        for form in forms(value) {
            let text = [b"before ".as_slice(), &form, b" after"].concat();
            assert!(holds(&text, value));
        }
        let encoded = STANDARD.encode(format!("user:{value}:x"));
        assert!(holds(encoded.as_bytes(), value), "{encoded}");
    }
    assert!(!holds(b"c4nary", TYPED));
}

/// A terminal: the question is seen, the answer is not.
#[test]
fn a_prompt_hides_what_is_typed() {
    let place = Place::new();
    std::fs::create_dir_all(place.dir().join("app")).unwrap();
    std::fs::write(place.dir().join("app/deployment.yaml"), MANIFEST).unwrap();
    let mut answered = false;
    let mut program = place.program();
    let (status, seen) = on_terminal(program.args(["secrets", "set", "app", "TYPED"]), |seen, terminal| {
        if answered || !seen.contains("Typed value (TYPED):") {
            return;
        }
        let deadline = Instant::now() + Duration::from_secs(30);
        let echoes = |terminal: &File| {
            let modes = rustix::termios::tcgetattr(terminal).unwrap().local_modes;
            modes.contains(rustix::termios::LocalModes::ECHO)
        };
        // The question is written before the terminal is silenced, so that nothing is lost.
        while echoes(terminal) {
            assert!(Instant::now() < deadline, "the terminal keeps its echo");
            std::thread::sleep(Duration::from_millis(5));
        }
        writeln!(terminal, "{TYPED}").unwrap();
        answered = true;
    });
    let text = String::from_utf8_lossy(&seen).into_owned();
    assert!(answered && status.success() && text.contains("is stored (version 1)"), "{text}");
    clean(&seen, "the terminal", &[TYPED]);
    let list = place.program().args(["secrets", "list", "app"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&list.stdout).lines().last().unwrap(), "canary/default/env/TYPED  1");
}
