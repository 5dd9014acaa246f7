//! A certificate is asked for, its proof is entered into the zone, and then AWS takes its time: a
//! domain that is not delegated yet is never proved, so nobody waits for ever.

use std::time::{Duration, Instant};

use aws_sdk_acm::types::{CertificateDetail, CertificateStatus, Tag, ValidationMethod};
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{
    CreateToken, ErrorKind, Known, OpCtx, PhysicalId, ProviderError, Result, Retryability,
};

use super::{Certificate, CertificateObserved, CertificateSpec};
use crate::kinds::dns_record::DnsRecordSpec;
use crate::kinds::dns_record::native::{remove, upsert};
use crate::kinds::hosted_zone::native::plain;
use crate::native::{Account, Look, Marks, Native, Regional, Seen, Tagged, accept, unexpected};

/// The zone of the proof: ACM does not know it.
const ZONE: &str = "vrooli:zone";
/// How long others may keep a proof.
const TTL_SECONDS: u32 = 300;
/// So long it is waited for a certificate to be issued.
const PATIENCE: Duration = Duration::from_secs(180);
/// What is left of a call's time for the rest.
const RESERVE: Duration = Duration::from_secs(15);
/// How often it is looked whether it is.
const POLL: Duration = Duration::from_millis(1500);

async fn detail(
    account: &Account,
    cx: &OpCtx,
    region: &Regional,
    arn: &str,
) -> Result<Option<CertificateDetail>> {
    let ask = region.acm.describe_certificate().certificate_arn(arn).send();
    let answer = account.read(cx, "acm:DescribeCertificate", ask).await;
    Ok(accept(answer, ErrorKind::NotFound)?.and_then(|answer| answer.certificate))
}

async fn own_marks(account: &Account, cx: &OpCtx, region: &Regional, arn: &str) -> Result<Option<Marks>> {
    let ask = region.acm.list_tags_for_certificate().certificate_arn(arn).send();
    let answer = account.read(cx, "acm:ListTagsForCertificate", ask).await;
    let Some(answer) = accept(answer, ErrorKind::NotFound)? else { return Ok(None) };
    Ok(Marks::read(answer.tags().iter().filter_map(|tag| Some((tag.key(), tag.value()?)))))
}

fn seen(
    region: &Regional,
    marks: Marks,
    certificate: &CertificateDetail,
) -> Option<Seen<CertificateObserved>> {
    let domain = certificate.domain_name()?.to_owned();
    let others = certificate.subject_alternative_names().iter().filter(|name| **name != domain);
    Some(Seen {
        id: PhysicalId(certificate.certificate_arn()?.to_owned()),
        observed: CertificateObserved {
            region: region.name.clone(),
            alternatives: others.cloned().collect(),
            domain,
            zone: marks.notes.get(ZONE).cloned().unwrap_or_default(),
            status: certificate.status().map(|status| status.as_str().to_owned()).unwrap_or_default(),
        },
        marks,
    })
}

/// Certificates of a region with their marks. What is `asked` for is asked for its own tags.
async fn marked(
    account: &Account,
    cx: &OpCtx,
    region: &Regional,
    tagged: &Tagged,
    asked: impl Fn(&str) -> bool + Send + Sync,
) -> Result<Vec<(String, Marks)>> {
    let (mut all, mut next) = (Vec::new(), None::<String>);
    loop {
        let ask = region.acm.list_certificates().set_next_token(next.take()).send();
        let page = account.read(cx, "acm:ListCertificates", ask).await?;
        for one in page.certificate_summary_list() {
            let (Some(arn), Some(domain)) = (one.certificate_arn(), one.domain_name()) else { continue };
            let marks = match tagged.marks(arn) {
                Some(marks) => Some(marks.clone()),
                None if asked(domain) => own_marks(account, cx, region, arn).await?,
                None => None,
            };
            all.extend(marks.map(|marks| (arn.to_owned(), marks)));
        }
        next = page.next_token().map(str::to_owned);
        if next.is_none() {
            return Ok(all);
        }
    }
}

/// The records that prove the names, once ACM has made them up.
fn proofs(certificate: &CertificateDetail, zone: &str) -> Option<Vec<DnsRecordSpec<Known>>> {
    let mut proofs: Vec<DnsRecordSpec<Known>> = Vec::new();
    for validation in certificate.domain_validation_options() {
        let record = validation.resource_record()?;
        let name = plain(record.name());
        // A name and its wildcard are proved by the same record.
        if proofs.iter().any(|proof| proof.name == name) {
            continue;
        }
        proofs.push(DnsRecordSpec {
            zone: zone.to_owned(),
            name,
            record_type: record.r#type().as_str().to_owned(),
            alias: None,
            alias_zone: None,
            values: vec![record.value().to_owned()],
            ttl_seconds: Some(TTL_SECONDS),
        });
    }
    (!proofs.is_empty()).then_some(proofs)
}

