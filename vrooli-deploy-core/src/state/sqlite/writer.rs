//! The one thread of a process that writes. Appends that wait together share one commit.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};
use tokio::sync::oneshot;

use super::append::append;
use super::fault::Fault;
use super::lock::{LockFile, Witness};
use super::read::{Fold, fold, to_sql, tombstone_checksum};
use super::revisions;
use super::settings;
use crate::engine::{Entry, JournalRecord};
use crate::names::StackId;
use crate::state::{Holder, LeaseInfo, NewRevision, Revision, StateError};

/// What the thread is asked for.
pub(super) enum Request {
    /// Entries for a journal.
    Append(Append),
    /// Anything else, one at a time.
    Run(Box<dyn FnOnce(&mut Writer) + Send>),
}

/// Entries for a journal, in one durable transaction.
pub(super) struct Append {
    pub(super) stack: StackId,
    pub(super) fence: u64,
    pub(super) expected: u64,
    pub(super) entries: Vec<Entry>,
    pub(super) lock: Arc<LockFile>,
    pub(super) reply: oneshot::Sender<Result<Vec<JournalRecord>, StateError>>,
}

/// The state of that thread.
pub(super) struct Writer {
    connection: Connection,
    pub(super) place: PathBuf,
    heartbeat: Duration,
    /// Journals that this process appends to, folded, so that each entry can be tried first.
    folds: HashMap<StackId, Fold>,
    /// Leases of this process, by stack, with their fences.
    held: HashMap<StackId, u64>,
    next_beat: Instant,
    /// True once the whole file was found sound.
    sound: bool,
}

impl Writer {
    pub(super) fn new(connection: Connection, place: PathBuf, heartbeat: Duration) -> Self {
        Self {
            connection,
            place,
            heartbeat,
            folds: HashMap::new(),
            held: HashMap::new(),
            next_beat: Instant::now(),
            sound: false,
        }
    }

    /// Works until nobody can ask any more.
    pub(super) fn serve(mut self, queue: &Receiver<Request>) {
        let mut next = None;
        loop {
            match next.take().map_or_else(|| self.wait(queue), Some) {
                None => return,
                Some(Request::Run(job)) => job(&mut self),
                Some(Request::Append(first)) => {
                    let mut batch = vec![first];
                    while let Ok(request) = queue.try_recv() {
                        match request {
                            Request::Append(append) => batch.push(append),
                            other => {
                                next = Some(other);
                                break;
                            }
                        }
                    }
                    self.append(batch);
                }
            }
            if !self.held.is_empty() && Instant::now() >= self.next_beat {
                self.beat();
            }
        }
    }

    fn wait(&mut self, queue: &Receiver<Request>) -> Option<Request> {
        loop {
            if self.held.is_empty() {
                return queue.recv().ok();
            }
            match queue.recv_timeout(self.next_beat.saturating_duration_since(Instant::now())) {
                Ok(request) => return Some(request),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => self.beat(),
            }
        }
    }

    /// Signs of life, for people and other hosts. On this machine the file lock is the life,
    /// so a sign that cannot be written ends nothing.
    fn beat(&mut self) {
        self.next_beat = Instant::now() + self.heartbeat;
        let write = |connection: &mut Connection, held: &HashMap<StackId, u64>| -> Result<(), Fault> {
            let now = Timestamp::now().to_string();
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for (stack, fence) in held {
                transaction.execute(
                    "UPDATE leases SET heartbeat = ?3 WHERE stack = ?1 AND fence = ?2",
                    (stack.to_string(), to_sql(*fence)?, &now),
                )?;
            }
            transaction.commit()?;
            Ok(())
        };
        if let Err(fault) = write(&mut self.connection, &self.held) {
            tracing::debug!(?fault, "a heartbeat could not be written");
        }
    }

