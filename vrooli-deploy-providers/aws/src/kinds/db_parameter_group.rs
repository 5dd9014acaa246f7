//! `aws.db-parameter-group`: settings of a database server.

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

/// The kind `aws.db-parameter-group`.
#[derive(Debug, Clone, Copy)]
pub struct DbParameterGroup;

/// What is wanted of a parameter group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DbParameterGroupSpec {
    /// Region.
    pub region: String,
    /// Its name, unique in the region.
    pub name: String,
    /// Engine and version they are for, `postgres16`.
    pub family: String,
    /// The settings; others keep the default.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
}

/// What is seen of a parameter group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DbParameterGroupObserved {
    /// Region.
    pub region: String,
    /// Its name, unique in the region.
    pub name: String,
    /// Engine and version they are for, `postgres16`.
    pub family: String,
    /// The settings; others keep the default.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
}

impl ResourceKindDef for DbParameterGroup {
    type Spec<F: Form> = DbParameterGroupSpec;
    type Observed = DbParameterGroupObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("aws.db-parameter-group")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["name"]
    }
    fn diff(&self, want: &DbParameterGroupSpec, have: &DbParameterGroupObserved) -> Change {
        let DbParameterGroupSpec { region, name, family, parameters } = want;
        Diff::new()
            .replace("region", *region != have.region)
            .replace("name", *name != have.name)
            .replace("family", *family != have.family)
            .update("parameters", *parameters != have.parameters)
            .done()
    }
    fn bill(&self, _: &DbParameterGroupSpec) -> Vec<BillItem> {
        Vec::new()
    }
    fn permissions(&self, op: Op, want: &DbParameterGroupSpec) -> Vec<Permission> {
        Actions {
            find: &[
                "tag:GetResources",
                "rds:DescribeDBParameterGroups",
                "rds:DescribeDBParameters",
                "rds:ListTagsForResource",
            ],
            create: &["rds:CreateDBParameterGroup", "rds:ModifyDBParameterGroup", "rds:AddTagsToResource"],
            update: &["rds:ModifyDBParameterGroup", "rds:ResetDBParameterGroup"],
            delete: &["rds:DeleteDBParameterGroup"],
        }
        .of(op, format!("arn:aws:rds:{}:*:pg:{}", want.region, want.name))
    }
    fn ownership(&self, _: &ResourceKey, want: &DbParameterGroupSpec) -> Ownership {
        Ownership::DerivedName(want.name.clone())
    }
    fn outputs(&self, _: &PhysicalId, have: &DbParameterGroupObserved) -> BTreeMap<OutputName, Value> {
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
        let want = json!({"region": "us-east-1", "name": "app-default", "family": "postgres16", "parameters": {"rds.force_ssl": "1"}});
        let have = json!({"region": "us-east-1", "name": "app-default", "family": "postgres16", "parameters": {"rds.force_ssl": "1"}});
        let answers = [
            ("region", json!("eu-west-1"), Answer::Replace),
            ("name", json!("other"), Answer::Replace),
            ("family", json!("postgres17"), Answer::Replace),
            ("parameters", json!({"rds.force_ssl": "0"}), Answer::Update),
        ];
        check_kind(&super::DbParameterGroup, &want, &have, &answers).unwrap();
    }
}
