//! What is particular to servers in containers: they are other people's to remove, rename and
//! freeze, and the engine's to lose.

use std::sync::{Arc, Mutex};

use libtest_mimic::Trial;
use vrooli_deploy_core::names::OutputName;
use vrooli_deploy_core::provider::{
    Change, Created, ErrorKind, OutputSink, PhysicalId, ResourceHandler, ResourceKindDef,
};
#[cfg(target_os = "linux")]
use vrooli_deploy_core::{
    configuration::Configuration,
    provider::{OpenContext, ProviderFactory as _},
};
#[cfg(target_os = "linux")]
use vrooli_deploy_provider_local::LocalFactory;
use vrooli_deploy_provider_local::kinds::postgres::{self, PostgresObserved};
use vrooli_deploy_provider_local::kinds::redis::{self, RedisSpec};
use vrooli_deploy_provider_local::kinds::{Postgres, Redis, Way};
use vrooli_deploy_provider_local::servers::ServerOptions;

use crate::place::{How, Place, docker, key, machine_with, trial, wait};
use crate::postgres::{ask, spec};

const DATABASE: &str = "database/postgres";
const CACHE: &str = "cache/redis";
const NEEDS: &[&str] = &["docker", "psql"];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("container_that_somebody_removed_froze_or_stopped_comes_back", NEEDS, meddled_with),
        trial("container_is_found_by_its_marks_when_the_record_is_lost", NEEDS, record_lost),
        trial("container_survives_a_move_of_the_state_folder", NEEDS, moved),
        trial("container_of_a_stranger_is_not_touched", NEEDS, stranger),
        trial("container_whose_volume_is_gone_is_not_made_anew_in_silence", NEEDS, volume_gone),
        trial("container_is_published_on_loopback_only", NEEDS, loopback),
        trial("container_gives_up_a_port_that_was_taken_meanwhile", NEEDS, port_taken),
        #[cfg(target_os = "linux")]
        trial("container_ends_with_the_program_that_all_runs_in", NEEDS, in_process),
        trial("server_stays_as_it_was_made", &["docker", "postgres"], stays),
        trial("server_of_another_state_is_left_alone", NEEDS, anothers),
        trial("server_without_programs_and_engine_is_refused_with_all_ways", &[], no_way),
    ]
}

fn made(place: &Place) -> (PostgresObserved, String) {
    match wait(Postgres.create(&place.machine, &place.cx(), &key(DATABASE), &spec())).unwrap() {
        Created::Read { observed, secrets, .. } => {
            (observed, secrets[&OutputName::new("url").unwrap()].expose().clone())
        }
        Created::Unread { .. } => panic!("unread"),
    }
}

fn running(place: &Place) {
    wait(postgres::ensure_running(&place.machine, &place.cx(), &key(DATABASE))).unwrap();
}

fn meddled_with() {
    let place = Place::of(How::Docker);
    let (have, url) = made(&place);
    assert_eq!((have.way, have.path), (Way::Docker, None));
    ask(&url, "CREATE TABLE kept AS SELECT 1 AS a");
    for words in [&["pause"][..], &["kill"], &["stop"], &["rm", "-f"]] {
        let container = place.container();
        docker(&[words, &[&container]].concat());
        running(&place);
        assert_eq!(ask(&url, "SELECT a FROM kept"), "1", "after {words:?}");
        assert_eq!(place.container(), container);
    }
}

