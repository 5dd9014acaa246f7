//! One private server: made, started, stopped and removed, each resumable from wherever a
//! kill left it. Its settings, password included, reach it on standard input: no file
//! holds them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};
use vrooli_deploy_core::names::{ResourceKey, StackId};
use vrooli_deploy_core::provider::{ErrorKind, OpCtx, ProviderError, Result};
use vrooli_deploy_core::secrets::Secret;

use super::RedisObserved;
use super::wire::{Answer, ask};
use crate::kinds::marker::{Marker, Progress};
use crate::kinds::numbers::PortRange;
use crate::kinds::{Machine, folder_name, numbers, password, resident};
use crate::tool::Tool;
use crate::{environment, failure, files, programs};

#[derive(Debug, Default, Deserialize)]
struct Known {
    programs: Vec<String>,
    folders: Vec<String>,
    ports: PortRange,
}

static KNOWN: LazyLock<Known> =
    LazyLock::new(|| crate::knowledge(include_str!("../../../data/redis.json"), "redis.json"));

/// What the record of a server says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Made {
    port: u16,
}

pub(super) type Record = Marker<Made>;

const SORT: &str = "redis";
const LISTEN: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const POLL: Duration = Duration::from_millis(25);
/// How long a server may take to write its data before it is ended by force.
const STOP_GRACE: Duration = Duration::from_secs(30);
/// How long a server may take from letting go of us to its first sign of life.
const START_GRACE: Duration = Duration::from_secs(20);

/// A server whose lock we hold.
#[derive(Debug)]
pub(super) struct Server<'a> {
    machine: &'a Machine,
    stack: StackId,
    key: ResourceKey,
    folder: PathBuf,
    lock: File,
}

/// What the record says, as it is observed.
pub(super) fn observed(record: &Record) -> RedisObserved {
    RedisObserved { port: record.made.port, finished: record.progress == Progress::Ready }
}

/// The URL with the password in it.
pub(super) fn url(have: &RedisObserved, password: &Secret<String>) -> Secret<String> {
    Secret::new(format!("redis://:{}@127.0.0.1:{}/0", password.expose(), have.port))
}

/// The folder of a stack's servers.
pub(super) fn parent(machine: &Machine, stack: &StackId) -> PathBuf {
    machine.layout.servers(stack, SORT)
}

/// Sees to it that a server that was made is running: before a start, and after a reboot.
///
/// # Errors
/// `NotFound` when it was never made; what keeps it from starting, with its last log lines.
pub async fn ensure_running(machine: &Machine, cx: &OpCtx, key: &ResourceKey) -> Result<RedisObserved> {
    let server = Server::open(machine, cx, key).await?;
    match server.record()? {
        Some(record) if record.progress == Progress::Ready => {
            server.run(cx, &record).await?;
            Ok(observed(&record))
        }
        _ => Err(ProviderError::new(ErrorKind::NotFound, format!("{} was never made", server.name()))
            .with_help("deploy the app: that makes it")),
    }
}

/// Stops a server; its data stays. Not running, or never made, is `Ok`.
///
/// # Errors
/// When it does not stop.
pub async fn stop(machine: &Machine, cx: &OpCtx, key: &ResourceKey) -> Result<()> {
    Server::open(machine, cx, key).await?.halt(cx).await
}

impl<'a> Server<'a> {
    pub(super) async fn open(machine: &'a Machine, cx: &OpCtx, key: &ResourceKey) -> Result<Self> {
        let path = machine.layout.locks(&cx.stack).join(format!("{SORT}-{}", folder_name(key)));
        let lock = files::lock(cx, &path, &format!("the Redis server of {}", cx.stack)).await?;
        let folder = parent(machine, &cx.stack).join(folder_name(key));
        Ok(Self { machine, stack: cx.stack.clone(), key: key.clone(), folder, lock })
    }

    fn name(&self) -> String {
        format!("`{}` of {}", self.key, self.stack)
    }

    fn record(&self) -> Result<Option<Record>> {
        Record::read(&self.folder)
    }

    pub(super) fn password(&self) -> Result<Secret<String>> {
        password::kept(self.machine, &self.stack, &self.key, "password")
    }

    /// Makes it, or goes on where a kill left it.
    pub(super) async fn make(&self, cx: &OpCtx) -> Result<Record> {
        if self.record()?.is_some_and(|record| record.progress == Progress::Deleting) {
            self.remove(cx).await?;
        }
        let mut record = match self.record()? {
            Some(record) => record,
            None => self.begin(cx).await?,
        };
        self.run_first(cx, &mut record).await?;
        if record.progress != Progress::Ready {
            record.progress = Progress::Ready;
            record.write(&self.folder)?;
        }
        Ok(record)
    }

