//! What is said to a supervisor, and by whom.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use vrooli_deploy_core::provider::{ErrorKind, UnitState};
use vrooli_deploy_provider_local::process::{Program, SupervisorClient};

use super::{HELLO, SLEEP, say};
use crate::world::{World, cx, eventually, files, is_alive, kill_hard, unit_id};

trials![
    "process::protocol":
    lower_fence_is_refused,
    idle_supervisor_goes,
    predecessor_steps_down,
    messages_are_checked,
    program_that_forgets_to_become_a_child_is_told,
];

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
