//! A group is told by its name. AWS refuses to make another of that name: one that is there is looked
//! at first, whoever made it.

use std::collections::BTreeSet;

use aws_sdk_rds::types::DbSubnetGroup as Group;
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, Known, PhysicalId, Result};

use super::{DbSubnetGroup, DbSubnetGroupObserved, DbSubnetGroupSpec};
use crate::native::{Calls, Look, Marks, Native, Seen, unexpected};

/// AWS wants words.
const DESCRIPTION: &str = "where a database may stand";

/// The name at the end of an ARN of RDS, or of ElastiCache.
pub(in crate::kinds) fn name_of(arn: &str) -> &str {
    arn.splitn(7, ':').nth(6).unwrap_or_default()
}

/// The marks of an object of RDS.
pub(in crate::kinds) async fn own_marks(at: &Calls<'_>, arn: &str) -> Result<Option<Marks>> {
    let ask = at.region.rds.list_tags_for_resource().resource_name(arn).send();
    let answer = at.find("rds:ListTagsForResource", ask).await?;
    Ok(answer.and_then(|answer| Marks::of(answer.tag_list())))
}

fn seen(at: &Calls<'_>, group: &Group, marks: Marks) -> Option<Seen<DbSubnetGroupObserved>> {
    let subnets = group.subnets().iter();
    Some(Seen {
        id: PhysicalId(group.db_subnet_group_arn()?.to_owned()),
        marks,
        observed: DbSubnetGroupObserved {
            region: at.region.name.clone(),
            name: group.db_subnet_group_name()?.to_owned(),
            subnets: subnets.filter_map(|one| one.subnet_identifier().map(str::to_owned)).collect(),
        },
    })
}

/// All of a region, whoever's.
async fn groups(at: &Calls<'_>) -> Result<Vec<Group>> {
    let ask = || async {
        let ask = |next| at.region.rds.describe_db_subnet_groups().set_marker(next).send();
        let pages = at.pages("rds:DescribeDBSubnetGroups", ask, |page| page.marker.clone()).await?;
        Ok(pages.into_iter().flat_map(|page| page.db_subnet_groups.unwrap_or_default()).collect())
    };
    at.once("subnet groups", "", ask).await
}

/// The group of that name, whoever made it.
async fn described(at: &Calls<'_>, name: &str) -> Result<Option<Group>> {
    let ask = at.region.rds.describe_db_subnet_groups().db_subnet_group_name(name).send();
    let answer = at.find("rds:DescribeDBSubnetGroups", ask).await?;
    Ok(answer.and_then(|answer| answer.db_subnet_groups?.into_iter().next()))
}

/// The same with its marks, if it has any.
async fn marked(at: &Calls<'_>, group: &Group) -> Result<Option<Seen<DbSubnetGroupObserved>>> {
    let marks = own_marks(at, group.db_subnet_group_arn().unwrap_or_default()).await?;
    Ok(marks.and_then(|marks| seen(at, group, marks)))
}

async fn settle(at: &Calls<'_>, have: &DbSubnetGroupObserved, want: &DbSubnetGroupSpec<Known>) -> Result<()> {
    if BTreeSet::from_iter(&have.subnets) == BTreeSet::from_iter(&want.subnets) {
        return Ok(());
    }
    let put = || {
        let put = at.region.rds.modify_db_subnet_group().db_subnet_group_name(&want.name);
        put.set_subnet_ids(Some(want.subnets.clone())).send()
    };
    at.put("rds:ModifyDBSubnetGroup", put).await.map(drop)
}

impl Native for DbSubnetGroup {
    const TOKEN: CreateToken = CreateToken::Name;

    async fn see(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<Option<Seen<DbSubnetGroupObserved>>> {
        match described(at, name_of(&id.0)).await? {
            Some(group) => marked(at, &group).await,
            None => Ok(None),
        }
    }

    async fn list(&self, at: &Calls<'_>, look: Look<'_>) -> Result<Vec<Seen<DbSubnetGroupObserved>>> {
        let asked = at.asked(self, look, "name").await?;
        if asked.start("rds", "subgrp:").is_none() {
            return Ok(Vec::new());
        }
        let named = |group: &Group| group.db_subnet_group_arn.clone().zip(group.db_subnet_group_name.clone());
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
        want: &DbSubnetGroupSpec<Known>,
    ) -> Result<PhysicalId> {
        let at = on.at(&want.region).await;
        if let Some(there) = described(&at, &want.name).await? {
            let there = at.own(marked(&at, &there).await?, key, ("subnet group", &want.name))?;
            settle(&at, &there.observed, want).await?;
            return Ok(there.id);
        }
        let make = at
            .region
            .rds
            .create_db_subnet_group()
            .db_subnet_group_name(&want.name)
            .db_subnet_group_description(DESCRIPTION)
            .set_subnet_ids(Some(want.subnets.clone()))
            .set_tags(Some(Marks::as_tags(at.cx, key)?))
            .send();
        let made = at.change("rds:CreateDBSubnetGroup", make).await?.db_subnet_group;
        let arn = made.and_then(|made| made.db_subnet_group_arn);
        arn.map(PhysicalId).ok_or_else(|| unexpected("rds:CreateDBSubnetGroup", "ARN"))
    }

    async fn change(
        &self,
        at: &Calls<'_>,
        _: &PhysicalId,
        have: &DbSubnetGroupObserved,
        want: &DbSubnetGroupSpec<Known>,
    ) -> Result<()> {
        settle(at, have, want).await
    }

    /// One that a database stands in is refused by AWS.
    async fn remove(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<()> {
        let gone = at.region.rds.delete_db_subnet_group().db_subnet_group_name(name_of(&id.0)).send();
        at.remove("rds:DeleteDBSubnetGroup", gone).await
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_arn_ends_with_the_name() {
        assert_eq!(super::name_of("arn:aws:rds:us-east-1:1:subgrp:shop-default"), "shop-default");
    }
}
