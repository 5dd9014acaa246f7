//! Certificates of an app, on all of its servers: asked for on the first, carried to the others.
//!
//! Orders are made on servers, never here: they renew without this program, so that is seen to work at
//! the first deploy. Every edge answers every challenge of the account (its thumbprint is all that
//! takes), so an authority may ask any of them.

use std::path::Path;

use jiff::Timestamp;
use vrooli_deploy_core::configuration::Configuration;
use vrooli_deploy_core::diagnostics::rules;
use vrooli_deploy_core::provider::{
    CertificateAuthority, CertificateRequest, CertificateSeen, CertificateSource, OpCtx, ProviderError,
    Result,
};
use vrooli_deploy_core::release::Release;

use super::BareMetalFleet;
use super::app_host::AppHost;
use super::together::{all, each};

/// The authority that goes by the name that most know.
const USUAL: &str = "letsencrypt";

/// Which authority the user has agreed to have certificates from.
#[derive(Debug, Clone, Default)]
pub struct Authorities {
    agreed: Option<CertificateAuthority>,
    /// What it is called that nobody has agreed to.
    name: String,
    /// Why what was said of it cannot be used.
    problem: Option<String>,
}

impl Authorities {
    /// As the workspace is configured: `acme_terms`, `acme_directory`, `acme_contact`, `acme_roots`.
    #[must_use]
    pub fn configured(configuration: &Configuration) -> Self {
        let value = |name: &str| match configuration.value(name) {
            Ok(found) => Ok(found.map(|found| found.value.expose().clone())),
            Err(error) => Err(error.to_string()),
        };
        let read = || -> std::result::Result<Self, String> {
            let name = value("acme_directory")?.unwrap_or_else(|| USUAL.to_owned());
            let roots = match value("acme_roots")? {
                Some(path) => Some(std::fs::read_to_string(Path::new(&path)).map_err(|error| {
                    format!("`acme_roots` names `{path}`, which cannot be read: {error}")
                })?),
                None => None,
            };
            let authority =
                CertificateAuthority { directory: name.clone(), contact: value("acme_contact")?, roots };
            let agreed = match value("acme_terms")?.as_deref() {
                Some("agreed") => Some(authority),
                Some(other) => return Err(format!("`acme_terms` is `{other}` and not `agreed`")),
                None => None,
            };
            Ok(Self { agreed, name, problem: None })
        };
        read().unwrap_or_else(|problem| Self { problem: Some(problem), ..Self::default() })
    }
}

/// What is wanted of each server, in their order; none: no TLS.
fn requests(release: &Release, authorities: &Authorities, hosts: usize) -> Option<Vec<CertificateRequest>> {
    let front = &release.bundle.front;
    let names = release.bundle.host_names();
    if names.is_empty() || front.ssl.as_deref() == Some("none") {
        return None;
    }
    let source = match &front.own {
        Some(secrets) => CertificateSource::Own { release: release.number, secrets: secrets.clone() },
        None => CertificateSource::Authority(authorities.agreed.clone()),
    };
    let turns = u32::try_from(hosts).unwrap_or(u32::MAX);
    let request = |turn| CertificateRequest {
        names: names.clone(),
        redirect: release.bundle.has_only_host_names(),
        hsts_seconds: front.hsts_seconds,
        source: source.clone(),
        turn,
        turns,
    };
    Some((0..turns).map(request).collect())
}

/// Has every server what it is asked for, and all of them the same?
fn is_done(
    seen: &[(&AppHost, Option<CertificateSeen>)],
    requests: &[CertificateRequest],
    now: Timestamp,
) -> bool {
    let first = seen.first().and_then(|(_, seen)| seen.as_ref());
    seen.iter().zip(requests).all(|((_, seen), request)| {
        seen.as_ref().zip(first).is_some_and(|(here, first)| {
            here.asked == request.digest()
                && here.serves
                && here.problem.is_none()
                && is_good(here, now)
                && (&here.serial, &here.account) == (&first.serial, &first.account)
                && is_from(here, request)
        })
    })
}

