//! Containers by name: made, started, stopped and removed. What is done already is done.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use vrooli_deploy_core::provider::{ErrorKind, OpCtx, ProviderError, Result};
use vrooli_deploy_core::secrets::Secret;

use super::call::{Reply, encoded, within};
use super::exec::Ended;
use super::{Engine, KNOWN, stream};

/// What an engine says of a container.
#[derive(Debug, Clone)]
pub(crate) struct Container {
    pub(crate) name: String,
    pub(crate) phase: Phase,
    pub(crate) labels: BTreeMap<String, String>,
    /// The id of the image that it runs from.
    pub(crate) image: String,
}

/// How a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Made, ended, or never started.
    Stopped,
    Running,
    /// Its processes are frozen.
    Paused,
    /// On its way from one to another.
    Changing,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    name: String,
    state: State,
    config: Config,
    #[serde(default)]
    image: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    status: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    #[serde(default)]
    names: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Waited {
    pub(super) status_code: i64,
}

fn phase(status: &str) -> Phase {
    match status {
        "running" => Phase::Running,
        "paused" => Phase::Paused,
        "restarting" | "removing" | "stopping" => Phase::Changing,
        _ => Phase::Stopped,
    }
}

impl Engine {
    /// A container, if there is one of that name.
    pub(crate) async fn container(&self, cx: &OpCtx, name: &str) -> Result<Option<Container>> {
        let reply = self
            .call(cx, &format!("looking at `{name}`"), "GET", &format!("/containers/{name}/json"), None)
            .await?;
        if reply.status == 404 {
            return Ok(None);
        }
        let seen: Inspected = reply.done(&format!("look at the container `{name}`"))?.read("a container")?;
        Ok(Some(Container {
            name: seen.name.trim_start_matches('/').to_owned(),
            phase: phase(&seen.state.status),
            labels: seen.config.labels.unwrap_or_default(),
            image: seen.image,
        }))
    }

    /// The names of all containers that bear these labels, stopped ones too.
    pub(crate) async fn containers(&self, cx: &OpCtx, labels: &[String]) -> Result<Vec<String>> {
        self.containers_by(cx, &json!({ "label": labels })).await
    }

    /// The names of all containers that use a volume, stopped ones too.
    pub(crate) async fn users_of(&self, cx: &OpCtx, volume: &str) -> Result<Vec<String>> {
        self.containers_by(cx, &json!({ "volume": [volume] })).await
    }

    async fn containers_by(&self, cx: &OpCtx, filters: &Value) -> Result<Vec<String>> {
        let path = format!("/containers/json?all=1&filters={}", encoded(&filters.to_string()));
        let listed: Vec<Listed> = self
            .call(cx, "listing containers", "GET", &path, None)
            .await?
            .done("list containers")?
            .read("containers")?;
        let names = listed.into_iter().filter_map(|one| one.names?.into_iter().next());
        Ok(names.map(|name| name.trim_start_matches('/').to_owned()).collect())
    }

    /// Makes a container. `Conflict` when the name is taken.
    pub(crate) async fn create_container(&self, cx: &OpCtx, name: &str, config: &Value) -> Result<()> {
        let mut config = config.clone();
        // Podman has log drivers of its own.
        if !self.podman
            && let Some(host) = config.get_mut("HostConfig")
            && let Some(host) = host.as_object_mut()
            && !host.contains_key("LogConfig")
        {
            host.insert("LogConfig".to_owned(), json!({ "Type": "json-file", "Config": KNOWN.log }));
        }
        let path = format!("/containers/create?name={}", encoded(name));
        self.call(cx, &format!("making the container `{name}`"), "POST", &path, Some(&config))
            .await?
            .done(&format!("make the container `{name}`"))
            .map(drop)
    }

    /// Starts it; running already is `Ok`. The reply tells why it does not start.
    pub(crate) async fn start_container(&self, cx: &OpCtx, name: &str) -> Result<Reply> {
        self.call(
            cx,
            &format!("starting the container `{name}`"),
            "POST",
            &format!("/containers/{name}/start"),
            None,
        )
        .await
    }

    /// Lets frozen processes go on.
    pub(crate) async fn unpause_container(&self, cx: &OpCtx, name: &str) -> Result<()> {
        let what = format!("waking the container `{name}`");
        let reply = self.call(cx, &what, "POST", &format!("/containers/{name}/unpause"), None).await?;
        if matches!(reply.status, 404 | 409) { Ok(()) } else { reply.done(&what).map(drop) }
    }

