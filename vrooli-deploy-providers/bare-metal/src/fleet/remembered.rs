//! What a server was sent before, so that it need not be asked what it lacks.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use vrooli_deploy_core::provider::Cancellation;

use crate::host::HostName;
use crate::remote::RemoteExec;
use crate::store::{Delivery, DeliveryError, Sent};

/// Files of a server, one for each thing that it is sent versions of: the names of the pieces that it
/// was sent last, a line each. They are believed only so far that what they name is not sent at once;
/// where one is wrong the server says so.
#[derive(Debug)]
pub(super) struct Remembered(PathBuf);

impl Remembered {
    /// In a folder, which is made when there is something to remember.
    pub(super) fn of(host: &HostName, folder: &Path) -> Self {
        Self(folder.join(host.as_str()))
    }

    /// Sends a version of something: without asking first where it is known what the server has of
    /// it. `nothing`: it has none, as far as was seen.
    pub(super) async fn send(
        &self,
        what: &str,
        delivery: &Delivery,
        nothing: bool,
        remote: &dyn RemoteExec,
        cancellation: &Cancellation,
    ) -> Result<Sent, DeliveryError> {
        let file = self.0.join(what);
        let there = match fs::read_to_string(&file) {
            Ok(text) if text == UNFINISHED => None,
            Ok(text) => Some(text.lines().map(ToOwned::to_owned).collect()),
            Err(error) if nothing && error.kind() == io::ErrorKind::NotFound => Some(BTreeSet::new()),
            Err(_) => None,
        };
        let sent = match there {
            // What arrives before this is cut off is not sent again: then it is asked.
            Some(there) if self.write(&file, UNFINISHED).is_ok() => {
                delivery.send_unasked(remote, &there, cancellation).await?
            }
            _ => delivery.send(remote, cancellation).await?,
        };
        let pieces: String = delivery.pieces().into_iter().flat_map(|piece| [piece, "\n"]).collect();
        if let Err(error) = self.write(&file, &pieces) {
            // It is asked next time.
            tracing::debug!(file = %file.display(), %error, "what was sent could not be written down");
        }
        Ok(sent)
    }

    /// Nothing of it is there any more.
    pub(super) fn forget(&self, what: &str) {
        // Where that fails the server says that what is named is not there.
        let _ = fs::remove_file(self.0.join(what));
    }

    fn write(&self, file: &Path, text: &str) -> io::Result<()> {
        fs::create_dir_all(&self.0)?;
        let mut written = tempfile::NamedTempFile::new_in(&self.0)?;
        written.write_all(text.as_bytes())?;
        written.persist(file)?;
        Ok(())
    }
}

/// No piece has such a name.
const UNFINISHED: &str = "?\n";
