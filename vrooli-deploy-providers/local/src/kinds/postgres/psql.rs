//! Statements given to a server through `psql`: complete before it starts, on its
//! standard input; the password in its environment, never among its arguments.

use std::path::PathBuf;

use vrooli_deploy_core::provider::{OpCtx, Result};
use vrooli_deploy_core::secrets::Secret;

use crate::tool::{Tool, ToolOutput, whole_input};

/// As whom, where and to which database.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) database: String,
    pub(crate) password: Secret<String>,
}

/// A way to give statements to one server.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(super) program: PathBuf,
    /// A folder of ours that nobody else reads.
    pub(super) folder: PathBuf,
    pub(crate) major: u32,
    pub(crate) login: Login,
}

impl Session {
    /// The same as somebody else, or in another database.
    pub(crate) fn to(&self, login: Login) -> Self {
        Self { login, ..self.clone() }
    }

    /// Runs a script; stops at its first error. `one` makes one transaction of it.
    pub(crate) async fn script(&self, cx: &OpCtx, script: &str, one: bool) -> Result<ToolOutput> {
        let mut tool = Tool::new(&self.program, &self.folder, None)
            .args(["-X", "-q", "-A", "-t", "-w", "-F", "\t", "-v", "ON_ERROR_STOP=1"])
            .arg("-h")
            .arg("127.0.0.1")
            .arg("-p")
            .arg(self.login.port.to_string())
            .arg("-U")
            .arg(&self.login.user)
            .arg("-d")
            .arg(&self.login.database)
            .args(["-f", "-"])
            .env("PGPASSWORD", self.login.password.expose())
            .env("PGCONNECT_TIMEOUT", "10")
            .env("PGCLIENTENCODING", "UTF8")
            .env("PGSSLMODE", "disable")
            .env("PGAPPNAME", "vrooli-deploy")
            .env("PGOPTIONS", "-c client_min_messages=warning");
        if one {
            tool = tool.arg("--single-transaction");
        }
        tool.stdin(whole_input(script.as_bytes(), &self.folder)?).run(cx).await
    }

    /// Rows of one statement, fields separated by tabs.
    pub(crate) async fn rows(&self, cx: &OpCtx, statement: &str) -> Result<Vec<Vec<String>>> {
        let answer = self.script(cx, statement, false).await?;
        if !answer.status.success() {
            return Err(super::cluster::refused(&answer));
        }
        let lines = answer.stdout.lines().filter(|line| !line.is_empty());
        Ok(lines.map(|line| line.split('\t').map(str::to_owned).collect()).collect())
    }
}

/// A text as an SQL literal. The servers that we make have `standard_conforming_strings` on.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A name as an SQL identifier.
pub(crate) fn identifier(name: &str) -> String {
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
}
