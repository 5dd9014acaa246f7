//! An open watch keeps nobody out. Who watches holds the stack's lease, so that nobody changes
//! anything meanwhile by mistake; who comes and finds it so asks for it, and the watch gives it
//! up where it is. The command that asked then resolves what was left open.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::{OperationError, Workspace};
use crate::engine::OpenPlan;
use crate::names::StackId;
use crate::provider::Cancellation;
use crate::state::{Holder, Lease, StateError};

/// The setting that says who asks.
const ASKED: &str = "asked_for";

/// How often a watch looks whether somebody asks.
const LOOK: Duration = Duration::from_millis(250);

/// How long one waits for a watch to make way, and how long what was asked counts: a watch must
/// not go on for ever with nobody there who asked.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two tries to take the lease.
const AGAIN: Duration = Duration::from_millis(50);

#[derive(Debug, Serialize, Deserialize)]
struct Asked {
    at: Timestamp,
}

impl Workspace {
    /// Takes the lease of a stack. A holder that only watches is asked for it.
    pub(super) async fn acquire(
        &self,
        stack: &StackId,
        holder: &Holder,
    ) -> Result<Box<dyn Lease>, OperationError> {
        let store = &self.0.store;
        let held = match store.acquire(stack, holder).await {
            Err(held @ StateError::Held { .. }) => held,
            other => return Ok(other?),
        };
        if !self.is_watched(stack).await? {
            return Err(held.into());
        }
        let asked = serde_json::to_value(Asked { at: Timestamp::now() }).ok();
        store.set_setting(stack, ASKED, asked.as_ref()).await?;
        let begun = Instant::now();
        let taken = loop {
            match store.acquire(stack, holder).await {
                Err(StateError::Held { .. }) if begun.elapsed() < PATIENCE => sleep(AGAIN).await,
                other => break other,
            }
        };
        store.set_setting(stack, ASKED, None).await?;
        Ok(taken?)
    }

    /// Does somebody ask for the lease?
    pub(super) async fn is_asked_for(&self, stack: &StackId) -> Result<bool, OperationError> {
        let asked = self.0.store.setting(stack, ASKED).await?;
        let asked: Option<Asked> = asked.and_then(|asked| serde_json::from_value(asked).ok());
        Ok(asked.is_some_and(|asked| {
            let ago = Duration::try_from(Timestamp::now().duration_since(asked.at));
            ago.is_ok_and(|ago| ago < PATIENCE)
        }))
    }

    /// Is all that is open a watch?
    async fn is_watched(&self, stack: &StackId) -> Result<bool, OperationError> {
        let state = self.0.store.load(stack).await?;
        Ok(state.open.as_ref().and_then(OpenPlan::waiting).is_some_and(|waiting| waiting.watching))
    }

    /// Does the work, and cancels it when somebody asks for the lease while it only watches.
    /// The second of the answer says that this was so.
    pub(super) async fn making_way<T>(
        &self,
        stack: &StackId,
        cancellation: &Cancellation,
        work: impl Future<Output = T>,
    ) -> (T, bool) {
        let asked = async {
            loop {
                sleep(LOOK).await;
                // What cannot be read now is read at the next look.
                if self.is_asked_for(stack).await.unwrap_or(false)
                    && self.is_watched(stack).await.unwrap_or(false)
                {
                    return;
                }
            }
        };
        let mut work = std::pin::pin!(work);
        tokio::select! {
            done = &mut work => (done, false),
            () = asked => {
                cancellation.cancel();
                (work.await, true)
            }
        }
    }
}
