//! What is known about AWS: regions, sizes, versions, limits. Data files with source and date.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;
use vrooli_deploy_core::cost::PriceKey;
use vrooli_deploy_core::provider::choosing::ComputeTypes;
use vrooli_deploy_core::provider::pure::included;
use vrooli_deploy_core::provider::sizing::Amount;

/// Everything that is known.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// Regions.
    pub regions: Regions,
    /// Machines.
    pub ec2: Machines,
    /// Tasks without machines.
    pub fargate: Tasks,
    /// Databases.
    pub rds: Databases,
    /// Caches.
    pub elasticache: Caches,
    /// What is chosen where nothing is said.
    pub defaults: Defaults,
}

/// Regions.
#[derive(Debug, Default, Deserialize)]
pub struct Regions {
    /// Where that is known from.
    pub source: String,
    /// As of when.
    pub as_of: String,
    /// The one that is taken when none is said.
    pub default: String,
    /// All that are known.
    pub regions: Vec<Region>,
}

/// One region.
#[derive(Debug, Clone, Deserialize)]
pub struct Region {
    /// Its name, `us-east-1`.
    pub name: String,
    /// What it is called, for people.
    pub title: String,
    /// Its zones.
    pub zones: Vec<String>,
    /// What the price book has prices of there: `alb/lcu-hour`, or, for what comes in sizes,
    /// `ec2`, `rds/postgres`.
    pub priced: Vec<String>,
}

impl Region {
    /// Does the price book have this price, as far as is known here?
    #[must_use]
    pub fn knows_price(&self, key: &PriceKey) -> bool {
        let sized = match key.service.as_str() {
            "ec2" => Some("ec2".to_owned()),
            "rds" | "elasticache" => {
                key.attributes.get("engine").map(|engine| format!("{}/{engine}", key.service))
            }
            _ => None,
        };
        let name = sized.unwrap_or_else(|| format!("{}/{}", key.service, key.sku));
        key.region == "global" || self.priced.contains(&name)
    }
}

/// Sizes of machines.
#[derive(Debug, Default, Deserialize)]
pub struct Machines {
    /// Where that is known from.
    pub source: String,
    /// As of when.
    pub as_of: String,
    /// Families that the price book knows.
    pub priced_families: Vec<String>,
    /// Families from which a size is chosen, best first.
    pub prefer: Vec<String>,
    /// All that are known, by family and size.
    pub sizes: Vec<Machine>,
}

/// One size of machine.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Machine {
    /// Its name, `t3.small`.
    pub name: String,
    /// Processors.
    pub cpu: u32,
    /// Memory, in MiB.
    pub memory_mib: u64,
    /// `x86_64` or `arm64`.
    pub architecture: String,
}

/// Sizes of Fargate tasks.
#[derive(Debug, Default, Deserialize)]
pub struct Tasks {
    /// Where that is known from.
    pub source: String,
    /// As of when.
    pub as_of: String,
    /// What goes together.
    pub sizes: Vec<TaskSize>,
}

/// A number of processors, and the memory that goes with it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TaskSize {
    /// CPU, in units of which 1024 are one.
    pub cpu_units: u32,
    /// Memory, in MiB: any of these.
    pub memory_mib: Vec<u32>,
}

/// Databases.
#[derive(Debug, Default, Deserialize)]
pub struct Databases {
    /// Where that is known from.
    pub source: String,
    /// As of when.
    pub as_of: String,
    /// Families from which a size is chosen, by kind of environment.
    pub prefer: Preference,
    /// Storage.
    pub storage_gib: Range,
    /// How long backups may be kept.
    pub backup_days: Range,
    /// Engines.
    pub engines: Vec<Engine>,
    /// Extensions of PostgreSQL.
    pub extensions: Extensions,
    /// Sizes, smallest first.
    pub classes: Vec<DatabaseClass>,
}

/// Families, by kind of environment.
#[derive(Debug, Default, Deserialize)]
pub struct Preference {
    /// For all but production.
    pub small: Vec<String>,
    /// For production.
    pub production: Vec<String>,
}

/// A range of numbers.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
pub struct Range {
    /// At least.
    pub minimum: u32,
    /// At most.
    pub maximum: u32,
}

