//! The numbers of supervision, in one place.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vrooli_deploy_core::secrets::Secret;

use super::key::StoreKey;

/// When logs are rotated: by copy and truncate, because the app keeps its file open.
/// What is written between the end of the copy and the cut is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfig {
    /// A log that is longer is rotated, in bytes. Default 10 MiB.
    pub max_bytes: u64,
    /// How many older parts are kept. Default 3.
    pub keep: u32,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { max_bytes: 10 * 1024 * 1024, keep: 3 }
    }
}

/// How the supervisor behaves.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SupervisorConfig {
    /// Rotation of the apps' logs.
    pub log: LogConfig,
    /// Wait before the first restart; doubled with each further one. Default 1 s.
    pub backoff: Duration,
    /// Longest wait before a restart. Default 30 s.
    pub backoff_max: Duration,
    /// An instance that ran so long was well: the wait starts from the beginning. Default 60 s.
    pub well_after: Duration,
    /// How long a process may take to end once asked to, where its service does not say. Default 10 s.
    pub stop_grace: Duration,
    /// How long a supervisor with nothing to do stays. Default 5 s.
    pub idle: Duration,
    /// How often it looks whether its folder is there and routing is due. Default 500 ms.
    pub tick: Duration,
    /// Does somebody here go on with a watch that its command left? On a server there is no state to
    /// go on from: traffic goes back when its time is over. Default true.
    pub watches: bool,
    /// Does the system keep it, on a server? Then its edge has a folder of its own, with certificates.
    /// Default false.
    pub resident: bool,
    /// The account that the edge runs as, where we are root. Default: our own.
    pub edge_account: Option<String>,
    /// How long an instance may take to be launched before it has failed. Default 20 s.
    pub launch: Duration,
}

impl Default for SupervisorConfig {
    fn default() -> Self {
        Self {
            log: LogConfig::default(),
            backoff: Duration::from_secs(1),
            backoff_max: Duration::from_secs(30),
            well_after: Duration::from_secs(60),
            stop_grace: Duration::from_secs(10),
            idle: Duration::from_secs(5),
            tick: Duration::from_millis(500),
            watches: true,
            resident: false,
            edge_account: None,
            launch: Duration::from_secs(20),
        }
    }
}

/// How the hidden subcommands are run: which program, and which of the caller's variables it
/// may see beside the usual ones.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Program {
    /// The program; it must call `run_if_child` first in its `main`.
    pub path: PathBuf,
    /// Names of variables that the supervisor keeps (where configuration lies). No app gets them.
    pub pass: Vec<String>,
    /// The key of the secret store, where it lies in no file. The supervisor gets it by pipe
    /// or socket and holds it in memory.
    pub(crate) key: Option<StoreKey>,
}

impl Default for Program {
    /// The running program itself, also when its file was replaced meanwhile.
    fn default() -> Self {
        let path = if cfg!(target_os = "linux") {
            PathBuf::from("/proc/self/exe")
        } else {
            std::env::current_exe().unwrap_or_default()
        };
        Self { path, pass: Vec::new(), key: None }
    }
}

impl Program {
    /// Another program.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), pass: Vec::new(), key: None }
    }

    /// Lets the supervisor see a variable.
    #[must_use]
    pub fn passing(mut self, name: impl Into<String>) -> Self {
        self.pass.push(name.into());
        self
    }

    /// Gives the supervisor the key of the secret store, which is in no file.
    #[must_use]
    pub fn with_key(mut self, key: Option<Secret<String>>) -> Self {
        self.key = key.map(StoreKey::new);
        self
    }

    /// A hidden subcommand with nothing of this process's environment.
    pub(crate) fn command(&self, role: &str, arguments: impl IntoIterator<Item = OsString>) -> Command {
        let mut command = Command::new(&self.path);
        // For people who look at a list of processes.
        if self.path.starts_with("/proc/self")
            && let Ok(name) = std::env::current_exe()
        {
            command.arg0(name);
        }
        command.arg(crate::child::MARKER).arg(role).args(arguments).env_clear();
        command
    }
}
