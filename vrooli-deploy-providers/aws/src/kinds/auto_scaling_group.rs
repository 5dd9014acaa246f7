//! `aws.auto-scaling-group`: one of the two slots of a place where a release runs on machines. What a release
//! changes (version of the template, how many run, target groups and their weights) is the fleet's.

#[cfg(feature = "native")]
pub(crate) mod native;

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
use super::slots::rights;
use crate::bill::{item, per_release, running, with};

/// The kind `aws.auto-scaling-group`.
#[derive(Debug, Clone, Copy)]
pub struct AutoScalingGroup;

/// What a release takes that is listed or described, and what whoever has a group make machines must be allowed:
/// to make them, of an image that a parameter names, with tags, and with the app's rights.
const RELEASES: &[&str] = &[
    "autoscaling:DescribeScalingActivities",
    "ec2:CreateLaunchTemplateVersion",
    "ec2:CreateTags",
    "ec2:DeleteLaunchTemplateVersions",
    "ec2:DescribeLaunchTemplateVersions",
    "ec2:DescribeLaunchTemplates",
    "ec2:RunInstances",
    "iam:PassRole",
    "logs:FilterLogEvents",
    "ssm:GetParameters",
];

/// What it changes of a slot.
const SLOT: &[&str] = &[
    "autoscaling:AttachLoadBalancerTargetGroups",
    "autoscaling:DetachLoadBalancerTargetGroups",
    "autoscaling:UpdateAutoScalingGroup",
];

/// What is wanted of a group of machines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct AutoScalingGroupSpec<F: Form = Wanted> {
    /// Region.
    pub region: String,
    /// Its name, unique in the region.
    pub name: String,
    /// What its machines are made of.
    pub launch_template: F::In<String>,
    /// The subnets that they stand in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subnets: Vec<F::In<String>>,
    /// It may have so many. One that may have more keeps that: made less, AWS would end machines of a release that
    /// serves (API reference, UpdateAutoScalingGroup), and a release that is gone back to may need them.
    pub max: u32,
    /// How many run, and are billed. One slot of a pair says it, the other says 0: only one of them runs.
    pub count: u32,
    /// Their size as the template says it, for the bill.
    pub instance_type: String,
    /// Their disks as the template says it, for the bill.
    pub disk_gib: u32,
    /// Do they have public addresses, as the template says, for the bill.
    pub public_address: bool,
}

/// What is seen of a group of machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AutoScalingGroupObserved {
    /// Region.
    pub region: String,
    /// Its name, unique in the region.
    pub name: String,
    /// What its machines are made of.
    pub launch_template: String,
    /// The subnets that they stand in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subnets: Vec<String>,
    /// At most so many.
    pub max: u32,
}

