//! Databases, caches and object storage.

use vrooli_deploy_core::diagnostics::{Severity, rules};
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::choosing::{ExtensionLists, Sizes, Versions, extensions, size, version};
use vrooli_deploy_core::provider::lowering::{Lowering, object_name, output, resource_key};
use vrooli_deploy_core::provider::parts::{Part, PartGroup, PartRule, PartRules, part_name, parts};
use vrooli_deploy_core::provider::sizing::{Need, database_pool};
use vrooli_deploy_core::requirements::catalogue as resources;

use super::{Site, choose, tag};
use crate::kinds::bucket::{Bucket, BucketSpec};
use crate::kinds::database::{Database, DatabaseSpec};

const RULES: &[PartRule] = &[
    PartRule { resource: "postgres", group: PartGroup::Database, engines: &["pg"] },
    PartRule { resource: "mysql", group: PartGroup::Database, engines: &["mysql"] },
    PartRule { resource: "redis", group: PartGroup::Cache, engines: &["valkey"] },
    PartRule { resource: "minio", group: PartGroup::Storage, engines: &["spaces"] },
];

/// What is to be made, from the app's needs and from what the manifest names beside them.
pub(super) fn wanted<'a>(lowering: &mut Lowering<'a>, site: Site<'a>) -> Vec<Part<'a>> {
    let defaults = &site.known.defaults;
    let offered =
        PartRules { cloud: "DigitalOcean", compute: "droplet", rules: RULES, words: &defaults.parts };
    let parts = parts(lowering, site.requirements, offered);
    for part in &parts {
        if part.engine == "valkey" {
            renamed(lowering, site, part);
        }
    }
    parts
}

/// Redis is offered as Valkey.
fn renamed(lowering: &mut Lowering<'_>, site: Site<'_>, part: &Part<'_>) {
    let said = part.config.map(|config| config.kind.to_ascii_lowercase());
    let now = match &said {
        Some(said) => match site.known.defaults.renamed.get(said) {
            Some(now) => now.as_str(),
            None => return,
        },
        None => "managed-valkey",
    };
    lowering.say_at(
        "/infrastructure/cache/type",
        rules::ENGINE_RENAMED
            .diagnostic(format!(
                "`{}`: DigitalOcean's Redis is now Valkey, which speaks the same protocol",
                part_name(&part.key)
            ))
            .help(format!("`{now}` says it as it is; `REDIS_URL` stays what clients read")),
    );
}

