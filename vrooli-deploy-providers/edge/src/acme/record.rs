//! What is kept of certificates, so that a restart orders nothing again.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::error::AcmeError;
use super::name::DnsName;
use super::schedule::Window;
use crate::state;

/// A file larger than this is not ours.
const MAX_BYTES: u64 = 4 << 20;

/// A folder of ours, 0700, with files that are 0600.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    open: OwnedFd,
}

impl Folder {
    pub(super) fn open(path: &Path) -> Result<Self, AcmeError> {
        let failed = |source| AcmeError::State { what: "open", file: path.display().to_string(), source };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        Ok(Self { path: path.to_owned(), open: state::open_folder(path).map_err(failed)? })
    }

    pub(super) fn shown(&self, file: &str) -> String {
        self.path.join(file).display().to_string()
    }

    /// None if there is no such file.
    pub(super) fn read(&self, file: &str) -> Result<Option<Vec<u8>>, AcmeError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let read = || -> io::Result<Vec<u8>> {
            let opened = File::from(rustix::fs::openat(&self.open, file, flags, Mode::empty())?);
            let mut bytes = Vec::new();
            opened.take(MAX_BYTES).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        match read() {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(AcmeError::State { what: "read", file: self.shown(file), source }),
        }
    }

    pub(super) fn write(&self, file: &str, bytes: &[u8]) -> Result<(), AcmeError> {
        state::replace(&self.open, file, bytes).map_err(|source| AcmeError::State {
            what: "write",
            file: self.shown(file),
            source,
        })
    }

    pub(super) fn remove(&self, file: &str) -> Result<(), AcmeError> {
        match rustix::fs::unlinkat(&self.open, file, rustix::fs::AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => {
                let source = error.into();
                Err(AcmeError::State { what: "remove", file: self.shown(file), source })
            }
        }
    }
}

/// What is known of one certificate beside itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// 1.
    pub(super) version: u32,
    /// The names it is for.
    pub(super) names: Vec<DnsName>,
    /// Whom it is from.
    pub(super) authority: String,
    /// The one that is kept beside this lies on every edge.
    #[serde(default)]
    pub(super) placed: bool,
    /// A point between 0 and 1000 in the span in which it may be renewed: chosen once, so that a
    /// restart does not move it.
    pub(super) point: u16,
    /// When the authority would like it to be renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) window: Option<Window>,
    /// From when on it may be asked about that again, if it did not say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ask_window_at: Option<Timestamp>,
    /// Tries that failed since the last one that did not.
    #[serde(default)]
    pub(super) failed: u32,
    /// The last try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tried: Option<Tried>,
}

/// A try to get a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tried {
    /// When.
    pub(super) at: Timestamp,
    /// Not again before this, unless it went well. Written before the authority is asked, so
    /// that what dies on the way waits as well.
    pub(super) again_at: Timestamp,
    /// What was said, with its code; none if it went well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) said: Option<String>,
}

impl Record {
    pub(super) fn load(folder: &Folder, file: &str) -> Result<Option<Self>, AcmeError> {
        let Some(bytes) = folder.read(file)? else { return Ok(None) };
        let failed = |source| AcmeError::State { what: "read", file: folder.shown(file), source };
        let record: Self = serde_json::from_slice(&bytes).map_err(|error| failed(error.into()))?;
        if record.version != 1 {
            let text = format!("it has format version {}, this program knows 1", record.version);
            return Err(failed(io::Error::new(io::ErrorKind::Unsupported, text)));
        }
        Ok(Some(record))
    }

    pub(super) fn save(&self, folder: &Folder, file: &str) -> Result<(), AcmeError> {
        let bytes = serde_json::to_vec_pretty(self).map_err(|error| AcmeError::State {
            what: "write",
            file: folder.shown(file),
            source: error.into(),
        })?;
        folder.write(file, &bytes)
    }
}
