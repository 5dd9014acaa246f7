//! The native half of `local.redis`.

use std::collections::BTreeMap;
use std::time::Duration;

use vrooli_deploy_core::names::{OutputName, ResourceKey, StackId};
use vrooli_deploy_core::provider::{
    CreateToken, Created, Found, OpCtx, Page, PhysicalId, ResourceHandler, Result, Scope,
};

use super::server::{Record, Server, observed, parent, url};
use super::{Redis, RedisObserved, RedisSpec};
use crate::failure;
use crate::kinds::{Machine, marker, physical_id};

fn found(stack: &StackId, record: &Record) -> Found<RedisObserved> {
    Found {
        key: record.key.clone(),
        id: physical_id(stack, &record.key),
        observed: observed(record),
        token: record.token,
    }
}

fn all(machine: &Machine, stack: &StackId) -> Result<Vec<Found<RedisObserved>>> {
    let mut items = Vec::new();
    for folder in marker::folders(&parent(machine, stack))? {
        if let Some(record) = Record::read(&folder)? {
            items.push(found(stack, &record));
        }
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
        Ok(all(machine, &cx.stack)?.into_iter().filter(|found| found.key == *key).collect())
    }
    async fn list(&self, machine: &Machine, _: &OpCtx, scope: &Scope) -> Result<Page<RedisObserved>> {
        Ok(Page { items: all(machine, &scope.stack)?, next: None })
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
    async fn delete(&self, machine: &Machine, cx: &OpCtx, key: &ResourceKey, _: &PhysicalId) -> Result<()> {
        failure::may_begin(cx, "removing a Redis server")?;
        Server::open(machine, cx, key).await?.remove(cx).await
    }
}
