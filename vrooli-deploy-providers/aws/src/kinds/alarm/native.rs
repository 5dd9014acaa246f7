//! `PutMetricAlarm` writes over an alarm that is there, whoever made it: so it is looked at first.

use aws_sdk_cloudwatch::types::{ComparisonOperator, Dimension, MetricAlarm, Statistic, Tag};
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, ErrorKind, Known, PhysicalId, ProviderError, Result};

use super::{Alarm, AlarmObserved, AlarmSpec, AlarmStatistic};
use crate::native::{
    Asked, Calls, Look, Marks, Native, Regional, Seen, common_start, name_taken, together, unexpected,
};

/// The dimension beside that of a service.
const CLUSTER: &str = "ClusterName";
/// A figure is looked at once a minute.
const PERIOD_SECONDS: i32 = 60;

fn name_of(arn: &str) -> &str {
    arn.splitn(7, ':').nth(6).unwrap_or_default()
}

fn observed(region: &Regional, alarm: &MetricAlarm) -> AlarmObserved {
    let all = alarm.dimensions();
    let of_cluster = |one: &&Dimension| all.len() > 1 && one.name() == Some(CLUSTER);
    let dimension = all.iter().find(|one| !of_cluster(one));
    let cluster = all.iter().find(of_cluster).and_then(|one| one.value());
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
        cluster: cluster.map(str::to_owned),
        statistic: match alarm.statistic() {
            Some(Statistic::Sum) => AlarmStatistic::Sum,
            _ => AlarmStatistic::Average,
        },
    }
}

fn dimensions(want: &AlarmSpec<Known>) -> Vec<Dimension> {
    let dimension = |name: &str, value: &String| Dimension::builder().name(name).value(value).build();
    let cluster = want.cluster.iter().map(|cluster| dimension(CLUSTER, cluster));
    cluster.chain([dimension(&want.dimension, &want.subject)]).collect()
}

async fn own_marks(at: &Calls<'_>, arn: &str) -> Result<Option<Marks>> {
    let ask = at.region.cloudwatch.list_tags_for_resource().resource_arn(arn).send();
    let answer = at.find("cloudwatch:ListTagsForResource", ask).await?;
    Ok(answer.and_then(|answer| Marks::of(answer.tags())))
}

/// Alarms whose names begin so, whoever's.
async fn described(at: &Calls<'_>, start: &str) -> Result<Vec<MetricAlarm>> {
    let ask = || async {
        let alarms = &at.region.cloudwatch;
        let ask = |next| alarms.describe_alarms().alarm_name_prefix(start).set_next_token(next).send();
        let pages = at.pages("cloudwatch:DescribeAlarms", ask, |page| page.next_token.clone()).await?;
        Ok(pages.into_iter().flat_map(|page| page.metric_alarms.unwrap_or_default()).collect())
    };
    at.once("alarms", start, ask).await
}

/// Alarms whose names begin so, those without marks included.
async fn alarms(
    at: &Calls<'_>,
    start: &str,
    asked: &Asked,
) -> Result<Vec<(String, Option<Seen<AlarmObserved>>)>> {
    let ask = |alarm: MetricAlarm| async move {
        let (Some(name), Some(arn)) = (alarm.alarm_name(), alarm.alarm_arn()) else { return Ok(None) };
        let marks = asked.marks(arn, name, own_marks(at, arn)).await?;
        let id = PhysicalId(arn.to_owned());
        let seen = marks.map(|marks| Seen { id, marks, observed: observed(&at.region, &alarm) });
        Ok(Some((name.to_owned(), seen)))
    };
    let all = together(described(at, start).await?.into_iter().map(ask)).await?;
    Ok(all.into_iter().flatten().collect())
}

/// The alarm of that name, and what is ours of it.
async fn named(at: &Calls<'_>, name: &str) -> Result<Option<Option<Seen<AlarmObserved>>>> {
    let found = alarms(at, name, &Asked::only(name)).await?;
    Ok(found.into_iter().find(|(other, _)| other == name).map(|(_, seen)| seen))
}

/// Tags are taken of an alarm that is made, and passed over of one that is there.
async fn put(at: &Calls<'_>, want: &AlarmSpec<Known>, tags: Option<Vec<Tag>>) -> Result<()> {
    let threshold: f64 = want.threshold.parse().map_err(|_| {
        ProviderError::new(ErrorKind::Unsupported, format!("`{}` is not a number", want.threshold))
    })?;
    let minutes = i32::try_from(want.minutes).unwrap_or(i32::MAX);
    let put = || {
        at.region
            .cloudwatch
            .put_metric_alarm()
            .alarm_name(&want.name)
            .namespace(&want.namespace)
            .metric_name(&want.metric)
            .statistic(match want.statistic {
                AlarmStatistic::Average => Statistic::Average,
                AlarmStatistic::Sum => Statistic::Sum,
            })
            .comparison_operator(ComparisonOperator::GreaterThanThreshold)
            .period(PERIOD_SECONDS)
            .evaluation_periods(minutes)
            .threshold(threshold)
            .treat_missing_data("notBreaching")
            .set_dimensions(Some(dimensions(want)))
            .set_tags(tags.clone())
            .send()
    };
    at.put("cloudwatch:PutMetricAlarm", put).await.map(drop)
}

impl Native for Alarm {
    const TOKEN: CreateToken = CreateToken::Name;

    async fn see(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<Option<Seen<AlarmObserved>>> {
        Ok(named(at, name_of(&id.0)).await?.flatten())
    }

    async fn list(&self, at: &Calls<'_>, look: Look<'_>) -> Result<Vec<Seen<AlarmObserved>>> {
        let asked = at.asked(self, look, "name").await?;
        let Some(start) = asked.start("cloudwatch", "alarm:") else { return Ok(Vec::new()) };
        Ok(alarms(at, &start, &asked).await?.into_iter().filter_map(|(_, seen)| seen).collect())
    }

    async fn ahead(&self, at: &Calls<'_>, _: &[PhysicalId]) {
        let start = common_start(at.account.named(self, Look::Stack, "name").into_iter());
        let _ = described(at, &start.unwrap_or_default()).await;
    }

    async fn make(&self, on: &Calls<'_>, key: &ResourceKey, want: &AlarmSpec<Known>) -> Result<PhysicalId> {
        let at = on.at(&want.region).await;
        let there = named(&at, &want.name).await?;
        if there.is_some_and(|there| !there.is_some_and(|one| one.marks.are(at.cx, key))) {
            return Err(name_taken("alarm", &want.name));
        }
        put(&at, want, Some(Marks::as_tags(at.cx, key)?)).await?;
        let made = at.made(true, || async { Ok(named(&at, &want.name).await?.flatten()) }).await?;
        made.map(|one| one.id).ok_or_else(|| unexpected("cloudwatch:DescribeAlarms", "alarm"))
    }

    async fn change(
        &self,
        at: &Calls<'_>,
        _: &PhysicalId,
        _: &AlarmObserved,
        want: &AlarmSpec<Known>,
    ) -> Result<()> {
        put(at, want, None).await
    }

    async fn remove(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<()> {
        let gone = at.region.cloudwatch.delete_alarms().alarm_names(name_of(&id.0)).send();
        at.remove("cloudwatch:DeleteAlarms", gone).await
    }
}
