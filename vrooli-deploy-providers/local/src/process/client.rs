//! The client of a workspace's supervisor.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::BufStream;
use tokio::net::UnixStream;
use vrooli_deploy_core::names::{ReleaseNumber, StackId, UnitId};
use vrooli_deploy_core::provider::{
    DrainReport, ErrorKind, OpCtx, ProviderError, Result, Retryability, Routing, UnitObserved,
};

use super::config::Program;
use super::failure::{self, at};
use super::files::{Durability, create_dir, write_shared};
use super::protocol::{Answer, Greeting, MAX_ANSWER, PROTOCOL, Request, receive, send};
use super::supervise::{BUILD, Birth};
use super::{lock, log, socket, variables};
use crate::layout::Layout;

/// How long a supervisor may take to come or go.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often the socket is tried while one is awaited.
const POLL: Duration = Duration::from_millis(10);
/// A greeting that takes longer is none.
const GREETING: Duration = Duration::from_secs(10);
/// How often a request is sent again to a new supervisor when the old one died under it.
/// Every request has the effect of once.
const TRIES: u32 = 3;

/// Talks to the supervisor of a workspace. Cheap to clone; each call has its own connection,
/// so calls run side by side. When the supervisor dies under a call, another is started
/// (if the client was made to) and the call made again.
#[derive(Debug, Clone)]
pub struct SupervisorClient {
    layout: Layout,
    program: Option<Program>,
}

impl SupervisorClient {
    /// A client for a supervisor that runs; `None` when none does.
    ///
    /// # Errors
    /// When one is there but cannot be talked to: of another user, or of another version.
    pub async fn connect(layout: &Layout) -> Result<Option<Self>> {
        let client = Self { layout: absolute(layout), program: None };
        let connected = client.dial(socket::READING).await?;
        Ok(connected.map(|_| client))
    }

    /// A client for a supervisor, which is started if there is none, and replaced if it is
    /// older than this program.
    ///
    /// # Errors
    /// When it cannot be started, or is newer and does not understand us.
    pub async fn connect_or_spawn(layout: &Layout, program: Program) -> Result<Self> {
        let client = Self { layout: absolute(layout), program: Some(program) };
        client.reach(socket::CHANGING).await?;
        Ok(client)
    }

    /// Starts a unit of a staged release, or finds that it runs. Waits until its process
    /// runs, not until it is well.
    ///
    /// # Errors
    /// `NotFound` when the release is not staged, `Conflict` when a port it needs is taken
    /// (the message names by whom), `Missing` or `App` when its program cannot be run,
    /// `Fenced` when somebody else holds the lease.
    pub async fn start(&self, cx: &OpCtx, release: ReleaseNumber, unit: &UnitId) -> Result<UnitObserved> {
        self.keep_environment(&cx.stack, release)?;
        let request = Request::Start { stack: cx.stack.clone(), release, unit: unit.clone(), fence: cx.fence };
        match self.call(cx, request).await? {
            Answer::Unit(unit) => Ok(unit),
            other => Err(unexpected(&other)),
        }
    }

    /// Stops a unit with all its descendants: first its own grace, then by force. One that
    /// does not run is fine.
    ///
    /// # Errors
    /// `Fenced` when somebody else holds the lease; when processes cannot be ended.
    pub async fn stop(&self, cx: &OpCtx, release: ReleaseNumber, unit: &UnitId) -> Result<()> {
        self.done(cx, Request::Stop { stack: cx.stack.clone(), release, unit: unit.clone(), fence: cx.fence }).await
    }

    /// All units of the stack, whatever their release.
    ///
    /// # Errors
    /// When the supervisor cannot be asked.
    pub async fn list(&self, cx: &OpCtx) -> Result<Vec<UnitObserved>> {
        match self.call(cx, Request::List { stack: cx.stack.clone() }).await? {
            Answer::Units(units) => Ok(units),
            other => Err(unexpected(&other)),
        }
    }

    /// Sets which releases get traffic; kept over restarts. The answer is what was set before.
    ///
    /// # Errors
    /// `Conflict` when a release that is to get traffic has no running unit, `Config` when it
    /// has no route, `Fenced` when somebody else holds the lease.
    pub async fn route(&self, cx: &OpCtx, routing: &Routing) -> Result<Routing> {
        // Asked before: a second try after a lost answer would find what the first one set.
        let before = self.routing(cx).await?;
        let request = Request::Route { stack: cx.stack.clone(), routing: routing.clone(), fence: cx.fence };
        match self.call(cx, request).await? {
            Answer::Routing(_) => Ok(before),
            other => Err(unexpected(&other)),
        }
    }

    /// What is set now.
    ///
    /// # Errors
    /// When the supervisor cannot be asked.
    pub async fn routing(&self, cx: &OpCtx) -> Result<Routing> {
        match self.call(cx, Request::Routing { stack: cx.stack.clone() }).await? {
            Answer::Routing(routing) => Ok(routing),
            other => Err(unexpected(&other)),
        }
    }

