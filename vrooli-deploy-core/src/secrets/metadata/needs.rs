//! The secrets that known resources need, as data.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::Value;

use super::item::{Item, read_item};
use super::{Declaration, Vocabulary};
use crate::manifest::crosswalk::embedded;
use crate::manifest::yaml::Document;

#[derive(Debug, Default, Deserialize)]
struct Needs {
    resources: BTreeMap<String, Vec<Value>>,
}

static NEEDS: LazyLock<BTreeMap<String, Vec<Declaration>>> = LazyLock::new(|| {
    let needs: Needs = embedded(include_str!("../data/needs.json"));
    let document = Document::without_places("", Value::Null);
    let declared = |resource: &str, items: &[Value]| -> Vec<Declaration> {
        let mut ignored = Vec::new();
        items
            .iter()
            .filter_map(|value| {
                let item =
                    Item { document: &document, value, at: "", vocabulary: Vocabulary::Catalogue, app: None };
                let mut declaration = read_item(&item, &mut ignored)?;
                declaration.resource = Some(resource.to_owned());
                Some(declaration)
            })
            .collect()
    };
    needs.resources.iter().map(|(resource, items)| (resource.clone(), declared(resource, items))).collect()
});

/// What the catalogue knows about a resource's secrets, by the resource's name there.
pub(in crate::secrets) fn needs(resource: &str) -> &'static [Declaration] {
    NEEDS.get(resource).map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requirements::catalogue;
    use crate::secrets::format::Format;

    #[test]
    fn every_entry_is_read_whole_and_belongs_to_a_known_resource() {
        let needs: Needs = serde_json::from_str(include_str!("../data/needs.json")).unwrap();
        assert!(needs.resources.len() > 10);
        for (resource, items) in &needs.resources {
            assert_eq!(catalogue().find(resource).unwrap().name, *resource);
            let declared = super::needs(resource);
            assert_eq!(declared.len(), items.len(), "{resource}");
            for declaration in declared {
                assert!(declaration.made_by.is_some() && declaration.classification.is_some());
                assert!(declaration.by_type.is_some() && declaration.description.is_some());
                if let Some(format) = &declaration.format {
                    Format::new(format).unwrap();
                }
            }
        }
        assert!(super::needs("sqlite").is_empty());
    }
}
