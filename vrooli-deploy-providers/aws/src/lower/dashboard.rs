//! The figures of all that a stack has, on one page.

use std::collections::BTreeMap;

use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::lowering::{Lowering, object_name, output, resource_key};
use vrooli_deploy_core::provider::parts::part_name;
use vrooli_deploy_core::provider::{ResourceKindDef, Wanted};
use vrooli_deploy_core::stack::Input;

use super::Site;
use crate::catalogue::GraphDefault;
use crate::kinds::dashboard::{Dashboard, DashboardSpec, Figure, Graph};
use crate::kinds::db_instance::DbInstance;
use crate::kinds::ecs_cluster::EcsCluster;
use crate::kinds::ecs_service::EcsService;
use crate::kinds::load_balancer::LoadBalancer;

/// Whose figures CloudWatch tells by which dimensions.
type Dimensions = BTreeMap<String, Input<String>>;

/// Adds it where anything is watched.
pub(super) fn lower(lowering: &mut Lowering<'_>, site: Site<'_>) {
    if !site.scale.alarms {
        return;
    }
    let mut graphs = Vec::new();
    for graph in &site.known.defaults.dashboard {
        let subjects = subjects(lowering, &graph.on);
        let alone = subjects.len() == 1;
        graphs.extend(subjects.into_iter().map(|(name, of)| drawn(graph, (!alone).then_some(name), &of)));
    }
    if graphs.is_empty() {
        return;
    }
    let name = object_name(lowering.stack(), "", 255);
    let spec = DashboardSpec { name, region: site.region.name.clone(), graphs };
    lowering.add(&resource_key("dashboard/main"), &Dashboard, &spec, false);
}

/// One of these, and of which of several.
fn drawn(graph: &GraphDefault, of: Option<String>, dimensions: &Dimensions) -> Graph<Wanted> {
    let line = |line: &crate::catalogue::LineDefault| Figure {
        label: line.label.clone(),
        namespace: graph.namespace.clone(),
        metric: line.metric.clone(),
        statistic: line.statistic.clone(),
        dimensions: dimensions.clone(),
    };
    let title = match of {
        Some(of) => format!("{}: {of}", graph.title),
        None => graph.title.clone(),
    };
    Graph { title, lines: graph.lines.iter().map(line).collect() }
}

fn keys<K: ResourceKindDef>(lowering: &Lowering<'_>, kind: &K) -> Vec<(ResourceKey, Option<String>)> {
    let name = |spec: &serde_json::Value| spec["name"].as_str().map(str::to_owned);
    lowering.of_kind(kind).map(|(key, spec)| (key.clone(), name(spec))).collect()
}

/// What such a graph is drawn of, each with a name for people.
fn subjects(lowering: &Lowering<'_>, on: &str) -> Vec<(String, Dimensions)> {
    let one = |name: &str, value: Input<String>| Dimensions::from([(name.to_owned(), value)]);
    let called = |key: &ResourceKey| part_name(key).to_owned();
    match on {
        "balancer" => {
            let all = keys(lowering, &LoadBalancer).into_iter();
            all.map(|(key, _)| (called(&key), one("LoadBalancer", output(&key, "metric_name")))).collect()
        }
        "database" => {
            let all = keys(lowering, &DbInstance).into_iter();
            all.map(|(key, _)| (called(&key), one("DBInstanceIdentifier", output(&key, "name")))).collect()
        }
        "service" => {
            // By their names and not by what they give: the page is there before the app runs.
            let cluster = keys(lowering, &EcsCluster).into_iter().find_map(|(_, name)| name);
            let named = |(key, name): (ResourceKey, Option<String>)| {
                let mut of = one("ServiceName", Input::Value(name?));
                of.insert("ClusterName".to_owned(), Input::Value(cluster.clone()?));
                // Of a pair: which service, and which of the two.
                let (_, place) = key.as_str().split_once('/').unwrap_or(("", key.as_str()));
                Some((place.replace('/', " "), of))
            };
            keys(lowering, &EcsService).into_iter().filter_map(named).collect()
        }
        _ => Vec::new(),
    }
}
