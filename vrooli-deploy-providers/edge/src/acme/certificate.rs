//! What a certificate is, and what is checked of one before it is put into use.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::error::{AcmeError, listed};
use super::name::DnsName;

/// How far the clocks of the authority and of this machine may be apart.
const CLOCKS: SignedDuration = SignedDuration::from_mins(5);

/// A certificate with its chain and its key, as a file of an edge's folder holds it.
#[derive(Clone)]
pub struct Certificate {
    pem: String,
    chain: Vec<CertificateDer<'static>>,
    not_before: Timestamp,
    not_after: Timestamp,
    issuer: String,
    serial: String,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (self.not_before, self.not_after);
        out.debug_struct("Certificate")
            .field("not_before", &from)
            .field("not_after", &to)
            .finish_non_exhaustive()
    }
}

impl Certificate {
    pub(super) fn issued(names: &BTreeSet<DnsName>, chain: &str, key: &str) -> Result<Self, AcmeError> {
        let end = if chain.ends_with('\n') { "" } else { "\n" };
        let issued = Self::read(&format!("{chain}{end}{key}"), names)?;
        // A clock that is behind is the edge's to bear: it serves what it is given.
        issued.check(names, issued.not_before)?;
        Ok(issued)
    }

    /// Reads a chain and a key, without a look at whether they are good for anything.
    ///
    /// # Errors
    /// [`AcmeError::Unusable`]; `names` are only for the message.
    pub fn read(pem: &str, names: &BTreeSet<DnsName>) -> Result<Self, AcmeError> {
        let unusable = |reason: String| AcmeError::Unusable { names: listed(names), reason };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|error| unusable(format!("its certificates cannot be read: {error}")))?;
        let first = chain.first().ok_or_else(|| unusable("it holds no certificate".to_owned()))?;
        let (_, parsed) = x509_parser::parse_x509_certificate(first)
            .map_err(|error| unusable(format!("its first certificate cannot be read: {error}")))?;
        let moment =
            |at: i64| Timestamp::from_second(at).map_err(|_| unusable("its times are none".to_owned()));
        let validity = parsed.validity();
        let (not_before, not_after) =
            (moment(validity.not_before.timestamp())?, moment(validity.not_after.timestamp())?);
        if not_after <= not_before {
            return Err(unusable("it ends before it begins".to_owned()));
        }
        let (issuer, serial) = (parsed.issuer().to_string(), parsed.raw_serial_as_string());
        Ok(Self { pem: pem.to_owned(), chain, not_before, not_after, issuer, serial })
    }

    /// Checks that its key is its own, that it is good for all the names at a time (give or take
    /// five minutes), and that each certificate of its chain is signed by the next one.
    ///
    /// # Errors
    /// [`AcmeError::Unusable`] with the first that fails.
    pub fn check(&self, names: &BTreeSet<DnsName>, now: Timestamp) -> Result<(), AcmeError> {
        self.problem(names, now)
            .map_or(Ok(()), |reason| Err(AcmeError::Unusable { names: listed(names), reason }))
    }

    fn problem(&self, names: &BTreeSet<DnsName>, now: Timestamp) -> Option<String> {
        match PrivateKeyDer::from_pem_slice(self.pem.as_bytes()) {
            Err(_) => return Some("it holds no private key".to_owned()),
            Ok(key) => match rustls::crypto::ring::sign::any_supported_type(&key) {
                Err(_) => return Some("its private key is of no kind that is supported".to_owned()),
                Ok(signs) => {
                    if let Err(error) = CertifiedKey::new(self.chain.clone(), signs).keys_match() {
                        return Some(format!("its private key is not that of its certificate: {error}"));
                    }
                }
            },
        }
        if now + CLOCKS < self.not_before {
            return Some(format!("it is not valid before {:.0}", self.not_before));
        }
        if now >= self.not_after {
            return Some(format!("it ended at {:.0}", self.not_after));
        }
        let [leaf, between @ .., top] = self.chain.as_slice() else {
            return Some("the certificate of its issuer is missing".to_owned());
        };
        let leaf = match EndEntityCert::try_from(leaf) {
            Ok(leaf) => leaf,
            Err(error) => return Some(format!("its first certificate cannot be used: {error}")),
        };
        for name in names {
            let covered = ServerName::try_from(name.as_str())
                .is_ok_and(|name| leaf.verify_is_valid_for_subject_name(&name).is_ok());
            if !covered {
                return Some(format!("it is not good for {name}"));
            }
        }
        let anchor = match anchor_from_trusted_cert(top) {
            Ok(anchor) => anchor,
            Err(error) => return Some(format!("the last certificate of its chain cannot be used: {error}")),
        };
        // At a time when it is valid, whatever the two clocks say.
        let at = now.max(self.not_before).as_second();
        let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(at).unwrap_or(0)));
        leaf.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &[anchor],
            between,
            at,
            KeyUsage::server_auth(),
            None,
            None,
        )
        .err()
        .map(|error| format!("its chain does not lead to its issuer: {error}"))
    }

    /// The file's text. Holds the private key: never shown or logged.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The certificate itself, in DER.
    #[must_use]
    pub fn leaf(&self) -> Option<&CertificateDer<'static>> {
        self.chain.first()
    }

    /// Who signed it, as it says.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The number that its issuer gave it, in hexadecimal.
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// From when on it is valid.
    #[must_use]
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// Until when it is valid.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }
}

