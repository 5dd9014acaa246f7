//! The names that a routing table is made of.

use std::borrow::Borrow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest name accepted, in bytes.
pub const MAX_NAME_BYTES: usize = 128;

/// A name that was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {given:?} is not a name: use 1 to {MAX_NAME_BYTES} letters, digits, `.`, `_`, `-` or `/`")]
pub struct NameError {
    /// What was to be named, such as `site`.
    pub kind: &'static str,
    /// The text that was given, shortened to 64 characters.
    pub given: String,
}

fn check(kind: &'static str, given: &str) -> Result<(), NameError> {
    let fits = !given.is_empty() && given.len() <= MAX_NAME_BYTES;
    let plain = given.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte));
    if fits && plain { Ok(()) } else { Err(NameError { kind, given: given.chars().take(64).collect() }) }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// Checks and wraps a name.
            ///
            /// # Errors
            /// Refuses what is empty, longer than [`MAX_NAME_BYTES`], or holds anything but
            /// ASCII letters, digits, `.`, `_`, `-` and `/`.
            pub fn new(name: impl AsRef<str>) -> Result<Self, NameError> {
                check($kind, name.as_ref())?;
                Ok(Self(name.as_ref().into()))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(name: String) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(name: &str) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.into()
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name! {
    /// Names one listening socket, such as `shop/production`. A site serves the listener of
    /// its own name unless its table lists others.
    ListenerId, "listener"
}
name! {
    /// Names one site: an app in an environment, such as `shop/production`.
    SiteId, "site"
}
name! {
    /// Names one release of a site, such as `r12`.
    ReleaseName, "release"
}
name! {
    /// Names one service of an app, such as `api` or `ui`.
    ServiceName, "service"
}

impl From<SiteId> for ListenerId {
    /// The listener that a site serves when its table lists none.
    fn from(site: SiteId) -> Self {
        Self(site.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_pass_and_metacharacters_do_not() {
        for good in ["a", "shop/production", "r12", "my_app-2.x"] {
            assert!(SiteId::new(good).is_ok(), "{good}");
        }
        let long = "x".repeat(MAX_NAME_BYTES + 1);
        for bad in ["", "a b", "a\n", "é", "$(x)", "a:b", long.as_str()] {
            assert!(SiteId::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_bad_name_is_refused_when_it_is_read() {
        assert!(serde_json::from_str::<ServiceName>("\"ui\"").is_ok());
        assert!(serde_json::from_str::<ServiceName>("\"u i\"").is_err());
    }
}
