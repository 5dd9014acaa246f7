//! The catalogue of known resources, as data.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Footprint, Primitive};
use crate::manifest::Tier;
use crate::manifest::crosswalk::embedded;
use crate::manifest::shape::nearest;
use crate::names::{AppName, ProviderName, VariableName};

/// What is known about resources.
#[derive(Debug, Default, Deserialize)]
pub struct Catalogue {
    /// Where the knowledge comes from, unless an entry says another.
    pub source: String,
    /// When that was looked at, as a date.
    pub as_of: String,
    alias_prefix: String,
    database_prefix: String,
    #[serde(default)]
    resources: Vec<KnownResource>,
    /// Name or alias → place in `resources`.
    #[serde(skip)]
    index: BTreeMap<String, usize>,
}

/// A file of entries.
#[derive(Debug, Default, Deserialize)]
struct Entries {
    source: String,
    as_of: String,
    resources: Vec<KnownResource>,
}

/// One known resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct KnownResource {
    /// Its name.
    pub name: String,
    /// What else it is called.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// What it is.
    pub primitive: Primitive,
    /// In what form an app gets it.
    #[serde(default)]
    pub form: ResourceForm,
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
    /// How to see that it is well, where that is known.
    #[serde(default)]
    pub health: Option<KnownHealth>,
    /// What it takes, where that is known.
    #[serde(default)]
    pub footprint: Option<KnownFootprint>,
    /// Its use of a graphics card, if any.
    #[serde(default)]
    pub gpu: Option<GpuNeed>,
    /// Its licence, where that is known.
    #[serde(default)]
    pub licence: Option<Licence>,
    /// Who runs it as a service of theirs: provider → what they call it.
    #[serde(default)]
    pub managed: BTreeMap<ProviderName, String>,
    /// Secrets that it needs.
    #[serde(default)]
    pub secrets: Vec<KnownSecret>,
    /// Other resources that it cannot do without.
    #[serde(default)]
    pub needs: Vec<String>,
    /// Tiers in which it runs with limits, or not at all; of others nothing is to be said.
    #[serde(default)]
    pub tiers: BTreeMap<Tier, TierSupport>,
    /// Where this entry comes from, unless from where its file does.
    #[serde(default)]
    pub source: Option<String>,
    /// When that was looked at, unless when its file was.
    #[serde(default)]
    pub as_of: Option<String>,
}

/// In what form an app gets a resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ResourceForm {
    /// A server that somebody runs for the app.
    #[default]
    Server,
    /// A service of somebody else's, reached over the network.
    Api,
    /// A program that the app starts.
    Command,
    /// A part of the app itself: nothing is to be made for it.
    Library,
}

/// How to see that a resource is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum KnownHealth {
    /// It takes connections.
    Tcp,
    /// It answers a request.
    Http {
        /// The path.
        path: String,
    },
}

/// A footprint and where it is known from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KnownFootprint {
    /// The figures.
    #[serde(flatten)]
    pub size: Footprint,
    /// Where they come from, unless from where the entry does.
    #[serde(default)]
    pub source: Option<String>,
    /// When that was looked at.
    #[serde(default)]
    pub as_of: Option<String>,
}

/// A resource's use of a graphics card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GpuNeed {
    /// How much it needs one.
    pub need: Need,
    /// Why.
    pub why: String,
}

/// How much something is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Need {
    /// It does not work without.
    Required,
    /// It works without, but badly.
    Recommended,
}

/// A licence, and what it says of running the thing for others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Licence {
    /// SPDX expression; `LicenseRef-…` for those that have none.
    pub spdx: String,
    /// May it be run for others?
    pub hosting: Hosting,
    /// The condition, in words.
    #[serde(default)]
    pub why: Option<String>,
    /// Where that stands, unless where the entry comes from.
    #[serde(default)]
    pub source: Option<String>,
    /// When that was looked at.
    #[serde(default)]
    pub as_of: Option<String>,
}

/// May something be run for others?
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Hosting {
    /// Yes.
    Allowed,
    /// Yes, with duties.
    Conditions,
    /// With a licence that is bought.
    Commercial,
    /// No.
    Forbidden,
}

