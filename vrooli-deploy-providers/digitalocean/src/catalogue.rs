//! What is known about DigitalOcean: regions, sizes, versions, limits. Data files with source
//! and date.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;
use vrooli_deploy_core::cost::Decimal;
use vrooli_deploy_core::provider::choosing::ComputeTypes;
use vrooli_deploy_core::provider::pure::included;
use vrooli_deploy_core::provider::sizing::Amount;

/// Everything that is known.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// Regions.
    pub regions: Regions,
    /// Machines.
    pub droplets: Droplets,
    /// Containers.
    pub app_platform: Containers,
    /// Managed databases.
    pub databases: Databases,
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
    /// Its name, `nyc3`.
    pub name: String,
    /// What it is called, for people.
    pub title: String,
    /// Has it managed databases?
    pub databases: bool,
    /// Has it Spaces?
    pub spaces: bool,
    /// Can a registry's images lie there?
    pub registry: bool,
    /// App Platform's name of the place, `nyc`, where it has one.
    #[serde(default)]
    pub app_platform: Option<String>,
}

/// Sizes of droplets.
#[derive(Debug, Default, Deserialize)]
pub struct Droplets {
    /// Where that is known from.
    pub source: String,
    /// As of when.
    pub as_of: String,
    /// The image that droplets are made from.
    pub image: String,
    /// All sizes, the cheapest first.
    pub sizes: Vec<DropletSize>,
}

/// One size of droplet. What is not known is absent.
#[derive(Debug, Clone, Deserialize)]
pub struct DropletSize {
    /// Its name, `s-1vcpu-2gb`.
    pub name: String,
    /// Processors.
    #[serde(default)]
    pub cpu: Option<u32>,
    /// Memory, in MiB.
    #[serde(default)]
    pub memory_mib: Option<u64>,
    /// Disk, in GiB.
    #[serde(default)]
    pub disk_gib: Option<u64>,
    /// Transfer that is included, in GB a month.
    #[serde(default)]
    pub transfer_gb: Option<u32>,
    /// Has it a graphics card?
    #[serde(default)]
    pub gpu: bool,
    /// Is it chosen from when no size is named?
    #[serde(default)]
    pub preferred: bool,
}

/// Sizes of containers on App Platform.
#[derive(Debug, Default, Deserialize)]
pub struct Containers {
    /// Where that is known from.
    pub source: String,
    /// As of when.
    pub as_of: String,
    /// How long the name of an app may be.
    pub name_max: usize,
    /// All sizes, the cheapest first.
    pub sizes: Vec<ContainerSize>,
}

/// One size of container.
#[derive(Debug, Clone, Deserialize)]
pub struct ContainerSize {
    /// Its name, `apps-s-1vcpu-1gb`.
    pub name: String,
    /// Processors.
    pub cpu: u32,
    /// Memory, in MiB.
    pub memory_mib: u64,
    /// Transfer that is included, in GB a month.
    pub transfer_gb: u32,
    /// Has it processors of its own?
    pub dedicated: bool,
    /// May it run more than once?
    pub scales: bool,
    /// May its number follow the load?
    pub autoscales: bool,
}

/// Managed databases.
#[derive(Debug, Default, Deserialize)]
pub struct Databases {
    /// Where that is known from.
    pub source: String,
    /// As of when.
    pub as_of: String,
    /// Versions that are taken when none is said, by engine.
    pub defaults: BTreeMap<String, String>,
    /// Versions that are offered, by engine.
    pub versions: BTreeMap<String, Vec<String>>,
    /// How many connections a node allows.
    pub connections: Connections,
    /// Extensions of PostgreSQL.
    pub extensions: Extensions,
    /// Sizes of PostgreSQL nodes, smallest first; those without a price come last.
    pub pg: Vec<NodeSize>,
    /// Sizes of MySQL nodes.
    pub mysql: Vec<NodeSize>,
    /// Sizes of Valkey nodes.
    pub valkey: Vec<NodeSize>,
}

