//! Secrets: values that are never serialised, printed, logged or put in an argument list.
//!
//! The pure half says which secrets an app has and what becomes of each: [`identify`] makes
//! a [`SecretsPlan`] of the manifest and of what others wrote down ([`SecretMetadata`]);
//! [`template`] writes it out for a store, without values. With the feature `engine` there
//! are values: the store, generators, and the sources from which they are fetched.

mod class;
#[cfg(feature = "engine")]
mod file_store;
mod format;
#[cfg(feature = "engine")]
mod generate;
mod generator;
mod identify;
mod metadata;
mod plan;
#[cfg(feature = "engine")]
mod redact;
#[cfg(feature = "engine")]
mod sources;
mod store;
mod template;

pub use class::{SecretClass, SecretStrategy};
#[cfg(feature = "engine")]
pub use file_store::{FileStore, KeySource};
pub use format::Format;
#[cfg(feature = "engine")]
pub use generate::{generate, generate_for, generate_from};
pub use generator::{Charset, GENERATED_LENGTH, GENERATED_LENGTHS, GeneratorSpec};
pub use identify::identify;
pub use metadata::{SecretMetadata, SecretPrompt, Vocabulary};
pub use plan::{LeftOutSecret, PlannedSecret, Said, SecretOrigin, SecretStatus, SecretsPlan};
#[cfg(feature = "engine")]
pub use redact::Redactor;
#[cfg(feature = "engine")]
pub use sources::{FetchError, FetchOptions, Sources, VAULT_ADDRESS, VAULT_ADDRESS_KEY, VAULT_TOKEN_PATH};
pub use store::{SecretError, SecretStore};
pub use template::{TemplateFormat, TemplateOptions, template};

/// Where Vault's key-value store is mounted unless somebody says otherwise.
pub const DEFAULT_MOUNT: &str = "secret";

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

/// A value that must not be seen. Has no `Serialize` and no `Display`; `Debug` hides it;
/// the memory is wiped when it is dropped.
///
/// ```compile_fail
/// let secret = vrooli_deploy_core::secrets::Secret::new("x".to_owned());
/// println!("{secret}");
/// ```
/// ```compile_fail
/// let secret = vrooli_deploy_core::secrets::Secret::new("x".to_owned());
/// serde_json::to_string(&secret);
/// ```
/// It is no string either, so that it does not slip into a path, an argument or a container
/// that is written out:
/// ```compile_fail
/// let secret = vrooli_deploy_core::secrets::Secret::new("x".to_owned());
/// let text: &str = &secret;
/// ```
/// ```compile_fail
/// let secret = vrooli_deploy_core::secrets::Secret::new("x".to_owned());
/// std::process::Command::new("x").arg(secret);
/// ```
/// ```compile_fail
/// let secret = vrooli_deploy_core::secrets::Secret::new("x".to_owned());
/// let text: &str = secret.as_ref();
/// ```
/// ```compile_fail
/// let secret = vrooli_deploy_core::secrets::Secret::new("x".to_owned());
/// let text: String = secret.into();
/// ```
/// ```compile_fail
/// let secrets = vec![Some(vrooli_deploy_core::secrets::Secret::new("x".to_owned()))];
/// serde_json::to_string(&secrets);
/// ```
/// ```compile_fail
/// #[derive(serde::Serialize)]
/// struct Saved { password: vrooli_deploy_core::secrets::Secret<String> }
/// ```
/// ```compile_fail
/// #[derive(serde::Deserialize)]
/// struct Read { password: vrooli_deploy_core::secrets::Secret<String> }
/// ```
/// ```compile_fail
/// let secret = vrooli_deploy_core::secrets::Secret::new("x".to_owned());
/// assert!(secret == secret);
/// ```
/// ```
/// let secret = vrooli_deploy_core::secrets::Secret::new("x".to_owned());
/// let inside = Some(vec![secret.clone()]);
/// assert_eq!(format!("{inside:?}"), "Some([Secret(…)])");
/// assert_eq!(format!("{secret:?}"), "Secret(…)");
/// assert!(serde_json::to_string(secret.expose()).is_ok());
/// ```
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, for the one call that needs it.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize + Clone> Clone for Secret<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Which value: where it is kept, under what path, in which version. Holds no part of the value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretRef {
    /// The store: `file` is the sealed file of the workspace.
    #[serde(rename = "$secret")]
    pub store: String,
    /// Path in the store: `<app>/<environment>/<name>`.
    pub path: String,
    /// Version, counted from 1.
    pub version: u32,
    /// Keyed hash of the value (the key lies in the store): tells whether it changed, and nothing else.
    pub hash: String,
}
