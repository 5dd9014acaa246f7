//! One operation on an account, seen from one region: how its calls are made, and made again.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{AnyKind, ErrorKind, OpCtx, ProviderError, Result, Retryability};

use super::answers::Answers;
use super::error::{Effect, accept, failed, name_taken};
use super::{Account, Look, Regional, Seen};

/// So many objects are asked for at once, where AWS tells of one at a time.
const ASKED_AT_ONCE: usize = 8;
/// So often a change that may be made again is made again.
const REPEATS: u32 = 4;
/// So often what was just made is looked for.
const LOOKS: u32 = 8;
/// So often a whole make or removal whose answer was lost is made again: all are made so that this is safe.
const REPLAYS: u32 = 3;
/// So long a removal waits for what is still going away: addresses of a load balancer take some minutes.
const FREED: Duration = Duration::from_secs(180);
/// The pause before the first repetition; twice as long before each further one.
const PAUSE: Duration = Duration::from_millis(100);

/// What the SDK answers.
type Answer<T, E> = std::result::Result<T, SdkError<E, HttpResponse>>;

/// Asks of several objects together; answers stand in the order of the objects.
pub(crate) async fn together<T, F>(asks: impl IntoIterator<Item = F>) -> Result<Vec<T>>
where
    F: Future<Output = Result<T>> + Send,
    T: Send,
{
    let asks: Vec<_> = asks.into_iter().map(Box::pin).collect();
    stream::iter(asks).buffered(ASKED_AT_ONCE).try_collect().await
}

/// The calls of one operation, in one region.
#[derive(Debug, Clone)]
pub(crate) struct Calls<'a> {
    pub(crate) account: &'a Account,
    pub(crate) cx: &'a OpCtx,
    /// The region's clients.
    pub(crate) region: Arc<Regional>,
    /// What a look at a whole stack has asked already.
    pub(super) answers: Option<Arc<Answers>>,
}

impl<'a> Calls<'a> {
    /// In the region of what belongs to none.
    pub(super) async fn new(account: &'a Account, cx: &'a OpCtx) -> Self {
        Self { account, cx, region: account.global().await, answers: None }
    }

    /// The same for a look at a whole stack.
    pub(super) async fn looking(account: &'a Account, cx: &'a OpCtx) -> Self {
        let answers = account.look.answers(cx.deadline, account.changes());
        Self { answers: Some(answers), ..Self::new(account, cx).await }
    }

    /// The same in another region.
    pub(crate) async fn at(&self, region: &str) -> Self {
        Self { region: self.account.region(region).await, ..self.clone() }
    }

    /// The same for what belongs to no region.
    pub(crate) async fn global(&self) -> Self {
        Self { region: self.account.global().await, ..self.clone() }
    }

    /// The same in the region that an id names; what names none belongs to none.
    pub(super) async fn at_id(&self, id: &str) -> Self {
        Self { region: self.account.of_id(id).await, ..self.clone() }
    }

    /// The same in every region that the stack has anything in, and those that are asked for.
    pub(super) async fn everywhere(&self) -> Vec<Self> {
        let regions = self.account.regions(&self.cx.regions).await;
        regions.into_iter().map(|region| Self { region, ..self.clone() }).collect()
    }

    /// The name of the one resource that is looked for, by its spec. Listings lag: what bears it is
    /// asked for itself.
    pub(crate) fn name_asked(&self, kind: &dyn AnyKind, look: Look<'_>) -> BTreeSet<String> {
        match look {
            Look::Key(_) => self.account.named(kind, look, "name"),
            Look::Stack => BTreeSet::new(),
        }
    }

    /// A call that only reads: one that failed did nothing.
    pub(crate) fn read<'s, T, E, F>(&'s self, action: &'static str, call: F) -> BoxFuture<'s, Result<T>>
    where
        F: Future<Output = Answer<T, E>> + Send + 's,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        T: Send + 's,
    {
        self.send(action, Effect::None, call)
    }

