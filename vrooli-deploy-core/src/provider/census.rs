use std::fmt::Debug;

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use super::context::OpCtx;
use super::error::Result;
use super::kind::PhysicalId;
use crate::names::{ResourceKey, ResourceKind, StackId};

/// Finds what bears marks of ours, whoever's stack it is.
#[async_trait]
pub trait Census: Debug + Send + Sync {
    /// Everything that bears marks of any stack, in the regions of the context and those that the
    /// provider looks in anyway; the stack and the owner of the context are passed over. What is not
    /// ours is left out, and so is what a provider makes by itself. Not being able to look is an error
    /// (P2). Reads only. Objects that are gone may be told for as long as the provider tells them.
    async fn marked(&self, cx: &OpCtx) -> Result<Vec<Marked>>;

    /// What fleets have made of any stack that a listing of marks does not tell and that stays when its
    /// resources go: values that releases are given, what tasks run as. Each comes with its stack, its owner, the
    /// kind that finds and deletes it by its id, and a key that no manifest's resource has. Where it is
    /// looked, and errors, are those of [`marked`](Self::marked).
    async fn of_releases(&self, cx: &OpCtx) -> Result<Vec<Marked>> {
        let _ = cx;
        Ok(Vec::new())
    }
}

/// An object that bears marks, as far as a listing of marks tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    /// What its kind's handler calls it.
    pub id: PhysicalId,
    /// What the provider's own tools call it.
    pub name: String,
    /// Its kind; `None` where no kind makes such a thing (a last snapshot).
    pub kind: Option<ResourceKind>,
    /// Its stack; `None` where only its name says that we made it, because a run died before its marks
    /// were set.
    pub stack: Option<StackId>,
    /// Its key in the stack.
    pub key: Option<ResourceKey>,
    /// The state that made it.
    pub owner: Option<Uuid>,
    /// What its token was minted from.
    pub incarnation: Option<Uuid>,
    /// Where it is; `None`: in no region.
    pub region: Option<String>,
    /// When it was made, where the listing tells it.
    pub since: Option<Timestamp>,
}
