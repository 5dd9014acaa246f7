//! An instance that this program runs in itself: its first process is our child, a task of
//! ours sees how it ends and ends what is left of it, and the leash does when we cannot.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Child;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustix::process::{Pid, WaitId, WaitIdOptions};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, watch};
use uuid::Uuid;
use vrooli_deploy_core::provider::{ErrorKind, ProviderError, Result};

use super::super::config::LogConfig;
use super::super::files::{Durability, remove_file, write_json};
use super::super::identity::{Handle, ProcessIdentity};
use super::super::in_process::Leash;
use super::super::launch::{self, Launch};
use super::super::lock;
use super::super::log;
use super::super::paths::UnitLayout;
use super::super::record::{Ended, ExitRecord, InstanceRecord};
use super::super::table::{Ending, Mark, Table};
use super::Supervisor;
use super::instance::Launched;
use super::unit::UnitKey;
use crate::failure::at;

/// How often it looks at its log, and whether what the first process left still lives.
const TICK: Duration = Duration::from_millis(500);
/// How often it looks for processes while it ends them.
const ENDING: Duration = Duration::from_millis(20);

/// What a running instance is made of.
pub(in super::super) struct DirectLaunch {
    pub(super) id: Uuid,
    child: Child,
    /// Held as long as anything of the instance lives.
    lock: std::fs::File,
    mark: Mark,
    files: UnitLayout,
    log: std::path::PathBuf,
    rotation: LogConfig,
    leash: Arc<Leash>,
}

/// Starts the app as a child of ours, in a process group of its own.
pub(super) fn launch(
    supervisor: &Supervisor,
    leash: &Arc<Leash>,
    key: &UnitKey,
    mark: &Mark,
    mut launch: Launch,
) -> Result<Launched> {
    if launch.target.container.is_some() {
        return Err(ProviderError::new(
            ErrorKind::Unsupported,
            "a program that runs everything in itself runs no containers",
        ));
    }
    // Through the descriptor: the state folder may be moved.
    let layout = supervisor.layout();
    let files = layout.unit(&key.stack, key.release, &key.unit);
    let log = layout.unit_log(&key.stack, key.release, &key.unit);
    let Some(lock) = lock::try_take(&files.lock()).map_err(at("lock", files.root()))? else {
        return Ok(Launched::Taken);
    };
    let out = log::open(&log).map_err(at("write", &log))?;
    let errors = out.try_clone().map_err(at("write", &log))?;
    let (name, value) = leash.app_mark();
    launch.environment.set(name, value);

    remove_file(&files.exit()).map_err(at("remove", files.root()))?;
    let mut record = InstanceRecord {
        instance: launch.target.instance,
        shim: ProcessIdentity::of(std::process::id()).map_err(at("look at", files.root()))?,
        in_process: true,
        app: None,
        at: Timestamp::now(),
    };
    let write = |record: &InstanceRecord| write_json(&files.instance(), record, Durability::Volatile);
    write(&record).map_err(at("write", files.root()))?;
    let started = launch::command(&launch).map_err(ProviderError::from).and_then(|mut command| {
        command.stdout(out).stderr(errors).process_group(0);
        command.spawn().map_err(|error| launch::not_run(&command, &error).into())
    });
    let mut child = match started {
        Ok(child) => child,
        Err(error) => {
            // There was no instance, so nobody has to look for what it left.
            remove_file(&files.instance()).map_err(at("remove", files.root()))?;
            return Err(error);
        }
    };
    record.app = Some(child.id());
    let grace = Duration::from_millis(launch.target.grace_ms);
    if let Err(error) = leash.keep_app(child.id(), grace).and_then(|()| write(&record)) {
        // What cannot be seen to end with us does not run.
        let _ = child.kill();
        let _ = child.wait();
        leash.let_go(child.id());
        return Err(at("keep what was started in", files.root())(error));
    }
    Ok(Launched::Direct(DirectLaunch {
        id: record.instance,
        child,
        lock,
        mark: mark.clone(),
        files,
        log,
        rotation: launch.target.rotation,
        leash: Arc::clone(leash),
    }))
}

impl DirectLaunch {
    pub(super) fn app(&self) -> u32 {
        self.child.id()
    }

