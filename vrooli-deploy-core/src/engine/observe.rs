use super::Engine;
use super::stack_state::StackState;
use crate::names::StackId;
use crate::plan::{Inventory, Observed};
use crate::provider::{OpCtx, Provider, ProviderError, Result, Retryability, Scope};

/// How often a listing that certainly failed is tried again.
const ATTEMPTS: u32 = 4;

/// What a stack has, seen now: one listing a kind, and a look by id at what the state knows
/// and no listing shows. Changes nothing and needs no lease.
///
/// # Errors
/// When the provider cannot be asked. What is not known is never taken for absent.
pub async fn observe(
    provider: &dyn Provider,
    cx: &OpCtx,
    stack: &StackId,
    state: &StackState,
) -> Result<Inventory> {
    let scope = Scope { stack: stack.clone(), page: None };
    let found = again(|| provider.inventory(cx, &scope)).await?;
    let mut inventory = Inventory::seen(found);
    for (key, known) in &state.resources {
        if inventory.objects(key).iter().any(|(_, found)| found.id == known.id) {
            continue;
        }
        // A listing may lag behind; the object itself does not.
        let found = again(|| provider.find(cx, &known.kind, key, Some(&known.id))).await?;
        if let Some(found) = found.into_iter().find(|found| found.id == known.id) {
            let mut all = inventory.objects(key).to_vec();
            all.insert(0, (known.kind.clone(), found));
            inventory.set(key.clone(), Observed::Known(all));
        }
    }
    Ok(inventory)
}

async fn again<T, F>(make: impl Fn() -> F) -> std::result::Result<T, ProviderError>
where
    F: Future<Output = Result<T>>,
{
    let mut attempt = 1;
    loop {
        match make().await {
            Err(error) if error.retry() != Retryability::Never && attempt < ATTEMPTS => {
                tokio::time::sleep(std::time::Duration::from_millis(200 << attempt)).await;
                attempt += 1;
            }
            answer => return answer,
        }
    }
}

impl Engine {
    /// See [`observe`].
    ///
    /// # Errors
    /// When the provider cannot be asked.
    pub async fn observe(&self, cx: &OpCtx, stack: &StackId, state: &StackState) -> Result<Inventory> {
        observe(&*self.provider, cx, stack, state).await
    }
}
