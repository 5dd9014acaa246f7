//! How a stack is served by TLS, and the certificate that it has: files beside the stack, only for who
//! runs the supervisor, so that whoever renews needs nobody else.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use vrooli_deploy_core::diagnostics::rules;
use vrooli_deploy_core::names::StackId;
use vrooli_deploy_core::provider::{
    CertificateAuthority, CertificateRequest, CertificateSeen, CertificateSource, ErrorKind, ProviderError,
    Result,
};
use vrooli_deploy_core::secrets::{Secret, SecretRef};
use vrooli_deploy_edge::AccountThumbprint;
use vrooli_deploy_edge::acme::{
    Account, AcmeError, Authority, Certificate, CertificateName, CertificateStatus, Certificates,
    CertificatesOptions, DnsName, Turn, Wanted, check,
};

use super::Values;
use super::files::{Durability, absent_ok, create_below, read_json, remove_file, write_atomic, write_json};
use crate::failure::at;
use crate::layout::Layout;

/// A certificate of the user's own is told of so long before it ends, or in the last third of its life.
const OWN_ENDS_SOON: SignedDuration = SignedDuration::from_hours(14 * 24);
/// The key of an account, as the edge's library keeps it.
const ACCOUNT_KEY: &str = "account.key";

/// What a stack was asked to be served with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) request: CertificateRequest,
    /// Who signs, as it was said last.
    pub(crate) authority: Option<CertificateAuthority>,
    pub(crate) asked_at: Timestamp,
}

struct Files<'a> {
    layout: &'a Layout,
    stack: &'a StackId,
}

impl Files<'_> {
    fn at(&self, name: &str) -> PathBuf {
        self.layout.tls(self.stack).join(name)
    }
    fn request(&self) -> PathBuf {
        self.at("request")
    }
    fn roots(&self) -> PathBuf {
        self.at("roots.pem")
    }
    fn own(&self) -> PathBuf {
        self.at("own.pem")
    }
    fn carried(&self) -> PathBuf {
        self.at("carried")
    }
    fn serves(&self) -> PathBuf {
        self.at("serves")
    }
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let folder = self.layout.tls(self.stack);
        create_below(self.layout.root(), &folder).map_err(at("make", &folder))?;
        write_atomic(path, bytes, Durability::Synced).map_err(at("write", path))
    }
}

impl Kept {
    pub(crate) fn read(layout: &Layout, stack: &StackId) -> Result<Option<Self>> {
        let path = Files { layout, stack }.request();
        read_json(&path).map_err(at("read", &path))
    }

    /// What it is called, among the files of the edge.
    pub(crate) fn name(stack: &StackId) -> Result<CertificateName> {
        CertificateName::new(format!("{}.{}", stack.app, stack.environment)).map_err(|e| failed(&e))
    }

    fn names(&self) -> Result<BTreeSet<DnsName>> {
        self.request.names.iter().map(|name| DnsName::new(name).map_err(|e| failed(&e))).collect()
    }

    pub(crate) fn wanted(&self, stack: &StackId) -> Result<Wanted> {
        Ok(Wanted { name: Self::name(stack)?, names: self.names()? })
    }

    /// Who keeps the certificate, if an authority signs it.
    pub(crate) fn certificates(&self, layout: &Layout, stack: &StackId) -> Result<Option<Certificates>> {
        let Some(theirs) = self.authority.as_ref().filter(|_| self.is_ordered()) else { return Ok(None) };
        let mut authority = Authority::named(&theirs.directory).map_err(|e| failed(&e))?;
        authority.contact.clone_from(&theirs.contact);
        authority.roots = theirs.roots.as_ref().map(|_| Files { layout, stack }.roots());
        let mut options = CertificatesOptions::new(layout.tls(stack), authority);
        options.turn = Turn { at: self.request.turn, of: self.request.turns };
        Certificates::open(options).map(Some).map_err(|e| failed(&e))
    }

    pub(crate) fn is_ordered(&self) -> bool {
        matches!(self.request.source, CertificateSource::Authority(_))
    }

    /// The account whose key is here, if one is.
    pub(crate) fn account(layout: &Layout, stack: &StackId) -> Option<AccountThumbprint> {
        let folder = layout.tls(stack);
        folder.join(ACCOUNT_KEY).exists().then(|| Account::thumbprint(&folder).ok()).flatten()
    }