    /// Waits until the release has no request in flight, `deadline` at most; then what is left
    /// is cut.
    ///
    /// # Errors
    /// `Conflict` when the release still gets traffic.
    pub async fn drain(&self, cx: &OpCtx, release: ReleaseNumber, deadline: Duration) -> Result<DrainReport> {
        let deadline_ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
        match self.call(cx, Request::Drain { stack: cx.stack.clone(), release, deadline_ms }).await? {
            Answer::Drained(report) => Ok(report),
            other => Err(unexpected(&other)),
        }
    }

    /// Listens at the address and port that the stack's `port.json` names.
    ///
    /// # Errors
    /// `NotFound` without that file, `Conflict` when the port is taken (the message names by
    /// whom), `Permission` when this user may not listen there.
    pub async fn open_port(&self, cx: &OpCtx) -> Result<()> {
        self.done(cx, Request::OpenPort { stack: cx.stack.clone(), fence: cx.fence }).await
    }

    /// Stops listening there. Not listening is fine.
    ///
    /// # Errors
    /// `Fenced` when somebody else holds the lease.
    pub async fn close_port(&self, cx: &OpCtx) -> Result<()> {
        self.done(cx, Request::ClosePort { stack: cx.stack.clone(), fence: cx.fence }).await
    }

    /// URLs under which the app is reached; none while its port is closed.
    ///
    /// # Errors
    /// When the supervisor cannot be asked.
    pub async fn urls(&self, cx: &OpCtx) -> Result<Vec<String>> {
        match self.call(cx, Request::Urls { stack: cx.stack.clone() }).await? {
            Answer::Urls(urls) => Ok(urls),
            other => Err(unexpected(&other)),
        }
    }

    /// What the edge counted, as JSON; null when no edge runs.
    ///
    /// # Errors
    /// When supervisor or edge cannot be asked.
    pub async fn metrics(&self, cx: &OpCtx) -> Result<serde_json::Value> {
        match self.call(cx, Request::Metrics { stack: cx.stack.clone() }).await? {
            Answer::Metrics(metrics) => Ok(metrics),
            other => Err(unexpected(&other)),
        }
    }

    /// Stops all units of a release and removes what is kept about it: ports, records, logs.
    /// Not there is fine. The staged release itself is not ours.
    ///
    /// # Errors
    /// `Conflict` when it still gets traffic.
    pub async fn remove(&self, cx: &OpCtx, release: ReleaseNumber) -> Result<()> {
        self.done(cx, Request::Remove { stack: cx.stack.clone(), release, fence: cx.fence }).await
    }

    /// Stops everything of the stack, closes its port and removes what is kept about it.
    ///
    /// # Errors
    /// `Fenced` when somebody else holds the lease; when processes cannot be ended.
    pub async fn forget(&self, cx: &OpCtx) -> Result<()> {
        self.done(cx, Request::Forget { stack: cx.stack.clone(), fence: cx.fence }).await
    }

    /// Ends supervisor and edge if nothing is left for them to do. (They end by themselves
    /// after some seconds.) None running is fine.
    ///
    /// # Errors
    /// `Conflict` when something runs or listens.
    pub async fn shutdown(&self) -> Result<()> {
        let Some((mut stream, _)) = self.dial(socket::CHANGING).await? else { return Ok(()) };
        match exchange(&mut stream, &Request::Shutdown).await.map_err(lost)? {
            Answer::Failed(failure) => Err(failure.into()),
            Answer::Done => self.wait_until_gone().await,
            other => Err(unexpected(&other)),
        }
    }

