//! From what an app needs to what its servers are for, and what they are prepared with. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde::Deserialize;
use vrooli_deploy_core::cost::Decimal;
use vrooli_deploy_core::diagnostics::{Checked, rules};
use vrooli_deploy_core::manifest::ServerConfig;
use vrooli_deploy_core::names::{ResourceKey, StackId};
use vrooli_deploy_core::provider::LowerOptions;
use vrooli_deploy_core::provider::lowering::{Lowering, resource_key, unknown};
use vrooli_deploy_core::requirements::Requirements;
use vrooli_deploy_core::stack::Stack;

use crate::host::{HostName, role, roles, roles_for};
use crate::kinds::directories::{Directories, DirectoriesSpec, DirectorySpec};
use crate::kinds::firewall::{Firewall, FirewallSpec};
use crate::kinds::packages::{Packages, PackagesSpec};
use crate::kinds::server::{Server, ServerSpec};
use crate::kinds::user::{User, UserSpec};

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
    app: BTreeSet<String>,
}

/// What a server is prepared with, whatever the app.
static GROUND: LazyLock<Ground> =
    LazyLock::new(|| serde_json::from_str(include_str!("../data/ground.json")).unwrap_or_default());

/// The stack of an app on servers that are there, keyed `server/<host>`, `user/<host>`, ….
pub fn lower(stack: &StackId, requirements: &Requirements, options: &LowerOptions) -> Checked<Stack> {
    let mut lowering = Lowering::new(stack, options);
    let mut servers = servers(&mut lowering);
    let runs = !requirements.services.is_empty();
    if servers.is_empty() || (runs && !servers.iter().any(|(_, server)| server.runs_app)) {
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
        let Some(roles) = roles_for(&requirement.resource) else {
            lowering.not_made(requirement, "a server of yours", "server");
            continue;
        };
        let place = roles.iter().find_map(|role| servers.iter().position(|(_, server)| server.role == *role));
        if place.is_none() {
            let first = roles.first().map_or("", String::as_str);
            let message =
                format!("`{}` runs beside the app: no server has the role `{first}`", requirement.name);
            let help = "name one with that role to keep them apart";
            lowering.say_of(&requirement.name, rules::ADDED.diagnostic(message).help(help));
        }
        let place =
            place.or_else(|| servers.iter().position(|(_, server)| server.runs_app)).unwrap_or_default();
        if let Some((_, server)) = servers.get_mut(place) {
            server.resources.push(requirement.resource.clone());
        }
    }
    finish(lowering, servers, requirements)
}

fn finish(
    mut lowering: Lowering<'_>,
    servers: Vec<(ResourceKey, ServerSpec)>,
    requirements: &Requirements,
) -> Checked<Stack> {
    for (key, mut server) in servers {
        server.resources.sort();
        server.resources.dedup();
        prepare(&mut lowering, &key, &server, requirements);
        lowering.add(&key, &Server, &server, !server.resources.is_empty());
    }
    lowering.finish()
}

/// What a server is prepared with.
fn prepare(
    lowering: &mut Lowering<'_>,
    server: &ResourceKey,
    spec: &ServerSpec,
    requirements: &Requirements,
) {
    // `server/<host>`, both halves valid in a key.
    let name = server.as_str().strip_prefix("server/").unwrap_or_else(|| server.as_str());
    let key = |kind: &str| resource_key(&format!("{kind}/{name}"));
    let host = spec.host.clone();
    let mut packages = GROUND.packages.all.clone();
    if spec.runs_app {
        packages.extend(GROUND.packages.app.iter().cloned());
    }
    lowering.add(&key("packages"), &Packages, &PackagesSpec { host: host.clone(), packages }, false);
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
    let firewall = FirewallSpec { host: host.clone(), ports: GROUND.ports.clone() };
    lowering.add(&key("firewall"), &Firewall, &firewall, false);
    lowering.after(&key("firewall"), &key("packages"));
}

/// The servers of the manifest, those that cannot be used left out.
fn servers(lowering: &mut Lowering<'_>) -> Vec<(ResourceKey, ServerSpec)> {
    let mut servers = Vec::new();
    for (index, config) in lowering.options().infrastructure.servers.iter().enumerate() {
        let pointer = format!("/infrastructure/servers/{index}");
        servers.extend(server(lowering, &pointer, config));
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
    let Some(role) = role(&config.role) else {
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
        let resource = &stack.resources[&ResourceKey::new("server/db.example.com").unwrap()];
        assert_eq!(resource.spec["resources"], json!(["postgres"]));
        assert!(resource.holds_data);

        let servers = json!([{ "host": "s1.example.com", "role": "web", "monthly_usd": "0" }]);
        let (stack, said) = lowered(servers, postgres()).into_result().unwrap();
        assert_eq!(said[0].code, rules::ADDED);
        let keys: Vec<&str> = stack.resources.keys().map(ResourceKey::as_str).collect();
        assert_eq!(
            keys,
            ["directories", "firewall", "packages", "server", "user"]
                .map(|kind| format!("{kind}/s1.example.com"))
        );
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
