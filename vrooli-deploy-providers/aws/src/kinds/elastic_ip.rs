//! `aws.elastic-ip`: a public address that stays.

#[cfg(feature = "native")]
pub(in crate::kinds) mod native;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::{BillItem, Line};
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Op, Ownership, Permission, PhysicalId, ResourceKindDef,
};

use super::Actions;
use crate::bill::{item, running};

/// The kind `aws.elastic-ip`.
#[derive(Debug, Clone, Copy)]
pub struct ElasticIp;

/// What is wanted of an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ElasticIpSpec {
    /// Region.
    pub region: String,
}

/// What is seen of an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ElasticIpObserved {
    /// Region.
    pub region: String,
    /// The address.
    pub address: String,
}

impl ResourceKindDef for ElasticIp {
    type Spec<F: Form> = ElasticIpSpec;
    type Observed = ElasticIpObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("aws.elastic-ip")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id", "address"]
    }
    fn diff(&self, want: &ElasticIpSpec, have: &ElasticIpObserved) -> Change {
        let ElasticIpSpec { region } = want;
        Diff::new().replace("region", *region != have.region).done()
    }
    fn bill(&self, want: &ElasticIpSpec) -> Vec<BillItem> {
        vec![item(Line::Addresses, "public address", ("eip", "public-ipv4", &want.region), running(1))]
    }
    fn permissions(&self, op: Op, _: &ElasticIpSpec) -> Vec<Permission> {
        Actions {
            find: &["ec2:DescribeAddresses"],
            create: &["ec2:AllocateAddress", "ec2:CreateTags"],
            update: &[],
            delete: &["ec2:ReleaseAddress"],
        }
        .of(op, "*")
    }
    fn ownership(&self, _: &ResourceKey, _: &ElasticIpSpec) -> Ownership {
        Ownership::Tags
    }
    fn outputs(&self, id: &PhysicalId, have: &ElasticIpObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([
            ("id", super::plain_id(id, &have.region).into()),
            ("address", have.address.clone().into()),
        ])
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
        let want = json!({"region": "us-east-1"});
        let have = json!({"region": "us-east-1", "address": "203.0.113.7"});
        let answers = [
            ("region", json!("eu-west-1"), Answer::Replace),
            ("address", json!("203.0.113.8"), Answer::Nothing),
        ];
        check_kind(&super::ElasticIp, &want, &have, &answers).unwrap();
    }
}
