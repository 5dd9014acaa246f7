//! A workspace in a temporary folder with staged releases, and what tests ask of it. When it
//! goes, nothing of it may be left.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;
use vrooli_deploy_core::names::{ReleaseNumber, StackId, UnitId};
use vrooli_deploy_core::provider::{Cancellation, OpCtx, UnitObserved};
use vrooli_deploy_core::secrets::{Secret, SecretError};
use vrooli_deploy_provider_local::child::ChildHooks;
use vrooli_deploy_provider_local::layout::Layout;
use vrooli_deploy_provider_local::process::{
    InstanceRecord, LogConfig, MARKER, Program, SecretResolver, SupervisorClient, SupervisorConfig,
};

/// Nothing that is waited for takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// The supervisor of tests: quicker than the real one.
pub(crate) fn hooks() -> ChildHooks {
    let mut config = SupervisorConfig::default();
    config.backoff = Duration::from_millis(100);
    config.backoff_max = Duration::from_millis(400);
    config.stop_grace = Duration::from_millis(700);
    config.idle = Duration::from_millis(1500);
    config.tick = Duration::from_millis(100);
    config.log = LogConfig { max_bytes: 200_000, keep: 2 };
    ChildHooks::new(|layout: &Layout, key: Option<&Secret<String>>| {
        // The store of these tests: a file beside the state folder, and perhaps one with its key.
        let folder = layout.root().parent().unwrap_or(Path::new("/"));
        let place = folder.join("store");
        if let Ok(wanted) = fs::read_to_string(folder.join("store-key"))
            && key.is_none_or(|key| *key.expose() != wanted)
        {
            let place = place.display().to_string();
            return Err(SecretError::Key { place, message: "its key is not here".to_owned() });
        }
        let value = fs::read_to_string(&place)
            .map_err(|e| SecretError::Io { place: place.display().to_string(), message: e.to_string() })?;
        let resolver: Arc<SecretResolver> = Arc::new(move |_| Ok(Secret::new(value.trim().to_owned())));
        Ok(resolver)
    })
    .with_config(config)
}

pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) layout: Layout,
    pub(crate) id: Uuid,
    runtime: tokio::runtime::Runtime,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::at("state")
    }

    /// With the state folder under a path of its own.
    pub(crate) fn at(path: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().join(path));
        let id = layout.workspace_id().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { dir, layout, id, runtime }
    }

    pub(crate) fn wait<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Stages a release with these services, and variables by service.
    pub(crate) fn stage_with(&self, number: u32, services: &Value, env: &Value) -> ReleaseNumber {
        let number = ReleaseNumber(number);
        let digest = format!("sha256:{}", "0".repeat(64));
        let release = json!({
            "number": number.to_string(),
            "digest": digest,
            "bundle": {
                "app": "demo", "environment": "default", "version": "1.0.0",
                "artefact": { "digest": digest, "source": digest, "location": "root", "root": "." },
                "services": services, "env": env,
                "smoke": [], "strategy": {}, "resources": [], "migrations": []
            }
        });
        let root = self.layout.release_root(&stack(), number);
        fs::create_dir_all(&root).unwrap();
        fs::write(self.layout.release_record(&stack(), number), release.to_string()).unwrap();
        number
    }

    pub(crate) fn stage(&self, number: u32, services: &Value) -> ReleaseNumber {
        self.stage_with(number, services, &json!({}))
    }

    /// Stages a release with one service `app` that runs a line of shell.
    pub(crate) fn stage_shell(&self, number: u32, line: &str) -> ReleaseNumber {
        self.stage(number, &json!({ "app": { "run": line } }))
    }

    pub(crate) fn client(&self) -> SupervisorClient {
        self.wait(SupervisorClient::connect_or_spawn(&self.layout, Program::default())).unwrap()
    }

    pub(crate) fn start(&self, release: ReleaseNumber, unit: &str) -> UnitObserved {
        self.wait(self.client().start(&cx(1), release, &unit_id(unit))).unwrap()
    }

    pub(crate) fn stop(&self, release: ReleaseNumber, unit: &str) {
        self.wait(self.client().stop(&cx(1), release, &unit_id(unit))).unwrap();
    }

    pub(crate) fn list(&self) -> Vec<UnitObserved> {
        self.wait(self.client().list(&cx(1))).unwrap()
    }

    /// The one unit there is.
    pub(crate) fn only(&self) -> UnitObserved {
        let all = self.list();
        assert_eq!(all.len(), 1, "{all:?}");
        all.into_iter().next().unwrap()
    }

    pub(crate) fn instance(&self, release: ReleaseNumber, unit: &str) -> InstanceRecord {
        let path = self.layout.unit(&stack(), release, &unit_id(unit)).instance();
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    pub(crate) fn log(&self, release: ReleaseNumber, unit: &str) -> String {
        fs::read_to_string(self.layout.unit_log(&stack(), release, &unit_id(unit))).unwrap_or_default()
    }

    /// Pids of our hidden subcommands of a role that were given a path of this world (also one
    /// that was moved since), or its mark.
    pub(crate) fn children(&self, role: &str) -> Vec<u32> {
        let root = self.dir.path().to_string_lossy().into_owned();
        processes()
            .filter(|pid| {
                let line = arguments(*pid);
                line.get(2).is_some_and(|r| r == role)
                    && (line.iter().any(|a| a.starts_with(&root)) || is_marked(*pid, &self.id.to_string()))
            })
            .collect()
    }

    pub(crate) fn supervisor(&self) -> u32 {
        let all = self.children("supervisor");
        assert_eq!(all.len(), 1, "{all:?}");
        all[0]
    }

    /// Everything that carries the mark of this workspace.
    pub(crate) fn marked(&self) -> BTreeSet<u32> {
        processes().filter(|pid| is_marked(*pid, &self.id.to_string())).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if failed {
            let log = fs::read_to_string(self.layout.supervisor_log()).unwrap_or_default();
            println!("--- supervisor's log\n{log}---");
        }
        if self.layout.root().exists() {
            let client = self.wait(SupervisorClient::connect_or_spawn(&self.layout, Program::default()));
            let gone = match client {
                Ok(client) => match self.wait(client.forget(&cx(u64::MAX))) {
                    Ok(()) => self.wait(client.shutdown()),
                    Err(e) => Err(e),
                },
                Err(e) => Err(e),
            };
            if !failed {
                gone.unwrap();
            }
        }
        if failed {
            for pid in
                self.marked().into_iter().chain(self.children("supervisor")).chain(self.children("edge"))
            {
                kill(pid, "KILL");
            }
            return;
        }
        eventually("no process is left", || {
            self.marked().is_empty()
                && self.children("supervisor").is_empty()
                && self.children("edge").is_empty()
        });
    }
}

