//! `aws.dns-record`: one name of a zone.

#[cfg(feature = "native")]
pub(in crate::kinds) mod native;

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

/// The kind `aws.dns-record`.
#[derive(Debug, Clone, Copy)]
pub struct DnsRecord;

/// What is wanted of a record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct DnsRecordSpec<F: Form = Wanted> {
    /// Its zone.
    pub zone: F::In<String>,
    /// The name.
    pub name: String,
    /// `A`, `CNAME`, …
    pub record_type: String,
    /// The name of an AWS object that it stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<F::In<String>>,
    /// The zone of that name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias_zone: Option<F::In<String>>,
    /// What it says, if it is no alias.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<F::In<String>>,
    /// How long others may keep it, in seconds; an alias has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u32>,
}

/// What is seen of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DnsRecordObserved {
    /// Its zone.
    pub zone: String,
    /// The name.
    pub name: String,
    /// `A`, `CNAME`, …
    pub record_type: String,
    /// The name of an AWS object that it stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// The zone of that name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias_zone: Option<String>,
    /// What it says, if it is no alias.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// How long others may keep it, in seconds; an alias has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u32>,
}

impl ResourceKindDef for DnsRecord {
    type Spec<F: Form> = DnsRecordSpec<F>;
    type Observed = DnsRecordObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("aws.dns-record")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id"]
    }
    fn diff(&self, want: &DnsRecordSpec<Wanted>, have: &DnsRecordObserved) -> Change {
        let DnsRecordSpec { zone, name, record_type, alias, alias_zone, values, ttl_seconds } = want;
        Diff::new()
            .replace("zone", zone.differs(&have.zone))
            .replace("name", *name != have.name)
            .replace("record_type", *record_type != have.record_type)
            .update("alias", super::id_differs(alias.as_ref(), have.alias.as_ref()))
            .update("alias_zone", super::id_differs(alias_zone.as_ref(), have.alias_zone.as_ref()))
            .update("values", super::ids_differ(values, &have.values))
            .update("ttl_seconds", *ttl_seconds != have.ttl_seconds)
            .done()
    }
    fn bill(&self, _: &DnsRecordSpec<Wanted>) -> Vec<BillItem> {
        Vec::new()
    }
    fn permissions(&self, op: Op, _: &DnsRecordSpec<Wanted>) -> Vec<Permission> {
        Actions {
            find: &[
                "route53:ListHostedZones",
                "route53:ListTagsForResources",
                "route53:ListResourceRecordSets",
            ],
            create: &["route53:ChangeResourceRecordSets"],
            update: &["route53:ChangeResourceRecordSets"],
            delete: &["route53:ChangeResourceRecordSets"],
        }
        .of(op, "arn:aws:route53:::hostedzone/*")
    }
    fn ownership(&self, _: &ResourceKey, want: &DnsRecordSpec<Wanted>) -> Ownership {
        Ownership::DerivedName(format!("{} {}", want.name, want.record_type))
    }
    fn outputs(&self, id: &PhysicalId, _: &DnsRecordObserved) -> BTreeMap<OutputName, Value> {
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
        let want = json!({"zone": "Z1", "name": "app.example.com", "record_type": "A", "alias": "a.elb.amazonaws.com", "alias_zone": "Z35", "values": []});
        let have = json!({"zone": "Z1", "name": "app.example.com", "record_type": "A", "alias": "a.elb.amazonaws.com", "alias_zone": "Z35", "values": []});
        let answers = [
            ("zone", json!("Z2"), Answer::Replace),
            ("name", json!("x.example.com"), Answer::Replace),
            ("record_type", json!("CNAME"), Answer::Replace),
            ("alias", json!("b.elb.amazonaws.com"), Answer::Update),
            ("alias_zone", json!("Z36"), Answer::Update),
            ("values", json!(["203.0.113.7"]), Answer::Update),
            ("ttl_seconds", json!(60), Answer::Update),
        ];
        check_kind(&super::DnsRecord, &want, &have, &answers).unwrap();
    }
}
