//! Caches, which the emulator is made to have (`tests/src/moto/caches.rs`): what is waited for, what is told to
//! nobody but the engine, and what bears a cache's marks without being one.

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Failed;
use serde_json::Value;
use vrooli_deploy_core::engine::OutcomeKind;
use vrooli_deploy_core::provider::{Created, PhysicalId, ProviderError, Retryability};
use vrooli_deploy_core::workspace::{RebuiltHow, Run};
use vrooli_deploy_tests::conformance::Sample;
use vrooli_deploy_tests::fault_proxy::Fault;
use vrooli_deploy_tests::moto::caches::pace;
use vrooli_deploy_tests::moto::census::Census;
use vrooli_deploy_tests::moto::wire::{action, refused};

use crate::desk::{Desk, said};
use crate::fixture::{AwsFixture, AwsPlace, token};
use crate::rig::query;

/// What it stands on, and itself.
const KINDS: &[&str] = &["aws.secret", "aws.cache-subnet-group", "aws.cache"];
/// As long as states last at first.
const QUICK: Duration = Duration::from_millis(100);

fn told(error: ProviderError) -> String {
    error.to_string()
}

type Made = (Sample, PhysicalId, Value);

async fn made(place: &AwsPlace) -> Result<Made, String> {
    let all = place.make_those(|kind| KINDS.contains(&kind)).await.map_err(told)?;
    all.into_iter().find(|(sample, ..)| sample.kind.as_str() == "aws.cache").ok_or("no cache".to_owned())
}

/// AWS takes minutes, in which it tells neither an address nor whose a cache is: that is waited for, and a run that
/// ended in between is gone on with.
pub(crate) async fn half_made(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let address = fixture.emulator.address();
    let place = fixture.place().await;
    let (sample, id, spec) = made(&place).await?;
    place.provider.delete(&place.cx(), &sample.kind, &sample.key, &id).await.map_err(told)?;
    // Longer than any of what is asked meanwhile takes.
    pace(address, Duration::from_secs(600))?;
    let cx = place.cx().with_token(Some(token(&sample.key)));
    let make = || place.provider.create(&cx, &sample.kind, &sample.key, &spec);
    let ended = tokio::time::timeout(Duration::from_secs(2), make()).await;
    if ended.is_ok() {
        return Err(format!("it was not waited for: {ended:?}").into());
    }
    let found = place.provider.find(&place.cx(), &sample.kind, &sample.key, None).await.map_err(told)?;
    if !found.is_empty() {
        return Err(format!("one without an address is taken for made: {found:?}").into());
    }
    let all = place.all().await.map_err(told)?;
    let (kind, seen) = all.iter().find(|(_, found)| found.id == id).ok_or("it is not in the inventory")?;
    if place.outputs([(kind, seen)]).map_err(told)?[&sample.key].contains_key("host") {
        return Err(format!("it has an address: {seen:?}").into());
    }
    pace(address, QUICK)?;
    match make().await.map_err(told)? {
        Created::Read { id: same, observed, .. } if same == id && observed["host"] != "" => {}
        other => return Err(format!("{other:?}").into()),
    }
    if place.account.calls().get("elasticache:CreateReplicationGroup") != Some(&2) {
        return Err(format!("it was made again: {:?}", place.account.calls()).into());
    }
    // While it goes away its name is nobody's, and is free afterwards.
    let form = format!(
        "Action=DeleteReplicationGroup&ReplicationGroupId={}&Version=2015-02-02",
        spec["name"].as_str().unwrap()
    );
    pace(address, Duration::from_secs(600))?;
    query(address, "elasticache", &form);
    if place.all().await.map_err(told)?.iter().any(|(_, found)| found.id == id) {
        return Err("one that goes away is there".into());
    }
    if tokio::time::timeout(Duration::from_secs(2), make()).await.is_ok() {
        return Err("it was made before its name was free".into());
    }
    pace(address, QUICK)?;
    make().await.map_err(told)?;
    place.empty().await.map_err(Failed::from)
}

