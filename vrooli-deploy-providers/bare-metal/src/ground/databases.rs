//! The databases of a stack, on whichever of its servers they are, for files of SQL.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use vrooli_deploy_core::diagnostics::rules;
use vrooli_deploy_core::provider::{ErrorKind, OpCtx, ProviderError, ResourceKindDef as _, Result};
use vrooli_deploy_core::release::migration::{Database, Databases, SqlAnswer, SqlSession};
use vrooli_deploy_core::requirements::ResourceRequirement;

use super::change::refused;
use super::queue::refusal;
use super::{HostQueue, Place, Servers};
use crate::facts::Lines;
use crate::kinds::postgres::{Postgres, PostgresSpec, id_of};
use crate::remote::{Phase, RemoteExec as _};

/// The superuser of every cluster; who administers the server is let in as it.
const SUPERUSER: &str = "postgres";

#[async_trait]
impl Databases for Servers {
    async fn open(&self, cx: &OpCtx, requirement: &ResourceRequirement) -> Result<Option<Database>> {
        let Some(key) = requirement.key() else { return Ok(None) };
        let Ok(host) = self.host_of(&key, None) else { return Ok(None) };
        let queue = self.queue(&host);
        let survey = queue.last_seen(cx).await?;
        let recorded = survey.record.as_ref().and_then(|record| record.resources.get(&key));
        let Some(recorded) = recorded.filter(|recorded| recorded.kind == Postgres.kind()) else {
            return Ok(None);
        };
        let unreadable = |words: String| {
            let message = format!("what {host} says of `{key}` cannot be read: {words}");
            ProviderError::new(ErrorKind::Conflict, message).with_code(rules::HOST_RECORD.to_string())
        };
        let want: PostgresSpec =
            serde_json::from_value(recorded.spec.clone()).map_err(|error| unreadable(error.to_string()))?;
        let id = id_of(&want.name);
        let made = |name: &str| {
            let made = survey.roles.get(&id).and_then(|role| role.made.get(name));
            made.cloned().ok_or_else(|| unreadable(format!("its {name} is not there")))
        };
        let (role, database) = (made("role")?, made("database")?);
        let session = |who, user: &str| {
            let (host, database, id) = (Arc::clone(&queue), database.clone(), id.clone());
            Box::new(OnServer { host, id, who, user: user.to_owned(), database })
        };
        Ok(Some(Database { app: session("app", &role), superuser: session("superuser", SUPERUSER) }))
    }
}

/// A way to give statements to one database: by who administers its server, as the role.
#[derive(Debug)]
struct OnServer {
    host: Arc<HostQueue>,
    /// What its server is called there.
    id: String,
    /// The word for the role in the script.
    who: &'static str,
    user: String,
    database: String,
}

#[async_trait]
impl SqlSession for OnServer {
    fn user(&self) -> &str {
        &self.user
    }

    fn database(&self) -> &str {
        &self.database
    }

    async fn script(&self, cx: &OpCtx, script: &str, one: bool) -> Result<SqlAnswer> {
        // Who only looks has no lease, and needs none.
        if cx.fence != 0 {
            self.host.held(cx).await?;
        }
        let Place { name, .. } = Place::of(&cx.stack);
        let (id, who, one) = (&self.id, self.who, if one { "yes" } else { "no" });
        let input =
            format!("{name}\n{}\n{}\n{id}\n{who}\n{one}\n{}\n{script}", cx.owner, cx.fence, script.len());
        let text = concat!(
            include_str!("../scripts/host.sh"),
            include_str!("../scripts/roles.sh"),
            include_str!("../scripts/sql.sh")
        );
        let left = cx.deadline.saturating_duration_since(Instant::now());
        let phase = Phase::new("give statements", text).as_root().within(left).with_input(input);
        let run = self.host.host().run(&phase, &cx.cancellation);
        let output = match tokio::time::timeout_at(cx.deadline.into(), run).await {
            Ok(output) => output?,
            Err(_) => {
                return Err(ProviderError::new(
                    ErrorKind::Ambiguous,
                    format!("the statements did not come to an end on {} in time", self.host.name()),
                ));
            }
        };
        let lines = Lines::new(&output.stdout);
        if let Some(refused) = refused(&lines) {
            return Err(refusal(self.host.name(), cx, &refused));
        }
        let status = lines.get("status").ok_or_else(|| {
            ProviderError::new(
                ErrorKind::Ambiguous,
                format!("{} did not say what came of the statements", self.host.name()),
            )
            .with_context("said", output.stderr.clone())
        })?;
        let text = |name| lines.all(name).collect::<Vec<_>>().join("\n");
        Ok(SqlAnswer { succeeded: status == "0", stdout: text("row"), stderr: text("words") })
    }

    fn extension_missing(&self, name: &str, what_for: &str) -> ProviderError {
        let message = format!(
            "{what_for} needs the extension `{name}`, which PostgreSQL on {} does not have",
            self.host.name()
        );
        ProviderError::new(ErrorKind::Unsupported, message).with_help(format!(
            "name it in the manifest, then its package is installed: `extensions: [{name}]` of the database; or install the package on the server"
        ))
    }
}
