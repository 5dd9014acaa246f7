//! Logs that an app keeps open while they are rotated.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::config::LogConfig;

/// Opens a log for appending (0600). Its folder must be there.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Rotates a log that has become too long: `.2` becomes `.3`, `.1` becomes `.2`, the log is
/// copied to `.1` and cut. Returns whether it did.
pub(crate) fn rotate(path: &Path, config: LogConfig) -> io::Result<bool> {
    if fs::metadata(path)?.len() <= config.max_bytes {
        return Ok(false);
    }
    for number in (1..config.keep).rev() {
        super::files::absent_ok(fs::rename(part(path, number), part(path, number + 1)))?;
    }
    let mut log = OpenOptions::new().read(true).write(true).open(path)?;
    if config.keep > 0 {
        let mut copy =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(part(path, 1))?;
        // Until the end is reached: what the app writes meanwhile is copied too.
        while io::copy(&mut log, &mut copy)? > 0 {}
    }
    log.set_len(0)?;
    Ok(true)
}

/// An older part of a log, counted from 1.
pub(crate) fn part(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_log_that_is_kept_open_goes_on_from_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.0.log");
        let config = LogConfig { max_bytes: 10, keep: 2 };
        let mut log = open(&path).unwrap();
        for round in ["first of all\n", "the second one\n", "then the third\n"] {
            log.write_all(round.as_bytes()).unwrap();
            assert!(rotate(&path, config).unwrap());
        }
        log.write_all(b"now\n").unwrap();
        assert!(!rotate(&path, config).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "now\n");
        assert_eq!(fs::read_to_string(part(&path, 1)).unwrap(), "then the third\n");
        assert_eq!(fs::read_to_string(part(&path, 2)).unwrap(), "the second one\n");
        assert!(!part(&path, 3).exists());
    }
}
