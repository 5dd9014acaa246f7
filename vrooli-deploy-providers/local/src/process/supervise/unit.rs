//! One unit: a task that starts it, waits for it, starts it again and stops it. What is
//! wanted is on disk before anything is done about it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use vrooli_deploy_core::names::{ReleaseNumber, StackId, UnitId};
use vrooli_deploy_core::provider::{ErrorKind, ProviderError, Result, UnitObserved, UnitState};

use super::super::adopt::{self, Last};
use super::super::files::{Durability, create_below, read_json, remove_file, write_json};
use super::super::paths::UnitLayout;
use super::super::record::{InstanceRecord, UnitRecord};
use super::instance::{Instance, Launched, blocking, end_leftovers, launch};
use super::{Supervisor, prepare};
use crate::failure::at;

/// How often the files are looked at while a shim is on its way.
const POLL: Duration = Duration::from_millis(20);

/// Which unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnitKey {
    pub(super) stack: StackId,
    pub(super) release: ReleaseNumber,
    pub(super) unit: UnitId,
}

impl std::fmt::Display for UnitKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.stack, self.release, self.unit)
    }
}

/// How the unit is now.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) state: UnitState,
    /// Pids of what keeps it (its shim, or this program) and of the app's first process.
    pub(super) pids: Option<(u32, Option<u32>)>,
    pub(super) record: UnitRecord,
}

impl View {
    /// Is anything there that must not be left alone?
    pub(super) fn is_active(&self) -> bool {
        self.record.wanted || self.state == UnitState::Running
    }
}

enum Command {
    Start(oneshot::Sender<Result<()>>),
    Stop(oneshot::Sender<Result<()>>),
    /// The folder is gone: end the processes, write nothing.
    Abandon(oneshot::Sender<Result<()>>),
    /// Does not wait any longer, if it waits for its next try.
    Hurry,
    /// The program that it runs in ends: end the processes, what is wanted stays.
    Leave(oneshot::Sender<Result<()>>),
}

/// How others talk to the unit's task.
#[derive(Debug, Clone)]
pub(super) struct UnitHandle {
    pub(super) key: UnitKey,
    commands: mpsc::Sender<Command>,
    view: watch::Receiver<View>,
}

impl UnitHandle {
    /// Makes the task. It first looks what is there, and brings back what is wanted.
    pub(super) fn spawn(supervisor: &Arc<Supervisor>, key: UnitKey) -> Self {
        let files = supervisor.layout().unit(&key.stack, key.release, &key.unit);
        // Looked at before anybody can ask.
        let last = adopt::last(&files);
        let pids = match &last {
            Ok(Last::Lives(found)) => Some((found.record.shim.pid, found.record.app)),
            _ => None,
        };
        let runs = matches!(last, Ok(Last::Lives(_) | Last::Starting));
        // A damaged record is rebuilt from what runs: nothing is stopped or started because of it.
        let record = match read_json::<UnitRecord>(&files.record()) {
            Ok(record) => record.unwrap_or_default(),
            Err(e) => {
                supervisor.note(&format!("{key}: {e}"));
                UnitRecord { wanted: runs, ..UnitRecord::default() }
            }
        };
        let state = match (runs, record.wanted) {
            (true, _) => UnitState::Running,
            (false, true) => UnitState::Restarting,
            (false, false) => UnitState::Stopped,
        };
        let view = View { state, pids, record: record.clone() };
        let (view, seen) = watch::channel(view);
        let (commands, received) = mpsc::channel(16);
        let unit = Unit {
            supervisor: Arc::clone(supervisor),
            key: key.clone(),
            files,
            record,
            view,
            instance: None,
            restart_at: None,
            delay: supervisor.config.backoff,
        };
        tokio::spawn(unit.run(received));
        Self { key, commands, view: seen }
    }

    pub(super) fn view(&self) -> View {
        self.view.borrow().clone()
    }

    pub(super) fn observed(&self, supervisor: &Supervisor) -> Result<UnitObserved> {
        let View { state, pids, record } = self.view();
        let pid = pids.and_then(|(shim, app)| adopt::speaker(shim, app));
        let UnitKey { stack, release, unit } = &self.key;
        adopt::describe(supervisor.layout(), stack, *release, unit, &record, state, pid)
    }

