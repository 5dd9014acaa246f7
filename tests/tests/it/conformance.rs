//! The suite finds out who breaks the contract.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use libtest_mimic::{Arguments, Failed};
use serde_json::Value;
use uuid::Uuid;
use vrooli_deploy_core::names::{ProviderName, ResourceKey, ResourceKind};
use vrooli_deploy_core::plan::Draft;
use vrooli_deploy_core::provider::{
    Added, AnyKind, BuildRequest, Cancellation, Capabilities, Census, Created, ErrorKind, Fleet, Found,
    Marked, Op, OpCtx, OpToken, PhysicalId, Provider, ProviderError, QuotaReading, QuotaSeen, Quotas, Result,
    Scope,
};
use vrooli_deploy_tests::conformance::{
    Break, CLAUSES, FakeCloudFixture, Place, ProviderFixture, Running, Sample, trials,
};

/// Breaks one clause.
#[derive(Debug)]
struct Sabotaged {
    inner: Arc<dyn Provider>,
    clause: &'static str,
    once: AtomicBool,
}

impl Sabotaged {
    fn breaks(&self, clause: &str) -> bool {
        self.clause == clause
    }

    fn cx(&self, cx: &OpCtx) -> OpCtx {
        let mut cx = cx.clone();
        if self.breaks("P1") && cx.token.is_some() {
            cx.token = Some(OpToken(Uuid::new_v4()));
        }
        if self.breaks("P4") {
            cx.deadline = (tokio::time::Instant::now() + Duration::from_secs(3600)).into_std();
            cx.cancellation = Cancellation::new();
        }
        if self.breaks("P10") {
            cx.stack.app = vrooli_deploy_core::names::AppName::new("conformance").unwrap();
        }
        cx
    }

    fn error(&self, error: ProviderError) -> ProviderError {
        if self.breaks("P6") {
            ProviderError::new(ErrorKind::Unexpected, "something went wrong")
        } else {
            error
        }
    }
}

