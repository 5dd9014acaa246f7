//! Connections that were made to find out whether a supervisor runs: the first call of a client goes
//! over one, for a greeting costs both ends more than most calls.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::BufStream;
use tokio::net::UnixStream;

/// The name of a socket, and a connection to it.
type Unused = (&'static str, BufStream<UnixStream>);

/// Greeted connections on which nothing was asked yet. Each is used once: one that stayed open would
/// keep the supervisor from ending when it has nothing to do.
#[derive(Debug, Clone, Default)]
pub(super) struct Greeted(Arc<Mutex<Vec<Unused>>>);

impl Greeted {
    /// One to the socket of that name. It may be dead by now.
    pub(super) fn take(&self, name: &str) -> Option<BufStream<UnixStream>> {
        let mut unused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = unused.iter().position(|(socket, _)| *socket == name)?;
        Some(unused.swap_remove(at).1)
    }

    pub(super) fn put(&self, name: &'static str, stream: BufStream<UnixStream>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((name, stream));
    }

    pub(super) fn take_all_of(&self, other: &Self) {
        let taken = std::mem::take(&mut *other.0.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(taken);
    }
}
