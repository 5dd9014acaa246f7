//! What a server keeps of an app outlives the state that made it, and what a database holds outlives
//! mistakes: on a real server, in a container.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::fleet::{PROGRAM, version_on};
use crate::hosts::User;
use crate::script::repository;

/// A user with an app that has a database, and one server for both.
struct Shop(User);

impl Shop {
    fn new(test: &str) -> Option<Self> {
        let user = User::new(test, 1)?;
        let folder = user.place.dir().join("shop");
        fs::create_dir_all(folder.join("src")).unwrap();
        for entry in fs::read_dir(repository().join("tests/fixtures/server/src")).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, folder.join("src").join(path.file_name().unwrap())).unwrap();
        }
        let manifest = "schema_version: v0.1\ntarget: saas\nprovider: bare-metal\napp: { name: shop, version: 1.0.0 }\n\
            build:\n  steps:\n    - { name: server, run: mkdir -p bin && rustc --edition 2024 -o bin/server src/main.rs }\n\
            services:\n  web:\n    run: [./server, --require, DATABASE_URL]\n    dir: bin\n    ports: { http: { env_var: PORT } }\n    \
            health: { path: /health, startup_grace: 5s }\n    routes: [{ path: / }]\n\
            env: { APP_VERSION: \"1\" }\ndependencies:\n  resources:\n    postgres:\n      initialization:\n        \
            - { type: schema, file: sql/schema.sql }\n        - { type: migration, file: sql/steps }\n        \
            - { type: seed, file: sql/seed.sql }\n\
            infrastructure:\n  servers:\n    - { host: web1, role: app, monthly_usd: \"5.00\" }\n";
        fs::write(folder.join("deployment.yaml"), manifest).unwrap();
        fs::create_dir_all(folder.join("sql/steps")).unwrap();
        let shop = Self(user);
        shop.write(
            "sql/schema.sql",
            "CREATE EXTENSION IF NOT EXISTS pgcrypto;\nCREATE TABLE orders (id int);\n",
        );
        shop.write(
            "sql/steps/001_note.up.sql",
            "ALTER TABLE orders ADD note text;\nGRANT SELECT ON orders TO reports;\n",
        );
        shop.write("sql/steps/001_note.down.sql", "ALTER TABLE orders DROP note;\n");
        shop.write("sql/seed.sql", "INSERT INTO orders VALUES (1), (2), (3)\n");
        shop.vouch();
        Some(shop)
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.0.place.dir().join("shop").join(file), text).unwrap();
    }

    fn vouch(&self) {
        let fingerprint = self.0.rig.fingerprint(1, "ed25519");
        let (_, exit) = self.0.json(&["hosts", "add", "web1", "--fingerprint", &fingerprint]);
        assert_eq!(exit, 0);
    }

    fn lines(&self, words: &[&str]) -> Vec<Value> {
        let mut program = self.0.program(words);
        let name = format!("VROOLI_DEPLOY_PROGRAM_{}", std::env::consts::ARCH.to_ascii_uppercase());
        let output = program.env(name, &PROGRAM.1).arg("--json").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(!lines.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        lines
    }

    fn ran(&self, words: &[&str]) -> Value {
        self.lines(words).pop().unwrap()
    }

    /// SQL as the server's superuser, on the server.
    fn sql(&self, database: &str, statement: &str) -> String {
        let script = format!(
            "cd /; set -- $(pg_lsclusters -h | grep vd_shop); runuser -u postgres -- psql -X -q -A -t -p \"$3\" -c \"{statement}\" {database}"
        );
        self.0.rig.on(1, &script)
    }
}

