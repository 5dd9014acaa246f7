//! `aws.ecr-repository`: where the app's images are kept.

#[cfg(feature = "native")]
mod native;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::{BillItem, Line, Metric};
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Op, Ownership, Permission, PhysicalId, ResourceKindDef,
};

use super::Actions;
use crate::bill::{item, usage};

/// The kind `aws.ecr-repository`.
#[derive(Debug, Clone, Copy)]
pub struct EcrRepository;

/// What looking for an image and pushing one takes (user guide of ECR, "IAM permissions for pushing an image").
const PUSH: &[&str] = &[
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:CompleteLayerUpload",
    "ecr:GetDownloadUrlForLayer",
    "ecr:InitiateLayerUpload",
    "ecr:PutImage",
    "ecr:UploadLayerPart",
];

/// What is wanted of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EcrRepositorySpec {
    /// Region.
    pub region: String,
    /// Its name, unique in the region.
    pub name: String,
    /// May a tag never be moved?
    pub immutable_tags: bool,
    /// Are images looked over for known faults?
    pub scan: bool,
    /// How many images are kept.
    pub keep: u32,
}

/// What is seen of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EcrRepositoryObserved {
    /// Region.
    pub region: String,
    /// Its name, unique in the region.
    pub name: String,
    /// May a tag never be moved?
    pub immutable_tags: bool,
    /// Are images looked over for known faults?
    pub scan: bool,
    /// How many images are kept.
    pub keep: u32,
    /// What images are named after.
    pub url: String,
}

impl ResourceKindDef for EcrRepository {
    type Spec<F: Form> = EcrRepositorySpec;
    type Observed = EcrRepositoryObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("aws.ecr-repository")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id", "url"]
    }
    fn diff(&self, want: &EcrRepositorySpec, have: &EcrRepositoryObserved) -> Change {
        let EcrRepositorySpec { region, name, immutable_tags, scan, keep } = want;
        Diff::new()
            .replace("region", *region != have.region)
            .replace("name", *name != have.name)
            .update("immutable_tags", *immutable_tags != have.immutable_tags)
            .update("scan", *scan != have.scan)
            .update("keep", *keep != have.keep)
            .done()
    }
    fn bill(&self, want: &EcrRepositorySpec) -> Vec<BillItem> {
        let place = ("ecr", "storage", want.region.as_str());
        vec![item(Line::Registry, "images that are kept", place, usage(Metric::RegistryGb))]
    }
    fn permissions(&self, op: Op, want: &EcrRepositorySpec) -> Vec<Permission> {
        let place = format!("arn:aws:ecr:{}:*:repository/{}", want.region, want.name);
        let mut all = Actions {
            find: &[
                "tag:GetResources",
                "ecr:DescribeRepositories",
                "ecr:GetLifecyclePolicy",
                "ecr:ListTagsForResource",
            ],
            create: &[
                "ecr:CreateRepository",
                "ecr:PutLifecyclePolicy",
                "ecr:PutImageTagMutability",
                "ecr:PutImageScanningConfiguration",
                "ecr:TagResource",
            ],
            update: &[
                "ecr:PutLifecyclePolicy",
                "ecr:PutImageTagMutability",
                "ecr:PutImageScanningConfiguration",
            ],
            delete: &["ecr:DeleteRepository", "ecr:BatchDeleteImage"],
        }
        .of(op, place.clone());
        // Images come with releases: what pushes them has no resource of its own.
        if op == Op::Create || op == Op::Update {
            let right = |action: &&str, resource: &str| Permission {
                action: (*action).to_owned(),
                resource: resource.to_owned(),
            };
            all.push(right(&"ecr:GetAuthorizationToken", "*"));
            all.extend(PUSH.iter().map(|action| right(action, &place)));
        }
        all
    }
    fn ownership(&self, _: &ResourceKey, want: &EcrRepositorySpec) -> Ownership {
        Ownership::DerivedName(want.name.clone())
    }
    fn outputs(&self, id: &PhysicalId, have: &EcrRepositoryObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([("id", id.0.clone().into()), ("url", have.url.clone().into())])
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
        let want = json!({"region": "us-east-1", "name": "app-default", "immutable_tags": true, "scan": true, "keep": 20});
        let have = json!({"region": "us-east-1", "name": "app-default", "immutable_tags": true, "scan": true, "keep": 20, "url": "1.dkr.ecr.us-east-1.amazonaws.com/a"});
        let answers = [
            ("region", json!("eu-west-1"), Answer::Replace),
            ("name", json!("other"), Answer::Replace),
            ("immutable_tags", json!(false), Answer::Update),
            ("scan", json!(false), Answer::Update),
            ("keep", json!(10), Answer::Update),
            ("url", json!("1.dkr.ecr.us-east-1.amazonaws.com/b"), Answer::Nothing),
        ];
        check_kind(&super::EcrRepository, &want, &have, &answers).unwrap();
    }
}