/// A secret that a resource needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KnownSecret {
    /// The variable in which the app finds it.
    pub variable: VariableName,
    /// Whose it is.
    pub class: SecretClass,
    /// `password`, `api_key`, `token`, `credential`, `certificate`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Who makes the value. `None`: it is no value to keep, but a name, or a part of what the
    /// provider gives with the resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<MadeBy>,
    /// What it is, in a few words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Does the resource work without it? Default: no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required: Option<bool>,
    /// What a person is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<SecretQuestion>,
    /// How a value is made: `type`, `length`, `charset`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generator: Option<serde_json::Value>,
    /// What somebody said must become of it in a tier: `generate`, `prompt`, `delegate`,
    /// `strip`. In the others it follows from who makes it ([`strategy`](Self::strategy)).
    #[serde(default)]
    pub strategies: BTreeMap<Tier, String>,
    /// A regular expression that the value matches.
    #[serde(default)]
    pub format: Option<String>,
}

impl KnownSecret {
    /// What becomes of it in a tier: what was said, else what follows from who makes it. `None`:
    /// nothing is known.
    #[must_use]
    pub fn strategy(&self, tier: Tier) -> Option<&str> {
        if let Some(said) = self.strategies.get(&tier) {
            return Some(said);
        }
        match self.made_by? {
            // No server runs on a phone.
            MadeBy::Resource => (tier != Tier::Mobile).then_some("generate"),
            MadeBy::Vendor => Some("prompt"),
            MadeBy::Operator => None,
        }
    }
}

/// Who makes the value of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MadeBy {
    /// The resource itself, with the provider that makes it.
    Resource,
    /// Whoever runs the resource.
    Operator,
    /// The company behind it, for its customers.
    Vendor,
}

/// What a person is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretQuestion {
    /// In a few words.
    pub label: String,
    /// In a sentence: where one gets it.
    pub description: String,
}

/// Whose a secret is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SecretClass {
    /// Of what the app stands on.
    Infrastructure,
    /// Of a service that the app uses.
    Service,
    /// Of the person who uses it.
    User,
}

/// How far a resource runs in a tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TierSupport {
    /// How far.
    pub support: Support,
    /// Why not further.
    pub why: String,
}

/// How far something runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Support {
    /// With limits.
    Limited,
    /// Not at all.
    No,
}

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
    let mut catalogue: Catalogue = embedded(include_str!("data/catalogue.json"));
    for text in FILES {
        let file: Entries = embedded(text);
        catalogue.resources.extend(file.resources.into_iter().map(|mut known| {
            known.source.get_or_insert_with(|| file.source.clone());
            known.as_of.get_or_insert_with(|| file.as_of.clone());
            known
        }));
    }
    for (place, known) in catalogue.resources.iter().enumerate() {
        for name in known.aliases.iter().chain([&known.name]) {
            catalogue.index.entry(name.clone()).or_insert(place);
        }
    }
    catalogue
});

