use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use libtest_mimic::Trial;
use vrooli_deploy_core::names::OutputName;
use vrooli_deploy_core::provider::{
    Change, Created, ErrorKind, PhysicalId, ResourceHandler, ResourceKindDef,
};
use vrooli_deploy_provider_local::kinds::Redis;
use vrooli_deploy_provider_local::kinds::redis::{self, RedisObserved, RedisSpec};

use crate::place::{
    How, Place, context, docker, files_with, key, kill_after, machine_at, processes_in, stack, trial, wait,
};

const KEY: &str = "cache/redis";

pub(crate) fn trials() -> Vec<Trial> {
    let ways: [(How, &str, &'static [&'static str]); 2] =
        [(How::Programs, "", &["redis-server"]), (How::Docker, "_in_a_container", &["docker"])];
    let mut trials = Vec::new();
    trials.push(trial("redis_that_is_being_started_is_waited_for", &["redis-server"], being_started));
    for (how, suffix, needs) in ways {
        let mut add = |name: &str, run: fn(How)| {
            trials.push(trial(&format!("redis_{name}{suffix}"), needs, move || run(how)));
        };
        add("is_made_kept_and_removed", lifecycle);
        add("made_again_after_a_kill_at_any_moment", killed);
    }
    trials
}

fn read(created: Created<RedisObserved>) -> (RedisObserved, String) {
    match created {
        Created::Read { observed, secrets, .. } => {
            let password = secrets[&OutputName::new("password").unwrap()].expose().clone();
            let url = secrets[&OutputName::new("url").unwrap()].expose().clone();
            assert_eq!(url, format!("redis://:{password}@127.0.0.1:{}/0", observed.port));
            (observed, password)
        }
        Created::Unread { .. } => panic!("unread"),
    }
}

fn say(port: u16, lines: &[&str]) -> Vec<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    for line in lines {
        stream.write_all(format!("{line}\r\n").as_bytes()).unwrap();
    }
    let mut answers = BufReader::new(stream).lines();
    let mut found = Vec::new();
    while found.len() < lines.len() {
        let answer = answers.next().unwrap().unwrap();
        if !answer.starts_with('$') {
            found.push(answer);
        }
    }
    found
}

fn lifecycle(how: How) {
    let place = Place::of(how);
    let (machine, cx) = (&place.machine, place.cx());
    wait(async {
        let key = key(KEY);
        let (have, password) = read(Redis.create(machine, &cx, &key, &RedisSpec::default()).await.unwrap());
        assert_eq!(Redis.diff(&RedisSpec::default(), &have), Change::None);
        assert!(say(have.port, &["GET x"])[0].starts_with("-NOAUTH"));
        let auth = format!("AUTH {password}");
        assert_eq!(say(have.port, &[&auth, "SET kept yes"]), ["+OK", "+OK"]);
        assert_eq!(
            read(Redis.create(machine, &cx, &key, &RedisSpec::default()).await.unwrap()),
            (have.clone(), password.clone())
        );

        redis::stop(machine, &cx, &key).await.unwrap();
        assert!(TcpStream::connect(("127.0.0.1", have.port)).is_err());
        redis::ensure_running(machine, &cx, &key).await.unwrap();
        assert_eq!(say(have.port, &[&auth, "GET kept"])[1], "yes");
        assert_eq!(files_with(&place.state(), &password), [place.state().join("secrets.json")]);
        if how == How::Docker {
            let container = place.container();
            let shown = docker(&["container", "inspect", &container]) + &docker(&["logs", &container]);
            assert!(!shown.contains(&password), "{shown}");
        }

        // A lost store: the server gets the new password.
        std::fs::remove_file(place.state().join("secrets.json")).unwrap();
        let (_, other) = read(Redis.create(machine, &cx, &key, &RedisSpec::default()).await.unwrap());
        assert_ne!(password, other);
        assert_eq!(say(have.port, &[&format!("AUTH {other}"), "GET kept"])[1], "yes");

        Redis.delete(machine, &cx, &key, &PhysicalId(String::new())).await.unwrap();
        Redis.delete(machine, &cx, &key, &PhysicalId(String::new())).await.unwrap();
        assert!(Redis.find(machine, &cx, &key, None).await.unwrap().is_empty());
        assert_eq!(redis::ensure_running(machine, &cx, &key).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert!(processes_in(&place.state()).is_empty());
    });
}

/// A run may end while its server lets go of it: then it works in its folder, and neither listens nor
/// says its number. A second one beside it would end when it cannot listen, with the first one's number
/// written over.
fn being_started() {
    let place = Place::of(How::Programs);
    let (machine, cx, key) = (&place.machine, place.cx(), key(KEY));
    wait(Redis.create(machine, &cx, &key, &RedisSpec::default())).unwrap();
    let server = processes_in(&place.state().join("apps"))[0];
    let folder = std::fs::read_link(format!("/proc/{server}/cwd")).unwrap();
    wait(redis::stop(machine, &cx, &key)).unwrap();
    let mut being_started = Command::new("sleep").arg("1").current_dir(folder).spawn().unwrap();
    wait(redis::ensure_running(machine, &cx, &key)).unwrap();
    assert!(being_started.try_wait().unwrap().is_some(), "it was not waited for");
}

pub(crate) fn child(rest: &[String]) -> i32 {
    let machine = machine_at(Path::new(&rest[0]));
    i32::from(wait(Redis.create(&machine, &context(&stack()), &key(KEY), &RedisSpec::default())).is_err())
}

fn killed(how: How) {
    let delays: &[u64] = match how {
        How::Programs => &[0, 2, 5, 10, 15, 20, 30, 40, 60],
        How::Docker => &[0, 20, 50, 100, 150, 200, 300, 400, 600, 900],
    };
    for delay in delays.iter().copied() {
        let place = Place::of(how);
        kill_after(place.child("create-redis", &[]), Duration::from_millis(delay));
        let (have, password) =
            read(wait(Redis.create(&place.machine, &place.cx(), &key(KEY), &RedisSpec::default())).unwrap());
        assert!(have.finished);
        assert_eq!(say(have.port, &[&format!("AUTH {password}"), "PING"]), ["+OK", "+PONG"]);
        match how {
            How::Programs => {
                assert_eq!(processes_in(&place.state().join("apps")).len(), 1, "after {delay} ms")
            }
            How::Docker => {
                assert_eq!((place.marked("container").len(), place.marked("volume").len()), (1, 1))
            }
        }
    }
}
