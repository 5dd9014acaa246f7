//! Giving statements to a server, whichever way leads to it.

use std::collections::BTreeSet;

use async_trait::async_trait;

use crate::provider::{ErrorKind, OpCtx, ProviderError, Result};

/// The lock under which extensions are made: an arbitrary number, the same for ever.
const EXTENSIONS_LOCK: i64 = 0x7672_6f6f_6c69_0002;

/// A way to give statements to one database of a server, as one role.
#[async_trait]
pub trait SqlSession: Send + Sync {
    /// The role.
    fn user(&self) -> &str;

    /// The database.
    fn database(&self) -> &str;

    /// Runs a script of `psql`; stops at its first error. `one` makes one transaction of it. What is
    /// cut off on its way is not committed in part.
    ///
    /// # Errors
    /// When the server cannot be asked. What it refuses is an answer.
    async fn script(&self, cx: &OpCtx, script: &str, one: bool) -> Result<SqlAnswer>;

    /// What to do about an extension that the server does not have; `what_for` is who wants it.
    fn extension_missing(&self, name: &str, what_for: &str) -> ProviderError;

    /// The rows that a script answers, fields separated by tabs; empty lines are none.
    ///
    /// # Errors
    /// When the server cannot be asked, or refuses.
    async fn rows(&self, cx: &OpCtx, script: &str) -> Result<Vec<Vec<String>>> {
        let answer = self.script(cx, script, false).await?;
        if !answer.succeeded {
            return Err(refused(&answer));
        }
        let lines = answer.stdout.lines().filter(|line| !line.is_empty());
        Ok(lines.map(|line| line.split('\t').map(str::to_owned).collect()).collect())
    }
}

/// What came of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlAnswer {
    /// Did it get to its end?
    pub succeeded: bool,
    /// Rows, fields separated by tabs, without heads.
    pub stdout: String,
    /// The words of `psql` and of the server; lines of the script as `psql:<stdin>:N:`.
    pub stderr: String,
}

/// A database, as who may do what in it.
pub struct Database {
    /// As the role of the app.
    pub app: Box<dyn SqlSession>,
    /// As the superuser of its server, in the same database.
    pub superuser: Box<dyn SqlSession>,
}

/// What a failed script said, as an error.
#[must_use]
pub fn refused(answer: &SqlAnswer) -> ProviderError {
    let said = answer.stderr.trim();
    let kind = if said.contains("No space left") { ErrorKind::Quota } else { ErrorKind::Unexpected };
    let line =
        said.lines().find(|l| l.contains("ERROR:") || l.contains("FATAL:")).or_else(|| said.lines().next());
    let line = line.unwrap_or("psql failed and said nothing");
    let line = line
        .split_once("psql:<stdin>:")
        .map_or(line, |(_, rest)| rest.split_once(' ').map_or(rest, |(_, r)| r));
    ProviderError::new(kind, format!("PostgreSQL refused: {}", line.trim()))
        .with_context("psql", said.to_owned())
}

/// Makes extensions, where they are not there; `what_for` is who wants them.
///
/// # Errors
/// [`SqlSession::extension_missing`] of the first that the server does not have: then none is made.
pub async fn add_extensions<'a>(
    cx: &OpCtx,
    superuser: &dyn SqlSession,
    names: impl Iterator<Item = &'a str> + Send,
    what_for: &str,
) -> Result<()> {
    let names: Vec<&str> = names.collect();
    if names.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = names.iter().map(|name| literal(name)).collect();
    let rows = superuser
        .rows(cx, &format!("SELECT name FROM pg_available_extensions WHERE name IN ({});", list.join(", ")))
        .await?;
    let available: BTreeSet<&str> = rows.iter().filter_map(|row| row.first()).map(String::as_str).collect();
    if let Some(missing) = names.iter().find(|name| !available.contains(*name)) {
        return Err(superuser.extension_missing(missing, what_for));
    }
    let mut script = format!("SELECT pg_advisory_lock({EXTENSIONS_LOCK});\n");
    script.extend(names.iter().map(|name| format!("CREATE EXTENSION IF NOT EXISTS {};\n", identifier(name))));
    let answer = superuser.script(cx, &script, false).await?;
    if answer.succeeded { Ok(()) } else { Err(refused(&answer)) }
}

/// A text as an SQL literal. The servers that we make have `standard_conforming_strings` on.
#[must_use]
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A name as an SQL identifier.
#[must_use]
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_doubled() {
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
    }

    #[test]
    fn the_first_error_is_what_is_said() {
        let said = |stderr: &str| {
            let answer = SqlAnswer { succeeded: false, stdout: String::new(), stderr: stderr.to_owned() };
            refused(&answer).message().to_owned()
        };
        assert_eq!(
            said("psql:<stdin>:3: NOTICE:  a\npsql:<stdin>:4: ERROR:  b\nLINE 1: x\n"),
            "PostgreSQL refused: ERROR:  b"
        );
        assert_eq!(said(""), "PostgreSQL refused: psql failed and said nothing");
    }
}
