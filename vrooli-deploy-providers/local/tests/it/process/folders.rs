//! State folders that are moved, copied, deleted, deep, and private.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::json;
use vrooli_deploy_core::provider::UnitState;
use vrooli_deploy_provider_local::layout::Layout;

use super::SLEEP;
use crate::world::{World, cx, eventually, is_alive, kill_hard, stack, unit_id};

trials![
    "process::folders":
    moved_folder_goes_on,
    copied_folder_is_another_workspace,
    deleted_folder_ends_everything,
    deleted_folder_ends_everything_without_a_supervisor,
    what_was_deleted_under_load_is_not_made_again,
    deleted_folder_of_apps_that_restart_all_the_time,
    long_paths_and_private_files,
];

fn moved_folder_goes_on() {
    let mut world = World::new();
    let release = world.stage(1, &json!({ "one": { "run": "echo one; exec sleep 1000" }, "two": { "run": "echo two; exec sleep 1000" } }));
    let pid = world.start(release, "one.0").pid.unwrap();
    let supervisor = world.supervisor();
    let moved = world.dir.path().join("elsewhere/deep");
    fs::create_dir_all(moved.parent().unwrap()).unwrap();
    fs::rename(world.layout.root(), &moved).unwrap();
    world.layout = vrooli_deploy_provider_local::layout::Layout::new(&moved);

    assert_eq!(world.only().pid, Some(pid));
    world.start(release, "two.0");
    eventually("the second one writes to the new place", || world.log(release, "two.0") == "two\n");
    assert!(is_alive(supervisor), "nobody was replaced");
    kill_hard(supervisor);
    assert_eq!(world.list().iter().find(|u| u.unit == unit_id("one.0")).unwrap().pid, Some(pid));
    world.stop(release, "one.0");
    assert!(!is_alive(pid));
    assert!(!world.dir.path().join("state").exists(), "nothing comes back under the old name");
}

/// A copy has the same id and the records of processes that are not its own.
fn copied_folder_is_another_workspace() {
    let mut world = World::new();
    let release = world.stage_shell(1, SLEEP);
    let pid = world.start(release, "app.0").pid.unwrap();
    let copy = world.dir.path().join("copy");
    let copied = Command::new("cp").arg("-a").args([world.layout.root(), &copy]).status().unwrap();
    assert!(copied.success());
    let original = std::mem::replace(&mut world.layout, Layout::new(&copy));
    eventually("the copy's own instance runs", || {
        let seen = world.only();
        seen.state == UnitState::Running && seen.pid.is_some_and(|p| p != pid)
    });
    world.wait(world.client().forget(&cx(1))).unwrap();
    assert!(is_alive(pid), "the original's was left alone");
    world.wait(world.client().shutdown()).unwrap();
    world.layout = original;
    assert_eq!(world.only().pid, Some(pid));
}

fn deleted_folder_ends_everything() {
    let world = World::new();
    let release = world.stage_shell(1, "setsid sleep 1000 & trap '' TERM; while :; do sleep 0.05; done");
    world.start(release, "app.0");
    let supervisor = world.supervisor();
    fs::remove_dir_all(world.layout.root()).unwrap();
    eventually("everything is gone", || !is_alive(supervisor) && world.marked().is_empty());
    assert!(!world.layout.root().exists(), "nothing of it was made again");
}

fn deleted_folder_ends_everything_without_a_supervisor() {
    let world = World::new();
    let release = world.stage_shell(1, "setsid sleep 1000 & exec sleep 1000");
    world.start(release, "app.0");
    kill_hard(world.supervisor());
    assert!(!world.marked().is_empty());
    fs::remove_dir_all(world.layout.root()).unwrap();
    eventually("everything is gone", || world.marked().is_empty());
}

/// Removes a folder in which somebody may still write, as often as that takes.
fn remove(folder: &std::path::Path) {
    eventually("the folder is removed", || {
        let _ = fs::remove_dir_all(folder);
        !folder.exists()
    });
}

/// A removal takes its time, and what is deleted first need not be what tells the supervisor.
fn what_was_deleted_under_load_is_not_made_again() {
    let world = World::new();
    let release = world.stage_shell(1, "echo on; sleep 0.1; exit 3");
    world.start(release, "app.0");
    eventually("it is started again and again", || world.only().restarts > 2);
    let supervisor = world.supervisor();
    remove(&world.layout.root().join("apps"));
    // Nothing is left to do for it: it ends by itself, and made nothing anew meanwhile.
    eventually("the supervisor has ended", || !is_alive(supervisor) && world.marked().is_empty());
    assert!(!world.layout.root().join("apps").exists(), "what was deleted came back");
}

fn deleted_folder_of_apps_that_restart_all_the_time() {
    for _ in 0..4 {
        let world = World::new();
        let line = json!({ "run": "echo on; sleep 0.05; exit 3" });
        let release = world.stage(1, &json!({ "one": line, "two": line, "three": line, "four": line }));
        for unit in ["one.0", "two.0", "three.0", "four.0"] {
            world.start(release, unit);
        }
        eventually("they are started again", || world.list().iter().all(|unit| unit.restarts > 0));
        let supervisor = world.supervisor();
        remove(world.layout.root());
        eventually("everything is gone", || !is_alive(supervisor) && world.marked().is_empty());
        assert!(!world.layout.root().exists(), "nothing of it was made again");
        let beside: Vec<_> =
            fs::read_dir(world.dir.path()).unwrap().flatten().map(|e| e.file_name()).collect();
        assert!(beside.is_empty(), "nor beside it: {beside:?}");
    }
}

fn long_paths_and_private_files() {
    let long = format!("{}/{}/state", "x".repeat(100), "y".repeat(100));
    let world = World::at(&long);
    let release = world.stage_shell(1, "echo hello; exec sleep 1000");
    world.start(release, "app.0");
    assert_eq!(world.only().state, UnitState::Running);
    world.stop(release, "app.0");
    let staged = world.layout.releases(&stack());
    for entry in walkdir::WalkDir::new(world.layout.root()).into_iter().flatten() {
        // Staged by the test, with the folders above it.
        if entry.path().starts_with(&staged) || staged.starts_with(entry.path()) || entry.file_name() == "id"
        {
            continue;
        }
        // A draft may have become its file meanwhile.
        let Ok(metadata) = entry.metadata() else { continue };
        let mode = metadata.permissions().mode() & 0o777;
        assert_eq!(mode & 0o077, 0, "{} is {mode:o}", entry.path().display());
    }
}
