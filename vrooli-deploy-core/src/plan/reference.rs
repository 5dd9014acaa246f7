//! References in the JSON of a spec.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use crate::stack::Reference;

/// A reference, if the value is one and not a plain object.
pub(crate) fn reference(value: &Value) -> Option<Reference> {
    let object = value.as_object()?;
    if object.len() == 2 && object.contains_key("$ref") { Reference::deserialize(value).ok() } else { None }
}

/// All references anywhere in a value.
pub(crate) fn references(value: &Value) -> BTreeSet<Reference> {
    fn walk(value: &Value, found: &mut BTreeSet<Reference>) {
        match value {
            Value::Object(fields) => match reference(value) {
                Some(reference) => {
                    found.insert(reference);
                }
                None => fields.values().for_each(|v| walk(v, found)),
            },
            Value::Array(items) => items.iter().for_each(|v| walk(v, found)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    walk(value, &mut found);
    found
}

/// Puts values in the place of references. What the function does not know stays a reference.
pub(crate) fn substitute(value: &mut Value, known: &impl Fn(&Reference) -> Option<Value>) {
    if let Some(reference) = reference(value) {
        if let Some(replacement) = known(&reference) {
            *value = replacement;
        }
        return;
    }
    match value {
        Value::Object(fields) => fields.values_mut().for_each(|v| substitute(v, known)),
        Value::Array(items) => items.iter_mut().for_each(|v| substitute(v, known)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_are_found_and_filled_at_any_depth() {
        let mut spec = json!({"a": {"$ref": "network/main", "output": "id"}, "b": [{"c": {"$ref": "x", "output": "y"}}], "d": {"$ref": "no"}});
        assert_eq!(references(&spec).len(), 2);
        substitute(&mut spec, &|r| (r.key.as_str() == "x").then(|| json!(7)));
        assert_eq!(spec["b"][0]["c"], json!(7));
        assert_eq!(references(&spec).len(), 1);
    }
}
