//! Every field that changes in place does, alone, and nothing differs afterwards.

use std::sync::Arc;

use libtest_mimic::Failed;
use serde_json::{Value, json};
use vrooli_deploy_core::provider::Change;

use crate::fixture::AwsFixture;
use crate::rig::network;

/// Kind, and fields with another value. Those that go together stand together. `id` is EC2's of what was
/// made of a kind.
fn fields(id: impl Fn(&str) -> String) -> Vec<(&'static str, Vec<Value>)> {
    let network = network();
    let rule = |protocol: &str, port: u16, source: &str, who: &str| json!({ "protocol": protocol, "from_port": port, "to_port": port, source: who });
    let (web, name) = (rule("tcp", 443, "cidr", "0.0.0.0/0"), rule("udp", 53, "cidr", "::/0"));
    let one = rule("tcp", 8080, "group", &network.security_groups[0]);
    let own = rule("tcp", 8080, "group", &id("aws.security-group"));
    vec![
        ("aws.vpc", vec![json!({ "dns_names": false }), json!({ "dns_names": true })]),
        ("aws.subnet", vec![json!({ "public": false }), json!({ "public": true })]),
        (
            "aws.route-table",
            vec![
                json!({ "internet_gateway": null, "nat_gateway": id("aws.nat-gateway") }),
                json!({ "nat_gateway": null, "internet_gateway": id("aws.internet-gateway") }),
                json!({ "internet_gateway": null }),
                json!({ "nat_gateway": id("aws.nat-gateway") }),
                json!({ "subnets": [] }),
                json!({ "subnets": [id("aws.subnet")] }),
            ],
        ),
        (
            "aws.security-group",
            vec![
                json!({ "ingress": [web] }),
                json!({ "ingress": [one, web, name] }),
                json!({ "ingress": [own, name] }),
                json!({ "ingress": [] }),
                json!({ "ingress": [web] }),
            ],
        ),
        (
            "aws.volume",
            vec![
                json!({ "size_gib": 11 }),
                json!({ "instance": network.machines[0] }),
                json!({ "instance": null }),
                json!({ "instance": network.machines[1] }),
                json!({ "instance": id("aws.instance") }),
            ],
        ),
        (
            "aws.launch-template",
            vec![
                json!({ "instance_type": "t3.medium" }),
                json!({ "image": "/aws/service/debian/release/12/latest/amd64" }),
                json!({ "security_groups": network.security_groups }),
                json!({ "security_groups": [] }),
                json!({ "profile": network.profiles[1] }),
                json!({ "profile": null }),
                json!({ "disk_gib": 30 }),
                json!({ "disk_gib": 8 }),
                json!({ "public_address": true }),
                json!({ "public_address": false }),
            ],
        ),
        (
            "aws.auto-scaling-group",
            vec![
                json!({ "subnets": network.subnets }),
                json!({ "subnets": network.subnets[1..] }),
                json!({ "max": 5 }),
            ],
        ),
        (
            "aws.instance",
            vec![
                json!({ "instance_type": "t3.medium" }),
                json!({ "security_groups": network.security_groups }),
                json!({ "security_groups": network.security_groups[1..] }),
                json!({ "profile": network.profiles[1] }),
                json!({ "profile": null }),
                json!({ "profile": network.profiles[0] }),
                json!({ "disk_gib": 30 }),
                json!({ "elastic_ip": null }),
                json!({ "elastic_ip": id("aws.elastic-ip") }),
            ],
        ),
        ("aws.log-group", vec![json!({ "days": 7 }), json!({ "days": 365 })]),
        (
            "aws.kms-key",
            vec![
                json!({ "name": "conformance-default-other" }),
                json!({ "description": "other words" }),
                json!({ "recovery_days": 14 }),
            ],
        ),
        (
            "aws.budget",
            vec![
                json!({ "monthly_usd": "99.95" }),
                json!({ "stack": "another/default" }),
                json!({ "notify": ["a@example.com"] }),
                json!({ "notify": ["b@example.com", "c@example.com", "d@example.com"] }),
                json!({ "alerts": [{ "on": "forecast", "percent": 100 }] }),
                json!({ "notify": ["d@example.com"] }),
                json!({ "alerts": [{ "on": "actual", "percent": 50 }, { "on": "actual", "percent": 120 }] }),
            ],
        ),
        (
            "aws.secret",
            vec![
                json!({ "description": "other words" }),
                json!({ "recovery_days": 14 }),
                json!({ "kms_key": network.key }),
            ],
        ),
        (
            "aws.iam-role",
            vec![
                json!({ "service": "ec2.amazonaws.com" }),
                json!({ "instance_profile": true }),
                json!({ "policies": [] }),
                json!({ "policies": [
                    "arn:aws:iam::aws:policy/ReadOnlyAccess",
                    "arn:aws:iam::aws:policy/CloudWatchAgentServerPolicy"
                ] }),
                json!({ "statements": [] }),
                json!({ "statements": [
                    { "actions": ["s3:*"], "resources": ["*"] },
                    { "actions": ["sqs:SendMessage"], "resources": ["arn:aws:sqs:us-east-1:1:q"] }
                ] }),
            ],
        ),
        (
            "aws.ecr-repository",
            vec![json!({ "immutable_tags": false }), json!({ "scan": false }), json!({ "keep": 3 })],
        ),
        ("aws.ecs-cluster", vec![json!({ "insights": true })]),
        (
            "aws.ecs-service",
            vec![
                json!({ "subnets": network.subnets }),
                json!({ "subnets": network.subnets[1..] }),
                json!({ "security_groups": network.security_groups }),
                json!({ "security_groups": [] }),
                json!({ "public_address": false }),
            ],
        ),
        (
            "aws.service-scaling",
            vec![json!({ "min": 2 }), json!({ "max": 8 }), json!({ "target_cpu_percent": 50 })],
        ),
        (
            "aws.bucket",
            vec![
                json!({ "versioning": false }),
                json!({ "expire_days": 5 }),
                json!({ "expire_days": null }),
                json!({ "expire_days": 6 }),
                json!({ "kms_key": network.key }),
            ],
        ),
        (
            "aws.dns-record",
            vec![
                json!({ "alias": "b-2.us-east-1.elb.amazonaws.com" }),
                json!({ "alias_zone": "Z1H1FL5HABSF5" }),
                json!({ "alias": null, "alias_zone": null, "values": ["192.0.2.7"], "ttl_seconds": 60 }),
                json!({ "values": ["192.0.2.8", "192.0.2.9"] }),
                json!({ "ttl_seconds": 300 }),
            ],
        ),
        (
            "aws.dashboard",
            vec![
                json!({ "region": "eu-west-1" }),
                json!({ "graphs": [{ "title": "Requests", "lines": [{
                    "label": "requests", "namespace": "AWS/ApplicationELB", "metric": "RequestCount",
                    "statistic": "Sum", "dimensions": { "LoadBalancer": "app/b/2" }
                }] }] }),
                json!({ "graphs": [] }),
            ],
        ),
        (
            "aws.alarm",
            vec![
                json!({ "namespace": "AWS/ECS" }),
                json!({ "metric": "MemoryUtilization" }),
                json!({ "threshold": "12.5" }),
                json!({ "minutes": 1 }),
                json!({ "subject": "db-2" }),
                json!({ "dimension": "ClusterName" }),
                json!({ "dimension": "ServiceName", "cluster": "shop" }),
                json!({ "cluster": "another" }),
                json!({ "cluster": null }),
                json!({ "statistic": "Sum" }),
            ],
        ),
        (
            "aws.db-parameter-group",
            vec![
                json!({ "parameters": { "rds.force_ssl": "0" } }),
                json!({ "parameters": { "rds.force_ssl": "0", "log_connections": "1" } }),
            ],
        ),
        (
            "aws.db-instance",
            vec![
                json!({ "version": "16.9" }),
                json!({ "class": "db.t4g.small" }),
                json!({ "storage_gib": 40 }),
                json!({ "multi_az": true }),
                json!({ "backup_days": 0 }),
                json!({ "backup_days": 14 }),
                json!({ "deletion_protection": true }),
                json!({ "deletion_protection": false }),
                json!({ "parameter_group": network.elsewhere }),
                json!({ "security_groups": network.security_groups }),
                json!({ "security_groups": network.security_groups[1..] }),
            ],
        ),
        (
            "aws.cache-subnet-group",
            vec![
                json!({ "subnets": network.subnets }),
                // One that no node stands in.
                json!({ "subnets": [network.subnets[0], network.subnets[2]] }),
            ],
        ),
        (
            "aws.cache",
            vec![
                json!({ "version": "7.1" }),
                json!({ "node_type": "cache.t4g.small" }),
                json!({ "nodes": 2 }),
                json!({ "nodes": 4 }),
                json!({ "nodes": 3 }),
                json!({ "nodes": 1 }),
                json!({ "security_groups": network.security_groups }),
                json!({ "security_groups": network.security_groups[1..] }),
                json!({ "engine": "valkey", "version": "8.0" }),
                json!({ "version": "8.1" }),
            ],
        ),
        (
            "aws.distribution",
            vec![
                json!({ "aliases": ["a.conformance.example.com", "b.conformance.example.com"] }),
                json!({ "certificate": network.certificates[1] }),
                json!({ "origin": "b.example.com" }),
                json!({ "price_class": "PriceClass_200" }),
                json!({ "aliases": [] }),
                json!({ "certificate": null }),
            ],
        ),
        (
            "aws.load-balancer",
            vec![
                json!({ "subnets": network.subnets }),
                json!({ "subnets": network.subnets[1..] }),
                json!({ "security_groups": network.security_groups[1..] }),
                json!({ "security_groups": network.security_groups }),
                json!({ "idle_timeout_seconds": 300 }),
                json!({ "deletion_protection": true }),
                json!({ "deletion_protection": false }),
            ],
        ),
        (
            "aws.listener",
            vec![
                json!({ "port": 8443 }),
                json!({ "certificate": network.certificates[1] }),
                json!({ "target_groups": [] }),
                json!({ "target_groups": [network.target_group] }),
                json!({ "protocol": "HTTP", "certificate": null }),
                json!({ "redirect_to_https": true, "target_groups": [] }),
                json!({ "redirect_to_https": false }),
            ],
        ),
        (
            "aws.listener-rule",
            vec![
                json!({ "priority": 5 }),
                json!({ "paths": ["/v2/*"] }),
                json!({ "hosts": ["app.example.com", "*.example.com"] }),
                json!({ "paths": [] }),
                json!({ "target_groups": [] }),
                json!({ "target_groups": [network.target_group] }),
            ],
        ),
        (
            "aws.target-group",
            vec![
                json!({ "health_path": "/ready" }),
                json!({ "interval_seconds": 5 }),
                json!({ "interval_seconds": 60 }),
                json!({ "drain_seconds": 0 }),
            ],
        ),
    ]
}

