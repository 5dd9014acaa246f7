//! What servers are told of certificates, and say of them. No secret is in any of these.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::names::ReleaseNumber;
use crate::release::OwnCertificate;

/// How an app is to be served by TLS on a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateRequest {
    /// The host names.
    pub names: BTreeSet<String>,
    /// Are requests without TLS sent to TLS?
    pub redirect: bool,
    /// For how long browsers are told to come by TLS only, in seconds.
    pub hsts_seconds: Option<u32>,
    /// Where the certificate comes from.
    pub source: CertificateSource,
    /// Which one this is, from 0, of the servers that share it …
    pub turn: u32,
    /// … and how many those are.
    pub turns: u32,
}

/// Where a certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateSource {
    /// An authority, by ACME. None: the one that the server was told before.
    Authority(Option<CertificateAuthority>),
    /// The user's own, whose values the release came with.
    Own {
        /// Of which release.
        release: ReleaseNumber,
        /// Which values.
        secrets: OwnCertificate,
    },
}

/// An authority that signs certificates, whose terms of service somebody has agreed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateAuthority {
    /// The address of its directory.
    pub directory: String,
    /// An address of mail that it may write to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// Certificates to trust for it in the place of the system's, as PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roots: Option<String>,
}

/// A certificate as a server has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateSeen {
    /// The server.
    #[serde(default)]
    pub host: String,
    /// The host names that it is for.
    pub names: Vec<String>,
    /// Who signed the one that is there, as it says; none: there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The number that its issuer gave it, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// From when on it is valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
    /// When the server renews it by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_at: Option<Timestamp>,
    /// Does its edge serve with it?
    pub serves: bool,
    /// Whose account it is ordered by: the thumbprint of its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The authority that it is ordered from, as it was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// What the server was asked for, as a digest.
    pub asked: String,
    /// What a person has to know of it, with its code: that there is none, that it ends soon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl CertificateRequest {
    /// What tells whether a server was asked for the same. Where a certificate comes from is not told
    /// apart where nobody says it anew.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut same = self.clone();
        if let CertificateSource::Authority(authority) = &mut same.source {
            *authority = None;
        }
        let text = serde_json::to_vec(&same).unwrap_or_default();
        crate::names::Digest::of(&text).to_string()
    }
}
