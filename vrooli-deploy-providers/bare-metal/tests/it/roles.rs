//! Databases and caches on real hosts: used from where they may be, changed by hand, saved, restored.

use std::process::{Command, Stdio};
use std::sync::Arc;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{ErrorKind, LowerOptions, ProviderFactory as _};
use vrooli_deploy_core::requirements::Requirements;
use vrooli_deploy_core::secrets::{FileStore, KeySource, SecretStore};
use vrooli_deploy_core::stack::Stack;
use vrooli_deploy_provider_bare_metal::BareMetalFactory;

use crate::ground::{OWNER, Session, everything, stack_id};
use crate::rig::Rig;
use crate::{trial, trusted, until};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("roles_used_changed_saved_restored_and_given_back", used_changed_saved_restored_and_given_back),
        trial("roles_killed_in_the_middle", killed_in_the_middle),
    ]
}

const DATABASE: &str = "database/postgres";
const CACHE: &str = "cache/redis";

fn lowered(app: &str, servers: &[(String, &str)]) -> Stack {
    let requirements: Requirements = serde_json::from_value(json!({
        "app": app, "services": {}, "dropped": [], "data_volume": false,
        "resources": [
            { "name": "postgres", "resource": "postgres", "primitive": "database", "version": ">=13",
              "database": "shop_data", "env": { "DATABASE_URL": "url" } },
            { "name": "redis", "resource": "redis", "primitive": "cache", "env": { "REDIS_URL": "url" } }
        ]
    }))
    .unwrap();
    let servers: Vec<Value> = servers
        .iter()
        .map(|(host, role)| json!({ "host": host, "role": role, "monthly_usd": "1" }))
        .collect();
    let options = LowerOptions {
        infrastructure: serde_json::from_value(json!({ "servers": servers })).unwrap(),
        ..LowerOptions::default()
    };
    BareMetalFactory::new().lower(&stack_id(app), &requirements, &options).into_result().unwrap().0
}

fn secrets(rig: &Rig) -> Arc<dyn SecretStore> {
    let folder = rig.folder().join("secrets");
    std::fs::create_dir_all(&folder).unwrap();
    Arc::new(FileStore::open(&folder, OWNER, KeySource::Folder(Some(folder.join("keys")))).unwrap())
}

fn session(rig: &Rig, stack: &Stack, fence: u64) -> Session {
    Session::with(rig, stack.clone(), fence, OWNER, secrets(rig))
}

fn password(rig: &Rig, key: &str) -> String {
    let store = secrets(rig);
    let kept = store.latest(&format!("shop/default/{key}/password")).unwrap().unwrap();
    store.get(&kept).unwrap().expose().clone()
}

