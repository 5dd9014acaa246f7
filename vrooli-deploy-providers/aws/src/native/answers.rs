//! What one look at a whole stack asks. Kinds that need the same answer share it, and what is told of one
//! object only is asked of those that the state knows at once, not when the answers before it have come.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::Mutex as Turn;
use vrooli_deploy_core::provider::{AnyKind, PhysicalId, Result};

use super::{Calls, Look};

/// Region, what is asked, and of which object.
type Question = (String, &'static str, String);
/// Held while it is asked: who comes meanwhile waits for the answer.
type Slot = Arc<Turn<Option<Arc<dyn Any + Send + Sync>>>>;

/// The answers of one look.
#[derive(Debug, Default)]
pub(super) struct Answers(Mutex<BTreeMap<Question, Slot>>);

/// The last look: the deadline of its operation, which no other has, and the changes before it.
#[derive(Debug, Default)]
pub(super) struct LastLook(Mutex<Option<(Instant, u64, Arc<Answers>)>>);

impl LastLook {
    /// The answers that all kinds share which are listed by an operation.
    pub(super) fn answers(&self, deadline: Instant, changes: u64) -> Arc<Answers> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((of, since, answers)) if (*of, *since) == (deadline, changes) => Arc::clone(answers),
            _ => {
                let answers = Arc::new(Answers::default());
                *last = Some((deadline, changes, Arc::clone(&answers)));
                answers
            }
        }
    }
}

impl Answers {
    fn slot(&self, question: Question) -> Slot {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(question).or_default())
    }
}

impl Calls<'_> {
    /// Asks once in a look at a whole stack, and every time in all else. No answer is asked for again.
    pub(crate) async fn once<T, F>(
        &self,
        what: &'static str,
        of: &str,
        ask: impl FnOnce() -> F + Send,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
        T: Clone + Send + Sync + 'static,
    {
        let Some(answers) = &self.answers else { return Box::pin(ask()).await };
        let slot = answers.slot((self.region.name.clone(), what, of.to_owned()));
        let mut slot = slot.lock().await;
        if let Some(answer) = slot.as_ref().and_then(|answer| answer.downcast_ref::<T>()) {
            return Ok(answer.clone());
        }
        // On the heap: many are asked together.
        let answer = Box::pin(ask()).await?;
        *slot = Some(Arc::new(answer.clone()));
        Ok(answer)
    }

    /// Ids of what the state has of a kind here. Hints: what is there is asked.
    pub(crate) fn in_state(&self, kind: &dyn AnyKind) -> Vec<PhysicalId> {
        let here =
            |spec: &serde_json::Value| spec.get("region").is_none_or(|region| *region == self.region.name);
        let there = self.account.wanted(kind, Look::Stack).filter(|(_, spec)| here(spec));
        let mut ids: Vec<_> = there.filter_map(|(key, _)| self.account.id(key)).cloned().collect();
        // A key comes once for what is wanted and once for what is there.
        ids.sort();
        ids.dedup();
        ids
    }
}
