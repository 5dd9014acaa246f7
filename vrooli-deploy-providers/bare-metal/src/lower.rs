//! From what an app needs to what its servers are for, and what they are prepared with. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde::Deserialize;
use vrooli_deploy_core::cost::Decimal;
use vrooli_deploy_core::diagnostics::{Checked, rules};
use vrooli_deploy_core::manifest::ServerConfig;
use vrooli_deploy_core::names::{ResourceKey, StackId};
use vrooli_deploy_core::provider::lowering::{Lowering, output, resource_key, unknown};
use vrooli_deploy_core::provider::{Containers, LowerOptions};
use vrooli_deploy_core::requirements::{Requirements, ResourceRequirement};
use vrooli_deploy_core::stack::{Input, Stack};

use crate::host::{self, HostName, roles, roles_for};
use crate::kinds::backup::{self, Backup, BackupOf, BackupSpec};
use crate::kinds::directories::{Directories, DirectoriesSpec, DirectorySpec};
use crate::kinds::firewall::{Firewall, FirewallSpec};
use crate::kinds::packages::{Packages, PackagesSpec};
use crate::kinds::postgres::{Postgres, PostgresSpec, tuning};
use crate::kinds::redis::{self, Persistence, Redis, RedisSpec};
use crate::kinds::server::{Server, ServerSpec};
use crate::kinds::user::{User, UserSpec};
use crate::kinds::{is_role_name, is_sql_name};

#[derive(Debug, Default, Deserialize)]
struct Ground {
    packages: PackagesByRole,
    ports: BTreeSet<u16>,
    directories: BTreeMap<String, DirectorySpec>,
    data: BTreeMap<String, DirectorySpec>,
}

#[derive(Debug, Default, Deserialize)]
struct PackagesByRole {
    all: BTreeSet<String>,
    /// Where services run in containers.
    docker: BTreeSet<String>,
}

/// A server of the manifest, and what of the app's needs is put on it.
struct Placed<'a> {
    key: ResourceKey,
    spec: ServerSpec,
    needs: Vec<(ResourceKey, &'a ResourceRequirement)>,
}

/// What a server is prepared with, whatever the app.
static GROUND: LazyLock<Ground> =
    LazyLock::new(|| serde_json::from_str(include_str!("../data/ground.json")).unwrap_or_default());

/// The stack of an app on servers that are there, keyed `server/<host>`, `user/<host>`, ….
pub fn lower(stack: &StackId, requirements: &Requirements, options: &LowerOptions) -> Checked<Stack> {
    let mut lowering = Lowering::new(stack, options);
    lowering.no_customer_key("bare metal");
    lowering.no_managed_password("bare metal", &["database", "cache", "storage"]);
    lowering.no_budget("bare metal");
    let mut servers = servers(&mut lowering);
    let runs = !requirements.services.is_empty();
    if servers.is_empty() || (runs && !servers.iter().any(|server| server.spec.runs_app)) {
        let what =
            if servers.is_empty() { "no server is named" } else { "no server is there to run the app" };
        lowering.say_at(
            "/infrastructure/servers",
            rules::NO_SERVERS
                .diagnostic(what)
                .help("name one: `infrastructure.servers: [{host: server1.example.com, role: app}]`"),
        );
        return finish(lowering, servers, requirements);
    }
    for requirement in &requirements.resources {
        if lowering.pointed_elsewhere(requirement) {
            continue;
        }
        let Some(key) = requirement.key() else {
            let message = format!("`{}` cannot be part of a key", requirement.name);
            let unusable = rules::RESOURCE_UNUSABLE.diagnostic(message).help("rename the dependency");
            lowering.say_of(&requirement.name, unusable);
            continue;
        };
        let Some(roles) = roles_for(&requirement.resource) else {
            lowering.not_made(requirement, "a server of yours", "server");
            continue;
        };
        let place = roles.iter().find_map(|role| servers.iter().position(|server| server.spec.role == *role));
        if place.is_none() {
            let first = roles.first().map_or("", String::as_str);
            let message =
                format!("`{}` runs beside the app: no server has the role `{first}`", requirement.name);
            let help = "name one with that role to keep them apart";
            lowering.say_of(&requirement.name, rules::ADDED.diagnostic(message).help(help));
        }
        let place =
            place.or_else(|| servers.iter().position(|server| server.spec.runs_app)).unwrap_or_default();
        if let Some(server) = servers.get_mut(place) {
            server.spec.resources.push(requirement.resource.clone());
            server.needs.push((key, requirement));
        }
    }
    finish(lowering, servers, requirements)
}

