//! One file of SQL, made ready to be applied in one transaction beside its ledger entry:
//! what cannot be in one is refused with its place, what is the deployment's business
//! (databases, extensions, roles) is taken out and done by the deployment.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use crate::manifest::crosswalk::embedded;
use crate::provider::{ErrorKind, ProviderError, Result};
use crate::sql::{self as lexer, Piece, PieceKind, Word};
use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
struct Known {
    not_in_transaction: Vec<Refused>,
    left_out: Vec<LeftOut>,
    allowed_commands: Vec<String>,
    left_out_commands: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Refused {
    starts: Vec<String>,
    #[serde(default)]
    contains: Option<String>,
    #[serde(default)]
    unless_next: Vec<String>,
    #[serde(default)]
    allowed: bool,
    #[serde(default)]
    advice: String,
}

#[derive(Debug, Default, Deserialize)]
struct LeftOut {
    starts: Vec<String>,
    why: String,
    #[serde(default)]
    quiet: bool,
}

static KNOWN: LazyLock<Known> = LazyLock::new(|| embedded(include_str!("sql.json")));

/// A script that can be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Script {
    /// The text, what was taken out replaced by spaces: lines keep their numbers.
    pub(super) text: String,
    /// Extensions that it makes.
    pub(super) extensions: BTreeSet<String>,
    /// Roles that it names or makes.
    pub(super) roles: BTreeSet<String>,
    /// Tables that it makes and nothing in it removes or renames.
    pub(super) tables: BTreeSet<String>,
    /// Tables that it removes or renames.
    pub(super) removed: BTreeSet<String>,
    /// What was taken out and why.
    pub(super) notes: Vec<String>,
}

/// Who a script runs as and where, which decides what is ours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) file: &'a str,
    pub(super) role: &'a str,
    pub(super) superuser: &'a str,
    pub(super) database: &'a str,
}

/// Reads a script.
pub(super) fn read(text: &str, place: Place<'_>) -> Result<Script> {
    // A byte order mark is no SQL.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.contains('\0') {
        return Err(refuse(place.file, 1, "the file holds a NUL byte and is no text", "save it as UTF-8"));
    }
    let pieces = lexer::split(text, lexer::ending_commands())
        .map_err(|open| refuse(place.file, open.line, &format!("{} is not closed", open.what), "close it"))?;
    let mut script = Script {
        text: text.to_owned(),
        extensions: BTreeSet::new(),
        roles: BTreeSet::new(),
        tables: BTreeSet::new(),
        removed: BTreeSet::new(),
        notes: Vec::new(),
    };
    let mut elsewhere: BTreeSet<String> = BTreeSet::new();
    for piece in &pieces {
        let fate = match &piece.kind {
            PieceKind::Command { name, rest } => command(name, rest, piece.line, place, &mut elsewhere)?,
            PieceKind::Statement { words, ended_by } => {
                statement(words, ended_by.as_deref(), piece.line, place, &mut script)?
            }
        };
        match fate {
            Fate::Stays => {}
            Fate::Out(note) => {
                blank(&mut script.text, piece);
                script.notes.extend(note.map(|note| format!("{}:{}: {note}", place.file, piece.line)));
            }
        }
    }
    if elsewhere.len() > 1 {
        let names: Vec<&str> = elsewhere.iter().map(String::as_str).collect();
        return Err(refuse(
            place.file,
            1,
            &format!("the file is for several databases ({})", names.join(", ")),
            "split it: one file is applied to one database",
        ));
    }
    Ok(script)
}

enum Fate {
    Stays,
    Out(Option<String>),
}

fn refuse(file: &str, line: usize, what: &str, advice: &str) -> ProviderError {
    ProviderError::new(ErrorKind::App, format!("{file}:{line}: {what}")).with_help(advice.to_owned())
}

fn command(
    name: &str,
    rest: &str,
    line: usize,
    place: Place<'_>,
    elsewhere: &mut BTreeSet<String>,
) -> Result<Fate> {
    if KNOWN.left_out_commands.iter().any(|known| known == name) {
        let target = rest.split_whitespace().next().unwrap_or_default().trim_matches(['"', ';']).to_owned();
        let note = (target != place.database && target != "-")
            .then(|| format!("`\\{name} {target}` is left out: the app's database is `{}`", place.database));
        // The database from which another is made is only a way station.
        if !["", "-", "postgres", "template1"].contains(&target.as_str()) {
            elsewhere.insert(target);
        }
        return Ok(Fate::Out(note));
    }
    if matches!(name, "i" | "ir" | "include") {
        return Err(refuse(
            place.file,
            line,
            &format!("`\\{name} {rest}` reads another file"),
            "list that file under `initialization` instead",
        ));
    }
    // Upper-case variables steer psql itself: stopping at errors is not a script's to turn off.
    let steers = name == "set" && rest.starts_with(|c: char| c.is_ascii_uppercase());
    if steers || !KNOWN.allowed_commands.iter().any(|known| known == name) {
        return Err(refuse(
            place.file,
            line,
            &format!("`\\{name}` cannot be used in a file that a deployment applies"),
            "leave it out",
        ));
    }
    Ok(Fate::Stays)
}

