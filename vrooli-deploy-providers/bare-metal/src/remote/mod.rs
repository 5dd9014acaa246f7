//! Doing something on a host: a phase is a script of ours, sent once and run whole.
//!
//! What a phase is and what can become of it is here and pure; how it gets to the host is behind
//! [`RemoteExec`], which the feature `native` implements over the user's own `ssh`.

#[cfg(feature = "native")]
mod bounded;
#[cfg(feature = "native")]
mod converse;
mod error;
#[cfg(feature = "native")]
mod hold;
#[cfg(feature = "native")]
mod kept;
mod keys;
mod phase;
#[cfg(feature = "native")]
mod ssh;
#[cfg(feature = "native")]
mod ssh_config;
#[cfg(feature = "native")]
mod ssh_host;
mod ssh_words;
#[cfg(feature = "native")]
mod stream;

use async_trait::async_trait;
use vrooli_deploy_core::provider::Cancellation;

#[cfg(feature = "native")]
pub(crate) use bounded::first_of;
#[cfg(feature = "native")]
pub(crate) use converse::{Conversation, KeptSession};
pub use error::RemoteError;
#[cfg(feature = "native")]
pub(crate) use hold::Held;
#[cfg(feature = "native")]
pub(crate) use keys::replace;
#[cfg(feature = "native")]
pub use keys::{HostKeys, OfferedKey};
#[cfg(feature = "native")]
pub(crate) use phase::{KILL_AFTER, TAKEN};
pub use phase::{Phase, PhaseOutput, PhaseStream, Privilege, READY};
#[cfg(feature = "native")]
pub use ssh::{RoundTrips, SshConnections, SshOptions};
#[cfg(feature = "native")]
pub use ssh_host::SshHost;
pub use ssh_words::{Fingerprint, FingerprintError};
#[cfg(feature = "native")]
pub(crate) use stream::{Asked, send};

use crate::host::HostName;

/// One host that scripts can be run on.
#[async_trait]
pub trait RemoteExec: Send + Sync {
    /// Which.
    fn host(&self) -> &HostName;

    /// Runs a phase: one round trip, beside the connection where there is none yet. Phases of one
    /// host may run at the same time.
    ///
    /// # Errors
    /// [`RemoteError`] says what went wrong and whether it is certain that nothing happened: see
    /// [`RemoteError::is_ambiguous`]. A script that ends with another status than 0 is
    /// [`RemoteError::Failed`].
    async fn run(&self, phase: &Phase, cancellation: &Cancellation) -> Result<PhaseOutput, RemoteError>;
}
