//! Releases on Fargate in other situations: of an app that is scaled, with no more rights than are printed,
//! and of the product's own example.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use libtest_mimic::Failed;
use serde_json::Value;
use vrooli_deploy_core::engine::OutcomeKind;
use vrooli_deploy_core::workspace::{DestroyOptions, Run, TargetOptions};
use vrooli_deploy_tests::moto::census::Census;
use vrooli_deploy_tests::moto::tasks::Image;

use super::{Ground, MANIFEST, TASKS, is};
use crate::desk::{root, said};
use crate::permissions::{Enforced, user};

impl Ground {
    /// As a scaler does it.
    fn said_by_scaler(&self, slot: &str, count: u32) {
        let form = serde_json::json!({ "cluster": "shop-default", "service": slot, "desiredCount": count });
        self.ecs("UpdateService", &form.to_string());
    }

    /// May its scaler take tasks away, and add some?
    fn scaler(&self, slot: &str) -> (bool, bool) {
        let form = r#"{"ServiceNamespace":"ecs"}"#;
        let target = "AnyScaleFrontendService.DescribeScalableTargets";
        let address = self.emulator.address();
        let said = vrooli_deploy_tests::moto::json(address, "application-autoscaling", target, form).unwrap();
        let said: Value = serde_json::from_str(said.split_once("\r\n\r\n").unwrap().1).unwrap();
        let mut all = said["ScalableTargets"].as_array().into_iter().flatten();
        let one = all.find(|one| one["ResourceId"].as_str().is_some_and(|id| id.ends_with(slot)));
        let suspended = |what: &str| one.is_some_and(|one| one["SuspendedState"][what] == true);
        (!suspended("DynamicScalingInSuspended"), !suspended("DynamicScalingOutSuspended"))
    }

    /// What Secrets Manager holds at an ARN as task definitions name it: secret, field, stage and version.
    fn value(&self, from: &str) -> String {
        let parts: Vec<&str> = from.split(':').collect();
        let mut form = serde_json::json!({ "SecretId": parts[..7].join(":") });
        for (at, name) in [(8, "VersionStage"), (9, "VersionId")] {
            if let Some(word) = parts.get(at).filter(|word| !word.is_empty()) {
                form[name] = (*word).into();
            }
        }
        let target = "secretsmanager.GetSecretValue";
        let address = self.emulator.address();
        let said = vrooli_deploy_tests::moto::json(address, "secretsmanager", target, &form.to_string());
        let said: Value = serde_json::from_str(said.unwrap().split_once("\r\n\r\n").unwrap().1).unwrap();
        said["SecretString"].as_str().unwrap_or_default().to_owned()
    }

