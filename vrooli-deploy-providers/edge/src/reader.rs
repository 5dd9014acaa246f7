//! Looking at an edge without being its supervisor.

use std::path::Path;

use crate::READING_SOCKET;
use crate::error::EdgeError;
use crate::link::EdgeLink;
use crate::metrics::{Metrics, Sample};
use crate::protocol::EdgeStatus;
use crate::socket;
use crate::table::SiteState;

/// Someone who only looks: metrics and routes, without a supervisor's rights.
#[derive(Debug)]
pub struct EdgeReader {
    link: EdgeLink,
}

impl EdgeReader {
    /// Connects to the edge that listens in a folder; none when there is none. Any number of
    /// readers may be connected at once.
    ///
    /// # Errors
    /// [`EdgeError::Protocol`] when it is not an edge that answers.
    pub async fn connect(socket_folder: &Path) -> Result<Option<Self>, EdgeError> {
        let Some(stream) = socket::connect(socket_folder, READING_SOCKET).await? else {
            return Ok(None);
        };
        match EdgeLink::greet(stream, None).await {
            Ok(link) => Ok(Some(Self { link })),
            Err(EdgeError::Closed) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What the edge says about itself.
    #[must_use]
    pub fn status(&self) -> &EdgeStatus {
        self.link.status()
    }

    /// What the edge has counted since it started.
    ///
    /// # Errors
    /// Only those of the link.
    pub async fn metrics(&self) -> Result<Metrics, EdgeError> {
        self.link.metrics().await
    }

    /// What had been counted at the end of each second after a moment: see
    /// [`EdgeLink::samples`].
    ///
    /// # Errors
    /// Only those of the link.
    pub async fn samples(&self, since_unix_ms: u64) -> Result<Vec<Sample>, EdgeError> {
        self.link.samples(since_unix_ms).await
    }

    /// Every site, in the order of their names.
    ///
    /// # Errors
    /// Only those of the link.
    pub async fn sites(&self) -> Result<Vec<SiteState>, EdgeError> {
        self.link.sites().await
    }
}
