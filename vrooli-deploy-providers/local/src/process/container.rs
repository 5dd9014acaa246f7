//! A unit in a container: a process of ours, the keeper, stands for it under the shim. It makes the container,
//! hands on what the app says, and ends as the app does.
//!
//! shim ─stdin→ keeper ─engine's socket→ container, in which our own program becomes the app by `exec`: so no
//! variable is ever in the container's settings, which the engine writes down. The app's processes bear the
//! unit's mark as all do, and are ended by the machine's process table, with an engine that answers or not.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;
use vrooli_deploy_core::names::{ReleaseNumber, StackId, UnitId};
use vrooli_deploy_core::provider::{Cancellation, ErrorKind, OpCtx, ProviderError, Result};
use vrooli_deploy_core::secrets::Secret;

use super::launch::{self, Launch, LaunchFailure};
use crate::child;
use crate::docker::{self, Engine, Kept};

/// Where our own program is in a container.
const OURS: &str = "/.vrooli-deploy";
/// What the first line of a container is: a zero byte, then why the app was not run, if it was not.
const FIRST: u8 = 0;
/// How long an engine may take to start a container: less than a supervisor waits for a launch.
const STARTING: Duration = Duration::from_secs(18);
/// How long an engine may take to say how a container ended, and to remove one.
const ENDING: Duration = Duration::from_secs(10);
/// How much of what a container said that did not run its app is told.
const TOLD: usize = 600;

/// What a container is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Container {
    pub(crate) stack: StackId,
    /// The engine, as `DOCKER_HOST` names one. None: the first of the usual sockets that answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) engine: Option<String>,
    /// What it is called: the same at each start of the unit.
    pub(crate) name: String,
    /// The id of its image.
    pub(crate) image: String,
    /// Folders of the machine that it has, and where.
    pub(crate) folders: Vec<(PathBuf, PathBuf)>,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) labels: BTreeMap<String, String>,
}

/// What an engine knows a stack by: in whatever folder the workspace is the same, and nobody else's.
pub(crate) fn stack_name(workspace: Uuid, stack: &StackId) -> String {
    let hash = Sha256::digest(format!("{workspace}/{stack}").as_bytes());
    let hash: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{hash}", stack.app, stack.environment)
}

/// What the container of a unit is called.
pub(crate) fn name(workspace: Uuid, stack: &StackId, release: ReleaseNumber, unit: &UnitId) -> String {
    format!("vrooli-deploy-{}-{release}-{unit}", stack_name(workspace, stack))
}

impl Container {
    fn context(&self, patience: Duration) -> OpCtx {
        let deadline = Instant::now() + patience;
        OpCtx::new(self.stack.clone(), Uuid::nil(), 0, deadline, Cancellation::new())
    }

    /// The engine that it runs in.
    pub(crate) async fn engine(&self, cx: &OpCtx) -> Result<Engine> {
        let found = docker::find(cx, self.engine.as_deref(), None).await?;
        found.map_err(|why| why.unavailable(&format!("`{}`", self.name)))
    }

    /// Sees to it that there is none of that name, whatever its keeper came to.
    pub(super) async fn remove(&self) -> Result<()> {
        let cx = self.context(ENDING);
        self.engine(&cx).await?.remove_container(&cx, &self.name).await
    }

    fn settings(&self, own: &Own) -> serde_json::Value {
        let mut binds: Vec<String> =
            own.files.iter().map(|(name, file)| format!("{}:{OURS}/{name}:ro", file.display())).collect();
        let at = |(here, there): &(PathBuf, PathBuf)| format!("{}:{}", here.display(), there.display());
        binds.extend(self.folders.iter().map(at));
        json!({
            "Image": self.image,
            "User": format!("{}:{}", self.uid, self.gid),
            "WorkingDir": "/",
            "Entrypoint": own.command,
            "Cmd": [child::MARKER, child::CONTAINED],
            "OpenStdin": true, "StdinOnce": true,
            "AttachStdin": true, "AttachStdout": true, "AttachStderr": true, "Tty": false,
            "Labels": self.labels,
            // Units are probed as those of programs are.
            "Healthcheck": { "Test": ["NONE"] },
            "HostConfig": {
                "NetworkMode": "host",
                "AutoRemove": true,
                // The first process of a container takes no signal that it does not ask for.
                "Init": true,
                "Binds": binds,
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges"],
                // What it says is in the unit's log.
                "LogConfig": { "Type": "none" },
            },
        })
    }
}

/// Our own program and what it is loaded with, as a container gets them: so it runs in an image with no C library,
/// or another one.
#[derive(Debug)]
struct Own {
    /// Files of the machine by their names in the container.
    files: BTreeMap<String, PathBuf>,
    /// How it is run there.
    command: Vec<String>,
}

