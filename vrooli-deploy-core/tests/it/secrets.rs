//! The sealed file, seen from outside.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use uuid::Uuid;
use vrooli_deploy_core::secrets::{
    FileStore, KeySource, Secret, SecretError, SecretRef, SecretStore, generate,
};

use crate::process::{Running, child_dir, folder, run_mounted};

const STATE: Uuid = Uuid::from_u128(5);
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn secret(value: &str) -> Secret<String> {
    Secret::new(value.to_owned())
}

fn open(dir: &Path) -> FileStore {
    FileStore::open(dir, STATE, KeySource::Folder(Some(dir.join("config/keys")))).unwrap()
}

fn key_file(dir: &Path) -> PathBuf {
    dir.join(format!("config/keys/{STATE}.key"))
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_is_had_back_is_the_very_version_that_was_meant() {
    let lost = folder();
    let before = open(lost.path());
    let references: Vec<_> =
        ["one", "two"].map(|value| before.put("a/default/x", &secret(value)).unwrap()).into();
    let dir = folder();
    let store = open(dir.path());
    assert!(store.get(&references[1]).is_err());
    store.put_back(&references[1], &secret("two")).unwrap();
    let again = open(dir.path());
    assert_eq!(again.get(&references[1]).unwrap().expose(), "two");
    assert_eq!(again.latest("a/default/x").unwrap().as_ref(), Some(&references[1]));
    assert_eq!(again.list("a/").unwrap(), [references[1].clone()]);
    assert!(again.get(&references[0]).is_err(), "what was not had back is not there");
    // What is there stays, an equal value is no new version, and another is the next one.
    store.put_back(&references[1], &secret("other")).unwrap();
    assert_eq!(store.get(&references[1]).unwrap().expose(), "two");
    assert_eq!(store.put("a/default/x", &secret("two")).unwrap(), references[1]);
    let next = store.put("a/default/x", &secret("three")).unwrap();
    assert_eq!(next.version, 3);
    // An older one is had back as well, and is not the newest for that.
    store.put_back(&references[0], &secret("one")).unwrap();
    assert_eq!(store.latest("a/default/x").unwrap(), Some(next));
    assert_eq!(store.get(&references[0]).unwrap().expose(), "one");
    // Another value under that name is not what is meant.
    let forged = SecretRef { hash: "0".repeat(32), ..references[1].clone() };
    assert!(matches!(store.get(&forged), Err(SecretError::Damaged { .. })));
}

#[test]
fn values_are_kept_by_version() {
    let dir = folder();
    let store = open(dir.path());
    assert_eq!(store.name(), "file");
    assert_eq!(store.latest("a/default/x").unwrap(), None);
    assert_eq!(store.list("").unwrap(), []);
    store
        .remove(&[SecretRef {
            store: "file".to_owned(),
            path: "p".to_owned(),
            version: 1,
            hash: String::new(),
        }])
        .unwrap();
    assert_eq!(names(dir.path()), [""; 0], "only looking makes nothing");

    let one = store.put("a/default/x", &secret("one")).unwrap();
    let two = store.put("a/default/x", &secret("two")).unwrap();
    assert_eq!((one.version, two.version, one.store.as_str()), (1, 2, "file"));
    assert_ne!(one.hash, two.hash);
    assert_eq!(store.put("a/default/x", &secret("two")).unwrap(), two, "an equal value is no new version");
    let back = store.put("a/default/x", &secret("one")).unwrap();
    assert_eq!((back.version, &back.hash), (3, &one.hash));
    let other = store.put("b/default/x", &secret("one")).unwrap();
    assert_ne!(other.hash, one.hash, "equal values of two paths do not show");

    let again = open(dir.path());
    for (reference, value) in [(&one, "one"), (&two, "two"), (&back, "one"), (&other, "one")] {
        assert_eq!(again.get(reference).unwrap().expose(), value);
    }
    assert_eq!(again.latest("a/default/x").unwrap().as_ref(), Some(&back));
    assert_eq!(again.list("a/").unwrap(), [one.clone(), two.clone(), back.clone()]);
    assert_eq!(again.list("").unwrap().len(), 4);

    again.remove(&[back.clone(), one.clone(), one.clone(), two.clone()]).unwrap();
    assert!(matches!(store.get(&two), Err(SecretError::NotFound { version: 2, .. })));
    assert_eq!(store.latest("a/default/x").unwrap(), None);
    assert_eq!(store.put("a/default/x", &secret("one")).unwrap().version, 4, "no version is given twice");
    assert!(matches!(
        store.get(&SecretRef { path: "no".to_owned(), ..two }),
        Err(SecretError::NotFound { .. })
    ));
}

#[test]
fn a_reference_to_another_value_of_that_version_is_not_answered() {
    let (dir, other) = (folder(), folder());
    let reference = open(dir.path()).put("p", &secret("one")).unwrap();
    let store = open(other.path());
    store.put("p", &secret("another one")).unwrap();
    match store.get(&reference) {
        Err(SecretError::Damaged { message, .. }) => {
            assert!(message.contains("version 1 of `p`"), "{message}")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn files_are_private_and_hold_no_value() {
    let dir = folder();
    let value = generate(40).unwrap();
    let store = open(dir.path());
    store.put("shop/default/password", &value).unwrap();
    assert_eq!(names(dir.path()), ["config", "secrets.lock", "secrets.sealed"]);
    for file in ["secrets.sealed", "secrets.lock"]
        .map(|name| dir.path().join(name))
        .into_iter()
        .chain([key_file(dir.path())])
    {
        assert_eq!(
            std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600,
            "{}",
            file.display()
        );
        let bytes = std::fs::read(&file).unwrap();
        for word in [value.expose().as_str(), "password"] {
            assert!(!bytes.windows(word.len()).any(|window| window == word.as_bytes()), "{}", file.display());
        }
    }
    assert_eq!(
        std::fs::metadata(dir.path().join("config/keys")).unwrap().permissions().mode() & 0o777,
        0o700
    );
    assert_eq!(names(&dir.path().join("config/keys")).len(), 1);
    assert!(!format!("{store:?}").contains(value.expose()));
}

#[test]
fn a_key_that_is_given_is_used_and_written_nowhere() {
    let dir = folder();
    let given = |key: &str| FileStore::open(dir.path(), STATE, KeySource::Given(secret(key)));
    let reference = given(KEY).unwrap().put("p", &secret("one")).unwrap();
    assert_eq!(names(dir.path()), ["secrets.lock", "secrets.sealed"]);
    assert_eq!(given(&format!(" {KEY}\n")).unwrap().get(&reference).unwrap().expose(), "one");
    for bad in ["", "short", "AAECAwQF", "!!!!", &KEY[1..]] {
        match given(bad) {
            Err(SecretError::Key { message, .. }) => {
                assert!(message.contains("VROOLI_DEPLOY_KEY") && !message.contains(&KEY[4..20]), "{message}");
            }
            other => panic!("{bad}: {other:?}"),
        }
    }
    match given(&KEY.replace("AA", "BB")).unwrap().get(&reference) {
        Err(SecretError::Key { place, message }) => {
            assert!(place.ends_with("secrets.sealed") && message.contains("another key"), "{message}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_key_that_is_gone_open_to_others_or_damaged_is_named_and_never_replaced() {
    let dir = folder();
    let reference = open(dir.path()).put("p", &secret("one")).unwrap();
    let file = key_file(dir.path());
    let key = std::fs::read(&file).unwrap();
    let refused = |says: &str| {
        let store = open(dir.path());
        for error in [
            store.get(&reference).unwrap_err(),
            store.put("p", &secret("two")).unwrap_err(),
            store.latest("p").unwrap_err(),
            store.list("").unwrap_err(),
            store.remove(std::slice::from_ref(&reference)).unwrap_err(),
        ] {
            match error {
                SecretError::Key { place, message } => {
                    let both = format!("{place} {message}");
                    assert!(both.contains(says) && both.contains(file.to_str().unwrap()), "{both}");
                }
                other => panic!("{other}"),
            }
        }
    };
    std::fs::remove_file(&file).unwrap();
    refused("secrets.sealed");
    refused("VROOLI_DEPLOY_KEY");
    assert!(!file.exists());
    std::fs::write(&file, &key).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).unwrap();
    refused("chmod 600");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::write(&file, &key[..20]).unwrap();
    refused("damaged");
    std::fs::write(&file, &key).unwrap();
    assert_eq!(open(dir.path()).get(&reference).unwrap().expose(), "one");
}

#[test]
fn a_sealed_file_that_was_changed_is_told_and_left_as_it_is() {
    let dir = folder();
    let store = open(dir.path());
    let reference = store.put("p", &secret("one")).unwrap();
    let file = dir.path().join("secrets.sealed");
    let whole = std::fs::read(&file).unwrap();
    let mut harmed: Vec<Vec<u8>> = (0..whole.len())
        .step_by(3)
        .map(|at| {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            bytes
        })
        .collect();
    harmed.extend([
        vec![],
        whole[..10].to_vec(),
        whole[..whole.len() - 1].to_vec(),
        b"not ours at all, really; but of some length".to_vec(),
    ]);
    for bytes in harmed {
        std::fs::write(&file, &bytes).unwrap();
        for error in [store.get(&reference).unwrap_err(), store.put("p", &secret("two")).unwrap_err()] {
            match error {
                SecretError::Damaged { place, message } => {
                    assert!(place.ends_with("secrets.sealed") && message.contains("backup"), "{message}");
                }
                // A flipped version number cannot be told from a newer file before the key is read.
                SecretError::Version { .. } if bytes[8..12] != whole[8..12] => {}
                other => panic!("{other}"),
            }
        }
        assert!(std::fs::read(&file).unwrap() == bytes);
    }
    std::fs::write(&file, &whole).unwrap();
    assert_eq!(store.get(&reference).unwrap().expose(), "one");
}

#[test]
fn a_newer_file_is_named_even_without_its_key() {
    let dir = folder();
    let store = open(dir.path());
    store.put("p", &secret("one")).unwrap();
    let file = dir.path().join("secrets.sealed");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[8] = 7;
    std::fs::write(&file, &bytes).unwrap();
    std::fs::remove_file(key_file(dir.path())).unwrap();
    assert!(matches!(store.latest("p"), Err(SecretError::Version { version: 7, .. })));
    assert!(matches!(store.put("p", &secret("two")), Err(SecretError::Version { version: 7, .. })));
    assert!(std::fs::read(&file).unwrap() == bytes);
}

#[test]
fn writers_take_turns() {
    let dir = folder();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let dir = dir.path();
            scope.spawn(move || {
                let store = open(dir);
                for number in 0..10 {
                    let path = format!("{writer}/{number}");
                    store.put(&path, &secret(&path)).unwrap();
                    store.put("shared", &secret(&path)).unwrap();
                }
            });
        }
    });
    let store = open(dir.path());
    assert_eq!(store.list("shared").unwrap().len(), 40);
    for reference in store.list("").unwrap() {
        let value = store.get(&reference).unwrap();
        assert!(reference.path == "shared" || *value.expose() == reference.path);
    }
}

const CHILD: &str = "secrets::child_that_stores";

#[test]
#[ignore = "is started by another test as a process of its own"]
fn child_that_stores() {
    let Some(dir) = child_dir() else { return };
    let store = open(&dir);
    for number in 0.. {
        let reference = store.put("p", &secret(&format!("value {number}"))).unwrap();
        println!("\nack {}", reference.version);
        if reference.version > 20 {
            store.remove(&[SecretRef { version: reference.version - 20, ..reference }]).unwrap();
        }
    }
}

#[test]
fn a_kill_loses_no_value_that_was_stored() {
    let dir = folder();
    for round in 1..=8 {
        let mut child = Running::start(CHILD, dir.path());
        let mut stored = 0;
        for _ in 0..round {
            stored = child.next("ack").unwrap().parse::<u32>().unwrap();
        }
        if let Some(last) = child.kill("ack").last() {
            stored = last.parse().unwrap();
        }
        let store = open(dir.path());
        let latest = store.latest("p").unwrap().unwrap();
        assert!(latest.version >= stored);
        assert!(store.get(&latest).unwrap().expose().starts_with("value "));
    }
    let left = names(dir.path());
    assert!(left.iter().all(|name| name != "secrets.sealed.new") || left.len() == 4, "{left:?}");
    open(dir.path()).put("q", &secret("one")).unwrap();
    assert_eq!(names(dir.path()), ["config", "secrets.lock", "secrets.sealed"]);
}

#[test]
fn a_full_disk_keeps_what_is_there() {
    let dir = folder();
    if !run_mounted("secrets::child_on_a_small_disk", dir.path(), "mount -t tmpfs -o size=64k none \"$DIR\"")
    {
        println!("skipped: a full disk needs `unshare -rm` and a tmpfs, which this machine does not allow");
    }
}

#[test]
#[ignore = "is started by another test on a file system of its own"]
fn child_on_a_small_disk() {
    let Some(dir) = child_dir() else { return };
    let store = open(&dir);
    let reference = store.put("p", &secret("one")).unwrap();
    match store.put("big", &secret(&"x".repeat(100_000))) {
        Err(SecretError::Io { message, .. }) => {
            assert!(message.contains("Free some space"), "{message}")
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(names(&dir), ["config", "secrets.lock", "secrets.sealed"]);
    assert_eq!(store.get(&reference).unwrap().expose(), "one");
    assert_eq!(store.put("q", &secret("two")).unwrap().version, 1);
}

#[test]
fn a_read_only_folder_can_be_read() {
    let dir = folder();
    open(dir.path()).put("p", &secret("one")).unwrap();
    let mount = "mount --bind \"$DIR\" \"$DIR\" && mount -o remount,bind,ro \"$DIR\"";
    if !run_mounted("secrets::child_in_a_read_only_folder", dir.path(), mount) {
        println!(
            "skipped: a read-only folder needs `unshare -rm` and a bind mount, which this machine does not allow"
        );
    }
}

#[test]
#[ignore = "is started by another test on a file system of its own"]
fn child_in_a_read_only_folder() {
    let Some(dir) = child_dir() else { return };
    let store = open(&dir);
    let reference = store.latest("p").unwrap().unwrap();
    assert_eq!(store.get(&reference).unwrap().expose(), "one");
    for error in [store.put("p", &secret("two")).unwrap_err(), store.remove(&[reference]).unwrap_err()] {
        match error {
            SecretError::Io { message, .. } => {
                assert!(message.contains("Nothing") || message.contains("nothing was changed"), "{message}")
            }
            other => panic!("{other}"),
        }
    }
}
