//! The workspace's configuration: credentials and settings for providers. Secret values go to
//! the secret store, the state keeps where they are; plain ones go to the state.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::{OperationError, Workspace};
use crate::configuration::{Configuration, ConfigurationKey, Configured, ConfiguredValue, Origin, key, keys};
use crate::diagnostics::rules;
use crate::secrets::Secret;
use crate::state::NewRevision;

const CONFIGURATION: &str = "config";

/// How a key of the configuration is. Never its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigurationStatus {
    /// The key.
    pub key: String,
    /// What it is.
    pub about: String,
    /// The provider that reads it.
    pub provider: Option<String>,
    /// Is its value a secret?
    pub secret: bool,
    /// The version of what was configured, and since when it is.
    pub configured: Option<(u32, Timestamp)>,
    /// Where a value would be read from; `None`: there is none.
    pub origin: Option<Origin>,
    /// What has a value too, but is not read, because `origin` wins.
    pub shadowed: Option<Origin>,
    /// Environment variables that are read too.
    pub variables: Vec<String>,
}

impl Workspace {
    /// The configuration as it is now: what was configured, and this program's environment.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub async fn configuration(&self) -> Result<Configuration, OperationError> {
        let mut configured = BTreeMap::new();
        for revision in self.0.store.revisions(CONFIGURATION).await? {
            let Some(body) = revision.body else { continue };
            let value: ConfiguredValue = serde_json::from_value(body).map_err(|error| {
                OperationError::Input(vec![
                    rules::PROFILE_STORED
                        .diagnostic(format!(
                            "the configuration of `{}` cannot be read: {error}",
                            revision.key
                        ))
                        .help(format!("set it again: `vrooli-deploy configure {}`", revision.key)),
                ])
            })?;
            configured
                .insert(revision.key, Configured { value, version: revision.version, since: revision.at });
        }
        let environment = |name: &str| std::env::var(name).ok();
        Ok(Configuration::new(configured, Arc::clone(&self.0.secrets), environment))
    }

    /// Sets a key. A secret goes to the secret store and replaces what was there.
    ///
    /// # Errors
    /// When there is no such key, the value cannot be used, or a store cannot be written. No
    /// error says any part of the value.
    pub async fn configure(
        &self,
        name: &str,
        value: &Secret<String>,
    ) -> Result<ConfigurationStatus, OperationError> {
        let key = known(name)?;
        let text = value.expose().as_str();
        let problem = if text.is_empty() {
            Some("the value is empty")
        } else if text.chars().any(char::is_control) {
            Some("the value has more than one line, or control characters in it")
        } else if text.trim() != text {
            Some("the value begins or ends with a space")
        } else if text.starts_with('<') && text.ends_with('>') {
            Some("the value is still the placeholder")
        } else {
            None
        };
        if let Some(problem) = problem {
            return Err(OperationError::Input(vec![
                rules::CONFIGURATION_VALUE
                    .diagnostic(format!("`{}` cannot be set: {problem}", key.name))
                    .help(format!("give the {} alone", key.about)),
            ]));
        }
        let configuration = self.configuration().await?;
        if let Some(found) = configuration.value(&key.name)?
            && matches!(found.origin, Origin::Configured { .. })
            && found.value.expose() == value.expose()
        {
            return Ok(status(&configuration, key));
        }
        if !key.secret {
            self.keep(key, Some(ConfiguredValue::Plain(text.to_owned()))).await?;
            return Ok(status(&self.configuration().await?, key));
        }
        // The value first: a reference to nothing would be worse than a value that nothing refers to.
        let path = path(key);
        let before = self.0.secrets.list(&path)?;
        let reference = self.0.secrets.put(&path, value)?;
        self.keep(key, Some(ConfiguredValue::Secret(reference.clone()))).await?;
        // No release refers to a credential: what it was is not kept.
        let old: Vec<_> =
            before.into_iter().filter(|old| old.path == path && old.version != reference.version).collect();
        self.0.secrets.remove(&old)?;
        Ok(status(&self.configuration().await?, key))
    }

    /// Forgets what was configured for a key; a secret is removed from the secret store too.
    /// `false`: nothing was configured.
    ///
    /// # Errors
    /// When there is no such key, or a store cannot be written.
    pub async fn unconfigure(&self, name: &str) -> Result<bool, OperationError> {
        let key = known(name)?;
        let was = self.configuration().await?.configured(key).is_some();
        if was {
            self.keep(key, None).await?;
        }
        // Also what an interrupted run may have left.
        let path = path(key);
        let mut left = self.0.secrets.list(&path)?;
        left.retain(|reference| reference.path == path);
        if !left.is_empty() {
            self.0.secrets.remove(&left)?;
        }
        Ok(was)
    }

    /// How all keys are, or one. Never a value.
    ///
    /// # Errors
    /// When there is no such key, or the state cannot be read.
    pub async fn configuration_status(
        &self,
        name: Option<&str>,
    ) -> Result<Vec<ConfigurationStatus>, OperationError> {
        let only = name.map(known).transpose()?;
        let configuration = self.configuration().await?;
        let wanted = |key: &&ConfigurationKey| only.is_none_or(|only| only.name == key.name);
        Ok(keys().iter().filter(wanted).map(|key| status(&configuration, key)).collect())
    }

    async fn keep(
        &self,
        key: &ConfigurationKey,
        value: Option<ConfiguredValue>,
    ) -> Result<(), OperationError> {
        let versions = self.0.store.versions(CONFIGURATION, &key.name).await?;
        let expected = versions.last().map_or(0, |last| last.version);
        let reason = if value.is_some() { "configured" } else { "unset" };
        // A reference or a text: it can always be written as JSON.
        let body = value.and_then(|value| serde_json::to_value(value).ok());
        let new = NewRevision {
            collection: CONFIGURATION.to_owned(),
            key: key.name.clone(),
            expected,
            by: self.user(),
            reason: reason.to_owned(),
            name: None,
            body,
        };
        self.0.store.revise(new).await?;
        Ok(())
    }
}

/// Where a secret value lies in the secret store.
fn path(key: &ConfigurationKey) -> String {
    format!("config/{}", key.name)
}

fn known(name: &str) -> Result<&'static ConfigurationKey, OperationError> {
    key(name).map_err(|diagnostic| OperationError::Input(vec![*diagnostic]))
}

fn status(configuration: &Configuration, key: &ConfigurationKey) -> ConfigurationStatus {
    let configured = configuration.configured(key).map(|c| (c.version, c.since));
    ConfigurationStatus {
        key: key.name.clone(),
        about: key.about.clone(),
        provider: key.provider.clone(),
        secret: key.secret,
        configured,
        origin: configuration.origin(key),
        shadowed: configuration.shadowed(key),
        variables: key.variables.clone(),
    }
}
