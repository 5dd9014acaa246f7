//! Puts journalled outputs in the place of references, right before a call.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::codes;
use super::entry::StepFailure;
use super::failure::own;
use super::stack_state::StackState;
use crate::names::{OutputName, ResourceKey};
use crate::plan::reference::{references, substitute};
use crate::plan::{Draft, Plan, ReleaseSource, StepAction, output_json};
use crate::provider::{ErrorKind, OutputValue};
use crate::release::{Bundle, EnvValue};
use crate::stack::Reference;

fn missing(reference: &Reference) -> StepFailure {
    own(
        codes::REFERENCE,
        ErrorKind::Config,
        format!("`{}` has no output `{}`", reference.key, reference.output),
        Some("the resource was made without it; look at its kind, or make it anew"),
    )
}

fn output<'a>(state: &'a StackState, reference: &Reference) -> Option<&'a OutputValue> {
    state.resources.get(&reference.key)?.outputs.get(&reference.output)
}

/// A spec with values in the place of references. Secrets travel as their reference.
pub(super) fn spec(spec: &Value, state: &StackState) -> Result<Value, StepFailure> {
    let mut spec = spec.clone();
    substitute(&mut spec, &|reference| output_json(output(state, reference)?));
    match references(&spec).first() {
        None => Ok(spec),
        Some(reference) => Err(missing(reference)),
    }
}

/// A bundle from its draft: outputs of resources become values, or references to secrets.
pub(super) fn bundle(
    draft: &Draft,
    artefact: crate::provider::Artefact,
    state: &StackState,
) -> Result<Bundle, StepFailure> {
    let mut env = draft.env.clone();
    for value in env.values_mut().flat_map(BTreeMap::values_mut) {
        if let EnvValue::Output(reference) = value {
            *value = match output(state, reference) {
                Some(OutputValue::Secret(secret)) => EnvValue::Secret(secret.clone()),
                Some(OutputValue::Plain(Value::String(text))) => EnvValue::Value(text.clone()),
                Some(OutputValue::Plain(other)) => EnvValue::Value(other.to_string()),
                None => return Err(missing(reference)),
            };
        }
    }
    Ok(Bundle {
        app: draft.app.clone(),
        environment: draft.environment.clone(),
        version: draft.version.clone(),
        artefact,
        services: draft.services.clone(),
        env,
        smoke: draft.smoke.clone(),
        strategy: draft.strategy.clone(),
        domain: draft.domain.clone(),
        front: draft.front.clone(),
        capacity: draft.capacity.clone(),
        resources: draft.resources.clone(),
        migrations: draft.migrations.clone(),
    })
}

/// Outputs that something in a plan refers to: these must be there.
pub(super) fn needed(plan: &Plan) -> BTreeMap<ResourceKey, BTreeSet<OutputName>> {
    let mut needed: BTreeMap<ResourceKey, BTreeSet<OutputName>> = BTreeMap::new();
    let mut note = |reference: Reference| {
        needed.entry(reference.key).or_default().insert(reference.output);
    };
    for step in &plan.steps {
        if let StepAction::Create { spec, .. }
        | StepAction::Update { spec, .. }
        | StepAction::Adopt { spec, .. } = &step.action
        {
            references(spec).into_iter().for_each(&mut note);
        }
    }
    if let Some(release) = &plan.release
        && let ReleaseSource::Build { draft, .. } = &release.source
    {
        for value in draft.env.values().flat_map(BTreeMap::values) {
            if let EnvValue::Output(reference) = value {
                note(reference.clone());
            }
        }
    }
    needed
}
