//! Where values and the key of the store are, and where they are not.

use std::fs;
use std::process::Command;

use serde_json::json;
use vrooli_deploy_core::provider::UnitState;
use vrooli_deploy_core::secrets::Secret;
use vrooli_deploy_provider_local::process::{Program, SupervisorClient};

use super::{HELLO, SLEEP, say};
use crate::world::{World, contents, copy_this_program, cx, eventually, kill_hard, processes, unit_id};

trials![
    "process::secrets":
    secrets_are_in_no_file_and_no_argument,
    key_of_the_store_is_held_in_memory_and_passed_to_the_successor,
];

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
    // Until it is still: what is written while this looks must be seen, too.
    world.stop(release, "dies.0");
    for (file, bytes) in contents(world.layout.root()) {
        assert!(!holds(&bytes), "{}", file.display());
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
        || contents(world.layout.root())
            .iter()
            .any(|(_, bytes)| bytes.windows(KEY.len()).any(|w| w == KEY.as_bytes()))
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
    copy_this_program(&program);
    kill_hard(before);
    let client = world.wait(SupervisorClient::connect_or_spawn(
        &world.layout,
        Program::at(&program).with_key(Some(Secret::new(KEY.to_owned()))),
    ));
    client.unwrap();
    let before = world.supervisor();
    let newer = world.dir.path().join("newer");
    copy_this_program(&newer);
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
