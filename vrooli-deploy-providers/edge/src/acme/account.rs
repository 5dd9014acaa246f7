use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use instant_acme::{AccountBuilder, CertificateIdentifier, Error, Key, NewOrder};
use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest as _, Sha256};

use super::authority::Authority;
use super::client::{Client, Heard};
use super::error::{AcmeError, listed};
use super::keep::Clock;
use super::name::DnsName;
use super::order::Order;
use super::record::Folder;
use super::schedule::Window;
use crate::challenges::AccountThumbprint;

/// The file of an account's key, PKCS #8.
pub(super) const KEY_FILE: &str = "account.key";

/// Bytes of a coordinate of the curve P-256, which accounts' keys are of.
const COORDINATE: usize = 32;

/// How often a request is made whose number the authority did not take: it says so at random, or
/// when we were slow. The library tries three times by itself.
pub(super) const NONCES: usize = 4;

/// Says a request again as long as only its number is refused.
macro_rules! again {
    ($call:expr) => {{
        let mut left = $crate::acme::account::NONCES;
        loop {
            match $call.await {
                Err(error) if left > 0 && $crate::acme::account::is_bad_nonce(&error) => left -= 1,
                other => break other,
            }
        }
    }};
}
pub(super) use again;

/// Whether only the number of a request was refused.
pub(super) fn is_bad_nonce(error: &Error) -> bool {
    matches!(error, Error::Api(problem) if problem.r#type.as_deref() == Some("urn:ietf:params:acme:error:badNonce"))
}

/// An account with an authority. Its key is made once and kept, so that the authority knows us
/// again, also when its answer to the first request was lost.
#[derive(Clone)]
pub struct Account {
    inner: instant_acme::Account,
    pub(super) authority: Authority,
    pub(super) heard: Arc<Heard>,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Account").field("authority", &self.authority).finish_non_exhaustive()
    }
}

impl Account {
    /// The account whose key lies in a folder (0700; made, with the key, if it is not there).
    /// `clock` is for what the authority says of times.
    ///
    /// # Errors
    /// [`AcmeError::State`] for the key, [`AcmeError::Unreachable`], [`AcmeError::Limited`] and
    /// [`AcmeError::Refused`] for the authority.
    pub async fn open(
        folder: &std::path::Path,
        authority: &Authority,
        clock: Clock,
    ) -> Result<Self, AcmeError> {
        let key = kept_key(&Folder::open(folder)?)?;
        let heard = Heard::new(clock);
        let failed = |error| failure(error, authority, &heard, "the account");
        let (inner, _) = again!(async {
            let key = (Key::from_pkcs8_der(key.clone_key())?, PrivateKeyDer::Pkcs8(key.clone_key()));
            builder(authority, &heard).create_from_key(key, authority.directory.clone()).await
        })
        .map_err(failed)?;
        if let Some(contact) = &authority.contact {
            let contact = format!("mailto:{}", contact.trim_start_matches("mailto:"));
            again!(inner.update_contacts(&[&contact])).map_err(failed)?;
        }
        Ok(Self { inner, authority: authority.clone(), heard })
    }

