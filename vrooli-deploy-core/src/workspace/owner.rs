//! Whose a stack is, asked before anything of it is made.

use super::rebuild::named;
use super::{OperationError, Workspace};
use crate::engine::{StackState, patiently};
use crate::names::StackId;
use crate::provider::{Cancellation, ErrorKind, Provider};

impl Workspace {
    /// Refuses to make a stack anew that another state has at a provider that lists marks: it would
    /// stand there twice. Asked where this state has nothing of it yet, so it costs a known stack no call.
    /// Servers refuse by themselves. Who may not list marks is not kept from anything.
    pub(super) async fn is_nobody_elses(
        &self,
        stack: &StackId,
        provider: &dyn Provider,
        state: &StackState,
    ) -> Result<(), OperationError> {
        if !state.resources.is_empty() || state.open.is_some() || provider.census().is_none() {
            return Ok(());
        }
        let Some(ledger) = provider.ledger() else { return Ok(()) };
        let cx = self.observe_context(stack, 0, Cancellation::new());
        let records = match patiently(|| ledger.records(&cx)).await {
            Err(error) if error.kind() == ErrorKind::Permission => return Ok(()),
            records => records?,
        };
        let others: Vec<_> = records
            .into_iter()
            .filter(|record| record.owner != self.0.store.id())
            .map(|record| (record.place, record.owner))
            .collect();
        if others.is_empty() {
            return Ok(());
        }
        Err(OperationError::OtherState { stack: stack.clone(), places: others, name: named(stack) })
    }
}
