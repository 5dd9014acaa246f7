//! What providers are told about the user's accounts: which keys there are (data), and where
//! a value is read from: what was configured wins over the environment variable, except where
//! the data say that it is the other way round.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::diagnostics::{Diagnostic, rules};
use crate::manifest::crosswalk::embedded;
use crate::manifest::shape::nearest;
use crate::secrets::{Secret, SecretError, SecretRef, SecretStore};

/// A key of the configuration.
#[derive(Debug, Clone, Deserialize)]
pub struct ConfigurationKey {
    /// As it is typed: `do_token`.
    pub name: String,
    /// Is the value a secret? Then it lies in the secret store and is never shown.
    pub secret: bool,
    /// The provider that reads it; `None`: not a provider.
    pub provider: Option<String>,
    /// Environment variables that are read where nothing is configured, first come first served.
    pub variables: Vec<String>,
    /// Does a variable win over what was configured? It does for what a shell is pointed at with
    /// other tools too (`VAULT_ADDR`).
    #[serde(default)]
    pub variable_first: bool,
    /// What it is.
    pub about: String,
}

#[derive(Debug, Default, Deserialize)]
struct Keys {
    keys: Vec<ConfigurationKey>,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| embedded(include_str!("data/keys.json")));

/// All keys.
#[must_use]
pub fn keys() -> &'static [ConfigurationKey] {
    &KEYS.keys
}

/// The key of that name.
///
/// # Errors
/// A diagnostic with the nearest name.
pub fn key(name: &str) -> Result<&'static ConfigurationKey, Box<Diagnostic>> {
    // `DO-TOKEN` and the variables' own names are meant for the same.
    let wanted = name.to_ascii_lowercase().replace('-', "_");
    let found = keys().iter().find(|key| {
        key.name == wanted || key.variables.iter().any(|variable| variable.eq_ignore_ascii_case(&wanted))
    });
    found.ok_or_else(|| {
        let known = keys().iter().map(|key| format!("`{}`", key.name)).collect::<Vec<_>>().join(", ");
        let near = nearest(&wanted, keys().iter().map(|key| key.name.as_str()));
        // A value in the place of a key may be the secret itself.
        let message = if name.len() <= 32 && !crate::manifest::credentials::has_key_format(name) {
            format!("there is no key `{name}`")
        } else {
            "there is no such key".to_owned()
        };
        Box::new(rules::CONFIGURATION_KEY.diagnostic(message).help(match near {
            Some(near) => format!("did you mean `{near}`? Known are {known}"),
            None => format!("known are {known}"),
        }))
    })
}

/// What is kept for a key that was configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfiguredValue {
    /// It, in the state.
    Plain(String),
    /// Where it is, in the secret store.
    Secret(SecretRef),
}

/// A key that was configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configured {
    /// What is kept.
    pub value: ConfiguredValue,
    /// Counts from 1; rises with every change.
    pub version: u32,
    /// Since when.
    pub since: Timestamp,
}

/// Where a value is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It was configured.
    Configured {
        /// Counts from 1.
        version: u32,
        /// Since when.
        since: Timestamp,
    },
    /// An environment variable of this program.
    Variable(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configured { version, .. } => write!(f, "configured value, version {version}"),
            Self::Variable(name) => write!(f, "environment variable {name}"),
        }
    }
}

/// A value and where it was found. The value is treated as a secret whether it is one or not.
#[derive(Debug, Clone)]
pub struct Found {
    /// It.
    pub value: Secret<String>,
    /// Where it was found: the one that won.
    pub origin: Origin,
}

type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// The configuration of a workspace as it was when this was made. Cheap to clone.
#[derive(Clone, Default)]
pub struct Configuration {
    configured: Arc<BTreeMap<String, Configured>>,
    secrets: Option<Arc<dyn SecretStore>>,
    environment: Option<Environment>,
}

impl fmt::Debug for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Configuration").field("configured", &self.configured).finish_non_exhaustive()
    }
}

