use std::path::PathBuf;
use std::sync::mpsc;

use rusqlite::{Connection, params};
use tokio::sync::oneshot;

use super::super::StateError;
use super::schema;
use crate::engine::JournalRecord;
use crate::names::StackId;

/// The connection and the name of its file, for messages.
pub(super) struct Database {
    pub(super) connection: Connection,
    pub(super) path: PathBuf,
}

/// What a job may fail with: the database's own errors are translated at the end.
pub(super) enum JobError {
    State(StateError),
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for JobError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StateError> for JobError {
    fn from(error: StateError) -> Self {
        Self::State(error)
    }
}

type Job = Box<dyn FnOnce(&mut Database) + Send>;

/// The thread that owns the connection.
#[derive(Debug)]
pub(super) struct DatabaseThread {
    jobs: mpsc::Sender<Job>,
    path: PathBuf,
}

impl DatabaseThread {
    pub(super) fn start(connection: Connection, path: PathBuf) -> Self {
        let (jobs, queue) = mpsc::channel::<Job>();
        let mut database = Database { connection, path: path.clone() };
        // Ends when the last store and lease are dropped; a job that runs is finished first.
        std::thread::spawn(move || {
            for job in queue {
                job(&mut database);
            }
        });
        Self { jobs, path }
    }

    /// Runs a job on the thread. A caller that goes away does not stop it.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Database) -> Result<T, JobError> + Send + 'static,
    ) -> Result<T, StateError> {
        let (answer, result) = oneshot::channel();
        let path = self.path.clone();
        let sent = self.jobs.send(Box::new(move |database| {
            let result = job(database).map_err(|e| match e {
                JobError::State(e) => e,
                JobError::Sql(e) => schema::database(&path, &e),
            });
            // Nobody may be waiting any more.
            let _ = answer.send(result);
        }));
        match (sent, result.await) {
            (Ok(()), Ok(result)) => result,
            _ => Err(StateError::Io {
                place: self.path.display().to_string(),
                message: "the thread that owns it has ended".to_owned(),
            }),
        }
    }
}

impl Database {
    pub(super) fn damaged(&self, message: String) -> StateError {
        StateError::Damaged { place: self.path.display().to_string(), message }
    }

    /// Records of a stack from a sequence number on, each checked against the one before it.
    pub(super) fn records(&self, stack: &StackId, from: u64) -> Result<Vec<JournalRecord>, StateError> {
        let sql = |e: rusqlite::Error| schema::database(&self.path, &e);
        let mut statement = self
            .connection
            .prepare_cached("SELECT seq, fence, at, entry, sum FROM journal WHERE stack = ?1 AND seq >= ?2 ORDER BY seq")
            .map_err(sql)?;
        // The record before the first one wanted starts the chain of checksums.
        let start = from.saturating_sub(1);
        let mut rows = statement.query(params![stack.to_string(), start]).map_err(sql)?;
        let mut records = Vec::new();
        let mut previous: Option<(u64, u32)> = None;
        while let Some(row) = rows.next().map_err(sql)? {
            let read = || -> Result<(u64, u64, String, String, u32), rusqlite::Error> {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
            };
            let (seq, fence, at, entry, sum) = read().map_err(sql)?;
            if let Some((before, chain)) = previous {
                if seq != before + 1 {
                    return Err(self.damaged(format!("{stack}: records {} to {} are missing", before + 1, seq - 1)));
                }
                if sum != checksum(chain, seq, fence, &at, &entry) {
                    return Err(self.damaged(format!("{stack}: record {seq} does not fit its checksum")));
                }
            } else if seq == 1 && sum != checksum(0, seq, fence, &at, &entry) {
                return Err(self.damaged(format!("{stack}: record 1 does not fit its checksum")));
            }
            previous = Some((seq, sum));
            if seq >= from {
                records.push(JournalRecord {
                    seq,
                    fence,
                    at: at.parse().map_err(|_| self.damaged(format!("{stack}: record {seq} has no time")))?,
                    entry: serde_json::from_str(&entry)
                        .map_err(|e| self.damaged(format!("{stack}: record {seq}: {e}")))?,
                });
            }
        }
        let last: Option<u64> = self
            .connection
            .query_row("SELECT last_seq FROM stacks WHERE id = ?1", params![stack.to_string()], |r| r.get(0))
            .map(Some)
            .or_else(|e| if e == rusqlite::Error::QueryReturnedNoRows { Ok(None) } else { Err(e) })
            .map_err(sql)?;
        let end = previous.map_or(start, |(seq, _)| seq);
        if last.unwrap_or_default() > end && last.unwrap_or_default() >= from {
            return Err(self.damaged(format!("{stack}: records {} to {} are missing", end + 1, last.unwrap_or_default())));
        }
        Ok(records)
    }
}

/// Chained: a record that is changed, moved or taken out does not fit.
pub(super) fn checksum(previous: u32, seq: u64, fence: u64, at: &str, entry: &str) -> u32 {
    let mut hash = crc32fast::Hasher::new_with_initial(previous);
    hash.update(&seq.to_le_bytes());
    hash.update(&fence.to_le_bytes());
    hash.update(at.as_bytes());
    hash.update(entry.as_bytes());
    hash.finalize()
}