fn record_lost() {
    let place = Place::of(How::Docker);
    let (machine, cx) = (&place.machine, place.cx());
    let (have, url) = made(&place);
    ask(&url, "CREATE TABLE kept AS SELECT 1 AS a");
    let servers = machine.layout.servers(&place.stack, "postgres");
    std::fs::remove_dir_all(&servers).unwrap();
    let found = wait(Postgres.find(machine, &cx, &key(DATABASE), None)).unwrap();
    let [one] = &found[..] else { panic!("{found:?}") };
    assert_eq!((one.observed.finished, &one.observed.volume), (false, &have.volume));
    assert!(matches!(Postgres.diff(&spec(), &one.observed), Change::InPlace(_)));
    // What the engine does about it: the data is taken as it is.
    wait(Postgres.update(machine, &cx, &key(DATABASE), &one.id, &one.observed, &spec())).unwrap();
    let found = wait(Postgres.find(machine, &cx, &key(DATABASE), None)).unwrap();
    let [one] = &found[..] else { panic!("{found:?}") };
    let url = url.replace(&have.port.to_string(), &one.observed.port.to_string());
    assert_eq!((Postgres.diff(&spec(), &one.observed), one.observed.major), (Change::None, have.major));
    assert_eq!(ask(&url, "SELECT a FROM kept"), "1");

    // A second volume with the same marks is a twin: it is told apart, and goes alone.
    let labels = docker(&["volume", "inspect", "--format", "{{json .Labels}}", &place.marked("volume")[0]]);
    let labels: std::collections::BTreeMap<String, String> = serde_json::from_str(&labels).unwrap();
    let twin = format!("{}-twin", place.marked("volume")[0]);
    let labels: Vec<String> = labels.iter().map(|(name, value)| format!("--label={name}={value}")).collect();
    let mut words = vec!["volume", "create"];
    words.extend(labels.iter().map(String::as_str));
    words.push(&twin);
    docker(&words);
    let found = wait(Postgres.find(machine, &cx, &key(DATABASE), None)).unwrap();
    assert_eq!(found.len(), 2, "{found:?}");
    wait(Postgres.delete(machine, &cx, &key(DATABASE), &found[1].id)).unwrap();
    assert_eq!(wait(Postgres.find(machine, &cx, &key(DATABASE), None)).unwrap(), found[..1]);
    assert_eq!(ask(&url, "SELECT a FROM kept"), "1");

    // Lost again, and not wanted: nothing is left.
    std::fs::remove_dir_all(&servers).unwrap();
    wait(Postgres.delete(machine, &cx, &key(DATABASE), &PhysicalId(String::new()))).unwrap();
    assert!(place.marked("volume").is_empty() && place.marked("container").is_empty());
}

fn moved() {
    let place = Place::of(How::Docker);
    let (have, url) = made(&place);
    ask(&url, "CREATE TABLE kept AS SELECT 1 AS a");
    let there = place.path().join("elsewhere");
    std::fs::rename(place.state(), &there).unwrap();
    let machine = machine_with(&there, How::Docker.options());
    let cx = place.cx();
    wait(postgres::stop(&machine, &cx, &key(DATABASE))).unwrap();
    assert_eq!(wait(postgres::ensure_running(&machine, &cx, &key(DATABASE))).unwrap(), have);
    assert_eq!(ask(&url, "SELECT a FROM kept"), "1");
    std::fs::rename(&there, place.state()).unwrap();
}

fn stranger() {
    let place = Place::of(How::Docker);
    let (_, url) = made(&place);
    let name = place.container();
    wait(postgres::stop(&place.machine, &place.cx(), &key(DATABASE))).unwrap();
    docker(&["rm", &name]);
    docker(&["create", "--name", &name, "--entrypoint", "true", crate::place::REDIS_IMAGE]);
    let refused = wait(postgres::ensure_running(&place.machine, &place.cx(), &key(DATABASE))).unwrap_err();
    docker(&["rm", "-v", &name]);
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert!(refused.message().contains(&name), "{refused}");
    running(&place);
    assert_eq!(ask(&url, "SELECT 1"), "1");
}

fn volume_gone() {
    let place = Place::of(How::Docker);
    made(&place);
    wait(Redis.create(&place.machine, &place.cx(), &key(CACHE), &RedisSpec::default())).unwrap();
    for container in place.marked("container") {
        docker(&["rm", "-f", &container]);
    }
    for volume in place.marked("volume") {
        docker(&["volume", "rm", &volume]);
    }
    let refused = wait(postgres::ensure_running(&place.machine, &place.cx(), &key(DATABASE))).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    assert!(refused.message().contains("no volume") && refused.help().is_some(), "{refused}");
    assert!(place.marked("volume").is_empty());
    // A cache holds nothing that is missed.
    wait(redis::ensure_running(&place.machine, &place.cx(), &key(CACHE))).unwrap();
    assert_eq!(place.marked("volume").len(), 1);
}

fn loopback() {
    let place = Place::of(How::Docker);
    let (have, _) = made(&place);
    let ports = docker(&["port", &place.container()]);
    assert_eq!(ports, format!("5432/tcp -> 127.0.0.1:{}", have.port));
    let marks = docker(&["container", "inspect", "--format", "{{json .Config.Labels}}", &place.container()]);
    for mark in ["app", "environment", "key", "owner", "workspace"] {
        assert!(marks.contains(&format!("\"vrooli-deploy.{mark}\"")), "{mark}: {marks}");
    }
}

fn port_taken() {
    let place = Place::of(How::Docker);
    let (machine, cx) = (&place.machine, place.cx());
    let (have, url) = made(&place);
    wait(postgres::stop(machine, &cx, &key(DATABASE))).unwrap();
    let somebody = std::net::TcpListener::bind(("127.0.0.1", have.port)).unwrap();
    let refused = wait(postgres::ensure_running(machine, &cx, &key(DATABASE))).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert!(refused.message().contains(&format!("process {}", std::process::id())), "{refused}");
    drop(somebody);
    running(&place);
    assert_eq!(ask(&url, "SELECT 1"), "1");
}

