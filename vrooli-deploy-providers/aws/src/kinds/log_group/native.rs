//! A group is made with its tags; how long lines are kept is set after it.

use aws_sdk_cloudwatchlogs::types::LogGroup as Group;
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, PhysicalId, Result};

use super::{LogGroup, LogGroupObserved, LogGroupSpec};
use crate::native::{Asked, Calls, Look, Marks, Native, Seen, common_start};

fn name_of(arn: &str) -> &str {
    arn.splitn(7, ':').nth(6).unwrap_or_default()
}

/// Groups whose names begin so, whoever's.
async fn described(at: &Calls<'_>, start: &str) -> Result<Vec<Group>> {
    let ask = || async {
        let logs = &at.region.logs;
        let ask = |next| logs.describe_log_groups().log_group_name_prefix(start).set_next_token(next).send();
        let pages = at.pages("logs:DescribeLogGroups", ask, |page| page.next_token.clone()).await?;
        Ok(pages.into_iter().flat_map(|page| page.log_groups.unwrap_or_default()).collect())
    };
    at.once("log groups", start, ask).await
}

/// Groups whose names begin so, with marks.
async fn groups(at: &Calls<'_>, start: &str, asked: &Asked) -> Result<Vec<Seen<LogGroupObserved>>> {
    let arn = |group: &Group| Some(group.arn.as_deref()?.trim_end_matches(":*").to_owned());
    let named = |group: &Group| arn(group).zip(group.log_group_name.clone());
    let marked = asked
        .marked(described(at, start).await?, named, |arn: String| async move { own_marks(at, &arn).await })
        .await?;
    let seen = |(group, marks): (Group, Marks)| {
        let observed = LogGroupObserved {
            region: at.region.name.clone(),
            name: group.log_group_name.clone()?,
            // Without a limit they are kept for ever.
            days: group.retention_in_days().and_then(|days| days.try_into().ok()).unwrap_or(0),
        };
        Some(Seen { id: PhysicalId(arn(&group)?), marks, observed })
    };
    Ok(marked.into_iter().filter_map(seen).collect())
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

    async fn ahead(&self, at: &Calls<'_>, _: &[PhysicalId]) {
        let start = common_start(at.account.named(self, Look::Stack, "name").into_iter());
        let _ = described(at, &start.unwrap_or_default()).await;
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
