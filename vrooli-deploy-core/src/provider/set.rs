use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::backups::Backups;
use super::capabilities::Capabilities;
use super::context::OpCtx;
use super::error::{ErrorKind, ProviderError, Result};
use super::fleet::Fleet;
use super::kind::{AnyHandler, AnyKind, Bound, Created, Found, PhysicalId, ResourceHandler, Scope};
use super::ledger::Ledger;
use crate::names::{ProviderName, ResourceKey, ResourceKind};

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
    /// What its places keep of a stack themselves; `None`: a lost state cannot be built again.
    fn ledger(&self) -> Option<Arc<dyn Ledger>> {
        None
    }
    /// Backups of databases and caches; `None` when it makes none.
    fn backups(&self) -> Option<Arc<dyn Backups>> {
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
/// ProviderSet::new(name).with(Port, &client).with(Postgres, &client).fleet(fleet)
/// ```
#[derive(Debug)]
pub struct ProviderSet {
    name: ProviderName,
    handlers: BTreeMap<ResourceKind, Arc<dyn AnyHandler>>,
    fleet: Option<Arc<dyn Fleet>>,
    ledger: Option<Arc<dyn Ledger>>,
    backups: Option<Arc<dyn Backups>>,
}

impl ProviderSet {
    /// A provider with no kinds yet.
    #[must_use]
    pub fn new(name: ProviderName) -> Self {
        Self { name, handlers: BTreeMap::new(), fleet: None, ledger: None, backups: None }
    }

    /// Adds a kind.
    #[must_use]
    pub fn with<H: ResourceHandler>(mut self, handler: H, client: &Arc<H::Client>) -> Self {
        let kind = handler.kind_name();
        self.handlers.insert(kind, Arc::new(Bound { handler, client: Arc::clone(client) }));
        self
    }

    /// Sets what carries releases.
    #[must_use]
    pub fn with_fleet(mut self, fleet: Arc<dyn Fleet>) -> Self {
        self.fleet = Some(fleet);
        self
    }

    /// Sets what its places keep of a stack.
    #[must_use]
    pub fn with_ledger(mut self, ledger: Arc<dyn Ledger>) -> Self {
        self.ledger = Some(ledger);
        self
    }

    /// Sets what makes backups.
    #[must_use]
    pub fn with_backups(mut self, backups: Arc<dyn Backups>) -> Self {
        self.backups = Some(backups);
        self
    }

    fn handler(&self, kind: &ResourceKind) -> Result<&Arc<dyn AnyHandler>> {
        self.handlers.get(kind).ok_or_else(|| {
            ProviderError::new(
                ErrorKind::Unsupported,
                format!("provider `{}` has no kind `{kind}`", self.name),
            )
        })
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

    fn ledger(&self) -> Option<Arc<dyn Ledger>> {
        self.ledger.clone()
    }

    fn backups(&self) -> Option<Arc<dyn Backups>> {
        self.backups.clone()
    }

    async fn inventory(&self, cx: &OpCtx, scope: &Scope) -> Result<Vec<(ResourceKind, Found<Value>)>> {
        let mut all = Vec::new();
        for (kind, handler) in &self.handlers {
            let mut scope = scope.clone();
            loop {
                let page = handler.list(cx, &scope).await?;
                all.extend(page.items.into_iter().map(|f| (kind.clone(), f)));
                match page.next {
                    Some(next) => scope.page = Some(next),
                    None => break,
                }
            }
        }
        Ok(all)
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
