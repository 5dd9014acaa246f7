//! An app on servers, as a user meets it: three real ones, in containers.

mod contained;
mod other_hands;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use serde_json::Value;

use self::other_hands::{changed_by_another_hand, taken_over_by_a_state_that_knows_nothing};
use crate::hosts::User;
use crate::rig::Rig;
use crate::script::repository;

pub(crate) const HOSTS: u32 = 3;

/// The program that hosts get: this one, without what only a debugger reads where that can be taken
/// away. It is sent for every test.
pub(crate) static PROGRAM: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vrooli-deploy");
    let own = env!("CARGO_BIN_EXE_vrooli-deploy");
    let stripped = Command::new("strip").args(["-g", "-o"]).arg(&path).arg(own).status();
    if !stripped.is_ok_and(|status| status.success()) {
        fs::copy(own, &path).unwrap();
    }
    (folder, path)
});

/// A user with an app and three servers.
pub(crate) struct Shop(pub(crate) User);

impl Shop {
    pub(crate) fn new(test: &str) -> Option<Self> {
        let user = User::new(test, HOSTS)?;
        let source = user.place.dir().join("shop/src");
        fs::create_dir_all(&source).unwrap();
        for entry in fs::read_dir(repository().join("tests/fixtures/server/src")).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, source.join(path.file_name().unwrap())).unwrap();
        }
        fs::write(source.join("version.txt"), "").unwrap();
        let shop = Self(user);
        shop.vouch();
        shop.write("1", "", "");
        Some(shop)
    }

    /// Vouches for a server.
    fn add(&self, number: u32) {
        let fingerprint = self.0.rig.fingerprint(number, "ed25519");
        let (result, exit) =
            self.0.json(&["hosts", "add", &format!("web{number}"), "--fingerprint", &fingerprint]);
        assert_eq!(exit, 0, "{result:?}");
    }

    /// Vouches for the keys of all servers.
    fn vouch(&self) {
        for number in 1..=HOSTS {
            self.add(number);
        }
    }

    /// The app in a version, with switches for its server and more for its manifest.
    pub(crate) fn write(&self, version: &str, switches: &str, more: &str) {
        self.write_for(&[1, 2, 3], version, switches, more);
    }

    /// The same for some of the servers.
    fn write_for(&self, servers: &[u32], version: &str, switches: &str, more: &str) {
        let servers: String = servers
            .iter()
            .map(|number| format!("    - {{ host: web{number}, role: app, monthly_usd: \"5.00\" }}\n"))
            .collect();
        let manifest = format!(
            "schema_version: v0.1\ntarget: saas\nprovider: bare-metal\napp: {{ name: shop, version: 1.0.0 }}\n\
             build:\n  steps:\n    - {{ name: server, run: mkdir -p bin && rustc --edition 2024 -o bin/server src/main.rs && cp src/version.txt bin/ }}\n\
             services:\n  web:\n    run: [./server{switches}]\n    dir: bin\n    ports: {{ http: {{ env_var: PORT }} }}\n    \
             health: {{ path: /health, startup_grace: 5s }}\n    routes: [{{ path: / }}]\n\
             env: {{ APP_VERSION: \"{version}\" }}\n{more}infrastructure:\n  servers:\n{servers}"
        );
        fs::write(self.0.place.dir().join("shop/deployment.yaml"), manifest).unwrap();
    }

    /// A version whose artefact is another.
    fn change(&self, version: &str) {
        fs::write(self.0.place.dir().join("shop/src/version.txt"), version.repeat(1000)).unwrap();
        self.write(version, "", "");
    }

    pub(crate) fn program(&self, words: &[&str]) -> Command {
        let mut program = self.0.program(words);
        let name = format!("VROOLI_DEPLOY_PROGRAM_{}", std::env::consts::ARCH.to_ascii_uppercase());
        program.env(name, &PROGRAM.1);
        program
    }

    /// The last line of a command, which says what came of it.
    fn ran(&self, words: &[&str]) -> Value {
        self.lines(words).pop().unwrap()
    }

    fn lines(&self, words: &[&str]) -> Vec<Value> {
        let output = self.program(words).arg("--json").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(!lines.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        lines
    }

    /// A deployment, and what each server was asked for, a round trip each.
    fn asked(&self) -> Vec<Vec<String>> {
        let output = self.program(&["deploy", "shop/deployment.yaml", "--yes", "-vvv"]).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{text}");
        let trips = |number| {
            let of = format!("round trip host=web{number} phase=");
            let phases = text.lines().filter_map(|line| line.split_once(&of));
            phases.map(|(_, phase)| phase.trim_matches('"').to_owned()).collect()
        };
        (1..=HOSTS).map(trips).collect()
    }

    fn deploy(&self, more: &[&str]) -> Value {
        self.ran(&[&["deploy", "shop/deployment.yaml", "--yes"], more].concat())
    }

    pub(crate) fn address(&self, number: u32) -> SocketAddr {
        address(&self.0.rig, number)
    }

    /// The version that each server answers with.
    fn versions(&self) -> Vec<String> {
        (1..=HOSTS).map(|number| version(self.address(number))).collect()
    }

    fn is_everywhere(&self, version: &str) {
        assert_eq!(self.versions(), vec![version.to_owned(); HOSTS as usize]);
    }
}

