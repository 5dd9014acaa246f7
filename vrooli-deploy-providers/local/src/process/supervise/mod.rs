//! The supervisor: one a workspace, made single by a lock.

#[cfg_attr(not(feature = "tls"), path = "no_certificates.rs")]
mod certificates;
mod contained;
mod direct;
mod front;
mod instance;
mod prepare;
mod route;
mod server;
mod stack;
mod succession;

pub use stack::last_routing;
pub(crate) use stack::{check_fence, served_fence};
mod unit;
mod watcher;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use uuid::Uuid;
use vrooli_deploy_core::names::{ReleaseNumber, StackId};
use vrooli_deploy_core::provider::{ErrorKind, ProviderError, Result, UnitState};
use vrooli_deploy_core::secrets::{Secret, SecretError};

use super::SecretResolver;
use super::config::{LogConfig, Program, SupervisorConfig};
use super::files::{Durability, create_dir, remove_file, sweep_drafts, write_json};
use super::identity::ProcessIdentity;
use super::in_process::{self, Leash};
use super::key::{Legacy, StoreKey};
use super::lock;
use super::log;
use super::paths::Pinned;
use super::protocol::Failure;
use super::socket::Sockets;
use super::table::Mark;
use crate::failure::{self, at};
use crate::kinds::vessel;
use crate::layout::Layout;

use certificates::Keeper;
use front::Front;
pub(crate) use front::{edge_folder, run_edge};
use stack::Stack;
use succession::Predecessor;
use unit::UnitKey;

/// A predecessor that is about to end, or a child of somebody between fork and exec, may hold
/// the lock this long.
const LOCK_PATIENCE: Duration = Duration::from_millis(300);
/// How long a predecessor that was asked to step down may take.
const SUCCESSION: Duration = Duration::from_secs(30);
/// How long the edge may finish requests when nothing is left to serve.
const EDGE_GRACE: Duration = Duration::from_secs(5);
/// Our own log is rotated like an app's.
const OWN_LOG: LogConfig = LogConfig { max_bytes: 1024 * 1024, keep: 1 };

/// Opens the secret store of a workspace, with the key that it was given, if any.
pub(crate) type OpenSecrets = dyn Fn(&Layout, Option<&Secret<String>>) -> std::result::Result<Arc<SecretResolver>, SecretError>
    + Send
    + Sync;

/// What the supervisor is made with.
pub struct SupervisorOptions {
    config: SupervisorConfig,
    open_secrets: Box<OpenSecrets>,
}

impl SupervisorOptions {
    /// With its numbers, and a way to open the secret store of the workspace.
    #[must_use]
    pub fn new(config: SupervisorConfig, open_secrets: Box<OpenSecrets>) -> Self {
        Self { config, open_secrets }
    }
}

impl std::fmt::Debug for SupervisorOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SupervisorOptions").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What a supervisor says on its standard output when it has started, or has not.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Birth {
    Ready,
    /// Another supervisor has the workspace.
    Taken,
    Failed(Failure),
}

/// `supervisor.json`, for people and for whoever looks for the process.
#[derive(Debug, Serialize)]
struct SupervisorRecord<'a> {
    process: ProcessIdentity,
    version: &'a str,
    program: &'a str,
    at: jiff::Timestamp,
}

/// Who serves, or served last, as ` (process N, PROGRAM)`; nothing where that is not known.
pub(crate) fn recorded(layout: &Layout) -> String {
    let record: Option<serde_json::Value> =
        super::files::read_json(&layout.supervisor_record()).unwrap_or_default();
    let told = record.and_then(|record| {
        let pid = record.get("process")?.get("pid")?.as_u64()?;
        let program = record.get("program")?.as_str()?;
        Some(format!(" (process {pid}, `{program}`)"))
    });
    told.unwrap_or_default()
}

/// The version of this supervisor.
pub(crate) const BUILD: &str = env!("CARGO_PKG_VERSION");

/// Why it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Nothing is left to do.
    Idle,
    /// A successor takes over what runs.
    StepDown,
    /// The state folder was deleted.
    Deleted,
    /// The program that we run in is done with us.
    Program,
}

