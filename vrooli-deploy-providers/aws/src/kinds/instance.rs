//! `aws.instance`: one machine that stays.

#[cfg(feature = "native")]
mod native;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::{BillItem, Decimal, Line, Quantity};
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Op, Ownership, Permission, PhysicalId, ResourceKindDef, Wanted,
};

use super::Actions;
use crate::bill::{item, running, with};

/// The kind `aws.instance`.
#[derive(Debug, Clone, Copy)]
pub struct Instance;

/// What is wanted of a machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct InstanceSpec<F: Form = Wanted> {
    /// Region.
    pub region: String,
    /// Its size, `t3.small`.
    pub instance_type: String,
    /// The public parameter that names its image.
    pub image: String,
    /// The subnet that it stands in.
    pub subnet: F::In<String>,
    /// Who may reach it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_groups: Vec<F::In<String>>,
    /// The instance profile that gives it its rights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<F::In<String>>,
    /// Its system disk, in GiB.
    pub disk_gib: u32,
    /// A public address that stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elastic_ip: Option<F::In<String>>,
}

/// What is seen of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceObserved {
    /// Region.
    pub region: String,
    /// Its size, `t3.small`.
    pub instance_type: String,
    /// The public parameter that names its image.
    pub image: String,
    /// The subnet that it stands in.
    pub subnet: String,
    /// Who may reach it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_groups: Vec<String>,
    /// The instance profile that gives it its rights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Its system disk, in GiB.
    pub disk_gib: u32,
    /// A public address that stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elastic_ip: Option<String>,
    /// Its address in the network.
    pub private_address: String,
    /// Is it switched off? Another size is set while it is: a run that ended then left it so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
}

impl ResourceKindDef for Instance {
    type Spec<F: Form> = InstanceSpec<F>;
    type Observed = InstanceObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("aws.instance")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id", "private_address"]
    }
    fn diff(&self, want: &InstanceSpec<Wanted>, have: &InstanceObserved) -> Change {
        let InstanceSpec {
            region,
            instance_type,
            image,
            subnet,
            security_groups,
            profile,
            disk_gib,
            elastic_ip,
        } = want;
        Diff::new()
            .replace("region", *region != have.region)
            .update("instance_type", *instance_type != have.instance_type)
            .replace("image", *image != have.image)
            .replace("subnet", subnet.differs(&have.subnet))
            .update("security_groups", super::ids_differ(security_groups, &have.security_groups))
            .update("profile", super::id_differs(profile.as_ref(), have.profile.as_ref()))
            .update("disk_gib", *disk_gib > have.disk_gib)
            .replace("disk_gib", *disk_gib < have.disk_gib)
            .update("stopped", have.stopped)
            .update("elastic_ip", super::id_differs(elastic_ip.as_ref(), have.elastic_ip.as_ref()))
            .done()
    }
    fn bill(&self, want: &InstanceSpec<Wanted>) -> Vec<BillItem> {
        let machine = item(
            Line::Compute,
            format!("machine {}", want.instance_type),
            ("ec2", &want.instance_type, &want.region),
            running(1),
        );
        let disk = Quantity::Amount(Decimal::from(want.disk_gib));
        vec![
            with(machine, [("os", "linux"), ("tenancy", "shared")]),
            item(Line::Compute, format!("disk of {} GiB", want.disk_gib), ("ebs", "gp3", &want.region), disk),
        ]
    }
    fn permissions(&self, op: Op, _: &InstanceSpec<Wanted>) -> Vec<Permission> {
        Actions {
            find: &["ec2:DescribeInstances", "ec2:DescribeVolumes", "ec2:DescribeAddresses"],
            create: &[
                "ec2:RunInstances",
                "ec2:CreateTags",
                "ec2:AssociateAddress",
                "iam:PassRole",
                "ssm:GetParameters",
            ],
            update: &[
                "ec2:StopInstances",
                "ec2:StartInstances",
                "ec2:ModifyInstanceAttribute",
                "ec2:ModifyVolume",
                "ec2:AssociateAddress",
                "ec2:DisassociateAddress",
                "ec2:DescribeIamInstanceProfileAssociations",
                "ec2:AssociateIamInstanceProfile",
                "ec2:DisassociateIamInstanceProfile",
                "iam:PassRole",
            ],
            delete: &["ec2:TerminateInstances"],
        }
        .of(op, "*")
    }
    fn ownership(&self, _: &ResourceKey, _: &InstanceSpec<Wanted>) -> Ownership {
        Ownership::Tags
    }
    fn outputs(&self, id: &PhysicalId, have: &InstanceObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([
            ("id", super::plain_id(id, &have.region).into()),
            ("private_address", have.private_address.clone().into()),
        ])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use vrooli_deploy_core::provider::pure::{Answer, check_kind};

    #[test]
    fn differences_are_answered() {
        let want = json!({"region": "us-east-1", "instance_type": "t3.small", "image": "/aws/service/debian/release/13/latest/amd64", "subnet": "id-1", "security_groups": ["id-1", "id-2"], "profile": "id-1", "disk_gib": 20});
        let have = json!({"region": "us-east-1", "instance_type": "t3.small", "image": "/aws/service/debian/release/13/latest/amd64", "subnet": "id-1", "security_groups": ["id-1", "id-2"], "profile": "id-1", "disk_gib": 20, "private_address": "10.0.0.7"});
        let answers = [
            ("region", json!("eu-west-1"), Answer::Replace),
            ("instance_type", json!("t3.medium"), Answer::Update),
            ("image", json!("/aws/service/other"), Answer::Replace),
            ("subnet", json!("id-2"), Answer::Replace),
            ("security_groups", json!(["id-3"]), Answer::Update),
            ("profile", json!("id-2"), Answer::Update),
            ("disk_gib", json!(10), Answer::Update),
            ("disk_gib", json!(40), Answer::Replace),
            ("elastic_ip", json!("eipalloc-1"), Answer::Update),
            ("stopped", json!(true), Answer::Update),
            ("private_address", json!("10.0.0.8"), Answer::Nothing),
        ];
        check_kind(&super::Instance, &want, &have, &answers).unwrap();
    }
}
