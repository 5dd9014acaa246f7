//! `digitalocean.dns-record`: one name of a domain.

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

/// The kind `digitalocean.dns-record`.
#[derive(Debug, Clone, Copy)]
pub struct DnsRecord;

/// What is wanted of a record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct DnsRecordSpec<F: Form = Wanted> {
    /// Its domain.
    pub domain: F::In<String>,
    /// `A`, `CNAME`, …
    pub record_type: String,
    /// The name in the domain; `@` is the domain itself.
    pub name: String,
    /// What it says.
    pub value: F::In<String>,
    /// How long others may keep it, in seconds.
    pub ttl_seconds: u32,
}

/// What is seen of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DnsRecordObserved {
    /// Its domain.
    pub domain: String,
    /// `A`, `CNAME`, …
    pub record_type: String,
    /// The name in the domain; `@` is the domain itself.
    pub name: String,
    /// What it says.
    pub value: String,
    /// How long others may keep it, in seconds.
    pub ttl_seconds: u32,
}

impl ResourceKindDef for DnsRecord {
    type Spec<F: Form> = DnsRecordSpec<F>;
    type Observed = DnsRecordObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("digitalocean.dns-record")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id"]
    }
    fn diff(&self, want: &DnsRecordSpec<Wanted>, have: &DnsRecordObserved) -> Change {
        let DnsRecordSpec { domain, record_type, name, value, ttl_seconds } = want;
        Diff::new()
            .replace("domain", domain.differs(&have.domain))
            .replace("record_type", *record_type != have.record_type)
            .update("name", *name != have.name)
            .update("value", value.differs(&have.value))
            .update("ttl_seconds", *ttl_seconds != have.ttl_seconds)
            .done()
    }
    fn bill(&self, _: &DnsRecordSpec<Wanted>) -> Vec<BillItem> {
        Vec::new()
    }
    fn permissions(&self, op: Op, _: &DnsRecordSpec<Wanted>) -> Vec<Permission> {
        Actions {
            find: &["domain:read"],
            create: &["domain:update"],
            update: &["domain:update"],
            delete: &["domain:update"],
        }
        .of(op, "*")
    }
    fn ownership(&self, _: &ResourceKey, want: &DnsRecordSpec<Wanted>) -> Ownership {
        Ownership::DerivedName(format!("{} {}", want.name, want.record_type))
    }
    fn outputs(&self, id: &PhysicalId, _: &DnsRecordObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([("id", id.0.clone().into())])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use vrooli_deploy_core::provider::pure::{Answer, check_kind};

    #[test]
    fn differences_are_answered() {
        let want = json!({"domain": "app.example.com", "record_type": "A", "name": "@", "value": "203.0.113.7", "ttl_seconds": 60});
        let have = json!({"domain": "app.example.com", "record_type": "A", "name": "@", "value": "203.0.113.7", "ttl_seconds": 60});
        let answers = [
            ("domain", json!("x.example.com"), Answer::Replace),
            ("record_type", json!("CNAME"), Answer::Replace),
            ("name", json!("www"), Answer::Update),
            ("value", json!("203.0.113.8"), Answer::Update),
            ("ttl_seconds", json!(600), Answer::Update),
        ];
        check_kind(&super::DnsRecord, &want, &have, &answers).unwrap();
    }
}