    /// Writes a batch in one transaction and answers each request. One that is refused does
    /// not keep the others out.
    fn append(&mut self, batch: Vec<Append>) {
        let written = self.write(&batch);
        if written.is_err() {
            // What the folds say has not come true.
            self.folds.clear();
        }
        match written {
            Ok(results) => {
                for (request, result) in batch.into_iter().zip(results) {
                    if result.is_ok()
                        && let Some(fold) = self.folds.get(&request.stack)
                    {
                        request.lock.witness(Witness {
                            seq: fold.state.seq,
                            fence: request.fence,
                            checksum: fold.checksum,
                        });
                    }
                    // Nobody waits any more: the entries stay written, and are found by the next load.
                    let _ = request.reply.send(result.map_err(|fault| fault.at(&self.place)));
                }
            }
            Err(fault) => {
                for request in batch {
                    let _ = request.reply.send(Err(fault.clone().at(&self.place)));
                }
            }
        }
    }

    fn write(&mut self, batch: &[Append]) -> Result<Vec<Result<Vec<JournalRecord>, Fault>>, Fault> {
        let mut transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut results = Vec::with_capacity(batch.len());
        for request in batch {
            let savepoint = transaction.savepoint()?;
            let result = append(&savepoint, &mut self.folds, request);
            match &result {
                Ok(_) => savepoint.commit()?,
                Err(Fault::Lost(..) | Fault::Refused(..)) => {
                    // A fold that took a refused entry is no longer what the journal says.
                    self.folds.remove(&request.stack);
                    savepoint.finish()?;
                }
                // The file itself: SQLite may have rolled back everything.
                Err(fault) => return Err(fault.clone()),
            }
            results.push(result);
        }
        if results.iter().any(Result::is_ok) {
            transaction.commit()?;
        }
        Ok(results)
    }

    /// Reads the whole file once before this process first writes to it: writing to a
    /// database whose pages are not in order can make things worse.
    fn ensure_sound(&mut self) -> Result<(), Fault> {
        if !self.sound {
            check(&self.connection)?;
            self.sound = true;
        }
        Ok(())
    }