/// An engine.
#[derive(Debug, Clone, Deserialize)]
pub struct Engine {
    /// Its name.
    pub engine: String,
    /// What families of parameter groups start with.
    #[serde(default)]
    pub family: String,
    /// Versions that are offered.
    pub versions: Vec<String>,
    /// Versions that still run, at a surcharge.
    #[serde(default)]
    pub extended_support: Vec<String>,
    /// The one that is taken when none is said.
    pub default: String,
    /// The port it listens on.
    pub port: u16,
    /// How many connections it allows.
    #[serde(default)]
    pub connections: Option<Connections>,
}

/// How many connections a server allows: its memory divided by this.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Connections {
    /// Bytes for each.
    pub bytes_each: u64,
    /// Never more.
    pub most: u64,
}

/// Extensions of PostgreSQL.
#[derive(Debug, Default, Deserialize)]
pub struct Extensions {
    /// Where that is known from.
    pub source: String,
    /// Is every extension listed that is offered?
    pub complete: bool,
    /// Offered for certain.
    pub available: Vec<String>,
    /// Not offered for certain, and what to do about it.
    pub missing: BTreeMap<String, String>,
}

/// A size of database.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct DatabaseClass {
    /// Its name, `db.t4g.micro`.
    pub name: String,
    /// Processors.
    pub cpu: u32,
    /// Memory, in MiB.
    pub memory_mib: u64,
}

/// Caches.
#[derive(Debug, Default, Deserialize)]
pub struct Caches {
    /// Where that is known from.
    pub source: String,
    /// As of when.
    pub as_of: String,
    /// Families from which a size is chosen, by kind of environment.
    pub prefer: Preference,
    /// Engines.
    pub engines: Vec<Engine>,
    /// Sizes, smallest first; those whose memory is not known come last.
    pub nodes: Vec<CacheNode>,
}

/// A size of cache.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct CacheNode {
    /// Its name, `cache.t4g.micro`.
    pub name: String,
    /// Processors, where known.
    #[serde(default)]
    pub cpu: Option<u32>,
    /// Memory for data, in MiB, where known.
    #[serde(default)]
    pub memory_mib: Option<u64>,
    /// Engines whose price the book knows.
    pub engines: Vec<String>,
}

/// What is chosen where nothing is said.
#[derive(Debug, Default, Deserialize)]
pub struct Defaults {
    /// Where that comes from.
    pub source: String,
    /// As of when.
    pub as_of: String,
    /// Environments that are built as production.
    pub production_environments: Vec<String>,
    /// Compute types.
    pub compute: ComputeTypes,
    /// What `type` of a part may say, by what it means.
    pub parts: BTreeMap<String, Vec<String>>,
    /// Addresses.
    pub network: Network,
    /// The user that owns an app's database.
    pub database_user: String,
    /// What is watched in production.
    pub alarms: Vec<AlarmDefault>,
    /// What is shown of it on one page, in this order.
    pub dashboard: Vec<GraphDefault>,
    /// The first port that containers listen on.
    pub container_port: u16,
    /// The parameters that name images of machines.
    pub images: MachineImages,
    /// The device of their system disk, as the images name it.
    pub root_device: String,
    /// System disk of a machine, in GiB.
    pub disk_gib: u32,
    /// Disk for an app's files, in GiB.
    pub data_disk_gib: u32,
    /// How long logs are kept.
    pub log_days: u32,
    /// How many images are kept.
    pub images_kept: u32,
    /// A connection of a load balancer on which nothing happens for so long is closed.
    pub idle_timeout_seconds: u32,
    /// Between two questions whether a unit is well.
    pub health_interval_seconds: u32,
    /// How long a unit that is taken out may finish what it is doing.
    pub drain_seconds: u32,
    /// Use of CPU that a scaler aims at.
    pub target_cpu_percent: u32,
    /// How long old versions of stored objects are kept.
    pub old_versions_days: u32,
    /// How long a deleted secret can be brought back.
    pub secret_recovery_days: u32,
    /// For so many days a deleted key can be brought back. AWS takes 7 to 30.
    pub key_recovery_days: u32,
    /// How long others may keep a name.
    pub record_ttl_seconds: u32,
    /// Content networks.
    pub cdn: CdnDefaults,
    /// Policies of AWS that roles get.
    pub policies: Policies,
    /// For all but production.
    pub small: Scale,
    /// For production.
    pub production: Scale,
    /// What the provider allows.
    pub limits: Limits,
}

/// Images of machines: public parameters of Systems Manager, by architecture.
#[derive(Debug, Default, Deserialize)]
pub struct MachineImages {
    /// Where they are known from.
    pub source: String,
    /// Of a machine that stays.
    pub single: BTreeMap<String, String>,
    /// Of machines that releases start on: with the programs of AWS, and Docker one command away.
    pub group: BTreeMap<String, String>,
}

