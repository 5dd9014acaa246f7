//! A group is made with its tags; how long lines are kept is set after it.

use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, PhysicalId, Result};

use super::{LogGroup, LogGroupObserved, LogGroupSpec};
use crate::native::{Asked, Calls, Look, Marks, Native, Seen};

fn name_of(arn: &str) -> &str {
    arn.splitn(7, ':').nth(6).unwrap_or_default()
}

/// Groups whose names begin so, with marks.
async fn groups(at: &Calls<'_>, start: &str, asked: &Asked) -> Result<Vec<Seen<LogGroupObserved>>> {
    let logs = &at.region.logs;
    let ask = |next| logs.describe_log_groups().log_group_name_prefix(start).set_next_token(next).send();
    let pages = at.pages("logs:DescribeLogGroups", ask, |page| page.next_token.clone()).await?;
    let mut all = Vec::new();
    for group in pages.iter().flat_map(|page| page.log_groups()) {
        let (Some(name), Some(arn)) = (group.log_group_name(), group.arn()) else { continue };
        let arn = arn.trim_end_matches(":*");
        let Some(marks) = asked.marks(arn, name, own_marks(at, arn)).await? else { continue };
        let observed = LogGroupObserved {
            region: at.region.name.clone(),
            name: name.to_owned(),
            // Without a limit they are kept for ever.
            days: group.retention_in_days().and_then(|days| days.try_into().ok()).unwrap_or(0),
        };
        all.push(Seen { id: PhysicalId(arn.to_owned()), marks, observed });
    }
    Ok(all)
}

async fn own_marks(at: &Calls<'_>, arn: &str) -> Result<Option<Marks>> {
    let ask = at.region.logs.list_tags_for_resource().resource_arn(arn).send();
    let answer = at.find("logs:ListTagsForResource", ask).await?;
    let tags = answer.and_then(|answer| answer.tags).unwrap_or_default();
    Ok(Marks::read(tags.iter().map(|(name, value)| (name.as_str(), value.as_str()))))
}

/// The group of that name, if it has marks.
async fn named(at: &Calls<'_>, name: &str) -> Result<Option<Seen<LogGroupObserved>>> {
    Ok(groups(at, name, &Asked::only(name)).await?.into_iter().next())
}

async fn keep(at: &Calls<'_>, want: &LogGroupSpec) -> Result<()> {
    let days = i32::try_from(want.days).unwrap_or(i32::MAX);
    let logs = &at.region.logs;
    let put = || logs.put_retention_policy().log_group_name(&want.name).retention_in_days(days).send();
    at.put("logs:PutRetentionPolicy", put).await.map(drop)
}

impl Native for LogGroup {
    const TOKEN: CreateToken = CreateToken::Name;

    async fn see(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<Option<Seen<LogGroupObserved>>> {
        named(at, name_of(&id.0)).await
    }

    async fn list(&self, at: &Calls<'_>, look: Look<'_>) -> Result<Vec<Seen<LogGroupObserved>>> {
        let asked = at.asked(self, look, "name").await?;
        match asked.start("logs", "log-group:") {
            Some(start) => groups(at, &start, &asked).await,
            None => Ok(Vec::new()),
        }
    }

    async fn make(&self, on: &Calls<'_>, key: &ResourceKey, want: &LogGroupSpec) -> Result<PhysicalId> {
        let at = on.at(&want.region).await;
        let make = at.region.logs.create_log_group().log_group_name(&want.name);
        let make = make.set_tags(Some(Marks::tag_map(at.cx, key))).send();
        let made = at.create("logs:CreateLogGroup", make).await?;
        let there = at.made(made, || named(&at, &want.name)).await?;
        let there = at.own(there, key, ("log group", &want.name))?;
        keep(&at, want).await?;
        Ok(there.id)
    }

    async fn change(
        &self,
        at: &Calls<'_>,
        _: &PhysicalId,
        _: &LogGroupObserved,
        want: &LogGroupSpec,
    ) -> Result<()> {
        keep(at, want).await
    }

    async fn remove(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<()> {
        let gone = at.region.logs.delete_log_group().log_group_name(name_of(&id.0)).send();
        at.remove("logs:DeleteLogGroup", gone).await
    }
}
