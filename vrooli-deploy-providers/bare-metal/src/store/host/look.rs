//! What is missing of an artefact, and is there room for it? Takes away first what nobody needs.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::input::{Input, Kind};
use super::make::Whole;
use super::phase::{Store, is_in_use, is_whole, remove};
use super::{Failure, NO_ACCOUNT, NO_DOCKER, Result, at, prune};

/// Looks. No: all of it is there, or there is no room; that was said. `thoroughly`: what is there is held
/// against its name; else that is left to who puts it together.
pub(super) fn goes_on(store: &Store<'_>, input: &Input, thoroughly: bool) -> Result<bool> {
    store.tidy()?;
    let docker = match &input.kind {
        Kind::Image(_) => Some(docker_folder()?),
        Kind::Tree { owner: Some(owner), .. } if account(owner.as_str()).is_none() => {
            return Err(Failure::new(NO_ACCOUNT, owner));
        }
        Kind::Tree { .. } => None,
    };
    nothing_else(store)?;
    if thoroughly {
        let missing = store.missing(input)?;
        let mut seen = missing.clone();
        for (name, _) in &input.pieces {
            if seen.insert(name) && !is_whole(&store.piece(name), name) {
                remove(&store.piece(name))?;
                store.say("corrupt", name)?;
            }
        }
    }
    let fresh = write_down(store, input)?;
    prune::prune(store, input, input.keep)?;
    let missing = store.missing(input)?;
    if missing.is_empty() && is_there(store, input)? {
        store.say("there", "yes")?;
        return Ok(false);
    }
    let mut left = missing;
    let sent: u64 =
        input.pieces.iter().filter(|(name, _)| left.remove(name.as_str())).map(|(_, length)| length).sum();
    let mut room = Room::of(store, input, sent, docker.as_deref())?;
    if !room.is_enough() {
        // What could be kept is not kept at the price of what is wanted.
        prune::prune(store, input, 0)?;
        room = Room::of(store, input, sent, docker.as_deref())?;
    }
    if room.is_enough() {
        return Ok(true);
    }
    if fresh {
        // It never came here: nothing is to make way for it next time.
        remove(&store.refs(input).join(&input.name))?;
    }
    store.say("needed_kib", room.needed)?;
    store.say("free_kib", room.free)?;
    Ok(false)
}

/// Nothing is believed for its name: a folder or a link that is called like a piece goes.
fn nothing_else(store: &Store<'_>) -> Result<()> {
    for entry in fs::read_dir(store.pieces()).map_err(at(&store.pieces()))? {
        let entry = entry?;
        if !entry.file_type()?.is_file() {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// From then on it is needed: nobody else takes its pieces away. Was it new?
fn write_down(store: &Store<'_>, input: &Input) -> Result<bool> {
    let refs = store.refs(input);
    fs::create_dir_all(&refs).map_err(at(&refs))?;
    let mut text = format!("name {}\n", input.name);
    for (name, length) in &input.pieces {
        text.push_str(&format!("piece {name} {length}\n"));
    }
    if let Kind::Image(id) = &input.kind {
        text.push_str(&format!("image {}\n", id.as_str()));
    }
    let (written, place) = (store.own("ref"), refs.join(&input.name));
    let fresh = !place.exists();
    fs::write(&written, text).and_then(|()| fs::rename(&written, &place)).map_err(at(&place))?;
    Ok(fresh)
}

/// Is all of it there already, as it should be?
fn is_there(store: &Store<'_>, input: &Input) -> Result<bool> {
    let (release, record) = match &input.kind {
        Kind::Image(id) => return Ok(has_image(id.as_str())),
        Kind::Tree { release, record, .. } => (release, record),
    };
    let folder = store.releases(input).join(release.to_string());
    let root = folder.join("root");
    let is_folder = |path: &Path| fs::symlink_metadata(path).is_ok_and(|there| there.is_dir());
    if !is_folder(&folder) || !is_folder(&root) {
        return Ok(false);
    }
    let is = |name: &str, wanted: &[u8]| fs::read(folder.join(name)).is_ok_and(|text| text == wanted);
    if !is("artefact", format!("{} {}\n", input.name, input.digest).as_bytes()) || !is("release.json", record)
    {
        return Ok(false);
    }
    // What runs may have written there.
    if is_in_use(&folder) {
        return Ok(true);
    }
    // Whatever keeps it from being compared: then it is made anew.
    Ok(is_the_same(store, input, &root).unwrap_or(false))
}

/// Is every entry of the archive in a folder as it is there? Owners aside.
fn is_the_same(store: &Store<'_>, input: &Input, root: &Path) -> io::Result<bool> {
    let unchecked = BTreeSet::new();
    let mut archive = tar::Archive::new(Whole::of(store, input, &unchecked));
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = root.join(entry.path()?);
        let Ok(there) = fs::symlink_metadata(&path) else { return Ok(false) };
        let header = entry.header();
        let kind = header.entry_type();
        if kind.is_symlink() {
            if fs::read_link(&path).ok().as_deref() != entry.link_name()?.as_deref() {
                return Ok(false);
            }
            continue;
        }
        let same = there.permissions().mode() & 0o7777 == header.mode()? & 0o7777
            && u64::try_from(there.mtime()).ok() == Some(header.mtime()?);
        // What was written into a folder changes its time.
        let same = same || kind.is_dir() && there.is_dir();
        if !same || there.is_dir() != kind.is_dir() || there.is_file() != kind.is_file() {
            return Ok(false);
        }
        if kind.is_file()
            && (there.len() != entry.size() || !same_bytes(&mut entry, &mut File::open(&path)?)?)
        {
            return Ok(false);
        }
    }
    Ok(true)
}

fn same_bytes(one: &mut dyn io::Read, other: &mut File) -> io::Result<bool> {
    let (mut of_one, mut of_other) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        let read = one.read(&mut of_one)?;
        if read == 0 {
            return Ok(true);
        }
        let (a, b) = (of_one.get(..read), of_other.get_mut(..read));
        let (Some(a), Some(b)) = (a, b) else { return Ok(false) };
        other.read_exact(b)?;
        if a != b {
            return Ok(false);
        }
    }
}

/// How much more there will be, and how much is free, in KiB.
struct Room {
    needed: u64,
    free: u64,
}

impl Room {
    fn of(store: &Store<'_>, input: &Input, sent: u64, docker: Option<&Path>) -> Result<Self> {
        let sent = if sent == 0 { 0 } else { sent / 1024 + 1 };
        let made = input.size / 1024 + input.entries * 4 + 1;
        let needed = sent + input.kept_free_kib;
        let free = free_kib(&store.base)?;
        if let Some(docker) = docker
            && device(docker) != device(&store.base)
        {
            // Docker has a disk of its own.
            let (other, wanted) = (free_kib(docker)?, made + input.kept_free_kib);
            return Ok(if other < wanted {
                Self { needed: wanted, free: other }
            } else {
                Self { needed, free }
            });
        }
        Ok(Self { needed: needed + made, free })
    }

    fn is_enough(&self) -> bool {
        self.free >= self.needed
    }
}

fn device(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|there| there.dev())
}

