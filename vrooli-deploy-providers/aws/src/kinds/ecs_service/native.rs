//! A service is made at rest: with a definition of which nothing runs, and no task. Releases come and go in
//! it by `UpdateService`, which is the fleet's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_ecs::types::{
    AssignPublicIp, AwsVpcConfiguration, DeploymentCircuitBreaker, DeploymentConfiguration,
    DeploymentController, DeploymentControllerType, LaunchType, NetworkConfiguration, PropagateTags, Service,
    ServiceField, Tag,
};
use serde_json::Value;
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, ErrorKind, Known, PhysicalId, ProviderError, Result};

use super::{EcsService, EcsServiceObserved, EcsServiceSpec};
use crate::kinds::ecs_cluster::EcsCluster;
use crate::native::{Calls, Look, Marks, Native, Seen, unexpected};

/// As many as one call describes.
const BATCH: usize = 10;
/// So long is waited for tasks that end: they may take two minutes for it (`stopTimeout`).
const ENDED: Duration = Duration::from_secs(180);
/// Tasks that are replaced in a service (another network) end when their successors are well.
const HEALTHY_PERCENT: i32 = 100;
/// So many may run meanwhile.
const MAXIMUM_PERCENT: i32 = 200;

const ACTIVE: &str = "ACTIVE";
const DRAINING: &str = "DRAINING";

/// The network that is wanted.
fn network(want: &EcsServiceSpec<Known>) -> Result<NetworkConfiguration> {
    let public = if want.public_address { AssignPublicIp::Enabled } else { AssignPublicIp::Disabled };
    let network = AwsVpcConfiguration::builder()
        .set_subnets(Some(want.subnets.clone()))
        .set_security_groups(Some(want.security_groups.clone()))
        .assign_public_ip(public)
        .build()
        .map_err(|_| unexpected("ecs:CreateService", "network"))?;
    Ok(NetworkConfiguration::builder().awsvpc_configuration(network).build())
}

/// How tasks are replaced. That a release is not well is for us to say, not for AWS.
fn deployment() -> DeploymentConfiguration {
    let breaker = DeploymentCircuitBreaker::builder().enable(false).rollback(false).build();
    DeploymentConfiguration::builder()
        .deployment_circuit_breaker(breaker)
        .minimum_healthy_percent(HEALTHY_PERCENT)
        .maximum_percent(MAXIMUM_PERCENT)
        .build()
}

fn last(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or_default()
}

/// Cluster and name that an ARN says: `…:service/<cluster>/<name>`.
fn parts(arn: &str) -> Option<(&str, &str)> {
    arn.split_once(":service/")?.1.split_once('/')
}

/// A service is there as long as it is active: one that drains is on its way out.
pub(crate) fn seen(at: &Calls<'_>, service: &Service) -> Option<Seen<EcsServiceObserved>> {
    if service.status() != Some(ACTIVE) {
        return None;
    }
    let marks = Marks::of(service.tags())?;
    let network = service.network_configuration().and_then(|network| network.awsvpc_configuration());
    let ids = |ids: fn(&AwsVpcConfiguration) -> &[String]| network.map(ids).unwrap_or_default().to_vec();
    let observed = EcsServiceObserved {
        region: at.region.name.clone(),
        name: service.service_name()?.to_owned(),
        cluster: service.cluster_arn()?.to_owned(),
        subnets: ids(AwsVpcConfiguration::subnets),
        security_groups: ids(AwsVpcConfiguration::security_groups),
        public_address: network.and_then(|one| one.assign_public_ip()) == Some(&AssignPublicIp::Enabled),
    };
    Some(Seen { id: PhysicalId(service.service_arn()?.to_owned()), marks, observed })
}

/// Active and draining services of a cluster by name; none without the cluster.
pub(crate) async fn described(at: &Calls<'_>, cluster: &str, names: &[String]) -> Result<Vec<Service>> {
    let ask = at.region.ecs.describe_services().cluster(cluster).set_services(Some(names.to_vec()));
    let answer = at.find("ecs:DescribeServices", ask.include(ServiceField::Tags).send()).await?;
    let mut services = answer.and_then(|answer| answer.services).unwrap_or_default();
    services.retain(|service| matches!(service.status(), Some(ACTIVE | DRAINING)));
    Ok(services)
}

/// An active or draining service of a cluster.
pub(crate) async fn one(at: &Calls<'_>, cluster: &str, name: &str) -> Result<Option<Service>> {
    Ok(described(at, cluster, &[name.to_owned()]).await?.pop())
}

/// A name that a spec has, or that of the cluster or service that it refers to.
pub(in crate::kinds) fn name_of<'a>(at: &'a Calls<'_>, field: &'a Value) -> Option<&'a str> {
    if let Some(name) = field.as_str() {
        return Some(last(name));
    }
    let key = field["$ref"].as_str()?;
    let clusters = at.account.wanted(&EcsCluster, Look::Stack);
    let mut all = clusters.chain(at.account.wanted(&EcsService, Look::Stack));
    all.find_map(|(one, spec)| (one.as_str() == key).then(|| spec["name"].as_str())?)
}

/// Clusters and names of services that the stack is to have in a region.
fn wanted<'a>(at: &'a Calls<'_>, look: Look<'a>) -> impl Iterator<Item = (&'a str, &'a str)> {
    let wanted = at.account.wanted(&EcsService, look).map(|(_, spec)| spec);
    let wanted = wanted.filter(|spec| spec["region"] == *at.region.name);
    wanted.filter_map(|spec| name_of(at, &spec["cluster"]).zip(spec["name"].as_str()))
}

