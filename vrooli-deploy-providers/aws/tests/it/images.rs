//! Apps that are built for Fargate: the whole library on the emulator, with an engine and a registry of this
//! machine in the place of AWS's.

use std::fs;
use std::sync::Arc;

use libtest_mimic::Failed;
use serde_json::{Value, json};
use vrooli_deploy_core::engine::OutcomeKind;
use vrooli_deploy_core::names::ImageRef;
use vrooli_deploy_core::provider::{OpenImageBuilder, Registry};
use vrooli_deploy_core::workspace::{
    DeployOptions, DestroyOptions, OperationError, Report, Run, Target, TargetOptions, Workspace,
    WorkspaceOptions,
};
use vrooli_deploy_provider_local::build::Images;
use vrooli_deploy_tests::fault_proxy::FaultProxy;
use vrooli_deploy_tests::moto::corrections::AS_AWS;
use vrooli_deploy_tests::moto::tasks::Tasks;
use vrooli_deploy_tests::moto::{Emulator, told};
use vrooli_deploy_tests::registry::{ImageRegistry, docker};

use crate::desk::{Emulated, said};

const MANIFEST: &str = "schema_version: v0.1
target: saas
provider: aws
app: { name: shop }
infrastructure: { region: us-east-1, compute: { type: fargate, count: 1 } }
build: { steps: [{ name: pack, run: mkdir -p made && cp web/page made/page }] }
services:
  web:
    run: cat page
    dir: made
    ports: { http: { env_var: PORT, port: 8080 } }
    routes: [{ path: / }]
    health: { path: /health, startup_grace: 4s }
";

struct Ground {
    emulator: Emulator,
    _tasks: Tasks,
    proxy: FaultProxy,
    registry: ImageRegistry,
    folder: tempfile::TempDir,
    /// Builders use this engine.
    engine: Option<&'static str>,
}

impl Ground {
    async fn new() -> Result<Self, String> {
        let registry = ImageRegistry::start()?;
        let emulator = Emulator::start()?;
        let tasks = Tasks::of(emulator.address()).map_err(said)?;
        let proxy = FaultProxy::start(emulator.address()).await.map_err(said)?;
        proxy.set_correction(AS_AWS);
        proxy.set_play(tasks.play());
        let folder = tempfile::tempdir().map_err(said)?;
        let app = folder.path().join("app");
        fs::create_dir_all(app.join("web")).map_err(said)?;
        fs::write(app.join("deployment.yaml"), MANIFEST).map_err(said)?;
        fs::write(app.join("web/page"), "one").map_err(said)?;
        Ok(Self { emulator, _tasks: tasks, proxy, registry, folder, engine: None })
    }

    async fn app(&self) -> Result<(Workspace, Target), OperationError> {
        let engine = self.engine;
        let images: OpenImageBuilder = Arc::new(move |dir| {
            let images = Images::new(dir);
            Arc::new(engine.map_or(images.clone(), |engine| images.with_engine(engine)))
        });
        let place = Emulated::new(self.proxy.url()).with_images(images, self.registry.host());
        let options = WorkspaceOptions::new(self.folder.path().join("state"));
        let workspace = Workspace::open(options, Registry::new().with(place)).await?;
        let app = self.folder.path().join("app").display().to_string();
        let target = workspace.resolve(&app, &TargetOptions::default()).await?;
        Ok((workspace, target))
    }

    async fn deploy(&self, options: &DeployOptions) -> Result<Report, OperationError> {
        let (workspace, target) = self.app().await?;
        workspace.deploy(&target, options, &Run::new()).await?.apply().await
    }

    /// The container of the newest task definition.
    fn container(&self) -> Value {
        let ask = |what: &str, form: &Value| {
            let target = format!("AmazonEC2ContainerServiceV20141113.{what}");
            told(self.emulator.address(), "ecs", &target, form).unwrap()
        };
        let all = ask("ListTaskDefinitions", &json!({}));
        let newest = all["taskDefinitionArns"].as_array().and_then(|all| all.last()).unwrap().clone();
        let one = ask("DescribeTaskDefinition", &json!({ "taskDefinition": newest }));
        one["taskDefinition"]["containerDefinitions"][0].clone()
    }
}