impl Own {
    /// `folder`: where a copy is made of a program whose file was replaced meanwhile.
    fn find(folder: &Path) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        let running = std::fs::metadata("/proc/self/exe")?;
        let mut program = std::fs::read_link("/proc/self/exe")?;
        let is_there = std::fs::metadata(&program)
            .is_ok_and(|seen| (seen.dev(), seen.ino()) == (running.dev(), running.ino()));
        if !is_there {
            program = folder.join("program");
            super::files::remove_file(&program)?;
            std::fs::copy("/proc/self/exe", &program)?;
        }
        let libraries = libraries(&std::fs::read_to_string("/proc/self/maps")?);
        let at = |name: &str| format!("{OURS}/{name}");
        let loader = libraries.iter().find_map(|path| file_name(path).filter(|name| name.starts_with("ld-")));
        let command = match &loader {
            None => vec![at("program")],
            Some(loader) => vec![at(loader), "--library-path".into(), OURS.into(), at("program")],
        };
        files.insert("program".to_owned(), program);
        files.extend(libraries.iter().filter_map(|path| Some((file_name(path)?, path.clone()))));
        Ok(Self { files, command })
    }
}

fn file_name(path: &Path) -> Option<String> {
    path.file_name().and_then(|name| name.to_str()).map(str::to_owned)
}

/// The libraries that a process has in its memory, with what loaded them; none of one that brings its own.
fn libraries(maps: &str) -> BTreeSet<PathBuf> {
    let files = maps.lines().filter_map(|line| line.splitn(6, ' ').nth(5));
    let files = files.map(str::trim_start).filter(|file| file.starts_with('/'));
    files.map(PathBuf::from).filter(|file| file_name(file).is_some_and(|name| name.contains(".so"))).collect()
}

/// The keeper: reads a launch from standard input. When the app runs standard input is closed without a word, else
/// it says why and ends.
pub(crate) fn keep() -> u8 {
    let Ok(answer) = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from) else { return 70 };
    let failed = |mut answer: UnixStream, failure: &LaunchFailure| {
        let _ = serde_json::to_writer(&mut answer, failure);
        let _ = answer.shutdown(Shutdown::Write);
        71
    };
    let launch = match Launch::read_from(&answer).and_then(|launch| {
        launch::die_with(launch.target.parent)?;
        Ok(launch)
    }) {
        Ok(launch) => launch,
        Err(error) => return failed(answer, &error.into()),
    };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return 70 };
    runtime.block_on(async {
        // The app is asked to end, and the keeper ends with it.
        let _asked =
            [signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup())];
        let Some(container) = launch.target.container.clone() else { return 70 };
        let kept = match start(&container, launch).await {
            Ok(kept) => kept,
            Err(failure) => {
                // Nothing of it is to be found by the next start, which would remove it as well.
                let _ = container.remove().await;
                return failed(answer, &failure);
            }
        };
        let _ = answer.shutdown(Shutdown::Both);
        drop(answer);
        follow(&container, kept).await
    })
}

/// Makes the container and waits until its app runs.
async fn start(container: &Container, mut launch: Launch) -> std::result::Result<Kept, LaunchFailure> {
    let cx = container.context(STARTING);
    let own = Own::find(&launch.target.unit)?;
    launch.target.container = None;
    let mut input = Vec::new();
    launch.write_to(&mut input)?;
    let input = String::from_utf8(input).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    let input = Secret::new(input);
    let started = async {
        let engine = container.engine(&cx).await?;
        engine.remove_container(&cx, &container.name).await?;
        engine.create_container(&cx, &container.name, &container.settings(&own)).await.map_err(|error| {
            match error.kind() {
                ErrorKind::NotFound => ProviderError::new(
                    ErrorKind::Missing,
                    format!("the image of `{}` is not here: {}", container.name, error.message()),
                )
                .with_help("`deploy` brings it again with a new release"),
                _ => error,
            }
        })?;
        engine.keep_container(&cx, &container.name, &input).await
    };
    let mut kept = started.await.map_err(|error| LaunchFailure::new(error.kind(), error.message()))?;
    // What it says before its app runs is ours, or a loader's that cannot load it.
    let (mut first, mut said) = (Vec::new(), Vec::new());
    let mut take = |number: u8, bytes: &[u8]| {
        if number != 1 {
            said.extend_from_slice(bytes);
            return true;
        }
        first.extend_from_slice(bytes);
        !first.contains(&b'\n')
    };
    let over = tokio::time::timeout(STARTING, kept.listen(&mut take)).await;
    let line = first.iter().position(|byte| *byte == b'\n').map(|end| first.split_at(end));
    match (over, line) {
        (Ok(_), Some(([FIRST], rest))) => {
            write_out(rest.get(1..).unwrap_or_default());
            write_out(&said);
            Ok(kept)
        }
        (Ok(_), Some(([FIRST, failure @ ..], _))) => Err(serde_json::from_slice(failure)
            .unwrap_or_else(|_| LaunchFailure::new(ErrorKind::App, "its program was not run"))),
        (over, _) => {
            said.extend_from_slice(&first);
            let said = String::from_utf8_lossy(&said);
            let said: String = said.trim().chars().take(TOLD).collect();
            let how = if over.is_err() {
                "its program does not run yet"
            } else {
                "it ended before its program ran"
            };
            Err(LaunchFailure::new(
                ErrorKind::App,
                format!("the container `{}`: {how}: {said}", container.name),
            ))
        }
    }
}

