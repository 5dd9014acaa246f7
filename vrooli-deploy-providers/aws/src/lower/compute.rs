//! What runs the app: tasks on Fargate, or machines.

mod machines;

use std::collections::BTreeMap;

use vrooli_deploy_core::diagnostics::rules;
use vrooli_deploy_core::manifest::ServiceConfig;
use vrooli_deploy_core::names::{ResourceKey, ServiceName};
use vrooli_deploy_core::provider::Wanted;
use vrooli_deploy_core::provider::choosing::{Sizes, compute_type, size};
use vrooli_deploy_core::provider::lowering::{Lowering, object_name, output, resource_key};
use vrooli_deploy_core::provider::sizing::{Amount, Need};
use vrooli_deploy_core::stack::Input;

use super::front::Front;
use super::network::{Network, ids};
use super::{Site, encryption};
use crate::catalogue::Machine;
use crate::kinds::COLOURS;
use crate::kinds::alarm::{Alarm, AlarmSpec};
use crate::kinds::ecr_repository::{EcrRepository, EcrRepositorySpec};
use crate::kinds::ecs_cluster::{EcsCluster, EcsClusterSpec};
use crate::kinds::ecs_service::{EcsService, EcsServiceSpec};
use crate::kinds::elastic_ip::{ElasticIp, ElasticIpSpec};
use crate::kinds::iam_role::{IamRole, IamRoleSpec, Statement};
use crate::kinds::instance::{Instance, InstanceSpec};
use crate::kinds::kms_key::KmsKey;
use crate::kinds::log_group::{LogGroup, LogGroupSpec};
use crate::kinds::service_scaling::{ServiceScaling, ServiceScalingSpec};
use crate::kinds::snapshot_policy::{SnapshotPolicy, SnapshotPolicySpec};
use crate::kinds::task_definition::{TaskDefinition, TaskDefinitionSpec};
use crate::kinds::volume::{Volume, VolumeSpec};

/// What tasks belong to.
const CLUSTER: &str = "compute/cluster";

/// What runs the app.
#[derive(Debug)]
pub(super) struct Compute {
    pub(super) fargate: bool,
    /// Does it stand behind a load balancer, and why if nobody asked for one?
    pub(super) behind: Option<Behind>,
    /// How many instances of the part that listens.
    pub(super) count: u32,
    /// How many its scaler may make of them.
    most: u32,
    /// What serves requests, and where.
    pub(super) ports: Vec<ServicePort>,
    /// The ports at which the app is reached, first and last. An app of which only the machines
    /// are known listens where containers do by default.
    pub(super) reached: Option<(u16, u16)>,
    /// Services that listen nowhere.
    workers: Vec<(ServiceName, ServiceConfig)>,
    size: Size,
}

/// Why something stands behind a load balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behind {
    Asked,
    Because(&'static str),
}

impl Behind {
    fn of(lowering: &Lowering<'_>, fargate: bool, count: u32) -> Option<Self> {
        let networking = &lowering.options().networking;
        if networking.load_balancer {
            Some(Self::Asked)
        } else if fargate {
            Some(Self::Because("tasks on Fargate have no address that stays"))
        } else if count > 1 {
            Some(Self::Because("several machines are reached through one"))
        } else if networking.cdn {
            Some(Self::Because("a content network needs something to fetch from"))
        } else {
            None
        }
    }
}

/// Keys of what the app keeps data in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Data<'a> {
    pub(super) databases: &'a [ResourceKey],
    pub(super) stores: &'a [ResourceKey],
}

/// A service's first port, as containers and machines know it.
#[derive(Debug)]
pub(super) struct ServicePort {
    pub(super) service: ServiceName,
    pub(super) config: ServiceConfig,
    pub(super) number: u16,
}

#[derive(Debug)]
enum Size {
    Task { cpu_units: u32, memory_mib: u32 },
    Machine(String),
}

