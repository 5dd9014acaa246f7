//! The embedded default: one SQLite file a workspace, WAL, synchronous FULL. All access is
//! on one thread of its own, so that a transaction is never cut by a dropped future.

mod lease;
mod schema;
#[cfg(test)]
mod tests;
mod thread;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::Value;
use uuid::Uuid;

use super::{Holder, Lease, LeaseInfo, StateError, StateStore};
use crate::engine::{JournalRecord, StackState};
use crate::names::StackId;

use lease::SqliteLease;
use thread::DatabaseThread;

/// State in `state.db` of a folder. See the module.
#[derive(Debug, Clone)]
pub struct SqliteStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: Uuid,
    locks: PathBuf,
    thread: DatabaseThread,
}

impl SqliteStore {
    /// Opens the state of a folder, making both if they are not there.
    ///
    /// # Errors
    /// When the folder or the file cannot be used, is damaged, or was made by a newer version;
    /// nothing is changed then.
    pub fn open(dir: &Path) -> Result<Self, StateError> {
        let (connection, id) = schema::open(dir)?;
        let locks = dir.join("locks");
        std::fs::create_dir_all(&locks).map_err(|e| schema::io(&locks, &e))?;
        let thread = DatabaseThread::start(connection, dir.join(schema::FILE));
        Ok(Self(Arc::new(Inner { id, locks, thread })))
    }
}

#[async_trait]
impl StateStore for SqliteStore {
    fn id(&self) -> Uuid {
        self.0.id
    }

    async fn load(&self, stack: &StackId) -> Result<StackState, StateError> {
        let stack = stack.clone();
        self.0.thread.run(move |db| Ok(load(db, &stack)?)).await
    }

    async fn stacks(&self) -> Result<Vec<StackId>, StateError> {
        self.0
            .thread
            .run(|db| {
                let mut statement = db.connection.prepare("SELECT id FROM stacks WHERE gone = 0 ORDER BY id")?;
                let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
                let mut stacks = Vec::new();
                for row in rows {
                    let text = row?;
                    let id = text
                        .split_once('/')
                        .and_then(|(app, environment)| {
                            Some(StackId { app: app.parse().ok()?, environment: environment.parse().ok()? })
                        })
                        .ok_or_else(|| db.damaged(format!("`{text}` is no stack")))?;
                    stacks.push(id);
                }
                Ok(stacks)
            })
            .await
    }

    async fn acquire(&self, stack: &StackId, holder: &Holder) -> Result<Box<dyn Lease>, StateError> {
        Ok(Box::new(SqliteLease::acquire(self, stack, holder).await?))
    }

    async fn holder(&self, stack: &StackId) -> Result<Option<LeaseInfo>, StateError> {
        if lease::is_free(&self.0.locks, stack)? {
            return Ok(None);
        }
        self.lease_info(stack).await
    }

    async fn journal(&self, stack: &StackId, from: u64) -> Result<Vec<JournalRecord>, StateError> {
        let stack = stack.clone();
        self.0.thread.run(move |db| Ok(db.records(&stack, from)?)).await
    }

    async fn setting(&self, stack: &StackId, name: &str) -> Result<Option<Value>, StateError> {
        let (stack, name) = (stack.to_string(), name.to_owned());
        self.0
            .thread
            .run(move |db| {
                let text: Option<String> = db
                    .connection
                    .query_row("SELECT value FROM settings WHERE stack = ?1 AND name = ?2", params![stack, name], |r| {
                        r.get(0)
                    })
                    .optional()?;
                Ok(text.map(|t| serde_json::from_str(&t).map_err(|e| db.damaged(e.to_string()))).transpose()?)
            })
            .await
    }