/// What all parts of the supervisor share.
pub(crate) struct Supervisor {
    pinned: Pinned,
    lock: File,
    workspace: Uuid,
    config: SupervisorConfig,
    program: Program,
    /// Where we run in a program that is not ours: what ends with it.
    leash: Option<Arc<Leash>>,
    /// Ends when that program is done with us.
    told: Mutex<Option<tokio::sync::oneshot::Receiver<()>>>,
    /// As the program was called when we were started.
    called: String,
    open_secrets: Box<OpenSecrets>,
    /// The key of the secret store, where it lies in no file.
    key: Mutex<Option<StoreKey>>,
    front: Front,
    certificates: Keeper,
    stacks: Mutex<BTreeMap<StackId, Arc<Stack>>>,
    allocating: Mutex<()>,
    clients: AtomicUsize,
    busy: Mutex<Instant>,
    /// The container engines that hold something of the workspace.
    engines: Mutex<Vec<PathBuf>>,
    ending: Mutex<Option<End>>,
    ended: Notify,
}

impl std::fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supervisor").field("workspace", &self.workspace).finish_non_exhaustive()
    }
}

/// Runs a supervisor until there is nothing to do. Returns its exit status.
pub(crate) fn run(root: &Path, options: SupervisorOptions) -> u8 {
    // Fails only for a group leader, and then we lead a group of our own already.
    let _ = rustix::process::setsid();
    let legacy = match Legacy::read_from(io::stdin()) {
        Ok(legacy) => legacy,
        Err(e) => {
            let error = ProviderError::new(ErrorKind::Unexpected, format!("the start was cut short: {e}"));
            say(&Birth::Failed(Failure::from(&error)));
            return 1;
        }
    };
    let (inherited, patience) = if legacy.replaces {
        match succession::take_over(root) {
            Predecessor::Gone(key) => (key, SUCCESSION),
            Predecessor::Newer => {
                say(&Birth::Taken);
                return 0;
            }
        }
    } else {
        (None, LOCK_PATIENCE)
    };
    let (supervisor, workspace) = match Supervisor::new(root, options, None, patience) {
        Ok(Some(born)) => born,
        Ok(None) => {
            say(&Birth::Taken);
            return 0;
        }
        Err(error) => {
            say(&Birth::Failed(Failure::from(&error)));
            write_note("supervisor", &format!("did not start: {}", error.message()));
            return 1;
        }
    };
    *supervisor.key() = legacy.key.or(inherited);
    if let Err(error) = watch_over(supervisor, workspace, &say) {
        say(&Birth::Failed(Failure::from(&error)));
        return 1;
    }
    0
}

/// Runs a supervisor on this thread of a program, with what ends with the program. `said` is
/// called when it has started, or has not.
pub(crate) fn run_in_process(
    root: &Path,
    options: SupervisorOptions,
    leash: Arc<Leash>,
    told: tokio::sync::oneshot::Receiver<()>,
    said: &dyn Fn(&Birth),
) {
    match Supervisor::new(root, options, Some(leash), LOCK_PATIENCE) {
        Ok(Some((supervisor, workspace))) => {
            if let Err(error) = direct::refuse_shims(&supervisor).and_then(|()| {
                *supervisor.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
                watch_over(supervisor, workspace, said)
            }) {
                said(&Birth::Failed(Failure::from(&error)));
            }
        }
        Ok(None) => said(&Birth::Taken),
        Err(error) => said(&Birth::Failed(Failure::from(&error))),
    }
}

fn watch_over(supervisor: Supervisor, workspace: Uuid, said: &dyn Fn(&Birth)) -> Result<()> {
    let supervisor = Arc::new(supervisor);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| ProviderError::new(ErrorKind::Unexpected, format!("cannot make a runtime: {e}")))?;
    let end = runtime.block_on(supervisor.serve(workspace, said));
    supervisor.note(&format!("ends: {end:?}"));
    // Whatever still runs is left as it is; nothing waits for it.
    runtime.shutdown_background();
    Ok(())
}

fn say(birth: &Birth) {
    let mut line = serde_json::to_vec(birth).unwrap_or_default();
    line.push(b'\n');
    let mut out = io::stdout();
    // Whoever started us may be gone.
    let _ = out.write_all(&line).and_then(|()| out.flush());
    if matches!(birth, Birth::Ready) {
        notify_system();
    }
}

