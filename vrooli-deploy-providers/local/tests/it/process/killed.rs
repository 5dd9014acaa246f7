//! Supervisors and shims that are killed, race, or wake up after a reboot.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use vrooli_deploy_core::provider::{ErrorKind, UnitState};
use vrooli_deploy_provider_local::process::{Program, SupervisorClient, observe};

use super::SLEEP;
use crate::world::{
    World, copy_this_program, cx, eventually, is_alive, is_marked, kill, kill_hard, stack, unit_id,
};

trials![
    "process::killed":
    killed_supervisor_is_replaced_without_a_restart,
    supervisor_that_died_before_the_first_call_is_no_fault_of_the_call,
    stop_that_was_interrupted_is_finished,
    killed_shim_leaves_nothing_and_the_unit_comes_back,
    killed_shim_and_supervisor_converge,
    supervisors_that_race_are_one_in_the_end,
    commands_that_race_replace_an_older_supervisor_once,
    another_boot_starts_anew,
    damaged_records_make_nothing_worse,
    starts_and_stops_under_fire,
];

fn killed_supervisor_is_replaced_without_a_restart() {
    let world = World::new();
    let release = world.stage_shell(1, "trap 'exit 7' TERM; while :; do sleep 0.05; done");
    let pid = world.start(release, "app.0").pid.unwrap();
    for _ in 0..3 {
        kill_hard(world.supervisor());
        assert!(is_alive(pid));
        assert_eq!(observe(&world.layout, &stack()).unwrap()[0].pid, Some(pid), "seen without a supervisor");
        let seen = world.only();
        assert_eq!((seen.pid, seen.restarts, seen.state), (Some(pid), 0, UnitState::Running));
    }
    kill_hard(world.supervisor());
    world.stop(release, "app.0");
    assert_eq!(world.only().last_exit.as_deref(), Some("ended with status 7"), "the shim knew");
}

fn supervisor_that_died_before_the_first_call_is_no_fault_of_the_call() {
    let world = World::new();
    let release = world.stage_shell(1, SLEEP);
    let pid = world.start(release, "app.0").pid.unwrap();
    // Both are connected by now.
    let (changes, reads) = (world.client(), world.wait(SupervisorClient::connect(&world.layout)));
    kill_hard(world.supervisor());
    let gone = world.wait(reads.unwrap().unwrap().list(&cx(1))).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::Unavailable, "it starts none: {gone}");
    world.wait(changes.stop(&cx(1), release, &unit_id("app.0"))).unwrap();
    assert!(!is_alive(pid));
}

fn stop_that_was_interrupted_is_finished() {
    let world = World::new();
    let release = world.stage_shell(1, "trap '' TERM; while :; do sleep 0.05; done");
    let pid = world.start(release, "app.0").pid.unwrap();
    let client = world.client();
    let supervisor = world.supervisor();
    let record = world.layout.unit(&stack(), release, &unit_id("app.0")).record();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            eventually("the stop is written down", || {
                fs::read_to_string(&record).is_ok_and(|t| t.contains("\"wanted\": false"))
            });
            kill_hard(supervisor);
        });
        // The client starts another one and asks it again.
        world.wait(client.stop(&cx(1), release, &unit_id("app.0"))).unwrap();
    });
    assert!(!is_alive(pid));
}

fn killed_shim_leaves_nothing_and_the_unit_comes_back() {
    let world = World::new();
    let release =
        world.stage_shell(1, "setsid sh -c 'trap \"\" TERM; while :; do sleep 0.05; done' & exec sleep 1000");
    let pid = world.start(release, "app.0").pid.unwrap();
    let mark = format!("{}/demo/default/r1/app.0", world.id);
    eventually("shim, app and its child run", || world.marked().len() >= 3);
    let before = world.marked();
    // Those that it starts again and again may have ended.
    assert!(before.iter().all(|pid| is_marked(*pid, &mark) || !is_alive(*pid)));

    kill_hard(world.instance(release, "app.0").shim.pid);
    eventually("the unit was started again", || {
        let seen = world.only();
        seen.state == UnitState::Running && seen.restarts == 1 && seen.pid != Some(pid)
    });
    assert!(before.iter().all(|pid| !is_alive(*pid)), "nothing of the first instance is left");
    assert_eq!(world.only().last_exit.as_deref(), Some("its shim was killed"));
}

fn killed_shim_and_supervisor_converge() {
    let world = World::new();
    let release = world.stage_shell(1, "setsid sleep 1000 & exec sleep 1000");
    world.start(release, "app.0");
    eventually("shim, app and its child run", || world.marked().len() == 3);
    let before = world.marked();
    kill_hard(world.supervisor());
    kill_hard(world.instance(release, "app.0").shim.pid);
    let client = world.client();
    world.wait(client.stop(&cx(1), release, &unit_id("app.0"))).unwrap();
    assert!(before.iter().all(|pid| !is_alive(*pid)));
    assert!(world.marked().is_empty());
}

