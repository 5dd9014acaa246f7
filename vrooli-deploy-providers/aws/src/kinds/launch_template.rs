//! `aws.launch-template`: what machines of a group are made of. The fleet adds a version for each release.

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

/// The kind `aws.launch-template`.
#[derive(Debug, Clone, Copy)]
pub struct LaunchTemplate;

/// What is wanted of a launch template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct LaunchTemplateSpec<F: Form = Wanted> {
    /// Region.
    pub region: String,
    /// Its name, unique in the region.
    pub name: String,
    /// Size of the machines, `t3.small`.
    pub instance_type: String,
    /// The public parameter that names their image.
    pub image: String,
    /// Who may reach them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_groups: Vec<F::In<String>>,
    /// The instance profile that gives them their rights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<F::In<String>>,
    /// Their system disk, in GiB.
    pub disk_gib: u32,
    /// Do they get public addresses?
    pub public_address: bool,
}

/// What is seen of a launch template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LaunchTemplateObserved {
    /// Region.
    pub region: String,
    /// Its name, unique in the region.
    pub name: String,
    /// Size of the machines, `t3.small`.
    pub instance_type: String,
    /// The public parameter that names their image.
    pub image: String,
    /// Who may reach them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_groups: Vec<String>,
    /// The instance profile that gives them their rights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Their system disk, in GiB.
    pub disk_gib: u32,
    /// Do they get public addresses?
    pub public_address: bool,
}

impl ResourceKindDef for LaunchTemplate {
    type Spec<F: Form> = LaunchTemplateSpec<F>;
    type Observed = LaunchTemplateObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("aws.launch-template")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id"]
    }
    fn diff(&self, want: &LaunchTemplateSpec<Wanted>, have: &LaunchTemplateObserved) -> Change {
        let LaunchTemplateSpec {
            region,
            name,
            instance_type,
            image,
            security_groups,
            profile,
            disk_gib,
            public_address,
        } = want;
        Diff::new()
            .replace("region", *region != have.region)
            .replace("name", *name != have.name)
            .update("instance_type", *instance_type != have.instance_type)
            .update("image", *image != have.image)
            .update("security_groups", super::ids_differ(security_groups, &have.security_groups))
            .update("profile", super::id_differs(profile.as_ref(), have.profile.as_ref()))
            .update("disk_gib", *disk_gib != have.disk_gib)
            .update("public_address", *public_address != have.public_address)
            .done()
    }
    fn bill(&self, _: &LaunchTemplateSpec<Wanted>) -> Vec<BillItem> {
        Vec::new()
    }
    fn permissions(&self, op: Op, _: &LaunchTemplateSpec<Wanted>) -> Vec<Permission> {
        Actions {
            find: &["ec2:DescribeLaunchTemplates", "ec2:DescribeLaunchTemplateVersions"],
            // A create that finds what an earlier one began brings it up to date.
            create: &[
                "ec2:CreateLaunchTemplate",
                "ec2:CreateLaunchTemplateVersion",
                "ec2:CreateTags",
                "ec2:ModifyLaunchTemplate",
            ],
            update: &["ec2:CreateLaunchTemplateVersion", "ec2:ModifyLaunchTemplate"],
            delete: &["ec2:DeleteLaunchTemplate"],
        }
        .of(op, "*")
    }
    fn may_hold_data(&self) -> bool {
        false
    }
    fn ownership(&self, _: &ResourceKey, want: &LaunchTemplateSpec<Wanted>) -> Ownership {
        Ownership::DerivedName(want.name.clone())
    }
    fn outputs(&self, id: &PhysicalId, have: &LaunchTemplateObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([("id", super::plain_id(id, &have.region).into())])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use vrooli_deploy_core::provider::pure::{Answer, check_kind};

    #[test]
    fn differences_are_answered() {
        let want = json!({"region": "us-east-1", "name": "app-default", "instance_type": "t3.small", "image": "/aws/service/debian/release/13/latest/amd64", "security_groups": ["id-1", "id-2"], "profile": "id-1", "disk_gib": 20, "public_address": false});
        let have = json!({"region": "us-east-1", "name": "app-default", "instance_type": "t3.small", "image": "/aws/service/debian/release/13/latest/amd64", "security_groups": ["id-1", "id-2"], "profile": "id-1", "disk_gib": 20, "public_address": false});
        let answers = [
            ("region", json!("eu-west-1"), Answer::Replace),
            ("name", json!("other"), Answer::Replace),
            ("instance_type", json!("t3.medium"), Answer::Update),
            ("image", json!("/aws/service/other"), Answer::Update),
            ("security_groups", json!(["id-3"]), Answer::Update),
            ("profile", json!("id-2"), Answer::Update),
            ("disk_gib", json!(40), Answer::Update),
            ("public_address", json!(true), Answer::Update),
        ];
        check_kind(&super::LaunchTemplate, &want, &have, &answers).unwrap();
    }
}