/// What runs the app, unless nothing does.
pub(super) fn choose(lowering: &mut Lowering<'_>, site: Site<'_>) -> Option<Compute> {
    let config = lowering.options().infrastructure.compute.as_ref();
    let services = &site.requirements.services;
    if services.is_empty() && config.is_none() {
        return None;
    }
    let kind = compute_type(lowering, &site.known.defaults.compute, "AWS")?;
    let fargate = kind == "fargate";

    let mut ports = Vec::new();
    let mut workers = Vec::new();
    let mut next = site.known.defaults.container_port;
    for (name, service) in services {
        if service.ports.is_empty() {
            workers.push((name.clone(), service.clone()));
            continue;
        }
        let fixed = service.ports.values().find_map(|port| port.port);
        let number = fixed.unwrap_or(next);
        next = next.saturating_add(1);
        ports.push(ServicePort { service: name.clone(), config: service.clone(), number });
    }

    let (count, most) = counts(lowering, site, fargate, &ports)?;
    let listens = !ports.is_empty() || services.is_empty();
    let behind = Behind::of(lowering, fargate, count).filter(|_| listens);
    let asked = config.and_then(|config| config.size.as_deref());
    let size = if fargate {
        task_size(lowering, site, "compute", asked, Need::of_services(ports.iter().map(|port| &port.config)))
    } else {
        // One machine runs everything, machines of a group what listens.
        let need = match behind {
            Some(_) => Need::of_services(ports.iter().map(|port| &port.config)),
            None => Need::of_services(services.values()),
        };
        machine_size(lowering, site, ("machine", None), asked, need.and(Need::of_machine()))
    }?;
    let numbers = || ports.iter().map(|port| port.number);
    let reached = match (numbers().min(), numbers().max()) {
        (Some(first), Some(last)) => Some((first, last)),
        _ => services
            .is_empty()
            .then_some((site.known.defaults.container_port, site.known.defaults.container_port)),
    };
    Some(Compute { fargate, behind, count, most, ports, reached, workers, size })
}

/// How many run, and how many at most.
fn counts(
    lowering: &mut Lowering<'_>,
    site: Site<'_>,
    fargate: bool,
    ports: &[ServicePort],
) -> Option<(u32, u32)> {
    let scaling = || ports.iter().map(|port| &port.config.scaling);
    let asked = lowering.options().infrastructure.compute.as_ref().and_then(|config| config.count);
    let least = scaling().map(|scaling| scaling.min).max().unwrap_or(1);
    let count = asked.unwrap_or_else(|| least.max(site.scale.instances));
    let most = scaling().map(|scaling| scaling.max).max().unwrap_or(1).max(count);
    let limits = &site.known.defaults.limits;
    let (limit, what) = if fargate {
        (limits.tasks_per_service, "tasks of a service")
    } else {
        (limits.machines_per_group, "machines of a group")
    };
    if (1..=limit).contains(&count) && most <= limit {
        return Some((count, most));
    }
    let message = format!("{} cannot run: there are 1 to {limit} {what}", if count == 0 { 0 } else { most });
    lowering.say_at(
        "/infrastructure/compute/count",
        rules::COUNT
            .diagnostic(message)
            .help("change `infrastructure.compute.count` or the service's `scaling`"),
    );
    None
}

/// A task's size: `512/1024` by name, or the smallest pair that fits.
fn task_size(
    lowering: &mut Lowering<'_>,
    site: Site<'_>,
    what: &str,
    asked: Option<&str>,
    need: Need,
) -> Option<Size> {
    let mut pairs = Vec::new();
    for size in &site.known.fargate.sizes {
        for memory in &size.memory_mib {
            let cpu = f64::from(size.cpu_units) / 1024.0;
            let amount = Amount { memory_mib: u64::from(*memory), cpu, disk_gib: 0 };
            pairs.push((amount, format!("{}/{memory}", size.cpu_units), size.cpu_units, *memory));
        }
    }
    let named: Vec<&str> = pairs.iter().map(|(_, name, ..)| name.as_str()).collect();
    let sizes = pairs.iter().map(|(amount, name, ..)| (*amount, name.as_str())).collect();
    let what = format!("{what} (CPU units/MiB of a Fargate task)");
    let chosen = size(
        lowering,
        Sizes { what: &what, pointer: "/infrastructure/compute/size", named, preferred: sizes },
        asked,
        need,
    )?;
    let (.., cpu_units, memory_mib) = pairs.iter().find(|(_, name, ..)| *name == chosen)?;
    Some(Size::Task { cpu_units: *cpu_units, memory_mib: *memory_mib })
}

