//! `aws.vpc`: the network that a stack lives in.

#[cfg(feature = "native")]
mod native;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::BillItem;
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Op, Ownership, Permission, PhysicalId, ResourceKindDef,
};

use super::Actions;

/// The kind `aws.vpc`.
#[derive(Debug, Clone, Copy)]
pub struct Vpc;

/// What is wanted of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VpcSpec {
    /// Region.
    pub region: String,
    /// Its addresses, `10.0.0.0/16`.
    pub cidr: String,
    /// Do its machines get names?
    pub dns_names: bool,
}

/// What is seen of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VpcObserved {
    /// Region.
    pub region: String,
    /// Its addresses, `10.0.0.0/16`.
    pub cidr: String,
    /// Do its machines get names?
    pub dns_names: bool,
}

impl ResourceKindDef for Vpc {
    type Spec<F: Form> = VpcSpec;
    type Observed = VpcObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("aws.vpc")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id"]
    }
    fn diff(&self, want: &VpcSpec, have: &VpcObserved) -> Change {
        let VpcSpec { region, cidr, dns_names } = want;
        Diff::new()
            .replace("region", *region != have.region)
            .replace("cidr", *cidr != have.cidr)
            .update("dns_names", *dns_names != have.dns_names)
            .done()
    }
    fn bill(&self, _: &VpcSpec) -> Vec<BillItem> {
        Vec::new()
    }
    fn permissions(&self, op: Op, _: &VpcSpec) -> Vec<Permission> {
        Actions {
            find: &["ec2:DescribeVpcs", "ec2:DescribeVpcAttribute"],
            create: &["ec2:CreateVpc", "ec2:ModifyVpcAttribute", "ec2:CreateTags"],
            update: &["ec2:ModifyVpcAttribute"],
            delete: &["ec2:DeleteVpc"],
        }
        .of(op, "*")
    }
    fn ownership(&self, _: &ResourceKey, _: &VpcSpec) -> Ownership {
        Ownership::Tags
    }
    fn outputs(&self, id: &PhysicalId, have: &VpcObserved) -> BTreeMap<OutputName, Value> {
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
        let want = json!({"region": "us-east-1", "cidr": "10.0.0.0/16", "dns_names": true});
        let have = json!({"region": "us-east-1", "cidr": "10.0.0.0/16", "dns_names": true});
        let answers = [
            ("region", json!("eu-west-1"), Answer::Replace),
            ("cidr", json!("10.1.0.0/16"), Answer::Replace),
            ("dns_names", json!(false), Answer::Update),
        ];
        check_kind(&super::Vpc, &want, &have, &answers).unwrap();
    }
}
