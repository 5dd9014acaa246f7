//! `digitalocean.database`: a managed cluster of PostgreSQL, MySQL or Valkey.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::{BillItem, Decimal, Line, Quantity};
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Op, Ownership, Permission, PhysicalId, ResourceKindDef, Wanted,
};

use crate::catalogue::catalogue;

use super::Actions;
use crate::bill::{item, running, with};

/// The kind `digitalocean.database`.
#[derive(Debug, Clone, Copy)]
pub struct Database;

/// Would a node become smaller? Of a size that is not known nobody can tell: then it would.
fn smaller(engine: &str, want: &str, have: &str) -> bool {
    let memory = |name: &str| catalogue().node(engine, name).and_then(|size| size.memory_mib);
    want != have && memory(want).zip(memory(have)).is_none_or(|(want, have)| want < have)
}

/// What is wanted of a cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct DatabaseSpec<F: Form = Wanted> {
    /// Its name, unique in the account.
    pub name: String,
    /// Region, `nyc3`.
    pub region: String,
    /// `pg`, `mysql` or `valkey`.
    pub engine: String,
    /// Engine version; a newer one is installed in place, an older one is not.
    pub version: String,
    /// Size of a node, `db-s-1vcpu-1gb`. A larger one is taken on in place, a smaller one is not.
    pub size: String,
    /// Nodes: one, and its stand-bys.
    pub nodes: u32,
    /// Storage, in GiB, where it is more than what comes with the size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_gib: Option<u32>,
    /// Its network.
    pub vpc: F::In<String>,
    /// Only droplets with this tag reach it. Without one everybody may who has the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted_tag: Option<String>,
    /// The database that it holds; Valkey has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// Marks: whose it is, and what load balancers and firewalls look for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// What is seen of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DatabaseObserved {
    /// Its name, unique in the account.
    pub name: String,
    /// Region, `nyc3`.
    pub region: String,
    /// `pg`, `mysql` or `valkey`.
    pub engine: String,
    /// Engine version; a newer one is installed in place, an older one is not.
    pub version: String,
    /// Size of a node, `db-s-1vcpu-1gb`. A larger one is taken on in place, a smaller one is not.
    pub size: String,
    /// Nodes: one, and its stand-bys.
    pub nodes: u32,
    /// Storage, in GiB, where it is more than what comes with the size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_gib: Option<u32>,
    /// Its network.
    pub vpc: String,
    /// Only droplets with this tag reach it. Without one everybody may who has the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted_tag: Option<String>,
    /// The database that it holds; Valkey has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// Marks: whose it is, and what load balancers and firewalls look for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The name it is reached at.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Its first user.
    pub user: String,
    /// `online` once it can be used.
    pub status: String,
}