/// A size of machine, by name or the smallest that fits; of the architecture of another, if there is one.
fn machine_size(
    lowering: &mut Lowering<'_>,
    site: Site<'_>,
    (what, like): (&str, Option<&str>),
    asked: Option<&str>,
    need: Need,
) -> Option<Size> {
    let ec2 = &site.known.ec2;
    let fits = |size: &&Machine| like.is_none_or(|like| ec2.architecture(like) == size.architecture);
    let of = |family: &str| -> Vec<&'static Machine> {
        ec2.sizes.iter().filter(|size| size.family() == family).filter(fits).collect()
    };
    let mut preferred: Vec<&Machine> = ec2.prefer.iter().flat_map(|one| of(one)).collect();
    if let (true, Some(like)) = (preferred.is_empty(), like) {
        preferred = of(like.split('.').next().unwrap_or_default());
    }
    let sizes = preferred.into_iter().map(|size| (size.amount(), size.name.as_str())).collect();
    let named: Vec<&str> = ec2.sizes.iter().map(|size| size.name.as_str()).collect();
    let chosen = size(
        lowering,
        Sizes { what, pointer: "/infrastructure/compute/size", named, preferred: sizes },
        asked,
        need,
    )?;
    if let Some(size) = ec2.sizes.iter().find(|size| size.name == chosen) {
        if size.architecture != "x86_64" {
            lowering.say_at(
                "/infrastructure/compute/size",
                rules::ADDED.diagnostic(format!(
                    "{chosen} is an {} machine: the app must be built for it",
                    size.architecture
                )),
            );
        }
        if !ec2.priced_families.iter().any(|family| family == size.family()) {
            let message = format!("the price book has no prices of {chosen}");
            lowering.say_at(
                "/infrastructure/compute/size",
                rules::NO_PRICES
                    .diagnostic(message)
                    .help("an estimate will stop at it: give a book with `--prices FILE`"),
            );
        }
    }
    Some(Size::Machine(chosen))
}

/// What runs the app, behind its front.
pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    site: Site<'_>,
    compute: &Compute,
    network: &Network,
    front: &Front,
    data: Data<'_>,
) {
    let region = &site.region.name;
    let stack = lowering.stack();
    let logs = resource_key("logs/app");
    let spec = LogGroupSpec {
        region: region.clone(),
        name: format!("/{}/{}", stack.app, stack.environment),
        days: site.known.defaults.log_days,
    };
    lowering.add(&logs, &LogGroup, &spec, false);
    let role = app_role(lowering, site, compute, data);
    let services = match &compute.size {
        Size::Task { cpu_units, memory_mib } => {
            tasks(lowering, site, compute, network, (*cpu_units, *memory_mib))
        }
        Size::Machine(machine) => {
            match compute.behind {
                Some(_) => machines::lower(lowering, site, compute, network, (machine, &role)),
                None => self::machine(lowering, site, network, front, (machine, &role)),
            }
            Vec::new()
        }
    };
    if site.scale.alarms {
        alarms(lowering, site, &services, front, data);
    }
    if compute.fargate && site.requirements.data_volume {
        lowering.say(
            rules::DATA_FILES
                .diagnostic("the app keeps files in `data`, and tasks on Fargate have no disk that stays")
                .help("keep them in object storage or in the database, or choose the compute type `ec2` with one machine"),
        );
    }
}

/// What the app itself may do: read its secrets, use its buckets; on machines of a group also write its lines.
fn app_role(lowering: &mut Lowering<'_>, site: Site<'_>, compute: &Compute, data: Data<'_>) -> ResourceKey {
    let stack = lowering.stack();
    let mut statements: Vec<Statement<Wanted>> = Vec::new();
    let secrets: Vec<Input<String>> = vec![Input::Value(format!(
        "arn:aws:secretsmanager:{}:*:secret:{}/{}/*",
        site.region.name, stack.app, stack.environment
    ))];
    statements
        .push(Statement { actions: vec!["secretsmanager:GetSecretValue".to_owned()], resources: secrets });
    if !data.stores.is_empty() {
        let names = ["arn", "objects_arn"];
        let resources = data.stores.iter().flat_map(|store| names.map(|name| output(store, name))).collect();
        let actions = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"];
        statements.push(Statement { actions: actions.map(str::to_owned).to_vec(), resources });
    }
    let keys: Vec<ResourceKey> = lowering.of_kind(&KmsKey).map(|(key, _)| key.clone()).collect();
    if !keys.is_empty() {
        // What S3 and Secrets Manager keep is read and written in the name of whoever asks.
        let actions = ["kms:Decrypt", "kms:GenerateDataKey"];
        let resources = keys.iter().map(|key| output(key, "arn")).collect();
        statements.push(Statement { actions: actions.map(str::to_owned).to_vec(), resources });
    }
    let known = &site.known.defaults.policies;
    let (service, policies) = match (compute.fargate, compute.behind) {
        (true, _) => ("ecs-tasks.amazonaws.com", &known.tasks),
        (false, Some(_)) => ("ec2.amazonaws.com", &known.group),
        (false, None) => ("ec2.amazonaws.com", &known.machines),
    };
    if !compute.fargate && compute.behind.is_some() {
        let lines =
            format!("arn:aws:logs:{}:*:log-group:/{}/{}:*", site.region.name, stack.app, stack.environment);
        let actions = ["logs:CreateLogStream", "logs:PutLogEvents"];
        statements.push(Statement {
            actions: actions.map(str::to_owned).to_vec(),
            resources: vec![Input::Value(lines)],
        });
    }
    let key = resource_key("compute/role");
    let spec = IamRoleSpec {
        name: object_name(stack, &format!("app-{}", site.region.name), 64),
        service: service.to_owned(),
        policies: policies.clone(),
        statements,
        instance_profile: !compute.fargate,
    };
    lowering.add(&key, &IamRole, &spec, false);
    key
}

