//! `aws.security-group`: who may reach some machines, and where. What they reach themselves is not limited.

#[cfg(feature = "native")]
mod native;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::BillItem;
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Known, Op, Ownership, Permission, PhysicalId, ResourceKindDef, Wanted,
};

use super::Actions;

/// The kind `aws.security-group`.
#[derive(Debug, Clone, Copy)]
pub struct SecurityGroup;

/// One rule: who may come in at some ports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct Ingress<F: Form = Wanted> {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// First port.
    pub from_port: u16,
    /// Last port.
    pub to_port: u16,
    /// Addresses that may, `0.0.0.0/0` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidr: Option<String>,
    /// Machines of this security group may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<F::In<String>>,
}

/// The order of rules says nothing.
fn rules_differ(want: &[Ingress<Wanted>], have: &[Ingress<Known>]) -> bool {
    let same = |want: &Ingress<Wanted>, have: &Ingress<Known>| {
        want.protocol == have.protocol
            && (want.from_port, want.to_port) == (have.from_port, have.to_port)
            && want.cidr == have.cidr
            && !super::id_differs(want.group.as_ref(), have.group.as_ref())
    };
    want.len() != have.len() || want.iter().any(|want| !have.iter().any(|have| same(want, have)))
}

/// What is wanted of a security group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct SecurityGroupSpec<F: Form = Wanted> {
    /// Region.
    pub region: String,
    /// Its name, unique in the network.
    pub name: String,
    /// A few words; it can never be changed.
    pub description: String,
    /// Its network.
    pub vpc: F::In<String>,
    /// Who may come in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<Ingress<F>>,
}

/// What is seen of a security group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SecurityGroupObserved {
    /// Region.
    pub region: String,
    /// Its name, unique in the network.
    pub name: String,
    /// A few words; it can never be changed.
    pub description: String,
    /// Its network.
    pub vpc: String,
    /// Who may come in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<Ingress<Known>>,
}

impl ResourceKindDef for SecurityGroup {
    type Spec<F: Form> = SecurityGroupSpec<F>;
    type Observed = SecurityGroupObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("aws.security-group")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id"]
    }
    fn diff(&self, want: &SecurityGroupSpec<Wanted>, have: &SecurityGroupObserved) -> Change {
        let SecurityGroupSpec { region, name, description, vpc, ingress } = want;
        Diff::new()
            .replace("region", *region != have.region)
            .replace("name", *name != have.name)
            .replace("description", *description != have.description)
            .replace("vpc", vpc.differs(&have.vpc))
            .update("ingress", rules_differ(ingress, &have.ingress))
            .done()
    }
    fn bill(&self, _: &SecurityGroupSpec<Wanted>) -> Vec<BillItem> {
        Vec::new()
    }
    fn permissions(&self, op: Op, _: &SecurityGroupSpec<Wanted>) -> Vec<Permission> {
        Actions {
            find: &["ec2:DescribeSecurityGroups"],
            create: &["ec2:CreateSecurityGroup", "ec2:AuthorizeSecurityGroupIngress", "ec2:CreateTags"],
            update: &["ec2:AuthorizeSecurityGroupIngress", "ec2:RevokeSecurityGroupIngress"],
            delete: &["ec2:DeleteSecurityGroup"],
        }
        .of(op, "*")
    }
    fn ownership(&self, _: &ResourceKey, _: &SecurityGroupSpec<Wanted>) -> Ownership {
        Ownership::Tags
    }
    fn outputs(&self, id: &PhysicalId, have: &SecurityGroupObserved) -> BTreeMap<OutputName, Value> {
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
        let want = json!({"region": "us-east-1", "name": "web", "description": "who reaches the app", "vpc": "id-1", "ingress": [{"protocol": "tcp", "from_port": 443, "to_port": 443, "cidr": "0.0.0.0/0"}, {"protocol": "tcp", "from_port": 80, "to_port": 80, "group": "sg-1"}]});
        let have = json!({"region": "us-east-1", "name": "web", "description": "who reaches the app", "vpc": "id-1", "ingress": [{"protocol": "tcp", "from_port": 443, "to_port": 443, "cidr": "0.0.0.0/0"}, {"protocol": "tcp", "from_port": 80, "to_port": 80, "group": "sg-1"}]});
        let answers = [
            ("region", json!("eu-west-1"), Answer::Replace),
            ("name", json!("api"), Answer::Replace),
            ("description", json!("other"), Answer::Replace),
            ("vpc", json!("id-2"), Answer::Replace),
            (
                "ingress",
                json!([{"protocol": "tcp", "from_port": 443, "to_port": 443, "group": "sg-1"}]),
                Answer::Update,
            ),
        ];
        check_kind(&super::SecurityGroup, &want, &have, &answers).unwrap();
    }
}
