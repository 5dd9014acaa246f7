use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::{Inventory, Plan, StepAction};
use crate::names::{Digest, ResourceKey};

/// What a digest covers beside the plan's own decisions.
#[derive(Serialize)]
struct Covered {
    plan: Value,
    /// Objects of resources that the plan touches, by what they are called.
    objects: BTreeMap<ResourceKey, Vec<String>>,
}

/// The digest of what was decided and what it was decided from. Left out: tokens and
/// generations (they count by themselves), what was seen beyond the fields that the spec
/// owns, and where the source lies on this machine.
pub(super) fn digest(plan: &Plan, inventory: &Inventory) -> Result<Digest, serde_json::Error> {
    let objects = plan
        .steps
        .iter()
        .filter_map(|step| step.action.key())
        .map(|key| {
            (key.clone(), inventory.objects(key).iter().map(|(_, found)| found.id.to_string()).collect())
        })
        .collect();
    Digest::of_json(&Covered { plan: decisions(plan)?, objects })
}

/// The plan as JSON, without what is no decision.
pub(super) fn decisions(plan: &Plan) -> Result<Value, serde_json::Error> {
    let mut value = serde_json::to_value(plan)?;
    if let Some(fields) = value.as_object_mut() {
        // Random when a stack is planned for the first time.
        for name in ["digest", "incarnation", "notes"] {
            fields.remove(name);
        }
        if let Some(request) =
            fields.get_mut("release").and_then(|r| r.get_mut("request")).and_then(Value::as_object_mut)
        {
            request.remove("root");
            request.remove("context");
        }
        if let Some(env) =
            fields.get_mut("release").and_then(|r| r.get_mut("draft")).and_then(|d| d.get_mut("env"))
        {
            without_secret_versions(env);
        }
    }
    let steps = value.get_mut("steps").and_then(Value::as_array_mut);
    for (step, json) in plan.steps.iter().zip(steps.into_iter().flatten()) {
        let Some(fields) = json.as_object_mut() else { continue };
        fields.remove("token");
        fields.remove("reason");
        let Some(action) = fields.get_mut("action").and_then(Value::as_object_mut) else { continue };
        action.remove("generation");
        if let StepAction::Update { spec, observed, .. } | StepAction::Adopt { spec, observed, .. } =
            &step.action
        {
            action.insert("observed".to_owned(), owned(spec, observed));
        }
    }
    Ok(value)
}

/// The fields of what was seen that the spec owns. Others move by themselves.
fn owned(spec: &Value, observed: &Value) -> Value {
    match (spec, observed) {
        (Value::Object(spec), Value::Object(observed)) => Value::Object(
            observed
                .iter()
                .filter(|(name, _)| spec.contains_key(*name))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect::<Map<_, _>>(),
        ),
        _ => observed.clone(),
    }
}

/// A version and hash that a store gives are no decision: a value that is made by the first
/// deployment has none when it is planned.
fn without_secret_versions(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if fields.contains_key("$secret") {
                fields.remove("version");
                fields.remove("hash");
            }
            fields.values_mut().for_each(without_secret_versions);
        }
        Value::Array(items) => items.iter_mut().for_each(without_secret_versions),
        _ => {}
    }
}
