//! `local.postgres`: a private PostgreSQL server with one database, run from what the
//! distribution installed or in a container. The pure half is here; the server itself, each
//! way to run it and its folders have files of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::BillItem;
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Op, Ownership, Permission, PhysicalId, ResourceKindDef,
};

use super::Way;

#[cfg(feature = "native")]
mod binaries;
#[cfg(feature = "native")]
mod choice;
#[cfg(feature = "native")]
mod cluster;
#[cfg(feature = "native")]
mod contained;
#[cfg(feature = "native")]
mod databases;
#[cfg(feature = "native")]
mod handler;
#[cfg(feature = "native")]
mod home;
#[cfg(feature = "native")]
mod installed;
#[cfg(feature = "native")]
mod psql;
#[cfg(feature = "native")]
mod version;
#[cfg(feature = "native")]
mod wire;

#[cfg(feature = "native")]
use psql::Login;

#[cfg(feature = "native")]
pub(crate) use cluster::stop_all;
#[cfg(feature = "native")]
pub use cluster::{ensure_running, stop};
#[cfg(feature = "native")]
pub(crate) use home::folder_for_root;
#[cfg(feature = "native")]
use psql::Session;

/// Settings of a server that is made here.
#[cfg(feature = "native")]
const SETTINGS: &str = include_str!("../../../data/postgres.conf");

const KIND: &str = "local.postgres";

/// The kind `local.postgres`.
#[derive(Debug, Clone, Copy)]
pub struct Postgres;

/// The name of a database, a role or an extension.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[A-Za-z_][A-Za-z0-9_-]{0,62}$"))]
pub struct SqlName(String);

impl SqlName {
    /// Checks a name: letters, digits, `_` and `-`, not starting with a digit, 63 at most.
    ///
    /// # Errors
    /// A phrase with the rule.
    pub fn new(name: impl Into<String>) -> Result<Self, String> {
        let name = name.into();
        let fits = name.len() <= 63
            && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
            && !matches!(name.as_str(), "template0" | "template1");
        if fits {
            Ok(Self(name))
        } else {
            Err(format!("`{name}` cannot name a database here: letters, digits, `_` and `-`, 63 at most"))
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SqlName {
    type Error = String;
    fn try_from(name: String) -> Result<Self, String> {
        Self::new(name)
    }
}

impl From<SqlName> for String {
    fn from(name: SqlName) -> String {
        name.0
    }
}

impl fmt::Display for SqlName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is wanted of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresSpec {
    /// The database that the app uses.
    pub database: SqlName,
    /// Version or lowest version as the app declares it: `15`, `>=14`, `16-3.4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Extensions that must be there.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub extensions: BTreeSet<SqlName>,
}

/// What is seen of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PostgresObserved {
    /// Major version of its data.
    pub major: u32,
    /// The port it listens on, on loopback.
    pub port: u16,
    /// The database that the app uses.
    pub database: SqlName,
    /// The role that the app uses.
    pub user: String,
    /// Extensions that were made.
    pub extensions: BTreeSet<SqlName>,
    /// Was its making finished?
    pub finished: bool,
    /// How it is run.
    #[serde(default, skip_serializing_if = "Way::is_programs")]
    pub way: Way,
    /// The folder of its data, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// The container engine's volume that holds its data, where one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
}

impl ResourceKindDef for Postgres {
    type Spec<F: Form> = PostgresSpec;
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
        // The version decides only which server is made: another major on the same data is
        // an upgrade of data, which is nobody's side effect.
        let PostgresSpec { database, version: _, extensions } = want;
        Diff::new()
            // A further database is made and the old one stays as it is.
            .update("database", *database != have.database)
            .update("extensions", !extensions.is_subset(&have.extensions))
            .update("finished", !have.finished)
            .done()
    }
    fn bill(&self, _: &PostgresSpec) -> Vec<BillItem> {
        Vec::new()
    }
    fn permissions(&self, _: Op, _: &PostgresSpec) -> Vec<Permission> {
        Vec::new()
    }
    fn ownership(&self, key: &ResourceKey, _: &PostgresSpec) -> Ownership {
        Ownership::DerivedName(key.to_string())
    }
    fn outputs(&self, _: &PhysicalId, have: &PostgresObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([
            ("host", "127.0.0.1".into()),
            ("port", have.port.into()),
            ("user", have.user.clone().into()),
            ("database", have.database.as_str().into()),
            // Loopback only: the clients' default, which is to ask for encryption, would fail.
            ("sslmode", "disable".into()),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_names_are_refused() {
        for bad in ["", "a b", "a;drop", "1a", "template1", "a\"b", &"a".repeat(64)] {
            assert!(SqlName::new(bad).is_err(), "{bad}");
        }
        assert!(SqlName::new("vrooli_picker_wheel").is_ok());
        assert!(SqlName::new("uuid-ossp").is_ok());
    }

    #[test]
    fn an_extension_more_is_a_change_and_one_less_is_not() {
        let name = |n: &str| SqlName::new(n).unwrap();
        let have = PostgresObserved {
            major: 15,
            port: 13000,
            database: name("a"),
            user: "vrooli".to_owned(),
            extensions: [name("pgcrypto")].into(),
            finished: true,
            way: Way::Programs,
            path: None,
            volume: None,
        };
        let mut want = PostgresSpec {
            database: name("a"),
            version: Some(">=16".to_owned()),
            extensions: BTreeSet::new(),
        };
        assert_eq!(Postgres.diff(&want, &have), Change::None);
        want.extensions.insert(name("vector"));
        assert_eq!(Postgres.diff(&want, &have), Change::InPlace(vec!["extensions".to_owned()]));
        assert_eq!(
            Postgres.diff(&want, &PostgresObserved { finished: false, ..have }),
            Change::InPlace(vec!["extensions".to_owned(), "finished".to_owned()])
        );
    }
}
