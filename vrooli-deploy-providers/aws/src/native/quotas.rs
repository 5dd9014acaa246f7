//! How much of each kind an account may have and has, whoever made it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_cloudwatch::types::{Dimension, Statistic};
use aws_sdk_ec2::types::NatGatewayState as State;
use aws_sdk_elasticloadbalancingv2::types::LoadBalancerTypeEnum;
use aws_sdk_servicequotas::types::{MetricInfo, ServiceQuota};
use aws_smithy_types::DateTime;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use vrooli_deploy_core::provider::{
    Added, ErrorKind, OpCtx, ProviderError, QuotaReading, QuotaSeen, Quotas, Result,
};

use super::{Account, Calls, together, unexpected};
use crate::catalogue::catalogue;
use crate::quotas::{Need, Quota, Scope, needs, quotas};

/// Service Quotas takes few questions a second: so often it is asked again.
const REPEATS: u32 = 4;
/// The pause before the first repetition; twice as long before each further one.
const PAUSE: Duration = Duration::from_millis(250);
/// As many objects on a page as EC2 gives.
const PAGE: i32 = 1000;
/// The figures of a minute are one.
const PERIOD: i32 = 60;
/// AWS tells use once a minute, some minutes late: what was told last in this time holds.
const RECENT: Duration = Duration::from_secs(1800);

/// The limits of an account.
#[derive(Debug)]
pub(super) struct AwsQuotas(pub(super) Arc<Account>);

/// What is added in one region, by zone.
type Zones = BTreeMap<Option<String>, Need>;
/// What is in use in one region, by zone.
type Used = BTreeMap<Option<String>, f64>;

