//! How the supervisor is reached: found, started, replaced, and asked again when it died.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::BufStream;
use tokio::net::UnixStream;
use vrooli_deploy_core::provider::{ErrorKind, OpCtx, ProviderError, Result, Retryability};

use super::super::config::Program;
use super::super::files::create_below;
use super::super::key::{Legacy, StoreKey};
use super::super::protocol::{Answer, Greeting, MAX_ANSWER, PROTOCOL, Request, receive, send};
use super::super::supervise::{BUILD, Birth};
use super::super::{Supervision, in_process, lock, log, pipe, socket, supervise};
use super::SupervisorClient;
use crate::failure::{self, at};
use crate::layout::Layout;

/// How long a supervisor may take to come or go.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often the socket is tried while one is awaited.
const POLL: Duration = Duration::from_millis(10);
/// A greeting that takes longer is none.
const GREETING: Duration = Duration::from_secs(30);
/// How often a request is sent again to a new supervisor when the old one died under it.
/// Every request has the effect of once.
const TRIES: u32 = 3;

impl SupervisorClient {
    /// Sends a request and waits for its answer, until the deadline of the call or its
    /// cancellation (P4).
    pub(super) async fn call(&self, cx: &OpCtx, request: Request) -> Result<Answer> {
        let deadline = tokio::time::Instant::from_std(cx.deadline);
        tokio::select! {
            answer = self.call_again(request) => answer,
            () = cx.cancellation.cancelled() => {
                Err(ProviderError::new(ErrorKind::Cancelled, "the call was cancelled"))
            }
            () = tokio::time::sleep_until(deadline) => {
                Err(ProviderError::new(ErrorKind::Ambiguous, "the supervisor did not answer in time"))
            }
        }
    }

    async fn call_again(&self, request: Request) -> Result<Answer> {
        let name = if request.only_reads() { socket::READING } else { socket::CHANGING };
        if let Some(mut stream) = self.greeted.take(name) {
            // Where it is dead by now a new one is made: every request has the effect of once.
            match exchange(&mut stream, &request).await {
                Ok(Answer::Failed(failure)) => {
                    let error = ProviderError::from(failure);
                    if error.kind() != ErrorKind::Ambiguous || self.starter.is_none() {
                        return Err(error);
                    }
                }
                Ok(answer) => return Ok(answer),
                Err(_) => {}
            }
        }
        let mut tries = 0;
        loop {
            tries += 1;
            let mut stream = self.reach(name).await?;
            match exchange(&mut stream, &request).await {
                Ok(Answer::Failed(failure)) => {
                    let error = ProviderError::from(failure);
                    // It was about to end; its successor is asked.
                    if error.kind() == ErrorKind::Ambiguous && tries < TRIES && self.starter.is_some() {
                        continue;
                    }
                    return Err(error);
                }
                Ok(answer) => return Ok(answer),
                Err(_) if tries < TRIES && self.starter.is_some() => {}
                Err(e) => return Err(lost(e)),
            }
        }
    }