/// Where the app's images are kept.
fn repository(lowering: &mut Lowering<'_>, site: Site<'_>) {
    let spec = EcrRepositorySpec {
        region: site.region.name.clone(),
        name: object_name(lowering.stack(), "", 256),
        immutable_tags: true,
        scan: true,
        keep: site.known.defaults.images_kept,
    };
    lowering.add(&resource_key("images/app"), &EcrRepository, &spec, false);
}

/// The app as tasks: everything that listens in one task, because a scenario's page asks its
/// API at `localhost`; each worker in another. Each such place is two services, of which one runs the
/// release that serves and the other the next one. Gives the keys of what listens.
fn tasks(
    lowering: &mut Lowering<'_>,
    site: Site<'_>,
    compute: &Compute,
    network: &Network,
    (cpu_units, memory_mib): (u32, u32),
) -> Vec<ResourceKey> {
    let region = &site.region.name;
    let stack = lowering.stack();
    repository(lowering, site);
    let cluster = resource_key(CLUSTER);
    let spec = EcsClusterSpec { region: region.clone(), name: object_name(stack, "", 255), insights: false };
    lowering.add(&cluster, &EcsCluster, &spec, false);

    let idle = resource_key("compute/idle");
    if let Some(least) = site.known.fargate.sizes.first() {
        let spec = TaskDefinitionSpec {
            region: region.clone(),
            name: object_name(stack, "idle", 255),
            cpu_units: least.cpu_units,
            memory_mib: least.memory_mib.first().copied().unwrap_or_default(),
        };
        lowering.add(&idle, &TaskDefinition, &spec, false);
    }

    let add = |lowering: &mut Lowering<'_>, name: &str, count: u32, size: (u32, u32), colour: &str| {
        let key = resource_key(&format!("compute/{name}/{colour}"));
        let (cpu_units, memory_mib) = size;
        let spec = EcsServiceSpec {
            region: region.clone(),
            name: object_name(stack, &format!("{name}-{colour}"), 255),
            cluster: output(&cluster, "id"),
            idle: output(&idle, "name"),
            subnets: ids(&network.app),
            security_groups: vec![output(&network.app_group, "id")],
            public_address: network.public_addresses,
            cpu_units,
            memory_mib,
            count,
        };
        lowering.add(&key, &EcsService, &spec, false);
        key
    };
    let pair = |lowering: &mut Lowering<'_>, name: &str, count: u32, size: (u32, u32)| {
        let [blue, green] = COLOURS;
        vec![add(lowering, name, count, size, blue), add(lowering, name, 0, size, green)]
    };
    let app = match compute.reached {
        Some(_) => pair(lowering, "app", compute.count, (cpu_units, memory_mib)),
        None => Vec::new(),
    };
    for slot in app.iter().filter(|_| compute.most > compute.count) {
        let spec = ServiceScalingSpec {
            region: region.clone(),
            cluster: output(&cluster, "name"),
            service: output(slot, "name"),
            min: compute.count,
            max: compute.most,
            target_cpu_percent: site.known.defaults.target_cpu_percent,
        };
        lowering.add(&resource_key(&format!("{slot}/scaling")), &ServiceScaling, &spec, false);
    }
    for (name, worker) in &compute.workers {
        let need = Need::of_services([worker]);
        let size = task_size(lowering, site, &format!("worker `{name}`"), None, need);
        if let Some(Size::Task { cpu_units, memory_mib }) = size {
            pair(lowering, &format!("worker-{name}"), worker.scaling.min, (cpu_units, memory_mib));
        }
    }
    app
}