fn is_from(seen: &CertificateSeen, request: &CertificateRequest) -> bool {
    match &request.source {
        CertificateSource::Authority(Some(authority)) => {
            seen.authority.as_ref() == Some(&authority.directory)
        }
        _ => true,
    }
}

fn is_good(seen: &CertificateSeen, now: Timestamp) -> bool {
    seen.not_after.is_some_and(|end| now < end)
}

impl BareMetalFleet {
    /// What could not be done, for people.
    pub(super) async fn see_to_tls(&self, cx: &OpCtx, release: &Release) -> Vec<String> {
        match self.try_tls(cx, release).await {
            Ok(said) => said,
            Err(error) => vec![not_secure(&named(release), "is not looked after on all servers", &error)],
        }
    }

    /// What each server has.
    pub(super) async fn seen_certificates<'a>(
        &'a self,
        cx: &'a OpCtx,
    ) -> Result<Vec<(&'a AppHost, Option<CertificateSeen>)>> {
        let look = async |host: &'a AppHost| host.certificate(cx).await;
        all(each(&self.hosts, look).await, |host| host.name())
    }

    async fn try_tls(&self, cx: &OpCtx, release: &Release) -> Result<Vec<String>> {
        let seen = self.seen_certificates(cx).await?;
        let names = named(release);
        let Some(requests) = requests(release, &self.authorities, seen.len()) else {
            let had = seen.iter().filter(|(_, seen)| seen.is_some());
            let had: Vec<&AppHost> = had.map(|(host, _)| *host).collect();
            let end = async |host: &&AppHost| host.talk(cx).await?.fleet.serve_by_tls(cx, None).await;
            let ended = each(&had, end).await;
            return Ok(bad(&names, ended.into_iter().filter_map(|(host, end)| Some((*host, end.err()?)))));
        };
        let is_ordered = release.bundle.front.own.is_none();
        let knows = seen.iter().any(|(_, seen)| seen.is_some());
        if is_ordered && let Some(problem) = &self.authorities.problem {
            return Ok(vec![format!("[{}] {names}: {problem}", rules::NOT_SECURE)]);
        }
        if is_ordered && self.authorities.agreed.is_none() && !knows {
            return Ok(vec![format!(
                "[{}] {names} is served by plain HTTP: nobody has agreed to the terms of service of {}; if you do, \
                 deploy with VROOLI_DEPLOY_ACME_TERMS=agreed, else say `networking: {{ssl: none}}`",
                rules::ACME_TERMS,
                self.authorities.name
            )]);
        }
        let now = Timestamp::now();
        if is_done(&seen, &requests, now) {
            return Ok(Vec::new());
        }
        let asked: Vec<(&AppHost, CertificateRequest)> =
            seen.into_iter().map(|(host, _)| host).zip(requests).collect();
        let serve = async |(host, request): &(&AppHost, CertificateRequest)| {
            let seen = host.talk(cx).await?.fleet.serve_by_tls(cx, Some(request.clone())).await?;
            host.queue().forget_seen().await;
            Ok(seen.unwrap_or_default())
        };
        let mut there: Vec<(&AppHost, CertificateSeen)> = Vec::new();
        let mut failed: Vec<(&AppHost, ProviderError)> = Vec::new();
        for ((host, _), served) in each(&asked, serve).await {
            match served {
                Ok(seen) => there.push((host, seen)),
                Err(error) => failed.push((host, error)),
            }
        }
        let mut said = bad(&names, failed);
        if is_ordered && !there.is_empty() {
            said.extend(self.share(cx, &names, there, now).await);
        }
        Ok(said)
    }

    /// One certificate for all: the newest that any has, or one that is ordered now.
    async fn share(
        &self,
        cx: &OpCtx,
        names: &str,
        mut there: Vec<(&AppHost, CertificateSeen)>,
        now: Timestamp,
    ) -> Vec<String> {
        let good = |seen: &CertificateSeen| seen.not_before.filter(|_| is_good(seen, now));
        // Of those that are as new the first: their order is that of their names.
        let mut lead = 0;
        for (at, (_, seen)) in there.iter().enumerate() {
            let key = |seen: &CertificateSeen| (good(seen), seen.account.is_some());
            if key(seen) > key(&there[lead].1) {
                lead = at;
            }
        }
        let (host, seen) = there.remove(lead);
        let mut said = self.carry(cx, names, host, &seen, &there).await;
        let is_due = good(&seen).is_none() || seen.renew_at.is_some_and(|due| due <= now);
        if !is_due || !said.is_empty() && good(&seen).is_some() {
            return said;
        }
        let order = async { host.talk(cx).await?.fleet.order_certificate(cx).await };
        match order.await {
            Ok(Some(ordered)) if ordered.serial != seen.serial => {
                host.queue().forget_seen().await;
                said.extend(self.carry(cx, names, host, &ordered, &there).await);
            }
            Ok(_) => {}
            Err(error) if good(&seen).is_some() => said.push(not_secure(names, "is not renewed", &error)),
            Err(error) => {
                said.push(not_secure(names, "has no certificate yet, so it is served by plain HTTP", &error));
            }
        }
        said
    }

    /// Takes the account and the certificate of one server to those that have others.
    async fn carry(
        &self,
        cx: &OpCtx,
        names: &str,
        from: &AppHost,
        seen: &CertificateSeen,
        others: &[(&AppHost, CertificateSeen)],
    ) -> Vec<String> {
        let differs = |other: &CertificateSeen| {
            other.account.is_none() || (&other.account, &other.serial) != (&seen.account, &seen.serial)
        };
        let to: Vec<&AppHost> =
            others.iter().filter(|(_, other)| differs(other)).map(|(host, _)| *host).collect();
        if to.is_empty() {
            return Vec::new();
        }
        let given = async { from.talk(cx).await?.fleet.give_certificate(cx).await };
        let carried = match given.await {
            Ok(carried) => carried,
            Err(error) => return bad(names, [(from, error)]),
        };
        let take = async |host: &&AppHost| {
            let taken = host.talk(cx).await?.fleet.take_certificate(cx, &carried).await;
            host.queue().forget_seen().await;
            taken
        };
        let taken = each(&to, take).await;
        bad(names, taken.into_iter().filter_map(|(host, taken)| Some((*host, taken.err()?))))
    }
}

