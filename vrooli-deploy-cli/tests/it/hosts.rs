//! Servers as a user meets them: real ones, in containers.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Output};

use serde_json::Value;

use crate::rig::{self, Rig};
use crate::script::{Place, repository};
use crate::terminal::on_terminal;

/// A workspace whose user knows the hosts as `web1`, `web2`, …
pub(crate) struct User {
    pub(crate) place: Place,
    pub(crate) rig: Rig,
}

impl User {
    /// `None`, and said so, where there can be no hosts.
    pub(crate) fn new(test: &str, count: u32) -> Option<Self> {
        if let Some(why) = rig::absent() {
            println!("skipped: {test}: {why}");
            return None;
        }
        Some(Self::on(Rig::up(count, &[]), count))
    }

    /// The same with an engine on each host.
    pub(crate) fn with_docker(test: &str, count: u32) -> Option<Self> {
        if let Some(why) = rig::absent_docker() {
            println!("skipped: {test}: {why}");
            return None;
        }
        Some(Self::on(Rig::up_with_docker(count), count))
    }

    fn on(rig: Rig, count: u32) -> Self {
        for number in 1..=count {
            let address = rig.docker(
                &["inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"],
                number,
            );
            let own =
                format!("User deploy\n  IdentityFile {}/id\n  IdentitiesOnly yes", rig.folder().display());
            let known = rig.user_known_hosts();
            rig.configure_first(&format!(
                "Host web{number}\n  HostName {address}\n  {own}\n  UserKnownHostsFile {}",
                known.display()
            ));
        }
        Self { place: Place::new(), rig }
    }

    pub(crate) fn program(&self, words: &[&str]) -> Command {
        let mut program = self.place.program();
        program.env("VROOLI_DEPLOY_SSH_CONFIG", self.rig.ssh_config()).args(words);
        program
    }

    pub(crate) fn run(&self, words: &[&str]) -> Output {
        self.program(words).output().unwrap()
    }

    /// The lines of `--json`, and the exit code.
    pub(crate) fn json(&self, words: &[&str]) -> (Vec<Value>, i32) {
        let output = self.program(words).arg("--json").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
            output.status.code().unwrap(),
        )
    }

    fn known_hosts(&self) -> Option<String> {
        fs::read_to_string(self.place.state().join("hosts/known_hosts")).ok()
    }
}

#[test]
fn yes_is_no_answer_to_whose_key_it_is() {
    let Some(user) = User::new("yes_is_no_answer_to_whose_key_it_is", 1) else { return };
    for words in [&["hosts", "add", "web1", "--yes"][..], &["hosts", "add", "web1"]] {
        let (lines, exit) = user.json(words);
        assert_eq!(exit, 1);
        let error = &lines[0]["error"];
        assert_eq!(error["code"], "VD0900", "{error}");
        assert!(error["message"].as_str().unwrap().contains(&user.rig.fingerprint(1, "ed25519")), "{error}");
        assert!(error["help"].as_str().unwrap().contains("hosts add web1 --fingerprint"), "{error}");
    }
    let wrong = format!("SHA256:{}", "A".repeat(43));
    let (lines, exit) = user.json(&["hosts", "add", "web1", "--yes", "--fingerprint", &wrong]);
    assert_eq!((exit, &lines[0]["error"]["code"]), (1, &Value::from("VD0902")));
    assert_eq!(user.known_hosts(), None);
    assert!(!user.rig.user_known_hosts().exists());
    assert_eq!(user.json(&["hosts", "list"]).0.len(), 1);
}