/// What the manifest's files make is the app's, each is applied once, and one that fails leaves nothing
/// and keeps the release from serving.
fn files_are_applied_once(shop: &Shop, database: &str) {
    let said = |statement: &str| shop.sql(database, statement);
    let applied = || said("SELECT string_agg(file, ' ' ORDER BY applied_at, file) FROM vrooli_deploy.ledger");
    assert_eq!(applied(), "sql/schema.sql sql/steps/001_note.up.sql sql/seed.sql");
    assert_eq!(said("SELECT count(*), count(note) FROM orders"), "3|0");
    let owner = said("SELECT tableowner FROM pg_tables WHERE tablename = 'orders'");
    let app = said("SELECT rolname FROM pg_authid WHERE rolpassword IS NOT NULL");
    assert_eq!(owner, app, "the app owns its tables");
    assert_eq!(said("SELECT has_table_privilege('reports', 'orders', 'SELECT')"), "t");

    let release = |version: &str, step: &str| {
        shop.write("sql/steps/002_total.sql", step);
        let file = shop.0.place.dir().join("shop/deployment.yaml");
        let manifest = fs::read_to_string(&file).unwrap();
        let at = manifest.find("APP_VERSION").unwrap();
        let end = at + manifest[at..].find('}').unwrap();
        fs::write(&file, format!("{}APP_VERSION: \"{version}\" {}", &manifest[..at], &manifest[end..]))
            .unwrap();
        shop.ran(&["deploy", "shop/deployment.yaml", "--yes"])
    };
    let result = release("2", "ALTER TABLE orders ADD total int;\nALTER TABLE nowhere ADD total int;\n");
    assert_eq!(result["exit_code"], 3, "{result}");
    let words = result.to_string();
    assert!(
        words.contains("sql/steps/002_total.sql:2: ERROR:  relation \\\"nowhere\\\" does not exist"),
        "{words}"
    );
    assert_eq!(version_on(&shop.0.rig, 1), "1");
    let columns = "SELECT count(*) FROM information_schema.columns WHERE table_name = 'orders'";
    assert_eq!(said(columns), "2", "nothing of the file stays");
    let result = release("1", "ALTER TABLE orders ADD total int;\n");
    assert_eq!(result["outcome"], "applied", "{result}");
    assert_eq!(said(columns), "3");
    assert_eq!(applied(), "sql/schema.sql sql/steps/001_note.up.sql sql/seed.sql sql/steps/002_total.sql");
}

