//! A server is told by its identifier, which AWS gives only once. Making, changing and deleting one
//! takes minutes: all three wait. One that is being made has no address yet, so a create that looks
//! for its own passes it over and waits in the make, which finds it by its name.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_rds::types::DbInstance as Server;
use serde_json::Value;
use vrooli_deploy_core::names::{OutputName, ResourceKey};
use vrooli_deploy_core::provider::{
    CreateToken, ErrorKind, Known, PhysicalId, ProviderError, Result, Retryability,
};
use vrooli_deploy_core::secrets::Secret;

use super::{DbInstance, DbInstanceObserved, DbInstanceSpec};
use crate::kinds::db_subnet_group::native::name_of;
use crate::kinds::secret::native::{connection, current, in_url, value};
use crate::native::{Calls, Look, Marks, Native, Seen, secret_output, unexpected};

/// How often it is looked how far AWS is.
const POLL: Duration = Duration::from_secs(3);
/// So many names a last snapshot is tried under.
const SNAPSHOT_NAMES: u32 = 8;
const STORAGE: &str = "gp3";
/// Statuses, by RDS's user guide ("Viewing Amazon RDS DB instance status").
const READY: &[&str] = &["available", "storage-optimization"];
const DELETING: &str = "deleting";
/// Those that a server does not leave by itself.
const BROKEN: &[&str] = &[
    "failed",
    "inaccessible-encryption-credentials",
    "incompatible-network",
    "incompatible-option-group",
    "incompatible-parameters",
    "incompatible-restore",
    "insufficient-capacity",
    "restore-error",
    "stopped",
    "storage-full",
];
/// Those in which AWS takes no snapshot: it never held anything, or cannot be read.
const NO_SNAPSHOT: &[&str] = &["creating", "failed", "incompatible-network", "incompatible-restore"];

