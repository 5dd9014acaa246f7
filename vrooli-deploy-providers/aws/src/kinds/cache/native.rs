//! A cache is a replication group of one shard, told by its identifier, which AWS gives only once. Version
//! and network are told of its nodes only, and whose it is only while it is available. Making, changing and
//! deleting one takes minutes: all three wait.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_elasticache::types::{AutomaticFailoverStatus, CacheCluster, MultiAzStatus, ReplicationGroup};
use vrooli_deploy_core::names::{OutputName, ResourceKey};
use vrooli_deploy_core::provider::{CreateToken, ErrorKind, Known, PhysicalId, ProviderError, Result};
use vrooli_deploy_core::secrets::Secret;

use super::{Cache, CacheObserved, CacheSpec};
use crate::kinds::db_subnet_group::native::name_of;
use crate::kinds::secret::native::{connection, in_url, value};
use crate::native::{Calls, Look, Marks, Native, Seen, together, unexpected};

/// AWS wants words.
const DESCRIPTION: &str = "a cache of an app";
/// Longer than the engine lets anything take: it is the engine that ends a wait.
const PATIENCE: Duration = Duration::from_secs(2 * 60 * 60);
/// States, by the API reference (`ReplicationGroup`, `CacheCluster`).
const READY: &str = "available";
const DELETING: &str = "deleting";
/// Those that a cache does not leave by itself.
const BROKEN: &[&str] = &["create-failed", "incompatible-network", "restore-failed"];
/// What AWS says while something else is under way with a cache.
const BUSY: &[&str] = &["InvalidReplicationGroupState", "InvalidCacheClusterState"];
/// What AWS says to a number of nodes that there are already: an answer before it was lost.
const THERE_ALREADY: &str = "NoOperationFault";