/// Tells systemd, where it started us, that we are ready (sd_notify(3)). No process of ours
/// inherits the variable: they get an environment of their own.
fn notify_system() {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let sent = UnixDatagram::unbound().and_then(|from| match socket.as_bytes() {
        [b'@', name @ ..] => notify_abstract(&from, name),
        _ => from.send_to(b"READY=1\n", &socket),
    });
    if let Err(e) = sent {
        write_note("supervisor", &format!("cannot say that it is ready: {e}"));
    }
}

#[cfg(target_os = "linux")]
fn notify_abstract(from: &UnixDatagram, name: &[u8]) -> io::Result<usize> {
    use std::os::linux::net::SocketAddrExt as _;
    from.send_to_addr(b"READY=1\n", &std::os::unix::net::SocketAddr::from_abstract_name(name)?)
}

#[cfg(not(target_os = "linux"))]
fn notify_abstract(_: &UnixDatagram, _: &[u8]) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Standard error is our log.
fn write_note(who: &str, what: &str) {
    write_note_to(io::stderr(), who, what);
}

fn write_note_to(mut log: impl Write, who: &str, what: &str) {
    let now = jiff::Timestamp::now();
    let _ = writeln!(log, "{now:.3} {who} {}: {what}", std::process::id());
}

impl Supervisor {
    /// `None`: another supervisor has the workspace.
    fn new(
        root: &Path,
        options: SupervisorOptions,
        leash: Option<Arc<Leash>>,
        patience: Duration,
    ) -> Result<Option<(Self, Uuid)>> {
        let pinned = Pinned::open(root).map_err(at("open", root))?;
        let layout = pinned.layout();
        let workspace = layout.workspace_id().map_err(at("use", root))?;
        create_dir(&layout.run()).map_err(at("make", &layout.run()))?;
        let Some(lock) = take_lock(layout, patience).map_err(at("lock", &layout.supervisor_lock()))? else {
            return Ok(None);
        };
        if leash.is_none() {
            // After the lock: whoever takes theirs first sees ours, or we see theirs.
            in_process::refuse_program(layout)?;
            std::env::set_current_dir("/").map_err(at("enter", Path::new("/")))?;
        }
        let called = fs::read_link("/proc/self/exe").unwrap_or_default().to_string_lossy().into_owned();
        let record = layout.supervisor_record();
        let me = ProcessIdentity::of(std::process::id()).map_err(at("look at", Path::new("/proc")))?;
        let said =
            SupervisorRecord { process: me, version: BUILD, program: &called, at: jiff::Timestamp::now() };
        write_json(&record, &said, Durability::Volatile).map_err(at("write", &record))?;
        let supervisor = Self {
            lock,
            workspace,
            config: options.config,
            program: Program::default(),
            leash,
            told: Mutex::default(),
            called,
            open_secrets: options.open_secrets,
            key: Mutex::default(),
            front: Front::default(),
            certificates: Keeper::default(),
            stacks: Mutex::default(),
            allocating: Mutex::default(),
            clients: AtomicUsize::new(0),
            busy: Mutex::new(Instant::now()),
            engines: Mutex::default(),
            ending: Mutex::default(),
            ended: Notify::new(),
            pinned,
        };
        Ok(Some((supervisor, workspace)))
    }

    async fn serve(self: &Arc<Self>, workspace: Uuid, say: &dyn Fn(&Birth)) -> End {
        let sockets =
            match Sockets::bind(self.layout(), workspace).map_err(at("listen in", &self.layout().run())) {
                Ok(sockets) => sockets,
                Err(error) => {
                    self.note(error.message());
                    say(&Birth::Failed(Failure::from(&error)));
                    return End::Idle;
                }
            };
        self.note(&format!("starts, version {BUILD}"));
        self.recover().await;
        say(&Birth::Ready);
        let server = tokio::spawn(server::serve(Arc::clone(self), sockets));
        let watch = tokio::spawn(front::watch(Arc::clone(self)));
        let renewal = tokio::spawn(certificates::renew(Arc::clone(self)));
        let end = self.until_end().await;
        watch.abort();
        renewal.abort();
        match end {
            End::StepDown => self.front.detach().await,
            End::Idle => self.front.end(self, EDGE_GRACE).await,
            End::Program => {
                server.abort();
                self.front.end(self, EDGE_GRACE).await;
                self.each_unit(unit::UnitHandle::leave).await;
                self.note_engines();
                self.stop_contained(self.layout().stacks().unwrap_or_default()).await;
            }
            End::Deleted => {
                self.front.end(self, Duration::ZERO).await;
                // The processes of a workspace that is no more.
                self.each_unit(unit::UnitHandle::abandon).await;
                self.stop_contained(self.all_stacks().iter().map(|stack| stack.id.clone()).collect()).await;
            }
        }
        server.abort();
        if end != End::Deleted {
            // While the lock is ours: a successor's sockets are not there yet.
            super::socket::unlink(self.layout());
            let _ = remove_file(&self.layout().supervisor_record());
        }
        end
    }

