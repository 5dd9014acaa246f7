//! Where everything of a workspace lies. Paths only; nothing is made here but the id.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;
use vrooli_deploy_core::names::{Digest, ReleaseNumber, StackId};

/// The paths of one workspace (one state folder).
///
/// ```text
/// <state>/id
/// <state>/apps/<app>/<environment>/{work,artefacts,built,releases,data,logs,postgres,redis,locks,port.json}
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout of a state folder.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The state folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// All apps of the workspace.
    #[must_use]
    pub fn apps(&self) -> PathBuf {
        self.root.join("apps")
    }

    /// Everything of one stack.
    #[must_use]
    pub fn stack(&self, stack: &StackId) -> PathBuf {
        self.apps().join(stack.app.as_str()).join(stack.environment.as_str())
    }

    /// The copy that builds run in.
    #[must_use]
    pub fn work(&self, stack: &StackId) -> PathBuf {
        self.stack(stack).join("work")
    }

    /// Records of what was built from what, one a source digest.
    #[must_use]
    pub fn built(&self, stack: &StackId) -> PathBuf {
        self.stack(stack).join("built")
    }

    /// All artefacts of a stack.
    #[must_use]
    pub fn artefacts(&self, stack: &StackId) -> PathBuf {
        self.stack(stack).join("artefacts")
    }

    /// One artefact, named by the hexadecimal digits of its digest.
    #[must_use]
    pub fn artefact(&self, stack: &StackId, digest: &Digest) -> PathBuf {
        self.artefacts(stack).join(hexadecimal(digest))
    }

    /// All releases of a stack.
    #[must_use]
    pub fn releases(&self, stack: &StackId) -> PathBuf {
        self.stack(stack).join("releases")
    }

    /// One release.
    #[must_use]
    pub fn release(&self, stack: &StackId, number: ReleaseNumber) -> PathBuf {
        self.releases(stack).join(number.to_string())
    }

    /// The app's data, kept over releases.
    #[must_use]
    pub fn data(&self, stack: &StackId) -> PathBuf {
        self.stack(stack).join("data")
    }

    /// Logs of the stack that belong to no release.
    #[must_use]
    pub fn logs(&self, stack: &StackId) -> PathBuf {
        self.stack(stack).join("logs")
    }

    /// Lock files. Never removed while the stack is there.
    #[must_use]
    pub fn locks(&self, stack: &StackId) -> PathBuf {
        self.stack(stack).join("locks")
    }

    /// The record of the app's public port.
    #[must_use]
    pub fn port_file(&self, stack: &StackId) -> PathBuf {
        self.stack(stack).join("port.json")
    }

    /// The folder of private servers of one sort, `postgres` or `redis`.
    #[must_use]
    pub fn servers(&self, stack: &StackId, sort: &str) -> PathBuf {
        self.stack(stack).join(sort)
    }

    /// The id of the workspace, if it has one that can be read.
    pub(crate) fn known_id(&self) -> Option<Uuid> {
        let text = fs::read_to_string(self.root.join("id")).ok()?;
        Uuid::parse_str(text.trim()).ok()
    }

    /// The id of the workspace: random, made at first use, and moved with the folder.
    ///
    /// # Errors
    /// When the state folder cannot be read or written, or the file is no id.
    pub fn workspace_id(&self) -> io::Result<Uuid> {
        let file = self.root.join("id");
        match fs::read_to_string(&file) {
            Ok(text) => Uuid::parse_str(text.trim()).map_err(|e| {
                io::Error::new(io::ErrorKind::InvalidData, format!("{} is no id: {e}", file.display()))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(&self.root)?;
                let id = Uuid::new_v4();
                // A link, not a rename: of two that come at once the second sees the first's id.
                let mut made = tempfile::Builder::new().prefix(".id-").tempfile_in(&self.root)?;
                io::Write::write_all(&mut made, format!("{id}\n").as_bytes())?;
                made.as_file().sync_all()?;
                match made.persist_noclobber(&file) {
                    Ok(_) => Ok(id),
                    Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => self.workspace_id(),
                    Err(error) => Err(error.error),
                }
            }
            Err(error) => Err(error),
        }
    }
}

/// The digest without its `sha256:`, which a path list would take for a separator.
pub(crate) fn hexadecimal(digest: &Digest) -> &str {
    digest.as_str().strip_prefix("sha256:").unwrap_or_else(|| digest.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path().join("state"));
        let id = layout.workspace_id().unwrap();
        assert_eq!(layout.workspace_id().unwrap(), id);
        fs::write(layout.root().join("id"), "nonsense").unwrap();
        assert!(layout.workspace_id().is_err());
    }
}