/// Runs a script on a host with something to read; what it said, or why it failed.
fn says(rig: &Rig, number: u32, script: &str, input: &str) -> Result<String, String> {
    use std::io::Write as _;
    let mut child = Command::new("docker")
        .args(["exec", "-i", &rig.name(number), "sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// What an app would do: `psql` with what it needs, as it is on the host of the database.
fn bring_client(rig: &Rig, from: u32, to: &[u32]) {
    let packed = rig.folder().join("client.tar");
    let pack = "cd / && psql=$(ls /usr/lib/postgresql/*/bin/psql) && mkdir -p /var/tmp/client && cp $psql $(ldd $psql | awk '$3 ~ /^\\// { print $3 }') /var/tmp/client/ && tar -C /var/tmp -cf /var/tmp/client.tar client";
    rig.on(from, pack);
    rig.docker_copy(from, "/var/tmp/client.tar", &packed);
    for number in to {
        let mut command = Command::new("docker");
        command.args(["exec", "-i", &rig.name(*number), "tar", "-C", "/opt", "-xf", "-"]);
        command.stdin(std::fs::File::open(&packed).unwrap());
        assert!(command.status().unwrap().success());
    }
}

/// SQL as the app.
fn sql(rig: &Rig, number: u32, url: &str, statement: &str) -> Result<String, String> {
    let script = "read -r PGURL; PGCONNECT_TIMEOUT=4 LD_LIBRARY_PATH=/opt/client timeout 10 /opt/client/psql -X -q -A -t -v ON_ERROR_STOP=1 \"$PGURL\" -f -";
    says(rig, number, script, &format!("{url}\n{statement}\n"))
}

/// A word to Redis over TCP, as the app or as nobody.
fn redis(
    rig: &Rig,
    number: u32,
    have: &Value,
    password: Option<&str>,
    words: &str,
) -> Result<String, String> {
    let script = "read -r at; host=${at% *}; port=${at#* }; timeout 5 bash -c \"exec 3<>/dev/tcp/$host/$port; cat >&3; timeout 1 cat <&3\" || [ $? = 124 ]";
    let auth = password.map_or(String::new(), |password| format!("AUTH {password}\r\n"));
    let address = have["address"].as_str().unwrap_or("127.0.0.1");
    says(rig, number, script, &format!("{address} {}\n{auth}{words}\r\n", have["port"]))
}

/// Nothing on a host holds a password: not a file, not a process, not the journal.
fn hears_nothing_of(rig: &Rig, number: u32, password: &str) {
    let script = "cat >/run/wanted; \
        grep -rlaF -f /run/wanted /etc /var /root /home /tmp /opt /usr/local /run --exclude=wanted; \
        journalctl -q --no-pager | grep -cF -f /run/wanted | grep -vx 0; \
        cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | grep -acF -f /run/wanted | grep -vx 0; \
        rm /run/wanted; true";
    assert_eq!(says(rig, number, script, &format!("{password}\n")), Ok(String::new()));
}

async fn used_changed_saved_restored_and_given_back() {
    let rig = Rig::up(3, &[]);
    drop(trusted(&rig, 2).await);
    let before = everything_of_two(&rig);
    let servers = [(rig.name(1), "app"), (rig.name(2), "database")];
    let stack = lowered("shop", &servers);
    let first = session(&rig, &stack, 1);
    assert!(first.observed_nothing().await);
    first.make().await;
    let setup = first.phases();
    assert!(setup <= 8, "{setup} round trips to two hosts: more than four each");
    assert_eq!(first.differences().await, Vec::<String>::new());
    drop(first);
    let second = session(&rig, &stack, 2);
    assert_eq!(second.differences().await, Vec::<String>::new());
    assert_eq!(second.phases(), 2, "one round trip a host");

    // The app's host may connect, encrypted, and nobody else.
    bring_client(&rig, 2, &[1, 3]);
    let (database, cache) = (second.observed(DATABASE).await, second.observed(CACHE).await);
    let (pg, rd) = (password(&rig, DATABASE), password(&rig, CACHE));
    let (address, port) = (database["address"].as_str().unwrap(), &database["port"]);
    let url = format!("postgres://vrooli:{pg}@{address}:{port}/shop_data?sslmode=require");
    let rows = "CREATE TABLE orders (id int PRIMARY KEY); INSERT INTO orders SELECT generate_series(1, 3); \
        SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid();";
    assert_eq!(sql(&rig, 1, &url, rows), Ok("t".to_owned()));
    let refused = sql(&rig, 3, &url, "SELECT 1;").unwrap_err();
    assert!(refused.contains("timeout expired") || refused.contains("no pg_hba.conf entry"), "{refused}");
    let wrong = sql(&rig, 1, &url.replace(&pg, "wrong"), "SELECT 1;").unwrap_err();
    assert!(wrong.contains("password authentication failed"), "{wrong}");
    let plain = sql(&rig, 1, &url.replace("require", "disable"), "SELECT 1;").unwrap_err();
    assert!(plain.contains("no pg_hba.conf entry"), "{plain}");
    let count = |number| sql(&rig, number, &url, "SELECT count(*) FROM orders;");
    let answer = redis(&rig, 1, &cache, Some(&rd), "SET greeting hello").unwrap();
    assert!(answer.contains("+OK\r\n+OK"), "{answer}");
    let answer = redis(&rig, 1, &cache, None, "GET greeting").unwrap();
    assert!(answer.starts_with("-NOAUTH"), "{answer}");
    let answer = redis(&rig, 1, &cache, Some(&rd), "PING").unwrap();
    assert!(answer.contains("+PONG"), "{answer}");
    let answer = redis(&rig, 3, &cache, Some(&rd), "PING").unwrap_or_default();
    assert!(!answer.contains("PONG"), "{answer}");
    // The same with the firewall down: each keeps its own door.
    rig.on(2, "nft delete table inet vrooli_deploy");
    let refused = sql(&rig, 3, &url, "SELECT 1;").unwrap_err();
    assert!(refused.contains("no pg_hba.conf entry"), "{refused}");
    let open = second.differences_later().await;
    assert!(
        open.contains(&"firewall: ports lasts".to_owned())
            || open.iter().any(|one| one.starts_with("firewall")),
        "{open:?}"
    );
    second.mend().await;
    assert_eq!(second.differences().await, Vec::<String>::new());
    for password in [&pg, &rd] {
        hears_nothing_of(&rig, 2, password);
    }

    drop(second);
    changed_by_hand(&rig, &stack, &database, &cache).await;
    assert_eq!(count(1), Ok("3".to_owned()));
    saved_and_restored(&rig, &stack, &url).await;
    wanted_otherwise(&rig, &stack, &url).await;

    let last = session(&rig, &stack, 9);
    last.give_back(&[]).await;
    let kept = rig.on(2, "find /var/backups/vrooli-deploy -type f -printf '%m %f\\n' | sort");
    // Every database that had something in it, that from before the restore too.
    let finals = [
        "600 shop.default.postgres-postgres.shop_data.dump",
        "600 shop.default.postgres-postgres.vrooli_deploy_before.dump",
        "600 shop.default.redis-redis.rdb",
    ];
    assert_eq!(kept.lines().collect::<Vec<_>>(), finals);
    let left = rig.on(2, "ls -d /etc/postgresql/*/* /var/lib/postgresql/*/* /etc/systemd/system/postgresql@* 2>/dev/null; pgrep -x 'postgres|redis-server'; true");
    assert_eq!(left, "");
    let after = everything_of_two(&rig);
    // Packages of Debian keep their users, and the links of their units, as they do whoever removes them.
    let new: Vec<&String> = after
        .difference(&before)
        .filter(|line| !["user ", "group "].iter().any(|start| line.starts_with(start)))
        .filter(|line| {
            !["postgresql", "ssl-cert"]
                .iter()
                .any(|unit| line.ends_with(&format!("multi-user.target.wants/{unit}.service")))
        })
        .collect();
    assert_eq!(new, Vec::<&String>::new());
}

fn everything_of_two(rig: &Rig) -> std::collections::BTreeSet<String> {
    everything(rig, 2)
}

/// What somebody changes on the host is named by file and key, and put back.
async fn changed_by_hand(rig: &Rig, stack: &Stack, database: &Value, cache: &Value) {
    let cluster = format!("{}/{}", database["major"], database["cluster"].as_str().unwrap());
    let (major, name) = cluster.split_once('/').unwrap();
    let etc = format!("/etc/postgresql/{cluster}");
    let conf = "/var/lib/vrooli-deploy/redis/shop.default-redis/redis.conf";
    let unit = cache["unit"].as_str().unwrap();
    let as_postgres = |statement: &str| {
        format!("cd /; runuser -u postgres -- psql -qX -p {} -c \"{statement}\"", database["port"])
    };
    let home = "/var/lib/vrooli-deploy/roles/shop.default/backup-postgres";
    for (harm, seen) in [
        (
            format!("sed -i 's/^shared_buffers.*/shared_buffers = 20MB/' {etc}/postgresql.conf"),
            format!("database: {etc}/postgresql.conf: shared_buffers"),
        ),
        (
            format!("echo 'host all all 0.0.0.0/0 trust' >>{etc}/pg_hba.conf; systemctl reload postgresql@{major}-{name}"),
            format!("database: {etc}/pg_hba.conf: host all all 0.0.0.0/0 trust"),
        ),
        (format!("chmod 666 {etc}/pg_hba.conf"), format!("database: {etc}/pg_hba.conf: mode")),
        (as_postgres("ALTER SYSTEM SET work_mem = '1GB'"), "database: postgresql.auto.conf: work_mem".to_owned()),
        (as_postgres("ALTER ROLE vrooli PASSWORD 'x'"), "database: password".to_owned()),
        (as_postgres("ALTER ROLE vrooli SUPERUSER"), "database: user".to_owned()),
        (format!("systemctl stop postgresql@{major}-{name}"), "database: running".to_owned()),
        (format!("sed -i 's/^maxmemory .*/maxmemory 1gb/' {conf}"), format!("cache: {conf}: maxmemory")),
        (
            format!("sed -i 's/^User=.*/User=root/' /etc/systemd/system/{unit}.service"),
            format!("cache: /etc/systemd/system/{unit}.service: User"),
        ),
        ("echo 'user default on nopass ~* +@all' >/var/lib/vrooli-deploy/redis/shop.default-redis/users.acl".to_owned(), "cache: password".to_owned()),
        (format!("systemctl disable -q --now {unit}"), "cache: enabled running".to_owned()),
        ("systemctl stop vrooli-deploy-backup-shop.default-postgres.timer".to_owned(), "backup: timer".to_owned()),
        (format!("sed -i 's/^keep .*/keep 1/' {home}/settings"), format!("backup: {home}/settings: keep")),
        (format!("echo exit >{home}/backup.sh"), format!("backup: {home}/backup.sh: text")),
    ] {
        rig.on(2, &harm);
        let session = session(rig, stack, 3);
        let differences = session.differences().await;
        assert_eq!(differences, [seen], "{harm}");
        session.mend().await;
        let left = session.differences().await;
        assert_eq!(left, Vec::<String>::new(), "after {harm}");
    }
    // What is in force is what stands in the file.
    let in_force = rig.on(2, &as_postgres("SHOW shared_buffers"));
    assert!(!in_force.contains("20MB"), "{in_force}");
    // A machine with more memory: tuned again.
    rig.docker(&["update", "--memory", "2g", "--memory-swap", "4g"], 2);
    let session = session(rig, stack, 3);
    let differences = session.differences().await;
    assert!(differences.iter().any(|one| one.contains("postgresql.conf: shared_buffers")), "{differences:?}");
    assert!(differences.iter().any(|one| one.contains("redis.conf: maxmemory")), "{differences:?}");
    session.mend().await;
    assert_eq!(session.differences().await, Vec::<String>::new());
    let in_force = rig.on(2, &as_postgres("SHOW shared_buffers"));
    assert!(in_force.contains("512MB"), "{in_force}");
}

/// Each backup is tried; a restore brings back what was in it, and nothing that came after.
async fn saved_and_restored(rig: &Rig, stack: &Stack, url: &str) {
    let key = ResourceKey::new("backup/postgres").unwrap();
    let service = "vrooli-deploy-backup-shop.default-postgres.service";
    let save = |service: &str| {
        let words = format!("journalctl -q -o cat -n 20 -u {service} >&2");
        rig.on(2, &format!("systemctl start {service} || {{ {words}; exit 1; }}"))
    };
    save(service);
    let session = session(rig, stack, 4);
    let seen = session.observed("backup/postgres").await;
    assert_eq!((&seen["last"]["restorable"], &seen["last"]["counted"]), (&json!(true), &json!(1)), "{seen}");
    let backups = session.servers.backups(&session.cx(), &key).await.unwrap();
    assert_eq!(backups.len(), 1);
    assert_eq!(rig.on(2, &format!("stat -c '%a %U' {}", backups[0].path)), "600 root");
    sql(rig, 1, url, "INSERT INTO orders SELECT generate_series(4, 100); CREATE TABLE later (id int);")
        .unwrap();
    session.servers.restore(&session.cx(), &key, &backups[0].name).await.unwrap();
    assert_eq!(sql(rig, 1, url, "SELECT count(*) FROM orders;"), Ok("3".to_owned()));
    assert!(sql(rig, 1, url, "SELECT * FROM later;").is_err());
    sql(rig, 1, url, "INSERT INTO orders VALUES (4); DELETE FROM orders WHERE id = 4;").unwrap();
    assert_eq!(session.differences().await, Vec::<String>::new());
    let error = session.servers.restore(&session.cx(), &key, "20000101T000000Z.dump").await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, Some("VD0951")), "{error:?}");

    // The cache the same way.
    let cache = session.observed(CACHE).await;
    let own = password(rig, CACHE);
    save("vrooli-deploy-backup-shop.default-redis.service");
    redis(rig, 1, &cache, Some(&own), "SET greeting bye").unwrap();
    let key = ResourceKey::new("backup/redis").unwrap();
    let seen = session.observed("backup/redis").await;
    assert_eq!((&seen["last"]["restorable"], &seen["last"]["counted"]), (&json!(true), &json!(1)), "{seen}");
    let backups = session.servers.backups(&session.cx(), &key).await.unwrap();
    session.servers.restore(&session.cx(), &key, &backups[0].name).await.unwrap();
    let answer = redis(rig, 1, &cache, Some(&own), "GET greeting").unwrap();
    assert!(answer.contains("hello"), "{answer}");

    // One that fails is seen until one does not; the others stay, and no more than are wanted.
    rig.on(2, &format!("chmod 0 /usr/lib/postgresql/*/bin/pg_dump; ! systemctl start {service}"));
    let differences = session.differences_later().await;
    assert!(differences.iter().any(|one| one.starts_with("backup: last backup: ")), "{differences:?}");
    rig.on(2, "chmod 755 /usr/lib/postgresql/*/bin/pg_dump");
    session.mend().await;
    until("it is tried again", || {
        rig.on(2, "cat /var/lib/vrooli-deploy/roles/shop.default/backup-postgres/last 2>/dev/null || true")
            .contains("result ok")
    })
    .await;
    for _ in 0..6 {
        save(service);
    }
    let key = ResourceKey::new("backup/postgres").unwrap();
    let session = crate::roles::session(rig, stack, 4);
    assert_eq!(session.servers.backups(&session.cx(), &key).await.unwrap().len(), 7);
    assert_eq!(session.differences().await, Vec::<String>::new());
    assert_eq!(
        rig.on(2, "ls -A /var/backups/vrooli-deploy/shop.default/postgres | grep -c partial || true"),
        "0"
    );
}

/// Each field that can change changes, and no data are lost; another major version is refused.
async fn wanted_otherwise(rig: &Rig, stack: &Stack, url: &str) {
    let mut stack = stack.clone();
    let mut set = |key: &str, field: &str, value: Value| {
        stack.resources.get_mut(&ResourceKey::new(key).unwrap()).unwrap().spec[field] = value;
    };
    set(DATABASE, "extensions", json!(["pgcrypto"]));
    set(DATABASE, "database", json!("shop_more"));
    set(CACHE, "persistence", json!("none"));
    set("backup/postgres", "keep", json!(2));
    set("backup/postgres", "schedule", json!("*-*-* 05:00:00"));
    let session = session(rig, &stack, 5);
    let differences = session.differences().await;
    let wanted = ["backup: keep schedule", "database: database extensions", "cache: persistence"];
    assert_eq!(differences, wanted);
    session.mend().await;
    assert_eq!(session.differences().await, Vec::<String>::new());
    let other = url.replace("/shop_data?", "/shop_more?");
    assert_eq!(sql(rig, 1, &other, "SELECT length(gen_random_bytes(3));"), Ok("3".to_owned()));

    let mut stack = stack.clone();
    let spec = &mut stack.resources.get_mut(&ResourceKey::new(DATABASE).unwrap()).unwrap().spec;
    spec["version"] = json!(">=99");
    spec["database"] = json!("shop_data");
    let session = crate::roles::session(rig, &stack, 6);
    assert_eq!(session.differences().await, ["database: database version"]);
    let error = session.update(DATABASE).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Unsupported, Some("VD0950")), "{error:?}");
    assert!(error.help().unwrap().contains("pg_upgradecluster"), "{error:?}");
}

