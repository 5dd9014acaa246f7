use std::path::Path;

use rusqlite::ErrorCode;

use crate::names::StackId;
use crate::state::StateError;

/// What went wrong inside the store, before it is known which file it is about. Can be
/// cloned, since one failed commit is the answer to a whole batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    Io(String),
    Damaged(String),
    Version(u32),
    Lost(StackId, String),
    Refused(StackId, String),
    Changed { key: String, expected: u32, found: u32 },
    NameTaken { name: String, key: String },
}

impl Fault {
    /// The error as callers see it.
    pub(super) fn at(self, place: &Path) -> StateError {
        let place = place.display().to_string();
        match self {
            Self::Io(message) => StateError::Io { place, message },
            Self::Damaged(message) => StateError::Damaged {
                place,
                message: format!(
                    "{message}. Nothing was changed: restore the whole state folder from a backup, or see \
                     `vrooli-deploy explain VD1002`"
                ),
            },
            Self::Version(version) => StateError::Version { place, version },
            Self::Lost(stack, message) => StateError::Lost { stack, message },
            Self::Refused(stack, message) => StateError::Refused { stack, message },
            Self::Changed { key, expected, found } => StateError::Changed { key, expected, found },
            Self::NameTaken { name, key } => StateError::NameTaken { name, key },
        }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        let (code, extended) = match &error {
            rusqlite::Error::SqliteFailure(failure, _) => (failure.code, failure.extended_code),
            // A column that is missing or of another type than the schema says.
            _ => return Self::Damaged(error.to_string()),
        };
        match code {
            ErrorCode::DiskFull => Self::Io(
                "the disk is full; nothing was written. Free some space and run the same command again".to_owned(),
            ),
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied => Self::Io(format!(
                "it cannot be written ({error}); nothing was changed. Make the folder and its files writable, or use \
                 another folder with `--state-dir`"
            )),
            ErrorCode::CannotOpen => Self::Io(format!(
                "{error}. See that the folder can be read and written and that the disk is not full"
            )),
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed => Self::Io(
                "another process keeps it locked; nothing was changed. Run the same command again once that \
                 process is done"
                    .to_owned(),
            ),
            // The statements are fixed, so a plain error means a table or column that is not there.
            ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            | ErrorCode::ConstraintViolation
            | ErrorCode::TypeMismatch
            | ErrorCode::Unknown => Self::Damaged(error.to_string()),
            ErrorCode::SystemIoFailure => Self::Io(format!(
                "the operating system refused a read or write ({error}, SQLite {extended}); nothing was \
                 acknowledged. See that the disk is sound, not full, and that no file-size limit (`ulimit -f`) is \
                 set; then run the same command again"
            )),
            _ => Self::Io(error.to_string()),
        }
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind;
        let next = match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                "; free some space and run the same command again"
            }
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                "; make the folder writable, or use another one with `--state-dir`"
            }
            _ => "",
        };
        Self::Io(format!("{error}{next}"))
    }
}
