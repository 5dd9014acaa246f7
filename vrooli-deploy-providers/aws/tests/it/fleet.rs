//! Releases on Fargate and on machines: the whole library on the emulator, with tasks, machines and traffic played
//! beside it, and somebody who asks for the app all the time.

mod played;
pub(crate) mod variants;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use libtest_mimic::Failed;
use serde_json::{Value, json};
use tempfile::TempDir;
use vrooli_deploy_core::engine::{Outcome, OutcomeKind};
use vrooli_deploy_core::names::{Digest, ImageRef};
use vrooli_deploy_core::provider::{LogQuery, Registry};
use vrooli_deploy_core::workspace::{
    DeployOptions, DestroyOptions, Health, OperationError, RollbackOptions, Run, TargetOptions, Workspace,
    WorkspaceOptions,
};
use vrooli_deploy_tests::fault_proxy::FaultProxy;
use vrooli_deploy_tests::moto::census::Census;
use vrooli_deploy_tests::moto::corrections::AS_AWS;
use vrooli_deploy_tests::moto::machines::Image;
use vrooli_deploy_tests::moto::{Emulator, told};

pub(crate) use self::played::On;
use self::played::Played;
use crate::desk::{Emulated, said};

const MANIFEST: &str = "schema_version: v0.1
target: saas
provider: aws
app: { name: shop }
infrastructure: { region: us-east-1, compute: { type: fargate, count: 2 } }
secrets: { API_KEY: { from: { generate: { length: 20 } } } }
services:
  api:
    run: [/api]
    ports: { http: { env_var: API_PORT } }
    routes: [{ path: /api }, { path: /auth }]
    health: { path: /health, startup_grace: 4s }
  web:
    run: [/web]
    ports: { http: { env_var: PORT, port: 3000 } }
    routes: [{ path: / }]
    health: { path: /health, startup_grace: 4s }
    needs: [api]
  jobs: { run: [/jobs] }
smoke: [{ service: web, path: / }, { service: api, path: /api/wheels }]
";
/// Two that listen, each with an API and a page, and a worker.
const TASKS: usize = 3;

/// An emulator, what runs the app, and a state folder.
struct Ground {
    on: On,
    emulator: Emulator,
    tasks: Played,
    proxy: FaultProxy,
    folder: TempDir,
    /// What there was before anything was made.
    before: Census,
    /// Whose calls are made, if not those of somebody who may do everything.
    keys: Option<(String, String)>,
}

fn image(name: &str) -> ImageRef {
    ImageRef::new(format!("registry.example.com/shop@{}", Digest::of(name.as_bytes()))).unwrap()
}

impl Ground {
    async fn new(on: On) -> Result<Self, String> {
        Self::of(on, MANIFEST).await
    }

    async fn of(on: On, manifest: &str) -> Result<Self, String> {
        let emulator = Emulator::start()?;
        let tasks = Played::of(on, emulator.address()).map_err(said)?;
        let proxy = FaultProxy::start(emulator.address()).await.map_err(said)?;
        proxy.set_correction(AS_AWS);
        tasks.play(&proxy);
        let folder = tempfile::tempdir().map_err(said)?;
        std::fs::write(folder.path().join("app.yaml"), on.said(manifest)).map_err(said)?;
        let before = Census::take(emulator.address()).map_err(said)?;
        Ok(Self { on, emulator, tasks, proxy, folder, before, keys: None })
    }

    fn does(&self, name: &str, what: Image) -> DeployOptions {
        let image = image(name);
        self.tasks.image(image.digest().as_str(), what);
        let mut options = DeployOptions::default();
        options.image = Some(image);
        options
    }

    fn serves(&self, name: &str) -> DeployOptions {
        self.does(name, Image::Serves(name.to_owned()))
    }

    async fn workspace(&self) -> Result<Workspace, OperationError> {
        let options = WorkspaceOptions::new(self.folder.path().join("state"));
        let registry = Registry::new().with(Emulated::new(self.proxy.url()).with_keys(self.keys.clone()));
        Workspace::open(options, registry).await
    }

    fn manifest(&self) -> PathBuf {
        self.folder.path().join("app.yaml")
    }

    /// What a command does, from opening the state on.
    async fn deploy(&self, options: &DeployOptions) -> Result<Outcome, String> {
        let workspace = self.workspace().await.map_err(said)?;
        let app = self.manifest().display().to_string();
        let app = workspace.resolve(&app, &TargetOptions::default()).await.map_err(said)?;
        let change = workspace.deploy(&app, options, &Run::new()).await.map_err(said)?;
        Ok(change.apply().await.map_err(said)?.outcome)
    }

