//! Unpacks what our own archives hold, into a folder that is empty: folders, files and links, in order.
//!
//! `tar`'s own way writes files some kilobytes at a time, which costs a host more than all else that is
//! done with them.

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Component, Path};
use std::time::{Duration, UNIX_EPOCH};

use tar::{Archive, Entry, EntryType};

use crate::blocks::{self, BLOCK};

/// Unpacks all of it. Nothing is written outside the folder, whatever the archive says: names lead
/// downwards, nothing that is there is written over, and links are made when all files are there.
pub(super) fn unpack(archive: &mut Archive<impl Read>, root: &Path) -> io::Result<()> {
    let mut block = vec![0; BLOCK];
    let mut links = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let inside = entry.path()?.into_owned();
        if !inside.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(other(&inside, "leads out of the folder"));
        }
        let path = root.join(&inside);
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        match entry.header().entry_type() {
            EntryType::Directory => {
                fs::create_dir(&path).map_err(named)?;
                fs::set_permissions(&path, mode(&entry)?).map_err(named)?;
            }
            EntryType::Regular => file(&mut entry, &path, &mut block).map_err(named)?,
            EntryType::Symlink => {
                let target = entry.link_name()?.ok_or_else(|| other(&inside, "leads nowhere"))?;
                links.push((inside, target.into_owned()));
            }
            _ => return Err(other(&inside, "is neither a file nor a folder nor a link")),
        }
    }
    for (inside, target) in links {
        // Not through a link that was made just now.
        let within = inside.parent().into_iter().flat_map(Path::ancestors);
        for folder in within.filter(|folder| !folder.as_os_str().is_empty()) {
            if !fs::symlink_metadata(root.join(folder))?.is_dir() {
                return Err(other(&inside, "leads through a link"));
            }
        }
        symlink(&target, root.join(&inside))?;
    }
    Ok(())
}

fn file(entry: &mut Entry<'_, impl Read>, path: &Path, block: &mut [u8]) -> io::Result<()> {
    let mut to = File::create_new(path)?;
    blocks::each(entry, block, |read| to.write_all(read))?;
    to.set_permissions(mode(entry)?)?;
    to.set_modified(UNIX_EPOCH + Duration::from_secs(entry.header().mtime()?))
}

fn mode(entry: &Entry<'_, impl Read>) -> io::Result<fs::Permissions> {
    Ok(fs::Permissions::from_mode(entry.header().mode()? & 0o777))
}

fn other(inside: &Path, words: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("`{}` {words}", inside.display()))
}

#[cfg(test)]
mod tests {
    use tar::{Builder, Header};

    use super::*;

    fn archive(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut archive = Builder::new(Vec::new());
        for (path, kind, content) in entries {
            let mut header = Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o755);
            header.set_mtime(1_000_000_001);
            let bytes = if kind.is_file() { content.as_bytes() } else { b"" };
            header.set_size(bytes.len() as u64);
            // What `Builder` itself would refuse.
            header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
            if !kind.is_file() {
                header.as_gnu_mut().unwrap().linkname[..content.len()].copy_from_slice(content.as_bytes());
            }
            header.set_cksum();
            archive.append(&header, bytes).unwrap();
        }
        archive.into_inner().unwrap()
    }

    fn unpacked(entries: &[(&str, EntryType, &str)]) -> (tempfile::TempDir, io::Result<()>) {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("root")).unwrap();
        fs::write(place.path().join("secret"), "secret").unwrap();
        let bytes = archive(entries);
        let unpacked = unpack(&mut Archive::new(&*bytes), &place.path().join("root"));
        (place, unpacked)
    }

    use EntryType::{Directory, Link, Regular, Symlink};

    #[test]
    fn all_of_it_is_there_as_it_was() {
        let (place, unpacked) = unpacked(&[
            ("app", Symlink, "bin/app"),
            ("bin", Directory, ""),
            ("bin/app", Regular, "#!/bin/sh\n"),
            ("bin/there", Symlink, "../bin"),
        ]);
        unpacked.unwrap();
        let app = place.path().join("root/app");
        assert_eq!(fs::read_to_string(&app).unwrap(), "#!/bin/sh\n");
        let seen = fs::metadata(&app).unwrap();
        assert_eq!(seen.permissions().mode() & 0o7777, 0o755);
        assert_eq!(seen.modified().unwrap(), UNIX_EPOCH + Duration::from_secs(1_000_000_001));
        assert_eq!(fs::read_link(place.path().join("root/bin/there")).unwrap(), Path::new("../bin"));
    }

    #[test]
    fn nothing_is_written_outside_nor_twice() {
        let cases: [&[(&str, EntryType, &str)]; 8] = [
            &[("../secret", Regular, "mine")],
            &[("/secret", Regular, "mine")],
            &[("out", Symlink, ".."), ("out/secret", Regular, "mine")],
            &[("out", Symlink, ".."), ("out/link", Symlink, "secret")],
            &[("secret", Link, "../secret")],
            &[("a", Regular, "1"), ("a", Regular, "2")],
            &[("a", Regular, "1"), ("a/b", Regular, "2")],
            &[("out", Symlink, "../secret"), ("out", Regular, "mine")],
        ];
        for entries in cases {
            let (place, unpacked) = unpacked(entries);
            unpacked.expect_err(&format!("{entries:?}"));
            assert_eq!(fs::read_to_string(place.path().join("secret")).unwrap(), "secret", "{entries:?}");
            assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2, "{entries:?}");
        }
    }
}
