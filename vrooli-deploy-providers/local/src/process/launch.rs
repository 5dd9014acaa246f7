//! How a command reaches its process: over pipes, so that no variable is ever in an
//! argument list or a file.
//!
//! supervisor ─stdin→ shim ─stdin→ launcher, which becomes the app by `exec`. The launcher
//! exists because only a process itself can ask to die with its parent.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vrooli_deploy_core::provider::{ErrorKind, ProviderError};
use vrooli_deploy_core::secrets::Secret;

use super::config::LogConfig;
use super::container::Container;

/// A launch is at most this long: the kernel takes no more in an environment anyway.
const LIMIT: u64 = 8 * 1024 * 1024;

/// Variables of a process. `Debug` shows the names only.
#[derive(Clone, Default)]
pub(crate) struct Environment(BTreeMap<String, Secret<String>>);

impl Environment {
    /// Sets a variable; the last one counts.
    pub(crate) fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.set_secret(name, Secret::new(value.into()));
    }

    /// Sets a variable whose value is secret.
    pub(crate) fn set_secret(&mut self, name: impl Into<String>, value: Secret<String>) {
        self.0.insert(name.into(), value);
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|v| v.expose().as_str())
    }

    /// The kernel's own form: `NAME=value`, each ended by a zero byte.
    fn to_block(&self) -> io::Result<Secret<Vec<u8>>> {
        let size = self.0.iter().map(|(n, v)| n.len() + v.expose().len() + 2).sum();
        let mut block = Vec::with_capacity(size);
        for (name, value) in &self.0 {
            if name.is_empty() || name.contains(['=', '\0']) || value.expose().contains('\0') {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("variable `{}` holds a zero byte or has no proper name", name.escape_debug()),
                ));
            }
            block.extend_from_slice(name.as_bytes());
            block.push(b'=');
            block.extend_from_slice(value.expose().as_bytes());
            block.push(0);
        }
        Ok(Secret::new(block))
    }

    fn from_block(block: &[u8]) -> Option<Self> {
        let mut all = Self::default();
        for variable in block.split_inclusive(|b| *b == 0) {
            let (name, value) = std::str::from_utf8(variable.strip_suffix(&[0])?).ok()?.split_once('=')?;
            all.set(name, value);
        }
        Some(all)
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What to run and where.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Target {
    /// Told from every other start of the unit.
    pub(crate) instance: Uuid,
    /// The unit's own folder.
    pub(crate) unit: PathBuf,
    /// Program and arguments.
    pub(crate) argv: Vec<String>,
    /// Working directory.
    pub(crate) dir: PathBuf,
    /// As whom; `None`: as who we are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) account: Option<RunAs>,
    /// Where its output goes.
    pub(crate) log: PathBuf,
    /// How long it may take to end by itself, in milliseconds.
    pub(crate) grace_ms: u64,
    /// When its log is rotated.
    pub(crate) rotation: LogConfig,
    /// The container that it runs in; `None`: it is a process of the machine's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) container: Option<Container>,
    /// Pid of the shim; only the shim can say it.
    #[serde(default)]
    pub(crate) parent: u32,
}

/// An account that an app runs as, in place of root's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunAs {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

#[derive(Serialize, Deserialize)]
struct Header<T> {
    target: T,
    environment: usize,
}

/// A command with its environment.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    pub(crate) target: Target,
    pub(crate) environment: Environment,
}

impl Launch {
    /// Writes it: a line of JSON, then the environment in the kernel's form.
    pub(crate) fn write_to(&self, mut to: impl Write) -> io::Result<()> {
        let block = self.environment.to_block()?;
        let mut header =
            serde_json::to_vec(&Header { target: &self.target, environment: block.expose().len() })?;
        header.push(b'\n');
        to.write_all(&header)?;
        to.write_all(block.expose())?;
        to.flush()
    }

    /// Reads one to the end. Half of one, from a writer that was killed, is an error.
    pub(crate) fn read_from(from: impl Read) -> io::Result<Self> {
        let mut bytes = Vec::new();
        from.take(LIMIT).read_to_end(&mut bytes)?;
        let bytes = Secret::new(bytes);
        let broken = || io::Error::new(io::ErrorKind::InvalidData, "this is no whole launch");
        let line = bytes.expose().iter().position(|b| *b == b'\n').ok_or_else(broken)?;
        let (header, block) = bytes.expose().split_at(line);
        let header: Header<Target> = serde_json::from_slice(header).map_err(|_| broken())?;
        let block = block.get(1..).filter(|b| b.len() == header.environment).ok_or_else(broken)?;
        Ok(Self { target: header.target, environment: Environment::from_block(block).ok_or_else(broken)? })
    }
}

/// What the shim answers to a launch, one line of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    /// It runs; pid of its first process.
    Started(u32),
    /// Another shim has the unit.
    Taken,
    /// It does not run.
    Failed(LaunchFailure),
}

/// Why something does not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LaunchFailure {
    kind: ErrorKind,
    message: String,
}

impl LaunchFailure {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    fn of(error: &io::Error, what: &str) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => ErrorKind::Missing,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Quota,
            _ => ErrorKind::App,
        };
        Self::new(kind, format!("{what}: {error}"))
    }
}

