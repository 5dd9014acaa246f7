//! A workspace of one test: gone, with everything that runs in it, when the test ends.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use uuid::Uuid;
use vrooli_deploy_core::names::{AppName, EnvironmentName, ResourceKey, StackId};
use vrooli_deploy_core::provider::{Cancellation, OpCtx, PhysicalId, ResourceHandler};
use vrooli_deploy_core::secrets::{Secret, SecretError, SecretRef, SecretStore};
use vrooli_deploy_provider_local::kinds::{Machine, Postgres, Redis};
use vrooli_deploy_provider_local::layout::Layout;
use vrooli_deploy_provider_local::process::Supervision;

/// A test that says why it does nothing where a tool is absent.
pub(crate) fn trial(
    name: &str,
    needs: &'static [&'static str],
    run: impl FnOnce() + Send + 'static,
) -> Trial {
    let shown = name.to_owned();
    Trial::test(name, move || {
        if let Some(absent) = needs.iter().find(|tool| !is_there(tool)) {
            println!("skipped: {shown}: `{absent}` is not installed");
            return Ok(());
        }
        run();
        Ok(())
    })
}

fn is_there(tool: &str) -> bool {
    if tool == "postgres" {
        let debian = fs::read_dir("/usr/lib/postgresql").is_ok_and(|mut versions| versions.next().is_some());
        return debian || on_path("postgres");
    }
    on_path(tool)
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
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let machine = Arc::new(machine_at(&folder.path().join("state")));
        Self { folder, machine, stack: stack() }
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
        Command::new(std::env::current_exe().unwrap())
            .args([super::CHILD, mode])
            .arg(self.state())
            .args(rest)
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
    }
}

pub(crate) fn stack() -> StackId {
    StackId { app: AppName::new("wheel").unwrap(), environment: EnvironmentName::new("default").unwrap() }
}

pub(crate) fn machine_at(state: &Path) -> Machine {
    fs::create_dir_all(state).unwrap();
    Machine {
        layout: Layout::new(state),
        secrets: Arc::new(FileStore::new(state.join("secrets.json"))),
        supervision: Supervision::default(),
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
