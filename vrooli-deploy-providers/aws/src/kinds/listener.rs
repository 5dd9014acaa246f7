//! `aws.listener`: a port of a load balancer. The weights of its target groups are the fleet's.

#[cfg(feature = "native")]
pub(crate) mod native;

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

/// The kind `aws.listener`.
#[derive(Debug, Clone, Copy)]
pub struct Listener;

/// What is spoken at a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// Plain.
    Http,
    /// With a certificate.
    Https,
}

/// What is wanted of a listener.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct ListenerSpec<F: Form = Wanted> {
    /// Region.
    pub region: String,
    /// Its load balancer.
    pub load_balancer: F::In<String>,
    /// The port.
    pub port: u16,
    /// What is spoken there.
    pub protocol: Protocol,
    /// The certificate, for HTTPS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<F::In<String>>,
    /// Are all requests sent on to HTTPS?
    pub redirect_to_https: bool,
    /// The target groups that get what no rule takes; none means 404.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub target_groups: Vec<F::In<String>>,
}

/// What is seen of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListenerObserved {
    /// Region.
    pub region: String,
    /// Its load balancer.
    pub load_balancer: String,
    /// The port.
    pub port: u16,
    /// What is spoken there.
    pub protocol: Protocol,
    /// The certificate, for HTTPS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Are all requests sent on to HTTPS?
    pub redirect_to_https: bool,
    /// The target groups that get what no rule takes; none means 404.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub target_groups: Vec<String>,
}

impl ResourceKindDef for Listener {
    type Spec<F: Form> = ListenerSpec<F>;
    type Observed = ListenerObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("aws.listener")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id"]
    }
    fn diff(&self, want: &ListenerSpec<Wanted>, have: &ListenerObserved) -> Change {
        let ListenerSpec {
            region,
            load_balancer,
            port,
            protocol,
            certificate,
            redirect_to_https,
            target_groups,
        } = want;
        Diff::new()
            .replace("region", *region != have.region)
            .replace("load_balancer", load_balancer.differs(&have.load_balancer))
            .update("port", *port != have.port)
            .update("protocol", *protocol != have.protocol)
            .update("certificate", super::id_differs(certificate.as_ref(), have.certificate.as_ref()))
            .update("redirect_to_https", *redirect_to_https != have.redirect_to_https)
            .update("target_groups", super::ids_differ(target_groups, &have.target_groups))
            .done()
    }
    fn bill(&self, _: &ListenerSpec<Wanted>) -> Vec<BillItem> {
        Vec::new()
    }
    fn permissions(&self, op: Op, _: &ListenerSpec<Wanted>) -> Vec<Permission> {
        Actions {
            find: &[
                "tag:GetResources",
                "elasticloadbalancing:DescribeListeners",
                "elasticloadbalancing:DescribeLoadBalancers",
                "elasticloadbalancing:DescribeTags",
            ],
            create: &["elasticloadbalancing:CreateListener", "elasticloadbalancing:AddTags"],
            update: &["elasticloadbalancing:ModifyListener"],
            delete: &["elasticloadbalancing:DeleteListener"],
        }
        .of(op, "*")
    }
    fn ownership(&self, _: &ResourceKey, _: &ListenerSpec<Wanted>) -> Ownership {
        Ownership::Tags
    }
    fn outputs(&self, id: &PhysicalId, _: &ListenerObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([("id", id.0.clone().into())])
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
        let want = json!({"region": "us-east-1", "load_balancer": "id-1", "port": 443, "protocol": "HTTPS", "certificate": "id-1", "redirect_to_https": false, "target_groups": ["id-1", "id-2"]});
        let have = json!({"region": "us-east-1", "load_balancer": "id-1", "port": 443, "protocol": "HTTPS", "certificate": "id-1", "redirect_to_https": false, "target_groups": ["id-1", "id-2"]});
        let answers = [
            ("region", json!("eu-west-1"), Answer::Replace),
            ("load_balancer", json!("id-2"), Answer::Replace),
            ("port", json!(8443), Answer::Update),
            ("protocol", json!("HTTP"), Answer::Update),
            ("certificate", json!("id-2"), Answer::Update),
            ("redirect_to_https", json!(true), Answer::Update),
            ("target_groups", json!(["id-3"]), Answer::Update),
        ];
        check_kind(&super::Listener, &want, &have, &answers).unwrap();
    }
}