/// One server is left over, as by a program that was killed, and one is new.
#[cfg(target_os = "linux")]
fn in_process() {
    let place = Place::of(How::Docker);
    let (_, url) = made(&place);
    ask(&url, "CREATE TABLE kept AS SELECT 1 AS a");
    let running = || {
        let id = place.machine.layout.workspace_id().unwrap();
        docker(&["ps", "--quiet", "--filter", &format!("label=vrooli-deploy.workspace={id}")]).lines().count()
    };
    assert_eq!(running(), 1);
    let context = OpenContext {
        dir: place.state(),
        owner: place.cx().owner,
        stack: place.stack.clone(),
        secrets: Arc::clone(&place.machine.secrets),
        configuration: Configuration::default(),
        resources: Vec::new(),
        ids: Default::default(),
        kinds: Default::default(),
        leaving: Default::default(),
    };
    wait(async {
        let here = LocalFactory::new().in_process().with_servers(How::Docker.options());
        let provider = here.open(&context).unwrap();
        let cache = key(CACHE);
        provider.create(&place.cx(), &Redis.kind(), &cache, &serde_json::json!({})).await.unwrap();
        assert_eq!(running(), 2);
        here.shutdown().await;
        assert_eq!((running(), place.marked("container").len()), (0, 2));

        // What is not left over is started again, and ends again.
        let database = (key(DATABASE), serde_json::to_value(spec()).unwrap());
        let provider = here.open(&context).unwrap();
        provider.create(&place.cx(), &Postgres.kind(), &database.0, &database.1).await.unwrap();
        assert_eq!((running(), ask(&url, "SELECT a FROM kept")), (1, "1".to_owned()));
        here.shutdown().await;
        assert_eq!(running(), 0);
    });
}

fn stays() {
    let place = Place::of(How::Programs);
    let (have, url) = made(&place);
    assert_eq!((have.way, have.volume), (Way::Programs, None));
    let machine = machine_with(&place.state(), How::Docker.options());
    let said: Arc<Mutex<Vec<String>>> = Arc::default();
    let heard = Arc::clone(&said);
    let cx = place.cx().with_output(OutputSink::new(move |line| heard.lock().unwrap().push(line.to_owned())));
    wait(Postgres.create(&machine, &cx, &key(DATABASE), &spec())).unwrap();
    let said = said.lock().unwrap().join("\n");
    assert!(said.contains("VD0749") && said.contains("stays with the installed programs"), "{said}");
    assert_eq!(ask(&url, "SELECT 1"), "1");
    assert!(place.marked("container").is_empty());
}

fn anothers() {
    let place = Place::of(How::Docker);
    made(&place);
    let id = place.machine.layout.workspace_id().unwrap();
    // As if the folder of an app had come here from another state.
    std::fs::write(place.state().join("id"), uuid::Uuid::from_u128(9).to_string()).unwrap();
    let mut cx = place.cx();
    cx.owner = uuid::Uuid::from_u128(9);
    assert!(wait(Postgres.find(&place.machine, &cx, &key(DATABASE), None)).unwrap().is_empty());
    for refused in [
        wait(Postgres.create(&place.machine, &cx, &key(DATABASE), &spec())).unwrap_err(),
        wait(Postgres.delete(&place.machine, &cx, &key(DATABASE), &PhysicalId(String::new()))).unwrap_err(),
    ] {
        assert_eq!(refused.kind(), ErrorKind::Conflict);
        assert!(refused.message().contains("another state"), "{refused}");
    }
    std::fs::write(place.state().join("id"), id.to_string()).unwrap();
}

fn no_way() {
    let mut options = ServerOptions::default();
    options.way = Some(Way::Docker);
    options.engine = Some("unix:///nonexistent/docker.sock".to_owned());
    let place = Place::of(How::Programs);
    let machine = machine_with(&place.state(), options);
    for (refused, swap) in [
        (
            wait(Postgres.create(&machine, &place.cx(), &key(DATABASE), &spec())).unwrap_err(),
            "--drop postgres",
        ),
        (
            wait(Redis.create(&machine, &place.cx(), &key(CACHE), &RedisSpec::default())).unwrap_err(),
            "--drop redis",
        ),
    ] {
        assert_eq!((refused.kind(), refused.code()), (ErrorKind::Missing, Some("VD0748")));
        assert!(refused.message().contains("/nonexistent/docker.sock"), "{refused}");
        let help = refused.help().unwrap();
        for way in ["Docker", "VROOLI_DEPLOY_DATABASES=auto", "_URL", swap] {
            assert!(help.contains(way), "{help}");
        }
    }
    assert!(wait(Postgres.find(&machine, &place.cx(), &key(DATABASE), None)).unwrap().is_empty());
}
