//! `CreateCluster` gives back a cluster that is there, whoever made it: so it is looked at first.

use aws_sdk_ecs::types::{Cluster, ClusterField, ClusterSetting, ClusterSettingName, Tag};
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, ErrorKind, OpCtx, PhysicalId, Result};

use super::{EcsCluster, EcsClusterObserved, EcsClusterSpec};
use crate::native::{Account, Look, Marks, Native, Regional, Seen, accept, name_taken, unexpected};

/// As many as one call describes.
const BATCH: usize = 100;

fn setting(insights: bool) -> ClusterSetting {
    let value = if insights { "enabled" } else { "disabled" };
    ClusterSetting::builder().name(ClusterSettingName::ContainerInsights).value(value).build()
}

fn seen(region: &Regional, cluster: &Cluster) -> Option<Seen<EcsClusterObserved>> {
    let marks = Marks::read(cluster.tags().iter().filter_map(|tag| Some((tag.key()?, tag.value()?))))?;
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
async fn described(
    account: &Account,
    cx: &OpCtx,
    region: &Regional,
    clusters: Vec<String>,
) -> Result<Vec<Cluster>> {
    let ask = region
        .ecs
        .describe_clusters()
        .set_clusters(Some(clusters))
        .include(ClusterField::Tags)
        .include(ClusterField::Settings)
        .send();
    let answer = account.read(cx, "ecs:DescribeClusters", ask).await?;
    let mut clusters = answer.clusters.unwrap_or_default();
    clusters.retain(|cluster| cluster.status() != Some("INACTIVE"));
    Ok(clusters)
}

async fn listed(account: &Account, cx: &OpCtx, region: &Regional) -> Result<Vec<Seen<EcsClusterObserved>>> {
    let (mut arns, mut next) = (Vec::new(), None::<String>);
    loop {
        let ask = region.ecs.list_clusters().set_next_token(next.take()).send();
        let page = account.read(cx, "ecs:ListClusters", ask).await?;
        arns.extend(page.cluster_arns().iter().cloned());
        next = page.next_token().map(str::to_owned);
        if next.is_none() {
            break;
        }
    }
    let mut all = Vec::new();
    for batch in arns.chunks(BATCH) {
        let clusters = described(account, cx, region, batch.to_vec()).await?;
        all.extend(clusters.iter().filter_map(|cluster| seen(region, cluster)));
    }
    Ok(all)
}

async fn settle(
    account: &Account,
    cx: &OpCtx,
    have: &EcsClusterObserved,
    want: &EcsClusterSpec,
) -> Result<()> {
    if have.insights == want.insights {
        return Ok(());
    }
    let region = account.region(&want.region).await;
    let put = || region.ecs.update_cluster().cluster(&want.name).settings(setting(want.insights)).send();
    account.put(cx, "ecs:UpdateCluster", put).await.map(drop)
}

impl Native for EcsCluster {
    const TOKEN: CreateToken = CreateToken::Name;

    async fn look(
        &self,
        account: &Account,
        cx: &OpCtx,
        look: Look<'_>,
    ) -> Result<Vec<Seen<EcsClusterObserved>>> {
        if let Look::Id(id) = look {
            let region = account.of_arn(&id.0).await;
            let found = described(account, cx, &region, vec![id.0.clone()]).await?;
            return Ok(found.iter().filter_map(|cluster| seen(&region, cluster)).collect());
        }
        let mut all = Vec::new();
        for region in account.regions().await {
            all.extend(listed(account, cx, &region).await?);
        }
        Ok(all)
    }

    async fn make(
        &self,
        account: &Account,
        cx: &OpCtx,
        key: &ResourceKey,
        want: &EcsClusterSpec,
    ) -> Result<PhysicalId> {
        let region = account.region(&want.region).await;
        let there = described(account, cx, &region, vec![want.name.clone()]).await?;
        if let Some(there) = there.first() {
            let there = seen(&region, there).filter(|one| one.marks.are(cx, key));
            let there = there.ok_or_else(|| name_taken("cluster", &want.name))?;
            settle(account, cx, &there.observed, want).await?;
            return Ok(there.id);
        }
        let tag = |(name, value): (&str, String)| Tag::builder().key(name).value(value).build();
        let make = region
            .ecs
            .create_cluster()
            .cluster_name(&want.name)
            .settings(setting(want.insights))
            .set_tags(Some(Marks::tags(cx, key).into_iter().map(tag).collect()))
            .send();
        let made = account.change(cx, "ecs:CreateCluster", make).await?;
        let arn = made.cluster.and_then(|cluster| cluster.cluster_arn);
        arn.map(PhysicalId).ok_or_else(|| unexpected("ecs:CreateCluster", "ARN"))
    }

    async fn change(
        &self,
        account: &Account,
        cx: &OpCtx,
        _: &PhysicalId,
        have: &EcsClusterObserved,
        want: &EcsClusterSpec,
    ) -> Result<()> {
        settle(account, cx, have, want).await
    }

    async fn remove(&self, account: &Account, cx: &OpCtx, id: &PhysicalId) -> Result<()> {
        let region = account.of_arn(&id.0).await;
        let gone = region.ecs.delete_cluster().cluster(&id.0).send();
        accept(account.change(cx, "ecs:DeleteCluster", gone).await, ErrorKind::NotFound).map(drop)
    }
}
