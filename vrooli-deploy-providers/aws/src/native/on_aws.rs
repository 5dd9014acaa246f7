use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use vrooli_deploy_core::names::{OutputName, ResourceKey};
use vrooli_deploy_core::provider::{
    CreateToken, Created, ErrorKind, Found, Known, OpCtx, Page, PhysicalId, ProviderError, ResourceHandler,
    ResourceKindDef, Result, Scope, WrapsKind,
};
use vrooli_deploy_core::secrets::Secret;

use super::{Account, Calls, Marks, completed};

/// What is listed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Look<'a> {
    /// Everything of the stack.
    Stack,
    /// One resource.
    Key(&'a ResourceKey),
}

impl Look<'_> {
    /// Is what bears these marks looked for?
    pub(crate) fn wants(self, cx: &OpCtx, marks: &Marks) -> bool {
        match self {
            Self::Stack => marks.are_of(cx),
            Self::Key(key) => marks.are(cx, key),
        }
    }
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
    /// Do its objects belong to no region?
    const GLOBAL: bool = false;
    /// What resource parts of its ARNs begin with (`instance/`), of a kind of EC2 that not every stack has. Where
    /// neither the manifest nor the state has any of it, the listing of tags says whether it is asked about at all.
    const SELDOM: Option<&'static str> = None;

    /// One object, seen from the region that its id names. May be one that is not ours: that is dropped.
    fn see(
        &self,
        at: &Calls<'_>,
        id: &PhysicalId,
    ) -> impl Future<Output = Result<Option<Seen<Self::Observed>>>> + Send;

    /// What there is in a region. May be more than is looked for: that is dropped.
    fn list(
        &self,
        at: &Calls<'_>,
        look: Look<'_>,
    ) -> impl Future<Output = Result<Vec<Seen<Self::Observed>>>> + Send;

    /// Asks, by [`Calls::once`], what a look at the stack will ask, as far as that follows from what the
    /// state knows: the ids of objects of the kind. Only where it knows any, beside the look itself.
    /// Kinds that are listed by one call leave this out.
    fn ahead(&self, _: &Calls<'_>, _: &[PhysicalId]) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Makes it whole, or completes what was begun with the same token, and gives its id.
    fn make(
        &self,
        on: &Calls<'_>,
        key: &ResourceKey,
        want: &Self::Spec<Known>,
    ) -> impl Future<Output = Result<PhysicalId>> + Send;

    /// Outputs that are secrets, of an object that was made. Kinds without any leave this out.
    fn secrets(
        &self,
        _: &Calls<'_>,
        _: &Self::Observed,
        _: &Self::Spec<Known>,
    ) -> impl Future<Output = Result<BTreeMap<OutputName, Secret<String>>>> + Send {
        std::future::ready(Ok(BTreeMap::new()))
    }

    /// Changes what differs, in the region that the id names. Kinds of which nothing changes in place
    /// leave this out.
    fn change(
        &self,
        _: &Calls<'_>,
        _: &PhysicalId,
        _: &Self::Observed,
        _: &Self::Spec<Known>,
    ) -> impl Future<Output = Result<()>> + Send {
        std::future::ready(Ok(()))
    }

    /// Removes it from the region that its id names. What is not there is fine.
    fn remove(&self, at: &Calls<'_>, id: &PhysicalId) -> impl Future<Output = Result<()>> + Send;
}

/// A secret output by its name, which is a literal in the kind's file.
pub(crate) fn secret_output(name: &str, secret: Secret<String>) -> Result<(OutputName, Secret<String>)> {
    let wrong = |_| ProviderError::new(ErrorKind::Unexpected, format!("`{name}` is no name of an output"));
    Ok((OutputName::new(name).map_err(wrong)?, secret))
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

fn found<T>(seen: Seen<T>) -> Found<T> {
    Found { key: seen.marks.key, id: seen.id, observed: seen.observed, token: seen.marks.token }
}

impl<K: Native> OnAws<K> {
    /// Where the object of an id is.
    async fn at<'a>(&self, on: &Calls<'a>, id: &PhysicalId) -> Calls<'a> {
        if K::GLOBAL { on.clone() } else { on.at_id(&id.0).await }
    }

    async fn listed(&self, on: &Calls<'_>, look: Look<'_>) -> Result<Vec<Found<K::Observed>>> {
        let places = if K::GLOBAL { vec![on.clone()] } else { on.everywhere().await };
        let mut all = Vec::new();
        for at in places {
            if matches!(look, Look::Stack) && self.is_absent(&at).await? {
                continue;
            }
            // On the heap: together they would be too large for the stack of a thread.
            let (seen, ()) = tokio::join!(Box::pin(self.0.list(&at, look)), Box::pin(self.ahead(&at)));
            let seen = seen?.into_iter();
            all.extend(seen.filter(|one| look.wants(on.cx, &one.marks)).map(found));
        }
        Ok(all)
    }

    /// Does nobody want any of it, and does the listing of tags have none?
    async fn is_absent(&self, at: &Calls<'_>) -> Result<bool> {
        let Some(start) = K::SELDOM else { return Ok(false) };
        let is_known = at.account.wanted(&self.0, Look::Stack).next().is_some();
        Ok(!is_known && at.tagged().await?.arns("ec2", start).next().is_none())
    }

    async fn ahead(&self, at: &Calls<'_>) {
        let known = if at.answers.is_some() { at.in_state(&self.0) } else { Vec::new() };
        if !known.is_empty() {
            self.0.ahead(at, &known).await;
        }
    }

    async fn seen(&self, on: &Calls<'_>, id: &PhysicalId) -> Result<Option<Found<K::Observed>>> {
        let seen = self.0.see(&self.at(on, id).await, id).await?;
        Ok(seen.filter(|one| one.id == *id && one.marks.are_of(on.cx)).map(found))
    }

    /// What was made, as it is seen. That it cannot be read is no failure to make it.
    async fn read_back(&self, on: &Calls<'_>, id: PhysicalId) -> Created<K::Observed> {
        match self.seen(on, &id).await {
            Ok(Some(found)) => Created::Read { id, observed: found.observed, secrets: BTreeMap::new() },
            _ => Created::Unread { id, secrets: BTreeMap::new() },
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
        let on = Calls::new(account, cx).await;
        match id {
            Some(id) => Ok(self.seen(&on, id).await?.filter(|found| found.key == *key).into_iter().collect()),
            None => self.listed(&on, Look::Key(key)).await,
        }
    }

    /// All pages are followed here: a kind's own pages say nothing about a stack.
    async fn list(&self, account: &Account, cx: &OpCtx, scope: &Scope) -> Result<Page<Self::Observed>> {
        if scope.stack != cx.stack {
            return Ok(Page { items: Vec::new(), next: None });
        }
        let on = Calls::looking(account, cx).await;
        let items = match self.listed(&on, Look::Stack).await {
            // Who may not look at a kind made none, and where the stack has none need not.
            Err(error)
                if error.kind() == ErrorKind::Permission
                    && account.wanted(&self.0, Look::Stack).next().is_none() =>
            {
                Vec::new()
            }
            listed => listed?,
        };
        Ok(Page { items, next: None })
    }

    /// A make finds what it made by its name or token, and completes it: after an answer that was
    /// lost it is the look-up, too. The engine is asked only when that gives no answer either.
    async fn create(
        &self,
        account: &Account,
        cx: &OpCtx,
        key: &ResourceKey,
        want: &Self::Spec<Known>,
    ) -> Result<Created<Self::Observed>> {
        let on = Calls::new(account, cx).await;
        let id = on.whole(|| Box::pin(self.0.make(&on, key, want))).await?;
        match self.read_back(&on, id).await {
            Created::Read { id, observed, .. } => {
                let secrets = completed(self.0.secrets(&on, &observed, want).await)?;
                Ok(Created::Read { id, observed, secrets })
            }
            unread => Ok(unread),
        }
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
        let on = Calls::new(account, cx).await;
        Box::pin(self.0.change(&self.at(&on, id).await, id, have, want)).await?;
        Ok(self.read_back(&on, id.clone()).await)
    }

    /// Made twice it has the effect of once, so a lost answer is simply asked for again.
    async fn delete(&self, account: &Account, cx: &OpCtx, _: &ResourceKey, id: &PhysicalId) -> Result<()> {
        let at = self.at(&Calls::new(account, cx).await, id).await;
        at.whole(|| Box::pin(self.0.remove(&at, id))).await
    }
}
