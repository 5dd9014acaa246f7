use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use serde_json::Value;

use super::backups::Backups;
use super::capabilities::Capabilities;
use super::census::Census;
use super::context::OpCtx;
use super::error::{ErrorKind, ProviderError, Result};
use super::fleet::Fleet;
use super::kind::{AnyHandler, AnyKind, Bound, Created, Found, PhysicalId, ResourceHandler, Scope};
use super::ledger::Ledger;
use super::quota::Quotas;
use crate::diagnostics::rules;
use crate::names::{ProviderName, ResourceKey, ResourceKind};

/// As many changes as services on the internet take of one caller, as a rule.
const AT_ONCE: usize = 16;

/// A provider: the one surface that engine and layers see.
#[async_trait]
pub trait Provider: Debug + Send + Sync {
    /// Its name.
    fn name(&self) -> &ProviderName;
    /// What it can do.
    fn capabilities(&self) -> Capabilities;
    /// The pure half of a kind.
    ///
    /// # Errors
    /// `Unsupported` for a kind it does not have.
    fn kind(&self, kind: &ResourceKind) -> Result<&dyn AnyKind>;
    /// Carries releases; `None` when it only has resources.
    fn fleet(&self) -> Option<Arc<dyn Fleet>>;
    /// Why it carries none, where it could carry those of another stack: what does, and how to get there.
    fn no_fleet(&self) -> Option<&str> {
        None
    }
    /// So many of its changes may be under way at one time, unless it says meanwhile that it is too much.
    fn at_once(&self) -> usize {
        AT_ONCE
    }
    /// What its places keep of a stack themselves; `None`: a lost state cannot be built again.
    fn ledger(&self) -> Option<Arc<dyn Ledger>> {
        None
    }
    /// Finds what bears marks of any stack; `None`: what is there is known through its stack only.
    fn census(&self) -> Option<Arc<dyn Census>> {
        None
    }
    /// Backups of databases and caches; `None` when it makes none.
    fn backups(&self) -> Option<Arc<dyn Backups>> {
        None
    }
    /// Limits of the account that it works in; `None`: what is too much shows when it is made.
    fn quotas(&self) -> Option<Arc<dyn Quotas>> {
        None
    }
    /// Observes a whole stack, in calls proportional to kinds and pages (P11).
    async fn inventory(&self, cx: &OpCtx, scope: &Scope) -> Result<Vec<(ResourceKind, Found<Value>)>>;
    /// See [`ResourceHandler::find`].
    async fn find(
        &self,
        cx: &OpCtx,
        kind: &ResourceKind,
        key: &ResourceKey,
        id: Option<&PhysicalId>,
    ) -> Result<Vec<Found<Value>>>;
    /// See [`ResourceHandler::create`].
    async fn create(
        &self,
        cx: &OpCtx,
        kind: &ResourceKind,
        key: &ResourceKey,
        want: &Value,
    ) -> Result<Created<Value>>;
    /// See [`ResourceHandler::update`].
    async fn update(
        &self,
        cx: &OpCtx,
        kind: &ResourceKind,
        key: &ResourceKey,
        id: &PhysicalId,
        have: &Value,
        want: &Value,
    ) -> Result<Created<Value>>;
    /// See [`ResourceHandler::delete`].
    async fn delete(&self, cx: &OpCtx, kind: &ResourceKind, key: &ResourceKey, id: &PhysicalId)
    -> Result<()>;
}

/// Handlers by kind, and a fleet: how providers are put together.
///
/// ```text
/// ProviderSet::new(name).with(Port, &client).with(Postgres, &client).with_fleet(fleet)
/// ```
#[derive(Debug)]
pub struct ProviderSet {
    name: ProviderName,
    handlers: BTreeMap<ResourceKind, Arc<dyn AnyHandler>>,
    planned: BTreeSet<ResourceKind>,
    fleet: Option<Arc<dyn Fleet>>,
    no_fleet: Option<String>,
    ledger: Option<Arc<dyn Ledger>>,
    census: Option<Arc<dyn Census>>,
    backups: Option<Arc<dyn Backups>>,
    quotas: Option<Arc<dyn Quotas>>,
    at_once: usize,
}

