//! `aws.log-group`: what an app writes.

#[cfg(feature = "native")]
mod native;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::{BillItem, Decimal, Line, Metric};
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Op, Ownership, Permission, PhysicalId, ResourceKindDef,
};

use super::Actions;
use crate::bill::{item, usage, usage_times};

/// The kind `aws.log-group`.
#[derive(Debug, Clone, Copy)]
pub struct LogGroup;

/// What is wanted of a log group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogGroupSpec {
    /// Region.
    pub region: String,
    /// Its name, unique in the region.
    pub name: String,
    /// How long lines are kept, in days.
    pub days: u32,
}

/// What is seen of a log group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogGroupObserved {
    /// Region.
    pub region: String,
    /// Its name, unique in the region.
    pub name: String,
    /// How long lines are kept, in days.
    pub days: u32,
}

impl ResourceKindDef for LogGroup {
    type Spec<F: Form> = LogGroupSpec;
    type Observed = LogGroupObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("aws.log-group")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id"]
    }
    fn diff(&self, want: &LogGroupSpec, have: &LogGroupObserved) -> Change {
        let LogGroupSpec { region, name, days } = want;
        Diff::new()
            .replace("region", *region != have.region)
            .replace("name", *name != have.name)
            .update("days", *days != have.days)
            .done()
    }
    fn bill(&self, want: &LogGroupSpec) -> Vec<BillItem> {
        let place = |sku| ("logs", sku, want.region.as_str());
        // What is written in a month stays for so many months.
        let months = Decimal::from(want.days) / Decimal::from(30);
        vec![
            item(Line::Logs, "written to logs", place("ingest"), usage(Metric::LogsGb)),
            item(
                Line::Logs,
                format!("logs kept for {} days", want.days),
                place("storage"),
                usage_times(Metric::LogsGb, months),
            ),
        ]
    }
    fn permissions(&self, op: Op, want: &LogGroupSpec) -> Vec<Permission> {
        Actions {
            find: &["tag:GetResources", "logs:DescribeLogGroups", "logs:ListTagsForResource"],
            create: &["logs:CreateLogGroup", "logs:PutRetentionPolicy", "logs:TagResource"],
            update: &["logs:PutRetentionPolicy"],
            delete: &["logs:DeleteLogGroup"],
        }
        .of(op, format!("arn:aws:logs:{}:*:log-group:{}:*", want.region, want.name))
    }
    fn ownership(&self, _: &ResourceKey, want: &LogGroupSpec) -> Ownership {
        Ownership::DerivedName(want.name.clone())
    }
    fn outputs(&self, id: &PhysicalId, _: &LogGroupObserved) -> BTreeMap<OutputName, Value> {
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
        let want = json!({"region": "us-east-1", "name": "app-default", "days": 30});
        let have = json!({"region": "us-east-1", "name": "app-default", "days": 30});
        let answers = [
            ("region", json!("eu-west-1"), Answer::Replace),
            ("name", json!("other"), Answer::Replace),
            ("days", json!(90), Answer::Update),
        ];
        check_kind(&super::LogGroup, &want, &have, &answers).unwrap();
    }
}
