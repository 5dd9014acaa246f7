use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::entry::{Entry, JournalRecord};
use crate::plan::StepId;

/// Sees every append to the journal and every call to the provider, before and after it. A
/// part of the API, so that programs can trace, and tests can stop the world there.
#[async_trait]
pub trait Hook: Send + Sync {
    /// An entry is about to be appended under this number.
    async fn before_append(&self, seq: u64, entry: &Entry) {
        let _ = (seq, entry);
    }
    /// A record is durable.
    async fn after_append(&self, record: &JournalRecord) {
        let _ = record;
    }
    /// A call is about to leave: `create`, `find`, `start`, ….
    async fn before_call(&self, step: &StepId, call: &'static str) {
        let _ = (step, call);
    }
    /// A call has come back.
    async fn after_call(&self, step: &StepId, call: &'static str, ok: bool) {
        let _ = (step, call, ok);
    }
}

/// Hooks of an engine. The default has none.
#[derive(Clone, Default)]
pub struct EngineHooks(Option<Arc<dyn Hook>>);

impl EngineHooks {
    /// Calls this one.
    #[must_use]
    pub fn new(hook: impl Hook + 'static) -> Self {
        Self(Some(Arc::new(hook)))
    }

    /// The hook, if there is one.
    #[must_use]
    pub fn get(&self) -> Option<&dyn Hook> {
        self.0.as_deref()
    }
}

impl fmt::Debug for EngineHooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "EngineHooks(on)" } else { "EngineHooks(off)" })
    }
}
