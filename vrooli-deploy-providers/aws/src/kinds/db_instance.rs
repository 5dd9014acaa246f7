//! `aws.db-instance`: a managed database server of RDS.

#[cfg(feature = "native")]
pub(crate) mod native;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::{BillItem, Decimal, Line, Metric, Quantity};
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Op, Ownership, Permission, PhysicalId, ResourceKindDef, Wanted,
};
use vrooli_deploy_core::stack::Input;

use super::Actions;
use super::kms_key::{other_key, used_by};
use crate::bill::{item, running, usage, with};

/// The kind `aws.db-instance`.
#[derive(Debug, Clone, Copy)]
pub struct DbInstance;

/// What a password in a secret of the stack takes.
const STORED: &[&str] = &["secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue"];
/// What one that RDS makes and keeps takes of whoever asks for it, by RDS's user guide ("Password management with
/// Amazon RDS and AWS Secrets Manager"), and to keep it from being changed.
const MANAGED: &[&str] = &[
    "secretsmanager:CancelRotateSecret",
    "secretsmanager:CreateSecret",
    "secretsmanager:DescribeSecret",
    "secretsmanager:GetSecretValue",
    "secretsmanager:TagResource",
];

/// What is wanted of a database server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct DbInstanceSpec<F: Form = Wanted> {
    /// Region.
    pub region: String,
    /// Its identifier, unique in the region, at most 63 characters.
    pub name: String,
    /// `postgres` or `mysql`.
    pub engine: String,
    /// Engine version; a newer one is installed in place, an older one is not.
    pub version: String,
    /// Its size, `db.t4g.medium`.
    pub class: String,
    /// Its storage (gp3), in GiB.
    pub storage_gib: u32,
    /// Does a second one in another zone stand by?
    pub multi_az: bool,
    /// How long daily backups are kept, in days; 0 for none.
    pub backup_days: u32,
    /// Is it protected from being deleted?
    pub deletion_protection: bool,
    /// Is its storage encrypted?
    pub encrypted: bool,
    /// The database that it holds.
    pub database: String,
    /// The user that owns it.
    pub user: String,
    /// Where it may stand.
    pub subnet_group: F::In<String>,
    /// Its settings.
    pub parameter_group: F::In<String>,
    /// Who may reach it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_groups: Vec<F::In<String>>,
    /// The key that encrypts it, by ARN; without, it is AWS's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key: Option<F::In<String>>,
    /// The secret that holds its password, by ARN; without, RDS makes a password and keeps it in a secret of its
    /// own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<F::In<String>>,
}

/// What is seen of a database server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DbInstanceObserved {
    /// Region.
    pub region: String,
    /// Its identifier, unique in the region, at most 63 characters.
    pub name: String,
    /// `postgres` or `mysql`.
    pub engine: String,
    /// Engine version; a newer one is installed in place, an older one is not.
    pub version: String,
    /// Its size, `db.t4g.medium`.
    pub class: String,
    /// Its storage (gp3), in GiB.
    pub storage_gib: u32,
    /// Does a second one in another zone stand by?
    pub multi_az: bool,
    /// How long daily backups are kept, in days; 0 for none.
    pub backup_days: u32,
    /// Is it protected from being deleted?
    pub deletion_protection: bool,
    /// Is its storage encrypted?
    pub encrypted: bool,
    /// The database that it holds.
    pub database: String,
    /// The user that owns it.
    pub user: String,
    /// Where it may stand.
    pub subnet_group: String,
    /// Its settings.
    pub parameter_group: String,
    /// Who may reach it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_groups: Vec<String>,
    /// The key that encrypts it, by ARN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key: Option<String>,
    /// The name it is reached at.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// `available` once it can be used.
    pub status: String,
    /// The secret that RDS keeps its password in, by ARN, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_password: Option<String>,
}

