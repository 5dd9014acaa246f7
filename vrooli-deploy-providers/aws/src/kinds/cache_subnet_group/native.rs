//! A group is told by its name. AWS refuses to make another of that name: one that is there is looked
//! at first, whoever made it.

use std::collections::BTreeSet;

use aws_sdk_elasticache::types::CacheSubnetGroup as Group;
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, Known, PhysicalId, Result};

use super::{CacheSubnetGroup, CacheSubnetGroupObserved, CacheSubnetGroupSpec};
use crate::kinds::db_subnet_group::native::name_of;
use crate::native::{Calls, Look, Marks, Native, Seen, unexpected};

/// AWS wants words.
const DESCRIPTION: &str = "where a cache may stand";

async fn own_marks(at: &Calls<'_>, arn: &str) -> Result<Option<Marks>> {
    let ask = at.region.elasticache.list_tags_for_resource().resource_name(arn).send();
    let answer = at.find("elasticache:ListTagsForResource", ask).await?;
    Ok(answer.and_then(|answer| Marks::of(answer.tag_list())))
}

fn seen(at: &Calls<'_>, group: &Group, marks: Marks) -> Option<Seen<CacheSubnetGroupObserved>> {
    let subnets = group.subnets().iter();
    Some(Seen {
        id: PhysicalId(group.arn()?.to_owned()),
        marks,
        observed: CacheSubnetGroupObserved {
            region: at.region.name.clone(),
            name: group.cache_subnet_group_name()?.to_owned(),
            subnets: subnets.filter_map(|one| one.subnet_identifier().map(str::to_owned)).collect(),
        },
    })
}

/// All of a region, whoever's.
async fn groups(at: &Calls<'_>) -> Result<Vec<Group>> {
    let ask = || async {
        let ask = |next| at.region.elasticache.describe_cache_subnet_groups().set_marker(next).send();
        let pages = at.pages("elasticache:DescribeCacheSubnetGroups", ask, |page| page.marker.clone());
        let pages = pages.await?.into_iter();
        Ok(pages.flat_map(|page| page.cache_subnet_groups.unwrap_or_default()).collect())
    };
    at.once("subnet groups of caches", "", ask).await
}

/// The group of that name, whoever made it.
async fn described(at: &Calls<'_>, name: &str) -> Result<Option<Group>> {
    let ask = at.region.elasticache.describe_cache_subnet_groups().cache_subnet_group_name(name).send();
    let answer = at.find("elasticache:DescribeCacheSubnetGroups", ask).await?;
    Ok(answer.and_then(|answer| answer.cache_subnet_groups?.into_iter().next()))
}

/// The same with its marks, if it has any.
async fn marked(at: &Calls<'_>, group: &Group) -> Result<Option<Seen<CacheSubnetGroupObserved>>> {
    let marks = own_marks(at, group.arn().unwrap_or_default()).await?;
    Ok(marks.and_then(|marks| seen(at, group, marks)))
}

/// A subnet that a node stands in is not taken away: AWS refuses it.
async fn settle(
    at: &Calls<'_>,
    have: &CacheSubnetGroupObserved,
    want: &CacheSubnetGroupSpec<Known>,
) -> Result<()> {
    if BTreeSet::from_iter(&have.subnets) == BTreeSet::from_iter(&want.subnets) {
        return Ok(());
    }
    let put = || {
        let put = at.region.elasticache.modify_cache_subnet_group().cache_subnet_group_name(&want.name);
        put.set_subnet_ids(Some(want.subnets.clone())).send()
    };
    at.put("elasticache:ModifyCacheSubnetGroup", put).await.map(drop)
}

impl Native for CacheSubnetGroup {
    const TOKEN: CreateToken = CreateToken::Name;

    async fn see(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<Option<Seen<CacheSubnetGroupObserved>>> {
        match described(at, name_of(&id.0)).await? {
            Some(group) => marked(at, &group).await,
            None => Ok(None),
        }
    }

    async fn list(&self, at: &Calls<'_>, look: Look<'_>) -> Result<Vec<Seen<CacheSubnetGroupObserved>>> {
        let asked = at.asked(self, look, "name").await?;
        if asked.start("elasticache", "subnetgroup:").is_none() {
            return Ok(Vec::new());
        }
        let named = |group: &Group| group.arn.clone().zip(group.cache_subnet_group_name.clone());
        let own = |arn: String| async move { own_marks(at, &arn).await };
        let marked = asked.marked(groups(at).await?, named, own).await?;
        Ok(marked.into_iter().filter_map(|(group, marks)| seen(at, &group, marks)).collect())
    }

    async fn ahead(&self, at: &Calls<'_>, _: &[PhysicalId]) {
        let _ = groups(at).await;
    }

    async fn make(
        &self,
        on: &Calls<'_>,
        key: &ResourceKey,
        want: &CacheSubnetGroupSpec<Known>,
    ) -> Result<PhysicalId> {
        let at = on.at(&want.region).await;
        if let Some(there) = described(&at, &want.name).await? {
            let there = at.own(marked(&at, &there).await?, key, ("subnet group of caches", &want.name))?;
            settle(&at, &there.observed, want).await?;
            return Ok(there.id);
        }
        let make = at
            .region
            .elasticache
            .create_cache_subnet_group()
            .cache_subnet_group_name(&want.name)
            .cache_subnet_group_description(DESCRIPTION)
            .set_subnet_ids(Some(want.subnets.clone()))
            .set_tags(Some(Marks::as_tags(at.cx, key)?))
            .send();
        let made = at.change("elasticache:CreateCacheSubnetGroup", make).await?.cache_subnet_group;
        let arn = made.and_then(|made| made.arn);
        arn.map(PhysicalId).ok_or_else(|| unexpected("elasticache:CreateCacheSubnetGroup", "ARN"))
    }

    async fn change(
        &self,
        at: &Calls<'_>,
        _: &PhysicalId,
        have: &CacheSubnetGroupObserved,
        want: &CacheSubnetGroupSpec<Known>,
    ) -> Result<()> {
        settle(at, have, want).await
    }

    /// One that a cache stands in is refused by AWS, also for a moment after the cache is gone.
    async fn remove(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<()> {
        let gone = || {
            let gone = at.region.elasticache.delete_cache_subnet_group();
            gone.cache_subnet_group_name(name_of(&id.0)).send()
        };
        at.freed(|| at.remove("elasticache:DeleteCacheSubnetGroup", gone())).await
    }
}