/// One size of database node.
#[derive(Debug, Clone, Deserialize)]
pub struct NodeSize {
    /// Its name, `db-s-1vcpu-1gb`.
    pub name: String,
    /// How many nodes of it a cluster can have.
    pub nodes: Vec<u32>,
    /// Processors.
    #[serde(default)]
    pub cpu: Option<u32>,
    /// Memory, in MiB.
    #[serde(default)]
    pub memory_mib: Option<u64>,
    /// Storage that comes with it, in GiB.
    #[serde(default)]
    pub disk_gib: Option<u32>,
    /// Has the price book its price?
    pub priced: bool,
}

/// How many connections a node allows.
#[derive(Debug, Default, Deserialize)]
pub struct Connections {
    /// Where that is known from.
    pub source: String,
    /// Of PostgreSQL.
    pub pg: ConnectionRule,
}

/// So many for each GiB of memory, less what is reserved.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
pub struct ConnectionRule {
    /// For each GiB.
    pub per_gib: u32,
    /// For the provider itself.
    pub reserved: u32,
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
    /// Not offered for certain, and why.
    pub missing: BTreeMap<String, String>,
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
    /// Words of old, and what they are called now.
    pub renamed: BTreeMap<String, String>,
    /// Ports.
    pub ports: Ports,
    /// Disk for an app's files, in GiB.
    pub data_disk_gib: u32,
    /// For all but production.
    pub small: Scale,
    /// For production.
    pub production: Scale,
    /// How many nodes a load balancer can have.
    pub balancer_nodes_at_most: u32,
    /// The subscription of a registry that is taken.
    pub registry: String,
    /// Subscriptions of a registry.
    pub registries: Vec<RegistryTier>,
    /// What Spaces include.
    pub spaces: SpacesIncludes,
    /// The servers that know the names of the account's domains.
    pub name_servers: Vec<String>,
}

/// Ports at which droplets are reached.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
pub struct Ports {
    /// Plain.
    pub http: u16,
    /// With a certificate.
    pub https: u16,
    /// For whoever deploys.
    pub ssh: u16,
}

/// How large a kind of environment is built.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
pub struct Scale {
    /// Instances of the app.
    pub instances: u32,
    /// Nodes of a database.
    pub database_nodes: u32,
    /// Nodes of a cache.
    pub cache_nodes: u32,
    /// Nodes of a load balancer.
    pub balancer_nodes: u32,
}

/// A subscription of a registry.
#[derive(Debug, Clone, Deserialize)]
pub struct RegistryTier {
    /// Its name.
    pub name: String,
    /// Storage that it includes, in GiB.
    pub storage_gib: Decimal,
}

/// What the Spaces subscription includes, for all Spaces together.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
pub struct SpacesIncludes {
    /// Storage, in GiB.
    pub storage_gib: u32,
    /// Transfer, in GiB a month.
    pub transfer_gib: u32,
}

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| Catalogue {
    regions: included(include_str!("../data/regions.json")),
    droplets: included(include_str!("../data/droplets.json")),
    app_platform: included(include_str!("../data/app_platform.json")),
    databases: included(include_str!("../data/databases.json")),
    defaults: included(include_str!("../data/defaults.json")),
});

