//! What a server is called, and what it is for.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Default, Deserialize)]
struct Roles {
    roles: BTreeMap<String, Vec<String>>,
    resources: BTreeMap<String, Vec<String>>,
}

static ROLES: LazyLock<Roles> =
    LazyLock::new(|| serde_json::from_str(include_str!("../data/roles.json")).unwrap_or_default());

/// The words for roles, those that others stand for.
pub fn roles() -> impl Iterator<Item = &'static str> {
    ROLES.roles.keys().map(String::as_str)
}

/// The role that a word stands for: `web` is an `app`.
#[must_use]
pub fn role(word: &str) -> Option<&'static str> {
    let word = word.to_ascii_lowercase();
    let found = ROLES.roles.iter().find(|(name, also)| **name == word || also.contains(&word));
    found.map(|(name, _)| name.as_str())
}

/// The roles of servers that run a resource, the best first.
pub(crate) fn roles_for(resource: &str) -> Option<&'static [String]> {
    ROLES.resources.get(resource).map(Vec::as_slice)
}

/// A host name, an address, or a `Host` of the user's `ssh_config`. Holds nothing that a shell
/// or `ssh` could take for syntax or for a flag.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct HostName(String);

/// A text that is no [`HostName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no host name and no address")]
pub struct HostNameError(pub String);

impl HostName {
    /// Checks the text: letters, digits, `.`, `-`, `_` and `:`, at most 253, no `-` at its start.
    ///
    /// # Errors
    /// [`HostNameError`] with the text.
    pub fn new(text: impl Into<String>) -> Result<Self, HostNameError> {
        let text = text.into();
        let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b':');
        let rest = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':'));
        if first && rest && text.len() <= 253 { Ok(Self(text)) } else { Err(HostNameError(text)) }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for HostName {
    type Err = HostNameError;
    fn from_str(text: &str) -> Result<Self, HostNameError> {
        Self::new(text)
    }
}

impl TryFrom<String> for HostName {
    type Error = HostNameError;
    fn try_from(text: String) -> Result<Self, HostNameError> {
        Self::new(text)
    }
}

impl From<HostName> for String {
    fn from(name: HostName) -> Self {
        name.0
    }
}

/// A server and what it is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Server {
    /// What it is called.
    pub host: HostName,
    /// `app`, `database` or `cache`.
    pub role: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_a_flag_or_syntax_is_no_host() {
        for good in ["web1", "web1.example.com", "192.0.2.7", "2001:db8::1", "::1", "my_host"] {
            assert!(HostName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-v", "-oProxyCommand=x", "a b", "a;b", "a$b", "user@a", "a\nb", "[::1]", ".a"] {
            assert!(HostName::new(bad).is_err(), "{bad}");
        }
        assert!(HostName::new("a".repeat(254)).is_err());
    }

    #[test]
    fn words_for_roles_are_understood() {
        assert_eq!(role("Web"), Some("app"));
        assert_eq!(role("postgres"), Some("database"));
        assert_eq!(role("nothing"), None);
        assert_eq!(roles().collect::<Vec<_>>(), ["app", "cache", "database"]);
    }

    #[test]
    fn the_data_can_be_read() {
        serde_json::from_str::<Roles>(include_str!("../data/roles.json")).unwrap();
    }
}
