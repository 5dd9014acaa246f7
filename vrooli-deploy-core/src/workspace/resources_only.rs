//! A stack that runs nothing, where nothing could carry a release: its resources are all of it.

use uuid::Uuid;

use super::OperationError;
use super::deploy::Prepared;
use crate::engine::{StackState, observe};
use crate::plan::{self, Plan};
use crate::provider::{OpCtx, Provider};

/// What is to be made, changed and removed.
pub(super) async fn resources_only(
    prepared: &Prepared,
    provider: &dyn Provider,
    state: &StackState,
    cx: &OpCtx,
) -> Result<Plan, OperationError> {
    let inventory = observe(provider, cx, &prepared.stack.id, state).await?;
    let incarnation = if state.incarnation.is_nil() { Uuid::new_v4() } else { state.incarnation };
    let resources = plan::resources(&plan::ResourceInput {
        stack: &prepared.stack,
        state,
        inventory: &inventory,
        incarnation,
        provider,
        options: &plan::ResourceOptions::default(),
    })?;
    Ok(plan::assemble(plan::AssembleInput {
        stack: prepared.stack.id.clone(),
        provider: prepared.provider.clone(),
        incarnation,
        command: "deploy".to_owned(),
        resource_steps: resources.steps,
        release_steps: Vec::new(),
        release: None,
        current: None,
        notes: resources.notes,
        inventory: &inventory,
    })?)
}
