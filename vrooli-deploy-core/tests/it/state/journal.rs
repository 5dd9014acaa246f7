use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;
use serde_json::json;
use vrooli_deploy_core::engine::StackState;
use vrooli_deploy_core::state::{SqliteStore, StateError, StateStore};

use super::{
    acquire, append, block_on, closed, entry, filled, holder, opened, plan, stack, started, succeeded,
};
use crate::process::folder;

#[test]
fn a_state_is_private_and_keeps_its_id_when_it_is_moved() {
    let parent = folder();
    let dir = parent.path().join("a folder").join("state");
    let id = SqliteStore::open(&dir).unwrap().id();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join("locks")), 0o700);
    assert_eq!(mode(&dir.join("state.db")), 0o600);
    let moved = parent.path().join("moved?#%");
    std::fs::rename(&dir, &moved).unwrap();
    assert_eq!(SqliteStore::open(&moved).unwrap().id(), id);
    assert_ne!(SqliteStore::open(&dir).unwrap().id(), id, "a new folder is another state");
}

#[test]
fn what_is_appended_is_loaded_and_listed() {
    let dir = folder();
    let app = stack("shop");
    block_on(async {
        let store = SqliteStore::open(dir.path()).unwrap();
        assert_eq!(store.load(&app).await.unwrap(), StackState::default());
        assert_eq!(store.journal(&app, 0).await.unwrap(), []);
        let lease = acquire(&store, &app).await;
        assert_eq!(store.stacks().await.unwrap(), [], "a lease alone makes no stack");
        let written = lease.append(0, &plan(&app, 2)).await.unwrap();
        assert_eq!(written.len(), 6);
        assert!(written.iter().zip(1..).all(|(record, seq)| record.seq == seq && record.fence == 1));
        assert_eq!(store.journal(&app, 0).await.unwrap(), written);
        assert_eq!(store.journal(&app, 1).await.unwrap(), written);
        assert_eq!(store.journal(&app, 5).await.unwrap(), written[4..]);
        assert_eq!(store.journal(&app, 7).await.unwrap(), []);
        assert_eq!(store.journal(&app, 70).await.unwrap(), []);
        let state = store.load(&app).await.unwrap();
        assert_eq!((state.seq, state.resources.len(), state.open), (6, 2, None));
        assert_eq!(store.stacks().await.unwrap(), std::slice::from_ref(&app));
        assert!(lease.append(6, &[]).await.unwrap().is_empty());
        store.verify().await.unwrap();
    });
}

#[test]
fn an_append_at_another_place_or_out_of_turn_is_refused_whole() {
    let dir = folder();
    let app = stack("shop");
    block_on(async {
        let store = SqliteStore::open(dir.path()).unwrap();
        let lease = acquire(&store, &app).await;
        lease.append(0, &[opened(&app, 1)]).await.unwrap();
        for expected in [0, 2] {
            let error = lease.append(expected, &[started(0)]).await.unwrap_err();
            assert!(matches!(error, StateError::Lost { .. }), "{error}");
        }
        let error = lease.append(1, &[started(0), succeeded(9)]).await.unwrap_err();
        assert!(
            matches!(&error, StateError::Refused { message, .. } if message.contains("thing/9")),
            "{error}"
        );
        assert_eq!(store.load(&app).await.unwrap().seq, 1, "no entry of a refused append is written");
        lease.append(1, &[started(0), succeeded(0), closed()]).await.unwrap();
        store.verify().await.unwrap();
    });
}