    pub(super) async fn start(&self) -> Result<()> {
        self.ask(Command::Start).await
    }

    pub(super) async fn stop(&self) -> Result<()> {
        self.ask(Command::Stop).await
    }

    pub(super) async fn abandon(&self) -> Result<()> {
        self.ask(Command::Abandon).await
    }

    pub(super) async fn leave(&self) -> Result<()> {
        self.ask(Command::Leave).await
    }

    /// What kept it from being started may be different now.
    pub(super) fn hurry(&self) {
        // One that is busy, or ended, waits for nothing.
        let _ = self.commands.try_send(Command::Hurry);
    }

    async fn ask(&self, command: impl FnOnce(oneshot::Sender<Result<()>>) -> Command) -> Result<()> {
        let (answer, heard) = oneshot::channel();
        let gone = || ProviderError::new(ErrorKind::Ambiguous, "the supervisor is about to end");
        self.commands.send(command(answer)).await.map_err(|_| gone())?;
        heard.await.map_err(|_| gone())?
    }
}

struct Unit {
    supervisor: Arc<Supervisor>,
    key: UnitKey,
    files: UnitLayout,
    record: UnitRecord,
    view: watch::Sender<View>,
    instance: Option<Instance>,
    restart_at: Option<Instant>,
    delay: Duration,
}