impl ProviderSet {
    /// A provider with no kinds yet.
    #[must_use]
    pub fn new(name: ProviderName) -> Self {
        Self {
            name,
            handlers: BTreeMap::new(),
            planned: BTreeSet::new(),
            fleet: None,
            no_fleet: None,
            ledger: None,
            census: None,
            backups: None,
            quotas: None,
            at_once: AT_ONCE,
        }
    }

    /// Adds a kind.
    #[must_use]
    pub fn with<H: ResourceHandler>(mut self, handler: H, client: &Arc<H::Client>) -> Self {
        let kind = handler.kind_name();
        self.handlers.insert(kind, Arc::new(Bound { handler, client: Arc::clone(client) }));
        self
    }

    /// Names kinds that have a pure half. Those of them that are not added, too, are refused as what
    /// this version does not make yet (VD1000), not as unknown.
    #[must_use]
    pub fn with_planned<'a>(mut self, kinds: impl IntoIterator<Item = &'a dyn AnyKind>) -> Self {
        self.planned.extend(kinds.into_iter().map(AnyKind::kind));
        self
    }

    /// Sets what carries releases.
    #[must_use]
    pub fn with_fleet(mut self, fleet: Arc<dyn Fleet>) -> Self {
        self.fleet = Some(fleet);
        self
    }

    /// Says why it carries no releases of this stack, though it could of another.
    #[must_use]
    pub fn without_fleet(mut self, why: impl Into<String>) -> Self {
        self.no_fleet = Some(why.into());
        self
    }

    /// Sets what its places keep of a stack.
    #[must_use]
    pub fn with_ledger(mut self, ledger: Arc<dyn Ledger>) -> Self {
        self.ledger = Some(ledger);
        self
    }

    /// Sets what finds objects of any stack.
    #[must_use]
    pub fn with_census(mut self, census: Arc<dyn Census>) -> Self {
        self.census = Some(census);
        self
    }

    /// Sets what makes backups.
    #[must_use]
    pub fn with_backups(mut self, backups: Arc<dyn Backups>) -> Self {
        self.backups = Some(backups);
        self
    }

    /// Sets what tells the limits of the account.
    #[must_use]
    pub fn with_quotas(mut self, quotas: Arc<dyn Quotas>) -> Self {
        self.quotas = Some(quotas);
        self
    }

    /// Sets how many changes may be under way at one time. A provider that makes those of one place
    /// together takes all that there are.
    #[must_use]
    pub fn with_at_once(mut self, changes: usize) -> Self {
        self.at_once = changes.max(1);
        self
    }

    fn handler(&self, kind: &ResourceKind) -> Result<&Arc<dyn AnyHandler>> {
        self.handlers.get(kind).ok_or_else(|| {
            let refused = |words| ProviderError::new(ErrorKind::Unsupported, words);
            if !self.planned.contains(kind) {
                return refused(format!("provider `{}` has no kind `{kind}`", self.name));
            }
            refused(format!("this version prices and plans `{kind}`, but does not make it yet"))
                .with_code(rules::NOT_MADE_YET.to_string())
                .with_help(format!(
                    "estimates and permissions work; docs/providers/{}.md lists the kinds that are made",
                    self.name
                ))
        })
    }
}

/// All pages of a kind.
async fn listed(
    kind: &ResourceKind,
    handler: &dyn AnyHandler,
    cx: &OpCtx,
    mut scope: Scope,
) -> Result<Vec<(ResourceKind, Found<Value>)>> {
    let mut all = Vec::new();
    loop {
        let page = handler.list(cx, &scope).await?;
        all.extend(page.items.into_iter().map(|found| (kind.clone(), found)));
        match page.next {
            Some(next) => scope.page = Some(next),
            None => return Ok(all),
        }
    }
}

trait KindName {
    fn kind_name(&self) -> ResourceKind;
}

