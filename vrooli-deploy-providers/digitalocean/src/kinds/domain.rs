//! `digitalocean.domain`: the names of a domain. Free.

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

/// The kind `digitalocean.domain`.
#[derive(Debug, Clone, Copy)]
pub struct Domain;

/// What is wanted of a domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DomainSpec {
    /// The domain.
    pub name: String,
}

/// What is seen of a domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DomainObserved {
    /// The domain.
    pub name: String,
}

impl ResourceKindDef for Domain {
    type Spec<F: Form> = DomainSpec;
    type Observed = DomainObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("digitalocean.domain")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["name"]
    }
    fn diff(&self, want: &DomainSpec, have: &DomainObserved) -> Change {
        let DomainSpec { name } = want;
        Diff::new().replace("name", *name != have.name).done()
    }
    fn bill(&self, _: &DomainSpec) -> Vec<BillItem> {
        Vec::new()
    }
    fn permissions(&self, op: Op, _: &DomainSpec) -> Vec<Permission> {
        Actions {
            find: &["domain:read"],
            create: &["domain:create"],
            update: &[],
            delete: &["domain:delete"],
        }
        .of(op, "*")
    }
    fn ownership(&self, _: &ResourceKey, want: &DomainSpec) -> Ownership {
        Ownership::DerivedName(want.name.clone())
    }
    fn outputs(&self, _: &PhysicalId, have: &DomainObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([("name", have.name.clone().into())])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use vrooli_deploy_core::provider::pure::{Answer, check_kind};

    #[test]
    fn differences_are_answered() {
        let want = json!({"name": "app.example.com"});
        let have = json!({"name": "app.example.com"});
        let answers = [("name", json!("x.example.com"), Answer::Replace)];
        check_kind(&super::Domain, &want, &have, &answers).unwrap();
    }
}