/// Replicas and what makes them take over are two calls: a run that ends between them is gone on with.
pub(crate) async fn half_grown(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let (sample, id, mut want) = made(&place).await?;
    want["nodes"] = 3.into();
    let pure = place.provider.kind(&sample.kind).unwrap();
    let seen = async || {
        let found = place.provider.find(&place.cx(), &sample.kind, &sample.key, Some(&id)).await;
        found.map_err(told)?.pop().map(|found| found.observed).ok_or("it is gone".to_owned())
    };
    place.proxy.break_when(|request| {
        let refuse = action(request) == "ModifyReplicationGroup";
        refuse.then(|| Fault::Refused(refused(request, "AccessDenied", "not allowed", 403)))
    });
    let update = async |have: &Value| {
        place.provider.update(&place.cx(), &sample.kind, &sample.key, &id, have, &want).await
    };
    match update(&seen().await?).await {
        Err(error) if error.retry() == Retryability::Never => {}
        other => return Err(format!("{other:?}").into()),
    }
    place.proxy.mend();
    let have = seen().await?;
    let differs = pure.diff(&want, &have).unwrap();
    let left = format!("{differs:?}");
    if have["nodes"] != 3 || have["failover"] != false || !left.contains("failover") {
        return Err(format!("{left}: {have}").into());
    }
    update(&have).await.map_err(told)?;
    let have = seen().await?;
    if have["failover"] != true
        || pure.diff(&want, &have).unwrap() != vrooli_deploy_core::provider::Change::None
    {
        return Err(format!("{have}").into());
    }
    place.empty().await.map_err(Failed::from)
}

/// Its password is made once, kept by AWS, and told to the engine as a secret, as is the address that holds it.
pub(crate) async fn password(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let (sample, _, spec) = made(&place).await?;
    let cx = place.cx().with_token(Some(token(&sample.key)));
    let mut passwords = Vec::new();
    for _ in 0..2 {
        let created = place.provider.create(&cx, &sample.kind, &sample.key, &spec).await.map_err(told)?;
        let Created::Read { observed, secrets, .. } = created else { return Err("it is not read".into()) };
        let of = |name: &str| {
            let secret = secrets.iter().find(|(output, _)| output.as_str() == name);
            secret.map(|(_, secret)| secret.expose().clone()).unwrap_or_default()
        };
        let (password, url) = (of("password"), of("url"));
        let host = observed["host"].as_str().unwrap_or_default();
        if password.len() < 16 || url != format!("rediss://:{password}@{host}:6379/0") {
            return Err(format!("a password of {} characters", password.len()).into());
        }
        if observed.to_string().contains(&password) {
            return Err("what is seen holds the password".into());
        }
        passwords.push(password);
    }
    if passwords[0] != passwords[1] {
        return Err("made again it has another password".into());
    }
    place.empty().await.map_err(Failed::from)
}

/// An app that needs Redis: planned and made with all that it stands on, nothing left to do, its state lost and built
/// again with the cache's address; its nodes, which bear its tags, are nobody's orphans; and nothing is left.
pub(crate) async fn of_an_app(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let census = || Census::take(fixture.emulator.address()).map_err(said);
    let fresh = census()?;
    let lost = Desk::new(&place.proxy.url(), "cached", "cached.yaml").await;
    let outcome = lost.deploy().await.map_err(said)?.outcome;
    if outcome.kind != OutcomeKind::Applied || lost.steps().await.map_err(said)? != 0 {
        return Err(format!("{outcome:?}").into());
    }
    let there = census()?;
    let desk = Desk::new(&place.proxy.url(), "cached", "cached.yaml").await;
    let orphans = desk.workspace.orphans(&Desk::everywhere()).await.map_err(said)?.orphans;
    let caches: Vec<_> = orphans
        .iter()
        .filter(|one| one.kind.as_ref().is_some_and(|kind| kind.as_str() == "aws.cache"))
        .collect();
    if caches.len() != 1 || caches[0].monthly.is_none() {
        return Err(format!("{caches:#?}").into());
    }
    let options = Desk::rebuild_options(Some("cached/production"));
    let rebuilt = desk.workspace.rebuild(&desk.target, &options, &Run::new()).await.map_err(said)?;
    let how = |thing: &&vrooli_deploy_core::workspace::RebuiltThing| {
        !matches!(thing.how, RebuiltHow::Found | RebuiltHow::TakenOver)
    };
    let missing: Vec<_> = rebuilt.things.iter().filter(how).collect();
    let steps = desk.steps().await.map_err(said)?;
    let drift = desk.workspace.drift(desk.stack()).await.map_err(said)?.differences;
    if !missing.is_empty() || steps != 0 || !drift.is_empty() || !census()?.against(&there).is_none() {
        return Err(format!("{missing:?}, {steps} steps, {drift:?}").into());
    }
    desk.destroy().await?;
    let difference = census()?.against(&fresh);
    if difference.is_none() { Ok(()) } else { Err(format!("{difference:?}").into()) }
}
