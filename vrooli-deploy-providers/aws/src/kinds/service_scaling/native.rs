//! What scales a service is found by the service: it is ours when that is. AWS takes whatever is wanted
//! of it over what is there, so it is written as often as it must be. The policy's name says the key.

use aws_sdk_applicationautoscaling::types::{
    MetricType, PolicyType, PredefinedMetricSpecification, ScalableDimension, ScalableTarget, ScalingPolicy,
    ServiceNamespace, SuspendedState, TargetTrackingScalingPolicyConfiguration,
};
use aws_sdk_ecs::types::Service;
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, ErrorKind, Known, PhysicalId, ProviderError, Result};

use super::{ServiceScaling, ServiceScalingObserved, ServiceScalingSpec};
use crate::kinds::ecs_service::native as services;
use crate::native::{Calls, Look, Marks, Native, Seen, together, unexpected};

/// As many services as one call tells of.
const BATCH: usize = 50;
/// What the name of a policy of ours begins with; the key comes after it.
const POLICY: &str = "vrooli:";

pub(crate) const ECS: ServiceNamespace = ServiceNamespace::Ecs;
pub(crate) const COUNT: ScalableDimension = ScalableDimension::EcsServiceDesiredCount;

/// What AWS calls a service here: `service/<cluster>/<name>`.
pub(crate) fn resource(cluster: &str, service: &str) -> String {
    format!("service/{cluster}/{service}")
}

/// Cluster and name.
fn parts(resource: &str) -> Option<(&str, &str)> {
    resource.strip_prefix("service/")?.split_once('/')
}

/// What AWS calls the service, with the region before it.
fn id_of(at: &Calls<'_>, resource: &str) -> PhysicalId {
    PhysicalId(format!("{}/{resource}", at.region.name))
}

fn plain(id: &PhysicalId) -> &str {
    id.0.split_once('/').map_or("", |(_, resource)| resource)
}

/// Targets of these services.
pub(crate) async fn targets(at: &Calls<'_>, resources: &[String]) -> Result<Vec<ScalableTarget>> {
    let mut all = Vec::new();
    for batch in resources.chunks(BATCH) {
        let ask = || async {
            let ask = |next| {
                let ask = at.region.scaling.describe_scalable_targets().service_namespace(ECS);
                let ask = ask.scalable_dimension(COUNT).set_resource_ids(Some(batch.to_vec()));
                ask.set_next_token(next).send()
            };
            let action = "application-autoscaling:DescribeScalableTargets";
            at.pages(action, ask, |page| page.next_token.clone()).await
        };
        let pages = at.once("scalable targets", &batch.join(" "), ask).await?;
        all.extend(pages.into_iter().flat_map(|page| page.scalable_targets.unwrap_or_default()));
    }
    Ok(all)
}

async fn policies(at: &Calls<'_>, resource: &str) -> Result<Vec<ScalingPolicy>> {
    let ask = || async {
        let ask = |next| {
            let ask = at.region.scaling.describe_scaling_policies().service_namespace(ECS);
            ask.scalable_dimension(COUNT).resource_id(resource).set_next_token(next).send()
        };
        let action = "application-autoscaling:DescribeScalingPolicies";
        let pages = at.pages(action, ask, |page| page.next_token.clone()).await?;
        Ok(pages.into_iter().flat_map(|page| page.scaling_policies.unwrap_or_default()).collect())
    };
    at.once("scaling policies", resource, ask).await
}

/// The key that the name of a policy says.
fn key_in(policy: &ScalingPolicy) -> Option<ResourceKey> {
    ResourceKey::new(policy.policy_name().strip_prefix(POLICY)?).ok()
}

/// The use of CPU that a policy aims at; what is no whole number of percent is none of ours.
fn cpu_percent(policy: &ScalingPolicy) -> Option<u32> {
    let aim = policy.target_tracking_scaling_policy_configuration()?;
    let metric = aim.predefined_metric_specification()?.predefined_metric_type();
    (*metric == MetricType::EcsServiceAverageCpuUtilization).then_some(())?;
    aim.target_value().to_string().parse().ok()
}

/// Whose a target is says its policy. A run that was killed before there was one wanted it.
fn key_of(at: &Calls<'_>, policies: &[ScalingPolicy], service: &str) -> Option<ResourceKey> {
    policies.iter().find_map(key_in).or_else(|| {
        let mut wanted = at.account.wanted(&ServiceScaling, Look::Stack);
        wanted.find_map(|(key, spec)| {
            (services::name_of(at, &spec["service"])? == service).then(|| key.clone())
        })
    })
}

