//! A server that is run from an installed program, which detaches itself from us.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use vrooli_deploy_core::provider::{ErrorKind, OpCtx, ProviderError, Result};
use vrooli_deploy_core::secrets::Secret;

use super::server::{KNOWN, LISTEN, Record, Server, wait};
use super::wire::{Answer, ask};
use crate::kinds::{numbers, resident};
use crate::tool::Tool;
use crate::{environment, failure, files, programs};

/// How long a server may take to write its data before it is ended by force.
const STOP_GRACE: Duration = Duration::from_secs(30);
/// How long a server may take from letting go of us to its first sign of life.
const START_GRACE: Duration = Duration::from_secs(20);

impl Server<'_> {
    /// Starts it unless it runs, and puts it on the leash where all ends with us.
    pub(super) async fn run_installed(&self, cx: &OpCtx, record: &Record) -> Result<()> {
        self.run_unkept(cx, record).await?;
        self.machine.supervision.keep_server(self.pid()).await
    }

    async fn run_unkept(&self, cx: &OpCtx, record: &Record) -> Result<()> {
        let password = self.password()?;
        let port = record.made.port;
        let begun = Instant::now();
        let mut started: Option<Instant> = None;
        loop {
            match (ask(port, &password).await, self.pid()) {
                (Answer::Ready, _) => return Ok(()),
                // Ours with another password: the store was lost. It gets the new one.
                (Answer::Stranger, Some(_)) => self.halt_installed(cx).await?,
                (Answer::Stranger, None) => return Err(self.taken(port)),
                (Answer::Silent | Answer::Busy | Answer::Nobody, Some(_))
                | (Answer::Busy | Answer::Silent, None) => {}
                (Answer::Nobody, None) => match started {
                    // One that another run started, and that ended before it could see it: it has let
                    // go of the lock, and does not listen yet.
                    None if begun.elapsed() < START_GRACE && resident::anybody_works_in(&self.folder) => {}
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

    pub(super) async fn halt_installed(&self, cx: &OpCtx) -> Result<()> {
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
}

/// The installed server.
pub(super) fn program(what_for: &str) -> Result<PathBuf> {
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
        let message = format!("{what_for} needs a Redis server, and none is installed here");
        ProviderError::new(ErrorKind::Missing, message).with_help(programs::install("redis-server"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_end_its_setting() {
        assert_eq!(quoted(Path::new("/a b/\"c\"\nrequirepass x")), "\"/a b/\\\"c\\\"\\x0arequirepass x\"");
    }
}
