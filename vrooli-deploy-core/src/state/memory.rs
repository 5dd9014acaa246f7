use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::{Holder, Lease, LeaseInfo, NewRevision, Revision, StateError, StateStore};
use crate::engine::{Entry, JournalRecord, StackState};
use crate::names::StackId;

/// A state store in memory, for tests of programs that embed the engine. As strict as the
/// durable ones: one lease a stack, fences that rise, appends that compare and swap, and
/// records that must follow each other. Clones share what they hold.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    id: Uuid,
    stacks: Arc<Mutex<BTreeMap<StackId, Kept>>>,
    /// Versions of each thing, by collection and key.
    revisions: Arc<Mutex<Revisions>>,
}

type Revisions = BTreeMap<(String, String), Vec<Revision>>;

#[derive(Debug, Default)]
struct Kept {
    records: Vec<JournalRecord>,
    state: StackState,
    /// What the records follow on: empty, or what was left when the stack was forgotten.
    base: StackState,
    settings: BTreeMap<String, Value>,
    lease: Option<LeaseInfo>,
    fence: u64,
}

impl Kept {
    fn replayed(&self) -> StackState {
        let mut state = self.base.clone();
        for record in &self.records {
            // They followed each other when they were written.
            if state.apply(record).is_err() {
                break;
            }
        }
        state
    }
}