fn finish(
    mut lowering: Lowering<'_>,
    servers: Vec<Placed<'_>>,
    requirements: &Requirements,
) -> Checked<Stack> {
    let apps: Vec<ResourceKey> =
        servers.iter().filter(|server| server.spec.runs_app).map(|server| server.key.clone()).collect();
    for Placed { key, mut spec, needs } in servers {
        spec.resources.sort();
        spec.resources.dedup();
        prepare(&mut lowering, &key, &spec, &needs, requirements);
        for (own, requirement) in &needs {
            role(&mut lowering, (own, requirement), (&key, &spec), &apps);
        }
        lowering.add(&key, &Server, &spec, !spec.resources.is_empty());
    }
    lowering.finish()
}

/// The part of a key that names the server: `server/<host>`, both halves valid in a key.
fn host_part(server: &ResourceKey) -> &str {
    server.as_str().strip_prefix("server/").unwrap_or_else(|| server.as_str())
}

/// What a server is prepared with.
fn prepare(
    lowering: &mut Lowering<'_>,
    server: &ResourceKey,
    spec: &ServerSpec,
    needs: &[(ResourceKey, &ResourceRequirement)],
    requirements: &Requirements,
) {
    let name = host_part(server);
    let key = |kind: &str| resource_key(&format!("{kind}/{name}"));
    let host = spec.host.clone();
    let mut packages = GROUND.packages.all.clone();
    if spec.runs_app && Containers::of(&requirements.services).is_some() {
        packages.extend(GROUND.packages.docker.clone());
    }
    for (_, requirement) in needs {
        packages.extend(match requirement.resource.as_str() {
            "postgres" => tuning::KNOWN.packages.clone(),
            "redis" => redis::KNOWN.packages.clone(),
            _ => Vec::new(),
        });
    }
    lowering.add(&key("packages"), &Packages, &PackagesSpec { host: host.clone(), packages }, false);
    let ports = if spec.runs_app { GROUND.ports.clone() } else { BTreeSet::new() };
    if spec.runs_app || !needs.is_empty() {
        lowering.add(&key("firewall"), &Firewall, &FirewallSpec { host: host.clone(), ports }, false);
        lowering.after(&key("firewall"), &key("packages"));
    }
    if !spec.runs_app {
        return;
    }
    lowering.add(&key("user"), &User, &UserSpec { host: host.clone() }, false);
    let mut folders = |part: &str, directories: &BTreeMap<String, DirectorySpec>, holds_data: bool| {
        let spec = DirectoriesSpec { host: host.clone(), directories: directories.clone() };
        lowering.add(&key(part), &Directories, &spec, holds_data);
        lowering.after(&key(part), &key("user"));
    };
    folders("directories", &GROUND.directories, false);
    if requirements.data_volume {
        folders("data", &GROUND.data, true);
    }
}

/// A database or a cache on its server, and its backups.
fn role(
    lowering: &mut Lowering<'_>,
    (key, requirement): (&ResourceKey, &ResourceRequirement),
    (server, spec): (&ResourceKey, &ServerSpec),
    apps: &[ResourceKey],
) {
    let host = spec.host.clone();
    let name: String = requirement.name.as_str().to_ascii_lowercase().replace('.', "-");
    if !is_role_name(&name) {
        let message = format!("`{}` cannot name a server: at most 40 characters", requirement.name);
        let unusable = rules::RESOURCE_UNUSABLE.diagnostic(message).help("rename the dependency");
        return lowering.say_of(&requirement.name, unusable);
    }
    // Where the app runs on this server alone, nobody else is let in.
    let apart = apps.iter().any(|app| app != server);
    let address: Option<Input<String>> = apart.then(|| output(server, "address"));
    let clients: Vec<Input<String>> =
        apps.iter().filter(|_| apart).map(|app| output(app, "address")).collect();
    let alone = !spec.runs_app;
    let infrastructure = &lowering.options().infrastructure;
    let of = match requirement.resource.as_str() {
        "postgres" => {
            let app = lowering.stack().app.as_str().replace('-', "_");
            let database = requirement.database.clone().unwrap_or_else(|| format!("vrooli_{app}"));
            let extensions: BTreeSet<String> = requirement.extensions.iter().cloned().collect();
            if let Some(bad) = [&database].into_iter().chain(&extensions).find(|name| !is_sql_name(name)) {
                let message =
                    format!("`{bad}` cannot name a database here: letters, digits, `_` and `-`, 63 at most");
                let unusable = rules::RESOURCE_UNUSABLE.diagnostic(message).help("change it in the manifest");
                return lowering.say_of(&requirement.name, unusable);
            }
            let asked = infrastructure.database.as_ref().and_then(|config| config.version.clone());
            let version = asked.or_else(|| requirement.version.clone());
            let spec = PostgresSpec {
                host: host.clone(),
                name: name.clone(),
                database: database.clone(),
                version,
                extensions,
                alone,
                address,
                clients,
            };
            lowering.add(key, &Postgres, &spec, true);
            (BackupOf::Postgres, Some(database))
        }
        "redis" => {
            let spec = RedisSpec {
                host: host.clone(),
                name: name.clone(),
                persistence: Persistence::default(),
                alone,
                address,
                clients,
            };
            // As everywhere: what a cache holds can be made again.
            lowering.add(key, &Redis, &spec, false);
            (BackupOf::Redis, None)
        }
        _ => return,
    };
    let packages = resource_key(&format!("packages/{}", host_part(server)));
    lowering.after(key, &packages);
    let (keep, schedule) = (backup::KNOWN.keep, backup::KNOWN.schedule.clone());
    let own = resource_key(&format!("backup/{name}"));
    let backup = BackupSpec { host, name, of: of.0, database: of.1, keep, schedule };
    lowering.add(&own, &Backup, &backup, true);
    lowering.after(&own, &packages);
}

