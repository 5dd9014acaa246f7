use std::time::Duration;

use rusqlite::Connection;
use vrooli_deploy_core::state::{SqliteOptions, SqliteStore, StateError, StateStore};

use super::{acquire, block_on, filled, holder, opened, stack, started};
use crate::process::folder;

#[test]
fn a_second_holder_is_told_who_where_and_since_when() {
    let dir = folder();
    let app = stack("shop");
    block_on(async {
        let (one, two) = (SqliteStore::open(dir.path()).unwrap(), SqliteStore::open(dir.path()).unwrap());
        assert_eq!(one.holder(&app).await.unwrap(), None);
        let lease = one.acquire(&app, &holder("deploy (pid 1)")).await.unwrap();
        for store in [&one, &two] {
            match store.acquire(&app, &holder("other")).await.unwrap_err() {
                StateError::Held { stack, info } => {
                    assert_eq!(stack, app);
                    assert_eq!(*info, *lease.info());
                    assert_eq!(
                        (info.holder.name.as_str(), info.holder.host.as_str()),
                        ("deploy (pid 1)", "here")
                    );
                }
                other => panic!("{other}"),
            }
            assert_eq!(store.holder(&app).await.unwrap().as_ref(), Some(lease.info()));
        }
        let elsewhere = acquire(&two, &stack("other")).await;
        lease.release().await.unwrap();
        assert_eq!(two.holder(&app).await.unwrap(), None);
        let next = acquire(&two, &app).await;
        assert_eq!(next.info().fence, 2, "each holder raises the fence");
        drop((next, elsewhere));
        assert_eq!(one.holder(&app).await.unwrap(), None);
    });
}

#[test]
fn a_lease_ends_with_its_holder_even_when_that_panics() {
    let dir = folder();
    let app = stack("shop");
    let store = SqliteStore::open(dir.path()).unwrap();
    let holds = store.clone();
    let wanted = app.clone();
    let panicked = std::thread::spawn(move || {
        block_on(async {
            let _lease = acquire(&holds, &wanted).await;
            panic!("on purpose");
        });
    })
    .join();
    assert!(panicked.is_err());
    block_on(async {
        assert_eq!(acquire(&store, &app).await.info().fence, 2);
    });
}

#[test]
fn an_acquire_that_nobody_waits_for_any_more_leaves_no_lock() {
    let dir = folder();
    let app = stack("shop");
    let store = SqliteStore::open(dir.path()).unwrap();
    block_on(async {
        for polls in 0..20 {
            let who = holder("gone");
            let mut future = store.acquire(&app, &who);
            for _ in 0..polls {
                if futures_util::poll!(&mut future).is_ready() {
                    break;
                }
                std::thread::yield_now();
            }
        }
    });
    let mut patient = SqliteOptions::default();
    patient.lease_wait = Duration::from_secs(60);
    let store = SqliteStore::open_with(dir.path(), &patient).unwrap();
    block_on(async {
        acquire(&store, &app).await.release().await.unwrap();
    });
}

#[test]
fn a_lock_that_is_given_back_late_is_waited_for() {
    let dir = folder();
    let app = stack("shop");
    let mut options = SqliteOptions::default();
    options.lease_wait = Duration::from_secs(60);
    let store = SqliteStore::open_with(dir.path(), &options).unwrap();
    // As a child between fork and exec does, whose parent was killed.
    let late = std::fs::File::create(dir.path().join("locks/shop~default.lock")).unwrap();
    late.lock().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(20));
            late.unlock().unwrap();
        });
        block_on(async {
            acquire(&store, &app).await;
        });
    });
}

#[test]
fn a_holder_that_was_taken_over_writes_nothing_more() {
    let dir = folder();
    let app = stack("shop");
    block_on(async {
        let (one, two) = (SqliteStore::open(dir.path()).unwrap(), SqliteStore::open(dir.path()).unwrap());
        let old = acquire(&one, &app).await;
        old.append(0, &[opened(&app, 2)]).await.unwrap();
        // Someone removed the lock file, so the kernel keeps nobody out: the fence does.
        std::fs::remove_file(dir.path().join("locks/shop~default.lock")).unwrap();
        let new = acquire(&two, &app).await;
        assert_eq!(new.info().fence, 2);
        let error = old.append(1, &[started(0)]).await.unwrap_err();
        assert!(
            matches!(&error, StateError::Lost { message, .. } if message.contains("taken over")),
            "{error}"
        );
        new.append(1, &[started(0)]).await.unwrap();
        let error = old.append(1, &[started(1)]).await.unwrap_err();
        assert!(matches!(error, StateError::Lost { .. }), "{error}");
        assert_eq!(two.load(&app).await.unwrap().seq, 2);
        // The old one's end takes nothing from the new one.
        old.release().await.unwrap();
        assert_eq!(two.holder(&app).await.unwrap().as_ref(), Some(new.info()));
    });
}

#[test]
fn no_clock_decides() {
    let dir = folder();
    let app = filled(dir.path());
    for time in ["2099-01-01T00:00:00Z", "1970-01-01T00:00:00Z"] {
        let connection = Connection::open(dir.path().join("state.db")).unwrap();
        connection
            .execute(
                "UPDATE leases SET holder = ?1, since = ?2, heartbeat = ?2",
                [&serde_json::to_string(&holder("dead")).unwrap(), time],
            )
            .unwrap();
        drop(connection);
        block_on(async {
            let store = SqliteStore::open(dir.path()).unwrap();
            assert_eq!(store.holder(&app).await.unwrap(), None, "its lock is free, so it is dead");
            let lease = acquire(&store, &app).await;
            lease.append(store.load(&app).await.unwrap().seq, &[started(1)]).await.unwrap();
        });
    }
}

#[test]
fn a_lease_gives_signs_of_life_and_survives_when_it_cannot() {
    let dir = folder();
    let app = stack("shop");
    let mut options = SqliteOptions::default();
    options.heartbeat = Duration::from_millis(5);
    options.busy_wait = Duration::from_millis(1);
    block_on(async {
        let store = SqliteStore::open_with(dir.path(), &options).unwrap();
        let lease = acquire(&store, &app).await;
        let beats = || async {
            let before = store.holder(&app).await.unwrap().unwrap().heartbeat;
            for _ in 0..6_000 {
                if store.holder(&app).await.unwrap().unwrap().heartbeat > before {
                    return;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            panic!("no heartbeat");
        };
        beats().await;
        let other = Connection::open(dir.path().join("state.db")).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let error = lease.append(0, &[opened(&app, 1)]).await.unwrap_err();
        assert!(
            matches!(&error, StateError::Io { message, .. } if message.contains("another process")),
            "{error}"
        );
        std::thread::sleep(Duration::from_millis(20));
        other.execute_batch("ROLLBACK").unwrap();
        beats().await;
        lease.append(0, &[opened(&app, 1)]).await.unwrap();
    });
}
