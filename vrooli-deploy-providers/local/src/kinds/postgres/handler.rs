//! The native half of `local.postgres`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use vrooli_deploy_core::names::{OutputName, ResourceKey, StackId};
use vrooli_deploy_core::provider::{
    CreateToken, Created, ErrorKind, Found, OpCtx, Page, PhysicalId, ProviderError, ResourceHandler, Result,
    Scope,
};

use super::binaries::KNOWN;
use super::cluster::{Record, Server, observed, url};
use super::{KIND, Postgres, PostgresObserved, PostgresSpec, SqlName, home};
use crate::failure;
use crate::kinds::vessel::{self, Marked};
use crate::kinds::{Machine, Way, marker, physical_id};

fn found(stack: &StackId, record: &Record, folder: &Path) -> Found<PostgresObserved> {
    Found {
        key: record.key.clone(),
        id: physical_id(stack, &record.key),
        observed: observed(record, folder),
        token: record.token,
    }
}

/// What records tell of, and what only marks in an engine do: data whose record was lost,
/// or that there is twice.
async fn all(machine: &Machine, cx: &OpCtx, stack: &StackId) -> Result<Vec<Found<PostgresObserved>>> {
    let mut items = Vec::new();
    let mut volumes = BTreeSet::new();
    for parent in home::parents(&machine.layout, stack)? {
        for folder in marker::folders(&parent)? {
            if let Some(record) = Record::read(&folder)?
                && record.is_owned(&machine.layout, cx.owner)
            {
                volumes.extend(record.made.contained.as_ref().map(|contained| contained.name.clone()));
                items.push(found(stack, &record, &folder));
            }
        }
    }
    for marked in vessel::marked(machine, cx, stack).await? {
        if marked.kind != KIND || !volumes.insert(marked.name.clone()) {
            continue;
        }
        items.push(Found {
            id: vessel::marked_id(machine, stack, &marked)?,
            token: marked.token,
            observed: unfinished(&marked)?,
            key: marked.key,
        });
    }
    Ok(items)
}

/// Data whose record is lost: what it is, the next making of it finds out.
fn unfinished(marked: &Marked) -> Result<PostgresObserved> {
    let database =
        SqlName::new("postgres").map_err(|rule| ProviderError::new(ErrorKind::Unexpected, rule))?;
    Ok(PostgresObserved {
        major: 0,
        port: 0,
        database,
        user: KNOWN.role.clone(),
        extensions: BTreeSet::new(),
        finished: false,
        way: Way::Docker,
        path: None,
        volume: Some(marked.name.clone()),
    })
}

async fn make(
    machine: &Machine,
    cx: &OpCtx,
    key: &ResourceKey,
    want: &PostgresSpec,
) -> Result<Created<PostgresObserved>> {
    failure::may_begin(cx, "making a PostgreSQL server")?;
    let mut server = Server::open(machine, cx, key).await?;
    let record = server.make(cx, want).await?;
    let Found { id, observed, .. } = found(&cx.stack, &record, &server.home.folder);
    let password = server.password()?;
    let url = url(&observed, &password);
    let secrets = BTreeMap::from([
        (OutputName::new("password").map_err(|e| failure::name(&e))?, password),
        (OutputName::new("url").map_err(|e| failure::name(&e))?, url),
    ]);
    Ok(Created::Read { id, observed, secrets })
}

impl ResourceHandler for Postgres {
    type Client = Machine;

    fn create_token(&self) -> CreateToken {
        CreateToken::Name
    }
    fn settle(&self) -> Duration {
        Duration::ZERO
    }
    async fn find(
        &self,
        machine: &Machine,
        cx: &OpCtx,
        key: &ResourceKey,
        _: Option<&PhysicalId>,
    ) -> Result<Vec<Found<PostgresObserved>>> {
        Ok(all(machine, cx, &cx.stack).await?.into_iter().filter(|found| found.key == *key).collect())
    }
    async fn list(&self, machine: &Machine, cx: &OpCtx, scope: &Scope) -> Result<Page<PostgresObserved>> {
        Ok(Page { items: all(machine, cx, &scope.stack).await?, next: None })
    }
    async fn create(
        &self,
        machine: &Machine,
        cx: &OpCtx,
        key: &ResourceKey,
        want: &PostgresSpec,
    ) -> Result<Created<PostgresObserved>> {
        make(machine, cx, key, want).await
    }
    async fn update(
        &self,
        machine: &Machine,
        cx: &OpCtx,
        key: &ResourceKey,
        _: &PhysicalId,
        _: &PostgresObserved,
        want: &PostgresSpec,
    ) -> Result<Created<PostgresObserved>> {
        make(machine, cx, key, want).await
    }
    async fn delete(&self, machine: &Machine, cx: &OpCtx, key: &ResourceKey, id: &PhysicalId) -> Result<()> {
        failure::may_begin(cx, "removing a PostgreSQL server")?;
        if let Some(volume) = vessel::twin_in(id) {
            return vessel::remove_twin(machine, cx, key, volume).await;
        }
        Server::open(machine, cx, key).await?.remove(cx).await
    }
}
