//! Validated names and ids. A value of one of these types holds no character that a
//! shell, a path, SQL or a unit file could take for syntax.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A string was not a valid name of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not a valid {what}: {rule}")]
pub struct NameError {
    /// What was expected, e.g. `app name`.
    pub what: &'static str,
    /// The string that was given.
    pub value: String,
    /// The rule it breaks, for a person.
    pub rule: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $pattern:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// Checks the string and wraps it.
            ///
            /// # Errors
            /// [`NameError`] with the rule that was broken.
            pub fn new(value: impl Into<String>) -> Result<Self, NameError> {
                let value = value.into();
                let check: fn(&str) -> bool = $check;
                if check(&value) {
                    Ok(Self(value))
                } else {
                    Err(NameError { what: $what, value, rule: $rule })
                }
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(value: String) -> Result<Self, NameError> {
                Self::new(value)
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(value: &str) -> Result<Self, NameError> {
                Self::new(value)
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.0
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": $pattern, "description": $rule })
            }
        }
    };
}

fn label(value: &str, max: usize) -> bool {
    let bytes = value.as_bytes();
    let edge = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    !bytes.is_empty()
        && bytes.len() <= max
        && bytes.first().is_some_and(edge)
        && bytes.last().is_some_and(edge)
        && bytes.iter().all(|b| edge(b) || *b == b'-')
}

fn word(value: &str, max: usize) -> bool {
    !value.is_empty()
        && value.len() <= max
        && value.as_bytes()[0].is_ascii_alphanumeric()
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'.')
}

name!(
    /// The name of an app. Unique with its [`EnvironmentName`] in a workspace.
    AppName, "app name", "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
    "lower-case letters, digits and hyphens, at most 63, no hyphen at either end",
    |v| label(v, 63)
);
name!(
    /// Staging, production, … ; `default` unless said otherwise.
    EnvironmentName, "environment", "^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$",
    "lower-case letters, digits and hyphens, at most 32, no hyphen at either end",
    |v| label(v, 32)
);
name!(
    /// The name of a profile. Unique in a workspace, and no id of a profile.
    ProfileName, "profile name", "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
    "lower-case letters, digits and hyphens, at most 63, no hyphen at either end, and not `profile-` and a number",
    |v| {
        label(v, 63)
            && !v.strip_prefix("profile-").is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()))
    }
);
name!(
    /// A service of an app: `api`, `ui`, `worker`.
    ServiceName, "service name", "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
    "lower-case letters, digits and hyphens, at most 63, no hyphen at either end",
    |v| label(v, 63)
);
name!(
    /// The name of a port of a service: `api`, `ui`, `websocket`.
    PortName, "port name", "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$",
    "letters, digits, `-`, `_` and `.`, at most 63",
    |v| word(v, 63)
);
name!(
    /// The name of a dependency as the app calls it: `postgres`, `redis`.
    DependencyName, "dependency name", "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$",
    "letters, digits, `-`, `_` and `.`, at most 63",
    |v| word(v, 63)
);
name!(
    /// The name of an environment variable.
    VariableName, "environment variable name", "^[A-Za-z_][A-Za-z0-9_]{0,254}$",
    "letters, digits and `_`, not starting with a digit",
    |v| {
        !v.is_empty() && v.len() <= 255 && !v.as_bytes()[0].is_ascii_digit()
            && v.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    }
);
name!(
    /// The name of a provider: `local`, `aws`.
    ProviderName, "provider name", "^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$",
    "lower-case letters, digits and hyphens",
    |v| label(v, 32)
);
name!(
    /// The stable key of a resource in its stack, made by the system: `database/main`.
    ResourceKey, "resource key", "^[a-z0-9._-]+(/[a-z0-9._-]+)*$",
    "segments of lower-case letters, digits, `.`, `_` and `-`, joined by `/`",
    |v| {
        v.len() <= 255
            && v.split('/').all(|s| {
                !s.is_empty() && s != "." && s != ".."
                    && s.bytes().all(|b| {
                        b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-')
                    })
            })
    }
);
name!(
    /// A kind of resource, `<provider>.<kind>`: `local.postgres`.
    ResourceKind, "resource kind", "^[a-z0-9-]+\\.[a-z0-9-]+$",
    "`<provider>.<kind>` in lower-case letters, digits and hyphens",
    |v| v.split_once('.').is_some_and(|(p, k)| label(p, 32) && label(k, 63))
);
name!(
    /// A named output of a resource: `url`, `port`.
    OutputName, "output name", "^[a-z0-9_]+$",
    "lower-case letters, digits and `_`",
    |v| {
        !v.is_empty() && v.len() <= 63
            && v.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    }
);
name!(
    /// A content digest, `sha256:` and 64 hexadecimal digits.
    Digest, "digest", "^sha256:[0-9a-f]{64}$",
    "`sha256:` and 64 lower-case hexadecimal digits",
    |v| {
        v.strip_prefix("sha256:").is_some_and(|h| {
            h.len() == 64 && h.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        })
    }
);

