//! What bears marks in the cloud, whoever's it is, and who owns it.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;
use vrooli_deploy_core::names::{OutputName, ReleaseNumber, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{Census, Ledger, Marked, OpCtx, PlaceRecord, Result};
use vrooli_deploy_core::secrets::{Secret, SecretRef};

use super::cloud::FakeCloud;
use super::fault::CallRecord;
use super::world::Object;

fn record(name: &'static str, about: &OpCtx, changes: bool) -> CallRecord {
    CallRecord { name, kind: String::new(), about: about.stack.to_string(), changes }
}

fn marked(object: &Object) -> Marked {
    Marked {
        id: object.id.clone(),
        name: object.id.to_string(),
        kind: ResourceKind::new(object.kind).ok(),
        stack: Some(object.marks.stack.clone()),
        key: Some(object.marks.key.clone()),
        owner: Some(object.marks.owner),
        incarnation: None,
        region: None,
        since: None,
    }
}

#[async_trait]
impl Census for FakeCloud {
    async fn marked(&self, cx: &OpCtx) -> Result<Vec<Marked>> {
        self.call(cx, record("census", cx, false), |world| {
            let now = Instant::now();
            Ok(world.such(|object| object.visible <= now).map(marked).collect())
        })
        .await
    }
}

#[async_trait]
impl Ledger for FakeCloud {
    async fn records(&self, cx: &OpCtx) -> Result<Vec<PlaceRecord>> {
        let stack = cx.stack.clone();
        let owners: BTreeSet<Uuid> = self
            .call(cx, record("records", cx, false), move |world| {
                Ok(world.of(&stack).map(|object| object.marks.owner).collect())
            })
            .await?;
        let record = |owner| PlaceRecord {
            place: "the fake cloud".to_owned(),
            owner,
            fence: 0,
            taken: None,
            specs: BTreeMap::new(),
        };
        Ok(owners.into_iter().map(record).collect())
    }

    async fn take_over(&self, cx: &OpCtx) -> Result<()> {
        let (stack, owner) = (cx.stack.clone(), cx.owner);
        self.call(cx, record("take-over", cx, true), move |world| {
            let theirs = world.objects.values_mut().filter(|object| object.marks.stack == stack);
            theirs.for_each(|object| object.marks.owner = owner);
            Ok(())
        })
        .await
    }

    async fn values(&self, _: &OpCtx, _: ReleaseNumber) -> Result<Vec<(SecretRef, Secret<String>)>> {
        Ok(Vec::new())
    }

    /// It told passwords once.
    async fn remember(
        &self,
        _: &OpCtx,
        (_, kind): (&ResourceKey, &ResourceKind),
        _: &Value,
        had_back: &BTreeMap<OutputName, Secret<String>>,
    ) -> Result<Option<BTreeMap<OutputName, Secret<String>>>> {
        Ok((kind.as_str() == super::kinds::DATABASE).then(|| had_back.clone()))
    }
}
