//! Releases on Fargate in other situations: of an app that is scaled, with no more rights than are printed,
//! and of the product's own example.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use libtest_mimic::Failed;
use serde_json::{Value, json};
use vrooli_deploy_core::cost::{Decimal, PlannedCost};
use vrooli_deploy_core::engine::OutcomeKind;
use vrooli_deploy_core::workspace::{
    DeployOptions, DestroyOptions, OperationError, OrphanChoices, RebuildOptions, RebuiltHow, RebuiltThing,
    Run, TargetOptions,
};
use vrooli_deploy_tests::moto::census::Census;
use vrooli_deploy_tests::moto::machines::Image;
use vrooli_deploy_tests::moto::told;

use super::{Ground, MANIFEST, On, TASKS, Visitor, is};
use crate::desk::{Desk, root, said};
use crate::permissions::{Enforced, user};

impl Ground {
    /// As a scaler does it.
    fn said_by_scaler(&self, slot: &str, count: u32) {
        self.ecs(
            "UpdateService",
            &json!({ "cluster": "shop-default", "service": slot, "desiredCount": count }),
        );
    }

    /// May its scaler take tasks away, and add some?
    fn scaler(&self, slot: &str) -> (bool, bool) {
        let form = json!({ "ServiceNamespace": "ecs" });
        let target = "AnyScaleFrontendService.DescribeScalableTargets";
        let said = told(self.emulator.address(), "application-autoscaling", target, &form).unwrap();
        let mut all = said["ScalableTargets"].as_array().into_iter().flatten();
        let one = all.find(|one| one["ResourceId"].as_str().is_some_and(|id| id.ends_with(slot)));
        let suspended = |what: &str| one.is_some_and(|one| one["SuspendedState"][what] == true);
        (!suspended("DynamicScalingInSuspended"), !suspended("DynamicScalingOutSuspended"))
    }

    /// What Secrets Manager holds at an ARN as task definitions name it: secret, field, stage and version.
    fn value(&self, from: &str) -> String {
        let parts: Vec<&str> = from.split(':').collect();
        let mut form = json!({ "SecretId": parts[..7].join(":") });
        for (at, name) in [(8, "VersionStage"), (9, "VersionId")] {
            if let Some(word) = parts.get(at).filter(|word| !word.is_empty()) {
                form[name] = (*word).into();
            }
        }
        let target = "secretsmanager.GetSecretValue";
        let said = told(self.emulator.address(), "secretsmanager", target, &form).unwrap();
        said["SecretString"].as_str().unwrap_or_default().to_owned()
    }

    /// Why the steps of a deployment are, as its plan says it.
    async fn reasons(&self, options: &DeployOptions) -> Result<Vec<String>, Failed> {
        let workspace = self.workspace().await.map_err(said)?;
        let app = self.manifest().display().to_string();
        let app = workspace.resolve(&app, &TargetOptions::default()).await.map_err(said)?;
        let plan = workspace.plan(&app, options).await.map_err(said)?.plan;
        Ok(plan.steps.into_iter().map(|step| step.reason).collect())
    }

    /// How much more a month costs with a deployment than it does now, as its plan says it.
    async fn dearer_by(&self, options: &DeployOptions) -> Result<Decimal, Failed> {
        let workspace = self.workspace().await.map_err(said)?;
        let app = self.manifest().display().to_string();
        let app = workspace.resolve(&app, &TargetOptions::default()).await.map_err(said)?;
        let cost = workspace.plan(&app, options).await.map_err(said)?.cost;
        let change = cost.as_ref().and_then(PlannedCost::change);
        change.map(|change| change.amount).ok_or_else(|| format!("{cost:?}").into())
    }