fn number(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn is(error: &ProviderError, codes: &[&str]) -> bool {
    error.code().is_some_and(|code| codes.contains(&code))
}

fn status(group: &ReplicationGroup) -> &str {
    group.status().unwrap_or_default()
}

fn name(group: &ReplicationGroup) -> &str {
    group.replication_group_id().unwrap_or_default()
}

fn takes_over(group: &ReplicationGroup) -> bool {
    let wanted = [Some(&AutomaticFailoverStatus::Enabled), Some(&AutomaticFailoverStatus::Enabling)];
    wanted.contains(&group.automatic_failover()) && group.multi_az() == Some(&MultiAzStatus::Enabled)
}

/// `None` where AWS does not tell of any node: nothing is known of its version and network then.
fn observed(at: &Calls<'_>, group: &ReplicationGroup, nodes: &[&CacheCluster]) -> Option<CacheObserved> {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let numbers =
        |version: &str| -> Vec<u32> { version.split('.').map(|part| part.parse().unwrap_or(0)).collect() };
    // An upgrade goes from node to node, and is done with the last.
    let version = nodes.iter().filter_map(|node| node.engine_version()).min_by_key(|one| numbers(one));
    let node = nodes.first()?;
    let groups = node.security_groups().iter();
    let endpoint = group.node_groups().first().and_then(|shard| shard.primary_endpoint());
    Some(CacheObserved {
        region: at.region.name.clone(),
        name: name(group).to_owned(),
        engine: text(node.engine()),
        version: text(version),
        node_type: text(group.cache_node_type().or_else(|| node.cache_node_type())),
        nodes: u32::try_from(group.member_clusters().len()).unwrap_or(u32::MAX),
        failover: takes_over(group),
        subnet_group: text(node.cache_subnet_group_name()),
        security_groups: groups.filter_map(|one| Some(one.security_group_id()?.to_owned())).collect(),
        kms_key: group.kms_key_id().map(str::to_owned),
        host: text(endpoint.and_then(|endpoint| endpoint.address())),
        port: endpoint.and_then(|endpoint| endpoint.port()?.try_into().ok()).unwrap_or(0),
        status: status(group).to_owned(),
    })
}

fn seen(
    at: &Calls<'_>,
    group: &ReplicationGroup,
    nodes: &[&CacheCluster],
    marks: Marks,
) -> Result<Seen<CacheObserved>> {
    let arn = group.arn().ok_or_else(|| unexpected("elasticache:DescribeReplicationGroups", "ARN"))?;
    let observed = observed(at, group, nodes);
    let observed = observed.ok_or_else(|| unexpected("elasticache:DescribeCacheClusters", "node of it"))?;
    Ok(Seen { id: PhysicalId(arn.to_owned()), marks, observed })
}

/// The cache of that name, whoever made it.
async fn described(at: &Calls<'_>, name: &str) -> Result<Option<ReplicationGroup>> {
    let ask = at.region.elasticache.describe_replication_groups().replication_group_id(name).send();
    let answer = at.find("elasticache:DescribeReplicationGroups", ask).await?;
    Ok(answer.and_then(|answer| answer.replication_groups?.into_iter().next()))
}

/// Its nodes, as far as AWS knows them. It tells of those of one cache only one by one.
async fn nodes_of(at: &Calls<'_>, group: &ReplicationGroup) -> Result<Vec<CacheCluster>> {
    let asks = group.member_clusters().iter().map(|node| async move {
        let ask = at.region.elasticache.describe_cache_clusters().cache_cluster_id(node).send();
        let answer = at.find("elasticache:DescribeCacheClusters", ask).await?;
        Ok(answer.and_then(|answer| answer.cache_clusters?.into_iter().next()))
    });
    Ok(together(asks).await?.into_iter().flatten().collect())
}

/// All of a region, whoever's.
async fn groups(at: &Calls<'_>) -> Result<Vec<ReplicationGroup>> {
    let ask = || async {
        let ask = |next| at.region.elasticache.describe_replication_groups().set_marker(next).send();
        let pages = at.pages("elasticache:DescribeReplicationGroups", ask, |page| page.marker.clone());
        let pages = pages.await?.into_iter();
        Ok(pages.flat_map(|page| page.replication_groups.unwrap_or_default()).collect())
    };
    at.once("caches", "", ask).await
}

/// All nodes of a region, whoever's.
async fn all_nodes(at: &Calls<'_>) -> Result<Vec<CacheCluster>> {
    let ask = || async {
        let ask = |next| at.region.elasticache.describe_cache_clusters().set_marker(next).send();
        let pages = at.pages("elasticache:DescribeCacheClusters", ask, |page| page.marker.clone());
        let pages = pages.await?.into_iter();
        Ok(pages.flat_map(|page| page.cache_clusters.unwrap_or_default()).collect())
    };
    at.once("nodes of caches", "", ask).await
}

fn too_long(name: &str) -> ProviderError {
    ProviderError::new(ErrorKind::Ambiguous, format!("the cache `{name}` is not ready yet"))
}

/// One that will never be ready is an error.
fn not_broken(name: &str, status: &str) -> Result<()> {
    if !BROKEN.contains(&status) {
        return Ok(());
    }
    let words = format!("the cache `{name}` is `{status}`");
    Err(ProviderError::new(ErrorKind::Conflict, words)
        .with_help("its events in the console of ElastiCache say why; delete it there, or put it right"))
}

/// The marks of a cache, if it has any, by its own tags. AWS refuses to tell those while it makes or changes
/// it: that is waited for. One that goes away has none.
async fn own_marks(at: &Calls<'_>, arn: &str) -> Result<Option<Marks>> {
    let name = name_of(arn);
    let ask = || async {
        let ask = at.region.elasticache.list_tags_for_resource().resource_name(arn).send();
        match at.find("elasticache:ListTagsForResource", ask).await {
            Err(error) if is(&error, BUSY) => match described(at, name).await? {
                Some(group) if status(&group) != DELETING => {
                    not_broken(name, status(&group))?;
                    Ok(None)
                }
                _ => Ok(Some(None)),
            },
            answer => Ok(Some(answer?.and_then(|answer| Marks::of(answer.tag_list())))),
        }
    };
    at.until(PATIENCE, ask).await?.ok_or_else(|| too_long(name))
}

/// The same by the listing of tags, which tells them in every state, where it has the cache already.
async fn marks(at: &Calls<'_>, group: &ReplicationGroup) -> Result<Option<Marks>> {
    let arn = group.arn().unwrap_or_default();
    match at.tagged().await?.marks(arn) {
        Some(marks) => Ok(Some(marks.clone())),
        None => own_marks(at, arn).await,
    }
}

/// The same as an object of ours, of which nothing is seen yet.
async fn marked(at: &Calls<'_>, group: &ReplicationGroup) -> Result<Option<Seen<()>>> {
    let id = group.arn().map(|arn| PhysicalId(arn.to_owned()));
    Ok(id.zip(marks(at, group).await?).map(|(id, marks)| Seen { id, marks, observed: () }))
}

/// Waits until it can be used, with all its nodes.
async fn ready(at: &Calls<'_>, name: &str) -> Result<CacheObserved> {
    let look = || async {
        let there = described(at, name).await?;
        let group = there.ok_or_else(|| unexpected("elasticache:DescribeReplicationGroups", "cache"))?;
        not_broken(name, status(&group))?;
        if status(&group) != READY {
            return Ok(None);
        }
        let nodes = nodes_of(at, &group).await?;
        let states: Vec<&str> = nodes.iter().filter_map(|node| node.cache_cluster_status()).collect();
        states.iter().try_for_each(|state| not_broken(name, state))?;
        if states.len() < group.member_clusters().len() || states.iter().any(|state| *state != READY) {
            return Ok(None);
        }
        let have = observed(at, &group, &nodes.iter().collect::<Vec<_>>());
        Ok(have.filter(|have| !have.host.is_empty()))
    };
    at.until(PATIENCE, look).await?.ok_or_else(|| too_long(name))
}

/// One change of a cache: AWS takes no two at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The last replica may go.
    NoFailover,
    MoreNodes,
    FewerNodes,
    /// All that one call changes.
    Rest,
}

