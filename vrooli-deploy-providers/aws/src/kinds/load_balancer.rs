//! `aws.load-balancer`: an application load balancer, open to the internet.

#[cfg(feature = "native")]
pub(in crate::kinds) mod native;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::{BillItem, Decimal, Line, Metric};
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Op, Ownership, Permission, PhysicalId, ResourceKindDef, Wanted,
};

use super::Actions;
use crate::bill::{item, running, usage_times};

/// The kind `aws.load-balancer`.
#[derive(Debug, Clone, Copy)]
pub struct LoadBalancer;

/// What is wanted of a load balancer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct LoadBalancerSpec<F: Form = Wanted> {
    /// Region.
    pub region: String,
    /// Its name, unique in the region, at most 32 characters.
    pub name: String,
    /// Public subnets in at least two zones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subnets: Vec<F::In<String>>,
    /// Who may reach it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_groups: Vec<F::In<String>>,
    /// A connection on which nothing happens for so long is closed, in seconds.
    pub idle_timeout_seconds: u32,
    /// Is it protected from being deleted?
    pub deletion_protection: bool,
}

/// What is seen of a load balancer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LoadBalancerObserved {
    /// Region.
    pub region: String,
    /// Its name, unique in the region, at most 32 characters.
    pub name: String,
    /// Public subnets in at least two zones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subnets: Vec<String>,
    /// Who may reach it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_groups: Vec<String>,
    /// A connection on which nothing happens for so long is closed, in seconds.
    pub idle_timeout_seconds: u32,
    /// Is it protected from being deleted?
    pub deletion_protection: bool,
    /// The name it is reached at.
    pub dns_name: String,
    /// The zone of that name, for alias records.
    pub zone_id: String,
}

impl ResourceKindDef for LoadBalancer {
    type Spec<F: Form> = LoadBalancerSpec<F>;
    type Observed = LoadBalancerObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("aws.load-balancer")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id", "dns_name", "zone_id", "metric_name"]
    }
    fn diff(&self, want: &LoadBalancerSpec<Wanted>, have: &LoadBalancerObserved) -> Change {
        let LoadBalancerSpec {
            region,
            name,
            subnets,
            security_groups,
            idle_timeout_seconds,
            deletion_protection,
        } = want;
        Diff::new()
            .replace("region", *region != have.region)
            .replace("name", *name != have.name)
            .update("subnets", super::ids_differ(subnets, &have.subnets))
            .update("security_groups", super::ids_differ(security_groups, &have.security_groups))
            .update("idle_timeout_seconds", *idle_timeout_seconds != have.idle_timeout_seconds)
            .update("deletion_protection", *deletion_protection != have.deletion_protection)
            .done()
    }
    fn bill(&self, want: &LoadBalancerSpec<Wanted>) -> Vec<BillItem> {
        let place = |sku| ("alb", sku, want.region.as_str());
        // Units are an average: so many in each of the hours that a month is reckoned with.
        let units = usage_times(Metric::LoadBalancerUnits, Decimal::from(730));
        // Each zone's node has a public address.
        let zones = u32::try_from(want.subnets.len()).unwrap_or(u32::MAX);
        let address = ("eip", "public-ipv4", want.region.as_str());
        vec![
            item(Line::LoadBalancer, "load balancer", place("alb-hour"), running(1)),
            item(Line::LoadBalancer, "capacity of the load balancer", place("lcu-hour"), units),
            item(
                Line::Addresses,
                format!("{zones} × public address of the load balancer"),
                address,
                running(zones),
            ),
        ]
    }
    fn permissions(&self, op: Op, want: &LoadBalancerSpec<Wanted>) -> Vec<Permission> {
        Actions {
            find: &[
                "tag:GetResources",
                "elasticloadbalancing:DescribeLoadBalancers",
                "elasticloadbalancing:DescribeLoadBalancerAttributes",
                "elasticloadbalancing:DescribeTags",
            ],
            create: &[
                "elasticloadbalancing:CreateLoadBalancer",
                "elasticloadbalancing:ModifyLoadBalancerAttributes",
                "elasticloadbalancing:AddTags",
            ],
            update: &[
                "elasticloadbalancing:ModifyLoadBalancerAttributes",
                "elasticloadbalancing:SetSubnets",
                "elasticloadbalancing:SetSecurityGroups",
            ],
            delete: &[
                "elasticloadbalancing:ModifyLoadBalancerAttributes",
                "elasticloadbalancing:DeleteLoadBalancer",
            ],
        }
        .of(op, format!("arn:aws:elasticloadbalancing:{}:*:loadbalancer/app/{}/*", want.region, want.name))
    }
    fn ownership(&self, _: &ResourceKey, want: &LoadBalancerSpec<Wanted>) -> Ownership {
        Ownership::DerivedName(want.name.clone())
    }
    fn outputs(&self, id: &PhysicalId, have: &LoadBalancerObserved) -> BTreeMap<OutputName, Value> {
        // What CloudWatch calls it: the end of its ARN, `app/<name>/<number>`.
        let metric_name = id.0.split_once(":loadbalancer/").map_or(&*id.0, |(_, name)| name);
        super::outputs([
            ("metric_name", metric_name.into()),
            ("id", id.0.clone().into()),
            ("dns_name", have.dns_name.clone().into()),
            ("zone_id", have.zone_id.clone().into()),
        ])
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
        let want = json!({"region": "us-east-1", "name": "app-default", "subnets": ["id-1", "id-2"], "security_groups": ["id-1", "id-2"], "idle_timeout_seconds": 60, "deletion_protection": false});
        let have = json!({"region": "us-east-1", "name": "app-default", "subnets": ["id-1", "id-2"], "security_groups": ["id-1", "id-2"], "idle_timeout_seconds": 60, "deletion_protection": false, "dns_name": "a.elb.amazonaws.com", "zone_id": "Z35"});
        let answers = [
            ("region", json!("eu-west-1"), Answer::Replace),
            ("name", json!("other"), Answer::Replace),
            ("subnets", json!(["id-3"]), Answer::Update),
            ("security_groups", json!(["id-3"]), Answer::Update),
            ("idle_timeout_seconds", json!(120), Answer::Update),
            ("deletion_protection", json!(true), Answer::Update),
            ("dns_name", json!("b.elb.amazonaws.com"), Answer::Nothing),
            ("zone_id", json!("Z36"), Answer::Nothing),
        ];
        check_kind(&super::LoadBalancer, &want, &have, &answers).unwrap();
    }
}
