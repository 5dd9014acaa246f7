//! `digitalocean.firewall`: who may reach droplets, and where. Free.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::BillItem;
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Known, Op, Ownership, Permission, PhysicalId, ResourceKindDef, Wanted,
};

use super::Actions;

/// The kind `digitalocean.firewall`.
#[derive(Debug, Clone, Copy)]
pub struct Firewall;

/// One rule: who may come in at a port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct Inbound<F: Form = Wanted> {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The port.
    pub port: u16,
    /// Addresses that may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// Load balancers that may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub load_balancers: Vec<F::In<String>>,
}

fn inbound_differs(want: &[Inbound<Wanted>], have: &[Inbound<Known>]) -> bool {
    let same = |want: &Inbound<Wanted>, have: &Inbound<Known>| {
        want.protocol == have.protocol
            && want.port == have.port
            && want.addresses == have.addresses
            && !super::ids_differ(&want.load_balancers, &have.load_balancers)
    };
    want.len() != have.len() || want.iter().any(|want| !have.iter().any(|have| same(want, have)))
}

/// What is wanted of a firewall.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct FirewallSpec<F: Form = Wanted> {
    /// Its name.
    pub name: String,
    /// It guards droplets with this tag.
    pub target_tag: String,
    /// Who may come in; what droplets reach themselves is not limited.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inbound: Vec<Inbound<F>>,
}

/// What is seen of a firewall.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FirewallObserved {
    /// Its name.
    pub name: String,
    /// It guards droplets with this tag.
    pub target_tag: String,
    /// Who may come in; what droplets reach themselves is not limited.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inbound: Vec<Inbound<Known>>,
}

impl ResourceKindDef for Firewall {
    type Spec<F: Form> = FirewallSpec<F>;
    type Observed = FirewallObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("digitalocean.firewall")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id"]
    }
    fn diff(&self, want: &FirewallSpec<Wanted>, have: &FirewallObserved) -> Change {
        let FirewallSpec { name, target_tag, inbound } = want;
        Diff::new()
            .update("name", *name != have.name)
            .update("target_tag", *target_tag != have.target_tag)
            .update("inbound", inbound_differs(inbound, &have.inbound))
            .done()
    }
    fn bill(&self, _: &FirewallSpec<Wanted>) -> Vec<BillItem> {
        Vec::new()
    }
    fn permissions(&self, op: Op, _: &FirewallSpec<Wanted>) -> Vec<Permission> {
        Actions {
            find: &["firewall:read"],
            create: &["firewall:create", "tag:read", "load_balancer:read"],
            update: &["firewall:update"],
            delete: &["firewall:delete"],
        }
        .of(op, "*")
    }
    fn ownership(&self, _: &ResourceKey, want: &FirewallSpec<Wanted>) -> Ownership {
        Ownership::DerivedName(want.name.clone())
    }
    fn outputs(&self, id: &PhysicalId, _: &FirewallObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([("id", id.0.clone().into())])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use vrooli_deploy_core::provider::pure::{Answer, check_kind};

    #[test]
    fn differences_are_answered() {
        let want = json!({"name": "app-default", "target_tag": "app-default", "inbound": [{"protocol": "tcp", "port": 22, "addresses": ["0.0.0.0/0", "::/0"]}, {"protocol": "tcp", "port": 80, "load_balancers": ["lb-1"]}]});
        let have = json!({"name": "app-default", "target_tag": "app-default", "inbound": [{"protocol": "tcp", "port": 22, "addresses": ["0.0.0.0/0", "::/0"]}, {"protocol": "tcp", "port": 80, "load_balancers": ["lb-1"]}]});
        let answers = [
            ("name", json!("other"), Answer::Update),
            ("target_tag", json!("other"), Answer::Update),
            ("inbound", json!([]), Answer::Update),
        ];
        check_kind(&super::Firewall, &want, &have, &answers).unwrap();
    }
}
