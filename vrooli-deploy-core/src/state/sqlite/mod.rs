//! State in one SQLite file (write-ahead log, synchronous FULL) and one lock file a stack.
//!
//! - **One commit, one fdatasync.** Entries that are appended together are durable together;
//!   the write-ahead log needs a single fdatasync outside checkpoints.
//! - **Never written on a guess.** Every record is chained to the one before it by checksum,
//!   every append is a compare-and-swap on the fence and the head of the journal, and every
//!   entry is tried on the folded state before it reaches the disk.
//! - **Damage is told, not mended.** A file that is cut off, flipped bits, rows that are gone,
//!   a log that lost its end: [`StateError::Damaged`] with the place, and nothing is written.
//! - **The lock is the lease.** Its kernel lock ends with its process, however that dies. No
//!   clock decides anything; times are there for people.
//! - The file is only ever opened through SQLite: closing any other descriptor of it would
//!   drop SQLite's own locks in this process.

mod append;
mod checksum;
mod database;
mod fault;
mod lease;
mod lock;
mod read;
mod revisions;
mod set_aside;
mod settings;
mod worker;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};
use tokio::sync::oneshot;
use uuid::Uuid;

use self::database::{Database, Layout};
use self::fault::Fault;
use self::lease::SqliteLease;
use self::lock::{LockFile, Witness};
use self::worker::{Worker, gone};
use self::writer::{Request, Writer};
use crate::engine::{JournalRecord, StackState};
use crate::names::StackId;
use crate::state::{Holder, Lease, LeaseInfo, NewRevision, Revision, StateError, StateStore};

type Read = Box<dyn FnOnce(Result<&Connection, Fault>) + Send>;

/// Knobs of a [`SqliteStore`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SqliteOptions {
    /// How long a lease that is held is tried again. Default 100 ms: a child of a holder that
    /// was killed between fork and exec may keep the lock for some milliseconds.
    pub lease_wait: Duration,
    /// How long another process's commit is waited for. Default 10 s.
    pub busy_wait: Duration,
    /// How often a lease that is held gives a sign of life. Default 5 s.
    pub heartbeat: Duration,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            lease_wait: Duration::from_millis(100),
            busy_wait: Duration::from_secs(10),
            heartbeat: Duration::from_secs(5),
        }
    }
}

/// The embedded state store: `state.db` and `locks/` in one folder. Cheap to clone. Works on
/// any runtime: the database has threads of its own. When the last clone and the last lease
/// are dropped, the log is folded into the file and the threads end.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    shared: Arc<Shared>,
    lease_wait: Duration,
}

#[derive(Debug)]
struct Shared {
    layout: Layout,
    id: Uuid,
    // Dropped in this order: the writer closes last and folds the log in.
    reader: Worker<Read>,
    writer: Option<Worker<Request>>,
}

impl SqliteStore {
    /// Opens the state in a folder and makes it (folder 0700, file 0600) if it is not there.
    /// Blocks for some milliseconds. A folder or file that cannot be written is opened for
    /// reading alone; then everything that changes something is refused.
    ///
    /// # Errors
    /// When it is damaged or newer (nothing is changed then), or cannot be read.
    pub fn open(dir: &Path) -> Result<Self, StateError> {
        Self::open_with(dir, &SqliteOptions::default())
    }

    /// Puts what is left of a state that is lost or damaged into a folder beside it, `lost-1`, from
    /// which a person may still read it; the next [`open`](Self::open) makes a new one. The answer is
    /// that folder; `None` when nothing was left. Blocks for some milliseconds.
    ///
    /// # Errors
    /// When somebody changes a stack of it right now, or it cannot be moved.
    pub fn set_aside(dir: &Path) -> Result<Option<PathBuf>, StateError> {
        set_aside::set_aside(dir).map_err(|fault| fault.at(&dir.join("state.db")))
    }

    /// The same with other knobs.
    ///
    /// # Errors
    /// See [`open`](Self::open).
    pub fn open_with(dir: &Path, options: &SqliteOptions) -> Result<Self, StateError> {
        let database =
            Database::open(dir, options.busy_wait).map_err(|fault| fault.at(&dir.join("state.db")))?;
        let Database { layout, id, reader: mut connection, writer } = database;
        let place = layout.database();
        let reader = Worker::spawn("state-reader", &place, move |requests: Receiver<Read>| {
            for read in requests {
                // Each sees one moment: that of its first statement.
                match connection.transaction() {
                    Ok(transaction) => read(Ok(&transaction)),
                    Err(error) => read(Err(error.into())),
                }
            }
        })?;
        let writer = match writer {
            None => None,
            Some(connection) => {
                let writer = Writer::new(connection, place.clone(), options.heartbeat);
                Some(Worker::spawn("state-writer", &place, move |requests| writer.serve(&requests))?)
            }
        };
        Ok(Self { shared: Arc::new(Shared { layout, id, reader, writer }), lease_wait: options.lease_wait })
    }