#[test]
fn a_person_is_asked_whose_key_it_is() {
    let Some(user) = User::new("a_person_is_asked_whose_key_it_is", 1) else { return };
    let fingerprint = user.rig.fingerprint(1, "ed25519");
    let answer = |answer: &str| {
        let mut answered = false;
        on_terminal(&mut user.program(&["hosts", "add", "web1", "--yes"]), |seen, terminal| {
            if !answered && seen.contains("[yes/no]") {
                assert!(seen.contains(&fingerprint), "{seen}");
                writeln!(terminal, "{answer}").unwrap();
                answered = true;
            }
        })
    };
    for no in ["no", "y", ""] {
        let (status, seen) = answer(no);
        assert_eq!(status.code(), Some(1), "{}", String::from_utf8_lossy(&seen));
        assert_eq!(user.known_hosts(), None);
    }
    let (status, seen) = answer("yes");
    assert!(status.success(), "{}", String::from_utf8_lossy(&seen));
    assert_eq!(user.known_hosts().unwrap().lines().count(), 1);
    // From now on nobody is asked, and of no command a connection stays.
    let (lines, exit) = user.json(&["hosts", "check"]);
    assert_eq!((exit, &lines[0]["facts"]["root"]), (0, &Value::from("sudo")), "{lines:?}");
    let left = fs::read_dir(user.place.state().join("hosts")).unwrap().flatten();
    let left: Vec<_> = left
        .map(|entry| entry.file_name())
        .filter(|name| name.to_string_lossy().starts_with(".ssh"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn one_bad_host_is_named_and_the_others_are_shown() {
    let Some(user) = User::new("one_bad_host_is_named_and_the_others_are_shown", 2) else { return };
    for number in [1, 2] {
        let fingerprint = user.rig.fingerprint(number, "ed25519");
        let name = format!("web{number}");
        assert_eq!(user.json(&["hosts", "add", &name, "--fingerprint", &fingerprint]).1, 0);
    }
    user.rig.on(2, "rm /home/deploy/.ssh/authorized_keys");
    let (lines, exit) = user.json(&["hosts", "check"]);
    assert_eq!(exit, 1);
    let os = user.rig.on(1, ". /etc/os-release; echo $ID");
    assert_eq!(lines[0]["facts"]["os"], os.trim());
    assert_eq!(lines[1]["error"]["code"], "VD0903");
    assert_eq!(lines[2]["error"]["code"], "VD0916");
}

/// The commands of the page are run as they stand there, but for the fingerprints.
#[test]
fn what_the_page_shows_works() {
    let Some(user) = User::new("what_the_page_shows_works", 2) else { return };
    let page = fs::read_to_string(repository().join("docs/providers/bare-metal.md")).unwrap();
    let (_, manifest) = page.split_once("```yaml\n# shop.yaml\n").unwrap();
    fs::write(user.place.dir().join("shop.yaml"), manifest.split("```").next().unwrap()).unwrap();
    let mut ran = Vec::new();
    // These want an app that runs, and are run by other tests.
    let elsewhere = |verb: &str| match verb {
        "backups" => include_str!("records.rs").contains("\"backups\", \"list\""),
        "state" => include_str!("fleet/other_hands.rs").contains("\"state\", \"rebuild\""),
        _ => false,
    };
    for line in page.lines().filter_map(|line| line.strip_prefix("$ vrooli-deploy ")) {
        let fingerprint = user.rig.fingerprint(if line.contains("web2") { 2 } else { 1 }, "ed25519");
        let line = line.split(" #").next().unwrap().trim_end().replace("SHA256:…", &fingerprint);
        let words: Vec<&str> = line.split(' ').collect();
        if elsewhere(words[0]) {
            continue;
        }
        if words[0] == "deploy" {
            // As the page says.
            let without = manifest
                .split("```")
                .next()
                .unwrap()
                .replace("services:\n  api:\n    run: [./api]\n", "services: {}\n");
            fs::write(user.place.dir().join("shop.yaml"), without).unwrap();
        }
        let output = user.run(&words);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        // `preflight` may find fault with a container; it must have looked.
        let looked =
            words[0] == "preflight" && out.contains("web2 (database)") && out.contains("clock_offset");
        assert!(output.status.success() || looked, "{line}: {out}{err}");
        ran.push(words[..2].join(" "));
    }
    assert_eq!(
        ran,
        [
            "hosts add",
            "hosts add",
            "hosts list",
            "hosts check",
            "preflight shop.yaml",
            "hosts remove",
            "configure acme_terms",
            "hosts add",
            "render shop.yaml",
            "render shop.yaml",
            "deploy shop.yaml",
            "drift shop",
            "destroy shop"
        ]
    );
    // The same for programs: a line a check, each with what it is about.
    fs::write(user.place.dir().join("shop.yaml"), manifest.split("```").next().unwrap()).unwrap();
    let (lines, exit) = user.json(&["preflight", "shop.yaml"]);
    let (result, checks) = lines.split_last().unwrap();
    assert_eq!(result["exit_code"], exit);
    assert!(checks.iter().all(|line| line["type"] == "preflight" && line["id"].is_string()), "{checks:?}");
    let of = |host: &str, id: &str| checks.iter().find(|line| line["host"] == host && line["id"] == id);
    assert_eq!(of("web1", "ssh_connect").unwrap()["status"], "pass");
    assert_eq!(of("web1", "ports_80_443").unwrap()["status"], "pass");
    // A server that runs no app needs no port of the edge.
    assert!(of("web2", "ports_80_443").is_none());
    assert_eq!(of("web2", "root").unwrap()["status"], "pass");
}

const SHOP: &str = r#"
schema_version: v0.1
target: saas
provider: bare-metal
app: { name: shop }
services: {}
infrastructure:
  servers:
    - { host: web1, role: app, monthly_usd: "12.00" }
    - { host: web2, role: database, monthly_usd: "20.00" }
"#;

/// Two bare servers are prepared, looked at, mended and given back; a kill on the way changes
/// nothing of what comes out.
#[test]
fn servers_are_prepared_mended_and_given_back() {
    let Some(user) = User::new("servers_are_prepared_mended_and_given_back", 2) else { return };
    for number in [1, 2] {
        let fingerprint = user.rig.fingerprint(number, "ed25519");
        user.json(&["hosts", "add", &format!("web{number}"), "--fingerprint", &fingerprint]);
    }
    fs::write(user.place.dir().join("shop.yaml"), SHOP).unwrap();
    let last = |words: &[&str]| {
        let (lines, exit) = user.json(words);
        let result = lines.last().unwrap().clone();
        assert_eq!(result["exit_code"], exit);
        (lines, result)
    };
    let steps = |lines: &[Value]| {
        lines.iter().find(|line| line["type"] == "plan").unwrap()["steps"].as_array().unwrap().len()
    };
    let (lines, result) = last(&["plan", "shop.yaml", "--detailed-exitcode"]);
    assert_eq!((result["exit_code"].as_i64(), steps(&lines)), (Some(10), 7), "{result}");
    assert_eq!(user.rig.on(1, "ls /var/lib/vrooli-deploy 2>/dev/null || echo nothing"), "nothing");

    // Killed while it installs.
    let mut killed = user.program(&["deploy", "shop.yaml"]).spawn().unwrap();
    for _ in 0..600 {
        if user.rig.on(1, "ls /var/lib/vrooli-deploy/host-record 2>/dev/null || true").contains("json") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    let (_, result) = last(&["deploy", "shop.yaml"]);
    assert!(matches!(result["outcome"].as_str(), Some("applied" | "no_change")), "{result}");
    let (_, result) = last(&["deploy", "shop.yaml"]);
    assert_eq!(result["outcome"], "no_change", "{result}");
    let (lines, result) = last(&["drift", "shop"]);
    assert_eq!((lines.len(), &result["exit_code"]), (1, &Value::from(0)), "{lines:?}");

    user.rig.on(1, "userdel vd-shop; chmod 777 /var/lib/vrooli-deploy/workspace/apps/shop/default");
    let (lines, result) = last(&["drift", "shop"]);
    assert_eq!(result["exit_code"], 10);
    let seen: Vec<_> =
        lines.iter().filter(|line| line["type"] == "drift").map(|line| &line["what"]).collect();
    assert_eq!(seen, ["user/web1", "directories/web1"]);
    assert_eq!(last(&["deploy", "shop.yaml"]).1["outcome"], "applied");
    assert_eq!(last(&["drift", "shop"]).1["exit_code"], 0);

    // Another workspace does not touch it.
    let other = user.place.dir().join("other");
    let mut program = user.program(&["plan", "shop.yaml", "--json", "--state-dir"]);
    fs::create_dir_all(other.join("hosts")).unwrap();
    fs::copy(user.place.state().join("hosts/known_hosts"), other.join("hosts/known_hosts")).unwrap();
    let output = program.arg(&other).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(!output.status.success() && said.contains("VD0919"), "{said}");

    assert_eq!(last(&["destroy", "shop", "--yes"]).1["outcome"], "applied");
    for number in [1, 2] {
        assert_eq!(user.rig.on(number, "ls /var/lib/vrooli-deploy 2>/dev/null || echo nothing"), "nothing");
    }
    assert_eq!(user.rig.on(1, "getent passwd vd-shop || echo nobody"), "nobody");
}