/// A target of a service of ours.
async fn seen(at: &Calls<'_>, target: &ScalableTarget) -> Result<Option<Seen<ServiceScalingObserved>>> {
    let Some((cluster, service)) = parts(target.resource_id()) else { return Ok(None) };
    let policies = policies(at, target.resource_id()).await?;
    let Some(key) = key_of(at, &policies, service) else { return Ok(None) };
    let aim = policies.iter().find(|policy| key_in(policy).as_ref() == Some(&key)).and_then(cpu_percent);
    Ok(Some(Seen {
        id: id_of(at, target.resource_id()),
        marks: Marks::new(at.cx, &key, None),
        observed: ServiceScalingObserved {
            region: at.region.name.clone(),
            cluster: cluster.to_owned(),
            service: service.to_owned(),
            min: target.min_capacity().try_into().unwrap_or(0),
            max: target.max_capacity().try_into().unwrap_or(0),
            target_cpu_percent: aim.unwrap_or(0),
        },
    }))
}

/// A service that was made just now may not be known here yet.
fn not_known(error: ProviderError) -> ProviderError {
    if error.code() == Some("ValidationException") && error.message().contains("ECS service doesn't exist") {
        return ProviderError::new(ErrorKind::NotFound, error.message()).with_code("ValidationException");
    }
    error
}

/// A service that is empty stays so until a release comes: that one's fleet lets its scaler go on.
fn suspended() -> SuspendedState {
    let all = SuspendedState::builder().dynamic_scaling_in_suspended(true);
    all.dynamic_scaling_out_suspended(true).scheduled_scaling_suspended(true).build()
}

async fn write(
    at: &Calls<'_>,
    key: &ResourceKey,
    want: &ServiceScalingSpec<Known>,
    suspended: Option<SuspendedState>,
) -> Result<()> {
    let resource = resource(&want.cluster, &want.service);
    let count = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let put = || {
        let put = at.region.scaling.register_scalable_target().service_namespace(ECS);
        let put = put.resource_id(&resource).scalable_dimension(COUNT);
        let put = put.set_suspended_state(suspended.clone());
        put.min_capacity(count(want.min)).max_capacity(count(want.max)).send()
    };
    let register =
        || async { at.put("application-autoscaling:RegisterScalableTarget", put).await.map_err(not_known) };
    at.known(register).await?;
    let what = |_| unexpected("application-autoscaling:PutScalingPolicy", "policy");
    let metric = PredefinedMetricSpecification::builder()
        .predefined_metric_type(MetricType::EcsServiceAverageCpuUtilization)
        .build()
        .map_err(what)?;
    let aim = TargetTrackingScalingPolicyConfiguration::builder()
        .target_value(f64::from(want.target_cpu_percent))
        .predefined_metric_specification(metric)
        .build()
        .map_err(what)?;
    let put = || {
        let put = at.region.scaling.put_scaling_policy().policy_name(format!("{POLICY}{key}"));
        let put = put.service_namespace(ECS).resource_id(&resource).scalable_dimension(COUNT);
        let put = put.policy_type(PolicyType::TargetTrackingScaling);
        put.target_tracking_scaling_policy_configuration(aim.clone()).send()
    };
    at.put("application-autoscaling:PutScalingPolicy", put).await.map(drop)
}

impl Native for ServiceScaling {
    const TOKEN: CreateToken = CreateToken::Name;

