//! A group is made empty and filled after it. Only what was set in it is looked at.

use std::collections::BTreeMap;

use aws_sdk_rds::types::{ApplyMethod, DbParameterGroup as Group, Parameter};
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, ErrorKind, PhysicalId, Result};

use super::{DbParameterGroup, DbParameterGroupObserved, DbParameterGroupSpec};
use crate::kinds::db_subnet_group::native::{name_of, own_marks};
use crate::native::{Calls, Look, Marks, Native, Seen, accept, together, unexpected};

/// AWS wants words.
const DESCRIPTION: &str = "settings of a database";
/// As many as AWS takes at once.
const BATCH: usize = 20;
/// What AWS answers where a parameter is read only when the server starts.
const NOT_AT_ONCE: &str = "InvalidParameterCombination";

/// What was set in a group; `None` where there is no group.
async fn parameters(at: &Calls<'_>, name: &str) -> Result<Option<BTreeMap<String, String>>> {
    let ask = |next| {
        let ask = at.region.rds.describe_db_parameters().db_parameter_group_name(name);
        ask.source("user").set_marker(next).send()
    };
    let pages = at.pages("rds:DescribeDBParameters", ask, |page| page.marker.clone()).await;
    let Some(pages) = accept(pages, ErrorKind::NotFound)? else { return Ok(None) };
    let set = pages.iter().flat_map(|page| page.parameters());
    let pair = |one: &Parameter| Some((one.parameter_name()?.to_owned(), one.parameter_value()?.to_owned()));
    Ok(Some(set.filter_map(pair).collect()))
}

async fn parameters_once(at: &Calls<'_>, name: &str) -> Result<Option<BTreeMap<String, String>>> {
    at.once("parameters", name, || parameters(at, name)).await
}

/// All of a region, whoever's.
async fn groups(at: &Calls<'_>) -> Result<Vec<Group>> {
    let ask = || async {
        let ask = |next| at.region.rds.describe_db_parameter_groups().set_marker(next).send();
        let pages = at.pages("rds:DescribeDBParameterGroups", ask, |page| page.marker.clone()).await?;
        Ok(pages.into_iter().flat_map(|page| page.db_parameter_groups.unwrap_or_default()).collect())
    };
    at.once("parameter groups", "", ask).await
}

async fn seen(
    at: &Calls<'_>,
    group: &Group,
    marks: Option<Marks>,
) -> Result<Option<Seen<DbParameterGroupObserved>>> {
    let (Some(marks), Some(name), Some(arn)) =
        (marks, group.db_parameter_group_name(), group.db_parameter_group_arn())
    else {
        return Ok(None);
    };
    Ok(parameters_once(at, name).await?.map(|parameters| Seen {
        id: PhysicalId(arn.to_owned()),
        marks,
        observed: DbParameterGroupObserved {
            region: at.region.name.clone(),
            name: name.to_owned(),
            family: group.db_parameter_group_family().unwrap_or_default().to_owned(),
            parameters,
        },
    }))
}

/// The group of that name, whoever made it.
async fn described(at: &Calls<'_>, name: &str) -> Result<Option<Group>> {
    let ask = at.region.rds.describe_db_parameter_groups().db_parameter_group_name(name).send();
    let answer = at.find("rds:DescribeDBParameterGroups", ask).await?;
    Ok(answer.and_then(|answer| answer.db_parameter_groups?.into_iter().next()))
}

/// The same with its marks, if it has any.
async fn marked(at: &Calls<'_>, group: &Group) -> Result<Option<Seen<DbParameterGroupObserved>>> {
    let marks = own_marks(at, group.db_parameter_group_arn().unwrap_or_default()).await?;
    seen(at, group, marks).await
}

fn parameter((name, value): (&String, Option<&String>), method: ApplyMethod) -> Parameter {
    let one = Parameter::builder().parameter_name(name).set_parameter_value(value.cloned());
    one.apply_method(method).build()
}

/// A value where one is wanted, the default where none is.
async fn put(at: &Calls<'_>, group: &str, set: Vec<Parameter>, to_default: bool) -> Result<()> {
    let rds = &at.region.rds;
    if to_default {
        let put = || {
            let put = rds.reset_db_parameter_group().db_parameter_group_name(group);
            put.set_parameters(Some(set.clone())).send()
        };
        return at.put("rds:ResetDBParameterGroup", put).await.map(drop);
    }
    let put = || {
        let put = rds.modify_db_parameter_group().db_parameter_group_name(group);
        put.set_parameters(Some(set.clone())).send()
    };
    at.put("rds:ModifyDBParameterGroup", put).await.map(drop)
}

