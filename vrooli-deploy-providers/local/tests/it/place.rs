//! A workspace of one test: gone, with everything that runs in it, when the test ends.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use uuid::Uuid;
use vrooli_deploy_core::names::{AppName, EnvironmentName, ResourceKey, StackId};
use vrooli_deploy_core::provider::{Cancellation, OpCtx, PhysicalId, ResourceHandler};
use vrooli_deploy_core::secrets::{Secret, SecretError, SecretRef, SecretStore};
use vrooli_deploy_provider_local::kinds::{Machine, Postgres, Redis, Way};
use vrooli_deploy_provider_local::layout::Layout;
use vrooli_deploy_provider_local::process::Supervision;
use vrooli_deploy_provider_local::servers::{
    POSTGRES_IMAGE_VARIABLE, REDIS_IMAGE_VARIABLE, ServerOptions, WAY_VARIABLE,
};

/// A test that says why it does nothing where a tool is absent.
pub(crate) fn trial(
    name: &str,
    needs: &'static [&'static str],
    run: impl FnOnce() + Send + 'static,
) -> Trial {
    let shown = name.to_owned();
    Trial::test(name, move || {
        if let Some(absent) = needs.iter().find(|tool| !is_there(tool)) {
            let why = match *absent {
                "docker" => "no Docker engine answers that has the images which tests/images/build.sh makes",
                _ => "it is not installed",
            };
            println!("skipped: {shown}: `{absent}`: {why}");
            return Ok(());
        }
        run();
        Ok(())
    })
}

fn is_there(tool: &str) -> bool {
    if tool == "docker" {
        return images_are_here();
    }
    if tool == "psql" {
        return is_there("postgres") || on_path("psql");
    }
    if tool == "postgres" {
        let debian = fs::read_dir("/usr/lib/postgresql").is_ok_and(|mut versions| versions.next().is_some());
        return debian || on_path("postgres");
    }
    on_path(tool)
}

/// How the servers of a test are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Programs,
    Docker,
}

/// What tests/images/build.sh makes.
pub(crate) const POSTGRES_IMAGE: &str = "vrooli-deploy-test/postgres:15";
pub(crate) const REDIS_IMAGE: &str = "vrooli-deploy-test/redis:7";

impl How {
    pub(crate) fn options(self) -> ServerOptions {
        let mut options = ServerOptions::default();
        options.way = Some(match self {
            Self::Programs => Way::Programs,
            Self::Docker => Way::Docker,
        });
        options.postgres_image = Some(POSTGRES_IMAGE.to_owned());
        options.redis_image = Some(REDIS_IMAGE.to_owned());
        options
    }
}

fn images_are_here() -> bool {
    static HERE: LazyLock<bool> = LazyLock::new(|| {
        let seen = Command::new("docker").args(["image", "inspect", POSTGRES_IMAGE, REDIS_IMAGE]).output();
        seen.is_ok_and(|seen| seen.status.success())
    });
    *HERE
}

/// What the `docker` program says.
pub(crate) fn docker(words: &[&str]) -> String {
    let answer = Command::new("docker").args(words).output().unwrap();
    assert!(answer.status.success(), "{words:?}: {}", String::from_utf8_lossy(&answer.stderr));
    String::from_utf8(answer.stdout).unwrap().trim().to_owned()
}

fn on_path(tool: &str) -> bool {
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|folder| folder.join(tool).is_file())
}

pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

pub(crate) fn key(text: &str) -> ResourceKey {
    ResourceKey::new(text).unwrap()
}

pub(crate) fn context(stack: &StackId) -> OpCtx {
    OpCtx::new(stack.clone(), Uuid::nil(), 1, Instant::now() + Duration::from_secs(120), Cancellation::new())
}

pub(crate) struct Place {
    /// Holds the folder.
    folder: tempfile::TempDir,
    pub(crate) machine: Arc<Machine>,
    pub(crate) stack: StackId,
    how: How,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self::of(How::Programs)
    }

    pub(crate) fn of(how: How) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let machine = Arc::new(machine_with(&folder.path().join("state"), how.options()));
        Self { folder, machine, stack: stack(), how }
    }

    /// Containers of this place's workspace, or its volumes.
    pub(crate) fn marked(&self, sort: &str) -> Vec<String> {
        let id = self.machine.layout.workspace_id().unwrap();
        let label = format!("label=vrooli-deploy.workspace={id}");
        let (all, name) = match sort {
            "volume" => ("--quiet", "{{.Name}}"),
            _ => ("--all", "{{.Names}}"),
        };
        docker(&[sort, "ls", all, "--filter", &label, "--format", name]).lines().map(str::to_owned).collect()
    }

    /// Its one container.
    pub(crate) fn container(&self) -> String {
        let all = self.marked("container");
        assert_eq!(all.len(), 1, "{all:?}");
        all.into_iter().next().unwrap()
    }

    pub(crate) fn cx(&self) -> OpCtx {
        context(&self.stack)
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// This program again, as a child that may be killed.
    pub(crate) fn child(&self, mode: &str, rest: &[&str]) -> Child {
        let way = match self.how {
            How::Programs => "programs",
            How::Docker => "docker",
        };
        Command::new(std::env::current_exe().unwrap())
            .args([super::CHILD, mode])
            .arg(self.state())
            .args(rest)
            .env(WAY_VARIABLE, way)
            .env(POSTGRES_IMAGE_VARIABLE, POSTGRES_IMAGE)
            .env(REDIS_IMAGE_VARIABLE, REDIS_IMAGE)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let (machine, cx) = (Arc::clone(&self.machine), self.cx());
        let ended = wait(async move {
            Postgres.delete(&machine, &cx, &key("database/postgres"), &PhysicalId(String::new())).await?;
            Redis.delete(&machine, &cx, &key("cache/redis"), &PhysicalId(String::new())).await
        });
        if let Err(error) = ended
            && !std::thread::panicking()
        {
            panic!("the place cannot be cleaned: {error}");
        }
        if self.how == How::Docker && !std::thread::panicking() {
            for sort in ["container", "volume"] {
                assert_eq!(self.marked(sort), [""; 0], "left behind: {sort}s");
            }
        }
    }
}

