use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use serde_json::Value;
use vrooli_deploy_core::names::{ProviderName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::pure::provider_name;
use vrooli_deploy_core::provider::{
    AnyKind, Capabilities, Created, ErrorKind, Fleet, Found, OpCtx, PhysicalId, Provider, ProviderError,
    ProviderSet, Result, Scope,
};

use super::{Account, Native, OnAws};
use crate::kinds;

/// AWS with the kinds that make calls. Each is a set of its own, so that all are listed at once.
#[derive(Debug)]
struct AwsProvider {
    name: ProviderName,
    kinds: BTreeMap<ResourceKind, ProviderSet>,
}

/// The provider that works with an account.
#[must_use]
pub fn provider(account: &Arc<Account>) -> Arc<dyn Provider> {
    let aws = AwsProvider { name: provider_name("aws"), kinds: BTreeMap::new() };
    Arc::new(
        aws.with(kinds::alarm::Alarm, account)
            .with(kinds::bucket::Bucket, account)
            .with(kinds::certificate::Certificate, account)
            .with(kinds::dns_record::DnsRecord, account)
            .with(kinds::ecr_repository::EcrRepository, account)
            .with(kinds::ecs_cluster::EcsCluster, account)
            .with(kinds::hosted_zone::HostedZone, account)
            .with(kinds::iam_role::IamRole, account)
            .with(kinds::log_group::LogGroup, account)
            .with(kinds::secret::Secret, account),
    )
}

impl AwsProvider {
    fn with(mut self, kind: impl Native, account: &Arc<Account>) -> Self {
        let name = AnyKind::kind(&kind);
        let set = ProviderSet::new(self.name.clone()).with(OnAws(kind), account);
        self.kinds.insert(name, set);
        self
    }

    fn of(&self, kind: &ResourceKind) -> Result<&ProviderSet> {
        self.kinds.get(kind).ok_or_else(|| {
            let known = kinds::all().iter().any(|known| AnyKind::kind(*known) == *kind);
            if !known {
                return ProviderError::new(
                    ErrorKind::Unsupported,
                    format!("provider `{}` has no kind `{kind}`", self.name),
                );
            }
            ProviderError::new(
                ErrorKind::Unsupported,
                format!("this version prices and plans `{kind}`, but does not make it yet"),
            )
            .with_code("VD1000")
            .with_help("estimates and permissions work; docs/providers/aws.md lists the kinds that are made")
        })
    }
}

#[async_trait]
impl Provider for AwsProvider {
    fn name(&self) -> &ProviderName {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        let mut all = Capabilities::default();
        for set in self.kinds.values() {
            all.kinds.extend(set.capabilities().kinds);
        }
        all
    }

    fn kind(&self, kind: &ResourceKind) -> Result<&dyn AnyKind> {
        self.of(kind)?.kind(kind)
    }

    fn fleet(&self) -> Option<Arc<dyn Fleet>> {
        None
    }

    async fn inventory(&self, cx: &OpCtx, scope: &Scope) -> Result<Vec<(ResourceKind, Found<Value>)>> {
        let kinds = try_join_all(self.kinds.values().map(|set| set.inventory(cx, scope))).await?;
        Ok(kinds.into_iter().flatten().collect())
    }

    async fn find(
        &self,
        cx: &OpCtx,
        kind: &ResourceKind,
        key: &ResourceKey,
        id: Option<&PhysicalId>,
    ) -> Result<Vec<Found<Value>>> {
        self.of(kind)?.find(cx, kind, key, id).await
    }

    async fn create(
        &self,
        cx: &OpCtx,
        kind: &ResourceKind,
        key: &ResourceKey,
        want: &Value,
    ) -> Result<Created<Value>> {
        self.of(kind)?.create(cx, kind, key, want).await
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
        self.of(kind)?.update(cx, kind, key, id, have, want).await
    }

    async fn delete(
        &self,
        cx: &OpCtx,
        kind: &ResourceKind,
        key: &ResourceKey,
        id: &PhysicalId,
    ) -> Result<()> {
        self.of(kind)?.delete(cx, kind, key, id).await
    }
}
