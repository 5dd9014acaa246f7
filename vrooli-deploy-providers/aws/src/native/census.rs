//! What bears our marks in an account, whoever's stack it is. The listing of tags has everything but
//! roles, groups of machines, budgets, dashboards, which take none, and zones that a killed run left without any.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_iam::types::EntityType;
use jiff::Timestamp;
use vrooli_deploy_core::names::StackId;
use vrooli_deploy_core::provider::{Census, ErrorKind, Marked, OpCtx, PhysicalId, Result};

use super::arn::Arn;
use super::marks::STACK;
use super::of_releases;
use super::tagged::Pairs;
use super::{Account, Calls, Marks, together};
use crate::kinds::hosted_zone::native::ours;
use crate::kinds::{auto_scaling_group, budget, dashboard};

/// The census of an account.
#[derive(Debug)]
pub(super) struct AwsCensus(pub(super) Arc<Account>);

#[async_trait]
impl Census for AwsCensus {
    async fn marked(&self, cx: &OpCtx) -> Result<Vec<Marked>> {
        marked(&Calls::new(&self.0, cx).await, None).await
    }

    /// A family of task definitions is one.
    async fn of_releases(&self, cx: &OpCtx) -> Result<Vec<Marked>> {
        let mut all = of_releases::all(&Calls::new(&self.0, cx).await, None).await?;
        all.sort_by(|a, b| (&a.id, a.owner).cmp(&(&b.id, b.owner)));
        all.dedup_by(|a, b| (&a.id, a.owner) == (&b.id, b.owner));
        Ok(all)
    }
}

/// Everything that bears marks, of one stack or of any.
pub(super) async fn marked(on: &Calls<'_>, stack: Option<&StackId>) -> Result<Vec<Marked>> {
    let mut places = on.everywhere().await;
    // There what is in no region is told.
    if places.iter().all(|at| at.region.name != on.region.name) {
        places.push(on.clone());
    }
    // All at once, and on the heap: together they would be too large for the stack of a thread.
    let (tags, groups, roles, zones, dashboards, budgets) = tokio::join!(
        Box::pin(together(places.iter().map(|at| tagged(at, stack)))),
        Box::pin(together(places.iter().map(|at| async { allowed(groups(at, stack).await, stack) }))),
        Box::pin(roles(on)),
        Box::pin(zones(on)),
        Box::pin(dashboards(on)),
        Box::pin(budgets(on)),
    );
    let mut all = [tags?.concat(), groups?.concat()].concat();
    for seen in [roles, zones, dashboards, budgets] {
        all.extend(allowed(seen, stack)?);
    }
    all.retain(|one| stack.is_none_or(|stack| one.stack.as_ref() == Some(stack)));
    all.sort_by(|a, b| (&a.stack, &a.id).cmp(&(&b.stack, &b.id)));
    all.dedup_by(|a, b| a.id == b.id);
    Ok(all)
}

/// Whoever may not look at a kind made none of it, so of their own stack that is no failure: where it has
/// any, looking at it fails by itself. Who asks for everything must not take it for none.
fn allowed(seen: Result<Vec<Marked>>, stack: Option<&StackId>) -> Result<Vec<Marked>> {
    match seen {
        Err(error) if stack.is_some() && error.kind() == ErrorKind::Permission => Ok(Vec::new()),
        seen => seen,
    }
}

/// What no kind makes is told where it costs: last snapshots of databases. All else that bears our tags
/// is a part of something that a kind or a fleet makes (a task, a snapshot by the clock).
fn with_marks(name: &str, at: &Calls<'_>, marks: &Marks) -> Option<Marked> {
    let arn = Arn::read(name)?;
    if arn.kind().is_none() && !arn.is_snapshot() {
        return None;
    }
    let region = match (arn.service, arn.region) {
        ("s3", _) => Some(at.region.name.clone()),
        (_, "") => None,
        (_, region) => Some(region.to_owned()),
    };
    Some(Marked {
        id: arn.id(name),
        name: name.to_owned(),
        kind: arn.kind(),
        stack: StackId::read(&marks.stack),
        key: Some(marks.key.clone()),
        owner: Some(marks.owner),
        incarnation: marks.incarnation,
        region,
        since: None,
    })
}

async fn tagged(at: &Calls<'_>, stack: Option<&StackId>) -> Result<Vec<Marked>> {
    let stack = stack.map(StackId::to_string);
    let read = |arn: &str, tags: Pairs<'_>| with_marks(arn, at, &Marks::read(tags.iter().copied())?);
    at.bearing(STACK, stack.as_deref(), read).await
}

/// AWS's listing of tags has no roles.
async fn roles(on: &Calls<'_>) -> Result<Vec<Marked>> {
    let ask = |next| {
        let ask = on.region.iam.get_account_authorization_details().filter(EntityType::Role);
        ask.set_marker(next).send()
    };
    let pages = on.pages("iam:GetAccountAuthorizationDetails", ask, |page| page.marker.clone()).await?;
    let seen = pages.iter().flat_map(|page| page.role_detail_list()).filter_map(|role| {
        let one = with_marks(role.arn()?, on, &Marks::of(role.tags())?)?;
        let since = role.create_date().and_then(|date| Timestamp::from_second(date.secs()).ok());
        Some(Marked { since, ..one })
    });
    Ok(seen.collect())
}

/// AWS's listing of tags has no groups of machines.
async fn groups(at: &Calls<'_>, stack: Option<&StackId>) -> Result<Vec<Marked>> {
    let all = auto_scaling_group::native::marked(at, stack).await?;
    let seen = all.iter().filter_map(|group| {
        let tags = auto_scaling_group::native::pairs(group);
        let one = with_marks(group.auto_scaling_group_arn()?, at, &Marks::read(tags)?)?;
        let since = group.created_time().and_then(|date| Timestamp::from_second(date.secs()).ok());
        Some(Marked { since, ..one })
    });
    Ok(seen.collect())
}

/// Their marks stand in themselves.
async fn dashboards(on: &Calls<'_>) -> Result<Vec<Marked>> {
    let all = dashboard::native::ours(on).await?.into_iter();
    Ok(all.filter_map(|(arn, marks)| with_marks(&arn, on, &marks)).collect())
}

/// That AWS lists their tags with all others is not documented: each is asked.
async fn budgets(on: &Calls<'_>) -> Result<Vec<Marked>> {
    let all = budget::native::ours(on).await?.into_iter();
    Ok(all.filter_map(|(arn, marks)| with_marks(&arn, on, &marks)).collect())
}

/// Zones, those included of which only their caller reference says that we made them.
async fn zones(on: &Calls<'_>) -> Result<Vec<Marked>> {
    let seen = ours(on).await?.into_iter().filter_map(|(id, domain, _, marks)| {
        let name = format!("arn:aws:route53:::hostedzone/{id}");
        match marks {
            Some(marks) => with_marks(&name, on, &marks),
            None => Some(Marked {
                id: PhysicalId(id),
                kind: Arn::read(&name)?.kind(),
                name: format!("zone {domain}"),
                stack: None,
                key: None,
                owner: None,
                incarnation: None,
                region: None,
                since: None,
            }),
        }
    });
    Ok(seen.collect())
}
