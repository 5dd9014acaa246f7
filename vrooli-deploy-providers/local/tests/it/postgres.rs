use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use libtest_mimic::Trial;
use vrooli_deploy_core::names::OutputName;
use vrooli_deploy_core::provider::{
    Change, Created, ErrorKind, PhysicalId, ResourceHandler, ResourceKindDef, Scope,
};
use vrooli_deploy_provider_local::kinds::Postgres;
use vrooli_deploy_provider_local::kinds::postgres::{self, PostgresObserved, PostgresSpec, SqlName};

use crate::place::{
    How, Place, context, docker, files_with, key, kill_after, machine_at, processes_in, stack, trial, until,
    wait,
};

const KEY: &str = "database/postgres";

pub(crate) fn spec() -> PostgresSpec {
    PostgresSpec {
        database: SqlName::new("vrooli_wheel").unwrap(),
        version: Some(">=12".to_owned()),
        extensions: BTreeSet::new(),
    }
}

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (how, suffix, needs) in ways() {
        let mut add = |name: &str, run: fn(How)| {
            trials.push(trial(&format!("postgres_{name}{suffix}"), needs, move || run(how)));
        };
        add("is_made_kept_changed_and_removed", lifecycle);
        add("made_again_after_a_kill_at_any_moment", killed);
        add("whose_password_was_lost_gets_a_new_one", store_lost);
        add("of_an_unknown_version_is_refused", wrong_version);
        add("two_at_once_get_two_ports", two_at_once);
    }
    trials
}

/// The ways to run a server, and what a test of each needs.
pub(crate) fn ways() -> [(How, &'static str, &'static [&'static str]); 2] {
    [(How::Programs, "", &["postgres"]), (How::Docker, "_in_a_container", &["docker", "psql"])]
}

fn read(created: Created<PostgresObserved>) -> (PostgresObserved, String, String) {
    match created {
        Created::Read { observed, secrets, .. } => {
            let secret = |name: &str| secrets[&OutputName::new(name).unwrap()].expose().clone();
            (observed, secret("password"), secret("url"))
        }
        Created::Unread { .. } => panic!("unread"),
    }
}

pub(crate) fn psql() -> String {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin/psql")).find(|psql| psql.is_file());
    found.map_or_else(|| "psql".to_owned(), |psql| psql.to_str().unwrap().to_owned())
}

/// As an app would: by the URL alone.
pub(crate) fn ask(url: &str, statement: &str) -> String {
    let answer = Command::new(psql()).args(["-X", "-A", "-t", "-c", statement, url]).output().unwrap();
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    String::from_utf8(answer.stdout).unwrap().trim().to_owned()
}

fn lifecycle(how: How) {
    let place = Place::of(how);
    let (machine, cx) = (&place.machine, place.cx());
    wait(async {
        let key = key(KEY);
        assert!(Postgres.find(machine, &cx, &key, None).await.unwrap().is_empty());
        let (have, password, url) = read(Postgres.create(machine, &cx, &key, &spec()).await.unwrap());
        assert_eq!(Postgres.diff(&spec(), &have), Change::None);
        assert_eq!(ask(&url, "SELECT current_user || current_database()"), "vroolivrooli_wheel");
        assert!(
            !vrooli_deploy_provider_local::kinds::numbers::ephemeral().first.eq(&have.port)
                && have.port < 32768
        );

        // Found by its mark, once; made again it is the same.
        let found = Postgres.find(machine, &cx, &key, None).await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].observed, have);
        let page =
            Postgres.list(machine, &cx, &Scope { stack: place.stack.clone(), page: None }).await.unwrap();
        assert_eq!(page.items, found);
        ask(&url, "CREATE TABLE kept AS SELECT 1 AS a");
        let again = read(Postgres.create(machine, &cx, &key, &spec()).await.unwrap());
        assert_eq!(again, (have.clone(), password.clone(), url.clone()));

        // Wrong passwords are refused: nobody trusts loopback.
        let wrong = url.replace(&password, "wrong");
        assert!(
            !Command::new(psql())
                .args(["-X", "-w", "-c", "SELECT 1", &wrong])
                .output()
                .unwrap()
                .status
                .success()
        );

        // An extension more, and a further database beside the old one.
        let mut want = spec();
        want.extensions.insert(SqlName::new("uuid-ossp").unwrap());
        assert_eq!(Postgres.diff(&want, &have), Change::InPlace(vec!["extensions".to_owned()]));
        let id = found[0].id.clone();
        let (have, ..) = read(Postgres.update(machine, &cx, &key, &id, &have, &want).await.unwrap());
        assert_eq!(Postgres.diff(&want, &have), Change::None);
        assert_eq!(ask(&url, "SELECT length(uuid_generate_v4()::text)"), "36");
        want.extensions.insert(SqlName::new("no_such_extension").unwrap());
        let error = Postgres.update(machine, &cx, &key, &id, &have, &want).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Missing);
        assert!(error.message().contains("no_such_extension"), "{error}");

        // Stopped and started: data, port and password are as before.
        postgres::stop(machine, &cx, &key).await.unwrap();
        postgres::stop(machine, &cx, &key).await.unwrap();
        assert!(std::net::TcpStream::connect(("127.0.0.1", have.port)).is_err());
        postgres::ensure_running(machine, &cx, &key).await.unwrap();
        postgres::ensure_running(machine, &cx, &key).await.unwrap();
        assert_eq!(ask(&url, "SELECT a FROM kept"), "1");

        // The password is in the store and nowhere else, in no argument either.
        let mut places = files_with(&place.state(), &password);
        places.extend(files_with(Path::new("/var/lib/vrooli-deploy"), &password));
        assert_eq!(places, [place.state().join("secrets.json")]);
        if how == How::Docker {
            let shown = docker(&["container", "inspect", &place.container()]);
            assert!(!shown.contains(&password), "{shown}");
        }

        Postgres.delete(machine, &cx, &key, &id).await.unwrap();
        Postgres.delete(machine, &cx, &key, &PhysicalId("anything".to_owned())).await.unwrap();
        assert!(Postgres.find(machine, &cx, &key, None).await.unwrap().is_empty());
        assert!(std::net::TcpStream::connect(("127.0.0.1", have.port)).is_err());
        assert_eq!(
            postgres::ensure_running(machine, &cx, &key).await.unwrap_err().kind(),
            ErrorKind::NotFound
        );
    });
}

