use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use vrooli_deploy_core::provider::{ErrorKind, UnitState};
use vrooli_deploy_core::secrets::Secret;
use vrooli_deploy_provider_local::layout::Layout;
use vrooli_deploy_provider_local::process::{Program, SupervisorClient, observe};

use crate::app;
use crate::world::{
    World, cx, eventually, files, is_alive, is_marked, kill, kill_hard, processes, stack, unit_id,
};

trials![
    "process":
    starts_lists_and_stops,
    environment_is_clean_and_complete,
    killed_supervisor_is_replaced_without_a_restart,
    stop_that_was_interrupted_is_finished,
    killed_shim_leaves_nothing_and_the_unit_comes_back,
    killed_shim_and_supervisor_converge,
    app_that_ignores_the_request_is_forced,
    grandchild_in_its_own_session_is_ended,
    shell_that_ends_leaves_a_running_instance,
    crash_loop_backs_off_and_is_told,
    what_cannot_be_run_is_said,
    fixed_port_that_is_taken_names_the_holder,
    releases_side_by_side_have_other_ports,
    moved_folder_goes_on,
    copied_folder_is_another_workspace,
    deleted_folder_ends_everything,
    deleted_folder_ends_everything_without_a_supervisor,
    supervisors_that_race_are_one_in_the_end,
    long_paths_and_private_files,
    secrets_are_in_no_file_and_no_argument,
    key_of_the_store_is_held_in_memory_and_passed_to_the_successor,
    lower_fence_is_refused,
    idle_supervisor_goes,
    predecessor_steps_down,
    messages_are_checked,
    another_boot_starts_anew,
    damaged_records_make_nothing_worse,
    log_is_rotated_while_it_is_written,
    starts_and_stops_under_fire,
    program_that_forgets_to_become_a_child_is_told,
    ordinary_user_can_do_it_too,
];

const SLEEP: &str = "exec sleep 1000";

fn starts_lists_and_stops() {
    let world = World::new();
    let release = world.stage_shell(1, "echo hello; exec sleep 1000");
    let seen = world.start(release, "app.0");
    assert_eq!(seen.state, UnitState::Running);
    let pid = seen.pid.unwrap();
    assert!(is_alive(pid));
    assert_eq!(world.start(release, "app.0").pid, Some(pid), "a second start changes nothing");
    assert_eq!(world.only().pid, Some(pid));
    assert_eq!(
        observe(&world.layout, &stack()).unwrap(),
        [world.only()],
        "files say the same as the supervisor"
    );
    eventually("its output is in its log", || world.log(release, "app.0") == "hello\n");

    world.stop(release, "app.0");
    assert!(!is_alive(pid));
    let seen = world.only();
    assert_eq!((seen.state, seen.pid), (UnitState::Stopped, None));
    assert_eq!(seen.last_exit.as_deref(), Some("ended by signal 15 (SIGTERM)"));
    world.stop(release, "app.0");
    world.stop(release, "other.7");
}

