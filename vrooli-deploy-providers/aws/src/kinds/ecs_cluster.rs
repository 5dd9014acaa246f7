//! `aws.ecs-cluster`: what containers of a stack belong to.

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

/// The kind `aws.ecs-cluster`.
#[derive(Debug, Clone, Copy)]
pub struct EcsCluster;

/// What is wanted of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EcsClusterSpec {
    /// Region.
    pub region: String,
    /// Its name, unique in the region.
    pub name: String,
    /// Are detailed figures recorded?
    pub insights: bool,
}

/// What is seen of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EcsClusterObserved {
    /// Region.
    pub region: String,
    /// Its name, unique in the region.
    pub name: String,
    /// Are detailed figures recorded?
    pub insights: bool,
}

impl ResourceKindDef for EcsCluster {
    type Spec<F: Form> = EcsClusterSpec;
    type Observed = EcsClusterObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("aws.ecs-cluster")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id", "name"]
    }
    fn diff(&self, want: &EcsClusterSpec, have: &EcsClusterObserved) -> Change {
        let EcsClusterSpec { region, name, insights } = want;
        Diff::new()
            .replace("region", *region != have.region)
            .replace("name", *name != have.name)
            .update("insights", *insights != have.insights)
            .done()
    }
    fn bill(&self, _: &EcsClusterSpec) -> Vec<BillItem> {
        Vec::new()
    }
    fn permissions(&self, op: Op, want: &EcsClusterSpec) -> Vec<Permission> {
        Actions {
            find: &["tag:GetResources", "ecs:DescribeClusters"],
            create: &["ecs:CreateCluster", "ecs:UpdateCluster", "ecs:TagResource"],
            update: &["ecs:UpdateCluster"],
            delete: &["ecs:DeleteCluster"],
        }
        .of(op, format!("arn:aws:ecs:{}:*:cluster/{}", want.region, want.name))
    }
    fn ownership(&self, _: &ResourceKey, want: &EcsClusterSpec) -> Ownership {
        Ownership::DerivedName(want.name.clone())
    }
    fn outputs(&self, id: &PhysicalId, have: &EcsClusterObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([("id", id.0.clone().into()), ("name", have.name.clone().into())])
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
        let want = json!({"region": "us-east-1", "name": "app-default", "insights": false});
        let have = json!({"region": "us-east-1", "name": "app-default", "insights": false});
        let answers = [
            ("region", json!("eu-west-1"), Answer::Replace),
            ("name", json!("other"), Answer::Replace),
            ("insights", json!(true), Answer::Update),
        ];
        check_kind(&super::EcsCluster, &want, &have, &answers).unwrap();
    }
}
