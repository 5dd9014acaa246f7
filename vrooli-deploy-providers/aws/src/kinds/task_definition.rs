//! `aws.task-definition`: what a service of ECS is made with before a release is in it. Definitions of
//! releases are the fleet's.

#[cfg(feature = "native")]
pub(crate) mod native;

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

/// The kind `aws.task-definition`.
#[derive(Debug, Clone, Copy)]
pub struct TaskDefinition;

/// What is wanted of a task definition of which nothing runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskDefinitionSpec {
    /// Region.
    pub region: String,
    /// Its family, unique in the region.
    pub name: String,
    /// CPU of a task, in units of which 1024 are one. No task runs of it, so nothing compares it.
    pub cpu_units: u32,
    /// Memory of a task, in MiB. As above.
    pub memory_mib: u32,
}

/// What is seen of a task definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskDefinitionObserved {
    /// Region.
    pub region: String,
    /// Its family, unique in the region.
    pub name: String,
}

impl ResourceKindDef for TaskDefinition {
    type Spec<F: Form> = TaskDefinitionSpec;
    type Observed = TaskDefinitionObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("aws.task-definition")
    }
    fn runs_app(&self) -> bool {
        true
    }
    fn may_hold_data(&self) -> bool {
        false
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id", "name"]
    }
    fn diff(&self, want: &TaskDefinitionSpec, have: &TaskDefinitionObserved) -> Change {
        let TaskDefinitionSpec { region, name, cpu_units: _, memory_mib: _ } = want;
        Diff::new().replace("region", *region != have.region).replace("name", *name != have.name).done()
    }
    fn bill(&self, _: &TaskDefinitionSpec) -> Vec<BillItem> {
        Vec::new()
    }
    fn permissions(&self, op: Op, want: &TaskDefinitionSpec) -> Vec<Permission> {
        // IAM knows no resources for these.
        let mut all = Actions {
            find: &["tag:GetResources", "ecs:DescribeTaskDefinition"],
            create: &["ecs:RegisterTaskDefinition"],
            update: &[],
            delete: &["ecs:DeregisterTaskDefinition", "ecs:ListTaskDefinitions"],
        }
        .of(op, "*");
        let own = Actions {
            find: &[],
            create: &["ecs:TagResource"],
            update: &[],
            delete: &["ecs:DeleteTaskDefinitions", "ecs:UntagResource"],
        };
        all.extend(own.of(op, format!("arn:aws:ecs:{}:*:task-definition/{}:*", want.region, want.name)));
        all
    }
    fn ownership(&self, _: &ResourceKey, want: &TaskDefinitionSpec) -> Ownership {
        Ownership::DerivedName(want.name.clone())
    }
    fn outputs(&self, id: &PhysicalId, have: &TaskDefinitionObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([("id", id.0.clone().into()), ("name", have.name.clone().into())])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use vrooli_deploy_core::provider::pure::{Answer, check_kind};

    #[test]
    fn differences_are_answered() {
        let want =
            json!({"region": "us-east-1", "name": "app-default-idle", "cpu_units": 256, "memory_mib": 512});
        let have = json!({"region": "us-east-1", "name": "app-default-idle"});
        let answers =
            [("region", json!("eu-west-1"), Answer::Replace), ("name", json!("other"), Answer::Replace)];
        check_kind(&super::TaskDefinition, &want, &have, &answers).unwrap();
    }
}