    /// The same of something that need not be there.
    pub(crate) fn find<'s, T, E, F>(
        &'s self,
        action: &'static str,
        call: F,
    ) -> BoxFuture<'s, Result<Option<T>>>
    where
        F: Future<Output = Answer<T, E>> + Send + 's,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        T: Send + 's,
    {
        let read = self.read(action, call);
        Box::pin(async { accept(read.await, ErrorKind::NotFound) })
    }

    /// The pages of a listing. `next` says how the page after one is asked for.
    pub(crate) async fn pages<T, E, F, N>(
        &self,
        action: &'static str,
        ask: impl Fn(Option<N>) -> F + Send + Sync,
        next: impl Fn(&T) -> Option<N> + Send + Sync,
    ) -> Result<Vec<T>>
    where
        F: Future<Output = Answer<T, E>> + Send,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        T: Send,
        N: Send,
    {
        let (mut pages, mut from) = (Vec::new(), None);
        loop {
            let page = self.read(action, ask(from)).await?;
            from = next(&page);
            pages.push(page);
            if from.is_none() {
                return Ok(pages);
            }
        }
    }

    /// A call that changes something and must not plainly be made again.
    pub(crate) fn change<'s, T, E, F>(&'s self, action: &'static str, call: F) -> BoxFuture<'s, Result<T>>
    where
        F: Future<Output = Answer<T, E>> + Send + 's,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        T: Send + 's,
    {
        let send = self.send(action, Effect::Change, call);
        Box::pin(async {
            self.account.changing();
            let answer = send.await;
            self.account.changing();
            answer
        })
    }

    /// The same where AWS refuses what is there already. Says whether it was this call that made it.
    pub(crate) fn create<'s, T, E, F>(&'s self, action: &'static str, call: F) -> BoxFuture<'s, Result<bool>>
    where
        F: Future<Output = Answer<T, E>> + Send + 's,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        T: Send + 's,
    {
        let change = self.change(action, call);
        Box::pin(async { Ok(accept(change.await, ErrorKind::AlreadyExists)?.is_some()) })
    }

    /// Removes something; what is gone already is fine.
    pub(crate) fn remove<'s, T, E, F>(&'s self, action: &'static str, call: F) -> BoxFuture<'s, Result<()>>
    where
        F: Future<Output = Answer<T, E>> + Send + 's,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        T: Send + 's,
    {
        let change = self.change(action, call);
        Box::pin(async { accept(change.await, ErrorKind::NotFound).map(drop) })
    }

    /// A call that changes something and has the effect of once however often it is made. What
    /// stays unsaid after some repetitions has to be looked up: it is part of something larger.
    pub(crate) async fn put<T, E, F>(
        &self,
        action: &'static str,
        call: impl Fn() -> F + Send + Sync,
    ) -> Result<T>
    where
        F: Future<Output = Answer<T, E>> + Send,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        T: Send,
    {
        let mut tries = 1;
        loop {
            match self.change(action, call()).await {
                Err(error) if error.retry() == Retryability::Never => return Err(error),
                Err(_) if tries < REPEATS => {
                    self.pause(tries).await?;
                    tries += 1;
                }
                // The engine slows down, and has the whole made again, which is the same.
                Err(error) if error.kind() == ErrorKind::RateLimited => return Err(error),
                Err(error) => return Err(error.with_retry(Retryability::LookUpFirst)),
                done => return done,
            }
        }
    }

    /// Takes a part of something away: [`Self::put`], and what is gone already is fine.
    pub(crate) async fn take<T, E, F>(
        &self,
        action: &'static str,
        call: impl Fn() -> F + Send + Sync,
    ) -> Result<()>
    where
        F: Future<Output = Answer<T, E>> + Send,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        T: Send,
    {
        accept(self.put(action, call).await, ErrorKind::NotFound).map(drop)
    }

    /// A whole that has the effect of once, made again while its answers are lost.
    pub(crate) async fn whole<T, F>(&self, make: impl Fn() -> F + Send + Sync) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        let mut tries = 0;
        loop {
            match make().await {
                Err(error) if error.retry() == Retryability::LookUpFirst && tries < REPLAYS => {
                    tries += 1;
                    self.pause(tries).await.map_err(|_| error)?;
                }
                done => return done,
            }
        }
    }

    /// Looks for what a create has made, or found there. Just made, it may take a while to show.
    pub(crate) async fn made<T, F>(
        &self,
        was_made: bool,
        look: impl Fn() -> F + Send + Sync,
    ) -> Result<Option<T>>
    where
        F: Future<Output = Result<Option<T>>> + Send,
        T: Send,
    {
        for tries in 1.. {
            match look().await {
                Ok(None) if !was_made => return Ok(None),
                Ok(Some(there)) => return Ok(Some(there)),
                Ok(None) | Err(_) if tries < LOOKS => self.pause(tries).await?,
                Ok(None) => break,
                Err(error) if was_made => return Err(error.with_retry(Retryability::LookUpFirst)),
                Err(error) => return Err(error),
            }
        }
        Err(ProviderError::new(ErrorKind::Ambiguous, "it was made, but does not show yet"))
    }

    /// A change of something that was made just now, or of what refers to it: AWS may not know it yet.
    pub(crate) async fn known<T, F>(&self, change: impl Fn() -> F + Send + Sync) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        let mut tries = 1;
        loop {
            match change().await {
                Err(error) if error.kind() == ErrorKind::NotFound && tries < LOOKS => {
                    self.pause(tries).await.map_err(|_| error)?;
                    tries += 1;
                }
                done => return done,
            }
        }
    }

    /// A removal that AWS refuses as long as something uses it that is still going away.
    pub(crate) async fn freed<F>(&self, remove: impl Fn() -> F + Send + Sync) -> Result<()>
    where
        F: Future<Output = Result<()>> + Send,
    {
        let (until, mut tries) = (Instant::now() + FREED, 0);
        loop {
            match remove().await {
                Err(error) if error.kind() == ErrorKind::Conflict && Instant::now() < until => {
                    tries += 1;
                    self.pause(tries).await.map_err(|_| error)?;
                }
                done => return done,
            }
        }
    }

    /// Looks again and again until there is an answer, at most so long.
    pub(crate) async fn until<T, F>(
        &self,
        limit: Duration,
        look: impl Fn() -> F + Send + Sync,
    ) -> Result<Option<T>>
    where
        F: Future<Output = Result<Option<T>>> + Send,
        T: Send,
    {
        let (until, mut tries) = (Instant::now() + limit, 0);
        loop {
            match look().await? {
                None if Instant::now() < until => {
                    tries += 1;
                    self.pause(tries).await?;
                }
                answer => return Ok(answer),
            }
        }
    }

    /// What bears the resource's name, if it is the resource: nothing else is taken over.
    pub(crate) fn own<T>(
        &self,
        there: Option<Seen<T>>,
        key: &ResourceKey,
        (what, name): (&str, &str),
    ) -> Result<Seen<T>> {
        there.filter(|one| one.marks.are(self.cx, key)).ok_or_else(|| name_taken(what, name))
    }

    /// Waits before something is tried again, so often tried already.
    async fn pause(&self, tries: u32) -> Result<()> {
        self.wait(PAUSE.saturating_mul(1 << tries.min(6))).await
    }

    /// Waits, unless the call is to stop.
    pub(crate) async fn wait(&self, duration: Duration) -> Result<()> {
        tokio::select! {
            () = tokio::time::sleep(duration) => Ok(()),
            () = self.cx.cancellation.cancelled() => Err(stopped(Effect::Change)),
            () = tokio::time::sleep_until(self.cx.deadline.into()) => Err(too_long(Effect::Change, "waiting")),
        }
    }

    /// On the heap, all of it: a call of the SDK is ten thousand bytes, and in builds without optimisation
    /// each function between it and the engine held it several times on the stack.
    fn send<'s, T, E, F>(&'s self, action: &'static str, effect: Effect, call: F) -> BoxFuture<'s, Result<T>>
    where
        F: Future<Output = Answer<T, E>> + Send + 's,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        T: Send + 's,
    {
        let call: BoxFuture<'s, Answer<T, E>> = Box::pin(call);
        Box::pin(self.sent(action, effect, call))
    }

    async fn sent<T, E>(
        &self,
        action: &'static str,
        effect: Effect,
        call: BoxFuture<'_, Answer<T, E>>,
    ) -> Result<T>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        if self.cx.cancellation.is_cancelled() {
            return Err(stopped(Effect::None));
        }
        if Instant::now() >= self.cx.deadline {
            return Err(ProviderError::new(ErrorKind::Timeout, format!("{action}: there was no time left")));
        }
        self.account.count(action);
        tokio::select! {
            answer = call => answer.map_err(|error| failed(action, effect, error)),
            () = self.cx.cancellation.cancelled() => Err(stopped(effect)),
            () = tokio::time::sleep_until(self.cx.deadline.into()) => Err(too_long(effect, action)),
        }
    }
}

fn stopped(effect: Effect) -> ProviderError {
    match effect {
        Effect::None => ProviderError::new(ErrorKind::Cancelled, "cancelled"),
        Effect::Change => ProviderError::new(ErrorKind::Ambiguous, "cancelled while a change was on its way"),
    }
}

fn too_long(effect: Effect, what: &str) -> ProviderError {
    let kind = match effect {
        Effect::None => ErrorKind::Timeout,
        Effect::Change => ErrorKind::Ambiguous,
    };
    ProviderError::new(kind, format!("{what}: no answer in time"))
}