fn refused(what: &str, said: Result<Report, OperationError>, code: &str) -> Result<(), Failed> {
    match said {
        Err(error) if error.code().to_string() == code => Ok(()),
        Err(error) => Err(format!("{what}: {}: {error}", error.code()).into()),
        Ok(report) => Err(format!("{what}: {:?}", report.outcome).into()),
    }
}

/// Built once for each change of its sources, run by digest, and nothing is made where nothing can be built.
pub(crate) async fn built_and_pushed() -> Result<(), Failed> {
    let mut ground = match Ground::new().await {
        Ok(ground) => ground,
        Err(why) => {
            println!("skipped: images of apps on Fargate: {why}");
            return Ok(());
        }
    };
    let bases = match ground.registry.bases(&["runtime"]) {
        Ok(bases) => bases,
        Err(why) => {
            println!("skipped: images of apps on Fargate: {why}");
            return Ok(());
        }
    };
    let mut options = DeployOptions::default();
    // No digest of a base, no engine: said before anything is made.
    refused("no base", ground.deploy(&options).await, "VD0958")?;
    options.base_images = bases;
    ground.engine = Some("unix:///nonexistent/docker.sock");
    refused("no engine", ground.deploy(&options).await, "VD0959")?;
    ground.engine = None;

    let (workspace, target) = ground.app().await.map_err(said)?;
    let plan = workspace.plan(&target, &options).await.map_err(said)?.plan;
    let note = plan.notes.iter().find(|note| note.contains("an image is built for linux/amd64"));
    if note.is_none_or(|note| !note.contains("`runtime` 127.0.0.1:")) {
        return Err(format!("the plan does not say what is built from: {:?}", plan.notes).into());
    }
    drop(workspace);

    let report = ground.deploy(&options).await.map_err(said)?;
    if report.outcome.kind != OutcomeKind::Applied {
        return Err(format!("{:?}", report.outcome).into());
    }
    let container = ground.container();
    let image = ImageRef::new(container["image"].as_str().unwrap_or_default()).map_err(said)?;
    if container["workingDirectory"] != "/app/made" || !image.as_str().starts_with(&ground.registry.host()) {
        return Err(format!("{container}").into());
    }
    ground.registry.pull(&image)?;
    let run = [
        "run",
        "--rm",
        "--workdir",
        "/app/made",
        "--entrypoint",
        "sh",
        image.as_str(),
        "-c",
        "cat page; id -u",
    ];
    let seen = docker(&run)?;
    if seen != "one10001" {
        return Err(format!("the image holds something else: {seen}").into());
    }

    // Bases are kept, and what is the same is not released again; not even an engine is needed then.
    let options = DeployOptions::default();
    ground.engine = Some("unix:///nonexistent/docker.sock");
    let report = ground.deploy(&options).await.map_err(said)?;
    if report.outcome.kind != OutcomeKind::NoChange {
        return Err(format!("nothing changed: {:?}", report.outcome).into());
    }
    fs::write(ground.folder.path().join("app/web/page"), "two").map_err(said)?;
    refused("changed, no engine", ground.deploy(&options).await, "VD0959")?;
    ground.engine = None;
    let report = ground.deploy(&options).await.map_err(said)?;
    if report.outcome.kind != OutcomeKind::Applied || ground.container()["image"] == image.as_str() {
        return Err(format!("a changed page is another image: {:?}", report.outcome).into());
    }

    // A build that fails leaves the release as it is.
    let before = ground.container();
    let failing = MANIFEST.replace("cp web/page", "false && cp web/page");
    fs::write(ground.folder.path().join("app/deployment.yaml"), failing).map_err(said)?;
    let report = ground.deploy(&options).await.map_err(said)?;
    let cause = format!("{:?}", report.outcome.cause);
    if report.outcome.kind != OutcomeKind::RolledBack
        || !cause.contains("exit status 1")
        || ground.container() != before
    {
        return Err(format!("a build that fails: {:?}", report.outcome).into());
    }
    let (workspace, target) = ground.app().await.map_err(said)?;
    let change =
        workspace.destroy(&target.stack, &DestroyOptions::default(), &Run::new()).await.map_err(said)?;
    let outcome = change.apply().await.map_err(said)?.outcome;
    if outcome.kind == OutcomeKind::Applied { Ok(()) } else { Err(format!("{outcome:?}").into()) }
}