fn statement(
    words: &[Word],
    ended_by: Option<&str>,
    line: usize,
    place: Place<'_>,
    script: &mut Script,
) -> Result<Fate> {
    for rule in &KNOWN.not_in_transaction {
        if starts(words, &rule.starts) {
            let next = words.get(rule.starts.len());
            let excepted = rule.unless_next.iter().any(|key| next.is_some_and(|word| word.is(key)));
            let contains = rule.contains.as_ref().is_none_or(|key| words.iter().any(|word| word.is(key)));
            if rule.allowed {
                return Ok(Fate::Stays);
            }
            if contains && !excepted {
                let what = format!("`{}` cannot be part of a transaction", shown(words, rule));
                return Err(refuse(place.file, line, &what, &rule.advice));
            }
        }
    }
    if let Some(rule) = KNOWN.left_out.iter().find(|rule| starts(words, &rule.starts)) {
        let note = (!rule.quiet).then(|| format!("`{}` is left out: {}", rule.starts.join(" "), rule.why));
        return Ok(Fate::Out(note));
    }
    // `SELECT 'CREATE DATABASE x' WHERE NOT EXISTS … \gexec`.
    let makes_database = |word: &Word| matches!(word, Word::Text(text) if text.to_ascii_uppercase().contains("CREATE DATABASE"));
    if ended_by == Some("gexec") && words.iter().any(makes_database) {
        return Ok(Fate::Out(Some(
            "`CREATE DATABASE` is left out: the app's database is there already".to_owned(),
        )));
    }
    if let Some(fate) = extension(words, script) {
        return Ok(fate);
    }
    if let Some(fate) = role(words, place, script) {
        return Ok(fate);
    }
    tables(words, script);
    Ok(Fate::Stays)
}

fn starts(words: &[Word], keys: &[String]) -> bool {
    words.len() >= keys.len() && words.iter().zip(keys).all(|(word, key)| word.is(key))
}

fn shown(words: &[Word], rule: &Refused) -> String {
    let mut text = rule.starts.join(" ");
    if let Some(contains) = &rule.contains
        && words.iter().any(|word| word.is(contains))
    {
        text = format!("{text} … {contains}");
    }
    text
}

/// `CREATE EXTENSION [IF NOT EXISTS] name …`: made by the superuser beforehand. One in a
/// schema of the script's own stays, for that schema is not there yet.
fn extension(words: &[Word], script: &mut Script) -> Option<Fate> {
    let rest = after(words, &["CREATE", "EXTENSION"])?;
    let rest = after(rest, &["IF", "NOT", "EXISTS"]).unwrap_or(rest);
    let name = rest.first()?.name()?;
    let schema = rest
        .windows(2)
        .find(|pair| pair.first().is_some_and(|word| word.is("SCHEMA")))
        .and_then(|pair| pair.get(1)?.name());
    if schema.is_some_and(|schema| schema != "public" && schema != "pg_catalog") {
        return Some(Fate::Stays);
    }
    script.extensions.insert(name);
    Some(Fate::Out(None))
}

/// Statements that make or name roles.
fn role(words: &[Word], place: Place<'_>, script: &mut Script) -> Option<Fate> {
    for kind in ["ROLE", "USER", "GROUP"] {
        if let Some(rest) = after(words, &["CREATE", kind])
            && let Some(name) = rest.first().and_then(Word::name)
        {
            let note = format!(
                "`CREATE {kind} {name}` is left out: the role is made by the deployment, without a login"
            );
            script.roles.insert(name);
            return Some(Fate::Out(Some(note)));
        }
        if let Some(rest) = after(words, &["ALTER", kind])
            && let Some(name) = rest.first().and_then(Word::name)
            && name != place.role
        {
            return Some(Fate::Out(Some(format!(
                "`ALTER {kind} {name}` is left out: roles are the deployment's"
            ))));
        }
    }
    if words.first()?.is("DO") {
        // `IF NOT EXISTS (… pg_roles …) THEN CREATE ROLE x`: it is there by then.
        for word in words {
            if let Word::Text(body) = word
                && let Ok(pieces) = lexer::split(body, &[])
            {
                for piece in pieces {
                    if let PieceKind::Statement { words, .. } = piece.kind {
                        made_inside(&words, script);
                    }
                }
            }
        }
        return Some(Fate::Stays);
    }
    if words.first()?.is("GRANT") {
        named_after(words, "TO", script);
        return Some(Fate::Stays);
    }
    if words.first()?.is("REVOKE") {
        named_after(words, "FROM", script);
        return Some(Fate::Stays);
    }
    if words.first()?.is("ALTER")
        && let Some(at) =
            words.windows(2).position(|pair| matches!(pair, [owner, to] if owner.is("OWNER") && to.is("TO")))
        && let Some(owner) = words.get(at + 2).and_then(Word::name)
    {
        if owner == place.superuser {
            return Some(Fate::Out(Some(format!(
                "`OWNER TO {owner}` is left out: what the app makes belongs to `{}`",
                place.role
            ))));
        }
        add_role(&owner, script);
        return Some(Fate::Stays);
    }
    if starts(words, &["CREATE".to_owned(), "POLICY".to_owned()]) {
        named_after(words, "TO", script);
        return Some(Fate::Stays);
    }
    if starts(words, &["ALTER".to_owned(), "DEFAULT".to_owned(), "PRIVILEGES".to_owned()]) {
        named_after(words, "TO", script);
        return Some(Fate::Stays);
    }
    None
}

