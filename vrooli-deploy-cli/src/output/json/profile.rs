//! Saved choices.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// A profile.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ProfileLine {
    /// `profile-7`.
    pub(crate) id: String,
    /// Counts from 1.
    pub(crate) version: u32,
    /// Its name.
    pub(crate) name: String,
    /// The app it is for.
    pub(crate) app: String,
    /// The app's environment.
    pub(crate) environment: String,
    /// The tier.
    pub(crate) tier: String,
    /// Who runs it; absent: the manifest says.
    pub(crate) provider: Option<String>,
    /// When this version was made, RFC 3339.
    pub(crate) at: String,
    /// Who made it.
    pub(crate) by: String,
    /// What was done.
    pub(crate) reason: String,
    /// All choices, as the profile's own schema says.
    pub(crate) profile: Value,
}

/// A key of the configuration. Never its value.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ConfigurationLine {
    /// `do_token`.
    pub(crate) key: String,
    /// What it is.
    pub(crate) about: String,
    /// The provider that reads it.
    pub(crate) provider: Option<String>,
    /// Is its value a secret?
    pub(crate) secret: bool,
    /// Is there a value, wherever it is read from?
    pub(crate) set: bool,
    /// Version of what was configured.
    pub(crate) version: Option<u32>,
    /// Since when it is configured, RFC 3339.
    pub(crate) since: Option<String>,
    /// Where a value would be read from.
    pub(crate) read_from: Option<String>,
    /// What has a value too, but is not read: the name of a variable, or "configured value, version N".
    pub(crate) not_read: Option<String>,
    /// Environment variables that are read where nothing is configured.
    pub(crate) variables: Vec<String>,
}