fn address(rig: &Rig, number: u32) -> SocketAddr {
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    SocketAddr::new(rig.docker(&["inspect", "-f", format], number).parse().unwrap(), 80)
}

/// The version that a server answers with.
pub(crate) fn version_on(rig: &Rig, number: u32) -> String {
    version(address(rig, number))
}

/// One request of its own connection: the status and the body.
pub(crate) fn ask(address: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let limit = Duration::from_secs(10);
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or(std::io::ErrorKind::InvalidData)?, body.to_owned()))
}

fn version(address: SocketAddr) -> String {
    match ask(address, "/") {
        Ok((200, body)) => {
            let start = body.find('{').unwrap_or(0);
            let end = body.rfind('}').map_or(body.len(), |at| at + 1);
            let body: Value = serde_json::from_str(&body[start..end]).unwrap_or_default();
            body["version"].as_str().unwrap_or("?").to_owned()
        }
        Ok((status, _)) => status.to_string(),
        Err(error) => error.to_string(),
    }
}

/// Requests to some servers, one after the other, until it is ended.
struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<std::thread::JoinHandle<Vec<String>>>,
    asked: Arc<AtomicU64>,
}

impl Load {
    fn on(addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let client = |address: SocketAddr| {
            let (stop, asked) = (Arc::clone(&stop), Arc::clone(&asked));
            std::thread::spawn(move || {
                let mut failed = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    // Enough to be in every moment; what is to be tested needs the processor, too.
                    std::thread::sleep(Duration::from_millis(3));
                    asked.fetch_add(1, Ordering::Relaxed);
                    match ask(address, "/") {
                        Ok((200, _)) => {}
                        other => failed.push(format!("{address}: {other:?}")),
                    }
                }
                failed
            })
        };
        let clients = addresses.into_iter().map(client).collect();
        Self { stop, clients, asked }
    }

    /// How many requests there were; none may have failed.
    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let failed: Vec<String> =
            self.clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        assert!(failed.is_empty(), "{failed:?}");
        self.asked.load(Ordering::Relaxed)
    }
}