#[test]
fn forgetting_keeps_the_numbers() {
    let dir = folder();
    let app = stack("shop");
    block_on(async {
        let store = SqliteStore::open(dir.path()).unwrap();
        let lease = acquire(&store, &app).await;
        let rebuilt = StackState { last_release: 12, ..StackState::default() };
        append(&store, &*lease, &app, &[entry(json!({"entry": "rebuilt", "state": rebuilt}))]).await;
        append(&store, &*lease, &app, &plan(&app, 1)).await;
        append(&store, &*lease, &app, &[entry(json!({"entry": "destroyed"}))]).await;
        store.set_setting(&app, "source", Some(&json!(1))).await.unwrap();

        let other = SqliteStore::open(dir.path()).unwrap();
        assert!(matches!(other.forget(&app).await.unwrap_err(), StateError::Held { .. }));
        store.forget(&app).await.unwrap();
        assert_eq!(store.stacks().await.unwrap(), []);
        assert_eq!(store.setting(&app, "source").await.unwrap(), None);
        let forgotten = store.load(&app).await.unwrap();
        assert_eq!(forgotten, StackState { seq: 6, last_release: 12, ..StackState::default() });
        assert_eq!(store.journal(&app, 0).await.unwrap(), []);
        lease.release().await.unwrap();

        // Forgetting twice, and what was never there, is nothing.
        other.forget(&app).await.unwrap();
        other.forget(&stack("never")).await.unwrap();
        drop((store, other));

        let store = SqliteStore::open(dir.path()).unwrap();
        let lease = acquire(&store, &app).await;
        assert_eq!(lease.info().fence, 2);
        let written = lease.append(6, &plan(&app, 1)).await.unwrap();
        assert_eq!(written[0].seq, 7);
        assert_eq!(store.load(&app).await.unwrap().last_release, 12);
        assert_eq!(store.journal(&app, 0).await.unwrap(), written);
        store.verify().await.unwrap();
    });
}

#[test]
fn settings_are_read_back_and_removed() {
    let dir = folder();
    let (a, b) = (stack("a"), stack("b"));
    block_on(async {
        let store = SqliteStore::open(dir.path()).unwrap();
        for value in [json!({"x": [1, "ü"]}), json!(null), json!("again")] {
            store.set_setting(&a, "name", Some(&value)).await.unwrap();
            assert_eq!(store.setting(&a, "name").await.unwrap(), Some(value));
        }
        assert_eq!(store.setting(&b, "name").await.unwrap(), None);
        store.set_setting(&a, "name", None).await.unwrap();
        assert_eq!(store.setting(&a, "name").await.unwrap(), None);
    });
}

#[test]
fn a_closed_store_leaves_one_file_and_its_locks() {
    let dir = folder();
    filled(dir.path());
    let mut left: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["locks", "state.db"]);
}

#[test]
fn what_two_stacks_append_at_once_shares_commits_and_stays_apart() {
    let dir = folder();
    let store = SqliteStore::open(dir.path()).unwrap();
    std::thread::scope(|scope| {
        for name in ["a", "b", "c", "d"] {
            let store = &store;
            scope.spawn(move || {
                block_on(async {
                    let app = stack(name);
                    let lease = acquire(store, &app).await;
                    let mut seq = 0;
                    for entries in plan(&app, 20).chunks(1) {
                        // Refused in the middle of other people's batches.
                        lease.append(seq + 1, entries).await.unwrap_err();
                        seq = lease.append(seq, entries).await.unwrap()[0].seq;
                    }
                });
            });
        }
    });
    block_on(async {
        assert_eq!(store.stacks().await.unwrap().len(), 4);
        for app in store.stacks().await.unwrap() {
            assert_eq!(store.load(&app).await.unwrap().resources.len(), 20);
        }
        store.verify().await.unwrap();
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// However a journal is cut into appends and processes, what is loaded is the fold of
    /// all records, and so is what the next process appends to.
    #[test]
    fn loading_is_replaying(plans in prop::collection::vec((0_usize..4, any::<bool>()), 1..5), cuts in prop::collection::vec(1_usize..5, 1..8)) {
        let dir = folder();
        let app = stack("shop");
        let entries: Vec<_> = plans.iter().flat_map(|(steps, _)| plan(&app, *steps)).collect();
        block_on(async {
            let mut rest = entries.as_slice();
            let mut cuts = cuts.iter().cycle();
            let mut reopen = plans.iter().map(|(_, reopen)| *reopen).cycle();
            let mut store = SqliteStore::open(dir.path()).unwrap();
            while !rest.is_empty() {
                if reopen.next().unwrap() {
                    drop(store);
                    store = SqliteStore::open(dir.path()).unwrap();
                }
                let (now, later) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                rest = later;
                let lease = store.acquire(&app, &holder("test")).await.unwrap();
                append(&store, &*lease, &app, now).await;
                lease.release().await.unwrap();

                let mut folded = StackState::default();
                let records = store.journal(&app, 0).await.unwrap();
                for record in &records {
                    folded.apply(record).unwrap();
                }
                assert_eq!(store.load(&app).await.unwrap(), folded);
            }
            assert_eq!(store.load(&app).await.unwrap().seq, entries.len() as u64);
            store.verify().await.unwrap();
        });
    }
}
