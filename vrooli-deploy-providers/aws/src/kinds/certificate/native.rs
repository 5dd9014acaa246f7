//! A certificate is asked for, its proof is entered into the zone, and then AWS takes its time: a
//! domain that is not delegated yet is never proved, so nobody waits for ever. A tag says that the proof
//! was entered: without one a run that ended in between left a certificate that is never issued.

use std::time::{Duration, Instant};

use aws_sdk_acm::types::{CertificateDetail, CertificateStatus, CertificateSummary, Tag, ValidationMethod};
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, ErrorKind, Known, PhysicalId, ProviderError, Result};

use super::{Certificate, CertificateObserved, CertificateSpec};
use crate::kinds::dns_record::DnsRecordSpec;
use crate::kinds::dns_record::native::{remove, upsert};
use crate::kinds::hosted_zone::native::plain;
use crate::native::{Asked, Calls, Look, Marks, Native, Regional, Seen, completed, together, unexpected};

/// The zone of the proof: ACM does not know it.
const ZONE: &str = "vrooli:zone";
/// Says that the proof was entered.
const PROVED: &str = "vrooli:proved";
/// How long others may keep a proof.
const TTL_SECONDS: u32 = 300;
/// So long it is waited for a certificate to be issued.
const PATIENCE: Duration = Duration::from_secs(180);
/// What is left of a call's time for the rest.
const RESERVE: Duration = Duration::from_secs(15);
/// How often it is looked whether it is.
const POLL: Duration = Duration::from_millis(1500);

async fn detail(at: &Calls<'_>, arn: &str) -> Result<Option<CertificateDetail>> {
    let ask = at.region.acm.describe_certificate().certificate_arn(arn).send();
    Ok(at.find("acm:DescribeCertificate", ask).await?.and_then(|answer| answer.certificate))
}

async fn detail_once(at: &Calls<'_>, arn: &str) -> Result<Option<CertificateDetail>> {
    at.once("a certificate", arn, || detail(at, arn)).await
}

async fn own_marks(at: &Calls<'_>, arn: &str) -> Result<Option<Marks>> {
    let ask = at.region.acm.list_tags_for_certificate().certificate_arn(arn).send();
    let answer = at.find("acm:ListTagsForCertificate", ask).await?;
    Ok(answer.and_then(|answer| Marks::of(answer.tags())))
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
            proof: marks.notes.contains_key(PROVED),
        },
        marks,
    })
}

/// ARN and domain of all of a region, whoever's.
async fn all(at: &Calls<'_>) -> Result<Vec<(String, String)>> {
    let ask = || async {
        let ask = |next| at.region.acm.list_certificates().set_next_token(next).send();
        let pages = at.pages("acm:ListCertificates", ask, |page| page.next_token.clone()).await?;
        let all = pages.iter().flat_map(|page| page.certificate_summary_list());
        let named = |one: &CertificateSummary| {
            Some((one.certificate_arn()?.to_owned(), one.domain_name()?.to_owned()))
        };
        Ok(all.filter_map(named).collect())
    };
    at.once("certificates", "", ask).await
}

