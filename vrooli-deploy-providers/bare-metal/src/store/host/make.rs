//! Makes of pieces what is wanted: whole or not at all.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest as _, Sha256};
use vrooli_deploy_core::names::ReleaseNumber;

use super::input::{Input, Kind};
use super::look::{account, has_image};
use super::phase::{Store, is_in_use, is_whole, passage, remove};
use super::unpack::unpack;
use super::{Failure, IN_USE, NO_ACCOUNT, NO_DOCKER, OTHER, Result, TWO_DISKS, at};
use crate::store::AccountName;
use crate::store::stored_file::hex;

/// So many files are brought to the disk by themselves, so that what others write there is not waited
/// for; more of them with all that the disk has to write, where the system can do that.
#[cfg(target_os = "linux")]
const SINGLY: usize = 200;
/// So many at a time: the disk takes them together.
const TOGETHER: usize = 16;

/// All of an artefact, put together, as a stream. A piece is held against its name while it is read, but
/// for those that were when they arrived.
pub(super) struct Whole<'a> {
    pieces: PathBuf,
    left: std::slice::Iter<'a, (String, u64)>,
    arrived: &'a BTreeSet<String>,
    current: Option<Current<'a>>,
}

struct Current<'a> {
    file: File,
    name: &'a str,
    left: u64,
    hash: Option<Sha256>,
}

impl<'a> Whole<'a> {
    pub(super) fn of(store: &Store<'_>, input: &'a Input, arrived: &'a BTreeSet<String>) -> Self {
        Self { pieces: store.pieces(), left: input.pieces.iter(), arrived, current: None }
    }
}

impl Read for Whole<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while !into.is_empty() {
            if let Some(current) = &mut self.current {
                let read = current.file.read(into)?;
                if read > 0 {
                    current.left =
                        current.left.checked_sub(read as u64).ok_or_else(|| spoilt(current.name))?;
                    if let Some(hash) = &mut current.hash {
                        hash.update(into.get(..read).unwrap_or_default());
                    }
                    return Ok(read);
                }
            }
            if let Some(Current { name, left, hash, .. }) = self.current.take()
                && (left > 0 || hash.is_some_and(|hash| hex(&hash.finalize()) != name))
            {
                return Err(spoilt(name));
            }
            let Some((name, length)) = self.left.next() else { break };
            let file = File::open(self.pieces.join(name))?;
            let hash = (!self.arrived.contains(name)).then(Sha256::new);
            self.current = Some(Current { file, name, left: *length, hash });
        }
        Ok(0)
    }
}

fn spoilt(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the piece {name} is not what it is called"))
}

/// What came of putting it together.
enum Made {
    Whole,
    /// Something that it is made of is not there, or not what it is called: that was said.
    Missing,
}

/// Makes of all pieces what is wanted, or says what is missing.
/// `arrived`: what came just now.
pub(super) fn make(store: &Store<'_>, input: &Input, arrived: &BTreeSet<String>) -> Result<()> {
    let missing = store.missing(input)?;
    if !missing.is_empty() {
        // Something did not arrive as it was sent, or somebody took it away meanwhile.
        return missing.iter().try_for_each(|piece| store.say("missing", piece));
    }
    let made = match &input.kind {
        Kind::Tree { release, record, owner } => {
            tree(store, input, arrived, *release, record, owner.as_ref())
        }
        Kind::Image(id) => image(store, input, arrived, id.as_str()),
    }?;
    match made {
        Made::Whole => store.say("done", "yes"),
        Made::Missing => Ok(()),
    }
}

/// Gives all of it to somebody, and looks whether it was right.
fn whole<'a>(
    store: &Store<'_>,
    input: &'a Input,
    arrived: &'a BTreeSet<String>,
    takes: impl FnOnce(&mut Whole<'a>) -> io::Result<()>,
) -> Result<Made> {
    let mut all = Whole::of(store, input, arrived);
    let taken = takes(&mut all);
    let Err(error) = taken.and_then(|()| io::copy(&mut all, &mut io::sink())) else {
        return Ok(Made::Whole);
    };
    let mut seen = BTreeSet::new();
    let mut found = false;
    for (name, _) in &input.pieces {
        if seen.insert(name) && !is_whole(&store.piece(name), name) {
            found = true;
            remove(&store.piece(name))?;
            store.say("corrupt", name)?;
            store.say("missing", name)?;
        }
    }
    if found { Ok(Made::Missing) } else { Err(error.into()) }
}

