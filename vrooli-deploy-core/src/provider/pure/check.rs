//! What a provider's tests ask of the pure half of every kind.

use serde_json::Value;

use crate::names::{OutputName, ResourceKey};
use crate::provider::{AnyKind, Change, Op, Ownership, PhysicalId};

/// How a difference in a field is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is changed in place.
    Update,
    /// The object is made anew.
    Replace,
    /// It is not the stack's to change, or only an identity.
    Nothing,
}

/// Checks a kind against a spec and what is seen of an object made from it: they do not
/// differ (clause P9 of the provider contract), and each field of what is seen, changed to the
/// value given, gets the answer given; permissions, outputs, ownership and bill are well formed,
/// and an unknown field is refused.
///
/// # Errors
/// The first thing that does not hold, in words. A field without an answer is one.
pub fn check_kind(
    kind: &dyn AnyKind,
    want: &Value,
    have: &Value,
    answers: &[(&str, Value, Answer)],
) -> Result<(), String> {
    let said = |what: &str, error: &dyn std::fmt::Display| format!("{}: {what}: {error}", kind.kind());
    kind.check(want).map_err(|e| said("the spec is refused", &e))?;
    if kind.diff(want, have).map_err(|e| said("diff", &e))? != Change::None {
        return Err(format!("{}: what was made from the spec differs from it", kind.kind()));
    }
    for field in have.as_object().into_iter().flat_map(|fields| fields.keys()) {
        if !answers.iter().any(|(name, ..)| name == field) {
            return Err(format!("{}: no answer for `{field}`", kind.kind()));
        }
    }
    for (field, value, answer) in answers {
        let mut other = have.clone();
        if other[*field] == *value {
            return Err(format!("{}: `{field}` is not changed by the value given", kind.kind()));
        }
        other[*field] = value.clone();
        let expected = match answer {
            Answer::Update => Change::InPlace(vec![(*field).to_owned()]),
            Answer::Replace => Change::Replace(vec![(*field).to_owned()]),
            Answer::Nothing => Change::None,
        };
        let change = kind.diff(want, &other).map_err(|e| said(field, &e))?;
        if change != expected {
            return Err(format!("{}: `{field}` is answered with {change:?}, not {expected:?}", kind.kind()));
        }
    }
    for op in [Op::Find, Op::List, Op::Create, Op::Delete] {
        let permissions = kind.permissions(op, want).map_err(|e| said("permissions", &e))?;
        if permissions.is_empty() || permissions.iter().any(|permission| !permission.action.contains(':')) {
            return Err(format!("{}: {op:?} needs {permissions:?}", kind.kind()));
        }
    }
    let outputs =
        kind.outputs(&PhysicalId("arn:x:::id".to_owned()), have).map_err(|e| said("outputs", &e))?;
    if let Some(name) = outputs.keys().find(|name| !kind.output_names().contains(&name.as_str())) {
        return Err(format!("{}: the output `{name}` is not announced", kind.kind()));
    }
    let key = ResourceKey::new("a/b").map_err(|e| said("key", &e))?;
    if let Ownership::DerivedName(name) = kind.ownership(&key, want).map_err(|e| said("ownership", &e))?
        && name.is_empty()
    {
        return Err(format!("{}: its derived name is empty", kind.kind()));
    }
    let name = kind.kind();
    let provider = name.as_str().split('.').next().unwrap_or_default().to_owned();
    for item in kind.bill(want).map_err(|e| said("bill", &e))? {
        if item.price.provider != provider || item.what.is_empty() {
            return Err(format!("{name}: bill item {item:?}"));
        }
    }
    let mut unknown = want.clone();
    unknown["no_such_field"] = Value::Bool(true);
    if kind.check(&unknown).is_ok() {
        return Err(format!("{name}: an unknown field is accepted"));
    }
    Ok(())
}

/// Checks the names of all kinds of a provider: valid, different, of this provider; outputs have
/// valid names, and schemas refuse what they do not know.
///
/// # Errors
/// The first thing that does not hold, in words.
pub fn check_all(provider: &str, kinds: &[&dyn AnyKind]) -> Result<(), String> {
    let mut seen = std::collections::BTreeSet::new();
    for kind in kinds {
        let name = kind.kind();
        if name.as_str().split('.').next() != Some(provider) {
            return Err(format!("{name} is not called after {provider}"));
        }
        if let Some(output) = kind.output_names().iter().find(|output| OutputName::new(**output).is_err()) {
            return Err(format!("{name}: the output `{output}` is no valid name"));
        }
        let schema = serde_json::to_value(kind.schema()).map_err(|error| format!("{name}: {error}"))?;
        if schema["additionalProperties"] != false {
            return Err(format!("{name} accepts fields that it does not know"));
        }
        if !seen.insert(name.clone()) {
            return Err(format!("two kinds are called {name}"));
        }
    }
    Ok(())
}
