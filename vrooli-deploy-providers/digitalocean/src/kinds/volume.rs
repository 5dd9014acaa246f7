//! `digitalocean.volume`: a disk that outlives droplets.

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
use crate::bill::item;

/// The kind `digitalocean.volume`.
#[derive(Debug, Clone, Copy)]
pub struct Volume;

/// What is wanted of a disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct VolumeSpec<F: Form = Wanted> {
    /// Its name, unique in the region.
    pub name: String,
    /// Region, `nyc3`.
    pub region: String,
    /// Its size, in GiB.
    pub size_gib: u32,
    /// The droplet that it is attached to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub droplet: Option<F::In<String>>,
}

/// What is seen of a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VolumeObserved {
    /// Its name, unique in the region.
    pub name: String,
    /// Region, `nyc3`.
    pub region: String,
    /// Its size, in GiB.
    pub size_gib: u32,
    /// The droplet that it is attached to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub droplet: Option<String>,
}

impl ResourceKindDef for Volume {
    type Spec<F: Form> = VolumeSpec<F>;
    type Observed = VolumeObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("digitalocean.volume")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id"]
    }
    fn diff(&self, want: &VolumeSpec<Wanted>, have: &VolumeObserved) -> Change {
        let VolumeSpec { name, region, size_gib, droplet } = want;
        Diff::new()
            .replace("name", *name != have.name)
            .replace("region", *region != have.region)
            .update("size_gib", *size_gib > have.size_gib)
            .replace("size_gib", *size_gib < have.size_gib)
            .update("droplet", super::id_differs(droplet.as_ref(), have.droplet.as_ref()))
            .done()
    }
    fn bill(&self, want: &VolumeSpec<Wanted>) -> Vec<BillItem> {
        let size = Quantity::Amount(Decimal::from(want.size_gib));
        let what = format!("disk of {} GiB for data", want.size_gib);
        vec![item(Line::Compute, what, ("volume", "block-storage", &want.region), size)]
    }
    fn permissions(&self, op: Op, _: &VolumeSpec<Wanted>) -> Vec<Permission> {
        Actions {
            find: &["block_storage:read"],
            create: &["block_storage:create", "block_storage_action:create"],
            update: &["block_storage:update", "block_storage_action:create"],
            delete: &["block_storage:delete"],
        }
        .of(op, "*")
    }
    fn ownership(&self, _: &ResourceKey, want: &VolumeSpec<Wanted>) -> Ownership {
        Ownership::DerivedName(want.name.clone())
    }
    fn outputs(&self, id: &PhysicalId, _: &VolumeObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([("id", id.0.clone().into())])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use vrooli_deploy_core::provider::pure::{Answer, check_kind};

    #[test]
    fn differences_are_answered() {
        let want = json!({"name": "app-default", "region": "nyc3", "size_gib": 10, "droplet": "1"});
        let have = json!({"name": "app-default", "region": "nyc3", "size_gib": 10, "droplet": "1"});
        let answers = [
            ("name", json!("other"), Answer::Replace),
            ("region", json!("ams3"), Answer::Replace),
            ("size_gib", json!(5), Answer::Update),
            ("size_gib", json!(20), Answer::Replace),
            ("droplet", json!("2"), Answer::Update),
        ];
        check_kind(&super::Volume, &want, &have, &answers).unwrap();
    }
}
