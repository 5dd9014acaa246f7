//! `aws.certificate`: a certificate of ACM, proved by a DNS record and renewed by itself. Free.

#[cfg(feature = "native")]
mod native;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::BillItem;
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Op, Ownership, Permission, PhysicalId, ResourceKindDef, Wanted,
};

use super::Actions;

/// The kind `aws.certificate`.
#[derive(Debug, Clone, Copy)]
pub struct Certificate;

/// What is wanted of a certificate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct CertificateSpec<F: Form = Wanted> {
    /// Region.
    pub region: String,
    /// The host name.
    pub domain: String,
    /// Further host names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alternatives: Vec<String>,
    /// The zone that the proof is written into.
    pub zone: F::In<String>,
}

/// What is seen of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CertificateObserved {
    /// Region.
    pub region: String,
    /// The host name.
    pub domain: String,
    /// Further host names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alternatives: Vec<String>,
    /// The zone that the proof is written into.
    pub zone: String,
    /// `ISSUED` once it can be used.
    pub status: String,
    /// Was its proof entered into the zone? What was seen by an earlier version does not say.
    #[serde(default)]
    pub proof: bool,
}

impl ResourceKindDef for Certificate {
    type Spec<F: Form> = CertificateSpec<F>;
    type Observed = CertificateObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("aws.certificate")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id"]
    }
    fn diff(&self, want: &CertificateSpec<Wanted>, have: &CertificateObserved) -> Change {
        let CertificateSpec { region, domain, alternatives, zone } = want;
        Diff::new()
            .replace("region", *region != have.region)
            .replace("domain", *domain != have.domain)
            .replace("alternatives", *alternatives != have.alternatives)
            .replace("zone", zone.differs(&have.zone))
            .update("proof", !have.proof)
            .done()
    }
    fn bill(&self, _: &CertificateSpec<Wanted>) -> Vec<BillItem> {
        Vec::new()
    }
    fn permissions(&self, op: Op, _: &CertificateSpec<Wanted>) -> Vec<Permission> {
        Actions {
            find: &[
                "tag:GetResources",
                "acm:DescribeCertificate",
                "acm:ListCertificates",
                "acm:ListTagsForCertificate",
            ],
            create: &[
                "acm:RequestCertificate",
                "acm:AddTagsToCertificate",
                "route53:ChangeResourceRecordSets",
            ],
            update: &[
                "acm:DescribeCertificate",
                "acm:AddTagsToCertificate",
                "route53:ChangeResourceRecordSets",
            ],
            delete: &[
                "acm:DeleteCertificate",
                "route53:ListResourceRecordSets",
                "route53:ChangeResourceRecordSets",
            ],
        }
        .of(op, "*")
    }
    fn ownership(&self, _: &ResourceKey, _: &CertificateSpec<Wanted>) -> Ownership {
        Ownership::Tags
    }
    fn outputs(&self, id: &PhysicalId, _: &CertificateObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([("id", id.0.clone().into())])
    }
    fn may_hold_data(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use vrooli_deploy_core::provider::pure::{Answer, check_kind};

    #[test]
    fn differences_are_answered() {
        let want = json!({"region": "us-east-1", "domain": "app.example.com", "alternatives": ["www.app.example.com"], "zone": "Z1"});
        let have = json!({"region": "us-east-1", "domain": "app.example.com", "alternatives": ["www.app.example.com"], "zone": "Z1", "status": "ISSUED", "proof": true});
        let answers = [
            ("region", json!("eu-west-1"), Answer::Replace),
            ("domain", json!("x.example.com"), Answer::Replace),
            ("alternatives", json!([]), Answer::Replace),
            ("zone", json!("Z2"), Answer::Replace),
            ("status", json!("PENDING_VALIDATION"), Answer::Nothing),
            ("proof", json!(false), Answer::Update),
        ];
        check_kind(&super::Certificate, &want, &have, &answers).unwrap();
    }
}
