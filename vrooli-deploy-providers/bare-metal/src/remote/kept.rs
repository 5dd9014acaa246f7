//! Connections that stay for a while when a command has ended, for the next one: logging in is most of what a
//! short command takes.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::host::HostName;

/// A socket of so long ago is not worth a look.
const OLD: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a master may take to answer on its local socket.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where sockets of connections are that stay.
#[derive(Debug)]
pub(super) struct KeptConnections {
    folder: PathBuf,
    /// All that says which host a name is, whose keys are known and who logs in.
    decided_by: Vec<PathBuf>,
    config: String,
}

impl KeptConnections {
    /// In a folder that is made when the first one is kept. `config` is what `ssh` is given, `decided_by` the files
    /// that it reads beside.
    pub(super) fn new(folder: PathBuf, config: String, decided_by: Vec<PathBuf>) -> Self {
        Self { folder, decided_by, config }
    }

    /// The socket of a host. It has another name once a configuration, a list of keys or the agent is another.
    pub(super) fn place(&self, host: &HostName) -> PathBuf {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        part(host.as_str().as_bytes());
        part(self.config.as_bytes());
        part(std::env::var_os("SSH_AUTH_SOCK").unwrap_or_default().as_encoded_bytes());
        for file in &self.decided_by {
            part(&fs::read(file).unwrap_or_default());
        }
        let name: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(name)
    }

    /// Keeps a connection whose socket is elsewhere. None: it cannot be, and ends with who made it.
    pub(super) fn keep(&self, control: &Path, place: &Path) -> Option<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder).ok()?;
        self.remove_old();
        // Of two that were made at once one stays; the other is left when nobody uses it.
        fs::rename(control, place).ok()
    }
}

impl KeptConnections {
    /// A master removes only the name that it was started with. One that is in use for so long goes on until nobody
    /// uses it.
    fn remove_old(&self) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let made = entry.metadata().and_then(|seen| seen.modified());
            if made.is_ok_and(|made| made.elapsed().is_ok_and(|age| age > OLD)) {
                // Tried again with the next one.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// Says something to the master of a connection (OpenSSH's PROTOCOL.mux), without another program's start for
/// each host. Its answer, as many bytes.
fn say<const N: usize>(control: &Path, word: u32) -> io::Result<[u8; N]> {
    let mut master = UnixStream::connect(control)?;
    master.set_read_timeout(Some(PATIENCE))?;
    master.set_write_timeout(Some(PATIENCE))?;
    // That it speaks version 4 of the protocol; then the request, number 0. Each after its length.
    master.write_all([8, 1, 4, 8, word, 0].map(u32::to_be_bytes).as_flattened())?;
    let mut answer = [0; N];
    master.read_exact(&mut answer)?;
    Ok(answer)
}

/// Does a master answer? Whether its host still does it finds out itself, and ends then.
pub(super) fn answers(control: &Path) -> bool {
    /// `MUX_C_ALIVE_CHECK`.
    const ALIVE: u32 = 0x1000_0004;
    // Its own version, and that it is.
    say::<28>(control, ALIVE).is_ok()
}

/// Has the master of a connection end, as `ssh -O exit` does.
pub(super) fn end(control: &Path) -> io::Result<()> {
    /// `MUX_C_TERMINATE`.
    const TERMINATE: u32 = 0x1000_0005;
    // Its own version, and that it will.
    say::<24>(control, TERMINATE).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_list_of_keys_is_another_connection() {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("known_hosts");
        let kept = |config: &str| {
            KeptConnections::new(folder.path().join("kept"), config.to_owned(), vec![keys.clone()])
        };
        let (web, db) = (HostName::new("web").unwrap(), HostName::new("db").unwrap());
        let first = kept("a").place(&web);
        assert_eq!(first, kept("a").place(&web));
        assert_ne!(first, kept("a").place(&db));
        assert_ne!(first, kept("b").place(&web));
        fs::write(&keys, "web ssh-ed25519 AAAA").unwrap();
        assert_ne!(first, kept("a").place(&web));
        assert!(!answers(&first));
    }
}
