//! `aws.volume`: a disk that outlives machines.

#[cfg(feature = "native")]
pub(in crate::kinds) mod native;

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
use super::kms_key::{other_key, used_by};
use crate::bill::item;

/// The kind `aws.volume`.
#[derive(Debug, Clone, Copy)]
pub struct Volume;

/// What is wanted of a disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct VolumeSpec<F: Form = Wanted> {
    /// Region.
    pub region: String,
    /// Its zone; only machines of this zone reach it.
    pub zone: String,
    /// Its size, in GiB.
    pub size_gib: u32,
    /// Is it encrypted?
    pub encrypted: bool,
    /// The key that encrypts it, by ARN; without, it is AWS's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key: Option<F::In<String>>,
    /// The machine that it is attached to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<F::In<String>>,
}

/// What is seen of a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VolumeObserved {
    /// Region.
    pub region: String,
    /// Its zone; only machines of this zone reach it.
    pub zone: String,
    /// Its size, in GiB.
    pub size_gib: u32,
    /// Is it encrypted?
    pub encrypted: bool,
    /// The key that encrypts it, by ARN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key: Option<String>,
    /// The machine that it is attached to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
}

impl ResourceKindDef for Volume {
    type Spec<F: Form> = VolumeSpec<F>;
    type Observed = VolumeObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("aws.volume")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id"]
    }
    fn diff(&self, want: &VolumeSpec<Wanted>, have: &VolumeObserved) -> Change {
        let VolumeSpec { region, zone, size_gib, encrypted, kms_key, instance } = want;
        Diff::new()
            .replace("region", *region != have.region)
            .replace("zone", *zone != have.zone)
            .update("size_gib", *size_gib > have.size_gib)
            .replace("size_gib", *size_gib < have.size_gib)
            .replace("encrypted", *encrypted != have.encrypted)
            .replace("kms_key", other_key(kms_key.as_ref(), have.kms_key.as_ref()))
            .update("instance", super::id_differs(instance.as_ref(), have.instance.as_ref()))
            .done()
    }
    fn bill(&self, want: &VolumeSpec<Wanted>) -> Vec<BillItem> {
        let size = Quantity::Amount(Decimal::from(want.size_gib));
        vec![item(
            Line::Compute,
            format!("disk of {} GiB for data", want.size_gib),
            ("ebs", "gp3", &want.region),
            size,
        )]
    }
    fn permissions(&self, op: Op, want: &VolumeSpec<Wanted>) -> Vec<Permission> {
        let mut all = Actions {
            find: &["ec2:DescribeVolumes"],
            create: &["ec2:CreateVolume", "ec2:AttachVolume", "ec2:CreateTags"],
            update: &["ec2:ModifyVolume", "ec2:AttachVolume", "ec2:DetachVolume"],
            delete: &["ec2:DetachVolume", "ec2:DeleteVolume"],
        }
        .of(op, "*");
        if op != Op::Find && op != Op::List {
            let uses = ["kms:CreateGrant", "kms:DescribeKey", "kms:GenerateDataKeyWithoutPlaintext"];
            all.extend(used_by(want.kms_key.as_ref(), &want.region, &uses));
        }
        all
    }
    fn ownership(&self, _: &ResourceKey, _: &VolumeSpec<Wanted>) -> Ownership {
        Ownership::Tags
    }
    fn outputs(&self, id: &PhysicalId, have: &VolumeObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([("id", super::plain_id(id, &have.region).into())])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use vrooli_deploy_core::provider::pure::{Answer, check_kind};

    #[test]
    fn differences_are_answered() {
        let want = json!({"region": "us-east-1", "zone": "us-east-1a", "size_gib": 20, "encrypted": true, "kms_key": "arn:1", "instance": "i-1"});
        let have = json!({"region": "us-east-1", "zone": "us-east-1a", "size_gib": 20, "encrypted": true, "kms_key": "arn:1", "instance": "i-1"});
        let answers = [
            ("region", json!("eu-west-1"), Answer::Replace),
            ("zone", json!("us-east-1b"), Answer::Replace),
            ("size_gib", json!(10), Answer::Update),
            ("size_gib", json!(40), Answer::Replace),
            ("encrypted", json!(false), Answer::Replace),
            ("kms_key", json!("arn:2"), Answer::Replace),
            ("instance", json!("i-2"), Answer::Update),
        ];
        check_kind(&super::Volume, &want, &have, &answers).unwrap();
    }
}