/// Reads and checks what is to be put into an edge's folder for some names: see
/// [`Certificate::check`].
///
/// # Errors
/// [`AcmeError::Unusable`] with the first that fails.
pub fn check(pem: &str, names: &BTreeSet<DnsName>, now: Timestamp) -> Result<Certificate, AcmeError> {
    let certificate = Certificate::read(pem, names)?;
    certificate.check(names, now)?;
    Ok(certificate)
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};

    use super::*;

    struct Signer {
        pem: String,
        issuer: Issuer<'static, KeyPair>,
    }

    fn signer() -> Signer {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Signer { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate for 2026, without its chain, and its key.
    fn signed(by: &Signer, names: &[&str]) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2026, 12, 31);
        (params.signed_by(&key, &by.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn names(names: &[&str]) -> BTreeSet<DnsName> {
        names.iter().map(|name| DnsName::new(name).unwrap()).collect()
    }

    #[test]
    fn what_is_not_good_for_its_names_now_is_refused_and_why_is_said() {
        let (ours, other) = (signer(), signer());
        let (leaf, key) = signed(&ours, &["a.test", "b.test"]);
        let (_, other_key) = signed(&ours, &["a.test"]);
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        let (june, wanted) = (at("2026-06-01T00:00:00Z"), names(&["a.test", "b.test"]));
        let whole = format!("{leaf}{}{key}", ours.pem);
        let good = check(&whole, &wanted, june).unwrap();
        assert_eq!(good.not_before(), at("2026-01-01T00:00:00Z"));
        assert_eq!(good.not_after(), at("2026-12-31T00:00:00Z"));
        // The key may come first.
        check(&format!("{key}{leaf}{}", ours.pem), &wanted, june).unwrap();
        // The clock of the authority may be ahead of ours a little.
        check(&whole, &wanted, at("2025-12-31T23:56:00Z")).unwrap();

        let half = &leaf[..leaf.len() / 2];
        let refused = [
            (String::new(), june, "no certificate"),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
                june,
                "cannot be read",
            ),
            (half.to_owned(), june, "certificate"),
            (format!("{leaf}{}", ours.pem), june, "no private key"),
            (format!("{leaf}{}{other_key}", ours.pem), june, "private key is not that"),
            (format!("{leaf}{key}"), june, "issuer is missing"),
            (format!("{leaf}{}{key}", other.pem), june, "does not lead to its issuer"),
            (whole.clone(), at("2025-12-31T23:00:00Z"), "not valid before 2026-01-01T00:00:00Z"),
            (whole.clone(), at("2027-01-01T00:00:00Z"), "it ended at 2026-12-31T00:00:00Z"),
        ];
        for (pem, now, why) in refused {
            let error = check(&pem, &wanted, now).unwrap_err().to_string();
            assert!(error.contains(why), "{error} has {why:?}");
            assert!(!error.contains("PRIVATE KEY-"), "{error}");
        }
        let error = check(&whole, &names(&["a.test", "c.test"]), june).unwrap_err();
        assert!(
            error.told().contains("[VD0945]") && error.to_string().contains("not good for c.test"),
            "{error}"
        );
        assert!(!format!("{good:?}").contains("BEGIN"), "it is not shown");
    }
}
