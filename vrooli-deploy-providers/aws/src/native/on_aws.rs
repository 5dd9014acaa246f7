use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{
    CreateToken, Created, Found, Known, OpCtx, Page, PhysicalId, ResourceHandler, ResourceKindDef, Result,
    Retryability, Scope, WrapsKind,
};

use super::{Account, Marks};

/// So often a change whose answer was lost is made again: all are made so that this is safe.
const REPLAYS: u32 = 3;

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Look<'a> {
    /// Everything of the stack.
    Stack,
    /// One resource.
    Key(&'a ResourceKey),
    /// One object.
    Id(&'a PhysicalId),
}

/// An object that was seen, and whose it is.
#[derive(Debug, Clone)]
pub(crate) struct Seen<T> {
    pub(crate) id: PhysicalId,
    pub(crate) marks: Marks,
    pub(crate) observed: T,
}

/// The native half of a kind, in its own file. What all have in common is in [`OnAws`].
pub(crate) trait Native: ResourceKindDef {
    /// What keeps a create from happening twice.
    const TOKEN: CreateToken;
    /// How long a create whose client is gone may still land.
    const SETTLE: Duration = Duration::from_secs(2);

    /// Looks. May give more than was asked for: what is not ours, or not asked for, is dropped.
    fn look(
        &self,
        account: &Account,
        cx: &OpCtx,
        look: Look<'_>,
    ) -> impl Future<Output = Result<Vec<Seen<Self::Observed>>>> + Send;

    /// Makes it whole, or completes what was begun with the same token, and gives its id.
    fn make(
        &self,
        account: &Account,
        cx: &OpCtx,
        key: &ResourceKey,
        want: &Self::Spec<Known>,
    ) -> impl Future<Output = Result<PhysicalId>> + Send;

    /// Changes what differs.
    fn change(
        &self,
        account: &Account,
        cx: &OpCtx,
        id: &PhysicalId,
        have: &Self::Observed,
        want: &Self::Spec<Known>,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Removes it. What is not there is fine.
    fn remove(
        &self,
        account: &Account,
        cx: &OpCtx,
        id: &PhysicalId,
    ) -> impl Future<Output = Result<()>> + Send;
}

/// A kind with its handler.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OnAws<K>(pub(crate) K);

impl<K: ResourceKindDef> WrapsKind for OnAws<K> {
    type Kind = K;

    fn kind_def(&self) -> &K {
        &self.0
    }
}

impl<K: Native> OnAws<K> {
    async fn seen(
        &self,
        account: &Account,
        cx: &OpCtx,
        look: Look<'_>,
    ) -> Result<Vec<Found<<K as ResourceKindDef>::Observed>>> {
        let seen = self.0.look(account, cx, look).await?;
        let ours = seen.into_iter().filter(|one| match look {
            Look::Stack => one.marks.are_of(cx),
            Look::Key(key) => one.marks.are(cx, key),
            Look::Id(id) => one.marks.are_of(cx) && one.id == *id,
        });
        Ok(ours
            .map(|one| Found {
                key: one.marks.key,
                id: one.id,
                observed: one.observed,
                token: one.marks.token,
            })
            .collect())
    }

    /// What was made, as it is seen. That it cannot be read is no failure to make it.
    async fn read_back(
        &self,
        account: &Account,
        cx: &OpCtx,
        id: PhysicalId,
    ) -> Created<<K as ResourceKindDef>::Observed> {
        let found = self.seen(account, cx, Look::Id(&id)).await.unwrap_or_default();
        match found.into_iter().next() {
            Some(found) => Created::Read { id, observed: found.observed, secrets: BTreeMap::new() },
            None => Created::Unread { id, secrets: BTreeMap::new() },
        }
    }
}

impl<K: Native> ResourceHandler for OnAws<K> {
    type Client = Account;

    fn create_token(&self) -> CreateToken {
        K::TOKEN
    }
    fn settle(&self) -> Duration {
        K::SETTLE
    }

    async fn find(
        &self,
        account: &Account,
        cx: &OpCtx,
        key: &ResourceKey,
        id: Option<&PhysicalId>,
    ) -> Result<Vec<Found<Self::Observed>>> {
        let look = id.map_or(Look::Key(key), Look::Id);
        Ok(self.seen(account, cx, look).await?.into_iter().filter(|found| found.key == *key).collect())
    }

    /// All pages are followed here: a kind's own pages say nothing about a stack.
    async fn list(&self, account: &Account, cx: &OpCtx, scope: &Scope) -> Result<Page<Self::Observed>> {
        if scope.stack != cx.stack {
            return Ok(Page { items: Vec::new(), next: None });
        }
        Ok(Page { items: self.seen(account, cx, Look::Stack).await?, next: None })
    }

    async fn create(
        &self,
        account: &Account,
        cx: &OpCtx,
        key: &ResourceKey,
        want: &Self::Spec<Known>,
    ) -> Result<Created<Self::Observed>> {
        // A make finds what it made by its name or token, and completes it: after an answer that was
        // lost it is the look-up, too. The engine is asked only when that gives no answer either.
        let mut tries = 0;
        let id = loop {
            match self.0.make(account, cx, key, want).await {
                Err(error) if error.retry() == Retryability::LookUpFirst && tries < REPLAYS => {
                    tries += 1;
                    account.pause(cx, tries).await.map_err(|_| error)?;
                }
                made => break made?,
            }
        };
        Ok(self.read_back(account, cx, id).await)
    }

    async fn update(
        &self,
        account: &Account,
        cx: &OpCtx,
        _: &ResourceKey,
        id: &PhysicalId,
        have: &Self::Observed,
        want: &Self::Spec<Known>,
    ) -> Result<Created<Self::Observed>> {
        self.0.change(account, cx, id, have, want).await?;
        Ok(self.read_back(account, cx, id.clone()).await)
    }

    async fn delete(&self, account: &Account, cx: &OpCtx, _: &ResourceKey, id: &PhysicalId) -> Result<()> {
        // Made twice it has the effect of once, so a lost answer is simply asked for again.
        let mut tries = 0;
        loop {
            match self.0.remove(account, cx, id).await {
                Err(error) if error.retry() == Retryability::LookUpFirst && tries < REPLAYS => {
                    tries += 1;
                    account.pause(cx, tries).await?;
                }
                done => return done,
            }
        }
    }
}