#[async_trait]
impl Provider for Sabotaged {
    fn name(&self) -> &ProviderName {
        self.inner.name()
    }
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    fn kind(&self, kind: &ResourceKind) -> Result<&dyn AnyKind> {
        self.inner.kind(kind)
    }
    fn fleet(&self) -> Option<Arc<dyn Fleet>> {
        self.inner.fleet()
    }
    fn census(&self) -> Option<Arc<dyn Census>> {
        let census = self.inner.census()?;
        Some(if self.breaks("P12") { Arc::new(OwnOnly(census)) } else { census })
    }
    fn quotas(&self) -> Option<Arc<dyn Quotas>> {
        let quotas = self.inner.quotas()?;
        Some(if self.breaks("P13") { Arc::new(NothingInUse(quotas)) } else { quotas })
    }
    async fn inventory(&self, cx: &OpCtx, scope: &Scope) -> Result<Vec<(ResourceKind, Found<Value>)>> {
        let mut scope = scope.clone();
        if self.breaks("P10") {
            scope.stack.app = vrooli_deploy_core::names::AppName::new("conformance").unwrap();
        }
        let all = self.inner.inventory(&self.cx(cx), &scope).await?;
        if self.breaks("P11") {
            for (kind, found) in &all {
                self.inner.find(cx, kind, &found.key, Some(&found.id)).await?;
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
        let mut found = match self.inner.find(&self.cx(cx), kind, key, id).await {
            Err(_) if self.breaks("P2") => return Ok(Vec::new()),
            other => other?,
        };
        for one in &mut found {
            for field in ["label", "cidr", "size", "name"] {
                if self.breaks("P9") && one.observed.get(field).is_some() {
                    one.observed[field] = Value::from("CANONICAL");
                }
            }
        }
        if self.breaks("P5") {
            found.clear();
        }
        Ok(found)
    }
    async fn create(
        &self,
        cx: &OpCtx,
        kind: &ResourceKind,
        key: &ResourceKey,
        want: &Value,
    ) -> Result<Created<Value>> {
        let mut want = want.clone();
        if self.breaks("P8")
            && let Some(fields) = want.as_object_mut()
        {
            fields.remove("no_such_field");
        }
        let created = self.inner.create(&self.cx(cx), kind, key, &want).await.map_err(|e| self.error(e))?;
        Ok(match created {
            Created::Read { id, mut observed, secrets } => {
                if self.breaks("P7")
                    && let Some(secret) = secrets.values().next()
                {
                    observed["size"] = Value::from(secret.expose().as_str());
                }
                Created::Read { id, observed, secrets }
            }
            unread @ Created::Unread { .. } => unread,
        })
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
        self.inner.update(cx, kind, key, id, have, want).await
    }
    async fn delete(
        &self,
        cx: &OpCtx,
        kind: &ResourceKind,
        key: &ResourceKey,
        id: &PhysicalId,
    ) -> Result<()> {
        if self.breaks("P3") && self.once.swap(true, Ordering::SeqCst) {
            return Err(ProviderError::new(ErrorKind::NotFound, "there is none"));
        }
        self.inner.delete(cx, kind, key, id).await
    }
}

/// Tells of the stack that asks only.
#[derive(Debug)]
struct OwnOnly(Arc<dyn Census>);

#[async_trait]
impl Census for OwnOnly {
    async fn marked(&self, cx: &OpCtx) -> Result<Vec<Marked>> {
        let mut all = self.0.marked(cx).await?;
        all.retain(|one| one.stack.as_ref() == Some(&cx.stack));
        Ok(all)
    }
}

/// Counts nothing.
#[derive(Debug)]
struct NothingInUse(Arc<dyn Quotas>);

#[async_trait]
impl Quotas for NothingInUse {
    async fn readings(&self, cx: &OpCtx, added: &[Added<'_>]) -> Result<Vec<QuotaReading>> {
        let mut all = self.0.readings(cx, added).await?;
        for reading in &mut all {
            if let QuotaSeen::Known { in_use, .. } = &mut reading.seen {
                *in_use = 0.0;
            }
        }
        Ok(all)
    }
}

struct SabotagedFixture(&'static str);

struct SabotagedPlace {
    inner: Box<dyn Place>,
    provider: Arc<dyn Provider>,
}

#[async_trait]
impl ProviderFixture for SabotagedFixture {
    async fn open(&self) -> Box<dyn Place> {
        let inner = FakeCloudFixture.open().await;
        let provider = Sabotaged { inner: inner.provider(), clause: self.0, once: AtomicBool::new(false) };
        Box::new(SabotagedPlace { inner, provider: Arc::new(provider) })
    }
    fn samples(&self) -> Vec<Sample> {
        FakeCloudFixture.samples()
    }
    fn release(&self) -> Option<(BuildRequest, Draft)> {
        None
    }
    fn block_on(&self, trial: Running<'_>) -> std::result::Result<(), Failed> {
        FakeCloudFixture.block_on(trial)
    }
}

#[async_trait]
impl Place for SabotagedPlace {
    fn provider(&self) -> Arc<dyn Provider> {
        Arc::clone(&self.provider)
    }
    fn calls(&self) -> Option<u64> {
        self.inner.calls()
    }
    fn break_next(&self, op: Op, how: Break) -> bool {
        self.inner.break_next(op, how)
    }
    async fn close(&self) -> std::result::Result<(), String> {
        self.inner.close().await
    }
}

#[test]
fn every_clause_can_be_broken_and_is_found_out() {
    let log = tempfile::NamedTempFile::new().unwrap();
    for (clause, _) in CLAUSES.iter().filter(|(clause, _)| clause.starts_with('P')) {
        let fixture: Arc<dyn ProviderFixture> = Arc::new(SabotagedFixture(clause));
        let arguments = Arguments {
            filter: Some(format!("{clause}/")),
            // What fails on purpose should not look like a failure in the log.
            logfile: Some(log.path().to_string_lossy().into_owned()),
            test_threads: Some(1),
            ..Arguments::default()
        };
        let conclusion = libtest_mimic::run(&arguments, trials(&fixture));
        assert!(conclusion.num_failed > 0, "nobody noticed that {clause} was broken");
    }
}
