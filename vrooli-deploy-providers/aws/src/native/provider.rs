use std::sync::Arc;

use vrooli_deploy_core::provider::pure::provider_name;
use vrooli_deploy_core::provider::{Provider, ProviderSet};

use super::census::AwsCensus;
use super::ledger::AwsLedger;
use super::quotas::AwsQuotas;
use super::{Account, OnAws, fleet};
use crate::kinds;

/// The provider that works with an account.
#[must_use]
pub fn provider(account: &Arc<Account>) -> Arc<dyn Provider> {
    let ledger =
        AwsLedger { account: Arc::clone(account), releases: fleet::kept(account), kinds: kinds_on(account) };
    let census = AwsCensus(Arc::clone(account));
    let set = kinds_on(account).with_ledger(Arc::new(ledger)).with_census(Arc::new(census));
    let set = set.with_quotas(Arc::new(AwsQuotas(Arc::clone(account))));
    match fleet::of(account) {
        Ok(Some(fleet)) => Arc::new(set.with_fleet(fleet)),
        Ok(None) => Arc::new(set),
        Err(why) => Arc::new(set.without_fleet(why)),
    }
}

/// All kinds that are made.
fn kinds_on(account: &Arc<Account>) -> ProviderSet {
    ProviderSet::new(provider_name("aws"))
        .with_planned(kinds::all())
        .with(OnAws(kinds::alarm::Alarm), account)
        .with(OnAws(kinds::auto_scaling_group::AutoScalingGroup), account)
        .with(OnAws(kinds::bucket::Bucket), account)
        .with(OnAws(kinds::budget::Budget), account)
        .with(OnAws(kinds::cache::Cache), account)
        .with(OnAws(kinds::cache_subnet_group::CacheSubnetGroup), account)
        .with(OnAws(kinds::certificate::Certificate), account)
        .with(OnAws(kinds::dashboard::Dashboard), account)
        .with(OnAws(kinds::db_instance::DbInstance), account)
        .with(OnAws(kinds::db_parameter_group::DbParameterGroup), account)
        .with(OnAws(kinds::db_subnet_group::DbSubnetGroup), account)
        .with(OnAws(kinds::distribution::Distribution), account)
        .with(OnAws(kinds::dns_record::DnsRecord), account)
        .with(OnAws(kinds::ecr_repository::EcrRepository), account)
        .with(OnAws(kinds::ecs_cluster::EcsCluster), account)
        .with(OnAws(kinds::ecs_service::EcsService), account)
        .with(OnAws(kinds::elastic_ip::ElasticIp), account)
        .with(OnAws(kinds::hosted_zone::HostedZone), account)
        .with(OnAws(kinds::iam_role::IamRole), account)
        .with(OnAws(kinds::instance::Instance), account)
        .with(OnAws(kinds::internet_gateway::InternetGateway), account)
        .with(OnAws(kinds::kms_key::KmsKey), account)
        .with(OnAws(kinds::launch_template::LaunchTemplate), account)
        .with(OnAws(kinds::listener::Listener), account)
        .with(OnAws(kinds::listener_rule::ListenerRule), account)
        .with(OnAws(kinds::load_balancer::LoadBalancer), account)
        .with(OnAws(kinds::log_group::LogGroup), account)
        .with(OnAws(kinds::nat_gateway::NatGateway), account)
        .with(OnAws(kinds::route_table::RouteTable), account)
        .with(OnAws(kinds::secret::Secret), account)
        .with(OnAws(kinds::security_group::SecurityGroup), account)
        .with(OnAws(kinds::service_scaling::ServiceScaling), account)
        .with(OnAws(kinds::subnet::Subnet), account)
        .with(OnAws(kinds::target_group::TargetGroup), account)
        .with(OnAws(kinds::task_definition::TaskDefinition), account)
        .with(OnAws(kinds::volume::Volume), account)
        .with(OnAws(kinds::vpc::Vpc), account)
}
