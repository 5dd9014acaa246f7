use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::params;

use super::super::{Holder, Lease, LeaseInfo, StateError};
use super::thread::checksum;
use super::{SqliteStore, load, schema, write_snapshot};
use crate::engine::{Entry, JournalRecord, StackState};
use crate::names::StackId;

/// A child between fork and exec may hold the lock of a killed parent for some milliseconds.
const RETRY: Duration = Duration::from_millis(100);

/// Records after which a snapshot is written even though the plan is still open.
const SNAPSHOT_EVERY: u64 = 500;

/// The lease of a stack. A locked file is its life: whoever can lock it knows that the
/// holder is dead, whatever the clock says.
#[derive(Debug)]
pub(super) struct SqliteLease {
    store: SqliteStore,
    stack: StackId,
    info: LeaseInfo,
    state: std::sync::Arc<Mutex<Option<StackState>>>,
    _lock: File,
}

fn lock_path(locks: &Path, stack: &StackId) -> PathBuf {
    // No name holds a `~`: two stacks never share a file.
    locks.join(format!("{}~{}.lock", stack.app, stack.environment))
}

fn open(path: &Path) -> Result<File, StateError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|e| schema::io(path, &e))
}

/// Locks the file; `None` when another process holds it. Lock files are never removed, and
/// one that was replaced under our hands does not count.
fn try_lock(path: &Path) -> Result<Option<File>, StateError> {
    let file = open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(e)) => return Err(schema::io(path, &e)),
    }
    let ours = file.metadata().map_err(|e| schema::io(path, &e))?;
    match std::fs::metadata(path) {
        Ok(there) if there.ino() == ours.ino() && there.dev() == ours.dev() => Ok(Some(file)),
        _ => Ok(None),
    }
}

/// Does nobody hold the lease?
pub(super) fn is_free(locks: &Path, stack: &StackId) -> Result<bool, StateError> {
    let path = lock_path(locks, stack);
    if !path.exists() {
        return Ok(true);
    }
    Ok(try_lock(&path)?.is_some())
}

impl SqliteLease {
    pub(super) async fn acquire(store: &SqliteStore, stack: &StackId, holder: &Holder) -> Result<Self, StateError> {
        let path = lock_path(&store.0.locks, stack);
        let begun = Instant::now();
        let lock = loop {
            if let Some(lock) = try_lock(&path)? {
                break lock;
            }
            if begun.elapsed() >= RETRY {
                let info = store.lease_info(stack).await?.unwrap_or_else(|| LeaseInfo {
                    holder: Holder { name: "a process that has just started".to_owned(), ..holder.clone() },
                    since: Timestamp::now(),
                    heartbeat: Timestamp::now(),
                    fence: 0,
                });
                return Err(StateError::Held { stack: stack.clone(), info: Box::new(info) });
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let id = stack.to_string();
        let now = Timestamp::now();
        let info = LeaseInfo { holder: holder.clone(), since: now, heartbeat: now, fence: 0 };
        let info = store
            .0
            .thread
            .run(move |db| {
                let transaction = db.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
                transaction.execute(
                    "INSERT INTO stacks (id, gone) VALUES (?1, 1) ON CONFLICT (id) DO NOTHING",
                    params![id],
                )?;
                let fence: u64 =
                    transaction.query_row("SELECT fence FROM stacks WHERE id = ?1", params![id], |r| r.get(0))?;
                let info = LeaseInfo { fence: fence + 1, ..info };
                let text = serde_json::to_string(&info)
                    .map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))?;
                transaction.execute(
                    "UPDATE stacks SET fence = ?2, lease = ?3 WHERE id = ?1",
                    params![id, info.fence, text],
                )?;
                transaction.commit()?;
                Ok(info)
            })
            .await?;
        Ok(Self { store: store.clone(), stack: stack.clone(), info, state: std::sync::Arc::default(), _lock: lock })
    }
}

#[async_trait]
impl Lease for SqliteLease {
    fn info(&self) -> &LeaseInfo {
        &self.info
    }

    async fn append(&self, expected: u64, entries: &[Entry]) -> Result<Vec<JournalRecord>, StateError> {
        let (stack, fence, entries) = (self.stack.clone(), self.info.fence, entries.to_vec());
        let shared = std::sync::Arc::clone(&self.state);
        self.store
            .0
            .thread
            .run(move |db| {
                let mut shared = shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                // The state before, kept between appends; taken out, so that a failure reads it anew.
                let mut state = match shared.take().filter(|state| state.seq == expected) {
                    Some(state) => state,
                    None => load(db, &stack)?,
                };
                let id = stack.to_string();
                let lost = |message: String| StateError::Lost { stack: stack.clone(), message };
                let path = db.path.clone();
                let transaction = db.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
                let (held, last, mut sum): (u64, u64, u32) = transaction.query_row(
                    "SELECT fence, last_seq, last_sum FROM stacks WHERE id = ?1",
                    params![id],
                    |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)),
                )?;
                if held != fence {
                    return Err(lost(format!("it was taken over (fence {held}, ours is {fence})")).into());
                }
                if last != expected || state.seq != expected {
                    return Err(lost(format!("another append came first (record {last}, expected {expected})")).into());
                }
                let mut records = Vec::with_capacity(entries.len());
                let mut closed = false;
                for (seq, entry) in (expected + 1..).zip(entries) {
                    closed |= matches!(entry, Entry::PlanClosed { .. } | Entry::Destroyed | Entry::Rebuilt { .. });
                    let record = JournalRecord { seq, fence, at: Timestamp::now(), entry };
                    state.apply(&record).map_err(|e| StateError::Damaged {
                        place: path.display().to_string(),
                        message: e.to_string(),
                    })?;
                    let at = record.at.to_string();
                    let text = serde_json::to_string(&record.entry)
                        .map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))?;
                    sum = checksum(sum, seq, fence, &at, &text);
                    transaction
                        .prepare_cached("INSERT INTO journal (stack, seq, fence, at, entry, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
                        .execute(params![id, seq, fence, at, text, sum])?;
                    records.push(record);
                }
                transaction.execute(
                    "UPDATE stacks SET last_seq = ?2, last_sum = ?3, gone = 0 WHERE id = ?1",
                    params![id, state.seq, sum],
                )?;
                if closed || state.seq.is_multiple_of(SNAPSHOT_EVERY) {
                    write_snapshot(&transaction, &stack, &state)?;
                }
                transaction.commit()?;
                *shared = Some(state);
                Ok(records)
            })
            .await
    }

    async fn release(self: Box<Self>) -> Result<(), StateError> {
        let id = self.stack.to_string();
        let fence = self.info.fence;
        self.store
            .0
            .thread
            .run(move |db| {
                db.connection
                    .execute("UPDATE stacks SET lease = NULL WHERE id = ?1 AND fence = ?2", params![id, fence])?;
                Ok(())
            })
            .await
    }
}