fn named(release: &Release) -> String {
    release.bundle.host_names().into_iter().collect::<Vec<_>>().join(", ")
}

/// One message for each server that failed; those that failed alike share one.
fn bad<'a>(names: &str, failed: impl IntoIterator<Item = (&'a AppHost, ProviderError)>) -> Vec<String> {
    let mut all: Vec<(String, Vec<String>)> = Vec::new();
    for (host, error) in failed {
        let (words, host) = (words(&error), host.name().to_string());
        match all.iter_mut().find(|(known, _)| *known == words) {
            Some((_, hosts)) => hosts.push(host),
            None => all.push((words, vec![host])),
        }
    }
    let say = |(words, hosts): (String, Vec<String>)| {
        format!(
            "[{}] {names} is not served by TLS as it is to be on {}: {words}",
            rules::NOT_SECURE,
            hosts.join(", ")
        )
    };
    all.into_iter().map(say).collect()
}

fn not_secure(names: &str, what: &str, error: &ProviderError) -> String {
    format!(
        "[{}] {names} {what}: {}; the servers try again by themselves, and so does the next deploy",
        rules::NOT_SECURE,
        words(error)
    )
}

/// What was said, with its code before it and the next step after it.
fn words(error: &ProviderError) -> String {
    let code = error.code().map_or_else(String::new, |code| format!("[{code}] "));
    let help = error.help().map_or_else(String::new, |help| format!(" ({help})"));
    format!("{code}{}{help}", error.message())
}
