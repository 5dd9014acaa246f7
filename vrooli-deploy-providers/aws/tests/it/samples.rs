//! One of each kind, to be made, changed and removed.

use serde_json::{Value, json};
use vrooli_deploy_core::names::{ResourceKey, ResourceKind};
use vrooli_deploy_tests::conformance::Sample;

use crate::fixture::REGION;
use crate::rig::network;

/// The parameter that names the image of machines.
const IMAGE: &str = "/aws/service/debian/release/13/latest/amd64";

fn sample(kind: &str, key: &str, spec: Value, changed: Option<Value>, another: Option<Value>) -> Sample {
    let with = |over: Value| {
        let mut whole = spec.clone();
        for (field, value) in over.as_object().unwrap() {
            whole[field] = value.clone();
        }
        whole
    };
    Sample {
        kind: ResourceKind::new(format!("aws.{kind}")).unwrap(),
        key: ResourceKey::new(key).unwrap(),
        changed: changed.map(with),
        another: another.map(with),
        spec,
        strict: true,
    }
}

/// That of a kind, encrypted with a key that no stack made: it stands on nothing of ours.
pub(crate) fn lone(kind: &str) -> Sample {
    let mut sample = samples().into_iter().find(|sample| sample.kind.as_str() == kind).unwrap();
    let key = network().key.as_str();
    for spec in
        [Some(&mut sample.spec), sample.changed.as_mut(), sample.another.as_mut()].into_iter().flatten()
    {
        if let Some(kms_key) = spec.get_mut("kms_key") {
            *kms_key = key.into();
        }
    }
    sample
}