/// The parameter that names the image of a size of machine.
fn image(images: &BTreeMap<String, String>, site: Site<'_>, machine: &str) -> String {
    images.get(site.known.ec2.architecture(machine)).cloned().unwrap_or_default()
}

/// The app on one machine that stays.
fn machine(
    lowering: &mut Lowering<'_>,
    site: Site<'_>,
    network: &Network,
    front: &Front,
    (machine, role): (&str, &ResourceKey),
) {
    let region = &site.region.name;
    let defaults = &site.known.defaults;
    let app = resource_key("compute/app");
    let spec = InstanceSpec {
        region: region.clone(),
        instance_type: machine.to_owned(),
        image: image(&defaults.images.single, site, machine),
        subnet: output(&network.public[0], "id"),
        security_groups: vec![output(&network.app_group, "id")],
        profile: Some(output(role, "name")),
        disk_gib: defaults.disk_gib,
        elastic_ip: front.address.as_ref().map(|address| output(address, "id")),
    };
    lowering.add(&app, &Instance, &spec, false);
    if site.requirements.data_volume {
        data_disk(lowering, site, &app);
    }
}

/// A disk for the app's files, and copies of it.
fn data_disk(lowering: &mut Lowering<'_>, site: Site<'_>, app: &ResourceKey) {
    let region = &site.region.name;
    let stack = lowering.stack();
    let Some(zone) = site.zones.first() else { return };
    let spec = VolumeSpec {
        region: region.clone(),
        zone: zone.clone(),
        size_gib: site.known.defaults.data_disk_gib,
        encrypted: true,
        kms_key: encryption::key(lowering, site, site.region),
        instance: Some(output(app, "id")),
    };
    lowering.add(&resource_key("volume/data"), &Volume, &spec, true);
    let role = resource_key("volume/data/snapshot-role");
    let spec = IamRoleSpec {
        name: object_name(stack, &format!("snapshots-{region}"), 64),
        service: "dlm.amazonaws.com".to_owned(),
        policies: site.known.defaults.policies.snapshots.clone(),
        statements: Vec::new(),
        instance_profile: false,
    };
    lowering.add(&role, &IamRole, &spec, false);
    let spec = SnapshotPolicySpec {
        region: region.clone(),
        target_tag: object_name(stack, "data", 255),
        interval_hours: 24,
        keep: site.scale.backup_days,
        role: output(&role, "arn"),
    };
    lowering.add(&resource_key("volume/data/snapshots"), &SnapshotPolicy, &spec, false);
}

/// The address of a machine that stays.
pub(super) fn address(lowering: &mut Lowering<'_>, site: Site<'_>) -> ResourceKey {
    let key = resource_key("network/address");
    lowering.add(&key, &ElasticIp, &ElasticIpSpec { region: site.region.name.clone() }, false);
    key
}

fn alarms(
    lowering: &mut Lowering<'_>,
    site: Site<'_>,
    services: &[ResourceKey],
    front: &Front,
    data: Data<'_>,
) {
    let stack = lowering.stack();
    for alarm in &site.known.defaults.alarms {
        // What CloudWatch tells them apart by.
        let subjects: Vec<(&ResourceKey, &'static str)> = match alarm.on.as_str() {
            "database" => data.databases.iter().map(|key| (key, "name")).collect(),
            "service" => services.iter().map(|key| (key, "name")).collect(),
            "balancer" => front.balancer.as_ref().map(|key| (key, "metric_name")).into_iter().collect(),
            _ => Vec::new(),
        };
        for (subject, name) in subjects {
            let part =
                format!("{}-{}", subject.as_str().replace('/', "-"), alarm.metric.to_ascii_lowercase());
            let key = resource_key(&format!("alarm/{part}"));
            let spec = AlarmSpec {
                region: site.region.name.clone(),
                name: object_name(stack, &part, 255),
                namespace: alarm.namespace.clone(),
                metric: alarm.metric.clone(),
                threshold: alarm.threshold.clone(),
                minutes: alarm.minutes,
                subject: output(subject, name),
                dimension: alarm.dimension.clone(),
                cluster: (alarm.on == "service").then(|| output(&resource_key(CLUSTER), "name")),
                statistic: alarm.statistic,
            };
            lowering.add(&key, &Alarm, &spec, false);
        }
    }
}
