//! The native half of every kind that is prepared on a host.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize as _;
use vrooli_deploy_core::names::{Digest, OutputName, ResourceKey};
use vrooli_deploy_core::provider::{
    CreateToken, Created, ErrorKind, Found, Known, OpCtx, Page, PhysicalId, ProviderError, ResourceHandler,
    ResourceKindDef, Result, Scope, WrapsKind,
};

use super::queue::owned;
use super::{Change, HostSurvey, Making, Place, Prepared, Progress, RecordedResource, Servers, Verb};
use crate::host::HostName;

/// A kind with its handler.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OnHost<K>(pub(crate) K);

impl<K: Prepared> WrapsKind for OnHost<K> {
    type Kind = K;

    fn kind_def(&self) -> &K {
        &self.0
    }
}

impl<K> OnHost<K>
where
    K: Prepared + ResourceKindDef<Spec<Known> = <K as Prepared>::Plain>,
{
    fn recorded(&self, survey: &HostSurvey, key: &ResourceKey) -> Option<RecordedResource> {
        let recorded = survey.record.as_ref()?.resources.get(key)?;
        (recorded.kind == ResourceKindDef::kind(&self.0)).then(|| recorded.clone())
    }

    fn found(
        &self,
        place: &Place,
        survey: &HostSurvey,
        key: &ResourceKey,
        recorded: &RecordedResource,
    ) -> Result<Found<K::Observed>> {
        let want: K::Plain = serde_json::from_value(recorded.spec.clone()).map_err(|error| {
            ProviderError::new(
                ErrorKind::Unexpected,
                format!("what is recorded of `{key}` does not fit its kind: {error}"),
            )
        })?;
        Ok(Found {
            key: key.clone(),
            id: recorded.id.clone(),
            observed: K::observe(&want, place, survey),
            token: recorded.token,
        })
    }

    async fn put(
        &self,
        servers: &Servers,
        cx: &OpCtx,
        key: &ResourceKey,
        verb: Verb,
        want: &K::Plain,
    ) -> Result<Created<K::Observed>> {
        let place = Place::of(&cx.stack);
        let refuse = |words: String| ProviderError::new(ErrorKind::Unsupported, format!("`{key}`: {words}"));
        K::check(want, &place).map_err(refuse)?;
        let host = HostName::new(K::host(want)).map_err(|error| refuse(error.to_string()))?;
        servers.departure().not_lost(&host)?;
        let spec =
            want.serialize(serde_json::value::Serializer).map_err(|error| refuse(error.to_string()))?;
        may_begin(cx)?;
        let id = PhysicalId(format!("{host}:{}", K::name(want, &place)));
        let recorded = |progress| RecordedResource {
            kind: ResourceKindDef::kind(&self.0),
            id: id.clone(),
            token: cx.token,
            progress,
            digest: Digest::of(spec.to_string().as_bytes()),
            spec: spec.clone(),
        };
        let queue = servers.queue(&host);
        let coming = queue.coming();
        let seen = if K::LOOKS { queue.last_seen(cx).await? } else { Arc::default() };
        let (items, password) = if K::PASSWORD {
            // The store waits for its disk, and digests take their time: others go on meanwhile.
            let kept = servers.password(&cx.stack, key);
            let (want, place) = (want.clone(), place.clone());
            let made = tokio::task::spawn_blocking(move || -> Result<_> {
                let password = kept()?;
                let making = Making { place: &place, seen: &seen, password: Some(&password) };
                let items = K::items_there(&want, &making)?;
                Ok((items, Some(password)))
            });
            made.await.map_err(|error| ProviderError::new(ErrorKind::Unexpected, error.to_string()))??
        } else {
            (K::items_there(want, &Making { place: &place, seen: &seen, password: None })?, None)
        };
        let mut ready = recorded(Progress::Ready);
        let mut begun = recorded(if verb == Verb::Create { Progress::Creating } else { Progress::Changing });
        if verb == Verb::Update && cx.token.is_none() {
            // A change leaves the token that it was made with.
            let before = self.recorded(&*queue.last_seen(cx).await?, key);
            ready.token = before.and_then(|before| before.token);
            begun.token = ready.token;
        }
        let line =
            |recorded: &RecordedResource| recorded.line(key).map_err(|error| refuse(error.to_string()));
        let change = Change {
            kind: K::WORD,
            rank: K::RANK,
            verb,
            key: key.clone(),
            begun: line(&begun)?,
            done: line(&ready)?,
            items,
        };
        let survey = queue.change(cx, change, Some(coming)).await?;
        let observed = K::observe(want, &place, &survey);
        let secrets = password.iter().flat_map(|password| K::secrets(&observed, password));
        let named =
            |(name, secret)| Ok((OutputName::new(name).map_err(|error| refuse(error.to_string()))?, secret));
        let secrets = secrets.map(named).collect::<Result<_>>()?;
        Ok(Created::Read { id, observed, secrets })
    }
}

