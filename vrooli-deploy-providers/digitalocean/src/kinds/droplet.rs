//! `digitalocean.droplet`: a machine.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::{BillItem, Decimal, Line, Metric, Quantity};
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Op, Ownership, Permission, PhysicalId, ResourceKindDef, Wanted,
};

use crate::catalogue::catalogue;

use super::Actions;
use crate::bill::{allowance, item, key, share, usage_from};

/// The kind `digitalocean.droplet`.
#[derive(Debug, Clone, Copy)]
pub struct Droplet;

/// How often a droplet is backed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Backups {
    /// Once a week.
    Weekly,
    /// Once a day.
    Daily,
}

/// Would the disk shrink? Of a size that is not known nobody can tell: then it would.
fn shrinks(want: &str, have: &str) -> bool {
    let disk = |name: &str| catalogue().droplet(name).and_then(|size| size.disk_gib);
    want != have && disk(want).zip(disk(have)).is_none_or(|(want, have)| want < have)
}

/// What is wanted of a droplet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct DropletSpec<F: Form = Wanted> {
    /// Its name; several may have the same.
    pub name: String,
    /// Region, `nyc3`.
    pub region: String,
    /// Its size, `s-1vcpu-2gb`. A larger one is taken on in place, while it is off; a disk never shrinks.
    pub size: String,
    /// Its image, `debian-12-x64`.
    pub image: String,
    /// Its network.
    pub vpc: F::In<String>,
    /// Marks: whose it is, and what load balancers and firewalls look for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Does it report its figures?
    pub monitoring: bool,
    /// How often it is backed up, if at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backups: Option<Backups>,
    /// How many share the traffic of the stack, this one included; each is billed for its share.
    pub of: u32,
}

/// What is seen of a droplet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DropletObserved {
    /// Its name; several may have the same.
    pub name: String,
    /// Region, `nyc3`.
    pub region: String,
    /// Its size, `s-1vcpu-2gb`. A larger one is taken on in place, while it is off; a disk never shrinks.
    pub size: String,
    /// Its image, `debian-12-x64`.
    pub image: String,
    /// Its network.
    pub vpc: String,
    /// Marks: whose it is, and what load balancers and firewalls look for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Does it report its figures?
    pub monitoring: bool,
    /// How often it is backed up, if at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backups: Option<Backups>,
    /// Its public address.
    pub public_address: String,
    /// Its address in the network.
    pub private_address: String,
    /// `active` once it runs.
    pub status: String,
}

impl ResourceKindDef for Droplet {
    type Spec<F: Form> = DropletSpec<F>;
    type Observed = DropletObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("digitalocean.droplet")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id", "public_address", "private_address"]
    }
    fn diff(&self, want: &DropletSpec<Wanted>, have: &DropletObserved) -> Change {
        // How many there are says nothing about this one.
        let DropletSpec { name, region, size, image, vpc, tags, monitoring, backups, of: _ } = want;
        Diff::new()
            .update("name", *name != have.name)
            .replace("region", *region != have.region)
            .update("size", *size != have.size && !shrinks(size, &have.size))
            .replace("size", shrinks(size, &have.size))
            .replace("image", *image != have.image)
            .replace("vpc", vpc.differs(&have.vpc))
            .update("tags", *tags != have.tags)
            .update("monitoring", *monitoring != have.monitoring)
            .update("backups", *backups != have.backups)
            .done()
    }
    fn bill(&self, want: &DropletSpec<Wanted>) -> Vec<BillItem> {
        let mut machine = item(
            Line::Compute,
            format!("droplet {}", want.size),
            ("droplet", &want.size, &want.region),
            Quantity::Running(Decimal::ONE),
        );
        let transfer = catalogue().droplet(&want.size).and_then(|size| size.transfer_gb);
        machine.includes.extend(transfer.map(|gb| allowance("droplet-transfer", gb)));
        let sent = usage_from(Metric::EgressGb, share(want.of), "droplet-transfer");
        let place = ("bandwidth", "droplet-egress-overage", want.region.as_str());
        let mut items =
            vec![machine, item(Line::Bandwidth, "sent to the internet by a droplet", place, sent)];
        if let Some(backups) = want.backups {
            let sku = match backups {
                Backups::Weekly => "weekly",
                Backups::Daily => "daily",
            };
            let of = key(("droplet", &want.size, &want.region));
            let part = Quantity::ShareOf { of, running: Decimal::ONE };
            items.push(item(
                Line::Backups,
                format!("{sku} backups of a droplet"),
                ("backup", sku, &want.region),
                part,
            ));
        }
        items
    }
    fn permissions(&self, op: Op, _: &DropletSpec<Wanted>) -> Vec<Permission> {
        Actions {
            find: &["droplet:read"],
            create: &["droplet:create", "tag:create", "vpc:read", "image:read", "ssh_key:read"],
            update: &["droplet:update", "tag:create"],
            delete: &["droplet:delete"],
        }
        .of(op, "*")
    }
    fn ownership(&self, _: &ResourceKey, _: &DropletSpec<Wanted>) -> Ownership {
        Ownership::Tags
    }
    fn outputs(&self, id: &PhysicalId, have: &DropletObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([
            ("id", id.0.clone().into()),
            ("public_address", have.public_address.clone().into()),
            ("private_address", have.private_address.clone().into()),
        ])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use vrooli_deploy_core::provider::pure::{Answer, check_kind};

    #[test]
    fn differences_are_answered() {
        let want = json!({"name": "app-default-1", "region": "nyc3", "size": "s-1vcpu-2gb", "image": "debian-12-x64", "vpc": "id-1", "tags": ["app-default"], "monitoring": true, "backups": "weekly", "of": 2});
        let have = json!({"name": "app-default-1", "region": "nyc3", "size": "s-1vcpu-2gb", "image": "debian-12-x64", "vpc": "id-1", "tags": ["app-default"], "monitoring": true, "backups": "weekly", "public_address": "203.0.113.7", "private_address": "10.0.0.7", "status": "active"});
        let answers = [
            ("name", json!("other"), Answer::Update),
            ("region", json!("ams3"), Answer::Replace),
            ("size", json!("s-1vcpu-1gb"), Answer::Update),
            ("size", json!("s-2vcpu-4gb"), Answer::Replace),
            ("image", json!("other"), Answer::Replace),
            ("vpc", json!("id-2"), Answer::Replace),
            ("tags", json!([]), Answer::Update),
            ("monitoring", json!(false), Answer::Update),
            ("backups", json!(null), Answer::Update),
            ("public_address", json!("203.0.113.8"), Answer::Nothing),
            ("private_address", json!("10.0.0.8"), Answer::Nothing),
            ("status", json!("new"), Answer::Nothing),
        ];
        check_kind(&super::Droplet, &want, &have, &answers).unwrap();
    }

    #[test]
    fn a_disk_never_shrinks() {
        use super::shrinks;
        assert!(!shrinks("s-2vcpu-4gb", "s-1vcpu-1gb"));
        assert!(shrinks("s-1vcpu-1gb", "s-2vcpu-4gb"));
        assert!(shrinks("s-1vcpu-1gb", "of-nobody"));
        assert!(!shrinks("of-nobody", "of-nobody"));
    }
}
