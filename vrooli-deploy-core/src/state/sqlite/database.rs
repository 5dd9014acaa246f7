//! Opening the file: made whole or not at all, checked before anything is written, and
//! left as it is when it is damaged or newer.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use uuid::Uuid;

use super::checksum::checksum;
use super::fault::Fault;
use super::lock::{LockFile, Witness};

/// Each brings the schema one version further; the number of them is the current version.
const MIGRATIONS: &[&str] = &[include_str!("schema_1.sql"), include_str!("schema_2.sql")];
const SCHEMA: u32 = MIGRATIONS.len() as u32;

/// Marks the file as ours: `vrDS`.
const APPLICATION: i32 = 0x7672_4453;

/// Bytes of a page of the file.
const PAGE: u32 = 4096;

/// How long another process may take to create the file.
const CREATION: Duration = Duration::from_secs(10);

/// Names inside the state folder.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) dir: PathBuf,
}

impl Layout {
    pub(super) fn database(&self) -> PathBuf {
        self.dir.join("state.db")
    }

    fn log(&self) -> PathBuf {
        self.dir.join("state.db-wal")
    }

    fn locks(&self) -> PathBuf {
        self.dir.join("locks")
    }

    /// The lock file of a stack. Names hold no `~`, so no two stacks share one.
    pub(super) fn lock(&self, stack: &crate::names::StackId) -> PathBuf {
        self.locks().join(format!("{}~{}.lock", stack.app, stack.environment))
    }
}

/// An open state: two connections, so that reading never waits behind writing.
#[derive(Debug)]
pub(super) struct Database {
    pub(super) layout: Layout,
    pub(super) id: Uuid,
    pub(super) reader: Connection,
    /// None when the folder cannot be written.
    pub(super) writer: Option<Connection>,
}

