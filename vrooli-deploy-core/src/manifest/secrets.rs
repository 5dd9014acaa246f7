//! Secrets by reference, and where their values come from.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{is_default, is_yes, yes};
use crate::names::{ServiceName, VariableName};
use crate::secrets::Charset;

/// A secret by reference. The value is never in a manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SecretConfig {
    /// Where the value comes from.
    pub from: SecretSource,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// A regular expression that the value matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Services that get it; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceName>,
    /// Is a missing value an error?
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub required: bool,
    /// What happens when the value cannot be fetched although an earlier one is in the store.
    #[serde(default, skip_serializing_if = "is_default")]
    pub if_unavailable: IfUnavailable,
}

/// What happens when a secret cannot be fetched although an earlier value is in the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum IfUnavailable {
    /// The stored value is used, with a warning: a Vault that is away stops no deployment.
    #[default]
    Keep,
    /// The deployment is refused.
    Refuse,
}

/// Where a secret's value comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SecretSource {
    /// Made once for each deployment and kept.
    Generate {
        /// `random` characters (the default), or a `uuid`, for which the other fields mean nothing.
        #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
        kind: Option<GeneratorKind>,
        /// Number of characters. Default 32.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        length: Option<usize>,
        /// Which characters. Default letters and digits, which need no escaping in a database's URL.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        charset: Option<Charset>,
    },
    /// Given by a person, with `vrooli-deploy secrets set`.
    Prompt {
        /// What is asked for, in a few words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        label: Option<String>,
    },
    /// Read from an environment variable of the program that deploys.
    Environment {
        /// Its name.
        name: VariableName,
    },
    /// Read from a file, without the final line break.
    File {
        /// Its path.
        path: PathBuf,
    },
    /// Already in the secret store, under this path.
    Store {
        /// Its path.
        path: String,
    },
    /// Read from a Vault (or OpenBao) key-value store, version 2.
    Vault(VaultSource),
}

/// How a generated secret is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GeneratorKind {
    /// Random characters.
    Random,
    /// A random UUID.
    Uuid,
}

/// One key of a secret in Vault's key-value store, version 2.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VaultSource {
    /// Where Vault is, `http://127.0.0.1:8200`. Default: `VAULT_ADDR` of the program that deploys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Namespace. Default: `VAULT_NAMESPACE`, else none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Where the key-value store is mounted. Default `secret`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<String>,
    /// Path in the store, without mount and `data/`.
    pub path: String,
    /// Which key of what lies there.
    pub key: String,
    /// A fixed version; default: the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub version: Option<u32>,
    /// Where the token is. Default: the secret that `vrooli-deploy configure vault_token` stored,
    /// else `VAULT_TOKEN`, else `~/.vault-token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<VaultToken>,
    /// A file with the certificates (PEM) of the authority that signed Vault's. Default:
    /// `VAULT_CACERT`, else the system's authorities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

/// Where the token for Vault is. The token itself is never in a manifest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VaultToken {
    /// In an environment variable of the program that deploys.
    Environment {
        /// Its name.
        name: VariableName,
    },
    /// In a file, without the final line break.
    File {
        /// Its path.
        path: PathBuf,
    },
    /// In the secret store, under this path.
    Store {
        /// Its path.
        path: String,
    },
}