fn made_inside(words: &[Word], script: &mut Script) {
    for (at, word) in words.iter().enumerate() {
        let makes =
            word.is("CREATE") && words.get(at + 1).is_some_and(|kind| kind.is("ROLE") || kind.is("USER"));
        if makes && let Some(name) = words.get(at + 2).and_then(Word::name) {
            add_role(&name, script);
        }
        // `EXECUTE 'CREATE ROLE x …'`.
        if let Word::Text(text) = word
            && let Ok(pieces) = lexer::split(text, &[])
        {
            for piece in pieces {
                if let PieceKind::Statement { words, .. } = piece.kind {
                    made_inside(&words, script);
                }
            }
        }
    }
}

/// The names in the list after the last `key` of a statement.
fn named_after(words: &[Word], key: &str, script: &mut Script) {
    let Some(at) = words.iter().rposition(|word| word.is(key)) else {
        return;
    };
    let mut list = words.iter().skip(at + 1).peekable();
    while let Some(word) = list.next() {
        if word.is("GROUP") {
            continue;
        }
        match word.name() {
            Some(name) => add_role(&name, script),
            None => return,
        }
        if list.next() != Some(&Word::Sign(',')) {
            return;
        }
    }
}

fn add_role(name: &str, script: &mut Script) {
    let ours = ["public", "current_user", "current_role", "session_user"];
    if !ours.contains(&name) && !name.starts_with("pg_") {
        script.roles.insert(name.to_owned());
    }
}

/// Tables made, removed and renamed.
fn tables(words: &[Word], script: &mut Script) {
    let made = after(words, &["CREATE", "TABLE"]).or_else(|| after(words, &["CREATE", "UNLOGGED", "TABLE"]));
    if let Some(rest) = made {
        let rest = after(rest, &["IF", "NOT", "EXISTS"]).unwrap_or(rest);
        if let Some(name) = qualified(rest) {
            script.removed.remove(&name);
            script.tables.insert(name);
        }
        return;
    }
    let changed = after(words, &["DROP", "TABLE"]).or_else(|| {
        let renames = words.windows(2).any(|pair| matches!(pair, [a, b] if a.is("RENAME") && b.is("TO")))
            || words.windows(2).any(|pair| matches!(pair, [a, b] if a.is("SET") && b.is("SCHEMA")));
        after(words, &["ALTER", "TABLE"]).filter(|_| renames)
    });
    if let Some(rest) = changed {
        let rest = after(rest, &["IF", "EXISTS"]).unwrap_or(rest);
        let rest = after(rest, &["ONLY"]).unwrap_or(rest);
        for part in rest.split(|word| *word == Word::Sign(',')) {
            if let Some(name) = qualified(part) {
                script.tables.remove(&name);
                script.removed.insert(name);
            }
        }
    }
}

/// `name` or `schema.name`, quoted for the server.
fn qualified(words: &[Word]) -> Option<String> {
    let quoted = |word: &Word| word.name().map(|name| format!("\"{}\"", name.replace('"', "\"\"")));
    let first = quoted(words.first()?)?;
    match words.get(1..3) {
        Some([Word::Sign('.'), second]) => Some(format!("{first}.{}", quoted(second)?)),
        _ => Some(first),
    }
}

fn after<'a>(words: &'a [Word], keys: &[&str]) -> Option<&'a [Word]> {
    let fits = words.len() >= keys.len() && words.iter().zip(keys).all(|(word, key)| word.is(key));
    fits.then(|| words.get(keys.len()..)).flatten()
}