/// Does something of it stand in a network?
pub(super) fn needs_network(parts: &[Part<'_>]) -> bool {
    parts.iter().any(|part| part.group != PartGroup::Storage)
}

/// Managed clusters.
pub(super) fn clusters(
    lowering: &mut Lowering<'_>,
    site: Site<'_>,
    vpc: &ResourceKey,
    parts: &[Part<'_>],
    on_droplets: bool,
) {
    for part in parts.iter().filter(|part| part.group != PartGroup::Storage) {
        let pointer = part.group.pointer();
        let other = part.config.and_then(|config| config.region.as_deref());
        if let Some(other) = other.filter(|other| *other != site.region.name) {
            let message = format!("`{}` is to be in {other}, the app is in {}", part.key, site.region.name);
            let mut diagnostic = rules::REGION_MISMATCH.diagnostic(message);
            diagnostic.severity = Severity::Error;
            let help = "a database or a cache stands in the network of its app, which is in one region: leave `region` out";
            lowering.say_at(&format!("{pointer}/region"), diagnostic.help(help));
            continue;
        }
        if !site.region.databases {
            let message = format!("{} has no managed databases", site.region.name);
            let names = site.known.regions.regions.iter().filter(|region| region.databases);
            let names = names.map(|region| region.name.as_str()).collect::<Vec<_>>().join(", ");
            let diagnostic = rules::UNKNOWN_REGION.diagnostic(message).help(format!("take one of {names}"));
            lowering.say_at("/infrastructure/region", diagnostic);
            continue;
        }
        cluster(lowering, site, vpc, part, on_droplets);
    }
}

fn cluster(
    lowering: &mut Lowering<'_>,
    site: Site<'_>,
    vpc: &ResourceKey,
    part: &Part<'_>,
    on_droplets: bool,
) {
    let databases = &site.known.databases;
    let section = part.group.pointer();
    let is_cache = part.group == PartGroup::Cache;
    let need = part.requirement.map_or_else(
        || if part.engine == "pg" { Need::of_known("postgres") } else { Need::of_known(part.engine) },
        Need::of_resource,
    );
    let mut nodes = if is_cache { site.scale.cache_nodes } else { site.scale.database_nodes };
    let all = site.known.nodes(part.engine);
    let preferred = all
        .iter()
        .filter(|size| size.priced && size.nodes.contains(&nodes))
        .filter_map(|size| Some((size.amount()?, size.name.as_str())))
        .collect();
    let what = format!("{} `{}`", if is_cache { "cache" } else { "database" }, part_name(&part.key));
    let pointer = format!("{section}/size");
    let asked = part.config.and_then(|config| config.size.as_deref());
    let sizes = Sizes {
        what: &what,
        pointer: &pointer,
        named: all.iter().map(|size| size.name.as_str()).collect(),
        preferred,
    };
    let chosen = size(lowering, sizes, asked, need);
    let pointer = format!("{section}/version");
    let versions = Versions {
        engine: part.engine,
        pointer: &pointer,
        offered: databases.versions.get(part.engine).map_or(&[], Vec::as_slice),
        surcharged: &[],
        default: databases.defaults.get(part.engine).map_or("", String::as_str),
    };
    let asked = part.config.and_then(|config| config.version.as_deref());
    // What an app says of Redis says nothing of Valkey, which counts anew.
    let declared =
        part.requirement.filter(|_| part.engine != "valkey").and_then(|one| one.version.as_deref());
    let version = version(lowering, versions, asked, declared);
    if let Some(requirement) = part.requirement.filter(|_| part.engine == "pg") {
        let lists = ExtensionLists {
            available: &databases.extensions.available,
            missing: &databases.extensions.missing,
            how_to_know: "look at `SELECT name FROM pg_available_extensions` of a cluster of that version",
        };
        extensions(lowering, lists, requirement);
    }
    let (Some(chosen), Some(version)) = (chosen, version) else { return };
    let Some(node) = site.known.node(part.engine, &chosen) else { return };
    if !node.nodes.contains(&nodes) {
        let mut diagnostic =
            rules::COUNT.diagnostic(format!("{chosen} has no stand-by: {what} has one node"));
        diagnostic.severity = Severity::Warning;
        let larger = all.iter().find(|size| size.nodes.contains(&nodes)).map(|size| size.name.as_str());
        let help = larger.map_or_else(String::new, |larger| format!("{larger} can have one"));
        lowering.say_at(&format!("{section}/size"), diagnostic.help(help));
        nodes = 1;
    }
    if !node.priced {
        let message = format!("the price book has no price of {chosen} for {}", part.engine);
        let diagnostic = rules::NO_PRICES.diagnostic(message);
        lowering.say_at(
            &format!("{section}/size"),
            diagnostic.help("an estimate will stop at it: give a book with `--prices FILE`"),
        );
    }
    if let Some(most) = site.known.connections(part.engine, &chosen) {
        lowering.say(
            rules::CONNECTIONS.diagnostic(format!("{chosen} allows {most} connections")).help(format!(
                "an instance opens up to {} unless `POSTGRES_POOL_SIZE` says otherwise, and two releases overlap while one takes over",
                database_pool()
            )),
        );
    }
    let included = node.disk_gib;
    let storage = u32::try_from(need.recommended.disk_gib).unwrap_or(u32::MAX);
    let database = part.requirement.and_then(|requirement| requirement.database.clone());
    let spec = DatabaseSpec {
        name: object_name(lowering.stack(), part_name(&part.key), 63),
        region: site.region.name.clone(),
        engine: part.engine.to_owned(),
        version,
        size: chosen,
        nodes,
        // A size that the user named is taken as it is: its own storage.
        storage_gib: (part.config.is_none_or(|config| config.size.is_none())
            && !is_cache
            && included.is_some_and(|included| storage > included))
        .then_some(storage),
        vpc: output(vpc, "id"),
        trusted_tag: on_droplets.then(|| tag(lowering.stack())),
        database: (!is_cache)
            .then(|| database.unwrap_or_else(|| resources().database_name(&site.requirements.app))),
        tags: vec![object_name(lowering.stack(), "", 255)],
    };
    lowering.add(&part.key, &Database, &spec, !is_cache);
}

/// Spaces, and where they lie. The first of a store has the store's key; further ones are beside it.
pub(super) fn stores(
    lowering: &mut Lowering<'_>,
    site: Site<'_>,
    parts: &[Part<'_>],
) -> Vec<(ResourceKey, &'static str)> {
    let stores = || parts.iter().filter(|part| part.group == PartGroup::Storage);
    let names = |part: &Part<'_>| -> Vec<String> {
        let declared = part.requirement.map(|requirement| requirement.buckets.clone()).unwrap_or_default();
        if declared.is_empty() { vec!["files".to_owned()] } else { declared }
    };
    let all: usize = stores().map(|part| names(part).len()).sum();
    let of = u32::try_from(all).unwrap_or(u32::MAX);
    let mut keys = Vec::new();
    for part in stores() {
        let Some(region) = store_region(lowering, site, part) else { continue };
        for (index, bucket) in names(part).iter().enumerate() {
            let valid = bucket.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
            if bucket.is_empty() || !valid {
                let message = format!("`{bucket}` is no name of a Space: letters, digits and hyphens");
                lowering.say(rules::RESOURCE_UNUSABLE.diagnostic(message).help("change it in the manifest"));
                continue;
            }
            let key =
                if index == 0 { part.key.clone() } else { resource_key(&format!("{}/{bucket}", part.key)) };
            let spec = BucketSpec {
                // Room for what makes the name unique.
                name: object_name(lowering.stack(), bucket, 48),
                region: region.to_owned(),
                versioning: true,
                of,
            };
            lowering.add(&key, &Bucket, &spec, true);
            keys.push((key, region));
        }
    }
    keys
}

/// Where the Spaces of a store lie: where the manifest says, else with the app if there are
/// Spaces there, else nearby. A difference is explained.
fn store_region(lowering: &mut Lowering<'_>, site: Site<'_>, part: &Part<'_>) -> Option<&'static str> {
    let pointer = "/infrastructure/storage/region";
    let asked = part.config.and_then(|config| config.region.as_deref());
    let region = match asked {
        Some(asked) => {
            let region = site.known.region(asked).filter(|region| region.spaces);
            if region.is_none() {
                let diagnostic = choose::unknown_region(site.known, asked, |region| region.spaces);
                let has_none = site.known.region(asked).is_some();
                let mut diagnostic = diagnostic;
                if has_none {
                    diagnostic.message = format!("there are no Spaces in {asked}");
                }
                lowering.say_at(pointer, diagnostic);
            }
            region?
        }
        None if site.region.spaces => site.region,
        None => choose::beside(site.known, site.region, |region| region.spaces)?,
    };
    if region.name != site.region.name {
        let why =
            if site.region.spaces { String::new() } else { format!(" ({} has no Spaces)", site.region.name) };
        let diagnostic = rules::REGION_MISMATCH
            .diagnostic(format!("the app is in {} and its Spaces in {}{why}", site.region.name, region.name));
        let help = format!(
            "requests between them leave the data centre: they take longer, and what the app fetches counts as transfer of Spaces; `region: {}` puts both together",
            region.name
        );
        lowering.say_at(pointer, diagnostic.help(help));
    }
    Some(&region.name)
}