/// Something that is watched.
#[derive(Debug, Clone, Deserialize)]
pub struct AlarmDefault {
    /// `database`, `service` or `balancer`.
    pub on: String,
    /// Whose figure it is.
    pub namespace: String,
    /// Which figure.
    pub metric: String,
    /// The name of the dimension that says of what.
    pub dimension: String,
    /// Above this value.
    pub threshold: String,
    /// For so many minutes.
    pub minutes: u32,
    /// What is made of the figures of a minute.
    #[serde(default)]
    pub statistic: crate::kinds::alarm::AlarmStatistic,
}

/// A graph of each of some things.
#[derive(Debug, Clone, Deserialize)]
pub struct GraphDefault {
    /// `database`, `service` or `balancer`.
    pub on: String,
    /// Its title.
    pub title: String,
    /// Whose figures they are.
    pub namespace: String,
    /// Its lines.
    pub lines: Vec<LineDefault>,
}

/// A line of a graph.
#[derive(Debug, Clone, Deserialize)]
pub struct LineDefault {
    /// What it is called.
    pub label: String,
    /// Which figure.
    pub metric: String,
    /// What is made of the figures of a minute.
    pub statistic: String,
}

/// Content networks.
#[derive(Debug, Default, Deserialize)]
pub struct CdnDefaults {
    /// Which places are used.
    pub price_class: String,
    /// The zone of their names, for alias records.
    pub zone: String,
    /// AWS's policy by which content is kept, by id.
    pub cache_policy: String,
    /// AWS's policy of what is passed on to the app, by id.
    pub origin_request_policy: String,
}

/// Policies of AWS that roles get, by ARN.
#[derive(Debug, Default, Deserialize)]
pub struct Policies {
    /// Tasks on Fargate.
    pub tasks: Vec<String>,
    /// A machine that stays.
    pub machines: Vec<String>,
    /// Machines that releases start on.
    pub group: Vec<String>,
    /// What makes snapshots.
    pub snapshots: Vec<String>,
}

/// How the addresses of a network are shared out: second halves of its two first numbers.
#[derive(Debug, Default, Deserialize)]
pub struct Network {
    /// The first two numbers.
    pub vpc_prefix: String,
    /// Third number of the first public subnet.
    pub public: u32,
    /// Of the first subnet for the app.
    pub app: u32,
    /// Of the first subnet for data.
    pub data: u32,
}

/// How large a kind of environment is built.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
pub struct Scale {
    /// Zones.
    pub zones: usize,
    /// Does the app stand in private subnets, behind NAT gateways?
    pub private: bool,
    /// Has the database a stand-by?
    pub multi_az: bool,
    /// How long backups are kept.
    pub backup_days: u32,
    /// Are data protected from being deleted?
    pub deletion_protection: bool,
    /// Instances of the app.
    pub instances: u32,
    /// Nodes of a cache.
    pub cache_nodes: u32,
    /// Are there alarms?
    pub alarms: bool,
}

/// What the provider allows.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
pub struct Limits {
    /// Tasks of a service.
    pub tasks_per_service: u32,
    /// Machines of a group.
    pub machines_per_group: u32,
    /// Target groups that a service can be in.
    pub target_groups_per_service: usize,
    /// Bytes of what a machine is told when it starts, before base64.
    pub user_data_bytes: usize,
    /// Characters of a managed policy, white space not counted.
    pub policy_characters: usize,
    /// Alerts of a budget.
    pub alerts_per_budget: usize,
    /// E-mail addresses of an alert.
    pub addresses_per_alert: usize,
}

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| Catalogue {
    regions: included(include_str!("../data/regions.json")),
    ec2: included(include_str!("../data/ec2.json")),
    fargate: included(include_str!("../data/fargate.json")),
    rds: included(include_str!("../data/rds.json")),
    elasticache: included(include_str!("../data/elasticache.json")),
    defaults: included(include_str!("../data/defaults.json")),
});

/// What is known about AWS.
#[must_use]
pub fn catalogue() -> &'static Catalogue {
    &CATALOGUE
}

impl Catalogue {
    /// How large an environment is built.
    #[must_use]
    pub fn scale(&self, environment: &str) -> Scale {
        if self.is_production(environment) { self.defaults.production } else { self.defaults.small }
    }

