use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::error::AcmeError;

const DATA: &str = include_str!("../../data/certificate-authorities.json");

#[derive(Deserialize)]
struct Known {
    lets_encrypt: String,
    lets_encrypt_staging: String,
}

/// Who signs certificates, and how it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// The address of its directory, `https` unless it is on this machine.
    pub directory: String,
    /// Certificates to trust for it in the place of the system's (those of `SSL_CERT_FILE`, where
    /// that is set).
    pub roots: Option<PathBuf>,
    /// Where it may write to about the account.
    pub contact: Option<String>,
    /// One of the kinds of certificate that it offers; none: its usual one.
    pub profile: Option<String>,
    /// How long one answer of it may take. Default 30 s.
    pub patience: Duration,
    /// How long it may take to look at the challenges, and again to sign. Default 90 s.
    pub look: Duration,
}

impl Authority {
    /// Let's Encrypt. Whoever orders agrees to its terms of service.
    ///
    /// # Errors
    /// Never with the data that is built in.
    pub fn lets_encrypt() -> Result<Self, AcmeError> {
        known().map(|known| Self::at(known.lets_encrypt))
    }

    /// Its staging environment: for trying things out, with certificates that nobody trusts.
    ///
    /// # Errors
    /// Never with the data that is built in.
    pub fn lets_encrypt_staging() -> Result<Self, AcmeError> {
        known().map(|known| Self::at(known.lets_encrypt_staging))
    }

    /// The one that goes by a name, `letsencrypt` or `letsencrypt-staging`, or that has its directory at
    /// an address.
    ///
    /// # Errors
    /// Never with the data that is built in.
    pub fn named(name: &str) -> Result<Self, AcmeError> {
        match name {
            "letsencrypt" => Self::lets_encrypt(),
            "letsencrypt-staging" => Self::lets_encrypt_staging(),
            address => Ok(Self::at(address)),
        }
    }

    /// The authority whose directory is at an address.
    #[must_use]
    pub fn at(directory: impl Into<String>) -> Self {
        Self {
            directory: directory.into(),
            roots: None,
            contact: None,
            profile: None,
            patience: Duration::from_secs(30),
            look: Duration::from_secs(90),
        }
    }
}

fn known() -> Result<Known, AcmeError> {
    serde_json::from_str(DATA).map_err(|error| AcmeError::State {
        what: "read",
        file: "certificate-authorities.json".to_owned(),
        source: error.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn staging_is_another_place() {
        let real = Authority::lets_encrypt().unwrap().directory;
        let staging = Authority::lets_encrypt_staging().unwrap().directory;
        assert!(real.starts_with("https://") && staging.contains("staging") && !real.contains("staging"));
    }
}
