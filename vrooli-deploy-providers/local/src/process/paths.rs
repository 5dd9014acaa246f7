//! What the supervisor keeps where. The state folder itself is [`Layout`].

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use vrooli_deploy_core::names::{AppName, EnvironmentName, ReleaseNumber, StackId, UnitId};

use super::files::absent_ok;
use crate::layout::Layout;

impl Layout {
    /// What only lives while processes run: sockets, locks, our own logs.
    #[must_use]
    pub fn run(&self) -> PathBuf {
        self.root().join("run")
    }
    /// Makes the supervisor single. Never removed while the folder exists.
    #[must_use]
    pub fn supervisor_lock(&self) -> PathBuf {
        self.run().join("supervisor.lock")
    }
    /// Held while a supervisor is started or replaced. Never removed while the folder exists.
    #[must_use]
    pub fn starting_lock(&self) -> PathBuf {
        self.run().join("starting.lock")
    }
    /// Held while a program runs apps in itself, and until the last of them has ended.
    #[must_use]
    pub fn in_process_lock(&self) -> PathBuf {
        self.run().join("in-process.lock")
    }
    /// The program that runs apps in itself, or did last.
    #[must_use]
    pub fn in_process_record(&self) -> PathBuf {
        self.run().join("in-process.json")
    }
    /// What supervisor and edge have to say about themselves.
    #[must_use]
    pub fn supervisor_log(&self) -> PathBuf {
        self.run().join("supervisor.log")
    }
    /// Where the sockets lie when this file system has none.
    #[must_use]
    pub fn socket_record(&self) -> PathBuf {
        self.run().join("sockets.json")
    }
    /// Where all apps of this machine are reached together; none: each has a port of its own.
    #[must_use]
    pub fn front_record(&self) -> PathBuf {
        self.root().join("front.json")
    }
    /// The supervisor that runs, or ran last.
    #[must_use]
    pub fn supervisor_record(&self) -> PathBuf {
        self.root().join("supervisor.json")
    }
    /// The edge that runs, or ran last.
    #[must_use]
    pub fn edge_record(&self) -> PathBuf {
        self.root().join("edge.json")
    }
    /// What belongs to an edge with an account of its own: state, sockets, certificates.
    #[must_use]
    pub fn edge_home(&self) -> PathBuf {
        self.root().join("edge")
    }
    /// How a stack is served by TLS, and the certificate that it has.
    #[must_use]
    pub fn tls(&self, stack: &StackId) -> PathBuf {
        self.stack(stack).join("tls")
    }
    /// The record of a staged release: a `Release` as JSON.
    #[must_use]
    pub fn release_record(&self, stack: &StackId, number: ReleaseNumber) -> PathBuf {
        self.release(stack, number).join("release.json")
    }
    /// Where the socket of the engine is named that has the release's images, if it is none of the usual ones.
    #[must_use]
    pub fn engine(&self, stack: &StackId, number: ReleaseNumber) -> PathBuf {
        self.release(stack, number).join("engine")
    }
    /// What is named there.
    pub(crate) fn engine_of_release(
        &self,
        stack: &StackId,
        number: ReleaseNumber,
    ) -> vrooli_deploy_core::provider::Result<Option<String>> {
        let place = self.engine(stack, number);
        match std::fs::read_to_string(&place) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(crate::failure::io("read", &place, &error)),
        }
    }
    /// What a release was built into.
    #[must_use]
    pub fn release_root(&self, stack: &StackId, number: ReleaseNumber) -> PathBuf {
        self.release(stack, number).join("root")
    }
    /// The logs of a release.
    #[must_use]
    pub fn release_logs(&self, stack: &StackId, number: ReleaseNumber) -> PathBuf {
        self.logs(stack).join(number.to_string())
    }
    /// The log of a unit; older parts lie beside it as `.1`, `.2`, …
    #[must_use]
    pub fn unit_log(&self, stack: &StackId, number: ReleaseNumber, unit: &UnitId) -> PathBuf {
        self.release_logs(stack, number).join(format!("{unit}.log"))
    }
    /// What the supervisor keeps about the units of a stack, by release.
    #[must_use]
    pub fn units(&self, stack: &StackId) -> PathBuf {
        self.stack(stack).join("units")
    }
    /// What the supervisor keeps about the units of a release.
    #[must_use]
    pub fn release_units(&self, stack: &StackId, number: ReleaseNumber) -> PathBuf {
        self.units(stack).join(number.to_string())
    }
    /// The ports that the units of a release got.
    #[must_use]
    pub fn unit_ports(&self, stack: &StackId, number: ReleaseNumber) -> PathBuf {
        self.release_units(stack, number).join("ports.json")
    }
    /// Values of secrets that a release came with, where the workspace has no store.
    #[must_use]
    pub fn release_values(&self, stack: &StackId, number: ReleaseNumber) -> PathBuf {
        self.release_units(stack, number).join("values")
    }
    /// The part of the deploying program's environment that the units of a release get.
    #[must_use]
    pub fn base_environment(&self, stack: &StackId, number: ReleaseNumber) -> PathBuf {
        self.release_units(stack, number).join("environment.json")
    }
    /// What the supervisor keeps about one unit.
    #[must_use]
    pub fn unit(&self, stack: &StackId, number: ReleaseNumber, unit: &UnitId) -> UnitLayout {
        UnitLayout { root: self.release_units(stack, number).join(unit.to_string()) }
    }
    /// What is served: routing, whether the port is open, the highest fence seen.
    #[must_use]
    pub fn serving(&self, stack: &StackId) -> PathBuf {
        self.stack(stack).join("serving.json")
    }
    /// The highest lease that changed the stack without its supervisor.
    #[must_use]
    pub fn fence(&self, stack: &StackId) -> PathBuf {
        self.locks(stack).join("fence")
    }
    /// The stacks that have a folder, in order. Other folders are passed over.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn stacks(&self) -> io::Result<Vec<StackId>> {
        let mut all = Vec::new();
        for app in names::<AppName>(&self.apps())? {
            for environment in names::<EnvironmentName>(&self.apps().join(app.as_str()))? {
                all.push(StackId { app: app.clone(), environment });
            }
        }
        Ok(all)
    }
    /// The releases that the supervisor keeps something about, in order.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn supervised_releases(&self, stack: &StackId) -> io::Result<Vec<ReleaseNumber>> {
        names(&self.units(stack))
    }
    /// The units of a release that the supervisor keeps something about, in order.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn supervised_units(&self, stack: &StackId, number: ReleaseNumber) -> io::Result<Vec<UnitId>> {
        names(&self.release_units(stack, number))
    }
}