/// We are gone, or the host is, while a cluster is made: one is there afterwards, and works.
async fn killed_in_the_middle() {
    let rig = Rig::up(1, &[]);
    drop(trusted(&rig, 1).await);
    let stack = lowered("shop", &[(rig.name(1), "app")]);
    let session = session(&rig, &stack, 1);
    // All but the database.
    for key in stack.resources.keys().filter(|key| key.as_str() != DATABASE) {
        if stack.resources[key].after.is_empty() {
            session.create(key).await.unwrap();
        }
    }
    rig.on(1, "printf '#!/bin/sh\\n/usr/bin/pg_createcluster \"$@\"\\ntouch /tmp/made\\nuntil [ -e /tmp/go ]; do sleep 0.1; done\\n' >/usr/local/sbin/pg_createcluster; chmod 755 /usr/local/sbin/pg_createcluster");
    let database = ResourceKey::new(DATABASE).unwrap();
    let there = |path: &str| rig.on(1, &format!("ls {path} 2>/dev/null || true"));
    tokio::select! {
        made = session.create(&database) => panic!("it cannot be done yet: {made:?}"),
        () = until("a cluster is there", || !there("/tmp/made").is_empty()) => {}
    }
    // The host loses power with the cluster made and nothing written down of it.
    rig.docker(&["kill"], 1);
    drop(session);
    rig.docker(&["start"], 1);
    let name = rig.name(1);
    until("ssh listens", || {
        let words = ["exec", &name, "systemctl", "is-active", "ssh"];
        Command::new("docker").args(words).output().is_ok_and(|state| state.status.success())
    })
    .await;
    rig.on(1, "touch /tmp/go");
    let again = crate::roles::session(&rig, &stack, 2);
    again.make().await;
    again.make().await;
    assert_eq!(again.differences().await, Vec::<String>::new());
    assert_eq!(rig.on(1, "pg_lsclusters -h | wc -l"), "1");
    let seen = again.observed(DATABASE).await;
    assert_eq!(seen["address"], Value::Null);
    let ask = |what: &str| {
        rig.on(1, &format!("cd /; runuser -u postgres -- psql -qXAt -p {} -c \"{what}\"", seen["port"]))
    };
    assert_eq!(ask("SELECT count(*) FROM pg_roles WHERE rolcanlogin"), "2");
    assert_eq!(ask("SELECT count(*) FROM pg_database WHERE NOT datistemplate"), "2");
    assert_eq!(
        rig.on(1, &format!("ss -Hltn 'sport = :{}' | awk '{{print $4}}'", seen["port"])),
        format!("127.0.0.1:{}", seen["port"])
    );
    // Beside the app, with what it is given: by loopback alone.
    bring_client(&rig, 1, &[1]);
    let url = format!(
        "postgres://vrooli:{}@127.0.0.1:{}/shop_data?sslmode=disable",
        password(&rig, DATABASE),
        seen["port"]
    );
    assert_eq!(sql(&rig, 1, &url, "SELECT current_user;"), Ok("vrooli".to_owned()));
    hears_nothing_of(&rig, 1, &password(&rig, DATABASE));

    // Whole after a boot, too.
    rig.docker(&["restart"], 1);
    until("the servers are back", || {
        rig.on(1, "systemctl is-active 'postgresql@*' 'vrooli-deploy-redis-*' 'vrooli-deploy-backup-*.timer' 2>/dev/null || true")
            .lines()
            .filter(|line| *line == "active")
            .count()
            == 4
    })
    .await;
    let booted = crate::roles::session(&rig, &stack, 3);
    assert_eq!(booted.differences().await, Vec::<String>::new());
}