    async fn done(&self, cx: &OpCtx, request: Request) -> Result<()> {
        match self.call(cx, request).await? {
            Answer::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Sends a request and waits for its answer, until the deadline of the call or its
    /// cancellation (P4).
    async fn call(&self, cx: &OpCtx, request: Request) -> Result<Answer> {
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
        let mut tries = 0;
        loop {
            tries += 1;
            let mut stream = self.reach(name).await?;
            match exchange(&mut stream, &request).await {
                Ok(Answer::Failed(failure)) => {
                    let error = ProviderError::from(failure);
                    // It was about to end; its successor is asked.
                    if error.kind() == ErrorKind::Ambiguous && tries < TRIES && self.program.is_some() {
                        continue;
                    }
                    return Err(error);
                }
                Ok(answer) => return Ok(answer),
                Err(_) if tries < TRIES && self.program.is_some() => {}
                Err(e) => return Err(lost(e)),
            }
        }
    }

    /// A greeted connection, to a supervisor that is started or replaced if that is needed.
    async fn reach(&self, name: &str) -> Result<BufStream<UnixStream>> {
        let until = Instant::now() + PATIENCE;
        let mut replaced = false;
        loop {
            match self.dial(name).await {
                Ok(Some((stream, greeting))) if replaced || !self.is_outdated(&greeting) => return Ok(stream),
                Ok(Some(_)) => {
                    replaced = true;
                    if let Some((mut stream, _)) = self.dial(socket::CHANGING).await? {
                        // One that ends before it answers has done what it was asked for.
                        let _ = exchange(&mut stream, &Request::StepDown).await;
                    }
                    self.wait_until_gone().await?;
                }
                Ok(None) => match &self.program {
                    Some(program) => self.spawn(program.clone()).await?,
                    None => {
                        return Err(ProviderError::new(ErrorKind::Unavailable, "no supervisor runs for this workspace"));
                    }
                },
                // It died while it greeted us.
                Err(e) if e.retry() == Retryability::Safe && self.program.is_some() => {}
                Err(e) => return Err(e),
            }
            if Instant::now() >= until {
                return Err(self.no_answer());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Connects and greets. `None`: nobody listens.
    async fn dial(&self, name: &str) -> Result<Option<(BufStream<UnixStream>, Greeting)>> {
        let run = self.layout.run();
        let Some(stream) = socket::connect(&self.layout, name).await.map_err(at("connect to the supervisor in", &run))? else {
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
            Answer::Hello(greeting) => Ok(Some((stream, greeting))),
            Answer::Failed(failure) => Err(ProviderError::from(failure)
                .with_help("use the program that the workspace was last used with, or a newer one")),
            other => Err(unexpected(&other)),
        }
    }

    /// Is the supervisor older than this program? Of the same version it is when the file of
    /// its program was replaced since and is ours.
    fn is_outdated(&self, greeting: &Greeting) -> bool {
        if self.program.is_none() {
            return false;
        }
        if version(&greeting.version) != version(BUILD) {
            return version(&greeting.version) < version(BUILD);
        }
        greeting.replaced
            && std::env::current_exe().is_ok_and(|me| me == Path::new(&greeting.program))
    }

    /// Starts a supervisor, detached from us: own session, own log, the root as its folder.
    async fn spawn(&self, program: Program) -> Result<()> {
        let layout = self.layout.clone();
        match tokio::task::spawn_blocking(move || spawn(&layout, &program)).await {
            Ok(born) => born,
            Err(e) => Err(ProviderError::new(ErrorKind::Unexpected, format!("cannot start a supervisor: {e}"))),
        }
    }

    async fn wait_until_gone(&self) -> Result<()> {
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

    /// Keeps the part of our environment that apps may see beside the release, so that a
    /// restart years later finds the same PATH. What holds a password is not written down.
    fn keep_environment(&self, stack: &StackId, release: ReleaseNumber) -> Result<()> {
        let path = self.layout.base_environment(stack, release);
        if path.exists() || !self.layout.release_record(stack, release).exists() {
            return Ok(());
        }
        let mut base = variables::of_this_process();
        base.retain(|_, value| variables::may_be_kept(value));
        let text = serde_json::to_vec_pretty(&base).unwrap_or_default();
        let write = || {
            create_dir(&self.layout.release_units(stack, release))?;
            write_shared(&path, &text, Durability::Synced)
        };
        // A supervisor that starts sweeps drafts away, ours perhaps among them.
        write().or_else(|_| write()).map_err(at("write", &path))
    }
}

fn absolute(layout: &Layout) -> Layout {
    std::path::absolute(layout.root()).map_or_else(|_| layout.clone(), Layout::new)
}

/// Versions are compared number by number.
fn version(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect()
}

async fn exchange(stream: &mut BufStream<UnixStream>, request: &Request) -> io::Result<Answer> {
    send(stream, request).await?;
    receive(stream, MAX_ANSWER).await?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

fn lost(error: io::Error) -> ProviderError {
    ProviderError::new(ErrorKind::Ambiguous, format!("the supervisor went away under the call: {error}"))
}

fn unexpected(answer: &Answer) -> ProviderError {
    ProviderError::new(ErrorKind::Unexpected, format!("the supervisor answered something else: {answer:?}"))
}

/// Blocks until the supervisor is ready, or says why it is not.
fn spawn(layout: &Layout, program: &Program) -> Result<()> {
    if !cfg!(target_os = "linux") {
        return Err(super::supervise::unsupported());
    }
    if crate::child::is_child() {
        // Without this it would start itself again and again.
        return Err(ProviderError::new(ErrorKind::Config, "this program was started as a supervisor and did not become one")
            .with_help("call `run_if_child` first in `main`"));
    }
    let root = layout.root();
    create_dir(root).map_err(at("make", root))?;
    layout.workspace_id().map_err(at("use", root))?;
    let run = layout.run();
    create_dir(&run).map_err(at("make", &run))?;
    let path = layout.supervisor_log();
    let errors = log::open(&path).map_err(at("write", &path))?;
    let mut command = program.command(crate::child::SUPERVISOR, [root.as_os_str().to_owned()]);
    command.envs(crate::environment::of_this_process(&program.pass));
    let mut child = command
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(errors)
        .spawn()
        .map_err(|e| {
            ProviderError::new(
                failure::kind(&e),
                format!("cannot run the supervisor ({}): {e}", program.path.display()),
            )
        })?;
    let born = match child.stdout.take() {
        Some(out) => super::pipe::line(out, PATIENCE),
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