pub(crate) fn stack() -> StackId {
    StackId { app: "demo".parse().unwrap(), environment: "default".parse().unwrap() }
}

pub(crate) fn unit_id(unit: &str) -> UnitId {
    unit.parse().unwrap()
}

pub(crate) fn cx(fence: u64) -> OpCtx {
    OpCtx::new(stack(), Uuid::nil(), fence, Instant::now() + PATIENCE, Cancellation::new())
}

/// Waits until it is so.
pub(crate) fn eventually(what: &str, mut test: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !test() {
        assert!(Instant::now() < until, "it did not come about that {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn processes() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok())
}

pub(crate) fn arguments(pid: u32) -> Vec<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|b| *b == 0).map(|a| String::from_utf8_lossy(a).into_owned()).collect()
}

pub(crate) fn is_marked(pid: u32, mark: &str) -> bool {
    let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let start = format!("{MARKER}={mark}");
    environ.split(|b| *b == 0).any(|v| v.starts_with(start.as_bytes())) && is_alive(pid)
}

/// Zombies are dead.
pub(crate) fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}

/// Puts this program at a path. A process of its own writes it: whatever another trial starts while this one
/// writes would hold the file open, and nobody could run it yet ("Text file busy").
pub(crate) fn copy_this_program(to: &Path) {
    let program = std::env::current_exe().unwrap();
    assert!(Command::new("cp").arg(program).arg(to).status().unwrap().success());
}

pub(crate) fn kill(pid: u32, signal: &str) {
    let signal = match signal {
        "KILL" => rustix::process::Signal::KILL,
        "TERM" => rustix::process::Signal::TERM,
        other => panic!("{other}"),
    };
    let _ = rustix::process::kill_process(
        rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(),
        signal,
    );
}

/// Kills without mercy, and waits until it is gone.
pub(crate) fn kill_hard(pid: u32) {
    kill(pid, "KILL");
    eventually("a killed process is gone", || !is_alive(pid));
}

/// All files under a folder.
pub(crate) fn files(root: &Path) -> Vec<PathBuf> {
    walkdir::WalkDir::new(root)
        .into_iter()
        .flatten()
        .filter(|e| e.file_type().is_file())
        .map(walkdir::DirEntry::into_path)
        .collect()
}

/// All files under a folder, with what is in them. A supervisor writes a file beside its place and
/// renames it, so one that was listed may be gone: what it held is found under the other name.
pub(crate) fn contents(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let read = |file: PathBuf| match fs::read(&file) {
        Ok(bytes) => Some((file, bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => panic!("{}: {error}", file.display()),
    };
    files(root).into_iter().filter_map(read).collect()
}
