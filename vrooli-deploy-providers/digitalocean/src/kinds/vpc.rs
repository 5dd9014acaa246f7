//! `digitalocean.vpc`: the network that a stack lives in. Free.

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

/// The kind `digitalocean.vpc`.
#[derive(Debug, Clone, Copy)]
pub struct Vpc;

/// What is wanted of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VpcSpec {
    /// Its name, unique in the account.
    pub name: String,
    /// Region, `nyc3`.
    pub region: String,
    /// Its addresses; without them a range that is free is chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_range: Option<String>,
}

/// What is seen of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VpcObserved {
    /// Its name, unique in the account.
    pub name: String,
    /// Region, `nyc3`.
    pub region: String,
    /// Its addresses; without them a range that is free is chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_range: Option<String>,
}

impl ResourceKindDef for Vpc {
    type Spec<F: Form> = VpcSpec;
    type Observed = VpcObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("digitalocean.vpc")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id"]
    }
    fn diff(&self, want: &VpcSpec, have: &VpcObserved) -> Change {
        let VpcSpec { name, region, ip_range } = want;
        Diff::new()
            .update("name", *name != have.name)
            .replace("region", *region != have.region)
            .replace("ip_range", ip_range.as_ref().is_some_and(|range| have.ip_range.as_ref() != Some(range)))
            .done()
    }
    fn bill(&self, _: &VpcSpec) -> Vec<BillItem> {
        Vec::new()
    }
    fn permissions(&self, op: Op, _: &VpcSpec) -> Vec<Permission> {
        Actions {
            find: &["vpc:read"],
            create: &["vpc:create"],
            update: &["vpc:update"],
            delete: &["vpc:delete"],
        }
        .of(op, "*")
    }
    fn ownership(&self, _: &ResourceKey, want: &VpcSpec) -> Ownership {
        Ownership::DerivedName(want.name.clone())
    }
    fn outputs(&self, id: &PhysicalId, _: &VpcObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([("id", id.0.clone().into())])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use vrooli_deploy_core::provider::pure::{Answer, check_kind};

    #[test]
    fn differences_are_answered() {
        let want = json!({"name": "app-default", "region": "nyc3", "ip_range": "10.10.10.0/24"});
        let have = json!({"name": "app-default", "region": "nyc3", "ip_range": "10.10.10.0/24"});
        let answers = [
            ("name", json!("other"), Answer::Update),
            ("region", json!("ams3"), Answer::Replace),
            ("ip_range", json!("10.10.11.0/24"), Answer::Replace),
        ];
        check_kind(&super::Vpc, &want, &have, &answers).unwrap();
    }
}
