use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use vrooli_deploy_core::names::ReleaseNumber;
use vrooli_deploy_core::provider::{ErrorKind, Fleet as _, ProviderError, Routing};
use vrooli_deploy_provider_local::layout::Layout;

use crate::app;
use crate::world::{World, copy_this_program, cx, eventually, is_alive, kill_hard, stack, unit_id};

trials![
    "serving":
    traffic_moves_from_release_to_release,
    what_cannot_serve_is_refused,
    routes_go_to_services_and_ports,
    nothing_is_refused_while_edge_and_supervisor_are_killed,
    both_dead_come_back_with_the_next_command,
    successor_takes_sockets_and_routes,
    replaced_program_takes_over,
    routing_goes_back_when_nobody_renews_it,
    moved_folder_goes_on_serving,
    deleted_folder_ends_the_edge,
    taken_port_is_refused_and_another_is_moved_to,
    idle_workspace_ends_the_edge,
    what_the_supervisor_does_not_do_counts_for_the_lease_too,
];

/// Chooses a port that is free, as the port kind would, and writes its record.
fn choose_port(world: &World) -> u16 {
    // Below the range from which the kernel takes ports for the connections of these tests.
    let from = u16::from_be_bytes([world.id.as_bytes()[0], world.id.as_bytes()[1]]) % 4000;
    let port = (0..4000)
        .map(|step| 20_000 + (from + step) % 4000)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap();
    record_port(world, port);
    port
}

fn record_port(world: &World, port: u16) {
    fs::create_dir_all(world.layout.stack(&stack())).unwrap();
    fs::write(
        world.layout.port_file(&stack()),
        json!({ "key": "port/main", "port": port, "listen": "127.0.0.1" }).to_string(),
    )
    .unwrap();
}

/// Two releases that answer with their names, the first of them served.
fn serving() -> (World, u16, ReleaseNumber, ReleaseNumber) {
    let world = World::new();
    let release = |number: u32, word: &str| {
        let release = world.stage(
            number,
            &json!({ "app": { "run": app::command(&["http", word]), "ports": { "http": {} } } }),
        );
        start_listening(&world, release, "app.0");
        release
    };
    let (one, two) = (release(1, "one"), release(2, "two"));
    let port = choose_port(&world);
    let client = world.client();
    world.wait(client.open_port(&cx(1))).unwrap();
    world.wait(client.route(&cx(1), &Routing::all_to(one))).unwrap();
    assert_eq!(get(port, "/").unwrap(), "one");
    (world, port, one, two)
}

