//! `CreateCluster` gives back a cluster that is there, whoever made it: so it is looked at first.

use std::collections::BTreeSet;

use aws_sdk_ecs::types::{Cluster, ClusterField, ClusterSetting, ClusterSettingName};
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, PhysicalId, Result};

use super::{EcsCluster, EcsClusterObserved, EcsClusterSpec};
use crate::native::{Calls, Look, Marks, Native, Regional, Seen, unexpected};

/// As many as one call describes.
const BATCH: usize = 100;

fn setting(insights: bool) -> ClusterSetting {
    let value = if insights { "enabled" } else { "disabled" };
    ClusterSetting::builder().name(ClusterSettingName::ContainerInsights).value(value).build()
}

fn seen(region: &Regional, cluster: &Cluster) -> Option<Seen<EcsClusterObserved>> {
    let marks = Marks::of(cluster.tags())?;
    let insights = cluster.settings().iter().any(|setting| {
        setting.name() == Some(&ClusterSettingName::ContainerInsights) && setting.value() != Some("disabled")
    });
    Some(Seen {
        id: PhysicalId(cluster.cluster_arn()?.to_owned()),
        marks,
        observed: EcsClusterObserved {
            region: region.name.clone(),
            name: cluster.cluster_name()?.to_owned(),
            insights,
        },
    })
}

/// Clusters that are active, by name or ARN.
async fn described(at: &Calls<'_>, clusters: Vec<String>) -> Result<Vec<Cluster>> {
    let ask = at.region.ecs.describe_clusters().set_clusters(Some(clusters));
    let ask = ask.include(ClusterField::Tags).include(ClusterField::Settings).send();
    let mut clusters = at.read("ecs:DescribeClusters", ask).await?.clusters.unwrap_or_default();
    clusters.retain(|cluster| cluster.status() != Some("INACTIVE"));
    Ok(clusters)
}

async fn several(at: &Calls<'_>, names: BTreeSet<String>) -> Result<Vec<Cluster>> {
    let mut all = Vec::new();
    for batch in Vec::from_iter(names).chunks(BATCH) {
        all.extend(at.once("clusters", &batch.join(" "), || described(at, batch.to_vec())).await?);
    }
    Ok(all)
}

async fn settle(at: &Calls<'_>, have: &EcsClusterObserved, want: &EcsClusterSpec) -> Result<()> {
    if have.insights == want.insights {
        return Ok(());
    }
    let ecs = &at.region.ecs;
    let put = || ecs.update_cluster().cluster(&want.name).settings(setting(want.insights)).send();
    at.put("ecs:UpdateCluster", put).await.map(drop)
}

impl Native for EcsCluster {
    const TOKEN: CreateToken = CreateToken::Name;

    async fn see(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<Option<Seen<EcsClusterObserved>>> {
        let found = described(at, vec![id.0.clone()]).await?;
        Ok(found.first().and_then(|cluster| seen(&at.region, cluster)))
    }

    /// By the names that the stack wants and those that bear its tags: there may be many more.
    async fn list(&self, at: &Calls<'_>, look: Look<'_>) -> Result<Vec<Seen<EcsClusterObserved>>> {
        let tagged = at.tagged().await?;
        let mut names = at.account.named(self, look, "name");
        names.extend(tagged.named("ecs", "cluster/").map(str::to_owned));
        Ok(several(at, names).await?.iter().filter_map(|cluster| seen(&at.region, cluster)).collect())
    }

    async fn ahead(&self, at: &Calls<'_>, _: &[PhysicalId]) {
        let _ = several(at, at.account.named(self, Look::Stack, "name")).await;
    }

    async fn make(&self, on: &Calls<'_>, key: &ResourceKey, want: &EcsClusterSpec) -> Result<PhysicalId> {
        let at = on.at(&want.region).await;
        let there = described(&at, vec![want.name.clone()]).await?;
        if let Some(there) = there.first() {
            let there = at.own(seen(&at.region, there), key, ("cluster", &want.name))?;
            settle(&at, &there.observed, want).await?;
            return Ok(there.id);
        }
        let make = at.region.ecs.create_cluster().cluster_name(&want.name).settings(setting(want.insights));
        let make = make.set_tags(Some(Marks::as_tags(at.cx, key)?)).send();
        let made = at.change("ecs:CreateCluster", make).await?;
        let arn = made.cluster.and_then(|cluster| cluster.cluster_arn);
        arn.map(PhysicalId).ok_or_else(|| unexpected("ecs:CreateCluster", "ARN"))
    }

    async fn change(
        &self,
        at: &Calls<'_>,
        _: &PhysicalId,
        have: &EcsClusterObserved,
        want: &EcsClusterSpec,
    ) -> Result<()> {
        settle(at, have, want).await
    }

    /// Tasks of a service that was deleted may run for minutes yet: AWS refuses it until they are gone.
    async fn remove(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<()> {
        let gone = || {
            let gone = at.region.ecs.delete_cluster().cluster(&id.0).send();
            at.remove("ecs:DeleteCluster", gone)
        };
        at.freed(gone).await
    }
}
