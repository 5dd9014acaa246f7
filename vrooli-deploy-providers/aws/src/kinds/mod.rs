//! The kinds of resources that AWS has for an app, pure halves: one file each.

pub mod alarm;
pub mod auto_scaling_group;
pub mod bucket;
pub mod budget;
pub mod cache;
pub mod cache_subnet_group;
pub mod certificate;
pub mod dashboard;
pub mod db_instance;
pub mod db_parameter_group;
pub mod db_subnet_group;
pub mod distribution;
pub mod dns_record;
pub mod ecr_repository;
pub mod ecs_cluster;
pub mod ecs_service;
pub mod elastic_ip;
pub mod hosted_zone;
pub mod iam_role;
pub mod instance;
pub mod internet_gateway;
pub mod kms_key;
pub mod launch_template;
pub mod listener;
pub mod listener_rule;
pub mod load_balancer;
pub mod log_group;
pub mod nat_gateway;
pub mod route_table;
pub mod secret;
pub mod security_group;
pub mod service_scaling;
mod slots;
pub mod snapshot_policy;
pub mod subnet;
pub mod target_group;
pub mod task_definition;
pub mod volume;
pub mod vpc;

pub(crate) use slots::{COLOURS, place};
#[cfg(test)]
use vrooli_deploy_core::provider::pure;
pub(crate) use vrooli_deploy_core::provider::pure::{
    Actions, id_differs, ids_differ, kind_name, outputs, version_change,
};
use vrooli_deploy_core::provider::{AnyKind, PhysicalId};

/// The id of EC2 itself: a physical id has the region before it (`us-east-1/vpc-0a1b`), because without
/// it nobody knows where to look.
fn plain_id<'a>(id: &'a PhysicalId, region: &str) -> &'a str {
    let plain = id.0.strip_prefix(region).and_then(|rest| rest.strip_prefix('/'));
    plain.unwrap_or(&id.0)
}

/// Every kind of this provider.
#[must_use]
pub fn all() -> Vec<&'static dyn AnyKind> {
    vec![
        &alarm::Alarm,
        &auto_scaling_group::AutoScalingGroup,
        &bucket::Bucket,
        &budget::Budget,
        &cache::Cache,
        &cache_subnet_group::CacheSubnetGroup,
        &certificate::Certificate,
        &dashboard::Dashboard,
        &db_instance::DbInstance,
        &db_parameter_group::DbParameterGroup,
        &db_subnet_group::DbSubnetGroup,
        &distribution::Distribution,
        &dns_record::DnsRecord,
        &ecr_repository::EcrRepository,
        &ecs_cluster::EcsCluster,
        &ecs_service::EcsService,
        &elastic_ip::ElasticIp,
        &hosted_zone::HostedZone,
        &iam_role::IamRole,
        &instance::Instance,
        &internet_gateway::InternetGateway,
        &kms_key::KmsKey,
        &launch_template::LaunchTemplate,
        &listener::Listener,
        &listener_rule::ListenerRule,
        &load_balancer::LoadBalancer,
        &log_group::LogGroup,
        &nat_gateway::NatGateway,
        &route_table::RouteTable,
        &secret::Secret,
        &security_group::SecurityGroup,
        &service_scaling::ServiceScaling,
        &snapshot_policy::SnapshotPolicy,
        &subnet::Subnet,
        &target_group::TargetGroup,
        &task_definition::TaskDefinition,
        &volume::Volume,
        &vpc::Vpc,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_valid_and_different_and_schemas_are_closed() {
        pure::check_all("aws", &all()).unwrap();
    }
}
