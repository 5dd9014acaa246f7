//! Profiles: saved choices for one stack, in terms that belong to no provider. Every change
//! is a new version; a version is never changed.

mod check;
mod diff;
mod exchange;
mod generate;
mod key;
mod layer;
mod parts;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::manifest::{SecretConfig, ServerConfig, StrategyKind, SwapConfig, Tier, is_default};
use crate::names::{
    AppName, DependencyName, EnvironmentName, NameError, ProfileName, ProviderName, VariableName,
};

pub use check::check;
pub use diff::{Difference, diff};
pub use exchange::{SCHEMA_URL, SCHEMA_VERSION, read, schema};
#[cfg(feature = "engine")]
pub(crate) use exchange::{from_stored, to_stored};
pub use generate::generate;
pub use key::{KEYS, SettableKey, set, unset};
pub use layer::layer;

/// The id of a profile, `profile-7`. Counts up in a workspace, never re-used.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct ProfileId(pub u64);

impl fmt::Display for ProfileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "profile-{}", self.0)
    }
}

impl fmt::Debug for ProfileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<ProfileId> for String {
    fn from(value: ProfileId) -> String {
        value.to_string()
    }
}

impl TryFrom<String> for ProfileId {
    type Error = NameError;
    fn try_from(value: String) -> Result<Self, NameError> {
        value.parse()
    }
}

impl FromStr for ProfileId {
    type Err = NameError;
    fn from_str(value: &str) -> Result<Self, NameError> {
        let number = value.strip_prefix("profile-").and_then(|number| {
            let plain = !number.starts_with('0') && number.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| number.parse().ok()).flatten()
        });
        number.map(ProfileId).ok_or_else(|| NameError {
            what: "profile id",
            value: value.to_owned(),
            rule: "`profile-` and a number, e.g. `profile-7`",
        })
    }
}

/// Which version of which profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProfileRef {
    /// The profile.
    pub id: ProfileId,
    /// Its version, from 1.
    pub version: u32,
}

impl fmt::Display for ProfileRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} v{}", self.id, self.version)
    }
}

/// A profile as it was from one change to the next.
#[derive(Debug, Clone, PartialEq)]
pub struct ProfileVersion {
    /// The profile.
    pub id: ProfileId,
    /// Counts from 1.
    pub version: u32,
    /// Since when.
    pub at: Timestamp,
    /// Who made it.
    pub by: String,
    /// What was done.
    pub reason: String,
    /// The choices; `None`: the profile was deleted.
    pub profile: Option<Profile>,
}

impl ProfileVersion {
    /// Which it is.
    #[must_use]
    pub fn reference(&self) -> ProfileRef {
        ProfileRef { id: self.id, version: self.version }
    }
}

/// Saved choices for one stack.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Its name.
    pub name: ProfileName,
    /// The app's folder or manifest file. Absolute where it is kept; in a file to import it may
    /// start at that file's folder.
    pub scenario: PathBuf,
    /// The app's name in the workspace.
    pub app: AppName,
    /// Where it is to run.
    pub tier: Tier,
    /// The environment of the stack.
    #[serde(default = "default_environment", skip_serializing_if = "is_default_environment")]
    pub environment: EnvironmentName,
    /// Everything that is set with a key.
    #[serde(default, skip_serializing_if = "is_default")]
    pub settings: Settings,
    /// Dependencies to use something else for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub swaps: Vec<Swap>,
    /// Dependencies to leave out although they are declared.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub drop: BTreeSet<DependencyName>,
    /// Secrets by reference, by the variable in which services find them; never a value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<VariableName, SecretConfig>,
    /// Values files, the weakest first; relative paths start at the app's folder.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<PathBuf>,
}

fn default_environment() -> EnvironmentName {
    match EnvironmentName::new("default") {
        Ok(name) => name,
        // A literal of ours, and valid: see the test.
        Err(error) => unreachable!("{error}"),
    }
}

fn is_default_environment(name: &EnvironmentName) -> bool {
    name.as_str() == "default"
}

impl Profile {
    /// A profile with nothing chosen yet but where and what.
    #[must_use]
    pub fn new(name: ProfileName, scenario: PathBuf, app: AppName, tier: Tier) -> Self {
        Self {
            name,
            scenario,
            app,
            tier,
            environment: default_environment(),
            settings: Settings::default(),
            swaps: Vec::new(),
            drop: BTreeSet::new(),
            secrets: BTreeMap::new(),
            values: Vec::new(),
        }
    }

