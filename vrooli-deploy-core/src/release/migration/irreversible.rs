//! Which SQL cannot be taken back, or breaks the release that runs beside it. What counts is
//! data; this only reads statements.

use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::sql::{self, Piece, PieceKind, Word};

/// A statement that cannot be taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Irreversible {
    /// The line it begins on, from 1.
    pub line: usize,
    /// What it does: `ALTER TABLE … DROP`.
    pub what: String,
    /// How to come to the same in steps that can.
    pub advice: String,
}

#[derive(Debug, Default, Deserialize)]
struct Knowledge {
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
struct Rule {
    /// Words in this order; `*` is anything between.
    words: String,
    /// Words that, anywhere in the statement, make it harmless.
    #[serde(default)]
    unless: Vec<String>,
    /// Words that, right after, make it harmless.
    #[serde(default)]
    unless_next: Vec<String>,
    /// Only at the beginning of a statement.
    #[serde(default)]
    first: bool,
    advice: String,
}

// The file is part of the program; a test reads it strictly.
static KNOWLEDGE: LazyLock<Knowledge> =
    LazyLock::new(|| serde_json::from_str(include_str!("irreversible.json")).unwrap_or_default());

/// The statements of an SQL text that cannot be taken back. A text that is no SQL has none.
/// Bodies of functions are not looked into.
#[must_use]
pub fn irreversible(sql: &str) -> Vec<Irreversible> {
    let mut found = Vec::new();
    for statement in statements(sql) {
        let words: Vec<&str> = statement.words.iter().map(String::as_str).collect();
        let hit = KNOWLEDGE.rules.iter().find(|rule| rule.matches(&words));
        if let Some(rule) = hit {
            found.push(Irreversible {
                line: statement.line,
                what: rule.words.replace('*', "…"),
                advice: rule.advice.clone(),
            });
        }
    }
    found
}

impl Rule {
    fn matches(&self, words: &[&str]) -> bool {
        if self.unless.iter().any(|word| words.contains(&word.as_str())) {
            return false;
        }
        let wanted: Vec<&str> = self.words.split(' ').collect();
        // A statement is about what it begins with, after what may stand before it.
        let starts = if self.first { 0..words.len().min(1) } else { 0..words.len() };
        starts.into_iter().any(|start| self.from(&wanted, words, start))
    }

    /// Do the words match from one on?
    fn from(&self, wanted: &[&str], words: &[&str], at: usize) -> bool {
        match wanted.split_first() {
            None => words.get(at).is_none_or(|next| !self.unless_next.iter().any(|word| word == next)),
            Some((&"*", rest)) => (at..words.len()).any(|at| self.from(rest, words, at)),
            Some((word, rest)) => words.get(at) == Some(word) && self.from(rest, words, at + 1),
        }
    }
}

struct Statement {
    line: usize,
    words: Vec<String>,
}

/// Statements as upper-case words. Texts, bodies of functions among them, and signs are left
/// out; a quoted name is an empty word: whatever it says, it is no key word.
fn statements(sql: &str) -> Vec<Statement> {
    // What is not closed is refused before it is applied.
    let pieces = sql::split(sql, sql::ending_commands()).unwrap_or_default();
    let of_piece = |piece: Piece| match piece.kind {
        PieceKind::Statement { words, .. } => {
            let words = words.into_iter().filter_map(|word| match word {
                Word::Plain(word) => Some(word.to_uppercase()),
                Word::Quoted(_) => Some(String::new()),
                Word::Text(_) | Word::Sign(_) => None,
            });
            Some(Statement { line: piece.line, words: words.collect() })
        }
        PieceKind::Command { .. } => None,
    };
    pieces.into_iter().filter_map(of_piece).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(sql: &str) -> Vec<(usize, String)> {
        irreversible(sql).into_iter().map(|f| (f.line, f.what)).collect()
    }

    #[test]
    fn the_data_can_be_read() {
        let knowledge: Knowledge = serde_json::from_str(include_str!("irreversible.json")).unwrap();
        assert!(knowledge.rules.len() > 10);
    }

    #[test]
    fn what_cannot_be_taken_back_is_found_where_it_is() {
        let sql = "CREATE TABLE a (id int);\n-- DROP TABLE a;\nALTER TABLE a\n  DROP COLUMN b;\n\ndrop table if exists c;";
        assert_eq!(found(sql), [(3, "ALTER TABLE … DROP".to_owned()), (6, "DROP TABLE".to_owned())]);
        for sql in [
            "ALTER TABLE a RENAME COLUMN b TO c",
            "ALTER TABLE a ALTER COLUMN b TYPE bigint",
            "ALTER TABLE a ALTER b SET DATA TYPE bigint",
            "ALTER TABLE a ADD COLUMN b int NOT NULL",
            "ALTER TABLE a ALTER b SET NOT NULL",
            "TRUNCATE a",
            "DELETE FROM a WHERE x",
            "ALTER TABLE a DROP b",
            "SELECT 1 \\g\nDROP TABLE a",
        ] {
            assert_eq!(found(sql).len(), 1, "{sql}");
        }
    }

    #[test]
    fn what_adds_is_harmless() {
        for sql in [
            "CREATE TABLE a (t text DEFAULT 'DROP TABLE a;')",
            "ALTER TABLE a ADD COLUMN b int",
            "ALTER TABLE a ADD COLUMN b int NOT NULL DEFAULT 0",
            "ALTER TABLE a ALTER b DROP NOT NULL",
            "ALTER TABLE a DROP CONSTRAINT c",
            "CREATE INDEX i ON a (b); DROP INDEX j",
            "/* DROP TABLE a; /* nested */ DROP TABLE b; */ SELECT 1",
            "CREATE FUNCTION f() RETURNS void AS $body$ BEGIN DELETE FROM a; DROP TABLE b; END $body$ LANGUAGE plpgsql",
            "INSERT INTO a VALUES ('x') ON CONFLICT DO NOTHING",
            "SELECT \"DROP\" FROM \"TABLE\"",
            "CREATE TABLE b (a int REFERENCES a ON DELETE CASCADE)",
            "$ ; $1 'open",
            "COPY a FROM STDIN;\nDROP TABLE a;\n\\.\n",
        ] {
            assert_eq!(found(sql), [], "{sql}");
        }
    }
}