/// Refuses to begin what was cancelled or whose time is over.
fn may_begin(cx: &OpCtx) -> Result<()> {
    if cx.cancellation.is_cancelled() {
        return Err(ProviderError::new(ErrorKind::Cancelled, "stopped before it was sent"));
    }
    if Instant::now() >= cx.deadline {
        return Err(ProviderError::new(ErrorKind::Timeout, "no time was left for it"));
    }
    Ok(())
}

impl<K> ResourceHandler for OnHost<K>
where
    K: Prepared + ResourceKindDef<Spec<Known> = <K as Prepared>::Plain>,
{
    type Client = Servers;

    fn create_token(&self) -> CreateToken {
        // The record keeps it, and a script that is still at it is waited for.
        CreateToken::Native
    }

    fn settle(&self) -> Duration {
        Duration::ZERO
    }

    async fn find(
        &self,
        servers: &Servers,
        cx: &OpCtx,
        key: &ResourceKey,
        id: Option<&PhysicalId>,
    ) -> Result<Vec<Found<K::Observed>>> {
        let host = servers.host_of(key, id)?;
        if servers.departure().is_lost(&host) {
            return Ok(Vec::new());
        }
        let survey = servers.queue(&host).survey(cx, &cx.stack).await?;
        owned(&host, cx, &survey)?;
        let Some(recorded) = self.recorded(&survey, key) else { return Ok(Vec::new()) };
        // Half made: whoever asks by its key makes it again, with the same token.
        if id.is_none() && recorded.progress == Progress::Creating {
            return Ok(Vec::new());
        }
        Ok(vec![self.found(&Place::of(&cx.stack), &survey, key, &recorded)?])
    }

    async fn list(&self, servers: &Servers, cx: &OpCtx, scope: &Scope) -> Result<Page<K::Observed>> {
        let place = Place::of(&scope.stack);
        let mut items = Vec::new();
        for (host, survey) in servers.survey_all(cx, &scope.stack).await? {
            owned(&host, cx, &survey)?;
            for (key, recorded) in survey.record.iter().flat_map(|record| &record.resources) {
                if recorded.kind == ResourceKindDef::kind(&self.0) {
                    items.push(self.found(&place, &survey, key, recorded)?);
                }
            }
        }
        Ok(Page { items, next: None })
    }

    async fn create(
        &self,
        servers: &Servers,
        cx: &OpCtx,
        key: &ResourceKey,
        want: &K::Plain,
    ) -> Result<Created<K::Observed>> {
        self.put(servers, cx, key, Verb::Create, want).await
    }

    async fn update(
        &self,
        servers: &Servers,
        cx: &OpCtx,
        key: &ResourceKey,
        _: &PhysicalId,
        _: &K::Observed,
        want: &K::Plain,
    ) -> Result<Created<K::Observed>> {
        self.put(servers, cx, key, Verb::Update, want).await
    }

    async fn delete(&self, servers: &Servers, cx: &OpCtx, key: &ResourceKey, id: &PhysicalId) -> Result<()> {
        may_begin(cx)?;
        let host = servers.host_of(key, Some(id))?;
        if servers.departure().is_lost(&host) {
            return Ok(());
        }
        servers.departure().end(cx, &host).await?;
        let queue = servers.queue(&host);
        let mut survey = queue.last_seen(cx).await?;
        if self.recorded(&survey, key).is_none() {
            survey = queue.survey(cx, &cx.stack).await?;
        }
        owned(queue.name(), cx, &survey)?;
        let Some(recorded) = self.recorded(&survey, key) else { return Ok(()) };
        let place = Place::of(&cx.stack);
        let making = Making { place: &place, seen: &survey, password: None };
        let items = match serde_json::from_value::<K::Plain>(recorded.spec.clone()) {
            Ok(want) if K::check(&want, &place).is_ok() => K::items_there(&want, &making)?,
            _ => {
                return Err(ProviderError::new(
                    ErrorKind::Conflict,
                    format!("what is recorded of `{key}` is not what was written down"),
                ));
            }
        };
        let change = Change {
            kind: K::WORD,
            // What was made last goes first.
            rank: u8::MAX - K::RANK,
            verb: Verb::Delete,
            key: key.clone(),
            begun: String::new(),
            done: String::new(),
            items,
        };
        queue.change(cx, change, None).await.map(drop)
    }
}
