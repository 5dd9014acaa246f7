//! `aws.route-table`: where the packets of some subnets go.

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

/// The kind `aws.route-table`.
#[derive(Debug, Clone, Copy)]
pub struct RouteTable;

/// What is wanted of a route table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct RouteTableSpec<F: Form = Wanted> {
    /// Region.
    pub region: String,
    /// Its network.
    pub vpc: F::In<String>,
    /// The way out of public subnets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub internet_gateway: Option<F::In<String>>,
    /// The way out of private subnets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nat_gateway: Option<F::In<String>>,
    /// The subnets that follow it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subnets: Vec<F::In<String>>,
}

/// What is seen of a route table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RouteTableObserved {
    /// Region.
    pub region: String,
    /// Its network.
    pub vpc: String,
    /// The way out of public subnets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub internet_gateway: Option<String>,
    /// The way out of private subnets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nat_gateway: Option<String>,
    /// The subnets that follow it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subnets: Vec<String>,
}

impl ResourceKindDef for RouteTable {
    type Spec<F: Form> = RouteTableSpec<F>;
    type Observed = RouteTableObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("aws.route-table")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id"]
    }
    fn diff(&self, want: &RouteTableSpec<Wanted>, have: &RouteTableObserved) -> Change {
        let RouteTableSpec { region, vpc, internet_gateway, nat_gateway, subnets } = want;
        Diff::new()
            .replace("region", *region != have.region)
            .replace("vpc", vpc.differs(&have.vpc))
            .update(
                "internet_gateway",
                super::id_differs(internet_gateway.as_ref(), have.internet_gateway.as_ref()),
            )
            .update("nat_gateway", super::id_differs(nat_gateway.as_ref(), have.nat_gateway.as_ref()))
            .update("subnets", super::ids_differ(subnets, &have.subnets))
            .done()
    }
    fn bill(&self, _: &RouteTableSpec<Wanted>) -> Vec<BillItem> {
        Vec::new()
    }
    fn permissions(&self, op: Op, _: &RouteTableSpec<Wanted>) -> Vec<Permission> {
        Actions {
            find: &["ec2:DescribeRouteTables"],
            create: &[
                "ec2:CreateRouteTable",
                "ec2:CreateRoute",
                "ec2:AssociateRouteTable",
                "ec2:ReplaceRouteTableAssociation",
                "ec2:CreateTags",
            ],
            update: &[
                "ec2:CreateRoute",
                "ec2:ReplaceRoute",
                "ec2:DeleteRoute",
                "ec2:AssociateRouteTable",
                "ec2:ReplaceRouteTableAssociation",
                "ec2:DisassociateRouteTable",
            ],
            delete: &["ec2:DisassociateRouteTable", "ec2:DeleteRouteTable"],
        }
        .of(op, "*")
    }
    fn ownership(&self, _: &ResourceKey, _: &RouteTableSpec<Wanted>) -> Ownership {
        Ownership::Tags
    }
    fn outputs(&self, id: &PhysicalId, have: &RouteTableObserved) -> BTreeMap<OutputName, Value> {
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
        let want = json!({"region": "us-east-1", "vpc": "id-1", "internet_gateway": "id-1", "subnets": ["id-1", "id-2"]});
        let have = json!({"region": "us-east-1", "vpc": "id-1", "internet_gateway": "id-1", "subnets": ["id-1", "id-2"]});
        let answers = [
            ("region", json!("eu-west-1"), Answer::Replace),
            ("vpc", json!("id-2"), Answer::Replace),
            ("internet_gateway", json!("id-2"), Answer::Update),
            ("nat_gateway", json!("nat-1"), Answer::Update),
            ("subnets", json!(["id-3"]), Answer::Update),
        ];
        check_kind(&super::RouteTable, &want, &have, &answers).unwrap();
    }
}
