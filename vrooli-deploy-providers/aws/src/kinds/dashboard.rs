//! `aws.dashboard`: the figures of a stack on one page of CloudWatch.

#[cfg(feature = "native")]
pub(crate) mod native;

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

/// The kind `aws.dashboard`.
#[derive(Debug, Clone, Copy)]
pub struct Dashboard;

/// What is wanted of a dashboard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct DashboardSpec<F: Form = Wanted> {
    /// Its name, unique in the account: a dashboard is in no region.
    pub name: String,
    /// The region whose figures it shows.
    pub region: String,
    /// Its graphs, from left to right and from top to bottom, two in a row.
    pub graphs: Vec<Graph<F>>,
}

/// A graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct Graph<F: Form = Wanted> {
    /// Its title.
    pub title: String,
    /// Its lines.
    pub lines: Vec<Figure<F>>,
}

/// A line of a graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct Figure<F: Form = Wanted> {
    /// What it is called in the graph.
    pub label: String,
    /// Whose figure, `AWS/RDS`.
    pub namespace: String,
    /// Which, `CPUUtilization`.
    pub metric: String,
    /// What is made of the figures of a minute: `Average`, `Sum`, `p95`.
    pub statistic: String,
    /// Of what: values of dimensions by name.
    pub dimensions: BTreeMap<String, F::In<String>>,
}

/// What is seen of a dashboard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DashboardObserved {
    /// Its name.
    pub name: String,
    /// The region whose figures it shows.
    pub region: String,
    /// Its graphs. One that is none of ours is told as far as it is like them.
    pub graphs: Vec<Graph<Known>>,
}

fn figure_differs(want: &Figure<Wanted>, have: &Figure<Known>) -> bool {
    let Figure { label, namespace, metric, statistic, dimensions } = want;
    let of = |name: &String| have.dimensions.get(name);
    *label != have.label
        || *namespace != have.namespace
        || *metric != have.metric
        || *statistic != have.statistic
        || dimensions.len() != have.dimensions.len()
        || dimensions.iter().any(|(name, value)| of(name).is_none_or(|have| value.differs(have)))
}

fn graphs_differ(want: &[Graph<Wanted>], have: &[Graph<Known>]) -> bool {
    let differs = |(want, have): (&Graph<Wanted>, &Graph<Known>)| {
        want.title != have.title
            || want.lines.len() != have.lines.len()
            || want.lines.iter().zip(&have.lines).any(|(want, have)| figure_differs(want, have))
    };
    want.len() != have.len() || want.iter().zip(have).any(differs)
}

impl ResourceKindDef for Dashboard {
    type Spec<F: Form> = DashboardSpec<F>;
    type Observed = DashboardObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("aws.dashboard")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id"]
    }
    fn diff(&self, want: &DashboardSpec<Wanted>, have: &DashboardObserved) -> Change {
        let DashboardSpec { name, region, graphs } = want;
        // Graphs alone say where their figures are.
        let elsewhere = !graphs.is_empty() && *region != have.region;
        Diff::new()
            .replace("name", *name != have.name)
            .update("region", elsewhere)
            .update("graphs", graphs_differ(graphs, &have.graphs))
            .done()
    }
    fn bill(&self, want: &DashboardSpec<Wanted>) -> Vec<BillItem> {
        vec![item(
            Line::Monitoring,
            format!("dashboard {}", want.name),
            ("cloudwatch", "dashboard", &want.region),
            running(1),
        )]
    }
    fn permissions(&self, op: Op, want: &DashboardSpec<Wanted>) -> Vec<Permission> {
        Actions {
            find: &["cloudwatch:GetDashboard"],
            create: &["cloudwatch:PutDashboard"],
            update: &["cloudwatch:PutDashboard"],
            delete: &["cloudwatch:DeleteDashboards"],
        }
        .of(op, format!("arn:aws:cloudwatch::*:dashboard/{}", want.name))
    }
    fn ownership(&self, _: &ResourceKey, want: &DashboardSpec<Wanted>) -> Ownership {
        Ownership::DerivedName(want.name.clone())
    }
    fn outputs(&self, id: &PhysicalId, _: &DashboardObserved) -> BTreeMap<OutputName, Value> {
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
        let line = |metric: &str, of: &str| json!({"label": "CPU", "namespace": "AWS/RDS", "metric": metric, "statistic": "Average", "dimensions": {"DBInstanceIdentifier": of}});
        let of = |metric: &str, of: &str| json!({"name": "app-default", "region": "us-east-1", "graphs": [{"title": "Database", "lines": [line(metric, of)]}]});
        let (want, have) = (of("CPUUtilization", "db-1"), of("CPUUtilization", "db-1"));
        let answers = [
            ("name", json!("other"), Answer::Replace),
            ("region", json!("eu-west-1"), Answer::Update),
            ("graphs", of("CPUUtilization", "db-2")["graphs"].clone(), Answer::Update),
            ("graphs", of("FreeStorageSpace", "db-1")["graphs"].clone(), Answer::Update),
            ("graphs", json!([]), Answer::Update),
        ];
        check_kind(&super::Dashboard, &want, &have, &answers).unwrap();
    }
}
