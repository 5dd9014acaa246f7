use std::fmt::Debug;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::context::OpCtx;
use super::error::Result;
use crate::names::ResourceKey;

/// Backups of what a stack's databases and caches hold.
#[async_trait]
pub trait Backups: Debug + Send + Sync {
    /// All of them, each resource's the oldest first. Reads only.
    async fn list(&self, cx: &OpCtx) -> Result<Vec<BackupSet>>;
    /// Makes one now, and tries whether it can be restored. The answer is its name.
    async fn make(&self, cx: &OpCtx, key: &ResourceKey) -> Result<String>;
    /// Puts one back in the place of what is there. The answer says where that is kept.
    async fn restore(&self, cx: &OpCtx, key: &ResourceKey, name: &str) -> Result<String>;
}

/// The backups of one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupSet {
    /// The resource that makes them.
    pub key: ResourceKey,
    /// What is saved, as the app calls it.
    pub name: String,
    /// Where.
    pub place: String,
    /// The oldest first.
    pub backups: Vec<BackupMade>,
    /// What came of the last try to make one, if there was one.
    pub last: Option<BackupTried>,
}

/// A backup that is there. It was restored for a try when it was made: one that could not be is
/// not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupMade {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub at: Option<Timestamp>,
    /// Its size.
    pub bytes: u64,
    /// Where it lies there.
    pub path: String,
}

/// What came of making a backup and restoring it for a try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupTried {
    /// When that ended.
    pub at: Option<Timestamp>,
    /// The backup, where there is one.
    pub name: String,
    /// Was it made, and could it be restored?
    pub restorable: bool,
    /// Tables or keys that were there after it was restored.
    pub counted: u64,
    /// What went wrong.
    pub words: String,
}