    /// Notes the holder of a lock that was just taken, and raises the fence.
    pub(super) fn take_over(
        &mut self,
        stack: &StackId,
        holder: &Holder,
        lock: &LockFile,
        witness: Option<Witness>,
    ) -> Result<LeaseInfo, Fault> {
        self.ensure_sound()?;
        let now = Timestamp::now();
        let key = stack.to_string();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Refuses a damaged journal before anything is done in its name.
        let fold = fold(&transaction, stack, witness)?;
        let last: i64 = transaction.query_row(
            "SELECT max(ifnull((SELECT fence FROM leases WHERE stack = ?1), 0),
                        ifnull((SELECT max(fence) FROM journal WHERE stack = ?1), 0),
                        ifnull((SELECT fence FROM tombstones WHERE stack = ?1), 0))",
            [&key],
            |row| row.get(0),
        )?;
        let last =
            u64::try_from(last).map_err(|_| Fault::Damaged(format!("the fence of `{stack}` is {last}")))?;
        let fence = last.max(witness.map_or(0, |witness| witness.fence)) + 1;
        let info = LeaseInfo { holder: holder.clone(), since: now, heartbeat: now, fence };
        let holder = serde_json::to_string(holder).map_err(|error| Fault::Io(error.to_string()))?;
        transaction.execute(
            "INSERT INTO leases (stack, fence, holder, since, heartbeat) VALUES (?1, ?2, ?3, ?4, ?4)
             ON CONFLICT (stack) DO UPDATE
             SET fence = excluded.fence, holder = excluded.holder, since = excluded.since,
                 heartbeat = excluded.heartbeat",
            (&key, to_sql(fence)?, holder, now.to_string()),
        )?;
        transaction.execute(
            "INSERT INTO stacks (stack, seq, checksum) VALUES (?1, ?2, ?3) ON CONFLICT (stack) DO NOTHING",
            (&key, to_sql(fold.state.seq)?, fold.checksum),
        )?;
        transaction.commit()?;
        lock.witness(Witness { seq: fold.state.seq, fence, checksum: fold.checksum });
        self.folds.insert(stack.clone(), fold);
        if self.held.is_empty() {
            self.next_beat = Instant::now() + self.heartbeat;
        }
        self.held.insert(stack.clone(), fence);
        Ok(info)
    }

    /// The next lease has a higher number than that.
    pub(super) fn raise_fence(&mut self, stack: &StackId, above: u64) -> Result<(), Fault> {
        self.ensure_sound()?;
        let now = Timestamp::now().to_string();
        self.connection.execute(
            "INSERT INTO leases (stack, fence, holder, since, heartbeat) VALUES (?1, ?2, NULL, ?3, ?3)
             ON CONFLICT (stack) DO UPDATE SET fence = max(fence, excluded.fence)",
            (stack.to_string(), to_sql(above)?, now),
        )?;
        Ok(())
    }

    /// Notes that a lease was given back. One that someone else has taken since is left alone.
    pub(super) fn give_back(&mut self, stack: &StackId, fence: u64) -> Result<(), Fault> {
        if self.held.get(stack) == Some(&fence) {
            self.held.remove(stack);
            self.folds.remove(stack);
        }
        self.connection.execute(
            "UPDATE leases SET holder = NULL WHERE stack = ?1 AND fence = ?2",
            (stack.to_string(), to_sql(fence)?),
        )?;
        Ok(())
    }

    /// Does this process hold the stack?
    pub(super) fn holds(&self, stack: &StackId) -> bool {
        self.held.contains_key(stack)
    }

    /// Writes or removes a setting.
    pub(super) fn set_setting(
        &mut self,
        stack: &StackId,
        name: &str,
        value: Option<&serde_json::Value>,
    ) -> Result<(), Fault> {
        self.ensure_sound()?;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        settings::write(&transaction, stack, name, value)?;
        transaction.commit()?;
        Ok(())
    }

    /// Adds a version of a profile or of the configuration.
    pub(super) fn revise(&mut self, new: NewRevision) -> Result<Revision, Fault> {
        self.ensure_sound()?;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let revision = revisions::add(&transaction, new)?;
        transaction.commit()?;
        Ok(revision)
    }

    /// Removes a stack but for its last numbers.
    pub(super) fn forget(&mut self, stack: &StackId, witness: Option<Witness>) -> Result<(), Fault> {
        self.ensure_sound()?;
        let key = stack.to_string();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let fold = fold(&transaction, stack, witness)?;
        if fold.state.seq > 0 {
            entomb(&transaction, &key, &fold)?;
        }
        transaction.execute("DELETE FROM journal WHERE stack = ?1", [&key])?;
        transaction.execute("DELETE FROM snapshots WHERE stack = ?1", [&key])?;
        settings::forget(&transaction, stack)?;
        transaction.commit()?;
        self.folds.remove(stack);
        Ok(())
    }
}

fn entomb(transaction: &Transaction<'_>, key: &str, fold: &Fold) -> Result<(), Fault> {
    let fence: Option<i64> = transaction
        .query_row("SELECT fence FROM leases WHERE stack = ?1", [key], |row| row.get(0))
        .optional()?;
    let numbers = [
        to_sql(fold.state.seq)?,
        i64::from(fold.checksum),
        i64::from(fold.state.last_release),
        fence.unwrap_or_default(),
    ];
    let [seq, head, last_release, fence] = numbers;
    transaction.execute(
        "INSERT OR REPLACE INTO tombstones (stack, seq, head, last_release, fence, checksum)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        (key, seq, head, last_release, fence, tombstone_checksum(key, numbers)),
    )?;
    Ok(())
}

/// Looks through the pages of the whole file.
pub(super) fn check(connection: &Connection) -> Result<(), Fault> {
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" { Ok(()) } else { Err(Fault::Damaged(verdict)) }
}
