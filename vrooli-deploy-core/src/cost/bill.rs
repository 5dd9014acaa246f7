use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Decimal;

/// One thing that a provider bills for, without its price: the price book knows that.
/// Items are the only source of an estimate; nothing else is ever added to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BillItem {
    /// Which line of an estimate it belongs to.
    pub line: Line,
    /// For people: `2 droplets s-2vcpu-4gb`.
    pub what: String,
    /// What the book is asked.
    pub price: PriceKey,
    /// How much of it a month.
    pub quantity: Quantity,
    /// What its price includes, shared with other items of the stack: a droplet's transfer.
    /// Of one of them: two droplets that run all month include it twice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub includes: Vec<Allowance>,
    /// Runs twice while two releases serve side by side.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub per_release: bool,
}

/// What a price book is asked. Exactly one entry must answer: none is an error that names
/// the item, never zero.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct PriceKey {
    /// The book: `aws`, `digitalocean`.
    pub provider: String,
    /// The provider's service, as the book spells it: `ec2`, `droplet`, `managed-db`.
    pub service: String,
    /// What is billed, as the book spells it: `t3.small`, `db-s-1vcpu-1gb`. Of a price with
    /// steps the first one's (`internet-egress-from-0GB`) or their common name
    /// (`internet-egress`): the other steps follow by themselves.
    pub sku: String,
    /// The region, as the provider spells it. Entries for `all` or `global` answer for any.
    pub region: String,
    /// Further columns that an entry must have: `engine` = `pg`, `deployment` = `multi-az`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

/// How much of something a month.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// So many of the entry's unit a month, whatever happens: GB of disk that are provisioned.
    Amount(#[schemars(with = "String")] Decimal),
    /// So many of them run all month. The book turns that into the unit of its entry
    /// (hours: 730 on AWS, at most 672 for a droplet; months: 1).
    Running(#[schemars(with = "String")] Decimal),
    /// What the app's users cause, from the usage profile.
    Usage {
        /// Which figure of the profile.
        metric: Metric,
        /// Times this; 1 unless the unit differs (`1k-requests`: 1000 times a million;
        /// `LCU-hour`: 730 times the average).
        #[schemars(with = "String")]
        factor: Decimal,
        /// Taken from this pool of [`Allowance`]s first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pool: Option<String>,
    },
    /// A share of what another price comes to (backups: 20 % of the droplet). The book's entry
    /// for [`BillItem::price`] is the share.
    ShareOf {
        /// The other price.
        of: PriceKey,
        /// How many of the other run all month.
        #[schemars(with = "String")]
        running: Decimal,
    },
}

/// What a price includes, in a pool that all items of a stack share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Allowance {
    /// The pool: `droplet-transfer`, `spaces-storage`.
    pub pool: String,
    /// How much a month, in the unit of what draws from it.
    #[schemars(with = "String")]
    pub amount: Decimal,
}

/// What the app's users cause in a month. A usage profile gives each a low, an expected and
/// a high value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Sent to the internet, in GB.
    EgressGb,
    /// Sent through a content delivery network, in GB.
    CdnGb,
    /// Requests, in millions.
    RequestsMillions,
    /// Kept in object storage, in GB.
    StorageGb,
    /// Writes to object storage, in millions.
    StorageWritesMillions,
    /// Reads from object storage, in millions.
    StorageReadsMillions,
    /// Written to logs, in GB.
    LogsGb,
    /// Kept in backups beyond what is free, in GB.
    BackupGb,
    /// Sent out through address translation, in GB.
    NatGb,
    /// Kept in an image registry, in GB.
    RegistryGb,
    /// Name look-ups, in millions.
    DnsQueriesMillions,
    /// Load-balancer capacity units used on average.
    LoadBalancerUnits,
}

/// A line of an estimate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// Machines, containers, and their disks.
    Compute,
    /// Databases.
    Database,
    /// Caches.
    Cache,
    /// Object storage.
    Storage,
    /// What is sent to the internet.
    Bandwidth,
    /// Load balancers.
    LoadBalancer,
    /// Address translation.
    Nat,
    /// Public addresses.
    Addresses,
    /// Content delivery.
    Cdn,
    /// Logs.
    Logs,
    /// Backups and snapshots.
    Backups,
    /// Name service.
    Dns,
    /// Secrets and keys.
    Secrets,
    /// Image registry.
    Registry,
    /// Alarms and dashboards.
    Monitoring,
    /// Two releases side by side while one takes over.
    Overlap,
    /// Machines that are the user's own.
    Servers,
}

impl Line {
    /// All of them, in the order in which estimates show them.
    pub const ALL: [Self; 17] = [
        Self::Compute,
        Self::Database,
        Self::Cache,
        Self::Storage,
        Self::Bandwidth,
        Self::LoadBalancer,
        Self::Nat,
        Self::Addresses,
        Self::Cdn,
        Self::Logs,
        Self::Backups,
        Self::Dns,
        Self::Secrets,
        Self::Registry,
        Self::Monitoring,
        Self::Overlap,
        Self::Servers,
    ];

    /// Its name in data: `load_balancer`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::Database => "database",
            Self::Cache => "cache",
            Self::Storage => "storage",
            Self::Bandwidth => "bandwidth",
            Self::LoadBalancer => "load_balancer",
            Self::Nat => "nat",
            Self::Addresses => "addresses",
            Self::Cdn => "cdn",
            Self::Logs => "logs",
            Self::Backups => "backups",
            Self::Dns => "dns",
            Self::Secrets => "secrets",
            Self::Registry => "registry",
            Self::Monitoring => "monitoring",
            Self::Overlap => "overlap",
            Self::Servers => "servers",
        }
    }
}
