//! AWS gives back a target group of the same name and settings, whoever made it: so it is looked at
//! first. How long units may finish is an attribute that is set after it.

use aws_sdk_elasticloadbalancingv2::types::{
    ProtocolEnum, TargetGroup as Group, TargetGroupAttribute, TargetTypeEnum,
};
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, Known, PhysicalId, Result};

use super::{TargetGroup, TargetGroupObserved, TargetGroupSpec, TargetKind};
use crate::kinds::load_balancer::native::own_marks;
use crate::native::{Asked, Calls, Look, Marks, Native, Seen, together, unexpected};

const DRAIN: &str = "deregistration_delay.timeout_seconds";
/// So long a unit is waited for that is asked whether it is well, if the next question is not nearer.
const TIMEOUT_SECONDS: i32 = 5;

fn seconds(seconds: u32) -> i32 {
    i32::try_from(seconds).unwrap_or(i32::MAX)
}

/// It has to be shorter than the interval.
fn timeout(interval: u32) -> i32 {
    TIMEOUT_SECONDS.min(seconds(interval) - 1)
}

/// `None` without the target group.
async fn attributes(at: &Calls<'_>, arn: &str) -> Result<Option<Vec<TargetGroupAttribute>>> {
    let ask = || async {
        let ask = at.region.balancing.describe_target_group_attributes().target_group_arn(arn).send();
        let answer = at.find("elasticloadbalancing:DescribeTargetGroupAttributes", ask).await?;
        Ok(answer.map(|answer| answer.attributes.unwrap_or_default()))
    };
    at.once("attributes of a target group", arn, ask).await
}

/// All of a region, whoever's.
async fn all(at: &Calls<'_>) -> Result<Vec<Group>> {
    let ask = || async {
        let ask = |next| at.region.balancing.describe_target_groups().set_marker(next).send();
        let action = "elasticloadbalancing:DescribeTargetGroups";
        let pages = at.pages(action, ask, |page| page.next_marker.clone()).await?;
        Ok(pages.into_iter().flat_map(|page| page.target_groups.unwrap_or_default()).collect())
    };
    at.once("target groups", "", ask).await
}

async fn observed(at: &Calls<'_>, arn: &str, group: &Group) -> Result<Option<TargetGroupObserved>> {
    let Some(attributes) = attributes(at, arn).await? else { return Ok(None) };
    let drain = attributes.iter().find(|one| one.key() == Some(DRAIN));
    let drain = drain.and_then(|one| one.value()?.parse().ok());
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let interval = group.health_check_interval_seconds();
    Ok(Some(TargetGroupObserved {
        region: at.region.name.clone(),
        name: text(group.target_group_name()),
        vpc: text(group.vpc_id()),
        port: group.port().and_then(|port| port.try_into().ok()).unwrap_or(0),
        targets: match group.target_type() {
            Some(TargetTypeEnum::Instance) => TargetKind::Instance,
            _ => TargetKind::Ip,
        },
        health_path: text(group.health_check_path()),
        interval_seconds: interval.and_then(|seconds| seconds.try_into().ok()).unwrap_or(0),
        drain_seconds: drain.unwrap_or(0),
    }))
}

async fn seen(
    at: &Calls<'_>,
    group: &Group,
    marks: Option<Marks>,
) -> Result<Option<Seen<TargetGroupObserved>>> {
    let (Some(marks), Some(arn)) = (marks, group.target_group_arn()) else { return Ok(None) };
    let observed = observed(at, arn, group).await?;
    Ok(observed.map(|observed| Seen { id: PhysicalId(arn.to_owned()), marks, observed }))
}

/// One of a listing, if it is looked for.
async fn looked_at(
    at: &Calls<'_>,
    asked: &Asked,
    group: &Group,
) -> Result<Option<Seen<TargetGroupObserved>>> {
    let (Some(name), Some(arn)) = (group.target_group_name(), group.target_group_arn()) else {
        return Ok(None);
    };
    let marks = asked.marks(arn, name, own_marks(at, arn)).await?;
    seen(at, group, marks).await
}

async fn drain(at: &Calls<'_>, arn: &str, want: &TargetGroupSpec<Known>) -> Result<()> {
    let attribute = TargetGroupAttribute::builder().key(DRAIN).value(want.drain_seconds.to_string()).build();
    let put = || {
        let put = at.region.balancing.modify_target_group_attributes().target_group_arn(arn);
        put.attributes(attribute.clone()).send()
    };
    at.put("elasticloadbalancing:ModifyTargetGroupAttributes", put).await.map(drop)
}

