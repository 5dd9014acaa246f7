//! Redeploys by this product: the fixtures' app, deployed by the command line.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use tokio::process::Command;
use vrooli_deploy_tests::load::{Connection, Load, Tally};

use crate::row::{Kill, Row};
use crate::{DRAIN, LOAD, Size};

/// What happens to the edge meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disturbance {
    Nothing,
    /// The program is replaced by a new one, and with it supervisor and edge.
    Upgrade,
    /// kill -9.
    Kill,
}

pub(crate) struct Case {
    pub(crate) name: &'static str,
    strategy: &'static str,
    /// How the app is run.
    app: &'static str,
    pub(crate) disturbance: Disturbance,
}

const WELL: &str = "[./server, --quiet]";
const DEAF: &str = "trap '' TERM; exec ./server --quiet";
const SLOW: &str = "[./server, --quiet, --start-after, \"1500\"]";
const EARLY: &str = "[./server, --quiet, --warm-after, \"1500\"]";
const BLUE_GREEN: &str = "type: blue-green";
const ROLLING: &str = "type: rolling, batch: 1";
const IN_PLACE: &str = "type: rolling, surge: 0";
const CANARY: &str = "type: canary, steps: [20, 60], watch: 2s";

const fn case(name: &'static str, strategy: &'static str, app: &'static str) -> Case {
    Case { name, strategy, app, disturbance: Disturbance::Nothing }
}

pub(crate) const CASES: &[Case] = &[
    case("blue-green", BLUE_GREEN, WELL),
    case("rolling", ROLLING, WELL),
    case("rolling-in-place", IN_PLACE, WELL),
    case("canary", CANARY, WELL),
    Case { disturbance: Disturbance::Upgrade, ..case("blue-green, edge upgraded", BLUE_GREEN, WELL) },
    Case { disturbance: Disturbance::Upgrade, ..case("canary, edge upgraded", CANARY, WELL) },
    Case { disturbance: Disturbance::Kill, ..case("blue-green, edge killed", BLUE_GREEN, WELL) },
    case("app ignores SIGTERM", BLUE_GREEN, DEAF),
    case("app is slow to start", BLUE_GREEN, SLOW),
    case("app answers 200 before it is ready", BLUE_GREEN, EARLY),
    case("rolling, app ignores SIGTERM", ROLLING, DEAF),
    case("canary, app answers 200 before it is ready", CANARY, EARLY),
];

/// A workspace, the app's folder and the program.
struct Ground {
    folder: tempfile::TempDir,
    name: &'static str,
}

pub(crate) async fn run(case: &Case, size: Size) -> io::Result<Row> {
    let ground = Ground::new(case)?;
    let done = redeploy(case, size, &ground).await;
    // Nothing is to run on, whatever came of it.
    let ended = ground.command(&["destroy", ground.name, &format!("--data={}", ground.name), "--yes"]).await;
    let row = done?;
    match ended?["exit_code"].as_u64() {
        Some(0) => Ok(row),
        other => Err(io::Error::other(format!("destroy ended with {other:?}"))),
    }
}

async fn redeploy(case: &Case, size: Size, ground: &Ground) -> io::Result<Row> {
    ground.set(case, 0)?;
    let first = ground.deploy().await?;
    let url = first["urls"][0].as_str().unwrap_or_default().trim_start_matches("http://");
    let address: SocketAddr = url.trim_end_matches('/').parse().map_err(io::Error::other)?;
    let begun = Instant::now();
    let load = Load::start(address, LOAD);
    let mut ended: BTreeMap<String, u64> = BTreeMap::new();
    let mut kills = Vec::new();
    for number in 1..=size.redeploys {
        at_least(load.tally(), size.requests * number / size.redeploys).await;
        ground.set(case, number)?;
        if case.disturbance == Disturbance::Upgrade && number % 4 == 1 {
            ground.upgrade()?;
        }
        let killing = async {
            if case.disturbance == Disturbance::Kill && number % 4 == 1 {
                // Each time a little later in the redeploy.
                tokio::time::sleep(Duration::from_millis(150 * number)).await;
                kills.extend(ground.kill_edge().await);
            }
        };
        let (report, ()) = tokio::join!(ground.deploy(), killing);
        let report = report?;
        let outcome = report["outcome"].as_str().unwrap_or("?").to_owned();
        if outcome != "applied" {
            eprintln!("  redeploy {number}: {report}");
        }
        *ended.entry(outcome).or_default() += 1;
    }
    let tally = load.end().await;
    let notes = Connection::open(address).await?.get("/notes", true).await?;
    let written = String::from_utf8_lossy(&notes.body).into_owned();
    Ok(Row::new(case.name, ended, (&tally, &written), &kills, begun))
}

