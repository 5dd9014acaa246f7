use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use libtest_mimic::Failed;
use serde_json::{Value, json};
use tokio::sync::{Mutex, OwnedMutexGuard};
use uuid::Uuid;
use vrooli_deploy_core::configuration::Configuration;
use vrooli_deploy_core::names::{ResourceKey, ResourceKind, StackId};
use vrooli_deploy_core::plan::Draft;
use vrooli_deploy_core::provider::{
    BuildRequest, Cancellation, Created, Found, Op, OpCtx, OpToken, OpenContext, PhysicalId, Provider,
    ProviderError, Retryability, Scope,
};
use vrooli_deploy_core::secrets::Secret;
use vrooli_deploy_provider_aws::native::{Account, AccountOptions, provider};
use vrooli_deploy_tests::conformance::{Break, Place, ProviderFixture, Running, Sample};
use vrooli_deploy_tests::fakecloud::MemorySecrets;
use vrooli_deploy_tests::fault_proxy::{Fault, FaultProxy, Passing};
use vrooli_deploy_tests::moto::Emulator;
use vrooli_deploy_tests::moto::corrections::AS_AWS;
use vrooli_deploy_tests::moto::wire::{creates, refused};

use crate::rig::{forget_snapshots, network};

/// What the conformance suite makes everything with.
pub(crate) const OWNER: Uuid = Uuid::from_u128(1);
/// What its tokens are minted from.
pub(crate) const INCARNATION: Uuid = Uuid::from_u128(7);
pub(crate) const REGION: &str = "us-east-1";
/// The parameter that names the image of machines.
const IMAGE: &str = "/aws/service/debian/release/13/latest/amd64";

/// AWS as the emulator plays it.
pub(crate) struct AwsFixture {
    pub(crate) emulator: Arc<Emulator>,
    /// There is one account: one trial at a time.
    turn: Arc<Mutex<()>>,
}

pub(crate) fn stack(app: &str) -> StackId {
    serde_json::from_value(json!({ "app": app, "environment": "default" })).unwrap()
}

impl AwsFixture {
    pub(crate) fn new(emulator: &Arc<Emulator>) -> Self {
        Self { emulator: Arc::clone(emulator), turn: Arc::default() }
    }

    pub(crate) async fn place(&self) -> AwsPlace {
        self.place_as(("AKIDEXAMPLE", "not-a-real-key"), samples()).await
    }

    /// The same by a user's keys, for a stack of these.
    pub(crate) async fn place_as(&self, keys: (&str, &str), of: Vec<Sample>) -> AwsPlace {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        forget_snapshots(self.emulator.address());
        let proxy = FaultProxy::start(self.emulator.address()).await.unwrap();
        proxy.set_correction(AS_AWS);
        let account = Arc::new(account_as(&proxy.url(), keys, of, BTreeMap::new()));
        AwsPlace { provider: provider(&account), account, proxy, _turn: turn }
    }
}

/// The account behind an endpoint, for a stack of all samples.
pub(crate) fn account(endpoint: &str) -> Account {
    account_that_knows(endpoint, BTreeMap::new())
}

/// The same where the state says what its resources are called.
pub(crate) fn account_that_knows(endpoint: &str, ids: BTreeMap<ResourceKey, PhysicalId>) -> Account {
    account_as(endpoint, ("AKIDEXAMPLE", "not-a-real-key"), samples(), ids)
}

fn account_as(
    endpoint: &str,
    (id, secret): (&str, &str),
    of: Vec<Sample>,
    ids: BTreeMap<ResourceKey, PhysicalId>,
) -> Account {
    let mut options = AccountOptions::default();
    options.endpoint = Some(endpoint.to_owned());
    options.keys = Some((id.to_owned(), Secret::new(secret.to_owned()), None));
    options.region = Some(REGION.to_owned());
    let (mut resources, mut kinds) = (Vec::new(), BTreeMap::new());
    for sample in of {
        let another = ResourceKey::new(format!("{}-another", sample.key)).unwrap();
        kinds.extend([&another, &sample.key].map(|key| (key.clone(), sample.kind.clone())));
        resources.extend(sample.another.map(|spec| (another, spec)));
        resources.push((sample.key, sample.spec));
    }
    let context = OpenContext {
        dir: std::env::temp_dir(),
        owner: OWNER,
        stack: stack("conformance"),
        secrets: Arc::new(MemorySecrets::default()),
        configuration: Configuration::default(),
        resources,
        kinds,
        ids,
        leaving: Default::default(),
    };
    Account::new(options, &context)
}

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

