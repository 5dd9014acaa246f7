//! Where statements of an SQL script begin and end, as `psql` sees it: quotes, dollar
//! quotes, nested comments, backslash commands, data of `COPY … FROM STDIN`. Enough to
//! know what a statement is; what it means is the server's business.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::manifest::crosswalk::embedded;

#[derive(Debug, Default, Deserialize)]
struct Psql {
    ends_statement: Vec<String>,
}

static PSQL: LazyLock<Psql> = LazyLock::new(|| embedded(include_str!("psql.json")));

/// The backslash commands of `psql` that end a statement as `;` does.
#[must_use]
pub fn ending_commands() -> &'static [String] {
    &PSQL.ends_statement
}

/// A piece of a script that does something. Bytes outside of pieces are comments and
/// white space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// First byte.
    pub start: usize,
    /// One past the last byte, terminator and inline data included.
    pub end: usize,
    /// Line of the first byte, from 1.
    pub line: usize,
    /// What it is.
    pub kind: PieceKind,
}

/// What it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PieceKind {
    /// Words of a statement, without comments.
    Statement {
        /// The words.
        words: Vec<Word>,
        /// The backslash command that ended it instead of `;`.
        ended_by: Option<String>,
    },
    /// A backslash command with the rest of its line.
    Command {
        /// Its name, without the backslash.
        name: String,
        /// The rest of its line.
        rest: String,
    },
}

/// A word of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// A key word or a name without quotes.
    Plain(String),
    /// A name in double quotes, without them.
    Quoted(String),
    /// A text in single quotes or dollar quotes, without them.
    Text(String),
    /// Any other character.
    Sign(char),
}

impl Word {
    /// Is it this key word?
    #[must_use]
    pub fn is(&self, key: &str) -> bool {
        matches!(self, Self::Plain(word) if word.eq_ignore_ascii_case(key))
    }

    /// The name, folded as the server does.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        match self {
            Self::Plain(word) => Some(word.to_lowercase()),
            Self::Quoted(word) => Some(word.clone()),
            Self::Text(_) | Self::Sign(_) => None,
        }
    }
}

/// What is open at the end of a script, with the line it was opened in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unclosed {
    /// `a text`, `a comment`, …
    pub what: &'static str,
    /// From 1.
    pub line: usize,
}

/// Splits a script. `ends` are the backslash commands that end a statement.
///
/// # Errors
/// When something is still open at the end.
pub fn split(script: &str, ends: &[String]) -> Result<Vec<Piece>, Unclosed> {
    Lexer { text: script, at: 0, line: 1, pieces: Vec::new(), open: None, ends }.run()
}

struct Open {
    start: usize,
    line: usize,
    words: Vec<Word>,
    parentheses: usize,
    /// Depth of `BEGIN ATOMIC … END` in the body of a function.
    blocks: usize,
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    pieces: Vec<Piece>,
    open: Option<Open>,
    ends: &'a [String],
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn advance(&mut self, bytes: usize) {
        let passed = self.rest().get(..bytes).unwrap_or_else(|| self.rest());
        self.line += passed.bytes().filter(|byte| *byte == b'\n').count();
        self.at += passed.len();
    }

    fn run(mut self) -> Result<Vec<Piece>, Unclosed> {
        while let Some(c) = self.rest().chars().next() {
            let rest = self.rest();
            if c.is_whitespace() {
                self.advance(c.len_utf8());
            } else if rest.starts_with("--") {
                self.advance(rest.find('\n').unwrap_or(rest.len()));
            } else if rest.starts_with("/*") {
                self.comment()?;
            } else if c == '\\' {
                self.command();
            } else if c == ';'
                && self.open.as_ref().is_none_or(|open| open.parentheses == 0 && open.blocks == 0)
            {
                self.advance(1);
                self.close(None);
                self.copy_data()?;
            } else {
                self.word(c)?;
            }
        }
        self.close(None);
        Ok(self.pieces)
    }

    fn comment(&mut self) -> Result<(), Unclosed> {
        let line = self.line;
        let mut depth = 0_usize;
        loop {
            let rest = self.rest();
            if rest.starts_with("/*") {
                depth += 1;
                self.advance(2);
            } else if rest.starts_with("*/") {
                depth -= 1;
                self.advance(2);
                if depth == 0 {
                    return Ok(());
                }
            } else {
                match rest.chars().next() {
                    Some(c) => self.advance(c.len_utf8()),
                    None => {
                        return Err(Unclosed { what: "a comment", line });
                    }
                }
            }
        }
    }