fn number(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn count(number: Option<i32>) -> u32 {
    number.and_then(|number| number.try_into().ok()).unwrap_or(0)
}

fn status(server: &Server) -> &str {
    server.db_instance_status().unwrap_or_default()
}

fn seen(at: &Calls<'_>, server: &Server) -> Option<Seen<DbInstanceObserved>> {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let (endpoint, groups) = (server.endpoint(), server.vpc_security_groups().iter());
    let parameters = server.db_parameter_groups().first();
    Some(Seen {
        id: PhysicalId(server.db_instance_arn()?.to_owned()),
        marks: Marks::of(server.tag_list())?,
        observed: DbInstanceObserved {
            region: at.region.name.clone(),
            name: text(server.db_instance_identifier()),
            engine: text(server.engine()),
            version: text(server.engine_version()),
            class: text(server.db_instance_class()),
            storage_gib: count(server.allocated_storage()),
            multi_az: server.multi_az() == Some(true),
            backup_days: count(server.backup_retention_period()),
            deletion_protection: server.deletion_protection() == Some(true),
            encrypted: server.storage_encrypted() == Some(true),
            database: text(server.db_name()),
            user: text(server.master_username()),
            subnet_group: text(server.db_subnet_group().and_then(|group| group.db_subnet_group_name())),
            parameter_group: text(parameters.and_then(|group| group.db_parameter_group_name())),
            security_groups: groups.filter_map(|one| Some(one.vpc_security_group_id()?.to_owned())).collect(),
            kms_key: server.kms_key_id().map(str::to_owned),
            host: text(endpoint.and_then(|endpoint| endpoint.address())),
            port: endpoint.and_then(|endpoint| endpoint.port()?.try_into().ok()).unwrap_or(0),
            status: status(server).to_owned(),
            managed_password: managed_password(server).map(str::to_owned),
        },
    })
}

/// The secret that RDS keeps its password in.
fn managed_password(server: &Server) -> Option<&str> {
    server.master_user_secret().and_then(|secret| secret.secret_arn())
}

/// The server of that name, whoever made it.
async fn described(at: &Calls<'_>, name: &str) -> Result<Option<Server>> {
    let ask = at.region.rds.describe_db_instances().db_instance_identifier(name).send();
    let answer = at.find("rds:DescribeDBInstances", ask).await?;
    Ok(answer.and_then(|answer| answer.db_instances?.into_iter().next()))
}

/// Is something still to be done that was asked for at once?
fn is_pending(server: &Server) -> bool {
    server.pending_modified_values().is_some_and(|pending| {
        pending.db_instance_class().is_some()
            || pending.allocated_storage().is_some()
            || pending.backup_retention_period().is_some()
            || pending.multi_az().is_some()
            || pending.engine_version().is_some()
    })
}

/// Is its own secret not there yet, of which AWS says that it is?
fn is_secret_made(server: &Server) -> bool {
    server.master_user_secret().is_none_or(|secret| secret.secret_status() != Some("creating"))
}

/// RDS changes a password of its own every seven days. What runs has had it at its start, and would lose its
/// database: it is changed by nobody but whoever says so.
async fn keep(at: &Calls<'_>, name: &str, arn: &str) -> Result<()> {
    let ask = at.region.secrets.describe_secret().secret_id(arn).send();
    let found = at.find("secretsmanager:DescribeSecret", ask).await?;
    if found.is_none_or(|found| found.rotation_enabled() != Some(true)) {
        return Ok(());
    }
    let put = || at.region.secrets.cancel_rotate_secret().secret_id(arn).send();
    let done = at.put("secretsmanager:CancelRotateSecret", put).await.map(drop);
    done.map_err(|error| {
        let words = format!(
            "the password of `{name}` would be changed by AWS at its own times, and what runs would lose its database: {}",
            error.message()
        );
        ProviderError::new(error.kind(), words)
            .with_help("end the rotation of its secret in the console, or leave `infrastructure.database.password` out")
            .with_source(error)
    })
}

/// The password in a secret of RDS's own.
pub(crate) async fn own_password(at: &Calls<'_>, arn: &str) -> Result<Secret<String>> {
    let found = current(at, arn).await?;
    let password = found.as_ref().and_then(password_of);
    password.ok_or_else(|| unexpected("secretsmanager:GetSecretValue", "password"))
}

/// The password of what RDS keeps in it, which is JSON.
fn password_of(text: &Secret<String>) -> Option<Secret<String>> {
    let mut fields: BTreeMap<String, Value> = serde_json::from_str(text.expose()).ok()?;
    match fields.remove("password")? {
        Value::String(password) => Some(Secret::new(password)),
        _ => None,
    }
}

/// Waits until it can be used, with all that was asked for. The engine says how long.
async fn ready(at: &Calls<'_>, name: &str) -> Result<Server> {
    loop {
        let there = described(at, name).await?;
        let server = there.ok_or_else(|| unexpected("rds:DescribeDBInstances", "server"))?;
        let status = status(&server);
        if BROKEN.contains(&status) {
            let said = server.status_infos().iter().filter_map(|info| info.message());
            let said = said.map(|words| format!(": {words}")).collect::<String>();
            let words = format!("the database server `{name}` is `{status}`{said}");
            return Err(ProviderError::new(ErrorKind::Conflict, words)
                .with_help("its events in the console of RDS say why; put it right, or delete it there"));
        }
        let whole = server.endpoint().is_some() && is_secret_made(&server);
        if READY.contains(&status) && whole && !is_pending(&server) {
            return Ok(server);
        }
        at.wait(POLL).await?;
    }
}

/// Changes what differs and waits until it holds. Versions and storage only grow: what would shrink is
/// made anew by the plan.
async fn settle(at: &Calls<'_>, have: &DbInstanceObserved, want: &DbInstanceSpec<Known>) -> Result<()> {
    let (newer, _) = crate::kinds::version_change(&want.version, &have.version);
    let larger = want.storage_gib > have.storage_gib;
    let groups_differ =
        BTreeSet::from_iter(&have.security_groups) != BTreeSet::from_iter(&want.security_groups);
    let other_parameters = have.parameter_group != want.parameter_group;
    let differs = newer
        || larger
        || groups_differ
        || other_parameters
        || have.class != want.class
        || have.multi_az != want.multi_az
        || have.backup_days != want.backup_days
        || have.deletion_protection != want.deletion_protection;
    if !differs {
        return Ok(());
    }
    ready(at, &want.name).await?;
    let put = || {
        at.region
            .rds
            .modify_db_instance()
            .db_instance_identifier(&want.name)
            .apply_immediately(true)
            .db_instance_class(&want.class)
            .multi_az(want.multi_az)
            .backup_retention_period(number(want.backup_days))
            .deletion_protection(want.deletion_protection)
            .set_engine_version(newer.then(|| want.version.clone()))
            .set_allow_major_version_upgrade(newer.then_some(true))
            .set_allocated_storage(larger.then(|| number(want.storage_gib)))
            .set_db_parameter_group_name(other_parameters.then(|| want.parameter_group.clone()))
            .set_vpc_security_group_ids(groups_differ.then(|| want.security_groups.clone()))
            .send()
    };
    at.put("rds:ModifyDBInstance", put).await?;
    let server = ready(at, &want.name).await?;
    // A server reads another group of parameters when it starts.
    let waits = |group: &aws_sdk_rds::types::DbParameterGroupStatus| {
        group.parameter_apply_status() == Some("pending-reboot")
    };
    if other_parameters && server.db_parameter_groups().iter().any(waits) {
        let again = at.region.rds.reboot_db_instance().db_instance_identifier(&want.name).send();
        at.change("rds:RebootDBInstance", again).await?;
        ready(at, &want.name).await?;
    }
    Ok(())
}

async fn create(at: &Calls<'_>, key: &ResourceKey, want: &DbInstanceSpec<Known>) -> Result<PhysicalId> {
    let stored = match &want.password {
        Some(arn) => Some(value(at, arn).await?),
        None => None,
    };
    // Its own secret is encrypted with the key of its data.
    let own_key = want.kms_key.clone().filter(|_| stored.is_none());
    let make = at
        .region
        .rds
        .create_db_instance()
        .db_instance_identifier(&want.name)
        .db_instance_class(&want.class)
        .engine(&want.engine)
        .engine_version(&want.version)
        .storage_type(STORAGE)
        .allocated_storage(number(want.storage_gib))
        .storage_encrypted(want.encrypted)
        .set_kms_key_id(want.kms_key.clone())
        .multi_az(want.multi_az)
        .backup_retention_period(number(want.backup_days))
        .deletion_protection(want.deletion_protection)
        .copy_tags_to_snapshot(true)
        .publicly_accessible(false)
        .db_name(&want.database)
        .master_username(&want.user)
        .set_master_user_password(stored.as_ref().map(|stored| stored.expose().clone()))
        .set_manage_master_user_password(stored.is_none().then_some(true))
        .set_master_user_secret_kms_key_id(own_key)
        .db_subnet_group_name(&want.subnet_group)
        .db_parameter_group_name(&want.parameter_group)
        .set_vpc_security_group_ids(Some(want.security_groups.clone()))
        .set_tags(Some(Marks::as_tags(at.cx, key)?))
        .send();
    let made = at.change("rds:CreateDBInstance", make).await?;
    let arn = made.db_instance.and_then(|made| made.db_instance_arn);
    arn.map(PhysicalId).ok_or_else(|| unexpected("rds:CreateDBInstance", "ARN"))
}

async fn unprotect(at: &Calls<'_>, name: &str) -> Result<()> {
    let put = || {
        let put = at.region.rds.modify_db_instance().db_instance_identifier(name);
        put.deletion_protection(false).apply_immediately(true).send()
    };
    at.take("rds:ModifyDBInstance", put).await
}

/// The name of its last snapshot: no other server of the name was made in that second.
fn snapshot(server: &Server, name: &str, tries: u32) -> String {
    let made = server.instance_create_time().map_or(0, aws_sdk_rds::primitives::DateTime::secs);
    match tries {
        0 => format!("{name}-final-{made}"),
        _ => format!("{name}-final-{made}-{tries}"),
    }
}

/// Where it is reached, with its password.
pub(crate) fn url(have: &DbInstanceObserved, password: &Secret<String>) -> Secret<String> {
    let (scheme, tls) = match have.engine.as_str() {
        "mysql" => ("mysql", "ssl-mode=REQUIRED"),
        _ => ("postgres", "sslmode=require"),
    };
    let DbInstanceObserved { user, host, port, database, .. } = have;
    Secret::new(format!("{scheme}://{user}:{}@{host}:{port}/{database}?{tls}", in_url(password)))
}

/// All of a region, whoever's.
async fn all(at: &Calls<'_>) -> Result<Vec<Server>> {
    let ask = || async {
        let ask = |next| at.region.rds.describe_db_instances().set_marker(next).send();
        let pages = at.pages("rds:DescribeDBInstances", ask, |page| page.marker.clone()).await?;
        Ok(pages.into_iter().flat_map(|page| page.db_instances.unwrap_or_default()).collect())
    };
    at.once("database servers", "", ask).await
}

impl Native for DbInstance {
    const TOKEN: CreateToken = CreateToken::Native;

    async fn see(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<Option<Seen<DbInstanceObserved>>> {
        let server = described(at, name_of(&id.0)).await?;
        Ok(server.filter(|server| status(server) != DELETING).and_then(|server| seen(at, &server)))
    }

    /// Its tags come with it.
    async fn list(&self, at: &Calls<'_>, look: Look<'_>) -> Result<Vec<Seen<DbInstanceObserved>>> {
        if at.asked(self, look, "name").await?.start("rds", "db:").is_none() {
            return Ok(Vec::new());
        }
        let all = all(at).await?;
        let there = all.iter().filter(|server| match look {
            Look::Stack => status(server) != DELETING,
            Look::Key(_) => status(server) != DELETING && server.endpoint().is_some(),
        });
        Ok(there.filter_map(|server| seen(at, server)).collect())
    }

    async fn ahead(&self, at: &Calls<'_>, _: &[PhysicalId]) {
        let _ = all(at).await;
    }

    async fn make(
        &self,
        on: &Calls<'_>,
        key: &ResourceKey,
        want: &DbInstanceSpec<Known>,
    ) -> Result<PhysicalId> {
        let at = on.at(&want.region).await;
        let id = loop {
            let Some(there) = described(&at, &want.name).await? else {
                break create(&at, key, want).await?;
            };
            let ours = at.own(seen(&at, &there), key, ("database server", &want.name))?;
            if status(&there) != DELETING {
                break ours.id;
            }
            // Its name is free when it is gone.
            at.wait(POLL).await?;
        };
        let server = ready(&at, &want.name).await?;
        let have = seen(&at, &server).ok_or_else(|| unexpected("rds:DescribeDBInstances", "tag"))?;
        if let Some(arn) = have.observed.managed_password.as_ref().filter(|_| want.password.is_none()) {
            keep(&at, &want.name, arn).await?;
        }
        settle(&at, &have.observed, want).await?;
        Ok(id)
    }

    async fn secrets(
        &self,
        on: &Calls<'_>,
        have: &DbInstanceObserved,
        want: &DbInstanceSpec<Known>,
    ) -> Result<BTreeMap<OutputName, Secret<String>>> {
        let at = on.at(&want.region).await;
        let url = |password: &Secret<String>| url(have, password);
        match (&have.managed_password, &want.password) {
            (Some(own), _) => {
                let password = own_password(&at, own).await?;
                let url = url(&password);
                Ok(BTreeMap::from([secret_output("password", password)?, secret_output("url", url)?]))
            }
            (None, Some(stored)) => connection(&at, stored, (&want.name, "server"), url).await,
            (None, None) => Err(unexpected("rds:DescribeDBInstances", "secret")),
        }
    }

    async fn change(
        &self,
        at: &Calls<'_>,
        _: &PhysicalId,
        have: &DbInstanceObserved,
        want: &DbInstanceSpec<Known>,
    ) -> Result<()> {
        settle(at, have, want).await
    }

    /// Its protection is against hands: a plan says what it deletes. What it held is kept in a last
    /// snapshot. What it stands in is free only when it is gone, so that is waited for.
    async fn remove(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<()> {
        let (name, mut tries) = (name_of(&id.0), 0);
        loop {
            let Some(there) = described(at, name).await? else { return Ok(()) };
            if status(&there) == DELETING {
                at.wait(POLL).await?;
                continue;
            }
            if there.deletion_protection() == Some(true) {
                unprotect(at, name).await?;
            }
            let none = NO_SNAPSHOT.contains(&status(&there));
            let last = (!none).then(|| snapshot(&there, name, tries));
            let gone = at.region.rds.delete_db_instance().db_instance_identifier(name);
            let gone = gone.skip_final_snapshot(none).set_final_db_snapshot_identifier(last).send();
            match at.remove("rds:DeleteDBInstance", gone).await {
                Ok(()) => {}
                Err(error) if error.code() == Some("InvalidDBInstanceState") => {
                    at.wait(POLL).await.map_err(|_| error.with_retry(Retryability::LookUpFirst))?;
                }
                Err(error) if error.code() == Some("DBSnapshotAlreadyExists") && tries < SNAPSHOT_NAMES => {
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_rds::primitives::DateTime;

    use super::*;

    #[test]
    fn a_last_snapshot_is_named_after_the_server_and_its_birth() {
        let server = Server::builder().instance_create_time(DateTime::from_secs(1_795_000_000)).build();
        assert_eq!(snapshot(&server, "shop-default-database", 0), "shop-default-database-final-1795000000");
        assert_eq!(snapshot(&server, "shop-default-database", 2), "shop-default-database-final-1795000000-2");
    }

    #[test]
    fn an_url_names_the_scheme_and_asks_for_tls() {
        let have = |engine: &str| -> DbInstanceObserved {
            serde_json::from_value(serde_json::json!({
                "region": "us-east-1", "name": "a", "engine": engine, "version": "16", "class": "c",
                "storage_gib": 20, "multi_az": false, "backup_days": 0, "deletion_protection": false,
                "encrypted": true, "database": "shop", "user": "vrooli", "subnet_group": "g",
                "parameter_group": "p", "host": "a.rds.amazonaws.com", "port": 5432, "status": "available"
            }))
            .unwrap()
        };
        let with =
            |engine, password: &str| url(&have(engine), &Secret::new(password.to_owned())).expose().clone();
        // RDS makes some that would end the name of the user, or begin a path.
        assert!(with("postgres", "a:b/c@d%e-f").starts_with("postgres://vrooli:a%3Ab%2Fc%40d%25e-f@a.rds."));
        let url = |engine| with(engine, "x1");
        assert_eq!(url("postgres"), "postgres://vrooli:x1@a.rds.amazonaws.com:5432/shop?sslmode=require");
        assert_eq!(url("mysql"), "mysql://vrooli:x1@a.rds.amazonaws.com:5432/shop?ssl-mode=REQUIRED");
    }
}