    /// Its swaps that hold on its tier, as a manifest has them.
    #[must_use]
    pub fn manifest_swaps(&self) -> Vec<SwapConfig> {
        let holding = self.swaps.iter().filter(|swap| swap.holds_on(self.tier));
        holding.map(|swap| SwapConfig { from: swap.from.clone(), to: swap.to.clone() }).collect()
    }

    /// The stack that it is for.
    #[must_use]
    pub fn stack(&self) -> crate::names::StackId {
        crate::names::StackId { app: self.app.clone(), environment: self.environment.clone() }
    }
}

/// What is chosen with a key. What is absent the manifest says, or else the provider.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Who runs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderName>,
    /// The provider's name of the region, for everything that does not say another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The host name that the app is reached at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// How one release follows another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<StrategyKind>,
    /// Environment variables of every service. Never a secret.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<VariableName, String>,
    /// Machines or containers.
    #[serde(skip_serializing_if = "is_default")]
    pub compute: ComputeSettings,
    /// The main database.
    #[serde(skip_serializing_if = "is_default")]
    pub database: PartSettings,
    /// The main cache.
    #[serde(skip_serializing_if = "is_default")]
    pub cache: PartSettings,
    /// Object storage.
    #[serde(skip_serializing_if = "is_default")]
    pub storage: PartSettings,
    /// Servers that are there already (bare metal).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<ServerConfig>,
    /// A load balancer in front.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_balancer: Option<bool>,
    /// Where certificates come from: `letsencrypt`, `managed`, `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssl: Option<String>,
    /// A content delivery network in front.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cdn: Option<bool>,
    /// Fixed public port.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// Address to listen on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub listen: Option<IpAddr>,
    /// Provide optional dependencies too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include_optional: Option<bool>,
}

/// Choices about machines or containers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ComputeSettings {
    /// `droplet`, `fargate`, `ec2`, …
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The provider's name of a size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// How many.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub count: Option<u32>,
}

/// Choices about a database, cache or store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PartSettings {
    /// `managed-postgres`, `managed-redis`, `spaces`, `s3`, …
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The provider's name of a size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// A region other than the app's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Engine version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// One thing used instead of another. Read with any of the spellings that there are
/// (`from/to`, `original/replacement`, `original_resource/alternative_resource`,
/// `dependency/swap`); written with `from` and `to`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Swap {
    /// The dependency as the app calls it.
    pub from: DependencyName,
    /// The catalogue's name of what is used instead.
    pub to: DependencyName,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What is lost by it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub limitations: String,
    /// Tiers on which it holds; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub applicable_tiers: Vec<Tier>,
    /// When it was decided, RFC 3339, where a tool noted that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_at: Option<String>,
}

impl Swap {
    /// A swap for all tiers.
    #[must_use]
    pub fn new(from: DependencyName, to: DependencyName) -> Self {
        Self {
            from,
            to,
            reason: String::new(),
            limitations: String::new(),
            applicable_tiers: Vec::new(),
            applied_at: None,
        }
    }

    /// Does it hold on a tier?
    #[must_use]
    pub fn holds_on(&self, tier: Tier) -> bool {
        self.applicable_tiers.is_empty() || self.applicable_tiers.contains(&tier)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn profile() -> Profile {
        Profile::new(
            ProfileName::new("shop-prod").unwrap(),
            "/apps/shop".into(),
            AppName::new("shop").unwrap(),
            Tier::Saas,
        )
    }

    #[test]
    fn literals_are_valid() {
        assert_eq!(default_environment().as_str(), "default");
    }

    #[test]
    fn ids_are_told_from_names() {
        assert_eq!("profile-12".parse::<ProfileId>().unwrap().to_string(), "profile-12");
        for bad in ["profile-", "profile-x", "profile-07", "profile-1 ", "shop", "12"] {
            assert!(bad.parse::<ProfileId>().is_err(), "{bad}");
        }
        assert!(ProfileName::new("profile-12").is_err());
        assert!(ProfileName::new("profile-a").is_ok());
    }
}
