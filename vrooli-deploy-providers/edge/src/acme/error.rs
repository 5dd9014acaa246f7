use std::io;
use std::net::IpAddr;

use jiff::Timestamp;
use vrooli_deploy_core::diagnostics::{Code, rules};

use super::name::{CertificateName, DnsName};

/// There is no certificate, or not everywhere. What served before serves on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcmeError {
    /// No certificate can be had for this.
    #[error("`{name}` cannot have a certificate: {why}")]
    Name {
        /// What was given, shortened to 80 characters.
        name: String,
        /// Why.
        why: &'static str,
    },
    /// DNS gives no address.
    #[error("DNS gives no address for {name} ({reason}): make an A record for it")]
    NoAddress {
        /// The name.
        name: DnsName,
        /// What the resolver said.
        reason: String,
    },
    /// An address that DNS gives for a name is not one of ours.
    #[error(
        "{name} does not lead here: {address} (from DNS) {instead} on port {port}; point the name at this deployment and open the port"
    )]
    Elsewhere {
        /// The name.
        name: DnsName,
        /// The address that DNS gave.
        address: IpAddr,
        /// The port that was asked.
        port: u16,
        /// What was there in our place.
        instead: String,
    },
    /// The authority gave no answer that could be understood.
    #[error("{authority} cannot be asked: {reason}")]
    Unreachable {
        /// Its directory.
        authority: String,
        /// What the system, or it, said.
        reason: String,
    },
    /// The authority said no.
    #[error("a certificate for {names} was refused: {reason}")]
    Refused {
        /// The names.
        names: String,
        /// Its own words.
        reason: String,
    },
    /// The authority asks to wait.
    #[error("the authority takes no order for {names}{}: {reason}", .until.map(|until| format!(" before {until:.0}")).unwrap_or_default())]
    Limited {
        /// The names.
        names: String,
        /// When it may be asked again, if it said so.
        until: Option<Timestamp>,
        /// Its own words.
        reason: String,
    },
    /// A certificate failed a check; it was not put into use.
    #[error("the certificate for {names} cannot be used: {reason}")]
    Unusable {
        /// The names it was to be good for.
        names: String,
        /// What failed. Says no part of the key.
        reason: String,
    },
    /// The files that are kept cannot be.
    #[error("could not {what} {file}")]
    State {
        /// What was tried.
        what: &'static str,
        /// Which file.
        file: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// An edge did not take an answer or a certificate.
    #[error("{host} did not take {what}: {reason}")]
    NotPlaced {
        /// The host.
        host: String,
        /// The answer to a challenge, or the certificate.
        what: String,
        /// What it, or the way to it, said.
        reason: String,
    },
    /// It was tried before and is not to be tried yet.
    #[error("the certificate `{certificate}` is not tried again before {until:.0}; last: {last}")]
    Waits {
        /// Which.
        certificate: CertificateName,
        /// When it is.
        until: Timestamp,
        /// How the last try ended, with its code.
        last: String,
    },
}

impl AcmeError {
    /// The code that `explain` knows.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Name { .. } => rules::CERTIFICATE_NAME,
            Self::NoAddress { .. } => rules::CERTIFICATE_NO_ADDRESS,
            Self::Elsewhere { .. } => rules::CERTIFICATE_POINTS_ELSEWHERE,
            Self::Unreachable { .. } => rules::AUTHORITY_UNREACHABLE,
            Self::Refused { .. } => rules::AUTHORITY_REFUSED,
            Self::Limited { .. } => rules::AUTHORITY_LIMIT,
            Self::Unusable { .. } => rules::CERTIFICATE_UNUSABLE,
            Self::State { .. } => rules::CERTIFICATE_STATE,
            Self::NotPlaced { .. } => rules::CERTIFICATE_NOT_PLACED,
            Self::Waits { .. } => rules::CERTIFICATE_EXPIRES,
        }
    }

    /// With its code in front, for a log or a file.
    #[must_use]
    pub fn told(&self) -> String {
        let mut text = format!("[{}] {self}", self.code());
        if let Some(source) = std::error::Error::source(self) {
            text.push_str(": ");
            text.push_str(&source.to_string());
        }
        text
    }
}

/// Names as they are listed in a message.
pub(super) fn listed<'a>(names: impl IntoIterator<Item = &'a DnsName>) -> String {
    names.into_iter().map(DnsName::as_str).collect::<Vec<_>>().join(", ")
}
