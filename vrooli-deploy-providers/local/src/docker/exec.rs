//! A program run inside a running container, its input given, its output read.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use vrooli_deploy_core::provider::{ErrorKind, OpCtx, ProviderError, Result};
use vrooli_deploy_core::secrets::Secret;

use super::Engine;
use super::call::within;
use super::stream::{self, Said};

/// How a process in a container ended, and what it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) code: i64,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(super) fn new(code: i64, said: Said) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code, stdout: text(said.stdout), stderr: text(said.stderr) }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Made {
    id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Seen {
    running: bool,
    #[serde(default)]
    exit_code: Option<i64>,
}

impl Engine {
    /// Runs a program as an account of the container. Its input is no secret to the process
    /// alone: nothing of it is in arguments or variables. When the caller gives up, the
    /// program's input ends; the program itself goes on until it sees that.
    pub(crate) async fn exec(
        &self,
        cx: &OpCtx,
        container: &str,
        user: &str,
        variables: &[(&str, &str)],
        command: &[&str],
        input: &Secret<String>,
    ) -> Result<Ended> {
        let program = command.first().copied().unwrap_or_default();
        let what = format!("running `{program}` in the container `{container}`");
        within(cx, &what, async {
            let variables: Vec<String> =
                variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let wanted = json!({
                "AttachStdin": true, "AttachStdout": true, "AttachStderr": true, "Tty": false,
                "User": user, "Env": variables, "Cmd": command,
            });
            let path = format!("/containers/{container}/exec");
            let made: Made = self
                .call(cx, &what, "POST", &path, Some(&wanted))
                .await?
                .done(&format!("run `{program}` in the container `{container}`"))?
                .read("a process")?;
            let start = json!({ "Detach": false, "Tty": false });
            let stream = self
                .hijack(
                    &format!("run `{program}` in `{container}`"),
                    &format!("/exec/{}/start", made.id),
                    Some(&start),
                )
                .await?;
            let (mut reader, mut writer) = tokio::io::split(stream);
            let give = async {
                // It may end, on an error, without having read everything.
                if writer.write_all(input.expose().as_bytes()).await.is_ok() {
                    let _ = writer.shutdown().await;
                }
            };
            let ((), said) = tokio::join!(give, stream::read(&mut reader));
            let code = self.exit_code(cx, &made.id, &what).await?;
            Ok(Ended::new(code, said))
        })
        .await
    }

    /// The stream ends a moment before the engine knows the status.
    async fn exit_code(&self, cx: &OpCtx, id: &str, what: &str) -> Result<i64> {
        const TRIES: u32 = 200;
        for _ in 0..TRIES {
            let seen: Seen = self
                .call(cx, what, "GET", &format!("/exec/{id}/json"), None)
                .await?
                .done("ask how a process ended")?
                .read("a process")?;
            match seen.exit_code {
                Some(code) if !seen.running => return Ok(code),
                _ => tokio::time::sleep(Duration::from_millis(25)).await,
            }
        }
        Err(ProviderError::new(ErrorKind::Ambiguous, format!("the engine does not say how it ended: {what}")))
    }
}
