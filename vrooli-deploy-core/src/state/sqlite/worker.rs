//! A thread that owns a database connection, so that no call blocks an async runtime.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use crate::state::StateError;

/// The thread and the way to ask it. Dropped: it does what it was asked, closes its
/// connection and ends; the drop waits for that.
pub(super) struct Worker<R> {
    queue: Option<Sender<R>>,
    thread: Option<JoinHandle<()>>,
    place: PathBuf,
}

impl<R> fmt::Debug for Worker<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("place", &self.place).finish_non_exhaustive()
    }
}

impl<R: Send + 'static> Worker<R> {
    pub(super) fn spawn(
        name: &str,
        place: &Path,
        serve: impl FnOnce(Receiver<R>) + Send + 'static,
    ) -> Result<Self, StateError> {
        let (queue, requests) = channel();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || serve(requests))
            .map_err(|error| StateError::Io {
                place: place.display().to_string(),
                message: format!("no thread can be started for it: {error}"),
            })?;
        Ok(Self { queue: Some(queue), thread: Some(thread), place: place.to_owned() })
    }

    pub(super) fn send(&self, request: R) -> Result<(), StateError> {
        match &self.queue {
            Some(queue) if queue.send(request).is_ok() => Ok(()),
            _ => Err(gone(&self.place)),
        }
    }
}

/// The thread has ended before its time.
pub(super) fn gone(place: &Path) -> StateError {
    StateError::Io {
        place: place.display().to_string(),
        message: "the thread that works on it has ended; run the same command again".to_owned(),
    }
}

impl<R> Drop for Worker<R> {
    fn drop(&mut self) {
        self.queue = None;
        // The last owner may be a request that the thread itself drops: it ends right after.
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            // A panic of the thread was its own; there is nobody to tell here.
            let _ = thread.join();
        }
    }
}
