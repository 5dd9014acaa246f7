//! What this machine keeps of a stack itself, in the state folder: a state whose database is lost is
//! built again from it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::Value;
use vrooli_deploy_core::names::{OutputName, ReleaseNumber, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{Ledger, OpCtx, PlaceRecord, ResourceKindDef as _, Result};
use vrooli_deploy_core::secrets::{Secret, SecretRef};

use crate::kinds::{Machine, Postgres, Redis};
use crate::process::highest;

/// What the state folder keeps.
#[derive(Debug)]
pub(crate) struct FolderLedger(pub(crate) Machine);

#[async_trait]
impl Ledger for FolderLedger {
    async fn records(&self, cx: &OpCtx) -> Result<Vec<PlaceRecord>> {
        let layout = &self.0.layout;
        if !layout.stack(&cx.stack).exists() {
            return Ok(Vec::new());
        }
        Ok(vec![PlaceRecord {
            place: layout.root().display().to_string(),
            // What is in the folder belongs to whoever has the folder.
            owner: cx.owner,
            fence: highest(layout, &cx.stack)?,
            taken: None,
            specs: BTreeMap::new(),
        }])
    }

    async fn take_over(&self, _: &OpCtx) -> Result<()> {
        // One lock of the folder keeps everybody else out, and whoever is here has it.
        Ok(())
    }

    async fn values(&self, _: &OpCtx, _: ReleaseNumber) -> Result<Vec<(SecretRef, Secret<String>)>> {
        // They are in the folder's one store, which is its own file.
        Ok(Vec::new())
    }

    async fn remember(
        &self,
        _: &OpCtx,
        (_, kind): (&ResourceKey, &ResourceKind),
        _: &Value,
        had_back: &BTreeMap<OutputName, Secret<String>>,
    ) -> Result<Option<BTreeMap<OutputName, Secret<String>>>> {
        let has_secrets = *kind == Postgres.kind() || *kind == Redis.kind();
        Ok(has_secrets.then(|| had_back.clone()))
    }
}
