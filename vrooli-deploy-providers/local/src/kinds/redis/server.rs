//! One private server: made, started, stopped and removed, each resumable from wherever a
//! kill left it. Its settings, password included, reach it on standard input: no file
//! holds them. How it is run is decided when it is made, and kept in its record.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vrooli_deploy_core::names::{ResourceKey, StackId};
use vrooli_deploy_core::provider::{ErrorKind, OpCtx, ProviderError, Result};
use vrooli_deploy_core::secrets::Secret;

use super::installed::program;
use super::{KIND, RedisObserved};
use crate::claims::Claims;
use crate::docker;
use crate::kinds::marker::{self, Marker, Progress};
use crate::kinds::numbers::{Chosen, PortRange};
use crate::kinds::vessel::{self, Contained};
use crate::kinds::{Machine, Way, folder_name, numbers, password};
use crate::servers::{self, is_final, stays};
use crate::{failure, files, programs};

#[derive(Debug, Default, Deserialize)]
pub(super) struct Known {
    pub(super) programs: Vec<String>,
    pub(super) folders: Vec<String>,
    ports: PortRange,
}

pub(super) static KNOWN: LazyLock<Known> =
    LazyLock::new(|| crate::knowledge(include_str!("../../../data/redis.json"), "redis.json"));

/// What the record of a server says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Made {
    pub(super) port: u16,
    /// Where it is run in a container; else it is run from an installed program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) contained: Option<Contained>,
}

impl Made {
    fn way(&self) -> Way {
        if self.contained.is_some() { Way::Docker } else { Way::Programs }
    }
}

pub(super) type Record = Marker<Made>;

const SORT: &str = "redis";
pub(super) const LISTEN: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const POLL: Duration = Duration::from_millis(25);
/// What to do without a server of our own.
const ELSEWHERE: &str = "or use a server that runs elsewhere: set `REDIS_URL` under `secrets` in the manifest; or do without: `--drop redis`";

/// A server whose lock we hold.
#[derive(Debug)]
pub(super) struct Server<'a> {
    pub(super) machine: &'a Machine,
    pub(super) stack: StackId,
    pub(super) key: ResourceKey,
    pub(super) folder: PathBuf,
    pub(super) lock: File,
    /// The state that asks.
    owner: Uuid,
}

/// What the record says, as it is observed.
pub(super) fn observed(record: &Record) -> RedisObserved {
    RedisObserved {
        port: record.made.port,
        finished: record.progress == Progress::Ready,
        way: record.made.way(),
        volume: record.made.contained.as_ref().map(|contained| contained.name.clone()),
    }
}

/// The URL with the password in it.
pub(super) fn url(have: &RedisObserved, password: &Secret<String>) -> Secret<String> {
    Secret::new(format!("redis://:{}@127.0.0.1:{}/0", password.expose(), have.port))
}

/// The folder of a stack's servers.
pub(super) fn parent(machine: &Machine, stack: &StackId) -> PathBuf {
    machine.layout.servers(stack, SORT)
}

/// Sees to it that a server that was made is running: before a start, and after a reboot.
///
/// # Errors
/// `NotFound` when it was never made; what keeps it from starting, with its last log lines.
pub async fn ensure_running(machine: &Machine, cx: &OpCtx, key: &ResourceKey) -> Result<RedisObserved> {
    let server = Server::open(machine, cx, key).await?;
    match server.record()? {
        Some(record) if record.progress == Progress::Ready => {
            stays(cx, &machine.servers, record.made.way(), &server.name());
            server.run(cx, &record).await?;
            Ok(observed(&record))
        }
        _ => Err(ProviderError::new(ErrorKind::NotFound, format!("{} was never made", server.name()))
            .with_help("deploy the app: that makes it")),
    }
}

/// Stops a server; its data stays. Not running, or never made, is `Ok`.
///
/// # Errors
/// When it does not stop.
pub async fn stop(machine: &Machine, cx: &OpCtx, key: &ResourceKey) -> Result<()> {
    let server = Server::open(machine, cx, key).await?;
    match server.record()? {
        Some(record) => server.halt(cx, &record).await,
        None => Ok(()),
    }
}

