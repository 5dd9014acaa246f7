//! AWS gives back a load balancer of the same name and settings, whoever made it: so it is looked at
//! first. It is made with its tags; its attributes are set after it.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_elasticloadbalancingv2::types::{
    LoadBalancer as Balancer, LoadBalancerAttribute, LoadBalancerSchemeEnum, LoadBalancerTypeEnum,
};
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, Known, PhysicalId, Result};

use super::{LoadBalancer, LoadBalancerObserved, LoadBalancerSpec};
use crate::native::{Calls, Look, Marks, Native, Seen, together, unexpected};

/// As many as tags are asked for at once.
const BATCH: usize = 20;
const IDLE: &str = "idle_timeout.timeout_seconds";
const PROTECTED: &str = "deletion_protection.enabled";

/// The marks of a load balancer, or of what belongs to one.
pub(in crate::kinds) async fn own_marks(at: &Calls<'_>, arn: &str) -> Result<Option<Marks>> {
    let ask = at.region.balancing.describe_tags().resource_arns(arn).send();
    let answer = at.find("elasticloadbalancing:DescribeTags", ask).await?;
    Ok(answer.and_then(|answer| Marks::of(answer.tag_descriptions().first()?.tags())))
}

/// The marks of several of them, by ARN.
pub(in crate::kinds) async fn marks_of(
    at: &Calls<'_>,
    mut arns: Vec<String>,
) -> Result<BTreeMap<String, Marks>> {
    arns.sort();
    let ask = |batch: &[String]| {
        let (batch, of) = (batch.to_vec(), batch.join(","));
        async move { at.once("tags", &of, || tags(at, batch)).await }
    };
    Ok(together(arns.chunks(BATCH).map(ask)).await?.into_iter().flatten().collect())
}

async fn tags(at: &Calls<'_>, arns: Vec<String>) -> Result<Vec<(String, Marks)>> {
    let ask = at.region.balancing.describe_tags().set_resource_arns(Some(arns)).send();
    let answer = at.find("elasticloadbalancing:DescribeTags", ask).await?;
    let all = answer.iter().flat_map(|answer| answer.tag_descriptions());
    Ok(all.filter_map(|one| Some((one.resource_arn()?.to_owned(), Marks::of(one.tags())?))).collect())
}

/// ARNs of a region's load balancers that are the stack's.
pub(in crate::kinds) async fn ours(at: &Calls<'_>) -> Result<Vec<String>> {
    let marked = marked(at, Look::Stack).await?;
    let ours = marked.into_iter().filter(|(_, marks)| marks.are_of(at.cx));
    Ok(ours.filter_map(|(balancer, _)| balancer.load_balancer_arn).collect())
}

/// `None` without the load balancer.
async fn attributes(at: &Calls<'_>, arn: &str) -> Result<Option<Vec<LoadBalancerAttribute>>> {
    let ask = || async {
        let ask = at.region.balancing.describe_load_balancer_attributes().load_balancer_arn(arn).send();
        let answer = at.find("elasticloadbalancing:DescribeLoadBalancerAttributes", ask).await?;
        Ok(answer.map(|answer| answer.attributes.unwrap_or_default()))
    };
    at.once("attributes of a load balancer", arn, ask).await
}

async fn observed(at: &Calls<'_>, arn: &str, balancer: &Balancer) -> Result<Option<LoadBalancerObserved>> {
    let Some(attributes) = attributes(at, arn).await? else { return Ok(None) };
    let attribute = |key| attributes.iter().find(|one| one.key() == Some(key))?.value();
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let subnets = balancer.availability_zones().iter();
    Ok(Some(LoadBalancerObserved {
        region: at.region.name.clone(),
        name: text(balancer.load_balancer_name()),
        subnets: subnets.filter_map(|zone| zone.subnet_id().map(str::to_owned)).collect(),
        security_groups: balancer.security_groups().to_vec(),
        idle_timeout_seconds: attribute(IDLE).and_then(|seconds| seconds.parse().ok()).unwrap_or(0),
        deletion_protection: attribute(PROTECTED) == Some("true"),
        dns_name: text(balancer.dns_name()),
        zone_id: text(balancer.canonical_hosted_zone_id()),
    }))
}

/// All of a region, whoever's.
async fn all(at: &Calls<'_>) -> Result<Vec<Balancer>> {
    let ask = || async {
        let ask = |next| at.region.balancing.describe_load_balancers().set_marker(next).send();
        let action = "elasticloadbalancing:DescribeLoadBalancers";
        let pages = at.pages(action, ask, |page| page.next_marker.clone()).await?;
        Ok(pages.into_iter().flat_map(|page| page.load_balancers.unwrap_or_default()).collect())
    };
    at.once("load balancers", "", ask).await
}

/// Load balancers of a region that have marks.
async fn marked(at: &Calls<'_>, look: Look<'_>) -> Result<Vec<(Balancer, Marks)>> {
    let asked = at.asked(&LoadBalancer, look, "name").await?;
    if asked.start("elasticloadbalancing", "loadbalancer/").is_none() {
        return Ok(Vec::new());
    }
    let named = |one: &Balancer| one.load_balancer_arn.clone().zip(one.load_balancer_name.clone());
    asked.marked(all(at).await?, named, |arn: String| async move { own_marks(at, &arn).await }).await
}

async fn seen(
    at: &Calls<'_>,
    balancer: &Balancer,
    marks: Option<Marks>,
) -> Result<Option<Seen<LoadBalancerObserved>>> {
    let (Some(marks), Some(arn)) = (marks, balancer.load_balancer_arn()) else { return Ok(None) };
    let observed = observed(at, arn, balancer).await?;
    Ok(observed.map(|observed| Seen { id: PhysicalId(arn.to_owned()), marks, observed }))
}

