//! Secrets: values that are never serialised, printed, logged or put in an argument list.

#[cfg(feature = "engine")]
mod file_store;
#[cfg(feature = "engine")]
mod generate;
#[cfg(feature = "engine")]
mod redact;
mod store;

#[cfg(feature = "engine")]
pub use file_store::{FileStore, KeySource};
#[cfg(feature = "engine")]
pub use generate::{Charset, generate, generate_from};
#[cfg(feature = "engine")]
pub use redact::Redactor;
pub use store::{SecretError, SecretStore};

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
/// ```
/// let secret = vrooli_deploy_core::secrets::Secret::new("x".to_owned());
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
