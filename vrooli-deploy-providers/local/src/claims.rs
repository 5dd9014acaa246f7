//! Which workspace of this machine a port number belongs to, also before anybody listens on it and
//! while its app is stopped.
//!
//! A claim is a file named after the number that names the record which gave it: `port.json`, the
//! record of a server, the ports of a release. It stands as long as that record says so, and needs
//! no process: a kill at any point leaves a record that says so, or a claim for the next to take.
//! Between a claim and its record the claimant holds a lock, which ends with it.
//!
//! All users claim in one folder. Another's claim cannot be removed, and mostly not be checked: its
//! number is left alone as long as there are others. A claim is a courtesy among workspaces and
//! no protection: what keeps others out in the end is the kernel.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use serde_json::Value;

/// Folders that are every user's and outlive a restart, the first that is there; the File System
/// Hierarchy Standard 3.0, 5.15.
const SHARED: [&str; 2] = ["/var/tmp", "/tmp"];

/// A path is no longer (`PATH_MAX`), so neither is what a claim says.
const LONGEST: u64 = 4096;

/// How long a claim may seem held that is not: by a child between fork and exec.
const PASSING: Duration = Duration::from_millis(100);
const POLL: Duration = Duration::from_millis(5);

/// The claims of a machine.
#[derive(Debug, Clone)]
pub(crate) struct Claims {
    /// None where there is no folder that all can write: then only the kernel tells what is free.
    folder: Option<PathBuf>,
}

/// What came of a claim.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It is the record's that was named, once that says so.
    Ours(Claim),
    /// A record of another says so, or is about to.
    Anothers(Option<PathBuf>),
    /// Another user claimed it, and whether that still stands cannot be seen.
    Unclear,
}

/// A claim that is held until this is dropped; from then on the record has to say so.
#[derive(Debug)]
pub(crate) struct Claim {
    held: Option<(PathBuf, File)>,
}

impl Claim {
    /// A number that was taken without a claim.
    pub(crate) fn none() -> Self {
        Self { held: None }
    }

    /// The number was not taken after all.
    pub(crate) fn give_up(self) {
        if let Some((path, _held)) = self.held {
            // What stays is no claim, as no record says so.
            let _ = fs::remove_file(path);
        }
    }
}

impl Claims {
    /// Those of this machine.
    pub(crate) fn of_machine() -> Self {
        let shared = SHARED.iter().map(Path::new).find(|folder| folder.is_dir());
        Self { folder: shared.and_then(|shared| prepare(&shared.join("vrooli-deploy-ports"))) }
    }

    /// Claims a number for a record that is to say so, before it does. Claimed by the same record
    /// before is fine.
    pub(crate) fn claim(&self, port: u16, record: &Path) -> Answer {
        let Some(folder) = &self.folder else {
            return Answer::Ours(Claim::none());
        };
        let (path, record) = (folder.join(port.to_string()), resolved(record));
        // What the disk or another user keeps us from is no claim of ours.
        try_claim(&path, port, &record).unwrap_or(Answer::Unclear)
    }

    /// Takes back the claim of a record that is gone.
    pub(crate) fn release(&self, port: u16, record: &Path) {
        let Some(folder) = &self.folder else { return };
        let (path, record) = (folder.join(port.to_string()), resolved(record));
        if let Ok(Some(mut file)) = open(&path, false).and_then(|file| lock(&path, file))
            && read(&mut file).is_ok_and(|said| said == record)
        {
            Claim { held: Some((path, file)) }.give_up();
        }
    }
}

fn try_claim(path: &Path, port: u16, record: &Path) -> io::Result<Answer> {
    loop {
        let file = open(path, true)?;
        let Some(mut file) = lock(path, file)? else {
            if is_at(path, None)? {
                return Ok(Answer::Anothers(None));
            }
            // Whoever held it gave it up.
            continue;
        };
        let said = read(&mut file)?;
        if said != record && says(&said, port) {
            return Ok(Answer::Anothers(Some(said)));
        }
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(record.as_os_str().as_bytes())?;
        return Ok(Answer::Ours(Claim { held: Some((path.to_owned(), file)) }));
    }
}

/// The folder of claims, made if it is missing; none where it is not every user's.
fn prepare(folder: &Path) -> Option<PathBuf> {
    const OPEN: u32 = 0o1777;
    // Whatever the umask says; if somebody was faster this is theirs.
    if fs::DirBuilder::new().mode(OPEN).create(folder).is_ok() {
        fs::set_permissions(folder, fs::Permissions::from_mode(OPEN)).ok()?;
    }
    let meta = fs::symlink_metadata(folder).ok()?;
    (meta.is_dir() && meta.mode() & 0o7777 == OPEN).then(|| folder.to_owned())
}

/// Opens a claim to be changed. That of another user cannot be.
fn open(path: &Path, make: bool) -> io::Result<File> {
    let nofollow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o644).custom_flags(nofollow);
    match options.open(path) {
        Err(e) if make && e.kind() == io::ErrorKind::NotFound => {
            // Opened with a request to make it, a file of another user would be refused also to root.
            match options.create_new(true).open(path) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => options.create_new(false).open(path),
                other => other,
            }
        }
        other => other,
    }
}

/// Locks a claim; `None` when somebody holds it, or when it is not the one at its path any more.
fn lock(path: &Path, file: File) -> io::Result<Option<File>> {
    let until = Instant::now() + PASSING;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(is_at(path, Some(&file))?.then_some(file)),
            Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(POLL),
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(e)) => return Err(e),
        }
    }
}