/// One of each kind, as `lower` makes them. What AWS tells of one object at a time has no other sample:
/// its listing costs a call an object.
pub(crate) fn samples() -> Vec<Sample> {
    let zone = json!({ "$ref": "dns/zone", "output": "id" });
    let key = json!({ "$ref": "encryption/main", "output": "arn" });
    let network = network();
    let of = |key: &str| json!({ "$ref": key, "output": "id" });
    vec![
        sample(
            "vpc",
            "network/vpc",
            json!({ "region": REGION, "cidr": "10.7.0.0/16", "dns_names": true }),
            Some(json!({ "dns_names": false })),
            None,
        ),
        sample(
            "subnet",
            "network/public-1",
            json!({
                "region": REGION, "vpc": of("network/vpc"), "zone": "us-east-1a", "cidr": "10.7.0.0/20",
                "public": true
            }),
            Some(json!({ "public": false })),
            Some(json!({ "cidr": "10.7.16.0/20", "zone": "us-east-1b", "public": false })),
        ),
        sample(
            "internet-gateway",
            "network/internet-gateway",
            json!({ "region": REGION, "vpc": of("network/vpc") }),
            None,
            Some(json!({ "vpc": network.vpc })),
        ),
        // That of a machine.
        sample("elastic-ip", "network/address", json!({ "region": REGION }), None, None),
        sample(
            "elastic-ip",
            "network/nat-address-1",
            json!({ "region": REGION }),
            None,
            Some(json!({ "region": REGION })),
        ),
        sample(
            "nat-gateway",
            "network/nat-1",
            json!({
                "region": REGION, "subnet": of("network/public-1"),
                "elastic_ip": of("network/nat-address-1"), "of": 1
            }),
            None,
            Some(json!({ "elastic_ip": network.address })),
        ),
        sample(
            "route-table",
            "network/routes-public",
            json!({
                "region": REGION, "vpc": of("network/vpc"),
                "internet_gateway": of("network/internet-gateway"), "subnets": [of("network/public-1")]
            }),
            Some(json!({ "internet_gateway": null, "nat_gateway": of("network/nat-1"), "subnets": [] })),
            Some(json!({ "internet_gateway": null, "subnets": [] })),
        ),
        sample(
            "security-group",
            "network/app-group",
            json!({
                "region": REGION, "name": "conformance-default-app", "description": "who reaches the app",
                "vpc": of("network/vpc"),
                "ingress": [
                    { "protocol": "tcp", "from_port": 443, "to_port": 443, "cidr": "0.0.0.0/0" },
                    { "protocol": "tcp", "from_port": 8080, "to_port": 8090,
                      "group": network.security_groups[0] }
                ]
            }),
            Some(json!({ "ingress": [
                { "protocol": "tcp", "from_port": 443, "to_port": 443, "cidr": "10.0.0.0/8" },
                { "protocol": "udp", "from_port": 53, "to_port": 53, "cidr": "::/0" }
            ] })),
            Some(json!({ "name": "conformance-default-data" })),
        ),
        sample(
            "log-group",
            "compute/logs",
            json!({ "region": REGION, "name": "/conformance/default", "days": 30 }),
            Some(json!({ "days": 90 })),
            Some(json!({ "name": "/conformance/default/more" })),
        ),
        sample(
            "kms-key",
            "encryption/main",
            json!({
                "region": REGION, "name": "conformance-default-data",
                "description": "encrypts what conformance keeps", "recovery_days": 30
            }),
            Some(json!({ "name": "conformance-default-more", "description": "another", "recovery_days": 7 })),
            None,
        ),
        sample(
            "budget",
            "budget/main",
            json!({
                "name": "conformance-default", "monthly_usd": "200", "stack": "conformance/default",
                "alerts": [
                    { "on": "actual", "percent": 80 }, { "on": "actual", "percent": 100 },
                    { "on": "forecast", "percent": 100 }
                ],
                "notify": ["cto@example.com", "ops@example.com"]
            }),
            Some(json!({
                "monthly_usd": "350.50",
                "alerts": [{ "on": "actual", "percent": 90 }, { "on": "forecast", "percent": 100 }],
                "notify": ["finance@example.com", "ops@example.com", "x@example.com"]
            })),
            None,
        ),
        sample(
            "secret",
            "secret/database",
            json!({
                "region": REGION, "name": "conformance/default/database/password",
                "description": "password of database", "recovery_days": 7, "kms_key": key
            }),
            Some(json!({ "description": "another", "recovery_days": 30, "kms_key": network.key })),
            Some(json!({ "name": "conformance/default/cache/password" })),
        ),
        sample(
            "iam-role",
            "compute/role",
            json!({
                "name": "conformance-default-app", "service": "ecs-tasks.amazonaws.com",
                "policies": ["arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"],
                "statements": [{ "actions": ["s3:GetObject"], "resources": ["arn:aws:s3:::b/*"] }],
                "instance_profile": false
            }),
            Some(json!({
                "service": "ec2.amazonaws.com", "policies": ["arn:aws:iam::aws:policy/ReadOnlyAccess"],
                "statements": []
            })),
            Some(json!({ "name": "conformance-default-more", "instance_profile": true })),
        ),
        sample(
            "ecr-repository",
            "compute/images",
            json!({
                "region": REGION, "name": "conformance-default", "immutable_tags": true, "scan": true,
                "keep": 20
            }),
            Some(json!({ "immutable_tags": false, "scan": false, "keep": 5 })),
            None,
        ),
        sample(
            "ecs-cluster",
            "compute/cluster",
            json!({ "region": REGION, "name": "conformance-default", "insights": false }),
            Some(json!({ "insights": true })),
            Some(json!({ "name": "conformance-default-more" })),
        ),
        sample(
            "task-definition",
            "compute/idle",
            json!({
                "region": REGION, "name": "conformance-default-idle", "cpu_units": 256, "memory_mib": 512
            }),
            None,
            // A definition costs a call each.
            None,
        ),
        sample(
            "ecs-service",
            "compute/app/blue",
            json!({
                "region": REGION, "name": "conformance-default-app-blue", "cluster": of("compute/cluster"),
                "idle": { "$ref": "compute/idle", "output": "name" },
                "subnets": network.subnets[..2], "security_groups": network.security_groups[..1],
                "public_address": true, "cpu_units": 256, "memory_mib": 512, "count": 1
            }),
            Some(json!({
                "subnets": network.subnets, "security_groups": network.security_groups,
                "public_address": false
            })),
            Some(json!({ "name": "conformance-default-app-green", "count": 0 })),
        ),
        sample(
            "service-scaling",
            "compute/app/blue/scaling",
            json!({
                "region": REGION, "cluster": { "$ref": "compute/cluster", "output": "name" },
                "service": { "$ref": "compute/app/blue", "output": "name" }, "min": 1, "max": 4,
                "target_cpu_percent": 70
            }),
            Some(json!({ "min": 2, "max": 8, "target_cpu_percent": 50 })),
            None,
        ),
        // Its versions are told of one template at a time.
        sample(
            "launch-template",
            "compute/template",
            json!({
                "region": REGION, "name": "conformance-default-app", "instance_type": "t3.small",
                "image": IMAGE, "security_groups": network.security_groups[..1],
                "profile": network.profiles[0], "disk_gib": 20, "public_address": false
            }),
            Some(json!({
                "instance_type": "t3.medium", "image": "/aws/service/debian/release/12/latest/amd64",
                "security_groups": network.security_groups, "profile": network.profiles[1], "disk_gib": 40,
                "public_address": true
            })),
            None,
        ),
        sample(
            "auto-scaling-group",
            "compute/group",
            json!({
                "region": REGION, "name": "conformance-default-app", "launch_template": of("compute/template"),
                "subnets": network.subnets[..2], "max": 2, "count": 1, "instance_type": "t3.small",
                "disk_gib": 20, "public_address": false
            }),
            Some(json!({ "subnets": network.subnets, "max": 4 })),
            Some(json!({ "name": "conformance-default-more", "count": 0 })),
        ),
        sample(
            "instance",
            "compute/machine",
            json!({
                "region": REGION, "instance_type": "t3.small", "image": IMAGE,
                "subnet": network.subnets[0], "security_groups": network.security_groups[..1],
                "profile": network.profiles[0], "disk_gib": 20, "elastic_ip": of("network/address")
            }),
            Some(json!({
                "instance_type": "t3.medium", "security_groups": network.security_groups,
                "profile": network.profiles[1], "disk_gib": 40, "elastic_ip": null
            })),
            Some(json!({ "profile": null, "elastic_ip": null })),
        ),
        sample(
            "volume",
            "volume/data",
            json!({
                "region": REGION, "zone": "us-east-1a", "size_gib": 10, "encrypted": true,
                "kms_key": key, "instance": of("compute/machine")
            }),
            Some(json!({ "size_gib": 40, "instance": network.machines[0] })),
            Some(json!({ "instance": null, "encrypted": false, "kms_key": null })),
        ),
        sample(
            "bucket",
            "storage/files",
            json!({
                "region": REGION, "name": "conformance-default-files", "versioning": true,
                "expire_days": 30, "of": 1, "kms_key": key
            }),
            Some(json!({ "versioning": false, "expire_days": null, "kms_key": network.key })),
            None,
        ),
        // The emulator loses a group whose subnets are changed.
        sample(
            "db-subnet-group",
            "database/main/subnets",
            json!({ "region": REGION, "name": "conformance-default", "subnets": network.subnets[..2] }),
            None,
            None,
        ),
        // The emulator cannot set a parameter back to its default.
        sample(
            "db-parameter-group",
            "database/main/parameters",
            json!({
                "region": REGION, "name": "conformance-default-postgres16", "family": "postgres16",
                "parameters": { "rds.force_ssl": "1" }
            }),
            Some(json!({ "parameters": { "rds.force_ssl": "0", "log_connections": "1" } })),
            None,
        ),
        sample(
            "db-instance",
            "database/main",
            json!({
                "region": REGION, "name": "conformance-default", "engine": "postgres", "version": "16",
                "class": "db.t4g.micro", "storage_gib": 20, "multi_az": false, "backup_days": 7,
                "deletion_protection": false, "encrypted": true, "database": "conformance",
                "user": "vrooli",
                "subnet_group": { "$ref": "database/main/subnets", "output": "name" },
                "parameter_group": { "$ref": "database/main/parameters", "output": "name" },
                "security_groups": network.security_groups[..1], "kms_key": key,
                "password": { "$ref": "secret/database", "output": "arn" }
            }),
            Some(json!({
                "version": "16.9", "class": "db.t4g.small", "storage_gib": 40, "multi_az": true,
                "backup_days": 14, "deletion_protection": true, "parameter_group": network.elsewhere,
                "security_groups": network.security_groups
            })),
            Some(json!({ "name": "conformance-default-more" })),
        ),
        sample(
            "cache-subnet-group",
            "cache/main/subnets",
            json!({ "region": REGION, "name": "conformance-default", "subnets": network.subnets[..2] }),
            Some(json!({ "subnets": network.subnets })),
            Some(json!({ "name": "conformance-default-more" })),
        ),
        sample(
            "cache",
            "cache/main",
            json!({
                "region": REGION, "name": "conformance-default", "engine": "redis", "version": "7.0",
                "node_type": "cache.t4g.micro", "nodes": 1,
                "subnet_group": { "$ref": "cache/main/subnets", "output": "name" },
                "security_groups": network.security_groups[..1], "kms_key": key,
                "password": { "$ref": "secret/database", "output": "arn" }
            }),
            Some(json!({
                "engine": "valkey", "version": "8.1", "node_type": "cache.t4g.small", "nodes": 2,
                "security_groups": network.security_groups
            })),
            Some(json!({ "name": "conformance-default-more" })),
        ),
        sample("hosted-zone", "dns/zone", json!({ "domain": "conformance.example.com" }), None, None),
        sample(
            "dns-record",
            "dns/app",
            json!({
                "zone": zone, "name": "conformance.example.com", "record_type": "A",
                "alias": "a-1.us-east-1.elb.amazonaws.com", "alias_zone": "Z35SXDOTRQ7X7K"
            }),
            Some(json!({ "alias": null, "alias_zone": null, "values": ["192.0.2.7"], "ttl_seconds": 60 })),
            Some(json!({ "name": "*.conformance.example.com" })),
        ),
        sample(
            "certificate",
            "front/certificate",
            json!({
                "region": REGION, "domain": "conformance.example.com",
                "alternatives": ["www.conformance.example.com"], "zone": zone
            }),
            None,
            None,
        ),
        sample(
            "alarm",
            "alarm/database-cpu",
            json!({
                "region": REGION, "name": "conformance-default-database-cpu", "namespace": "AWS/RDS",
                "metric": "CPUUtilization", "threshold": "80", "minutes": 5, "subject": "db-1",
                "dimension": "DBInstanceIdentifier"
            }),
            Some(json!({
                "namespace": "AWS/ECS", "metric": "MemoryUtilization", "threshold": "90.5", "minutes": 10,
                "subject": "app", "dimension": "ServiceName"
            })),
            Some(json!({ "name": "conformance-default-database-memory" })),
        ),
        // What it shows is told of one at a time.
        sample(
            "dashboard",
            "dashboard/main",
            json!({
                "name": "conformance-default", "region": REGION,
                "graphs": [
                    { "title": "CPU", "lines": [{
                        "label": "CPU", "namespace": "AWS/ECS", "metric": "CPUUtilization",
                        "statistic": "Average", "dimensions": { "ClusterName": "c", "ServiceName": "s" }
                    }] },
                    { "title": "Latency", "lines": [{
                        "label": "95 of 100", "namespace": "AWS/ApplicationELB",
                        "metric": "TargetResponseTime", "statistic": "p95",
                        "dimensions": { "LoadBalancer": "app/conformance-default/1" }
                    }] }
                ]
            }),
            Some(json!({
                "region": "eu-west-1",
                "graphs": [{ "title": "Memory", "lines": [{
                    "label": "memory", "namespace": "AWS/ECS", "metric": "MemoryUtilization",
                    "statistic": "Maximum", "dimensions": { "ClusterName": "c", "ServiceName": "s" }
                }] }]
            })),
            None,
        ),
        sample(
            "load-balancer",
            "front/balancer",
            json!({
                "region": REGION, "name": "conformance-default", "subnets": network.subnets[..2],
                "security_groups": network.security_groups[..1], "idle_timeout_seconds": 60,
                "deletion_protection": false
            }),
            Some(json!({
                "subnets": network.subnets, "security_groups": network.security_groups,
                "idle_timeout_seconds": 120
            })),
            None,
        ),
        sample(
            "target-group",
            "front/app",
            json!({
                "region": REGION, "name": "conformance-default", "vpc": network.vpc, "port": 8080,
                "targets": "ip", "health_path": "/health", "interval_seconds": 10, "drain_seconds": 30
            }),
            Some(json!({ "health_path": "/api/health", "interval_seconds": 5, "drain_seconds": 60 })),
            None,
        ),
        sample(
            "listener",
            "front/https",
            json!({
                "region": REGION, "load_balancer": { "$ref": "front/balancer", "output": "id" },
                "port": 443, "protocol": "HTTPS", "certificate": network.certificates[0],
                "redirect_to_https": false,
                "target_groups": [{ "$ref": "front/app", "output": "id" }]
            }),
            Some(json!({
                "port": 80, "protocol": "HTTP", "certificate": null, "redirect_to_https": true,
                "target_groups": []
            })),
            // Rules cost a call a listener.
            None,
        ),
        sample(
            "distribution",
            "front/cdn",
            json!({
                "aliases": ["cdn.conformance.example.com"], "certificate": network.certificates[0],
                "origin": { "$ref": "front/balancer", "output": "dns_name" }, "price_class": "PriceClass_100"
            }),
            Some(json!({
                "aliases": ["a.conformance.example.com", "b.conformance.example.com"],
                "certificate": network.certificates[1], "origin": "b.example.com",
                "price_class": "PriceClass_All"
            })),
            Some(json!({ "aliases": [], "certificate": null })),
        ),
        sample(
            "listener-rule",
            "front/rule-1",
            json!({
                "region": REGION, "listener": { "$ref": "front/https", "output": "id" }, "priority": 10,
                "paths": ["/api", "/api/*"],
                "target_groups": [{ "$ref": "front/app", "output": "id" }]
            }),
            Some(json!({
                "priority": 20, "paths": ["/v2/*"], "hosts": ["app.example.com"],
                "target_groups": [network.target_group]
            })),
            Some(json!({ "priority": 30, "paths": [], "hosts": ["app.example.com"], "target_groups": [] })),
        ),
    ]
}
