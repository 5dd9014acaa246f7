//! What a supervisor without TLS does about certificates: nothing.

use std::sync::Arc;

use vrooli_deploy_core::names::StackId;
use vrooli_deploy_core::provider::{CertificateSeen, Result};
use vrooli_deploy_edge as edge;

use super::Supervisor;
use super::stack::Stack;

/// Keeps no certificates.
#[derive(Debug, Default)]
pub(super) struct Keeper(());

/// How a stack is served that has a certificate: none has.
#[derive(Debug, Clone)]
pub(super) struct Secured {
    pub(super) https: Option<edge::HttpsOnly>,
}

#[expect(clippy::unused_self, clippy::unused_async, reason = "as with TLS")]
impl Keeper {
    pub(super) fn secured(&self, _: &StackId) -> Option<Secured> {
        None
    }

    pub(super) async fn recover(&self, _: &Arc<Supervisor>, _: &[StackId]) {}

    pub(super) async fn see_to(
        &self,
        _: &Arc<Supervisor>,
        _: &Stack,
        _: bool,
    ) -> Result<Option<CertificateSeen>> {
        Ok(None)
    }

    pub(super) async fn forget(&self, _: &Supervisor, _: &StackId) {}
}

/// There is nothing to renew.
pub(super) async fn renew(_: Arc<Supervisor>) {
    std::future::pending::<()>().await;
}
