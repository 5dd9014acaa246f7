use super::entry::Entry;
use super::error::ApplyError;
use super::hooks::EngineHooks;
use super::stack_state::StackState;
use crate::state::Lease;

/// The one writer of a stack's journal: appends, and folds what was appended.
pub(super) struct Journal<'a> {
    pub(super) lease: &'a dyn Lease,
    pub(super) state: &'a mut StackState,
    hooks: &'a EngineHooks,
}

impl<'a> Journal<'a> {
    pub(super) fn new(lease: &'a dyn Lease, state: &'a mut StackState, hooks: &'a EngineHooks) -> Self {
        Self { lease, state, hooks }
    }

    /// Makes entries durable in one transaction. Only then is the state what they say.
    pub(super) async fn append(&mut self, entries: &[Entry]) -> Result<(), ApplyError> {
        if entries.is_empty() {
            return Ok(());
        }
        if let Some(hook) = self.hooks.get() {
            for (seq, entry) in (self.state.seq + 1..).zip(entries) {
                hook.before_append(seq, entry).await;
            }
        }
        let records = self.lease.append(self.state.seq, entries).await?;
        for record in &records {
            self.state.apply(record)?;
        }
        if let Some(hook) = self.hooks.get() {
            for record in &records {
                hook.after_append(record).await;
            }
        }
        Ok(())
    }
}