    fn push(&mut self, start: usize, line: usize, word: Word) {
        let open = self.open.get_or_insert_with(|| Open {
            start,
            line,
            words: Vec::new(),
            parentheses: 0,
            blocks: 0,
        });
        match &word {
            Word::Sign('(') => open.parentheses += 1,
            Word::Sign(')') => open.parentheses = open.parentheses.saturating_sub(1),
            Word::Plain(_) if makes_routine(&open.words) => {
                // As psql counts: an ATOMIC body, and each CASE in it, has its own END.
                if word.is("BEGIN") || (word.is("CASE") && open.blocks > 0) {
                    open.blocks += 1;
                } else if word.is("END") {
                    open.blocks = open.blocks.saturating_sub(1);
                }
            }
            _ => {}
        }
        open.words.push(word);
    }

    fn word(&mut self, c: char) -> Result<(), Unclosed> {
        let (start, line, rest) = (self.at, self.line, self.rest());
        let escapes = rest.get(..2).is_some_and(|two| two.eq_ignore_ascii_case("e'"));
        let word = if c == '\'' || escapes {
            if escapes {
                self.advance(1);
            }
            Word::Text(self.quoted('\'', escapes, "a text", line)?)
        } else if c == '"' {
            Word::Quoted(self.quoted('"', false, "a quoted name", line)?)
        } else if let Some(tag) = dollar_tag(rest) {
            self.advance(tag.len());
            let body = self.rest();
            let Some(length) = body.find(tag) else {
                return Err(Unclosed { what: "a dollar-quoted text", line });
            };
            self.advance(length + tag.len());
            Word::Text(body.get(..length).unwrap_or_default().to_owned())
        } else if c.is_alphanumeric() || c == '_' {
            let length =
                rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).unwrap_or(rest.len());
            self.advance(length);
            Word::Plain(rest.get(..length).unwrap_or_default().to_owned())
        } else {
            self.advance(c.len_utf8());
            Word::Sign(c)
        };
        self.push(start, line, word);
        Ok(())
    }

    /// From an opening quote to its end; a doubled quote stands for itself.
    fn quoted(
        &mut self,
        quote: char,
        escapes: bool,
        what: &'static str,
        line: usize,
    ) -> Result<String, Unclosed> {
        self.advance(1);
        let mut text = String::new();
        loop {
            let mut characters = self.rest().chars();
            match (characters.next(), characters.next()) {
                (Some(c), Some(next)) if c == quote && next == quote => {
                    text.push(quote);
                    self.advance(2);
                }
                (Some(c), _) if c == quote => {
                    self.advance(1);
                    return Ok(text);
                }
                (Some('\\'), Some(next)) if escapes => {
                    text.push(next);
                    self.advance(1 + next.len_utf8());
                }
                (Some(c), _) => {
                    text.push(c);
                    self.advance(c.len_utf8());
                }
                (None, _) => return Err(Unclosed { what, line }),
            }
        }
    }

    fn command(&mut self) {
        let (start, line, rest) = (self.at, self.line, self.rest());
        let whole = rest.get(..rest.find('\n').unwrap_or(rest.len())).unwrap_or_default();
        let inside = whole.get(1..).unwrap_or_default();
        let length = inside
            .find(|c: char| !c.is_alphanumeric())
            .unwrap_or(inside.len())
            .max(usize::from(!inside.is_empty()));
        // `\!`, `\?` and their kind are one character that is no letter.
        let length = if inside.is_char_boundary(length) { length } else { inside.len() };
        let (name, rest) = inside.split_at(length);
        self.advance(whole.len());
        if self.ends.iter().any(|end| end == name) && self.open.is_some() {
            self.close(Some(name.to_owned()));
        } else {
            let (name, rest) = (name.to_owned(), rest.trim().to_owned());
            self.pieces.push(Piece { start, end: self.at, line, kind: PieceKind::Command { name, rest } });
        }
    }

    fn close(&mut self, ended_by: Option<String>) {
        if let Some(open) = self.open.take() {
            let kind = PieceKind::Statement { words: open.words, ended_by };
            self.pieces.push(Piece { start: open.start, end: self.at, line: open.line, kind });
        }
    }

    /// After `COPY … FROM STDIN;` come lines of data, up to `\.`.
    fn copy_data(&mut self) -> Result<(), Unclosed> {
        let Some(Piece { kind: PieceKind::Statement { words, .. }, line, .. }) = self.pieces.last() else {
            return Ok(());
        };
        let reads = words.first().is_some_and(|word| word.is("COPY"))
            && words
                .windows(2)
                .any(|pair| matches!(pair, [from, stdin] if from.is("FROM") && stdin.is("STDIN")));
        if !reads {
            return Ok(());
        }
        let line = *line;
        self.advance(self.rest().find('\n').map_or(self.rest().len(), |end| end + 1));
        loop {
            let rest = self.rest();
            if rest.is_empty() {
                return Err(Unclosed { what: "the data of a COPY", line });
            }
            let length = rest.find('\n').map_or(rest.len(), |end| end + 1);
            let is_end = rest.get(..length).is_some_and(|line| line.trim_end() == "\\.");
            self.advance(length);
            if is_end {
                break;
            }
        }
        if let Some(piece) = self.pieces.last_mut() {
            piece.end = self.at;
        }
        Ok(())
    }
}