fn start_listening(world: &World, release: ReleaseNumber, unit: &str) {
    let seen = world.start(release, unit);
    let port = *seen.ports.values().next().unwrap();
    eventually("it listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
}

/// The body of an answer.
fn get(port: u16, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let length =
        head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    // Killed half way through an answer.
    if length.is_some_and(|length: usize| body.len() < length) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if head.starts_with("HTTP/1.1 200") {
        Ok(body.to_owned())
    } else {
        Err(io::Error::other(head.to_owned()))
    }
}

fn traffic_moves_from_release_to_release() {
    let (world, port, one, two) = serving();
    let client = world.client();
    assert_eq!(world.wait(client.urls(&cx(1))).unwrap(), [format!("http://127.0.0.1:{port}/")]);
    let busy = world.wait(client.drain(&cx(1), one, &BTreeSet::new(), Duration::from_secs(1))).unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Conflict, "{busy}");

    let before = world.wait(client.route(&cx(1), &Routing::all_to(two))).unwrap();
    assert_eq!(before, Routing::all_to(one));
    assert_eq!(get(port, "/").unwrap(), "two");
    assert_eq!(world.wait(client.routing(&cx(1))).unwrap(), Routing::all_to(two));
    assert_eq!(
        world.wait(client.drain(&cx(1), one, &BTreeSet::new(), Duration::from_secs(5))).unwrap().cut,
        0
    );
    world.stop(one, "app.0");
    assert_eq!(get(port, "/").unwrap(), "two");

    let error = world.wait(client.remove(&cx(1), two)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    world.wait(client.remove(&cx(1), one)).unwrap();
    world.wait(client.remove(&cx(1), one)).unwrap();
    assert!(!world.wait(client.metrics(&cx(1))).unwrap().is_null());
    world.wait(client.close_port(&cx(1))).unwrap();
    assert!(TcpListener::bind(("127.0.0.1", port)).is_ok());
    assert!(world.wait(client.urls(&cx(1))).unwrap().is_empty());
}

fn what_cannot_serve_is_refused() {
    let (world, port, one, two) = serving();
    let client = world.client();
    world.stop(two, "app.0");
    let error = world.wait(client.route(&cx(1), &Routing::all_to(two))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    let error = world.wait(client.route(&cx(1), &Routing::all_to(ReleaseNumber(9)))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    // Two that listen, and nothing says which of them gets the requests.
    let listens = json!({ "run": app::command(&["http", "x"]), "ports": { "http": {} } });
    let undecided = world.stage(3, &json!({ "one": listens, "two": listens }));
    world.start(undecided, "one.0");
    world.start(undecided, "two.0");
    let error = world.wait(client.route(&cx(1), &Routing::all_to(undecided))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert_eq!(world.wait(client.routing(&cx(1))).unwrap(), Routing::all_to(one));
    assert_eq!(get(port, "/").unwrap(), "one");
}

fn routes_go_to_services_and_ports() {
    let world = World::new();
    let release = world.stage(
        1,
        &json!({
            "api": { "run": app::command(&["http", "api"]), "ports": { "api": {} }, "routes": [{ "path": "/api" }] },
            "ui": { "run": app::command(&["http", "ui"]), "ports": { "ui": {} }, "routes": [{ "path": "/" }] },
            "worker": { "run": "exec sleep 1000" }
        }),
    );
    for unit in ["api.0", "ui.0"] {
        start_listening(&world, release, unit);
    }
    let port = choose_port(&world);
    let client = world.client();
    // In the other order than usual: the routes are there before the door is.
    world.wait(client.route(&cx(1), &Routing::all_to(release))).unwrap();
    world.wait(client.open_port(&cx(1))).unwrap();
    for (path, answer) in [("/", "ui"), ("/x", "ui"), ("/api", "api"), ("/api/x", "api"), ("/apis", "ui")] {
        assert_eq!(get(port, path).unwrap(), answer, "{path}");
    }
}

fn nothing_is_refused_while_edge_and_supervisor_are_killed() {
    let (world, port, ..) = serving();
    let done = AtomicBool::new(false);
    let (asked, cut) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                asked.fetch_add(1, Ordering::SeqCst);
                match get(port, "/") {
                    Ok(answer) => assert_eq!(answer, "one"),
                    // Open at the kill: it cannot be saved.
                    Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => panic!("refused"),
                    Err(_) => {
                        cut.fetch_add(1, Ordering::SeqCst);
                    }
                }
            }
        });
        for round in 0..3 {
            let edge = world.children("edge");
            kill_hard(edge[0]);
            eventually("another edge is there", || world.children("edge").iter().any(|e| !edge.contains(e)));
            get(port, "/").unwrap();
            let supervisor = world.supervisor();
            kill_hard(supervisor);
            get(port, "/").unwrap();
            if round % 2 == 0 {
                drop(world.client());
            } else {
                drop(world.list());
            }
            assert_ne!(world.supervisor(), supervisor);
        }
        done.store(true, Ordering::SeqCst);
        asking.join().unwrap();
    });
    let (asked, cut) = (asked.into_inner(), cut.into_inner());
    assert!(asked > 10 && cut <= 6, "{cut} of {asked} were cut by 6 kills");
}

fn both_dead_come_back_with_the_next_command() {
    let (world, port, _, two) = serving();
    let pids: Vec<_> = world.list().iter().map(|u| u.pid).collect();
    kill_hard(world.supervisor());
    kill_hard(world.children("edge")[0]);
    assert!(get(port, "/").is_err());
    assert_eq!(world.list().iter().map(|u| u.pid).collect::<Vec<_>>(), pids);
    assert_eq!(get(port, "/").unwrap(), "one");
    world.wait(world.client().route(&cx(1), &Routing::all_to(two))).unwrap();
    assert_eq!(get(port, "/").unwrap(), "two");
}

fn successor_takes_sockets_and_routes() {
    let (world, port, one, two) = serving();
    let edge = world.children("edge");
    kill_hard(world.supervisor());
    world.wait(world.client().route(&cx(1), &Routing::all_to(two))).unwrap();
    assert_eq!(get(port, "/").unwrap(), "two");
    assert_eq!(world.children("edge"), edge, "the edge was left alone");
    // Both at once: half the requests each.
    let both = Routing { weights: BTreeMap::from([(one, 50), (two, 50)]), ..Routing::default() };
    world.wait(world.client().route(&cx(1), &both)).unwrap();
    eventually("one answers", || get(port, "/").unwrap() == "one");
    eventually("two answers", || get(port, "/").unwrap() == "two");
    // What was lent must come back also from an edge that was killed meanwhile.
    kill_hard(edge[0]);
    eventually("it serves again", || get(port, "/").is_ok());
    kill_hard(world.supervisor());
    world.list();
    get(port, "/").unwrap();
}

