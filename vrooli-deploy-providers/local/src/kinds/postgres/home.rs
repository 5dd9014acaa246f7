//! Where a server's folder lies, and as whom it runs.
//!
//! `initdb` refuses root, and a server of another account must reach its data: so as root
//! the data lies under `/var/lib`, in a folder of the workspace's id, and the server runs
//! as the distribution's own account. Otherwise all is in the state folder; of a server in a
//! container only the record is.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use vrooli_deploy_core::names::{ResourceKey, StackId};
use vrooli_deploy_core::provider::{ErrorKind, ProviderError, Result};

use super::binaries::KNOWN;
use crate::account::{self, Account};
use crate::failure;
use crate::kinds::folder_name;
use crate::layout::Layout;

const FOR_ROOT: &str = "/var/lib/vrooli-deploy";
const SORT: &str = "postgres";

/// A server's folder and the account that it runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Home {
    pub(super) folder: PathBuf,
    runs_as: RunsAs,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum RunsAs {
    /// As ourselves.
    Us,
    /// We are root, and it must not be.
    Account(Account),
    /// The same, and there is no such account.
    Nobody,
}

impl Home {
    /// The account that the server's programs run as; `None`: our own.
    pub(super) fn account(&self) -> Result<Option<&Account>> {
        match &self.runs_as {
            RunsAs::Us => Ok(None),
            RunsAs::Account(account) => Ok(Some(account)),
            RunsAs::Nobody => Err(ProviderError::new(
                ErrorKind::Missing,
                "PostgreSQL refuses to run as root, and this machine has no account `postgres` to run it as",
            )
            .with_help("run as an ordinary user, or make the account: `useradd --system postgres`")),
        }
    }

    pub(super) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    /// Makes the folder, its owner the server's account, unreadable for others.
    pub(super) fn make(&self) -> Result<()> {
        if let Some(parent) = self.folder.parent() {
            // As root the way down to the data must be open to the server's account; the
            // folder itself is not open to anybody else.
            let mode = if self.runs_as == RunsAs::Us { 0o700 } else { 0o711 };
            fs::DirBuilder::new()
                .recursive(true)
                .mode(mode)
                .create(parent)
                .map_err(failure::at("make", parent))?;
        }
        match fs::DirBuilder::new().mode(0o700).create(&self.folder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failure::io("make", &self.folder, &error)),
        }
        match self.account()? {
            Some(account) => std::os::unix::fs::chown(&self.folder, Some(account.uid), Some(account.gid))
                .map_err(failure::at("give away", &self.folder)),
            None => Ok(()),
        }
    }
}

/// The folder of this workspace's servers outside of the state folder, if we are root and
/// the workspace has an id.
pub(crate) fn folder_for_root(layout: &Layout) -> Result<Option<PathBuf>> {
    if !account::is_root() || !layout.root().join("id").exists() {
        return Ok(None);
    }
    let id = layout.workspace_id().map_err(failure::at("read the id of", layout.root()))?;
    Ok(Some(Path::new(FOR_ROOT).join(id.to_string())))
}

/// The folders in which servers of a stack may be.
pub(super) fn parents(layout: &Layout, stack: &StackId) -> Result<Vec<PathBuf>> {
    let mut parents = vec![layout.servers(stack, SORT)];
    if let Some(folder) = folder_for_root(layout)? {
        parents.push(folder.join(stack.app.as_str()).join(stack.environment.as_str()).join(SORT));
    }
    Ok(parents)
}

/// The home of a server in a container: its record, in the state folder.
pub(super) fn of_contained(layout: &Layout, stack: &StackId, key: &ResourceKey) -> Home {
    Home { folder: layout.servers(stack, SORT).join(folder_name(key)), runs_as: RunsAs::Us }
}

/// The home of a server that is run from programs: where it is, or would be made.
pub(super) fn of(layout: &Layout, stack: &StackId, key: &ResourceKey) -> Result<Home> {
    let inside = layout.servers(stack, SORT).join(folder_name(key));
    if !account::is_root() {
        return Ok(Home { folder: inside, runs_as: RunsAs::Us });
    }
    // Made by an ordinary user and now used by root: it goes on where it is.
    if let Ok(meta) = fs::metadata(&inside) {
        let owner = account::look_up(&meta.uid().to_string()).filter(|owner| owner.uid != 0);
        if let Some(owner) = owner {
            return Ok(Home { folder: inside, runs_as: RunsAs::Account(owner) });
        }
    }
    let id = layout.workspace_id().map_err(failure::at("read the id of", layout.root()))?;
    let folder = Path::new(FOR_ROOT)
        .join(id.to_string())
        .join(stack.app.as_str())
        .join(stack.environment.as_str())
        .join(SORT)
        .join(folder_name(key));
    let account = KNOWN.accounts.iter().find_map(|name| account::look_up(name));
    Ok(Home { folder, runs_as: account.map_or(RunsAs::Nobody, RunsAs::Account) })
}

/// Removes what is left above a home when it was the last one.
pub(super) fn remove_empty_parents(home: &Home) {
    if !home.folder.starts_with(FOR_ROOT) {
        return;
    }
    let Some(stop) = Path::new(FOR_ROOT).parent() else {
        return;
    };
    if let Some(parent) = home.folder.parent() {
        crate::files::remove_empty_up_to(parent, stop);
    }
}
