//! The facade: everything the command line does, as a typed API.
//!
//! A [`Workspace`] is one state folder. A command about an app goes through two halves:
//! first it is *planned* under the stack's lease (a [`Change`]), then *applied*. Dropping
//! a `Change` gives the lease back and has changed nothing.

mod backups;
mod change;
mod configure;
mod decide;
mod deploy;
mod destroy;
mod drift;
mod error;
mod estimate;
mod fitness;
mod live;
mod making_way;
mod options;
mod orphans;
mod owner;
mod permissions;
mod planned_cost;
mod power;
mod profiles;
mod query;
mod quotas;
mod rebuild;
mod render;
mod report;
mod resources_only;
mod rollback;
mod run_url;
mod secrets;
mod session;
mod source;
mod steps;
mod target;
mod validate;
mod waiting;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::engine::EngineHooks;
use crate::provider::Registry;
use crate::release::strategy::Strategies;
use crate::secrets::{FileStore, KeySource, SecretStore};
use crate::state::{SqliteStore, StateStore};

pub use backups::{RestoreOptions, RestoredBackup};
pub use change::Change;
pub use configure::ConfigurationStatus;
pub use drift::{Drift, DriftKind, DriftReport};
pub use error::OperationError;
pub use estimate::{BookSummary, EstimateOptions, EstimateReport};
pub use fitness::{FitnessChoices, FitnessReport, SwapCascade};
pub use live::{Live, ReleaseTraffic, WatchStatus};
pub use options::{
    DeployOptions, DestroyOptions, RollbackOptions, Run, StrategyOptions, Target, TargetOptions,
    WorkspaceOptions,
};
pub use orphans::{Orphan, OrphanChoices, OrphanOptions, OrphanOwner, OrphanReport};
pub use permissions::Rights;
pub use planned_cost::{CostOptions, PlanReport};
pub use profiles::{ImportOptions, ImportedProfile, ProfileEdit, SwappedProfile};
pub use rebuild::{RebuildOptions, Rebuilt, RebuiltHow, RebuiltThing};
pub use render::{RenderOptions, Rendering};
pub use report::{Health, ReleaseSummary, Report, ResourceSummary, StackSummary, StatusReport};
pub use run_url::run_url;
pub use secrets::{SecretsOptions, SecretsReport, StoredSecret};
pub use validate::ValidationReport;
pub use waiting::Waiting;

/// One state folder and the providers of this program. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Workspace(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    host: String,
    store: Arc<dyn StateStore>,
    secrets: Arc<dyn SecretStore>,
    registry: Registry,
    strategies: Strategies,
    hooks: EngineHooks,
}

impl Workspace {
    /// Opens the state folder, making it if it is not there.
    ///
    /// # Errors
    /// When the folder, the state or the secret store cannot be used; nothing is changed then.
    pub async fn open(options: WorkspaceOptions, registry: Registry) -> Result<Self, OperationError> {
        Self::open_with(options, registry, Strategies::default(), EngineHooks::default()).await
    }

    /// The same with strategies of the program's own, and with hooks that see every append
    /// and call (tests kill there).
    ///
    /// # Errors
    /// See [`open`](Self::open).
    pub async fn open_with(
        options: WorkspaceOptions,
        registry: Registry,
        strategies: Strategies,
        hooks: EngineHooks,
    ) -> Result<Self, OperationError> {
        let store = SqliteStore::open(&options.dir)?;
        let dir = std::fs::canonicalize(&options.dir)
            .map_err(|e| OperationError::Io { path: options.dir.clone(), message: e.to_string() })?;
        name(&dir, store.id())?;
        let key = match options.key {
            Some(key) => KeySource::Given(key),
            None => KeySource::Folder(remember_key_folder(&dir, options.key_dir)?),
        };
        let secrets = FileStore::open(&dir, store.id(), key)?;
        let host =
            options.host.unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
        Ok(Self(Arc::new(Inner {
            dir,
            host,
            store: Arc::new(store),
            secrets: Arc::new(secrets),
            registry,
            strategies,
            hooks,
        })))
    }

    /// The state folder, as an absolute path.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// The providers of this program.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.0.registry
    }
}

/// Writes the state's id where programs that do not open the state find it: a folder is
/// known by its id, whatever path it has.
fn name(dir: &Path, id: uuid::Uuid) -> Result<(), OperationError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = dir.join("id");
    let fail = |e: std::io::Error| OperationError::Io { path: path.clone(), message: e.to_string() };
    if path.exists() {
        return Ok(());
    }
    let draft = dir.join(format!(".id-{}", std::process::id()));
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .map_err(fail)?;
    writeln!(file, "{id}").and_then(|()| file.sync_all()).map_err(fail)?;
    std::fs::rename(&draft, &path).map_err(fail)
}

/// Holds the folder of the key, where it is not the usual one.
const KEY_FOLDER: &str = "key-folder";

fn remember_key_folder(dir: &Path, given: Option<PathBuf>) -> Result<Option<PathBuf>, OperationError> {
    let Some(given) = given else { return Ok(key_folder(dir)) };
    let path = dir.join(KEY_FOLDER);
    let fail = |e: std::io::Error| OperationError::Io { path: path.clone(), message: e.to_string() };
    let given = std::path::absolute(given).map_err(fail)?;
    if key_folder(dir).as_ref() != Some(&given) {
        std::fs::write(&path, given.as_os_str().as_encoded_bytes()).map_err(fail)?;
    }
    Ok(Some(given))
}

/// The folder of the key of a state folder's secret store; `None`: the usual one.
#[must_use]
pub fn key_folder(dir: &Path) -> Option<PathBuf> {
    std::fs::read_to_string(dir.join(KEY_FOLDER)).ok().filter(|text| !text.is_empty()).map(PathBuf::from)
}
