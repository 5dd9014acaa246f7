//! Damage is told and never made worse.

use std::path::Path;

use rusqlite::Connection;
use vrooli_deploy_core::engine::{JournalRecord, StackState};
use vrooli_deploy_core::names::StackId;
use vrooli_deploy_core::state::{SqliteStore, StateError, StateStore};

use super::{acquire, block_on, filled, holder, plan, stack, started};
use crate::process::{Running, child_dir, folder};

/// What a program sees of a state.
type Seen = (Vec<StackId>, StackState, Vec<JournalRecord>, Option<serde_json::Value>);

/// Looks at everything.
fn use_it(dir: &Path, app: &StackId) -> Result<Seen, StateError> {
    block_on(async {
        let store = SqliteStore::open(dir)?;
        let seen = (
            store.stacks().await?,
            store.load(app).await?,
            store.journal(app, 0).await?,
            store.setting(app, "source").await?,
        );
        Ok(seen)
    })
}

/// Takes the lease, appends, and returns the state before that.
async fn go_on(dir: &Path, app: &StackId) -> Result<StackState, StateError> {
    let store = SqliteStore::open(dir)?;
    let lease = store.acquire(app, &holder("test")).await?;
    let before = store.load(app).await?;
    lease.append(before.seq, &[started(1)]).await?;
    assert_eq!(store.load(app).await?.seq, before.seq + 1);
    lease.release().await?;
    Ok(before)
}

