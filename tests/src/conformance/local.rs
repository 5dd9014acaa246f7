use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use libtest_mimic::Failed;
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;
use vrooli_deploy_core::configuration::Configuration;
use vrooli_deploy_core::names::{AppName, EnvironmentName, ResourceKey, ResourceKind, ServiceName, StackId};
use vrooli_deploy_core::plan::Draft;
use vrooli_deploy_core::provider::{
    BuildRequest, Cancellation, Containers, Op, OpCtx, OpenContext, Provider, ProviderFactory as _, Scope,
};
use vrooli_deploy_core::release::strategy::units;
use vrooli_deploy_core::secrets::{FileStore, KeySource};
use vrooli_deploy_providers::local::LocalFactory;
use vrooli_deploy_providers::local::layout::Layout;

use vrooli_deploy_providers::local::kinds::Way;
use vrooli_deploy_providers::local::servers::ServerOptions;

use super::ground::OWNER;
use super::{Break, Place, ProviderFixture, Running, Sample};

/// Where servers of root lie, as PostgreSQL refuses to run as root: the one place outside of
/// the state folder.
const FOR_ROOT: &str = "/var/lib/vrooli-deploy";
/// Nothing that is waited for takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// This machine as a subject of the suite. The test binary must call `run_if_child` first in
/// its `main`: supervisor, edge and shims are that very program.
#[derive(Debug, Clone)]
pub struct LocalFixture {
    samples: Vec<Sample>,
    in_process: bool,
    servers: ServerOptions,
    fleet: Fleet,
}

/// How services run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fleet {
    /// As programs.
    Programs,
    /// In containers.
    Containers,
    /// Not at all: what they would run from is not here.
    None,
}

/// What `local/tests/images/build.sh` makes: images that promise what the official ones do.
const IMAGES: [&str; 2] = ["vrooli-deploy-test/postgres:15", "vrooli-deploy-test/redis:7"];

impl Default for LocalFixture {
    fn default() -> Self {
        Self::new()
    }
}

impl LocalFixture {
    /// With the kinds whose programs are installed; says which are left out, and why.
    #[must_use]
    pub fn new() -> Self {
        let mut samples = vec![
            sample("local.port", "port/public", json!({ "listen": "127.0.0.1" }))
                // Recorded only: nothing listens before a release is routed.
                .changed(json!({ "listen": "127.0.0.2" })),
            sample("local.volume", "volume/data", json!({})),
        ];
        if has_postgres() {
            let database = |name: &str| json!({ "database": name });
            samples.push(
                sample("local.postgres", "database/postgres", database("app"))
                    .changed(database("other"))
                    .another(database("app")),
            );
        } else {
            left_out("local.postgres", "no PostgreSQL server that this user can run is installed");
        }
        if is_on_path("redis-server") || is_on_path("valkey-server") {
            samples.push(sample("local.redis", "cache/redis", json!({})).another(json!({})));
        } else {
            left_out("local.redis", "neither redis-server nor valkey-server is installed");
        }
        Self { samples, servers: with_way(Way::Programs), fleet: Fleet::Programs, in_process: false }
    }

    /// The same with everything inside the test binary: nothing of it is started again.
    #[must_use]
    pub fn in_process() -> Self {
        Self { in_process: true, ..Self::new() }
    }

    /// The kinds that can be run in containers, and services, in them; none, and why, where no engine has the
    /// images.
    #[must_use]
    pub fn in_containers() -> Self {
        let seen = std::process::Command::new("docker").args(["image", "inspect"]).args(IMAGES).output();
        let (mut samples, mut fleet) = (Vec::new(), Fleet::None);
        if seen.is_ok_and(|seen| seen.status.success()) {
            fleet = Fleet::Containers;
            let database = |name: &str| json!({ "database": name });
            samples.push(
                sample("local.postgres", "database/postgres", database("app"))
                    .changed(database("other"))
                    .another(database("app")),
            );
            samples.push(sample("local.redis", "cache/redis", json!({})).another(json!({})));
        } else {
            left_out(
                "containers",
                "no Docker engine answers that has the images of local/tests/images/build.sh",
            );
        }
        Self { samples, servers: with_way(Way::Docker), fleet, in_process: false }
    }
}

