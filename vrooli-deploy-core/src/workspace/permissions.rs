//! The rights that whoever deploys an app needs, for whoever hands out credentials.

use std::collections::BTreeSet;

use serde_json::Value;

use super::deploy::Prepared;
use super::{DeployOptions, OperationError, Target, Workspace};
use crate::diagnostics::Diagnostic;
use crate::names::{ProviderName, ResourceKind, StackId};
use crate::provider::{Op, Permission};

/// What a stack's resources take to be looked at, made, changed and removed.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Rights {
    /// The stack.
    pub stack: StackId,
    /// Who has it.
    pub provider: ProviderName,
    /// Each once, in order.
    pub permissions: BTreeSet<Permission>,
    /// The same as documents that the provider takes; none where it has no such form. All of them
    /// together are enough.
    pub policies: Vec<Value>,
}

const OPS: [Op; 5] = [Op::Find, Op::List, Op::Create, Op::Update, Op::Delete];

impl Workspace {
    /// The rights that a deployment of this app takes, its updates and its end included: of what is
    /// wanted, and of what is there and wanted no more; with what it takes to look at quotas. Makes no call, and needs no credentials.
    ///
    /// # Errors
    /// When the input cannot be used, or the state cannot be read.
    pub async fn permissions(
        &self,
        target: &Target,
        options: &DeployOptions,
    ) -> Result<(Rights, Vec<Diagnostic>), OperationError> {
        let Prepared { provider, stack, diagnostics, .. } = self.prepare(target, options).await?;
        let factory = self.registry().get(&provider)?;
        let kinds = factory.kinds();
        let state = self.0.store.load(&stack.id).await?;
        let wanted = stack.resources.values().map(|resource| (&resource.kind, &resource.spec));
        let there = state.resources.values().map(|known| (&known.kind, &known.spec));
        let (mut permissions, mut named) = (BTreeSet::new(), BTreeSet::new());
        for (kind, spec) in wanted.chain(there) {
            named.insert(kind.clone());
            permissions.extend(of(&kinds, kind, spec)?);
        }
        permissions.extend(factory.quota_permissions(&named));
        let policies = factory.policies(&permissions);
        Ok((Rights { stack: stack.id, provider, permissions, policies }, diagnostics))
    }
}

/// All that an object of a kind may take in its life.
fn of(
    kinds: &[&'static dyn crate::provider::AnyKind],
    kind: &ResourceKind,
    spec: &Value,
) -> Result<Vec<Permission>, OperationError> {
    let Some(kind) = kinds.iter().find(|known| known.kind() == *kind) else { return Ok(Vec::new()) };
    let mut all = Vec::new();
    for op in OPS {
        all.extend(kind.permissions(op, spec)?);
    }
    Ok(all)
}
