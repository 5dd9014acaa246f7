//! `aws.subnet`: a range of addresses of a network in one zone.

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

/// The kind `aws.subnet`.
#[derive(Debug, Clone, Copy)]
pub struct Subnet;

/// What is wanted of a subnet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct SubnetSpec<F: Form = Wanted> {
    /// Region.
    pub region: String,
    /// Its network.
    pub vpc: F::In<String>,
    /// Its zone, `us-east-1a`.
    pub zone: String,
    /// Its addresses, `10.0.0.0/20`.
    pub cidr: String,
    /// Do machines in it get public addresses by themselves?
    pub public: bool,
}

/// What is seen of a subnet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SubnetObserved {
    /// Region.
    pub region: String,
    /// Its network.
    pub vpc: String,
    /// Its zone, `us-east-1a`.
    pub zone: String,
    /// Its addresses, `10.0.0.0/20`.
    pub cidr: String,
    /// Do machines in it get public addresses by themselves?
    pub public: bool,
}

impl ResourceKindDef for Subnet {
    type Spec<F: Form> = SubnetSpec<F>;
    type Observed = SubnetObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("aws.subnet")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id"]
    }
    fn diff(&self, want: &SubnetSpec<Wanted>, have: &SubnetObserved) -> Change {
        let SubnetSpec { region, vpc, zone, cidr, public } = want;
        Diff::new()
            .replace("region", *region != have.region)
            .replace("vpc", vpc.differs(&have.vpc))
            .replace("zone", *zone != have.zone)
            .replace("cidr", *cidr != have.cidr)
            .update("public", *public != have.public)
            .done()
    }
    fn bill(&self, _: &SubnetSpec<Wanted>) -> Vec<BillItem> {
        Vec::new()
    }
    fn permissions(&self, op: Op, _: &SubnetSpec<Wanted>) -> Vec<Permission> {
        Actions {
            find: &["ec2:DescribeSubnets"],
            create: &["ec2:CreateSubnet", "ec2:ModifySubnetAttribute", "ec2:CreateTags"],
            update: &["ec2:ModifySubnetAttribute"],
            delete: &["ec2:DeleteSubnet"],
        }
        .of(op, "*")
    }
    fn ownership(&self, _: &ResourceKey, _: &SubnetSpec<Wanted>) -> Ownership {
        Ownership::Tags
    }
    fn outputs(&self, id: &PhysicalId, have: &SubnetObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([("id", super::plain_id(id, &have.region).into())])
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
        let want = json!({"region": "us-east-1", "vpc": "id-1", "zone": "us-east-1a", "cidr": "10.0.0.0/20", "public": false});
        let have = json!({"region": "us-east-1", "vpc": "id-1", "zone": "us-east-1a", "cidr": "10.0.0.0/20", "public": false});
        let answers = [
            ("region", json!("eu-west-1"), Answer::Replace),
            ("vpc", json!("id-2"), Answer::Replace),
            ("zone", json!("us-east-1b"), Answer::Replace),
            ("cidr", json!("10.0.16.0/20"), Answer::Replace),
            ("public", json!(true), Answer::Update),
        ];
        check_kind(&super::Subnet, &want, &have, &answers).unwrap();
    }
}
