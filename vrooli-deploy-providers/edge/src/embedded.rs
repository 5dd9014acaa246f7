//! An edge on threads of the program that uses it.

use std::os::unix::net::UnixStream;

use tokio::sync::oneshot;

use crate::error::{EdgeError, Trying as _};
use crate::link::{EdgeLink, from_std};
use crate::options::EdgeOptions;
use crate::run::{Home, run_in};

/// An edge in this process.
#[derive(Debug)]
pub struct Edge;

impl Edge {
    /// Starts an edge on threads of this process, with the same interface as one in a process
    /// of its own. It ends with [`EdgeLink::stop`], or when the last clone of the link is
    /// dropped; requests under way are cut then.
    ///
    /// # Errors
    /// As [`EdgeLink::spawn`].
    pub async fn in_process(options: EdgeOptions) -> Result<EdgeLink, EdgeError> {
        let (ours, theirs) = UnixStream::pair().trying("make the edge's link")?;
        let (failing, failed) = oneshot::channel();
        std::thread::Builder::new()
            .name("edge-control".to_owned())
            .spawn(move || {
                if let Err(error) = run_in(options, theirs, Home::Embedded) {
                    tracing::error!(%error, "the edge ended");
                    let _ = failing.send(error);
                }
            })
            .trying("start the edge's thread")?;
        match EdgeLink::greet(from_std(ours)?, None).await {
            // It says why it did not start.
            Err(EdgeError::Closed) => Err(failed.await.unwrap_or(EdgeError::Closed)),
            other => other,
        }
    }
}
