use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::Shared;
use super::lock::LockFile;
use super::writer::{Append, Request};
use crate::engine::{Entry, JournalRecord};
use crate::names::StackId;
use crate::state::{Lease, LeaseInfo, StateError};

/// A lease whose life is a kernel file lock: it ends with this value, or with the process.
#[derive(Debug)]
pub(super) struct SqliteLease {
    shared: Arc<Shared>,
    stack: StackId,
    info: LeaseInfo,
    lock: Arc<LockFile>,
    /// True once it was given back.
    over: bool,
}

impl SqliteLease {
    pub(super) fn new(shared: Arc<Shared>, stack: StackId, info: LeaseInfo, lock: LockFile) -> Self {
        Self { shared, stack, info, lock: Arc::new(lock), over: false }
    }
}

#[async_trait]
impl Lease for SqliteLease {
    fn info(&self) -> &LeaseInfo {
        &self.info
    }

    /// When the returned future is dropped, the entries may be written all the same.
    async fn append(&self, expected: u64, entries: &[Entry]) -> Result<Vec<JournalRecord>, StateError> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let (reply, answer) = oneshot::channel();
        self.shared.writer()?.send(Request::Append(Append {
            stack: self.stack.clone(),
            fence: self.info.fence,
            expected,
            entries: entries.to_vec(),
            lock: Arc::clone(&self.lock),
            reply,
        }))?;
        answer.await.map_err(|_| self.shared.gone())?
    }

    async fn release(mut self: Box<Self>) -> Result<(), StateError> {
        self.over = true;
        let (stack, fence) = (self.stack.clone(), self.info.fence);
        let noted = self.shared.write(move |writer| writer.give_back(&stack, fence)).await;
        // Whatever became of the note: the lock is the lease.
        self.lock.unlock();
        noted
    }
}

impl Drop for SqliteLease {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        self.lock.unlock();
        let (stack, fence) = (self.stack.clone(), self.info.fence);
        if let Ok(writer) = self.shared.writer() {
            let _ = writer.send(Request::Run(Box::new(move |writer| {
                if let Err(fault) = writer.give_back(&stack, fence) {
                    tracing::debug!(?fault, "the end of a lease could not be noted");
                }
            })));
        }
    }
}