fn environment_is_clean_and_complete() {
    let world = World::new();
    let release = world.stage_with(
        1,
        &json!({
            "api": { "run": "env > env.txt; exec sleep 1000", "dir": "api", "ports": { "api": { "env_var": "API_PORT" } } },
            "ui": { "run": SLEEP, "ports": { "ui": { "env_var": "UI_PORT" } } }
        }),
        &json!({ "api": { "GREETING": { "value": "a 'b' $c" }, "DATA": "data_dir" } }),
    );
    let dir = world.layout.release_root(&stack(), release).join("api");
    fs::create_dir_all(&dir).unwrap();
    let api = world.start(release, "api.0");
    let ui = world.start(release, "ui.0");
    let file = dir.join("env.txt");
    eventually("the app has said its environment", || {
        fs::read_to_string(&file).is_ok_and(|t| t.contains("VROOLI_DEPLOY_UNIT"))
    });
    let text = fs::read_to_string(&file).unwrap();
    for line in [
        format!("API_PORT={}", api.ports["api"]),
        format!("UI_PORT={}", ui.ports["ui"]),
        format!("PORT={}", api.ports["api"]),
        "VROOLI_LIFECYCLE_MANAGED=true".to_owned(),
        "VROOLI_API_SKIP_STALE_CHECK=true".to_owned(),
        "SCENARIO_NAME=demo".to_owned(),
        "GREETING=a 'b' $c".to_owned(),
        format!("DATA={}", world.layout.data(&stack()).display()),
        format!("VROOLI_DEPLOY_UNIT={}/demo/default/r1/api.0", world.id),
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
    // Set by cargo for this test, and nothing an app should see.
    assert!(!text.contains("CARGO_MANIFEST"), "{text}");
}

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
    assert!(before.iter().all(|pid| is_marked(*pid, &mark)));

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

fn app_that_ignores_the_request_is_forced() {
    let world = World::new();
    let release = world.stage_shell(1, "trap '' TERM INT HUP; echo > deaf; while :; do sleep 0.05; done");
    let pid = world.start(release, "app.0").pid.unwrap();
    // Before that it would hear the request.
    let deaf = world.layout.release_root(&stack(), release).join("deaf");
    eventually("it is deaf", || deaf.exists());
    world.stop(release, "app.0");
    assert!(!is_alive(pid));
    assert!(world.marked().is_empty());
    assert!(world.only().last_exit.unwrap().contains("signal 9"));
}

fn grandchild_in_its_own_session_is_ended() {
    let world = World::new();
    // Twice forked, in a session of its own, deaf to the request; the one between is gone.
    let release = world.stage_shell(
        1,
        "(setsid sh -c 'trap \"\" TERM; echo $$ > pid; while :; do sleep 0.05; done' & ) ; exec sleep 1000",
    );
    world.start(release, "app.0");
    let file = world.layout.release_root(&stack(), release).join("pid");
    eventually("the grandchild runs", || fs::read_to_string(&file).is_ok_and(|t| t.ends_with('\n')));
    let grandchild: u32 = fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    world.stop(release, "app.0");
    assert!(!is_alive(grandchild));
    assert!(world.marked().is_empty());
}

fn shell_that_ends_leaves_a_running_instance() {
    let world = World::new();
    let release = world.stage_shell(1, "sleep 1000 & until test -e go; do sleep 0.02; done; exit 3");
    let first = world.start(release, "app.0").pid.unwrap();
    fs::write(world.layout.release_root(&stack(), release).join("go"), "").unwrap();
    eventually("the shell has ended", || !is_alive(first));
    eventually("its child stands for the instance", || {
        let seen = world.only();
        seen.state == UnitState::Running
            && seen.restarts == 0
            && seen.pid.is_some_and(|p| p != first && is_alive(p))
    });
    let child = world.only().pid.unwrap();
    kill_hard(world.supervisor());
    assert_eq!(world.only().pid, Some(child));
    world.stop(release, "app.0");
    assert!(!is_alive(child));
}

fn crash_loop_backs_off_and_is_told() {
    let world = World::new();
    let release = world.stage_shell(1, "echo dying >&2; exit 3");
    let seen = world.start(release, "app.0");
    assert_eq!(seen.unit, unit_id("app.0"), "starting is not being well: no error here");
    eventually("it was started again some times", || world.only().restarts >= 3);
    assert_eq!(world.only().last_exit.as_deref(), Some("ended with status 3"));
    eventually("between tries it shows as restarting", || world.only().state == UnitState::Restarting);
    world.stop(release, "app.0");
    let seen = world.only();
    let lines = world.log(release, "app.0").lines().count();
    assert_eq!(seen.state, UnitState::Stopped);
    assert!(lines > 3 && u32::try_from(lines).unwrap() <= seen.restarts + 1, "{lines} {}", seen.restarts);
}

fn what_cannot_be_run_is_said() {
    let world = World::new();
    let release = world.stage(
        1,
        &json!({
            "missing": { "run": ["no-such-program", "--flag"] },
            "nowhere": { "run": SLEEP, "dir": "not/there" },
            "outside": { "run": SLEEP, "dir": "../../.." }
        }),
    );
    for (unit, kind, words) in [
        ("missing.0", ErrorKind::Missing, "`no-such-program`"),
        ("nowhere.0", ErrorKind::NotFound, "not/there"),
        ("outside.0", ErrorKind::Config, "leads out of the release"),
        ("absent.0", ErrorKind::NotFound, "has no service `absent`"),
        ("missing.1", ErrorKind::Config, "at most 1"),
    ] {
        let error = world.wait(world.client().start(&cx(1), release, &unit_id(unit))).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(words), "{error}");
    }
    let error =
        world.wait(world.client().start(&cx(1), "r9".parse().unwrap(), &unit_id("app.0"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(world.marked().is_empty());
    assert!(world.list().iter().all(|u| u.state == UnitState::Failed && u.last_exit.is_some()));
}

fn fixed_port_that_is_taken_names_the_holder() {
    let world = World::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let release = world.stage(1, &json!({ "app": { "run": SLEEP, "ports": { "api": { "port": port } } } }));
    let start = || world.wait(world.client().start(&cx(1), release, &unit_id("app.0")));
    let error = start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains(&format!("process {}", std::process::id())), "{error}");
    drop(listener);
    assert_eq!(start().unwrap().ports["api"], port);
}

fn releases_side_by_side_have_other_ports() {
    let world = World::new();
    let services = json!({
        "api": { "run": SLEEP, "ports": { "api": {} }, "scaling": { "min": 2, "max": 2 } },
        "ui": { "run": SLEEP, "ports": { "ui": {} } }
    });
    let (one, two) = (world.stage(1, &services), world.stage(2, &services));
    for release in [one, two] {
        for unit in ["api.0", "api.1", "ui.0"] {
            world.start(release, unit);
        }
    }
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let lowest: u16 = range.split_whitespace().next().unwrap().parse().unwrap();
    let ports =
        |world: &World| -> Vec<u16> { world.list().iter().flat_map(|u| u.ports.values().copied()).collect() };
    let mut all = ports(&world);
    assert_eq!(all.len(), 6);
    assert!(all.iter().all(|p| *p < lowest), "{all:?} below {lowest}");
    let before = all.clone();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 6, "no number twice");
    kill_hard(world.supervisor());
    assert_eq!(ports(&world), before, "they are kept");
    world.wait(world.client().remove(&cx(1), one)).unwrap();
    assert_eq!(ports(&world).len(), 3);
    assert!(!world.layout.release_units(&stack(), one).exists());
}

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

fn secrets_are_in_no_file_and_no_argument() {
    const CANARY: &str = "canary-7f3d-not-to-be-seen";
    let world = World::new();
    fs::write(world.dir.path().join("store"), CANARY).unwrap();
    let secret = json!({ "secret": { "$secret": "file", "path": "demo/default/password", "version": 1, "hash": "h" } });
    let env = json!({ "app": { "PASSWORD": secret }, "dies": { "PASSWORD": secret } });
    let release = world.stage_with(
        1,
        &json!({
            "app": { "run": "test -n \"$PASSWORD\" && echo here; exec sleep 1000" },
            "dies": { "run": "exit 1" },
            "missing": { "run": ["no-such-program"] }
        }),
        &env,
    );
    let seen = world.start(release, "app.0");
    world.start(release, "dies.0");
    let _ = world.wait(world.client().start(&cx(1), release, &unit_id("missing.0")));
    eventually("the app has its secret", || world.log(release, "app.0") == "here\n");
    assert!(fs::read_to_string(format!("/proc/{}/environ", seen.pid.unwrap())).unwrap().contains(CANARY));
    eventually("one was started again", || world.list().iter().any(|u| u.restarts > 1));
    kill_hard(world.supervisor());
    let listed = format!("{:?}", world.list());

    assert!(!listed.contains(CANARY));
    let holds = |bytes: &[u8]| bytes.windows(CANARY.len()).any(|w| w == CANARY.as_bytes());
    for file in files(world.layout.root()) {
        assert!(!holds(&fs::read(&file).unwrap()), "{}", file.display());
    }
    for pid in processes() {
        assert!(!holds(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()), "process {pid}");
    }

    // Without the store only what needs it cannot be started, and it says why.
    fs::remove_file(world.dir.path().join("store")).unwrap();
    world.stop(release, "app.0");
    let error = world.wait(world.client().start(&cx(1), release, &unit_id("app.0"))).unwrap_err();
    assert!(error.message().contains("secret store"), "{error}");
    let plain = world.stage_shell(2, SLEEP);
    world.start(plain, "app.0");
}

const KEY: &str = "key-of-the-store-51c0-in-no-file";

/// Does any process that is ours show the key to others?
fn shows_key(world: &World) -> bool {
    let holds = |pid: u32, file: &str| {
        fs::read(format!("/proc/{pid}/{file}"))
            .is_ok_and(|bytes| bytes.windows(KEY.len()).any(|w| w == KEY.as_bytes()))
    };
    let ours = world.marked().into_iter().chain(world.children("supervisor")).chain(world.children("edge"));
    ours.into_iter().any(|pid| holds(pid, "environ") || holds(pid, "cmdline"))
        || files(world.layout.root())
            .iter()
            .any(|file| fs::read(file).unwrap().windows(KEY.len()).any(|w| w == KEY.as_bytes()))
}

fn key_of_the_store_is_held_in_memory_and_passed_to_the_successor() {
    let world = World::new();
    fs::write(world.dir.path().join("store"), "value").unwrap();
    fs::write(world.dir.path().join("store-key"), KEY).unwrap();
    let secret = json!({ "secret": { "$secret": "file", "path": "demo/default/password", "version": 1, "hash": "h" } });
    let release = world.stage_with(
        1,
        &json!({ "app": { "run": "echo has $PASSWORD; exec sleep 1000" } }),
        &json!({ "app": { "PASSWORD": secret } }),
    );
    let unit = unit_id("app.0");

    // Given when the supervisor is started.
    let with_key = || Program::default().with_key(Some(Secret::new(KEY.to_owned())));
    let client = world.wait(SupervisorClient::connect_or_spawn(&world.layout, with_key())).unwrap();
    world.wait(client.start(&cx(1), release, &unit)).unwrap();
    eventually("the app has its secret", || world.log(release, "app.0") == "has value\n");
    assert!(!shows_key(&world));
    // Nobody gets it by asking: what looks like a successor must be one.
    let answers = say(&world, "supervisor.sock", &[HELLO, r#"{"request":"inherit"}"#]);
    assert!(answers[1]["value"]["message"].as_str().unwrap().contains("only a successor"), "{answers:?}");
    assert!(answers[0]["value"]["key"].is_string() && !answers[0].to_string().contains(KEY));

    // A successor that nobody gave it to gets it from the one before.
    let before = world.supervisor();
    let program = world.dir.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    kill_hard(before);
    let client = world.wait(SupervisorClient::connect_or_spawn(
        &world.layout,
        Program::at(&program).with_key(Some(Secret::new(KEY.to_owned()))),
    ));
    client.unwrap();
    let before = world.supervisor();
    let newer = world.dir.path().join("newer");
    fs::copy(std::env::current_exe().unwrap(), &newer).unwrap();
    fs::rename(&newer, &program).unwrap();
    let output =
        Command::new(&program).args(["__test-app", "list"]).arg(world.layout.root()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_ne!(world.supervisor(), before, "the program was replaced, so its supervisor was");
    kill_hard(world.only().pid.unwrap());
    eventually("it was started again with its secret", || {
        world.log(release, "app.0") == "has value\nhas value\n"
    });
    assert!(!shows_key(&world));

    // Killed, and started by somebody who does not have it: stuck, and it says so and what to do.
    kill_hard(world.supervisor());
    kill_hard(world.only().pid.unwrap());
    eventually("it says that it is stuck", || {
        let seen = world.only();
        seen.state != UnitState::Running && seen.last_exit.is_some_and(|exit| exit.contains("stuck"))
    });
    let error = world.wait(world.client().start(&cx(1), release, &unit)).unwrap_err();
    assert!(error.help().is_some_and(|help| help.contains("VROOLI_DEPLOY_KEY")), "{error:?}");
    // Told by whoever has it, over the socket: it goes on by itself.
    let client = world.wait(SupervisorClient::connect_or_spawn(&world.layout, with_key())).unwrap();
    world.wait(client.start(&cx(1), release, &unit)).unwrap();
    eventually("it has its secret again", || world.log(release, "app.0") == "has value\n".repeat(3));
    assert!(!shows_key(&world));
}

fn lower_fence_is_refused() {
    let world = World::new();
    let release = world.stage_shell(1, SLEEP);
    let unit = unit_id("app.0");
    world.wait(world.client().start(&cx(5), release, &unit)).unwrap();
    kill_hard(world.supervisor());
    let client = world.client();
    for error in [
        world.wait(client.start(&cx(4), release, &unit)).unwrap_err(),
        world.wait(client.stop(&cx(4), release, &unit)).unwrap_err(),
        world.wait(client.forget(&cx(4))).unwrap_err(),
        world.wait(client.remove(&cx(4), release)).unwrap_err(),
        world.wait(client.route(&cx(4), &vrooli_deploy_core::provider::Routing::default())).unwrap_err(),
        world.wait(client.close_port(&cx(4))).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
    }
    assert_eq!(world.only().state, UnitState::Running);
    world.wait(client.stop(&cx(5), release, &unit)).unwrap();
}

fn idle_supervisor_goes() {
    let world = World::new();
    let release = world.stage_shell(1, SLEEP);
    world.start(release, "app.0");
    let supervisor = world.supervisor();
    assert!(world.wait(world.client().shutdown()).is_err_and(|e| e.kind() == ErrorKind::Conflict));
    world.stop(release, "app.0");
    eventually("it went by itself", || !is_alive(supervisor));
    assert!(world.wait(SupervisorClient::connect(&world.layout)).unwrap().is_none());
    assert!(!world.layout.supervisor_record().exists());
    let left: Vec<_> = files(&world.layout.run());
    assert!(left.iter().all(|f| f.extension().is_none_or(|e| e != "sock")), "{left:?}");
}

/// Speaks to the supervisor without the client.
fn say(world: &World, socket: &str, lines: &[&str]) -> Vec<serde_json::Value> {
    let mut stream = UnixStream::connect(world.layout.run().join(socket)).unwrap();
    for line in lines {
        // It may have hung up after the one before.
        let _ = stream.write_all(line.as_bytes());
        let _ = stream.write_all(b"\n");
    }
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

const HELLO: &str = r#"{"request":"hello","protocol":1,"version":"0.0.1"}"#;

fn predecessor_steps_down() {
    let world = World::new();
    let release = world.stage_shell(1, SLEEP);
    let pid = world.start(release, "app.0").pid.unwrap();
    let first = world.supervisor();
    let answers = say(&world, "supervisor.sock", &[HELLO, r#"{"request":"step_down"}"#]);
    assert_eq!(answers[1]["answer"], "done");
    eventually("it is gone", || !is_alive(first));
    assert!(is_alive(pid));
    assert_eq!(world.only().pid, Some(pid));
    assert_ne!(world.supervisor(), first);
}

fn messages_are_checked() {
    let world = World::new();
    drop(world.client());
    let list = r#"{"request":"list","stack":{"app":"demo","environment":"default"}}"#;
    let answers = say(&world, "supervisor.sock", &[list]);
    assert!(answers[0]["value"]["message"].as_str().unwrap().contains("greeting"));
    let answers = say(&world, "supervisor.sock", &[r#"{"request":"hello","protocol":99,"version":"9"}"#]);
    assert_eq!(answers[0]["value"]["kind"], "unsupported");
    let answers = say(&world, "reading.sock", &[HELLO, list, r#"{"request":"step_down"}"#, list]);
    assert_eq!(answers.len(), 3, "it hangs up on a request that changes something: {answers:?}");
    assert_eq!(answers[1]["answer"], "units");
    assert!(answers[2]["value"]["message"].as_str().unwrap().contains("only reads"));
    let answers = say(&world, "supervisor.sock", &[HELLO, &"x".repeat(70_000)]);
    assert!(answers[1]["value"]["message"].as_str().unwrap().contains("longer than"));
    let answers = say(
        &world,
        "supervisor.sock",
        &[HELLO, r#"{"request":"start","stack":{"app":"../x","environment":"default"}}"#],
    );
    assert_eq!(answers[1]["answer"], "failed");
    let mode = fs::metadata(world.layout.run().join("supervisor.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
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

fn log_is_rotated_while_it_is_written() {
    let world = World::new();
    let release = world.stage(1, &json!({ "app": { "run": app::command(&["chatter"]) } }));
    let seen = world.start(release, "app.0");
    let log = std::path::PathBuf::from(seen.log.unwrap());
    let part = |n: u32| log.with_extension(format!("log.{n}"));
    eventually("two older parts are there", || part(2).exists());
    world.stop(release, "app.0");
    assert!(!part(3).exists());
    for part in [part(1), part(2)] {
        let text = fs::read_to_string(&part).unwrap();
        assert!(text.len() > 200_000 && !text.contains('\0'), "{}", part.display());
    }
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

fn program_that_forgets_to_become_a_child_is_told() {
    let world = World::new();
    for (program, words) in [
        ("/bin/true", "without a word"),
        ("/bin/echo", "another program"),
        ("/no/such/program", "/no/such/program"),
    ] {
        let error =
            world.wait(SupervisorClient::connect_or_spawn(&world.layout, Program::at(program))).unwrap_err();
        assert!(error.message().contains(words), "{error}");
    }
}

fn ordinary_user_can_do_it_too() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: this is an ordinary user already, and every other test ran as one");
        return;
    }
    let Ok(passwd) = fs::read_to_string("/etc/passwd") else {
        return;
    };
    let ids = passwd.lines().find_map(|l| {
        let fields: Vec<&str> = l.split(':').collect();
        (fields[0] == "nobody").then(|| (fields[2].to_owned(), fields[3].to_owned()))
    });
    let Some((user, group)) = ids else {
        println!("skipped: there is no user `nobody`");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // Where this binary was built another user may not look.
    let program = dir.path().join("it");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let temporary = dir.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    std::os::unix::fs::chown(&temporary, Some(user.parse().unwrap()), Some(group.parse().unwrap())).unwrap();
    use std::os::unix::process::CommandExt as _;
    let output = Command::new(&program)
        .args(["--test-threads=1", "--skip", "ordinary_user", "--skip", "rotated"])
        .env("TMPDIR", &temporary)
        .env("HOME", &temporary)
        .current_dir(&temporary)
        .uid(user.parse().unwrap())
        .gid(group.parse().unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