const FILES: [&str; 5] = [
    include_str!("data/catalogue/databases.json"),
    include_str!("data/catalogue/stores.json"),
    include_str!("data/catalogue/models.json"),
    include_str!("data/catalogue/automation.json"),
    include_str!("data/catalogue/services.json"),
];

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
        let exact = |name: &str| self.index.get(name).and_then(|place| self.resources.get(*place));
        exact(&lower).or_else(|| exact(lower.strip_prefix(self.alias_prefix.as_str())?))
    }

    /// The catalogue's name of a resource, or the name itself where nothing is known of it.
    #[must_use]
    pub fn canonical<'a>(&'a self, name: &'a str) -> &'a str {
        self.find(name).map_or(name, |known| known.name.as_str())
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

impl KnownResource {
    /// Does it hold databases by name?
    #[must_use]
    pub fn has_databases(&self) -> bool {
        self.env.values().any(|output| output == "database")
    }

    /// What it is called where somebody runs it as a service: at this provider, or, when none
    /// is chosen, at any.
    #[must_use]
    pub fn managed_at(&self, provider: Option<&ProviderName>) -> Option<(&ProviderName, &str)> {
        self.managed
            .iter()
            .find(|(name, _)| provider.is_none_or(|provider| provider == *name))
            .map(|(provider, service)| (provider, service.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_files_can_be_read_and_names_are_unique() {
        serde_json::from_str::<Catalogue>(include_str!("data/catalogue.json")).unwrap();
        let mut count = 0;
        for text in FILES {
            let file = serde_json::from_str::<Entries>(text).unwrap();
            assert!(!file.source.is_empty() && file.as_of.len() == 10);
            count += file.resources.len();
        }
        assert_eq!(count, catalogue().iter().count());
        let mut seen = BTreeSet::new();
        for known in catalogue().iter() {
            for name in known.aliases.iter().chain([&known.name]) {
                assert!(seen.insert(name), "{name}");
                assert_eq!(catalogue().find(name), Some(known));
            }
            for output in known.env.values() {
                crate::names::OutputName::new(output.as_str()).unwrap();
            }
            for needed in &known.needs {
                assert!(catalogue().find(needed).is_some(), "{needed}");
            }
            for provider in known.managed.keys() {
                assert_eq!(crate::manifest::crosswalk::provider(provider.as_str()).unwrap(), *provider);
            }
            assert!(
                known.form == ResourceForm::Server || known.footprint.is_none() || known.name == "playwright",
                "{}: only what runs beside the app takes something of its own",
                known.name
            );
            for secret in &known.secrets {
                for strategy in secret.strategies.values() {
                    assert!(
                        ["generate", "prompt", "delegate", "strip"].contains(&strategy.as_str()),
                        "{strategy}"
                    );
                }
            }
        }
        assert!(seen.len() > 50);
    }

    #[test]
    fn what_becomes_of_a_secret_was_said_or_follows_from_who_makes_it() {
        let strategy = |resource: &str, variable: &str, tier| {
            let known = catalogue().find(resource).unwrap();
            known.secrets.iter().find(|s| s.variable.as_str() == variable).unwrap().strategy(tier)
        };
        assert_eq!(strategy("postgres", "POSTGRES_USER", Tier::Saas), Some("strip"));
        assert_eq!(strategy("redis", "REDIS_PASSWORD", Tier::Saas), Some("generate"));
        assert_eq!(strategy("redis", "REDIS_PASSWORD", Tier::Mobile), None);
        assert_eq!(strategy("openrouter", "OPENROUTER_API_KEY", Tier::Mobile), Some("prompt"));
        assert_eq!(strategy("vault", "VAULT_TOKEN", Tier::Saas), Some("delegate"));
        assert_eq!(strategy("vault", "VAULT_TOKEN", Tier::Desktop), None);
    }

    #[test]
    fn aliases_and_prefixes_are_understood() {
        assert_eq!(catalogue().find("resource-claude-code").unwrap().name, "claude-code");
        assert_eq!(catalogue().find("unstructured_io").unwrap().name, "unstructured-io");
        assert_eq!(catalogue().canonical("playwright-driver"), "playwright");
        assert!(catalogue().find("n8n").unwrap().dead.is_some());
        assert!(catalogue().find("nothing").is_none());
        assert_eq!(catalogue().nearest("postgre"), Some("postgres"));
    }

    #[test]
    fn what_the_clouds_run_themselves_is_known() {
        let aws = ProviderName::new("aws").unwrap();
        let metal = ProviderName::new("bare-metal").unwrap();
        for name in ["postgres", "redis", "minio"] {
            assert!(catalogue().find(name).unwrap().managed_at(Some(&aws)).is_some(), "{name}");
            assert!(catalogue().find(name).unwrap().managed_at(Some(&metal)).is_none(), "{name}");
        }
        assert!(catalogue().find("qdrant").unwrap().managed_at(None).is_none());
    }

    #[test]
    fn databases_are_named_after_the_app() {
        let name = |app: &str| catalogue().database_name(&AppName::new(app).unwrap());
        assert_eq!(name("picker-wheel"), "vrooli_picker_wheel");
        assert_eq!(name(&"a".repeat(63)).len(), 63);
    }
}
