//! Hashes of files, remembered as long as the file system says that they were not
//! written: so that an unchanged tree costs a look at each file and not its content.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest as _, Sha256};

use super::select::Stamp;
use crate::files;

/// The hash of a file's content.
pub(super) type Hash = [u8; 32];

/// A file that was written this recently may be written again without its times showing
/// it, so its hash is not remembered. The rule that git has for its index.
const RACY: i128 = 2_000_000_000;

const HEADER: &str = "vrooli-deploy hashes 1";

/// A memory of hashes in one file.
#[derive(Debug)]
pub(super) struct Hashes {
    file: PathBuf,
    known: HashMap<PathBuf, (Stamp, Hash)>,
    /// What was asked for this time; the rest is forgotten.
    used: HashMap<PathBuf, (Stamp, Hash)>,
    changed: bool,
}

impl Hashes {
    /// Reads the memory; one that is absent or damaged is empty.
    pub(super) fn read(file: PathBuf) -> Self {
        let known = std::fs::read_to_string(&file).ok().and_then(|text| parse(&text)).unwrap_or_default();
        Self { file, known, used: HashMap::new(), changed: false }
    }

    /// The hash of a file's content, from memory if its stamp is the same.
    pub(super) fn of(&mut self, base: &Path, relative: &Path, stamp: Stamp) -> io::Result<Hash> {
        if let Some((known, hash)) = self.known.get(relative)
            && *known == stamp
        {
            let hash = *hash;
            self.used.insert(relative.to_path_buf(), (stamp, hash));
            return Ok(hash);
        }
        let now = now();
        let hash = of_file(&base.join(relative))?;
        // Times in the future say nothing either.
        if now - stamp.modified.max(stamp.changed) >= RACY {
            self.used.insert(relative.to_path_buf(), (stamp, hash));
        }
        self.changed = true;
        Ok(hash)
    }

    /// Writes the memory if it changed. It is only a memory: a failure is no failure.
    pub(super) fn write(self) {
        if !self.changed && self.used.len() == self.known.len() {
            return;
        }
        let mut body = String::new();
        for (path, (stamp, hash)) in &self.used {
            let Some(path) = path.to_str().filter(|path| !path.contains('\n')) else {
                continue;
            };
            let Stamp { size, modified, changed, inode } = stamp;
            // Writing to a String cannot fail.
            let _ = writeln!(body, "{} {size} {modified} {changed} {inode} {path}", hexadecimal(hash));
        }
        let sum = hexadecimal(&Sha256::digest(body.as_bytes()).into());
        let Some(folder) = self.file.parent() else {
            return;
        };
        if let Err(error) = files::make_private(folder)
            .and_then(|()| files::write_memory(&self.file, format!("{HEADER}\n{sum}\n{body}").as_bytes()))
        {
            tracing::debug!(%error, "hashes are not remembered");
        }
    }
}

fn parse(text: &str) -> Option<HashMap<PathBuf, (Stamp, Hash)>> {
    let rest = text.strip_prefix(HEADER)?.strip_prefix('\n')?;
    let (sum, body) = rest.split_once('\n')?;
    if hexadecimal(&Sha256::digest(body.as_bytes()).into()) != sum {
        return None;
    }
    body.lines()
        .map(|line| {
            let mut fields = line.splitn(6, ' ');
            let hash = unhexadecimal(fields.next()?)?;
            let stamp = Stamp {
                size: fields.next()?.parse().ok()?,
                modified: fields.next()?.parse().ok()?,
                changed: fields.next()?.parse().ok()?,
                inode: fields.next()?.parse().ok()?,
            };
            Some((PathBuf::from(fields.next()?), (stamp, hash)))
        })
        .collect()
}

/// The hash of a file's content, read now.
pub(super) fn of_file(path: &Path) -> io::Result<Hash> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finalize().into()),
            Ok(length) => hasher.update(buffer.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

pub(super) fn hexadecimal(hash: &Hash) -> String {
    hash.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(super) fn unhexadecimal(text: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    Some(hash)
}

fn now() -> i128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| i128::try_from(since.as_nanos()).unwrap_or(i128::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn stamp(path: &Path) -> Stamp {
        Stamp::of(&fs::metadata(path).unwrap())
    }

    #[test]
    fn what_was_just_written_is_not_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let (file, memory) = (folder.path().join("a"), folder.path().join("memory"));
        fs::write(&file, "one").unwrap();
        let mut hashes = Hashes::read(memory.clone());
        hashes.of(folder.path(), Path::new("a"), stamp(&file)).unwrap();
        hashes.write();
        assert!(Hashes::read(memory).known.is_empty());
    }

    #[test]
    fn a_remembered_hash_is_used_and_a_damaged_memory_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (file, memory) = (folder.path().join("a"), folder.path().join("memory"));
        fs::write(&file, "one").unwrap();
        // A stamp of long ago stands for a file that rested.
        let old = Stamp { modified: 1, changed: 1, ..stamp(&file) };
        let mut hashes = Hashes::read(memory.clone());
        let hash = hashes.of(folder.path(), Path::new("a"), old).unwrap();
        hashes.write();
        fs::write(&file, "two").unwrap();
        let mut hashes = Hashes::read(memory.clone());
        assert_eq!(hashes.of(folder.path(), Path::new("a"), old).unwrap(), hash);
        assert_ne!(hashes.of(folder.path(), Path::new("a"), Stamp { modified: 2, ..old }).unwrap(), hash);

        let mut text = fs::read_to_string(&memory).unwrap();
        text = text.replace(&hexadecimal(&hash)[..4], "0000");
        fs::write(&memory, text).unwrap();
        assert!(Hashes::read(memory).known.is_empty());
    }

    #[test]
    fn hexadecimal_round_trips() {
        let hash: Hash = Sha256::digest(b"x").into();
        assert_eq!(unhexadecimal(&hexadecimal(&hash)), Some(hash));
        assert_eq!(unhexadecimal("zz"), None);
    }
}
