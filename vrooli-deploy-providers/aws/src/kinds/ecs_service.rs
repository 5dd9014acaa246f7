//! `aws.ecs-service`: one of the two slots of a place where a release runs on Fargate. What a release changes
//! (task definition, running count, target groups and their weights) is the fleet's.

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
use crate::bill::{item, per_release, running};

/// The kind `aws.ecs-service`.
#[derive(Debug, Clone, Copy)]
pub struct EcsService;

/// What a release takes of ECS that IAM knows no resources for, or that is listed and described.
const RELEASES: &[&str] = &[
    "ecs:DeregisterTaskDefinition",
    "ecs:DescribeTaskDefinition",
    "ecs:DescribeTasks",
    "ecs:ListTaskDefinitions",
    "ecs:ListTasks",
    "ecs:RegisterTaskDefinition",
];

/// What is wanted of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct EcsServiceSpec<F: Form = Wanted> {
    /// Region.
    pub region: String,
    /// Its name, unique in the cluster.
    pub name: String,
    /// Its cluster.
    pub cluster: F::In<String>,
    /// The family of the task definition that it is made with. From the first release on it is the fleet's.
    pub idle: F::In<String>,
    /// The subnets that its tasks stand in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subnets: Vec<F::In<String>>,
    /// Who may reach them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_groups: Vec<F::In<String>>,
    /// Do its tasks get public addresses? Without one they need a NAT gateway to fetch their image.
    pub public_address: bool,
    /// CPU of a task, in units of which 1024 are one. The fleet writes it into task definitions.
    pub cpu_units: u32,
    /// Memory of a task, in MiB. As above.
    pub memory_mib: u32,
    /// How many tasks run, and are billed, where no scaler has the word. One slot of a pair says it, the
    /// other says 0: only one of them runs.
    pub count: u32,
}

/// What is seen of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EcsServiceObserved {
    /// Region.
    pub region: String,
    /// Its name, unique in the cluster.
    pub name: String,
    /// Its cluster.
    pub cluster: String,
    /// The subnets that its tasks stand in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subnets: Vec<String>,
    /// Who may reach them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_groups: Vec<String>,
    /// Do its tasks get public addresses? Without one they need a NAT gateway to fetch their image.
    pub public_address: bool,
}

impl ResourceKindDef for EcsService {
    type Spec<F: Form> = EcsServiceSpec<F>;
    type Observed = EcsServiceObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("aws.ecs-service")
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
    fn diff(&self, want: &EcsServiceSpec<Wanted>, have: &EcsServiceObserved) -> Change {
        // What it is made with is not what runs; size and count live in what the fleet makes of them.
        let EcsServiceSpec {
            region,
            name,
            cluster,
            idle: _,
            subnets,
            security_groups,
            public_address,
            cpu_units: _,
            memory_mib: _,
            count: _,
        } = want;
        Diff::new()
            .replace("region", *region != have.region)
            .replace("name", *name != have.name)
            .replace("cluster", cluster.differs(&have.cluster))
            .update("subnets", super::ids_differ(subnets, &have.subnets))
            .update("security_groups", super::ids_differ(security_groups, &have.security_groups))
            .update("public_address", *public_address != have.public_address)
            .done()
    }
    fn bill(&self, want: &EcsServiceSpec<Wanted>) -> Vec<BillItem> {
        if want.count == 0 {
            return Vec::new();
        }
        let count = Decimal::from(want.count);
        let processors = Decimal::from(want.cpu_units) / Decimal::from(1024);
        let memory = Decimal::from(want.memory_mib) / Decimal::from(1024);
        let place = |sku| ("fargate", sku, want.region.as_str());
        let what = |thing: String| format!("{} × {thing} of a Fargate task", want.count);
        let mut items = vec![
            item(
                Line::Compute,
                what(format!("{processors} vCPU")),
                place("vcpu-hour-linux-x86"),
                Quantity::Running(processors * count),
            ),
            item(
                Line::Compute,
                what(format!("{memory} GB of memory")),
                place("gb-hour-linux-x86"),
                Quantity::Running(memory * count),
            ),
        ];
        if want.public_address {
            let what = format!("{} × public address of a task", want.count);
            let address = ("eip", "public-ipv4", want.region.as_str());
            items.push(item(Line::Addresses, what, address, running(want.count)));
        }
        items.into_iter().map(per_release).collect()
    }
    fn permissions(&self, op: Op, want: &EcsServiceSpec<Wanted>) -> Vec<Permission> {
        let place = |what: &str, name: &str| format!("arn:aws:ecs:{}:*:{what}/{name}", want.region);
        let service = place("service", &format!("*/{}", want.name));
        let mut all = Actions {
            find: &["tag:GetResources", "ecs:DescribeServices"],
            create: &["ecs:CreateService", "ecs:TagResource"],
            update: &["ecs:UpdateService"],
            delete: &["ecs:DeleteService"],
        }
        .of(op, service.clone());
        if op == Op::Create || op == Op::Update {
            all.extend(super::slots::releases(&want.region));
            all.extend(rights(RELEASES, "*"));
            all.extend(rights(&["ecs:UpdateService"], &service));
            let definitions = place("task-definition", &format!("{}:*", super::place(&want.name)));
            all.extend(rights(&["ecs:DeleteTaskDefinitions", "ecs:TagResource"], &definitions));
        }
        all
    }
    fn ownership(&self, _: &ResourceKey, want: &EcsServiceSpec<Wanted>) -> Ownership {
        Ownership::DerivedName(want.name.clone())
    }
    fn outputs(&self, id: &PhysicalId, have: &EcsServiceObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([("id", id.0.clone().into()), ("name", have.name.clone().into())])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use vrooli_deploy_core::provider::ResourceKindDef as _;
    use vrooli_deploy_core::provider::pure::{Answer, check_kind};

    #[test]
    fn differences_are_answered() {
        let want = json!({"region": "us-east-1", "name": "app-default", "cluster": "id-1", "idle": "app-idle", "subnets": ["id-1", "id-2"], "security_groups": ["id-1", "id-2"], "public_address": true, "cpu_units": 512, "memory_mib": 1024, "count": 2});
        let have = json!({"region": "us-east-1", "name": "app-default", "cluster": "id-1", "subnets": ["id-1", "id-2"], "security_groups": ["id-1", "id-2"], "public_address": true});
        let answers = [
            ("region", json!("eu-west-1"), Answer::Replace),
            ("name", json!("other"), Answer::Replace),
            ("cluster", json!("id-2"), Answer::Replace),
            ("subnets", json!(["id-3"]), Answer::Update),
            ("security_groups", json!(["id-3"]), Answer::Update),
            ("public_address", json!(false), Answer::Update),
        ];
        check_kind(&super::EcsService, &want, &have, &answers).unwrap();
    }

    #[test]
    fn one_slot_of_a_place_is_billed() {
        let spec = |count: u32| {
            serde_json::from_value::<super::EcsServiceSpec>(json!({
                "region": "us-east-1", "name": "a", "cluster": "c", "idle": "i", "public_address": false,
                "cpu_units": 256, "memory_mib": 512, "count": count
            }))
            .unwrap()
        };
        let items = |count| super::EcsService.bill(&spec(count)).len();
        assert_eq!((items(2), items(0)), (2, 0));
    }
}
