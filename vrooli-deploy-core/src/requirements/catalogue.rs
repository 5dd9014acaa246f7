//! The catalogue of known resources, as data.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use super::{Footprint, Primitive};
use crate::manifest::crosswalk::embedded;
use crate::manifest::shape::nearest;
use crate::names::{AppName, VariableName};

/// What is known about resources.
#[derive(Debug, Default, Deserialize)]
pub struct Catalogue {
    /// Where the knowledge comes from.
    pub source: String,
    /// When that was looked at, as a date.
    pub as_of: String,
    alias_prefix: String,
    database_prefix: String,
    resources: Vec<KnownResource>,
}

/// One known resource.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct KnownResource {
    /// Its name.
    pub name: String,
    /// What else it is called.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// What it is.
    pub primitive: Primitive,
    /// A few words about it.
    pub about: String,
    /// The port that Vrooli gives it on a developer's machine.
    #[serde(default)]
    pub port: Option<u16>,
    /// The environment contract: variable → output of the resource that fills it.
    #[serde(default)]
    pub env: BTreeMap<VariableName, String>,
    /// Why it no longer exists, if so.
    #[serde(default)]
    pub dead: Option<String>,
    /// What it takes, where that is known.
    #[serde(default)]
    pub footprint: Option<Footprint>,
}

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| embedded(include_str!("data/catalogue.json")));

/// The catalogue that is part of this library.
#[must_use]
pub fn catalogue() -> &'static Catalogue {
    &CATALOGUE
}

impl Catalogue {
    /// The resource of this name or alias; `resource-redis` is `redis`.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&KnownResource> {
        let lower = name.trim().to_ascii_lowercase();
        let exact = |name: &str| {
            self.resources
                .iter()
                .find(|known| known.name == name || known.aliases.iter().any(|alias| alias == name))
        };
        exact(&lower).or_else(|| exact(lower.strip_prefix(self.alias_prefix.as_str())?))
    }

    /// The known name nearest to an unknown one.
    #[must_use]
    pub fn nearest(&self, name: &str) -> Option<&str> {
        nearest(name, self.resources.iter().map(|known| known.name.as_str()))
    }

    /// All known resources.
    pub fn iter(&self) -> impl Iterator<Item = &KnownResource> {
        self.resources.iter()
    }

    /// The name of an app's database, unless the app says another: `vrooli_picker_wheel`.
    /// At most 63 bytes, PostgreSQL's limit.
    #[must_use]
    pub fn database_name(&self, app: &AppName) -> String {
        let mut name = format!("{}{}", self.database_prefix, app.as_str().replace('-', "_"));
        // Names of apps are ASCII: any byte is a boundary.
        name.truncate(63);
        name
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_file_can_be_read_and_names_are_unique() {
        serde_json::from_str::<Catalogue>(include_str!("data/catalogue.json")).unwrap();
        let mut seen = BTreeSet::new();
        for known in catalogue().iter() {
            for name in known.aliases.iter().chain([&known.name]) {
                assert!(seen.insert(name), "{name}");
                assert_eq!(catalogue().find(name), Some(known));
            }
            for output in known.env.values() {
                crate::names::OutputName::new(output.as_str()).unwrap();
            }
        }
        assert!(seen.len() > 30);
    }

    #[test]
    fn aliases_and_prefixes_are_understood() {
        assert_eq!(catalogue().find("resource-claude-code").unwrap().name, "claude-code");
        assert_eq!(catalogue().find("unstructured_io").unwrap().name, "unstructured-io");
        assert!(catalogue().find("n8n").unwrap().dead.is_some());
        assert!(catalogue().find("nothing").is_none());
        assert_eq!(catalogue().nearest("postgre"), Some("postgres"));
    }

    #[test]
    fn databases_are_named_after_the_app() {
        let name = |app: &str| catalogue().database_name(&AppName::new(app).unwrap());
        assert_eq!(name("picker-wheel"), "vrooli_picker_wheel");
        assert_eq!(name(&"a".repeat(63)).len(), 63);
    }
}
