//! `aws.hosted-zone`: the names of a domain.

#[cfg(feature = "native")]
pub(crate) mod native;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::{BillItem, Line, Metric};
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Op, Ownership, Permission, PhysicalId, ResourceKindDef,
};

use super::Actions;
use crate::bill::{item, running, usage};

/// The kind `aws.hosted-zone`.
#[derive(Debug, Clone, Copy)]
pub struct HostedZone;

/// What is wanted of a zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostedZoneSpec {
    /// The domain.
    pub domain: String,
}

/// What is seen of a zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostedZoneObserved {
    /// The domain.
    pub domain: String,
    /// The servers that the domain must be delegated to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub name_servers: Vec<String>,
}

impl ResourceKindDef for HostedZone {
    type Spec<F: Form> = HostedZoneSpec;
    type Observed = HostedZoneObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("aws.hosted-zone")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id", "name_servers"]
    }
    fn diff(&self, want: &HostedZoneSpec, have: &HostedZoneObserved) -> Change {
        let HostedZoneSpec { domain } = want;
        Diff::new().replace("domain", *domain != have.domain).done()
    }
    fn bill(&self, want: &HostedZoneSpec) -> Vec<BillItem> {
        let place = |sku| ("route53", sku, "global");
        vec![
            item(Line::Dns, format!("zone {}", want.domain), place("hosted-zone-first-25"), running(1)),
            item(
                Line::Dns,
                "look-ups",
                place("standard-queries-first-1B"),
                usage(Metric::DnsQueriesMillions),
            ),
        ]
    }
    fn permissions(&self, op: Op, _: &HostedZoneSpec) -> Vec<Permission> {
        Actions {
            find: &["route53:ListHostedZones", "route53:GetHostedZone", "route53:ListTagsForResources"],
            create: &["route53:CreateHostedZone", "route53:ChangeTagsForResource"],
            update: &[],
            delete: &["route53:DeleteHostedZone"],
        }
        .of(op, "*")
    }
    fn ownership(&self, _: &ResourceKey, _: &HostedZoneSpec) -> Ownership {
        Ownership::Tags
    }
    fn outputs(&self, id: &PhysicalId, have: &HostedZoneObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([("id", id.0.clone().into()), ("name_servers", have.name_servers.clone().into())])
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
        let want = json!({"domain": "app.example.com"});
        let have = json!({"domain": "app.example.com", "name_servers": ["ns-1.awsdns-00.com"]});
        let answers = [
            ("domain", json!("x.example.com"), Answer::Replace),
            ("name_servers", json!(["ns-2.awsdns-00.com"]), Answer::Nothing),
        ];
        check_kind(&super::HostedZone, &want, &have, &answers).unwrap();
    }
}
