//! `aws.distribution`: CloudFront: content near its readers.

#[cfg(feature = "native")]
mod native;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::{BillItem, Decimal, Line, Metric};
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Op, Ownership, Permission, PhysicalId, ResourceKindDef, Wanted,
};

use super::Actions;
use crate::bill::{item, usage, usage_times};

/// The kind `aws.distribution`.
#[derive(Debug, Clone, Copy)]
pub struct Distribution;

/// What is wanted of a distribution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct DistributionSpec<F: Form = Wanted> {
    /// Host names it answers to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Their certificate, which lies in us-east-1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<F::In<String>>,
    /// The name of what it fetches from.
    pub origin: F::In<String>,
    /// Which of its places are used, `PriceClass_100`.
    pub price_class: String,
}

/// What is seen of a distribution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DistributionObserved {
    /// Host names it answers to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Their certificate, which lies in us-east-1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// The name of what it fetches from.
    pub origin: String,
    /// Which of its places are used, `PriceClass_100`.
    pub price_class: String,
    /// The name it is reached at.
    pub domain_name: String,
}

impl ResourceKindDef for Distribution {
    type Spec<F: Form> = DistributionSpec<F>;
    type Observed = DistributionObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("aws.distribution")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id", "domain_name"]
    }
    fn diff(&self, want: &DistributionSpec<Wanted>, have: &DistributionObserved) -> Change {
        let DistributionSpec { aliases, certificate, origin, price_class } = want;
        // It answers to all of them, so their order says nothing.
        let others = BTreeSet::from_iter(aliases) != BTreeSet::from_iter(&have.aliases);
        Diff::new()
            .update("aliases", others)
            .update("certificate", super::id_differs(certificate.as_ref(), have.certificate.as_ref()))
            .update("origin", origin.differs(&have.origin))
            .update("price_class", *price_class != have.price_class)
            .done()
    }
    fn bill(&self, _: &DistributionSpec<Wanted>) -> Vec<BillItem> {
        let place = |sku| ("cloudfront", sku, "global");
        // Billed by ten thousand: a hundred of them are a million.
        let requests = usage_times(Metric::RequestsMillions, Decimal::ONE_HUNDRED);
        vec![
            item(
                Line::Cdn,
                "sent by the content network",
                place("egress-us-eu-first-10TB"),
                usage(Metric::CdnGb),
            ),
            item(Line::Cdn, "requests to the content network", place("https-requests-us"), requests),
        ]
    }
    fn permissions(&self, op: Op, _: &DistributionSpec<Wanted>) -> Vec<Permission> {
        Actions {
            find: &[
                "tag:GetResources",
                "cloudfront:GetDistribution",
                "cloudfront:ListDistributions",
                "cloudfront:ListTagsForResource",
            ],
            create: &[
                "cloudfront:CreateDistribution",
                "cloudfront:CreateDistributionWithTags",
                "cloudfront:TagResource",
                "cloudfront:GetDistributionConfig",
                "cloudfront:UpdateDistribution",
            ],
            update: &["cloudfront:GetDistributionConfig", "cloudfront:UpdateDistribution"],
            delete: &[
                "cloudfront:GetDistributionConfig",
                "cloudfront:UpdateDistribution",
                "cloudfront:DeleteDistribution",
            ],
        }
        .of(op, "*")
    }
    fn ownership(&self, _: &ResourceKey, _: &DistributionSpec<Wanted>) -> Ownership {
        Ownership::Tags
    }
    fn outputs(&self, id: &PhysicalId, have: &DistributionObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([("id", id.0.clone().into()), ("domain_name", have.domain_name.clone().into())])
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
        let want = json!({"aliases": ["app.example.com"], "certificate": "id-1", "origin": "a.elb.amazonaws.com", "price_class": "PriceClass_100"});
        let have = json!({"aliases": ["app.example.com"], "certificate": "id-1", "origin": "a.elb.amazonaws.com", "price_class": "PriceClass_100", "domain_name": "d1.cloudfront.net"});
        let answers = [
            ("aliases", json!([]), Answer::Update),
            ("certificate", json!("id-2"), Answer::Update),
            ("origin", json!("b.elb.amazonaws.com"), Answer::Update),
            ("price_class", json!("PriceClass_All"), Answer::Update),
            ("domain_name", json!("d2.cloudfront.net"), Answer::Nothing),
        ];
        check_kind(&super::Distribution, &want, &have, &answers).unwrap();
    }
}