    async fn see(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<Option<Seen<ServiceScalingObserved>>> {
        let Some((cluster, service)) = parts(plain(id)) else { return Ok(None) };
        if !services::ours(at, cluster, service).await? {
            return Ok(None);
        }
        match targets(at, &[plain(id).to_owned()]).await?.first() {
            Some(target) => seen(at, target).await,
            None => Ok(None),
        }
    }

    async fn list(&self, at: &Calls<'_>, _: Look<'_>) -> Result<Vec<Seen<ServiceScalingObserved>>> {
        let ours = services::marked(at, Look::Stack).await?.into_iter().filter(|one| one.marks.are_of(at.cx));
        let resources: Vec<String> =
            ours.filter_map(|one| Some(format!("service/{}", one.id.0.split_once(":service/")?.1))).collect();
        let targets = targets(at, &resources).await?;
        let all = together(targets.iter().map(|target| seen(at, target))).await?;
        Ok(all.into_iter().flatten().collect())
    }

    async fn ahead(&self, at: &Calls<'_>, ids: &[PhysicalId]) {
        let resources: Vec<String> = ids.iter().map(|id| plain(id).to_owned()).collect();
        let of = resources.iter().map(|resource| policies(at, resource));
        let _ = tokio::join!(targets(at, &resources), together(of));
    }

    async fn make(
        &self,
        on: &Calls<'_>,
        key: &ResourceKey,
        want: &ServiceScalingSpec<Known>,
    ) -> Result<PhysicalId> {
        let at = on.at(&want.region).await;
        let there = services::one(&at, &want.cluster, &want.service).await?;
        let ours = |one: &Service| services::seen(&at, one).is_some_and(|seen| seen.marks.are_of(at.cx));
        let Some(service) = there.filter(ours) else {
            let words =
                format!("service `{}` of cluster `{}` is not this stack's", want.service, want.cluster);
            return Err(ProviderError::new(ErrorKind::Unsupported, words));
        };
        let resource = resource(&want.cluster, &want.service);
        let empty =
            service.desired_count() == 0 && targets(&at, std::slice::from_ref(&resource)).await?.is_empty();
        write(&at, key, want, empty.then(suspended)).await?;
        Ok(id_of(&at, &resource))
    }

    async fn change(
        &self,
        at: &Calls<'_>,
        id: &PhysicalId,
        _: &ServiceScalingObserved,
        want: &ServiceScalingSpec<Known>,
    ) -> Result<()> {
        let Some(there) = self.see(at, id).await? else {
            return Err(unexpected("application-autoscaling:DescribeScalableTargets", "target"));
        };
        write(at, &there.marks.key, want, None).await
    }

    /// What is gone already is not asked for, however often this is made.
    async fn remove(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<()> {
        let resource = plain(id);
        for policy in policies(at, resource).await?.iter().filter(|policy| key_in(policy).is_some()) {
            let gone = at.region.scaling.delete_scaling_policy().policy_name(policy.policy_name());
            let gone = gone.service_namespace(ECS).resource_id(resource).scalable_dimension(COUNT).send();
            at.remove("application-autoscaling:DeleteScalingPolicy", gone).await?;
        }
        if targets(at, &[resource.to_owned()]).await?.is_empty() {
            return Ok(());
        }
        let gone = at.region.scaling.deregister_scalable_target().service_namespace(ECS);
        let gone = gone.resource_id(resource).scalable_dimension(COUNT).send();
        at.remove("application-autoscaling:DeregisterScalableTarget", gone).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(name: &str, aim: f64) -> ScalingPolicy {
        let metric = PredefinedMetricSpecification::builder()
            .predefined_metric_type(MetricType::EcsServiceAverageCpuUtilization)
            .build()
            .unwrap();
        let aim = TargetTrackingScalingPolicyConfiguration::builder()
            .target_value(aim)
            .predefined_metric_specification(metric)
            .build()
            .unwrap();
        ScalingPolicy::builder()
            .policy_arn("arn")
            .policy_name(name)
            .service_namespace(ECS)
            .resource_id("service/c/s")
            .scalable_dimension(COUNT)
            .policy_type(PolicyType::TargetTrackingScaling)
            .target_tracking_scaling_policy_configuration(aim)
            .creation_time(aws_smithy_types::DateTime::from_secs(0))
            .build()
            .unwrap()
    }

    #[test]
    fn a_policy_says_whose_it_is_and_what_it_aims_at() {
        let ours = policy("vrooli:compute/app/scaling", 70.0);
        assert_eq!(key_in(&ours).unwrap().as_str(), "compute/app/scaling");
        assert_eq!(cpu_percent(&ours), Some(70));
        assert_eq!(key_in(&policy("somebody's", 70.0)), None);
        assert_eq!(cpu_percent(&policy("vrooli:a", 70.5)), None, "changed by hand: it differs");
    }

    #[test]
    fn a_service_is_found_in_an_id() {
        let id = PhysicalId("us-east-1/service/shop/shop-app".to_owned());
        assert_eq!(parts(plain(&id)), Some(("shop", "shop-app")));
    }
}