/// Deployed, unchanged, replaced under load by each strategy, taken back, and gone without a trace.
#[test]
fn an_app_lives_on_three_servers() {
    let Some(shop) = Shop::new("an_app_lives_on_three_servers") else { return };
    let rig = &shop.0.rig;
    let secret = "secrets: { SESSION_KEY: { from: { generate: { length: 40 } } } }\n";
    shop.write("1", "", secret);
    let result = shop.deploy(&[]);
    assert_eq!((&result["outcome"], &result["release"]), (&"applied".into(), &"r1".into()), "{result}");
    assert_eq!(result["urls"], serde_json::json!(["http://web1/", "http://web2/", "http://web3/"]));
    shop.is_everywhere("1");
    // It runs as its own account, and may write where its data are.
    let runs = rig.on(
        2,
        "ps -o user= -C server; stat -c '%U %a' /var/lib/vrooli-deploy/workspace/apps/shop/default/data",
    );
    assert_eq!(runs, "vd-shop\nvd-shop 700");

    assert_eq!(shop.asked(), [["survey"]; HOSTS as usize]);
    assert_eq!(shop.deploy(&[])["outcome"], "no_change");
    assert_eq!(shop.ran(&["drift", "shop"])["exit_code"], 0);
    let status = shop.lines(&["status", "shop"]);
    let seen = status.iter().find(|line| line["type"] == "status").unwrap();
    let hosts: Vec<&str> =
        seen["units"].as_array().unwrap().iter().map(|unit| unit["host"].as_str().unwrap()).collect();
    assert_eq!(hosts, ["web1", "web2", "web3"]);
    let logs = shop.program(&["logs", "shop"]).output().unwrap();
    let logs = String::from_utf8(logs.stdout).unwrap();
    assert!((1..=HOSTS).all(|number| logs.contains(&format!("web{number}: "))), "{logs}");

    let load = Load::on((1..=HOSTS).map(|number| shop.address(number)));
    for (version, strategy) in [("2", "blue-green"), ("3", "rolling"), ("4", "canary")] {
        shop.write(version, "", secret);
        let result = shop.deploy(&["--strategy", strategy, "--watch", "1s"]);
        assert_eq!(result["outcome"], "applied", "{strategy}: {result}");
        shop.is_everywhere(version);
    }
    shop.write("5", "", secret);
    // The session that looks goes on to serve, and takes what is sent.
    assert_eq!(shop.asked(), [["survey"]; HOSTS as usize]);
    shop.is_everywhere("5");
    let result = shop.ran(&["rollback", "shop", "--yes"]);
    assert_eq!(result["outcome"], "applied", "{result}");
    shop.is_everywhere("4");
    shop.write("4", "", secret);
    taken_over_by_a_state_that_knows_nothing(&shop);
    changed_by_another_hand(&shop);
    assert!(load.end() > 100);

    let result = shop.ran(&["destroy", "shop", "--yes", "--data=shop"]);
    assert_eq!(result["outcome"], "applied", "{result}");
    for number in 1..=HOSTS {
        let left = rig.on(
            number,
            "find /var/lib/vrooli-deploy 2>/dev/null; getent passwd vd-shop; true; systemctl list-units --all --no-legend 'vrooli*'; ps -o args= -C server; true",
        );
        assert_eq!(left, "", "on {number}");
    }
}