/// What is to be done next. Replicas come before somebody takes over, and go after nobody does any more.
fn next(have: &CacheObserved, want: &CacheSpec<Known>) -> Option<Step> {
    let (newer, _) = crate::kinds::version_change(&want.version, &have.version);
    if have.failover && want.nodes < 2 {
        return Some(Step::NoFailover);
    }
    match have.nodes {
        nodes if nodes < want.nodes => return Some(Step::MoreNodes),
        nodes if nodes > want.nodes => return Some(Step::FewerNodes),
        _ => {}
    }
    let differs = newer
        || have.engine != want.engine
        || have.node_type != want.node_type
        || (!have.failover && want.nodes > 1)
        || groups_differ(have, want);
    differs.then_some(Step::Rest)
}

fn groups_differ(have: &CacheObserved, want: &CacheSpec<Known>) -> bool {
    BTreeSet::from_iter(&have.security_groups) != BTreeSet::from_iter(&want.security_groups)
}

async fn take(at: &Calls<'_>, have: &CacheObserved, want: &CacheSpec<Known>, step: Step) -> Result<()> {
    let client = &at.region.elasticache;
    let replicas = number(want.nodes.saturating_sub(1));
    match step {
        Step::NoFailover => {
            let put = || {
                let put = client.modify_replication_group().replication_group_id(&want.name);
                let put = put.automatic_failover_enabled(false).multi_az_enabled(false);
                put.apply_immediately(true).send()
            };
            at.put("elasticache:ModifyReplicationGroup", put).await.map(drop)
        }
        Step::MoreNodes => {
            let put = || {
                let put = client.increase_replica_count().replication_group_id(&want.name);
                put.new_replica_count(replicas).apply_immediately(true).send()
            };
            at.put("elasticache:IncreaseReplicaCount", put).await.map(drop)
        }
        Step::FewerNodes => {
            let put = || {
                let put = client.decrease_replica_count().replication_group_id(&want.name);
                put.new_replica_count(replicas).apply_immediately(true).send()
            };
            at.put("elasticache:DecreaseReplicaCount", put).await.map(drop)
        }
        Step::Rest => {
            let (newer, _) = crate::kinds::version_change(&want.version, &have.version);
            let other_engine = have.engine != want.engine;
            let failover = (!have.failover && want.nodes > 1).then_some(true);
            let put = || {
                client
                    .modify_replication_group()
                    .replication_group_id(&want.name)
                    .apply_immediately(true)
                    .set_engine(other_engine.then(|| want.engine.clone()))
                    .set_engine_version((newer || other_engine).then(|| want.version.clone()))
                    .set_cache_node_type((have.node_type != want.node_type).then(|| want.node_type.clone()))
                    .set_automatic_failover_enabled(failover)
                    .set_multi_az_enabled(failover)
                    .set_security_group_ids(groups_differ(have, want).then(|| want.security_groups.clone()))
                    .send()
            };
            at.put("elasticache:ModifyReplicationGroup", put).await.map(drop)
        }
    }
}