#[async_trait]
impl Quotas for AwsQuotas {
    async fn readings(&self, cx: &OpCtx, added: &[Added<'_>]) -> Result<Vec<QuotaReading>> {
        let home = &catalogue().regions.default;
        let mut asked: BTreeMap<(usize, String), Zones> = BTreeMap::new();
        for (at, places) in needs(added, |key| self.0.spec(key), home) {
            for ((region, zone), need) in places {
                asked.entry((at, region)).or_default().insert(zone, need);
            }
        }
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let on = Calls::new(&self.0, cx).await;
        let all = asked.into_iter().map(|((at, region), zones)| {
            let on = &on;
            async move {
                let at_region = on.at(&region).await;
                read(&at_region, &quotas().quotas[at], zones).await
            }
        });
        Ok(together(all).await?.into_iter().flatten().collect())
    }
}

/// A limit in one region. What cannot be asked is said.
async fn read(at: &Calls<'_>, quota: &Quota, zones: Zones) -> Result<Vec<QuotaReading>> {
    let known = async {
        // What AWS measures itself is named with the limit; all else is counted meanwhile.
        let (limit, counted) = if quota.is_measured() {
            (limit(at, quota).await?, None)
        } else {
            let (limit, used) =
                tokio::join!(Box::pin(limit(at, quota)), Box::pin(patient(at, || in_use(at, quota, None))));
            (limit?, Some(used))
        };
        let value = limit.value.ok_or_else(|| {
            let why = limit.error_reason().and_then(|reason| reason.error_message());
            let message = format!("servicequotas:GetServiceQuota: {}", why.unwrap_or("it has no value"));
            ProviderError::new(ErrorKind::Unavailable, message)
        })?;
        let used = match counted {
            Some(used) => used?,
            None => patient(at, || in_use(at, quota, limit.usage_metric())).await?,
        };
        Ok::<_, ProviderError>((value, limit.adjustable, used))
    };
    let known = match known.await {
        Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
        Err(error) => Err(error.to_string()),
        Ok(known) => Ok(known),
    };
    let reading = |(zone, need): (Option<String>, Need)| {
        let why = |why: &str| QuotaSeen::Unknown { why: why.to_owned(), usual: Some(quota.default) };
        let (seen, adjustable) = match &known {
            Err(error) => (why(error), true),
            Ok(_) if quota.per == Scope::Zone && zone.is_none() => {
                (why("the zone of its subnet is not known"), true)
            }
            Ok((limit, adjustable, used)) => {
                let in_use = used.get(&zone).copied().unwrap_or_default();
                (QuotaSeen::Known { limit: *limit, in_use }, *adjustable)
            }
        };
        let place = match quota.per {
            Scope::Account => None,
            Scope::Region | Scope::Zone => Some(zone.unwrap_or_else(|| at.region.name.clone())),
        };
        let raise = raise(quota, &at.region.name, &seen, need.amount, adjustable);
        QuotaReading { name: quota.name.clone(), place, needed: need.amount, keys: need.keys, seen, raise }
    };
    Ok(zones.into_iter().map(reading).collect())
}

/// How there may be more of it.
fn raise(quota: &Quota, region: &str, seen: &QuotaSeen, needed: f64, adjustable: bool) -> String {
    let QuotaSeen::Known { in_use, .. } = seen else { return String::new() };
    if !adjustable {
        return format!("delete what is not used: AWS does not raise \"{}\"", quota.name);
    }
    format!(
        "delete what is not used, or ask for more and wait until AWS grants it: aws service-quotas \
         request-service-quota-increase --service-code {} --quota-code {} --desired-value {} --region {region}",
        quota.service,
        quota.code,
        (in_use + needed).ceil()
    )
}

/// Asks again what was asked too often.
async fn patient<T, F>(at: &Calls<'_>, ask: impl Fn() -> F + Send + Sync) -> Result<T>
where
    F: Future<Output = Result<T>> + Send,
    T: Send,
{
    let mut tries = 0;
    loop {
        match ask().await {
            Err(error) if error.kind() == ErrorKind::RateLimited && tries < REPEATS => {
                at.wait(PAUSE.saturating_mul(1 << tries)).await.map_err(|_| error)?;
                tries += 1;
            }
            done => return done,
        }
    }
}

/// What the account has; AWS's default where that was never changed.
async fn limit(at: &Calls<'_>, quota: &Quota) -> Result<ServiceQuota> {
    let applied = || async {
        let ask = at.region.quotas.get_service_quota();
        let ask = ask.service_code(&quota.service).quota_code(&quota.code).send();
        at.find("servicequotas:GetServiceQuota", ask).await
    };
    if let Some(limit) = patient(at, applied).await?.and_then(|answer| answer.quota) {
        return Ok(limit);
    }
    let action = "servicequotas:GetAWSDefaultServiceQuota";
    let default = || async {
        let ask = at.region.quotas.get_aws_default_service_quota();
        at.find(action, ask.service_code(&quota.service).quota_code(&quota.code).send()).await
    };
    let limit = patient(at, default).await?.and_then(|answer| answer.quota);
    limit.ok_or_else(|| {
        let message = format!("{action}: AWS knows no quota {}/{}", quota.service, quota.code);
        ProviderError::new(ErrorKind::NotFound, message)
    })
}

fn sum<T>(pages: Vec<T>, of: impl Fn(&T) -> usize) -> Used {
    count(pages.iter().map(of).sum())
}

fn count(objects: usize) -> Used {
    BTreeMap::from([(None, objects as f64)])
}

/// How much there is, by the calls that the catalogue names. Each by itself on the heap: one function of all
/// would hold the calls of all on the stack.
fn in_use<'s>(
    at: &'s Calls<'_>,
    quota: &'s Quota,
    metric: Option<&'s MetricInfo>,
) -> BoxFuture<'s, Result<Used>> {
    match quota.kinds.first().map_or("", String::as_str) {
        "aws.vpc" => Box::pin(async move {
            let ask = |next| at.region.ec2.describe_vpcs().max_results(PAGE).set_next_token(next).send();
            let pages = at.pages("ec2:DescribeVpcs", ask, |page| page.next_token.clone()).await?;
            Ok(sum(pages, |page| page.vpcs().len()))
        }),
        "aws.internet-gateway" => Box::pin(async move {
            let ask = |next| {
                at.region.ec2.describe_internet_gateways().max_results(PAGE).set_next_token(next).send()
            };
            let pages = at.pages("ec2:DescribeInternetGateways", ask, |page| page.next_token.clone()).await?;
            Ok(sum(pages, |page| page.internet_gateways().len()))
        }),
        "aws.elastic-ip" => Box::pin(async move {
            let said = at.read("ec2:DescribeAddresses", at.region.ec2.describe_addresses().send()).await?;
            // Those of AWS's own load balancers and gateways are listed, and do not count.
            let counts = said.addresses().iter().filter(|one| one.service_managed().is_none());
            Ok(count(counts.count()))
        }),
        "aws.nat-gateway" => Box::pin(nat_gateways(at)),
        "aws.security-group" => Box::pin(async move {
            let ask =
                |next| at.region.ec2.describe_security_groups().max_results(PAGE).set_next_token(next).send();
            let pages = at.pages("ec2:DescribeSecurityGroups", ask, |page| page.next_token.clone()).await?;
            Ok(sum(pages, |page| page.security_groups().len()))
        }),
        "aws.load-balancer" => Box::pin(async move {
            let ask = |next| at.region.balancing.describe_load_balancers().set_marker(next).send();
            let action = "elasticloadbalancing:DescribeLoadBalancers";
            let pages = at.pages(action, ask, |page| page.next_marker.clone()).await?;
            let kind = LoadBalancerTypeEnum::Application;
            Ok(sum(pages, |page| {
                page.load_balancers().iter().filter(|one| one.r#type() == Some(&kind)).count()
            }))
        }),
        "aws.target-group" => Box::pin(async move {
            let ask = |next| at.region.balancing.describe_target_groups().set_marker(next).send();
            let action = "elasticloadbalancing:DescribeTargetGroups";
            let pages = at.pages(action, ask, |page| page.next_marker.clone()).await?;
            Ok(sum(pages, |page| page.target_groups().len()))
        }),
        "aws.db-instance" => Box::pin(async move {
            let ask = |next| at.region.rds.describe_db_instances().set_marker(next).send();
            let pages = at.pages("rds:DescribeDBInstances", ask, |page| page.marker.clone()).await?;
            Ok(sum(pages, |page| page.db_instances().iter().filter(|one| is_of_rds(one.engine())).count()))
        }),
        "aws.db-subnet-group" => Box::pin(async move {
            let ask = |next| at.region.rds.describe_db_subnet_groups().set_marker(next).send();
            let pages = at.pages("rds:DescribeDBSubnetGroups", ask, |page| page.marker.clone()).await?;
            Ok(sum(pages, |page| page.db_subnet_groups().len()))
        }),
        "aws.db-parameter-group" => Box::pin(async move {
            let ask = |next| at.region.rds.describe_db_parameter_groups().set_marker(next).send();
            let pages = at.pages("rds:DescribeDBParameterGroups", ask, |page| page.marker.clone()).await?;
            // Those that AWS makes by itself do not count.
            let counts = |name: Option<&str>| name.is_some_and(|name| !name.starts_with("default."));
            Ok(sum(pages, |page| {
                let groups = page.db_parameter_groups().iter();
                groups.filter(|one| counts(one.db_parameter_group_name())).count()
            }))
        }),
        "aws.ecs-cluster" => Box::pin(clusters(at)),
        "aws.ecs-service" | "aws.auto-scaling-group" => Box::pin(told(at, metric)),
        "aws.bucket" => Box::pin(async move {
            let ask = |next| at.region.s3.list_buckets().set_continuation_token(next).send();
            let pages = at.pages("s3:ListAllMyBuckets", ask, |page| page.continuation_token.clone()).await?;
            Ok(sum(pages, |page| page.buckets().len()))
        }),
        "aws.distribution" => Box::pin(async move {
            let ask = |next| at.region.cloudfront.list_distributions().set_marker(next).send();
            let pages = at.pages("cloudfront:ListDistributions", ask, |page| {
                let list = page.distribution_list()?;
                list.next_marker().filter(|_| list.is_truncated()).map(str::to_owned)
            });
            Ok(sum(pages.await?, |page| page.distribution_list().map_or(0, |list| list.items().len())))
        }),
        "aws.hosted-zone" => Box::pin(async move {
            let ask = at.region.route53.get_hosted_zone_count().send();
            let said = at.read("route53:GetHostedZoneCount", ask).await?;
            Ok(BTreeMap::from([(None, said.hosted_zone_count() as f64)]))
        }),
        "aws.iam-role" => Box::pin(async move {
            let said = at.read("iam:GetAccountSummary", at.region.iam.get_account_summary().send()).await?;
            let roles = said.summary_map().and_then(|all| {
                all.iter().find_map(|(name, value)| (name.as_str() == "Roles").then_some(*value))
            });
            let roles = roles.ok_or_else(|| unexpected("iam:GetAccountSummary", "number of roles"))?;
            Ok(BTreeMap::from([(None, f64::from(roles))]))
        }),
        kind => Box::pin(async move {
            let message = format!("what there is of `{kind}` is not counted");
            Err(ProviderError::new(ErrorKind::Unsupported, message))
        }),
    }
}

/// Servers of Neptune and DocumentDB are listed with those of RDS, and have limits of their own.
fn is_of_rds(engine: Option<&str>) -> bool {
    !matches!(engine, Some("docdb" | "neptune"))
}

/// Clusters that are deleted are listed for a while, as inactive.
async fn clusters(at: &Calls<'_>) -> Result<Used> {
    let ask = |next| at.region.ecs.list_clusters().set_next_token(next).send();
    let pages = at.pages("ecs:ListClusters", ask, |page| page.next_token.clone()).await?;
    let described = pages.into_iter().filter_map(|page| page.cluster_arns).filter(|arns| !arns.is_empty());
    let described = described.map(|arns| async {
        // A page holds as many as may be asked for at once.
        let ask = at.region.ecs.describe_clusters().set_clusters(Some(arns)).send();
        at.read("ecs:DescribeClusters", ask).await
    });
    let is_there = |one: &&aws_sdk_ecs::types::Cluster| one.status() != Some("INACTIVE");
    Ok(sum(together(described).await?, |page| page.clusters().iter().filter(is_there).count()))
}

/// Those that come, are there or go, by the zone of their subnet.
async fn nat_gateways(at: &Calls<'_>) -> Result<Used> {
    let ask = |next| at.region.ec2.describe_nat_gateways().max_results(PAGE).set_next_token(next).send();
    let pages = at.pages("ec2:DescribeNatGateways", ask, |page| page.next_token.clone()).await?;
    let all = pages.into_iter().flat_map(|page| page.nat_gateways.unwrap_or_default());
    let counts = [State::Pending, State::Available, State::Deleting];
    let there = all.filter(|one| one.state().is_some_and(|state| counts.contains(state)));
    let subnets: Vec<String> = there.filter_map(|one| one.subnet_id).collect();
    if subnets.is_empty() {
        return Ok(Used::new());
    }
    let ask = |next| at.region.ec2.describe_subnets().max_results(PAGE).set_next_token(next).send();
    let pages = at.pages("ec2:DescribeSubnets", ask, |page| page.next_token.clone()).await?;
    let zones: BTreeMap<String, String> = pages
        .into_iter()
        .flat_map(|page| page.subnets.unwrap_or_default())
        .filter_map(|one| Some((one.subnet_id?, one.availability_zone?)))
        .collect();
    let mut used = Used::new();
    for subnet in subnets {
        *used.entry(zones.get(&subnet).cloned()).or_default() += 1.0;
    }
    Ok(used)
}

/// What AWS measures itself of a limit's use. Where nothing is in use it tells nothing.
async fn told(at: &Calls<'_>, metric: Option<&MetricInfo>) -> Result<Used> {
    let metric = metric.ok_or_else(|| unexpected("servicequotas:GetServiceQuota", "metric of its use"))?;
    let dimension = |(name, value): (&String, &String)| Dimension::builder().name(name).value(value).build();
    let dimensions = metric.metric_dimensions().into_iter().flatten().map(dimension).collect();
    let now = Timestamp::now().as_second();
    let since = now.saturating_sub_unsigned(RECENT.as_secs());
    let ask = at.region.cloudwatch.get_metric_statistics();
    let ask = ask
        .set_namespace(metric.metric_namespace().map(str::to_owned))
        .set_metric_name(metric.metric_name().map(str::to_owned))
        .set_dimensions(Some(dimensions))
        .statistics(Statistic::Maximum)
        .period(PERIOD)
        .start_time(DateTime::from_secs(since))
        // What was told in this very second, too.
        .end_time(DateTime::from_secs(now.saturating_add(PERIOD.into())));
    let said = at.read("cloudwatch:GetMetricStatistics", ask.send()).await?;
    let last = said.datapoints().iter().max_by_key(|point| point.timestamp().map(DateTime::secs));
    let used = last.and_then(|point| point.maximum()).unwrap_or_default();
    Ok(BTreeMap::from([(None, used)]))
}