impl Unit {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        self.recover().await;
        loop {
            let command = tokio::select! {
                biased;
                command = commands.recv() => command,
                () = ended(self.instance.as_ref()) => { self.on_end().await; continue }
                () = due(self.restart_at) => { self.restart().await; continue }
            };
            // A caller that went away gets no answer; what it asked for is done all the same.
            match command {
                Some(Command::Start(answer)) => drop(answer.send(self.start().await)),
                Some(Command::Stop(answer)) => drop(answer.send(self.stop().await)),
                Some(Command::Abandon(answer)) => {
                    self.record.wanted = false;
                    drop(answer.send(self.bring_down().await));
                    return;
                }
                Some(Command::Hurry) => {
                    if self.restart_at.is_some() {
                        self.restart_at = Some(Instant::now());
                    }
                }
                Some(Command::Leave(answer)) => {
                    drop(answer.send(self.leave().await));
                    return;
                }
                None => return,
            }
        }
    }

    /// Ends the instance, as if it had never been: the next supervisor starts it anew.
    async fn leave(&mut self) -> Result<()> {
        self.restart_at = None;
        self.bring_down().await?;
        if self.supervisor.is_deleted() {
            return Ok(());
        }
        for file in [self.files.instance(), self.files.exit()] {
            remove_file(&file).map_err(at("remove", &file))?;
        }
        Ok(())
    }

    /// After the supervisor was started: brings the unit to what is wanted.
    async fn recover(&mut self) {
        let last = blocking({
            let files = self.files.clone();
            move || adopt::last(&files).map_err(at("look at", files.root()))
        })
        .await;
        match (&last, self.record.wanted) {
            (Ok(Last::None), true) => self.try_again().await,
            (Ok(Last::Ended(exit)), true) => {
                self.record.restarts += 1;
                self.record.last_exit = Some(exit.to_string());
                self.try_again().await;
            }
            (Ok(Last::Orphaned), true) => {
                self.record.restarts += 1;
                self.record.last_exit = Some(self.killed());
                self.try_again().await;
            }
            (Ok(Last::Lives(_) | Last::Starting), true) => self.try_again().await,
            (Ok(Last::None | Last::Ended(_)), false) => self.show(UnitState::Stopped),
            // A stop was interrupted.
            (Ok(_), false) => {
                if let Err(e) = self.bring_down().await {
                    self.note(e.message());
                }
            }
            (Err(e), _) => self.note(e.message()),
        }
    }

    async fn start(&mut self) -> Result<()> {
        if self.instance.is_some() && self.record.wanted {
            return Ok(());
        }
        self.restart_at = None;
        self.delay = self.supervisor.config.backoff;
        self.record = UnitRecord { wanted: true, ..UnitRecord::default() };
        let started = match self.make_place().and_then(|()| self.save()) {
            Ok(()) => {
                // Seen before anything is done: who allocates ports asks who is about to run.
                self.show(UnitState::Restarting);
                self.bring_up().await
            }
            Err(e) => Err(e),
        };
        if let Err(error) = &started {
            self.record.wanted = false;
            self.record.last_exit = Some(error.message().to_owned());
            self.note(error.message());
            // The first failure is the one that is told.
            let _ = self.save();
            self.show(UnitState::Failed);
        }
        started
    }

    async fn stop(&mut self) -> Result<()> {
        self.restart_at = None;
        let known = self.files.root().is_dir();
        self.record.wanted = false;
        if known {
            self.save()?;
        }
        self.bring_down().await
    }

    /// The instance has ended by itself.
    async fn on_end(&mut self) {
        let Some(instance) = self.instance.take() else {
            return;
        };
        if instance.since.elapsed() >= self.supervisor.config.well_after {
            self.delay = self.supervisor.config.backoff;
        }
        let how = self.bury(instance).await;
        self.note(&how);
        self.record.last_exit = Some(how);
        if self.record.wanted {
            self.schedule();
        } else {
            self.show(UnitState::Stopped);
        }
    }

    /// Waits for the next try, longer each time. What was deleted is not made again: only a
    /// command makes its place.
    fn schedule(&mut self) {
        if !self.files.root().is_dir() {
            return self.give_up();
        }
        self.restart_at = Some(Instant::now() + self.delay);
        self.delay = (self.delay * 2).min(self.supervisor.config.backoff_max);
        self.save_or_note();
        self.show(UnitState::Restarting);
    }

    fn give_up(&mut self) {
        self.note("its folder was deleted");
        self.record.wanted = false;
        self.restart_at = None;
        self.record.last_exit = Some("its folder was deleted".to_owned());
        self.show(UnitState::Failed);
    }

    async fn restart(&mut self) {
        self.restart_at = None;
        if !self.files.root().is_dir() {
            return self.give_up();
        }
        self.record.restarts += 1;
        self.try_again().await;
    }

    /// Brings the unit up; if that fails, later again.
    async fn try_again(&mut self) {
        match self.bring_up().await {
            Ok(()) => self.save_or_note(),
            Err(error) => {
                self.note(error.message());
                self.record.last_exit = Some(error.message().to_owned());
                self.schedule();
            }
        }
    }

    /// Adopts what runs, or launches.
    async fn bring_up(&mut self) -> Result<()> {
        let until = Instant::now() + self.supervisor.config.launch;
        loop {
            match self.last().await? {
                // Ours, and this moment it ends.
                Last::Lives(found) if found.record.in_process => self.wait_for_shim(until).await?,
                Last::Lives(found) => {
                    let pid = found.record.shim.pid;
                    self.instance =
                        Some(Instance::adopted(found).map_err(at("wait for", self.files.root()))?);
                    self.note(&format!("adopted (shim {pid})"));
                    self.show(UnitState::Running);
                    return Ok(());
                }
                Last::Starting => self.wait_for_shim(until).await?,
                Last::Orphaned => self.clear_leftovers().await?,
                Last::None | Last::Ended(_) => {
                    if self.launch().await? {
                        self.show(UnitState::Running);
                        return Ok(());
                    }
                    self.wait_for_shim(until).await?;
                }
            }
        }
    }

    /// Ends what runs. `Ok` when nothing does.
    async fn bring_down(&mut self) -> Result<()> {
        let until = Instant::now() + self.supervisor.config.launch;
        loop {
            if let Some(instance) = self.instance.take() {
                if instance.end(self.grace()).await {
                    self.note("its shim had to be killed");
                }
                let how = self.bury(instance).await;
                self.record.last_exit = Some(how);
                self.save_or_note();
            }
            match self.last().await? {
                Last::Lives(found) if found.record.in_process => self.wait_for_shim(until).await?,
                Last::Lives(found) => {
                    self.instance =
                        Some(Instance::adopted(found).map_err(at("wait for", self.files.root()))?);
                }
                Last::Starting => self.wait_for_shim(until).await?,
                Last::Orphaned => self.clear_leftovers().await?,
                Last::None | Last::Ended(_) => {
                    self.show(UnitState::Stopped);
                    return Ok(());
                }
            }
        }
    }

    /// True when it runs, false when another shim has the unit.
    async fn launch(&mut self) -> Result<bool> {
        let supervisor = Arc::clone(&self.supervisor);
        let key = self.key.clone();
        let launched = blocking(move || {
            let mark = supervisor.mark(&key);
            let prepared = prepare::prepare(&supervisor, &key, &mark)?;
            launch(&supervisor, &key, &mark, prepared)
        })
        .await?;
        let instance = match launched {
            Launched::Shim { id, app, child } => Instance::launched(id, app, child),
            Launched::Direct(launch) => Instance::direct(launch),
            Launched::Taken => return Ok(false),
        };
        let instance = instance.map_err(at("wait for", self.files.root()))?;
        self.note(&format!("started (pid {})", instance.app.unwrap_or_default()));
        self.instance = Some(instance);
        Ok(true)
    }

    /// Says how the instance ended, and ends what it left if its shim could not.
    async fn bury(&mut self, instance: Instance) -> String {
        let exit = instance.exit(&self.files);
        if let Some(exit) = exit {
            return exit.to_string();
        }
        let killed = self.killed();
        if let Err(e) = self.clear_leftovers().await {
            self.note(e.message());
        }
        killed
    }

    /// What is said of an instance of which nobody saw the end.
    fn killed(&self) -> String {
        match read_json::<InstanceRecord>(&self.files.instance()) {
            Ok(Some(record)) if record.in_process => "the program that it ran in has ended".to_owned(),
            _ => "its shim was killed".to_owned(),
        }
    }

    async fn clear_leftovers(&self) -> Result<()> {
        end_leftovers(self.supervisor.mark(&self.key), self.grace()).await?;
        let record = self.files.instance();
        remove_file(&record).map_err(at("remove", &record))
    }

    async fn last(&self) -> Result<Last> {
        let files = self.files.clone();
        blocking(move || adopt::last(&files).map_err(at("look at", files.root()))).await
    }

    async fn wait_for_shim(&self, until: Instant) -> Result<()> {
        if Instant::now() >= until {
            return Err(ProviderError::new(
                ErrorKind::Conflict,
                format!("another process holds the lock of `{}`", self.key),
            ));
        }
        tokio::time::sleep(POLL).await;
        Ok(())
    }

    fn grace(&self) -> Duration {
        prepare::grace(&self.supervisor, &self.key)
    }

    fn show(&self, state: UnitState) {
        self.view.send_replace(View {
            state,
            pids: self.instance.as_ref().map(|i| (i.keeper, i.app)),
            record: self.record.clone(),
        });
        self.supervisor.touch();
    }

    /// The folders that the unit needs. That of its stack must be there.
    fn make_place(&self) -> Result<()> {
        let UnitKey { stack, release, .. } = &self.key;
        let layout = self.supervisor.layout();
        let (base, data) = (layout.stack(stack), layout.data(stack));
        for folder in [self.files.root(), &layout.release_logs(stack, *release), &data] {
            create_below(&base, folder).map_err(at("make", folder))?;
        }
        Ok(())
    }

    fn save(&self) -> Result<()> {
        if self.supervisor.is_deleted() {
            return Ok(());
        }
        let path = self.files.record();
        write_json(&path, &self.record, Durability::Synced).map_err(at("write", &path))
    }

    fn save_or_note(&self) {
        if let Err(e) = self.save() {
            self.note(e.message());
        }
    }

    fn note(&self, what: &str) {
        self.supervisor.note(&format!("{}: {what}", self.key));
    }
}

async fn ended(instance: Option<&Instance>) {
    match instance {
        Some(instance) => instance.ended().await,
        None => std::future::pending().await,
    }
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
