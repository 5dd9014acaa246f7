//! The store in a folder of its own. What root and real hosts are needed for is among the tests of hosts.

use std::fs;
use std::io::{Cursor, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::archive::Archive;
use crate::store::{Delivery, ReleaseFolder};
use vrooli_deploy_core::names::{Digest, ReleaseNumber, StackId};

struct Rig {
    folder: TempDir,
    archive: Archive,
}

impl Rig {
    fn new(bytes: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let built = folder.path().join("built");
        fs::create_dir_all(built.join("bin")).unwrap();
        fs::write(built.join("bin/app"), bytes).unwrap();
        fs::set_permissions(built.join("bin/app"), fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("bin/app", built.join("app")).unwrap();
        let archive = Archive::pack(&built, folder.path()).unwrap();
        Self { folder, archive }
    }

    fn base(&self) -> std::path::PathBuf {
        self.folder.path().join("base")
    }

    fn delivery(&self, number: u32) -> Delivery {
        let stack = StackId { app: "shop".parse().unwrap(), environment: "default".parse().unwrap() };
        let folder = ReleaseFolder { number: ReleaseNumber(number), record: b"{}".to_vec(), owner: None };
        Delivery::tree(&stack, &Digest::of(b"a"), &self.archive, folder)
    }

    fn run(&self, mode: &str, input: impl AsRef<[u8]>) -> Result<Said> {
        let mut said = Vec::new();
        run(&self.base(), mode, &mut Cursor::new(input), &mut said)?;
        Ok(Said(String::from_utf8(said).unwrap()))
    }

    fn ask(&self, number: u32) -> Said {
        self.run(ASK, self.delivery(number).input()).unwrap()
    }

    /// The input of one that sends all pieces but so many.
    fn sent(&self, number: u32, but: usize) -> Vec<u8> {
        let delivery = self.delivery(number);
        let input = delivery.input();
        let names = delivery.pieces().into_iter().skip(but).collect();
        let mut bytes = [format!("{}\n", input.len()).into_bytes(), input].concat();
        let part = self.archive.file().part(&names, false);
        crate::remote::PhaseStream::open(&part).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn root(&self, number: u32) -> std::path::PathBuf {
        self.base().join(format!("workspace/apps/shop/default/releases/r{number}/root"))
    }

    fn left(&self) -> Vec<String> {
        let names = fs::read_dir(self.base().join("store")).unwrap();
        let mut names: Vec<String> =
            names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

/// What was said.
#[derive(Debug)]
struct Said(String);

impl Said {
    fn count(&self, name: &str) -> usize {
        self.0.lines().filter(|line| line.split('\t').next() == Some(name)).count()
    }
}

/// Bytes without a pattern, the same every time.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ seed;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..length / 8).flat_map(step).collect()
}

fn pieces(base: &Path) -> usize {
    fs::read_dir(base.join("store/pieces")).unwrap().count()
}

#[test]
fn all_of_it_or_nothing() {
    let rig = Rig::new(&noise(3 << 20, 1));
    let all = rig.archive.file().pieces();
    assert!(all > 3, "{all}");
    assert_eq!(rig.ask(1).count("missing"), all);
    // One is missing: it is said, and there is no release.
    assert_eq!(rig.run(SEND_UNASKED, rig.sent(1, 1)).unwrap().count("missing"), 1);
    assert!(!rig.root(1).exists());
    assert_eq!(pieces(&rig.base()), all - 1);
    // All that is cut off in the middle of a piece stays what it was.
    let mut cut = rig.sent(1, 0);
    cut.truncate(cut.len() / 2);
    let failure = rig.run(SEND, cut).unwrap_err();
    assert_eq!(failure.status, CUT, "{failure:?}");
    assert!(!rig.root(1).exists());
    let said = rig.run(SEND, rig.sent(1, 0)).unwrap();
    assert_eq!(said.count("done"), 1);
    // Who sends is told from the beginning how much has been taken.
    let taken: Vec<usize> =
        said.0.lines().filter_map(|line| line.strip_prefix("taken\t")?.parse().ok()).collect();
    assert!(taken.first() == Some(&0) && taken.is_sorted(), "{taken:?}");
    assert!(taken.windows(2).all(|two| two[1] - two[0] < 512 << 10), "{taken:?}");
    assert!(taken.last().is_some_and(|last| *last > (3 << 20) - (128 << 10)), "{taken:?}");
    assert_eq!(fs::read(rig.root(1).join("app")).unwrap(), noise(3 << 20, 1));
    assert_eq!(fs::metadata(rig.root(1).join("bin/app")).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(rig.left(), ["lock", "pieces", "refs"]);
}

#[test]
fn a_damaged_piece_is_found_when_it_is_used() {
    let rig = Rig::new(&noise(2 << 20, 2));
    rig.run(SEND_UNASKED, rig.sent(1, 0)).unwrap();
    let all = pieces(&rig.base());
    let one = fs::read_dir(rig.base().join("store/pieces")).unwrap().next().unwrap().unwrap().path();
    fs::write(&one, b"something else").unwrap();
    // Nobody sends it: what is there is believed until it is put together.
    let said = rig.run(SEND_UNASKED, rig.sent(2, all)).unwrap();
    assert_eq!((said.count("corrupt"), said.count("missing"), said.count("done")), (1, 1, 0), "{said:?}");
    assert!(!rig.root(2).exists() && !one.exists());
    assert_eq!(pieces(&rig.base()), all - 1);
    assert_eq!(rig.left(), ["lock", "pieces", "refs"]);
    // Who asks first is told so.
    fs::write(&one, b"something else").unwrap();
    let said = rig.ask(2);
    assert_eq!((said.count("corrupt"), said.count("missing")), (1, 1), "{said:?}");
    assert!(!one.exists());
}

#[test]
fn what_was_killed_leaves_whole_pieces() {
    let rig = Rig::new(&noise(2 << 20, 3));
    let all = rig.ask(1).count("missing");
    let left = rig.base().join("store/phase-killed");
    fs::create_dir_all(left.join("pieces")).unwrap();
    let delivery = rig.delivery(1);
    let whole = delivery.pieces().into_iter().next().unwrap().to_owned();
    let part = rig.archive.file().part(&[whole.as_str()].into(), false);
    let mut tar = tar::Archive::new(crate::remote::PhaseStream::open(&part).unwrap());
    tar.unpack(left.join("pieces")).unwrap();
    fs::write(left.join("pieces").join("0".repeat(64)), b"not that").unwrap();
    assert_eq!(rig.ask(1).count("missing"), all - 1);
    assert_eq!(rig.left(), ["lock", "pieces", "refs"]);
    assert!(rig.base().join("store/pieces").join(whole).is_file());
    assert_eq!(pieces(&rig.base()), 1);
}

#[test]
fn what_leads_out_of_a_release_is_not_written() {
    let rig = Rig::new(b"app");
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(3);
    header.set_mode(0o644);
    header.as_mut_bytes()[..10].copy_from_slice(b"../../evil");
    header.set_cksum();
    builder.append(&header, &b"bad"[..]).unwrap();
    let bytes = builder.into_inner().unwrap();
    let digest = Digest::of(&bytes).as_str()[7..].to_owned();
    let text = format!(
        "stack shop/default\nname {digest}\ndigest {digest}\nsize {0}\nentries 1\nkeep 3\nkept_free_kib 1\n\
         kind tree\nrelease r1\nrecord e30=\npiece {digest} {0}\n",
        bytes.len()
    );
    let mut sent = tar::Builder::new([format!("{}\n", text.len()).as_bytes(), text.as_bytes()].concat());
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_cksum();
    sent.append_data(&mut header, &digest, &bytes[..]).unwrap();
    // Passed over, or refused; never written.
    let _ = rig.run(SEND_UNASKED, sent.into_inner().unwrap());
    let found = walkdir::WalkDir::new(rig.folder.path()).into_iter().flatten();
    assert_eq!(found.filter(|entry| entry.file_name() == "evil").count(), 0);
}

#[test]
fn what_is_no_description_is_refused() {
    let rig = Rig::new(b"app");
    let good = String::from_utf8(rig.delivery(1).input()).unwrap();
    for (from, to) in [
        ("shop/default", "../.."),
        ("shop/default", "shop"),
        ("kind tree", "kind program"),
        ("release r1", "release ../r1"),
        ("piece ", "piece ../"),
        ("keep 3", "keep"),
    ] {
        assert!(good.contains(from), "{from}");
        let text = good.replacen(from, to, 1);
        let failure = rig.run(ASK, text).unwrap_err();
        assert_eq!(failure.status, 64, "{to}: {failure:?}");
    }
    assert!(!rig.base().exists());
    assert_eq!(rig.run(SEND, "99\nshort").unwrap_err().status, CUT);
}