fn tree(
    store: &Store<'_>,
    input: &Input,
    arrived: &BTreeSet<String>,
    number: ReleaseNumber,
    record: &[u8],
    owner: Option<&AccountName>,
) -> Result<Made> {
    let releases = store.releases(input);
    let folder = releases.join(number.to_string());
    let passages: Vec<&Path> = releases.ancestors().take_while(|path| *path != store.base).collect();
    passages.into_iter().rev().try_for_each(passage)?;
    let device = |path: &Path| fs::metadata(path).map(|there| there.dev()).map_err(at(path));
    let release = store.own("release");
    let root = release.join("root");
    fs::create_dir_all(&root).map_err(at(&root))?;
    if device(&release)? != device(&releases)? {
        let words =
            format!("{} and {} are not on one file system", store.pieces().display(), releases.display());
        return Err(Failure::new(TWO_DISKS, words));
    }
    let made = whole(store, input, arrived, |all| unpack(&mut tar::Archive::new(all), &root))?;
    if matches!(made, Made::Missing) {
        return Ok(made);
    }
    mode(&root, 0o750)?;
    let mut entries = Vec::new();
    for entry in walkdir::WalkDir::new(&root) {
        entries.push(entry.map_err(|error| at(&root)(error.into()))?);
    }
    if let Some(owner) = owner {
        let (user, group) = account(owner.as_str()).ok_or_else(|| Failure::new(NO_ACCOUNT, owner))?;
        for entry in &entries {
            lchown(entry.path(), Some(user), Some(group)).map_err(at(entry.path()))?;
        }
    }
    for (name, text) in
        [("release.json", record), ("artefact", format!("{} {}\n", input.name, input.digest).as_bytes())]
    {
        let file = release.join(name);
        fs::write(&file, text).map_err(at(&file))?;
        mode(&file, 0o600)?;
    }
    mode(&release, 0o711)?;
    let mut written: Vec<PathBuf> = entries
        .into_iter()
        .filter(|entry| entry.file_type().is_file() || entry.file_type().is_dir())
        .map(walkdir::DirEntry::into_path)
        .collect();
    written.extend([release.join("release.json"), release.join("artefact"), release.clone()]);
    // On the disk before it has its name, or a power cut would leave a half one of that name.
    sync(&written)?;
    if fs::symlink_metadata(&folder).is_ok() {
        if is_in_use(&folder) {
            return Err(Failure::new(IN_USE, folder.display()));
        }
        fs::rename(&folder, store.own("replaced")).map_err(at(&folder))?;
    }
    fs::rename(&release, &folder).map_err(at(&folder))?;
    File::open(&releases).and_then(|releases| releases.sync_all()).map_err(at(&releases))?;
    Ok(made)
}

fn mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(at(path))
}

/// Brings files and folders to the disk.
fn sync(written: &[PathBuf]) -> Result<()> {
    #[cfg(target_os = "linux")]
    if written.len() >= SINGLY
        && let Some(one) = written.last()
    {
        let one_of_them = File::open(one).map_err(at(one))?;
        return rustix::fs::syncfs(&one_of_them).map_err(|error| at(one)(error.into()));
    }
    let share = written.len().div_ceil(TOGETHER).max(1);
    let one = |path: &PathBuf| File::open(path).and_then(|file| file.sync_all()).map_err(at(path));
    std::thread::scope(|scope| {
        let all: Vec<_> =
            written.chunks(share).map(|some| scope.spawn(move || some.iter().try_for_each(one))).collect();
        all.into_iter().try_for_each(|some| {
            some.join().unwrap_or_else(|_| Err(Failure::new(1, "a thread that wrote to the disk ended")))
        })
    })
}

/// What an image is called here as long as something of ours needs it.
pub(super) fn image_name(id: &str) -> String {
    format!("vrooli-deploy/image:{}", id.trim_start_matches("sha256:"))
}

fn image(store: &Store<'_>, input: &Input, arrived: &BTreeSet<String>, id: &str) -> Result<Made> {
    let no_docker = |error: io::Error| Failure::new(NO_DOCKER, error);
    let mut command = Command::new("docker");
    command.args(["load", "-q"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut loads = command.spawn().map_err(no_docker)?;
    let into = loads.stdin.take();
    let made = whole(store, input, arrived, |all| match into {
        Some(mut into) => match io::copy(all, &mut into) {
            // It says itself why it does not read.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            copied => copied.map(drop),
        },
        None => Ok(()),
    });
    let said = loads.wait_with_output().map_err(no_docker)?;
    let made = made?;
    if matches!(made, Made::Whole) {
        if !said.status.success() {
            return Err(Failure::new(1, String::from_utf8_lossy(&said.stderr).trim()));
        }
        if !has_image(id) {
            return Err(Failure::new(OTHER, format_args!("the archive holds another image than {id}")));
        }
        // An image without a name goes with the next `docker image prune`.
        let mut named = Command::new("docker");
        named.args(["image", "tag", "--", id, &image_name(id)]).stdin(Stdio::null());
        let said = named.output().map_err(no_docker)?;
        if !said.status.success() {
            return Err(Failure::new(1, String::from_utf8_lossy(&said.stderr).trim()));
        }
    }
    Ok(made)
}