impl MemoryStore {
    /// An empty store with that id.
    #[must_use]
    pub fn new(id: Uuid) -> Self {
        Self { id, stacks: Arc::default(), revisions: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<StackId, Kept>> {
        // Nothing in here panics while it holds the lock.
        self.stacks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_revisions(&self) -> MutexGuard<'_, Revisions> {
        // Neither does anything in here.
        self.revisions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl StateStore for MemoryStore {
    fn id(&self) -> Uuid {
        self.id
    }

    async fn load(&self, stack: &StackId) -> Result<StackState, StateError> {
        Ok(self.lock().get(stack).map(|kept| kept.state.clone()).unwrap_or_default())
    }

    async fn stacks(&self) -> Result<Vec<StackId>, StateError> {
        Ok(self.lock().iter().filter(|(_, kept)| kept.state.seq > 0).map(|(id, _)| id.clone()).collect())
    }

    async fn acquire(&self, stack: &StackId, holder: &Holder) -> Result<Box<dyn Lease>, StateError> {
        let mut stacks = self.lock();
        let kept = stacks.entry(stack.clone()).or_default();
        if let Some(info) = &kept.lease {
            return Err(StateError::Held { stack: stack.clone(), info: Box::new(info.clone()) });
        }
        kept.fence += 1;
        let now = Timestamp::now();
        let info = LeaseInfo { holder: holder.clone(), since: now, heartbeat: now, fence: kept.fence };
        kept.lease = Some(info.clone());
        Ok(Box::new(MemoryLease { store: self.clone(), stack: stack.clone(), info }))
    }

    async fn raise_fence(&self, stack: &StackId, above: u64) -> Result<(), StateError> {
        let mut stacks = self.lock();
        let kept = stacks.entry(stack.clone()).or_default();
        kept.fence = kept.fence.max(above);
        Ok(())
    }

    async fn holder(&self, stack: &StackId) -> Result<Option<LeaseInfo>, StateError> {
        Ok(self.lock().get(stack).and_then(|kept| kept.lease.clone()))
    }

    async fn journal(&self, stack: &StackId, from: u64) -> Result<Vec<JournalRecord>, StateError> {
        let stacks = self.lock();
        let records = stacks.get(stack).map(|kept| &kept.records[..]).unwrap_or_default();
        Ok(records.iter().filter(|record| record.seq >= from).cloned().collect())
    }

    async fn setting(&self, stack: &StackId, name: &str) -> Result<Option<Value>, StateError> {
        Ok(self.lock().get(stack).and_then(|kept| kept.settings.get(name).cloned()))
    }

    async fn set_setting(
        &self,
        stack: &StackId,
        name: &str,
        value: Option<&Value>,
    ) -> Result<(), StateError> {
        let mut stacks = self.lock();
        let settings = &mut stacks.entry(stack.clone()).or_default().settings;
        match value {
            Some(value) => settings.insert(name.to_owned(), value.clone()),
            None => settings.remove(name),
        };
        Ok(())
    }

    async fn forget(&self, stack: &StackId) -> Result<(), StateError> {
        if let Some(kept) = self.lock().get_mut(stack) {
            kept.records.clear();
            kept.settings.clear();
            let (seq, last_release) = (kept.state.seq, kept.state.last_release);
            kept.state = StackState { seq, last_release, ..StackState::default() };
            kept.base = kept.state.clone();
        }
        Ok(())
    }

    async fn revisions(&self, collection: &str) -> Result<Vec<Revision>, StateError> {
        let all = self.lock_revisions();
        let newest = all.iter().filter(|((of, _), _)| of == collection);
        Ok(newest.filter_map(|(_, versions)| versions.last().cloned()).collect())
    }

    async fn versions(&self, collection: &str, key: &str) -> Result<Vec<Revision>, StateError> {
        let all = self.lock_revisions();
        Ok(all.get(&(collection.to_owned(), key.to_owned())).cloned().unwrap_or_default())
    }

    async fn revise(&self, new: NewRevision) -> Result<Revision, StateError> {
        let mut all = self.lock_revisions();
        let place = (new.collection.clone(), new.key.clone());
        let found = all.get(&place).and_then(|versions| versions.last()).map_or(0, |last| last.version);
        if found != new.expected {
            return Err(StateError::Changed { key: new.key, expected: new.expected, found });
        }
        if let Some(name) = &new.name
            && new.body.is_some()
            && let Some(other) = all
                .iter()
                .filter(|((of, key), _)| *of == new.collection && *key != new.key)
                .filter_map(|(_, versions)| versions.last())
                .find(|other| other.body.is_some() && other.name.as_ref() == Some(name))
        {
            return Err(StateError::NameTaken { name: name.clone(), key: other.key.clone() });
        }
        let revision = Revision {
            collection: new.collection,
            key: new.key,
            version: found + 1,
            at: Timestamp::now(),
            by: new.by,
            reason: new.reason,
            name: new.name,
            body: new.body,
        };
        all.entry(place).or_default().push(revision.clone());
        Ok(revision)
    }
}

#[derive(Debug)]
struct MemoryLease {
    store: MemoryStore,
    stack: StackId,
    info: LeaseInfo,
}

impl MemoryLease {
    fn lost(&self, message: String) -> StateError {
        StateError::Lost { stack: self.stack.clone(), message }
    }
}

#[async_trait]
impl Lease for MemoryLease {
    fn info(&self) -> &LeaseInfo {
        &self.info
    }

    async fn append(&self, expected: u64, entries: &[Entry]) -> Result<Vec<JournalRecord>, StateError> {
        let mut stacks = self.store.lock();
        let kept = stacks.entry(self.stack.clone()).or_default();
        if kept.lease.as_ref().map(|lease| lease.fence) != Some(self.info.fence) {
            return Err(self.lost(format!("fence {} was passed by {}", self.info.fence, kept.fence)));
        }
        if kept.state.seq != expected {
            return Err(
                self.lost(format!("expected record {expected} to be the last, but {} is", kept.state.seq))
            );
        }
        let before = kept.records.len();
        for entry in entries {
            let seq = kept.state.seq + 1;
            let record =
                JournalRecord { seq, fence: self.info.fence, at: Timestamp::now(), entry: entry.clone() };
            if let Err(e) = kept.state.apply(&record) {
                // All or nothing: back to what the records before this append say.
                kept.records.truncate(before);
                kept.state = kept.replayed();
                return Err(StateError::Damaged { place: "memory".to_owned(), message: e.to_string() });
            }
            kept.records.push(record);
        }
        Ok(kept.records[before..].to_vec())
    }

    async fn release(self: Box<Self>) -> Result<(), StateError> {
        Ok(())
    }
}

impl Drop for MemoryLease {
    fn drop(&mut self) {
        if let Some(kept) = self.store.lock().get_mut(&self.stack)
            && kept.lease.as_ref().is_some_and(|lease| lease.fence == self.info.fence)
        {
            kept.lease = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{AppName, EnvironmentName};

    fn stack() -> StackId {
        StackId { app: AppName::new("a").unwrap(), environment: EnvironmentName::new("default").unwrap() }
    }

    fn holder() -> Holder {
        Holder { id: Uuid::nil(), name: "test".to_owned(), host: "here".to_owned(), run_url: None }
    }

    #[tokio::test]
    async fn one_holder_at_a_time_and_the_fence_rises() {
        let store = MemoryStore::new(Uuid::nil());
        let first = store.acquire(&stack(), &holder()).await.unwrap();
        assert!(matches!(store.acquire(&stack(), &holder()).await, Err(StateError::Held { .. })));
        drop(first);
        assert_eq!(store.acquire(&stack(), &holder()).await.unwrap().info().fence, 2);
        assert!(store.holder(&stack()).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_stale_append_is_refused_and_changes_nothing() {
        let store = MemoryStore::new(Uuid::nil());
        let lease = store.acquire(&stack(), &holder()).await.unwrap();
        assert_eq!(lease.append(0, &[Entry::Destroyed]).await.unwrap()[0].seq, 1);
        assert!(matches!(lease.append(0, &[Entry::Destroyed]).await, Err(StateError::Lost { .. })));
        // Of two entries the second cannot follow: neither is written.
        let closed = Entry::PlanClosed {
            outcome: crate::engine::Outcome {
                kind: crate::engine::OutcomeKind::Applied,
                release: None,
                cause: None,
                left_behind: Vec::new(),
            },
        };
        assert!(matches!(
            lease.append(1, &[Entry::Destroyed, closed]).await,
            Err(StateError::Damaged { .. })
        ));
        assert_eq!(store.journal(&stack(), 0).await.unwrap().len(), 1);
        assert_eq!(store.load(&stack()).await.unwrap().seq, 1);
    }
}