/// One of each kind, as `lower` makes them. What AWS tells of one object at a time has no other sample:
/// its listing costs a call an object.
pub(crate) fn samples() -> Vec<Sample> {
    let zone = json!({ "$ref": "dns/zone", "output": "id" });
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
            "secret",
            "secret/database",
            json!({
                "region": REGION, "name": "conformance/default/database/password",
                "description": "password of database", "recovery_days": 7
            }),
            Some(json!({ "description": "another", "recovery_days": 30 })),
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
                "subnets": network.subnets[..2], "min": 1, "max": 2, "instance_type": "t3.small",
                "disk_gib": 20, "public_address": false
            }),
            Some(json!({ "subnets": network.subnets, "min": 2, "max": 4 })),
            Some(json!({ "name": "conformance-default-more", "min": 0 })),
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
                "instance": of("compute/machine")
            }),
            Some(json!({ "size_gib": 40, "instance": network.machines[0] })),
            Some(json!({ "instance": null, "encrypted": false })),
        ),
        sample(
            "bucket",
            "storage/files",
            json!({
                "region": REGION, "name": "conformance-default-files", "versioning": true,
                "expire_days": 30, "of": 1
            }),
            Some(json!({ "versioning": false, "expire_days": null })),
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
                "security_groups": network.security_groups[..1],
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
                "security_groups": network.security_groups[..1],
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

/// A sample, the id of what was made of it, and its spec with the ids of what it refers to.
pub(crate) type Made = (Sample, PhysicalId, Value);

/// The account, and what stands before it.
pub(crate) struct AwsPlace {
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) account: Arc<Account>,
    pub(crate) proxy: FaultProxy,
    _turn: OwnedMutexGuard<()>,
}

impl AwsPlace {
    pub(crate) fn cx(&self) -> OpCtx {
        context("conformance", OWNER)
    }

    pub(crate) async fn all(&self) -> Result<Vec<(ResourceKind, Found<Value>)>, ProviderError> {
        let scope = Scope { stack: stack("conformance"), page: None };
        self.provider.inventory(&self.cx(), &scope).await
    }