    /// True when the folder cannot be written.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.shared.writer.is_none()
    }

    /// The state folder, as an absolute path.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.shared.layout.dir
    }

    /// Reads everything: the pages of the file, every record of every journal, and whether
    /// each snapshot is what its journal says.
    ///
    /// # Errors
    /// [`StateError::Damaged`] with the first thing that does not fit.
    pub async fn verify(&self) -> Result<(), StateError> {
        let stacks = self
            .shared
            .read(|connection| {
                writer::check(connection)?;
                settings::check(connection)?;
                revisions::check(connection)?;
                read::stacks(connection)
            })
            .await?;
        for stack in stacks {
            let lock = self.shared.layout.lock(&stack);
            self.shared
                .read(move |connection| {
                    let witness = Witness::read(&lock);
                    let whole = read::replay(connection, &stack, witness)?;
                    let folded = read::fold(connection, &stack, witness)?.state;
                    if folded.without_telling() == whole.state.without_telling() {
                        return Ok(());
                    }
                    Err(Fault::Damaged(format!("the snapshot of `{stack}` is not what its journal says")))
                })
                .await?;
        }
        Ok(())
    }

    /// What the holder of a lock that is taken wrote about itself.
    async fn info(&self, stack: &StackId) -> Result<LeaseInfo, StateError> {
        let key = stack.to_string();
        let found = self.shared.read(move |connection| lease_row(connection, &key)).await?;
        Ok(found.unwrap_or_else(starting))
    }

    async fn held(&self, stack: &StackId) -> Result<StateError, StateError> {
        Ok(StateError::Held { stack: stack.clone(), info: Box::new(self.info(stack).await?) })
    }
}

/// A holder between taking its lock and writing its name.
fn starting() -> LeaseInfo {
    let now = Timestamp::now();
    let holder = Holder {
        id: Uuid::nil(),
        name: "a process that has just started".to_owned(),
        host: "this machine".to_owned(),
        run_url: None,
    };
    LeaseInfo { holder, since: now, heartbeat: now, fence: 0 }
}

impl Shared {
    fn writer(&self) -> Result<&Worker<Request>, StateError> {
        self.writer.as_ref().ok_or_else(|| {
            Fault::Io(
                "the folder or the file is read-only, so nothing can be changed; make it writable, or use another \
                 folder with `--state-dir`"
                    .to_owned(),
            )
            .at(&self.place())
        })
    }

    fn place(&self) -> PathBuf {
        self.layout.database()
    }

    fn gone(&self) -> StateError {
        gone(&self.place())
    }

    /// Reads in one transaction. It begins with the first statement of `job`: a witness that
    /// is read before that is never newer than the journal.
    async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StateError> {
        let (reply, answer) = oneshot::channel();
        self.reader.send(Box::new(move |connection| {
            let _ = reply.send(connection.and_then(job));
        }))?;
        answer.await.map_err(|_| self.gone())?.map_err(|fault| fault.at(&self.place()))
    }

    async fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Writer) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StateError> {
        let (reply, answer) = oneshot::channel();
        self.writer()?.send(Request::Run(Box::new(move |writer| {
            let _ = reply.send(job(writer));
        })))?;
        answer.await.map_err(|_| self.gone())?.map_err(|fault| fault.at(&self.place()))
    }

    /// Tries a lock on a thread of its own: waiting for it must not hold up a runtime.
    async fn lock(&self, stack: &StackId, wait: Duration) -> Result<Option<LockFile>, StateError> {
        let path = self.layout.lock(stack);
        let (reply, answer) = oneshot::channel();
        let place = path.clone();
        std::thread::Builder::new()
            .name("state-lock".to_owned())
            .spawn(move || {
                let _ = reply.send(LockFile::acquire(&path, wait));
            })
            .map_err(|error| Fault::from(error).at(&place))?;
        answer.await.map_err(|_| self.gone())?.map_err(|error| Fault::from(error).at(&place))
    }
}

#[async_trait]
impl StateStore for SqliteStore {
    fn id(&self) -> Uuid {
        self.shared.id
    }

    async fn load(&self, stack: &StackId) -> Result<StackState, StateError> {
        let (stack, lock) = (stack.clone(), self.shared.layout.lock(stack));
        self.shared
            .read(move |connection| {
                let witness = Witness::read(&lock);
                Ok(read::fold(connection, &stack, witness)?.state)
            })
            .await
    }

    async fn stacks(&self) -> Result<Vec<StackId>, StateError> {
        self.shared.read(read::stacks).await
    }