    /// Makes the task that keeps it. Must be called inside the runtime.
    pub(super) fn keep(self) -> io::Result<Direct> {
        let process = Handle::open(self.child.id())?.ok_or_else(|| io::Error::other("it is gone"))?;
        #[expect(
            deprecated,
            reason = "the safe constructor; what it warns of cannot happen to an OwnedFd, which is open as long as it lives"
        )]
        let exited = AsyncFd::with_interest(process.try_clone()?, Interest::READABLE)?;
        let (graces, asked) = mpsc::channel(4);
        let (done, ended) = watch::channel(false);
        tokio::spawn(self.watch(exited, asked, done));
        Ok(Direct { graces, ended })
    }

    /// Lives as long as any process of the instance.
    async fn watch(
        mut self,
        exited: AsyncFd<OwnedFd>,
        mut asked: mpsc::Receiver<Duration>,
        done: watch::Sender<bool>,
    ) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut first_ended = false;
        let mut ending: Option<Ending> = None;
        loop {
            let pause = if ending.is_some() { ENDING } else { Duration::from_secs(3600) };
            tokio::select! {
                _ = exited.readable(), if !first_ended => first_ended = true,
                // Nobody is left to ask for an end: the supervisor itself ends.
                grace = asked.recv(), if ending.is_none() => {
                    ending = Some(Ending::new(grace.unwrap_or_default()));
                }
                _ = tick.tick() => drop(log::rotate(&self.log, self.rotation)),
                () = tokio::time::sleep(pause) => {}
            }
            if ending.is_none() && !first_ended {
                continue;
            }
            let group = self.child.id();
            let find = |table: &Table| table.instance(group, &self.mark);
            // What cannot be read is tried again in the next round; there is nobody to tell.
            let left = match &mut ending {
                Some(ending) => ending.round(&find),
                None => Table::read().map(|table| find(&table).len()),
            };
            if left.is_ok_and(|left| left == 0) {
                break;
            }
        }
        self.finish(ending.is_some());
        // With the lock: whoever hears that it has ended may start another.
        drop(self);
        done.send_replace(true);
    }

    /// Writes down how it ended, and buries it. Only from here on may another process have its
    /// number.
    fn finish(&mut self, asked: bool) {
        let ended = exit_of(self.child.id());
        self.leash.let_go(self.child.id());
        let _ = self.child.wait();
        if self.lock.metadata().is_ok_and(|lock| std::os::unix::fs::MetadataExt::nlink(&lock) == 0) {
            return;
        }
        let record = ExitRecord { instance: self.id, ended, asked, at: Timestamp::now() };
        // Without the file the supervisor says that the status is unknown.
        let _ = write_json(&self.files.exit(), &record, Durability::Volatile);
    }
}

/// How a child of ours ended, which stays unburied.
fn exit_of(pid: u32) -> Option<Ended> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let status = rustix::process::waitid(WaitId::Pid(pid), options).ok()??;
    match (status.exit_status(), status.terminating_signal()) {
        (Some(status), _) => Some(Ended::Status(status)),
        (None, Some(signal)) => Some(Ended::Signal(signal)),
        (None, None) => None,
    }
}

/// An instance that a task of ours keeps.
#[derive(Debug)]
pub(super) struct Direct {
    graces: mpsc::Sender<Duration>,
    ended: watch::Receiver<bool>,
}

impl Direct {
    /// Waits until nothing of it is left.
    pub(super) async fn ended(&self) {
        // A task that is gone has nothing more to say; the files tell the rest.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }

    /// Ends it: asked first, forced after the grace.
    pub(super) async fn end(&self, grace: Duration) {
        let _ = self.graces.send(grace).await;
        self.ended().await;
    }
}

/// Refuses to take over what outlives its program.
pub(super) fn refuse_shims(supervisor: &Supervisor) -> Result<()> {
    use super::super::adopt::{self, Last};
    let layout = supervisor.layout();
    for stack in layout.stacks().map_err(at("read", layout.root()))? {
        let units = layout.units(&stack);
        for release in layout.supervised_releases(&stack).map_err(at("read", &units))? {
            for unit in layout.supervised_units(&stack, release).map_err(at("read", &units))? {
                let files = layout.unit(&stack, release, &unit);
                if let Last::Lives(_) | Last::Starting = adopt::last(&files).map_err(at("read", &units))? {
                    return Err(ProviderError::new(
                        ErrorKind::Conflict,
                        format!(
                            "`{unit}` of {stack} runs as a process of its own, which outlives the program that started it"
                        ),
                    )
                    .with_help(format!(
                        "stop it first (`vrooli-deploy stop {}`), or open the workspace without `in_process`",
                        stack.app
                    )));
                }
            }
        }
    }
    Ok(())
}
