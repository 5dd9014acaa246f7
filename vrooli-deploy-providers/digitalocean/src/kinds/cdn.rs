//! `digitalocean.cdn`: a content delivery network in front of a Space. It comes with Spaces.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::{BillItem, Decimal, Line, Metric};
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Op, Ownership, Permission, PhysicalId, ResourceKindDef, Wanted,
};

use super::Actions;
use crate::bill::{item, usage_from};

/// The kind `digitalocean.cdn`.
#[derive(Debug, Clone, Copy)]
pub struct Cdn;

/// What is wanted of an endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct CdnSpec<F: Form = Wanted> {
    /// The Space, by its host name.
    pub origin: F::In<String>,
    /// Region of the Space.
    pub region: String,
    /// A host name of one's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_domain: Option<String>,
    /// Its certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<F::In<String>>,
    /// How long content is kept, in seconds: 60, 600, 3600, 86400 or 604800.
    pub ttl_seconds: u32,
}

/// What is seen of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CdnObserved {
    /// The Space, by its host name.
    pub origin: String,
    /// A host name of one's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_domain: Option<String>,
    /// Its certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// How long content is kept, in seconds: 60, 600, 3600, 86400 or 604800.
    pub ttl_seconds: u32,
    /// The name it is reached at.
    pub endpoint: String,
}

impl ResourceKindDef for Cdn {
    type Spec<F: Form> = CdnSpec<F>;
    type Observed = CdnObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("digitalocean.cdn")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id", "endpoint"]
    }
    fn diff(&self, want: &CdnSpec<Wanted>, have: &CdnObserved) -> Change {
        // The region is the origin's; the price is asked with it.
        let CdnSpec { origin, region: _, custom_domain, certificate, ttl_seconds } = want;
        Diff::new()
            .replace("origin", origin.differs(&have.origin))
            .update("custom_domain", *custom_domain != have.custom_domain)
            .update("certificate", super::id_differs(certificate.as_ref(), have.certificate.as_ref()))
            .update("ttl_seconds", *ttl_seconds != have.ttl_seconds)
            .done()
    }
    fn bill(&self, want: &CdnSpec<Wanted>) -> Vec<BillItem> {
        let place = ("spaces", "extra-egress", want.region.as_str());
        let sent = usage_from(Metric::CdnGb, Decimal::ONE, "spaces-transfer");
        vec![item(Line::Cdn, "sent by the content network", place, sent)]
    }
    fn permissions(&self, op: Op, _: &CdnSpec<Wanted>) -> Vec<Permission> {
        Actions {
            find: &["cdn:read"],
            create: &["cdn:create"],
            update: &["cdn:update"],
            delete: &["cdn:delete"],
        }
        .of(op, "*")
    }
    fn ownership(&self, key: &ResourceKey, _: &CdnSpec<Wanted>) -> Ownership {
        Ownership::DerivedName(format!("{key}"))
    }
    fn outputs(&self, id: &PhysicalId, have: &CdnObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([("id", id.0.clone().into()), ("endpoint", have.endpoint.clone().into())])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use vrooli_deploy_core::provider::pure::{Answer, check_kind};

    #[test]
    fn differences_are_answered() {
        let want = json!({"origin": "a.nyc3.digitaloceanspaces.com", "region": "nyc3", "ttl_seconds": 3600});
        let have = json!({"origin": "a.nyc3.digitaloceanspaces.com", "ttl_seconds": 3600, "endpoint": "a.nyc3.cdn.digitaloceanspaces.com"});
        let answers = [
            ("origin", json!("b.nyc3.digitaloceanspaces.com"), Answer::Replace),
            ("custom_domain", json!("static.example.com"), Answer::Update),
            ("certificate", json!("c-1"), Answer::Update),
            ("ttl_seconds", json!(600), Answer::Update),
            ("endpoint", json!("b.nyc3.cdn.digitaloceanspaces.com"), Answer::Nothing),
        ];
        check_kind(&super::Cdn, &want, &have, &answers).unwrap();
    }
}
