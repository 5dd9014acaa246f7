//! `aws.bucket`: object storage of S3, closed to the public and encrypted.

#[cfg(feature = "native")]
pub(crate) mod native;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::{BillItem, Decimal, Line, Metric};
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Op, Ownership, Permission, PhysicalId, ResourceKindDef, Wanted,
};
use vrooli_deploy_core::stack::Input;

use super::Actions;
use super::kms_key::other_key;
use crate::bill::{item, share, usage_times};

/// The kind `aws.bucket`.
#[derive(Debug, Clone, Copy)]
pub struct Bucket;

/// What is wanted of a bucket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct BucketSpec<F: Form = Wanted> {
    /// Region.
    pub region: String,
    /// The start of its name. Names of buckets are unique in the world: what makes this one so is added when it is made.
    pub name: String,
    /// Are old versions kept?
    pub versioning: bool,
    /// Old versions are deleted after so many days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_days: Option<u32>,
    /// The key that encrypts it, by ARN; without, it is AWS's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key: Option<F::In<String>>,
    /// How many share what is stored for the app, this one included; each is billed for its share.
    pub of: u32,
}

/// What is seen of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BucketObserved {
    /// Region.
    pub region: String,
    /// The start of its name. Names of buckets are unique in the world: what makes this one so is added when it is made.
    pub name: String,
    /// Are old versions kept?
    pub versioning: bool,
    /// Old versions are deleted after so many days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_days: Option<u32>,
    /// The key that encrypts it, by ARN, where one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key: Option<String>,
    /// Is it closed to the public in every way? One that is not is closed again.
    pub closed: bool,
    /// Where it is reached.
    pub endpoint: String,
}

impl ResourceKindDef for Bucket {
    type Spec<F: Form> = BucketSpec<F>;
    type Observed = BucketObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("aws.bucket")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &[
            "id",
            "bucket",
            "arn",
            "objects_arn",
            "endpoint",
            "region",
            "url",
            "host",
            "port",
            "access_key",
            "secret_key",
        ]
    }
    fn diff(&self, want: &BucketSpec<Wanted>, have: &BucketObserved) -> Change {
        // How many there are says nothing about this one.
        let BucketSpec { region, name, versioning, expire_days, kms_key, of: _ } = want;
        Diff::new()
            .replace("region", *region != have.region)
            .replace("name", !have.name.starts_with(name.as_str()))
            .update("versioning", *versioning != have.versioning)
            .update("expire_days", *expire_days != have.expire_days)
            .update("kms_key", other_key(kms_key.as_ref(), have.kms_key.as_ref()))
            .update("closed", !have.closed)
            .done()
    }
    fn bill(&self, want: &BucketSpec<Wanted>) -> Vec<BillItem> {
        let place = |sku| ("s3", sku, want.region.as_str());
        let used = |metric, factor: u32| usage_times(metric, share(want.of) * Decimal::from(factor));
        // Requests are billed by the thousand: a thousand of them are a million.
        vec![
            item(
                Line::Storage,
                "kept in object storage",
                place("standard-storage-first-50TB"),
                used(Metric::StorageGb, 1),
            ),
            item(
                Line::Storage,
                "writes to object storage",
                place("put-copy-post-list"),
                used(Metric::StorageWritesMillions, 1000),
            ),
            item(
                Line::Storage,
                "reads from object storage",
                place("get-select"),
                used(Metric::StorageReadsMillions, 1000),
            ),
        ]
    }
    fn permissions(&self, op: Op, want: &BucketSpec<Wanted>) -> Vec<Permission> {
        Actions {
            find: &[
                "tag:GetResources",
                "s3:ListAllMyBuckets",
                "s3:GetBucketLocation",
                "s3:GetBucketTagging",
                "s3:GetBucketVersioning",
                "s3:GetLifecycleConfiguration",
                "s3:GetBucketPublicAccessBlock",
                "s3:GetEncryptionConfiguration",
            ],
            create: &[
                "s3:CreateBucket",
                "s3:PutBucketTagging",
                "s3:PutBucketVersioning",
                "s3:PutLifecycleConfiguration",
                "s3:PutBucketPublicAccessBlock",
                "s3:PutEncryptionConfiguration",
            ],
            update: &[
                "s3:PutBucketVersioning",
                "s3:PutLifecycleConfiguration",
                "s3:PutBucketPublicAccessBlock",
                "s3:PutEncryptionConfiguration",
            ],
            delete: &["s3:DeleteBucket"],
        }
        .of(op, format!("arn:aws:s3:::{}*", want.name))
    }
    fn ownership(&self, _: &ResourceKey, want: &BucketSpec<Wanted>) -> Ownership {
        Ownership::DerivedName(want.name.clone())
    }
    fn outputs(&self, id: &PhysicalId, have: &BucketObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([
            ("id", id.0.clone().into()),
            ("bucket", have.name.clone().into()),
            ("arn", format!("arn:aws:s3:::{}", have.name).into()),
            ("objects_arn", format!("arn:aws:s3:::{}/*", have.name).into()),
            ("endpoint", have.endpoint.clone().into()),
            ("region", have.region.clone().into()),
            ("url", have.endpoint.clone().into()),
            ("host", have.endpoint.trim_start_matches("https://").into()),
            ("port", 443.into()),
        ])
    }
    /// How many share what is kept matters to what is billed by use only, which all of it is.
    fn wanted_as(&self, have: &BucketObserved) -> Option<BucketSpec<Wanted>> {
        let BucketObserved { region, name, versioning, expire_days, kms_key, .. } = have.clone();
        Some(BucketSpec { region, name, versioning, expire_days, kms_key: kms_key.map(Input::Value), of: 1 })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use vrooli_deploy_core::provider::pure::{Answer, check_kind};

    #[test]
    fn differences_are_answered() {
        let want = json!({"region": "us-east-1", "name": "app-default-files", "versioning": true, "expire_days": 30, "kms_key": "arn:1", "of": 1});
        let have = json!({"region": "us-east-1", "name": "app-default-files-3f9a2c", "versioning": true, "expire_days": 30, "kms_key": "arn:1", "closed": true, "endpoint": "https://s3.us-east-1.amazonaws.com"});
        let answers = [
            ("region", json!("eu-west-1"), Answer::Replace),
            ("name", json!("other"), Answer::Replace),
            ("versioning", json!(false), Answer::Update),
            ("expire_days", json!(90), Answer::Update),
            ("kms_key", json!("arn:2"), Answer::Update),
            ("closed", json!(false), Answer::Update),
            ("endpoint", json!("https://s3.eu-west-1.amazonaws.com"), Answer::Nothing),
        ];
        check_kind(&super::Bucket, &want, &have, &answers).unwrap();
    }
}
