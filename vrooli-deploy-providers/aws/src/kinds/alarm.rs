//! `aws.alarm`: a figure that somebody should look at when it goes too far.

#[cfg(feature = "native")]
mod native;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::{BillItem, Decimal, Line};
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Op, Ownership, Permission, PhysicalId, ResourceKindDef, Wanted,
};

use super::Actions;
use crate::bill::{item, running};

/// The kind `aws.alarm`.
#[derive(Debug, Clone, Copy)]
pub struct Alarm;

/// What is made of the figures of a minute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AlarmStatistic {
    /// Their mean, which is what use is measured by.
    #[default]
    Average,
    /// Their sum, which is what events are counted by.
    Sum,
}

/// What is wanted of an alarm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct AlarmSpec<F: Form = Wanted> {
    /// Region.
    pub region: String,
    /// Its name, unique in the region.
    pub name: String,
    /// Whose figure, `AWS/RDS`.
    pub namespace: String,
    /// Which, `CPUUtilization`.
    pub metric: String,
    /// Above this value, as decimal text.
    pub threshold: String,
    /// For so many minutes.
    pub minutes: u32,
    /// Of what: the value of the dimension.
    pub subject: F::In<String>,
    /// The name of the dimension, `DBInstanceIdentifier`.
    pub dimension: String,
    /// The cluster of a service, by name: ECS counts by both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<F::In<String>>,
    /// What is made of the figures of a minute.
    #[serde(default)]
    pub statistic: AlarmStatistic,
}

/// What is seen of an alarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AlarmObserved {
    /// Region.
    pub region: String,
    /// Its name, unique in the region.
    pub name: String,
    /// Whose figure, `AWS/RDS`.
    pub namespace: String,
    /// Which, `CPUUtilization`.
    pub metric: String,
    /// Above this value, as decimal text.
    pub threshold: String,
    /// For so many minutes.
    pub minutes: u32,
    /// Of what: the value of the dimension.
    pub subject: String,
    /// The name of the dimension, `DBInstanceIdentifier`.
    pub dimension: String,
    /// The cluster of a service, by name: ECS counts by both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// What is made of the figures of a minute.
    #[serde(default)]
    pub statistic: AlarmStatistic,
}

/// `80.0` is `80`. What is no number is nothing that AWS gives back, and differs.
fn number(text: &str) -> Option<Decimal> {
    text.parse().ok()
}

impl ResourceKindDef for Alarm {
    type Spec<F: Form> = AlarmSpec<F>;
    type Observed = AlarmObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("aws.alarm")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id"]
    }
    fn diff(&self, want: &AlarmSpec<Wanted>, have: &AlarmObserved) -> Change {
        let AlarmSpec {
            region,
            name,
            namespace,
            metric,
            threshold,
            minutes,
            subject,
            dimension,
            cluster,
            statistic,
        } = want;
        Diff::new()
            .replace("region", *region != have.region)
            .replace("name", *name != have.name)
            .update("namespace", *namespace != have.namespace)
            .update("metric", *metric != have.metric)
            .update("threshold", number(threshold) != number(&have.threshold))
            .update("minutes", *minutes != have.minutes)
            .update("subject", subject.differs(&have.subject))
            .update("dimension", *dimension != have.dimension)
            .update("cluster", super::id_differs(cluster.as_ref(), have.cluster.as_ref()))
            .update("statistic", *statistic != have.statistic)
            .done()
    }
    fn bill(&self, want: &AlarmSpec<Wanted>) -> Vec<BillItem> {
        vec![item(
            Line::Monitoring,
            format!("alarm {}", want.name),
            ("cloudwatch", "alarm-standard", &want.region),
            running(1),
        )]
    }
    fn permissions(&self, op: Op, want: &AlarmSpec<Wanted>) -> Vec<Permission> {
        Actions {
            find: &["tag:GetResources", "cloudwatch:DescribeAlarms", "cloudwatch:ListTagsForResource"],
            create: &["cloudwatch:PutMetricAlarm", "cloudwatch:TagResource"],
            update: &["cloudwatch:PutMetricAlarm"],
            delete: &["cloudwatch:DeleteAlarms"],
        }
        .of(op, format!("arn:aws:cloudwatch:{}:*:alarm:{}", want.region, want.name))
    }
    fn ownership(&self, _: &ResourceKey, want: &AlarmSpec<Wanted>) -> Ownership {
        Ownership::DerivedName(want.name.clone())
    }
    fn outputs(&self, id: &PhysicalId, _: &AlarmObserved) -> BTreeMap<OutputName, Value> {
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
        let want = json!({"region": "us-east-1", "name": "app-default", "namespace": "AWS/RDS", "metric": "CPUUtilization", "threshold": "80", "minutes": 5, "subject": "db-1", "dimension": "DBInstanceIdentifier", "statistic": "Average"});
        let have = json!({"region": "us-east-1", "name": "app-default", "namespace": "AWS/RDS", "metric": "CPUUtilization", "threshold": "80", "minutes": 5, "subject": "db-1", "dimension": "DBInstanceIdentifier", "statistic": "Average"});
        let answers = [
            ("region", json!("eu-west-1"), Answer::Replace),
            ("name", json!("other"), Answer::Replace),
            ("namespace", json!("AWS/ECS"), Answer::Update),
            ("metric", json!("Other"), Answer::Update),
            ("threshold", json!("90"), Answer::Update),
            ("minutes", json!(10), Answer::Update),
            ("subject", json!("db-2"), Answer::Update),
            ("dimension", json!("ServiceName"), Answer::Update),
            ("cluster", json!("app-default"), Answer::Update),
            ("statistic", json!("Sum"), Answer::Update),
        ];
        check_kind(&super::Alarm, &want, &have, &answers).unwrap();
    }
}
