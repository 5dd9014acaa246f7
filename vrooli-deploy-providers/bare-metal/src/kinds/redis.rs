//! `bare-metal.redis`: a Redis server of a stack's own on a server: its own unit, port and password.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::BillItem;
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Op, Ownership, Permission, PhysicalId, ResourceKindDef, Wanted,
};
use vrooli_deploy_core::stack::Input;

const LOOPBACK: &str = "127.0.0.1";

/// The kind `bare-metal.redis`.
#[derive(Debug, Clone, Copy)]
pub struct Redis;

/// What becomes of data when a server ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Persistence {
    /// They are written to the disk from time to time, and when the server ends.
    #[default]
    Snapshots,
    /// They are gone.
    None,
}

/// What is wanted of a server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct RedisSpec<F: Form = Wanted> {
    /// The server.
    pub host: String,
    /// As the app calls it, in lower case.
    pub name: String,
    /// What becomes of data when it ends.
    #[serde(default)]
    pub persistence: Persistence,
    /// Is the server for databases and caches alone? Else it shares its memory with the app.
    #[serde(default)]
    pub alone: bool,
    /// The address that it listens on; none: loopback alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<F::In<String>>,
    /// Addresses that the app connects from. Nobody else may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<F::In<String>>,
}

/// What is seen of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RedisObserved {
    /// The server.
    pub host: String,
    /// What its unit is called there.
    pub unit: String,
    /// The port it listens on.
    pub port: u16,
    /// The address that it listens on; none: loopback alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Addresses that may connect.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub clients: BTreeSet<String>,
    /// What becomes of data when it ends.
    pub persistence: Persistence,
    /// Is it tuned as one that has its server to itself?
    pub alone: bool,
    /// The folder of its data.
    pub path: String,
    /// What is not as it was made: files and their keys, and what does not run or is not there.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unlike: BTreeSet<String>,
}

/// What is known about Redis on a server.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Knowledge {
    /// Packages that bring it.
    pub(crate) packages: Vec<String>,
    ports: Ports,
    share_percent: Shares,
    step_mib: u64,
    policy: String,
    save: String,
    settings: Vec<(String, String)>,
    rules: Vec<String>,
    own_rules: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Ports {
    first: u16,
    last: u16,
}

#[derive(Debug, Default, Deserialize)]
struct Shares {
    alone: u64,
    beside: u64,
}

pub(crate) static KNOWN: LazyLock<Knowledge> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../data/redis.json")).unwrap_or_default());

/// How much memory it may use, in MiB, on a machine with so many bytes; and what goes when that is full.
fn limits(memory: u64, alone: bool) -> (u64, &'static str) {
    let share = if alone { KNOWN.share_percent.alone } else { KNOWN.share_percent.beside };
    // Machines come in steps of 64 MiB at least; what the kernel keeps is less.
    let all = (memory / (1024 * 1024)).div_ceil(64) * 64;
    let step = KNOWN.step_mib.max(1);
    ((all * share / 100 / step).max(1) * step, &KNOWN.policy)
}

impl ResourceKindDef for Redis {
    type Spec<F: Form> = RedisSpec<F>;
    type Observed = RedisObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("bare-metal.redis")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["host", "port", "database", "password", "url"]
    }
    fn takes_up_data(&self) -> bool {
        true
    }
    fn diff(&self, want: &RedisSpec, have: &RedisObserved) -> Change {
        let RedisSpec { host, name: _, persistence, alone, address, clients } = want;
        let address = match (address, &have.address) {
            (None, None) => false,
            (Some(Input::Value(want)), Some(have)) => want != have,
            _ => true,
        };
        let same = Diff::new()
            .replace("host", *host != have.host)
            .update("persistence", *persistence != have.persistence)
            .update("alone", *alone != have.alone)
            .update("address", address)
            .update("clients", super::other(clients, &have.clients));
        have.unlike.iter().fold(same, |diff, field| diff.update(field, true)).done()
    }
    fn bill(&self, _: &RedisSpec) -> Vec<BillItem> {
        // Its server stands in the manifest with what it costs.
        Vec::new()
    }
    fn permissions(&self, op: Op, want: &RedisSpec) -> Vec<Permission> {
        super::on_server(op, &want.host)
    }
    fn ownership(&self, _: &ResourceKey, _: &RedisSpec) -> Ownership {
        Ownership::HostLedger
    }
    fn outputs(&self, _: &PhysicalId, have: &RedisObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([
            ("host", have.address.as_deref().unwrap_or(LOOPBACK).into()),
            ("port", have.port.into()),
            ("database", "0".into()),
        ])
    }
}