impl ResourceKindDef for AutoScalingGroup {
    type Spec<F: Form> = AutoScalingGroupSpec<F>;
    type Observed = AutoScalingGroupObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("aws.auto-scaling-group")
    }
    fn runs_app(&self) -> bool {
        true
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id"]
    }
    fn diff(&self, want: &AutoScalingGroupSpec<Wanted>, have: &AutoScalingGroupObserved) -> Change {
        // The template's own fields are compared there.
        let AutoScalingGroupSpec {
            region,
            name,
            launch_template,
            subnets,
            max,
            count: _,
            instance_type: _,
            disk_gib: _,
            public_address: _,
        } = want;
        Diff::new()
            .replace("region", *region != have.region)
            .replace("name", *name != have.name)
            .replace("launch_template", launch_template.differs(&have.launch_template))
            .update("subnets", super::ids_differ(subnets, &have.subnets))
            .update("max", have.max < *max)
            .done()
    }
    fn bill(&self, want: &AutoScalingGroupSpec<Wanted>) -> Vec<BillItem> {
        if want.count == 0 {
            return Vec::new();
        }
        let machines = item(
            Line::Compute,
            format!("{} × machine {}", want.count, want.instance_type),
            ("ec2", &want.instance_type, &want.region),
            running(want.count),
        );
        let disk = Quantity::Amount(Decimal::from(want.disk_gib) * Decimal::from(want.count));
        let what = format!("{} × disk of {} GiB", want.count, want.disk_gib);
        let mut items = vec![
            with(per_release(machines), [("os", "linux"), ("tenancy", "shared")]),
            per_release(item(Line::Compute, what, ("ebs", "gp3", &want.region), disk)),
        ];
        if want.public_address {
            let what = format!("{} × public address", want.count);
            let address = ("eip", "public-ipv4", want.region.as_str());
            items.push(per_release(item(Line::Addresses, what, address, running(want.count))));
        }
        items
    }
    fn permissions(&self, op: Op, want: &AutoScalingGroupSpec<Wanted>) -> Vec<Permission> {
        let group = format!(
            "arn:aws:autoscaling:{}:*:autoScalingGroup:*:autoScalingGroupName/{}",
            want.region, want.name
        );
        let mut all = Actions {
            find: &["autoscaling:DescribeAutoScalingGroups"],
            create: &["autoscaling:CreateAutoScalingGroup", "autoscaling:CreateOrUpdateTags"],
            update: &["autoscaling:UpdateAutoScalingGroup"],
            delete: &["autoscaling:DeleteAutoScalingGroup"],
        }
        .of(op, group.clone());
        if op == Op::Create || op == Op::Update {
            all.extend(super::slots::releases(&want.region));
            all.extend(rights(RELEASES, "*"));
            all.extend(rights(SLOT, &group));
        }
        all
    }
    fn may_hold_data(&self) -> bool {
        false
    }
    fn ownership(&self, _: &ResourceKey, want: &AutoScalingGroupSpec<Wanted>) -> Ownership {
        Ownership::DerivedName(want.name.clone())
    }
    fn outputs(&self, id: &PhysicalId, _: &AutoScalingGroupObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([("id", id.0.clone().into())])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use vrooli_deploy_core::provider::pure::{Answer, check_kind};
    use vrooli_deploy_core::provider::{Change, ResourceKindDef as _};

    #[test]
    fn differences_are_answered() {
        let want = json!({"region": "us-east-1", "name": "app-default", "launch_template": "lt-1", "subnets": ["id-1", "id-2"], "max": 4, "count": 1, "instance_type": "t3.small", "disk_gib": 20, "public_address": true});
        let have = json!({"region": "us-east-1", "name": "app-default", "launch_template": "lt-1", "subnets": ["id-1", "id-2"], "max": 4});
        let answers = [
            ("region", json!("eu-west-1"), Answer::Replace),
            ("name", json!("other"), Answer::Replace),
            ("launch_template", json!("lt-2"), Answer::Replace),
            ("subnets", json!(["id-3"]), Answer::Update),
            ("max", json!(3), Answer::Update),
        ];
        check_kind(&super::AutoScalingGroup, &want, &have, &answers).unwrap();
        // Made less, AWS would end machines.
        let mut roomy = have;
        roomy["max"] = json!(8);
        let [want, have] = [want, roomy];
        let (want, have) = (serde_json::from_value(want).unwrap(), serde_json::from_value(have).unwrap());
        assert_eq!(super::AutoScalingGroup.diff(&want, &have), Change::None);
    }

    #[test]
    fn one_slot_of_a_place_is_billed() {
        let spec = |count: u32| {
            serde_json::from_value::<super::AutoScalingGroupSpec>(json!({
                "region": "us-east-1", "name": "a", "launch_template": "lt-1", "max": 2, "count": count,
                "instance_type": "t3.small", "disk_gib": 20, "public_address": true
            }))
            .unwrap()
        };
        let items = |count| super::AutoScalingGroup.bill(&spec(count)).len();
        assert_eq!((items(2), items(0)), (3, 0));
    }
}
