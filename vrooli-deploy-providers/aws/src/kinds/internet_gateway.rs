//! `aws.internet-gateway`: the door of a network to the internet. What leaves through it is billed here.

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

use super::Actions;
use crate::bill::{item, usage};

/// The kind `aws.internet-gateway`.
#[derive(Debug, Clone, Copy)]
pub struct InternetGateway;

/// What is wanted of an internet gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct InternetGatewaySpec<F: Form = Wanted> {
    /// Region.
    pub region: String,
    /// The network; it is attached to it.
    pub vpc: F::In<String>,
}

/// What is seen of an internet gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InternetGatewayObserved {
    /// Region.
    pub region: String,
    /// The network that it is attached to; none when it is not, and then it is attached in place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpc: Option<String>,
}

impl ResourceKindDef for InternetGateway {
    type Spec<F: Form> = InternetGatewaySpec<F>;
    type Observed = InternetGatewayObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("aws.internet-gateway")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id"]
    }
    fn diff(&self, want: &InternetGatewaySpec<Wanted>, have: &InternetGatewayObserved) -> Change {
        let InternetGatewaySpec { region, vpc } = want;
        Diff::new()
            .replace("region", *region != have.region)
            .replace("vpc", have.vpc.as_ref().is_some_and(|have| vpc.differs(have)))
            .update("vpc", have.vpc.is_none())
            .done()
    }
    fn bill(&self, want: &InternetGatewaySpec<Wanted>) -> Vec<BillItem> {
        let place = ("data-transfer", "internet-egress-from-0GB", want.region.as_str());
        vec![item(Line::Bandwidth, "sent to the internet", place, usage(Metric::EgressGb))]
    }
    fn permissions(&self, op: Op, _: &InternetGatewaySpec<Wanted>) -> Vec<Permission> {
        Actions {
            find: &["ec2:DescribeInternetGateways"],
            create: &["ec2:CreateInternetGateway", "ec2:AttachInternetGateway", "ec2:CreateTags"],
            update: &["ec2:AttachInternetGateway"],
            delete: &["ec2:DetachInternetGateway", "ec2:DeleteInternetGateway"],
        }
        .of(op, "*")
    }
    fn ownership(&self, _: &ResourceKey, _: &InternetGatewaySpec<Wanted>) -> Ownership {
        Ownership::Tags
    }
    fn outputs(&self, id: &PhysicalId, have: &InternetGatewayObserved) -> BTreeMap<OutputName, Value> {
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
        let want = json!({"region": "us-east-1", "vpc": "id-1"});
        let have = json!({"region": "us-east-1", "vpc": "id-1"});
        let answers = [
            ("region", json!("eu-west-1"), Answer::Replace),
            ("vpc", json!("id-2"), Answer::Replace),
            ("vpc", json!(null), Answer::Update),
        ];
        check_kind(&super::InternetGateway, &want, &have, &answers).unwrap();
    }
}