name!(
    /// A container image by its digest: `registry.example.com/shop@sha256:…`. A tag may be another
    /// image tomorrow; this never is.
    ImageRef, "image", "^[a-z0-9][a-z0-9._:/-]*@sha256:[0-9a-f]{64}$",
    "a repository, `@` and the digest of one image (`sha256:` and 64 hexadecimal digits), without a tag",
    |v| {
        let Some((repository, digest)) = v.split_once('@') else { return false };
        let (host, path) = repository.split_once('/').unwrap_or(("", repository));
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-/".contains(&b);
        repository.len() <= 255
            && repository.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
            && !path.is_empty()
            && path.bytes().all(plain)
            && host.bytes().all(|b| plain(b) || b == b':')
            && Digest::new(digest).is_ok()
    }
);

name!(
    /// Where somebody is told by e-mail. Personal: it goes where it is used, and into nothing else.
    EmailAddress, "e-mail address", "^[A-Za-z0-9._+-]{1,64}@([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\\.)+[A-Za-z]{2,63}$",
    "letters, digits, `.`, `_`, `+` and `-`, then `@` and a domain, at most 254 in all",
    |v| {
        let Some((mailbox, domain)) = v.split_once('@') else { return false };
        let of_mailbox = |b: u8| b.is_ascii_alphanumeric() || b"._+-".contains(&b);
        let labels: Vec<&str> = domain.split('.').collect();
        let last = labels.last().copied().unwrap_or_default();
        v.len() <= 254
            && (1..=64).contains(&mailbox.len())
            && mailbox.bytes().all(of_mailbox)
            && labels.len() > 1
            && labels.iter().all(|part| label(&part.to_ascii_lowercase(), 63))
            && last.len() > 1
            && last.bytes().all(|b| b.is_ascii_alphabetic())
    }
);

impl ImageRef {
    /// The digest that it names.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest(self.0.rsplit('@').next().unwrap_or_default().to_owned())
    }
}

impl Digest {
    /// The digest of some bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self::from_hash(&sha2::Sha256::digest(bytes).into())
    }

    /// Wraps the 32 bytes of a SHA-256 hash that was computed elsewhere.
    #[must_use]
    pub fn from_hash(hash: &[u8; 32]) -> Self {
        use fmt::Write as _;
        let mut text = String::with_capacity(71);
        text.push_str("sha256:");
        for byte in hash {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    /// The digest of a value's canonical JSON: keys sorted, no white space.
    ///
    /// # Errors
    /// When the value cannot be written as JSON (a map with keys that are no strings).
    pub fn of_json<T: Serialize>(value: &T) -> Result<Self, serde_json::Error> {
        let mut value = serde_json::to_value(value)?;
        value.sort_all_objects();
        Ok(Self::of(serde_json::to_string(&value)?.as_bytes()))
    }

    /// The first twelve hexadecimal digits, for people.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(7..19).unwrap_or(&self.0)
    }
}

/// One stack: an app in an environment.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
pub struct StackId {
    /// The app.
    pub app: AppName,
    /// Its environment.
    pub environment: EnvironmentName,
}

impl StackId {
    /// A stack as it is written: `<app>/<environment>`. `None` for anything else.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let (app, environment) = text.split_once('/')?;
        Some(Self { app: app.parse().ok()?, environment: environment.parse().ok()? })
    }
}

impl fmt::Display for StackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.app, self.environment)
    }
}

/// The number of a release as users see it, `r12`. Counts up in a stack, never re-used.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct ReleaseNumber(pub u32);

impl fmt::Display for ReleaseNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

impl fmt::Debug for ReleaseNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

