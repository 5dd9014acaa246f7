//! The store on the disk, and a delivery that is under way in it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::input::{Input, is_digest};
use super::{CUT, Failure, HELD, Result, at};
use crate::blocks::{BLOCK, fill, hash_of};
use crate::remote::{READY, TAKEN};
use crate::store::stored_file::hex;

/// How long another delivery is waited for.
const PATIENCE: Duration = Duration::from_secs(300);
/// How often it is looked whether it is over.
const LOOK: Duration = Duration::from_millis(10);
/// After so many bytes it is said how many have been taken.
const TELL: u64 = 128 * 1024;

/// The store, for one delivery.
pub(super) struct Store<'a> {
    pub(super) base: PathBuf,
    folder: PathBuf,
    lock: File,
    phase: TempDir,
    /// Locked as long as this lives.
    _alive: File,
    to: RefCell<&'a mut dyn Write>,
}

impl<'a> Store<'a> {
    /// Waits until nobody else gives or takes away names, and begins.
    pub(super) fn open(base: &Path, to: &'a mut dyn Write) -> Result<Self> {
        passage(base)?;
        let folder = base.join("store");
        for needed in [folder.join("pieces"), folder.join("refs")] {
            DirBuilder::new().recursive(true).mode(0o700).create(&needed).map_err(at(&needed))?;
        }
        let file = folder.join("lock");
        let lock = File::options().create(true).append(true).open(&file).map_err(at(&file))?;
        acquire(&lock)?;
        let phase = tempfile::Builder::new().prefix("phase-").rand_bytes(6).tempdir_in(&folder);
        let phase = phase.map_err(at(&folder))?;
        let alive = File::create(phase.path().join("lock")).map_err(at(phase.path()))?;
        alive.lock()?;
        fs::create_dir(phase.path().join("pieces")).map_err(at(phase.path()))?;
        Ok(Self { base: base.to_owned(), folder, lock, phase, _alive: alive, to: RefCell::new(to) })
    }

    /// A line for who sends.
    pub(super) fn say(&self, name: &str, value: impl Display) -> Result<()> {
        Ok(writeln!(self.to.borrow_mut(), "{name}\t{value}")?)
    }

    /// From then on pieces are sent.
    pub(super) fn ask_for_pieces(&self) -> Result<()> {
        let mut to = self.to.borrow_mut();
        writeln!(to, "{TAKEN}0\n{READY}")?;
        Ok(to.flush()?)
    }

    /// Lets others give and take away names.
    pub(super) fn let_go(&self) -> Result<()> {
        Ok(self.lock.unlock()?)
    }

    /// A path that is this delivery's own, and gone with it.
    pub(super) fn own(&self, name: &str) -> PathBuf {
        self.phase.path().join(name)
    }

    pub(super) fn pieces(&self) -> PathBuf {
        self.folder.join("pieces")
    }

    pub(super) fn piece(&self, name: &str) -> PathBuf {
        self.folder.join("pieces").join(name)
    }

    /// What there is of each app.
    pub(super) fn all_refs(&self) -> PathBuf {
        self.folder.join("refs")
    }

    pub(super) fn refs(&self, input: &Input) -> PathBuf {
        self.all_refs().join(input.stack.app.as_str()).join(input.stack.environment.as_str())
    }

    pub(super) fn releases(&self, input: &Input) -> PathBuf {
        let apps = self.base.join("workspace/apps");
        apps.join(input.stack.app.as_str()).join(input.stack.environment.as_str()).join("releases")
    }