    /// Looks at what the predecessor left, and brings it to what is wanted.
    async fn recover(self: &Arc<Self>) {
        self.front.reattach(self).await;
        let stacks = match self.layout().stacks() {
            Ok(stacks) => stacks,
            Err(e) => {
                self.note(&format!("cannot read the apps: {e}"));
                return;
            }
        };
        self.certificates.recover(self, &stacks).await;
        for id in stacks {
            sweep_drafts(&self.layout().stack(&id));
            let stack = match self.stack(&id) {
                Ok(stack) => stack,
                Err(e) => {
                    self.note(e.message());
                    continue;
                }
            };
            if let Err(e) = stack.recover_units(self) {
                self.note(e.message());
            }
            stack.recover_serving(self).await;
        }
        self.front.close_others(self).await;
    }

    async fn until_end(self: &Arc<Self>) -> End {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner).take();
        let program = async move {
            match told {
                // A program that forgot us is done with us as well.
                Some(told) => drop(told.await),
                None => std::future::pending().await,
            }
        };
        tokio::pin!(program);
        let mut tick = tokio::time::interval(self.config.tick);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = &mut program => return End::Program,
                () = self.ended.notified() => {}
                _ = tick.tick() => {}
            }
            if self.is_deleted() {
                return End::Deleted;
            }
            if let Some(end) = *self.ending.lock().unwrap_or_else(PoisonError::into_inner) {
                return end;
            }
            self.note_engines();
            for stack in self.all_stacks() {
                stack.revert_if_due(self).await;
                stack.see_to_watch(self);
            }
            if let Some(Err(e)) = self.leash.as_ref().map(|leash| leash.check()) {
                self.note(&format!("what ends the apps with this program cannot be started again: {e}"));
            }
            let _ = log::rotate(&self.layout().supervisor_log(), OWN_LOG);
            if self.is_active() {
                self.touch();
            } else if self.busy.lock().unwrap_or_else(PoisonError::into_inner).elapsed() >= self.config.idle {
                return End::Idle;
            }
        }
    }

    /// Does something to all units, side by side.
    async fn each_unit(&self, what: impl AsyncFn(&unit::UnitHandle) -> Result<()>) {
        let units: Vec<_> = self.all_stacks().iter().flat_map(|s| s.units()).collect();
        for result in futures_util::future::join_all(units.iter().map(|unit| what(unit))).await {
            if let Err(e) = result {
                self.note(e.message());
            }
        }
    }

    /// Stops servers in containers, which no end of ours ends.
    async fn stop_contained(&self, stacks: Vec<StackId>) {
        let engines = self.engines.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for failed in vessel::stop_all(self.workspace, stacks, &engines).await {
            self.note(&failed);
        }
    }

    /// Remembers which container engines hold something of the workspace: when its folder is
    /// deleted it no longer says so.
    fn note_engines(&self) {
        let now = vessel::engines(self.layout());
        if !now.is_empty() {
            *self.engines.lock().unwrap_or_else(PoisonError::into_inner) = now;
        }
    }

    fn is_active(&self) -> bool {
        if self.clients.load(Ordering::SeqCst) > 0 {
            return true;
        }
        self.all_stacks().iter().any(|stack| stack.is_active())
    }

    fn all_stacks(&self) -> Vec<Arc<Stack>> {
        self.stacks.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The stack, read from disk at first use.
    fn stack(&self, id: &StackId) -> Result<Arc<Stack>> {
        let mut stacks = self.stacks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stack) = stacks.get(id) {
            return Ok(Arc::clone(stack));
        }
        let stack = Arc::new(Stack::load(self, id.clone())?);
        stacks.insert(id.clone(), Arc::clone(&stack));
        Ok(stack)
    }

    fn end(&self, how: End) {
        *self.ending.lock().unwrap_or_else(PoisonError::into_inner) = Some(how);
        self.ended.notify_one();
    }

    /// Something happened: the time without anything to do begins anew.
    fn touch(&self) {
        *self.busy.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Paths that are right in this process, also after the folder was moved.
    fn layout(&self) -> &Layout {
        self.pinned.layout()
    }

    /// Paths as other processes know them now.
    fn named(&self) -> Result<Layout> {
        self.pinned.named().map_err(at("find", self.layout().root()))
    }

    fn is_deleted(&self) -> bool {
        self.pinned.is_deleted() || self.lock.metadata().is_ok_and(|m| m.nlink() == 0)
    }

    /// The key of the secret store that was given.
    fn key(&self) -> MutexGuard<'_, Option<StoreKey>> {
        self.key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds a key from here on; what could not be started without it is tried again.
    fn keep_key(&self, key: StoreKey) {
        *self.key() = Some(key);
        for unit in self.all_stacks().iter().flat_map(|stack| stack.units()) {
            unit.hurry();
        }
    }

    fn mark(&self, key: &UnitKey) -> Mark {
        stack::mark_of(self.workspace, &[&key.stack, &key.release, &key.unit])
    }

    fn release_mark(&self, stack: &StackId, release: ReleaseNumber) -> Mark {
        stack::mark_of(self.workspace, &[stack, &release])
    }

    fn stack_mark(&self, stack: &StackId) -> Mark {
        stack::mark_of(self.workspace, &[stack])
    }

    /// Held while ports are given out.
    fn allocating(&self) -> MutexGuard<'_, ()> {
        self.allocating.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does no other unit of the release run, or is about to?
    fn is_idle(&self, key: &UnitKey) -> bool {
        let stacks = self.stacks.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(stack) = stacks.get(&key.stack) else {
            return true;
        };
        stack.units().iter().all(|unit| {
            let view = unit.view();
            unit.key == *key
                || unit.key.release != key.release
                || (!view.record.wanted && view.state != UnitState::Running)
        })
    }

    /// Was the file of our program replaced since we were started?
    fn is_replaced(&self) -> bool {
        self.leash.is_none()
            && fs::read_link("/proc/self/exe").is_ok_and(|now| now.to_string_lossy() != self.called)
    }

    /// Does a process run the same file as we do?
    fn runs_our_program(&self, pid: u32) -> bool {
        let of = |pid: &str| fs::metadata(format!("/proc/{pid}/exe")).map(|m| (m.dev(), m.ino())).ok();
        of(&pid.to_string()) == of("self")
    }

    /// A line in our own log. Never holds a value of a variable.
    fn note(&self, what: &str) {
        if self.is_deleted() {
            return;
        }
        if self.leash.is_none() {
            write_note("supervisor", what);
        } else if let Ok(log) = log::open(&self.layout().supervisor_log()) {
            // Standard error is the program's own.
            write_note_to(log, "supervisor", what);
        }
    }
}

/// Takes the lock of the workspace; `None` when another supervisor has it.
fn take_lock(layout: &Layout, patience: Duration) -> io::Result<Option<File>> {
    let path = layout.supervisor_lock();
    let until = Instant::now() + patience;
    loop {
        if let Some(lock) = lock::try_take(&path)? {
            // The file may have been replaced between open and lock.
            let mine = lock.metadata()?;
            if fs::metadata(&path).is_ok_and(|now| (now.dev(), now.ino()) == (mine.dev(), mine.ino())) {
                return Ok(Some(lock));
            }
        } else if Instant::now() >= until {
            return Ok(None);
        } else {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Says that a workspace's supervisor cannot be what was asked for.
pub(crate) fn unsupported() -> ProviderError {
    ProviderError::new(failure::kind(&io::ErrorKind::Unsupported.into()), "supervising processes needs Linux")
}
