//! `digitalocean.reserved-ip`: a public address that stays. Free while a droplet has it.

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
use crate::bill::{item, running};

/// The kind `digitalocean.reserved-ip`.
#[derive(Debug, Clone, Copy)]
pub struct ReservedIp;

/// What is wanted of an address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct ReservedIpSpec<F: Form = Wanted> {
    /// Region, `nyc3`.
    pub region: String,
    /// The droplet that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub droplet: Option<F::In<String>>,
}

/// What is seen of an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReservedIpObserved {
    /// Region, `nyc3`.
    pub region: String,
    /// The droplet that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub droplet: Option<String>,
    /// The address.
    pub address: String,
}

impl ResourceKindDef for ReservedIp {
    type Spec<F: Form> = ReservedIpSpec<F>;
    type Observed = ReservedIpObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("digitalocean.reserved-ip")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id", "address"]
    }
    fn diff(&self, want: &ReservedIpSpec<Wanted>, have: &ReservedIpObserved) -> Change {
        let ReservedIpSpec { region, droplet } = want;
        Diff::new()
            .replace("region", *region != have.region)
            .update("droplet", super::id_differs(droplet.as_ref(), have.droplet.as_ref()))
            .done()
    }
    fn bill(&self, want: &ReservedIpSpec<Wanted>) -> Vec<BillItem> {
        if want.droplet.is_some() {
            return Vec::new();
        }
        let place = ("reserved-ip", "unassigned", want.region.as_str());
        vec![item(Line::Addresses, "address that nothing has", place, running(1))]
    }
    fn permissions(&self, op: Op, _: &ReservedIpSpec<Wanted>) -> Vec<Permission> {
        Actions {
            find: &["reserved_ip:read"],
            create: &["reserved_ip:create"],
            update: &["reserved_ip:update"],
            delete: &["reserved_ip:delete"],
        }
        .of(op, "*")
    }
    fn ownership(&self, key: &ResourceKey, _: &ReservedIpSpec<Wanted>) -> Ownership {
        Ownership::DerivedName(format!("{key}"))
    }
    fn outputs(&self, id: &PhysicalId, have: &ReservedIpObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([("id", id.0.clone().into()), ("address", have.address.clone().into())])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use vrooli_deploy_core::provider::pure::{Answer, check_kind};

    #[test]
    fn differences_are_answered() {
        let want = json!({"region": "nyc3", "droplet": "1"});
        let have = json!({"region": "nyc3", "droplet": "1", "address": "203.0.113.7"});
        let answers = [
            ("region", json!("ams3"), Answer::Replace),
            ("droplet", json!("2"), Answer::Update),
            ("address", json!("203.0.113.8"), Answer::Nothing),
        ];
        check_kind(&super::ReservedIp, &want, &have, &answers).unwrap();
    }
}
