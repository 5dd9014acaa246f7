//! `aws.secret`: a secret of Secrets Manager. Its value is made by the engine and never seen here.

#[cfg(feature = "native")]
pub(crate) mod native;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::{BillItem, Line};
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Op, Ownership, Permission, PhysicalId, ResourceKindDef, Wanted,
};

use super::Actions;
use super::kms_key::{other_key, used_by};
use crate::bill::{item, running};

/// The kind `aws.secret`.
#[derive(Debug, Clone, Copy)]
pub struct Secret;

/// What is wanted of a secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct SecretSpec<F: Form = Wanted> {
    /// Region.
    pub region: String,
    /// Its name, unique in the region.
    pub name: String,
    /// A few words.
    pub description: String,
    /// For so many days a deleted secret can be brought back.
    pub recovery_days: u32,
    /// The key that encrypts it, by ARN; without, it is AWS's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key: Option<F::In<String>>,
}

/// What is seen of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretObserved {
    /// Region.
    pub region: String,
    /// Its name, unique in the region.
    pub name: String,
    /// A few words.
    pub description: String,
    /// For so many days a deleted secret can be brought back.
    pub recovery_days: u32,
    /// The key that encrypts it, by ARN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key: Option<String>,
}

impl ResourceKindDef for Secret {
    type Spec<F: Form> = SecretSpec<F>;
    type Observed = SecretObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("aws.secret")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["arn"]
    }
    fn diff(&self, want: &SecretSpec<Wanted>, have: &SecretObserved) -> Change {
        let SecretSpec { region, name, description, recovery_days, kms_key } = want;
        Diff::new()
            .replace("region", *region != have.region)
            .replace("name", *name != have.name)
            .update("description", *description != have.description)
            .update("recovery_days", *recovery_days != have.recovery_days)
            .update("kms_key", other_key(kms_key.as_ref(), have.kms_key.as_ref()))
            .done()
    }
    fn bill(&self, want: &SecretSpec<Wanted>) -> Vec<BillItem> {
        vec![item(
            Line::Secrets,
            format!("secret {}", want.name),
            ("secretsmanager", "secret", &want.region),
            running(1),
        )]
    }
    fn permissions(&self, op: Op, want: &SecretSpec<Wanted>) -> Vec<Permission> {
        let mut all = Actions {
            find: &["secretsmanager:DescribeSecret", "secretsmanager:ListSecrets"],
            create: &[
                "secretsmanager:CreateSecret",
                "secretsmanager:RestoreSecret",
                "secretsmanager:TagResource",
                "secretsmanager:UpdateSecret",
            ],
            update: &["secretsmanager:UpdateSecret", "secretsmanager:TagResource"],
            delete: &["secretsmanager:DeleteSecret"],
        }
        .of(op, format!("arn:aws:secretsmanager:{}:*:secret:{}-*", want.region, want.name));
        if op == Op::Create || op == Op::Update {
            // Values are written and read, and written again with another key.
            all.extend(used_by(want.kms_key.as_ref(), &want.region, &["kms:Decrypt", "kms:GenerateDataKey"]));
        }
        all
    }
    fn ownership(&self, _: &ResourceKey, want: &SecretSpec<Wanted>) -> Ownership {
        Ownership::DerivedName(want.name.clone())
    }
    fn outputs(&self, id: &PhysicalId, _: &SecretObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([("arn", id.0.clone().into())])
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
        let want = json!({"region": "us-east-1", "name": "app/default/database", "description": "password of a database", "recovery_days": 7, "kms_key": "arn:1"});
        let have = json!({"region": "us-east-1", "name": "app/default/database", "description": "password of a database", "recovery_days": 7, "kms_key": "arn:1"});
        let answers = [
            ("region", json!("eu-west-1"), Answer::Replace),
            ("name", json!("other"), Answer::Replace),
            ("description", json!("other"), Answer::Update),
            ("recovery_days", json!(30), Answer::Update),
            ("kms_key", json!("arn:2"), Answer::Update),
        ];
        check_kind(&super::Secret, &want, &have, &answers).unwrap();
    }
}
