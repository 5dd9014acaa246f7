//! The native half of `local.redis`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vrooli_deploy_core::names::{OutputName, ResourceKey, StackId};
use vrooli_deploy_core::provider::{
    CreateToken, Created, Found, OpCtx, Page, PhysicalId, ResourceHandler, Result, Scope,
};

use super::server::{Record, Server, observed, parent, url};
use super::{KIND, Redis, RedisObserved, RedisSpec};
use crate::failure;
use crate::kinds::vessel;
use crate::kinds::{Machine, Way, marker, physical_id};

fn found(stack: &StackId, record: &Record) -> Found<RedisObserved> {
    Found {
        key: record.key.clone(),
        id: physical_id(stack, &record.key),
        observed: observed(record),
        token: record.token,
    }
}

/// What records tell of, and what only marks in an engine do.
async fn all(machine: &Machine, cx: &OpCtx, stack: &StackId) -> Result<Vec<Found<RedisObserved>>> {
    let mut items = Vec::new();
    let mut volumes = BTreeSet::new();
    for folder in marker::folders(&parent(machine, stack))? {
        if let Some(record) = Record::read(&folder)?
            && record.is_owned(&machine.layout, cx.owner)
        {
            volumes.extend(record.made.contained.as_ref().map(|contained| contained.name.clone()));
            items.push(found(stack, &record));
        }
    }
    for marked in vessel::marked(machine, cx, stack).await? {
        if marked.kind != KIND || !volumes.insert(marked.name.clone()) {
            continue;
        }
        items.push(Found {
            id: vessel::marked_id(machine, stack, &marked)?,
            token: marked.token,
            observed: RedisObserved {
                port: 0,
                finished: false,
                way: Way::Docker,
                volume: Some(marked.name.clone()),
            },
            key: marked.key,
        });
    }
    Ok(items)
}

async fn make(machine: &Machine, cx: &OpCtx, key: &ResourceKey) -> Result<Created<RedisObserved>> {
    failure::may_begin(cx, "making a Redis server")?;
    let server = Server::open(machine, cx, key).await?;
    let record = server.make(cx).await?;
    let Found { id, observed, .. } = found(&cx.stack, &record);
    let password = server.password()?;
    let url = url(&observed, &password);
    let secrets = BTreeMap::from([
        (OutputName::new("password").map_err(|e| failure::name(&e))?, password),
        (OutputName::new("url").map_err(|e| failure::name(&e))?, url),
    ]);
    Ok(Created::Read { id, observed, secrets })
}

impl ResourceHandler for Redis {
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
    ) -> Result<Vec<Found<RedisObserved>>> {
        Ok(all(machine, cx, &cx.stack).await?.into_iter().filter(|found| found.key == *key).collect())
    }
    async fn list(&self, machine: &Machine, cx: &OpCtx, scope: &Scope) -> Result<Page<RedisObserved>> {
        Ok(Page { items: all(machine, cx, &scope.stack).await?, next: None })
    }
    async fn create(
        &self,
        machine: &Machine,
        cx: &OpCtx,
        key: &ResourceKey,
        _: &RedisSpec,
    ) -> Result<Created<RedisObserved>> {
        make(machine, cx, key).await
    }
    async fn update(
        &self,
        machine: &Machine,
        cx: &OpCtx,
        key: &ResourceKey,
        _: &PhysicalId,
        _: &RedisObserved,
        _: &RedisSpec,
    ) -> Result<Created<RedisObserved>> {
        make(machine, cx, key).await
    }
    async fn delete(&self, machine: &Machine, cx: &OpCtx, key: &ResourceKey, id: &PhysicalId) -> Result<()> {
        failure::may_begin(cx, "removing a Redis server")?;
        if let Some(volume) = vessel::twin_in(id) {
            return vessel::remove_twin(machine, cx, key, volume).await;
        }
        Server::open(machine, cx, key).await?.remove(cx).await
    }
}
