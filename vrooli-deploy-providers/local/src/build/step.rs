//! Running one command of a build: clean environment, no input, every line to whoever
//! watches and to a file, ended whole when the caller gives up.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use vrooli_deploy_core::manifest::Command;
use vrooli_deploy_core::provider::{ErrorKind, OpCtx, OutputSink, ProviderError, Result, Retryability};

use super::guard::{Guard, Order};
use crate::environment::{self, Variables};
use crate::{failure, programs};

/// Lines of a failed build that come with the error.
const TAIL: usize = 40;
/// Longer lines are cut: a minified bundle in an error message is one line.
const LINE_LIMIT: usize = 4096;
/// How long a guard may take to end what it guards. More than its own grace.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long the output of what a step left running is waited for where no guard ends it.
const DRAIN: Duration = Duration::from_millis(500);

/// Where lines of a build go.
#[derive(Debug)]
pub(super) struct Console {
    sink: OutputSink,
    log: File,
    pub(super) path: PathBuf,
    tail: VecDeque<String>,
}

impl Console {
    pub(super) fn new(sink: OutputSink, log: File, path: PathBuf) -> Self {
        Self { sink, log, path, tail: VecDeque::new() }
    }

    /// A line: to whoever watches, to the log, and kept for an error.
    pub(super) fn line(&mut self, line: &str) {
        let line = match line.char_indices().nth(LINE_LIMIT) {
            Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
            None => line.to_owned(),
        };
        self.sink.line(&line);
        // A log that cannot be written must not fail a build that can go on.
        let _ = writeln!(self.log, "{line}");
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }

    /// The last lines, and none of them from here on.
    fn take_tail(&mut self) -> Vec<String> {
        std::mem::take(&mut self.tail).into()
    }
}

/// What the steps of a build have in common.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    pub(super) cx: &'a OpCtx,
    pub(super) guard: &'a Guard,
    pub(super) variables: Variables,
    /// Held by a guard as long as anything of a step lives.
    pub(super) lock: &'a File,
    pub(super) console: Console,
}

impl Stage<'_> {
    /// Runs a command. A failure of it is an error of kind `App`, or `Missing` where a
    /// known tool was not there.
    pub(super) async fn run(&mut self, name: &str, command: &Command, folder: &Path) -> Result<()> {
        if self.cx.cancellation.is_cancelled() {
            return Err(failure::cancelled("the build"));
        }
        self.find_tools(name, command)?;
        self.console.take_tail();
        self.console.line(&format!("== {name}"));
        let status = self.spawn(name, command, folder).await?;
        if status.success() { Ok(()) } else { Err(self.failed(name, command, status)) }
    }

    /// A tool that a command certainly needs is looked for before half a build was done.
    fn find_tools(&self, name: &str, command: &Command) -> Result<()> {
        let path = environment::get(&self.variables, "PATH");
        for tool in needed(command) {
            if programs::find(&tool, path).is_none() {
                return Err(programs::missing(&tool, &format!("build step `{name}`")));
            }
        }
        Ok(())
    }

    async fn spawn(&mut self, name: &str, command: &Command, folder: &Path) -> Result<ExitStatus> {
        let (program, arguments) = words(command)?;
        let cannot = |error: std::io::Error| {
            ProviderError::new(ErrorKind::Unexpected, format!("cannot start build step `{name}`: {error}"))
        };
        let mut order = None;
        let mut call = match self.guard {
            Guard::Program { program: guard, arguments: to_guard } => {
                let environment = self.variables.clone().into_iter().collect();
                let text = Order { program, arguments, folder: folder.as_os_str().to_owned(), environment };
                order = Some(serde_json::to_vec(&text).map_err(|error| cannot(error.into()))?);
                let mut call = tokio::process::Command::new(guard);
                call.args(to_guard).stdin(Stdio::piped()).stderr(self.lock.try_clone().map_err(cannot)?);
                call
            }
            Guard::InProcess | Guard::Leash(_) => {
                let mut call = tokio::process::Command::new(program);
                call.args(arguments).stdin(Stdio::null()).stderr(Stdio::piped());
                call
            }
        };
        let keeper = match self.guard {
            Guard::Leash(here) => Some(here.leash().await?),
            _ => None,
        };
        call.env_clear().envs(&self.variables).current_dir(folder).stdout(Stdio::piped()).process_group(0);
        call.envs(keeper.as_ref().map(|keeper| keeper.app_mark()));
        let mut child = call.spawn().map_err(cannot)?;
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        // Held until the step is over, however this ends.
        let _kept = match (&keeper, child.id()) {
            (Some(keeper), Some(id)) => Some(keeper.keep_step(id).map_err(cannot)?),
            _ => None,
        };
        // Kept open: its end tells the guard that we are gone.
        let mut leash = child.stdin.take();
        if let (Some(leash), Some(mut order)) = (&mut leash, order) {
            order.push(b'\n');
            leash.write_all(&order).await.map_err(cannot)?;
        }
        let guarded = leash.is_some();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let deadline = tokio::time::Instant::from_std(self.cx.deadline);
        let console = &mut self.console;
        let work = async {
            let (lines, mut heard) = tokio::sync::mpsc::channel::<String>(64);
            let read = async {
                tokio::join!(forward(stdout, lines.clone()), forward(stderr, lines));
            };
            let write = async {
                while let Some(line) = heard.recv().await {
                    console.line(&line);
                }
            };
            let output = async { tokio::join!(read, write) };
            tokio::pin!(output);
            let status = tokio::select! {
                _ = &mut output => child.wait().await,
                status = child.wait() => {
                    if guarded {
                        output.await;
                    } else {
                        if let Some(group) = group {
                            let _ = rustix::process::kill_process_group(group, Signal::KILL);
                        }
                        let _ = tokio::time::timeout(DRAIN, output).await;
                    }
                    status
                }
            };
            status.map_err(cannot)
        };
        let gave_up = {
            tokio::pin!(work);
            tokio::select! {
                status = &mut work => return status,
                () = self.cx.cancellation.cancelled() => failure::cancelled("the build"),
                () = tokio::time::sleep_until(deadline) => {
                    ProviderError::new(ErrorKind::Timeout, format!("build step `{name}` had not ended in the time it had"))
                        .with_retry(Retryability::Never)
                }
            }
        };
        // A guard ends the step now; without one the group is asked, then ended.
        drop(leash);
        if let Some(group) = group {
            if !guarded {
                let _ = rustix::process::kill_process_group(group, Signal::TERM);
            }
            if tokio::time::timeout(PATIENCE, child.wait()).await.is_err() {
                let _ = rustix::process::kill_process_group(group, Signal::KILL);
                let _ = child.wait().await;
            }
        }
        Err(gave_up)
    }

    fn failed(&mut self, name: &str, command: &Command, status: ExitStatus) -> ProviderError {
        let tail = self.console.take_tail();
        let how = match status.code() {
            Some(code) => format!("exit status {code}"),
            None => status.to_string(),
        };
        let missing = (status.code() == Some(127)).then(|| not_found(&tail, command)).flatten();
        let error = match missing {
            Some(tool) => programs::missing(&tool, &format!("build step `{name}`")),
            None => ProviderError::new(ErrorKind::App, format!("build step `{name}` failed: {how}"))
                .with_help(format!(
                    "the running release is untouched; the whole log is `{}`",
                    self.console.path.display()
                )),
        };
        error.with_context("step", name).with_context("status", how).with_context("log", tail.join("\n"))
    }
}

