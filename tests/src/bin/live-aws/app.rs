//! The example under a name of its own, and the command line on it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use uuid::Uuid;

/// What an account's bill and console show it by.
const PREFIX: &str = "vd-live";
const ENVIRONMENT: &str = "live";
/// Nothing has that name.
const UNKNOWN: &str = "VD0250";

/// The example, to be deployed once. Its state goes with it.
pub(crate) struct App {
    program: PathBuf,
    region: String,
    most: String,
    values: PathBuf,
    name: String,
    folder: tempfile::TempDir,
}

/// How a command ended.
struct Ended {
    code: Option<i32>,
    lines: Vec<Value>,
    said: String,
}

impl Ended {
    fn is(self, code: i32, what: &str) -> io::Result<Self> {
        if self.code == Some(code) {
            return Ok(self);
        }
        let result = self.lines.last().cloned().unwrap_or_default();
        Err(io::Error::other(format!("{what} ended with {:?}: {result}\n{}", self.code, self.said)))
    }
}

impl App {
    pub(crate) fn new(program: &Path, region: &str, most: &str, values: &str) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let id = Uuid::new_v4().simple().to_string();
        let name = format!("{PREFIX}-{}", id.get(..8).unwrap_or(&id));
        let own = format!("app:\n  name: {name}\ninfrastructure:\n  region: {region}\n");
        fs::write(folder.path().join("own.yaml"), own)?;
        let values = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/aws").join(values);
        Ok(Self {
            program: program.canonicalize()?,
            region: region.to_owned(),
            most: most.to_owned(),
            values: values.canonicalize()?,
            name,
            folder,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn command(&self, home: &str, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
            .args(words)
            .arg("--json")
            .env("VROOLI_DEPLOY_HOME", self.folder.path().join(home))
            .env("XDG_CONFIG_HOME", self.folder.path().join("config"))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    fn of_example(&self, verb: &str, more: &[&str]) -> Command {
        let (values, own) = (self.values.to_string_lossy(), self.folder.path().join("own.yaml"));
        let own = own.to_string_lossy();
        let words = [verb, "examples/picker-wheel", "--drop", "n8n", "--values", &values, "--values", &own];
        self.command("home", &[&words, more].concat())
    }

    async fn run(mut command: Command) -> io::Result<Ended> {
        let output = command.output().await?;
        let lines = String::from_utf8_lossy(&output.stdout);
        let lines = lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok(Ended { code: output.status.code(), lines, said })
    }

    /// Fails where its month costs more than was allowed, or that is not known.
    pub(crate) async fn is_affordable(&self) -> io::Result<()> {
        let words = ["--env", ENVIRONMENT, "--infra-only", "--max-monthly", &self.most];
        Self::run(self.of_example("plan", &words)).await?.is(0, "plan").map(drop)
    }

    fn deploying(&self) -> Command {
        let words = ["--env", ENVIRONMENT, "--infra-only", "--max-monthly", &self.most, "--yes"];
        self.of_example("deploy", &words)
    }

    /// Begins a deployment, and kills it once so many of its steps are done.
    pub(crate) async fn deploy_and_die(&self, after: usize) -> io::Result<()> {
        let mut command = self.deploying();
        let mut running = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut done = 0;
        if let Some(said) = running.stdout.take() {
            let mut lines = BufReader::new(said).lines();
            while let Some(line) = lines.next_line().await? {
                done += usize::from(line.contains(r#""type":"step_succeeded""#));
                if done == after {
                    return running.kill().await;
                }
            }
        }
        let status = running.wait().await?;
        Err(io::Error::other(format!("deploy ended after {done} steps, before it was killed: {status}")))
    }

    pub(crate) async fn deploy(&self) -> io::Result<()> {
        Self::run(self.deploying()).await?.is(0, "deploy").map(drop)
    }

    /// Fails where a plan has anything to do.
    pub(crate) async fn is_unchanged(&self) -> io::Result<()> {
        let words = ["--env", ENVIRONMENT, "--infra-only", "--detailed-exitcode"];
        Self::run(self.of_example("plan", &words)).await?.is(0, "plan").map(drop)
    }

    pub(crate) async fn has_no_drift(&self) -> io::Result<()> {
        let command = self.command("home", &["drift", &self.name, "--env", ENVIRONMENT]);
        Self::run(command).await?.is(0, "drift").map(drop)
    }

    pub(crate) async fn destroy(&self) -> io::Result<()> {
        let data = format!("--data={}", self.name);
        let words = ["destroy", &self.name, "--env", ENVIRONMENT, &data, "--yes"];
        let ended = Self::run(self.command("home", &words)).await?;
        // Ended before anything was begun: it is not known at all.
        let unknown = ended.lines.last().is_some_and(|line| line["error"]["code"] == UNKNOWN);
        if unknown { Ok(()) } else { ended.is(0, "destroy").map(drop) }
    }

    /// What bears this app's marks, seen from an empty workspace.
    pub(crate) async fn left(&self) -> io::Result<Vec<String>> {
        let words = ["orphans", &self.name, "--provider", "aws", "--region", &self.region];
        let ended = Self::run(self.command("empty", &words)).await?;
        if !matches!(ended.code, Some(0 | 10)) {
            ended.is(0, "orphans")?;
            return Ok(Vec::new());
        }
        let found = ended.lines.iter().filter_map(|line| line["id"].as_str());
        Ok(found.map(str::to_owned).collect())
    }
}
