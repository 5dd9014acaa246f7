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
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode & 0o077, 0, "{} is {mode:o}", entry.path().display());
    }
}