/// Certificates of a region that have marks: ARN and marks.
async fn marked(at: &Calls<'_>, asked: &Asked) -> Result<Vec<(String, Marks)>> {
    let marked = asked
        .marked(
            all(at).await?,
            |one| Some(one.clone()),
            |arn: String| async move { own_marks(at, &arn).await },
        )
        .await?;
    Ok(marked.into_iter().map(|((arn, _), marks)| (arn, marks)).collect())
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

async fn ask_for(at: &Calls<'_>, key: &ResourceKey, want: &CertificateSpec<Known>) -> Result<String> {
    let others = (!want.alternatives.is_empty()).then(|| want.alternatives.clone());
    let make = at
        .region
        .acm
        .request_certificate()
        .domain_name(&want.domain)
        .set_subject_alternative_names(others)
        .validation_method(ValidationMethod::Dns)
        .set_idempotency_token(at.cx.token.map(|token| token.0.simple().to_string()))
        .set_tags(Some(Marks::with_note(at.cx, key, Some((ZONE, want.zone.clone())))?))
        .send();
    let made = at.change("acm:RequestCertificate", make).await?;
    made.certificate_arn.ok_or_else(|| unexpected("acm:RequestCertificate", "ARN"))
}

/// Enters the proof and waits, as long as it makes sense.
async fn prove(at: &Calls<'_>, arn: &str, zone: &str) -> Result<()> {
    let give_up =
        (Instant::now() + PATIENCE).min(at.cx.deadline.checked_sub(RESERVE).unwrap_or(at.cx.deadline));
    let mut entered = false;
    loop {
        let certificate = detail(at, arn).await?;
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
            let records = at.global().await;
            for proof in &proofs {
                upsert(&records, proof).await?;
            }
            let tag = Tag::builder().key(PROVED).value("true").build();
            let tag = tag.map_err(|_| unexpected("acm:AddTagsToCertificate", "tag"))?;
            let put = || {
                let put = at.region.acm.add_tags_to_certificate().certificate_arn(arn);
                put.tags(tag.clone()).send()
            };
            at.put("acm:AddTagsToCertificate", put).await?;
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
        at.wait(POLL).await?;
    }
}

impl Native for Certificate {
    const TOKEN: CreateToken = CreateToken::Marks;

    async fn see(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<Option<Seen<CertificateObserved>>> {
        let Some(certificate) = detail(at, &id.0).await? else { return Ok(None) };
        let marks = own_marks(at, &id.0).await?;
        Ok(marks.and_then(|marks| seen(&at.region, marks, &certificate)))
    }

    async fn list(&self, at: &Calls<'_>, look: Look<'_>) -> Result<Vec<Seen<CertificateObserved>>> {
        let asked = at.asked(self, look, "domain").await?;
        let marked = marked(at, &asked).await?.into_iter().filter(|(_, marks)| look.wants(at.cx, marks));
        let ask = |(arn, marks): (String, Marks)| async move {
            let certificate = detail_once(at, &arn).await?;
            Ok(certificate.and_then(|certificate| seen(&at.region, marks, &certificate)))
        };
        Ok(together(marked.map(ask)).await?.into_iter().flatten().collect())
    }

    async fn ahead(&self, at: &Calls<'_>, ids: &[PhysicalId]) {
        let _ = tokio::join!(all(at), together(ids.iter().map(|id| detail_once(at, &id.0))));
    }

    async fn make(
        &self,
        on: &Calls<'_>,
        key: &ResourceKey,
        want: &CertificateSpec<Known>,
    ) -> Result<PhysicalId> {
        let at = on.at(&want.region).await;
        let known = marked(&at, &Asked::only(&want.domain)).await?;
        let known = known.into_iter().find(|(_, marks)| marks.are(at.cx, key) && marks.token == at.cx.token);
        let arn = match known {
            Some((arn, _)) => arn,
            None => ask_for(&at, key, want).await?,
        };
        completed(prove(&at, &arn, &want.zone).await)?;
        Ok(PhysicalId(arn))
    }

    async fn change(
        &self,
        at: &Calls<'_>,
        id: &PhysicalId,
        have: &CertificateObserved,
        want: &CertificateSpec<Known>,
    ) -> Result<()> {
        if have.proof {
            return Ok(());
        }
        prove(at, &id.0, &want.zone).await
    }

    async fn remove(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<()> {
        let Some(certificate) = detail(at, &id.0).await? else { return Ok(()) };
        let marks = own_marks(at, &id.0).await?;
        if let Some(zone) = marks.as_ref().and_then(|marks| marks.notes.get(ZONE)) {
            let records = at.global().await;
            for proof in proofs(&certificate, zone).unwrap_or_default() {
                remove(&records, zone, &proof.name, &proof.record_type).await?;
            }
        }
        let gone = at.region.acm.delete_certificate().certificate_arn(&id.0).send();
        at.remove("acm:DeleteCertificate", gone).await
    }
}