impl Database {
    /// Opens the state in a folder, making both if they are not there.
    pub(super) fn open(dir: &Path, busy: Duration) -> Result<Self, Fault> {
        match DirBuilder::new().recursive(true).mode(0o700).create(dir) {
            Ok(()) => {}
            // A folder on a read-only file system may be there all the same.
            Err(_) if dir.is_dir() => {}
            Err(error) => return Err(error.into()),
        }
        let layout = Layout { dir: std::fs::canonicalize(dir)? };
        let file = layout.database();
        match std::fs::metadata(&file) {
            Ok(found) if found.len() == 0 => {
                return Err(Fault::Damaged("the file is empty".to_owned()));
            }
            // With a log beside it, the end of the file may be on its way out of the log.
            Ok(found) if !found.len().is_multiple_of(u64::from(PAGE)) && !has_log(&layout) => {
                return Err(Fault::Damaged("the file ends in the middle of a page".to_owned()));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(&layout)?,
            Err(error) => return Err(error.into()),
        }
        if !(writable(&layout.dir) && writable(&file)) {
            let (reader, id) = open_read_only(&layout, busy)?;
            return Ok(Self { layout, id, reader, writer: None });
        }
        create_locks(&layout)?;
        let mut writer = Connection::open_with_flags(
            &file,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        // Until the file is known to be ours, closing it must not change it.
        writer.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        configure(&writer, busy)?;
        let (id, version) = identify(&writer)?;
        let mode: String = writer.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
        if mode != "wal" || writer.is_readonly(rusqlite::MAIN_DB)? {
            return Err(Fault::Damaged("the file's header says that it is in another mode".to_owned()));
        }
        migrate(&mut writer, version)?;
        writer.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;

        // Not opened read-only: whichever connection is closed last folds the log in.
        let reader = Connection::open_with_flags(
            &file,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        configure(&reader, busy)?;
        reader.pragma_update(None, "query_only", true)?;
        Ok(Self { layout, id, reader, writer: Some(writer) })
    }
}

fn writable(path: &Path) -> bool {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_ok()
}

fn configure(connection: &Connection, busy: Duration) -> Result<(), Fault> {
    connection.busy_timeout(busy)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // macOS: a plain fsync leaves the bytes in the drive's cache. Elsewhere without effect.
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(())
}

/// Whose state it is and which version its schema has. Reads only.
fn identify(connection: &Connection) -> Result<(Uuid, u32), Fault> {
    let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if application != APPLICATION {
        return Err(Fault::Damaged("the file is no state of this program".to_owned()));
    }
    // The version first: a newer schema may have another shape.
    let version: i64 = connection.query_row("SELECT schema FROM meta", [], |row| row.get(0))?;
    let version = u32::try_from(version).map_err(|_| Fault::Damaged(format!("schema version {version}")))?;
    if version > SCHEMA {
        return Err(Fault::Version(version));
    }
    let (id, guard): (String, i64) =
        connection.query_row("SELECT id, guard FROM meta", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if i64::from(checksum(&[id.as_bytes()])) != guard {
        return Err(Fault::Damaged("the id of the state does not fit its checksum".to_owned()));
    }
    let id = Uuid::parse_str(&id).map_err(|error| Fault::Damaged(format!("the id of the state: {error}")))?;
    Ok((id, version))
}

fn migrate(connection: &mut Connection, from: u32) -> Result<(), Fault> {
    if from == SCHEMA {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have been first.
    let (_, from) = identify(&transaction)?;
    for migration in MIGRATIONS.iter().skip(from as usize) {
        transaction.execute_batch(migration)?;
    }
    transaction.execute("UPDATE meta SET schema = ?1", [SCHEMA])?;
    transaction.commit()?;
    Ok(())
}

/// Makes a new state under another name and moves it into place, so that an empty or
/// half-made `state.db` is always damage and never a beginning.
fn create(layout: &Layout) -> Result<(), Fault> {
    create_locks(layout)?;
    let Some(lock) = LockFile::acquire(&layout.locks().join("create.lock"), CREATION)? else {
        return Err(Fault::Io(
            "another process is creating it and does not get done; end that process".to_owned(),
        ));
    };
    let file = layout.database();
    if file.exists() {
        return Ok(());
    }
    if layout.log().exists() || has_witness(layout)? {
        return Err(Fault::Damaged("the file is gone, although journals were written to it".to_owned()));
    }
    let new = layout.dir.join("state.db.new");
    for left in ["state.db.new", "state.db.new-journal", "state.db.new-wal", "state.db.new-shm"] {
        match std::fs::remove_file(layout.dir.join(left)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    // SQLite gives its side files the mode of the main file.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    let result = fill(&new, known_id(&layout.dir).unwrap_or_else(Uuid::new_v4));
    if result.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    result?;
    std::fs::rename(&new, &file)?;
    File::open(&layout.dir)?.sync_all()?;
    lock.unlock();
    Ok(())
}

/// The id that the folder goes by: a state that was lost and is made anew is still the same folder's.
fn known_id(dir: &Path) -> Option<Uuid> {
    Uuid::parse_str(std::fs::read_to_string(dir.join("id")).ok()?.trim()).ok()
}

fn fill(new: &Path, id: Uuid) -> Result<(), Fault> {
    let connection = Connection::open_with_flags(
        new,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    configure(&connection, CREATION)?;
    connection.pragma_update(None, "page_size", PAGE)?;
    connection.execute_batch("BEGIN")?;
    for migration in MIGRATIONS {
        connection.execute_batch(migration)?;
    }
    let id = id.to_string();
    connection.execute(
        "INSERT INTO meta (id, guard, schema, settings) VALUES (?1, ?2, ?3, 0)",
        (&id, checksum(&[id.as_bytes()]), SCHEMA),
    )?;
    connection.pragma_update(None, "application_id", APPLICATION)?;
    connection.execute_batch("COMMIT")?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(Fault::Io(format!(
            "this file system cannot hold it (journal mode `{mode}`); use a folder on a local disk with `--state-dir`"
        )));
    }
    connection.close().map_err(|(_, error)| error)?;
    Ok(())
}

fn create_locks(layout: &Layout) -> Result<(), Fault> {
    DirBuilder::new().recursive(true).mode(0o700).create(layout.locks())?;
    Ok(())
}

fn has_witness(layout: &Layout) -> Result<bool, Fault> {
    for entry in std::fs::read_dir(layout.locks())? {
        if Witness::read(&entry?.path()).is_some_and(|witness| witness.seq > 0) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Opens for reading what cannot be written. With a log beside the file that is possible
/// only while its index is there too; without a log the file is all there is.
fn open_read_only(layout: &Layout, busy: Duration) -> Result<(Connection, Uuid), Fault> {
    let file = layout.database();
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let look = |connection: Connection| -> Result<(Connection, Uuid), Fault> {
        configure(&connection, busy)?;
        let (id, version) = identify(&connection)?;
        if version < SCHEMA {
            return Err(Fault::Io(
                "it was made by an older version and the folder is read-only; run any command once with write access"
                    .to_owned(),
            ));
        }
        Ok((connection, id))
    };
    let opened = Connection::open_with_flags(&file, flags).map_err(Fault::from).and_then(look);
    let Err(Fault::Io(refusal)) = opened else {
        return opened;
    };
    if has_log(layout) {
        return Err(Fault::Io(format!(
            "the folder is read-only and the last run left a log there that must be folded in ({refusal}). Run any \
             command once with write access"
        )));
    }
    look(Connection::open_with_flags(immutable(&file), flags | OpenFlags::SQLITE_OPEN_URI)?)
}

fn has_log(layout: &Layout) -> bool {
    std::fs::metadata(layout.log()).is_ok_and(|log| log.len() > 0)
}

/// The address of a file that nobody changes while it is read.
fn immutable(file: &Path) -> String {
    use std::fmt::Write as _;
    use std::os::unix::ffi::OsStrExt;
    let mut address = "file:".to_owned();
    for byte in file.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.') {
            address.push(char::from(*byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(address, "%{byte:02x}");
        }
    }
    address.push_str("?immutable=1");
    address
}