fn attribute(key: &str, value: String) -> LoadBalancerAttribute {
    LoadBalancerAttribute::builder().key(key).value(value).build()
}

async fn set_attributes(at: &Calls<'_>, arn: &str, want: &LoadBalancerSpec<Known>) -> Result<()> {
    let idle = attribute(IDLE, want.idle_timeout_seconds.to_string());
    let protected = attribute(PROTECTED, want.deletion_protection.to_string());
    let put = || {
        let put = at.region.balancing.modify_load_balancer_attributes().load_balancer_arn(arn);
        put.attributes(idle.clone()).attributes(protected.clone()).send()
    };
    at.put("elasticloadbalancing:ModifyLoadBalancerAttributes", put).await.map(drop)
}

async fn settle(
    at: &Calls<'_>,
    arn: &str,
    have: &LoadBalancerObserved,
    want: &LoadBalancerSpec<Known>,
) -> Result<()> {
    let differ = |a: &[String], b: &[String]| BTreeSet::from_iter(a) != BTreeSet::from_iter(b);
    let balancing = &at.region.balancing;
    if differ(&have.subnets, &want.subnets) {
        let subnets = || Some(want.subnets.clone());
        let put = || balancing.set_subnets().load_balancer_arn(arn).set_subnets(subnets()).send();
        at.put("elasticloadbalancing:SetSubnets", put).await?;
    }
    if differ(&have.security_groups, &want.security_groups) {
        let groups = || Some(want.security_groups.clone());
        let put =
            || balancing.set_security_groups().load_balancer_arn(arn).set_security_groups(groups()).send();
        at.put("elasticloadbalancing:SetSecurityGroups", put).await?;
    }
    if have.idle_timeout_seconds != want.idle_timeout_seconds
        || have.deletion_protection != want.deletion_protection
    {
        set_attributes(at, arn, want).await?;
    }
    Ok(())
}

impl Native for LoadBalancer {
    const TOKEN: CreateToken = CreateToken::Name;

    async fn see(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<Option<Seen<LoadBalancerObserved>>> {
        let ask = at.region.balancing.describe_load_balancers().load_balancer_arns(&id.0).send();
        let answer = at.find("elasticloadbalancing:DescribeLoadBalancers", ask).await?;
        match answer.as_ref().and_then(|answer| answer.load_balancers().first()) {
            Some(balancer) => seen(at, balancer, own_marks(at, &id.0).await?).await,
            None => Ok(None),
        }
    }

    async fn list(&self, at: &Calls<'_>, look: Look<'_>) -> Result<Vec<Seen<LoadBalancerObserved>>> {
        let marked = marked(at, look).await?.into_iter().filter(|(_, marks)| look.wants(at.cx, marks));
        let ask = |(balancer, marks)| async move { seen(at, &balancer, Some(marks)).await };
        Ok(together(marked.map(ask)).await?.into_iter().flatten().collect())
    }

    async fn ahead(&self, at: &Calls<'_>, ids: &[PhysicalId]) {
        let _ = tokio::join!(all(at), together(ids.iter().map(|id| attributes(at, &id.0))));
    }

    async fn make(
        &self,
        on: &Calls<'_>,
        key: &ResourceKey,
        want: &LoadBalancerSpec<Known>,
    ) -> Result<PhysicalId> {
        let at = on.at(&want.region).await;
        let ask = at.region.balancing.describe_load_balancers().names(&want.name).send();
        let there = at.find("elasticloadbalancing:DescribeLoadBalancers", ask).await?;
        if let Some(there) = there.as_ref().and_then(|there| there.load_balancers().first()) {
            let marks = own_marks(&at, there.load_balancer_arn().unwrap_or_default()).await?;
            let there = at.own(seen(&at, there, marks).await?, key, ("load balancer", &want.name))?;
            settle(&at, &there.id.0, &there.observed, want).await?;
            return Ok(there.id);
        }
        let make = at
            .region
            .balancing
            .create_load_balancer()
            .name(&want.name)
            .r#type(LoadBalancerTypeEnum::Application)
            .scheme(LoadBalancerSchemeEnum::InternetFacing)
            .set_subnets(Some(want.subnets.clone()))
            .set_security_groups(Some(want.security_groups.clone()))
            .set_tags(Some(Marks::as_tags(at.cx, key)?))
            .send();
        let made = at.change("elasticloadbalancing:CreateLoadBalancer", make).await?;
        let arn = made.load_balancers().first().and_then(|one| one.load_balancer_arn());
        let arn = arn.ok_or_else(|| unexpected("elasticloadbalancing:CreateLoadBalancer", "ARN"))?;
        set_attributes(&at, arn, want).await?;
        Ok(PhysicalId(arn.to_owned()))
    }

    async fn change(
        &self,
        at: &Calls<'_>,
        id: &PhysicalId,
        have: &LoadBalancerObserved,
        want: &LoadBalancerSpec<Known>,
    ) -> Result<()> {
        settle(at, &id.0, have, want).await
    }

    /// AWS refuses to delete what is protected. That is against hands: a plan says what it deletes.
    async fn remove(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<()> {
        let (balancing, free) = (&at.region.balancing, attribute(PROTECTED, "false".to_owned()));
        let put = || {
            let put = balancing.modify_load_balancer_attributes().load_balancer_arn(&id.0);
            put.attributes(free.clone()).send()
        };
        at.take("elasticloadbalancing:ModifyLoadBalancerAttributes", put).await?;
        let gone = balancing.delete_load_balancer().load_balancer_arn(&id.0).send();
        at.remove("elasticloadbalancing:DeleteLoadBalancer", gone).await
    }
}
