//! `aws.iam-role`: what something may do.

#[cfg(feature = "native")]
mod native;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::BillItem;
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Known, Op, Ownership, Permission, PhysicalId, ResourceKindDef, Wanted,
};

use super::Actions;

/// Who runs tasks.
const TASKS: &str = "ecs-tasks.amazonaws.com";

/// The kind `aws.iam-role`.
#[derive(Debug, Clone, Copy)]
pub struct IamRole;

/// Some actions on some objects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct Statement<F: Form = Wanted> {
    /// The actions.
    pub actions: Vec<String>,
    /// The objects, by ARN.
    pub resources: Vec<F::In<String>>,
}

fn statements_differ(want: &[Statement<Wanted>], have: &[Statement<Known>]) -> bool {
    want.len() != have.len()
        || want.iter().zip(have).any(|(want, have)| {
            want.actions != have.actions || super::ids_differ(&want.resources, &have.resources)
        })
}

fn set(policies: &[String]) -> BTreeSet<&String> {
    policies.iter().collect()
}

/// What is wanted of a role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct IamRoleSpec<F: Form = Wanted> {
    /// Its name, unique in the account, at most 64 characters.
    pub name: String,
    /// Who takes it on, `ecs-tasks.amazonaws.com`.
    pub service: String,
    /// Policies of AWS that it has, by ARN.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// What else it may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statements: Vec<Statement<F>>,
    /// Can machines have it?
    pub instance_profile: bool,
}

/// What is seen of a role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IamRoleObserved {
    /// Its name, unique in the account, at most 64 characters.
    pub name: String,
    /// Who takes it on, `ecs-tasks.amazonaws.com`.
    pub service: String,
    /// Policies of AWS that it has, by ARN.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// What else it may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statements: Vec<Statement<Known>>,
    /// Can machines have it?
    pub instance_profile: bool,
}

impl ResourceKindDef for IamRole {
    type Spec<F: Form> = IamRoleSpec<F>;
    type Observed = IamRoleObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("aws.iam-role")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["arn", "name"]
    }
    fn diff(&self, want: &IamRoleSpec<Wanted>, have: &IamRoleObserved) -> Change {
        let IamRoleSpec { name, service, policies, statements, instance_profile } = want;
        Diff::new()
            .replace("name", *name != have.name)
            .update("service", *service != have.service)
            // Their order says nothing.
            .update("policies", set(policies) != set(&have.policies))
            .update("statements", statements_differ(statements, &have.statements))
            // A run that was killed may have made the role alone. One that nobody wants any more goes with the role.
            .update("instance_profile", *instance_profile && !have.instance_profile)
            .done()
    }
    fn bill(&self, _: &IamRoleSpec<Wanted>) -> Vec<BillItem> {
        Vec::new()
    }
    fn permissions(&self, op: Op, want: &IamRoleSpec<Wanted>) -> Vec<Permission> {
        let role = format!("arn:aws:iam::*:role/{}", want.name);
        let mut all = Actions {
            find: &[
                "iam:GetAccountAuthorizationDetails",
                "iam:GetRole",
                "iam:ListAttachedRolePolicies",
                "iam:GetRolePolicy",
                "iam:ListInstanceProfilesForRole",
            ],
            create: &[
                "iam:CreateRole",
                "iam:TagRole",
                "iam:PutRolePolicy",
                "iam:AttachRolePolicy",
                "iam:DeleteRolePolicy",
                "iam:DetachRolePolicy",
            ],
            update: &[
                "iam:UpdateAssumeRolePolicy",
                "iam:PutRolePolicy",
                "iam:DeleteRolePolicy",
                "iam:AttachRolePolicy",
                "iam:DetachRolePolicy",
            ],
            delete: &["iam:DeleteRole", "iam:DeleteRolePolicy", "iam:DetachRolePolicy"],
        }
        .of(op, &role);
        if want.instance_profile {
            let profile = Actions {
                find: &[],
                create: &[
                    "iam:CreateInstanceProfile",
                    "iam:TagInstanceProfile",
                    "iam:AddRoleToInstanceProfile",
                ],
                update: &[
                    "iam:CreateInstanceProfile",
                    "iam:TagInstanceProfile",
                    "iam:AddRoleToInstanceProfile",
                ],
                delete: &["iam:RemoveRoleFromInstanceProfile", "iam:DeleteInstanceProfile"],
            };
            all.extend(profile.of(op, format!("arn:aws:iam::*:instance-profile/{}", want.name)));
        }
        // Machines with the profile get the role, and tasks of every release.
        if want.instance_profile || want.service == TASKS {
            let pass = Actions { find: &[], create: &["iam:PassRole"], update: &[], delete: &[] };
            all.extend(pass.of(op, role));
        }
        all
    }
    fn ownership(&self, _: &ResourceKey, want: &IamRoleSpec<Wanted>) -> Ownership {
        Ownership::DerivedName(want.name.clone())
    }
    fn outputs(&self, id: &PhysicalId, have: &IamRoleObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([("arn", id.0.clone().into()), ("name", have.name.clone().into())])
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
        let want = json!({"name": "app-default-task", "service": "ecs-tasks.amazonaws.com", "policies": ["arn:aws:iam::aws:policy/A"], "statements": [{"actions": ["s3:GetObject"], "resources": ["arn:aws:s3:::b/*"]}], "instance_profile": true});
        let have = json!({"name": "app-default-task", "service": "ecs-tasks.amazonaws.com", "policies": ["arn:aws:iam::aws:policy/A"], "statements": [{"actions": ["s3:GetObject"], "resources": ["arn:aws:s3:::b/*"]}], "instance_profile": true});
        let answers = [
            ("name", json!("other"), Answer::Replace),
            ("service", json!("ec2.amazonaws.com"), Answer::Update),
            ("policies", json!([]), Answer::Update),
            ("statements", json!([]), Answer::Update),
            ("instance_profile", json!(false), Answer::Update),
        ];
        check_kind(&super::IamRole, &want, &have, &answers).unwrap();
    }
}
