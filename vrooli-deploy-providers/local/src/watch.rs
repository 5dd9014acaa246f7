//! Goes on with an open watch, in the place of the command that began it.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use vrooli_deploy_core::engine::OutcomeKind;
use vrooli_deploy_core::names::{AppName, EnvironmentName, StackId};
use vrooli_deploy_core::provider::Registry;
use vrooli_deploy_core::secrets::Secret;
use vrooli_deploy_core::workspace::{OperationError, Report, Run, Workspace, WorkspaceOptions, key_folder};

use crate::factory::LocalFactory;
use crate::process::given_key;

/// Takes the lease of a stack of this workspace and goes on with its open watch until it
/// commits or goes back. What waits for a person is left alone. `key` is that of the secret
/// store, where it lies in no file.
///
/// # Errors
/// When nothing waits, someone else holds the lease, or the workspace cannot be used.
pub async fn resume(
    root: &Path,
    stack: &StackId,
    key: Option<Secret<String>>,
) -> Result<Report, OperationError> {
    let mut options = WorkspaceOptions::new(root);
    options.key = key;
    options.key_dir = key_folder(root);
    let workspace = Workspace::open(options, Registry::new().with(LocalFactory::new())).await?;
    workspace.watch(stack, &Run::new()).await
}

/// The hidden subcommand. Its status says what came of it; standard error is the supervisor's log.
pub(crate) fn run(root: PathBuf, app: &OsStr, environment: &OsStr) -> u8 {
    let stack = app.to_str().zip(environment.to_str()).and_then(|(app, environment)| {
        Some(StackId { app: AppName::new(app).ok()?, environment: EnvironmentName::new(environment).ok()? })
    });
    let Some(stack) = stack else { return 64 };
    // Opened, a workspace that was deleted would be made again.
    if !root.join("id").is_file() {
        note(&format!("{stack}: {} is no workspace any more", root.display()));
        return 1;
    }
    // It outlives the supervisor that started it.
    let _ = rustix::process::setsid();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            note(&format!("{stack}: cannot make a runtime: {e}"));
            return 1;
        }
    };
    let key = match given_key(std::io::stdin().lock()) {
        Ok(key) => key,
        Err(e) => {
            note(&format!("{stack}: cannot read the key of the secret store: {e}"));
            return 1;
        }
    };
    match runtime.block_on(resume(&root, &stack, key)) {
        Ok(report) => {
            let cause = report
                .outcome
                .cause
                .as_ref()
                .map_or_else(String::new, |(_, failure)| format!(": {}", failure.message));
            note(&format!("{stack}: {}{cause}", word(report.outcome.kind)));
            report.outcome.kind.exit_code()
        }
        Err(e) => {
            note(&format!("{stack}: {e}"));
            e.exit_code()
        }
    }
}

fn word(kind: OutcomeKind) -> &'static str {
    match kind {
        OutcomeKind::NoChange | OutcomeKind::Applied => "committed",
        OutcomeKind::OnHold => "waits for a person",
        OutcomeKind::RolledBack => "went back",
        OutcomeKind::Partial => "committed in part",
        OutcomeKind::Stuck => "stuck",
        OutcomeKind::Interrupted => "interrupted",
    }
}

fn note(what: &str) {
    let now = jiff::Timestamp::now();
    let _ = writeln!(std::io::stderr(), "{now:.3} watch {}: {what}", std::process::id());
}