/// Replaces a piece by spaces; line breaks stay, so that line numbers do.
fn blank(text: &mut String, piece: &Piece) {
    let Some(old) = text.get(piece.start..piece.end) else {
        return;
    };
    let spaces: String = old.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect();
    text.replace_range(piece.start..piece.end, &spaces);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place<'static> {
        Place { file: "schema.sql", role: "vrooli", superuser: "postgres", database: "vrooli_x" }
    }

    fn ready(text: &str) -> Script {
        read(text, place()).unwrap()
    }

    #[test]
    fn the_data_file_can_be_read() {
        serde_json::from_str::<Known>(include_str!("sql.json")).unwrap();
    }

    #[test]
    fn an_ordinary_script_is_left_as_it_is() {
        let text = "-- 🎡 wheels\nCREATE TABLE IF NOT EXISTS wheels (id UUID DEFAULT gen_random_uuid());\nCREATE INDEX i ON wheels(id);\nINSERT INTO wheels VALUES ('a;b');\n";
        let script = ready(text);
        assert_eq!(script.text, text);
        assert!(script.notes.is_empty());
        assert_eq!(script.tables, ["\"wheels\"".to_owned()].into());
    }

    #[test]
    fn databases_transactions_and_connections_are_taken_out_and_lines_kept() {
        let script = ready(
            "BEGIN;\nCREATE DATABASE other;\n\\c other\nSELECT 'CREATE DATABASE o2' WHERE true \\gexec\nCREATE TABLE t();\nCOMMIT;\n",
        );
        assert_eq!(script.text.trim(), "CREATE TABLE t();");
        assert_eq!(script.text.lines().position(|line| line.contains("CREATE TABLE")), Some(4));
        assert_eq!(script.notes.len(), 3, "{:?}", script.notes);
        assert!(script.notes[0].starts_with("schema.sql:2: `CREATE DATABASE`"), "{:?}", script.notes);
    }

    #[test]
    fn what_cannot_be_in_a_transaction_is_refused_with_its_line() {
        for text in [
            "SELECT 1;\nCREATE INDEX CONCURRENTLY i ON t(a);",
            "\nvacuum full t;",
            "\nROLLBACK;",
            "\nREINDEX TABLE CONCURRENTLY t;",
            "\nDROP DATABASE x;",
            "\n\\! rm -rf /",
            "\n\\i other.sql",
            "\n\\set ON_ERROR_STOP off",
            "\nSELECT 'open",
        ] {
            let error = read(text, place()).unwrap_err();
            assert!(error.message().starts_with("schema.sql:2: "), "{text}: {error}");
            assert!(error.help().is_some(), "{text}");
        }
        for text in [
            "ROLLBACK TO a;",
            "REINDEX TABLE t;",
            "\\set name 'x'",
            "REFRESH MATERIALIZED VIEW CONCURRENTLY v;",
        ] {
            assert_eq!(ready(text).text, text);
        }
        assert!(read("\\c a\nSELECT 1;\n\\c b\n", place()).is_err());
    }

    #[test]
    fn extensions_and_roles_are_the_deployments_business() {
        let script = ready(
            "CREATE EXTENSION IF NOT EXISTS \"uuid-ossp\" WITH SCHEMA public;\nCREATE EXTENSION vector;\n\
             GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader, \"Writer\";\nGRANT ALL ON t TO PUBLIC;\n\
             CREATE USER app WITH PASSWORD 'x';\nALTER TABLE t OWNER TO postgres;\n\
             DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'svc') THEN CREATE ROLE svc; END IF; EXECUTE 'CREATE ROLE dyn'; END $$;\n\
             REVOKE ALL ON t FROM gone CASCADE;\n",
        );
        assert_eq!(script.extensions.iter().map(String::as_str).collect::<Vec<_>>(), ["uuid-ossp", "vector"]);
        assert_eq!(
            script.roles.iter().map(String::as_str).collect::<Vec<_>>(),
            ["Writer", "app", "dyn", "gone", "reader", "svc"]
        );
        assert!(
            !script.text.contains("EXTENSION")
                && !script.text.contains("OWNER TO")
                && !script.text.contains("PASSWORD")
        );
        assert!(script.text.contains("GRANT SELECT") && script.text.contains("DO $$"));
    }

    #[test]
    fn tables_that_go_again_are_not_expected() {
        let script = ready(
            "CREATE TABLE a();CREATE TABLE s.\"B\"();DROP TABLE IF EXISTS a, c;CREATE TEMP TABLE d();ALTER TABLE s.\"B\" RENAME COLUMN x TO y;",
        );
        assert_eq!(script.tables.iter().map(String::as_str).collect::<Vec<_>>(), ["\"s\".\"B\""]);
    }
}