/// The paths of one unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitLayout {
    root: PathBuf,
}

impl UnitLayout {
    /// The same paths under another name of the folder, e.g. through its descriptor.
    pub(crate) fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }
    /// The folder of the unit.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }
    /// What is wanted of the unit, and what became of it.
    #[must_use]
    pub fn record(&self) -> PathBuf {
        self.root.join("unit.json")
    }
    /// The instance that runs, or ran last: who its shim and its app are.
    #[must_use]
    pub fn instance(&self) -> PathBuf {
        self.root.join("pid.json")
    }
    /// How the instance ended.
    #[must_use]
    pub fn exit(&self) -> PathBuf {
        self.root.join("exit.json")
    }
    /// Held by the shim as long as it lives.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }
}

/// Entries of a folder whose names are of a kind, in order. No folder, no entries.
fn names<T: std::str::FromStr + Ord>(dir: &Path) -> io::Result<Vec<T>> {
    let Some(entries) = absent_ok(fs::read_dir(dir))? else {
        return Ok(Vec::new());
    };
    let mut all = Vec::new();
    for entry in entries {
        if let Some(name) = entry?.file_name().to_str().and_then(|n| n.parse().ok()) {
            all.push(name);
        }
    }
    all.sort();
    Ok(all)
}

/// A state folder held open. Its layout goes through the descriptor where the system can,
/// so that it stays right when the folder is moved, and paths of sockets stay short.
#[derive(Debug)]
pub(crate) struct Pinned {
    dir: File,
    layout: Layout,
}

impl Pinned {
    /// Opens the folder.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        let dir = File::open(root)?;
        if !dir.metadata()?.is_dir() {
            return Err(io::Error::new(
                io::ErrorKind::NotADirectory,
                format!("{} is no folder", root.display()),
            ));
        }
        let root = if cfg!(target_os = "linux") {
            PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()))
        } else {
            std::path::absolute(root)?
        };
        Ok(Self { dir, layout: Layout::new(root) })
    }

    /// Paths that are right in this process only.
    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Paths that other processes understand, as the folder is called now.
    pub(crate) fn named(&self) -> io::Result<Layout> {
        if self.is_deleted() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the state folder was deleted"));
        }
        if cfg!(target_os = "linux") {
            fs::read_link(self.layout.root()).map(Layout::new)
        } else {
            Ok(self.layout.clone())
        }
    }

    /// Was the folder deleted, or is it this moment? What names it may go before the folder does.
    pub(crate) fn is_deleted(&self) -> bool {
        let gone = |e: &io::Error| e.kind() == io::ErrorKind::NotFound;
        self.dir.metadata().is_ok_and(|m| m.nlink() == 0)
            || fs::symlink_metadata(self.layout.root().join("id")).is_err_and(|e| gone(&e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_folder_is_found_after_a_move_and_missed_after_a_removal() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        let id = Layout::new(&old).workspace_id().unwrap();
        let pinned = Pinned::open(&old).unwrap();
        fs::rename(&old, &new).unwrap();
        if cfg!(target_os = "linux") {
            assert_eq!(pinned.layout().workspace_id().unwrap(), id);
            assert_eq!(pinned.named().unwrap().root(), new.canonicalize().unwrap());
        }
        assert!(!pinned.is_deleted());
        fs::remove_file(new.join("id")).unwrap();
        assert!(pinned.is_deleted(), "it has begun");
        fs::remove_dir_all(&new).unwrap();
        assert!(pinned.is_deleted());
        assert!(pinned.named().is_err());
    }

    #[test]
    fn stacks_pass_over_what_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        for path in ["apps/demo/default", "apps/demo/staging", "apps/.trash/x", "apps/UPPER/default"] {
            fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        let names: Vec<_> = layout.stacks().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["demo/default", "demo/staging"]);
    }
}