/// The child that is killed.
pub(crate) fn child(rest: &[String]) -> i32 {
    let machine = machine_at(Path::new(&rest[0]));
    i32::from(wait(Postgres.create(&machine, &context(&stack()), &key(KEY), &spec())).is_err())
}

fn killed(how: How) {
    // From before the first byte to after the last; a create takes one to three seconds.
    for delay in [0, 60, 300, 700, 1100, 1500, 2000, 2600] {
        let place = Place::of(how);
        let machine = &place.machine;
        kill_after(place.child("create-postgres", &[]), Duration::from_millis(delay));
        let (have, _, url) = read(wait(Postgres.create(machine, &place.cx(), &key(KEY), &spec())).unwrap());
        assert!(have.finished);
        assert_eq!(ask(&url, "SELECT count(*) FROM pg_database WHERE datname = 'vrooli_wheel'"), "1");
        assert_eq!(
            wait(Postgres.find(machine, &place.cx(), &key(KEY), None)).unwrap().len(),
            1,
            "after {delay} ms"
        );
        if how == How::Docker {
            assert_eq!((place.marked("container").len(), place.marked("volume").len()), (1, 1));
            continue;
        }
        let id = machine.layout.workspace_id().unwrap().to_string();
        // One server; and the tools of the killed one are gone.
        let home =
            if is_root() { Path::new("/var/lib/vrooli-deploy").join(id) } else { place.state().join("apps") };
        let servers = || {
            let postmasters = processes_in(&home).into_iter().filter(|pid| {
                let status = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                status.contains("/postgres\0-D") || status.contains("initdb") || status.contains("pg_ctl")
            });
            postmasters.count()
        };
        until("one server and no tool", || servers() == 1);
        assert!(crate::place::files_with(&home, "CREATE ROLE").is_empty());
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0)
}

fn store_lost(how: How) {
    let place = Place::of(how);
    let (machine, cx) = (&place.machine, place.cx());
    wait(async {
        let (_, password, url) = read(Postgres.create(machine, &cx, &key(KEY), &spec()).await.unwrap());
        ask(&url, "CREATE TABLE kept AS SELECT 1 AS a");
        std::fs::remove_file(place.state().join("secrets.json")).unwrap();
        let (_, other, url) = read(Postgres.create(machine, &cx, &key(KEY), &spec()).await.unwrap());
        assert_ne!(password, other);
        assert_eq!(ask(&url, "SELECT a FROM kept"), "1");
    });
}

fn wrong_version(how: How) {
    let place = Place::of(how);
    let want = PostgresSpec { version: Some(">=99".to_owned()), ..spec() };
    let error = wait(Postgres.create(&place.machine, &place.cx(), &key(KEY), &want)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing);
    assert!(error.message().contains("99"), "{error}");
    assert!(wait(Postgres.find(&place.machine, &place.cx(), &key(KEY), None)).unwrap().is_empty());
}

fn two_at_once(how: How) {
    let place = Place::of(how);
    let (machine, cx) = (&place.machine, place.cx());
    let other = {
        let mut other = stack();
        other.app = vrooli_deploy_core::names::AppName::new("other").unwrap();
        context(&other)
    };
    wait(async {
        let (spec, key) = (spec(), key(KEY));
        let (one, two) = tokio::join!(
            Postgres.create(machine, &cx, &key, &spec),
            Postgres.create(machine, &other, &key, &spec)
        );
        let (one, two) = (read(one.unwrap()), read(two.unwrap()));
        assert_ne!(one.0.port, two.0.port);
        assert_ne!(one.1, two.1);
        Postgres.delete(machine, &other, &key, &PhysicalId(String::new())).await.unwrap();
    });
}
