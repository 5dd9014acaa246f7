//! A state that cannot be used any more makes room for a new one.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::fault::Fault;
use super::lock::LockFile;

/// What belongs to a state. The locks go last: until then nobody can begin anything.
const PARTS: [&str; 4] = ["state.db", "state.db-wal", "state.db-shm", "locks"];

pub(super) fn set_aside(dir: &Path) -> Result<Option<PathBuf>, Fault> {
    if !PARTS.iter().any(|part| dir.join(part).exists()) {
        return Ok(None);
    }
    let _held = hold_all(&dir.join("locks"))?;
    let aside = (1_u32..)
        .map(|number| dir.join(format!("lost-{number}")))
        .find(|path| !path.exists())
        .ok_or_else(|| Fault::Io("there is no name left for what is set aside".to_owned()))?;
    DirBuilder::new().mode(0o700).create(&aside)?;
    for part in PARTS {
        match std::fs::rename(dir.join(part), aside.join(part)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(Some(aside))
}

/// Nobody else changes anything as long as these live.
fn hold_all(locks: &Path) -> Result<Vec<LockFile>, Fault> {
    let entries = match std::fs::read_dir(locks) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut held = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let lock = LockFile::acquire(&path, Duration::from_millis(100))?;
        held.push(lock.ok_or_else(|| {
            let stack = path.file_stem().unwrap_or_default().to_string_lossy().replace('~', "/");
            Fault::Io(format!("`{stack}` is being changed; wait until that is done"))
        })?);
    }
    Ok(held)
}
