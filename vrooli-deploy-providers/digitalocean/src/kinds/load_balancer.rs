//! `digitalocean.load-balancer`: a load balancer, open to the internet.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::{BillItem, Line};
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Known, Op, Ownership, Permission, PhysicalId, ResourceKindDef, Wanted,
};

use super::Actions;
use crate::bill::{item, running};

/// The kind `digitalocean.load-balancer`.
#[derive(Debug, Clone, Copy)]
pub struct LoadBalancer;

/// One port, and where its requests go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct Rule<F: Form = Wanted> {
    /// `http` or `https`.
    pub entry_protocol: String,
    /// Port of the load balancer.
    pub entry_port: u16,
    /// What droplets speak.
    pub target_protocol: String,
    /// Port of the droplets.
    pub target_port: u16,
    /// The certificate, for `https`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<F::In<String>>,
}

fn rules_differ(want: &[Rule<Wanted>], have: &[Rule<Known>]) -> bool {
    let same = |want: &Rule<Wanted>, have: &Rule<Known>| {
        (&want.entry_protocol, want.entry_port) == (&have.entry_protocol, have.entry_port)
            && (&want.target_protocol, want.target_port) == (&have.target_protocol, have.target_port)
            && !super::id_differs(want.certificate.as_ref(), have.certificate.as_ref())
    };
    want.len() != have.len() || want.iter().any(|want| !have.iter().any(|have| same(want, have)))
}

/// What is wanted of a load balancer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct LoadBalancerSpec<F: Form = Wanted> {
    /// Its name.
    pub name: String,
    /// Region, `nyc3`.
    pub region: String,
    /// How many nodes it has; each can do so much.
    pub nodes: u32,
    /// Its network.
    pub vpc: F::In<String>,
    /// Droplets with this tag get requests.
    pub target_tag: String,
    /// What is passed on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule<F>>,
    /// Are all requests sent on to HTTPS?
    pub redirect_to_https: bool,
    /// The path that is asked whether a droplet is well.
    pub health_path: String,
}

/// What is seen of a load balancer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LoadBalancerObserved {
    /// Its name.
    pub name: String,
    /// Region, `nyc3`.
    pub region: String,
    /// How many nodes it has; each can do so much.
    pub nodes: u32,
    /// Its network.
    pub vpc: String,
    /// Droplets with this tag get requests.
    pub target_tag: String,
    /// What is passed on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule<Known>>,
    /// Are all requests sent on to HTTPS?
    pub redirect_to_https: bool,
    /// The path that is asked whether a droplet is well.
    pub health_path: String,
    /// Its public address.
    pub address: String,
    /// `active` once it works.
    pub status: String,
}

impl ResourceKindDef for LoadBalancer {
    type Spec<F: Form> = LoadBalancerSpec<F>;
    type Observed = LoadBalancerObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("digitalocean.load-balancer")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id", "address"]
    }
    fn diff(&self, want: &LoadBalancerSpec<Wanted>, have: &LoadBalancerObserved) -> Change {
        let LoadBalancerSpec { name, region, nodes, vpc, target_tag, rules, redirect_to_https, health_path } =
            want;
        Diff::new()
            .update("name", *name != have.name)
            .replace("region", *region != have.region)
            .update("nodes", *nodes != have.nodes)
            .replace("vpc", vpc.differs(&have.vpc))
            .update("target_tag", *target_tag != have.target_tag)
            .update("rules", rules_differ(rules, &have.rules))
            .update("redirect_to_https", *redirect_to_https != have.redirect_to_https)
            .update("health_path", *health_path != have.health_path)
            .done()
    }
    fn bill(&self, want: &LoadBalancerSpec<Wanted>) -> Vec<BillItem> {
        let place = ("load-balancer", "regional-http", want.region.as_str());
        let what = format!("load balancer of {} nodes", want.nodes);
        let what = if want.nodes == 1 { "load balancer".to_owned() } else { what };
        vec![item(Line::LoadBalancer, what, place, running(want.nodes))]
    }
    fn permissions(&self, op: Op, _: &LoadBalancerSpec<Wanted>) -> Vec<Permission> {
        Actions {
            find: &["load_balancer:read"],
            create: &["load_balancer:create", "vpc:read", "tag:read", "certificate:read"],
            update: &["load_balancer:update"],
            delete: &["load_balancer:delete"],
        }
        .of(op, "*")
    }
    fn ownership(&self, _: &ResourceKey, want: &LoadBalancerSpec<Wanted>) -> Ownership {
        Ownership::DerivedName(want.name.clone())
    }
    fn outputs(&self, id: &PhysicalId, have: &LoadBalancerObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([("id", id.0.clone().into()), ("address", have.address.clone().into())])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use vrooli_deploy_core::provider::pure::{Answer, check_kind};

    #[test]
    fn differences_are_answered() {
        let want = json!({"name": "app-default", "region": "nyc3", "nodes": 1, "vpc": "id-1", "target_tag": "app-default", "rules": [{"entry_protocol": "https", "entry_port": 443, "target_protocol": "http", "target_port": 80, "certificate": "c-1"}], "redirect_to_https": true, "health_path": "/"});
        let have = json!({"name": "app-default", "region": "nyc3", "nodes": 1, "vpc": "id-1", "target_tag": "app-default", "rules": [{"entry_protocol": "https", "entry_port": 443, "target_protocol": "http", "target_port": 80, "certificate": "c-1"}], "redirect_to_https": true, "health_path": "/", "address": "203.0.113.7", "status": "active"});
        let answers = [
            ("name", json!("other"), Answer::Update),
            ("region", json!("ams3"), Answer::Replace),
            ("nodes", json!(2), Answer::Update),
            ("vpc", json!("id-2"), Answer::Replace),
            ("target_tag", json!("other"), Answer::Update),
            ("rules", json!([]), Answer::Update),
            ("redirect_to_https", json!(false), Answer::Update),
            ("health_path", json!("/health"), Answer::Update),
            ("address", json!("203.0.113.8"), Answer::Nothing),
            ("status", json!("new"), Answer::Nothing),
        ];
        check_kind(&super::LoadBalancer, &want, &have, &answers).unwrap();
    }
}
