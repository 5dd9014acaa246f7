//! `digitalocean.project`: what groups the objects of a stack, those that cannot bear marks among them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::BillItem;
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Op, Ownership, Permission, PhysicalId, ResourceKindDef,
};

use super::Actions;

/// The kind `digitalocean.project`.
#[derive(Debug, Clone, Copy)]
pub struct Project;

/// What is wanted of a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProjectSpec {
    /// Its name, unique in the account.
    pub name: String,
    /// A few words.
    pub description: String,
    /// `Development`, `Staging` or `Production`.
    pub environment: String,
}

/// What is seen of a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProjectObserved {
    /// Its name, unique in the account.
    pub name: String,
    /// A few words.
    pub description: String,
    /// `Development`, `Staging` or `Production`.
    pub environment: String,
}

impl ResourceKindDef for Project {
    type Spec<F: Form> = ProjectSpec;
    type Observed = ProjectObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("digitalocean.project")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id"]
    }
    fn diff(&self, want: &ProjectSpec, have: &ProjectObserved) -> Change {
        let ProjectSpec { name, description, environment } = want;
        Diff::new()
            .update("name", *name != have.name)
            .update("description", *description != have.description)
            .update("environment", *environment != have.environment)
            .done()
    }
    fn bill(&self, _: &ProjectSpec) -> Vec<BillItem> {
        Vec::new()
    }
    fn permissions(&self, op: Op, _: &ProjectSpec) -> Vec<Permission> {
        Actions {
            find: &["project:read"],
            create: &["project:create"],
            update: &["project:update"],
            delete: &["project:delete"],
        }
        .of(op, "*")
    }
    fn ownership(&self, _: &ResourceKey, want: &ProjectSpec) -> Ownership {
        Ownership::DerivedName(want.name.clone())
    }
    fn outputs(&self, id: &PhysicalId, _: &ProjectObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([("id", id.0.clone().into())])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use vrooli_deploy_core::provider::pure::{Answer, check_kind};

    #[test]
    fn differences_are_answered() {
        let want = json!({"name": "app-default", "description": "made for app/default", "environment": "Production"});
        let have = json!({"name": "app-default", "description": "made for app/default", "environment": "Production"});
        let answers = [
            ("name", json!("other"), Answer::Update),
            ("description", json!("other"), Answer::Update),
            ("environment", json!("Staging"), Answer::Update),
        ];
        check_kind(&super::Project, &want, &have, &answers).unwrap();
    }
}
