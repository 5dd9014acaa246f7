//! The secrets of an app. Values are in none of these.

use schemars::JsonSchema;
use serde::Serialize;

/// A secret of an app. Holds no value.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct SecretLine {
    /// The variable in which services find it.
    pub(crate) name: String,
    /// `infrastructure`, `per_install_generated`, `user_prompt` or `remote_fetch`.
    pub(crate) class: String,
    /// `strip`, `generate`, `prompt`, `fetch` or `unspecified`.
    pub(crate) strategy: String,
    /// `follows_resource`, `set_in_manifest`, `generated`, `asked`, `fetched`, `not_needed` or `unresolved`.
    pub(crate) status: String,
    /// Where its value comes from, for people.
    pub(crate) from: String,
    /// Is a missing value an error?
    pub(crate) required: bool,
    /// The resource that it belongs to.
    pub(crate) resource: Option<String>,
    /// For people.
    pub(crate) description: Option<String>,
    /// A regular expression that the value matches.
    pub(crate) format: Option<String>,
    /// The newest stored version.
    pub(crate) stored: Option<u32>,
    /// Everywhere it is spoken of, the place that is believed first.
    pub(crate) said: Vec<SaidLine>,
}

/// Where a secret is spoken of.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct SaidLine {
    /// In which vocabulary: `manifest`, `service-json`, `secrets-deployment`, `catalogue`, …
    pub(crate) vocabulary: String,
    /// The file.
    pub(crate) file: Option<String>,
    /// From 1.
    pub(crate) line: Option<usize>,
}

/// What the secret store keeps. Holds no value.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct StoredSecretLine {
    /// Its path.
    pub(crate) path: String,
    /// Versions, the oldest first.
    pub(crate) versions: Vec<u32>,
}

/// A value that was stored. Holds none.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct SecretChangeLine {
    /// The variable.
    pub(crate) name: String,
    /// Its path in the store.
    pub(crate) path: String,
    /// The version that the next deployment uses.
    pub(crate) version: u32,
}