/// Nothing that goes wrong on one server leaves the fleet mixed, or the old release away.
#[test]
fn what_goes_wrong_on_one_server_goes_back_on_all() {
    let Some(shop) = Shop::new("what_goes_wrong_on_one_server_goes_back_on_all") else { return };
    let rig = &shop.0.rig;
    // A stranger has the port on one of them: nothing stays anywhere.
    rig.on(2, "systemd-run --quiet --unit stranger systemd-socket-activate -a -l 80 /bin/cat");
    until("the stranger listens", || TcpStream::connect(shop.address(2)).is_ok());
    let result = shop.deploy(&[]);
    assert_eq!(result["exit_code"], 3, "{result}");
    let said = result.to_string();
    assert!(said.contains("web2") && said.contains(":80"), "{said}");
    assert_eq!(rig.on(1, "ps -o args= -C server || true"), "");
    rig.on(2, "systemctl stop stranger");
    assert_eq!(shop.deploy(&[])["outcome"], "applied");
    shop.is_everywhere("1");

    // Another app wants the same of the same servers: it is refused before anything is done, and let in under its
    // own name.
    let folder = shop.0.place.dir();
    let manifest = fs::read_to_string(folder.join("shop/deployment.yaml")).unwrap();
    fs::create_dir_all(folder.join("blog")).unwrap();
    assert!(
        Command::new("cp")
            .arg("-r")
            .args([folder.join("shop/src"), folder.join("blog")])
            .status()
            .unwrap()
            .success()
    );
    let blog =
        manifest.replace("name: shop,", "name: blog,").replace("APP_VERSION: \"1\"", "APP_VERSION: \"b\"");
    fs::write(folder.join("blog/deployment.yaml"), &blog).unwrap();
    let deploy = || shop.ran(&["deploy", "blog/deployment.yaml", "--yes"]);
    let result = deploy();
    assert_eq!((&result["exit_code"], &result["error"]["code"]), (&1.into(), &"VD0787".into()), "{result}");
    assert!(result["error"]["message"].as_str().unwrap().contains("those of shop/default"), "{result}");
    assert!(result["error"]["help"].as_str().unwrap().contains("app.domain"), "{result}");
    assert_eq!(shop.0.rig.on(1, "ls /var/lib/vrooli-deploy/workspace/apps"), "shop");
    shop.is_everywhere("1");
    let blog = blog.replace("name: blog,", "name: blog, domain: shop.example,");
    fs::write(folder.join("blog/deployment.yaml"), &blog).unwrap();
    let result = deploy();
    assert_eq!(result["outcome"], "applied", "{result}");
    // The clients of this test ask for that name.
    shop.is_everywhere("b");
    assert_eq!(shop.ran(&["destroy", "blog", "--yes", "--data=blog"])["outcome"], "applied");
    shop.is_everywhere("1");

    let load = Load::on((1..=HOSTS).map(|number| shop.address(number)));
    // It never gets well; it is well and says that it is not.
    for switches in [", --health, unhealthy", ", --health, degraded"] {
        shop.write("2", switches, "");
        let result = shop.deploy(&[]);
        assert_eq!(result["exit_code"], 3, "{switches}: {result}");
        assert!(result.to_string().contains("on web"), "{result}");
        shop.is_everywhere("1");
    }
    load.end();
    // It crashes once it is switched to: the edges send what it does not answer to the one before.
    let load = Load::on((1..=HOSTS).map(|number| shop.address(number)));
    shop.write("2", ", --crash-after, \"6000\"", "");
    let result = shop.deploy(&["--watch", "30s"]);
    assert_eq!(result["exit_code"], 3, "{result}");
    shop.is_everywhere("1");
    load.end();

    // A server is lost in the middle: the others go back, and it is said which one did not.
    // Before the switch, which takes a moment only: it is not well before that.
    shop.write("3", ", --ready-after, \"3000\"", "");
    let others = Load::on([1, 3].map(|number| shop.address(number)));
    let mut deploy = shop.program(&["deploy", "shop/deployment.yaml", "--yes"]);
    let mut deploy = deploy.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("the new release runs", || rig.on(2, "ps -o args= -C server | wc -l") == "2");
    rig.docker(&["kill"], 2);
    assert_eq!(deploy.wait().unwrap().code(), Some(4));
    let others_have = |wanted: &str| {
        let now = [version(shop.address(1)), version(shop.address(3))];
        assert_eq!(now, [wanted, wanted], "one release on all that are left");
    };
    others_have("1");
    // As long as it is away nothing is done by halves.
    let result = shop.deploy(&[]);
    assert!(result["exit_code"] != 0 && result.to_string().contains("web2"), "{result}");
    others_have("1");
    // Given up, the others need not wait for it.
    assert_eq!(shop.ran(&["hosts", "remove", "web2", "--lost"])["outcome"], "applied");
    shop.write_for(&[1, 3], "4", "", "");
    let result = shop.deploy(&[]);
    assert_eq!(result["outcome"], "applied", "{result}");
    others_have("4");
    assert_eq!(shop.deploy(&[])["outcome"], "no_change");
    // It is there again after all, with what it had: it comes forward.
    rig.docker(&["start"], 2);
    until("its apps are back", || ["1", "3"].contains(&version(shop.address(2)).as_str()));
    // A host that starts answers requests before it lets anybody in.
    until("it lets people in", || {
        rig.on(2, "systemctl is-active ssh systemd-user-sessions || true") == "active\nactive"
    });
    shop.add(2);
    shop.write("4", "", "");
    let result = shop.deploy(&[]);
    assert_eq!(result["exit_code"], 0, "{result}");
    shop.is_everywhere("4");
    assert_eq!(shop.deploy(&[])["outcome"], "no_change");
    // One that the manifest names no more is left without a trace of the app, but for its data.
    shop.write_for(&[1, 3], "5", "", "");
    let result = shop.deploy(&[]);
    assert_eq!(result["outcome"], "applied", "{result}");
    others_have("5");
    assert_eq!(rig.on(2, "ps -o args= -C server; systemctl list-units --all --no-legend 'vrooli*'"), "");
    assert_eq!(shop.deploy(&[])["outcome"], "no_change");
    others.end();
}