    async fn begin(&self, cx: &OpCtx) -> Result<Record> {
        program(&self.name())?;
        files::make_private(&self.folder).map_err(failure::at("make", &self.folder))?;
        files::remove_temporary(&self.folder).map_err(failure::at("clean", &self.folder))?;
        let _numbers = numbers::lock(cx, &self.machine.layout).await?;
        let port = numbers::choose(&self.machine.layout, &self.stack, &self.key, LISTEN, KNOWN.ports)?;
        let record = Record::new(cx, &self.key, Made { port });
        record.write(&self.folder)?;
        Ok(record)
    }

    /// Starts it; while nobody was told of its port yet, one that somebody took meanwhile
    /// is given up for another.
    async fn run_first(&self, cx: &OpCtx, record: &mut Record) -> Result<()> {
        const TRIES: u32 = 5;
        for _ in 0..TRIES {
            match self.run(cx, record).await {
                Err(error) if error.kind() == ErrorKind::Conflict && record.progress != Progress::Ready => {
                    let _numbers = numbers::lock(cx, &self.machine.layout).await?;
                    record.made.port =
                        numbers::choose(&self.machine.layout, &self.stack, &self.key, LISTEN, KNOWN.ports)?;
                    record.write(&self.folder)?;
                }
                other => return other,
            }
        }
        self.run(cx, record).await
    }

    /// Starts it unless it runs, and sees to it that it ends with us where all does.
    async fn run(&self, cx: &OpCtx, record: &Record) -> Result<()> {
        // What a program left that ended is about to be ended, and no server to rely on.
        self.machine.supervision.admit(&self.machine.layout).await?;
        self.run_unkept(cx, record).await?;
        self.machine.supervision.keep_server(self.pid()).await
    }

    async fn run_unkept(&self, cx: &OpCtx, record: &Record) -> Result<()> {
        let password = self.password()?;
        let port = record.made.port;
        let mut started: Option<Instant> = None;
        loop {
            match (ask(port, &password).await, self.pid()) {
                (Answer::Ready, _) => return Ok(()),
                // Ours with another password: the store was lost. It gets the new one.
                (Answer::Stranger, Some(_)) => self.halt(cx).await?,
                (Answer::Stranger, None) => return Err(self.taken(port)),
                (Answer::Busy | Answer::Nobody, Some(_)) | (Answer::Busy, None) => {}
                (Answer::Nobody, None) => match started {
                    None => {
                        started = Some(Instant::now());
                        self.start(cx, port, &password).await?;
                        continue;
                    }
                    // It lets go of us before it listens and before it says its number.
                    Some(at) if at.elapsed() < START_GRACE && !self.gave_up() => {}
                    Some(_) => return Err(self.did_not_start(port)),
                },
            }
            wait(cx, &self.name()).await?;
        }
    }

    fn log(&self) -> Vec<String> {
        files::last_lines(&self.folder.join("server.log"), 20)
    }

    /// Does the log of this start say that it ended?
    fn gave_up(&self) -> bool {
        let ends = ["aborting", "Fatal error", "FATAL CONFIG", "Address already in use", "No space left"];
        self.log().iter().any(|line| ends.iter().any(|end| line.contains(end)))
    }

    fn taken(&self, port: u16) -> ProviderError {
        numbers::taken(LISTEN, port).with_help(format!(
            "{} has that port; stop the process and run the same command again",
            self.name()
        ))
    }

    async fn start(&self, cx: &OpCtx, port: u16, password: &Secret<String>) -> Result<()> {
        let program = program(&self.name())?;
        let log = self.folder.join("server.log");
        // What it says while it starts is what is read if it does not; the log before is
        // kept beside it.
        files::absent_is_ok(fs::rename(&log, self.folder.join("server.1.log")))
            .map_err(failure::at("rename", &log))?;
        let settings = Secret::new(format!(
            "bind 127.0.0.1\nprotected-mode yes\nport {port}\nrequirepass {}\ndaemonize yes\nsupervised no\n\
             dir {}\nlogfile {}\npidfile {}\nappendonly yes\n",
            password.expose(),
            quoted(&self.folder),
            quoted(&log),
            quoted(&self.folder.join("redis.pid")),
        ));
        let pipe = |error: io::Error| failure::io("make a pipe for", &self.folder, &error);
        let (reader, mut writer) = io::pipe().map_err(pipe)?;
        writer.write_all(settings.expose().as_bytes()).map_err(pipe)?;
        drop(writer);
        self.lock.set_len(0).map_err(pipe)?;
        // It detaches itself from us and lets go of the lock, which is its standard output.
        let mark = self.machine.supervision.server_mark().await?;
        let answer = Tool::new(&program, &self.folder, None)
            .envs(mark)
            .arg("-")
            .stdin(reader)
            .output_to(&self.lock)
            .map_err(pipe)?
            .run(cx)
            .await?;
        if answer.status.success() { Ok(()) } else { Err(self.did_not_start(port)) }
    }