    async fn runs(&self, what: &str, tasks: usize) -> Result<(), Failed> {
        for _ in 0..100 {
            if self.tasks.running() == tasks {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(format!("{what}: {:?} run, not {tasks}", self.tasks.counts()).into())
    }
}

/// An app that is scaled keeps its count when another release takes over, and its scaler the word: only
/// what serves alone is made smaller, and what is empty stays so.
pub(crate) async fn under_load() -> Result<(), Failed> {
    let routes = "routes: [{ path: / }]";
    let scaled = format!("{routes}\n    scaling: {{ min: 2, max: 9 }}");
    let ground = Ground::of(&MANIFEST.replace(routes, &scaled)).await?;
    // Requests of a new stack go to blue, where nobody is: the first release starts in the other.
    let (first, second) = ("shop-default-app-green", "shop-default-app-blue");
    is(ground.deploy(&ground.serves("one")).await?, OutcomeKind::Applied)?;
    ground.runs("first", TASKS).await?;
    ground.said_by_scaler(first, 5);
    ground.runs("scaled", 6).await?;
    is(ground.deploy(&ground.serves("two")).await?, OutcomeKind::Applied)?;
    ground.runs("two", 6).await?;
    let words = || [ground.scaler(first), ground.scaler(second)];
    if words() != [(false, false), (true, true)] {
        return Err(format!("two serves: {:?}", words()).into());
    }
    // What is scaled while somebody decides is taken over, too.
    let mut held = ground.serves("three");
    held.strategy_options.hold = true;
    is(ground.deploy(&held).await?, OutcomeKind::OnHold)?;
    if words() != [(true, true), (false, true)] {
        return Err(format!("three serves, two is warm: {:?}", words()).into());
    }
    ground.said_by_scaler(second, 7);
    let workspace = ground.workspace().await.map_err(said)?;
    let app = workspace.resolve("shop", &TargetOptions::default()).await.map_err(said)?;
    let back = workspace.abort(&app.stack, &Run::new()).await.map_err(said)?;
    is(back.outcome, OutcomeKind::Applied)?;
    ground.answers("back", "two").await?;
    ground.runs("back", 8).await?;
    let mut canary = ground.serves("four");
    canary.strategy = Some("canary".to_owned());
    canary.strategy_options.steps = vec![50];
    canary.strategy_options.hold = true;
    is(ground.deploy(&canary).await?, OutcomeKind::OnHold)?;
    if words() != [(false, true), (false, true)] {
        return Err(format!("both serve: {:?}", words()).into());
    }
    ground.said_by_scaler(second, 9);
    let done = workspace.promote(&app.stack, &Run::new()).await.map_err(said)?;
    is(done.outcome, OutcomeKind::Applied)?;
    ground.answers("promoted", "four").await?;
    ground.runs("promoted", 10).await?;
    ground.leave().await
}

/// The rights that are printed are enough for releases, from the first to the end.
pub(crate) async fn with_rights() -> Result<(), Failed> {
    let mut ground = Ground::new().await?;
    let routes = "routes: [{ path: / }]";
    let scaled = MANIFEST.replace(routes, &format!("{routes}\n    scaling: {{ min: 2, max: 9 }}"));
    std::fs::write(ground.manifest(), scaled)?;
    let one = ground.serves("one");
    let workspace = ground.workspace().await.map_err(said)?;
    let app = ground.manifest().display().to_string();
    let app = workspace.resolve(&app, &TargetOptions::default()).await.map_err(said)?;
    let (rights, _) = workspace.permissions(&app, &one).await.map_err(said)?;
    drop(workspace);
    ground.keys = Some(user(ground.emulator.address(), "deployer", &rights.policies));
    let enforced = Enforced::on(ground.emulator.address());
    is(ground.deploy(&one).await?, OutcomeKind::Applied)?;
    is(ground.deploy(&ground.serves("two")).await?, OutcomeKind::Applied)?;
    is(ground.deploy(&ground.does("sick", Image::Sick(503))).await?, OutcomeKind::RolledBack)?;
    is(ground.rollback().await?, OutcomeKind::Applied)?;
    ground.answers("rollback", "one").await?;
    let outcome = is(ground.destroy().await?, OutcomeKind::Applied)?;
    drop(enforced);
    let left: Vec<_> = ground.definitions();
    if outcome.left_behind.is_empty() && left.is_empty() {
        return Ok(());
    }
    Err(format!("left: {:?} {left:?}", outcome.left_behind).into())
}

/// The files below a folder that hold some bytes.
fn holders(folder: &Path, bytes: &[u8]) -> io::Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            all.extend(holders(&path, bytes)?);
        } else if path.is_file() && std::fs::read(&path)?.windows(bytes.len()).any(|some| some == bytes) {
            all.push(path);
        }
    }
    Ok(all)
}