impl<H: ResourceHandler> KindName for H {
    fn kind_name(&self) -> ResourceKind {
        super::kind::ResourceKindDef::kind(self)
    }
}

#[async_trait]
impl Provider for ProviderSet {
    fn name(&self) -> &ProviderName {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            kinds: self.handlers.iter().map(|(k, h)| (k.clone(), h.support())).collect(),
            fleet: self.fleet.as_ref().map(|f| f.capabilities()),
        }
    }

    fn kind(&self, kind: &ResourceKind) -> Result<&dyn AnyKind> {
        Ok(self.handler(kind)?.as_kind())
    }

    fn fleet(&self) -> Option<Arc<dyn Fleet>> {
        self.fleet.clone()
    }

    fn no_fleet(&self) -> Option<&str> {
        self.no_fleet.as_deref()
    }

    fn at_once(&self) -> usize {
        self.at_once
    }

    fn ledger(&self) -> Option<Arc<dyn Ledger>> {
        self.ledger.clone()
    }

    fn census(&self) -> Option<Arc<dyn Census>> {
        self.census.clone()
    }

    fn backups(&self) -> Option<Arc<dyn Backups>> {
        self.backups.clone()
    }

    fn quotas(&self) -> Option<Arc<dyn Quotas>> {
        self.quotas.clone()
    }

    /// Kinds are listed together, and stand in the order of their names.
    async fn inventory(&self, cx: &OpCtx, scope: &Scope) -> Result<Vec<(ResourceKind, Found<Value>)>> {
        let lists: Vec<_> =
            self.handlers.iter().map(|(kind, handler)| listed(kind, &**handler, cx, scope.clone())).collect();
        // All of them at once, however many: of those that wait for a place among them a look takes twice as long.
        Ok(try_join_all(lists).await?.concat())
    }

    async fn find(
        &self,
        cx: &OpCtx,
        kind: &ResourceKind,
        key: &ResourceKey,
        id: Option<&PhysicalId>,
    ) -> Result<Vec<Found<Value>>> {
        self.handler(kind)?.find(cx, key, id).await
    }

    async fn create(
        &self,
        cx: &OpCtx,
        kind: &ResourceKind,
        key: &ResourceKey,
        want: &Value,
    ) -> Result<Created<Value>> {
        self.handler(kind)?.create(cx, key, want).await
    }

    async fn update(
        &self,
        cx: &OpCtx,
        kind: &ResourceKind,
        key: &ResourceKey,
        id: &PhysicalId,
        have: &Value,
        want: &Value,
    ) -> Result<Created<Value>> {
        self.handler(kind)?.update(cx, key, id, have, want).await
    }

    async fn delete(
        &self,
        cx: &OpCtx,
        kind: &ResourceKind,
        key: &ResourceKey,
        id: &PhysicalId,
    ) -> Result<()> {
        self.handler(kind)?.delete(cx, key, id).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use tokio::sync::Barrier;
    use uuid::Uuid;

    use super::super::capabilities::CreateToken;
    use super::super::context::Cancellation;
    use super::super::kind::{Change, Form, Known, Op, Ownership, Page, Permission, ResourceKindDef, Wanted};
    use super::*;
    use crate::cost::BillItem;
    use crate::names::{OutputName, StackId};

    /// A kind that is listed on two pages once everything else is being listed, too.
    #[derive(Debug)]
    struct Together(String);

    impl ResourceKindDef for Together {
        type Spec<F: Form> = Value;
        type Observed = Value;

        fn kind(&self) -> ResourceKind {
            ResourceKind::new(&*self.0).unwrap()
        }
        fn output_names(&self) -> &'static [&'static str] {
            &[]
        }
        fn diff(&self, _: &Self::Spec<Wanted>, _: &Value) -> Change {
            Change::None
        }
        fn bill(&self, _: &Self::Spec<Wanted>) -> Vec<BillItem> {
            Vec::new()
        }
        fn permissions(&self, _: Op, _: &Self::Spec<Wanted>) -> Vec<Permission> {
            Vec::new()
        }
        fn ownership(&self, _: &ResourceKey, _: &Self::Spec<Wanted>) -> Ownership {
            Ownership::Tags
        }
        fn outputs(&self, _: &PhysicalId, _: &Value) -> BTreeMap<OutputName, Value> {
            BTreeMap::new()
        }
    }

    impl ResourceHandler for Together {
        type Client = Barrier;

        fn create_token(&self) -> CreateToken {
            CreateToken::Name
        }
        fn settle(&self) -> Duration {
            Duration::ZERO
        }
        async fn find(
            &self,
            _: &Barrier,
            _: &OpCtx,
            _: &ResourceKey,
            _: Option<&PhysicalId>,
        ) -> Result<Vec<Found<Value>>> {
            Ok(Vec::new())
        }
        async fn list(&self, all: &Barrier, _: &OpCtx, scope: &Scope) -> Result<Page<Value>> {
            all.wait().await;
            let page = scope.page.clone().unwrap_or_else(|| "1".to_owned());
            let found = Found {
                key: ResourceKey::new(format!("part/{page}")).unwrap(),
                id: PhysicalId(format!("{}/{page}", self.0)),
                observed: Value::Null,
                token: None,
            };
            Ok(Page { items: vec![found], next: (page == "1").then(|| "2".to_owned()) })
        }
        async fn create(
            &self,
            _: &Barrier,
            _: &OpCtx,
            _: &ResourceKey,
            want: &Self::Spec<Known>,
        ) -> Result<Created<Value>> {
            Ok(Created::Read {
                id: PhysicalId(self.0.clone()),
                observed: want.clone(),
                secrets: BTreeMap::new(),
            })
        }
        async fn update(
            &self,
            all: &Barrier,
            cx: &OpCtx,
            key: &ResourceKey,
            _: &PhysicalId,
            _: &Value,
            want: &Self::Spec<Known>,
        ) -> Result<Created<Value>> {
            self.create(all, cx, key, want).await
        }
        async fn delete(&self, _: &Barrier, _: &OpCtx, _: &ResourceKey, _: &PhysicalId) -> Result<()> {
            Ok(())
        }
    }

    /// A provider of so many kinds, which are listed when all of them are, and of one more in plans alone.
    fn set(kinds: usize) -> ProviderSet {
        let all = Arc::new(Barrier::new(kinds));
        let kind = |number| Together(format!("fake.k{number:03}"));
        let planned: [&dyn AnyKind; 2] = [&kind(0), &Together("fake.planned".to_owned())];
        let set = ProviderSet::new(ProviderName::new("fake").unwrap()).with_planned(planned);
        // In whatever order they are given.
        (0..kinds).rev().fold(set, |set, number| set.with(kind(number), &all))
    }

    #[tokio::test]
    async fn kinds_are_listed_together_and_stand_in_order() {
        let stack = StackId { app: "shop".parse().unwrap(), environment: "default".parse().unwrap() };
        let scope = Scope { stack: stack.clone(), page: None };
        let cx = OpCtx::new(stack, Uuid::nil(), 1, Instant::now(), Cancellation::new());
        // More than the largest provider has. One after the other they would wait for each other for ever.
        let seen =
            tokio::time::timeout(Duration::from_secs(60), async { set(100).inventory(&cx, &scope).await });
        let ids: Vec<_> = seen.await.unwrap().unwrap().into_iter().map(|(_, found)| found.id.0).collect();
        let pages = |number| [1, 2].map(|page| format!("fake.k{number:03}/{page}"));
        assert_eq!(ids, (0..100).flat_map(pages).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_only_planned_is_refused_as_that() {
        let set = set(1);
        let refused = |kind: &str| set.kind(&ResourceKind::new(kind).unwrap()).unwrap_err();
        assert!(set.kind(&ResourceKind::new("fake.k000").unwrap()).is_ok(), "it is made, too");
        assert_eq!(refused("fake.planned").code(), Some("VD1000"));
        assert_eq!(refused("fake.e").code(), None);
        assert!(refused("fake.e").message().contains("no kind `fake.e`"));
    }
}