impl Configuration {
    /// What was configured, where secret values are, and how to read an environment variable.
    #[must_use]
    pub fn new(
        configured: BTreeMap<String, Configured>,
        secrets: Arc<dyn SecretStore>,
        environment: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            configured: Arc::new(configured),
            secrets: Some(secrets),
            environment: Some(Arc::new(environment)),
        }
    }

    /// What was configured for a key.
    #[must_use]
    pub fn configured(&self, key: &ConfigurationKey) -> Option<&Configured> {
        self.configured.get(&key.name)
    }

    /// The first of the key's environment variables that is set and not empty.
    #[must_use]
    pub fn variable<'k>(&self, key: &'k ConfigurationKey) -> Option<&'k str> {
        let is_set = |name: &&String| self.read_variable(name).is_some();
        key.variables.iter().find(is_set).map(String::as_str)
    }

    fn read_variable(&self, name: &str) -> Option<String> {
        self.environment.as_ref()?(name).filter(|value| !value.is_empty())
    }

    /// Where the value of a key would be read from. Reads no value.
    #[must_use]
    pub fn origin(&self, key: &ConfigurationKey) -> Option<Origin> {
        self.origins(key).into_iter().next()
    }

    /// Where a value would be read from, had it not been found before.
    #[must_use]
    pub fn shadowed(&self, key: &ConfigurationKey) -> Option<Origin> {
        self.origins(key).into_iter().nth(1)
    }

    /// All places that have a value, the one that wins first.
    fn origins(&self, key: &ConfigurationKey) -> Vec<Origin> {
        let configured =
            self.configured(key).map(|it| Origin::Configured { version: it.version, since: it.since });
        let variable = self.variable(key).map(|name| Origin::Variable(name.to_owned()));
        let both = if key.variable_first { [variable, configured] } else { [configured, variable] };
        both.into_iter().flatten().collect()
    }

    /// The value of a key: what was configured or its environment variable, else nothing.
    /// `Found::origin` says which won. A name that is no key has no value.
    ///
    /// # Errors
    /// When the secret store cannot be read.
    pub fn value(&self, name: &str) -> Result<Option<Found>, SecretError> {
        let Ok(key) = key(name) else { return Ok(None) };
        let Some(origin) = self.origin(key) else { return Ok(None) };
        let value = match (&origin, self.configured(key).map(|configured| &configured.value)) {
            (Origin::Variable(name), _) => self.read_variable(name).map(Secret::new),
            (_, Some(ConfiguredValue::Plain(text))) => Some(Secret::new(text.clone())),
            (_, Some(ConfiguredValue::Secret(reference))) => match &self.secrets {
                Some(store) => Some(store.get(reference)?),
                None => None,
            },
            _ => None,
        };
        Ok(value.map(|value| Found { value, origin }))
    }

    /// Every secret value that a provider could come to read, so that it can be hidden in
    /// what providers say.
    ///
    /// # Errors
    /// When the secret store cannot be read.
    pub fn secret_values(&self) -> Result<Vec<Secret<String>>, SecretError> {
        let mut values = Vec::new();
        for key in keys().iter().filter(|key| key.secret) {
            if let (Some(Configured { value: ConfiguredValue::Secret(reference), .. }), Some(store)) =
                (self.configured(key), &self.secrets)
            {
                values.push(store.get(reference)?);
            }
            values.extend(key.variables.iter().filter_map(|name| self.read_variable(name)).map(Secret::new));
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::credentials::is_secret_name;
    use crate::manifest::crosswalk;

    #[test]
    fn the_keys_can_be_read_and_are_sound() {
        let keys: Keys = serde_json::from_str(include_str!("data/keys.json")).unwrap();
        for key in &keys.keys {
            if let Some(provider) = &key.provider {
                assert_eq!(crosswalk::provider(provider).unwrap().as_str(), provider);
            }
            for variable in &key.variables {
                assert!(!is_secret_name(variable) || key.secret, "{variable}");
            }
            assert_eq!(super::key(&key.name).unwrap().name, key.name);
        }
    }

    #[test]
    fn names_are_understood_and_suggested() {
        assert_eq!(key("DO-TOKEN").unwrap().name, "do_token");
        assert_eq!(key("AWS_ACCESS_KEY_ID").unwrap().name, "aws_access_key");
        let error = key("do_tokn").unwrap_err();
        assert!(error.help.unwrap().starts_with("did you mean `do_token`?"));
        let canary = "dop_v1_0123456789abcdef0123456789abcdef";
        assert!(!format!("{:?}", key(canary).unwrap_err()).contains(canary));
    }

    #[test]
    fn what_was_configured_wins_over_the_environment() {
        let since = Timestamp::UNIX_EPOCH;
        let region = Configured { value: ConfiguredValue::Plain("eu-west-1".into()), version: 2, since };
        let with = |configured: BTreeMap<String, Configured>| Configuration {
            configured: Arc::new(configured),
            secrets: None,
            environment: Some(Arc::new(|name: &str| {
                (name == "AWS_DEFAULT_REGION").then(|| "us-east-1".into())
            })),
        };
        let both =
            with(BTreeMap::from([("aws_region".to_owned(), region)])).value("aws_region").unwrap().unwrap();
        assert_eq!(both.value.expose(), "eu-west-1");
        assert_eq!(both.origin.to_string(), "configured value, version 2");
        let one = with(BTreeMap::new()).value("aws_region").unwrap().unwrap();
        assert_eq!(one.value.expose(), "us-east-1");
        assert_eq!(one.origin.to_string(), "environment variable AWS_DEFAULT_REGION");
        let vault = |text: &str| Configured { value: ConfiguredValue::Plain(text.into()), version: 1, since };
        let mut configured = BTreeMap::from([("vault_addr".to_owned(), vault("http://configured"))]);
        let kept = with(configured.clone()).value("vault_addr").unwrap().unwrap();
        assert_eq!(kept.value.expose(), "http://configured");
        let mut shell = with(std::mem::take(&mut configured));
        shell.environment =
            Some(Arc::new(|name: &str| (name == "VAULT_ADDR").then(|| "http://shell".into())));
        assert_eq!(shell.value("vault_addr").unwrap().unwrap().value.expose(), "http://shell");
        let shadowed = shell.shadowed(key("vault_addr").unwrap()).unwrap();
        assert_eq!(shadowed.to_string(), "configured value, version 1");
        assert!(with(BTreeMap::new()).value("do_token").unwrap().is_none());
        assert!(with(BTreeMap::new()).value("nonsense").unwrap().is_none());
        assert!(Configuration::default().value("aws_region").unwrap().is_none());
    }
}