/// What is known about DigitalOcean.
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

    /// A region by its name.
    #[must_use]
    pub fn region(&self, name: &str) -> Option<&Region> {
        self.regions.regions.iter().find(|region| region.name == name)
    }

    /// A size of droplet by its name.
    #[must_use]
    pub fn droplet(&self, name: &str) -> Option<&DropletSize> {
        self.droplets.sizes.iter().find(|size| size.name == name)
    }

    /// A size of container by its name.
    #[must_use]
    pub fn container(&self, name: &str) -> Option<&ContainerSize> {
        self.app_platform.sizes.iter().find(|size| size.name == name)
    }

    /// Sizes of the nodes of an engine: `pg`, `mysql`, `valkey`.
    #[must_use]
    pub fn nodes(&self, engine: &str) -> &[NodeSize] {
        match engine {
            "pg" => &self.databases.pg,
            "mysql" => &self.databases.mysql,
            "valkey" => &self.databases.valkey,
            _ => &[],
        }
    }

    /// A size of database node by its name.
    #[must_use]
    pub fn node(&self, engine: &str, name: &str) -> Option<&NodeSize> {
        self.nodes(engine).iter().find(|size| size.name == name)
    }

    /// A subscription of a registry by its name.
    #[must_use]
    pub fn registry(&self, name: &str) -> Option<&RegistryTier> {
        self.defaults.registries.iter().find(|tier| tier.name == name)
    }

    /// How many connections a size of database node allows; `None` where that is not known.
    #[must_use]
    pub fn connections(&self, engine: &str, size: &str) -> Option<u32> {
        if engine != "pg" {
            return None;
        }
        let gib = u32::try_from(self.node(engine, size)?.memory_mib? / 1024).ok()?;
        let rule = self.databases.connections.pg;
        rule.per_gib.checked_mul(gib)?.checked_sub(rule.reserved)
    }
}

impl DropletSize {
    /// How much it is, where that is known.
    #[must_use]
    pub fn amount(&self) -> Option<Amount> {
        Some(Amount { memory_mib: self.memory_mib?, cpu: f64::from(self.cpu?), disk_gib: self.disk_gib? })
    }
}

impl ContainerSize {
    /// How much it is. It has no disk that stays.
    #[must_use]
    pub fn amount(&self) -> Amount {
        Amount { memory_mib: self.memory_mib, cpu: f64::from(self.cpu), disk_gib: 0 }
    }
}

impl NodeSize {
    /// How much it is, where that is known. Storage can be added to any.
    #[must_use]
    pub fn amount(&self) -> Option<Amount> {
        Some(Amount { memory_mib: self.memory_mib?, cpu: f64::from(self.cpu?), disk_gib: u64::MAX })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_can_be_read_and_says_where_it_comes_from() {
        let regions: Regions = serde_json::from_str(include_str!("../data/regions.json")).unwrap();
        let droplets: Droplets = serde_json::from_str(include_str!("../data/droplets.json")).unwrap();
        let containers: Containers = serde_json::from_str(include_str!("../data/app_platform.json")).unwrap();
        let databases: Databases = serde_json::from_str(include_str!("../data/databases.json")).unwrap();
        let defaults: Defaults = serde_json::from_str(include_str!("../data/defaults.json")).unwrap();
        for (source, as_of) in [
            (&regions.source, &regions.as_of),
            (&droplets.source, &droplets.as_of),
            (&containers.source, &containers.as_of),
            (&databases.source, &databases.as_of),
            (&defaults.source, &defaults.as_of),
        ] {
            assert!(source.len() > 20 && as_of.len() == 10, "{source}: {as_of}");
        }
    }

    #[test]
    fn what_is_chosen_is_known() {
        let known = catalogue();
        assert!(known.region(&known.regions.default).is_some_and(|region| region.databases && region.spaces));
        assert!(!known.droplets.image.is_empty());
        assert!(known.registry(&known.defaults.registry).is_some());
        assert!(
            known.droplets.sizes.iter().filter(|size| size.preferred).all(|size| size.amount().is_some())
        );
        for engine in ["pg", "mysql", "valkey"] {
            assert!(known.databases.versions[engine].contains(&known.databases.defaults[engine]));
            assert!(known.nodes(engine).iter().any(|size| size.priced && size.amount().is_some()));
        }
        assert!(!known.region("nyc1").unwrap().spaces);
    }

    #[test]
    fn connections_follow_the_memory() {
        assert_eq!(catalogue().connections("pg", "db-s-1vcpu-1gb"), Some(22));
        assert_eq!(catalogue().connections("pg", "db-s-2vcpu-4gb"), Some(97));
        assert_eq!(catalogue().connections("valkey", "db-s-1vcpu-1gb"), None);
    }
}