impl ResourceKindDef for DbInstance {
    type Spec<F: Form> = DbInstanceSpec<F>;
    type Observed = DbInstanceObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("aws.db-instance")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id", "name", "host", "port", "user", "database", "sslmode", "password", "url"]
    }
    fn diff(&self, want: &DbInstanceSpec<Wanted>, have: &DbInstanceObserved) -> Change {
        // The password is a secret's matter: nothing seen of a server tells it, but who keeps it.
        let (newer, older) = super::version_change(&want.version, &have.version);
        let DbInstanceSpec {
            region,
            name,
            engine,
            version: _,
            class,
            storage_gib,
            multi_az,
            backup_days,
            deletion_protection,
            encrypted,
            database,
            user,
            subnet_group,
            parameter_group,
            security_groups,
            kms_key,
            password,
        } = want;
        Diff::new()
            .replace("region", *region != have.region)
            .replace("name", *name != have.name)
            .replace("engine", *engine != have.engine)
            .update("version", newer)
            .replace("version", older)
            .update("class", *class != have.class)
            .update("storage_gib", *storage_gib > have.storage_gib)
            .replace("storage_gib", *storage_gib < have.storage_gib)
            .update("multi_az", *multi_az != have.multi_az)
            .update("backup_days", *backup_days != have.backup_days)
            .update("deletion_protection", *deletion_protection != have.deletion_protection)
            .replace("encrypted", *encrypted != have.encrypted)
            .replace("kms_key", other_key(kms_key.as_ref(), have.kms_key.as_ref()))
            .replace("database", *database != have.database)
            .replace("user", *user != have.user)
            .replace("subnet_group", subnet_group.differs(&have.subnet_group))
            .update("parameter_group", parameter_group.differs(&have.parameter_group))
            .update("security_groups", super::ids_differ(security_groups, &have.security_groups))
            // With another password what runs would lose its database at once.
            .replace("managed_password", password.is_some() == have.managed_password.is_some())
            .done()
    }
    fn bill(&self, want: &DbInstanceSpec<Wanted>) -> Vec<BillItem> {
        let deployment = if want.multi_az { "multi-az" } else { "single-az" };
        let server = item(
            Line::Database,
            format!("{} {} {deployment}", want.engine, want.class),
            ("rds", &want.class, &want.region),
            running(1),
        );
        // With a stand-by there are two disks; the book prices one.
        let disks: u32 = if want.multi_az { 2 } else { 1 };
        let storage = Quantity::Amount(Decimal::from(want.storage_gib) * Decimal::from(disks));
        let place = |sku| ("rds-storage", sku, want.region.as_str());
        let what = format!("{disks} × storage of {} GiB", want.storage_gib);
        let mut items = vec![
            with(server, [("engine", want.engine.as_str()), ("deployment", deployment)]),
            item(Line::Database, what, place("gp3"), storage),
        ];
        if want.backup_days > 0 {
            let what = "backups beyond the size of the storage, which are free";
            items.push(item(Line::Backups, what, place("backup-beyond-free"), usage(Metric::BackupGb)));
        }
        if want.password.is_none() {
            let what = format!("secret of RDS with the password of {}", want.name);
            items.push(item(Line::Secrets, what, ("secretsmanager", "secret", &want.region), running(1)));
        }
        items
    }
    fn permissions(&self, op: Op, want: &DbInstanceSpec<Wanted>) -> Vec<Permission> {
        let mut all = Actions {
            find: &["tag:GetResources", "rds:DescribeDBInstances"],
            create: &["rds:CreateDBInstance", "rds:AddTagsToResource", "rds:ModifyDBInstance"],
            update: &["rds:ModifyDBInstance", "rds:RebootDBInstance"],
            delete: &["rds:ModifyDBInstance", "rds:DeleteDBInstance", "rds:CreateDBSnapshot"],
        }
        .of(op, format!("arn:aws:rds:{}:*:db:{}", want.region, want.name));
        let mut also = |action: &str, resource: String| {
            all.push(Permission { action: action.to_owned(), resource });
        };
        if op == Op::Create {
            let secrets = |name: &str| format!("arn:aws:secretsmanager:{}:*:secret:{name}", want.region);
            let (secret, actions) = match &want.password {
                // Its password is read, and made where the secret holds none.
                Some(Input::Value(arn)) => (arn.clone(), STORED),
                Some(Input::Ref(_)) => (secrets("*"), STORED),
                None => (secrets("rds!db-*"), MANAGED),
            };
            for action in actions {
                also(action, secret.clone());
            }
        }
        match op {
            Op::Create => {
                for (of, name) in [("subgrp", &want.subnet_group), ("pg", &want.parameter_group)] {
                    let name = match name {
                        Input::Value(name) => name,
                        Input::Ref(_) => "*",
                    };
                    also("rds:CreateDBInstance", format!("arn:aws:rds:{}:*:{of}:{name}", want.region));
                }
            }
            Op::Delete => {
                let last = format!("arn:aws:rds:{}:*:snapshot:{}-final-*", want.region, want.name);
                also("rds:CreateDBSnapshot", last.clone());
                also("rds:AddTagsToResource", last);
            }
            Op::Find | Op::List | Op::Update => {}
        }
        if op == Op::Create {
            let uses: &[&str] = match want.password {
                Some(_) => &["kms:CreateGrant", "kms:DescribeKey"],
                // The secret is encrypted with it, too.
                None => &["kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"],
            };
            all.extend(used_by(want.kms_key.as_ref(), &want.region, uses));
        }
        all
    }
    fn ownership(&self, _: &ResourceKey, want: &DbInstanceSpec<Wanted>) -> Ownership {
        Ownership::DerivedName(want.name.clone())
    }
    fn outputs(&self, id: &PhysicalId, have: &DbInstanceObserved) -> BTreeMap<OutputName, Value> {
        let mut outputs = super::outputs([
            ("id", id.0.clone().into()),
            ("name", have.name.clone().into()),
            ("user", have.user.clone().into()),
            ("database", have.database.clone().into()),
            ("sslmode", "require".into()),
        ]);
        // One that is being made has no address yet.
        if !have.host.is_empty() {
            outputs.extend(super::outputs([("host", have.host.clone().into()), ("port", have.port.into())]));
        }
        outputs
    }
    /// Its password is seen nowhere and costs nothing.
    fn wanted_as(&self, have: &DbInstanceObserved) -> Option<DbInstanceSpec<Wanted>> {
        let have = have.clone();
        Some(DbInstanceSpec {
            region: have.region,
            name: have.name,
            engine: have.engine,
            version: have.version,
            class: have.class,
            storage_gib: have.storage_gib,
            multi_az: have.multi_az,
            backup_days: have.backup_days,
            deletion_protection: have.deletion_protection,
            encrypted: have.encrypted,
            database: have.database,
            user: have.user,
            subnet_group: Input::Value(have.subnet_group),
            parameter_group: Input::Value(have.parameter_group),
            security_groups: have.security_groups.into_iter().map(Input::Value).collect(),
            kms_key: have.kms_key.map(Input::Value),
            password: have.managed_password.is_none().then(|| Input::Value(String::new())),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use vrooli_deploy_core::provider::pure::{Answer, check_kind};

    #[test]
    fn differences_are_answered() {
        let want = json!({"region": "us-east-1", "name": "app-default", "engine": "postgres", "version": "16", "class": "db.t4g.micro", "storage_gib": 20, "multi_az": false, "backup_days": 30, "deletion_protection": true, "encrypted": true, "database": "vrooli_app", "user": "vrooli", "subnet_group": "id-1", "parameter_group": "id-1", "security_groups": ["id-1", "id-2"], "kms_key": "arn:1", "password": "arn:aws:secretsmanager:us-east-1:1:secret:a"});
        let have = json!({"region": "us-east-1", "name": "app-default", "engine": "postgres", "version": "16", "class": "db.t4g.micro", "storage_gib": 20, "multi_az": false, "backup_days": 30, "deletion_protection": true, "encrypted": true, "database": "vrooli_app", "user": "vrooli", "subnet_group": "id-1", "parameter_group": "id-1", "security_groups": ["id-1", "id-2"], "kms_key": "arn:1", "host": "a.rds.amazonaws.com", "port": 5432, "status": "available"});
        let answers = [
            ("region", json!("eu-west-1"), Answer::Replace),
            ("name", json!("other"), Answer::Replace),
            ("engine", json!("mysql"), Answer::Replace),
            ("version", json!("17.1"), Answer::Replace),
            ("version", json!("15.3"), Answer::Update),
            ("class", json!("db.t4g.small"), Answer::Update),
            ("storage_gib", json!(10), Answer::Update),
            ("storage_gib", json!(40), Answer::Replace),
            ("multi_az", json!(true), Answer::Update),
            ("backup_days", json!(7), Answer::Update),
            ("deletion_protection", json!(false), Answer::Update),
            ("encrypted", json!(false), Answer::Replace),
            ("database", json!("other"), Answer::Replace),
            ("user", json!("other"), Answer::Replace),
            ("subnet_group", json!("id-2"), Answer::Replace),
            ("parameter_group", json!("id-2"), Answer::Update),
            ("security_groups", json!(["id-3"]), Answer::Update),
            ("kms_key", json!("arn:2"), Answer::Replace),
            ("host", json!("b.rds.amazonaws.com"), Answer::Nothing),
            ("port", json!(5433), Answer::Nothing),
            ("status", json!("modifying"), Answer::Nothing),
            ("managed_password", json!("arn:2"), Answer::Replace),
        ];
        check_kind(&super::DbInstance, &want, &have, &answers).unwrap();
    }
}