/// What somebody without privileges could still write there: as `df` says.
fn free_kib(path: &Path) -> Result<u64> {
    let there = rustix::fs::statvfs(path).map_err(|error| at(path)(error.into()))?;
    Ok(there.f_bavail.saturating_mul(there.f_frsize) / 1024)
}

/// The numbers of an account and of its group: from the file in which those are that we make, else as
/// the host's own look-up gives them.
pub(super) fn account(name: &str) -> Option<(u32, u32)> {
    let from_file = fs::read_to_string("/etc/passwd").ok().and_then(|text| account_in(&text, name));
    from_file.or_else(|| {
        let said = Command::new("getent").args(["passwd", "--", name]).stdin(Stdio::null()).output().ok()?;
        account_in(&String::from_utf8(said.stdout).ok()?, name)
    })
}

fn account_in(passwd: &str, wanted: &str) -> Option<(u32, u32)> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let mut numbers = fields.skip(1);
        (name == wanted).then_some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    })
}

/// Where Docker keeps what it has.
fn docker_folder() -> Result<PathBuf> {
    let said =
        Command::new("docker").args(["info", "-f", "{{.DockerRootDir}}"]).stdin(Stdio::null()).output();
    match said {
        // Docker 23 and later say nothing of an engine that is away, and end well.
        Ok(said) if said.status.success() && !said.stdout.trim_ascii().is_empty() => {
            Ok(PathBuf::from(String::from_utf8_lossy(&said.stdout).trim().to_owned()))
        }
        Ok(said) => Err(Failure::new(NO_DOCKER, String::from_utf8_lossy(&said.stderr).trim())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Failure::new(NO_DOCKER, "there is no `docker`"))
        }
        Err(error) => Err(Failure::new(NO_DOCKER, error)),
    }
}

pub(super) fn has_image(id: &str) -> bool {
    let mut command = Command::new("docker");
    command
        .args(["image", "inspect", "--", id])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_account_is_found_by_its_whole_name() {
        let text =
            "root:x:0:0:root:/root:/bin/bash\nvd-shop-2:x:997:995::/:/bin/sh\nvd-shop:x:998:996::/:/bin/sh\n";
        assert_eq!(super::account_in(text, "vd-shop"), Some((998, 996)));
        assert_eq!(super::account_in(text, "vd"), None);
    }
}
