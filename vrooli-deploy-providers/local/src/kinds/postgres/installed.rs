//! A server that is run from installed programs: its data folder, its process. Tools that
//! make or start it inherit its lock, so that a successor waits for what they still do.

use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use vrooli_deploy_core::provider::{ErrorKind, OpCtx, ProviderError, Result};
use vrooli_deploy_core::release::migration::{identifier, literal};
use vrooli_deploy_core::secrets::Secret;

use super::binaries::{self, Binaries, KNOWN};
use super::cluster::{LISTEN, Record, Server, wait};
use super::version::VersionWish;
use crate::kinds::marker::Progress;
use crate::kinds::{folder_name, numbers, password, resident};
use crate::tool::{Tool, whole_input};
use crate::{failure, files};

/// How long a server may take over a fast shutdown before it is ended at once.
const STOP_GRACE: Duration = Duration::from_secs(30);

/// How a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Running {
    No,
    /// Starting or stopping.
    Busy(Pid),
    Ready,
}

impl Server<'_> {
    /// Makes the data folder. What is there was never finished: the record says so.
    pub(super) async fn initialise_installed(&self, cx: &OpCtx, mut record: Record) -> Result<Record> {
        let binaries = binaries::for_data(record.made.major, &self.name())
            // Nothing was made with that version yet.
            .or_else(|_| binaries::choose(VersionWish::read(None), &self.name()))?;
        record.made.major = binaries.major;
        self.home.make()?;
        files::remove_temporary(&self.home.folder).map_err(failure::at("clean", &self.home.folder))?;
        // Kept before it is used: whatever happens next, nobody is locked out.
        let superuser = password::kept(self.machine, &self.stack, &self.key, "superuser")?;
        self.password()?;
        let data = self.home.data();
        let mut said = String::new();
        for locale in &KNOWN.locales {
            files::remove_tree(&data).map_err(failure::at("remove", &data))?;
            match self.initdb(cx, &binaries, &data, locale, &superuser).await? {
                None => {
                    said.clear();
                    break;
                }
                Some(failed) => {
                    said = failed;
                    if !said.contains("locale") {
                        break;
                    }
                }
            }
        }
        if !said.is_empty() {
            let kind = if said.contains("No space left") { ErrorKind::Quota } else { ErrorKind::Unexpected };
            let line = said
                .lines()
                .find(|line| line.contains("error:"))
                .unwrap_or("initdb failed")
                .trim()
                .to_owned();
            return Err(ProviderError::new(kind, format!("cannot make {}: {line}", self.name()))
                .with_context("initdb", said));
        }
        self.configure(&data)?;
        record.progress = Progress::Initialized;
        record.write(&self.home.folder)?;
        Ok(record)
    }

    /// Runs initdb; `Some` with what it said when it failed.
    async fn initdb(
        &self,
        cx: &OpCtx,
        binaries: &Binaries,
        data: &Path,
        locale: &str,
        superuser: &Secret<String>,
    ) -> Result<Option<String>> {
        let pipe = |error: io::Error| failure::io("make a pipe for", data, &error);
        // Through a pipe: a file with the password could outlive us.
        let (reader, mut writer) = io::pipe().map_err(pipe)?;
        writeln!(writer, "{}", superuser.expose()).map_err(pipe)?;
        drop(writer);
        if let Some(account) = self.home.account()? {
            // `/dev/stdin` is opened anew, by that account.
            std::os::unix::fs::fchown(&reader, Some(account.uid), Some(account.gid)).map_err(pipe)?;
        }
        self.lock.set_len(0).map_err(pipe)?;
        (&self.lock).rewind().map_err(pipe)?;
        let answer = Tool::new(&binaries.program("initdb"), &self.home.folder, self.home.account()?)
            .arg("-D")
            .arg(data)
            .arg("-U")
            .arg(&KNOWN.superuser)
            .args(["--pwfile=/dev/stdin", "--auth=scram-sha-256", "--encoding=UTF8"])
            .arg(format!("--locale={locale}"))
            .stdin(reader)
            // The lock is its standard output: while it works nobody else does.
            .output_to(&self.lock)
            .map_err(pipe)?
            .run(cx)
            .await?;
        if answer.status.success() {
            return Ok(None);
        }
        let path =
            self.machine.layout.locks(&self.stack).join(format!("postgres-{}", folder_name(&self.key)));
        Ok(Some(fs::read_to_string(path).unwrap_or_else(|_| "initdb failed".to_owned())))
    }

    /// Has the server read our settings after its own.
    fn configure(&self, data: &Path) -> Result<()> {
        let path = data.join("postgresql.conf");
        let append = || -> io::Result<()> {
            let mut file = File::options().append(true).open(&path)?;
            file.write_all(b"\ninclude_if_exists = '../server.conf'\n")?;
            file.sync_all()
        };
        append().map_err(failure::at("write", &path))
    }

    /// Starts it unless it runs, and puts it on the leash where all ends with us.
    pub(super) async fn run_installed(&self, cx: &OpCtx, record: &Record) -> Result<()> {
        self.run_unkept(cx, record).await?;
        self.machine.supervision.keep_server(self.pid()).await
    }

    async fn run_unkept(&self, cx: &OpCtx, record: &Record) -> Result<()> {
        if self.running() == Running::Ready {
            return Ok(());
        }
        let binaries = binaries::for_data(self.major_of_data(record)?, &self.name())?;
        let mut started = false;
        loop {
            match self.running() {
                Running::Ready => return Ok(()),
                Running::Busy(_) => {}
                // A start that lost against another's is looked at again, once.
                Running::No if started => return Err(self.did_not_start(record)),
                Running::No => {
                    started = true;
                    self.start(cx, &binaries, record).await?;
                    continue;
                }
            }
            wait(cx, &self.name()).await?;
        }
    }

    /// The version of the data as the data itself says it.
    fn major_of_data(&self, record: &Record) -> Result<u32> {
        let path = self.home.data().join("PG_VERSION");
        let text = fs::read_to_string(&path).map_err(failure::at("read", &path))?;
        Ok(text.trim().split('.').next().and_then(|major| major.parse().ok()).unwrap_or(record.made.major))
    }

    async fn start(&self, cx: &OpCtx, binaries: &Binaries, record: &Record) -> Result<()> {
        let settings = self.home.folder.join("server.conf");
        let text = super::SETTINGS.replace("@PORT@", &record.made.port.to_string());
        files::write_atomic(&settings, text.as_bytes()).map_err(failure::at("write", &settings))?;
        let log = self.home.log();
        // What it says while it starts is what `did_not_start` reads: the log begins anew,
        // and the one before is kept beside it.
        files::absent_is_ok(fs::rename(&log, self.home.folder.join("server.1.log")))
            .map_err(failure::at("rename", &log))?;
        if let Some(account) = self.home.account()? {
            std::os::unix::fs::chown(&settings, Some(account.uid), Some(account.gid))
                .map_err(failure::at("give away", &settings))?;
        }
        let left = cx.deadline.saturating_duration_since(Instant::now()).as_secs().max(1);
        let lock = self.lock.try_clone().map_err(failure::at("keep the lock of", &self.home.folder))?;
        // It detaches the server from us: another session, its output to the log.
        let tool = Tool::new(&binaries.program("pg_ctl"), &self.home.folder, self.home.account()?);
        let mark = self.machine.supervision.server_mark().await?;
        tool.envs(mark)
            .args(["start", "-s", "-w", "-t"])
            .arg(left.to_string())
            .arg("-D")
            .arg(self.home.data())
            .arg("-l")
            .arg(&log)
            .stdin(lock)
            .run(cx)
            .await
            .map(drop)
    }

    fn did_not_start(&self, record: &Record) -> ProviderError {
        let lines = files::last_lines(&self.home.log(), 20);
        if lines.iter().any(|line| line.contains("Address already in use")) {
            return numbers::taken(LISTEN, record.made.port).with_help(format!(
                "{} has that port; stop the process and run the same command again",
                self.name()
            ));
        }
        let full = lines.iter().any(|line| line.contains("No space left"));
        let kind = if full { ErrorKind::Quota } else { ErrorKind::Unavailable };
        ProviderError::new(kind, format!("{} did not start", self.name()))
            .with_context("log", lines.join("\n"))
            .with_help(format!("its log is `{}`", self.home.log().display()))
    }

    /// Is it running? By its own record of its process, checked against the process.
    fn running(&self) -> Running {
        let data = self.home.data();
        let Ok(text) = fs::read_to_string(data.join("postmaster.pid")) else {
            return Running::No;
        };
        let mut lines = text.lines();
        let Some(pid) = lines.next().and_then(|pid| pid.trim().parse().ok()).and_then(Pid::from_raw) else {
            return Running::No;
        };
        if !resident::works_in(pid, &data) {
            // After a crash or a reboot the number may be anybody's, and the server would
            // refuse to start while that process lives.
            if Path::new("/proc/self").exists() {
                let _ = fs::remove_file(data.join("postmaster.pid"));
            }
            return Running::No;
        }
        match lines.nth(6).map(str::trim) {
            Some("ready") => Running::Ready,
            _ => Running::Busy(pid),
        }
    }

    /// Stops it if it runs: clients are cut off, transactions rolled back.
    pub(super) async fn halt_installed(&self, cx: &OpCtx) -> Result<()> {
        let give_up = Instant::now() + STOP_GRACE;
        let (mut asked, mut forced) = (false, false);
        loop {
            let pid = match self.running() {
                Running::No => return Ok(()),
                Running::Ready => match self.pid() {
                    Some(pid) => pid,
                    None => continue,
                },
                Running::Busy(pid) => pid,
            };
            let signal = if !asked {
                asked = true;
                Some(Signal::INT)
            } else if !forced && Instant::now() > give_up {
                forced = true;
                Some(Signal::QUIT)
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
    }

    fn pid(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.home.data().join("postmaster.pid")).ok()?;
        Pid::from_raw(text.lines().next()?.trim().parse().ok()?)
    }

    /// The store was lost and the data was not: who owns the data may set the password.
    pub(super) async fn reset_installed(&self, cx: &OpCtx, record: &Record) -> Result<Secret<String>> {
        let binaries = binaries::for_data(record.made.major, &self.name())?;
        self.halt_installed(cx).await?;
        let password = password::kept(self.machine, &self.stack, &self.key, "superuser")?;
        let statement =
            format!("ALTER ROLE {} PASSWORD {}\n", identifier(&KNOWN.superuser), literal(password.expose()));
        let answer = Tool::new(&binaries.program("postgres"), &self.home.folder, self.home.account()?)
            .args(["--single", "-c", "log_min_error_statement=panic", "-D"])
            .arg(self.home.data())
            .arg("postgres")
            .stdin(whole_input(statement.as_bytes(), &self.home.folder)?)
            .run(cx)
            .await?;
        if !answer.status.success() || answer.stderr.contains("ERROR:") {
            return Err(ProviderError::new(
                ErrorKind::Unexpected,
                format!("cannot set the password of {} anew", self.name()),
            )
            .with_context("postgres", answer.stderr));
        }
        self.run_installed(cx, record).await?;
        Ok(password)
    }
}