    /// Stops it, by force after `grace`. Stopped, or not there, is `Ok`.
    pub(crate) async fn stop_container(&self, cx: &OpCtx, name: &str, grace: Duration) -> Result<()> {
        let what = format!("stop the container `{name}`");
        let path = format!("/containers/{name}/stop?t={}", grace.as_secs());
        let reply = self.call(cx, &format!("stopping the container `{name}`"), "POST", &path, None).await?;
        if reply.status == 404 { Ok(()) } else { reply.done(&what).map(drop) }
    }

    /// Ends and removes it, with volumes that have no name. Not there is `Ok`.
    pub(crate) async fn remove_container(&self, cx: &OpCtx, name: &str) -> Result<()> {
        let what = format!("removing the container `{name}`");
        let path = format!("/containers/{name}?force=1&v=1");
        loop {
            let reply = self.call(cx, &what, "DELETE", &path, None).await?;
            match reply.status {
                404 => return Ok(()),
                // Somebody else, or a call of a killed predecessor, is about it.
                409 if reply.message().contains("in progress") => {
                    within(cx, &what, async {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        Ok(())
                    })
                    .await?;
                }
                _ => return reply.done(&format!("remove the container `{name}`")).map(drop),
            }
        }
    }

    /// The last lines that it wrote.
    pub(crate) async fn container_log(&self, cx: &OpCtx, name: &str, lines: usize) -> Result<Vec<String>> {
        let path = format!("/containers/{name}/logs?stdout=1&stderr=1&tail={lines}");
        let reply = self.call(cx, "reading a log", "GET", &path, None).await?;
        if reply.status == 404 {
            return Ok(Vec::new());
        }
        let reply = reply.done(&format!("read the log of `{name}`"))?;
        let said = stream::read(&mut &reply.body[..]).await;
        let text = [said.stdout, said.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let all: Vec<String> = text.iter().flat_map(|text| text.lines()).map(str::to_owned).collect();
        Ok(all.into_iter().rev().take(lines).rev().collect())
    }

    /// Starts a container that was made with an open standard input, and gives it its input.
    /// The reply is that of the start.
    pub(crate) async fn start_with_input(
        &self,
        cx: &OpCtx,
        name: &str,
        input: &Secret<String>,
    ) -> Result<Reply> {
        let what = format!("starting the container `{name}`");
        within(cx, &what, async {
            let path = format!("/containers/{name}/attach?stream=1&stdin=1");
            let mut stream = self.hijack(&format!("attach to `{name}`"), &path, None).await?;
            let started = self.start_container(cx, name).await?;
            if started.status < 400 {
                give(&mut stream, input).await.map_err(|error| cut_off(name, &error))?;
            }
            Ok(started)
        })
        .await
    }

    /// Runs a container that was made for one thing and waits for its end.
    pub(crate) async fn run_once(&self, cx: &OpCtx, name: &str, input: &Secret<String>) -> Result<Ended> {
        let what = format!("running the container `{name}`");
        within(cx, &what, async {
            let path = format!("/containers/{name}/attach?stream=1&stdin=1&stdout=1&stderr=1");
            let stream = self.hijack(&format!("attach to `{name}`"), &path, None).await?;
            self.start_container(cx, name).await?.done(&format!("start the container `{name}`"))?;
            let (mut reader, mut writer) = tokio::io::split(stream);
            // It may end without having read everything.
            let (_, said) = tokio::join!(give(&mut writer, input), stream::read(&mut reader));
            let waited: Waited = self
                .call(cx, &what, "POST", &format!("/containers/{name}/wait"), None)
                .await?
                .done(&format!("wait for the container `{name}`"))?
                .read("its end")?;
            Ok(Ended::new(waited.status_code, said))
        })
        .await
    }
}

/// Writes all of it and says that it was all.
pub(super) async fn give(
    to: &mut (impl tokio::io::AsyncWrite + Unpin),
    input: &Secret<String>,
) -> std::io::Result<()> {
    to.write_all(input.expose().as_bytes()).await?;
    to.shutdown().await
}

fn cut_off(name: &str, error: &std::io::Error) -> ProviderError {
    ProviderError::new(
        ErrorKind::Ambiguous,
        format!("the engine closed the connection to `{name}` as it was given its settings: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_those_of_both_engines() {
        for (status, want) in [
            ("created", Phase::Stopped),
            ("configured", Phase::Stopped),
            ("exited", Phase::Stopped),
            ("dead", Phase::Stopped),
            ("running", Phase::Running),
            ("paused", Phase::Paused),
            ("removing", Phase::Changing),
            ("stopping", Phase::Changing),
        ] {
            assert_eq!(phase(status), want, "{status}");
        }
    }
}
