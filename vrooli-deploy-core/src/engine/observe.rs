use std::time::Duration;

use super::Engine;
use super::stack_state::StackState;
use crate::names::StackId;
use crate::plan::{Inventory, Observed};
use crate::provider::{OpCtx, Provider, ProviderError, Result, Retryability, Routing, Scope, UnitObserved};
use crate::release::Release;

/// How often a look that certainly failed is taken again.
const ATTEMPTS: u32 = 6;

/// The first pause between looks; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(200);

/// A stack as it is, all that a plan is made from.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Survey {
    /// Its resources.
    pub inventory: Inventory,
    /// Its units, of whatever release.
    pub units: Vec<UnitObserved>,
    /// Its traffic.
    pub routing: Routing,
    /// Releases that are staged, by their own records.
    pub staged: Vec<Release>,
}

/// What resources a stack has, seen now: one listing a kind, and a look by id at what the
/// state knows and no listing shows. Changes nothing and needs no lease.
///
/// # Errors
/// When the provider cannot be asked. What is not known is never taken for absent.
pub async fn observe(
    provider: &dyn Provider,
    cx: &OpCtx,
    stack: &StackId,
    state: &StackState,
) -> Result<Inventory> {
    // What a killed run left without marks is known by a name that was made from its token.
    let cx = &cx.clone().with_incarnation(state.incarnation);
    let scope = Scope { stack: stack.clone(), page: None };
    let found = patiently(|| provider.inventory(cx, &scope)).await?;
    let mut inventory = Inventory::seen(found);
    for (key, known) in &state.resources {
        if inventory.objects(key).iter().any(|(_, found)| found.id == known.id) {
            continue;
        }
        // A listing may lag behind; the object itself does not.
        let found = patiently(|| provider.find(cx, &known.kind, key, Some(&known.id))).await?;
        if let Some(found) = found.into_iter().find(|found| found.id == known.id) {
            let mut all = inventory.objects(key).to_vec();
            all.insert(0, (known.kind.clone(), found));
            inventory.set(key.clone(), Observed::Known(all));
        }
    }
    Ok(inventory)
}

/// Looks again while the provider says that the look failed and may be taken again.
pub(crate) async fn patiently<T, F>(look: impl Fn() -> F) -> std::result::Result<T, ProviderError>
where
    F: Future<Output = Result<T>>,
{
    let mut attempt = 0;
    loop {
        match look().await {
            Err(error) if error.retry() != Retryability::Never && attempt < ATTEMPTS => {
                tokio::time::sleep(PAUSE * 2_u32.pow(attempt)).await;
                attempt += 1;
            }
            answer => return answer,
        }
    }
}

/// Looks at everything that a plan is made from. Changes nothing and needs no lease.
///
/// # Errors
/// When the provider cannot be asked. What is not known is never taken for absent.
pub async fn survey(provider: &dyn Provider, cx: &OpCtx, state: &StackState) -> Result<Survey> {
    let inventory = observe(provider, cx, &cx.stack, state).await?;
    let Some(fleet) = provider.fleet() else {
        return Ok(Survey { inventory, units: Vec::new(), routing: Routing::default(), staged: Vec::new() });
    };
    Ok(Survey {
        inventory,
        units: patiently(|| fleet.list(cx)).await?,
        routing: patiently(|| fleet.routing(cx)).await?,
        staged: patiently(|| fleet.staged(cx)).await?,
    })
}

impl Engine {
    /// [`survey`] of the engine's provider.
    ///
    /// # Errors
    /// When the provider cannot be asked.
    pub async fn survey(&self, cx: &OpCtx, state: &StackState) -> Result<Survey> {
        survey(&*self.provider, cx, state).await
    }
}