    /// Are these the moves of traffic that are planned?
    async fn shifts(&self, options: &DeployOptions, wanted: &[&str]) -> Result<(), Failed> {
        let workspace = self.workspace().await.map_err(said)?;
        let app = self.manifest().display().to_string();
        let app = workspace.resolve(&app, &TargetOptions::default()).await.map_err(said)?;
        let plan = workspace.plan(&app, options).await.map_err(said)?.plan;
        let all = plan.steps.iter().map(|step| step.id.0.as_str());
        let moves: Vec<&str> = all.filter(|id| id.starts_with("shift:")).collect();
        if moves == wanted { Ok(()) } else { Err(format!("{moves:?}").into()) }
    }

    async fn rollback(&self) -> Result<Outcome, String> {
        let workspace = self.workspace().await.map_err(said)?;
        let app = workspace.resolve("shop", &TargetOptions::default()).await.map_err(said)?;
        let change = workspace.rollback(&app.stack, &RollbackOptions::default(), &Run::new()).await;
        Ok(change.map_err(said)?.apply().await.map_err(said)?.outcome)
    }

    async fn power(&self, on: bool) -> Result<Outcome, String> {
        let workspace = self.workspace().await.map_err(said)?;
        let app = workspace.resolve("shop", &TargetOptions::default()).await.map_err(said)?;
        let run = Run::new();
        let change =
            if on { workspace.start(&app.stack, &run).await } else { workspace.stop(&app.stack, &run).await };
        Ok(change.map_err(said)?.apply().await.map_err(said)?.outcome)
    }

    async fn destroy(&self) -> Result<Outcome, String> {
        let workspace = self.workspace().await.map_err(said)?;
        let app = workspace.resolve("shop", &TargetOptions::default()).await.map_err(said)?;
        let change = workspace.destroy(&app.stack, &DestroyOptions::default(), &Run::new()).await;
        Ok(change.map_err(said)?.apply().await.map_err(said)?.outcome)
    }

    /// Is this what the app answers? The load balancer takes a moment to know what was set; `""` is none.
    async fn answers(&self, what: &str, want: &str) -> Result<(), Failed> {
        let all = [("/", "web"), ("/page", "web"), ("/api/wheels", "api"), ("/auth", "api")];
        self.all_answer(what, &all, want).await
    }

    /// The same of paths, each with the container that is to answer.
    async fn all_answer(&self, what: &str, paths: &[(&str, &str)], want: &str) -> Result<(), Failed> {
        let mut have = String::new();
        for _ in 0..100 {
            let all: Vec<String> = paths.iter().map(|(path, by)| self.asked(path, by)).collect();
            if all.iter().all(|body| body == want) {
                return Ok(());
            }
            have = all.join(", ");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(format!("{what}: `{have}`, not `{want}`").into())
    }

    /// What the app answers at a path, if that container does; `""` if nobody does.
    fn asked(&self, path: &str, by: &str) -> String {
        match ask(self.tasks.front(), path) {
            Ok((container, body)) if container == by => body,
            Ok((container, _)) => format!("{path} by {container}"),
            Err(_) => String::new(),
        }
    }

    /// Asked past everything of ours.
    fn ecs(&self, what: &str, form: &Value) -> Value {
        let target = format!("AmazonEC2ContainerServiceV20141113.{what}");
        told(self.emulator.address(), "ecs", &target, form).unwrap()
    }
}

/// The container that answered with 200, and the body.
fn ask(front: SocketAddr, path: &str) -> Result<(String, String), String> {
    let mut stream = TcpStream::connect(front).map_err(said)?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(said)?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(said)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(said)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.contains(" 200 ") => {
            let container = head.lines().find_map(|line| line.strip_prefix("x-container: "));
            Ok((container.unwrap_or_default().to_owned(), body.to_owned()))
        }
        _ => Err(format!("{path}: {answer}")),
    }
}

/// Somebody who asks all the time, and is answered every time.
struct Visitor {
    stop: Arc<AtomicBool>,
    asks: std::thread::JoinHandle<(u64, Vec<String>)>,
}

