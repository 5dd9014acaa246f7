//! What `ssh` says when it cannot connect, and what that means.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The fingerprint of a host key as `ssh-keygen -l` shows it: `SHA256:` and 43 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Fingerprint(String);

/// A text that is no [`Fingerprint`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no fingerprint: `SHA256:` and 43 characters, as `ssh-keygen -l` shows it")]
pub struct FingerprintError(String);

impl Fingerprint {
    /// Checks the text. A `=` that some programs add at the end is left out.
    ///
    /// # Errors
    /// [`FingerprintError`]; MD5 fingerprints are not taken.
    pub fn new(text: &str) -> Result<Self, FingerprintError> {
        let text = text.trim().trim_end_matches('=');
        let digest = text.strip_prefix("SHA256:").unwrap_or_default();
        let valid = digest.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'));
        if valid && digest.len() == 43 {
            Ok(Self(text.to_owned()))
        } else {
            Err(FingerprintError(text.to_owned()))
        }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;
    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        Self::new(text)
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = FingerprintError;
    fn try_from(text: String) -> Result<Self, FingerprintError> {
        Self::new(&text)
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.0
    }
}

/// What a failed connection means.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(feature = "native"), allow(dead_code, reason = "only the native half connects"))]
pub(crate) enum Meaning {
    /// Nobody vouched for the key of this name.
    UnknownKey { name: Option<String> },
    /// The key of this name is another one than is written at `place`.
    ChangedKey { name: Option<String>, offered: Option<Fingerprint>, place: Option<(String, usize)> },
    /// Not let in.
    Refused,
    /// No answer in time.
    NoAnswer,
    /// The configuration of `ssh` cannot be used.
    Configuration,
    /// Anything else: no way there.
    Unreachable,
}

/// What `ssh` meant. The words are those of OpenSSH 8 and 9, which do not depend on the language.
#[cfg_attr(not(feature = "native"), allow(dead_code, reason = "only the native half connects"))]
pub(crate) fn meaning(words: &str) -> Meaning {
    let has = |text: &str| words.contains(text);
    if has("REMOTE HOST IDENTIFICATION HAS CHANGED")
        || has("REVOKED HOST KEY")
        || has("has changed and you have requested strict checking")
    {
        return Meaning::ChangedKey {
            name: between(words, "ost key for ", " has changed")
                .or_else(|| between(words, "ost key for ", " was revoked"))
                .map(plain_name),
            offered: words
                .split(|c: char| c.is_whitespace())
                .find_map(|word| Fingerprint::new(word.trim_end_matches('.')).ok()),
            place: place(words),
        };
    }
    if has("host key is known for") || has("Host key verification failed") {
        let name = between(words, "host key is known for ", " and you have");
        return Meaning::UnknownKey { name: name.map(plain_name) };
    }
    if has("Permission denied (")
        || has("Too many authentication failures")
        || has("no more authentication methods")
    {
        return Meaning::Refused;
    }
    if has("timed out") {
        return Meaning::NoAnswer;
    }
    if has("Bad configuration option") || has("bad configuration options") || has("Bad owner or permissions")
    {
        return Meaning::Configuration;
    }
    Meaning::Unreachable
}

/// `[name]:22` is `name`.
fn plain_name(name: &str) -> String {
    name.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(name, |(name, _)| name).to_owned()
}

fn between<'a>(words: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = words.split_once(before)?;
    let (found, _) = rest.split_once(after)?;
    (!found.contains('\n')).then_some(found)
}

/// `Offending ED25519 key in /home/me/.ssh/known_hosts:3`.
fn place(words: &str) -> Option<(String, usize)> {
    let line = words.lines().find(|line| line.starts_with("Offending "))?;
    let (_, place) = line.split_once(" key in ")?;
    let (file, number) = place.trim().rsplit_once(':')?;
    Some((file.to_owned(), number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGED: &str = "\
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!
Someone could be eavesdropping on you right now (man-in-the-middle attack)!
It is also possible that a host key has just been changed.
The fingerprint for the ED25519 key sent by the remote host is
SHA256:abcdefghijklmnopqrstuvwxyzABCDEFGHIJ0123456.
Please contact your system administrator.
Add correct host key in /home/me/.ssh/known_hosts to get rid of this message.
Offending ED25519 key in /home/my files/known_hosts:3
  remove with:
  ssh-keygen -f \"/home/me/.ssh/known_hosts\" -R \"[10.0.0.1]:2222\"
Host key for [10.0.0.1]:2222 has changed and you have requested strict checking.
Host key verification failed.
";

    #[test]
    fn a_changed_key_is_told_with_both_keys() {
        let Meaning::ChangedKey { name, offered, place } = meaning(CHANGED) else { panic!() };
        assert_eq!(name.as_deref(), Some("10.0.0.1"));
        assert_eq!(offered.unwrap().to_string(), "SHA256:abcdefghijklmnopqrstuvwxyzABCDEFGHIJ0123456");
        assert_eq!(place, Some(("/home/my files/known_hosts".to_owned(), 3)));
    }

    #[test]
    fn failures_are_told_apart() {
        for (words, expected) in [
            (
                "No ED25519 host key is known for web1 and you have requested strict checking.\nHost key verification failed.\n",
                Meaning::UnknownKey { name: Some("web1".to_owned()) },
            ),
            ("deploy@10.0.0.1: Permission denied (publickey).\n", Meaning::Refused),
            ("ssh: connect to host 10.0.0.1 port 22: Connection timed out\n", Meaning::NoAnswer),
            ("Connection timed out during banner exchange\n", Meaning::NoAnswer),
            ("ssh: connect to host 10.0.0.1 port 22: Connection refused\n", Meaning::Unreachable),
            ("ssh: connect to host 10.0.0.1 port 22: No route to host\n", Meaning::Unreachable),
            ("ssh: Could not resolve hostname web9: Name or service not known\n", Meaning::Unreachable),
            (
                "/x: line 3: Bad configuration option: bogus\n/x: terminating, 1 bad configuration options\n",
                Meaning::Configuration,
            ),
            ("", Meaning::Unreachable),
        ] {
            assert_eq!(meaning(words), expected, "{words}");
        }
    }

    #[test]
    fn fingerprints_are_whole() {
        assert!(Fingerprint::new("SHA256:abcdefghijklmnopqrstuvwxyzABCDEFGHIJ0123456=").is_ok());
        for bad in
            ["", "SHA256:", "SHA256:abc", "MD5:aa:bb", "SHA256:abcdefghijklmnopqrstuvwxyzABCDEFGHIJ012345;6"]
        {
            assert!(Fingerprint::new(bad).is_err(), "{bad}");
        }
    }
}
