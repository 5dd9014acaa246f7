//! Backups of what an app's databases and caches hold.

use serde::{Deserialize, Serialize};

use super::error::never_deployed;
use super::session::Interrupted;
use super::{OperationError, Run, Workspace};
use crate::diagnostics::rules;
use crate::names::StackId;
use crate::provider::{BackupSet, Backups, Cancellation, ErrorKind, Provider, ProviderError};

/// Which backup is put back.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RestoreOptions {
    /// What was saved, as the app calls it. It may be left out where only one thing is saved.
    pub of: Option<String>,
    /// The backup's name.
    pub name: String,
    /// The app's name: that what is there now may be replaced.
    pub data: Option<String>,
}

/// What came of putting a backup back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoredBackup {
    /// What was saved, as the app calls it.
    pub of: String,
    /// Where.
    pub place: String,
    /// The backup.
    pub name: String,
    /// The backup of what was there before, made first.
    pub saved: String,
    /// Where what was there before is kept until the next restore, as the server calls it.
    pub before: String,
}

impl Workspace {
    /// The backups of an app's databases and caches. Takes no lease and changes nothing.
    ///
    /// # Errors
    /// When the app was never deployed, its provider makes none, or a server cannot be asked.
    pub async fn backups(&self, stack: &StackId) -> Result<Vec<BackupSet>, OperationError> {
        let source = self.source(stack).await?.ok_or_else(|| never_deployed(stack))?;
        let provider = self.provider(stack, &source.provider, None).await?;
        let cx = self.observe_context(stack, 0, Cancellation::new());
        Ok(made(&*provider)?.list(&cx).await?)
    }

    /// Puts a backup back. What is there is saved first; then the backup is restored beside it and
    /// takes its place at once, so the app runs on and is cut off from its data for a moment only.
    ///
    /// # Errors
    /// When `options.data` does not name the app (a gate, exit 7), there is no such backup, someone
    /// else holds the lease, or a step fails: then the data are as they were.
    pub async fn restore(
        &self,
        stack: &StackId,
        options: &RestoreOptions,
        run: &Run,
    ) -> Result<RestoredBackup, OperationError> {
        may_replace(stack, options)?;
        let source = self.source(stack).await?.ok_or_else(|| never_deployed(stack))?;
        let session =
            self.session(stack, &source.provider, run, "backups restore", Interrupted::Resolve).await?;
        let backups = made(&*session.provider)?;
        let all = backups.list(&session.context()).await?;
        let set = chosen(&all, options)?;
        if !set.backups.iter().any(|backup| backup.name == options.name) {
            return Err(OperationError::Provider(no_backup(set, &options.name)));
        }
        let saved = backups.make(&session.long_context(), &set.key).await?;
        let before = backups.restore(&session.long_context(), &set.key, &options.name).await?;
        let restored = RestoredBackup {
            of: set.name.clone(),
            place: set.place.clone(),
            name: options.name.clone(),
            saved,
            before,
        };
        session.end(false).await?;
        Ok(restored)
    }
}

fn made(provider: &dyn Provider) -> Result<std::sync::Arc<dyn Backups>, OperationError> {
    provider.backups().ok_or_else(|| {
        OperationError::Provider(
            ProviderError::new(
                ErrorKind::Unsupported,
                format!("provider `{}` makes no backups", provider.name()),
            )
            .with_code(rules::NO_BACKUPS.to_string())
            .with_help("save what the app holds with a tool of the database"),
        )
    })
}

fn may_replace(stack: &StackId, options: &RestoreOptions) -> Result<(), OperationError> {
    if options.data.as_deref() == Some(stack.app.as_str()) {
        return Ok(());
    }
    let message = match &options.data {
        Some(name) => format!("`--data={name}` does not name the app `{}`: its data stay", stack.app),
        None => format!("a restore replaces what `{stack}` holds now"),
    };
    let help = format!("to put {} in its place: `--data={}`", options.name, stack.app);
    Err(OperationError::Gate { message, help })
}

fn chosen<'a>(all: &'a [BackupSet], options: &RestoreOptions) -> Result<&'a BackupSet, OperationError> {
    let names = || all.iter().map(|set| set.name.as_str()).collect::<Vec<_>>().join(", ");
    let nothing = |message: String, help: String| OperationError::Nothing { message, help };
    match (&options.of, all) {
        (_, []) => Err(nothing("nothing of this app is saved".to_owned(), String::new())),
        (Some(of), _) => all
            .iter()
            .find(|set| set.name == *of)
            .ok_or_else(|| nothing(format!("`{of}` is not saved"), format!("what is: {}", names()))),
        (None, [one]) => Ok(one),
        (None, _) => {
            // A name may say it: no two things are saved under one end.
            let mut with: Vec<&BackupSet> = Vec::new();
            with.extend(all.iter().filter(|set| set.backups.iter().any(|one| one.name == options.name)));
            match with[..] {
                [one] => Ok(one),
                _ => Err(nothing(
                    format!("`{}` does not say of what it is a backup", options.name),
                    format!("name it with `--of`: {}", names()),
                )),
            }
        }
    }
}

fn no_backup(set: &BackupSet, name: &str) -> ProviderError {
    let there = set.backups.iter().map(|backup| backup.name.as_str()).collect::<Vec<_>>().join(", ");
    let help = if there.is_empty() { "none was made yet".to_owned() } else { format!("there are: {there}") };
    ProviderError::new(ErrorKind::NotFound, format!("`{}` on {} has no backup `{name}`", set.name, set.place))
        .with_code(rules::NO_BACKUP.to_string())
        .with_help(help)
}
