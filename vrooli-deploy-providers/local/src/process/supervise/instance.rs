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
use super::super::failure::{self, at};
use super::super::files::{create_dir, read_json};
use super::super::identity::Handle;
use super::super::launch::{Launch, Report};
use super::super::log;
use super::super::paths::UnitLayout;
use super::super::pipe;
use super::super::record::ExitRecord;
use super::super::table::{Ending, MARKER, Mark, Table};
use super::Supervisor;

/// How long past its grace an instance may take to be gone before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(10);

/// A shim that lives, ours or adopted.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) id: Uuid,
    pub(super) app: Option<u32>,
    pub(super) shim_pid: u32,
    pub(super) since: Instant,
    shim: Handle,
    ended: AsyncFd<std::os::fd::OwnedFd>,
    /// Ours to bury; an adopted one is buried by its parent.
    child: Option<Child>,
}

/// How a launch went.
pub(super) enum Launched {
    Runs {
        id: Uuid,
        app: u32,
        child: Child,
    },
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
    pub(super) fn adopted(found: Found) -> io::Result<Self> {
        Self::new(found.record.instance, found.record.app, found.record.shim.pid, found.shim, None)
    }

    fn new(
        id: Uuid,
        app: Option<u32>,
        shim_pid: u32,
        shim: Handle,
        child: Option<Child>,
    ) -> io::Result<Self> {
        #[expect(
            deprecated,
            reason = "the safe constructor; what it warns of cannot happen to an OwnedFd, which is open as long as it lives"
        )]
        let ended = AsyncFd::with_interest(shim.try_clone()?, Interest::READABLE)?;
        Ok(Self { id, app, shim_pid, since: Instant::now(), shim, ended, child })
    }

    /// Waits until the shim has ended.
    pub(super) async fn ended(&self) {
        // A descriptor that cannot be waited for counts as ended: the files tell the rest.
        let _ = self.ended.readable().await;
    }

    /// Asks the shim to end the instance and waits. True when the shim had to be killed.
    pub(super) async fn end(&self, grace: Duration) -> bool {
        let _ = self.shim.signal(Signal::TERM);
        if tokio::time::timeout(grace + PATIENCE, self.ended()).await.is_ok() {
            return false;
        }
        let _ = self.shim.signal(Signal::KILL);
        self.ended().await;
        true
    }

    /// Buries the shim, and reads how the app ended.
    pub(super) fn exit(mut self, files: &UnitLayout) -> Option<ExitRecord> {
        if let Some(child) = &mut self.child {
            let _ = child.wait();
        }
        read_json::<ExitRecord>(&files.exit()).ok().flatten().filter(|exit| exit.instance == self.id)
    }
}

/// Starts a shim and hands it the launch. Blocks until the app runs, at most `config.launch`.
pub(super) fn launch(supervisor: &Supervisor, name: &str, mark: &Mark, launch: &Launch) -> Result<Launched> {
    let folder = &launch.target.unit;
    create_dir(folder).map_err(at("make", folder))?;
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
        Some(Ok(Some(Report::Started(app)))) => Ok(Launched::Runs { id: launch.target.instance, app, child }),
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