pub(crate) fn stack() -> StackId {
    StackId { app: AppName::new("wheel").unwrap(), environment: EnvironmentName::new("default").unwrap() }
}

/// For a child: how servers are run is in its environment.
pub(crate) fn machine_at(state: &Path) -> Machine {
    machine_with(state, ServerOptions::from_environment().unwrap())
}

pub(crate) fn machine_with(state: &Path, servers: ServerOptions) -> Machine {
    fs::create_dir_all(state).unwrap();
    Machine {
        layout: Layout::new(state),
        secrets: Arc::new(FileStore::new(state.join("secrets.json"))),
        supervision: Supervision::default(),
        servers,
    }
}

/// Kills a child at an instant and reaps it. `true` when it had not ended by itself.
pub(crate) fn kill_after(mut child: Child, delay: Duration) -> bool {
    let until = Instant::now() + delay;
    while Instant::now() < until {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    true
}

/// Waits for a condition, generously.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Processes that work in a folder or below it.
pub(crate) fn processes_in(folder: &Path) -> Vec<u32> {
    let Ok(folder) = fs::canonicalize(folder) else {
        return Vec::new();
    };
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(&folder)))
        .collect()
}

/// All files under a folder whose bytes hold a text.
pub(crate) fn files_with(folder: &Path, text: &str) -> Vec<PathBuf> {
    walk(folder)
        .into_iter()
        .filter(|file| {
            fs::read(file)
                .is_ok_and(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
        })
        .collect()
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(entry.path()),
                Ok(kind) if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found
}

/// A store in a plain file, which the real one is not: what counts here is that it is
/// durable when `put` returns, also for a process that is killed.
#[derive(Debug)]
struct FileStore {
    file: PathBuf,
    lock: Mutex<()>,
}

type Values = BTreeMap<String, Vec<String>>;

impl FileStore {
    fn new(file: PathBuf) -> Self {
        Self { file, lock: Mutex::new(()) }
    }
    fn read(&self) -> Values {
        fs::read(&self.file).map(|text| serde_json::from_slice(&text).unwrap()).unwrap_or_default()
    }
    fn reference(path: &str, version: usize) -> SecretRef {
        SecretRef {
            store: "file".to_owned(),
            path: path.to_owned(),
            version: u32::try_from(version).unwrap(),
            hash: String::new(),
        }
    }
}

impl SecretStore for FileStore {
    fn name(&self) -> &str {
        "file"
    }
    fn put(&self, path: &str, value: &Secret<String>) -> Result<SecretRef, SecretError> {
        let _guard = self.lock.lock().unwrap();
        let mut values = self.read();
        let versions = values.entry(path.to_owned()).or_default();
        if versions.last() != Some(value.expose()) {
            versions.push(value.expose().clone());
        }
        let reference = Self::reference(path, versions.len());
        let mut file = tempfile::NamedTempFile::new_in(self.file.parent().unwrap()).unwrap();
        serde_json::to_writer(&mut file, &values).unwrap();
        file.persist(&self.file).unwrap();
        Ok(reference)
    }
    fn get(&self, reference: &SecretRef) -> Result<Secret<String>, SecretError> {
        let values = self.read();
        let value =
            values.get(&reference.path).and_then(|versions| versions.get(reference.version as usize - 1));
        value
            .map(|value| Secret::new(value.clone()))
            .ok_or_else(|| SecretError::NotFound { path: reference.path.clone(), version: reference.version })
    }
    fn latest(&self, path: &str) -> Result<Option<SecretRef>, SecretError> {
        Ok(self.read().get(path).map(|versions| Self::reference(path, versions.len())))
    }
    fn list(&self, prefix: &str) -> Result<Vec<SecretRef>, SecretError> {
        let values = self.read();
        Ok(values
            .iter()
            .filter(|(path, _)| path.starts_with(prefix))
            .map(|(path, v)| Self::reference(path, v.len()))
            .collect())
    }
    fn remove(&self, references: &[SecretRef]) -> Result<(), SecretError> {
        let mut values = self.read();
        values.retain(|path, _| !references.iter().any(|reference| reference.path == *path));
        fs::write(&self.file, serde_json::to_vec(&values).unwrap()).unwrap();
        Ok(())
    }
}
