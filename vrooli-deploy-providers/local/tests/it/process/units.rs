//! What a unit is given, and how it starts, ends and is told apart.

use std::fs;

use serde_json::json;
use vrooli_deploy_core::provider::{ErrorKind, UnitState};
use vrooli_deploy_provider_local::process::observe;

use super::SLEEP;
use crate::app;
use crate::world::{World, cx, eventually, is_alive, kill_hard, stack, unit_id};

trials![
    "process::units":
    starts_lists_and_stops,
    environment_is_clean_and_complete,
    app_that_ignores_the_request_is_forced,
    grandchild_in_its_own_session_is_ended,
    shell_that_ends_leaves_a_running_instance,
    crash_loop_backs_off_and_is_told,
    what_cannot_be_run_is_said,
    fixed_port_that_is_taken_names_the_holder,
    releases_side_by_side_have_other_ports,
    log_is_rotated_while_it_is_written,
];

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
