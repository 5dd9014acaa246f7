use std::path::PathBuf;

use crate::diagnostics::{Code, rules};
use crate::names::VariableName;
use crate::secrets::SecretError;

/// A value could not be fetched. Says no part of a value or token; what Vault said is filtered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// An environment variable says nothing.
    #[error("the environment variable `{name}` is not set")]
    Unset {
        /// Which.
        name: VariableName,
    },
    /// A file cannot be read, or holds nothing.
    #[error("`{}`: {message}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// Nobody says where Vault is.
    #[error("nobody says where Vault is")]
    NoVault,
    /// The address cannot be used.
    #[error("the address of Vault cannot be used: {message}")]
    Address {
        /// Why.
        message: String,
    },
    /// The address is `https`, and this build has no TLS.
    #[error("{address} needs TLS, which this build was made without")]
    NoTls {
        /// Where Vault is.
        address: String,
    },
    /// There is no token.
    #[error("there is no token for Vault: {message}")]
    NoToken {
        /// Why.
        message: String,
    },
    /// Vault cannot be reached, does not answer in time, or cannot serve.
    #[error("Vault at {address} cannot be used: {message}")]
    Unreachable {
        /// Where it is.
        address: String,
        /// Why, in Vault's or the system's own words.
        message: String,
    },
    /// Vault says no.
    #[error("Vault at {address} refuses `{path}` ({status}): {message}")]
    Refused {
        /// Where it is.
        address: String,
        /// Mount and path.
        path: String,
        /// HTTP status.
        status: u16,
        /// Its own words.
        message: String,
    },
    /// There is no such secret, or no such version.
    #[error("Vault at {address} has nothing at `{path}`: {message}")]
    Absent {
        /// Where it is.
        address: String,
        /// Mount and path.
        path: String,
        /// Its own words.
        message: String,
    },
    /// The secret has no such key.
    #[error("`{path}` in Vault at {address} has no key `{key}`")]
    NoKey {
        /// Where it is.
        address: String,
        /// Mount and path.
        path: String,
        /// The key.
        key: String,
    },
    /// The key holds a list or a map.
    #[error("the key `{key}` of `{path}` in Vault is no text, number or boolean")]
    NoText {
        /// Mount and path.
        path: String,
        /// The key.
        key: String,
    },
    /// What answers is no Vault, or no key-value store of version 2.
    #[error("what answers at {address} is no key-value store of Vault, version 2: {message}")]
    Answer {
        /// Where.
        address: String,
        /// How that was seen.
        message: String,
    },
    /// The secret store failed, where a token was looked for.
    #[error(transparent)]
    Store(#[from] SecretError),
}

impl FetchError {
    /// The message's code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Unset { .. } | Self::File { .. } => rules::SECRET_MISSING,
            Self::NoVault | Self::Address { .. } => rules::VAULT_ADDRESS,
            Self::NoTls { .. } => rules::VAULT_TLS,
            Self::NoToken { .. } => rules::VAULT_TOKEN,
            Self::Unreachable { .. } => rules::VAULT_UNREACHABLE,
            Self::Refused { .. } => rules::VAULT_REFUSED,
            Self::Absent { .. } | Self::NoKey { .. } | Self::NoText { .. } => rules::VAULT_NOT_FOUND,
            Self::Answer { .. } => rules::VAULT_ANSWER,
            Self::Store(_) => rules::SECRET_STORE_FILE,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Unset { name } => format!("set `{name}` for the program that deploys, or change `from`"),
            Self::File { .. } => "write the value into that file, or change `from`".to_owned(),
            Self::NoVault => "set `VAULT_ADDR`, `vrooli-deploy configure vault_addr`, or give `address` under `from: {vault: …}`".to_owned(),
            Self::Address { .. } => "write e.g. `http://127.0.0.1:8200`, without user and password".to_owned(),
            Self::NoTls { .. } => {
                "build with `--features https`, or reach Vault through a tunnel to an `http` address on 127.0.0.1"
                    .to_owned()
            }
            Self::NoToken { .. } => {
                "set `VAULT_TOKEN`, store one with `vrooli-deploy configure vault_token -`, or say under `token` where it is"
                    .to_owned()
            }
            Self::Unreachable { .. } => "check that Vault runs there, is unsealed, and is reached from here".to_owned(),
            Self::Refused { .. } => {
                "give the token a policy that may read this path (`data/` is a part of it), or use another token".to_owned()
            }
            Self::Absent { .. } => "check mount, path and version; `path` is without mount and `data/`".to_owned(),
            Self::NoKey { key, .. } => format!("write it with `vault kv patch … {key}=-`, or change `key`"),
            Self::NoText { .. } => "name a key that holds a text".to_owned(),
            Self::Answer { .. } => "check the address; the store must be a key-value store of version 2".to_owned(),
            Self::Store(_) => "mend the secret store first".to_owned(),
        }
    }
}