    /// A greeted connection, to a supervisor that is started or replaced if that is needed.
    pub(super) async fn reach(&self, name: &str) -> Result<BufStream<UnixStream>> {
        let until = Instant::now() + PATIENCE;
        let mut replaced = false;
        loop {
            match self.dial(name).await {
                Ok(Some((mut stream, greeting))) if replaced || !self.is_outdated(&greeting) => {
                    if name == socket::CHANGING
                        && let Some(key) = self.key().filter(|key| greeting.key != Some(key.mark()))
                    {
                        give(&mut stream, key).await?;
                    }
                    return Ok(stream);
                }
                Ok(Some((stream, _))) => {
                    replaced = true;
                    drop(stream);
                    let _alone = self.alone(until).await?;
                    if let Some(Supervision::Detached(program)) = &self.starter
                        && let Ok(Some((stream, greeting))) = self.dial(name).await
                        && self.is_outdated(&greeting)
                    {
                        drop(stream);
                        // The successor asks it to step down, and for what only it knows.
                        self.spawn(program.clone(), true).await?;
                    }
                }
                Ok(None) => match &self.starter {
                    Some(Supervision::Detached(program)) => {
                        in_process::wait_for_programs(&self.layout).await?;
                        make_place(&self.layout)?;
                        let _alone = self.alone(until).await?;
                        // Between a supervisor and its successor nobody listens for a moment.
                        if self.dial(name).await?.is_none() {
                            self.spawn(program.clone(), false).await?;
                        }
                    }
                    Some(Supervision::Service(service)) => service.start().await?,
                    Some(Supervision::InProcess(here)) => here.start().await?,
                    None => {
                        return Err(ProviderError::new(
                            ErrorKind::Unavailable,
                            "no supervisor runs for this workspace",
                        ));
                    }
                },
                // It died while it greeted us.
                Err(e) if e.retry() == Retryability::Safe && self.starter.is_some() => {}
                Err(e) => return Err(e),
            }
            if Instant::now() >= until {
                return Err(self.no_answer());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// One at a time starts a supervisor or replaces an older one, of the calls of one plan as of
    /// all commands: the others find the new one. Two successors would ask each other to step
    /// down. A lock of the kernel's, so that whoever is killed over it keeps nobody out.
    async fn alone(&self, until: Instant) -> Result<File> {
        let path = self.layout.starting_lock();
        loop {
            if let Some(lock) = lock::try_take(&path).map_err(at("lock", &path))? {
                return Ok(lock);
            }
            if Instant::now() >= until {
                return Err(self.no_answer());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Connects and greets. `None`: nobody listens.
    pub(super) async fn dial(&self, name: &str) -> Result<Option<(BufStream<UnixStream>, Greeting)>> {
        let run = self.layout.run();
        let Some(stream) =
            socket::connect(&self.layout, name).await.map_err(at("connect to the supervisor in", &run))?
        else {
            return Ok(None);
        };
        let mut stream = BufStream::new(stream);
        let hello = Request::Hello { protocol: PROTOCOL, version: BUILD.to_owned() };
        let answer = match tokio::time::timeout(GREETING, exchange(&mut stream, &hello)).await {
            Ok(answer) => answer.map_err(|e| {
                ProviderError::new(ErrorKind::Unavailable, format!("the supervisor went away: {e}"))
            })?,
            Err(_) => return Err(self.no_answer()),
        };
        match answer {
            Answer::Hello(greeting) if name == socket::CHANGING && self.is_strange(&greeting) => {
                Err(in_process::served(&format!(" (process {}, `{}`)", greeting.process, greeting.program)))
            }
            Answer::Hello(greeting) => Ok(Some((stream, greeting))),
            Answer::Failed(failure) => {
                let error = ProviderError::from(failure);
                Err(if error.help().is_some() {
                    error
                } else {
                    error.with_help("use the program that the workspace was last used with, or a newer one")
                })
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Is the supervisor older than this program? Of the same version it is when the file of
    /// its program was replaced since and is ours.
    fn is_outdated(&self, greeting: &Greeting) -> bool {
        if !matches!(self.starter, Some(Supervision::Detached(_))) || greeting.in_process {
            return false;
        }
        if version(&greeting.version) != version(BUILD) {
            return version(&greeting.version) < version(BUILD);
        }
        greeting.replaced && std::env::current_exe().is_ok_and(|me| me == Path::new(&greeting.program))
    }

    /// The key that a supervisor of ours is to hold.
    fn key(&self) -> Option<&StoreKey> {
        match &self.starter {
            Some(Supervision::Detached(program)) => program.key.as_ref(),
            _ => None,
        }
    }

    /// Does it outlive us, although all is to end with us? (The other way round it refuses us
    /// itself.)
    fn is_strange(&self, greeting: &Greeting) -> bool {
        matches!(self.starter, Some(Supervision::InProcess(_))) && !greeting.in_process
    }

    /// Starts a supervisor, detached from us: own session, own log, the root as its folder.
    async fn spawn(&self, program: Program, replaces: bool) -> Result<()> {
        let layout = self.layout.clone();
        match tokio::task::spawn_blocking(move || spawn(&layout, &program, replaces)).await {
            Ok(born) => born,
            Err(e) => {
                Err(ProviderError::new(ErrorKind::Unexpected, format!("cannot start a supervisor: {e}")))
            }
        }
    }

    pub(super) async fn wait_until_gone(&self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        let path = self.layout.supervisor_lock();
        while lock::is_held(&path).map_err(at("look at", &path))? {
            if Instant::now() >= until {
                return Err(self.no_answer());
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    fn no_answer(&self) -> ProviderError {
        let log = self.layout.supervisor_log();
        ProviderError::new(ErrorKind::Ambiguous, "the supervisor of this workspace does not answer")
            .with_help(format!("its log may say why: {}", log.display()))
    }
}

/// Versions are compared number by number.
fn version(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect()
}

pub(super) async fn exchange(stream: &mut BufStream<UnixStream>, request: &Request) -> io::Result<Answer> {
    send(stream, request).await?;
    receive(stream, MAX_ANSWER).await?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// Gives the supervisor the key of the secret store.
async fn give(stream: &mut BufStream<UnixStream>, key: &StoreKey) -> Result<()> {
    send(stream, &Request::Keep { length: key.length() }).await.map_err(lost)?;
    key.send(stream).await.map_err(lost)?;
    match receive(stream, MAX_ANSWER).await.map_err(lost)? {
        Some(Answer::Done) => Ok(()),
        Some(Answer::Failed(failure)) => Err(failure.into()),
        Some(other) => Err(unexpected(&other)),
        None => Err(lost(io::ErrorKind::UnexpectedEof.into())),
    }
}

pub(super) fn lost(error: io::Error) -> ProviderError {
    ProviderError::new(ErrorKind::Ambiguous, format!("the supervisor went away under the call: {error}"))
}

pub(super) fn unexpected(answer: &Answer) -> ProviderError {
    ProviderError::new(ErrorKind::Unexpected, format!("the supervisor answered something else: {answer:?}"))
}

/// The folder that a supervisor starts in. The state folder must be there: one that was deleted
/// under a command does not come back with it.
fn make_place(layout: &Layout) -> Result<()> {
    let (root, run) = (layout.root(), layout.run());
    create_below(root, &run).map_err(at("make", &run))?;
    layout.workspace_id().map(drop).map_err(at("use", root))
}

/// Blocks until the supervisor is ready, or says why it is not.
fn spawn(layout: &Layout, program: &Program, replaces: bool) -> Result<()> {
    if !cfg!(target_os = "linux") {
        return Err(supervise::unsupported());
    }
    if crate::child::is_child() {
        // Without this it would start itself again and again.
        return Err(ProviderError::new(
            ErrorKind::Config,
            "this program was started as a supervisor and did not become one",
        )
        .with_help("call `run_if_child` first in `main`"));
    }
    let root = layout.root();
    let path = layout.supervisor_log();
    let errors = log::open(&path).map_err(at("write", &path))?;
    let mut command = program.command(crate::child::SUPERVISOR, [root.as_os_str().to_owned()]);
    command.envs(crate::environment::of_this_process(&program.pass));
    let mut child = command
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(errors)
        .spawn()
        .map_err(|e| {
            ProviderError::new(
                failure::kind(&e),
                format!("cannot run the supervisor ({}): {e}", program.path.display()),
            )
        })?;
    let legacy = Legacy { key: program.key.clone(), replaces };
    // One that does not take it says why, or ends without a word.
    let _ = child.stdin.take().map(|to| legacy.write_to(to));
    let born = match child.stdout.take() {
        Some(out) => pipe::line(out, PATIENCE),
        None => Ok(Vec::new()),
    };
    let birth = born.as_ref().ok().and_then(|line| serde_json::from_slice(line).ok());
    if birth.is_none() {
        let _ = child.kill();
    }
    // Buried when it ends, whenever that is, as long as we are here.
    std::thread::spawn(move || drop(child.wait()));
    match birth {
        Some(Birth::Ready | Birth::Taken) => Ok(()),
        Some(Birth::Failed(failure)) => Err(failure.into()),
        None => {
            let why = match born {
                Err(e) => e.to_string(),
                Ok(line) if line.is_empty() => "it ended without a word".to_owned(),
                Ok(_) => "it is another program".to_owned(),
            };
            Err(ProviderError::new(
                ErrorKind::Unexpected,
                format!("the supervisor ({}) did not start: {why}", program.path.display()),
            )
            .with_help(format!(
                "the program that embeds this library must call `run_if_child` first in its `main`; {} may say more",
                path.display()
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert!(version("0.9.0") < version("0.10.0"));
        assert_eq!(version("0.1.0"), version("0.1.0"));
    }
}
