//! The name of a group is unique in its region, and kept by a group that is going away until its machines
//! have ended. It is made at rest, with no machine: how many run, and of which version of the template, is the
//! fleet's.

use std::time::Duration;

use aws_sdk_autoscaling::types::{AutoScalingGroup as Group, Filter, LaunchTemplateSpecification, Tag};
use vrooli_deploy_core::names::{ResourceKey, StackId};
use vrooli_deploy_core::provider::{CreateToken, ErrorKind, Known, PhysicalId, ProviderError, Result};

use super::{AutoScalingGroup, AutoScalingGroupObserved, AutoScalingGroupSpec};
use crate::native::ec2::{SETTLE, text};
use crate::native::{Calls, Look, Marks, Native, RESOURCE, STACK, Seen, accept, completed};

/// So long machines of a group that goes may take to end: some let go of a load balancer first.
const ENDED: Duration = Duration::from_secs(900);
/// What the end of its ARN says.
const NAME: &str = ":autoScalingGroupName/";
/// The version of a template that a group has where no release is in it.
pub(crate) const DEFAULT: &str = "$Default";

/// AWS gives subnets as one text.
fn subnets(group: &Group) -> Vec<String> {
    let all = group.vpc_zone_identifier().unwrap_or_default().split(',');
    all.map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned).collect()
}

/// Only one that goes away has a status.
fn is_going(group: &Group) -> bool {
    group.status().is_some_and(|status| !status.is_empty())
}

/// Names and values of its tags.
pub(crate) fn pairs(group: &Group) -> impl Iterator<Item = (&str, &str)> {
    group.tags().iter().filter_map(|tag| Some((tag.key()?, tag.value()?)))
}

pub(crate) fn seen(at: &Calls<'_>, group: &Group) -> Option<Seen<AutoScalingGroupObserved>> {
    if is_going(group) {
        return None;
    }
    let number = |number: Option<i32>| number.and_then(|number| number.try_into().ok()).unwrap_or(0);
    let template = group.launch_template().and_then(|template| template.launch_template_id());
    Some(Seen {
        id: PhysicalId(group.auto_scaling_group_arn()?.to_owned()),
        marks: Marks::read(pairs(group))?,
        observed: AutoScalingGroupObserved {
            region: at.region.name.clone(),
            name: text(group.auto_scaling_group_name()),
            launch_template: text(template),
            subnets: subnets(group),
            max: number(group.max_size()),
        },
    })
}

/// Groups by name, those that go away included.
pub(crate) async fn described(at: &Calls<'_>, names: &[String]) -> Result<Vec<Group>> {
    let ask = at.region.groups.describe_auto_scaling_groups();
    let ask = ask.set_auto_scaling_group_names(Some(names.to_vec())).send();
    let answer = at.read("autoscaling:DescribeAutoScalingGroups", ask).await?;
    Ok(answer.auto_scaling_groups.unwrap_or_default())
}

/// The group of a name, one that goes away included.
async fn named(at: &Calls<'_>, name: &str) -> Result<Option<Group>> {
    Ok(described(at, &[name.to_owned()]).await?.into_iter().next())
}

/// The group of a name. One that goes away keeps its name from another, and is waited for.
async fn settled(at: &Calls<'_>, name: &str) -> Result<Option<Group>> {
    let look = || async {
        Ok(match named(at, name).await? {
            Some(group) if is_going(&group) => None,
            there => Some(there),
        })
    };
    at.until(ENDED, look).await?.ok_or_else(|| {
        let words = format!("group `{name}`: one of that name is still going away");
        ProviderError::new(ErrorKind::Conflict, words)
            .with_help("its machines end within minutes: try again then")
    })
}

/// What has a tag of this value.
fn filter(tag: &str, value: &str) -> Filter {
    Filter::builder().name(format!("tag:{tag}")).values(value).build()
}

async fn listed(at: &Calls<'_>, filters: Vec<Filter>) -> Result<Vec<Group>> {
    let ask = |next| {
        let ask = at.region.groups.describe_auto_scaling_groups().set_filters(Some(filters.clone()));
        ask.set_next_token(next).send()
    };
    let action = "autoscaling:DescribeAutoScalingGroups";
    let pages = at.pages(action, ask, |page| page.next_token.clone()).await?;
    Ok(pages.into_iter().flat_map(|page| page.auto_scaling_groups.unwrap_or_default()).collect())
}

/// Groups of a region that bear marks, of one stack or of any.
pub(crate) async fn marked(at: &Calls<'_>, stack: Option<&StackId>) -> Result<Vec<Group>> {
    let of_one = stack.map(|stack| filter(STACK, &stack.to_string()));
    let of_any = || Filter::builder().name("tag-key").values(STACK).build();
    listed(at, vec![of_one.unwrap_or_else(of_any)]).await
}

