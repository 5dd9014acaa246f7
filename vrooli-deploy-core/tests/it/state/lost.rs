//! A state that is lost makes room for a new one, and the new one is heard.

use vrooli_deploy_core::state::{SqliteStore, StateError, StateStore};

use super::{acquire, block_on, filled};
use crate::process::folder;

#[test]
fn what_is_left_of_a_lost_state_is_put_aside_and_the_folder_keeps_its_id() {
    let dir = folder();
    assert_eq!(SqliteStore::set_aside(dir.path()).unwrap(), None, "there is nothing");
    let app = filled(dir.path());
    let id = SqliteStore::open(dir.path()).unwrap().id();
    std::fs::write(dir.path().join("id"), format!("{id}\n")).unwrap();
    std::fs::remove_file(dir.path().join("state.db")).unwrap();
    let Err(StateError::Damaged { message, .. }) = SqliteStore::open(dir.path()) else {
        panic!("a journal that is gone was taken for one that never was")
    };
    assert!(message.contains("the file is gone"), "{message}");
    let first = SqliteStore::set_aside(dir.path()).unwrap().unwrap();
    assert!(first.ends_with("lost-1") && first.join("locks").is_dir());
    block_on(async {
        let store = SqliteStore::open(dir.path()).unwrap();
        assert_eq!(store.id(), id, "it is the same folder");
        assert_eq!(store.stacks().await.unwrap(), []);
        // While somebody is at it nothing is moved.
        let lease = acquire(&store, &app).await;
        let refused = SqliteStore::set_aside(dir.path()).unwrap_err().to_string();
        assert!(refused.contains("`shop/default` is being changed"), "{refused}");
        drop(lease);
    });
    let second = SqliteStore::set_aside(dir.path()).unwrap().unwrap();
    assert!(second.ends_with("lost-2") && second.join("state.db").is_file());
}

#[test]
fn a_new_state_is_given_a_higher_lease_than_any_that_was_seen() {
    let dir = folder();
    let app = super::stack("shop");
    block_on(async {
        let store = SqliteStore::open(dir.path()).unwrap();
        store.raise_fence(&app, 41).await.unwrap();
        assert_eq!(store.holder(&app).await.unwrap(), None);
        let lease = acquire(&store, &app).await;
        assert_eq!(lease.info().fence, 42);
        drop(lease);
        store.raise_fence(&app, 7).await.unwrap();
        assert_eq!(acquire(&store, &app).await.info().fence, 43, "numbers only rise");
        assert_eq!(store.stacks().await.unwrap(), []);
        store.verify().await.unwrap();
    });
}