    /// What is wanted and is not there, each once, by name.
    pub(super) fn missing<'i>(&self, input: &'i Input) -> Result<BTreeSet<&'i str>> {
        let mut missing: BTreeSet<&str> = input.pieces.iter().map(|(name, _)| name.as_str()).collect();
        for entry in fs::read_dir(self.pieces()).map_err(at(&self.pieces()))? {
            let entry = entry?;
            if let Some(name) = entry.file_name().to_str()
                && entry.file_type()?.is_file()
            {
                missing.remove(name);
            }
        }
        Ok(missing)
    }

    /// Takes pieces as they arrive. One that has arrived whole gets its name at once; one that is not
    /// what it is called does not.
    ///
    /// No lock is needed for that: what they are needed for was written down before. Says what has arrived.
    pub(super) fn take(&self, from: &mut dyn Read) -> Result<BTreeSet<String>> {
        let mut arrived = BTreeSet::new();
        let cut = |error: io::Error| Failure::new(CUT, error);
        let arriving = self.own("pieces").join("arriving");
        let mut archive = tar::Archive::new(Telling { from, store: self, taken: 0, told: 0 });
        let mut block = vec![0; BLOCK];
        for entry in archive.entries().map_err(cut)? {
            let mut entry = entry.map_err(cut)?;
            let name = entry.path().map_err(cut)?.to_string_lossy().into_owned();
            if !is_digest(&name) || !entry.header().entry_type().is_file() {
                continue;
            }
            let mut file = File::create(&arriving).map_err(at(&arriving))?;
            let mut hash = Sha256::new();
            loop {
                let read = fill(&mut entry, &mut block).map_err(cut)?;
                let Some(read) = block.get(..read).filter(|read| !read.is_empty()) else { break };
                hash.update(read);
                file.write_all(read).map_err(at(&arriving))?;
            }
            if hex(&hash.finalize()) == name {
                self.adopt(&arriving, &name)?;
                arrived.insert(name);
            }
        }
        Ok(arrived)
    }

    fn adopt(&self, arrived: &Path, name: &str) -> Result<()> {
        let piece = self.piece(name);
        // A folder or a link that bears the name would be in the way.
        if fs::symlink_metadata(&piece).is_ok_and(|there| !there.is_file()) {
            remove(&piece)?;
        }
        fs::rename(arrived, &piece).map_err(at(&piece))
    }

    /// Keeps what has arrived whole of deliveries that were killed, and removes the rest.
    pub(super) fn tidy(&self) -> Result<()> {
        for entry in fs::read_dir(&self.folder).map_err(at(&self.folder))? {
            let left = entry?.path();
            let is_one = left.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"phase-"));
            if !is_one || left == self.phase.path() {
                continue;
            }
            if let Ok(lock) = File::open(left.join("lock"))
                && lock.try_lock().is_err()
            {
                continue;
            }
            for entry in fs::read_dir(left.join("pieces")).into_iter().flatten().flatten() {
                let path = entry.path();
                if let Some(name) = entry.file_name().to_str()
                    && is_digest(name)
                    && entry.file_type().is_ok_and(|kind| kind.is_file())
                    && is_whole(&path, name)
                {
                    self.adopt(&path, name)?;
                }
            }
            remove(&left)?;
        }
        Ok(())
    }
}

/// What is read, said to who sends it: they send no more until they hear.
struct Telling<'a, 'b> {
    from: &'a mut dyn Read,
    store: &'a Store<'b>,
    taken: u64,
    told: u64,
}

impl Read for Telling<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(into)?;
        self.taken += read as u64;
        if self.taken - self.told >= TELL {
            self.told = self.taken;
            let mut to = self.store.to.borrow_mut();
            // Whoever does not hear any more sends no more: that is seen in what is read.
            let _ = writeln!(to, "{TAKEN}{}", self.taken).and_then(|()| to.flush());
        }
        Ok(read)
    }
}

fn acquire(lock: &File) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(LOOK),
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::new(HELD, "another deployment does not let go of the store"));
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
    }
}

/// Is it what it is called?
pub(super) fn is_whole(path: &Path, name: &str) -> bool {
    File::open(path).and_then(|mut file| hash_of(&mut file)).is_ok_and(|(hash, _)| hex(&hash) == name)
}

/// A folder that others may pass through, but not look into. One that is there is as somebody wants it.
pub(super) fn passage(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o711).create(folder).map_err(at(folder))?;
    // Whatever the mask of who called.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o711)).map_err(at(folder))
}

/// Removes it, whatever it is; nothing there is as good.
pub(super) fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(there) if there.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

/// Does anything run from a folder?
pub(super) fn is_in_use(folder: &Path) -> bool {
    let runs_there = |process: &Path, link: &str| {
        fs::read_link(process.join(link)).is_ok_and(|target| target != folder && target.starts_with(folder))
    };
    fs::read_dir("/proc").into_iter().flatten().flatten().any(|entry| {
        entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit)
            && ["cwd", "exe"].iter().any(|link| runs_there(&entry.path(), link))
    })
}
