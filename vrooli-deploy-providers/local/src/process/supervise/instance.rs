//! One running instance, seen from the supervisor: how it is launched, waited for and ended.

use std::io;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use uuid::Uuid;
use vrooli_deploy_core::provider::{ErrorKind, ProviderError, Result};

use super::super::adopt::Found;
use super::super::files::read_json;
use super::super::identity::Handle;
use super::super::launch::{Launch, Report};
use super::super::log;
use super::super::paths::UnitLayout;
use super::super::pipe;
use super::super::record::ExitRecord;
use super::super::table::{Ending, MARKER, Mark, Table};
use super::Supervisor;
use super::direct::{Direct, DirectLaunch};
use super::unit::UnitKey;
use crate::failure::{self, at};

/// How long past its grace an instance may take to be gone before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(10);

/// An instance that lives.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) id: Uuid,
    pub(super) app: Option<u32>,
    /// Pid of what keeps it: its shim, or this program.
    pub(super) keeper: u32,
    pub(super) since: Instant,
    kept: Kept,
}

/// By what it is kept.
#[derive(Debug)]
enum Kept {
    /// By a shim, ours or adopted.
    Shim(Box<Shim>),
    /// By a task of ours.
    Direct(Direct),
}

#[derive(Debug)]
struct Shim {
    handle: Handle,
    ended: AsyncFd<std::os::fd::OwnedFd>,
    /// Ours to bury; an adopted one is buried by its parent.
    child: Option<Child>,
}

/// How a launch went.
pub(super) enum Launched {
    /// Under a shim.
    Shim { id: Uuid, app: u32, child: Child },
    /// Under ourselves.
    Direct(DirectLaunch),
    /// Another shim has the unit.
    Taken,
}

impl Instance {
    /// Must be called inside the runtime.
    pub(super) fn launched(id: Uuid, app: u32, child: Child) -> io::Result<Self> {
        let shim = Handle::open(child.id())?.ok_or_else(|| io::Error::other("the shim is gone"))?;
        Self::new(id, Some(app), child.id(), shim, Some(child))
    }

    /// Must be called inside the runtime.
    pub(super) fn direct(launch: DirectLaunch) -> io::Result<Self> {
        let (id, app) = (launch.id, launch.app());
        let kept = Kept::Direct(launch.keep()?);
        Ok(Self { id, app: Some(app), keeper: std::process::id(), since: Instant::now(), kept })
    }

    /// Must be called inside the runtime.
    pub(super) fn adopted(found: Found) -> io::Result<Self> {
        Self::new(found.record.instance, found.record.app, found.record.shim.pid, found.shim, None)
    }

    fn new(
        id: Uuid,
        app: Option<u32>,
        keeper: u32,
        handle: Handle,
        child: Option<Child>,
    ) -> io::Result<Self> {
        #[expect(
            deprecated,
            reason = "the safe constructor; what it warns of cannot happen to an OwnedFd, which is open as long as it lives"
        )]
        let ended = AsyncFd::with_interest(handle.try_clone()?, Interest::READABLE)?;
        let kept = Kept::Shim(Box::new(Shim { handle, ended, child }));
        Ok(Self { id, app, keeper, since: Instant::now(), kept })
    }

    /// Waits until the last process of the instance has ended.
    pub(super) async fn ended(&self) {
        match &self.kept {
            // A descriptor that cannot be waited for counts as ended: the files tell the rest.
            Kept::Shim(shim) => drop(shim.ended.readable().await),
            Kept::Direct(direct) => direct.ended().await,
        }
    }

    /// Ends the instance and waits. True when its shim had to be killed.
    pub(super) async fn end(&self, grace: Duration) -> bool {
        let shim = match &self.kept {
            Kept::Shim(shim) => shim,
            Kept::Direct(direct) => {
                direct.end(grace).await;
                return false;
            }
        };
        let _ = shim.handle.signal(Signal::TERM);
        if tokio::time::timeout(grace + PATIENCE, self.ended()).await.is_ok() {
            return false;
        }
        let _ = shim.handle.signal(Signal::KILL);
        self.ended().await;
        true
    }

    /// Buries the shim, and reads how the app ended.
    pub(super) fn exit(mut self, files: &UnitLayout) -> Option<ExitRecord> {
        if let Kept::Shim(shim) = &mut self.kept
            && let Some(child) = &mut shim.child
        {
            let _ = child.wait();
        }
        read_json::<ExitRecord>(&files.exit()).ok().flatten().filter(|exit| exit.instance == self.id)
    }
}

/// Starts an instance: under a shim, or under ourselves. Blocks until the app runs.
pub(super) fn launch(
    supervisor: &Supervisor,
    key: &UnitKey,
    mark: &Mark,
    launch: Launch,
) -> Result<Launched> {
    match &supervisor.leash {
        Some(leash) => super::direct::launch(supervisor, leash, key, mark, launch),
        None => launch_shim(supervisor, &key.to_string(), mark, &launch),
    }
}

/// Starts a shim and hands it the launch. Blocks until the app runs, at most `config.launch`.
fn launch_shim(supervisor: &Supervisor, name: &str, mark: &Mark, launch: &Launch) -> Result<Launched> {
    let supervisor_log = supervisor.layout().supervisor_log();
    let errors = log::open(&supervisor_log).map_err(at("write", &supervisor_log))?;
    let mut child = supervisor
        .program
        .command(crate::child::SHIM, [name.into()])
        .env(MARKER, mark.as_str())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(errors)
        .spawn()
        .map_err(|e| {
            ProviderError::new(failure::kind(&e), format!("cannot run the shim of `{name}`: {e}"))
        })?;
    // A shim that does not take the launch says why, or ends.
    let written = child.stdin.take().map(|to| launch.write_to(to));
    let answer = child.stdout.take().map(|from| {
        pipe::line(from, supervisor.config.launch).map(|line| serde_json::from_slice::<Report>(&line).ok())
    });
    match answer {
        Some(Ok(Some(Report::Started(app)))) => Ok(Launched::Shim { id: launch.target.instance, app, child }),
        Some(Ok(Some(Report::Taken))) => {
            let _ = child.wait();
            Ok(Launched::Taken)
        }
        Some(Ok(Some(Report::Failed(failure)))) => {
            let _ = child.wait();
            Err(failure.into())
        }
        other => {
            // The launcher dies with its shim.
            let _ = child.kill();
            let _ = child.wait();
            let why = match (written, other) {
                (Some(Err(e)), _) | (_, Some(Err(e))) => e.to_string(),
                _ => "it ended without a word".to_owned(),
            };
            Err(ProviderError::new(
                ErrorKind::Unexpected,
                format!("the shim of `{name}` did not start: {why}"),
            )
            .with_help(format!(
                "the supervisor's log may say more: {}",
                failure::real(&supervisor_log).display()
            )))
        }
    }
}

/// Ends what a killed shim left behind.
pub(super) async fn end_leftovers(mark: Mark, grace: Duration) -> Result<()> {
    blocking(move || {
        Ending::new(grace).run(PATIENCE, &|table: &Table| table.left_behind(&mark)).map_err(|e| {
            ProviderError::new(
                ErrorKind::Unexpected,
                format!("processes of `{}` cannot be ended: {e}", mark.as_str()),
            )
        })
    })
    .await
}

/// Runs what blocks on a thread of its own.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => {
            Err(ProviderError::new(ErrorKind::Unexpected, format!("the supervisor failed inside: {e}")))
        }
    }
}