pub(crate) async fn all_change(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let made = place.make_all().await.map_err(|error| error.to_string())?;
    let id = |kind: &str| {
        let (_, id, _) = made.iter().find(|(sample, ..)| sample.kind.as_str() == kind).unwrap();
        id.0.rsplit('/').next().unwrap().to_owned()
    };
    for (kind, changes) in fields(id) {
        let (sample, id, spec) = made.iter().find(|(sample, ..)| sample.kind.as_str() == kind).unwrap();
        let pure = place.provider.kind(&sample.kind).unwrap();
        let mut want = spec.clone();
        for change in changes {
            for (field, value) in change.as_object().unwrap() {
                want[field] = value.clone();
            }
            let seen = async || {
                let found = place.provider.find(&place.cx(), &sample.kind, &sample.key, Some(id)).await;
                found.map_err(|error| format!("{kind}: {error}"))?.pop().ok_or(format!("{kind} is gone"))
            };
            let have = seen().await?;
            let differs = pure.diff(&want, &have.observed).unwrap();
            let mut expected: Vec<&String> = change.as_object().unwrap().keys().collect();
            let Change::InPlace(mut fields) = differs else {
                return Err(format!("{kind}: {change} differs as {differs:?}").into());
            };
            expected.sort();
            fields.sort();
            if fields.iter().collect::<Vec<_>>() != expected {
                return Err(format!("{kind}: {change} differs in {fields:?}").into());
            }
            let answer = place
                .provider
                .update(&place.cx(), &sample.kind, &sample.key, id, &have.observed, &want)
                .await;
            answer.map_err(|error| format!("{kind}: {change}: {error}"))?;
            let left = pure.diff(&want, &seen().await?.observed).unwrap();
            if left != Change::None {
                return Err(format!("{kind}: after {change} it differs still: {left:?}").into());
            }
        }
    }
    place.empty().await.map_err(Failed::from)
}