/// Is there a claim at the path, and this one?
fn is_at(path: &Path, file: Option<&File>) -> io::Result<bool> {
    let there = match fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e),
    };
    match file {
        Some(file) => {
            let own = file.metadata()?;
            Ok((own.dev(), own.ino()) == (there.dev(), there.ino()))
        }
        None => Ok(true),
    }
}

/// The record that a claim names.
fn read(file: &mut File) -> io::Result<PathBuf> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(PathBuf::from(OsString::from_vec(bytes)))
}

/// Does a record say that it has the number? One that cannot be read may.
fn says(record: &Path, port: u16) -> bool {
    if !record.is_absolute() {
        // Killed before it was written.
        return false;
    }
    match fs::read(record) {
        Ok(text) => serde_json::from_slice::<Value>(&text).is_ok_and(|value| holds(&value, port)),
        Err(e) => !matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
    }
}

fn holds(value: &Value, port: u16) -> bool {
    match value {
        Value::Number(number) => number.as_u64() == Some(u64::from(port)),
        Value::Array(all) => all.iter().any(|value| holds(value, port)),
        Value::Object(all) => all.values().any(|value| holds(value, port)),
        _ => false,
    }
}

/// The path of a record as every process knows it, whether or not it is there yet.
fn resolved(record: &Path) -> PathBuf {
    let record = std::path::absolute(record).unwrap_or_else(|_| record.to_owned());
    for above in record.ancestors().skip(1) {
        if let (Ok(real), Ok(rest)) = (fs::canonicalize(above), record.strip_prefix(above)) {
            return real.join(rest);
        }
    }
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Rig {
        dir: tempfile::TempDir,
        claims: Claims,
    }

    impl Rig {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let folder = prepare(&dir.path().join("ports"));
            assert!(folder.is_some());
            Self { claims: Claims { folder }, dir }
        }

        fn record(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn write(&self, name: &str, port: u16) {
            fs::write(self.record(name), format!("{{\"made\": {{\"port\": {port}}}}}")).unwrap();
        }
    }

    fn is_ours(answer: &Answer) -> bool {
        matches!(answer, Answer::Ours(_))
    }

    #[test]
    fn a_number_belongs_to_the_record_that_says_so() {
        let rig = Rig::new();
        let (one, other) = (rig.record("one"), rig.record("other"));
        let claim = rig.claims.claim(20_000, &one);
        assert!(is_ours(&claim));
        // Before the record is written, too.
        assert!(matches!(rig.claims.claim(20_000, &other), Answer::Anothers(None)));
        rig.write("one", 20_000);
        drop(claim);
        let Answer::Anothers(Some(who)) = rig.claims.claim(20_000, &other) else {
            panic!("it was given twice")
        };
        assert_eq!(who, resolved(&one));
        assert!(is_ours(&rig.claims.claim(20_000, &one)));
        assert!(is_ours(&rig.claims.claim(20_001, &other)));
        // Given up by the record.
        rig.write("one", 20_002);
        assert!(is_ours(&rig.claims.claim(20_000, &other)));
    }

    #[test]
    fn what_a_killed_claimant_left_is_the_next_ones() {
        let rig = Rig::new();
        // Dropped is killed: the lock is gone, and no record was written.
        drop(rig.claims.claim(20_000, &rig.record("killed")));
        assert!(is_ours(&rig.claims.claim(20_000, &rig.record("next"))));
        // Killed before a byte was in it.
        File::create(rig.dir.path().join("ports/20001")).unwrap();
        assert!(is_ours(&rig.claims.claim(20_001, &rig.record("next"))));
    }

    #[test]
    fn what_was_given_up_leaves_nothing() {
        let rig = Rig::new();
        let left = || fs::read_dir(rig.dir.path().join("ports")).unwrap().count();
        let Answer::Ours(claim) = rig.claims.claim(20_000, &rig.record("one")) else { panic!("refused") };
        assert_eq!(left(), 1);
        claim.give_up();
        assert_eq!(left(), 0);
        drop(rig.claims.claim(20_000, &rig.record("one")));
        rig.claims.release(20_000, &rig.record("other"));
        assert_eq!(left(), 1);
        rig.claims.release(20_000, &rig.record("one"));
        assert_eq!(left(), 0);
        rig.claims.release(20_000, &rig.record("one"));
    }

    #[test]
    fn a_link_is_not_followed() {
        let rig = Rig::new();
        let victim = rig.record("victim");
        fs::write(&victim, "untouched").unwrap();
        std::os::unix::fs::symlink(&victim, rig.dir.path().join("ports/20000")).unwrap();
        assert!(matches!(rig.claims.claim(20_000, &rig.record("one")), Answer::Unclear));
        assert_eq!(fs::read_to_string(victim).unwrap(), "untouched");
    }

    #[test]
    fn a_folder_that_is_not_every_users_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let private = dir.path().join("private");
        fs::DirBuilder::new().mode(0o700).create(&private).unwrap();
        assert!(prepare(&private).is_none());
        std::os::unix::fs::symlink(dir.path(), dir.path().join("link")).unwrap();
        assert!(prepare(&dir.path().join("link")).is_none());
    }

    #[test]
    fn many_at_once_never_have_the_same() {
        let rig = Rig::new();
        let claims: Vec<Answer> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..16)
                .map(|n| {
                    let (claims, record) = (&rig.claims, rig.record(&n.to_string()));
                    scope.spawn(move || claims.claim(20_000, &record))
                })
                .collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert_eq!(claims.iter().filter(|answer| is_ours(answer)).count(), 1);
    }
}