async fn ask_for(
    account: &Account,
    cx: &OpCtx,
    key: &ResourceKey,
    want: &CertificateSpec<Known>,
    region: &Regional,
) -> Result<String> {
    let zone = (ZONE, want.zone.clone());
    let tag = |(name, value): (&str, String)| Tag::builder().key(name).value(value).build();
    let tags: std::result::Result<_, _> = Marks::tags(cx, key).into_iter().chain([zone]).map(tag).collect();
    let others = (!want.alternatives.is_empty()).then(|| want.alternatives.clone());
    let make = region
        .acm
        .request_certificate()
        .domain_name(&want.domain)
        .set_subject_alternative_names(others)
        .validation_method(ValidationMethod::Dns)
        .set_idempotency_token(cx.token.map(|token| token.0.simple().to_string()))
        .set_tags(Some(tags.map_err(|_| unexpected("acm:RequestCertificate", "tag"))?))
        .send();
    let made = account.change(cx, "acm:RequestCertificate", make).await?;
    made.certificate_arn.ok_or_else(|| unexpected("acm:RequestCertificate", "ARN"))
}

/// Enters the proof and waits, as long as it makes sense.
async fn prove(account: &Account, cx: &OpCtx, region: &Regional, arn: &str, zone: &str) -> Result<()> {
    let give_up = (Instant::now() + PATIENCE).min(cx.deadline.checked_sub(RESERVE).unwrap_or(cx.deadline));
    let mut entered = false;
    loop {
        let certificate = detail(account, cx, region, arn).await?;
        let status = certificate.as_ref().and_then(|one| one.status().cloned());
        match status {
            Some(CertificateStatus::Issued) if entered => return Ok(()),
            Some(CertificateStatus::Failed | CertificateStatus::ValidationTimedOut) => {
                let why = certificate.and_then(|one| one.failure_reason);
                let why = why.map_or_else(|| "no reason is given".to_owned(), |why| why.as_str().to_owned());
                return Err(ProviderError::new(
                    ErrorKind::Conflict,
                    format!("the certificate failed: {why}"),
                ));
            }
            _ => {}
        }
        if !entered && let Some(proofs) = certificate.as_ref().and_then(|one| proofs(one, zone)) {
            for proof in &proofs {
                upsert(account, cx, proof).await?;
            }
            entered = true;
            continue;
        }
        if Instant::now() >= give_up {
            // It is there, and is issued once the domain is delegated; what needs it says so.
            return match entered {
                true => Ok(()),
                false => Err(ProviderError::new(
                    ErrorKind::Timeout,
                    "ACM did not say how the domain is to be proved",
                )),
            };
        }
        account.wait(cx, POLL).await?;
    }
}

impl Native for Certificate {
    const TOKEN: CreateToken = CreateToken::Marks;

    async fn look(
        &self,
        account: &Account,
        cx: &OpCtx,
        look: Look<'_>,
    ) -> Result<Vec<Seen<CertificateObserved>>> {
        let mut all = Vec::new();
        if let Look::Id(id) = look {
            let region = account.of_arn(&id.0).await;
            if let Some(certificate) = detail(account, cx, &region, &id.0).await? {
                let marks = own_marks(account, cx, &region, &id.0).await?;
                all.extend(marks.and_then(|marks| seen(&region, marks, &certificate)));
            }
            return Ok(all);
        }
        let domains: Vec<&str> =
            account.wanted(self, look).filter_map(|(_, spec)| spec["domain"].as_str()).collect();
        for region in account.regions().await {
            let tagged = account.tagged(cx, &region).await?;
            for (arn, marks) in marked(account, cx, &region, &tagged, |name| domains.contains(&name)).await? {
                let asked = match look {
                    Look::Key(key) => marks.are(cx, key),
                    _ => marks.are_of(cx),
                };
                if asked && let Some(certificate) = detail(account, cx, &region, &arn).await? {
                    all.extend(seen(&region, marks, &certificate));
                }
            }
        }
        Ok(all)
    }

    async fn make(
        &self,
        account: &Account,
        cx: &OpCtx,
        key: &ResourceKey,
        want: &CertificateSpec<Known>,
    ) -> Result<PhysicalId> {
        let region = account.region(&want.region).await;
        let known = marked(account, cx, &region, &Tagged::default(), |name| name == want.domain).await?;
        let known = known.into_iter().find(|(_, marks)| marks.are(cx, key) && marks.token == cx.token);
        let arn = match known {
            Some((arn, _)) => arn,
            None => ask_for(account, cx, key, want, &region).await?,
        };
        // From here on there is something: whatever fails, it has to be looked for.
        let proved = prove(account, cx, &region, &arn, &want.zone).await;
        proved.map_err(|error| error.with_retry(Retryability::LookUpFirst))?;
        Ok(PhysicalId(arn))
    }

    /// Nothing of a certificate changes in place.
    async fn change(
        &self,
        _: &Account,
        _: &OpCtx,
        _: &PhysicalId,
        _: &CertificateObserved,
        _: &CertificateSpec<Known>,
    ) -> Result<()> {
        Ok(())
    }

    async fn remove(&self, account: &Account, cx: &OpCtx, id: &PhysicalId) -> Result<()> {
        let region = account.of_arn(&id.0).await;
        let Some(certificate) = detail(account, cx, &region, &id.0).await? else { return Ok(()) };
        let marks = own_marks(account, cx, &region, &id.0).await?;
        if let Some(zone) = marks.as_ref().and_then(|marks| marks.notes.get(ZONE)) {
            for proof in proofs(&certificate, zone).unwrap_or_default() {
                remove(account, cx, zone, (&proof.name, &proof.record_type)).await?;
            }
        }
        let gone = region.acm.delete_certificate().certificate_arn(&id.0).send();
        accept(account.change(cx, "acm:DeleteCertificate", gone).await, ErrorKind::NotFound).map(drop)
    }
}