impl From<io::Error> for LaunchFailure {
    fn from(error: io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Quota,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Permission,
            _ => ErrorKind::Unexpected,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<LaunchFailure> for ProviderError {
    fn from(failure: LaunchFailure) -> Self {
        Self::new(failure.kind, failure.message)
    }
}

/// The launcher: reads a launch from standard input and becomes the app. On success standard
/// input is closed without a word, else it says why and ends.
pub(crate) fn become_app() -> u8 {
    let answer = match io::stdin().as_fd().try_clone_to_owned() {
        Ok(fd) => UnixStream::from(fd),
        Err(_) => return 70,
    };
    let failure = match prepare(&answer) {
        Ok(mut command) => {
            let error = command.exec();
            not_run(&command, &error)
        }
        Err(failure) => failure,
    };
    let mut answer = answer;
    let _ = serde_json::to_writer(&mut answer, &failure);
    let _ = answer.shutdown(Shutdown::Write);
    71
}

/// Why the app's program was not run, for a person.
pub(crate) fn not_run(command: &Command, error: &io::Error) -> LaunchFailure {
    is_nowhere(command).unwrap_or_else(|| {
        LaunchFailure::of(error, &format!("cannot run `{}`", command.get_program().to_string_lossy()))
    })
}

/// Is a program not where it is said to be, or in no folder of its PATH? One that may not be read makes the kernel
/// say "permission denied" of a program that is nowhere.
pub(super) fn is_nowhere(command: &Command) -> Option<LaunchFailure> {
    let program = command.get_program();
    let shown = program.to_string_lossy();
    let path =
        command.get_envs().find_map(|(name, value)| value.filter(|_| name == "PATH")).unwrap_or_default();
    if shown.contains('/') {
        let place = command.get_current_dir().map_or_else(|| program.into(), |dir| dir.join(program));
        let absent = io::Error::from(rustix::io::Errno::NOENT);
        return (!place.exists()).then(|| LaunchFailure::of(&absent, &format!("cannot run `{shown}`")));
    }
    let is_nowhere = !std::env::split_paths(path).any(|dir| dir.join(program).exists());
    is_nowhere.then(|| {
        LaunchFailure::new(
            ErrorKind::Missing,
            format!("`{shown}` is not installed: it is in no folder of the PATH {}", path.display()),
        )
    })
}

fn prepare(from: &UnixStream) -> Result<Command, LaunchFailure> {
    let launch = Launch::read_from(from)?;
    die_with(launch.target.parent)?;
    command(&launch)
}

/// The app's command, with nothing of our own environment and no input.
pub(crate) fn command(launch: &Launch) -> Result<Command, LaunchFailure> {
    command_over(launch, [])
}

/// The same with variables that it has where the launch does not say otherwise.
pub(super) fn command_over(
    launch: &Launch,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Command, LaunchFailure> {
    let Launch { target, environment } = launch;
    if !target.dir.is_dir() {
        return Err(LaunchFailure::new(
            ErrorKind::App,
            format!("its working directory {} is not there", target.dir.display()),
        ));
    }
    let (program, arguments) = target
        .argv
        .split_first()
        .ok_or_else(|| LaunchFailure::new(ErrorKind::Config, "there is no command to run"))?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(&target.dir)
        .env_clear()
        .envs(variables)
        .envs(environment.0.iter().map(|(name, value)| (name, value.expose())))
        .stdin(Stdio::null());
    Ok(command)
}

/// Asks the kernel to kill this process, and what it becomes by `exec`, when its parent dies.
#[cfg(target_os = "linux")]
pub(super) fn die_with(parent: u32) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    // It may have died before it was asked for.
    let now = rustix::process::getppid().map(|p| p.as_raw_nonzero().get().unsigned_abs());
    if now == Some(parent) { Ok(()) } else { Err(io::Error::other("the shim is gone")) }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn die_with(_: u32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch() -> Launch {
        let mut environment = Environment::default();
        environment.set("PATH", "/bin");
        environment.set_secret("PASSWORD", Secret::new("a=b\nc".into()));
        Launch {
            target: Target {
                instance: Uuid::nil(),
                unit: "/u".into(),
                argv: vec!["sh".into()],
                dir: "/".into(),
                account: None,
                log: "/l".into(),
                grace_ms: 1,
                rotation: LogConfig::default(),
                container: None,
                parent: 0,
            },
            environment,
        }
    }

    #[test]
    fn a_launch_is_read_as_it_was_written_and_never_by_half() {
        let mut bytes = Vec::new();
        launch().write_to(&mut bytes).unwrap();
        let read = Launch::read_from(&bytes[..]).unwrap();
        assert_eq!(read.target, launch().target);
        assert_eq!(read.environment.get("PASSWORD"), Some("a=b\nc"));
        for cut in 0..bytes.len() {
            assert!(Launch::read_from(&bytes[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn values_are_not_shown_and_zero_bytes_are_refused() {
        assert!(!format!("{:?}", launch()).contains("a=b"));
        let mut bad = launch();
        bad.environment.set("X", "a\0b");
        assert!(bad.write_to(Vec::new()).unwrap_err().to_string().contains("`X`"));
    }
}
