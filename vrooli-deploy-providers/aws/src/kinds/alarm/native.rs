//! `PutMetricAlarm` writes over an alarm that is there, whoever made it: so it is looked at first.

use aws_sdk_cloudwatch::types::{ComparisonOperator, Dimension, MetricAlarm, Statistic, Tag};
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, ErrorKind, Known, OpCtx, PhysicalId, ProviderError, Result};

use super::{Alarm, AlarmObserved, AlarmSpec};
use crate::native::{
    Account, Look, Marks, Native, Regional, Seen, Tagged, accept, common_start, name_taken, unexpected,
};

/// A figure is looked at once a minute.
const PERIOD_SECONDS: i32 = 60;

fn name_of(arn: &str) -> &str {
    arn.splitn(7, ':').nth(6).unwrap_or_default()
}

fn observed(region: &Regional, alarm: &MetricAlarm) -> AlarmObserved {
    let dimension = alarm.dimensions().first();
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    AlarmObserved {
        region: region.name.clone(),
        name: text(alarm.alarm_name()),
        namespace: text(alarm.namespace()),
        metric: text(alarm.metric_name()),
        threshold: alarm.threshold().map(|value| value.to_string()).unwrap_or_default(),
        minutes: alarm.evaluation_periods().and_then(|count| count.try_into().ok()).unwrap_or(0),
        subject: text(dimension.and_then(|one| one.value())),
        dimension: text(dimension.and_then(|one| one.name())),
    }
}

async fn own_marks(account: &Account, cx: &OpCtx, region: &Regional, arn: &str) -> Result<Option<Marks>> {
    let ask = region.cloudwatch.list_tags_for_resource().resource_arn(arn).send();
    let answer = account.read(cx, "cloudwatch:ListTagsForResource", ask).await;
    let Some(answer) = accept(answer, ErrorKind::NotFound)? else { return Ok(None) };
    Ok(Marks::read(answer.tags().iter().filter_map(|tag| Some((tag.key()?, tag.value()?)))))
}

/// Alarms of a region whose names begin so. What is `asked` for is asked for its own tags.
async fn alarms(
    account: &Account,
    cx: &OpCtx,
    (region, start): (&Regional, &str),
    tagged: &Tagged,
    asked: impl Fn(&str) -> bool + Send + Sync,
) -> Result<Vec<(String, Option<Seen<AlarmObserved>>)>> {
    let (mut all, mut next) = (Vec::new(), None::<String>);
    loop {
        let ask = region.cloudwatch.describe_alarms().alarm_name_prefix(start).set_next_token(next.take());
        let page = account.read(cx, "cloudwatch:DescribeAlarms", ask.send()).await?;
        for alarm in page.metric_alarms() {
            let (Some(name), Some(arn)) = (alarm.alarm_name(), alarm.alarm_arn()) else { continue };
            let marks = match tagged.marks(arn) {
                Some(marks) => Some(marks.clone()),
                None if asked(name) => own_marks(account, cx, region, arn).await?,
                None => None,
            };
            let seen = marks.map(|marks| Seen {
                id: PhysicalId(arn.to_owned()),
                marks,
                observed: observed(region, alarm),
            });
            all.push((name.to_owned(), seen));
        }
        next = page.next_token().map(str::to_owned);
        if next.is_none() {
            return Ok(all);
        }
    }
}

/// The alarm of that name, and what is ours of it.
async fn named(
    account: &Account,
    cx: &OpCtx,
    region: &Regional,
    name: &str,
) -> Result<Option<Option<Seen<AlarmObserved>>>> {
    let found = alarms(account, cx, (region, name), &Tagged::default(), |other| other == name).await?;
    Ok(found.into_iter().find(|(other, _)| other == name).map(|(_, seen)| seen))
}

/// Tags are taken of an alarm that is made, and passed over of one that is there.
async fn put(account: &Account, cx: &OpCtx, want: &AlarmSpec<Known>, tags: Option<Vec<Tag>>) -> Result<()> {
    let region = account.region(&want.region).await;
    let threshold: f64 = want.threshold.parse().map_err(|_| {
        ProviderError::new(ErrorKind::Unsupported, format!("`{}` is not a number", want.threshold))
    })?;
    let minutes = i32::try_from(want.minutes).unwrap_or(i32::MAX);
    let put = || {
        region
            .cloudwatch
            .put_metric_alarm()
            .alarm_name(&want.name)
            .namespace(&want.namespace)
            .metric_name(&want.metric)
            .statistic(Statistic::Average)
            .comparison_operator(ComparisonOperator::GreaterThanThreshold)
            .period(PERIOD_SECONDS)
            .evaluation_periods(minutes)
            .threshold(threshold)
            .treat_missing_data("notBreaching")
            .dimensions(Dimension::builder().name(&want.dimension).value(&want.subject).build())
            .set_tags(tags.clone())
            .send()
    };
    account.put(cx, "cloudwatch:PutMetricAlarm", put).await.map(drop)
}

impl Native for Alarm {
    const TOKEN: CreateToken = CreateToken::Name;

    async fn look(&self, account: &Account, cx: &OpCtx, look: Look<'_>) -> Result<Vec<Seen<AlarmObserved>>> {
        if let Look::Id(id) = look {
            let region = account.of_arn(&id.0).await;
            return Ok(named(account, cx, &region, name_of(&id.0)).await?.flatten().into_iter().collect());
        }
        let mut all = Vec::new();
        let wanted = account.names(self, look);
        for region in account.regions().await {
            let tagged = account.tagged(cx, &region).await?;
            let names = tagged.named("cloudwatch", "alarm:").map(str::to_owned);
            let Some(start) = common_start(names.chain(wanted.iter().cloned())) else { continue };
            let place = (&*region, start.as_str());
            let found = alarms(account, cx, place, &tagged, |name| wanted.contains(name)).await?;
            all.extend(found.into_iter().filter_map(|(_, seen)| seen));
        }
        Ok(all)
    }

    async fn make(
        &self,
        account: &Account,
        cx: &OpCtx,
        key: &ResourceKey,
        want: &AlarmSpec<Known>,
    ) -> Result<PhysicalId> {
        let region = account.region(&want.region).await;
        let there = named(account, cx, &region, &want.name).await?;
        if there.is_some_and(|there| !there.is_some_and(|one| one.marks.are(cx, key))) {
            return Err(name_taken("alarm", &want.name));
        }
        let tag = |(name, value): (&str, String)| Tag::builder().key(name).value(value).build();
        let tags = Marks::tags(cx, key).into_iter().map(tag).collect();
        put(account, cx, want, Some(tags)).await?;
        let made = account
            .made(cx, true, || async { Ok(named(account, cx, &region, &want.name).await?.flatten()) })
            .await?;
        made.map(|one| one.id).ok_or_else(|| unexpected("cloudwatch:DescribeAlarms", "alarm"))
    }

    async fn change(
        &self,
        account: &Account,
        cx: &OpCtx,
        _: &PhysicalId,
        _: &AlarmObserved,
        want: &AlarmSpec<Known>,
    ) -> Result<()> {
        put(account, cx, want, None).await
    }

    async fn remove(&self, account: &Account, cx: &OpCtx, id: &PhysicalId) -> Result<()> {
        let region = account.of_arn(&id.0).await;
        let gone = region.cloudwatch.delete_alarms().alarm_names(name_of(&id.0)).send();
        accept(account.change(cx, "cloudwatch:DeleteAlarms", gone).await, ErrorKind::NotFound).map(drop)
    }
}
