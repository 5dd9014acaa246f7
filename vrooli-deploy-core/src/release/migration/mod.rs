//! Which SQL cannot be taken back, or breaks the release that runs beside it. What counts is
//! data; this only reads statements.

use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

/// Statements as upper-case words, without comments, strings, quoted names and bodies.
fn statements(sql: &str) -> Vec<Statement> {
    let bytes = sql.as_bytes();
    let mut all = Vec::new();
    let mut now = Statement { line: 1, words: Vec::new() };
    let (mut at, mut line) = (0, 1);
    let lines = |from: usize, to: usize| bytes[from..to].iter().filter(|b| **b == b'\n').count();
    while at < bytes.len() {
        let rest = &bytes[at..];
        let end = match rest {
            [b'-', b'-', ..] => at + rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()),
            [b'/', b'*', ..] => at + comment(rest),
            [b'\'', ..] => at + quoted(rest, b'\''),
            [b'"', ..] => {
                // A name: whatever it says, it is no keyword.
                now.words.push(String::new());
                at + quoted(rest, b'"')
            }
            [b'$', ..] => at + dollar(rest),
            [b';', ..] => {
                let next = Statement { line, words: Vec::new() };
                let done = std::mem::replace(&mut now, next);
                if !done.words.is_empty() {
                    all.push(done);
                }
                at + 1
            }
            [first, ..] if first.is_ascii_alphabetic() || *first == b'_' => {
                let length = rest.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
                if now.words.is_empty() {
                    now.line = line;
                }
                now.words.push(String::from_utf8_lossy(&rest[..length]).to_ascii_uppercase());
                at + length
            }
            _ => at + 1,
        };
        line += lines(at, end);
        at = end;
    }
    if !now.words.is_empty() {
        all.push(now);
    }
    all
}

/// Length of a comment; they nest.
fn comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => {
                depth += 1;
                at += 2;
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    rest.len()
}

/// Length of what is quoted; a doubled quote is one of its characters.
fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        if rest[at] == quote {
            if rest.get(at + 1) != Some(&quote) {
                return at + 1;
            }
            at += 1;
        }
        at += 1;
    }
    rest.len()
}

/// Length of a body between `$tag$` and `$tag$`; 1 for a lone dollar.
fn dollar(rest: &[u8]) -> usize {
    let tag = rest[1..].iter().position(|b| *b == b'$').map(|end| &rest[..end + 2]);
    let Some(tag) =
        tag.filter(|tag| tag[1..tag.len() - 1].iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_'))
    else {
        return 1;
    };
    rest[tag.len()..]
        .windows(tag.len())
        .position(|window| window == tag)
        .map_or(rest.len(), |at| at + 2 * tag.len())
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
        ] {
            assert_eq!(found(sql), [], "{sql}");
        }
    }
}
