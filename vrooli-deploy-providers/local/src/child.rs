//! The door through which the embedding program becomes one of its own hidden subcommands:
//! supervisor, shim, launcher, keeper, watch, agent, look or edge. It must be passed first in `main`, before threads
//! are made and arguments are read.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use vrooli_deploy_core::secrets::{FileStore, KeySource, Secret, SecretError, SecretStore as _};

use crate::build::Guard;
use crate::layout::Layout;
use crate::process::{OpenSecrets, Program, SecretResolver, SupervisorConfig, SupervisorOptions};

/// The first argument of every hidden subcommand.
pub(crate) const MARKER: &str = "__vrooli-deploy-child";

pub(crate) const SUPERVISOR: &str = "supervisor";
pub(crate) const SHIM: &str = "shim";
pub(crate) const LAUNCHER: &str = "launcher";
pub(crate) const KEEPER: &str = "keeper";
/// What is run in a container, and becomes the app.
pub(crate) const CONTAINED: &str = "contained";
pub(crate) const EDGE: &str = "edge";
pub(crate) const WATCH: &str = "watch";
const BUILD_STEP: &str = "build-step";
/// What a server runs for who deploys to it. Bare-metal's data knows the word, too.
const AGENT: &str = "agent";
/// What a survey of a server runs.
const LOOK: &str = "look";

/// What follows a supervisor's folder where the system starts and keeps it, on a server: it stays
/// when there is nothing to do. Then the account of the edge. The unit of bare-metal's data knows the
/// word, too.
const RESIDENT: &str = "resident";

/// Build steps run under a hidden subcommand of the program, which ends them when we end.
pub(crate) fn build_guard(program: &Program) -> Guard {
    Guard::Program { program: program.path.clone(), arguments: vec![MARKER.into(), BUILD_STEP.into()] }
}

/// What the hidden subcommands need from the embedding program.
pub struct ChildHooks {
    open_secrets: Box<OpenSecrets>,
    config: SupervisorConfig,
}

impl ChildHooks {
    /// With a way to open the secret store of a workspace, by the key that was given, if any.
    /// It is called anew for each start of a process, so that values written meanwhile are
    /// found, and a store that cannot be opened stops no other process.
    pub fn new(
        open_secrets: impl Fn(&Layout, Option<&Secret<String>>) -> Result<Arc<SecretResolver>, SecretError>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self { open_secrets: Box::new(open_secrets), config: SupervisorConfig::default() }
    }

    /// With other numbers for the supervisor.
    #[must_use]
    pub fn with_config(mut self, config: SupervisorConfig) -> Self {
        self.config = config;
        self
    }
}

impl std::fmt::Debug for ChildHooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChildHooks").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Runs a hidden subcommand and ends the process with its status, if the arguments ask for
/// one; else does nothing.
pub fn run_if_child(hooks: ChildHooks) {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_none_or(|first| first != MARKER) {
        return;
    }
    let role = arguments.next().unwrap_or_default();
    let status = match role.to_str() {
        Some(BUILD_STEP) => crate::build::run_build_step(),
        Some(SHIM) => crate::process::run_shim(),
        Some(LAUNCHER) => crate::process::become_app(),
        Some(KEEPER) => crate::process::keep_container(),
        Some(CONTAINED) => crate::process::become_contained(),
        Some(SUPERVISOR) => match (arguments.next(), arguments.next()) {
            (Some(root), None) => supervise(Path::new(&root), hooks),
            (Some(root), Some(how)) if how == RESIDENT => {
                let account = arguments.next().and_then(|account| account.into_string().ok());
                reside(Path::new(&root), account, hooks)
            }
            _ => 64,
        },
        Some(WATCH) => match (arguments.next(), arguments.next(), arguments.next()) {
            (Some(root), Some(app), Some(environment)) => crate::watch::run(root.into(), &app, &environment),
            _ => 64,
        },
        Some(AGENT) => match (arguments.next(), arguments.next().as_deref().and_then(|unit| unit.to_str())) {
            (Some(root), Some(unit)) => crate::agent::run(Path::new(&root), unit),
            _ => 64,
        },
        Some(LOOK) => match (arguments.next(), arguments.next(), arguments.next()) {
            (Some(root), Some(app), Some(environment)) => match (app.to_str(), environment.to_str()) {
                (Some(app), Some(environment)) => crate::agent::look(Path::new(&root), app, environment),
                _ => 64,
            },
            _ => 64,
        },
        Some(EDGE) => match (arguments.next(), arguments.next()) {
            (Some(state), Some(sockets)) => {
                let certificates = arguments.next().map(Into::into);
                crate::process::run_edge(state.into(), sockets.into(), certificates)
            }
            _ => 64,
        },
        _ => 64,
    };
    std::process::exit(i32::from(status));
}

fn supervise(root: &Path, hooks: ChildHooks) -> u8 {
    let ChildHooks { open_secrets, config } = hooks;
    crate::process::run_supervisor(root, SupervisorOptions::new(config, open_secrets))
}

/// A supervisor that stays. Whoever started it is told by its protocol when it is ready. Its edge runs
/// as an account of its own, if there is one.
fn reside(root: &Path, edge_account: Option<String>, hooks: ChildHooks) -> u8 {
    if let Err(error) = std::fs::create_dir_all(root) {
        // Standard error is the system's log.
        let _ = writeln!(std::io::stderr(), "cannot make {}: {error}", root.display());
        return 1;
    }
    let ChildHooks { open_secrets, mut config } = hooks;
    config.idle = std::time::Duration::MAX;
    config.watches = false;
    config.resident = true;
    config.edge_account = edge_account;
    crate::process::run_supervisor(root, SupervisorOptions::new(config, open_secrets))
}

/// Was this process started as a hidden subcommand? A watch is none in this sense: it is the
/// program itself, going on where a command left off, and may have to start a supervisor.
pub(crate) fn is_child() -> bool {
    let mut arguments = std::env::args_os().skip(1);
    arguments.next().is_some_and(|first| first == MARKER) && arguments.next().is_none_or(|role| role != WATCH)
}

/// Is the process a shim of ours (or of another workspace)?
pub(crate) fn is_shim(pid: u32) -> bool {
    is_subcommand(pid, SHIM)
}

/// Is the process a supervisor of ours (or of another workspace)?
pub(crate) fn is_supervisor(pid: u32) -> bool {
    is_subcommand(pid, SUPERVISOR)
}

/// Does the process stand for an app in a container?
pub(crate) fn is_keeper(pid: u32) -> bool {
    is_subcommand(pid, KEEPER)
}

fn is_subcommand(pid: u32, role: &str) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
        let mut arguments = line.split(|b| *b == 0).skip(1);
        arguments.next() == Some(MARKER.as_bytes()) && arguments.next() == Some(role.as_bytes())
    })
}

/// Opens the secret store of a workspace, as the workspace itself does.
pub(crate) fn open_secrets(
    layout: &Layout,
    given: Option<&Secret<String>>,
) -> Result<Arc<SecretResolver>, SecretError> {
    let place = layout.root().display().to_string();
    let id = layout
        .workspace_id()
        .map_err(|e| SecretError::Io { place, message: format!("the workspace has no id: {e}") })?;
    let key = match given {
        Some(key) => KeySource::Given(key.clone()),
        None => KeySource::Folder(vrooli_deploy_core::workspace::key_folder(layout.root())),
    };
    let store = FileStore::open(layout.root(), id, key)?;
    Ok(Arc::new(move |reference| store.get(reference)))
}
