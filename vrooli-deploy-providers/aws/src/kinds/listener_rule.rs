//! `aws.listener-rule`: requests of a path, and who gets them. The weights are the fleet's.

#[cfg(feature = "native")]
mod native;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::BillItem;
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Op, Ownership, Permission, PhysicalId, ResourceKindDef, Wanted,
};

use super::Actions;

/// The kind `aws.listener-rule`.
#[derive(Debug, Clone, Copy)]
pub struct ListenerRule;

/// What is wanted of a rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct ListenerRuleSpec<F: Form = Wanted> {
    /// Region.
    pub region: String,
    /// Its listener.
    pub listener: F::In<String>,
    /// Rules are tried from the lowest.
    pub priority: u32,
    /// Path patterns, `/api/*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// Host names; none means any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// The target groups that get them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub target_groups: Vec<F::In<String>>,
}

/// What is seen of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListenerRuleObserved {
    /// Region.
    pub region: String,
    /// Its listener.
    pub listener: String,
    /// Rules are tried from the lowest.
    pub priority: u32,
    /// Path patterns, `/api/*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// Host names; none means any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// The target groups that get them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub target_groups: Vec<String>,
}

impl ResourceKindDef for ListenerRule {
    type Spec<F: Form> = ListenerRuleSpec<F>;
    type Observed = ListenerRuleObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("aws.listener-rule")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id"]
    }
    fn diff(&self, want: &ListenerRuleSpec<Wanted>, have: &ListenerRuleObserved) -> Change {
        let ListenerRuleSpec { region, listener, priority, paths, hosts, target_groups } = want;
        // Any of them will do, so their order says nothing.
        let differ =
            |want: &[String], have: &[String]| BTreeSet::from_iter(want) != BTreeSet::from_iter(have);
        Diff::new()
            .replace("region", *region != have.region)
            .replace("listener", listener.differs(&have.listener))
            .update("priority", *priority != have.priority)
            .update("paths", differ(paths, &have.paths))
            .update("hosts", differ(hosts, &have.hosts))
            .update("target_groups", super::ids_differ(target_groups, &have.target_groups))
            .done()
    }
    fn bill(&self, _: &ListenerRuleSpec<Wanted>) -> Vec<BillItem> {
        Vec::new()
    }
    fn permissions(&self, op: Op, _: &ListenerRuleSpec<Wanted>) -> Vec<Permission> {
        Actions {
            find: &[
                "tag:GetResources",
                "elasticloadbalancing:DescribeListeners",
                "elasticloadbalancing:DescribeLoadBalancers",
                "elasticloadbalancing:DescribeRules",
                "elasticloadbalancing:DescribeTags",
            ],
            create: &["elasticloadbalancing:CreateRule", "elasticloadbalancing:AddTags"],
            update: &["elasticloadbalancing:ModifyRule", "elasticloadbalancing:SetRulePriorities"],
            delete: &["elasticloadbalancing:DeleteRule"],
        }
        .of(op, "*")
    }
    fn ownership(&self, _: &ResourceKey, _: &ListenerRuleSpec<Wanted>) -> Ownership {
        Ownership::Tags
    }
    fn outputs(&self, id: &PhysicalId, _: &ListenerRuleObserved) -> BTreeMap<OutputName, Value> {
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
        let want = json!({"region": "us-east-1", "listener": "id-1", "priority": 10, "paths": ["/api", "/api/*"], "hosts": [], "target_groups": ["id-1", "id-2"]});
        let have = json!({"region": "us-east-1", "listener": "id-1", "priority": 10, "paths": ["/api", "/api/*"], "hosts": [], "target_groups": ["id-1", "id-2"]});
        let answers = [
            ("region", json!("eu-west-1"), Answer::Replace),
            ("listener", json!("id-2"), Answer::Replace),
            ("priority", json!(20), Answer::Update),
            ("paths", json!(["/x"]), Answer::Update),
            ("paths", json!(["/api/*", "/api"]), Answer::Nothing),
            ("hosts", json!(["api.example.com"]), Answer::Update),
            ("target_groups", json!(["id-3"]), Answer::Update),
        ];
        check_kind(&super::ListenerRule, &want, &have, &answers).unwrap();
    }
}
