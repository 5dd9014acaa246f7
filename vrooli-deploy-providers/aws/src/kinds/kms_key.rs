//! `aws.kms-key`: a key of the user's own that encrypts what an app keeps. It is changed for a new one inside every
//! year by AWS, under the same name.

#[cfg(feature = "native")]
pub(crate) mod native;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::{BillItem, Line};
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Op, Ownership, Permission, PhysicalId, ResourceKindDef,
};
use vrooli_deploy_core::stack::Input;

use super::Actions;
use crate::bill::{item, running};

/// The key of what is kept in the app's region.
pub(crate) const MAIN: &str = "encryption/main";

/// The kind `aws.kms-key`.
#[derive(Debug, Clone, Copy)]
pub struct KmsKey;

/// What is wanted of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KmsKeySpec {
    /// Region.
    pub region: String,
    /// Its alias without `alias/`, unique in the region.
    pub name: String,
    /// A few words.
    pub description: String,
    /// For so many days, 7 to 30, a deleted key can be brought back: what it encrypted is lost with it.
    pub recovery_days: u32,
}

/// What is seen of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KmsKeyObserved {
    /// Region.
    pub region: String,
    /// Its alias without `alias/`; empty where it has none of ours.
    pub name: String,
    /// A few words.
    pub description: String,
    /// For so many days a deleted key can be brought back.
    pub recovery_days: u32,
    /// Can it be used? One that was switched off is switched on again.
    pub enabled: bool,
    /// Does AWS change it inside every year?
    pub rotated: bool,
}

impl ResourceKindDef for KmsKey {
    type Spec<F: Form> = KmsKeySpec;
    type Observed = KmsKeyObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("aws.kms-key")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["arn"]
    }
    fn diff(&self, want: &KmsKeySpec, have: &KmsKeyObserved) -> Change {
        let KmsKeySpec { region, name, description, recovery_days } = want;
        Diff::new()
            .replace("region", *region != have.region)
            .update("name", *name != have.name)
            .update("description", *description != have.description)
            .update("recovery_days", *recovery_days != have.recovery_days)
            .update("enabled", !have.enabled)
            .update("rotated", !have.rotated)
            .done()
    }
    fn bill(&self, want: &KmsKeySpec) -> Vec<BillItem> {
        let place = ("kms", "cmk", want.region.as_str());
        vec![item(Line::Secrets, format!("key {}", want.name), place, running(1))]
    }
    fn permissions(&self, op: Op, want: &KmsKeySpec) -> Vec<Permission> {
        let region = &want.region;
        // What makes and lists keys is told of no key.
        let anywhere = Actions {
            find: &[
                "tag:GetResources",
                "kms:DescribeKey",
                "kms:GetKeyRotationStatus",
                "kms:ListAliases",
                "kms:ListKeys",
                "kms:ListResourceTags",
            ],
            create: &["kms:CreateKey"],
            update: &[],
            delete: &[],
        };
        let key = Actions {
            find: &[],
            // What an app is given is written with it, in the name of whoever releases.
            create: &[
                "kms:CreateAlias",
                "kms:Decrypt",
                "kms:EnableKeyRotation",
                "kms:GenerateDataKey",
                "kms:TagResource",
            ],
            update: &[
                "kms:CreateAlias",
                "kms:Decrypt",
                "kms:DeleteAlias",
                "kms:EnableKey",
                "kms:EnableKeyRotation",
                "kms:GenerateDataKey",
                "kms:TagResource",
                "kms:UpdateKeyDescription",
            ],
            delete: &["kms:DeleteAlias", "kms:ScheduleKeyDeletion"],
        };
        // An alias is made and unmade at both of its ends.
        let alias = Actions {
            find: &[],
            create: &["kms:CreateAlias"],
            update: &["kms:CreateAlias", "kms:DeleteAlias"],
            delete: &["kms:DeleteAlias"],
        };
        let mut all = anywhere.of(op, "*");
        all.extend(key.of(op, format!("arn:aws:kms:{region}:*:key/*")));
        all.extend(alias.of(op, format!("arn:aws:kms:{region}:*:alias/{}", want.name)));
        all
    }
    fn ownership(&self, _: &ResourceKey, _: &KmsKeySpec) -> Ownership {
        Ownership::Tags
    }
    fn outputs(&self, id: &PhysicalId, _: &KmsKeyObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([("arn", id.0.clone().into())])
    }
}

/// Is something that cannot be given another key encrypted with another than is wanted? Where none is wanted it stays
/// with the one that it has: nobody asks for it to be made again for that.
pub(super) fn other_key(want: Option<&Input<String>>, have: Option<&String>) -> bool {
    want.is_some_and(|want| have.is_none_or(|have| want.differs(have)))
}

/// What whoever makes something that a key encrypts must be allowed: the service asks in their name. By each service's
/// page on KMS in AWS's documentation.
pub(super) fn used_by(want: Option<&Input<String>>, region: &str, actions: &[&str]) -> Vec<Permission> {
    let resource = format!("arn:aws:kms:{region}:*:key/*");
    let right = |action: &&str| Permission { action: (*action).to_owned(), resource: resource.clone() };
    want.iter().flat_map(|_| actions.iter().map(right)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use vrooli_deploy_core::provider::pure::{Answer, check_kind};

    use super::*;

    #[test]
    fn differences_are_answered() {
        let want = json!({"region": "us-east-1", "name": "app-default", "description": "what app keeps", "recovery_days": 30});
        let have = json!({"region": "us-east-1", "name": "app-default", "description": "what app keeps", "recovery_days": 30, "enabled": true, "rotated": true});
        let answers = [
            ("region", json!("eu-west-1"), Answer::Replace),
            ("name", json!("other"), Answer::Update),
            ("description", json!("other"), Answer::Update),
            ("recovery_days", json!(7), Answer::Update),
            ("enabled", json!(false), Answer::Update),
            ("rotated", json!(false), Answer::Update),
        ];
        check_kind(&KmsKey, &want, &have, &answers).unwrap();
    }

    #[test]
    fn what_has_a_key_keeps_it_where_none_is_asked_for() {
        let (one, two) = (Input::Value("arn:1".to_owned()), "arn:2".to_owned());
        assert!(other_key(Some(&one), None));
        assert!(other_key(Some(&one), Some(&two)));
        assert!(!other_key(Some(&one), Some(&"arn:1".to_owned())));
        assert!(!other_key(None, Some(&two)));
    }
}
