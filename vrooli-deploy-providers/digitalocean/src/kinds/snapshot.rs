//! `digitalocean.snapshot`: a copy of a droplet or of a disk.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::{BillItem, Line, Metric};
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Op, Ownership, Permission, PhysicalId, ResourceKindDef, Wanted,
};

use super::Actions;
use crate::bill::{item, usage};

/// The kind `digitalocean.snapshot`.
#[derive(Debug, Clone, Copy)]
pub struct Snapshot;

/// What is wanted of a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct SnapshotSpec<F: Form = Wanted> {
    /// Its name.
    pub name: String,
    /// Region, `nyc3`.
    pub region: String,
    /// What it is a copy of.
    pub source: F::In<String>,
}

/// What is seen of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotObserved {
    /// Its name.
    pub name: String,
    /// Region, `nyc3`.
    pub region: String,
    /// What it is a copy of.
    pub source: String,
}

impl ResourceKindDef for Snapshot {
    type Spec<F: Form> = SnapshotSpec<F>;
    type Observed = SnapshotObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("digitalocean.snapshot")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id"]
    }
    fn diff(&self, want: &SnapshotSpec<Wanted>, have: &SnapshotObserved) -> Change {
        let SnapshotSpec { name, region, source } = want;
        Diff::new()
            .replace("name", *name != have.name)
            .replace("region", *region != have.region)
            .replace("source", source.differs(&have.source))
            .done()
    }
    fn bill(&self, want: &SnapshotSpec<Wanted>) -> Vec<BillItem> {
        let place = ("snapshot", "droplet-or-volume", want.region.as_str());
        vec![item(Line::Backups, "snapshots that are kept", place, usage(Metric::BackupGb))]
    }
    fn permissions(&self, op: Op, _: &SnapshotSpec<Wanted>) -> Vec<Permission> {
        Actions {
            find: &["snapshot:read"],
            create: &["droplet:update", "block_storage_snapshot:create"],
            update: &[],
            delete: &["snapshot:delete"],
        }
        .of(op, "*")
    }
    fn ownership(&self, _: &ResourceKey, want: &SnapshotSpec<Wanted>) -> Ownership {
        Ownership::DerivedName(want.name.clone())
    }
    fn outputs(&self, id: &PhysicalId, _: &SnapshotObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([("id", id.0.clone().into())])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use vrooli_deploy_core::provider::pure::{Answer, check_kind};

    #[test]
    fn differences_are_answered() {
        let want = json!({"name": "app-default", "region": "nyc3", "source": "1"});
        let have = json!({"name": "app-default", "region": "nyc3", "source": "1"});
        let answers = [
            ("name", json!("other"), Answer::Replace),
            ("region", json!("ams3"), Answer::Replace),
            ("source", json!("2"), Answer::Replace),
        ];
        check_kind(&super::Snapshot, &want, &have, &answers).unwrap();
    }
}