impl From<ReleaseNumber> for String {
    fn from(value: ReleaseNumber) -> String {
        value.to_string()
    }
}

impl TryFrom<String> for ReleaseNumber {
    type Error = NameError;
    fn try_from(value: String) -> Result<Self, NameError> {
        value.parse()
    }
}

impl FromStr for ReleaseNumber {
    type Err = NameError;
    fn from_str(value: &str) -> Result<Self, NameError> {
        value.strip_prefix('r').unwrap_or(value).parse().map(ReleaseNumber).map_err(|_| NameError {
            what: "release",
            value: value.to_owned(),
            rule: "`r` and a number, e.g. `r12`",
        })
    }
}

/// One running copy of a service of a release: `api.0`. Its host is a label beside it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct UnitId {
    /// The service.
    pub service: ServiceName,
    /// Counts from 0 in a release.
    pub index: u32,
}

impl fmt::Display for UnitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.service, self.index)
    }
}

impl fmt::Debug for UnitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<UnitId> for String {
    fn from(value: UnitId) -> String {
        value.to_string()
    }
}

impl TryFrom<String> for UnitId {
    type Error = NameError;
    fn try_from(value: String) -> Result<Self, NameError> {
        value.parse()
    }
}

impl FromStr for UnitId {
    type Err = NameError;
    fn from_str(value: &str) -> Result<Self, NameError> {
        let error =
            || NameError { what: "unit", value: value.to_owned(), rule: "`<service>.<index>`, e.g. `api.0`" };
        let (service, index) = value.rsplit_once('.').ok_or_else(error)?;
        Ok(Self { service: ServiceName::new(service)?, index: index.parse().map_err(|_| error())? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_named_by_its_digest_alone() {
        let digest = Digest::of(b"x");
        for repository in [
            "shop",
            "acme/shop",
            "registry.example.com:5000/acme/shop",
            "1.dkr.ecr.eu-west-1.amazonaws.com/shop",
        ] {
            let image = ImageRef::new(format!("{repository}@{digest}")).unwrap();
            assert_eq!(image.digest(), digest);
        }
        for wrong in ["shop", "shop:latest", "shop@sha256:12", "", "@", "Shop@", "shop:1@", "-x@", "a b@"] {
            let whole = if wrong.ends_with('@') { format!("{wrong}{digest}") } else { wrong.to_owned() };
            assert!(ImageRef::new(&whole).is_err(), "{whole}");
        }
    }

    #[test]
    fn an_e_mail_address_has_a_mailbox_and_a_domain() {
        for right in ["ops@example.com", "Ops.Team+cost@mail.Example.co", "a_b-c@x1.io"] {
            assert!(EmailAddress::new(right).is_ok(), "{right}");
        }
        let long = format!("{}@example.com", "a".repeat(65));
        let wrong = ["", "ops", "@example.com", "ops@", "ops@example", "ops@-x.com", "o ps@example.com"];
        let injected =
            ["a@b@example.com", "ops@example.com\n", "a;b@example.com", "ops@example.c0m", "x@.com"];
        for wrong in wrong.into_iter().chain(injected).chain([long.as_str()]) {
            assert!(EmailAddress::new(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_refuse_what_a_path_or_a_shell_could_read() {
        for bad in ["", "a b", "../x", "A", "-a", "a-", "a;b", "a/b", &"a".repeat(64)] {
            assert!(AppName::new(bad).is_err(), "{bad}");
        }
        assert!(ResourceKey::new("database/../x").is_err());
        assert!(ResourceKey::new("database/main").is_ok());
        assert!(ResourceKind::new("local.postgres").is_ok());
        assert!(ResourceKind::new("postgres").is_err());
    }

    #[test]
    fn canonical_json_does_not_depend_on_key_order() {
        let a = serde_json::json!({"b": 1, "a": {"d": 1, "c": 2}});
        let b = serde_json::json!({"a": {"c": 2, "d": 1}, "b": 1});
        assert_eq!(Digest::of_json(&a).unwrap(), Digest::of_json(&b).unwrap());
    }

    #[test]
    fn units_and_releases_round_trip() {
        let unit: UnitId = "api.2".parse().unwrap();
        assert_eq!(unit.to_string(), "api.2");
        assert_eq!("r12".parse::<ReleaseNumber>().unwrap().to_string(), "r12");
    }
}