/// Stops all servers of a stack.
///
/// # Errors
/// When one does not stop.
pub(crate) async fn stop_all(machine: &Machine, cx: &OpCtx) -> Result<()> {
    for folder in marker::folders(&parent(machine, &cx.stack))? {
        if let Some(record) = Record::read(&folder)?
            && record.is_owned(&machine.layout, cx.owner)
        {
            stop(machine, cx, &record.key).await?;
        }
    }
    Ok(())
}

impl<'a> Server<'a> {
    pub(super) async fn open(machine: &'a Machine, cx: &OpCtx, key: &ResourceKey) -> Result<Self> {
        let path = machine.layout.locks(&cx.stack).join(format!("{SORT}-{}", folder_name(key)));
        let lock = files::lock(cx, &path, &format!("the Redis server of {}", cx.stack)).await?;
        let folder = parent(machine, &cx.stack).join(folder_name(key));
        Ok(Self { machine, stack: cx.stack.clone(), key: key.clone(), folder, lock, owner: cx.owner })
    }

    pub(super) fn name(&self) -> String {
        format!("`{}` of {}", self.key, self.stack)
    }

    /// Its record, unless it is another state's: then it is not touched.
    fn record(&self) -> Result<Option<Record>> {
        match Record::read(&self.folder)? {
            Some(record) => record.owned(&self.machine.layout, self.owner).map(Some),
            None => Ok(None),
        }
    }

    pub(super) fn password(&self) -> Result<Secret<String>> {
        password::kept(self.machine, &self.stack, &self.key, "password")
    }

    /// Makes it, or goes on where a kill left it.
    pub(super) async fn make(&self, cx: &OpCtx) -> Result<Record> {
        if self.record()?.is_some_and(|record| record.progress == Progress::Deleting) {
            self.remove(cx).await?;
        }
        if let Some(record) = self.record()? {
            stays(cx, &self.machine.servers, record.made.way(), &self.name());
            return self.make_from(cx, record).await;
        }
        let had_data = vessel::has_marked(self.machine, cx, KIND, &self.key).await?;
        let record = self.begin(cx).await?;
        match self.make_from(cx, record).await {
            // One that was begun here and cannot be made leaves nothing.
            Err(error) if !had_data && is_final(&error) => {
                self.remove(cx).await?;
                Err(error)
            }
            other => other,
        }
    }

    async fn make_from(&self, cx: &OpCtx, mut record: Record) -> Result<Record> {
        self.run_first(cx, &mut record).await?;
        if record.progress != Progress::Ready {
            record.progress = Progress::Ready;
            record.write(&self.folder)?;
        }
        Ok(record)
    }

    async fn begin(&self, cx: &OpCtx) -> Result<Record> {
        let contained = self.choose(cx).await?;
        files::make_private(&self.folder).map_err(failure::at("make", &self.folder))?;
        files::remove_temporary(&self.folder).map_err(failure::at("clean", &self.folder))?;
        let _numbers = numbers::lock(cx, &self.machine.layout).await?;
        let Chosen { port, claim: _until_written } = self.choose_port()?;
        let record = Record::new(cx, &self.key, Made { port, contained });
        record.write(&self.folder)?;
        Ok(record)
    }

    fn choose_port(&self) -> Result<Chosen> {
        let record = Record::path(&self.folder);
        numbers::choose(&self.machine.layout, &self.stack, &self.key, &record, LISTEN, KNOWN.ports)
    }