    async fn acquire(&self, stack: &StackId, holder: &Holder) -> Result<Box<dyn Lease>, StateError> {
        self.shared.writer()?;
        let Some(lock) = self.shared.lock(stack, self.lease_wait).await? else {
            return Err(self.held(stack).await?);
        };
        let (shared, stack, holder) = (Arc::clone(&self.shared), stack.clone(), holder.clone());
        let (reply, answer) = oneshot::channel();
        // The lease is made where the lock is noted: if the caller is gone by then, it is
        // dropped unseen and gives back what was taken.
        self.shared.writer()?.send(Request::Run(Box::new(move |writer| {
            let witness = Witness::read(&shared.layout.lock(&stack));
            let lease = writer
                .take_over(&stack, &holder, &lock, witness)
                .map(|info| SqliteLease::new(shared, stack, info, lock));
            let _ = reply.send(lease);
        })))?;
        match answer.await.map_err(|_| self.shared.gone())? {
            Ok(lease) => Ok(Box::new(lease)),
            Err(fault) => Err(fault.at(&self.shared.place())),
        }
    }

    async fn raise_fence(&self, stack: &StackId, above: u64) -> Result<(), StateError> {
        let stack = stack.clone();
        self.shared.write(move |writer| writer.raise_fence(&stack, above)).await
    }

    async fn holder(&self, stack: &StackId) -> Result<Option<LeaseInfo>, StateError> {
        let lock = self.shared.layout.lock(stack);
        if !LockFile::is_taken(&lock).map_err(|error| Fault::from(error).at(&lock))? {
            return Ok(None);
        }
        Ok(Some(self.info(stack).await?))
    }

    async fn journal(&self, stack: &StackId, from: u64) -> Result<Vec<JournalRecord>, StateError> {
        let (stack, lock) = (stack.clone(), self.shared.layout.lock(stack));
        self.shared
            .read(move |connection| {
                let witness = Witness::read(&lock);
                read::records(connection, &stack, from, witness)
            })
            .await
    }

    async fn setting(&self, stack: &StackId, name: &str) -> Result<Option<serde_json::Value>, StateError> {
        let (stack, name) = (stack.clone(), name.to_owned());
        self.shared.read(move |connection| settings::read(connection, &stack, &name)).await
    }

    async fn set_setting(
        &self,
        stack: &StackId,
        name: &str,
        value: Option<&serde_json::Value>,
    ) -> Result<(), StateError> {
        let (stack, name, value) = (stack.clone(), name.to_owned(), value.cloned());
        self.shared.write(move |writer| writer.set_setting(&stack, &name, value.as_ref())).await
    }

    async fn forget(&self, stack: &StackId) -> Result<(), StateError> {
        let wanted = stack.clone();
        let ours = self.shared.write(move |writer| Ok(writer.holds(&wanted))).await?;
        let guard = if ours { None } else { self.shared.lock(stack, self.lease_wait).await? };
        if !ours && guard.is_none() {
            return Err(self.held(stack).await?);
        }
        let (wanted, file) = (stack.clone(), self.shared.layout.lock(stack));
        self.shared
            .write(move |writer| {
                let forgotten = writer.forget(&wanted, Witness::read(&file));
                drop(guard);
                forgotten
            })
            .await
    }

    async fn revisions(&self, collection: &str) -> Result<Vec<Revision>, StateError> {
        let collection = collection.to_owned();
        self.shared.read(move |connection| revisions::newest(connection, &collection)).await
    }

    async fn versions(&self, collection: &str, key: &str) -> Result<Vec<Revision>, StateError> {
        let (collection, key) = (collection.to_owned(), key.to_owned());
        self.shared.read(move |connection| revisions::versions(connection, &collection, &key)).await
    }

    async fn revise(&self, new: NewRevision) -> Result<Revision, StateError> {
        self.shared.write(move |writer| writer.revise(new)).await
    }
}

fn lease_row(connection: &Connection, key: &str) -> Result<Option<LeaseInfo>, Fault> {
    let found: Option<(i64, Option<String>, String, String)> = connection
        .prepare_cached("SELECT fence, holder, since, heartbeat FROM leases WHERE stack = ?1")?
        .query_row([key], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .optional()?;
    let Some((fence, Some(holder), since, heartbeat)) = found else {
        return Ok(None);
    };
    let unreadable = || Fault::Damaged(format!("the lease of `{key}` cannot be read"));
    Ok(Some(LeaseInfo {
        holder: serde_json::from_str(&holder).map_err(|_| unreadable())?,
        since: since.parse().map_err(|_| unreadable())?,
        heartbeat: heartbeat.parse().map_err(|_| unreadable())?,
        fence: u64::try_from(fence).map_err(|_| unreadable())?,
    }))
}