impl ResourceKindDef for Database {
    type Spec<F: Form> = DatabaseSpec<F>;
    type Observed = DatabaseObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("digitalocean.database")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id", "host", "port", "user", "database", "sslmode", "password", "url"]
    }
    fn diff(&self, want: &DatabaseSpec<Wanted>, have: &DatabaseObserved) -> Change {
        let (newer, older) = super::version_change(&want.version, &have.version);
        let DatabaseSpec {
            name,
            region,
            engine,
            version: _,
            size,
            nodes,
            storage_gib,
            vpc,
            trusted_tag,
            database,
            tags,
        } = want;
        Diff::new()
            .replace("name", *name != have.name)
            .replace("region", *region != have.region)
            .replace("engine", *engine != have.engine)
            .update("version", newer)
            .replace("version", older)
            .update("size", *size != have.size && !smaller(engine, size, &have.size))
            .replace("size", smaller(engine, size, &have.size))
            .update("nodes", *nodes != have.nodes)
            .update("storage_gib", storage_gib.unwrap_or_default() > have.storage_gib.unwrap_or_default())
            .replace("storage_gib", storage_gib.unwrap_or_default() < have.storage_gib.unwrap_or_default())
            .replace("vpc", vpc.differs(&have.vpc))
            .update("trusted_tag", *trusted_tag != have.trusted_tag)
            .update("database", *database != have.database)
            .update("tags", *tags != have.tags)
            .done()
    }
    fn bill(&self, want: &DatabaseSpec<Wanted>) -> Vec<BillItem> {
        let line = if want.engine == "valkey" { Line::Cache } else { Line::Database };
        let engine = [("engine", want.engine.as_str())];
        let place = |sku| ("managed-db", sku, want.region.as_str());
        let what = format!("{} × {} {}", want.nodes, want.engine, want.size);
        let mut items = vec![with(item(line, what, place(want.size.as_str()), running(want.nodes)), engine)];
        let included = catalogue().node(&want.engine, &want.size).and_then(|size| size.disk_gib);
        if let Some(more) = want.storage_gib.map(|gib| gib.saturating_sub(included.unwrap_or_default()))
            && more > 0
        {
            let amount = Quantity::Amount(Decimal::from(more) * Decimal::from(want.nodes));
            let what = format!("{} × {more} GiB of storage beyond the size's own", want.nodes);
            items.push(with(item(line, what, place("storage-above-minimum"), amount), engine));
        }
        items
    }
    fn permissions(&self, op: Op, _: &DatabaseSpec<Wanted>) -> Vec<Permission> {
        Actions {
            find: &["database:read"],
            create: &["database:create", "tag:create", "vpc:read", "database:view_credentials"],
            update: &["database:update"],
            delete: &["database:delete"],
        }
        .of(op, "*")
    }
    fn ownership(&self, _: &ResourceKey, want: &DatabaseSpec<Wanted>) -> Ownership {
        Ownership::DerivedName(want.name.clone())
    }
    fn outputs(&self, id: &PhysicalId, have: &DatabaseObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([
            ("id", id.0.clone().into()),
            ("host", have.host.clone().into()),
            ("port", have.port.into()),
            ("user", have.user.clone().into()),
            ("database", have.database.clone().into()),
            ("sslmode", "require".into()),
        ])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use vrooli_deploy_core::provider::pure::{Answer, check_kind};

    #[test]
    fn differences_are_answered() {
        let want = json!({"name": "app-default", "region": "nyc3", "engine": "pg", "version": "16", "size": "db-s-1vcpu-2gb", "nodes": 1, "vpc": "id-1", "trusted_tag": "app-default", "database": "vrooli_app", "tags": ["app-default"]});
        let have = json!({"name": "app-default", "region": "nyc3", "engine": "pg", "version": "16", "size": "db-s-1vcpu-2gb", "nodes": 1, "vpc": "id-1", "trusted_tag": "app-default", "database": "vrooli_app", "tags": ["app-default"], "host": "a.db.ondigitalocean.com", "port": 25060, "user": "doadmin", "status": "online"});
        let answers = [
            ("name", json!("other"), Answer::Replace),
            ("region", json!("ams3"), Answer::Replace),
            ("engine", json!("mysql"), Answer::Replace),
            ("version", json!("15.8"), Answer::Update),
            ("version", json!("17"), Answer::Replace),
            ("size", json!("db-s-1vcpu-1gb"), Answer::Update),
            ("size", json!("db-s-2vcpu-4gb"), Answer::Replace),
            ("nodes", json!(2), Answer::Update),
            ("storage_gib", json!(100), Answer::Replace),
            ("vpc", json!("id-2"), Answer::Replace),
            ("trusted_tag", json!(null), Answer::Update),
            ("database", json!(null), Answer::Update),
            ("tags", json!([]), Answer::Update),
            ("host", json!("b.db.ondigitalocean.com"), Answer::Nothing),
            ("port", json!(25061), Answer::Nothing),
            ("user", json!("other"), Answer::Nothing),
            ("status", json!("creating"), Answer::Nothing),
        ];
        check_kind(&super::Database, &want, &have, &answers).unwrap();
    }

    #[test]
    fn a_node_never_becomes_smaller() {
        use super::smaller;
        assert!(!smaller("pg", "db-s-2vcpu-4gb", "db-s-1vcpu-1gb"));
        assert!(smaller("pg", "db-s-1vcpu-1gb", "db-s-2vcpu-4gb"));
        assert!(smaller("pg", "db-s-1vcpu-1gb", "of-nobody"));
    }
}
