//! Databases, caches and object storage.

use std::collections::{BTreeMap, BTreeSet};

use vrooli_deploy_core::diagnostics::{Severity, rules};
use vrooli_deploy_core::manifest::PasswordKeeper;
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::choosing::{ExtensionLists, Sizes, extensions, size, version};
use vrooli_deploy_core::provider::lowering::{Lowering, object_name, output, resource_key};
use vrooli_deploy_core::provider::parts::{Part, PartGroup, PartRule, PartRules, part_name, parts};
use vrooli_deploy_core::provider::sizing::{Need, database_pool};
use vrooli_deploy_core::requirements::catalogue as resources;

use super::network::{Network, ids};
use super::{Site, choose, encryption};
use crate::kinds::bucket::{Bucket, BucketSpec};
use crate::kinds::cache::{Cache, CacheSpec};
use crate::kinds::cache_subnet_group::{CacheSubnetGroup, CacheSubnetGroupSpec};
use crate::kinds::db_instance::{DbInstance, DbInstanceSpec};
use crate::kinds::db_parameter_group::{DbParameterGroup, DbParameterGroupSpec};
use crate::kinds::db_subnet_group::{DbSubnetGroup, DbSubnetGroupSpec};
use crate::kinds::secret::{Secret, SecretSpec};

const RULES: &[PartRule] = &[
    PartRule { resource: "postgres", group: PartGroup::Database, engines: &["postgres"] },
    PartRule { resource: "mysql", group: PartGroup::Database, engines: &["mysql"] },
    PartRule { resource: "redis", group: PartGroup::Cache, engines: &["redis", "valkey"] },
    PartRule { resource: "minio", group: PartGroup::Storage, engines: &["s3"] },
];

/// What holds data.
#[derive(Debug)]
pub(super) struct WantedData<'a>(Vec<Part<'a>>);

impl<'a> WantedData<'a> {
    fn of(&self, group: PartGroup) -> impl Iterator<Item = &Part<'a>> {
        self.0.iter().filter(move |part| part.group == group)
    }

    /// Does something of it stand in the network?
    pub(super) fn needs_network(&self) -> bool {
        self.0.iter().any(|part| part.group != PartGroup::Storage)
    }

    /// The ports at which it is reached.
    pub(super) fn ports(&self) -> BTreeSet<u16> {
        let known = crate::catalogue::catalogue();
        let engines = || known.rds.engines.iter().chain(&known.elasticache.engines);
        let port =
            |part: &Part<'_>| engines().find(|engine| engine.engine == part.engine).map(|engine| engine.port);
        self.0.iter().filter_map(port).collect()
    }

    /// Keys of the databases.
    pub(super) fn databases(&self) -> impl Iterator<Item = &ResourceKey> {
        self.of(PartGroup::Database).map(|part| &part.key)
    }
}

/// What is to be made, from the app's needs and from what the manifest names beside them.
pub(super) fn wanted<'a>(lowering: &mut Lowering<'a>, site: Site<'a>) -> WantedData<'a> {
    let words = &site.known.defaults.parts;
    let offered = PartRules { cloud: "AWS", compute: "ec2", rules: RULES, words };
    WantedData(parts(lowering, site.requirements, offered))
}

/// Databases and caches, in the network.
pub(super) fn lower(lowering: &mut Lowering<'_>, site: Site<'_>, network: &Network, wanted: &WantedData<'_>) {
    lowering.no_managed_password("AWS", &["cache", "storage"]);
    for part in wanted.of(PartGroup::Database) {
        if same_region(lowering, site, part, "/infrastructure/database") {
            database(lowering, site, network, part);
        }
    }
    for part in wanted.of(PartGroup::Cache) {
        if same_region(lowering, site, part, "/infrastructure/cache") {
            cache(lowering, site, network, part);
        }
    }
}

/// What stands in the app's network stands in its region.
fn same_region(lowering: &mut Lowering<'_>, site: Site<'_>, part: &Part<'_>, pointer: &str) -> bool {
    let other = part.config.and_then(|config| config.region.as_deref());
    let Some(other) = other.filter(|other| *other != site.region.name) else { return true };
    let message = format!("`{}` is to be in {other}, the app is in {}", part.key, site.region.name);
    let mut diagnostic = rules::REGION_MISMATCH.diagnostic(message);
    diagnostic.severity = Severity::Error;
    let help =
        "a database or a cache stands in the network of its app, which is in one region: leave `region` out";
    lowering.say_at(&format!("{pointer}/region"), diagnostic.help(help));
    false
}

/// A password, kept in Secrets Manager.
fn password(lowering: &mut Lowering<'_>, site: Site<'_>, of: &ResourceKey) -> ResourceKey {
    let key = resource_key(&format!("{of}/password"));
    let stack = lowering.stack();
    let spec = SecretSpec {
        region: site.region.name.clone(),
        name: format!("{}/{}/{of}/password", stack.app, stack.environment),
        description: format!("password of {of}"),
        recovery_days: site.known.defaults.secret_recovery_days,
        kms_key: encryption::key(lowering, site, site.region),
    };
    lowering.add(&key, &Secret, &spec, false);
    key
}