/// Changes what differs, one after the other, and waits until it holds.
async fn settle(at: &Calls<'_>, have: &CacheObserved, want: &CacheSpec<Known>) -> Result<()> {
    if next(have, want).is_none() {
        return Ok(());
    }
    let change = || async {
        let have = ready(at, &want.name).await?;
        let Some(step) = next(&have, want) else { return Ok(Some(())) };
        match take(at, &have, want, step).await {
            // It is looked at again: this very change may be under way, or done.
            Err(error) if is(&error, BUSY) || error.code() == Some(THERE_ALREADY) => Ok(None),
            done => done.map(|()| None),
        }
    };
    at.until(PATIENCE, change).await?.ok_or_else(|| too_long(&want.name))
}

async fn create(at: &Calls<'_>, key: &ResourceKey, want: &CacheSpec<Known>) -> Result<PhysicalId> {
    let password = value(at, &want.password).await?;
    let make = at
        .region
        .elasticache
        .create_replication_group()
        .replication_group_id(&want.name)
        .replication_group_description(DESCRIPTION)
        .engine(&want.engine)
        .engine_version(&want.version)
        .cache_node_type(&want.node_type)
        .num_cache_clusters(number(want.nodes))
        .automatic_failover_enabled(want.nodes > 1)
        .multi_az_enabled(want.nodes > 1)
        .cache_subnet_group_name(&want.subnet_group)
        .set_security_group_ids(Some(want.security_groups.clone()))
        .transit_encryption_enabled(true)
        .at_rest_encryption_enabled(true)
        .set_kms_key_id(want.kms_key.clone())
        .auth_token(password.expose())
        .set_tags(Some(Marks::as_tags(at.cx, key)?))
        .send();
    let made = at.change("elasticache:CreateReplicationGroup", make).await?;
    let arn = made.replication_group.and_then(|made| made.arn);
    arn.map(PhysicalId).ok_or_else(|| unexpected("elasticache:CreateReplicationGroup", "ARN"))
}

/// Where it is reached, with its password and TLS.
pub(crate) fn url(have: &CacheObserved, password: &Secret<String>) -> Secret<String> {
    Secret::new(format!("rediss://:{}@{}:{}/0", in_url(password), have.host, have.port))
}

impl Native for Cache {
    const TOKEN: CreateToken = CreateToken::Name;

