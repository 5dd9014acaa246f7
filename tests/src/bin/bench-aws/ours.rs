//! The command line on the reference stack.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use serde_json::Value;
use tokio::process::{Child, Command};

use crate::stand::{KEYS, Stand, checkout, fixtures};

/// What is deployed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// All of it.
    Reference,
    /// Less databases, content network and domain: what terraform sleeps on by itself.
    Quick,
}

impl Size {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Reference => "reference",
            Self::Quick => "quick",
        }
    }
}

/// The app's name, as its manifest has it.
const APP: &str = "picker-wheel";

/// A state folder, and the stack of it. Gone when dropped.
pub(crate) struct Ours<'a> {
    program: &'a Path,
    endpoint: String,
    state: tempfile::TempDir,
    pub(crate) size: Size,
}

/// How a run ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// The last line of what it printed.
    pub(crate) result: Value,
    /// What it said besides.
    pub(crate) said: String,
}

impl Ended {
    pub(crate) fn is_ok(&self) -> bool {
        self.status.success()
    }

    pub(crate) fn or_error(self, what: &str) -> io::Result<Self> {
        if self.is_ok() {
            return Ok(self);
        }
        Err(io::Error::other(format!("{what}: {}\n{}", self.result, self.said)))
    }
}

impl<'a> Ours<'a> {
    pub(crate) fn new(program: &'a Path, stand: &Stand, size: Size) -> io::Result<Self> {
        Ok(Self { program, endpoint: stand.proxy.url(), state: tempfile::tempdir()?, size })
    }

    fn command(&self, words: &[&str]) -> io::Result<Command> {
        let mut command = Command::new(self.program);
        command
            .current_dir(checkout()?)
            .args(words)
            .args(["--env", "production", "--yes", "--json"])
            .envs(KEYS)
            .env("AWS_ENDPOINT_URL", &self.endpoint)
            // Whoever measures may have settings of their own.
            .env("AWS_CONFIG_FILE", self.state.path().join("none"))
            .env("AWS_SHARED_CREDENTIALS_FILE", self.state.path().join("none"))
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("VROOLI_DEPLOY_HOME", self.state.path().join("home"))
            .env("XDG_CONFIG_HOME", self.state.path().join("config"))
            .stdin(Stdio::null())
            // Nobody reads while it runs: a pipe would fill up.
            .stdout(File::create(self.printed())?)
            .stderr(File::create(self.said())?)
            .kill_on_drop(true);
        Ok(command)
    }

    fn of_stack(&self, verb: &str, more: &[&str]) -> io::Result<Command> {
        let app = format!("examples/{APP}");
        let values: PathBuf = fixtures().join(format!("{}.yaml", self.size.as_str()));
        let values = values.to_string_lossy();
        let words = [verb, &app, "--infra-only", "--drop", "n8n", "--values", &values];
        self.command(&[&words, more].concat())
    }

    fn printed(&self) -> PathBuf {
        self.state.path().join("printed")
    }

    fn said(&self) -> PathBuf {
        self.state.path().join("said")
    }

    /// Begins a deployment. One runs at a time.
    pub(crate) fn deploying(&self) -> io::Result<Child> {
        self.of_stack("deploy", &[])?.spawn()
    }

    /// Waits until what was begun last has ended.
    pub(crate) async fn ended(&self, mut running: Child) -> io::Result<Ended> {
        let status = running.wait().await?;
        let printed = fs::read_to_string(self.printed())?;
        let result = printed.lines().last().and_then(|line| serde_json::from_str(line).ok());
        Ok(Ended { status, result: result.unwrap_or_default(), said: fs::read_to_string(self.said())? })
    }

    pub(crate) async fn deploy(&self) -> io::Result<Ended> {
        self.ended(self.deploying()?).await
    }

    /// Ends well only where there is nothing to do.
    pub(crate) async fn plan(&self) -> io::Result<Ended> {
        self.ended(self.of_stack("plan", &["--detailed-exitcode"])?.spawn()?).await
    }

    /// With all that it holds.
    pub(crate) async fn destroy(&self) -> io::Result<Ended> {
        let words = ["destroy", APP, &format!("--data={APP}")];
        self.ended(self.command(&words)?.spawn()?).await
    }
}