#[test]
fn a_database_on_a_server_outlives_a_lost_state_and_a_mistake() {
    let Some(shop) = Shop::new("a_database_on_a_server_outlives_a_lost_state_and_a_mistake") else { return };
    let rig = &shop.0.rig;
    let deploy = || shop.ran(&["deploy", "shop/deployment.yaml", "--yes"]);
    let result = deploy();
    assert_eq!(result["outcome"], "applied", "{result}");
    let database = shop
        .sql("postgres", "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'");
    assert!(!database.is_empty() && !database.contains('\n'), "{database}");
    let count = || shop.sql(&database, "SELECT count(*) FROM orders");
    let verifiers =
        || shop.sql("postgres", "SELECT rolpassword FROM pg_authid WHERE rolpassword IS NOT NULL");
    let verifier = verifiers();
    assert!(verifier.starts_with("SCRAM-SHA-256"), "{verifier}");
    files_are_applied_once(&shop, &database);

    // The state is lost: what the server keeps of it is all there is.
    let state = shop.0.place.state();
    fs::rename(&state, state.with_file_name("old")).unwrap();
    shop.vouch();
    let lines = shop.lines(&["state", "rebuild", "shop/deployment.yaml", "--take-over=shop"]);
    assert_eq!(lines.last().unwrap()["outcome"], "applied", "{lines:?}");
    let hows: BTreeSet<&str> = lines.iter().filter_map(|line| line["how"].as_str()).collect();
    assert_eq!(hows, BTreeSet::from(["taken_over", "found", "had_back"]), "{lines:?}");
    assert_eq!(shop.ran(&["plan", "shop/deployment.yaml", "--detailed-exitcode"])["exit_code"], 0);
    assert_eq!(deploy()["outcome"], "no_change");
    assert_eq!(verifiers(), verifier, "the password is the one that the app has");

    // A mistake, and the way back.
    assert!(shop.lines(&["backups", "list", "shop"]).iter().all(|line| line["name"].is_null()));
    rig.on(1, "systemctl start vrooli-deploy-backup-shop.default-postgres.service");
    let listed = shop.lines(&["backups", "list", "shop"]);
    let backup = listed.iter().find(|line| line["type"] == "backup").unwrap();
    assert_eq!(backup["last_try"]["restorable"], true, "{backup}");
    let name = backup["name"].as_str().unwrap();
    shop.sql(&database, "DELETE FROM orders");
    let restore = |more: &[&str]| shop.lines(&[&["backups", "restore", "shop", name], more].concat());
    for more in [&[][..], &["--data=blog"], &["--yes"]] {
        assert_eq!(restore(more).last().unwrap()["exit_code"], 7, "{more:?}");
    }
    let other = shop.ran(&["backups", "restore", "shop", "20200101T000000Z.dump", "--data=shop"]);
    assert!(other["error"].to_string().contains(name), "{other}");
    assert_eq!(count(), "0");
    let lines = restore(&["--data=shop"]);
    assert_eq!(lines.last().unwrap()["outcome"], "applied", "{lines:?}");
    assert_eq!(count(), "3");
    // What was there before was saved first.
    let saved = lines.iter().find(|line| line["type"] == "restored").unwrap()["saved"].clone();
    let listed = shop.lines(&["backups", "list", "shop"]);
    assert!(listed.iter().any(|line| line["name"] == saved) && saved != name, "{listed:?}");
    assert_eq!(version_on(rig, 1), "1");
    assert_eq!(deploy()["outcome"], "no_change");

    // What stays is said in words.
    let result = shop.ran(&["destroy", "shop", "--yes"]);
    assert_eq!(result["outcome"], "applied", "{result}");
    let left = |what: &str| {
        let all = result["left_behind"].as_array().unwrap();
        let found = all.iter().find(|left| left["what"].as_str().unwrap().starts_with(what));
        found.unwrap_or_else(|| panic!("{what}: {result}")).clone()
    };
    let kept = left("database/postgres at /var/lib/postgresql/");
    assert!(kept["what"].as_str().unwrap().ends_with(" on web1"), "{kept}");
    assert!(kept["why"].as_str().unwrap().starts_with("data is kept"), "{kept}");
    let needed = left("server/web1 on web1");
    assert!(needed["why"].as_str().unwrap().contains("web1 keeps data of the app"), "{needed}");
    assert_eq!(count(), "3");

    // Lost once more, with no release left that would tell the password: it is made anew, and the next
    // deployment has it and the data.
    fs::rename(&state, state.with_file_name("older")).unwrap();
    shop.vouch();
    let lines = shop.lines(&["state", "rebuild", "shop/deployment.yaml", "--take-over=shop"]);
    assert_eq!(lines.last().unwrap()["outcome"], "applied", "{lines:?}");
    let anew = |line: &&Value| line["how"] == "made_anew" && line["what"] == "database/postgres";
    assert_eq!(lines.iter().filter(anew).count(), 1, "{lines:?}");
    assert_ne!(verifiers(), verifier);
    let result = deploy();
    assert_eq!(result["outcome"], "applied", "{result}");
    assert_eq!((version_on(rig, 1).as_str(), count().as_str()), ("1", "3"));
    let url = rig.on(1, "tr '\\0' '\\n' </proc/$(pgrep -x server)/environ | sed -n 's/^DATABASE_URL=//p'");
    let script =
        format!("PGCONNECT_TIMEOUT=5 $(ls /usr/lib/postgresql/*/bin/psql) -X -q -A -t -c 'SELECT 7' '{url}'");
    assert_eq!(rig.on(1, &script), "7", "the app has the new password");
    let result = shop.ran(&["destroy", "shop", "--yes", "--data=shop"]);
    assert_eq!(result["outcome"], "applied", "{result}");
    assert_eq!(rig.on(1, "ls -d /etc/postgresql/*/vd_* /var/lib/vrooli-deploy 2>/dev/null; true"), "");
}