    /// The user's own certificate, as it was checked when it came.
    pub(crate) fn own(&self, layout: &Layout, stack: &StackId) -> Result<Option<Certificate>> {
        let path = Files { layout, stack }.own();
        let Some(bytes) = absent_ok(std::fs::read(&path)).map_err(at("read", &path))? else {
            return Ok(None);
        };
        let pem = Secret::new(String::from_utf8_lossy(&bytes).into_owned());
        Certificate::read(pem.expose(), &self.names()?).map(Some).map_err(|e| failed(&e))
    }

    /// Keeps what is asked for. A certificate of the user's own is checked first: one that is not good
    /// changes nothing.
    pub(crate) fn keep(
        layout: &Layout,
        stack: &StackId,
        request: CertificateRequest,
        now: Timestamp,
    ) -> Result<()> {
        let files = Files { layout, stack };
        let before = Self::read(layout, stack)?;
        let mut authority = before.and_then(|before| before.authority);
        match &request.source {
            CertificateSource::Authority(Some(named)) => {
                if let Some(roots) = &named.roots {
                    files.write(&files.roots(), roots.as_bytes())?;
                }
                share_account(layout, stack, named)?;
                authority = Some(named.clone());
            }
            CertificateSource::Authority(None) => {}
            CertificateSource::Own { release, secrets } => {
                let values = Values::read(layout, stack, *release)?;
                let value = |reference: Option<&SecretRef>| {
                    let value = reference.and_then(|reference| values.as_ref()?.get(reference).ok());
                    value.ok_or_else(|| {
                        ProviderError::new(
                            ErrorKind::NotFound,
                            "the certificate did not come with its release",
                        )
                    })
                };
                let chain = value(secrets.values.get(&secrets.certificate))?;
                let key = value(secrets.values.get(&secrets.key))?;
                let pem =
                    Secret::new(format!("{}\n{}\n", chain.expose().trim_end(), key.expose().trim_end()));
                let names = request.names.iter().map(|name| DnsName::new(name).map_err(|e| failed(&e)));
                check(pem.expose(), &names.collect::<Result<_>>()?, now).map_err(|e| failed(&e))?;
                files.write(&files.own(), pem.expose().as_bytes())?;
            }
        }
        let kept = Self { request, authority, asked_at: now };
        let path = files.request();
        let folder = layout.tls(stack);
        create_below(layout.root(), &folder).map_err(at("make", &folder))?;
        write_json(&path, &kept, Durability::Synced).map_err(at("write", &path))
    }

    /// It is not served by TLS any more. Account and certificate stay, for when it is again.
    pub(crate) fn forget(layout: &Layout, stack: &StackId) -> Result<()> {
        let files = Files { layout, stack };
        for path in [files.request(), files.own(), files.serves()] {
            remove_file(&path).map_err(at("remove", &path))?;
        }
        Ok(())
    }

    /// Puts what another server gave where the supervisor finds it.
    pub(crate) fn put_carried(layout: &Layout, stack: &StackId, carried: &Secret<Vec<u8>>) -> Result<()> {
        let files = Files { layout, stack };
        files.write(&files.carried(), carried.expose())
    }

    /// Takes it from there.
    pub(crate) fn take_carried(layout: &Layout, stack: &StackId) -> Result<Option<Secret<Vec<u8>>>> {
        let path = Files { layout, stack }.carried();
        let carried = absent_ok(std::fs::read(&path)).map_err(at("read", &path))?.map(Secret::new);
        remove_file(&path).map_err(at("remove", &path))?;
        Ok(carried)
    }

    /// What another server needs that shares the certificate.
    pub(crate) fn give(layout: &Layout, stack: &StackId) -> Result<Secret<Vec<u8>>> {
        let nothing = || ProviderError::new(ErrorKind::NotFound, "no certificate is to be ordered here");
        let kept = Self::read(layout, stack)?.ok_or_else(nothing)?;
        let certificates = kept.certificates(layout, stack)?.ok_or_else(nothing)?;
        certificates.carry(&Self::name(stack)?).map_err(|e| failed(&e))
    }

    /// Writes down whether the edge serves with it, for who only looks.
    pub(crate) fn note_serves(layout: &Layout, stack: &StackId, serves: bool) -> Result<()> {
        let files = Files { layout, stack };
        let path = files.serves();
        match (serves, path.exists()) {
            (true, false) => files.write(&path, b""),
            (false, true) => remove_file(&path).map_err(at("remove", &path)),
            _ => Ok(()),
        }
    }
}