/// Sets parameters at once. Those that a server reads only when it starts hold from its next start on:
/// AWS does not say which these are until it refuses.
async fn apply(at: &Calls<'_>, group: &str, changes: &[(&String, Option<&String>)]) -> Result<()> {
    let (set, gone): (Vec<_>, Vec<_>) = changes.iter().partition(|(_, value)| value.is_some());
    for (changes, to_default) in [(set, false), (gone, true)] {
        for batch in changes.chunks(BATCH) {
            let at_once = batch.iter().map(|one| parameter(*one, ApplyMethod::Immediate)).collect();
            match put(at, group, at_once, to_default).await {
                Err(error) if error.code() == Some(NOT_AT_ONCE) => {}
                answer => {
                    answer?;
                    continue;
                }
            }
            for one in batch {
                let at_once = vec![parameter(*one, ApplyMethod::Immediate)];
                match put(at, group, at_once, to_default).await {
                    Err(error) if error.code() == Some(NOT_AT_ONCE) => {
                        let later = vec![parameter(*one, ApplyMethod::PendingReboot)];
                        put(at, group, later, to_default).await?;
                    }
                    answer => answer?,
                }
            }
        }
    }
    Ok(())
}

/// What has to be set, and what goes back to its default.
fn changes<'a>(
    have: &'a BTreeMap<String, String>,
    want: &'a BTreeMap<String, String>,
) -> Vec<(&'a String, Option<&'a String>)> {
    let set = want.iter().filter(|(name, value)| have.get(*name) != Some(*value));
    let gone = have.keys().filter(|name| !want.contains_key(*name));
    set.map(|(name, value)| (name, Some(value))).chain(gone.map(|name| (name, None))).collect()
}

impl Native for DbParameterGroup {
    const TOKEN: CreateToken = CreateToken::Name;

    async fn see(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<Option<Seen<DbParameterGroupObserved>>> {
        match described(at, name_of(&id.0)).await? {
            Some(group) => marked(at, &group).await,
            None => Ok(None),
        }
    }

    async fn list(&self, at: &Calls<'_>, look: Look<'_>) -> Result<Vec<Seen<DbParameterGroupObserved>>> {
        let asked = at.asked(self, look, "name").await?;
        if asked.start("rds", "pg:").is_none() {
            return Ok(Vec::new());
        }
        let (groups, asked) = (groups(at).await?, &asked);
        let ask = |group: &'_ Group| {
            let group = group.clone();
            async move {
                let (Some(name), Some(arn)) =
                    (group.db_parameter_group_name(), group.db_parameter_group_arn())
                else {
                    return Ok(None);
                };
                let marks = asked.marks(arn, name, own_marks(at, arn)).await?;
                seen(at, &group, marks.filter(|marks| look.wants(at.cx, marks))).await
            }
        };
        let all = together(groups.iter().map(ask)).await?;
        Ok(all.into_iter().flatten().collect())
    }

    async fn ahead(&self, at: &Calls<'_>, ids: &[PhysicalId]) {
        let _ = tokio::join!(groups(at), together(ids.iter().map(|id| parameters_once(at, name_of(&id.0)))));
    }

    async fn make(
        &self,
        on: &Calls<'_>,
        key: &ResourceKey,
        want: &DbParameterGroupSpec,
    ) -> Result<PhysicalId> {
        let at = on.at(&want.region).await;
        if let Some(there) = described(&at, &want.name).await? {
            let there = at.own(marked(&at, &there).await?, key, ("parameter group", &want.name))?;
            apply(&at, &want.name, &changes(&there.observed.parameters, &want.parameters)).await?;
            return Ok(there.id);
        }
        let make = at
            .region
            .rds
            .create_db_parameter_group()
            .db_parameter_group_name(&want.name)
            .db_parameter_group_family(&want.family)
            .description(DESCRIPTION)
            .set_tags(Some(Marks::as_tags(at.cx, key)?))
            .send();
        let made = at.change("rds:CreateDBParameterGroup", make).await?.db_parameter_group;
        let arn = made.and_then(|made| made.db_parameter_group_arn);
        let arn = arn.ok_or_else(|| unexpected("rds:CreateDBParameterGroup", "ARN"))?;
        apply(&at, &want.name, &changes(&BTreeMap::new(), &want.parameters)).await?;
        Ok(PhysicalId(arn))
    }

    async fn change(
        &self,
        at: &Calls<'_>,
        _: &PhysicalId,
        have: &DbParameterGroupObserved,
        want: &DbParameterGroupSpec,
    ) -> Result<()> {
        apply(at, &want.name, &changes(&have.parameters, &want.parameters)).await
    }

    /// One that a database uses is refused by AWS.
    async fn remove(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<()> {
        let gone = at.region.rds.delete_db_parameter_group().db_parameter_group_name(name_of(&id.0)).send();
        at.remove("rds:DeleteDBParameterGroup", gone).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_set_and_what_is_not_wanted_goes_back() {
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
        };
        let (have, want) = (map(&[("a", "1"), ("b", "1"), ("c", "1")]), map(&[("a", "1"), ("b", "2")]));
        let changes = changes(&have, &want);
        let said: Vec<_> =
            changes.iter().map(|(name, value)| (name.as_str(), value.map(String::as_str))).collect();
        assert_eq!(said, [("b", Some("2")), ("c", None)]);
    }
}