/// Do these words begin a function or a procedure?
fn makes_routine(words: &[Word]) -> bool {
    let mut words = words.iter();
    if !words.next().is_some_and(|word| word.is("CREATE")) {
        return false;
    }
    let rest: Vec<&Word> = words.take(3).collect();
    let kind = if rest.first().is_some_and(|word| word.is("OR")) { rest.get(2) } else { rest.first() };
    kind.is_some_and(|word| word.is("FUNCTION") || word.is("PROCEDURE"))
}

/// The opening tag of a dollar quote, `$$` or `$name$`.
fn dollar_tag(rest: &str) -> Option<&str> {
    let inside = rest.strip_prefix('$')?;
    let length = inside.find('$')?;
    let name = inside.get(..length)?;
    let fits =
        name.chars().enumerate().all(|(at, c)| c == '_' || c.is_alphabetic() || (at > 0 && c.is_numeric()));
    fits.then(|| rest.get(..length + 2)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statements(script: &str) -> Vec<String> {
        split(script, &["gexec".to_owned()])
            .unwrap()
            .into_iter()
            .map(|piece| script[piece.start..piece.end].to_owned())
            .collect()
    }

    #[test]
    fn semicolons_in_texts_names_comments_and_bodies_end_nothing() {
        let script = "-- a;\nSELECT 'a;''b', \"c;\", E'd\\';', $$e;$$, $t$f;$$;$t$; /* x /* ; */ ; */ SELECT 2\n;SELECT (1;2);";
        let found = statements(script);
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(found[1], "SELECT 2\n;");
        assert_eq!(found[2], "SELECT (1;2);");
    }

    #[test]
    fn an_atomic_body_is_one_statement() {
        let script = "CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END; SELECT 3;";
        assert_eq!(statements(script).len(), 2);
        // Not in a routine: a transaction.
        assert_eq!(statements("BEGIN; SELECT 1; END;").len(), 3);
    }

    #[test]
    fn inline_data_belongs_to_its_copy() {
        let script = "COPY t (a) FROM stdin;\nit's; data\n\\N\n\\.\nSELECT 1;";
        let found = statements(script);
        assert_eq!(found, ["COPY t (a) FROM stdin;\nit's; data\n\\N\n\\.\n", "SELECT 1;"]);
    }

    #[test]
    fn backslash_commands_are_pieces_or_ends() {
        let pieces =
            split("\\c other\nSELECT 'x' \\gexec\n\\! rm -rf /\n\\i a.sql", &["gexec".to_owned()]).unwrap();
        let kinds: Vec<_> = pieces.into_iter().map(|piece| (piece.line, piece.kind)).collect();
        let command =
            |name: &str, rest: &str| PieceKind::Command { name: name.to_owned(), rest: rest.to_owned() };
        assert_eq!(kinds[0], (1, command("c", "other")));
        assert!(matches!(&kinds[1].1, PieceKind::Statement { ended_by: Some(end), .. } if end == "gexec"));
        assert_eq!(kinds[2], (3, command("!", "rm -rf /")));
        assert_eq!(kinds[3], (4, command("i", "a.sql")));
    }

    #[test]
    fn what_is_not_closed_is_named_with_its_line() {
        for (script, what) in [
            ("SELECT 1;\nSELECT 'a", "a text"),
            ("\n\"a", "a quoted name"),
            ("\n/* /* */", "a comment"),
            ("\n$x$ $$", "a dollar-quoted text"),
            ("\nCOPY t FROM STDIN;\n1\n", "the data of a COPY"),
        ] {
            assert_eq!(split(script, &[]).unwrap_err(), Unclosed { what, line: 2 }, "{script}");
        }
    }

    #[test]
    fn anything_at_all_is_split_without_a_panic() {
        for script in [
            "",
            "\\",
            "'",
            "\u{feff}SELECT 1",
            "$",
            "$é$x$é$",
            "\\é",
            "😀;\\😀",
            "E'\\",
            "/*",
            "--",
            ";;;",
            "))))(",
        ] {
            let _ = split(script, &[]);
        }
    }
}