fn words(command: &Command) -> Result<(OsString, Vec<OsString>)> {
    match command {
        Command::Shell(text) => Ok((OsString::from("sh"), vec![OsString::from("-c"), OsString::from(text)])),
        Command::Exec(words) => match words.split_first() {
            Some((program, arguments)) => {
                Ok((OsString::from(program), arguments.iter().map(OsString::from).collect()))
            }
            None => Err(ProviderError::new(ErrorKind::Config, "a build step with no command")),
        },
    }
}

/// Known tools that a command starts whatever happens: those after `&&` alone, in a
/// command that does not ask first whether they are there.
fn needed(command: &Command) -> Vec<String> {
    match command {
        Command::Exec(words) => {
            words.first().filter(|word| programs::is_known(word)).cloned().into_iter().collect()
        }
        Command::Shell(text) => {
            let asks = ["||", "if ", "command -v", "which ", "case ", "type ", "export PATH", "PATH="];
            if asks.iter().any(|ask| text.contains(ask)) {
                return Vec::new();
            }
            text.split("&&")
                .flat_map(|part| part.split([';', '\n', '|']))
                .filter_map(|part| {
                    let mut words = part.split_whitespace().skip_while(|word| word.contains('='));
                    words.next().filter(|word| programs::is_known(word)).map(str::to_owned)
                })
                .collect()
        }
    }
}

/// The known tool that a shell did not find, from what it said.
fn not_found(tail: &[String], command: &Command) -> Option<String> {
    let from_words = || match command {
        Command::Exec(words) => words.first().filter(|word| programs::is_known(word)).cloned(),
        Command::Shell(_) => None,
    };
    tail.iter()
        .rev()
        .filter_map(|line| {
            let before = line.split_once(": not found").or_else(|| line.split_once(": command not found"))?.0;
            before.rsplit([':', ' ']).next().map(str::to_owned)
        })
        .find(|word| programs::is_known(word))
        .or_else(from_words)
}

async fn forward<R: AsyncRead + Unpin>(from: Option<R>, to: tokio::sync::mpsc::Sender<String>) {
    let Some(from) = from else { return };
    let mut from = BufReader::new(from);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        match from.read_until(b'\n', &mut bytes).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        // Progress bars write over their line: what was last is what is meant.
        let line = String::from_utf8_lossy(&bytes);
        let line = line.trim_end_matches(['\n', '\r']);
        let line = line.rsplit('\r').next().unwrap_or_default();
        if to.send(line.to_owned()).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_that_are_certainly_needed_are_named() {
        let shell = |text: &str| needed(&Command::Shell(text.to_owned()));
        assert_eq!(shell("cd api && go mod download && CGO_ENABLED=0 go build"), ["go", "go"]);
        assert!(shell("command -v pnpm && pnpm install").is_empty());
        assert!(shell("pnpm install || npm install").is_empty());
        assert_eq!(needed(&Command::Exec(vec!["cargo".to_owned(), "build".to_owned()])), ["cargo"]);
    }

    #[test]
    fn a_shell_says_what_it_did_not_find() {
        let shell = Command::Shell(String::new());
        let tail = |line: &str| vec![line.to_owned(), "more".to_owned()];
        assert_eq!(not_found(&tail("sh: 1: pnpm: not found"), &shell).as_deref(), Some("pnpm"));
        assert_eq!(not_found(&tail("bash: line 1: go: command not found"), &shell).as_deref(), Some("go"));
        assert_eq!(not_found(&tail("sh: 1: vite: not found"), &shell), None);
    }
}
