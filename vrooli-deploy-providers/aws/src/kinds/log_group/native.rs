//! A group is made with its tags; how long lines are kept is set after it.

use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, ErrorKind, OpCtx, PhysicalId, Result};

use super::{LogGroup, LogGroupObserved, LogGroupSpec};
use crate::native::{Account, Look, Marks, Native, Regional, Seen, Tagged, accept, common_start, name_taken};

fn name_of(arn: &str) -> &str {
    arn.splitn(7, ':').nth(6).unwrap_or_default()
}

/// Groups of a region whose names begin so. What is `asked` for is asked for its own tags.
async fn groups(
    account: &Account,
    cx: &OpCtx,
    (region, start): (&Regional, &str),
    tagged: &Tagged,
    asked: impl Fn(&str) -> bool + Send + Sync,
) -> Result<Vec<Seen<LogGroupObserved>>> {
    let (mut all, mut next) = (Vec::new(), None::<String>);
    loop {
        let ask = region.logs.describe_log_groups().log_group_name_prefix(start).set_next_token(next.take());
        let page = account.read(cx, "logs:DescribeLogGroups", ask.send()).await?;
        for group in page.log_groups() {
            let (Some(name), Some(arn)) = (group.log_group_name(), group.arn()) else { continue };
            let arn = arn.trim_end_matches(":*");
            let marks = match tagged.marks(arn) {
                Some(marks) => Some(marks.clone()),
                None if asked(name) => own_marks(account, cx, region, arn).await?,
                None => None,
            };
            let Some(marks) = marks else { continue };
            let observed = LogGroupObserved {
                region: region.name.clone(),
                name: name.to_owned(),
                // Without a limit they are kept for ever.
                days: group.retention_in_days().and_then(|days| days.try_into().ok()).unwrap_or(0),
            };
            all.push(Seen { id: PhysicalId(arn.to_owned()), marks, observed });
        }
        next = page.next_token().map(str::to_owned);
        if next.is_none() {
            return Ok(all);
        }
    }
}

async fn own_marks(account: &Account, cx: &OpCtx, region: &Regional, arn: &str) -> Result<Option<Marks>> {
    let ask = region.logs.list_tags_for_resource().resource_arn(arn).send();
    let answer = account.read(cx, "logs:ListTagsForResource", ask).await;
    let Some(answer) = accept(answer, ErrorKind::NotFound)? else { return Ok(None) };
    let tags = answer.tags.unwrap_or_default();
    Ok(Marks::read(tags.iter().map(|(name, value)| (name.as_str(), value.as_str()))))
}

/// The group of that name, if it has marks.
async fn named(
    account: &Account,
    cx: &OpCtx,
    region: &Regional,
    name: &str,
) -> Result<Option<Seen<LogGroupObserved>>> {
    let found = groups(account, cx, (region, name), &Tagged::default(), |other| other == name).await?;
    Ok(found.into_iter().next())
}

async fn keep(account: &Account, cx: &OpCtx, region: &Regional, want: &LogGroupSpec) -> Result<()> {
    let days = i32::try_from(want.days).unwrap_or(i32::MAX);
    let put = || region.logs.put_retention_policy().log_group_name(&want.name).retention_in_days(days).send();
    account.put(cx, "logs:PutRetentionPolicy", put).await.map(drop)
}

impl Native for LogGroup {
    const TOKEN: CreateToken = CreateToken::Name;

    async fn look(
        &self,
        account: &Account,
        cx: &OpCtx,
        look: Look<'_>,
    ) -> Result<Vec<Seen<LogGroupObserved>>> {
        if let Look::Id(id) = look {
            let region = account.of_arn(&id.0).await;
            return Ok(named(account, cx, &region, name_of(&id.0)).await?.into_iter().collect());
        }
        let mut all = Vec::new();
        let wanted = account.names(self, look);
        for region in account.regions().await {
            let tagged = account.tagged(cx, &region).await?;
            let names = tagged.named("logs", "log-group:").map(str::to_owned);
            let Some(start) = common_start(names.chain(wanted.iter().cloned())) else { continue };
            let place = (&*region, start.as_str());
            all.extend(groups(account, cx, place, &tagged, |name| wanted.contains(name)).await?);
        }
        Ok(all)
    }

    async fn make(
        &self,
        account: &Account,
        cx: &OpCtx,
        key: &ResourceKey,
        want: &LogGroupSpec,
    ) -> Result<PhysicalId> {
        let region = account.region(&want.region).await;
        let tags = Marks::tag_map(cx, key);
        let make = region.logs.create_log_group().log_group_name(&want.name).set_tags(Some(tags)).send();
        let made = accept(account.change(cx, "logs:CreateLogGroup", make).await, ErrorKind::AlreadyExists)?;
        let there = account.made(cx, made.is_some(), || named(account, cx, &region, &want.name)).await?;
        let there = there.filter(|one| one.marks.are(cx, key));
        let there = there.ok_or_else(|| name_taken("log group", &want.name))?;
        keep(account, cx, &region, want).await?;
        Ok(there.id)
    }

    async fn change(
        &self,
        account: &Account,
        cx: &OpCtx,
        _: &PhysicalId,
        _: &LogGroupObserved,
        want: &LogGroupSpec,
    ) -> Result<()> {
        keep(account, cx, &*account.region(&want.region).await, want).await
    }

    async fn remove(&self, account: &Account, cx: &OpCtx, id: &PhysicalId) -> Result<()> {
        let region = account.of_arn(&id.0).await;
        let gone = region.logs.delete_log_group().log_group_name(name_of(&id.0)).send();
        accept(account.change(cx, "logs:DeleteLogGroup", gone).await, ErrorKind::NotFound).map(drop)
    }
}