async fn settle(
    at: &Calls<'_>,
    arn: &str,
    have: &TargetGroupObserved,
    want: &TargetGroupSpec<Known>,
) -> Result<()> {
    if have.health_path != want.health_path || have.interval_seconds != want.interval_seconds {
        let put = || {
            let put = at.region.balancing.modify_target_group().target_group_arn(arn);
            put.health_check_path(&want.health_path)
                .health_check_interval_seconds(seconds(want.interval_seconds))
                .health_check_timeout_seconds(timeout(want.interval_seconds))
                .send()
        };
        at.put("elasticloadbalancing:ModifyTargetGroup", put).await?;
    }
    if have.drain_seconds != want.drain_seconds {
        drain(at, arn, want).await?;
    }
    Ok(())
}

impl Native for TargetGroup {
    const TOKEN: CreateToken = CreateToken::Name;

    async fn see(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<Option<Seen<TargetGroupObserved>>> {
        let ask = at.region.balancing.describe_target_groups().target_group_arns(&id.0).send();
        let answer = at.find("elasticloadbalancing:DescribeTargetGroups", ask).await?;
        match answer.as_ref().and_then(|answer| answer.target_groups().first()) {
            Some(group) => seen(at, group, own_marks(at, &id.0).await?).await,
            None => Ok(None),
        }
    }

    async fn list(&self, at: &Calls<'_>, look: Look<'_>) -> Result<Vec<Seen<TargetGroupObserved>>> {
        let asked = at.asked(self, look, "name").await?;
        if asked.start("elasticloadbalancing", "targetgroup/").is_none() {
            return Ok(Vec::new());
        }
        let (all, asked) = (all(at).await?, &asked);
        let ask = |group| async move { looked_at(at, asked, group).await };
        Ok(together(all.iter().map(ask)).await?.into_iter().flatten().collect())
    }

    async fn ahead(&self, at: &Calls<'_>, ids: &[PhysicalId]) {
        let _ = tokio::join!(all(at), together(ids.iter().map(|id| attributes(at, &id.0))));
    }

    async fn make(
        &self,
        on: &Calls<'_>,
        key: &ResourceKey,
        want: &TargetGroupSpec<Known>,
    ) -> Result<PhysicalId> {
        let at = on.at(&want.region).await;
        let ask = at.region.balancing.describe_target_groups().names(&want.name).send();
        let there = at.find("elasticloadbalancing:DescribeTargetGroups", ask).await?;
        if let Some(there) = there.as_ref().and_then(|there| there.target_groups().first()) {
            let marks = own_marks(&at, there.target_group_arn().unwrap_or_default()).await?;
            let there = at.own(seen(&at, there, marks).await?, key, ("target group", &want.name))?;
            settle(&at, &there.id.0, &there.observed, want).await?;
            return Ok(there.id);
        }
        let make = at
            .region
            .balancing
            .create_target_group()
            .name(&want.name)
            .protocol(ProtocolEnum::Http)
            .port(i32::from(want.port))
            .vpc_id(&want.vpc)
            .target_type(match want.targets {
                TargetKind::Ip => TargetTypeEnum::Ip,
                TargetKind::Instance => TargetTypeEnum::Instance,
            })
            .health_check_path(&want.health_path)
            .health_check_interval_seconds(seconds(want.interval_seconds))
            .health_check_timeout_seconds(timeout(want.interval_seconds))
            .set_tags(Some(Marks::as_tags(at.cx, key)?))
            .send();
        let made = at.change("elasticloadbalancing:CreateTargetGroup", make).await?;
        let arn = made.target_groups().first().and_then(|one| one.target_group_arn());
        let arn = arn.ok_or_else(|| unexpected("elasticloadbalancing:CreateTargetGroup", "ARN"))?;
        drain(&at, arn, want).await?;
        Ok(PhysicalId(arn.to_owned()))
    }

    async fn change(
        &self,
        at: &Calls<'_>,
        id: &PhysicalId,
        have: &TargetGroupObserved,
        want: &TargetGroupSpec<Known>,
    ) -> Result<()> {
        settle(at, &id.0, have, want).await
    }

    /// One that a listener still uses is refused by AWS.
    async fn remove(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<()> {
        let gone = at.region.balancing.delete_target_group().target_group_arn(&id.0).send();
        at.remove("elasticloadbalancing:DeleteTargetGroup", gone).await
    }
}