fn database(lowering: &mut Lowering<'_>, site: Site<'_>, network: &Network, part: &Part<'_>) {
    let rds = &site.known.rds;
    let Some(engine) = rds.engines.iter().find(|engine| engine.engine == part.engine) else { return };
    let what = format!("database `{}`", part_name(&part.key));
    let need = part.requirement.map_or_else(|| Need::of_known(part.engine), Need::of_resource);
    let preferred = if site.scale.multi_az { &rds.prefer.production } else { &rds.prefer.small };
    let sizes = preferred.iter().flat_map(|family| {
        rds.classes
            .iter()
            .filter(move |class| class.name.rsplit_once('.').is_some_and(|(of, _)| of == family))
    });
    let sizes = sizes.map(|class| (class.amount(), class.name.as_str())).collect();
    let named: Vec<&str> = rds.classes.iter().map(|class| class.name.as_str()).collect();
    let asked = part.config.and_then(|config| config.size.as_deref());
    let pointer = "/infrastructure/database/size";
    let sizes = Sizes { what: &what, pointer, named, preferred: sizes };
    let class = size(lowering, sizes, asked, need);
    let version = version(
        lowering,
        choose::versions(engine, "/infrastructure/database/version"),
        part.config.and_then(|config| config.version.as_deref()),
        part.requirement.and_then(|requirement| requirement.version.as_deref()),
    );
    if let Some(requirement) = part.requirement.filter(|_| part.engine == "postgres") {
        let lists = ExtensionLists {
            available: &rds.extensions.available,
            missing: &rds.extensions.missing,
            how_to_know: "look at `SHOW rds.extensions` of a server of that version",
        };
        extensions(lowering, lists, requirement);
    }
    let database = part
        .requirement
        .and_then(|requirement| requirement.database.clone())
        .unwrap_or_else(|| resources().database_name(&site.requirements.app));
    if !database.starts_with(|first: char| first.is_ascii_alphabetic())
        || !database.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    {
        let message =
            format!("RDS takes no database named `{database}`: letters, digits and `_`, a letter first");
        lowering.say(rules::RESOURCE_UNUSABLE.diagnostic(message).help("name another in the manifest"));
        return;
    }
    let (Some(class), Some(version)) = (class, version) else { return };
    say_connections(lowering, site, part.engine, &class);

    let region = &site.region.name;
    let stack = lowering.stack();
    let name = object_name(stack, part_name(&part.key), 63);
    let subnets = resource_key(&format!("{}/subnets", part.key));
    let spec = DbSubnetGroupSpec { region: region.clone(), name: name.clone(), subnets: ids(&network.data) };
    lowering.add(&subnets, &DbSubnetGroup, &spec, false);
    let parameters = resource_key(&format!("{}/parameters", part.key));
    // Groups are made for a major version: the first number of PostgreSQL's, the first two of MySQL's.
    let numbers = if part.engine == "postgres" { 1 } else { 2 };
    let major = version.split('.').take(numbers).collect::<Vec<_>>().join(".");
    let force_tls = if part.engine == "postgres" {
        ("rds.force_ssl".to_owned(), "1".to_owned())
    } else {
        ("require_secure_transport".to_owned(), "ON".to_owned())
    };
    let spec = DbParameterGroupSpec {
        region: region.clone(),
        // A group belongs to one version, so its name says which.
        name: object_name(stack, &format!("{}-{}{major}", part_name(&part.key), part.engine), 255),
        family: format!("{}{major}", engine.family),
        parameters: BTreeMap::from([force_tls]),
    };
    lowering.add(&parameters, &DbParameterGroup, &spec, false);
    let managed = part.config.is_some_and(|config| config.password == PasswordKeeper::Managed);
    let secret = (!managed).then(|| password(lowering, site, &part.key));
    let storage = u32::try_from(need.recommended.disk_gib).unwrap_or(u32::MAX);
    let spec = DbInstanceSpec {
        region: region.clone(),
        name,
        engine: part.engine.to_owned(),
        version,
        class,
        storage_gib: storage.clamp(rds.storage_gib.minimum, rds.storage_gib.maximum),
        multi_az: site.scale.multi_az,
        backup_days: site.scale.backup_days,
        deletion_protection: site.scale.deletion_protection,
        encrypted: true,
        database,
        user: site.known.defaults.database_user.clone(),
        subnet_group: output(&subnets, "name"),
        parameter_group: output(&parameters, "name"),
        security_groups: network.data_group.iter().map(|group| output(group, "id")).collect(),
        kms_key: encryption::key(lowering, site, site.region),
        password: secret.map(|secret| output(&secret, "arn")),
    };
    lowering.add(&part.key, &DbInstance, &spec, true);
}

fn say_connections(lowering: &mut Lowering<'_>, site: Site<'_>, engine: &str, class: &str) {
    let Some(most) = site.known.connections(engine, class) else { return };
    let pool = if engine == "postgres" {
        format!("an instance opens up to {} unless `POSTGRES_POOL_SIZE` says otherwise; ", database_pool())
    } else {
        String::new()
    };
    let diagnostic = rules::CONNECTIONS.diagnostic(format!("{class} allows {most} connections"));
    lowering.say(diagnostic.help(format!("{pool}two releases hold theirs at once while one takes over")));
}