    fn did_not_start(&self, port: u16) -> ProviderError {
        let lines = self.log();
        if lines.iter().any(|line| line.contains("Address already in use")) {
            return self.taken(port);
        }
        let log = self.folder.join("server.log");
        ProviderError::new(ErrorKind::Unavailable, format!("{} did not start", self.name()))
            .with_context("log", lines.join("\n"))
            .with_help(format!("its log is `{}`", log.display()))
    }

    /// The process of our server, if it runs.
    fn pid(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.folder.join("redis.pid")).ok()?;
        let pid = Pid::from_raw(text.trim().parse().ok()?)?;
        resident::works_in(pid, &self.folder).then_some(pid)
    }

    pub(super) async fn halt(&self, cx: &OpCtx) -> Result<()> {
        let give_up = Instant::now() + STOP_GRACE;
        let (mut asked, mut forced) = (false, false);
        while let Some(pid) = self.pid() {
            let signal = if !asked {
                asked = true;
                Some(Signal::TERM)
            } else if !forced && Instant::now() > give_up {
                forced = true;
                Some(Signal::KILL)
            } else {
                None
            };
            if let Some(signal) = signal
                && let Err(error) = rustix::process::kill_process(pid, signal)
                && error != rustix::io::Errno::SRCH
            {
                return Err(ProviderError::new(
                    ErrorKind::Permission,
                    format!("cannot stop {} (process {}): {error}", self.name(), pid.as_raw_nonzero()),
                ));
            }
            wait(cx, &self.name()).await?;
        }
        Ok(())
    }

    /// Stops it and removes everything, the record last.
    pub(super) async fn remove(&self, cx: &OpCtx) -> Result<()> {
        let Some(mut record) = self.record()? else {
            files::remove_temporary(&self.folder).map_err(failure::at("clean", &self.folder))?;
            let _ = fs::remove_dir(&self.folder);
            return Ok(());
        };
        record.progress = Progress::Deleting;
        record.write(&self.folder)?;
        self.halt(cx).await?;
        for entry in fs::read_dir(&self.folder).map_err(failure::at("read", &self.folder))? {
            let entry = entry.map_err(failure::at("read", &self.folder))?;
            if entry.file_name() != "resource.json" {
                files::remove_tree(&entry.path()).map_err(failure::at("remove", &self.folder))?;
            }
        }
        files::remove_tree(&self.folder).map_err(failure::at("remove", &self.folder))?;
        let _ = fs::remove_dir(parent(self.machine, &self.stack));
        Ok(())
    }
}

/// The installed server.
fn program(what_for: &str) -> Result<PathBuf> {
    let variables = environment::of_this_process(&[]);
    let path = environment::get(&variables, "PATH");
    let on_path = KNOWN.programs.iter().find_map(|name| programs::find(name, path));
    let elsewhere = || {
        KNOWN
            .folders
            .iter()
            .flat_map(|folder| KNOWN.programs.iter().map(move |name| Path::new(folder).join(name)))
            .find(|file| programs::is_program(file))
    };
    on_path.or_else(elsewhere).ok_or_else(|| {
        ProviderError::new(ErrorKind::Missing, format!("{what_for} needs a Redis server, and none is installed here")).with_help(format!(
            "{}; or use a server that runs elsewhere, in a container too: set `REDIS_URL` under `secrets` in the manifest; or do without: `--drop redis`",
            programs::install("redis-server")
        ))
    })
}

/// A path as a quoted string of Redis's settings.
fn quoted(path: &Path) -> String {
    use std::fmt::Write as _;
    use std::os::unix::ffi::OsStrExt;
    let mut text = String::from("\"");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'"' | b'\\' => {
                text.push('\\');
                text.push(char::from(*byte));
            }
            0x20..=0x7e => text.push(char::from(*byte)),
            // Writing to a String cannot fail.
            other => {
                let _ = write!(text, "\\x{other:02x}");
            }
        }
    }
    text.push('"');
    text
}

async fn wait(cx: &OpCtx, what: &str) -> Result<()> {
    if cx.cancellation.is_cancelled() {
        return Err(failure::cancelled(what));
    }
    if Instant::now() >= cx.deadline {
        return Err(ProviderError::new(ErrorKind::Timeout, format!("{what} took too long to start or stop")));
    }
    tokio::time::sleep(POLL).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_file_can_be_read() {
        crate::check_knowledge::<Known>(include_str!("../../../data/redis.json"));
    }

    #[test]
    fn a_path_cannot_end_its_setting() {
        assert_eq!(quoted(Path::new("/a b/\"c\"\nrequirepass x")), "\"/a b/\\\"c\\\"\\x0arequirepass x\"");
    }
}