fn supervisors_that_race_are_one_in_the_end() {
    let world = World::new();
    let release = world.stage_shell(1, SLEEP);
    for _ in 0..3 {
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(async {
                        let client = SupervisorClient::connect_or_spawn(&world.layout, Program::default())
                            .await
                            .unwrap();
                        client.start(&cx(1), release, &unit_id("app.0")).await.unwrap();
                    });
                });
            }
        });
        eventually("one supervisor is left", || world.children("supervisor").len() == 1);
        assert_eq!(world.children("shim").len(), 1, "one instance");
        kill_hard(world.supervisor());
    }
}

/// The program is replaced by a newer one, and several commands come at once.
fn commands_that_race_replace_an_older_supervisor_once() {
    let world = World::new();
    let release = world.stage_shell(1, SLEEP);
    let pid = world.start(release, "app.0").pid;
    kill_hard(world.supervisor());
    let program = world.dir.path().join("program");
    let starts = || {
        let log = fs::read_to_string(world.layout.supervisor_log()).unwrap();
        log.lines().filter(|line| line.contains(": starts, version")).count()
    };
    let together = |count: usize| {
        let new = world.dir.path().join("new");
        copy_this_program(&new);
        fs::rename(&new, &program).unwrap();
        let before = starts();
        let commands: Vec<_> = (0..count)
            .map(|_| {
                let mut command = Command::new(&program);
                command.args(["__test-app", "list"]).arg(world.layout.root());
                command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        for command in commands {
            let output = command.wait_with_output().unwrap();
            assert!(output.status.success(), "{output:?}");
        }
        starts() - before
    };
    assert_eq!(together(1), 1);
    for round in 0..10 {
        assert_eq!(together(4), 1, "successors in round {round}");
        eventually("one supervisor is left", || world.children("supervisor").len() == 1);
    }
    assert_eq!(world.only().pid, pid, "the app was left alone");
}

fn another_boot_starts_anew() {
    let world = World::new();
    let release = world.stage_shell(1, SLEEP);
    let before = world.start(release, "app.0").pid.unwrap();
    kill_hard(world.supervisor());
    let mut record = world.instance(release, "app.0");
    kill_hard(record.shim.pid);
    eventually("the app died with it", || !is_alive(before));
    // As after a power cut: the pid may be anybody's, here this test's.
    record.shim.boot = "another-boot".to_owned();
    record.shim.pid = std::process::id();
    let path = world.layout.unit(&stack(), release, &unit_id("app.0")).instance();
    fs::write(path, serde_json::to_vec(&record).unwrap()).unwrap();
    let client = world.client();
    eventually("what is wanted runs again", || {
        let seen = world.wait(client.list(&cx(1))).unwrap();
        seen[0].state == UnitState::Running
            && seen[0].restarts == 0
            && seen[0].pid.is_some_and(|p| p != before)
    });
}

fn damaged_records_make_nothing_worse() {
    let world = World::new();
    let release = world.stage_shell(1, SLEEP);
    let pid = world.start(release, "app.0").pid.unwrap();
    kill_hard(world.supervisor());
    let unit = world.layout.unit(&stack(), release, &unit_id("app.0"));
    fs::write(unit.record(), "{\"wanted\": tr").unwrap();
    let seen = world.only();
    assert_eq!((seen.state, seen.pid), (UnitState::Running, Some(pid)));
    world.stop(release, "app.0");

    fs::write(world.layout.release_record(&stack(), release), "{").unwrap();
    let error = world.wait(world.client().start(&cx(1), release, &unit_id("app.0"))).unwrap_err();
    assert!(error.message().contains("release.json") && error.message().contains("damaged"), "{error}");
}

/// The supervisor is killed at ever other moments of a start and of a stop.
fn starts_and_stops_under_fire() {
    let world = World::new();
    let release =
        world.stage_shell(1, "setsid sleep 1000 & trap 'exit 0' TERM; while :; do sleep 0.02; done");
    let client = world.client();
    let unit = unit_id("app.0");
    for round in 0..24_u64 {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let pause = Duration::from_millis(1 + round * 2);
                while !done.load(Ordering::SeqCst) {
                    std::thread::sleep(pause);
                    let victims = world.children("supervisor");
                    if let (Some(victim), false) = (victims.first(), done.load(Ordering::SeqCst)) {
                        kill(*victim, "KILL");
                        return;
                    }
                }
            });
            let started = world.wait(client.start(&cx(1), release, &unit));
            let stopped =
                if round % 2 == 0 { None } else { Some(world.wait(client.stop(&cx(1), release, &unit))) };
            done.store(true, Ordering::SeqCst);
            started.unwrap();
            stopped.transpose().unwrap();
        });
        let seen = world.only();
        if round % 2 == 0 {
            assert_eq!(seen.state, UnitState::Running, "{seen:?}");
            assert_eq!(world.children("shim").len(), 1);
        } else {
            assert_eq!(seen.state, UnitState::Stopped, "{seen:?}");
            assert!(world.marked().is_empty(), "round {round}");
        }
    }
}
