//! What handlers call: the cloud's API, seen from a client.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};
use vrooli_deploy_core::names::{OutputName, ResourceKey};
use vrooli_deploy_core::provider::{
    Created, ErrorKind, Found, OpCtx, Page, PhysicalId, ProviderError, Result, Scope,
};
use vrooli_deploy_core::secrets::Secret;

use super::cloud::FakeCloud;
use super::fault::CallRecord;
use super::world::{Marks, NewObject, Object};

/// How soon a client looks again whether something is there yet; then half as often each time.
const POLL: Duration = Duration::from_secs(1);

/// How often it looks at least.
const SLOW_POLL: Duration = Duration::from_secs(30);

/// What a handler wants to make.
pub(super) struct Make {
    pub(super) kind: &'static str,
    pub(super) name: Option<String>,
    pub(super) stands_on: Vec<String>,
    pub(super) ready_after: Duration,
    pub(super) native: bool,
}

fn record(name: &'static str, kind: &str, about: impl ToString, changes: bool) -> CallRecord {
    CallRecord { name, kind: kind.to_owned(), about: about.to_string(), changes }
}

fn read<T: DeserializeOwned>(object: &Object) -> Result<T> {
    T::deserialize(&object.fields).map_err(|e| ProviderError::new(ErrorKind::Unexpected, e.to_string()))
}

fn found<T: DeserializeOwned>(object: &Object) -> Result<Found<T>> {
    Ok(Found {
        key: object.marks.key.clone(),
        id: object.id.clone(),
        observed: read(object)?,
        token: object.marks.token,
    })
}

