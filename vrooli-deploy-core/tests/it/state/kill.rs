//! kill -9 at any moment: nothing acknowledged is lost, nothing is torn, and the lease is
//! free at once.

use vrooli_deploy_core::state::{SqliteStore, StateError, StateStore};

use super::{acquire, block_on, plan, stack};
use crate::process::{Running, child_dir, folder};

const CHILD: &str = "state::kill::child_that_appends";

#[test]
#[ignore = "is started by other tests as a process of its own"]
fn child_that_appends() {
    let Some(dir) = child_dir() else { return };
    let app = stack("shop");
    block_on(async {
        let store = SqliteStore::open(&dir).unwrap();
        let lease = acquire(&store, &app).await;
        let mut seq = store.load(&app).await.unwrap().seq;
        if store.load(&app).await.unwrap().open.is_some() {
            seq = lease.append(seq, &[super::closed()]).await.unwrap()[0].seq;
        }
        println!("\nack {seq}");
        loop {
            for entries in plan(&app, 3).chunks(2) {
                seq += lease.append(seq, entries).await.unwrap().len() as u64;
                println!("ack {seq}");
            }
        }
    });
}

#[test]
fn nothing_acknowledged_is_lost() {
    let dir = folder();
    let app = stack("shop");
    for round in 1..=12 {
        let mut child = Running::start(CHILD, dir.path());
        let mut acknowledged = 0;
        for _ in 0..round * 3 {
            acknowledged = child.next("ack").unwrap().parse::<u64>().unwrap();
        }
        let store = SqliteStore::open(dir.path()).unwrap();
        block_on(async {
            let error = store.acquire(&app, &super::holder("second")).await.unwrap_err();
            assert!(matches!(error, StateError::Held { .. }), "{error}");
        });
        if let Some(last) = child.kill("ack").last() {
            acknowledged = last.parse().unwrap();
        }
        block_on(async {
            let lease = acquire(&store, &app).await;
            assert_eq!(lease.info().fence, round * 2);
            let state = store.load(&app).await.unwrap();
            assert!(state.seq >= acknowledged, "{} < {acknowledged}", state.seq);
            store.verify().await.unwrap();
            lease.release().await.unwrap();
        });
        // Every other round the log is left for the next process to recover.
        if round % 2 == 0 {
            drop(store);
        } else {
            std::mem::forget(store);
        }
    }
}

#[test]
fn readers_see_whole_states_while_another_process_writes() {
    let dir = folder();
    let app = stack("shop");
    let mut child = Running::start(CHILD, dir.path());
    let store = SqliteStore::open(dir.path()).unwrap();
    block_on(async {
        let mut last = 0;
        for _ in 0..60 {
            let acknowledged = child.next("ack").unwrap().parse::<u64>().unwrap();
            let state = store.load(&app).await.unwrap();
            assert!(state.seq >= acknowledged.max(last));
            last = state.seq;
            let journal = store.journal(&app, last.max(1)).await.unwrap();
            assert!(journal.iter().zip(last.max(1)..).all(|(record, seq)| record.seq == seq));
            store.verify().await.unwrap();
        }
    });
}

#[test]
fn two_processes_write_two_stacks() {
    let dir = folder();
    let mut child = Running::start(CHILD, dir.path());
    let store = SqliteStore::open(dir.path()).unwrap();
    let mine = stack("mine");
    block_on(async {
        let lease = acquire(&store, &mine).await;
        let mut seq = 0;
        for _ in 0..20 {
            child.next("ack").unwrap();
            for entries in plan(&mine, 2).chunks(1) {
                seq += lease.append(seq, entries).await.unwrap().len() as u64;
            }
        }
        child.kill("ack");
        assert_eq!(store.stacks().await.unwrap(), [mine.clone(), stack("shop")]);
        store.verify().await.unwrap();
    });
}
