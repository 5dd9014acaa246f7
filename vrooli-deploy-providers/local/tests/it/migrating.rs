use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::json;
use vrooli_deploy_core::diagnostics::rules;
use vrooli_deploy_core::names::OutputName;
use vrooli_deploy_core::provider::{Created, ErrorKind, ResourceHandler};
use vrooli_deploy_core::release::Migration;
use vrooli_deploy_core::release::migration::{self, Migrated};
use vrooli_deploy_core::requirements::ResourceRequirement;
use vrooli_deploy_provider_local::kinds::Postgres;

use crate::place::{How, Place, context, key, kill_after, machine_at, stack, trial, wait};
use crate::postgres::{ask, spec, ways};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (how, suffix, needs) in ways() {
        let mut add = |name: &str, run: fn(How)| {
            trials.push(trial(&format!("migrate_{name}{suffix}"), needs, move || run(how)));
        };
        add("applies_each_file_once", once);
        add("says_file_and_line_and_leaves_nothing_of_a_refused_file", refused);
        add("takes_files_as_scenarios_write_them", as_written);
        add("two_at_once_apply_once", two_at_once);
        add("killed_at_any_moment_applies_once", killed);
    }
    trials
}

struct App {
    place: Place,
    root: PathBuf,
    url: String,
}

/// What a killed child and its successor are given alike.
fn resources() -> Vec<ResourceRequirement> {
    serde_json::from_value(json!([{
        "name": "postgres", "resource": "postgres", "primitive": "database", "env": { "POSTGRES_URL": "url" },
        "initialization": [
            { "file": "initialization/schema.sql", "type": "schema" },
            { "file": "initialization/migrations", "type": "migration" },
            { "file": "initialization/seed.sql", "type": "seed" }
        ]
    }]))
    .unwrap()
}

impl App {
    fn new(how: How) -> Self {
        let place = Place::of(how);
        let root = place.path().join("app");
        fs::create_dir_all(root.join("initialization/migrations")).unwrap();
        let created =
            wait(Postgres.create(&place.machine, &place.cx(), &key("database/postgres"), &spec())).unwrap();
        let Created::Read { secrets, .. } = created else { panic!("unread") };
        let url = secrets[&OutputName::new("url").unwrap()].expose().clone();
        Self { place, root, url }
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.root.join("initialization").join(file), text).unwrap();
    }

    fn level(&self) -> Vec<Migration> {
        level(&self.root)
    }

    fn apply(&self) -> vrooli_deploy_core::provider::Result<Migrated> {
        let (resources, level) = (resources(), self.level());
        wait(migration::apply(&*self.place.machine, &self.place.cx(), &self.root, &resources, &level))
    }

    fn missing(&self) -> Vec<String> {
        let (resources, level) = (resources(), self.level());
        wait(migration::missing_tables(
            &*self.place.machine,
            &self.place.cx(),
            &self.root,
            &resources,
            &level,
        ))
        .unwrap()
    }

    fn ask(&self, statement: &str) -> String {
        ask(&self.url, statement)
    }
}

fn level(root: &Path) -> Vec<Migration> {
    let mut said = Vec::new();
    let level = migration::migrations(root, resources().iter(), &mut said);
    // Not every test has every file that is declared.
    assert!(said.iter().all(|said| said.code == rules::FILE_MISSING), "{said:?}");
    level
}

/// Not idempotent, as most are: a second run fails or doubles its rows.
const SCHEMA: &str = "-- 🎡 wheels\nCREATE TABLE wheels (id uuid DEFAULT gen_random_uuid(), name text);\nCREATE INDEX names ON wheels(name);\nINSERT INTO wheels (name) VALUES ('yes or no'), ('it''s; 🎉');\n";

fn once(how: How) {
    let app = App::new(how);
    app.write("schema.sql", SCHEMA);
    app.write("migrations/001_colour.sql", "ALTER TABLE wheels ADD colour text;");
    app.write("migrations/002_spins.sql", "CREATE TABLE spins (id int)");
    app.write("seed.sql", "INSERT INTO wheels (name, colour) VALUES ('seed', 'red');\n");
    assert_eq!(app.missing(), ["\"spins\"", "\"wheels\""]);
    let files = ["schema.sql", "migrations/001_colour.sql", "migrations/002_spins.sql", "seed.sql"];
    let files: Vec<String> = files.iter().map(|file| format!("initialization/{file}")).collect();
    let first = app.apply().unwrap();
    assert_eq!((first.report.applied, first.report.already.len()), (files.clone(), 0));
    let second = app.apply().unwrap();
    assert_eq!((second.report.applied.len(), second.report.already), (0, files));
    assert!(second.notes.is_empty());
    assert_eq!(app.ask("SELECT count(*) FROM wheels"), "3");
    assert!(app.missing().is_empty());
    assert_eq!(app.ask("SELECT tableowner FROM pg_tables WHERE tablename = 'wheels'"), "vrooli");

    // A changed file is said, not applied; a new one is applied.
    app.write("schema.sql", &format!("{SCHEMA}CREATE TABLE more ();\n"));
    app.write("migrations/003_more.sql", "CREATE TABLE really_more ();\n");
    let third = app.apply().unwrap();
    assert_eq!(third.report.applied, ["initialization/migrations/003_more.sql"]);
    let changed: Vec<_> =
        third.notes.iter().filter(|note| note.code == rules::APPLIED_FILE_CHANGED).collect();
    assert_eq!(changed.len(), 1);
    assert!(changed[0].message.contains("schema.sql"), "{changed:?}");
    assert_eq!(app.missing(), ["\"more\""]);
}