/// The servers of the manifest, those that cannot be used left out.
fn servers<'a>(lowering: &mut Lowering<'_>) -> Vec<Placed<'a>> {
    let mut servers = Vec::new();
    for (index, config) in lowering.options().infrastructure.servers.iter().enumerate() {
        let pointer = format!("/infrastructure/servers/{index}");
        let server = server(lowering, &pointer, config);
        servers.extend(server.map(|(key, spec)| Placed { key, spec, needs: Vec::new() }));
    }
    servers
}

fn server(
    lowering: &mut Lowering<'_>,
    pointer: &str,
    config: &ServerConfig,
) -> Option<(ResourceKey, ServerSpec)> {
    let host = &config.host;
    let valid = HostName::new(host.as_str()).is_ok();
    // Addresses of IPv6 have colons, which keys have not.
    let key = ResourceKey::new(format!("server/{}", host.to_ascii_lowercase().replace(':', "-")));
    let (true, Ok(key)) = (valid, key) else {
        let message = format!("`{host}` is no host name and no address");
        let diagnostic =
            rules::RESOURCE_UNUSABLE.diagnostic(message).help("letters, digits, `.`, `-`, `_`, `:`");
        lowering.say_at(&format!("{pointer}/host"), diagnostic);
        return None;
    };
    let Some(role) = host::role(&config.role) else {
        let diagnostic = unknown(rules::SERVER_ROLE, "role of a server", &config.role, roles());
        lowering.say_at(&format!("{pointer}/role"), diagnostic);
        return None;
    };
    let monthly_usd = match config.monthly_usd.as_deref().map(str::trim) {
        None => {
            lowering.say_at(
                pointer,
                rules::SERVER_PRICE
                    .diagnostic(format!("what {host} costs is not said"))
                    .help("give `monthly_usd` as decimal text, `\"12.00\"`, for estimates"),
            );
            None
        }
        Some(text) => match text.parse::<Decimal>() {
            Ok(amount) if !amount.is_sign_negative() => Some(amount),
            _ => {
                lowering.say_at(
                    &format!("{pointer}/monthly_usd"),
                    rules::INVALID_VALUE
                        .diagnostic(format!("`{text}` is no price: `monthly_usd` of {host} is decimal text"))
                        .help("write it like `\"12.00\"`"),
                );
                return None;
            }
        },
    };
    let spec = ServerSpec {
        host: host.clone(),
        runs_app: role == "app",
        role: role.to_owned(),
        resources: Vec::new(),
        monthly_usd,
    };
    Some((key, spec))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lowered(servers: serde_json::Value, resources: serde_json::Value) -> Checked<Stack> {
        let stack: StackId = serde_json::from_value(json!({ "app": "a", "environment": "b" })).unwrap();
        let requirements: Requirements = serde_json::from_value(json!({
            "app": "a", "services": { "api": { "run": "./api" } }, "resources": resources, "dropped": [],
            "data_volume": false
        }))
        .unwrap();
        let options = LowerOptions {
            infrastructure: serde_json::from_value(json!({ "servers": servers })).unwrap(),
            ..LowerOptions::default()
        };
        lower(&stack, &requirements, &options)
    }

    fn postgres() -> serde_json::Value {
        json!([{ "name": "postgres", "resource": "postgres", "primitive": "database", "env": {} }])
    }

    #[test]
    fn the_database_goes_to_its_server_or_beside_the_app() {
        let servers = json!([
            { "host": "s1.example.com", "role": "app", "monthly_usd": "5.00" },
            { "host": "db.example.com", "role": "database", "monthly_usd": "10.00" }
        ]);
        let (stack, said) = lowered(servers, postgres()).into_result().unwrap();
        assert!(said.is_empty(), "{said:?}");
        let resource = |key: &str| &stack.resources[&ResourceKey::new(key).unwrap()];
        assert_eq!(resource("server/db.example.com").spec["resources"], json!(["postgres"]));
        assert!(resource("server/db.example.com").holds_data);
        let database = resource("database/postgres");
        assert!(database.holds_data && database.spec["alone"] == true, "{database:?}");
        assert_eq!(database.spec["database"], "vrooli_a");
        assert_eq!(database.spec["address"], json!({ "$ref": "server/db.example.com", "output": "address" }));
        // The servers of the app may connect, and nobody else.
        assert_eq!(
            database.spec["clients"],
            json!([{ "$ref": "server/s1.example.com", "output": "address" }])
        );
        assert_eq!(resource("backup/postgres").spec["database"], "vrooli_a");
        assert_eq!(resource("firewall/db.example.com").spec["ports"], json!([]));
        let packages = &resource("packages/db.example.com").spec["packages"];
        assert!(packages.as_array().unwrap().contains(&json!("postgresql")), "{packages}");
        for one in stack.resources.values() {
            let kind = crate::kinds::all().into_iter().find(|kind| kind.kind() == one.kind).unwrap();
            kind.check(&one.spec).unwrap();
        }

        let servers = json!([{ "host": "s1.example.com", "role": "web", "monthly_usd": "0" }]);
        let (stack, said) = lowered(servers, postgres()).into_result().unwrap();
        assert_eq!(said[0].code, rules::ADDED);
        let keys: Vec<&str> = stack.resources.keys().map(ResourceKey::as_str).collect();
        let host = ["directories", "firewall", "packages", "server", "user"];
        let mut wanted = host.map(|kind| format!("{kind}/s1.example.com")).to_vec();
        wanted.extend(["backup/postgres", "database/postgres"].map(ToOwned::to_owned));
        wanted.sort();
        assert_eq!(keys, wanted);
        let database = &stack.resources[&ResourceKey::new("database/postgres").unwrap()];
        assert_eq!((&database.spec["address"], &database.spec["clients"]), (&json!(null), &json!(null)));
        let firewall = &stack.resources[&ResourceKey::new("firewall/s1.example.com").unwrap()];
        assert_eq!(firewall.spec["ports"], json!([80, 443]));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let codes = |servers, resources| -> Vec<_> {
            lowered(servers, resources).diagnostics.iter().map(|diagnostic| diagnostic.code).collect()
        };
        assert_eq!(codes(json!([]), json!([])), [rules::NO_SERVERS]);
        assert!(
            codes(json!([{ "host": "a b", "role": "app" }]), json!([])).contains(&rules::RESOURCE_UNUSABLE)
        );
        assert!(codes(json!([{ "host": "a", "role": "appp" }]), json!([])).contains(&rules::SERVER_ROLE));
        assert!(
            codes(json!([{ "host": "a", "role": "app", "monthly_usd": "-1" }]), json!([]))
                .contains(&rules::INVALID_VALUE)
        );
        assert!(codes(json!([{ "host": "a", "role": "app" }]), json!([])).contains(&rules::SERVER_PRICE));
        let twice = json!([
            { "host": "a", "role": "app", "monthly_usd": "1" }, { "host": "A", "role": "app", "monthly_usd": "1" }
        ]);
        assert!(codes(twice, json!([])).contains(&rules::RESOURCE_UNUSABLE));
        let qdrant =
            json!([{ "name": "qdrant", "resource": "qdrant", "primitive": "vector-store", "env": {} }]);
        let servers = json!([{ "host": "a", "role": "app", "monthly_usd": "1" }]);
        assert_eq!(codes(servers, qdrant), [rules::RESOURCE_NOT_IN_CLOUD]);
    }
}