/// Apps of one server share an account with an authority: it allows few new ones from an address.
fn share_account(layout: &Layout, stack: &StackId, authority: &CertificateAuthority) -> Result<()> {
    let own = layout.tls(stack).join(ACCOUNT_KEY);
    if own.exists() {
        return Ok(());
    }
    for other in layout.stacks().map_err(at("read", &layout.apps()))? {
        let path = layout.tls(&other).join(ACCOUNT_KEY);
        let same = |kept: Kept| kept.authority.is_some_and(|theirs| theirs.directory == authority.directory);
        if other == *stack || !path.exists() || !Kept::read(layout, &other)?.is_some_and(same) {
            continue;
        }
        let key = Secret::new(std::fs::read(&path).map_err(at("read", &path))?);
        return Files { layout, stack }.write(&own, key.expose());
    }
    Ok(())
}

/// The certificate of a stack, by the files; none: it is not to have one.
pub(crate) fn seen(layout: &Layout, stack: &StackId) -> Result<Option<CertificateSeen>> {
    let Some(kept) = Kept::read(layout, stack)? else { return Ok(None) };
    let now = Timestamp::now();
    let names: Vec<String> = kept.request.names.iter().cloned().collect();
    let mut seen = CertificateSeen {
        names: names.clone(),
        serves: Files { layout, stack }.serves().exists(),
        asked: kept.request.digest(),
        account: Kept::account(layout, stack).map(String::from),
        authority: kept.authority.as_ref().filter(|_| kept.is_ordered()).map(|one| one.directory.clone()),
        ..CertificateSeen::default()
    };
    let names = names.join(", ");
    if !kept.is_ordered() {
        let Some(own) = kept.own(layout, stack)? else { return Ok(Some(seen)) };
        let left = own.not_after().duration_since(now);
        let soon = OWN_ENDS_SOON.min(own.not_after().duration_since(own.not_before()) / 3);
        if left < soon {
            seen.problem = Some(format!(
                "[{}] the certificate of your own for {names} ends at {:.0}: bring another and deploy",
                rules::CERTIFICATE_EXPIRES,
                own.not_after()
            ));
        }
        (seen.issuer, seen.serial) = (Some(own.issuer().to_owned()), Some(own.serial().to_owned()));
        (seen.not_before, seen.not_after) = (Some(own.not_before()), Some(own.not_after()));
        return Ok(Some(seen));
    }
    let name = Kept::name(stack)?;
    let status = match kept.certificates(layout, stack)? {
        Some(certificates) => certificates.status().map_err(|e| failed(&e))?,
        None => Vec::new(),
    };
    let status = status.into_iter().find(|status| status.name == name);
    seen.problem = problem(&kept, status.as_ref(), &names, now);
    if let Some(status) = status {
        (seen.issuer, seen.serial) = (status.issuer, status.serial);
        (seen.not_before, seen.not_after) = (status.not_before, status.not_after);
        seen.renew_at = status.renew_at;
    }
    Ok(Some(seen))
}

fn problem(kept: &Kept, status: Option<&CertificateStatus>, names: &str, now: Timestamp) -> Option<String> {
    if kept.authority.is_none() {
        return Some(format!(
            "[{}] {names} is served by plain HTTP: nobody has agreed to the terms of service of a certificate authority",
            rules::ACME_TERMS
        ));
    }
    let said = status.and_then(|status| status.diagnostic());
    let said = || said.map_or_else(String::new, |said| format!(": {}", said.message));
    match status.and_then(|status| Some((status.not_after?, status.renew_at?))) {
        None => Some(format!(
            "[{}] {names} has no certificate yet, so it is served by plain HTTP{}",
            rules::NOT_SECURE,
            said()
        )),
        Some((end, _)) if end <= now => Some(format!(
            "[{}] the certificate for {names} ended at {end:.0}{}",
            rules::CERTIFICATE_EXPIRES,
            said()
        )),
        // Some time of its own for each try.
        Some((end, due)) if due + end.duration_since(due) / 4 < now => Some(format!(
            "[{}] the certificate for {names} ends at {end:.0} and was to be renewed at {due:.0}{}",
            rules::CERTIFICATE_EXPIRES,
            said()
        )),
        Some(_) => None,
    }
}

/// What the edge's library says, with its code.
pub(crate) fn failed(error: &AcmeError) -> ProviderError {
    let kind = match error {
        AcmeError::Unreachable { .. } | AcmeError::Limited { .. } | AcmeError::Waits { .. } => {
            ErrorKind::Unavailable
        }
        AcmeError::State { .. } | AcmeError::NotPlaced { .. } => ErrorKind::Unexpected,
        _ => ErrorKind::Config,
    };
    let text = error.told();
    let text = text.split_once("] ").map_or(text.as_str(), |(_, words)| words);
    ProviderError::new(kind, text).with_code(error.code().to_string())
}