    async fn see(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<Option<Seen<CacheObserved>>> {
        match described(at, name_of(&id.0)).await? {
            Some(group) if status(&group) != DELETING => {
                let Some(marks) = marks(at, &group).await? else { return Ok(None) };
                let nodes = nodes_of(at, &group).await?;
                seen(at, &group, &nodes.iter().collect::<Vec<_>>(), marks).map(Some)
            }
            _ => Ok(None),
        }
    }

    async fn list(&self, at: &Calls<'_>, look: Look<'_>) -> Result<Vec<Seen<CacheObserved>>> {
        let asked = at.asked(self, look, "name").await?;
        if asked.start("elasticache", "replicationgroup:").is_none() {
            return Ok(Vec::new());
        }
        let has_address = |group: &ReplicationGroup| {
            group.node_groups().first().is_some_and(|shard| shard.primary_endpoint().is_some())
        };
        // A create that looks for its own passes one by that is being made, and waits for it in the make.
        let there = groups(at).await?.into_iter().filter(|group| match look {
            Look::Stack => status(group) != DELETING,
            Look::Key(_) => status(group) != DELETING && has_address(group),
        });
        let named = |group: &ReplicationGroup| group.arn.clone().zip(group.replication_group_id.clone());
        let own = |arn: String| async move { own_marks(at, &arn).await };
        let marked = asked.marked(there.collect(), named, own).await?;
        if marked.is_empty() {
            return Ok(Vec::new());
        }
        let all_nodes = all_nodes(at).await?;
        let mut all = Vec::new();
        for (group, marks) in marked {
            let is_its = |node: &&CacheCluster| node.replication_group_id() == group.replication_group_id();
            let mut nodes: Vec<&CacheCluster> = all_nodes.iter().filter(is_its).collect();
            // It was made between the two questions.
            let asked_again = if nodes.is_empty() { nodes_of(at, &group).await? } else { Vec::new() };
            nodes.extend(&asked_again);
            all.push(seen(at, &group, &nodes, marks)?);
        }
        Ok(all)
    }

    async fn ahead(&self, at: &Calls<'_>, _: &[PhysicalId]) {
        let _ = tokio::join!(groups(at), all_nodes(at));
    }

    async fn make(&self, on: &Calls<'_>, key: &ResourceKey, want: &CacheSpec<Known>) -> Result<PhysicalId> {
        let at = on.at(&want.region).await;
        // The name of one that goes away is free when it is gone.
        let there = at.until(PATIENCE, || async {
            let there = described(&at, &want.name).await?;
            Ok(if there.as_ref().is_some_and(|group| status(group) == DELETING) { None } else { Some(there) })
        });
        let id = match there.await?.ok_or_else(|| too_long(&want.name))? {
            None => create(&at, key, want).await?,
            Some(there) => at.own(marked(&at, &there).await?, key, ("cache", &want.name))?.id,
        };
        settle(&at, &ready(&at, &want.name).await?, want).await?;
        Ok(id)
    }

    async fn secrets(
        &self,
        on: &Calls<'_>,
        have: &CacheObserved,
        want: &CacheSpec<Known>,
    ) -> Result<BTreeMap<OutputName, Secret<String>>> {
        let at = on.at(&want.region).await;
        connection(&at, &want.password, (&want.name, "cache (AUTH token)"), |password| url(have, password))
            .await
    }

    async fn change(
        &self,
        at: &Calls<'_>,
        _: &PhysicalId,
        have: &CacheObserved,
        want: &CacheSpec<Known>,
    ) -> Result<()> {
        settle(at, have, want).await
    }

    /// What it held goes with it. What it stands in is free only when it is gone, so that is waited for.
    async fn remove(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<()> {
        let name = name_of(&id.0);
        let remove = || async {
            let Some(there) = described(at, name).await? else { return Ok(Some(())) };
            if status(&there) == DELETING {
                return Ok(None);
            }
            let gone = at.region.elasticache.delete_replication_group().replication_group_id(name);
            match at.remove("elasticache:DeleteReplicationGroup", gone.send()).await {
                Err(error) if is(&error, BUSY) => Ok(None),
                done => done.map(|()| None),
            }
        };
        at.until(PATIENCE, remove).await?.ok_or_else(|| too_long(name))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn have(over: serde_json::Value) -> CacheObserved {
        let mut whole = json!({
            "region": "us-east-1", "name": "a", "engine": "redis", "version": "7.1.0",
            "node_type": "cache.t4g.micro", "nodes": 1, "failover": false, "subnet_group": "g",
            "security_groups": ["sg-1"], "host": "a.cache.amazonaws.com", "port": 6379, "status": "available"
        });
        for (field, value) in over.as_object().unwrap() {
            whole[field] = value.clone();
        }
        serde_json::from_value(whole).unwrap()
    }

    fn want(nodes: u32) -> CacheSpec<Known> {
        serde_json::from_value(json!({
            "region": "us-east-1", "name": "a", "engine": "redis", "version": "7.1",
            "node_type": "cache.t4g.micro", "nodes": nodes, "subnet_group": "g",
            "security_groups": ["sg-1"], "password": "arn"
        }))
        .unwrap()
    }

    #[test]
    fn replicas_come_before_failover_and_go_after_it() {
        let steps = |nodes: u32, failover: bool, wanted| {
            next(&have(json!({ "nodes": nodes, "failover": failover })), &want(wanted))
        };
        assert_eq!(steps(1, false, 1), None);
        assert_eq!(steps(1, false, 2), Some(Step::MoreNodes));
        assert_eq!(steps(2, false, 2), Some(Step::Rest), "a run ended between the two");
        assert_eq!(steps(2, true, 2), None);
        assert_eq!(steps(3, true, 2), Some(Step::FewerNodes));
        assert_eq!(steps(2, true, 1), Some(Step::NoFailover));
        assert_eq!(steps(2, false, 1), Some(Step::FewerNodes));
    }

    #[test]
    fn a_patch_is_no_difference_and_another_engine_is() {
        let one = |over| next(&have(over), &want(1));
        assert_eq!(one(json!({ "version": "7.1.9" })), None);
        assert_eq!(one(json!({ "version": "7.0.7" })), Some(Step::Rest));
        assert_eq!(one(json!({ "engine": "valkey" })), Some(Step::Rest));
        assert_eq!(one(json!({ "security_groups": ["sg-2"] })), Some(Step::Rest));
    }

    #[test]
    fn an_url_asks_for_tls() {
        let url = url(&have(json!({})), &Secret::new("x1".to_owned()));
        assert_eq!(url.expose(), "rediss://:x1@a.cache.amazonaws.com:6379/0");
    }
}
