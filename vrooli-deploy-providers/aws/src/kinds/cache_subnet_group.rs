//! `aws.cache-subnet-group`: the subnets that a cache may stand in.

#[cfg(feature = "native")]
pub(crate) mod native;

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

/// The kind `aws.cache-subnet-group`.
#[derive(Debug, Clone, Copy)]
pub struct CacheSubnetGroup;

/// What is wanted of a subnet group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct CacheSubnetGroupSpec<F: Form = Wanted> {
    /// Region.
    pub region: String,
    /// Its name, unique in the region.
    pub name: String,
    /// Private subnets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subnets: Vec<F::In<String>>,
}

/// What is seen of a subnet group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CacheSubnetGroupObserved {
    /// Region.
    pub region: String,
    /// Its name, unique in the region.
    pub name: String,
    /// Private subnets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subnets: Vec<String>,
}

impl ResourceKindDef for CacheSubnetGroup {
    type Spec<F: Form> = CacheSubnetGroupSpec<F>;
    type Observed = CacheSubnetGroupObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("aws.cache-subnet-group")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["name"]
    }
    fn diff(&self, want: &CacheSubnetGroupSpec<Wanted>, have: &CacheSubnetGroupObserved) -> Change {
        let CacheSubnetGroupSpec { region, name, subnets } = want;
        Diff::new()
            .replace("region", *region != have.region)
            .replace("name", *name != have.name)
            .update("subnets", super::ids_differ(subnets, &have.subnets))
            .done()
    }
    fn bill(&self, _: &CacheSubnetGroupSpec<Wanted>) -> Vec<BillItem> {
        Vec::new()
    }
    fn permissions(&self, op: Op, want: &CacheSubnetGroupSpec<Wanted>) -> Vec<Permission> {
        Actions {
            find: &[
                "tag:GetResources",
                "elasticache:DescribeCacheSubnetGroups",
                "elasticache:ListTagsForResource",
            ],
            create: &["elasticache:CreateCacheSubnetGroup", "elasticache:AddTagsToResource"],
            update: &["elasticache:ModifyCacheSubnetGroup"],
            delete: &["elasticache:DeleteCacheSubnetGroup"],
        }
        .of(op, format!("arn:aws:elasticache:{}:*:subnetgroup:{}", want.region, want.name))
    }
    fn ownership(&self, _: &ResourceKey, want: &CacheSubnetGroupSpec<Wanted>) -> Ownership {
        Ownership::DerivedName(want.name.clone())
    }
    fn outputs(&self, _: &PhysicalId, have: &CacheSubnetGroupObserved) -> BTreeMap<OutputName, Value> {
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
        check_kind(&super::CacheSubnetGroup, &want, &have, &answers).unwrap();
    }
}