    async fn set_setting(&self, stack: &StackId, name: &str, value: Option<&Value>) -> Result<(), StateError> {
        let (stack, name, value) = (stack.to_string(), name.to_owned(), value.map(ToString::to_string));
        self.0
            .thread
            .run(move |db| {
                let transaction = db.connection.transaction()?;
                transaction.execute(
                    "INSERT INTO stacks (id) VALUES (?1) ON CONFLICT (id) DO UPDATE SET gone = 0",
                    params![stack],
                )?;
                match value {
                    Some(value) => transaction.execute(
                        "INSERT INTO settings (stack, name, value) VALUES (?1, ?2, ?3)
                         ON CONFLICT (stack, name) DO UPDATE SET value = excluded.value",
                        params![stack, name, value],
                    )?,
                    None => transaction
                        .execute("DELETE FROM settings WHERE stack = ?1 AND name = ?2", params![stack, name])?,
                };
                transaction.commit()?;
                Ok(())
            })
            .await
    }

    async fn forget(&self, stack: &StackId) -> Result<(), StateError> {
        let stack = stack.clone();
        self.0
            .thread
            .run(move |db| {
                let state = load(db, &stack)?;
                let id = stack.to_string();
                let transaction = db.connection.transaction()?;
                transaction.execute("DELETE FROM settings WHERE stack = ?1", params![id])?;
                // The last state stays as a snapshot: its sequence and release numbers go on.
                let kept = StackState { seq: state.seq, last_release: state.last_release, ..StackState::default() };
                let snapshot = serde_json::to_string(&kept).map_err(|e| {
                    rusqlite::Error::ToSqlConversionFailure(Box::new(e))
                })?;
                transaction.execute(
                    "UPDATE stacks SET gone = 1, snapshot = ?2, snapshot_seq = ?3, snapshot_sum = ?4 WHERE id = ?1",
                    params![id, snapshot, kept.seq, crc32fast::hash(snapshot.as_bytes())],
                )?;
                transaction.commit()?;
                Ok(())
            })
            .await
    }
}

impl SqliteStore {
    async fn lease_info(&self, stack: &StackId) -> Result<Option<LeaseInfo>, StateError> {
        let id = stack.to_string();
        self.0
            .thread
            .run(move |db| {
                let text: Option<Option<String>> = db
                    .connection
                    .query_row("SELECT lease FROM stacks WHERE id = ?1", params![id], |r| r.get(0))
                    .optional()?;
                Ok(text.flatten().map(|t| serde_json::from_str(&t).map_err(|e| db.damaged(e.to_string()))).transpose()?)
            })
            .await
    }
}

/// The snapshot of a stack and what its journal says since.
fn load(db: &thread::Database, stack: &StackId) -> Result<StackState, StateError> {
    let sql = |e| schema::database(&db.path, &e);
    let row: Option<(Option<String>, Option<u32>)> = db
        .connection
        .query_row("SELECT snapshot, snapshot_sum FROM stacks WHERE id = ?1", params![stack.to_string()], |r| {
            Ok((r.get(0)?, r.get(1)?))
        })
        .optional()
        .map_err(sql)?;
    let mut state = match row {
        Some((Some(text), sum)) => {
            if sum != Some(crc32fast::hash(text.as_bytes())) {
                return Err(db.damaged(format!("the snapshot of `{stack}` does not fit its checksum")));
            }
            serde_json::from_str(&text).map_err(|e| db.damaged(e.to_string()))?
        }
        _ => StackState::default(),
    };
    for record in db.records(stack, state.seq + 1)? {
        state.apply(&record).map_err(|e| db.damaged(format!("{stack}: {e}")))?;
    }
    Ok(state)
}

/// Kept for the size of a journal's tail that is read again.
pub(super) fn write_snapshot(
    connection: &Connection,
    stack: &StackId,
    state: &StackState,
) -> Result<(), rusqlite::Error> {
    let text = serde_json::to_string(state).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))?;
    connection.execute(
        "UPDATE stacks SET snapshot = ?2, snapshot_seq = ?3, snapshot_sum = ?4 WHERE id = ?1",
        params![stack.to_string(), text, state.seq, crc32fast::hash(text.as_bytes())],
    )?;
    Ok(())
}
