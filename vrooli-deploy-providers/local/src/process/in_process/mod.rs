//! A supervisor inside the program that embeds us: on a thread of its own, with the edge on
//! others. Apps are children of the program and end with it. Nothing is started that
//! outlives the program but the [`Leash`], which ends what the program ran and then itself.

mod leash;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use vrooli_deploy_core::provider::{ErrorKind, ProviderError, Result};

pub(crate) use leash::Leash;

use super::SecretResolver;
use super::config::SupervisorConfig;
use super::files::{Durability, create_dir, read_json, write_json};
use super::identity::ProcessIdentity;
use super::lock;
use super::supervise::{self, Birth, SupervisorOptions};
use crate::failure::at;
use crate::kinds::vessel;
use crate::layout::Layout;

/// How long whatever a program left may take to end: its apps' grace, its servers' grace, and
/// some.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long a lock is asked for before its holder is looked at: somebody may just be looking.
const LOOK: Duration = Duration::from_millis(300);
const POLL: Duration = Duration::from_millis(20);

/// `in-process.json`: the program that runs the apps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ProgramRecord {
    process: ProcessIdentity,
    program: String,
}

/// What this program runs in itself of one workspace. Cheap to clone; when the last clone is
/// gone apps and servers are asked to end, and forced to after their grace.
#[derive(Clone)]
pub struct InProcess(Arc<Inner>);

struct Inner {
    layout: Layout,
    config: SupervisorConfig,
    secrets: Arc<SecretResolver>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    leash: Option<Arc<Leash>>,
    thread: Option<Thread>,
}

struct Thread {
    /// Dropped to end it.
    done: oneshot::Sender<()>,
    handle: std::thread::JoinHandle<()>,
}

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InProcess").field("root", &self.0.layout.root()).finish_non_exhaustive()
    }
}

/// Of a workspace there is one in a program, however often it is opened.
static ALL: Mutex<BTreeMap<PathBuf, Weak<Inner>>> = Mutex::new(BTreeMap::new());

