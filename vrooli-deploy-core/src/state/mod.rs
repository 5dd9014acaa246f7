//! Where state lives. SQLite is the embedded default, one file a workspace; teams use the
//! same traits on other stores.

mod memory;
mod revision;
mod sqlite;

pub use sqlite::{SqliteOptions, SqliteStore};

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::engine::{Entry, JournalRecord, StackState};
use crate::names::StackId;

pub use memory::MemoryStore;
pub use revision::{NewRevision, Revision};

/// A store of journals, stacks and settings. Each append is one durable transaction.
#[async_trait]
pub trait StateStore: std::fmt::Debug + Send + Sync {
    /// Id of this state: the owner of everything made from it.
    fn id(&self) -> Uuid;
    /// The folded state of a stack; the default state when there is none.
    async fn load(&self, stack: &StackId) -> Result<StackState, StateError>;
    /// All stacks.
    async fn stacks(&self) -> Result<Vec<StackId>, StateError>;
    /// Takes the lease of a stack, resolving a dead holder at once.
    async fn acquire(&self, stack: &StackId, holder: &Holder) -> Result<Box<dyn Lease>, StateError>;
    /// Sees to it that leases from the next one on have a higher number than that: places remember
    /// higher ones of a state that is lost.
    async fn raise_fence(&self, stack: &StackId, above: u64) -> Result<(), StateError>;
    /// Who holds the lease, if anyone does.
    async fn holder(&self, stack: &StackId) -> Result<Option<LeaseInfo>, StateError>;
    /// The journal from a sequence number on.
    async fn journal(&self, stack: &StackId, from: u64) -> Result<Vec<JournalRecord>, StateError>;
    /// Reads a setting.
    async fn setting(&self, stack: &StackId, name: &str) -> Result<Option<serde_json::Value>, StateError>;
    /// Writes a setting; `None` removes it.
    async fn set_setting(
        &self,
        stack: &StackId,
        name: &str,
        value: Option<&serde_json::Value>,
    ) -> Result<(), StateError>;
    /// Removes all of a stack but its journal's last number (release numbers are never re-used).
    async fn forget(&self, stack: &StackId) -> Result<(), StateError>;
    /// The newest version of everything in a collection, deleted things too, by key.
    async fn revisions(&self, collection: &str) -> Result<Vec<Revision>, StateError>;
    /// All versions of one thing of a collection, the oldest first.
    async fn versions(&self, collection: &str, key: &str) -> Result<Vec<Revision>, StateError>;
    /// Adds a version in one durable transaction: a compare-and-swap on the last version, and
    /// on the name being free.
    async fn revise(&self, new: NewRevision) -> Result<Revision, StateError>;
}

/// The right to change a stack. Dropped: released.
#[async_trait]
pub trait Lease: std::fmt::Debug + Send + Sync {
    /// Who, where, since.
    fn info(&self) -> &LeaseInfo;
    /// Appends entries in one durable transaction: a compare-and-swap on `expected` (the last
    /// sequence number) and on the fence. Returns the records as written.
    async fn append(&self, expected: u64, entries: &[Entry]) -> Result<Vec<JournalRecord>, StateError>;
    /// Gives it back.
    async fn release(self: Box<Self>) -> Result<(), StateError>;
}

/// Who wants a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Chosen by the caller or random.
    pub id: Uuid,
    /// Who, for people: `deploy (pid 123)`.
    pub name: String,
    /// Host name.
    pub host: String,
    /// Address of the run, in CI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_url: Option<String>,
}

impl Holder {
    /// Where people see the run, as the end of a sentence.
    fn seen_at(&self) -> String {
        self.run_url.as_ref().map_or_else(String::new, |url| format!(" ({url})"))
    }
}

/// A lease that is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseInfo {
    /// By whom.
    pub holder: Holder,
    /// Since when.
    pub since: Timestamp,
    /// Last sign of life.
    pub heartbeat: Timestamp,
    /// Rises with each takeover.
    pub fence: u64,
}

/// A state store failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// Someone else holds the lease.
    #[error("`{stack}` is being changed by {} on {} since {}{}", .info.holder.name, .info.holder.host, .info.since.strftime("%Y-%m-%d %H:%M:%S UTC"), .info.holder.seen_at())]
    Held {
        /// The stack.
        stack: StackId,
        /// Who, where, since.
        info: Box<LeaseInfo>,
    },
    /// The lease was taken over, or another append came first.
    #[error("the lease of `{stack}` was lost: {message}")]
    Lost {
        /// The stack.
        stack: StackId,
        /// How that was seen.
        message: String,
    },
    /// The entries cannot follow what the journal says; nothing was written.
    #[error("the journal of `{stack}` refuses an entry: {message}")]
    Refused {
        /// The stack.
        stack: StackId,
        /// Why.
        message: String,
    },
    /// Another writer came first; nothing was written.
    #[error("`{key}` was changed meanwhile: version {expected} was expected to be the last, {found} is")]
    Changed {
        /// What.
        key: String,
        /// The version that should have been the last one.
        expected: u32,
        /// The one that is.
        found: u32,
    },
    /// Another thing has the name; nothing was written.
    #[error("the name `{name}` belongs to `{key}`")]
    NameTaken {
        /// The name.
        name: String,
        /// Whose it is.
        key: String,
    },
    /// The file cannot be read or written (read-only folder, full disk).
    #[error("cannot use the state at {place}: {message}")]
    Io {
        /// Where.
        place: String,
        /// Why.
        message: String,
    },
    /// Checksums do not fit, or the file is no database.
    #[error("the state at {place} is damaged: {message}")]
    Damaged {
        /// Where.
        place: String,
        /// How that was seen.
        message: String,
    },
    /// Made by a newer version.
    #[error("the state at {place} has version {version}, newer than this program understands")]
    Version {
        /// Where.
        place: String,
        /// Which.
        version: u32,
    },
}