fn with_way(way: Way) -> ServerOptions {
    let mut options = ServerOptions::default();
    options.way = Some(way);
    let [postgres, redis] = IMAGES.map(str::to_owned);
    options.postgres_image = Some(postgres);
    options.redis_image = Some(redis);
    options
}

#[expect(clippy::expect_used, reason = "literals")]
fn sample(kind: &str, key: &str, spec: Value) -> Sample {
    let kind = ResourceKind::new(kind).expect("a kind's name");
    let key = ResourceKey::new(key).expect("a key");
    Sample { kind, key, spec, changed: None, another: None, strict: true }
}

impl Sample {
    fn changed(self, spec: Value) -> Self {
        Self { changed: Some(spec), ..self }
    }

    fn another(self, spec: Value) -> Self {
        Self { another: Some(spec), ..self }
    }
}

fn left_out(kind: &str, why: &str) {
    #[expect(clippy::print_stdout, reason = "a test that does not run must say so")]
    {
        println!("skipped: {kind}: {why}");
    }
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn has_postgres() -> bool {
    let installed = is_on_path("postgres")
        || fs::read_dir("/usr/lib/postgresql").is_ok_and(|mut versions| versions.next().is_some());
    let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let account = accounts.lines().any(|line| line.starts_with("postgres:"));
    installed && (account || !rustix::process::geteuid().is_root())
}

struct LocalPlace {
    folder: TempDir,
    layout: Layout,
    id: Uuid,
    factory: LocalFactory,
    provider: Arc<dyn Provider>,
}

#[async_trait]
impl ProviderFixture for LocalFixture {
    #[expect(clippy::expect_used, reason = "a test cannot go on without a folder of its own")]
    async fn open(&self) -> Box<dyn Place> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let layout = Layout::new(folder.path().join("state"));
        let id = layout.workspace_id().expect("an id for the state folder");
        let key = KeySource::Folder(Some(folder.path().join("keys")));
        let secrets = FileStore::open(layout.root(), id, key).expect("a secret store");
        let context = OpenContext {
            dir: layout.root().to_owned(),
            owner: id,
            stack: stack("conformance"),
            secrets: Arc::new(secrets),
            configuration: Configuration::default(),
            resources: Vec::new(),
            ids: Default::default(),
            kinds: Default::default(),
            leaving: Default::default(),
        };
        let factory = LocalFactory::new().with_servers(self.servers.clone());
        let factory = if self.in_process { factory.in_process() } else { factory };
        let provider = factory.open(&context).expect("the local provider");
        Box::new(LocalPlace { folder, layout, id, factory, provider })
    }

    fn samples(&self) -> Vec<Sample> {
        self.samples.clone()
    }

    #[expect(clippy::expect_used, reason = "literals")]
    fn release(&self) -> Option<(BuildRequest, Draft)> {
        let (folder, runtime) = match self.fleet {
            Fleet::Programs => ("fixtures/apps/healthy", "native"),
            Fleet::Containers => ("fixtures/images/app", "docker"),
            Fleet::None => return None,
        };
        if !cfg!(target_os = "linux") {
            left_out("fleet", "processes are supervised on Linux only");
            return None;
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let StackId { app, environment } = stack("conformance");
        // It need not answer: the suite routes to it and sends no request.
        let service = json!({
            "run": ["sleep", "1000"],
            "runtime": runtime,
            "ports": { "http": { "env_var": "PORT" } },
            "routes": [{ "path": "/" }],
        });
        let name = ServiceName::new("web").expect("a service's name");
        let services = BTreeMap::from([(name.clone(), serde_json::from_value(service).expect("a service"))]);
        let request = BuildRequest {
            context: root.clone(),
            root,
            exclude: Vec::new(),
            include: Vec::new(),
            steps: Vec::new(),
            pass_env: Vec::new(),
            env: BTreeMap::new(),
            image: None,
            runs: Vec::new(),
            base_images: BTreeMap::new(),
            containers: Containers::of(&services),
        };
        let draft = Draft {
            app,
            environment,
            version: "1".to_owned(),
            env: [(name, BTreeMap::new())].into(),
            services,
            smoke: Vec::new(),
            strategy: Default::default(),
            domain: None,
            front: vrooli_deploy_core::release::Front::default(),
            capacity: BTreeMap::new(),
            resources: Vec::new(),
            migrations: Vec::new(),
        };
        Some((request, draft))
    }

    fn block_on(&self, trial: Running<'_>) -> Result<(), Failed> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Failed::from(e.to_string()))?
            .block_on(trial)
    }
}

#[expect(clippy::expect_used, reason = "literals")]
fn stack(app: &str) -> StackId {
    StackId {
        app: AppName::new(app).expect("an app's name"),
        environment: EnvironmentName::new("default").expect("an environment's name"),
    }
}

#[async_trait]
impl Place for LocalPlace {
    fn provider(&self) -> Arc<dyn Provider> {
        Arc::clone(&self.provider)
    }

    fn calls(&self) -> Option<u64> {
        None
    }

    fn break_next(&self, _: Op, _: Break) -> bool {
        false
    }

    async fn close(&self) -> Result<(), String> {
        let emptied = self.empty().await;
        self.factory.shutdown().await;
        let until = Instant::now() + PATIENCE;
        while !self.processes().is_empty() && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut left: Vec<String> =
            self.processes().into_iter().map(|(pid, line)| format!("process {pid}: {line}")).collect();
        left.extend(self.contained());
        // The folder of all apps stays with the workspace; that of this one goes.
        let app = self.layout.apps().join(stack("conformance").app.as_str());
        let folders = [app, self.for_root()];
        left.extend(folders.iter().filter(|f| f.exists()).map(|f| format!("folder {}", f.display())));
        emptied?;
        if left.is_empty() { Ok(()) } else { Err(format!("left behind: {}", left.join("; "))) }
    }
}

impl LocalPlace {
    fn for_root(&self) -> PathBuf {
        Path::new(FOR_ROOT).join(self.id.to_string())
    }

    /// Takes everything away through the provider, on the authority of the last lease of all.
    async fn empty(&self) -> Result<(), String> {
        let id = stack("conformance");
        // The owner that the suite makes everything with.
        let cx = OpCtx::new(id.clone(), OWNER, u64::MAX, Instant::now() + PATIENCE, Cancellation::new());
        let told = |error: vrooli_deploy_core::provider::ProviderError| format!("cannot clean up: {error}");
        let fleet = self.provider.fleet().ok_or("the local provider has no fleet")?;
        // Nothing is started to take away what is not there.
        if !fleet.routing(&cx).await.map_err(told)?.weights.is_empty() {
            fleet.route(&cx, &Default::default()).await.map_err(told)?;
        }
        for release in fleet.staged(&cx).await.map_err(told)? {
            for unit in release.bundle.services.iter().flat_map(|(name, config)| units(name, config)) {
                fleet.stop(&cx, release.number, &unit).await.map_err(told)?;
            }
            fleet.remove(&cx, release.number).await.map_err(told)?;
        }
        let scope = Scope { stack: id, page: None };
        for (kind, found) in self.provider.inventory(&cx, &scope).await.map_err(told)? {
            self.provider.delete(&cx, &kind, &found.key, &found.id).await.map_err(told)?;
        }
        fleet.forget(&cx, true).await.map_err(told)
    }

    /// Containers and volumes of this place.
    fn contained(&self) -> Vec<String> {
        let label = format!("label=vrooli-deploy.workspace={}", self.id);
        let list = |words: &[&str]| {
            let said = std::process::Command::new("docker").args(words).args(["--filter", &label]).output();
            let said =
                said.map(|said| String::from_utf8_lossy(&said.stdout).into_owned()).unwrap_or_default();
            said.lines().map(|line| format!("{} {line}", words.concat())).collect::<Vec<_>>()
        };
        // Without a `docker` there are none.
        [list(&["ps", "-aq"]), list(&["volume", "ls", "-q"])].concat()
    }

    /// Processes that work in our folders or have them among their arguments.
    fn processes(&self) -> Vec<(u32, String)> {
        let root = self.folder.path();
        let (shown, for_root) = (root.to_string_lossy().into_owned(), self.for_root());
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter_map(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            let ours = line.contains(&shown)
                || fs::read_link(format!("/proc/{pid}/cwd"))
                    .is_ok_and(|folder| folder.starts_with(root) || folder.starts_with(&for_root));
            ours.then_some((pid, line))
        })
        .collect()
    }
}