/// Tags of a group. They are its own: machines that bore all its marks would be seen as machines of the stack. They bear
/// whose they are alone, by which their costs are counted.
pub(crate) fn tags(name: &str, tags: impl IntoIterator<Item = (&'static str, String)>) -> Vec<Tag> {
    let tag = |(key, value): (&'static str, String)| {
        let tag = Tag::builder().key(key).value(value).propagate_at_launch(key == STACK);
        tag.resource_id(name).resource_type("auto-scaling-group").build()
    };
    tags.into_iter().map(tag).collect()
}

fn count(number: u32) -> i32 {
    number.try_into().unwrap_or(i32::MAX)
}

/// Says whether it was this call that made it.
async fn create(at: &Calls<'_>, key: &ResourceKey, want: &AutoScalingGroupSpec<Known>) -> Result<bool> {
    let tags = tags(&want.name, Marks::tags(at.cx, key));
    let template = LaunchTemplateSpecification::builder().launch_template_id(&want.launch_template);
    let template = template.version(DEFAULT).build();
    let make = || {
        let make = at.region.groups.create_auto_scaling_group().auto_scaling_group_name(&want.name);
        let make = make.launch_template(template.clone()).vpc_zone_identifier(want.subnets.join(","));
        make.min_size(0).max_size(count(want.max)).desired_capacity(0).set_tags(Some(tags.clone())).send()
    };
    let made = at.known(|| at.change("autoscaling:CreateAutoScalingGroup", make())).await;
    Ok(accept(made, ErrorKind::AlreadyExists)?.is_some())
}

async fn settle(
    at: &Calls<'_>,
    have: &AutoScalingGroupObserved,
    want: &AutoScalingGroupSpec<Known>,
) -> Result<()> {
    // Never less than it may have: AWS would end machines.
    let most = want.max.max(have.max);
    if (&have.subnets, have.max) == (&want.subnets, most) {
        return Ok(());
    }
    let put = || {
        let put = at.region.groups.update_auto_scaling_group().auto_scaling_group_name(&want.name);
        put.vpc_zone_identifier(want.subnets.join(",")).max_size(count(most)).send()
    };
    at.put("autoscaling:UpdateAutoScalingGroup", put).await.map(drop)
}

impl Native for AutoScalingGroup {
    const TOKEN: CreateToken = CreateToken::Name;

    async fn see(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<Option<Seen<AutoScalingGroupObserved>>> {
        let Some((_, name)) = id.0.split_once(NAME) else { return Ok(None) };
        Ok(named(at, name).await?.and_then(|group| seen(at, &group)))
    }

    async fn list(&self, at: &Calls<'_>, look: Look<'_>) -> Result<Vec<Seen<AutoScalingGroupObserved>>> {
        let mut filters = vec![filter(STACK, &at.cx.stack.to_string())];
        if let Look::Key(key) = look {
            filters.push(filter(RESOURCE, key.as_str()));
        }
        Ok(listed(at, filters).await?.iter().filter_map(|group| seen(at, group)).collect())
    }

    async fn make(
        &self,
        on: &Calls<'_>,
        key: &ResourceKey,
        want: &AutoScalingGroupSpec<Known>,
    ) -> Result<PhysicalId> {
        let at = on.at(&want.region).await;
        let mut there = settled(&at, &want.name).await?;
        if there.is_none() {
            let made = create(&at, key, want).await?;
            // Made by a create whose answer was lost, it may not have shown until now.
            there = if made {
                at.made(true, || named(&at, &want.name)).await?
            } else {
                at.until(SETTLE, || named(&at, &want.name)).await?
            };
        }
        let ours = there.as_ref().and_then(|group| seen(&at, group));
        let ours = at.own(ours, key, ("Auto Scaling group", &want.name))?;
        completed(settle(&at, &ours.observed, want).await)?;
        Ok(ours.id)
    }

    async fn change(
        &self,
        at: &Calls<'_>,
        _: &PhysicalId,
        have: &AutoScalingGroupObserved,
        want: &AutoScalingGroupSpec<Known>,
    ) -> Result<()> {
        settle(at, have, want).await
    }

    /// Its machines end with it, and until they have it is there: their template and subnets cannot go.
    async fn remove(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<()> {
        let Some((_, name)) = id.0.split_once(NAME) else { return Ok(()) };
        // AWS does not say of what is not there that it is not there.
        let named = || async {
            let there = named(at, name).await?;
            // Another of that name is another.
            Ok::<_, ProviderError>(there.filter(|there| there.auto_scaling_group_arn() == Some(&*id.0)))
        };
        let Some(there) = named().await? else { return Ok(()) };
        if !is_going(&there) {
            let gone = || {
                let gone = at.region.groups.delete_auto_scaling_group().auto_scaling_group_name(name);
                gone.force_delete(true).send()
            };
            at.freed(|| at.remove("autoscaling:DeleteAutoScalingGroup", gone())).await?;
        }
        let look = || async { Ok(named().await?.is_none().then_some(())) };
        at.until(ENDED, look).await.map(drop)
    }
}