pub(crate) async fn at_least(tally: &Tally, requests: u64) {
    while tally.all_done() < requests {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// Compiles the fixtures' server.
pub(crate) fn build_server(to: &Path) -> io::Result<()> {
    let built = std::process::Command::new("rustc")
        .args(["--edition", "2024", "-O", "-o"])
        .arg(to)
        .arg(fixtures().join("server/src/main.rs"))
        .status()?;
    if built.success() { Ok(()) } else { Err(io::Error::other("rustc failed")) }
}

impl Ground {
    fn new(case: &Case) -> io::Result<Self> {
        let ground = Self { folder: tempfile::tempdir()?, name: "busy" };
        let server = ground.folder.path().join("server");
        std::fs::create_dir_all(&server)?;
        build_server(&server.join("server"))?;
        std::fs::create_dir_all(ground.app())?;
        ground.upgrade()?;
        ground.set(case, 0)?;
        Ok(ground)
    }

    fn program(&self) -> PathBuf {
        self.folder.path().join("vrooli-deploy")
    }

    /// Puts a program in the place of the one that is there: the same, in another file.
    fn upgrade(&self) -> io::Result<()> {
        let beside = std::env::current_exe()?.with_file_name("vrooli-deploy");
        let new = self.folder.path().join("vrooli-deploy.new");
        std::fs::copy(beside, &new)?;
        std::fs::rename(new, self.program())
    }

    /// Writes the manifest of the nth release.
    fn set(&self, case: &Case, number: u64) -> io::Result<()> {
        let text = std::fs::read_to_string(fixtures().join("apps/busy/deployment.yaml"))?;
        let drain = DRAIN.as_secs();
        let text = text
            .replace("type: blue-green, drain: 2s", &format!("{}, drain: {drain}s", case.strategy))
            // Compiled once, not for each release.
            .replace("[/server/src/**]", "[/server/server]")
            .replace(
                "rustc --edition 2024 -O -o bin/server ../../server/src/main.rs",
                "cp ../../server/server bin/",
            )
            .replace(WELL, case.app)
            .replace("APP_VERSION: \"1\"", &format!("APP_VERSION: \"{number}\""));
        std::fs::write(self.app().join("deployment.yaml"), text)
    }

    fn app(&self) -> PathBuf {
        self.folder.path().join("apps/busy")
    }

    async fn deploy(&self) -> io::Result<Value> {
        let app = self.app();
        self.command(&["deploy", &app.to_string_lossy(), "--yes"]).await
    }

    /// The last line of what a command prints.
    async fn command(&self, words: &[&str]) -> io::Result<Value> {
        let output = Command::new(self.program())
            .args(words)
            .arg("--json")
            .env("VROOLI_DEPLOY_HOME", self.state())
            .env("XDG_CONFIG_HOME", self.folder.path().join("config"))
            .stdin(Stdio::null())
            .output()
            .await?;
        let text = String::from_utf8_lossy(&output.stdout);
        let last = text.lines().last().unwrap_or_default();
        serde_json::from_str(last)
            .map_err(|_| io::Error::other(format!("{last}{}", String::from_utf8_lossy(&output.stderr))))
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Kills the edge of this workspace, and waits until its sockets are closed. That it has no
    /// command line any more comes before that.
    async fn kill_edge(&self) -> Option<Kill> {
        let pid = edges(self.folder.path()).into_iter().next()?;
        let sent = Instant::now();
        kill_process(pid, Signal::KILL).ok()?;
        // Its parent hears of its end when nothing of it is left.
        while test_kill_process(pid).is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Some((sent, Instant::now()))
    }
}

/// Edges that were started by the program in a folder.
fn edges(folder: &Path) -> Vec<Pid> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        let mut words = line.split('\0');
        let program = words.next().is_some_and(|program| program.starts_with(&*folder.to_string_lossy()));
        if program && words.nth(1) == Some("edge") {
            let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
            found.extend(pid.and_then(Pid::from_raw));
        }
    }
    found
}