/// A watch is the command's own on servers: it is not left to nobody. A person may decide, and one that
/// nobody watches any more goes back on each server by itself.
#[test]
fn a_watch_ends_by_the_command_a_person_or_each_server() {
    let Some(shop) = Shop::new("a_watch_ends_by_the_command_a_person_or_each_server") else { return };
    assert_eq!(shop.deploy(&[])["outcome"], "applied");
    let load = Load::on((1..=HOSTS).map(|number| shop.address(number)));
    shop.write("2", "", "");
    for strategy in STRATEGIES {
        let result = shop.deploy(&["--strategy", strategy, "--watch", "30s", "--no-wait"]);
        assert_eq!(
            (&result["exit_code"], &result["error"]["code"]),
            (&1.into(), &"VD0532".into()),
            "{result}"
        );
        assert!(result["error"]["help"].as_str().unwrap().contains("`--hold`"), "{result}");
    }
    let releases = "ls /var/lib/vrooli-deploy/workspace/apps/shop/default/releases";
    assert_eq!(shop.0.rig.on(1, releases), "r1", "nothing was sent");

    for (decision, version) in [("abort", "1"), ("promote", "2")] {
        let result = shop.deploy(&["--strategy", "blue-green", "--hold"]);
        assert_eq!(result["exit_code"], 8, "{result}");
        let result = shop.ran(&[decision, "shop"]);
        assert_eq!(result["exit_code"], 0, "{decision}: {result}");
        shop.is_everywhere(version);
    }

    shop.write("3", "", "");
    let watch =
        ["deploy", "shop/deployment.yaml", "--yes", "--strategy", "blue-green", "--watch", "10m", "--json"];
    let mut run = shop.program(&watch).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    // The new release serves before its watch has begun: a run that is killed in between is another case.
    let mut said = BufReader::new(run.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(said.any(|line| line.contains(r#""watching""#)), "no watch began");
    assert_eq!(shop.versions(), ["3", "3", "3"]);
    run.kill().unwrap();
    run.wait().unwrap();
    until("each server is back by itself", || shop.versions() == ["2", "2", "2"]);
    let result = shop.ran(&["resume", "shop"]);
    assert_eq!(result["exit_code"], 3, "{result}");
    assert!(result.to_string().contains("VD0664") && result.to_string().contains("`--hold`"), "{result}");
    shop.is_everywhere("2");
    assert_eq!(shop.deploy(&["--watch", "1s"])["outcome"], "applied");
    shop.is_everywhere("3");
    assert!(load.end() > 100);
}

/// All apps of a server share one program of ours there: who has an older one does not take the newer
/// one away from others.
#[test]
fn a_newer_program_on_servers_stays() {
    let Some(shop) = Shop::new("a_newer_program_on_servers_stays") else { return };
    let rig = &shop.0.rig;
    assert_eq!(shop.deploy(&[])["outcome"], "applied");
    // As a newer one says of itself.
    let newer = |protocol: u32| {
        let script = format!(
            "cd /var/lib/vrooli-deploy\n[ -e real ] || readlink program >real\n\
             cat >programs/newer <<EOF\n#!/bin/sh\nreal=$PWD/$(cat real)\n\
             [ \"\\$2\" != look ] || {{ \"\\$real\" \"\\$@\" | sed 's/\"version\":\"[^\"]*\",\"protocol\":[0-9]*/\"version\":\"99.0.0\",\"protocol\":{protocol}/'; exit; }}\n\
             exec \"\\$real\" \"\\$@\"\nEOF\n\
             chmod 755 programs/newer\nln -sfn programs/newer program\n"
        );
        for number in 1..=HOSTS {
            rig.on(number, &script);
        }
    };
    newer(1);
    shop.write("2", "", "");
    let lines = shop.lines(&["deploy", "shop/deployment.yaml", "--yes"]);
    assert_eq!(lines.last().unwrap()["outcome"], "applied", "{lines:?}");
    assert!(
        lines.iter().any(|line| line.to_string().contains("web2 uses vrooli-deploy 99.0.0")),
        "{lines:?}"
    );
    shop.is_everywhere("2");
    assert_eq!(shop.deploy(&[])["outcome"], "no_change");

    newer(99);
    shop.write("3", "", "");
    let result = shop.deploy(&[]);
    assert_eq!((&result["exit_code"], &result["error"]["code"]), (&1.into(), &"VD0927".into()), "{result}");
    assert!(result["error"]["help"].as_str().unwrap().contains("99.0.0 or newer"), "{result}");
    shop.is_everywhere("2");
    for number in 1..=HOSTS {
        assert_eq!(rig.on(number, "readlink /var/lib/vrooli-deploy/program"), "programs/newer");
        rig.on(
            number,
            "cd /var/lib/vrooli-deploy && ln -sfn \"$(cat real)\" program && rm real programs/newer",
        );
    }
    assert_eq!(shop.deploy(&[])["outcome"], "applied");
    shop.is_everywhere("3");
}

/// Killed at any moment, the next run converges.
#[test]
fn a_killed_run_leaves_no_mixed_fleet() {
    let Some(shop) = Shop::new("a_killed_run_leaves_no_mixed_fleet") else { return };
    for (at, phases) in shop.asked().iter().enumerate() {
        // What a server is prepared with: packages, user, folders, firewall, a record.
        let sent = phases.iter().position(|phase| phase == "send into the store");
        assert!((1..=4).contains(&sent.unwrap()), "web{}: {phases:?}", at + 1);
    }
    let load = Load::on((1..=HOSTS).map(|number| shop.address(number)));
    for (round, moment) in ["stage:", "start:", "probe:", "shift:", "commit:", "stop:"].iter().enumerate() {
        let version = format!("k{round}");
        shop.write(&version, "", "");
        let mut run = shop
            .program(&["deploy", "shop/deployment.yaml", "--yes", "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let events = std::io::BufReader::new(run.stdout.take().unwrap());
        let mut seen = false;
        for line in std::io::BufRead::lines(events) {
            let line = line.unwrap();
            seen = line.contains("started") && line.contains(moment);
            if seen {
                break;
            }
        }
        assert!(seen, "{moment}");
        run.kill().unwrap();
        run.wait().unwrap();
        let result = shop.deploy(&[]);
        assert_eq!(result["exit_code"], 0, "after {moment}: {result}");
        shop.is_everywhere(&version);
        assert_eq!(shop.deploy(&[])["outcome"], "no_change");
    }
    load.end();
}

/// How often a series is repeated: as the environment says.
fn rounds(otherwise: u32) -> u32 {
    std::env::var("VROOLI_DEPLOY_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

const STRATEGIES: [&str; 3] = ["blue-green", "rolling", "canary"];

/// Three servers under load, each strategy in turn, so many times.
#[test]
#[ignore = "a series of half an hour: docs/benchmarks.md"]
fn redeployed_again_and_again_no_request_fails() {
    let Some(shop) = Shop::new("redeployed_again_and_again_no_request_fails") else { return };
    assert_eq!(shop.deploy(&[])["outcome"], "applied");
    for strategy in STRATEGIES {
        let load = Load::on((1..=HOSTS).map(|number| shop.address(number)));
        let begun = Instant::now();
        for round in 1..=rounds(20) {
            let version = format!("{strategy}-{round}");
            shop.change(&version);
            let result = shop.deploy(&["--strategy", strategy, "--watch", "1s"]);
            assert_eq!(result["outcome"], "applied", "{version}: {result}");
            shop.is_everywhere(&version);
        }
        let took = begun.elapsed().as_secs();
        println!("| {strategy} | {} | {took} s | {} | 0 |", rounds(20), load.end());
    }
}

/// Killed at random moments, under load: the next run converges every time.
#[test]
#[ignore = "a series of an hour: docs/benchmarks.md"]
fn killed_again_and_again_no_fleet_is_mixed() {
    let Some(shop) = Shop::new("killed_again_and_again_no_fleet_is_mixed") else { return };
    assert_eq!(shop.deploy(&[])["outcome"], "applied");
    shop.change("whole");
    let begun = Instant::now();
    assert_eq!(shop.deploy(&[])["outcome"], "applied");
    let whole = u64::try_from(begun.elapsed().as_millis()).unwrap();
    let load = Load::on((1..=HOSTS).map(|number| shop.address(number)));
    let (mut random, mut killed) = (0x9e37_79b9_7f4a_7c15_u64, 0);
    while killed < rounds(100) {
        let version = format!("k{random:x}");
        shop.change(&version);
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let strategy = STRATEGIES[killed as usize % STRATEGIES.len()];
        let mut run = shop
            .program(&["deploy", "shop/deployment.yaml", "--yes", "--strategy", strategy, "--watch", "1s"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(random % (whole + 1000)));
        let was_at_it = run.try_wait().unwrap().is_none();
        run.kill().unwrap();
        run.wait().unwrap();
        killed += u32::from(was_at_it);
        let result = shop.deploy(&[]);
        assert_eq!(result["exit_code"], 0, "after kill {killed}: {result}");
        shop.is_everywhere(&version);
        if killed % 10 == 0 {
            assert_eq!(shop.deploy(&[])["outcome"], "no_change");
            println!("{killed} killed, {} requests", load.asked.load(Ordering::Relaxed));
        }
    }
    println!("| {killed} | 0 mixed | {} | 0 |", load.end());
}

pub(crate) fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
