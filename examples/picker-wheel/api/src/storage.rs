//! Wheels and spins in one JSON file.
//!
//! The old and the new release of an app serve side by side for a while and share this
//! file. So nothing is kept in memory: each change locks, reads, changes, and puts a whole
//! new file in place of the old one. A reader sees one or the other, also after a crash.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::timestamp;
use crate::wheel::{self, Spin, Wheel};

/// Spins that are kept; older ones go.
const HISTORY: usize = 500;

/// Everything that is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stored {
    pub wheels: Vec<Wheel>,
    /// Newest first.
    pub history: Vec<Spin>,
}

/// The folder in which `wheels.json` lies.
#[derive(Debug, Clone)]
pub struct Storage {
    folder: PathBuf,
}

impl Storage {
    /// Makes the folder if need be, and the first wheels if there are none.
    pub fn open(folder: impl Into<PathBuf>) -> io::Result<Self> {
        let storage = Self {
            folder: folder.into(),
        };
        fs::create_dir_all(&storage.folder)?;
        let _lock = storage.lock()?;
        if !storage.file().exists() {
            storage.replace(&Stored {
                wheels: wheel::starters(&timestamp()),
                history: Vec::new(),
            })?;
        }
        Ok(storage)
    }

    /// Reads everything.
    pub fn read(&self) -> io::Result<Stored> {
        let text = fs::read(self.file())?;
        serde_json::from_slice(&text).map_err(|error| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} is damaged: {error}", self.file().display()),
            )
        })
    }

    /// Changes what is stored; it is on the disk when this returns.
    pub fn change<T>(&self, change: impl FnOnce(&mut Stored) -> T) -> io::Result<T> {
        let _lock = self.lock()?;
        let mut stored = self.read()?;
        let answer = change(&mut stored);
        stored.history.truncate(HISTORY);
        self.replace(&stored)?;
        Ok(answer)
    }

    /// Proves that wheels can be read and that the folder takes a write.
    pub fn probe(&self) -> io::Result<()> {
        self.read()?;
        let path = self.folder.join(format!(".probe-{}", std::process::id()));
        let written = File::create(&path).and_then(|mut file| file.write_all(b"ok"));
        let removed = fs::remove_file(&path);
        written.and(removed)
    }

    fn file(&self) -> PathBuf {
        self.folder.join("wheels.json")
    }

    /// One writer at a time, over all processes; the system lets go if the process dies.
    fn lock(&self) -> io::Result<File> {
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.folder.join("wheels.lock"))?;
        lock.lock()?;
        Ok(lock)
    }

    fn replace(&self, stored: &Stored) -> io::Result<()> {
        let fresh = self.folder.join("wheels.json.new");
        let mut file = File::create(&fresh)?;
        file.write_all(&serde_json::to_vec_pretty(stored)?)?;
        file.sync_all()?;
        fs::rename(&fresh, self.file())?;
        sync_folder(&self.folder)
    }
}

/// A rename is durable only once its folder is.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_with_wheels_and_keeps_changes() {
        let folder = tempfile::tempdir().expect("a folder");
        let storage = Storage::open(folder.path().join("data")).expect("opens");
        let before = storage.read().expect("reads").wheels.len();
        assert!(before > 0);
        storage
            .change(|stored| stored.wheels.pop())
            .expect("changes");

        let again = Storage::open(folder.path().join("data")).expect("opens again");
        assert_eq!(again.read().expect("reads").wheels.len(), before - 1);
    }

    #[test]
    fn writers_do_not_lose_each_others_changes() {
        let folder = tempfile::tempdir().expect("a folder");
        let storage = Storage::open(folder.path()).expect("opens");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let own = Storage::open(folder.path()).expect("opens");
                    for _ in 0..10 {
                        own.change(|stored| stored.wheels[0].spins += 1)
                            .expect("changes");
                    }
                });
            }
        });
        assert_eq!(storage.read().expect("reads").wheels[0].spins, 40);
    }

    #[test]
    fn a_damaged_file_is_said_and_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let storage = Storage::open(folder.path()).expect("opens");
        fs::write(folder.path().join("wheels.json"), "{").expect("writes");
        assert!(
            storage
                .probe()
                .expect_err("is damaged")
                .to_string()
                .contains("is damaged")
        );
        assert!(storage.change(|_| ()).is_err());
        assert_eq!(
            fs::read(folder.path().join("wheels.json")).expect("reads"),
            b"{"
        );
    }

    #[test]
    fn history_has_an_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let storage = Storage::open(folder.path()).expect("opens");
        let spin = |index| Spin {
            result: "Yes".into(),
            index,
            wheel_id: "yes-or-no".into(),
            session_id: String::new(),
            timestamp: timestamp(),
        };
        storage
            .change(|stored| {
                (0..HISTORY + 7).for_each(|index| stored.history.insert(0, spin(index)))
            })
            .expect("changes");
        let history = storage.read().expect("reads").history;
        assert_eq!(history.len(), HISTORY);
        assert_eq!(history[0].index, HISTORY + 6, "the newest stays");
    }
}