mod prepared {
    use std::collections::BTreeSet;

    use vrooli_deploy_core::names::Digest;
    use vrooli_deploy_core::provider::{Known, Result};
    use vrooli_deploy_core::secrets::Secret;

    use super::{KNOWN, LOOPBACK, Persistence, Redis, RedisObserved, RedisSpec, limits};
    use crate::ground::{FirewallWay, HostSurvey, Making, PORT, Place, Prepared, Written, differences};
    use crate::kinds::is_role_name;

    type Spec = RedisSpec<Known>;

    /// What we call it on its host.
    fn id(want: &Spec) -> String {
        format!("redis-{}", want.name)
    }

    pub(super) fn unit(place: &Place, name: &str) -> String {
        format!("vrooli-deploy-redis-{}-{name}", place.name)
    }

    fn data(place: &Place, name: &str) -> String {
        format!("/var/lib/vrooli-deploy/redis/{}-{name}", place.name)
    }

    fn files(want: &Spec, place: &Place, memory: u64) -> Vec<Written> {
        let unit = unit(place, &want.name);
        let folder = data(place, &want.name);
        vec![
            Written {
                path: format!("{folder}/redis.conf"),
                mode: "640",
                owner: "root",
                group: "redis",
                text: conf(want, &folder, memory),
            },
            Written::public(format!("/etc/systemd/system/{unit}.service"), service(want, place, &folder)),
        ]
    }

    fn conf(want: &Spec, folder: &str, memory: u64) -> String {
        let mut text = String::from("# Written by vrooli-deploy; changes made here are put back.\n");
        let mut set = |name: &str, value: &str| text.push_str(&format!("{name} {value}\n"));
        let (most, policy) = limits(memory, want.alone);
        set("bind", want.address.as_deref().unwrap_or(LOOPBACK));
        set("port", PORT);
        set("dir", &format!("{folder}/data"));
        set("dbfilename", "dump.rdb");
        // Passwords stand there, as digests.
        set("aclfile", &format!("{folder}/users.acl"));
        set("daemonize", "no");
        set("supervised", "systemd");
        set("logfile", "\"\"");
        set("maxmemory", &format!("{most}mb"));
        set("maxmemory-policy", policy);
        set("appendonly", "no");
        match want.persistence {
            Persistence::Snapshots => set("save", &KNOWN.save),
            Persistence::None => set("save", "\"\""),
        }
        for (name, value) in &KNOWN.settings {
            set(name, value);
        }
        text
    }

    fn service(want: &Spec, place: &Place, folder: &str) -> String {
        let after = if want.address.is_some() {
            "Wants=network-online.target\nAfter=network-online.target\n"
        } else {
            "After=network.target\n"
        };
        format!(
            "# Written by vrooli-deploy; changes made here are put back.\n\
             [Unit]\nDescription=Redis of {}\n{after}\n\
             [Service]\nType=notify\nUser=redis\nGroup=redis\nUMask=0077\n\
             ExecStart=/usr/bin/redis-server {folder}/redis.conf\n\
             Restart=always\nRestartSec=1\nTimeoutStopSec=120\nLimitNOFILE=65535\n\
             NoNewPrivileges=yes\nPrivateTmp=yes\nPrivateDevices=yes\nProtectHome=yes\n\
             ProtectSystem=strict\nReadWritePaths={folder}/data\nCapabilityBoundingSet=\n\
             RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX\n\n\
             [Install]\nWantedBy=multi-user.target\n",
            place.name
        )
    }

