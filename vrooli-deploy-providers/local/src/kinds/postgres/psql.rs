//! Statements given to a server through `psql`: complete before it starts, on its
//! standard input; the password in its environment, never among its arguments.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use uuid::Uuid;
use vrooli_deploy_core::provider::{Cancellation, OpCtx, ProviderError, Result};
use vrooli_deploy_core::release::migration::{SqlAnswer, SqlSession, literal};
use vrooli_deploy_core::secrets::Secret;

use super::{binaries, contained};
use crate::docker::{self, Engine};
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
    pub(super) through: Through,
    pub(crate) major: u32,
    pub(crate) login: Login,
}

/// Which `psql` is run.
#[derive(Debug, Clone)]
pub(super) enum Through {
    /// An installed one.
    Program {
        program: PathBuf,
        /// A folder of ours that nobody else reads.
        folder: PathBuf,
    },
    /// The one in the server's container.
    Container { engine: Engine, name: String },
}

/// Beside where and as whom, the same everywhere.
const ARGUMENTS: [&str; 9] = ["-X", "-q", "-A", "-t", "-w", "-F", "\t", "-v", "ON_ERROR_STOP=1"];
const VARIABLES: [(&str, &str); 4] = [
    ("PGCONNECT_TIMEOUT", "10"),
    ("PGCLIENTENCODING", "UTF8"),
    ("PGSSLMODE", "disable"),
    ("PGOPTIONS", "-c client_min_messages=warning"),
];
/// What a server's own list of clients calls us.
const CLIENT: &str = "vrooli-deploy";
/// Takes the password from the first line of its input, and leaves the rest to `psql`: an
/// engine writes down what a process is given as variables.
const WITH_PASSWORD: &str = "IFS= read -r PGPASSWORD && export PGPASSWORD && exec psql \"$@\"";
/// How long a client that is not to go on may take to be ended.
const END: Duration = Duration::from_secs(5);

impl Session {
    /// The same as somebody else, or in another database.
    pub(crate) fn to(&self, login: Login) -> Self {
        Self { login, ..self.clone() }
    }

    fn place(&self, port: u16) -> Vec<String> {
        let Login { user, database, .. } = &self.login;
        let words = ["-h", "127.0.0.1", "-p", &port.to_string(), "-U", user, "-d", database, "-f", "-"];
        words.map(str::to_owned).to_vec()
    }

    /// In the container. The script comes as a stream, which may break off: so the end of the
    /// transaction is a part of it, and what was cut off is rolled back.
    async fn inside(
        &self,
        cx: &OpCtx,
        engine: &Engine,
        name: &str,
        script: &str,
        one: bool,
    ) -> Result<SqlAnswer> {
        let client = format!("{CLIENT} {}", Uuid::new_v4().simple());
        let script = if one { Cow::Owned(in_transaction(script)) } else { Cow::Borrowed(script) };
        let run = |cx: OpCtx, script: String| {
            let client = client.clone();
            async move {
                let input = Secret::new(format!("{}\n{script}", self.login.password.expose()));
                let place = self.place(docker::KNOWN.postgres.port);
                let mut command = vec!["sh", "-c", WITH_PASSWORD, "psql"];
                command.extend(ARGUMENTS);
                command.extend(place.iter().map(String::as_str));
                let mut variables = VARIABLES.to_vec();
                variables.push(("PGAPPNAME", &client));
                engine.exec(&cx, name, &docker::KNOWN.postgres.user, &variables, &command, &input).await
            }
        };
        match run(cx.clone(), script.into_owned()).await {
            Ok(ended) => {
                Ok(SqlAnswer { succeeded: ended.code == 0, stdout: ended.stdout, stderr: ended.stderr })
            }
            Err(error) => {
                // We no longer wait for it; nor shall it go on.
                let mut later = cx.clone();
                later.deadline = Instant::now() + END;
                later.cancellation = Cancellation::new();
                let end = format!(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = {} AND pid <> pg_backend_pid();",
                    literal(&client)
                );
                let _ = run(later, end).await;
                Err(error)
            }
        }
    }
}

#[async_trait]
impl SqlSession for Session {
    fn user(&self) -> &str {
        &self.login.user
    }

    fn database(&self) -> &str {
        &self.login.database
    }

    async fn script(&self, cx: &OpCtx, script: &str, one: bool) -> Result<SqlAnswer> {
        match &self.through {
            Through::Program { program, folder } => {
                let mut tool = Tool::new(program, folder, None)
                    .args(ARGUMENTS)
                    .args(self.place(self.login.port))
                    .env("PGPASSWORD", self.login.password.expose())
                    .env("PGAPPNAME", CLIENT);
                for (name, value) in VARIABLES {
                    tool = tool.env(name, value);
                }
                if one {
                    tool = tool.arg("--single-transaction");
                }
                let ToolOutput { status, stdout, stderr } =
                    tool.stdin(whole_input(script.as_bytes(), folder)?).run(cx).await?;
                Ok(SqlAnswer { succeeded: status.success(), stdout, stderr })
            }
            Through::Container { engine, name } => self.inside(cx, engine, name, script, one).await,
        }
    }

    fn extension_missing(&self, name: &str, what_for: &str) -> ProviderError {
        match &self.through {
            Through::Program { .. } => binaries::extension_missing(name, self.major, what_for),
            Through::Container { .. } => contained::extension_missing(name, self.major, what_for),
        }
    }
}

/// A script as one transaction that ends only where the script does. It begins on the
/// script's first line, so that the lines of messages are the script's own.
fn in_transaction(script: &str) -> String {
    // The script's last statement may lack its semicolon, and its last line its end.
    format!("BEGIN; {script}\n;\nCOMMIT;\n")
}
