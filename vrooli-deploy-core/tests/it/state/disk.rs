//! A disk that is full, a folder that is read-only.

use serde_json::json;
use vrooli_deploy_core::state::{SqliteStore, StateError, StateStore};

use super::{acquire, block_on, filled, holder, opened, plan, stack};
use crate::process::{Running, child_dir, folder, run_mounted};

#[test]
fn a_full_disk_loses_nothing() {
    let dir = folder();
    let test = "state::disk::child_on_a_small_disk";
    if !run_mounted(test, dir.path(), "mount -t tmpfs -o size=640k none \"$DIR\"") {
        println!("skipped: a full disk needs `unshare -rm` and a tmpfs, which this machine does not allow");
    }
}

#[test]
#[ignore = "is started by another test on a file system of its own"]
fn child_on_a_small_disk() {
    let Some(dir) = child_dir() else { return };
    let ballast = dir.join("ballast");
    std::fs::write(&ballast, vec![1; 128 << 10]).unwrap();
    let app = stack("shop");
    block_on(async {
        let store = SqliteStore::open(&dir).unwrap();
        let lease = acquire(&store, &app).await;
        let mut seq = 0;
        let error = loop {
            match lease.append(seq, &plan(&app, 4)).await {
                Ok(records) => seq += records.len() as u64,
                Err(error) => break error,
            }
            assert!(seq < 100_000, "the disk does not fill up");
        };
        match &error {
            StateError::Io { place, message } => {
                assert!(place.ends_with("state.db"));
                assert!(message.contains("full") && message.contains("Free some space"), "{message}");
            }
            other => panic!("{other}"),
        }
        assert!(seq > 0);
        assert_eq!(store.load(&app).await.unwrap().seq, seq);
        store.verify().await.unwrap();
        std::fs::remove_file(&ballast).unwrap();
        let written = lease.append(seq, &[opened(&app, 1)]).await.unwrap();
        assert_eq!(written[0].seq, seq + 1);
        lease.release().await.unwrap();
        drop(store);
        let store = SqliteStore::open(&dir).unwrap();
        assert_eq!(store.load(&app).await.unwrap().seq, seq + 1);
        store.verify().await.unwrap();
    });
}

#[test]
fn a_new_state_on_a_full_disk_leaves_nothing_half_made() {
    let dir = folder();
    let test = "state::disk::child_without_a_disk";
    if !run_mounted(test, dir.path(), "mount -t tmpfs -o size=16k none \"$DIR\"") {
        println!("skipped: a full disk needs `unshare -rm` and a tmpfs, which this machine does not allow");
    }
}

#[test]
#[ignore = "is started by another test on a file system of its own"]
fn child_without_a_disk() {
    let Some(dir) = child_dir() else { return };
    match SqliteStore::open(&dir) {
        Err(StateError::Io { message, .. }) => assert!(message.contains("full"), "{message}"),
        other => panic!("{other:?}"),
    }
    assert!(!dir.join("state.db").exists());
    assert!(!dir.join("state.db.new").exists());
}

const READ_ONLY: &str = "mount --bind \"$DIR\" \"$DIR\" && mount -o remount,bind,ro \"$DIR\"";

#[test]
fn a_read_only_folder_can_be_looked_at() {
    let dir = folder();
    filled(dir.path());
    if !run_mounted("state::disk::child_in_a_read_only_folder", dir.path(), READ_ONLY) {
        println!(
            "skipped: a read-only folder needs `unshare -rm` and a bind mount, which this machine does not allow"
        );
    }
}

#[test]
#[ignore = "is started by another test on a file system of its own"]
fn child_in_a_read_only_folder() {
    let Some(dir) = child_dir() else { return };
    let app = stack("shop");
    block_on(async {
        let store = SqliteStore::open(&dir).unwrap();
        assert!(store.is_read_only());
        assert_eq!(store.stacks().await.unwrap(), std::slice::from_ref(&app));
        assert_eq!(store.load(&app).await.unwrap().seq, 16);
        assert_eq!(store.journal(&app, 1).await.unwrap().len(), 16);
        assert!(store.setting(&app, "source").await.unwrap().is_some());
        assert_eq!(store.holder(&app).await.unwrap(), None);
        store.verify().await.unwrap();
        for error in [
            store.acquire(&app, &holder("test")).await.unwrap_err(),
            store.set_setting(&app, "source", Some(&json!(1))).await.unwrap_err(),
            store.forget(&app).await.unwrap_err(),
            SqliteStore::open(&dir.join("new")).unwrap_err(),
        ] {
            match error {
                StateError::Io { message, .. } => {
                    assert!(
                        message.to_lowercase().contains("read-only") && message.contains("--state-dir"),
                        "{message}"
                    );
                }
                other => panic!("{other}"),
            }
        }
    });
}

#[test]
fn a_read_only_folder_with_a_log_is_read_whole_or_not_at_all() {
    let dir = folder();
    let mut child = Running::start("state::damage::child_that_leaves_a_log", dir.path());
    child.next("ready").unwrap();
    child.kill("ready");
    for (test, without) in
        [("child_with_a_log_and_its_index", None), ("child_with_a_log_alone", Some("state.db-shm"))]
    {
        if let Some(file) = without {
            std::fs::remove_file(dir.path().join(file)).unwrap();
        }
        if !run_mounted(&format!("state::disk::{test}"), dir.path(), READ_ONLY) {
            println!(
                "skipped: a read-only folder needs `unshare -rm` and a bind mount, which this machine does not allow"
            );
        }
    }
}

#[test]
#[ignore = "is started by another test on a file system of its own"]
fn child_with_a_log_and_its_index() {
    let Some(dir) = child_dir() else { return };
    block_on(async {
        let store = SqliteStore::open(&dir).unwrap();
        assert_eq!(store.load(&stack("shop")).await.unwrap().seq, 8);
    });
}

#[test]
#[ignore = "is started by another test on a file system of its own"]
fn child_with_a_log_alone() {
    let Some(dir) = child_dir() else { return };
    match SqliteStore::open(&dir) {
        Err(StateError::Io { message, .. }) => {
            assert!(message.contains("once with write access"), "{message}")
        }
        other => panic!("{other:?}"),
    }
}
