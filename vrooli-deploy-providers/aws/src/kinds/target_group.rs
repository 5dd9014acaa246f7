//! `aws.target-group`: units that a load balancer may send requests to. Which units those are is the fleet's.

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

/// The kind `aws.target-group`.
#[derive(Debug, Clone, Copy)]
pub struct TargetGroup;

/// What the units of a target group are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TargetKind {
    /// Addresses: tasks on Fargate.
    Ip,
    /// Machines.
    Instance,
}

/// What is wanted of a target group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct TargetGroupSpec<F: Form = Wanted> {
    /// Region.
    pub region: String,
    /// Its name, unique in the region, at most 32 characters.
    pub name: String,
    /// Its network.
    pub vpc: F::In<String>,
    /// The port that units listen on.
    pub port: u16,
    /// What its units are.
    pub targets: TargetKind,
    /// The path that is asked whether a unit is well.
    pub health_path: String,
    /// Between two such questions, in seconds.
    pub interval_seconds: u32,
    /// How long a unit that is taken out may finish what it is doing, in seconds.
    pub drain_seconds: u32,
}

/// What is seen of a target group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TargetGroupObserved {
    /// Region.
    pub region: String,
    /// Its name, unique in the region, at most 32 characters.
    pub name: String,
    /// Its network.
    pub vpc: String,
    /// The port that units listen on.
    pub port: u16,
    /// What its units are.
    pub targets: TargetKind,
    /// The path that is asked whether a unit is well.
    pub health_path: String,
    /// Between two such questions, in seconds.
    pub interval_seconds: u32,
    /// How long a unit that is taken out may finish what it is doing, in seconds.
    pub drain_seconds: u32,
}

impl ResourceKindDef for TargetGroup {
    type Spec<F: Form> = TargetGroupSpec<F>;
    type Observed = TargetGroupObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("aws.target-group")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id"]
    }
    fn diff(&self, want: &TargetGroupSpec<Wanted>, have: &TargetGroupObserved) -> Change {
        let TargetGroupSpec {
            region,
            name,
            vpc,
            port,
            targets,
            health_path,
            interval_seconds,
            drain_seconds,
        } = want;
        Diff::new()
            .replace("region", *region != have.region)
            .replace("name", *name != have.name)
            .replace("vpc", vpc.differs(&have.vpc))
            .replace("port", *port != have.port)
            .replace("targets", *targets != have.targets)
            .update("health_path", *health_path != have.health_path)
            .update("interval_seconds", *interval_seconds != have.interval_seconds)
            .update("drain_seconds", *drain_seconds != have.drain_seconds)
            .done()
    }
    fn bill(&self, _: &TargetGroupSpec<Wanted>) -> Vec<BillItem> {
        Vec::new()
    }
    fn permissions(&self, op: Op, want: &TargetGroupSpec<Wanted>) -> Vec<Permission> {
        Actions {
            find: &[
                "tag:GetResources",
                "elasticloadbalancing:DescribeTargetGroups",
                "elasticloadbalancing:DescribeTargetGroupAttributes",
                "elasticloadbalancing:DescribeTags",
            ],
            create: &[
                "elasticloadbalancing:CreateTargetGroup",
                "elasticloadbalancing:ModifyTargetGroupAttributes",
                "elasticloadbalancing:AddTags",
            ],
            update: &[
                "elasticloadbalancing:ModifyTargetGroup",
                "elasticloadbalancing:ModifyTargetGroupAttributes",
            ],
            delete: &["elasticloadbalancing:DeleteTargetGroup"],
        }
        .of(op, format!("arn:aws:elasticloadbalancing:{}:*:targetgroup/{}/*", want.region, want.name))
    }
    fn ownership(&self, _: &ResourceKey, want: &TargetGroupSpec<Wanted>) -> Ownership {
        Ownership::DerivedName(want.name.clone())
    }
    fn outputs(&self, id: &PhysicalId, _: &TargetGroupObserved) -> BTreeMap<OutputName, Value> {
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
        let want = json!({"region": "us-east-1", "name": "app-default", "vpc": "id-1", "port": 8080, "targets": "ip", "health_path": "/health", "interval_seconds": 10, "drain_seconds": 30});
        let have = json!({"region": "us-east-1", "name": "app-default", "vpc": "id-1", "port": 8080, "targets": "ip", "health_path": "/health", "interval_seconds": 10, "drain_seconds": 30});
        let answers = [
            ("region", json!("eu-west-1"), Answer::Replace),
            ("name", json!("other"), Answer::Replace),
            ("vpc", json!("id-2"), Answer::Replace),
            ("port", json!(8081), Answer::Replace),
            ("targets", json!("instance"), Answer::Replace),
            ("health_path", json!("/"), Answer::Update),
            ("interval_seconds", json!(30), Answer::Update),
            ("drain_seconds", json!(60), Answer::Update),
        ];
        check_kind(&super::TargetGroup, &want, &have, &answers).unwrap();
    }
}
