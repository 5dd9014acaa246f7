use super::*;
use crate::engine::{Entry, Outcome, OutcomeKind};
use crate::names::Digest;
use crate::plan::Plan;

fn stack() -> StackId {
    StackId { app: "shop".parse().unwrap(), environment: "default".parse().unwrap() }
}

fn holder(name: &str) -> Holder {
    Holder { id: Uuid::from_u128(7), name: name.to_owned(), host: "here".to_owned(), run_url: None }
}

fn opened() -> Entry {
    Entry::PlanOpened {
        run: Uuid::from_u128(1),
        plan: Plan {
            stack: stack(),
            provider: "local".parse().unwrap(),
            incarnation: Uuid::from_u128(2),
            command: "deploy".to_owned(),
            steps: Vec::new(),
            release: None,
            current: None,
            notes: Vec::new(),
            digest: Digest::of(b""),
        },
    }
}

fn closed() -> Entry {
    let outcome =
        Outcome { kind: OutcomeKind::Applied, release: None, cause: None, left_behind: Vec::new() };
    Entry::PlanClosed { outcome }
}

#[tokio::test]
async fn appends_are_read_back_by_another_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path()).unwrap();
    let lease = store.acquire(&stack(), &holder("one")).await.unwrap();
    let records = lease.append(0, &[opened(), closed()]).await.unwrap();
    assert_eq!(records.iter().map(|r| r.seq).collect::<Vec<_>>(), [1, 2]);
    lease.append(2, &[opened()]).await.unwrap();
    let other = SqliteStore::open(dir.path()).unwrap();
    assert_eq!(other.id(), store.id());
    let state = other.load(&stack()).await.unwrap();
    assert_eq!(state.seq, 3);
    assert!(state.open.is_some());
    // The snapshot and the whole journal say the same.
    let mut replayed = StackState::default();
    for record in other.journal(&stack(), 1).await.unwrap() {
        replayed.apply(&record).unwrap();
    }
    assert_eq!(replayed, state);
}

#[tokio::test]
async fn a_lease_is_held_once_and_a_stale_append_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path()).unwrap();
    let lease = store.acquire(&stack(), &holder("deploy (pid 1)")).await.unwrap();
    let second = SqliteStore::open(dir.path()).unwrap();
    let StateError::Held { info, .. } = second.acquire(&stack(), &holder("two")).await.unwrap_err() else {
        panic!("the lease is held");
    };
    assert_eq!(info.holder.name, "deploy (pid 1)");
    assert!(second.holder(&stack()).await.unwrap().is_some());
    // A sequence number that is not the last.
    lease.append(0, &[opened()]).await.unwrap();
    assert!(matches!(lease.append(0, &[closed()]).await, Err(StateError::Lost { .. })));
    let fence = lease.info().fence;
    lease.release().await.unwrap();
    assert!(second.holder(&stack()).await.unwrap().is_none());
    let next = second.acquire(&stack(), &holder("two")).await.unwrap();
    assert_eq!(next.info().fence, fence + 1);
}

#[tokio::test]
async fn what_cannot_follow_never_reaches_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path()).unwrap();
    let lease = store.acquire(&stack(), &holder("one")).await.unwrap();
    assert!(lease.append(0, &[opened(), opened()]).await.is_err());
    assert_eq!(store.load(&stack()).await.unwrap().seq, 0);
    lease.append(0, &[opened()]).await.unwrap();
}

#[tokio::test]
async fn changed_and_missing_records_are_seen() {
    for (damage, says) in [
        ("UPDATE journal SET entry = replace(entry, 'deploy', 'destroy') WHERE seq = 1", "checksum"),
        ("UPDATE journal SET at = '2020-01-01T00:00:00Z' WHERE seq = 2", "checksum"),
        ("DELETE FROM journal WHERE seq = 2", "missing"),
        ("DELETE FROM journal WHERE seq = 3", "missing"),
        ("UPDATE journal SET entry = '{}' WHERE seq = 3", "checksum"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(dir.path()).unwrap();
        let lease = store.acquire(&stack(), &holder("one")).await.unwrap();
        lease.append(0, &[opened(), closed(), opened()]).await.unwrap();
        let other = rusqlite::Connection::open(dir.path().join(schema::FILE)).unwrap();
        other.execute(damage, []).unwrap();
        let error = store.journal(&stack(), 1).await.unwrap_err();
        assert!(matches!(&error, StateError::Damaged { .. }) && error.to_string().contains(says), "{damage}: {error}");
    }
}

#[tokio::test]
async fn forgotten_stacks_are_gone_but_their_numbers_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path()).unwrap();
    let lease = store.acquire(&stack(), &holder("one")).await.unwrap();
    store.set_setting(&stack(), "source", Some(&serde_json::json!({"x": 1}))).await.unwrap();
    lease.append(0, &[opened(), closed(), Entry::Destroyed]).await.unwrap();
    store.forget(&stack()).await.unwrap();
    assert!(store.stacks().await.unwrap().is_empty());
    assert_eq!(store.setting(&stack(), "source").await.unwrap(), None);
    assert_eq!(store.load(&stack()).await.unwrap().seq, 3);
    lease.append(3, &[opened()]).await.unwrap();
    assert_eq!(store.stacks().await.unwrap(), [stack()]);
}

#[test]
fn a_newer_version_and_a_foreign_file_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(SqliteStore::open(dir.path()).unwrap());
    let path = dir.path().join(schema::FILE);
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(SqliteStore::open(dir.path()), Err(StateError::Version { version: 99, .. })));
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join(schema::FILE), "this is no database at all, only some text\n".repeat(100)).unwrap();
    let before = std::fs::read(other.path().join(schema::FILE)).unwrap();
    assert!(matches!(SqliteStore::open(other.path()), Err(StateError::Damaged { .. })));
    assert_eq!(std::fs::read(other.path().join(schema::FILE)).unwrap(), before);
}
