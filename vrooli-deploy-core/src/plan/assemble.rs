use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use uuid::Uuid;

use super::{
    Inventory, Plan, PlanError, PlannedRelease, ReleaseAction, Stage, Step, StepAction, StepId, digest, graph,
};
use crate::names::{ProviderName, ReleaseNumber, ResourceKey, StackId};

/// What a plan is put together from.
#[derive(Debug, Clone)]
pub struct AssembleInput<'a> {
    /// The stack.
    pub stack: StackId,
    /// Who runs it.
    pub provider: ProviderName,
    /// See [`Plan::incarnation`].
    pub incarnation: Uuid,
    /// What for: `deploy`, `rollback`, `destroy`, ….
    pub command: String,
    /// Steps for resources.
    pub resource_steps: Vec<Step>,
    /// See [`Plan::specs`].
    pub specs: BTreeMap<ResourceKey, Value>,
    /// Steps of the change of release.
    pub release_steps: Vec<Step>,
    /// The release that the steps make or make current.
    pub release: Option<PlannedRelease>,
    /// The release that serves now.
    pub current: Option<ReleaseNumber>,
    /// What a person should know.
    pub notes: Vec<String>,
    /// What the resource steps were planned from.
    pub inventory: &'a Inventory,
}

/// Puts steps together into a plan: stages in their order, what waits for what, and the
/// digest. Equal input gives equal bytes. Pure.
///
/// # Errors
/// When two steps have one id, a step waits for one that is not there or for one of a
/// later stage, or steps wait for each other in a circle (with the way around).
pub fn assemble(input: AssembleInput<'_>) -> Result<Plan, PlanError> {
    let AssembleInput {
        stack,
        provider,
        incarnation,
        command,
        resource_steps,
        specs,
        release_steps,
        release,
        current,
        notes,
        inventory,
    } = input;
    let mut steps = resource_steps;
    steps.extend(release_steps);
    join_stages(&mut steps);
    steps.sort_by_key(|step| step.stage);
    let order = order(&steps)?;
    let mut taken: Vec<Option<Step>> = steps.into_iter().map(Some).collect();
    let steps: Vec<Step> = order.into_iter().filter_map(|at| taken[at].take()).collect();
    let mut plan = Plan {
        stack,
        provider,
        incarnation,
        command,
        steps,
        specs,
        release,
        current,
        notes,
        digest: crate::names::Digest::of(b""),
    };
    plan.digest = digest::digest(&plan, inventory)?;
    Ok(plan)
}

/// Release steps that wait for nothing wait for the last expand steps; contract steps that
/// wait for nothing wait for Commit. Stages follow each other anyway; the edges are for who
/// reads or draws the plan.
fn join_stages(steps: &mut [Step]) {
    let waited_for: BTreeSet<StepId> =
        steps.iter().filter(|s| s.stage == Stage::Expand).flat_map(|s| s.after.iter().cloned()).collect();
    let expand_ends: BTreeSet<StepId> = steps
        .iter()
        .filter(|s| s.stage == Stage::Expand && !waited_for.contains(&s.id))
        .map(|s| s.id.clone())
        .collect();
    let commits: BTreeSet<StepId> = steps.iter().filter(|s| is_commit(s)).map(|s| s.id.clone()).collect();
    for step in steps {
        if step.stage == Stage::Release && step.after.is_empty() {
            step.after.clone_from(&expand_ends);
        } else if step.stage == Stage::Contract && step.after.is_empty() && !commits.is_empty() {
            step.after.clone_from(&commits);
        }
    }
}

pub(crate) fn is_commit(step: &Step) -> bool {
    matches!(step.action, StepAction::Release { action: ReleaseAction::Commit, .. })
}

/// An order in which the steps could run one by one.
pub(super) fn order(steps: &[Step]) -> Result<Vec<usize>, PlanError> {
    let mut index: BTreeMap<&StepId, usize> = BTreeMap::new();
    for (at, step) in steps.iter().enumerate() {
        if index.insert(&step.id, at).is_some() {
            return Err(PlanError::Unsound { message: format!("two steps are called `{}`", step.id) });
        }
    }
    let mut after = Vec::with_capacity(steps.len());
    for step in steps {
        let mut waits = Vec::with_capacity(step.after.len());
        for earlier in &step.after {
            let at = *index.get(earlier).ok_or_else(|| PlanError::Unsound {
                message: format!("step `{}` waits for `{earlier}`, which is not in the plan", step.id),
            })?;
            if steps[at].stage > step.stage {
                return Err(PlanError::Unsound {
                    message: format!(
                        "step `{}` waits for `{earlier}`, which comes in a later stage",
                        step.id
                    ),
                });
            }
            waits.push(at);
        }
        after.push(waits);
    }
    graph::order(&after).map_err(|path| PlanError::Cycle {
        path: path.into_iter().map(|at| steps[at].id.to_string()).collect(),
    })
}
