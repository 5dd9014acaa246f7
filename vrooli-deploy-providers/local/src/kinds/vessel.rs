//! What a server in a container consists of in its engine: one container, which may go at
//! any time, and one named volume, which is the data. Both bear our marks.
//!
//! The data is a named volume and no folder of the state: a state folder may be moved while
//! a mount's path may not, an engine may run as another account, in another machine's shape
//! (Docker Desktop) or where the state's file system refuses root; and a folder that belongs
//! to an account inside of a container could not be removed by the user that owns the state.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;
use vrooli_deploy_core::names::{ResourceKey, StackId};
use vrooli_deploy_core::provider::{
    Cancellation, ErrorKind, OpCtx, OpToken, PhysicalId, ProviderError, Result,
};
use vrooli_deploy_core::secrets::Secret;

use super::{Machine, folder_name, numbers, physical_id};
use crate::docker::{self, Container, Ended, Engine};
use crate::failure;
use crate::layout::Layout;

/// What the record of a server keeps of its container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Contained {
    /// The socket of the engine that holds it.
    pub(crate) engine: PathBuf,
    /// The image that it is run from.
    pub(crate) image: String,
    /// What container and volume are called.
    pub(crate) name: String,
}

/// Whose it is: what the marks say.
#[derive(Debug, Clone)]
pub(crate) struct Owned<'a> {
    pub(crate) kind: &'static str,
    pub(crate) stack: &'a StackId,
    pub(crate) key: &'a ResourceKey,
    pub(crate) owner: Uuid,
    pub(crate) token: Option<OpToken>,
}

/// Container and volume of one server, in an engine that answers.
#[derive(Debug)]
pub(crate) struct Vessel {
    pub(crate) engine: Engine,
    pub(crate) name: String,
    marks: BTreeMap<String, String>,
}

const WORKSPACE: &str = "vrooli-deploy.workspace";
const APP: &str = "vrooli-deploy.app";
const ENVIRONMENT: &str = "vrooli-deploy.environment";
const KIND: &str = "vrooli-deploy.kind";
const KEY: &str = "vrooli-deploy.key";
const OWNER: &str = "vrooli-deploy.owner";
const TOKEN: &str = "vrooli-deploy.token";
const IMAGE: &str = "vrooli-deploy.image";
/// Which settings a container was made with: others make another.
const SETTINGS: &str = "vrooli-deploy.settings";
/// The port of this machine that leads to it.
const PORT: &str = "vrooli-deploy.port";

const LISTEN: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// How long a server may take to end before it is ended by force.
const STOP_GRACE: Duration = Duration::from_secs(30);
/// How long all servers of a workspace may take to end together.
const STOP_ALL: Duration = Duration::from_secs(60);
/// How often a container that stands in the way is removed, and how long is waited in between.
const TRIES: u32 = 150;
const PAUSE: Duration = Duration::from_millis(200);

/// What container and volume of a resource are called: as long as the workspace lives, in
/// whatever folder, the same; and nobody else's.
pub(crate) fn name(workspace: Uuid, stack: &StackId, key: &ResourceKey) -> String {
    let hash = Sha256::digest(format!("{workspace}/{stack}/{key}").as_bytes());
    let hash: String = hash.iter().take(5).map(|byte| format!("{byte:02x}")).collect();
    let key: String = folder_name(key).chars().take(64).collect();
    format!("vrooli-deploy-{}-{}-{key}-{hash}", stack.app, stack.environment)
}

/// The marks by which everything of a stack, or of one resource in it, is found.
fn filters(workspace: Uuid, stack: &StackId, key: Option<&ResourceKey>) -> Vec<String> {
    let mut labels = vec![
        format!("{WORKSPACE}={workspace}"),
        format!("{APP}={}", stack.app),
        format!("{ENVIRONMENT}={}", stack.environment),
    ];
    labels.extend(key.map(|key| format!("{KEY}={key}")));
    labels
}

/// A volume with our marks.
#[derive(Debug, Clone)]
pub(crate) struct Marked {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) key: ResourceKey,
    pub(crate) image: Option<String>,
    pub(crate) token: Option<OpToken>,
}

/// The file that says which engines hold something of this workspace. Without it none is
/// asked: who never used one does not wait for one.
fn engines_file(layout: &Layout) -> PathBuf {
    layout.root().join("docker.json")
}

