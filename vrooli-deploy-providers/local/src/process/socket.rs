//! The supervisor's sockets: in the state folder, however long its path, or, where its file
//! system has no sockets, in a folder of their own that is recorded there.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::net::{UnixListener, UnixStream};
use uuid::Uuid;

use super::files::{Durability, absent_ok, create_dir, read_json, remove_file, through, write_json};
use crate::layout::Layout;

/// For requests that change something.
pub(crate) const CHANGING: &str = "supervisor.sock";
/// For requests that only read.
pub(crate) const READING: &str = "reading.sock";

#[derive(Serialize, Deserialize)]
struct Elsewhere {
    folder: PathBuf,
}

/// Where the sockets are, and listening ends of both.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) changing: UnixListener,
    pub(crate) reading: UnixListener,
}

impl Sockets {
    /// Binds both. What lies there is of a supervisor that is dead: the caller holds its lock.
    pub(crate) fn bind(layout: &Layout, workspace: Uuid) -> io::Result<Self> {
        let bound = match Self::bind_in(&layout.run()) {
            Err(e) if has_no_sockets(&e) => {
                let folder = std::env::temp_dir().join(format!("vrooli-deploy-{workspace}"));
                own_folder(&folder)?;
                write_json(
                    &layout.socket_record(),
                    &Elsewhere { folder: folder.clone() },
                    Durability::Volatile,
                )?;
                return Self::bind_in(&folder);
            }
            other => other?,
        };
        remove_file(&layout.socket_record())?;
        Ok(bound)
    }

    fn bind_in(folder: &Path) -> io::Result<Self> {
        let open: OwnedFd = File::open(folder)?.into();
        let bind = |name: &str| {
            let path = through(&open, folder, name);
            remove_file(&path)?;
            let socket = UnixListener::bind(&path)?;
            // The folder is 0700 as well, so nobody got in before this.
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            Ok::<_, io::Error>(socket)
        };
        let (changing, reading) = (bind(CHANGING)?, bind(READING)?);
        Ok(Self { changing, reading })
    }
}

/// Takes the names away: nobody answers there any more.
pub(crate) fn unlink(layout: &Layout) {
    if let Ok(folder) = folder(layout) {
        for name in [CHANGING, READING] {
            let _ = remove_file(&folder.join(name));
        }
    }
}

/// Where the sockets are.
pub(crate) fn folder(layout: &Layout) -> io::Result<PathBuf> {
    let elsewhere: Option<Elsewhere> = read_json(&layout.socket_record())?;
    Ok(elsewhere.map_or_else(|| layout.run(), |e| e.folder))
}

/// Connects to one of the sockets; `None` when nobody listens.
pub(crate) async fn connect(layout: &Layout, name: &str) -> io::Result<Option<UnixStream>> {
    let folder = folder(layout)?;
    let Some(open) = absent_ok(File::open(&folder))? else {
        return Ok(None);
    };
    let open: OwnedFd = open.into();
    let stream = match UnixStream::connect(through(&open, &folder, name)).await {
        Ok(stream) => stream,
        Err(e) if is_nobody(&e) => return Ok(None),
        Err(e) => return Err(e),
    };
    match check_peer(&stream) {
        Err(e) if is_nobody(&e) => return Ok(None),
        other => other?,
    }
    Ok(Some(stream))
}

/// Does nobody listen, or did whoever listened die this moment?
fn is_nobody(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotConnected, NotFound};
    matches!(error.kind(), NotFound | ConnectionRefused | ConnectionReset | BrokenPipe | NotConnected)
}

/// Refuses a peer that is another user. Root may do all this anyway.
pub(crate) fn check_peer(stream: &UnixStream) -> io::Result<()> {
    let me = rustix::process::geteuid();
    let peer = stream.peer_cred()?.uid();
    if peer == me.as_raw() || peer == 0 || me.is_root() {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("the other end belongs to user {peer}")))
    }
}

/// Pid of the peer, as far as the kernel tells it.
pub(crate) fn peer(stream: &UnixStream) -> Option<u32> {
    stream.peer_cred().ok()?.pid().and_then(|pid| u32::try_from(pid).ok())
}

/// Is the peer this very process?
pub(crate) fn is_own(stream: &UnixStream) -> bool {
    peer(stream) == Some(std::process::id())
}

/// What binding says on file systems that know no sockets.
fn has_no_sockets(error: &io::Error) -> bool {
    use rustix::io::Errno;
    error.kind() == io::ErrorKind::Unsupported
        || error.raw_os_error().is_some_and(|code| {
            [Errno::PERM, Errno::OPNOTSUPP, Errno::NOSYS, Errno::INVAL]
                .iter()
                .any(|e| e.raw_os_error() == code)
        })
}

/// Makes a folder where others may write too, and makes sure that it is ours and a folder.
fn own_folder(folder: &Path) -> io::Result<()> {
    create_dir(folder)?;
    let found = fs::symlink_metadata(folder)?;
    if found.is_dir() && found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o077 == 0 {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("{} is no folder of ours alone", folder.display()),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn a_socket_is_reached_under_a_long_path_and_after_a_move() {
        let dir = tempfile::tempdir().unwrap();
        let long = dir.path().join("x".repeat(120)).join("y".repeat(120));
        let layout = Layout::new(&long);
        create_dir(&layout.run()).unwrap();
        now(async {
            assert!(connect(&layout, READING).await.unwrap().is_none());
            let _sockets = Sockets::bind(&layout, Uuid::nil()).unwrap();
            assert!(connect(&layout, READING).await.unwrap().is_some());
            if cfg!(target_os = "linux") {
                let moved = dir.path().join("moved");
                fs::rename(&long, &moved).unwrap();
                assert!(connect(&Layout::new(&moved), CHANGING).await.unwrap().is_some());
                unlink(&Layout::new(&moved));
                assert!(connect(&Layout::new(&moved), CHANGING).await.unwrap().is_none());
            }
        });
    }

    #[test]
    fn a_recorded_folder_is_used_and_another_ones_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().join("state"));
        create_dir(&layout.run()).unwrap();
        let folder = dir.path().join("elsewhere");
        own_folder(&folder).unwrap();
        now(async {
            let _sockets = Sockets::bind_in(&folder).unwrap();
            assert!(connect(&layout, CHANGING).await.unwrap().is_none());
            let record = Elsewhere { folder: folder.clone() };
            write_json(&layout.socket_record(), &record, Durability::Volatile).unwrap();
            assert!(connect(&layout, CHANGING).await.unwrap().is_some());
        });
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(own_folder(&folder).is_err());
    }
}