/// The file of the program is replaced by a newer one while everything runs.
fn replaced_program_takes_over() {
    let (world, port, ..) = serving();
    kill_hard(world.supervisor());
    let program = world.dir.path().join("program");
    let install = || {
        let new = world.dir.path().join("new");
        copy_this_program(&new);
        fs::rename(&new, &program).unwrap();
    };
    let run = || {
        let output =
            Command::new(&program).args(["__test-app", "list"]).arg(world.layout.root()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        (String::from_utf8(output.stdout).unwrap(), world.supervisor())
    };
    install();
    let before = run();
    assert_eq!(run(), before, "the same program asks the same supervisor");
    eventually("one edge is left", || world.children("edge").len() == 1);
    let edge = world.children("edge");

    install();
    let after = run();
    assert_eq!(after.0, before.0, "no app was started again");
    assert_ne!(after.1, before.1, "the supervisor is the new program's");
    assert_eq!(get(port, "/").unwrap(), "one");
    eventually("the edge is the new program's", || {
        let now = world.children("edge");
        now.len() == 1 && now != edge
    });
    assert_eq!(get(port, "/").unwrap(), "one");
}

fn what_the_supervisor_does_not_do_counts_for_the_lease_too() {
    let (world, port, one, two) = serving();
    // A newer holder migrates: the supervisor has no part in that.
    let machine = crate::place::machine_at(world.layout.root());
    let fleet = vrooli_deploy_provider_local::fleet::LocalFleet::new(machine);
    let release = world.wait(fleet.staged(&cx(7))).unwrap().remove(0);
    world.wait(fleet.migrate(&cx(7), &release)).unwrap();
    let fenced = |error: ProviderError| assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
    fenced(world.wait(fleet.migrate(&cx(6), &release)).unwrap_err());
    fenced(world.wait(fleet.stage(&cx(6), &release)).unwrap_err());
    fenced(world.wait(fleet.remove(&cx(6), one)).unwrap_err());
    fenced(world.wait(world.client().route(&cx(6), &Routing::all_to(two))).unwrap_err());
    assert_eq!(get(port, "/").unwrap(), "one");
    world.wait(world.client().route(&cx(7), &Routing::all_to(two))).unwrap();
    assert_eq!(get(port, "/").unwrap(), "two");
}

fn routing_goes_back_when_nobody_renews_it() {
    let (world, port, one, two) = serving();
    let routing = Routing {
        weights: BTreeMap::from([(two, 100)]),
        revert_at: Some(jiff::Timestamp::now() + Duration::from_millis(1500)),
        revert_to: BTreeMap::from([(one, 100)]),
        ..Routing::default()
    };
    world.wait(world.client().route(&cx(1), &routing)).unwrap();
    assert_eq!(world.wait(world.client().routing(&cx(1))).unwrap(), routing);
    kill_hard(world.supervisor());
    eventually("the edge went back without a supervisor", || get(port, "/").is_ok_and(|a| a == "one"));
    let client = world.client();
    eventually("the supervisor knows", || {
        world.wait(client.routing(&cx(1))).unwrap() == Routing::all_to(one)
    });
    assert_eq!(get(port, "/").unwrap(), "one");
}

fn moved_folder_goes_on_serving() {
    let (mut world, port, _, two) = serving();
    let moved = world.dir.path().join("moved");
    fs::rename(world.layout.root(), &moved).unwrap();
    world.layout = Layout::new(&moved);
    assert_eq!(get(port, "/").unwrap(), "one");
    world.wait(world.client().route(&cx(1), &Routing::all_to(two))).unwrap();
    assert_eq!(get(port, "/").unwrap(), "two");
    kill_hard(world.children("edge")[0]);
    eventually("it serves again", || get(port, "/").is_ok_and(|a| a == "two"));
    kill_hard(world.supervisor());
    world.list();
    assert_eq!(get(port, "/").unwrap(), "two");
}

fn deleted_folder_ends_the_edge() {
    let (world, port, ..) = serving();
    let (edge, supervisor) = (world.children("edge")[0], world.supervisor());
    fs::remove_dir_all(world.layout.root()).unwrap();
    eventually("everything is gone", || {
        !is_alive(edge) && !is_alive(supervisor) && world.marked().is_empty()
    });
    assert!(TcpListener::bind(("127.0.0.1", port)).is_ok());
    assert!(!world.layout.root().exists(), "nothing of it was made again");
}

fn taken_port_is_refused_and_another_is_moved_to() {
    let (world, port, ..) = serving();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().port();
    record_port(&world, taken);
    let error = world.wait(world.client().open_port(&cx(1))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains(&format!("process {}", std::process::id())), "{error}");
    assert_eq!(get(port, "/").unwrap(), "one", "the old place stays open");
    drop(other);
    world.wait(world.client().open_port(&cx(1))).unwrap();
    assert_eq!(get(taken, "/").unwrap(), "one");
    assert!(TcpListener::bind(("127.0.0.1", port)).is_ok(), "the old place is given up");

    fs::remove_file(world.layout.port_file(&stack())).unwrap();
    let error = world.wait(world.client().open_port(&cx(1))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

fn idle_workspace_ends_the_edge() {
    let (world, port, one, two) = serving();
    let (edge, supervisor) = (world.children("edge")[0], world.supervisor());
    world.wait(world.client().route(&cx(1), &Routing::default())).unwrap();
    let error = get(port, "/").unwrap_err().to_string();
    assert!(error.starts_with("HTTP/1.1 503"), "{error}");
    for release in [one, two] {
        world.stop(release, "app.0");
    }
    world.wait(world.client().close_port(&cx(1))).unwrap();
    eventually("both went", || !is_alive(edge) && !is_alive(supervisor));
    let error = world.wait(world.client().start(&cx(1), one, &unit_id("other.0"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}