impl InProcess {
    /// What this program runs of a workspace; made if there is none yet. Starts nothing.
    pub(crate) fn of(layout: &Layout, config: &SupervisorConfig, secrets: Arc<SecretResolver>) -> Self {
        let root = layout.root();
        let root = root.canonicalize().or_else(|_| std::path::absolute(root)).unwrap_or_else(|_| root.into());
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, there| there.strong_count() > 0);
        if let Some(there) = all.get(&root).and_then(Weak::upgrade) {
            return Self(there);
        }
        let inner = Arc::new(Inner {
            layout: Layout::new(root.clone()),
            config: config.clone(),
            secrets,
            state: Mutex::default(),
        });
        all.insert(root, Arc::downgrade(&inner));
        Self(inner)
    }

    /// Is it the same?
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// What ends with us. Takes the workspace for this program first: waits for what a
    /// program before us left, and refuses a workspace that somebody else serves.
    ///
    /// # Errors
    /// `Conflict` when another program or a supervisor process serves it.
    pub(crate) async fn leash(&self) -> Result<Arc<Leash>> {
        let until = Instant::now() + PATIENCE;
        let started = Instant::now();
        loop {
            if let Some(leash) = self.try_leash()? {
                return Ok(leash);
            }
            if started.elapsed() >= LOOK {
                refuse_holder(&self.0.layout)?;
            }
            if Instant::now() >= until {
                return Err(still_ending());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn try_leash(&self) -> Result<Option<Arc<Leash>>> {
        let mut state = self.0.state();
        if let Some(leash) = &state.leash {
            return Ok(Some(Arc::clone(leash)));
        }
        let layout = &self.0.layout;
        layout.workspace_id().map_err(at("use", layout.root()))?;
        create_dir(&layout.run()).map_err(at("make", &layout.run()))?;
        let path = layout.in_process_lock();
        let Some(lock) = lock::try_take(&path).map_err(at("lock", &path))? else {
            return Ok(None);
        };
        // After the lock: a supervisor that starts now sees it.
        refuse_supervisor(layout)?;
        let program = std::env::current_exe().unwrap_or_default().to_string_lossy().into_owned();
        let process = ProcessIdentity::of(std::process::id()).map_err(at("look at", Path::new("/proc")))?;
        let record = layout.in_process_record();
        write_json(&record, &ProgramRecord { process, program }, Durability::Volatile)
            .map_err(at("write", &record))?;
        let leash = Leash::new(lock, self.0.config.stop_grace).map_err(|e| {
            ProviderError::new(
                ErrorKind::Missing,
                format!("what ends the apps with this program cannot be started: {e}"),
            )
        })?;
        let leash = Arc::new(leash);
        state.leash = Some(Arc::clone(&leash));
        Ok(Some(leash))
    }

    /// Starts the supervisor, unless it runs, and waits until it is ready.
    pub(crate) async fn start(&self) -> Result<()> {
        let leash = self.leash().await?;
        let (say, heard) = oneshot::channel();
        {
            let mut state = self.0.state();
            if state.thread.as_ref().is_some_and(|thread| !thread.handle.is_finished()) {
                return Ok(());
            }
            let secrets = Arc::clone(&self.0.secrets);
            let options =
                SupervisorOptions::new(self.0.config.clone(), Box::new(move |_, _| Ok(Arc::clone(&secrets))));
            let (done, told) = oneshot::channel();
            let root = self.0.layout.root().to_owned();
            let handle = std::thread::Builder::new()
                .name("supervisor".to_owned())
                .spawn(move || {
                    let say = Mutex::new(Some(say));
                    let said = |birth: &Birth| {
                        if let Some(say) = say.lock().unwrap_or_else(PoisonError::into_inner).take() {
                            let _ = say.send(birth.clone());
                        }
                    };
                    supervise::run_in_process(&root, options, leash, told, &said);
                })
                .map_err(|e| {
                    ProviderError::new(ErrorKind::Unexpected, format!("cannot start a thread: {e}"))
                })?;
            state.thread = Some(Thread { done, handle });
        }
        match heard.await {
            Ok(Birth::Ready | Birth::Taken) => Ok(()),
            Ok(Birth::Failed(failure)) => Err(failure.into()),
            Err(_) => Err(ProviderError::new(ErrorKind::Unexpected, "the supervisor ended without a word")),
        }
    }

    /// Ends apps, each by its own grace and then by force, after them their servers, and gives
    /// the workspace free. What is wanted stays: the next program starts it again.
    pub(crate) async fn end(&self) {
        let (thread, leash) = {
            let mut state = self.0.state();
            (state.thread.take(), state.leash.take())
        };
        if let Some(Thread { done, handle }) = thread {
            drop(done);
            let _ = tokio::task::spawn_blocking(move || handle.join()).await;
        }
        if let Some(leash) = leash {
            // While the workspace is ours. The supervisor stops them too, where one ran.
            self.stop_contained().await;
            let _ = tokio::task::spawn_blocking(move || leash.end()).await;
        }
    }

    /// Stops all servers in containers that the workspace has: those that were started here,
    /// and those that a killed program left to us.
    async fn stop_contained(&self) {
        let layout = &self.0.layout;
        let (engines, Some(workspace)) = (vessel::engines(layout), layout.known_id()) else { return };
        for failed in vessel::stop_all(workspace, layout.stacks().unwrap_or_default(), &engines).await {
            tracing::warn!(workspace = %workspace, "a server could not be stopped: {failed}");
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refuses a workspace that a program runs apps of in itself.
pub(crate) fn refuse_program(layout: &Layout) -> Result<()> {
    let path = layout.in_process_lock();
    if !lock::is_held(&path).map_err(at("look at", &path))? {
        return Ok(());
    }
    refuse_holder(layout)?;
    Err(still_ending())
}

/// Waits until nothing is left of a program that ran apps in itself.
///
/// # Errors
/// `Conflict` when such a program lives.
pub(crate) async fn wait_for_programs(layout: &Layout) -> Result<()> {
    let path = layout.in_process_lock();
    let until = Instant::now() + PATIENCE;
    while lock::is_held(&path).map_err(at("look at", &path))? {
        refuse_holder(layout)?;
        if Instant::now() >= until {
            return Err(still_ending());
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// An error if the program that the record names lives and is not this one.
fn refuse_holder(layout: &Layout) -> Result<()> {
    let path = layout.in_process_record();
    let record: Option<ProgramRecord> = read_json(&path).unwrap_or_default();
    let Some(ProgramRecord { process, program }) = record else {
        return Ok(());
    };
    if !process.is_this() && process.open().map_err(at("look at", &path))?.is_some() {
        return Err(runs_in(process.pid, &program));
    }
    Ok(())
}

/// Says that apps run in a program.
pub(crate) fn runs_in(pid: u32, program: &str) -> ProviderError {
    ProviderError::new(
        ErrorKind::Conflict,
        format!("the apps of this workspace run inside `{program}` (process {pid}) and end with it"),
    )
    .with_help("change them from that program, or end it and run the same command again")
}

fn still_ending() -> ProviderError {
    ProviderError::new(
        ErrorKind::Unavailable,
        "what a program ran in itself before it ended is still being ended",
    )
    .with_help("run the same command again in a moment")
}

/// Refuses a workspace that a supervisor process serves.
fn refuse_supervisor(layout: &Layout) -> Result<()> {
    let path = layout.supervisor_lock();
    let until = Instant::now() + LOOK;
    while lock::is_held(&path).map_err(at("look at", &path))? {
        if Instant::now() >= until {
            return Err(served(&supervise::recorded(layout)));
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// Says that a supervisor process serves the workspace. `who`: which, if that is known.
pub(crate) fn served(who: &str) -> ProviderError {
    ProviderError::new(
        ErrorKind::Conflict,
        format!("a supervisor process serves this workspace{who}; its apps outlive the program that started them"),
    )
    .with_help(
        "stop its apps first (`vrooli-deploy stop NAME`; it ends some seconds after the last one), or open the workspace without `in_process`",
    )
}

/// What opens the store of secrets for a supervisor in this program: it is open already.
pub(crate) fn resolver(store: Arc<dyn vrooli_deploy_core::secrets::SecretStore>) -> Arc<SecretResolver> {
    Arc::new(move |reference| store.get(reference))
}

/// A failure to keep something, as the provider's own.
pub(crate) fn not_kept(error: &io::Error) -> ProviderError {
    ProviderError::new(
        ErrorKind::Unexpected,
        format!("what ends the servers with this program does not take them: {error}"),
    )
}