    /// Makes a sample as the engine does: what is not clear is looked for, then made again.
    pub(crate) async fn make(&self, sample: &Sample, spec: &Value) -> Result<PhysicalId, ProviderError> {
        let cx = self.cx().with_token(Some(token(&sample.key)));
        let mut last = None;
        for _ in 0..6 {
            match self.provider.create(&cx, &sample.kind, &sample.key, spec).await {
                Ok(Created::Read { id, .. } | Created::Unread { id, .. }) => return Ok(id),
                Err(error) if error.retry() == Retryability::Never => return Err(error),
                Err(error) if error.retry() == Retryability::LookUpFirst => {
                    let found = self.provider.find(&cx, &sample.kind, &sample.key, None).await?;
                    if let Some(found) = found.into_iter().find(|found| found.token == cx.token) {
                        return Ok(found.id);
                    }
                    last = Some(error);
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap())
    }

    /// What objects give to those that refer to them, by key.
    pub(crate) fn outputs<'a>(
        &self,
        all: impl IntoIterator<Item = (&'a ResourceKind, &'a Found<Value>)>,
    ) -> Result<Outputs, ProviderError> {
        let mut outputs = Outputs::new();
        for (kind, found) in all {
            let of = self.provider.kind(kind)?.outputs(&found.id, &found.observed)?;
            let of = of.into_iter();
            let of = of.map(|(name, value)| (name.to_string(), serde_json::to_value(value).unwrap()));
            let of = of.collect();
            outputs.insert(found.key.clone(), of);
        }
        Ok(outputs)
    }

    /// A sample's spec, with what those give that it refers to.
    pub(crate) fn known(sample: &Sample, outputs: &Outputs) -> Value {
        fn resolve(value: &mut Value, outputs: &Outputs) {
            if let (Some(key), Some(name)) =
                (value.get("$ref").and_then(Value::as_str), value.get("output").and_then(Value::as_str))
            {
                *value = outputs[&ResourceKey::new(key).unwrap()][name].clone();
                return;
            }
            match value {
                Value::Object(fields) => fields.values_mut().for_each(|value| resolve(value, outputs)),
                Value::Array(items) => items.iter_mut().for_each(|value| resolve(value, outputs)),
                _ => {}
            }
        }
        let mut spec = sample.spec.clone();
        resolve(&mut spec, outputs);
        spec
    }

    /// Makes one of each kind; what others refer to comes first.
    pub(crate) async fn make_all(&self) -> Result<Vec<Made>, ProviderError> {
        self.make_those(|_| true).await
    }

    /// The same of some kinds.
    pub(crate) async fn make_those(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<Made>, ProviderError> {
        let mut samples = samples();
        samples.retain(|sample| wanted(sample.kind.as_str()));
        let depths = depths(&samples);
        samples.sort_by_key(|sample| depths[&sample.kind]);
        let (mut made, mut outputs) = (Vec::new(), Outputs::new());
        for sample in samples {
            let spec = Self::known(&sample, &outputs);
            let id = self.make(&sample, &spec).await?;
            let found = self.provider.find(&self.cx(), &sample.kind, &sample.key, Some(&id)).await?;
            outputs.extend(self.outputs(found.iter().map(|one| (&sample.kind, one)))?);
            made.push((sample, id, spec));
        }
        Ok(made)
    }

    /// Takes everything of ours away: what others refer to goes last.
    pub(crate) async fn empty(&self) -> Result<(), String> {
        self.proxy.mend();
        let told = |error: ProviderError| format!("cannot clean up: {error}");
        let mut all = self.all().await.map_err(told)?;
        let depths = depths(&samples());
        all.sort_by_key(|(kind, _)| Reverse(depths[kind]));
        if all.is_empty() {
            return Ok(());
        }
        for (kind, found) in &all {
            self.provider.delete(&self.cx(), kind, &found.key, &found.id).await.map_err(told)?;
        }
        let left = self.all().await.map_err(told)?;
        if left.is_empty() { Ok(()) } else { Err(format!("left behind: {left:?}")) }
    }
}

/// Output by name, by key.
pub(crate) type Outputs = BTreeMap<ResourceKey, BTreeMap<String, Value>>;

/// Of each kind, how many others have to be there before it, one after the other.
fn depths(samples: &[Sample]) -> BTreeMap<ResourceKind, usize> {
    fn depth(samples: &[Sample], value: &Value) -> usize {
        if let Some(key) = value.get("$ref").and_then(Value::as_str) {
            let sample = samples.iter().find(|sample| sample.key.as_str() == key).unwrap();
            return 1 + depth(samples, &sample.spec);
        }
        match value {
            Value::Object(fields) => fields.values().map(|value| depth(samples, value)).max().unwrap_or(0),
            Value::Array(items) => items.iter().map(|value| depth(samples, value)).max().unwrap_or(0),
            _ => 0,
        }
    }
    samples.iter().map(|sample| (sample.kind.clone(), depth(samples, &sample.spec))).collect()
}

pub(crate) fn token(key: &ResourceKey) -> OpToken {
    OpToken::new(INCARNATION, key, 1)
}

pub(crate) fn context(app: &str, owner: Uuid) -> OpCtx {
    let deadline = Instant::now() + Duration::from_secs(300);
    OpCtx::new(stack(app), owner, 1, deadline, Cancellation::new()).with_incarnation(INCARNATION)
}

#[async_trait]
impl ProviderFixture for AwsFixture {
    async fn open(&self) -> Box<dyn Place> {
        Box::new(self.place().await)
    }

    fn samples(&self) -> Vec<Sample> {
        samples()
    }

    fn release(&self) -> Option<(BuildRequest, Draft)> {
        None
    }

    fn block_on(&self, trial: Running<'_>) -> Result<(), Failed> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failed::from(error.to_string()))?
            .block_on(trial)
    }
}

#[async_trait]
impl Place for AwsPlace {
    fn provider(&self) -> Arc<dyn Provider> {
        Arc::clone(&self.provider)
    }

    fn calls(&self) -> Option<u64> {
        Some(self.account.calls().values().sum())
    }

    fn break_next(&self, op: Op, how: Break) -> bool {
        let is = if op == Op::Create { creates } else { |_: &Passing| true };
        match how {
            Break::LostReply => self.proxy.break_next(Fault::LostReply, is),
            Break::Unreachable => self.proxy.break_next(Fault::NeverArrives, is),
            Break::Throttled => {
                let mut left = true;
                self.proxy.break_when(move |request| {
                    let refuse = left && is(request);
                    left &= !refuse;
                    refuse.then(|| {
                        Fault::Refused(refused(request, "ThrottlingException", "Rate exceeded", 400))
                    })
                });
            }
        }
        true
    }

    /// Records, and what scales a service, bear no tags. The emulator does not list tags of the others here; AWS does.
    fn untold(&self, kind: &ResourceKind) -> bool {
        let untold = [
            "aws.db-parameter-group",
            "aws.db-subnet-group",
            "aws.dns-record",
            "aws.ecr-repository",
            "aws.elastic-ip",
            "aws.launch-template",
            "aws.listener",
            "aws.listener-rule",
            "aws.service-scaling",
        ];
        untold.contains(&kind.as_str())
    }

    /// AWS measures processors that tasks have, and no task runs here.
    fn counts_later(&self, kind: &ResourceKind) -> bool {
        kind.as_str() == "aws.ecs-service"
    }

    async fn close(&self) -> Result<(), String> {
        self.empty().await
    }
}