/// Services by cluster and name, those of a cluster together.
async fn several<'a>(at: &Calls<'_>, all: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Vec<Service>> {
    let mut asked: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (cluster, name) in all {
        asked.entry(cluster).or_default().insert(name);
    }
    let mut services = Vec::new();
    for (cluster, names) in asked {
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        for batch in names.chunks(BATCH) {
            let of = format!("{cluster} {}", batch.join(" "));
            services.extend(at.once("services", &of, || described(at, cluster, batch)).await?);
        }
    }
    Ok(services)
}

/// Services of a region that have marks, the stack's among them. Listings lag: those that the stack is
/// to have are asked for whether they are listed or not.
pub(in crate::kinds) async fn marked(
    at: &Calls<'_>,
    look: Look<'_>,
) -> Result<Vec<Seen<EcsServiceObserved>>> {
    let tagged = at.tagged().await?;
    let listed = tagged.named("ecs", "service/").filter_map(|part| part.split_once('/'));
    let services = several(at, listed.chain(wanted(at, look))).await?;
    Ok(services.iter().filter_map(|service| seen(at, service)).collect())
}

/// The service of a cluster that bears the stack's marks.
pub(in crate::kinds) async fn ours(at: &Calls<'_>, cluster: &str, name: &str) -> Result<bool> {
    let there = one(at, cluster, name).await?;
    Ok(there.and_then(|there| seen(at, &there)).is_some_and(|there| there.marks.are_of(at.cx)))
}

/// The service of a name. One that drains keeps its name from another, and is waited for.
async fn settled(at: &Calls<'_>, want: &EcsServiceSpec<Known>) -> Result<Option<Service>> {
    let look = || async {
        let there = one(at, &want.cluster, &want.name).await?;
        Ok(match there {
            Some(there) if there.status() == Some(DRAINING) => None,
            there => Some(there),
        })
    };
    at.until(ENDED, look).await?.ok_or_else(|| {
        let words = format!("service `{}`: one of that name is still going away", want.name);
        ProviderError::new(ErrorKind::Conflict, words).with_help("tasks end within minutes: try again then")
    })
}

async fn settle(
    at: &Calls<'_>,
    arn: &str,
    have: &EcsServiceObserved,
    want: &EcsServiceSpec<Known>,
) -> Result<()> {
    let have = (&have.subnets, &have.security_groups, have.public_address);
    if have == (&want.subnets, &want.security_groups, want.public_address) {
        return Ok(());
    }
    let network = network(want)?;
    let put = || {
        let put = at.region.ecs.update_service().cluster(&want.cluster).service(arn);
        put.network_configuration(network.clone()).send()
    };
    at.put("ecs:UpdateService", put).await.map(drop)
}

impl Native for EcsService {
    const TOKEN: CreateToken = CreateToken::Name;

    async fn see(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<Option<Seen<EcsServiceObserved>>> {
        let Some((cluster, name)) = parts(&id.0) else { return Ok(None) };
        Ok(one(at, cluster, name).await?.and_then(|service| seen(at, &service)))
    }

    async fn list(&self, at: &Calls<'_>, look: Look<'_>) -> Result<Vec<Seen<EcsServiceObserved>>> {
        marked(at, look).await
    }

    async fn ahead(&self, at: &Calls<'_>, _: &[PhysicalId]) {
        let _ = several(at, wanted(at, Look::Stack)).await;
    }

    async fn make(
        &self,
        on: &Calls<'_>,
        key: &ResourceKey,
        want: &EcsServiceSpec<Known>,
    ) -> Result<PhysicalId> {
        let at = on.at(&want.region).await;
        let tags: Vec<Tag> = Marks::as_tags(at.cx, key)?;
        if let Some(there) = settled(&at, want).await? {
            let there = at.own(seen(&at, &there), key, ("service", &want.name))?;
            settle(&at, &there.id.0, &there.observed, want).await?;
            return Ok(there.id);
        }
        let ours = DeploymentController::builder().r#type(DeploymentControllerType::Ecs).build();
        let ours = ours.map_err(|_| unexpected("ecs:CreateService", "controller"))?;
        let make = at
            .region
            .ecs
            .create_service()
            .cluster(&want.cluster)
            .service_name(&want.name)
            .deployment_controller(ours)
            .deployment_configuration(deployment())
            .task_definition(&want.idle)
            .desired_count(0)
            .launch_type(LaunchType::Fargate)
            .network_configuration(network(want)?)
            .set_client_token(at.cx.token.map(|token| token.0.to_string()))
            .set_tags(Some(tags))
            // What tasks cost is counted by the stack's tag.
            .propagate_tags(PropagateTags::Service)
            .send();
        let made = at.change("ecs:CreateService", make).await?;
        let arn = made.service.and_then(|service| service.service_arn);
        arn.map(PhysicalId).ok_or_else(|| unexpected("ecs:CreateService", "ARN"))
    }

    async fn change(
        &self,
        at: &Calls<'_>,
        id: &PhysicalId,
        have: &EcsServiceObserved,
        want: &EcsServiceSpec<Known>,
    ) -> Result<()> {
        settle(at, &id.0, have, want).await
    }

    /// Tasks that a killed run left end with it: AWS keeps its name until they have.
    async fn remove(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<()> {
        let Some((cluster, name)) = parts(&id.0) else { return Ok(()) };
        let gone = at.region.ecs.delete_service().cluster(cluster).service(name).force(true).send();
        at.remove("ecs:DeleteService", gone).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_says_cluster_and_name() {
        let arn = "arn:aws:ecs:us-east-1:1:service/shop-default/shop-default-app";
        assert_eq!(parts(arn), Some(("shop-default", "shop-default-app")));
        assert_eq!(parts("arn:aws:ecs:us-east-1:1:service/old"), None);
    }
}