fn damaged(result: Result<Seen, StateError>) -> String {
    match result {
        Err(StateError::Damaged { place, message }) => {
            assert!(place.ends_with("state.db"), "{place}");
            assert!(message.contains("backup"), "no next step: {message}");
            message
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_flipped_bit_anywhere_is_told_or_without_effect() {
    let original = folder();
    let app = filled(original.path());
    let bytes = std::fs::read(original.path().join("state.db")).unwrap();
    let whole = use_it(original.path(), &app).unwrap();

    let dir = folder();
    let lock = "locks/shop~default.lock";
    std::fs::create_dir(dir.path().join("locks")).unwrap();
    let file = dir.path().join("state.db");
    let (mut told, mut without_effect) = (0, 0);
    // A prime, so that all kinds of places in a page are met; and all of the file's header.
    for place in (0..100).chain((100..bytes.len()).step_by(127)) {
        let mut flipped = bytes.clone();
        flipped[place] ^= 1 << (place % 8);
        std::fs::write(&file, &flipped).unwrap();
        std::fs::copy(original.path().join(lock), dir.path().join(lock)).unwrap();
        match use_it(dir.path(), &app) {
            Ok(seen) => {
                assert_eq!(seen, whole, "byte {place} changed what is seen");
                match block_on(go_on(dir.path(), &app)) {
                    Ok(after) => {
                        assert_eq!(after, whole.1, "byte {place} changed what is built upon")
                    }
                    Err(StateError::Damaged { .. }) => {
                        assert_eq!(
                            use_it(dir.path(), &app).unwrap(),
                            whole,
                            "byte {place}: it was made worse"
                        );
                    }
                    Err(other) => panic!("byte {place}: {other}"),
                }
                without_effect += 1;
            }
            Err(StateError::Damaged { .. } | StateError::Version { .. } | StateError::Io { .. }) => {
                assert!(std::fs::read(&file).unwrap() == flipped, "byte {place}: it was written to");
                told += 1;
            }
            Err(other) => panic!("byte {place}: {other}"),
        }
        for side in ["state.db-wal", "state.db-shm"] {
            let _ = std::fs::remove_file(dir.path().join(side));
        }
    }
    assert!(told > 50 && without_effect > 10, "{told} told, {without_effect} without effect");
}

#[test]
fn a_damaged_journal_is_never_appended_to() {
    let dir = folder();
    let app = filled(dir.path());
    let file = dir.path().join("state.db");
    // Flips inside the text of the last record and of earlier ones.
    let mut bytes = std::fs::read(&file).unwrap();
    let needle = br#"{"entry":"started","step":"create:thing/0","spec""#;
    let found: Vec<_> =
        (0..bytes.len() - needle.len()).filter(|at| bytes[*at..].starts_with(needle)).collect();
    assert!(!found.is_empty());
    for at in found {
        bytes[at + 12] ^= 1;
    }
    std::fs::write(&file, &bytes).unwrap();
    let message = damaged(use_it(dir.path(), &app));
    assert!(message.contains("record") && message.contains("`shop/default`"), "{message}");
    block_on(async {
        let store = SqliteStore::open(dir.path()).unwrap();
        let error = store.acquire(&app, &holder("test")).await.unwrap_err();
        assert!(matches!(error, StateError::Damaged { .. }), "{error}");
        // Other stacks are not held up by it.
        acquire(&store, &stack("other")).await;
    });
}

#[test]
fn rows_that_are_gone_or_changed_are_missed() {
    for (sql, says) in [
        ("DELETE FROM journal WHERE seq = 3", "record 3"),
        ("DELETE FROM journal WHERE seq = 16", "record 16"),
        ("DELETE FROM journal WHERE seq >= 15", "record 15"),
        ("DELETE FROM journal", "record 1"),
        ("DELETE FROM journal; DELETE FROM snapshots; DELETE FROM stacks", "record 16 was written"),
        ("UPDATE journal SET fence = 9 WHERE seq = 15", "record 15"),
        ("UPDATE journal SET at = '2020-01-01T00:00:00Z' WHERE seq = 4", "record 4"),
        ("UPDATE journal SET entry = replace(entry, 'thing/0', 'thing/1') WHERE seq = 16", "record 16"),
        ("UPDATE stacks SET seq = 15", "does not end"),
        ("UPDATE stacks SET checksum = 15", "does not end"),
        ("UPDATE settings SET value = '2'", "setting"),
        ("DELETE FROM settings", "setting"),
        ("UPDATE settings SET name = 'x'", "setting"),
        ("UPDATE stacks SET stack = 'shoq/default'", "record 1"),
        ("UPDATE meta SET id = 'd9428888-122b-41e1-b85c-61ac97c44bfd'", "id of the state"),
        ("DROP TABLE journal", "journal"),
        ("PRAGMA application_id = 1", "no state of this program"),
    ] {
        let dir = folder();
        let app = filled(dir.path());
        Connection::open(dir.path().join("state.db")).unwrap().execute_batch(sql).unwrap();
        let message = damaged(use_it(dir.path(), &app));
        assert!(message.contains(says), "{sql}: {message}");
    }
}

#[test]
fn a_snapshot_is_only_a_shortcut() {
    for sql in [
        "DELETE FROM snapshots",
        "UPDATE snapshots SET state = replace(state, '1.5', '1.6')",
        "UPDATE snapshots SET seq = 4",
        "UPDATE snapshots SET head = 4",
        "UPDATE snapshots SET fold = 0, state = '{}'",
    ] {
        let dir = folder();
        let app = filled(dir.path());
        let whole = use_it(dir.path(), &app).unwrap();
        Connection::open(dir.path().join("state.db")).unwrap().execute_batch(sql).unwrap();
        assert_eq!(use_it(dir.path(), &app).unwrap(), whole, "{sql}");
    }
}

#[test]
fn a_file_that_is_cut_off_or_foreign_is_damaged() {
    let original = folder();
    let app = filled(original.path());
    let bytes = std::fs::read(original.path().join("state.db")).unwrap();
    let file = original.path().join("state.db");
    for length in [0, 1, 50, 100, 4095, 4096, 8192, bytes.len() / 2, bytes.len() - 4096, bytes.len() - 1] {
        std::fs::write(&file, &bytes[..length]).unwrap();
        damaged(use_it(original.path(), &app));
        assert!(std::fs::read(&file).unwrap() == bytes[..length], "{length}: it was written to");
    }
    std::fs::write(&file, "just some text that someone put there ".repeat(300)).unwrap();
    damaged(use_it(original.path(), &app));
    std::fs::remove_file(&file).unwrap();
    assert!(damaged(use_it(original.path(), &app)).contains("gone"));
    assert!(!file.exists(), "no new state may hide a lost one");
}

#[test]
fn a_newer_state_is_left_as_it_is() {
    let dir = folder();
    let app = filled(dir.path());
    let file = dir.path().join("state.db");
    // A newer schema may have lost any table but this one.
    Connection::open(&file)
        .unwrap()
        .execute_batch("ALTER TABLE meta DROP COLUMN guard; DROP TABLE journal; UPDATE meta SET schema = 99")
        .unwrap();
    let before = std::fs::read(&file).unwrap();
    match use_it(dir.path(), &app) {
        Err(StateError::Version { version: 99, place }) => assert!(place.ends_with("state.db")),
        other => panic!("{other:?}"),
    }
    assert!(std::fs::read(&file).unwrap() == before);
}

const CHILD: &str = "state::damage::child_that_leaves_a_log";

#[test]
#[ignore = "is started by other tests as a process of its own"]
fn child_that_leaves_a_log() {
    let Some(dir) = child_dir() else { return };
    let app = stack("shop");
    block_on(async {
        let store = SqliteStore::open(&dir).unwrap();
        let lease = acquire(&store, &app).await;
        let mut seq = 0;
        for entries in plan(&app, 3).chunks(1) {
            seq += lease.append(seq, entries).await.unwrap().len() as u64;
        }
        println!("\nready {seq}");
        std::thread::sleep(std::time::Duration::from_secs(600));
    });
}

#[test]
fn a_log_that_lost_its_end_does_not_pass_for_a_shorter_journal() {
    type Harm = fn(&Path);
    let harms: [Harm; 4] = [
        |log| {
            let length = std::fs::metadata(log).unwrap().len();
            std::fs::OpenOptions::new().write(true).open(log).unwrap().set_len(length / 2).unwrap();
        },
        |log| {
            let length = std::fs::metadata(log).unwrap().len();
            std::fs::OpenOptions::new().write(true).open(log).unwrap().set_len(length - 1).unwrap();
        },
        |log| {
            let mut bytes = std::fs::read(log).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
            std::fs::write(log, bytes).unwrap();
        },
        |log| std::fs::remove_file(log).unwrap(),
    ];
    for harm in harms {
        let dir = folder();
        let app = stack("shop");
        let mut child = Running::start(CHILD, dir.path());
        assert_eq!(child.next("ready").as_deref(), Some("8"));
        child.kill("ready");
        harm(&dir.path().join("state.db-wal"));
        let message = damaged(use_it(dir.path(), &app));
        assert!(message.contains("record 8 was written"), "{message}");
        block_on(async {
            let store = SqliteStore::open(dir.path()).unwrap();
            let error = store.acquire(&app, &holder("test")).await.unwrap_err();
            assert!(matches!(error, StateError::Damaged { .. }), "{error}");
        });
    }
}