impl FakeCloud {
    /// Makes an object, or finds the one with this token, and waits until it is listed and ready.
    pub(super) async fn make<T: Serialize + DeserializeOwned>(
        &self,
        cx: &OpCtx,
        key: &ResourceKey,
        make: Make,
        fields: &T,
        secrets: BTreeMap<OutputName, Secret<String>>,
    ) -> Result<Created<T>> {
        let kind = make.kind;
        let marks = Marks { stack: cx.stack.clone(), owner: cx.owner, key: key.clone(), token: cx.token };
        let by_marks = !make.native && make.name.is_none();
        if by_marks && let Some(object) = self.with_token(cx, kind, key).await? {
            return Ok(Created::Read {
                id: object.id.clone(),
                observed: read(&object)?,
                secrets: BTreeMap::new(),
            });
        }
        let new = NewObject {
            kind,
            marks,
            name: make.name.clone(),
            fields: serde_json::to_value(fields)
                .map_err(|e| ProviderError::new(ErrorKind::Unexpected, e.to_string()))?,
            stands_on: make.stands_on,
            ready_after: make.ready_after,
            native: make.native,
        };
        let lag = self.options().lag;
        let answer =
            self.call(cx, record("create", kind, key, true), move |world| world.create(new, lag)).await;
        let (object, secrets) = match answer {
            Ok(object) => (object, secrets),
            // The name is taken: by ourselves, before an answer was lost, or by a stranger.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                match self.named(cx, kind, key, make.name.clone()).await? {
                    Some(object) if object.marks.token == cx.token => (object, BTreeMap::new()),
                    _ => return Err(error),
                }
            }
            Err(error) => return Err(error),
        };
        let id = object.id.clone();
        match self.settled(cx, &object).await {
            Ok(object) => Ok(Created::Read { id, observed: read(&object)?, secrets }),
            // Made, but not read back: the engine reads it again.
            Err(error) if matches!(error.kind(), ErrorKind::Cancelled) => Err(error),
            Err(_) => Ok(Created::Unread { id, secrets }),
        }
    }

    /// The object of ours with that name. Listings lag behind, so it is looked for a while.
    async fn named(
        &self,
        cx: &OpCtx,
        kind: &'static str,
        key: &ResourceKey,
        name: Option<String>,
    ) -> Result<Option<Object>> {
        let give_up = Instant::now() + self.options().lag + POLL;
        loop {
            let wanted = name.clone();
            let seen = self.describe(cx, kind, key, move |o| o.name == wanted).await?;
            if !seen.is_empty() || Instant::now() >= give_up {
                return Ok(seen.into_iter().next());
            }
            sleep(POLL).await;
        }
    }

    async fn with_token(&self, cx: &OpCtx, kind: &'static str, key: &ResourceKey) -> Result<Option<Object>> {
        let token = cx.token;
        Ok(self.describe(cx, kind, key, move |o| o.marks.token == token).await?.into_iter().next())
    }

    /// Waits until an object is listed and ready.
    async fn settled(&self, cx: &OpCtx, object: &Object) -> Result<Object> {
        let deadline = Instant::from_std(cx.deadline);
        let mut pause = POLL;
        loop {
            let id = object.id.clone();
            let seen = self.describe(cx, object.kind, &object.marks.key, move |o| o.id == id).await?;
            if let Some(seen) = seen.into_iter().next()
                && seen.ready <= Instant::now()
            {
                return Ok(seen);
            }
            if Instant::now() >= deadline {
                return Err(ProviderError::new(
                    ErrorKind::Timeout,
                    format!("{} is not ready yet", object.id),
                ));
            }
            tokio::select! {
                () = sleep(pause) => pause = (pause * 2).min(SLOW_POLL),
                () = cx.cancellation.cancelled() => {
                    return Err(ProviderError::new(ErrorKind::Ambiguous, "cancelled while it came up"));
                }
            }
        }
    }

    /// Objects of this stack and key that listings show, oldest first.
    pub(super) async fn describe(
        &self,
        cx: &OpCtx,
        kind: &'static str,
        key: &ResourceKey,
        which: impl Fn(&Object) -> bool + Send + 'static,
    ) -> Result<Vec<Object>> {
        let (stack, owner, wanted) = (cx.stack.clone(), cx.owner, key.clone());
        self.call(cx, record("describe", kind, key, false), move |world| {
            let now = Instant::now();
            Ok(world
                .such(|o| {
                    // The key first: nearly all have another one.
                    let ours = o.marks.key == wanted && o.kind == kind && o.marks.stack == stack;
                    ours && o.marks.owner == owner && o.visible <= now && which(o)
                })
                .cloned()
                .collect())
        })
        .await
    }

    pub(super) async fn find<T: DeserializeOwned>(
        &self,
        cx: &OpCtx,
        kind: &'static str,
        key: &ResourceKey,
        id: Option<&PhysicalId>,
    ) -> Result<Vec<Found<T>>> {
        let id = id.cloned();
        let objects = self.describe(cx, kind, key, move |o| id.as_ref().is_none_or(|id| o.id == *id)).await?;
        objects.iter().map(found).collect()
    }

    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        cx: &OpCtx,
        kind: &'static str,
        scope: &Scope,
    ) -> Result<Page<T>> {
        let (stack, owner) = (scope.stack.clone(), cx.owner);
        let start: usize = scope.page.as_deref().and_then(|page| page.parse().ok()).unwrap_or_default();
        let size = self.options().page;
        let (objects, more) = self
            .call(cx, record("list", kind, start, false), move |world| {
                let now = Instant::now();
                let all: Vec<Object> = world
                    .of(&stack)
                    .filter(|o| o.kind == kind && o.marks.owner == owner && o.visible <= now)
                    .cloned()
                    .collect();
                let more = all.len() > start + size;
                Ok((all.into_iter().skip(start).take(size).collect::<Vec<_>>(), more))
            })
            .await?;
        Ok(Page {
            items: objects.iter().map(found).collect::<Result<_>>()?,
            next: more.then(|| (start + size).to_string()),
        })
    }

    pub(super) async fn change<T: Serialize + DeserializeOwned>(
        &self,
        cx: &OpCtx,
        kind: &'static str,
        key: &ResourceKey,
        id: &PhysicalId,
        fields: &T,
    ) -> Result<Created<T>> {
        let fields = serde_json::to_value(fields)
            .map_err(|e| ProviderError::new(ErrorKind::Unexpected, e.to_string()))?;
        let target = id.clone();
        let object = self
            .call(cx, record("update", kind, key, true), move |world| world.update(&target, fields))
            .await?;
        Ok(Created::Read { id: id.clone(), observed: read(&object)?, secrets: BTreeMap::new() })
    }

    pub(super) async fn delete(
        &self,
        cx: &OpCtx,
        kind: &'static str,
        key: &ResourceKey,
        id: &PhysicalId,
    ) -> Result<()> {
        let target = id.clone();
        self.call(cx, record("delete", kind, key, true), move |world| world.delete(&target)).await
    }
}