fn refused(how: How) {
    let app = App::new(how);
    app.write("schema.sql", SCHEMA);
    app.write("seed.sql", "INSERT INTO wheels (name) VALUES ('one');\n\nINSERT INTO nowhere VALUES (1);\n");
    let error = app.apply().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::App);
    assert!(error.message().starts_with("initialization/seed.sql:3: ERROR:"), "{error}");
    assert!(error.message().contains("nowhere"), "{error}");
    assert_eq!(app.ask("SELECT count(*) FROM wheels"), "2");
    assert_eq!(app.ask("SELECT count(*) FROM vrooli_deploy.ledger"), "1");
    app.write("seed.sql", "INSERT INTO wheels (name) VALUES ('one');\n");
    assert_eq!(app.apply().unwrap().report.applied, ["initialization/seed.sql"]);

    app.write("migrations/001.sql", "SELECT 1;\nCREATE INDEX CONCURRENTLY c ON wheels(name);\n");
    let error = app.apply().unwrap_err();
    assert!(error.message().starts_with("initialization/migrations/001.sql:2: "), "{error}");

    // The release says which content it was made with.
    app.write("migrations/001.sql", "SELECT 1;");
    let level = app.level();
    app.write("migrations/001.sql", "SELECT 2;");
    let error = wait(migration::apply(&*app.place.machine, &app.place.cx(), &app.root, &resources(), &level))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

fn as_written(how: How) {
    let app = App::new(how);
    app.write(
        "schema.sql",
        "\u{feff}SELECT 'CREATE DATABASE picker' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'picker') \\gexec\n\
         \\c picker\nBEGIN;\nCREATE EXTENSION IF NOT EXISTS \"uuid-ossp\";\nCREATE EXTENSION pgcrypto;\n\
         CREATE TABLE t (id uuid DEFAULT uuid_generate_v4(), a int);\n\
         CREATE FUNCTION touch() RETURNS trigger AS $$ BEGIN NEW.a = 1; RETURN NEW; END; $$ LANGUAGE plpgsql;\n\
         CREATE TRIGGER touched BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION touch();\n\
         COPY t (a) FROM stdin;\n5\n6\n\\.\n\
         GRANT ALL PRIVILEGES ON ALL TABLES IN SCHEMA public TO postgres, app_user;\n\
         DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'reader') THEN CREATE ROLE reader; END IF; END $$;\n\
         GRANT SELECT ON t TO reader;\nALTER TABLE t OWNER TO postgres;\nCOMMIT;\n\
         INSERT INTO t DEFAULT VALUES;\n",
    );
    let done = app.apply().unwrap();
    assert_eq!(app.ask("SELECT count(*) || ' ' || sum(a) FROM t"), "3 3");
    assert!(done.notes.iter().all(|note| note.code == rules::STATEMENTS_LEFT_OUT));
    let said: String = done.notes.iter().map(|note| format!("{}\n", note.message)).collect();
    for expected in ["CREATE DATABASE", "\\c picker", "app_user", "reader", "OWNER TO postgres"] {
        assert!(said.contains(expected), "{expected} not in {said}");
    }
    assert!(app.missing().is_empty());
    assert!(app.apply().unwrap().report.applied.is_empty());
}

fn two_at_once(how: How) {
    let app = App::new(how);
    app.write("schema.sql", &format!("SELECT pg_sleep(0.3);\n{SCHEMA}"));
    let (machine, cx, resources, level) = (&*app.place.machine, app.place.cx(), resources(), app.level());
    let (one, two) = wait(async {
        tokio::join!(
            migration::apply(machine, &cx, &app.root, &resources, &level),
            migration::apply(machine, &cx, &app.root, &resources, &level)
        )
    });
    let applied = [one.unwrap().report.applied, two.unwrap().report.applied].concat();
    assert_eq!(applied, ["initialization/schema.sql"]);
    assert_eq!(app.ask("SELECT count(*) FROM wheels"), "2");
}

/// The child that is killed.
pub(crate) fn child(rest: &[String]) -> i32 {
    let machine = machine_at(Path::new(&rest[0]));
    let root = Path::new(&rest[1]);
    i32::from(wait(migration::apply(&machine, &context(&stack()), root, &resources(), &level(root))).is_err())
}

fn killed(how: How) {
    let app = App::new(how);
    let mut expected = 0;
    for (round, delay) in [0, 10, 25, 40, 60, 80, 100, 130, 160, 200, 300, 450, 700].into_iter().enumerate() {
        // Long enough to be met in the middle of the file.
        let name = format!("t{round}");
        let rows: String = (0..20)
            .map(|row| format!("SELECT pg_sleep(0.005);\nINSERT INTO {name} VALUES ({row});\n"))
            .collect();
        app.write(&format!("migrations/{round:03}.sql"), &format!("CREATE TABLE {name} (a int);\n{rows}"));
        expected += 1;
        let child = app.place.child("migrate", &[app.root.to_str().unwrap()]);
        kill_after(child, Duration::from_millis(delay));
        let done = app.apply().unwrap();
        assert_eq!(done.report.applied.len() + done.report.already.len(), expected);
        assert_eq!(app.ask(&format!("SELECT count(*) FROM {name}")), "20", "killed after {delay} ms");
        assert_eq!(app.ask("SELECT count(*) FROM vrooli_deploy.ledger"), expected.to_string());
    }
}
