//! The names that certificates are for, and those of their files.

use std::borrow::Borrow;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::error::AcmeError;

/// A host name that an authority can be asked to sign: in lower case, of two labels at least, no
/// wildcard and no address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DnsName(Box<str>);

impl DnsName {
    /// Checks and wraps a name; capitals become small, a point at its end goes.
    ///
    /// # Errors
    /// [`AcmeError::Name`] with what is wrong.
    pub fn new(name: impl AsRef<str>) -> Result<Self, AcmeError> {
        let given = name.as_ref();
        let name = given.strip_suffix('.').unwrap_or(given).to_ascii_lowercase();
        let refuse = |why| {
            let name = given.chars().take(80).collect();
            Err(AcmeError::Name { name, why })
        };
        if name.starts_with("*.") {
            return refuse("a wildcard can only be proved by DNS");
        }
        if !name.is_ascii() {
            return refuse("it has to be written as DNS knows it (`xn--…`)");
        }
        if name.parse::<std::net::IpAddr>().is_ok() || name.starts_with('[') {
            return refuse("it is an address and no name");
        }
        let label = |label: &str| {
            let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            (1..=63).contains(&label.len()) && plain && !label.starts_with('-') && !label.ends_with('-')
        };
        if name.len() > 253 || !name.split('.').all(label) {
            return refuse("it is no host name");
        }
        if !name.contains('.') {
            return refuse("it is not a full name");
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What one certificate is called: its file is `<name>.pem`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CertificateName(Box<str>);

impl CertificateName {
    /// Checks and wraps a name.
    ///
    /// # Errors
    /// [`AcmeError::Name`] for what is empty, longer than 128 bytes, begins with a point, or
    /// holds anything but letters, digits, `.`, `_` and `-`.
    pub fn new(name: impl AsRef<str>) -> Result<Self, AcmeError> {
        let name = name.as_ref();
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if name.is_empty() || name.len() > 128 || name.starts_with('.') || !plain {
            let why = "a certificate's own name has letters, digits, `.`, `_` and `-`";
            return Err(AcmeError::Name { name: name.chars().take(80).collect(), why });
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! text {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = AcmeError;
            fn try_from(name: String) -> Result<Self, AcmeError> {
                Self::new(name)
            }
        }

        impl std::str::FromStr for $name {
            type Err = AcmeError;
            fn from_str(name: &str) -> Result<Self, AcmeError> {
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
    )*};
}

text!(DnsName, CertificateName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_full_host_names_can_be_proved() {
        for (given, name) in [
            ("shop.example.com", "shop.example.com"),
            ("A.Test.", "a.test"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ] {
            assert_eq!(DnsName::new(given).unwrap().as_str(), name);
        }
        let long = format!("{}.test", "a".repeat(64));
        for bad in [
            "",
            ".",
            "test",
            "*.a.test",
            "1.2.3.4",
            "::1",
            "[::1]",
            "bücher.example",
            "a b.test",
            "a..test",
            "-a.test",
            "a-.test",
            "a_b.test",
            "a.test/x",
            "a.test:80",
            &long,
        ] {
            assert!(DnsName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_certificate_is_a_file_in_its_folder() {
        assert!(CertificateName::new("shop-production_1.x").is_ok());
        for bad in ["", ".hidden", "..", "a/b", "a b", "é"] {
            assert!(CertificateName::new(bad).is_err(), "{bad:?}");
        }
    }
}