    /// How a new server is run: from an installed program, else in a container, where an
    /// engine answers; or as the user says. Nothing is made but, where it is not there, the image.
    async fn choose(&self, cx: &OpCtx) -> Result<Option<Contained>> {
        let (name, options) = (self.name(), &self.machine.servers);
        let engine = match (options.way, program(&name)) {
            (None | Some(Way::Programs), Ok(_)) => return Ok(None),
            (Some(Way::Programs), Err(error)) => {
                let help = format!("{}; {ELSEWHERE}", error.help().unwrap_or_default());
                return Err(error.with_help(help));
            }
            (Some(Way::Docker), _) => {
                let found = options.find_engine(cx).await?;
                found.map_err(|why| servers::no_engine(&name, &why, ELSEWHERE))?
            }
            (None, Err(error)) => {
                let found = options.find_engine(cx).await?;
                let engine = found.map_err(|why| servers::no_way(&error, &why, ELSEWHERE))?;
                cx.output.line(&format!("{}: Docker is used instead", error.message()));
                engine
            }
        };
        let image = options.redis_image.clone().unwrap_or_else(|| docker::KNOWN.redis.image.clone());
        engine
            .ensure_image(cx, &image)
            .await
            .map_err(|error| servers::no_image(error, &programs::install("redis-server"), ELSEWHERE))?;
        cx.output.line(&format!("{name} runs in a container of `{image}`"));
        let name = vessel::name_of(self.machine, &self.stack, &self.key)?;
        Ok(Some(Contained { engine: engine.socket, image, name }))
    }

    /// Starts it; while nobody was told of its port yet, one that somebody took meanwhile
    /// is given up for another.
    async fn run_first(&self, cx: &OpCtx, record: &mut Record) -> Result<()> {
        const TRIES: u32 = 5;
        for _ in 0..TRIES {
            match self.run(cx, record).await {
                Err(error) if error.kind() == ErrorKind::Conflict && record.progress != Progress::Ready => {
                    let _numbers = numbers::lock(cx, &self.machine.layout).await?;
                    let Chosen { port, claim: _until_written } = self.choose_port()?;
                    record.made.port = port;
                    record.write(&self.folder)?;
                }
                other => return other,
            }
        }
        self.run(cx, record).await
    }

    /// Starts it unless it runs, and sees to it that it ends with us where all does.
    async fn run(&self, cx: &OpCtx, record: &Record) -> Result<()> {
        // What a program left that ended is about to be ended, and no server to rely on.
        self.machine.supervision.admit(&self.machine.layout).await?;
        match &record.made.contained {
            Some(contained) => self.run_contained(cx, record, contained).await,
            None => self.run_installed(cx, record).await,
        }
    }

    async fn halt(&self, cx: &OpCtx, record: &Record) -> Result<()> {
        match &record.made.contained {
            Some(contained) => self.vessel(cx, record, contained).await?.halt(cx).await,
            None => self.halt_installed(cx).await,
        }
    }

    /// Stops it and removes everything, the record last.
    pub(super) async fn remove(&self, cx: &OpCtx) -> Result<()> {
        let Some(mut record) = self.record()? else {
            self.remove_marked(cx).await?;
            files::remove_temporary(&self.folder).map_err(failure::at("clean", &self.folder))?;
            let _ = fs::remove_dir(&self.folder);
            return Ok(());
        };
        record.progress = Progress::Deleting;
        record.write(&self.folder)?;
        match &record.made.contained {
            Some(contained) => self.remove_contained(cx, &record, contained).await?,
            None => self.halt_installed(cx).await?,
        }
        for entry in fs::read_dir(&self.folder).map_err(failure::at("read", &self.folder))? {
            let entry = entry.map_err(failure::at("read", &self.folder))?;
            if entry.file_name() != "resource.json" {
                files::remove_tree(&entry.path()).map_err(failure::at("remove", &self.folder))?;
            }
        }
        files::remove_tree(&self.folder).map_err(failure::at("remove", &self.folder))?;
        Claims::of_machine().release(record.made.port, &Record::path(&self.folder));
        let _ = fs::remove_dir(parent(self.machine, &self.stack));
        Ok(())
    }
}

pub(super) async fn wait(cx: &OpCtx, what: &str) -> Result<()> {
    if cx.cancellation.is_cancelled() {
        return Err(failure::cancelled(what));
    }
    if Instant::now() >= cx.deadline {
        return Err(ProviderError::new(ErrorKind::Timeout, format!("{what} took too long to start or stop")));
    }
    tokio::time::sleep(POLL).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_file_can_be_read() {
        crate::check_knowledge::<Known>(include_str!("../../../data/redis.json"));
    }
}
