use std::collections::BTreeMap;

use serde_json::Value;

use crate::names::{ResourceKey, ResourceKind};
use crate::provider::Found;

/// An object that was seen, and its kind.
pub type Seen = (ResourceKind, Found<Value>);

/// What is known of a key. Not knowing is never taken for absence.
#[derive(Debug, Clone, PartialEq)]
pub enum Observed {
    /// Objects that bear the key's marks, oldest first. More than one: a replacement that
    /// was not finished, or a twin.
    Known(Vec<Seen>),
    /// Looked, and nothing is there.
    Absent,
    /// Could not look.
    Unknown {
        /// Why.
        why: String,
    },
}

/// A stack as it was observed.
#[derive(Debug, Clone, PartialEq)]
pub struct Inventory {
    objects: BTreeMap<ResourceKey, Observed>,
    otherwise: Observed,
}

impl Inventory {
    /// Everything was looked at, and this was found.
    #[must_use]
    pub fn seen(found: impl IntoIterator<Item = Seen>) -> Self {
        let mut objects: BTreeMap<ResourceKey, Observed> = BTreeMap::new();
        for (kind, found) in found {
            match objects.entry(found.key.clone()).or_insert_with(|| Observed::Known(Vec::new())) {
                Observed::Known(all) => all.push((kind, found)),
                Observed::Absent | Observed::Unknown { .. } => {}
            }
        }
        Self { objects, otherwise: Observed::Absent }
    }

    /// Nothing could be looked at.
    #[must_use]
    pub fn unseen(why: impl Into<String>) -> Self {
        Self { objects: BTreeMap::new(), otherwise: Observed::Unknown { why: why.into() } }
    }

    /// Says what is known of one key, whatever was known of it before.
    pub fn set(&mut self, key: ResourceKey, observed: Observed) {
        self.objects.insert(key, observed);
    }

    /// What is known of a key.
    #[must_use]
    pub fn get(&self, key: &ResourceKey) -> &Observed {
        self.objects.get(key).unwrap_or(&self.otherwise)
    }

    /// Objects that bear a key's marks; empty as well when it could not be looked.
    #[must_use]
    pub fn objects(&self, key: &ResourceKey) -> &[Seen] {
        match self.get(key) {
            Observed::Known(all) => all,
            Observed::Absent | Observed::Unknown { .. } => &[],
        }
    }

    /// Keys under which something was seen.
    pub fn keys(&self) -> impl Iterator<Item = &ResourceKey> {
        self.objects.keys()
    }
}