    /// Is it built as production?
    #[must_use]
    pub fn is_production(&self, environment: &str) -> bool {
        self.defaults.production_environments.iter().any(|name| name == environment)
    }

    /// How many connections a size of database allows; `None` where that is not known.
    #[must_use]
    pub fn connections(&self, engine: &str, class: &str) -> Option<u32> {
        let engine = self.rds.engines.iter().find(|known| known.engine == engine)?.connections?;
        let class = self.rds.classes.iter().find(|known| known.name == class)?;
        let memory = class.memory_mib.saturating_mul(1024 * 1024);
        u32::try_from((memory / engine.bytes_each.max(1)).min(engine.most)).ok()
    }
}

impl Machines {
    /// The architecture of a size, that of most where it is not known.
    #[must_use]
    pub fn architecture(&self, name: &str) -> &str {
        self.size(name).map_or("x86_64", |size| &size.architecture)
    }

    /// The processors of a size; none: it is not known.
    #[must_use]
    pub fn cpu_of(&self, name: &str) -> Option<u32> {
        self.size(name).map(|size| size.cpu)
    }

    fn size(&self, name: &str) -> Option<&Machine> {
        self.sizes.iter().find(|size| size.name == name)
    }
}

impl Machine {
    /// How much it is.
    #[must_use]
    pub fn amount(&self) -> Amount {
        Amount { memory_mib: self.memory_mib, cpu: f64::from(self.cpu), disk_gib: u64::MAX }
    }

    /// What it belongs to, `t3`.
    #[must_use]
    pub fn family(&self) -> &str {
        self.name.split('.').next().unwrap_or_default()
    }
}

impl DatabaseClass {
    /// How much it is. Storage is chosen apart.
    #[must_use]
    pub fn amount(&self) -> Amount {
        Amount { memory_mib: self.memory_mib, cpu: f64::from(self.cpu), disk_gib: u64::MAX }
    }
}

impl CacheNode {
    /// How much it is; `None` where its memory is not known.
    #[must_use]
    pub fn amount(&self) -> Option<Amount> {
        let cpu = f64::from(self.cpu.unwrap_or_default());
        self.memory_mib.map(|memory_mib| Amount { memory_mib, cpu, disk_gib: u64::MAX })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_can_be_read_and_says_where_it_comes_from() {
        let regions: Regions = serde_json::from_str(include_str!("../data/regions.json")).unwrap();
        let machines: Machines = serde_json::from_str(include_str!("../data/ec2.json")).unwrap();
        let tasks: Tasks = serde_json::from_str(include_str!("../data/fargate.json")).unwrap();
        let databases: Databases = serde_json::from_str(include_str!("../data/rds.json")).unwrap();
        let caches: Caches = serde_json::from_str(include_str!("../data/elasticache.json")).unwrap();
        let defaults: Defaults = serde_json::from_str(include_str!("../data/defaults.json")).unwrap();
        for (source, as_of) in [
            (&regions.source, &regions.as_of),
            (&machines.source, &machines.as_of),
            (&tasks.source, &tasks.as_of),
            (&databases.source, &databases.as_of),
            (&caches.source, &caches.as_of),
            (&defaults.source, &defaults.as_of),
        ] {
            assert!(source.len() > 20 && as_of.len() == 10, "{source}: {as_of}");
        }
    }

    #[test]
    fn what_is_chosen_is_known() {
        let known = catalogue();
        assert!(known.regions.regions.iter().any(|region| region.name == known.regions.default));
        for family in &known.ec2.prefer {
            assert!(known.ec2.sizes.iter().any(|size| size.family() == family), "{family}");
            assert!(known.ec2.priced_families.contains(family), "{family}");
        }
        for scale in [known.defaults.small, known.defaults.production] {
            assert!(known.regions.regions.iter().all(|region| region.zones.len() >= scale.zones.min(2)));
            assert!(
                (known.rds.backup_days.minimum..=known.rds.backup_days.maximum).contains(&scale.backup_days)
            );
        }
        for engine in known.rds.engines.iter().chain(&known.elasticache.engines) {
            assert!(engine.versions.contains(&engine.default), "{}", engine.engine);
        }
        assert!(known.defaults.compute.types.contains_key(&known.defaults.compute.default));
    }

    #[test]
    fn connections_follow_the_memory() {
        assert_eq!(catalogue().connections("postgres", "db.t4g.micro"), Some(112));
        assert_eq!(catalogue().connections("postgres", "db.nothing"), None);
    }
}
