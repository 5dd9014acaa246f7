//! `digitalocean.registry`: where images are kept.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::{BillItem, Decimal, Line, Metric};
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Op, Ownership, Permission, PhysicalId, ResourceKindDef,
};

use crate::catalogue::catalogue;

use super::Actions;
use crate::bill::{allowance, item, running, usage_from};

/// The kind `digitalocean.registry`.
#[derive(Debug, Clone, Copy)]
pub struct Registry;

/// What is wanted of a registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegistrySpec {
    /// The start of its name. Names of registries are unique in the world: what makes this one so is added when it is made.
    pub name: String,
    /// Its subscription: `starter`, `basic` or `professional`.
    pub tier: String,
    /// Region, `nyc3`.
    pub region: String,
}

/// What is seen of a registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RegistryObserved {
    /// The start of its name. Names of registries are unique in the world: what makes this one so is added when it is made.
    pub name: String,
    /// Its subscription: `starter`, `basic` or `professional`.
    pub tier: String,
    /// Region, `nyc3`.
    pub region: String,
}

impl ResourceKindDef for Registry {
    type Spec<F: Form> = RegistrySpec;
    type Observed = RegistryObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("digitalocean.registry")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["name", "url"]
    }
    fn diff(&self, want: &RegistrySpec, have: &RegistryObserved) -> Change {
        let RegistrySpec { name, tier, region } = want;
        Diff::new()
            .replace("name", !have.name.starts_with(name.as_str()))
            .update("tier", *tier != have.tier)
            .replace("region", *region != have.region)
            .done()
    }
    fn bill(&self, want: &RegistrySpec) -> Vec<BillItem> {
        let place = |sku| ("registry", sku, want.region.as_str());
        let mut tier =
            item(Line::Registry, format!("registry, {}", want.tier), place(want.tier.as_str()), running(1));
        let included = catalogue().registry(&want.tier).map(|tier| tier.storage_gib);
        tier.includes.extend(included.map(|gib| allowance("registry-storage", gib)));
        let kept = usage_from(Metric::RegistryGb, Decimal::ONE, "registry-storage");
        vec![
            tier,
            item(Line::Registry, "images beyond what the registry includes", place("extra-storage"), kept),
        ]
    }
    fn permissions(&self, op: Op, _: &RegistrySpec) -> Vec<Permission> {
        Actions {
            find: &["registry:read"],
            create: &["registry:create"],
            update: &["registry:update"],
            delete: &["registry:delete"],
        }
        .of(op, "*")
    }
    fn ownership(&self, _: &ResourceKey, want: &RegistrySpec) -> Ownership {
        Ownership::DerivedName(want.name.clone())
    }
    fn outputs(&self, _: &PhysicalId, have: &RegistryObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([
            ("name", have.name.clone().into()),
            ("url", format!("registry.digitalocean.com/{}", have.name).into()),
        ])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use vrooli_deploy_core::provider::pure::{Answer, check_kind};

    #[test]
    fn differences_are_answered() {
        let want = json!({"name": "app-default", "tier": "basic", "region": "nyc3"});
        let have = json!({"name": "app-default-3f9a2c", "tier": "basic", "region": "nyc3"});
        let answers = [
            ("name", json!("other"), Answer::Replace),
            ("tier", json!("professional"), Answer::Update),
            ("region", json!("ams3"), Answer::Replace),
        ];
        check_kind(&super::Registry, &want, &have, &answers).unwrap();
    }
}
