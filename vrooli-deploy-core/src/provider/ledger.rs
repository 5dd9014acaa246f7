use std::collections::BTreeMap;
use std::fmt::Debug;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::context::OpCtx;
use super::error::Result;
use crate::names::{OutputName, ReleaseNumber, ResourceKey, ResourceKind};
use crate::secrets::{Secret, SecretRef};

/// What the places of a stack (servers, this machine) keep of it themselves: enough to build a
/// lost state again, and to say whose the stack is.
#[async_trait]
pub trait Ledger: Debug + Send + Sync {
    /// What each place keeps, in the order in which places are held; one that keeps nothing is left
    /// out. Reads only, also what another state owns.
    async fn records(&self, cx: &OpCtx) -> Result<Vec<PlaceRecord>>;
    /// Holds each place for this run, one after the other, and makes the state that asks the owner of
    /// the stack there. Ends at the first that cannot be; made again it goes on from there.
    async fn take_over(&self, cx: &OpCtx) -> Result<()>;
    /// Values of secrets that are kept beside a release.
    async fn values(&self, cx: &OpCtx, release: ReleaseNumber) -> Result<Vec<(SecretRef, Secret<String>)>>;
    /// Gets to know what was had back of a resource's secret outputs, which it may keep for itself.
    /// The answer is all of its secret outputs, none of them when what was had back does not tell
    /// them; `None` for a resource that has none.
    async fn remember(
        &self,
        cx: &OpCtx,
        resource: (&ResourceKey, &ResourceKind),
        observed: &Value,
        had_back: &BTreeMap<OutputName, Secret<String>>,
    ) -> Result<Option<BTreeMap<OutputName, Secret<String>>>>;
}

/// What a place keeps of a stack.
#[derive(Debug, Clone, PartialEq)]
pub struct PlaceRecord {
    /// The place, as people call it.
    pub place: String,
    /// The id of the state that owns the stack there.
    pub owner: Uuid,
    /// The highest lease that was seen there.
    pub fence: u64,
    /// How it came to its owner, if that is not who made it.
    pub taken: Option<TakenOver>,
    /// Specs as they were last applied, references resolved, as far as they are kept.
    pub specs: BTreeMap<ResourceKey, Value>,
}

/// That a stack was taken over from another state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenOver {
    /// Whose it was.
    pub from: Uuid,
    /// When, by the place's clock.
    pub at: Timestamp,
    /// By which run.
    pub by: String,
}