impl Visitor {
    fn at(front: SocketAddr) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let told = Arc::clone(&stop);
        let asks = std::thread::spawn(move || {
            let (mut count, mut failed) = (0, Vec::new());
            while !told.load(Ordering::SeqCst) {
                count += 1;
                let (path, by) = if count % 2 == 0 { ("/", "web") } else { ("/api/wheels", "api") };
                match ask(front, path) {
                    Ok((container, _)) if container == by => {}
                    other => failed.push(format!("{path}: {other:?}")),
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            (count, failed)
        });
        Self { stop, asks }
    }

    fn leaves(self) -> Result<u64, Failed> {
        self.stop.store(true, Ordering::SeqCst);
        let (count, failed) = self.asks.join().unwrap();
        match failed.first() {
            None => Ok(count),
            Some(first) => Err(format!("{} of {count} requests failed: {first}", failed.len()).into()),
        }
    }
}

fn is(outcome: Outcome, kind: OutcomeKind) -> Result<Outcome, Failed> {
    if outcome.kind == kind { Ok(outcome) } else { Err(format!("not {kind:?}: {outcome:?}").into()) }
}

/// Made, replaced in every way, gone back, taken away: nobody who asks hears of it.
pub(crate) async fn there_and_back(on: On) -> Result<(), Failed> {
    let ground = Ground::new(on).await?;
    is(ground.deploy(&ground.serves("one")).await?, OutcomeKind::Applied)?;
    ground.answers("first", "one").await?;
    is(ground.deploy(&ground.serves("one")).await?, OutcomeKind::NoChange)?;
    ground.as_it_says("one").await?;
    if on == On::Machines {
        let disks = played::of_disks(ground.emulator.address());
        if disks.len() != 2 || disks.iter().any(|tags| !tags.iter().any(|tag| tag == "vrooli:stack")) {
            return Err(format!("no budget counts these disks: {disks:?}").into());
        }
    }

    let visitor = Visitor::at(ground.tasks.front());
    is(ground.deploy(&ground.serves("two")).await?, OutcomeKind::Applied)?;
    ground.answers("blue-green", "two").await?;
    // Two tasks, one at a time: half of the requests, then all.
    let mut rolling = ground.serves("rolled");
    rolling.strategy = Some("rolling".to_owned());
    ground.shifts(&rolling, &["shift:r3/wave1", "shift:r3/wave2"]).await?;
    is(ground.deploy(&rolling).await?, OutcomeKind::Applied)?;
    ground.answers("rolling", "rolled").await?;
    let mut canary = ground.serves("three");
    canary.strategy = Some("canary".to_owned());
    canary.strategy_options.steps = vec![50];
    canary.strategy_options.watch = Some(Duration::from_secs(1));
    is(ground.deploy(&canary).await?, OutcomeKind::Applied)?;
    ground.answers("canary", "three").await?;

    let sick = ground.deploy(&ground.does("sick", Image::Sick(503))).await?;
    let sick = format!("{:?}", is(sick, OutcomeKind::RolledBack)?.cause);
    if !sick.contains("Health checks failed with these codes: [503]") {
        return Err(format!("nobody says why: {sick}").into());
    }
    ground.answers("sick", "three").await?;
    let lines = vec!["starting".to_owned(), "no database there".to_owned()];
    let ends = ground.deploy(&ground.does("ends", Image::Ends(3, lines))).await?;
    let ends = format!("{:?}", is(ends, OutcomeKind::RolledBack)?.cause);
    for word in [on.why_ended(), "exit code 3", "no database there"] {
        if !ends.contains(word) {
            return Err(format!("nobody says `{word}`: {ends}").into());
        }
    }
    ground.answers("ends", "three").await?;
    is(ground.rollback().await?, OutcomeKind::Applied)?;
    ground.answers("rollback", "rolled").await?;
    let count = visitor.leaves()?;
    if count < 100 {
        return Err(format!("only {count} requests").into());
    }

    is(ground.power(false).await?, OutcomeKind::Applied)?;
    ground.answers("stopped", "").await?;
    if ground.tasks.running() > 0 {
        return Err(format!("stopped, and {} tasks run", ground.tasks.running()).into());
    }
    is(ground.power(true).await?, OutcomeKind::Applied)?;
    ground.answers("started", "rolled").await?;
    ground.as_it_says("rolled").await?;

    // Without room for both releases tasks had to end one by one: refused before anything is done.
    let mut in_place = ground.serves("four");
    in_place.strategy = Some("rolling".to_owned());
    in_place.strategy_options.surge = Some(1);
    match ground.deploy(&in_place).await {
        Err(why) if why.contains("one by one") => {}
        other => return Err(format!("rolling in place: {other:?}").into()),
    }
    let value = ground.secret();
    let definitions = ground.definitions();
    if value.len() < 20 || definitions.len() < 3 || definitions.iter().any(|one| one.contains(&value)) {
        return Err(format!("{} definitions, one holds a secret", definitions.len()).into());
    }
    if ground.tasks.given("api", "API_KEY").iter().any(|given| *given != value) {
        return Err("an API was given another secret".into());
    }

    ground.leave().await
}

impl Ground {
    /// What is said of the app is what there is of it, and nothing differs from what was applied.
    async fn as_it_says(&self, body: &str) -> Result<(), Failed> {
        let workspace = self.workspace().await.map_err(said)?;
        let app = workspace.resolve("shop", &TargetOptions::default()).await.map_err(said)?;
        let status = workspace.status(&app.stack).await.map_err(said)?;
        let release = status.summary.release.ok_or("no release serves")?;
        let units: Vec<String> = status.units.iter().map(|unit| unit.unit.to_string()).collect();
        // An API and a page are in each of the two tasks that listen.
        if status.summary.health != Health::Running || units != ["api.0", "jobs.0", "web.0"] {
            return Err(format!("{:?}: {units:?}", status.summary.health).into());
        }
        if status.routing.map(|routing| routing.weights) != Some([(release, 100)].into()) {
            return Err("requests do not all go to the release that serves".into());
        }
        let url = format!("http://{}/", self.tasks.front());
        if workspace.list().await.map_err(said)?.iter().map(|one| one.urls.clone()).ne([vec![url]]) {
            return Err("another address is listed".into());
        }
        let mut query = LogQuery { lines: 5, ..LogQuery::default() };
        query.service = Some("api".parse().unwrap());
        let page = workspace.logs(&app.stack, &query).await.map_err(said)?;
        if page.lines.iter().all(|line| line.release != release || line.line != format!("serves {body}")) {
            return Err(format!("not what the API wrote: {:?}", page.lines).into());
        }
        let drift = workspace.drift(&app.stack).await.map_err(said)?;
        if drift.differences.is_empty() { Ok(()) } else { Err(format!("{:?}", drift.differences).into()) }
    }

