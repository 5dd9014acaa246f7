//! What must outlive what, by what is seen alone: an object that speaks of another one's output stands
//! on it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::OrphanedObject;
use crate::names::ResourceKey;
use crate::plan::OrphanObject;
use crate::provider::{OutputValue, Provider, Result};

/// Outputs that tell one object from all others.
const NAMES: &[&str] = &["id", "arn", "name"];

/// Objects with what each needs. Where two speak of each other neither waits.
pub(super) fn with_needs(provider: &dyn Provider, objects: &[OrphanedObject]) -> Result<Vec<OrphanObject>> {
    // Who is meant by a word.
    let mut called: BTreeMap<String, BTreeSet<ResourceKey>> = BTreeMap::new();
    for one in objects {
        let outputs = provider.kind(&one.kind)?.outputs(&one.found.id, &one.found.observed)?;
        for (name, value) in outputs {
            if let OutputValue::Plain(Value::String(word)) = value
                && NAMES.contains(&name.as_str())
            {
                called.entry(word).or_default().insert(one.found.key.clone());
            }
        }
    }
    let mut needs: BTreeMap<ResourceKey, BTreeSet<ResourceKey>> = BTreeMap::new();
    for one in objects {
        let mut words = BTreeSet::new();
        collect(&one.found.observed, &mut words);
        let meant = words.iter().filter_map(|word| called.get(*word)).flatten();
        let meant = meant.filter(|key| **key != one.found.key).cloned();
        needs.entry(one.found.key.clone()).or_default().extend(meant);
    }
    let free: BTreeMap<ResourceKey, BTreeSet<ResourceKey>> = needs
        .iter()
        .map(|(key, all)| {
            let waits = all.iter().filter(|need| !reaches(&needs, need, key)).cloned().collect();
            (key.clone(), waits)
        })
        .collect();
    objects
        .iter()
        .map(|one| {
            Ok(OrphanObject {
                key: one.found.key.clone(),
                kind: one.kind.clone(),
                id: one.found.id.clone(),
                holds_data: provider.kind(&one.kind)?.may_hold_data(),
                needs: free.get(&one.found.key).cloned().unwrap_or_default(),
            })
        })
        .collect()
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