    /// From here on it may do what `permissions` prints for a deployment, and nothing else.
    async fn has_rights_for(&mut self, options: &DeployOptions) -> Result<Enforced, Failed> {
        let workspace = self.workspace().await.map_err(said)?;
        let app = self.manifest().display().to_string();
        let app = workspace.resolve(&app, &TargetOptions::default()).await.map_err(said)?;
        let (rights, _) = workspace.permissions(&app, options).await.map_err(said)?;
        self.keys = Some(user(self.emulator.address(), "deployer", &rights.policies));
        Ok(Enforced::on(self.emulator.address()))
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
    let ground = Ground::of(On::Fargate, &MANIFEST.replace(routes, &scaled)).await?;
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

/// What a release runs on is part of it: with more, larger or fewer ones asked for another release takes over, which
/// says why, and a release that was gone back to has what it had until the app is deployed again.
pub(crate) async fn of_another_size(on: On) -> Result<(), Failed> {
    let ground = Ground::new(on).await?;
    let size = if on == On::Fargate { "512/2048" } else { "t3.large" };
    let asked = |what: &str| on.said(&MANIFEST.replace("count: 2", what));
    is(ground.deploy(&ground.serves("one")).await?, OutcomeKind::Applied)?;
    ground.runs("two of them", TASKS).await?;
    for (what, why, tasks) in [
        ("count: 3".to_owned(), "`compute/app` is to run on 3 × ", TASKS + 1),
        (format!("count: 3, size: {size}"), "`compute/app` is to run on 3 × ", TASKS + 1),
    ] {
        std::fs::write(ground.manifest(), asked(&what))?;
        let options = ground.serves("one");
        let said = ground.reasons(&options).await?;
        if !said.iter().any(|reason| reason.contains(why) && reason.contains(" instead of ")) {
            return Err(format!("{what}: {said:?}").into());
        }
        let dearer = ground.dearer_by(&options).await?;
        is(ground.deploy(&options).await?, OutcomeKind::Applied)?;
        ground.runs(&what, tasks).await?;
        ground.answers(&what, "one").await?;
        is(ground.deploy(&options).await?, OutcomeKind::NoChange)?;
        let then = ground.dearer_by(&options).await?;
        if dearer.is_zero() || !then.is_zero() {
            return Err(format!("{what}: dearer by {dearer}, and once it was done by {then}").into());
        }
    }
    std::fs::write(ground.manifest(), asked("count: 2"))?;
    is(ground.deploy(&ground.serves("one")).await?, OutcomeKind::Applied)?;
    ground.runs("two again", TASKS).await?;
    is(ground.rollback().await?, OutcomeKind::Applied)?;
    ground.runs("rollback", TASKS + 1).await?;
    for on in [false, true] {
        is(ground.power(on).await?, OutcomeKind::Applied)?;
    }
    ground.runs("started", TASKS + 1).await?;
    is(ground.deploy(&ground.serves("one")).await?, OutcomeKind::Applied)?;
    ground.runs("as the manifest says", TASKS).await?;
    is(ground.deploy(&ground.serves("one")).await?, OutcomeKind::NoChange)?;
    ground.leave().await
}

/// An app whose state and manifest are lost for good: what its releases have is listed with the rest, with what it
/// costs, and goes with it.
pub(crate) async fn as_orphans(on: On) -> Result<(), Failed> {
    let ground = Ground::new(on).await?;
    is(ground.deploy(&ground.serves("one")).await?, OutcomeKind::Applied)?;
    let own = ground.workspace().await.map_err(said)?.orphans(&Desk::everywhere()).await.map_err(said)?;
    if !own.orphans.is_empty() {
        return Err(format!("what an app has that is there is no orphan: {:#?}", own.orphans).into());
    }
    std::fs::remove_dir_all(ground.folder.path().join("state"))?;
    let workspace = ground.workspace().await.map_err(said)?;
    let listed = workspace.orphans(&Desk::everywhere()).await.map_err(said)?.orphans;
    let of_releases: Vec<_> = listed
        .iter()
        .filter(|one| one.key.as_ref().is_some_and(|key| key.as_str().starts_with("release/")))
        .map(|one| {
            (one.kind.as_ref().map_or("", |kind| kind.as_str()), one.monthly.map(|money| money.to_string()))
        })
        .collect();
    let value = ("aws.secret", Some("0.40".to_owned()));
    let families = of_releases.iter().filter(|(kind, _)| *kind == "aws.task-definition").count();
    // All that listens, and the worker.
    let most = if on == On::Fargate { 2 } else { 0 };
    if of_releases.iter().filter(|one| **one == value).count() != 1 || families != most {
        return Err(format!("{of_releases:?} of {listed:#?}").into());
    }
    let app = ground.manifest().display().to_string();
    let stack = workspace.resolve(&app, &TargetOptions::default()).await.map_err(said)?.stack;
    let (everywhere, run, mut choices) = (Desk::everywhere(), Run::new(), OrphanChoices::default());
    choices.data = Some("shop".to_owned());
    match workspace.delete_orphans(&stack, &everywhere, &choices, &run).await.err() {
        Some(OperationError::OtherState { .. }) => {}
        other => return Err(format!("another state's are not refused: {other:?}").into()),
    }
    choices.take_over = Some(stack.to_string());
    let change = workspace.delete_orphans(&stack, &everywhere, &choices, &run).await.map_err(said)?;
    is(change.apply().await.map_err(said)?.outcome, OutcomeKind::Applied)?;
    let left = workspace.orphans(&everywhere).await.map_err(said)?.orphans;
    if !left.is_empty() {
        return Err(format!("{left:#?}").into());
    }
    ground.nothing_is_left()?;
    // No name is kept from whoever comes next.
    is(ground.deploy(&ground.serves("two")).await?, OutcomeKind::Applied)?;
    ground.answers("two", "two").await?;
    ground.leave().await
}

/// A state folder that is lost, as a CI runner's is: refused by name while another owns the app, then built again from
/// what AWS says alone. Nothing is made or removed on the way, both releases are known, and nobody who asks hears of it.
pub(crate) async fn with_a_lost_state(on: On) -> Result<(), Failed> {
    let ground = Ground::new(on).await?;
    for name in ["one", "two"] {
        is(ground.deploy(&ground.serves(name)).await?, OutcomeKind::Applied)?;
    }
    ground.answers("two", "two").await?;
    let value = ground.secret();
    let visitor = Visitor::at(ground.tasks.front());
    let there = Census::take(ground.emulator.address())?;
    std::fs::remove_dir_all(ground.folder.path().join("state"))?;
    let two = ground.serves("two");
    match ground.deploy(&two).await {
        Err(why) if why.contains("another state") => {}
        other => return Err(format!("another state's was deployed: {other:?}").into()),
    }
    let workspace = ground.workspace().await.map_err(said)?;
    let app = ground.manifest().display().to_string();
    let app = workspace.resolve(&app, &TargetOptions::default()).await.map_err(said)?;
    let mut options = RebuildOptions::default();
    options.take_over = Some("shop/default".to_owned());
    let rebuilt = workspace.rebuild(&app, &options, &Run::new()).await.map_err(said)?;
    let came = |thing: &RebuiltThing, all: &[RebuiltHow]| all.contains(&thing.how);
    let known = [RebuiltHow::Found, RebuiltHow::TakenOver, RebuiltHow::HadBack];
    let unknown: Vec<_> = rebuilt.things.iter().filter(|thing| !came(thing, &known)).collect();
    let values = rebuilt.things.iter().filter(|thing| came(thing, &[RebuiltHow::HadBack])).count();
    let difference = Census::take(ground.emulator.address())?.against(&there);
    if !unknown.is_empty() || !difference.is_none() || values != 1 {
        return Err(format!("{unknown:?}; {values} values had back; {difference:?}").into());
    }
    is(ground.deploy(&two).await?, OutcomeKind::NoChange)?;
    is(ground.rollback().await?, OutcomeKind::Applied)?;
    ground.answers("rollback", "one").await?;
    is(ground.deploy(&ground.serves("three")).await?, OutcomeKind::Applied)?;
    ground.answers("three", "three").await?;
    if ground.secret() != value {
        return Err("the app's secret is another one".into());
    }
    visitor.leaves()?;
    ground.leave().await
}

/// The rights that are printed are enough for releases, from the first to the end.
pub(crate) async fn with_rights(on: On) -> Result<(), Failed> {
    let mut ground = Ground::new(on).await?;
    let routes = "routes: [{ path: / }]";
    let scaled = MANIFEST.replace(routes, &format!("{routes}\n    scaling: {{ min: 2, max: 9 }}"));
    std::fs::write(ground.manifest(), on.said(&scaled))?;
    let one = ground.serves("one");
    let enforced = ground.has_rights_for(&one).await?;
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
    let mut ground = Ground::of(On::Fargate, &format!("{MANIFEST}{needs}\n")).await?;
    let one = ground.serves("one");
    let enforced = ground.has_rights_for(&one).await?;
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
pub(crate) async fn example(on: On) -> Result<(), Failed> {
    for environment in ["default", "production"] {
        let ground = Ground::new(on).await?;
        let workspace = ground.workspace().await.map_err(said)?;
        let example = root().join("examples/picker-wheel");
        let environment_name = Some(environment.parse().map_err(said)?);
        let values = on.values(ground.folder.path()).map_err(said)?;
        let target = TargetOptions { environment: environment_name, values, ..TargetOptions::default() };
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

/// A machine that cannot start its containers says why, and one that cannot be had at all is told in AWS's words:
/// both fail the release long before nobody would wait any longer, and the release before serves on.
pub(crate) async fn machines_that_fail() -> Result<(), Failed> {
    let ground = Ground::new(On::Machines).await?;
    is(ground.deploy(&ground.serves("one")).await?, OutcomeKind::Applied)?;
    let lost = ground.serves("lost");
    ground.tasks.machines()?.no_image(super::image("lost").digest().as_str());
    let why = format!("{:?}", is(ground.deploy(&lost).await?, OutcomeKind::RolledBack)?.cause);
    for word in ["machine i-", "the image cannot be fetched", "manifest for"] {
        if !why.contains(word) {
            return Err(format!("nobody says `{word}`: {why}").into());
        }
    }
    let words = "You have requested more vCPU capacity than your current vCPU limit of 5 allows";
    ground.tasks.machines()?.refuse(Some(words));
    let why = ground.deploy(&ground.serves("two")).await?;
    let why = format!("{:?}", is(why, OutcomeKind::RolledBack)?.cause);
    if !why.contains(words) {
        return Err(format!("nobody says what AWS said: {why}").into());
    }
    ground.tasks.machines()?.refuse(None);
    ground.answers("still", "one").await?;
    // AWS still tells of the launch that failed: it is not one of the next release.
    is(ground.deploy(&ground.serves("three")).await?, OutcomeKind::Applied)?;
    ground.answers("three", "three").await?;
    ground.leave().await
}
