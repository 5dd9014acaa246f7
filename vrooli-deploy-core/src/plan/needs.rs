//! What must outlive what, by what is seen alone: an object that speaks of another one's output stands
//! on it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::names::{ResourceKey, ResourceKind};
use crate::plan::PlanError;
use crate::provider::{Found, OutputValue, Provider};

/// Outputs that tell one object from all others.
const NAMES: &[&str] = &["id", "arn", "name"];

/// What each of some objects needs, by key. What is `known` of one is not looked for; and where two speak of each
/// other neither waits.
///
/// # Errors
/// When the provider does not know the kind of one, or what was seen of it.
pub(crate) fn needs(
    provider: &dyn Provider,
    objects: &[(&ResourceKind, &Found<Value>)],
    known: impl Fn(&ResourceKey) -> Option<BTreeSet<ResourceKey>>,
) -> Result<BTreeMap<ResourceKey, BTreeSet<ResourceKey>>, PlanError> {
    // Who is meant by a word.
    let mut called: BTreeMap<String, BTreeSet<ResourceKey>> = BTreeMap::new();
    for (kind, found) in objects {
        let outputs = provider.kind(kind).and_then(|kind| kind.outputs(&found.id, &found.observed));
        let outputs = outputs.map_err(|source| PlanError::Spec { key: found.key.clone(), source });
        for (name, value) in outputs? {
            if let OutputValue::Plain(Value::String(word)) = value
                && NAMES.contains(&name.as_str())
            {
                called.entry(word).or_default().insert(found.key.clone());
            }
        }
    }
    let mut needs: BTreeMap<ResourceKey, BTreeSet<ResourceKey>> = BTreeMap::new();
    for (_, found) in objects {
        if let Some(known) = known(&found.key) {
            needs.insert(found.key.clone(), known);
            continue;
        }
        let mut words = BTreeSet::new();
        // What one is called itself speaks of no other, even where another is called the same: a database is, and
        // the group of subnets that it stands in.
        let fields = found.observed.as_object().into_iter().flatten();
        fields
            .filter(|(name, _)| !NAMES.contains(&name.as_str()))
            .for_each(|(_, value)| collect(value, &mut words));
        let meant = words.iter().filter_map(|word| called.get(*word)).flatten();
        let meant = meant.filter(|key| **key != found.key).cloned();
        needs.entry(found.key.clone()).or_default().extend(meant);
    }
    let free = needs.iter().map(|(key, all)| {
        let waits = all.iter().filter(|need| !reaches(&needs, need, key)).cloned().collect();
        (key.clone(), waits)
    });
    Ok(free.collect())
}

fn collect<'a>(value: &'a Value, words: &mut BTreeSet<&'a str>) {
    match value {
        Value::String(word) => drop(words.insert(word)),
        Value::Array(all) => all.iter().for_each(|one| collect(one, words)),
        Value::Object(all) => all.values().for_each(|one| collect(one, words)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Does one stand on the other, through whatever?
fn reaches(
    needs: &BTreeMap<ResourceKey, BTreeSet<ResourceKey>>,
    from: &ResourceKey,
    to: &ResourceKey,
) -> bool {
    let (mut todo, mut seen) = (vec![from], BTreeSet::new());
    while let Some(at) = todo.pop() {
        if at == to {
            return true;
        }
        if seen.insert(at) {
            todo.extend(needs.get(at).into_iter().flatten());
        }
    }
    false
}
