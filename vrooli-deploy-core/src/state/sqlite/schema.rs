use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use uuid::Uuid;

use super::super::StateError;

/// The file in the state folder.
pub(super) const FILE: &str = "state.db";

/// Version of the tables that this program writes.
const VERSION: u32 = 1;

/// `VDEP`: marks the file as ours.
const APPLICATION: i32 = 0x5644_4550;

/// How long a reader waits for a writer of another process.
const BUSY: Duration = Duration::from_secs(10);

const TABLES: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE stacks (
    id TEXT PRIMARY KEY,
    gone INTEGER NOT NULL DEFAULT 0,
    fence INTEGER NOT NULL DEFAULT 0,
    lease TEXT,
    last_seq INTEGER NOT NULL DEFAULT 0,
    last_sum INTEGER NOT NULL DEFAULT 0,
    snapshot TEXT,
    snapshot_seq INTEGER,
    snapshot_sum INTEGER
) STRICT;
CREATE TABLE journal (
    stack TEXT NOT NULL,
    seq INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    at TEXT NOT NULL,
    entry TEXT NOT NULL,
    sum INTEGER NOT NULL,
    PRIMARY KEY (stack, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE settings (
    stack TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (stack, name)
) STRICT, WITHOUT ROWID;
";

/// Opens the database, making folder, file and tables if they are not there.
pub(super) fn open(dir: &Path) -> Result<(Connection, Uuid), StateError> {
    if !dir.exists() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| io(dir, &e))?;
    }
    let path = dir.join(FILE);
    let new = !path.exists();
    let mut connection = Connection::open_with_flags(
        &path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(|e| database(&path, &e))?;
    prepare(&mut connection, &path, new).map_err(|e| match e {
        Prepare::State(e) => e,
        Prepare::Sql(e) => database(&path, &e),
    })
    .map(|id| (connection, id))
}

enum Prepare {
    State(StateError),
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for Prepare {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

fn prepare(connection: &mut Connection, path: &Path, new: bool) -> Result<Uuid, Prepare> {
    connection.busy_timeout(BUSY)?;
    if new {
        // The permissions are set through the open file's name before anything is in it.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(|e| Prepare::State(io(path, &e)))?;
    }
    let version: u32 = connection.query_row("PRAGMA user_version", [], |r| r.get(0))?;
    if version > VERSION {
        return Err(Prepare::State(StateError::Version { place: path.display().to_string(), version }));
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    if version == 0 {
        let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        // Another process may have made the tables while this one waited.
        let version: u32 = transaction.query_row("PRAGMA user_version", [], |r| r.get(0))?;
        if version == 0 {
            transaction.execute_batch(TABLES)?;
            transaction.execute("INSERT INTO meta (name, value) VALUES ('id', ?1)", [Uuid::new_v4().to_string()])?;
            transaction.pragma_update(None, "application_id", APPLICATION)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
        }
        transaction.commit()?;
    }
    let damaged = |message: String| StateError::Damaged { place: path.display().to_string(), message };
    let application: i32 = connection.query_row("PRAGMA application_id", [], |r| r.get(0))?;
    if application != APPLICATION {
        return Err(Prepare::State(damaged("it is a database, but not of this program".to_owned())));
    }
    let id: String = connection.query_row("SELECT value FROM meta WHERE name = 'id'", [], |r| r.get(0))?;
    id.parse().map_err(|_| Prepare::State(damaged(format!("`{id}` is no id"))))
}

/// What a failure of the file system means.
pub(super) fn io(path: &Path, error: &std::io::Error) -> StateError {
    StateError::Io { place: path.display().to_string(), message: error.to_string() }
}

/// What a failure of the database means.
pub(super) fn database(path: &Path, error: &rusqlite::Error) -> StateError {
    let place = path.display().to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            StateError::Damaged { place, message: error.to_string() }
        }
        Some(ErrorCode::DiskFull) => StateError::Io { place, message: "the disk is full".to_owned() },
        Some(ErrorCode::ReadOnly) => StateError::Io { place, message: "the folder or file is read-only".to_owned() },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            StateError::Io { place, message: "another program has held it for 10 s".to_owned() }
        }
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            StateError::Io { place, message: format!("it cannot be opened: {error}") }
        }
        Some(_) => StateError::Io { place, message: error.to_string() },
        // Rows whose types do not fit were not written by this program.
        None => StateError::Damaged { place, message: error.to_string() },
    }
}