fn cache(lowering: &mut Lowering<'_>, site: Site<'_>, network: &Network, part: &Part<'_>) {
    let known = &site.known.elasticache;
    let Some(engine) = known.engines.iter().find(|engine| engine.engine == part.engine) else { return };
    let need = part.requirement.map(Need::of_resource).unwrap_or_default();
    let preferred = if site.scale.multi_az { &known.prefer.production } else { &known.prefer.small };
    let sizes = preferred.iter().flat_map(|family| {
        known.nodes.iter().filter(move |node| node.name.rsplit_once('.').is_some_and(|(of, _)| of == family))
    });
    let sizes = sizes.filter_map(|node| Some((node.amount()?, node.name.as_str()))).collect();
    let named: Vec<&str> = known.nodes.iter().map(|node| node.name.as_str()).collect();
    let what = format!("cache `{}`", part_name(&part.key));
    let asked = part.config.and_then(|config| config.size.as_deref());
    let sizes = Sizes { what: &what, pointer: "/infrastructure/cache/size", named, preferred: sizes };
    let node = size(lowering, sizes, asked, need);
    let version = version(
        lowering,
        choose::versions(engine, "/infrastructure/cache/version"),
        part.config.and_then(|config| config.version.as_deref()),
        part.requirement.and_then(|requirement| requirement.version.as_deref()),
    );
    let (Some(node_type), Some(version)) = (node, version) else { return };
    let region = &site.region.name;
    let name = object_name(lowering.stack(), part_name(&part.key), 40);
    let subnets = resource_key(&format!("{}/subnets", part.key));
    let spec =
        CacheSubnetGroupSpec { region: region.clone(), name: name.clone(), subnets: ids(&network.data) };
    lowering.add(&subnets, &CacheSubnetGroup, &spec, false);
    let secret = password(lowering, site, &part.key);
    let spec = CacheSpec {
        region: region.clone(),
        name,
        engine: part.engine.to_owned(),
        version,
        node_type,
        nodes: site.scale.cache_nodes,
        subnet_group: output(&subnets, "name"),
        security_groups: network.data_group.iter().map(|group| output(group, "id")).collect(),
        kms_key: encryption::key(lowering, site, site.region),
        password: output(&secret, "arn"),
    };
    lowering.add(&part.key, &Cache, &spec, false);
}

/// Buckets. The first of a store has the store's key; further ones are beside it.
pub(super) fn stores(
    lowering: &mut Lowering<'_>,
    site: Site<'_>,
    wanted: &WantedData<'_>,
) -> Vec<ResourceKey> {
    let mut keys = Vec::new();
    let names = |part: &Part<'_>| -> Vec<String> {
        let declared = part.requirement.map(|requirement| requirement.buckets.clone()).unwrap_or_default();
        if declared.is_empty() { vec!["files".to_owned()] } else { declared }
    };
    let all: usize = wanted.of(PartGroup::Storage).map(|part| names(part).len()).sum();
    let of = u32::try_from(all).unwrap_or(u32::MAX);
    for part in wanted.of(PartGroup::Storage) {
        let mut region = site.region;
        if let Some(other) = part.config.and_then(|config| config.region.as_deref())
            && other != region.name
        {
            let Some(found) = choose::named_region(site.known, other) else {
                let regions = site.known.regions.regions.iter().map(|region| region.name.as_str());
                let diagnostic = vrooli_deploy_core::provider::lowering::unknown(
                    rules::UNKNOWN_REGION,
                    "region of AWS",
                    other,
                    regions,
                );
                lowering.say_at("/infrastructure/storage/region", diagnostic);
                continue;
            };
            lowering.say_at(
                "/infrastructure/storage/region",
                rules::REGION_MISMATCH
                    .diagnostic(format!("the app is in {} and its bucket in {other}", region.name))
                    .help("requests to it leave the region: they take longer, and transfer between regions is billed"),
            );
            region = found;
        }
        for (index, bucket) in names(part).iter().enumerate() {
            let valid = bucket.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
            if bucket.is_empty() || !valid {
                let message = format!("`{bucket}` is no name of a bucket: letters, digits and hyphens");
                lowering.say(rules::RESOURCE_UNUSABLE.diagnostic(message).help("change it in the manifest"));
                continue;
            }
            let key =
                if index == 0 { part.key.clone() } else { resource_key(&format!("{}/{bucket}", part.key)) };
            let spec = BucketSpec {
                region: region.name.clone(),
                // Room for what makes the name unique in the world.
                name: object_name(lowering.stack(), bucket, 48),
                versioning: true,
                expire_days: Some(site.known.defaults.old_versions_days),
                kms_key: encryption::key(lowering, site, region),
                of,
            };
            lowering.add(&key, &Bucket, &spec, true);
            keys.push(key);
        }
    }
    keys
}
