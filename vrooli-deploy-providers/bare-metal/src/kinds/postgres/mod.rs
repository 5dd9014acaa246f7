//! `bare-metal.postgres`: a PostgreSQL cluster of a stack's own on a server, with one database and one
//! role.
//!
//! A cluster of its own and not a database in the distribution's: who may connect, what it listens on,
//! how it is tuned and restarted belong to a cluster as a whole, so apps that share a server would
//! change each other's.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::BillItem;
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Op, Ownership, Permission, PhysicalId, ResourceKindDef, Wanted,
};
use vrooli_deploy_core::requirements::satisfies;
use vrooli_deploy_core::stack::{Input, Resource};

mod prepared;
mod scram;
pub(crate) mod tuning;

#[cfg(feature = "native")]
pub(crate) use prepared::id_of;

const KIND: &str = "bare-metal.postgres";
const LOOPBACK: &str = "127.0.0.1";

/// The kind `bare-metal.postgres`.
#[derive(Debug, Clone, Copy)]
pub struct Postgres;

/// What is wanted of a server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct PostgresSpec<F: Form = Wanted> {
    /// The server.
    pub host: String,
    /// As the app calls it, in lower case.
    pub name: String,
    /// The database that the app uses.
    pub database: String,
    /// Version or range as the app declares it: `15`, `>=14`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Extensions that must be there.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub extensions: BTreeSet<String>,
    /// Is the server for databases alone? Else it shares its memory with the app.
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
pub struct PostgresObserved {
    /// The server.
    pub host: String,
    /// What the cluster is called there.
    pub cluster: String,
    /// Major version of its data.
    pub major: u32,
    /// The port it listens on.
    pub port: u16,
    /// The address that it listens on; none: loopback alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Addresses that may connect.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub clients: BTreeSet<String>,
    /// The database that the app uses.
    pub database: String,
    /// The role that the app uses.
    pub user: String,
    /// Extensions that were made.
    pub extensions: BTreeSet<String>,
    /// Is it tuned as one that has its server to itself?
    pub alone: bool,
    /// The folder of its data.
    pub path: String,
    /// What is not as it was made: files and their keys, and what does not run or is not there.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unlike: BTreeSet<String>,
}

/// Does what an app declares take this major version? What cannot be read takes any.
pub(crate) fn takes(range: Option<&str>, major: u32) -> bool {
    let Some(range) = range.map(str::trim) else { return true };
    let digits: String = range.chars().take_while(char::is_ascii_digit).collect();
    // `15.2` and `16-3.4`, an image's tag, mean a major version.
    match digits.parse::<u32>() {
        Ok(wanted) => wanted == major,
        Err(_) => satisfies(range, &format!("{major}.99")).unwrap_or(true),
    }
}

/// How many connections a server of a stack allows, if the resource is one.
pub(crate) fn connections(resource: &Resource) -> Option<u32> {
    if resource.kind.as_str() != KIND {
        return None;
    }
    let alone = resource.spec.get("alone").and_then(Value::as_bool).unwrap_or(false);
    u32::try_from(tuning::KNOWN.max_connections.of(alone)).ok()
}

impl ResourceKindDef for Postgres {
    type Spec<F: Form> = PostgresSpec<F>;
    type Observed = PostgresObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name(KIND)
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["host", "port", "user", "database", "sslmode", "password", "url"]
    }
    fn takes_up_data(&self) -> bool {
        true
    }
    fn diff(&self, want: &PostgresSpec, have: &PostgresObserved) -> Change {
        let PostgresSpec { host, name: _, database, version, extensions, alone, address, clients } = want;
        let address = match (address, &have.address) {
            (None, None) => false,
            (Some(Input::Value(want)), Some(have)) => want != have,
            _ => true,
        };
        let same = Diff::new()
            .replace("host", *host != have.host)
            // A further database is made and the old one stays as it is.
            .update("database", *database != have.database)
            // Another major version is refused when it comes to it: see the message.
            .update("version", !takes(version.as_deref(), have.major))
            .update("extensions", !extensions.is_subset(&have.extensions))
            .update("alone", *alone != have.alone)
            .update("address", address)
            .update("clients", super::other(clients, &have.clients));
        have.unlike.iter().fold(same, |diff, field| diff.update(field, true)).done()
    }
    fn bill(&self, _: &PostgresSpec) -> Vec<BillItem> {
        // Its server stands in the manifest with what it costs.
        Vec::new()
    }
    fn permissions(&self, op: Op, want: &PostgresSpec) -> Vec<Permission> {
        super::on_server(op, &want.host)
    }
    fn ownership(&self, _: &ResourceKey, _: &PostgresSpec) -> Ownership {
        Ownership::HostLedger
    }
    fn outputs(&self, _: &PhysicalId, have: &PostgresObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([
            ("host", have.address.as_deref().unwrap_or(LOOPBACK).into()),
            ("port", have.port.into()),
            ("user", have.user.clone().into()),
            ("database", have.database.clone().into()),
            ("sslmode", sslmode(have).into()),
        ])
    }
}

/// Between servers everything is encrypted; on loopback the clients' default, which is to ask for it,
/// costs and brings nothing.
fn sslmode(have: &PostgresObserved) -> &'static str {
    if have.address.is_some() { "require" } else { "disable" }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use vrooli_deploy_core::provider::AnyKind;

    use super::*;

    #[test]
    fn versions_are_read_as_apps_write_them() {
        assert!(takes(Some(">=14"), 15) && !takes(Some(">=16"), 15));
        assert!(takes(Some("15"), 15) && !takes(Some("15"), 16) && takes(Some("15.2"), 15));
        assert!(takes(Some("16-3.4"), 16) && takes(Some("latest"), 15) && takes(None, 15));
    }

    #[test]
    fn differences_are_answered() {
        let want = json!({
            "host": "db", "name": "main", "database": "a", "version": "15", "extensions": ["pgcrypto"],
            "address": "10.0.0.1", "clients": ["10.0.0.2"], "alone": true
        });
        let have = json!({
            "host": "db", "cluster": "vd_a", "major": 15, "port": 5433, "address": "10.0.0.1",
            "clients": ["10.0.0.2"], "database": "a", "user": "vrooli", "extensions": ["pgcrypto", "vector"],
            "alone": true, "path": "/var/lib/postgresql/15/vd_a"
        });
        let diff = |field: &str, value: Value| {
            let mut have = have.clone();
            have[field] = value;
            AnyKind::diff(&Postgres, &want, &have).unwrap()
        };
        let changed = |field: &str| Change::InPlace(vec![field.to_owned()]);
        assert_eq!(AnyKind::diff(&Postgres, &want, &have).unwrap(), Change::None);
        assert_eq!(diff("host", json!("x")), Change::Replace(vec!["host".to_owned()]));
        assert_eq!(diff("database", json!("b")), changed("database"));
        assert_eq!(diff("major", json!(16)), changed("version"));
        assert_eq!(diff("extensions", json!([])), changed("extensions"));
        assert_eq!(diff("alone", json!(false)), changed("alone"));
        assert_eq!(diff("address", Value::Null), changed("address"));
        assert_eq!(diff("clients", json!([])), changed("clients"));
        assert_eq!(diff("unlike", json!(["/a.conf: port"])), changed("/a.conf: port"));
        // What is known after apply alone is a difference.
        let mut unknown = want.clone();
        unknown["clients"] = json!([{ "$ref": "server/app", "output": "address" }]);
        assert_eq!(AnyKind::diff(&Postgres, &unknown, &have).unwrap(), changed("clients"));
    }
}
