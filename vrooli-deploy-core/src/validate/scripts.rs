//! SQL that prepares databases: what of it can run only once, and what a managed server refuses.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde::Deserialize;

use super::facts::Facts;
use super::{Answer, Finding, counted};
use crate::diagnostics::{Severity, Span, rules};
use crate::manifest::crosswalk::embedded;
use crate::manifest::{InitializationFile, InitializationKind};
use crate::names::DependencyName;
use crate::release::migration::declared_files;
use crate::requirements::{Primitive, Requirements};
use crate::sql::{Piece, PieceKind, Word, split};

#[derive(Debug, Default, Deserialize)]
struct Known {
    once: Vec<Once>,
    seeds: Seeds,
    databases: Starts,
    extensions: Extensions,
    ends_statement: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Once {
    starts: Vec<String>,
    #[serde(default)]
    contains: Vec<String>,
    guards: Vec<Vec<String>>,
    drops: String,
}

#[derive(Debug, Default, Deserialize)]
struct Seeds {
    starts: Vec<String>,
    guards: Vec<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
struct Starts {
    starts: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Extensions {
    starts: Vec<String>,
    guard: Vec<String>,
}

static KNOWN: LazyLock<Known> = LazyLock::new(|| embedded(include_str!("data/sql.json")));

/// A file of SQL, and what was found in it.
pub(super) struct Script {
    pub(super) resource: DependencyName,
    /// As the manifest names it.
    pub(super) name: String,
    pub(super) kind: InitializationKind,
    /// Statements that fail when they run again, with their first words.
    pub(super) once: Vec<(String, Span)>,
    /// Rows that come again when it runs again.
    pub(super) seeds: Vec<(String, Span)>,
    pub(super) databases: Vec<(String, Span)>,
    pub(super) extensions: Vec<(String, Span)>,
    /// Why it cannot be read as SQL, and where.
    pub(super) unread: Option<(String, Span)>,
}

/// The largest file that is looked at.
const LARGEST: u64 = 16 * 1024 * 1024;

/// All files of SQL that the app's databases are prepared with. Those that are not there are
/// named when the manifest is read.
pub(super) fn read_scripts(root: &Path, requirements: &Requirements) -> Vec<Script> {
    let mut scripts = Vec::new();
    for resource in requirements.resources.iter().filter(|r| r.primitive == Primitive::Database) {
        for file in &resource.initialization {
            for path in files(root, file) {
                let Ok(text) = std::fs::read_to_string(&path) else { continue };
                let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
                scripts.push(read(resource.name.clone(), name, file.kind, &path, &text));
            }
        }
    }
    scripts
}

fn files(root: &Path, file: &InitializationFile) -> Vec<PathBuf> {
    let is_sql = |path: &Path| {
        path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("sql"))
            && std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() <= LARGEST)
    };
    let names = declared_files(root, file, &mut Vec::new()).unwrap_or_default();
    names.into_iter().map(|name| root.join(name)).filter(|path| is_sql(path)).collect()
}

pub(super) fn read(
    resource: DependencyName,
    name: String,
    kind: InitializationKind,
    path: &Path,
    text: &str,
) -> Script {
    let mut script = Script {
        resource,
        name,
        kind,
        once: Vec::new(),
        seeds: Vec::new(),
        databases: Vec::new(),
        extensions: Vec::new(),
        unread: None,
    };
    let known = &*KNOWN;
    let pieces = match split(text, &known.ends_statement) {
        Ok(pieces) => pieces,
        Err(open) => {
            let span = Span { file: path.to_owned(), offset: 0, length: 0, line: open.line, column: 1 };
            script.unread = Some((format!("{} is not closed", open.what), span));
            return script;
        }
    };
    let mut dropped: Vec<(String, String)> = Vec::new();
    for piece in &pieces {
        let PieceKind::Statement { words, .. } = &piece.kind else { continue };
        let span = || place(path, text, piece);
        if starts(words, &["DROP".to_owned()]) || has(words, &["DROP".to_owned(), "CONSTRAINT".to_owned()]) {
            let names = words.iter().filter_map(Word::name);
            let kinds: Vec<String> = words.iter().filter_map(plain).collect();
            for name in names {
                dropped.extend(kinds.iter().map(|kind| (kind.clone(), name.clone())));
            }
        }
        if starts(words, &known.databases.starts) {
            script.databases.push((shown(words), span()));
            continue;
        }
        if starts(words, &known.extensions.starts) {
            let after = words.get(known.extensions.starts.len()..).unwrap_or_default();
            let guarded = starts(after, &known.extensions.guard);
            let name = after.get(if guarded { known.extensions.guard.len() } else { 0 });
            script.extensions.extend(name.and_then(extension).map(|name| (name, span())));
        }
        if starts(words, &known.seeds.starts) {
            if !known.seeds.guards.iter().any(|guard| has(words, guard)) {
                script.seeds.push((shown(words), span()));
            }
            continue;
        }
        let rule = known.once.iter().find(|rule| {
            starts(words, &rule.starts) && (rule.contains.is_empty() || has(words, &rule.contains))
        });
        if let Some(rule) = rule {
            let guarded = rule.guards.iter().any(|guard| has(words, guard));
            let again = words
                .iter()
                .filter_map(Word::name)
                .any(|name| dropped.iter().any(|(kind, gone)| *kind == rule.drops && *gone == name));
            if !guarded && !again {
                script.once.push((shown(words), span()));
            }
        }
    }
    script
}

fn plain(word: &Word) -> Option<String> {
    match word {
        Word::Plain(text) => Some(text.to_ascii_uppercase()),
        _ => None,
    }
}

/// The name of an extension may be a text in quotes.
fn extension(word: &Word) -> Option<String> {
    match word {
        Word::Text(text) => Some(text.clone()),
        other => other.name(),
    }
}

fn starts(words: &[Word], keys: &[String]) -> bool {
    words.len() >= keys.len() && words.iter().zip(keys).all(|(word, key)| word.is(key))
}

fn has(words: &[Word], keys: &[String]) -> bool {
    words.windows(keys.len()).any(|window| window.iter().zip(keys).all(|(word, key)| word.is(key)))
}

/// A statement's first words, up to what it is about.
fn shown(words: &[Word]) -> String {
    let mut text = String::new();
    for word in words.iter().take(6) {
        match word {
            Word::Plain(word) | Word::Quoted(word) => {
                if !text.is_empty() && !text.ends_with('.') {
                    text.push(' ');
                }
                text.push_str(word);
            }
            Word::Sign('.') => text.push('.'),
            // A value, a list of columns: the rest is the statement's own.
            Word::Sign(_) | Word::Text(_) => break,
        }
    }
    text
}

fn place(path: &Path, text: &str, piece: &Piece) -> Span {
    let before = text.get(..piece.start).unwrap_or_default();
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let statement = text.get(piece.start..piece.end).unwrap_or_default();
    let first = statement.lines().next().unwrap_or_default().trim_end();
    Span { file: path.to_owned(), offset: piece.start, length: first.len(), line: piece.line, column }
}

/// What cannot run a second time. It is applied once and a ledger says so, but a database that
/// was restored, shared or prepared by hand has no such ledger.
pub(super) fn repeatable(facts: &Facts<'_>) -> Answer {
    let mut answer = Answer::fine(match facts.scripts.len() {
        0 => "no SQL file of the app is at hand".to_owned(),
        count => format!("{} can run again", counted(count, "SQL file", "SQL files")),
    });
    for script in &facts.scripts {
        if let Some((why, span)) = &script.unread {
            let diagnostic = rules::SQL_UNREADABLE
                .diagnostic(format!("`{}` cannot be read as SQL: {why}", script.name))
                .at(Some(span.clone()), "opened here");
            answer.findings.push(Finding::new(diagnostic.help("close it"), script.name.clone()));
        }
        // A migration is meant to run once: what it changes is there only before it.
        if script.kind != InitializationKind::Migration
            && let Some((first, span)) = script.once.first()
        {
            let more = script.once.len() - 1;
            let and = if more == 0 { String::new() } else { format!(", and {more} more") };
            let diagnostic = rules::SQL_RUNS_ONCE
                .diagnostic(format!("`{}` cannot run twice: `{first}`{and}", script.name))
                .at(Some(span.clone()), "fails the second time")
                .help("write `IF NOT EXISTS`, `OR REPLACE`, or drop it first");
            answer.findings.push(
                Finding::new(diagnostic, script.name.clone())
                    .step("leave it: each file is applied once in one transaction, and a ledger in the database says so"),
            );
        }
        if let Some((first, span)) = script.seeds.first() {
            let more = script.seeds.len() - 1;
            let and = if more == 0 { String::new() } else { format!(", and {more} more") };
            let diagnostic = rules::SQL_SEED_REPEATS
                .diagnostic(format!("`{}` would double its rows: `{first}`{and}", script.name))
                .at(Some(span.clone()), "no `ON CONFLICT`")
                .help("add `ON CONFLICT DO NOTHING`, with a key that tells the rows apart");
            answer.findings.push(Finding::new(diagnostic, script.name.clone()));
        }
    }
    answer
}

/// An app's role may make no databases on a server that somebody else runs.
pub(super) fn databases(facts: &Facts<'_>) -> Answer {
    let managed: Vec<&DependencyName> = facts.managed_databases().map(|resource| &resource.name).collect();
    let found = facts.scripts.iter().flat_map(|script| script.databases.iter().map(move |one| (script, one)));
    let findings = found.map(|(script, (statement, span))| {
        let is_managed = managed.contains(&&script.resource);
        let mut diagnostic = rules::SQL_MAKES_DATABASE
            .diagnostic(format!("`{}` makes a database: `{statement}`", script.name))
            .at(Some(span.clone()), "here")
            .help("take the statement out: the deployment makes the database before the file is applied");
        diagnostic.severity = if is_managed { Severity::Error } else { Severity::Info };
        let why = if is_managed {
            format!(
                "`{}` is run by {}: the app's role may make no databases there",
                script.resource, facts.provider
            )
        } else {
            "on a server of the app's own the statement is left out when the file is applied".to_owned()
        };
        Finding::new(diagnostic, format!("{}; {why}", script.name))
    });
    Answer::fine("no SQL file makes a database that it may not").with(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(text: &str) -> Script {
        let name = DependencyName::new("postgres").unwrap();
        read(name, "s.sql".to_owned(), InitializationKind::Schema, Path::new("/app/s.sql"), text)
    }

    #[test]
    fn the_data_can_be_read() {
        serde_json::from_str::<Known>(include_str!("data/sql.json")).unwrap();
        assert!(KNOWN.once.len() > 10);
    }

    #[test]
    fn what_is_applied_is_what_is_read() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("steps")).unwrap();
        for name in ["1.sql", "1.down.sql", "2.sql", "notes.md"] {
            std::fs::write(root.path().join("steps").join(name), "SELECT 1;").unwrap();
        }
        let of = |kind| {
            let declared = InitializationFile { file: "steps".to_owned(), kind };
            let found = files(root.path(), &declared).into_iter();
            found.map(|path| path.strip_prefix(root.path()).unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(of(InitializationKind::Migration), [Path::new("steps/1.sql"), Path::new("steps/2.sql")]);
        assert!(of(InitializationKind::Script).is_empty());
    }

    #[test]
    fn what_runs_once_is_told_from_what_runs_again() {
        let once = |text: &str| script(text).once.into_iter().map(|(what, _)| what).collect::<Vec<_>>();
        assert_eq!(once("CREATE INDEX idx_a ON t (a);"), ["CREATE INDEX idx_a ON t"]);
        assert_eq!(once("CREATE TABLE a.t (id int); -- IF NOT EXISTS"), ["CREATE TABLE a.t"]);
        for again in [
            "CREATE TABLE IF NOT EXISTS t (id int);",
            "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS $$ CREATE TABLE x(); $$;",
            "DROP TRIGGER IF EXISTS touch ON t; CREATE TRIGGER touch BEFORE UPDATE ON t EXECUTE FUNCTION f();",
            "ALTER TABLE t ADD COLUMN IF NOT EXISTS a int;",
            "ALTER TABLE t DROP CONSTRAINT IF EXISTS c; ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0);",
            "DO $$ BEGIN CREATE TYPE mood AS ENUM ('ok'); EXCEPTION WHEN duplicate_object THEN NULL; END $$;",
            "SELECT 'CREATE TABLE t (id int);';",
        ] {
            assert!(once(again).is_empty(), "{again}");
        }
        assert_eq!(once("ALTER TABLE t ADD COLUMN a int;").len(), 1);
        assert_eq!(once("CREATE TYPE mood AS ENUM ('ok');").len(), 1);
    }

    #[test]
    fn seeds_databases_and_extensions_are_seen_with_their_places() {
        let found = script(
            "\n  CREATE DATABASE shop;\nCREATE EXTENSION IF NOT EXISTS \"uuid-ossp\";\nCREATE EXTENSION vector;\n\
             INSERT INTO t VALUES (1);\nINSERT INTO t VALUES (2) ON CONFLICT DO NOTHING;\n\
             INSERT INTO t SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM t);\n",
        );
        assert_eq!(found.databases[0].0, "CREATE DATABASE shop");
        assert_eq!((found.databases[0].1.line, found.databases[0].1.column), (2, 3));
        let names: Vec<&str> = found.extensions.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["uuid-ossp", "vector"]);
        assert_eq!(found.seeds.len(), 1);
        assert_eq!(found.seeds[0].1.line, 5);
        assert!(script("SELECT 'a").unread.is_some());
    }
}