    /// The value of the app's one secret, as the emulator keeps it.
    fn secret(&self) -> String {
        let ask = |what: &str, form: &Value| {
            let target = format!("secretsmanager.{what}");
            told(self.emulator.address(), "secretsmanager", &target, form).unwrap()
        };
        let all = ask("ListSecrets", &json!({}));
        let name =
            all["SecretList"].as_array().and_then(|all| all.first()?["Name"].as_str()).unwrap_or_default();
        let form = json!({ "SecretId": name, "VersionStage": "v1" });
        ask("GetSecretValue", &form)["SecretString"].as_str().unwrap_or_default().to_owned()
    }

    /// What releases are kept as, whole: task definitions that are in use, or what machines are told.
    fn definitions(&self) -> Vec<String> {
        if self.on == On::Machines {
            return played::told(self.emulator.address());
        }
        let all = self.ecs("ListTaskDefinitions", &json!({}));
        let arns = all["taskDefinitionArns"].as_array().cloned().unwrap_or_default();
        let whole = |arn: &Value| {
            let form = json!({ "taskDefinition": arn, "include": ["TAGS"] });
            self.ecs("DescribeTaskDefinition", &form).to_string()
        };
        arns.iter().map(whole).collect()
    }

    /// Takes everything away, and sees to it that nothing is left.
    async fn leave(&self) -> Result<(), Failed> {
        let outcome = is(self.destroy().await?, OutcomeKind::Applied)?;
        if !outcome.left_behind.is_empty() {
            return Err(format!("{:?}", outcome.left_behind).into());
        }
        self.nothing_is_left()
    }

    /// Of what was made since it began.
    fn nothing_is_left(&self) -> Result<(), Failed> {
        let too_many = Census::take(self.emulator.address())?.against(&self.before).too_many;
        if !too_many.is_empty() {
            return Err(format!("left: {too_many:?}").into());
        }
        let left = self.definitions().len();
        let secret = self.secret();
        match (left, secret.as_str(), self.tasks.running()) {
            (0, "", 0) => Ok(()),
            (left, secret, running) => Err(format!(
                "left: {left} definitions, {running} tasks, a secret of {} characters",
                secret.len()
            )
            .into()),
        }
    }
}

/// Ended anywhere and run again: one release serves, and nobody who asks hears of it.
pub(crate) async fn ended_anywhere(on: On) -> Result<(), Failed> {
    let ground = Ground::new(on).await?;
    is(ground.deploy(&ground.serves("zero")).await?, OutcomeKind::Applied)?;
    let visitor = Visitor::at(ground.tasks.front());
    let mut ended = 0;
    for round in 1..=3 {
        let name = format!("round {round}");
        let options = ground.serves(&name);
        let mut time = on.first_limit();
        loop {
            match tokio::time::timeout(time, ground.deploy(&options)).await {
                Ok(done) => {
                    let outcome = done?;
                    if !matches!(outcome.kind, OutcomeKind::Applied | OutcomeKind::NoChange) {
                        return Err(format!("{name}: {outcome:?}").into());
                    }
                    break;
                }
                Err(_) => {
                    ended += 1;
                    time = time.mul_f64(1.4);
                }
            }
        }
        ground.answers(&name, &name).await?;
        is(ground.deploy(&options).await?, OutcomeKind::NoChange)?;
        if ground.tasks.running() != TASKS {
            return Err(format!("{name}: {:?} run", ground.tasks.counts()).into());
        }
    }
    visitor.leaves()?;
    if ended < 6 {
        return Err(format!("only {ended} runs were ended").into());
    }
    ground.leave().await
}