/// An app that needs Redis, with no more rights than are printed: its tasks get the address with the password,
/// from Secrets Manager, and no file of ours and no task definition holds it.
pub(crate) async fn with_redis() -> Result<(), Failed> {
    let needs = "dependencies: { resources: { redis: {} } }";
    let mut ground = Ground::of(&format!("{MANIFEST}{needs}\n")).await?;
    let one = ground.serves("one");
    let workspace = ground.workspace().await.map_err(said)?;
    let app = ground.manifest().display().to_string();
    let app = workspace.resolve(&app, &TargetOptions::default()).await.map_err(said)?;
    let (rights, _) = workspace.permissions(&app, &one).await.map_err(said)?;
    drop(workspace);
    ground.keys = Some(user(ground.emulator.address(), "deployer", &rights.policies));
    let enforced = Enforced::on(ground.emulator.address());
    is(ground.deploy(&one).await?, OutcomeKind::Applied)?;
    ground.answers("first", "one").await?;
    is(ground.deploy(&one).await?, OutcomeKind::NoChange)?;
    let definitions: Vec<Value> = ground.definitions().iter().map(|one| one.parse().unwrap()).collect();
    let containers =
        definitions.iter().flat_map(|one| one["taskDefinition"]["containerDefinitions"].as_array());
    let secrets = containers.flatten().flat_map(|one| one["secrets"].as_array()).flatten();
    let arns: Vec<&str> = secrets
        .filter(|one| one["name"] == "REDIS_URL")
        .filter_map(|one| one["valueFrom"].as_str())
        .collect();
    // Every container of the release has it.
    let Some(arn) = arns.first().filter(|_| arns.len() == 3) else { return Err(format!("{arns:?}").into()) };
    let url = ground.value(arn);
    let password = url.strip_prefix("rediss://:").and_then(|rest| rest.split_once('@')).map(|(word, _)| word);
    let password = password.filter(|word| word.len() >= 16).ok_or("it is no address with a password")?;
    if !url.ends_with(".cache.amazonaws.com:6379/0") {
        return Err("it is not the address of the cache".into());
    }
    let held = holders(ground.folder.path(), password.as_bytes()).map_err(said)?;
    if !held.is_empty() || definitions.iter().any(|one| one.to_string().contains(password)) {
        return Err(format!("the password is in {held:?}, or in a task definition").into());
    }
    let outcome = is(ground.destroy().await?, OutcomeKind::Applied)?;
    drop(enforced);
    let left = Census::take(ground.emulator.address())?.against(&ground.before).too_many;
    if outcome.left_behind.is_empty() && left.is_empty() {
        return Ok(());
    }
    Err(format!("left: {:?} {left:?}", outcome.left_behind).into())
}

/// The product's own example, as it comes: its API and its page are routed to.
pub(crate) async fn example() -> Result<(), Failed> {
    for environment in ["default", "production"] {
        let ground = Ground::new().await?;
        let workspace = ground.workspace().await.map_err(said)?;
        let example = root().join("examples/picker-wheel");
        let environment_name = Some(environment.parse().map_err(said)?);
        let target = TargetOptions { environment: environment_name, ..TargetOptions::default() };
        let app = workspace.resolve(&example.display().to_string(), &target).await.map_err(said)?;
        for name in ["one", "two"] {
            let mut options = ground.serves(name);
            options.provider = Some("aws".parse().map_err(said)?);
            options.region = Some("us-east-1".to_owned());
            options.drop = vec!["n8n".parse().map_err(said)?];
            let change = workspace.deploy(&app, &options, &Run::new()).await.map_err(said)?;
            is(change.apply().await.map_err(said)?.outcome, OutcomeKind::Applied)?;
            ground.all_answer(environment, &[("/", "ui"), ("/api/wheels", "api")], name).await?;
        }
        let drift = workspace.drift(&app.stack).await.map_err(said)?;
        if !drift.differences.is_empty() {
            return Err(format!("{environment}: {:?}", drift.differences).into());
        }
        let mut all = DestroyOptions::default();
        all.data = Some(app.stack.app.to_string());
        let change = workspace.destroy(&app.stack, &all, &Run::new()).await.map_err(said)?;
        let outcome = is(change.apply().await.map_err(said)?.outcome, OutcomeKind::Applied)?;
        let left = Census::take(ground.emulator.address())?.against(&ground.before).too_many;
        if !outcome.left_behind.is_empty() || !left.is_empty() {
            return Err(format!("{environment}: {:?} {left:?}", outcome.left_behind).into());
        }
    }
    Ok(())
}
