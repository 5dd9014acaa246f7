//! `digitalocean.certificate`: a certificate of Let's Encrypt that DigitalOcean gets and renews. Free.

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

/// The kind `digitalocean.certificate`.
#[derive(Debug, Clone, Copy)]
pub struct Certificate;

/// What is wanted of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateSpec {
    /// Its name.
    pub name: String,
    /// Host names; their domain is one of the account's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<String>,
}

/// What is seen of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CertificateObserved {
    /// Its name.
    pub name: String,
    /// Host names; their domain is one of the account's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<String>,
    /// `verified` once it can be used.
    pub state: String,
}

impl ResourceKindDef for Certificate {
    type Spec<F: Form> = CertificateSpec;
    type Observed = CertificateObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("digitalocean.certificate")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id"]
    }
    fn diff(&self, want: &CertificateSpec, have: &CertificateObserved) -> Change {
        let CertificateSpec { name, domains } = want;
        Diff::new().replace("name", *name != have.name).replace("domains", *domains != have.domains).done()
    }
    fn bill(&self, _: &CertificateSpec) -> Vec<BillItem> {
        Vec::new()
    }
    fn permissions(&self, op: Op, _: &CertificateSpec) -> Vec<Permission> {
        Actions {
            find: &["certificate:read"],
            create: &["certificate:create"],
            update: &[],
            delete: &["certificate:delete"],
        }
        .of(op, "*")
    }
    fn ownership(&self, _: &ResourceKey, want: &CertificateSpec) -> Ownership {
        Ownership::DerivedName(want.name.clone())
    }
    fn outputs(&self, id: &PhysicalId, _: &CertificateObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([("id", id.0.clone().into())])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use vrooli_deploy_core::provider::pure::{Answer, check_kind};

    #[test]
    fn differences_are_answered() {
        let want = json!({"name": "app-default", "domains": ["app.example.com"]});
        let have = json!({"name": "app-default", "domains": ["app.example.com"], "state": "verified"});
        let answers = [
            ("name", json!("other"), Answer::Replace),
            ("domains", json!(["x.example.com"]), Answer::Replace),
            ("state", json!("pending"), Answer::Nothing),
        ];
        check_kind(&super::Certificate, &want, &have, &answers).unwrap();
    }
}
