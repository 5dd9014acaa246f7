//! Resources alone: of a stack that runs nothing, and of one whose app is to come later.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::OperationError;
use super::deploy::Prepared;
use super::quotas::within_quotas;
use crate::engine::{StackState, observe};
use crate::names::{ResourceKey, ResourceKind};
use crate::plan::reference::references;
use crate::plan::{self, Plan, PlanError, Step, StepAction};
use crate::provider::{AnyKind, OpCtx, Provider};
use crate::stack::{Resource, Stack};

/// What is to be made, changed and removed. `infra_only`: the app itself is to be left as it is.
pub(super) async fn resources_only(
    prepared: &Prepared,
    provider: &dyn Provider,
    state: &StackState,
    cx: &OpCtx,
    infra_only: bool,
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
    if state.current.is_some() && infra_only {
        let runs_app = |kind: &ResourceKind| provider.kind(kind).is_ok_and(AnyKind::runs_app);
        let keys = ended(&resources.steps, runs_app);
        if !keys.is_empty() {
            return Err(PlanError::EndsApp { keys }.into());
        }
    }
    let mut notes = resources.notes;
    notes.extend(within_quotas(provider, cx, &resources.steps).await?);
    if !prepared.left_out.is_empty() {
        let keys: Vec<&str> = prepared.left_out.iter().map(ResourceKey::as_str).collect();
        notes.push(format!("what runs the app is left out (`--infra-only`): {}", keys.join(", ")));
    }
    Ok(plan::assemble(plan::AssembleInput {
        stack: prepared.stack.id.clone(),
        provider: prepared.provider.clone(),
        incarnation,
        command: "deploy".to_owned(),
        resource_steps: resources.steps,
        specs: resources.specs,
        release_steps: Vec::new(),
        release: None,
        current: state.current,
        notes,
        inventory: &inventory,
    })?)
}

/// What steps delete of that which runs the app.
fn ended(steps: &[Step], runs_app: impl Fn(&ResourceKind) -> bool) -> Vec<ResourceKey> {
    let gone = steps.iter().filter_map(|step| match &step.action {
        StepAction::Delete { key, kind, .. } if runs_app(kind) => Some(key.clone()),
        _ => None,
    });
    gone.collect()
}

/// Takes out of a stack what runs the app, and what refers to that, and says what it was. What is
/// there already stays: leaving out is not removing.
pub(super) fn leave_app_out(
    stack: &mut Stack,
    runs_app: impl Fn(&ResourceKind) -> bool,
    there: impl Fn(&ResourceKey) -> bool,
) -> BTreeSet<ResourceKey> {
    let mut out = BTreeSet::new();
    loop {
        let needs_one_of_them = |resource: &Resource| {
            !out.is_disjoint(&resource.after)
                || references(&resource.spec).iter().any(|reference| out.contains(&reference.key))
        };
        let more: Vec<ResourceKey> = stack
            .resources
            .iter()
            .filter(|(key, resource)| {
                !there(key) && (runs_app(&resource.kind) || needs_one_of_them(resource))
            })
            .map(|(key, _)| key.clone())
            .collect();
        if more.is_empty() {
            return out;
        }
        for key in more {
            stack.resources.remove(&key);
            out.insert(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stack() -> Stack {
        let refers = |key: &str| json!({ "of": { "$ref": key, "output": "id" } });
        serde_json::from_value(json!({
            "id": { "app": "shop", "environment": "production" },
            "resources": {
                "cluster": { "kind": "acme.cluster", "spec": {} },
                "app": { "kind": "acme.service", "spec": refers("cluster") },
                "alarm": { "kind": "acme.alarm", "spec": refers("app") },
                "board": { "kind": "acme.board", "spec": {}, "after": ["alarm"] },
                "network": { "kind": "acme.network", "spec": refers("cluster") },
            }
        }))
        .unwrap()
    }

    fn left_out(there: &[&str]) -> (Vec<String>, Vec<String>) {
        let mut stack = stack();
        let runs_app = |kind: &ResourceKind| kind.as_str() == "acme.service";
        let out = leave_app_out(&mut stack, runs_app, |key| there.contains(&key.as_str()));
        let names = |keys: &mut dyn Iterator<Item = &ResourceKey>| keys.map(ToString::to_string).collect();
        (names(&mut out.iter()), names(&mut stack.resources.keys()))
    }

    #[test]
    fn what_runs_the_app_is_left_out_with_what_needs_it() {
        let (out, stays) = left_out(&[]);
        assert_eq!(out, ["alarm", "app", "board"]);
        assert_eq!(stays, ["cluster", "network"]);
    }

    #[test]
    fn only_the_end_of_what_runs_the_app_ends_it() {
        let step = |key: &str, action: serde_json::Value| -> Step {
            serde_json::from_value(json!({
                "id": format!("step:{key}"), "stage": "contract", "action": action,
                "undo": { "undo": "nothing" }, "after": [], "reason": "", "token": null,
            }))
            .unwrap()
        };
        let delete =
            |key: &str, kind: &str| step(key, json!({ "do": "delete", "key": key, "kind": kind, "id": "x" }));
        let steps = [delete("app", "acme.service"), delete("network", "acme.network")];
        let runs_app = |kind: &ResourceKind| kind.as_str() == "acme.service";
        assert_eq!(ended(&steps, runs_app).iter().map(ResourceKey::as_str).collect::<Vec<_>>(), ["app"]);
        assert_eq!(ended(&steps[1..], runs_app), []);
    }

    #[test]
    fn what_is_there_stays() {
        assert_eq!(left_out(&["app", "alarm", "board"]).0, [""; 0]);
        assert_eq!(left_out(&["app"]).0, [""; 0], "what needs it can be made");
    }
}