/// Hands on what the app says, to its end.
async fn follow(container: &Container, mut kept: Kept) -> u8 {
    kept.listen(&mut |_, bytes: &[u8]| {
        write_out(bytes);
        true
    })
    .await;
    match tokio::time::timeout(ENDING, kept.ended()).await {
        Ok(Some(status)) => u8::try_from(status).unwrap_or(1),
        // The engine went away; what it left does not go on without us.
        _ => {
            let _ = container.remove().await;
            write_out(b"vrooli-deploy: the engine does not say how the container ended\n");
            75
        }
    }
}

fn write_out(bytes: &[u8]) {
    // To the unit's log. A disk that is full takes no more of it.
    let mut out = io::stdout();
    let _ = out.write_all(bytes).and_then(|()| out.flush());
}

/// In a container: reads a launch from standard input, says in a line whether its program will be run, and becomes
/// it. Variables of the image stay where the launch has none of the name.
pub(crate) fn become_contained() -> u8 {
    let say = |failure: Option<&LaunchFailure>| {
        let mut line = vec![FIRST];
        if let Some(failure) = failure {
            let _ = serde_json::to_writer(&mut line, failure);
        }
        line.push(b'\n');
        write_out(&line);
    };
    let launch = match Launch::read_from(io::stdin()) {
        Ok(launch) => launch,
        Err(error) => {
            say(Some(&error.into()));
            return 71;
        }
    };
    let mut command = match launch::command_over(&launch, std::env::vars_os()) {
        Ok(command) => command,
        Err(failure) => {
            say(Some(&failure));
            return 71;
        }
    };
    if let Some(failure) = launch::is_nowhere(&command) {
        say(Some(&failure));
        return 71;
    }
    say(None);
    let error = command.exec();
    let _ = writeln!(io::stderr(), "vrooli-deploy: {}", launch::not_run(&command, &error).message());
    71
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_told_from_other_files() {
        let maps = "\
5581a000-5581b000 r--p 00000000 fe:00 1234                       /usr/bin/program\n\
7f1d27a37000-7f1d27a38000 r--p 00000000 fe:00 77                 /usr/lib/x86_64-linux-gnu/libc.so.6\n\
7f1d27a38000-7f1d27a39000 r-xp 00001000 fe:00 77                 /usr/lib/x86_64-linux-gnu/libc.so.6\n\
7f1d27a6a000-7f1d27a6b000 r--p 00000000 fe:00 78                 /usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2\n\
7ffd27a6a000-7ffd27a6b000 rw-p 00000000 00:00 0                          [stack]\n\
7ffd27a6c000-7ffd27a6d000 rw-p 00000000 00:00 0 \n";
        let found: Vec<_> = libraries(maps).iter().filter_map(|path| file_name(path)).collect();
        assert_eq!(found, ["ld-linux-x86-64.so.2", "libc.so.6"]);
    }

    #[test]
    fn a_container_is_told_no_variable_and_may_do_nothing_of_roots() {
        let container = Container {
            stack: serde_json::from_value(json!({ "app": "a", "environment": "b" })).unwrap(),
            engine: None,
            name: "x".to_owned(),
            image: "sha256:0".to_owned(),
            folders: vec![("/data".into(), "/app/data".into())],
            uid: 7,
            gid: 8,
            labels: BTreeMap::new(),
        };
        let own =
            Own { files: BTreeMap::from([("program".into(), "/p".into())]), command: vec!["/x".into()] };
        let settings = container.settings(&own);
        assert!(settings.get("Env").is_none());
        assert_eq!(settings["User"], "7:8");
        assert_eq!(
            settings["HostConfig"]["Binds"],
            json!(["/p:/.vrooli-deploy/program:ro", "/data:/app/data"])
        );
        assert_eq!(settings["HostConfig"]["CapDrop"], json!(["ALL"]));
    }
}