    /// What says of answers to challenges that they are of the account whose key lies in a folder
    /// (RFC 7638). The key is made if there is none; the authority is not asked.
    ///
    /// # Errors
    /// [`AcmeError::State`].
    pub fn thumbprint(folder: &std::path::Path) -> Result<AccountThumbprint, AcmeError> {
        let folder = Folder::open(folder)?;
        let unusable = |why: &str| AcmeError::State {
            what: "use",
            file: folder.shown(KEY_FILE),
            source: io::Error::new(io::ErrorKind::InvalidData, why.to_owned()),
        };
        let key = PrivateKeyDer::Pkcs8(kept_key(&folder)?);
        let signs = rustls::crypto::ring::sign::any_ecdsa_type(&key)
            .map_err(|_| unusable("it is no key of the kind that accounts have"))?;
        let public = signs.public_key().ok_or_else(|| unusable("its public half is not known"))?;
        // The point stands at the end: x and y, 32 bytes each.
        let (x, y) = public
            .len()
            .checked_sub(2 * COORDINATE)
            .and_then(|start| public.get(start..)?.split_at_checked(COORDINATE))
            .ok_or_else(|| unusable("it is no key of the curve P-256"))?;
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let members = format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, text(x), text(y));
        AccountThumbprint::new(text(&Sha256::digest(members))).map_err(|error| unusable(&error.to_string()))
    }

    /// Orders a certificate for some names. `replaces` is the one that it comes after, which an
    /// authority may count less against its limits.
    ///
    /// # Errors
    /// [`AcmeError::Unreachable`], [`AcmeError::Limited`], [`AcmeError::Refused`].
    pub async fn order(
        &self,
        names: &BTreeSet<DnsName>,
        replaces: Option<&CertificateDer<'_>>,
    ) -> Result<Order, AcmeError> {
        let wanted: Vec<_> =
            names.iter().map(|name| instant_acme::Identifier::Dns(name.as_str().to_owned())).collect();
        let replaces = replaces.and_then(|one| CertificateIdentifier::try_from(one).ok());
        let ask = async |replaces: Option<CertificateIdentifier<'static>>| {
            again!(async {
                let mut order = NewOrder::new(&wanted);
                if let Some(profile) = &self.authority.profile {
                    order = order.profile(profile);
                }
                if let Some(replaces) = &replaces {
                    order = order.replaces(replaces.clone());
                }
                self.inner.new_order(&order).await
            })
        };
        let order = match ask(replaces.clone().map(CertificateIdentifier::into_owned)).await {
            // Not every authority knows of it, and one that was replaced already is none of its
            // business: the certificate counts more than its ancestry.
            Err(error) if replaces.is_some() && is_about_ancestry(&error) => ask(None).await,
            other => other,
        };
        let order = order.map_err(|error| failure(error, &self.authority, &self.heard, &listed(names)))?;
        Order::new(order, names.clone(), self).await
    }

    /// When the authority would like a certificate to be renewed (RFC 9773), and from when on
    /// that may be asked again. None if it does not say so.
    pub(super) async fn window(&self, leaf: &CertificateDer<'_>, now: Timestamp) -> Option<Window> {
        let id = CertificateIdentifier::try_from(leaf).ok()?;
        let (info, wait) = match self.inner.renewal_info(&id).await {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(%error, "the authority does not say when to renew");
                return None;
            }
        };
        let moment = |at: i64| Timestamp::from_second(at).ok();
        Window::new(
            moment(info.suggested_window.start.unix_timestamp())?,
            moment(info.suggested_window.end.unix_timestamp())?,
            wait,
            now,
        )
    }
}

fn builder(authority: &Authority, heard: &Arc<Heard>) -> AccountBuilder {
    instant_acme::Account::builder_with_http(Box::new(Client::new(authority, heard.clone())))
}

fn is_about_ancestry(error: &Error) -> bool {
    match error {
        Error::Unsupported(_) => true,
        Error::Api(problem) => {
            let kind = problem.r#type.as_deref().unwrap_or_default();
            kind.ends_with(":alreadyReplaced")
                || (kind.ends_with(":malformed") && problem.status != Some(429))
        }
        _ => false,
    }
}

/// What the library says, in our words.
pub(super) fn failure(error: Error, authority: &Authority, heard: &Heard, names: &str) -> AcmeError {
    let unreachable =
        |reason: String| AcmeError::Unreachable { authority: authority.directory.clone(), reason };
    let names = names.to_owned();
    match error {
        Error::Api(problem) => {
            let kind = problem.r#type.as_deref().unwrap_or_default();
            let text = problem.to_string();
            let reason = text.strip_prefix("API error: ").unwrap_or(&text).to_owned();
            if kind.ends_with(":rateLimited") || problem.status == Some(429) {
                AcmeError::Limited { names, until: heard.not_before(), reason }
            } else if kind.ends_with(":serverInternal") || problem.status.is_some_and(|status| status >= 500)
            {
                unreachable(reason)
            } else {
                AcmeError::Refused { names, reason }
            }
        }
        // It was asked, and may count it.
        Error::Timeout(_) => AcmeError::Refused { names, reason: "it did not decide in time".to_owned() },
        Error::Json(error) => unreachable(format!("it answers what is not ACME: {error}")),
        other => unreachable(other.to_string()),
    }
}

/// The key in the folder; made if there is none.
fn kept_key(folder: &Folder) -> Result<PrivatePkcs8KeyDer<'static>, AcmeError> {
    let unusable = |what, error: Error| AcmeError::State {
        what,
        file: folder.shown(KEY_FILE),
        source: io::Error::new(io::ErrorKind::InvalidData, error.to_string()),
    };
    if let Some(bytes) = folder.read(KEY_FILE)? {
        let key = PrivatePkcs8KeyDer::from(bytes);
        Key::from_pkcs8_der(key.clone_key()).map_err(|error| unusable("read", error))?;
        return Ok(key);
    }
    let (_, key) = Key::generate_pkcs8().map_err(|error| unusable("make", error))?;
    // Kept before the authority hears of it: if its answer is lost it knows us by the key.
    folder.write(KEY_FILE, key.secret_pkcs8_der())?;
    Ok(key)
}
