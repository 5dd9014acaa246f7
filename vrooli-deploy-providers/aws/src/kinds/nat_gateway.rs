//! `aws.nat-gateway`: the way of private subnets to the internet.

#[cfg(feature = "native")]
mod native;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::{BillItem, Line, Metric};
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Op, Ownership, Permission, PhysicalId, ResourceKindDef, Wanted,
};
use vrooli_deploy_core::stack::Input;

use super::Actions;
use crate::bill::{item, running, share, usage_times};

/// The kind `aws.nat-gateway`.
#[derive(Debug, Clone, Copy)]
pub struct NatGateway;

/// What is wanted of a NAT gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct NatGatewaySpec<F: Form = Wanted> {
    /// Region.
    pub region: String,
    /// The public subnet that it stands in.
    pub subnet: F::In<String>,
    /// Its address.
    pub elastic_ip: F::In<String>,
    /// How many share the traffic of the stack, this one included; each is billed for its share.
    pub of: u32,
}

/// What is seen of a NAT gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NatGatewayObserved {
    /// Region.
    pub region: String,
    /// The public subnet that it stands in.
    pub subnet: String,
    /// Its address.
    pub elastic_ip: String,
}

impl ResourceKindDef for NatGateway {
    type Spec<F: Form> = NatGatewaySpec<F>;
    type Observed = NatGatewayObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("aws.nat-gateway")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id"]
    }
    fn diff(&self, want: &NatGatewaySpec<Wanted>, have: &NatGatewayObserved) -> Change {
        // How many there are says nothing about this one.
        let NatGatewaySpec { region, subnet, elastic_ip, of: _ } = want;
        Diff::new()
            .replace("region", *region != have.region)
            .replace("subnet", subnet.differs(&have.subnet))
            .replace("elastic_ip", elastic_ip.differs(&have.elastic_ip))
            .done()
    }
    fn bill(&self, want: &NatGatewaySpec<Wanted>) -> Vec<BillItem> {
        let place = |sku| ("nat-gateway", sku, want.region.as_str());
        let passed = usage_times(Metric::NatGb, share(want.of));
        vec![
            item(Line::Nat, "NAT gateway", place("hour"), running(1)),
            item(Line::Nat, "passed through the NAT gateway", place("data-processed"), passed),
        ]
    }
    fn permissions(&self, op: Op, _: &NatGatewaySpec<Wanted>) -> Vec<Permission> {
        Actions {
            find: &["ec2:DescribeNatGateways"],
            create: &["ec2:CreateNatGateway", "ec2:CreateTags"],
            update: &[],
            delete: &["ec2:DeleteNatGateway"],
        }
        .of(op, "*")
    }
    fn ownership(&self, _: &ResourceKey, _: &NatGatewaySpec<Wanted>) -> Ownership {
        Ownership::Tags
    }
    fn outputs(&self, id: &PhysicalId, have: &NatGatewayObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([("id", super::plain_id(id, &have.region).into())])
    }
    fn may_hold_data(&self) -> bool {
        false
    }
    /// How many share the traffic matters to what is billed by use only.
    fn wanted_as(&self, have: &NatGatewayObserved) -> Option<NatGatewaySpec<Wanted>> {
        let NatGatewayObserved { region, subnet, elastic_ip } = have.clone();
        let (subnet, elastic_ip) = (Input::Value(subnet), Input::Value(elastic_ip));
        Some(NatGatewaySpec { region, subnet, elastic_ip, of: 1 })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use vrooli_deploy_core::provider::pure::{Answer, check_kind};

    #[test]
    fn differences_are_answered() {
        let want = json!({"region": "us-east-1", "subnet": "id-1", "elastic_ip": "eipalloc-1", "of": 1});
        let have = json!({"region": "us-east-1", "subnet": "id-1", "elastic_ip": "eipalloc-1"});
        let answers = [
            ("region", json!("eu-west-1"), Answer::Replace),
            ("subnet", json!("id-2"), Answer::Replace),
            ("elastic_ip", json!("eipalloc-2"), Answer::Replace),
        ];
        check_kind(&super::NatGateway, &want, &have, &answers).unwrap();
    }
}
