use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::Profile;

/// One thing that differs between two versions of a profile.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// Where: `settings.region`, `swaps.postgres.to`.
    pub path: String,
    /// What it was; absent: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What it is; absent: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// What differs, by path. Empty: they are the same. Pure.
#[must_use]
pub fn diff(before: &Profile, after: &Profile) -> Vec<Difference> {
    let (before, after) = (leaves(before), leaves(after));
    let mut paths: Vec<&String> = before.keys().chain(after.keys()).collect();
    paths.sort();
    paths.dedup();
    paths
        .into_iter()
        .filter(|path| before.get(*path) != after.get(*path))
        .map(|path| Difference {
            path: path.clone(),
            before: before.get(path).cloned(),
            after: after.get(path).cloned(),
        })
        .collect()
}

fn leaves(profile: &Profile) -> BTreeMap<String, Value> {
    let mut leaves = BTreeMap::new();
    // A struct of plain fields: it can always be written as JSON.
    if let Ok(value) = serde_json::to_value(profile) {
        collect("", &value, &mut leaves);
    }
    leaves
}

fn collect(path: &str, value: &Value, leaves: &mut BTreeMap<String, Value>) {
    let join = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                collect(&join(key), value, leaves);
            }
        }
        // Swaps are known by what they replace, servers by their host; their order says nothing.
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                let key = ["from", "host"].iter().find_map(|key| item.get(key)?.as_str());
                match key {
                    Some(key) => collect(&join(key), item, leaves),
                    None => {
                        let key = item.as_str().map_or_else(|| item.to_string(), ToOwned::to_owned);
                        leaves.insert(join(&key), Value::Bool(true));
                    }
                }
            }
        }
        leaf => {
            leaves.insert(path.to_owned(), leaf.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Swap;
    use super::super::tests::profile;
    use super::*;
    use crate::names::DependencyName;

    #[test]
    fn what_differs_is_named_and_nothing_else() {
        let before = profile();
        assert!(diff(&before, &before).is_empty());
        let mut after = before.clone();
        after.settings.region = Some("nyc1".to_owned());
        after.settings.env.insert("A".parse().unwrap(), "1".to_owned());
        after.drop.insert(DependencyName::new("n8n").unwrap());
        after.swaps.push(Swap::new("ollama".parse().unwrap(), "openrouter".parse().unwrap()));
        let seen: Vec<_> = diff(&before, &after)
            .into_iter()
            .map(|d| (d.path, d.before.unwrap_or_default(), d.after.unwrap_or_default()))
            .collect();
        assert_eq!(
            seen,
            [
                ("drop.n8n".to_owned(), Value::Null, json!(true)),
                ("settings.env.A".to_owned(), Value::Null, json!("1")),
                ("settings.region".to_owned(), Value::Null, json!("nyc1")),
                ("swaps.ollama.from".to_owned(), Value::Null, json!("ollama")),
                ("swaps.ollama.to".to_owned(), Value::Null, json!("openrouter")),
            ]
        );
        let back: Vec<_> = diff(&after, &before).into_iter().map(|d| d.after).collect();
        assert!(back.iter().all(Option::is_none));
    }
}
