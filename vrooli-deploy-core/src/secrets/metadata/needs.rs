//! The secrets that known resources need: what the catalogue says of them, read as every other
//! declaration is.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Value, json};

use super::item::{Item, read_item};
use super::{Declaration, Vocabulary};
use crate::manifest::yaml::Document;
use crate::requirements::{KnownSecret, catalogue};

static NEEDS: LazyLock<BTreeMap<&'static str, Vec<Declaration>>> = LazyLock::new(|| {
    let document = Document::without_places("", Value::Null);
    let declared = |resource: &str, secrets: &[KnownSecret]| -> Vec<Declaration> {
        let mut ignored = Vec::new();
        // Names, and what comes with a resource, are nobody's to keep.
        let kept = secrets.iter().filter(|secret| secret.made_by.is_some());
        kept.filter_map(|secret| {
            let value = said(secret);
            let vocabulary = Vocabulary::Catalogue;
            let item = Item { document: &document, value: &value, at: "", vocabulary, app: None };
            let mut declaration = read_item(&item, &mut ignored)?;
            declaration.resource = Some(resource.to_owned());
            Some(declaration)
        })
        .collect()
    };
    catalogue().iter().map(|known| (known.name.as_str(), declared(&known.name, &known.secrets))).collect()
});

/// In the words that others use for a secret.
fn said(secret: &KnownSecret) -> Value {
    let mut value = json!({
        "id": secret.variable,
        "secret_type": secret.kind,
        "classification": secret.class,
        "made_by": secret.made_by,
        "required": secret.required,
        "description": secret.description,
        "validation_pattern": secret.format,
        "prompt": secret.prompt,
        "generator": secret.generator,
        "tier_strategies": secret.strategies,
    });
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, said| !said.is_null());
    }
    value
}

/// What the catalogue knows about a resource's secrets, by the resource's name there.
pub(in crate::secrets) fn needs(resource: &str) -> &'static [Declaration] {
    NEEDS.get(resource).map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requirements::{MadeBy, SecretClass};
    use crate::secrets::format::Format;

    #[test]
    fn every_secret_of_the_catalogue_is_read_whole() {
        let mut count = 0;
        for known in catalogue().iter() {
            let kept: Vec<_> = known.secrets.iter().filter(|secret| secret.made_by.is_some()).collect();
            let declared = needs(&known.name);
            assert_eq!(declared.len(), kept.len(), "{}", known.name);
            for (declaration, secret) in declared.iter().zip(kept) {
                count += 1;
                assert_eq!(declaration.name, secret.variable);
                assert_eq!(declaration.made_by, secret.made_by);
                assert!(declaration.classification.is_some() && declaration.by_type.is_some());
                assert!(declaration.description.is_some(), "{}", secret.variable);
                assert_eq!(declaration.strategies.len(), secret.strategies.len(), "{}", secret.variable);
                assert_eq!(declaration.generator.is_some(), secret.generator.is_some());
                // Who is asked must know what for.
                assert_eq!(
                    secret.made_by == Some(MadeBy::Vendor),
                    declaration.prompt.is_some() && secret.class != SecretClass::Infrastructure,
                    "{}",
                    secret.variable
                );
                if let Some(format) = &declaration.format {
                    Format::new(format).unwrap();
                }
            }
        }
        assert!(count > 20, "{count}");
        assert!(needs("sqlite").is_empty());
    }
}
