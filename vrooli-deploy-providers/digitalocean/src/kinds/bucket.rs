//! `digitalocean.spaces-bucket`: object storage: a Space, closed to the public.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::{BillItem, Line, Metric, Quantity};
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Op, Ownership, Permission, PhysicalId, ResourceKindDef,
};

use crate::catalogue::catalogue;

use super::Actions;
use crate::bill::{allowance, item, share, usage_from};

/// The kind `digitalocean.spaces-bucket`.
#[derive(Debug, Clone, Copy)]
pub struct Bucket;

/// What is wanted of a Space.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BucketSpec {
    /// The start of its name. Names are unique in a region: what makes this one so is added when it is made.
    pub name: String,
    /// Region, `nyc3`; not every region has Spaces.
    pub region: String,
    /// Are old versions kept?
    pub versioning: bool,
    /// How many share the subscription, this one included; each is billed for its share.
    pub of: u32,
}

/// What is seen of a Space.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BucketObserved {
    /// The start of its name. Names are unique in a region: what makes this one so is added when it is made.
    pub name: String,
    /// Region, `nyc3`; not every region has Spaces.
    pub region: String,
    /// Are old versions kept?
    pub versioning: bool,
}

impl ResourceKindDef for Bucket {
    type Spec<F: Form> = BucketSpec;
    type Observed = BucketObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("digitalocean.spaces-bucket")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &[
            "id",
            "bucket",
            "endpoint",
            "url",
            "host",
            "port",
            "region",
            "domain_name",
            "access_key",
            "secret_key",
        ]
    }
    fn diff(&self, want: &BucketSpec, have: &BucketObserved) -> Change {
        // How many there are says nothing about this one.
        let BucketSpec { name, region, versioning, of: _ } = want;
        Diff::new()
            .replace("name", !have.name.starts_with(name.as_str()))
            .replace("region", *region != have.region)
            .update("versioning", *versioning != have.versioning)
            .done()
    }
    fn bill(&self, want: &BucketSpec) -> Vec<BillItem> {
        let place = |sku| ("spaces", sku, want.region.as_str());
        let part = share(want.of);
        let what = if want.of > 1 {
            format!("share of the Spaces subscription, one of {}", want.of)
        } else {
            "Spaces subscription".to_owned()
        };
        let mut base = item(Line::Storage, what, place("base"), Quantity::Running(part));
        let spaces = catalogue().defaults.spaces;
        base.includes = vec![
            allowance("spaces-storage", spaces.storage_gib),
            allowance("spaces-transfer", spaces.transfer_gib),
        ];
        let kept = usage_from(Metric::StorageGb, part, "spaces-storage");
        vec![base, item(Line::Storage, "kept beyond what Spaces includes", place("extra-storage"), kept)]
    }
    fn permissions(&self, op: Op, _: &BucketSpec) -> Vec<Permission> {
        Actions {
            find: &["spaces:read", "spaces_key:read"],
            create: &["spaces:create", "spaces_key:create"],
            update: &["spaces:update"],
            delete: &["spaces:delete", "spaces_key:delete"],
        }
        .of(op, "*")
    }
    fn ownership(&self, _: &ResourceKey, want: &BucketSpec) -> Ownership {
        Ownership::DerivedName(want.name.clone())
    }
    fn outputs(&self, id: &PhysicalId, have: &BucketObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([
            ("id", id.0.clone().into()),
            ("bucket", have.name.clone().into()),
            ("endpoint", format!("https://{}.digitaloceanspaces.com", have.region).into()),
            ("url", format!("https://{}.digitaloceanspaces.com", have.region).into()),
            ("host", format!("{}.digitaloceanspaces.com", have.region).into()),
            ("port", 443.into()),
            ("region", have.region.clone().into()),
            ("domain_name", format!("{}.{}.digitaloceanspaces.com", have.name, have.region).into()),
        ])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use vrooli_deploy_core::provider::pure::{Answer, check_kind};

    #[test]
    fn differences_are_answered() {
        let want = json!({"name": "app-default-files", "region": "nyc3", "versioning": true, "of": 2});
        let have = json!({"name": "app-default-files-3f9a2c", "region": "nyc3", "versioning": true});
        let answers = [
            ("name", json!("other"), Answer::Replace),
            ("region", json!("ams3"), Answer::Replace),
            ("versioning", json!(false), Answer::Update),
        ];
        check_kind(&super::Bucket, &want, &have, &answers).unwrap();
    }
}
