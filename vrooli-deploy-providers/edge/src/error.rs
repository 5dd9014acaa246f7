//! What can go wrong between a supervisor and an edge.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::names::{ListenerId, ReleaseName, SiteId};

/// An operation on or of the edge that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EdgeError {
    /// The operating system said no.
    #[error("could not {what}")]
    Io {
        /// What was tried, such as `read the state file`.
        what: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The edge's standard input is not the socket that a supervisor gives it.
    #[error(
        "standard input is not a supervisor's socket: this process is started by the supervisor, not by hand"
    )]
    NoLink,
    /// Another edge serves this state folder and did not end in time.
    #[error("another edge serves this state folder; waited {waited:?} for it to end")]
    Locked {
        /// How long was waited.
        waited: Duration,
    },
    /// The folder with the edge's state was deleted, so the edge ended.
    #[error("the state folder was deleted")]
    StateFolderGone,
    /// A worker thread ended by itself; its supervisor starts the edge again.
    #[error("a worker thread of the edge ended unexpectedly")]
    WorkerLost,
    /// The other side does not speak our protocol.
    #[error("the other side of the link does not speak the edge's protocol: {reason}")]
    Protocol {
        /// What was wrong.
        reason: String,
    },
    /// The other side speaks another version of the protocol. The listeners can still be taken
    /// over and the edge stopped; everything else needs an edge of this version.
    #[error("the edge speaks protocol version {theirs}, this program {ours}")]
    Version {
        /// The edge's version.
        theirs: u32,
        /// This program's version.
        ours: u32,
    },
    /// Another supervisor is attached to the edge.
    #[error("another supervisor is attached to the edge")]
    Busy,
    /// The edge is gone: it ended, was killed, or closed the link.
    #[error("the edge is gone")]
    Closed,
    /// The edge did not answer in time.
    #[error("the edge did not answer within {waited:?}")]
    Timeout {
        /// How long was waited.
        waited: Duration,
    },
    /// The edge refused the request; nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Why an edge refused a request. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "code", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Refusal {
    /// The table comes from someone who has lost the lease.
    #[error("fence {given} of site {site} is older than {held}: someone else holds the lease now")]
    Fenced {
        /// The site.
        site: SiteId,
        /// The fence that came with the request.
        given: u64,
        /// The fence that the edge holds.
        held: u64,
    },
    /// The table is wrong.
    #[error("the routing table of site {site} is refused: {reason}")]
    Table {
        /// The site.
        site: SiteId,
        /// What is wrong, for people.
        reason: String,
    },
    /// A release that gets traffic cannot be drained.
    #[error("release {release} of site {site} still gets traffic: take its weight away before draining it")]
    StillRouted {
        /// The site.
        site: SiteId,
        /// The release.
        release: ReleaseName,
    },
    /// The socket is not one to accept TCP connections from.
    #[error("listener {listener} was refused: {reason}")]
    Listener {
        /// The socket.
        listener: ListenerId,
        /// Why.
        reason: String,
    },
    /// The state file could not be written, so the change was not made.
    #[error("the edge could not write its state file: {reason}")]
    State {
        /// What the system said.
        reason: String,
    },
    /// An edge keeps so many answers to challenges, and has them.
    #[error(
        "the edge holds answers to a thousand challenges already: an order leaves its own behind for an hour at most"
    )]
    Answers,
    /// The request is not known, or not on this socket.
    #[error("the edge does not understand the request: {reason}")]
    Unknown {
        /// Why.
        reason: String,
    },
    /// It serves; it has no successor to follow.
    #[error("the edge has not been retired: it is told by `set_site`")]
    NotRetired,
    /// The edge is about to end.
    #[error("the edge is stopping")]
    Stopping,
}

/// Names what was tried when the system said no.
pub(crate) trait Trying<T> {
    fn trying(self, what: &'static str) -> Result<T, EdgeError>;
}

impl<T, E: Into<io::Error>> Trying<T> for Result<T, E> {
    fn trying(self, what: &'static str) -> Result<T, EdgeError> {
        self.map_err(|source| EdgeError::Io { what, source: source.into() })
    }
}
