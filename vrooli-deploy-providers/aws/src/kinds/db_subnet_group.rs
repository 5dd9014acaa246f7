//! `aws.db-subnet-group`: the subnets that a database may stand in.

#[cfg(feature = "native")]
pub(in crate::kinds) mod native;

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

/// The kind `aws.db-subnet-group`.
#[derive(Debug, Clone, Copy)]
pub struct DbSubnetGroup;

/// What is wanted of a subnet group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct DbSubnetGroupSpec<F: Form = Wanted> {
    /// Region.
    pub region: String,
    /// Its name, unique in the region.
    pub name: String,
    /// Private subnets in at least two zones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subnets: Vec<F::In<String>>,
}

/// What is seen of a subnet group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DbSubnetGroupObserved {
    /// Region.
    pub region: String,
    /// Its name, unique in the region.
    pub name: String,
    /// Private subnets in at least two zones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subnets: Vec<String>,
}

impl ResourceKindDef for DbSubnetGroup {
    type Spec<F: Form> = DbSubnetGroupSpec<F>;
    type Observed = DbSubnetGroupObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("aws.db-subnet-group")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["name"]
    }
    fn diff(&self, want: &DbSubnetGroupSpec<Wanted>, have: &DbSubnetGroupObserved) -> Change {
        let DbSubnetGroupSpec { region, name, subnets } = want;
        Diff::new()
            .replace("region", *region != have.region)
            .replace("name", *name != have.name)
            .update("subnets", super::ids_differ(subnets, &have.subnets))
            .done()
    }
    fn bill(&self, _: &DbSubnetGroupSpec<Wanted>) -> Vec<BillItem> {
        Vec::new()
    }
    fn permissions(&self, op: Op, want: &DbSubnetGroupSpec<Wanted>) -> Vec<Permission> {
        Actions {
            find: &["tag:GetResources", "rds:DescribeDBSubnetGroups", "rds:ListTagsForResource"],
            create: &["rds:CreateDBSubnetGroup", "rds:AddTagsToResource"],
            update: &["rds:ModifyDBSubnetGroup"],
            delete: &["rds:DeleteDBSubnetGroup"],
        }
        .of(op, format!("arn:aws:rds:{}:*:subgrp:{}", want.region, want.name))
    }
    fn ownership(&self, _: &ResourceKey, want: &DbSubnetGroupSpec<Wanted>) -> Ownership {
        Ownership::DerivedName(want.name.clone())
    }
    fn outputs(&self, _: &PhysicalId, have: &DbSubnetGroupObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([("name", have.name.clone().into())])
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
        let want = json!({"region": "us-east-1", "name": "app-default", "subnets": ["id-1", "id-2"]});
        let have = json!({"region": "us-east-1", "name": "app-default", "subnets": ["id-1", "id-2"]});
        let answers = [
            ("region", json!("eu-west-1"), Answer::Replace),
            ("name", json!("other"), Answer::Replace),
            ("subnets", json!(["id-3"]), Answer::Update),
        ];
        check_kind(&super::DbSubnetGroup, &want, &have, &answers).unwrap();
    }
}