    fn made<'a>(want: &Spec, seen: &'a HostSurvey, name: &str) -> Option<&'a str> {
        seen.roles.get(&id(want))?.made.get(name).map(String::as_str)
    }

    impl Prepared for Redis {
        type Plain = Spec;
        const WORD: &'static str = "redis";
        const RANK: u8 = 5;
        const LOOKS: bool = true;
        const PASSWORD: bool = true;

        fn host(want: &Spec) -> &str {
            &want.host
        }
        fn name(want: &Spec, place: &Place) -> String {
            format!("redis/{}", unit(place, &want.name))
        }
        fn items_there(want: &Spec, making: &Making<'_>) -> Result<Vec<Vec<String>>> {
            let Making { place, seen, password } = making;
            // The host hears the password's digest alone.
            let hash = password.map(|password| Digest::of(password.expose().as_bytes()));
            let hash =
                hash.as_ref().and_then(|hash| hash.as_str().split_once(':')).map_or("", |(_, hex)| hex);
            let number = |number: u16| number.to_string();
            let (first, last) = (number(KNOWN.ports.first), number(KNOWN.ports.last));
            let rules = |rules: &[String]| rules.join(" ");
            let mut items = vec![vec![
                id(want),
                unit(place, &want.name),
                data(place, &want.name),
                first,
                last,
                hash.to_owned(),
                rules(&KNOWN.rules),
                rules(&KNOWN.own_rules),
            ]];
            items.extend(want.clients.iter().map(|client| vec!["client".to_owned(), client.clone()]));
            items.extend(files(want, place, seen.memory).iter().flat_map(Written::items));
            Ok(items)
        }
        fn observe(want: &Spec, place: &Place, seen: &HostSurvey) -> RedisObserved {
            let port = made(want, seen, "port").and_then(|text| text.parse::<u16>().ok()).unwrap_or(0);
            let mut unlike = BTreeSet::new();
            let role = seen.roles.get(&id(want)).cloned().unwrap_or_default();
            if role.made.is_empty() {
                unlike.insert("data".to_owned());
            } else {
                unlike = differences(&files(want, place, seen.memory), seen, &port.to_string());
                let facts = ["data", "running", "enabled", "password"];
                unlike.extend(facts.iter().filter(|fact| !role.is(fact)).map(|fact| (*fact).to_owned()));
            }
            let clients: BTreeSet<String> = want.clients.iter().cloned().collect();
            let ours = matches!(seen.firewall, FirewallWay::Own | FirewallWay::Ufw);
            if ours && clients.iter().any(|address| !seen.open_from.contains(&(port, address.clone()))) {
                unlike.insert("firewall".to_owned());
            }
            RedisObserved {
                host: want.host.clone(),
                unit: unit(place, &want.name),
                port,
                address: want.address.clone(),
                clients,
                persistence: want.persistence,
                alone: want.alone,
                path: format!("{}/data", data(place, &want.name)),
                unlike,
            }
        }
        fn check(want: &Spec, _: &Place) -> std::result::Result<(), String> {
            if !is_role_name(&want.name) {
                return Err(format!("`{}` is no name for a server", want.name));
            }
            for address in want.address.iter().chain(&want.clients) {
                if address.parse::<std::net::IpAddr>().is_err() {
                    return Err(format!("`{address}` is no address"));
                }
            }
            Ok(())
        }
        fn secrets(have: &RedisObserved, password: &Secret<String>) -> Vec<(&'static str, Secret<String>)> {
            let host = have.address.as_deref().unwrap_or(LOOPBACK);
            let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
            let url = format!("redis://:{}@{host}:{}/0", password.expose(), have.port);
            vec![("password", Secret::new(password.expose().clone())), ("url", Secret::new(url))]
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use vrooli_deploy_core::provider::AnyKind;

    use super::*;

    #[test]
    fn the_limit_follows_the_memory() {
        let gib = 1024 * 1024 * 1024;
        assert_eq!(limits(4 * gib, true), (2048, "volatile-lru"));
        assert_eq!(limits(4 * gib - 5_000_000, true), (2048, "volatile-lru"));
        assert_eq!(limits(gib, false).0, 144);
        assert_eq!(limits(0, false).0, 16);
    }

    #[test]
    fn differences_are_answered() {
        let want = json!({ "host": "c", "name": "redis", "address": "10.0.0.1", "clients": ["10.0.0.2"] });
        let have = json!({
            "host": "c", "unit": "u", "port": 6380, "address": "10.0.0.1", "clients": ["10.0.0.2"],
            "persistence": "snapshots", "alone": false, "path": "/d"
        });
        let diff = |field: &str, value: Value| {
            let mut have = have.clone();
            have[field] = value;
            AnyKind::diff(&Redis, &want, &have).unwrap()
        };
        let changed = |field: &str| Change::InPlace(vec![field.to_owned()]);
        assert_eq!(AnyKind::diff(&Redis, &want, &have).unwrap(), Change::None);
        assert_eq!(diff("host", json!("x")), Change::Replace(vec!["host".to_owned()]));
        for (field, value) in [
            ("persistence", json!("none")),
            ("alone", json!(true)),
            ("address", Value::Null),
            ("clients", json!([])),
        ] {
            assert_eq!(diff(field, value), changed(field));
        }
        assert_eq!(diff("unlike", json!(["running"])), changed("running"));
    }
}