/// The engines that hold, or held, something of this workspace.
pub(crate) fn engines(layout: &Layout) -> Vec<PathBuf> {
    let text = std::fs::read(engines_file(layout)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Notes that an engine is about to hold something.
fn remember(layout: &Layout, socket: &Path) -> Result<()> {
    let mut all = engines(layout);
    if all.iter().any(|known| known == socket) {
        return Ok(());
    }
    all.push(socket.to_path_buf());
    let path = engines_file(layout);
    let text = serde_json::to_vec(&all)
        .map_err(|error| ProviderError::new(ErrorKind::Unexpected, error.to_string()))?;
    crate::files::write_atomic(&path, &text).map_err(failure::at("write", &path))
}

/// Volumes of a stack that bear our marks, in every engine that we know of and that answers.
/// One that does not answer now tells nothing: what is in use has a record besides.
pub(crate) async fn marked(machine: &Machine, cx: &OpCtx, stack: &StackId) -> Result<Vec<Marked>> {
    let mut found: Vec<Marked> = Vec::new();
    let sockets = engines(&machine.layout);
    if sockets.is_empty() {
        return Ok(found);
    }
    let workspace = workspace(&machine.layout)?;
    for socket in sockets {
        let host = format!("unix://{}", socket.display());
        let Ok(engine) = docker::find(cx, Some(&host), None).await? else { continue };
        for volume in engine.volumes(cx, &filters(workspace, stack, None)).await? {
            let label = |name: &str| volume.labels.get(name).cloned();
            let key = label(KEY).and_then(|key| ResourceKey::new(key).ok());
            let (Some(kind), Some(key)) = (label(KIND), key) else { continue };
            if found.iter().any(|known| known.name == volume.name) {
                continue;
            }
            found.push(Marked {
                kind,
                key,
                image: label(IMAGE),
                token: label(TOKEN).and_then(|token| Uuid::parse_str(&token).ok()).map(OpToken),
                name: volume.name,
            });
        }
    }
    Ok(found)
}

fn workspace(layout: &Layout) -> Result<Uuid> {
    layout.workspace_id().map_err(failure::at("read the id of", layout.root()))
}

/// The name for a resource of this machine's workspace.
pub(crate) fn name_of(machine: &Machine, stack: &StackId, key: &ResourceKey) -> Result<String> {
    Ok(name(workspace(&machine.layout)?, stack, key))
}

impl Vessel {
    /// The vessel of a server that a record tells of.
    ///
    /// # Errors
    /// `Unavailable` when its engine does not answer.
    pub(crate) async fn open(
        machine: &Machine,
        cx: &OpCtx,
        whose: &Owned<'_>,
        contained: &Contained,
    ) -> Result<Self> {
        let host = machine.servers.engine.as_deref();
        let engine = docker::find(cx, host, Some(&contained.engine))
            .await?
            .map_err(|why| why.unavailable(&format!("`{}` of {}", whose.key, whose.stack)))?;
        Self::new(machine, engine, whose, contained)
    }

    /// The same in an engine that was just found.
    pub(crate) fn new(
        machine: &Machine,
        engine: Engine,
        whose: &Owned<'_>,
        contained: &Contained,
    ) -> Result<Self> {
        let mut marks = BTreeMap::from([
            (WORKSPACE.to_owned(), workspace(&machine.layout)?.to_string()),
            (APP.to_owned(), whose.stack.app.to_string()),
            (ENVIRONMENT.to_owned(), whose.stack.environment.to_string()),
            (KIND.to_owned(), whose.kind.to_owned()),
            (KEY.to_owned(), whose.key.to_string()),
            (OWNER.to_owned(), whose.owner.to_string()),
            (IMAGE.to_owned(), contained.image.clone()),
        ]);
        marks.extend(whose.token.map(|token| (TOKEN.to_owned(), token.0.to_string())));
        Ok(Self { engine, name: contained.name.clone(), marks })
    }

    /// Are these the marks of the same resource?
    fn is_ours(&self, labels: &BTreeMap<String, String>) -> bool {
        [WORKSPACE, APP, ENVIRONMENT, KEY].iter().all(|mark| labels.get(*mark) == self.marks.get(*mark))
    }

    fn stranger(&self, what: &str) -> ProviderError {
        ProviderError::new(
            ErrorKind::Conflict,
            format!("there is a {what} `{}` already, and it does not bear our marks", self.name),
        )
        .with_help(format!(
            "look at it (`{} {what} inspect {}`) and remove or rename it",
            self.engine.program(),
            self.name
        ))
    }

    /// The container, as it is.
    pub(crate) async fn container(&self, cx: &OpCtx) -> Result<Option<Container>> {
        match self.engine.container(cx, &self.name).await? {
            Some(seen) if seen.name == self.name && !self.is_ours(&seen.labels) => {
                Err(self.stranger("container"))
            }
            other => Ok(other),
        }
    }

    /// Is the data there?
    pub(crate) async fn has_volume(&self, cx: &OpCtx) -> Result<bool> {
        match self.engine.volume(cx, &self.name).await? {
            Some(volume) if !self.is_ours(&volume.labels) => Err(self.stranger("volume")),
            other => Ok(other.is_some()),
        }
    }

    /// Makes the volume; one that is there is kept with what is in it.
    pub(crate) async fn ensure_volume(&self, machine: &Machine, cx: &OpCtx) -> Result<()> {
        if self.has_volume(cx).await? {
            return Ok(());
        }
        // First: what is made must be found again.
        remember(&machine.layout, &self.engine.socket)?;
        self.engine.create_volume(cx, &self.name, &self.marks).await
    }

    /// The data volume is gone behind our back.
    pub(crate) fn volume_gone(&self, what: &str) -> ProviderError {
        ProviderError::new(
            ErrorKind::NotFound,
            format!(
                "the data of {what} is gone: the engine at `{}` has no volume `{}`",
                self.engine.socket.display(),
                self.name
            ),
        )
        .with_help(
            "if it is in another engine, name that with DOCKER_HOST; if it was deleted, `destroy` the app with `--data` and deploy it anew",
        )
    }

    /// The mount of the data at a folder inside.
    pub(crate) fn mount(&self, inside: &str) -> Value {
        json!({ "Type": "volume", "Source": self.name, "Target": inside, "VolumeOptions": { "Labels": self.marks } })
    }

    /// Published on loopback and nowhere else.
    pub(crate) fn publish(inside: u16, port: u16) -> Value {
        json!({ format!("{inside}/tcp"): [{ "HostIp": LISTEN.to_string(), "HostPort": port.to_string() }] })
    }

    /// The mark of settings.
    fn settings(config: &Value) -> String {
        let hash = Sha256::digest(config.to_string().as_bytes());
        hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Was this container made with these settings?
    pub(crate) fn fits(container: &Container, config: &Value) -> bool {
        container.labels.get(SETTINGS) == Some(&Self::settings(config))
    }

    /// Does this port of the machine lead to that container?
    pub(crate) fn serves(container: &Container, port: u16) -> bool {
        container.labels.get(PORT).is_some_and(|label| *label == port.to_string())
    }

    /// Makes the container anew; whatever of ours has its name goes. `port` is that which
    /// leads to it, if one does.
    pub(crate) async fn put(&self, cx: &OpCtx, config: &Value, port: Option<u16>) -> Result<()> {
        let mut marks = self.marks.clone();
        marks.insert(SETTINGS.to_owned(), Self::settings(config));
        marks.extend(port.map(|port| (PORT.to_owned(), port.to_string())));
        let mut config = config.clone();
        if let Some(fields) = config.as_object_mut() {
            fields.insert("Labels".to_owned(), json!(marks));
        }
        for _ in 0..TRIES {
            self.discard(cx).await?;
            match self.engine.create_container(cx, &self.name, &config).await {
                // A create of a killed predecessor is under way: it has the name already, and
                // the container cannot be seen before it is whole.
                Err(error) if error.kind() == ErrorKind::Conflict => tokio::time::sleep(PAUSE).await,
                other => return other,
            }
        }
        Err(ProviderError::new(
            ErrorKind::Conflict,
            format!("the name `{}` is taken again and again by another container", self.name),
        ))
    }

    /// Starts it, with something on its standard input where it was made so.
    pub(crate) async fn start(&self, cx: &OpCtx, port: u16, input: Option<&Secret<String>>) -> Result<()> {
        let reply = match input {
            Some(input) => self.engine.start_with_input(cx, &self.name, input).await?,
            None => self.engine.start_container(cx, &self.name).await?,
        };
        if reply.status < 400 {
            return Ok(());
        }
        let said = reply.message();
        let taken = ["already allocated", "address already in use", "not available", "already in use"];
        let error = if taken.iter().any(|words| said.contains(words)) {
            numbers::taken(LISTEN, port).with_context("engine", said)
        } else {
            reply.refused(&format!("start the container `{}`", self.name))
        };
        // It cannot be started as it is; the next try makes it anew.
        self.discard(cx).await?;
        Err(error)
    }

    /// Runs something in a container of its own, beside nothing else, and removes it.
    pub(crate) async fn once(&self, cx: &OpCtx, config: &Value, input: &Secret<String>) -> Result<Ended> {
        self.put(cx, config, None).await?;
        let ended = self.engine.run_once(cx, &self.name, input).await?;
        self.discard(cx).await?;
        Ok(ended)
    }

    /// Stops it; the container stays, so that its volume counts as used.
    pub(crate) async fn halt(&self, cx: &OpCtx) -> Result<()> {
        if self.container(cx).await?.is_some() {
            self.engine.stop_container(cx, &self.name, STOP_GRACE).await?;
        }
        Ok(())
    }

    /// Removes the container; the data stays.
    pub(crate) async fn discard(&self, cx: &OpCtx) -> Result<()> {
        if let Some(seen) = self.container(cx).await? {
            // Only servers have a port, and only they have something to write before they end.
            if seen.phase != docker::Phase::Stopped && seen.labels.contains_key(PORT) {
                self.engine.stop_container(cx, &seen.name, STOP_GRACE).await?;
            }
            self.engine.remove_container(cx, &seen.name).await?;
        }
        Ok(())
    }

    /// Removes container and data, and everything else that bears the marks of this resource.
    pub(crate) async fn remove(&self, machine: &Machine, cx: &OpCtx, whose: &Owned<'_>) -> Result<()> {
        let labels = filters(workspace(&machine.layout)?, whose.stack, Some(whose.key));
        self.discard(cx).await?;
        for container in self.engine.containers(cx, &labels).await? {
            self.engine.remove_container(cx, &container).await?;
        }
        for volume in self.engine.volumes(cx, &labels).await? {
            remove_volume(&self.engine, cx, &volume.name).await?;
        }
        Ok(())
    }

    /// The last lines of the container's log.
    pub(crate) async fn log(&self, cx: &OpCtx) -> Vec<String> {
        self.engine.container_log(cx, &self.name, 20).await.unwrap_or_default()
    }

    /// It did not start: its last words.
    pub(crate) async fn did_not_start(&self, cx: &OpCtx, what: &str) -> ProviderError {
        let log = self.log(cx).await;
        let full = log.iter().any(|line| line.contains("No space left"));
        let kind = if full { ErrorKind::Quota } else { ErrorKind::Unavailable };
        ProviderError::new(kind, format!("{what} did not start"))
            .with_context("log", log.join("\n"))
            .with_help(format!("its log: `{} logs {}`", self.engine.program(), self.name))
    }
}

/// Stands between the id of a resource and the volume that is its twin.
const TWIN: char = '@';

/// What a volume that no record tells of is called: the server's own as the server is,
/// another one by its name.
pub(crate) fn marked_id(machine: &Machine, stack: &StackId, marked: &Marked) -> Result<PhysicalId> {
    let id = physical_id(stack, &marked.key);
    if marked.name == name_of(machine, stack, &marked.key)? {
        return Ok(id);
    }
    Ok(PhysicalId(format!("{id}{TWIN}{}", marked.name)))
}

/// The volume that the id of a twin names.
pub(crate) fn twin_in(id: &PhysicalId) -> Option<&str> {
    id.0.split_once(TWIN).map(|(_, volume)| volume)
}

/// Removes one volume that bears the marks of a resource and is not the server's own.
pub(crate) async fn remove_twin(
    machine: &Machine,
    cx: &OpCtx,
    key: &ResourceKey,
    volume: &str,
) -> Result<()> {
    let labels = filters(workspace(&machine.layout)?, &cx.stack, Some(key));
    for socket in engines(&machine.layout) {
        let host = format!("unix://{}", socket.display());
        let found = docker::find(cx, Some(&host), None).await?;
        let engine = found.map_err(|why| why.unavailable(&format!("`{key}` of {}", cx.stack)))?;
        if engine.volumes(cx, &labels).await?.iter().any(|marked| marked.name == volume) {
            remove_volume(&engine, cx, volume).await?;
        }
    }
    Ok(())
}

/// Is there data with the marks of a resource?
pub(crate) async fn has_marked(
    machine: &Machine,
    cx: &OpCtx,
    kind: &'static str,
    key: &ResourceKey,
) -> Result<bool> {
    Ok(marked(machine, cx, &cx.stack).await?.iter().any(|one| one.kind == kind && one.key == *key))
}

/// Removes what bears the marks of a resource that no record tells of.
pub(crate) async fn remove_marked(
    machine: &Machine,
    cx: &OpCtx,
    kind: &'static str,
    key: &ResourceKey,
) -> Result<()> {
    if !has_marked(machine, cx, kind, key).await? {
        return Ok(());
    }
    let whose = Owned { kind, stack: &cx.stack, key, owner: cx.owner, token: None };
    for engine in engines(&machine.layout) {
        let name = name_of(machine, &cx.stack, key)?;
        let contained = Contained { engine, image: String::new(), name };
        let host = format!("unix://{}", contained.engine.display());
        if let Ok(engine) = docker::find(cx, Some(&host), None).await? {
            Vessel::new(machine, engine, &whose, &contained)?.remove(machine, cx, &whose).await?;
        }
    }
    Ok(())
}

/// Stops every server of some stacks, side by side, without a look at their records: the state
/// folder was deleted, or the program ends that all of it ends with. What they hold stays. An
/// engine that does not answer is passed over. Gives what went wrong, a line each.
pub(crate) async fn stop_all(workspace: Uuid, stacks: Vec<StackId>, sockets: &[PathBuf]) -> Vec<String> {
    if sockets.is_empty() {
        return Vec::new();
    }
    let until = Instant::now() + STOP_ALL;
    let stopped = stacks.into_iter().map(|stack| async move {
        let cx = OpCtx::new(stack, workspace, u64::MAX, until, Cancellation::new());
        stop_of_stack(&cx, workspace, sockets).await
    });
    let stopped = futures_util::future::join_all(stopped).await;
    stopped.into_iter().filter_map(|one| one.err().map(|error| error.message().to_owned())).collect()
}

async fn stop_of_stack(cx: &OpCtx, workspace: Uuid, sockets: &[PathBuf]) -> Result<()> {
    for socket in sockets {
        let host = format!("unix://{}", socket.display());
        let Ok(engine) = docker::find(cx, Some(&host), None).await? else { continue };
        for container in engine.containers(cx, &filters(workspace, &cx.stack, None)).await? {
            engine.stop_container(cx, &container, STOP_GRACE).await?;
        }
    }
    Ok(())
}

/// Removes one volume; who else uses it is named.
async fn remove_volume(engine: &Engine, cx: &OpCtx, volume: &str) -> Result<()> {
    match engine.remove_volume(cx, volume).await {
        Err(error) if error.kind() == ErrorKind::Conflict => {
            let users = engine.users_of(cx, volume).await?.join("`, `");
            Err(error.with_help(format!(
                "the container `{users}` uses it and is not ours: remove it (`{} rm -f`) and run the same command again",
                engine.program()
            )))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(app: &str, environment: &str, key: &str) -> String {
        let stack = StackId { app: app.parse().unwrap(), environment: environment.parse().unwrap() };
        name(Uuid::from_u128(1), &stack, &ResourceKey::new(key).unwrap())
    }

    #[test]
    fn names_are_the_same_for_the_same_and_differ_for_others() {
        let one = of("picker-wheel", "default", "database/postgres");
        assert!(one.starts_with("vrooli-deploy-picker-wheel-default-postgres-"), "{one}");
        assert_eq!(one, of("picker-wheel", "default", "database/postgres"));
        let others = [
            of("picker", "wheel-default", "database/postgres"),
            of("picker-wheel", "default", "cache/postgres"),
            of("picker-wheel", "staging", "database/postgres"),
        ];
        assert!(others.iter().all(|other| *other != one), "{others:?}");
        let long = of(&"a".repeat(63), &"b".repeat(32), &format!("database/{}", "c".repeat(200)));
        assert!(long.len() < 200, "{long}");
    }

    #[test]
    fn only_loopback_is_published() {
        let ports = Vessel::publish(5432, 13007);
        assert_eq!(ports, json!({ "5432/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "13007" }] }));
    }
}
