//! Trials of a fleet.

use std::sync::Arc;

use libtest_mimic::Failed;
use vrooli_deploy_core::names::ReleaseNumber;
use vrooli_deploy_core::plan::Draft;
use vrooli_deploy_core::provider::{BuildRequest, ErrorKind, Fleet, FleetPart, Routing};
use vrooli_deploy_core::release::strategy::units;
use vrooli_deploy_core::release::{Bundle, Release};

use super::ground::{Ground, told};
use super::{Check, ensure, skip};

type Subject = (BuildRequest, Draft);

/// Clause, what is tried, and how.
pub(super) const CHECKS: &[(&str, &str, Check<Subject>)] = &[
    ("F1", "start-and-stop-twice", |g, s| Box::pin(start_and_stop(g, s))),
    ("F1", "stage-and-remove-twice", |g, s| Box::pin(stage_and_remove(g, s))),
    ("F2", "older-holder", |g, s| Box::pin(older_holder(g, s))),
    ("F2", "reading-needs-no-lease", |g, s| Box::pin(reading(g, s))),
    ("F3", "not-there", |g, s| Box::pin(not_there(g, s))),
    ("F4", "route", |g, s| Box::pin(route(g, s))),
    ("F5", "migrate-twice", |g, s| Box::pin(migrate(g, s))),
    ("F6", "build-twice", |g, s| Box::pin(build(g, s))),
    ("F7", "resting-units", |g, s| Box::pin(resting(g, s))),
    ("F8", "goes-back-by-itself", |g, s| Box::pin(goes_back(g, s))),
    ("F9", "counters-rise", |g, s| Box::pin(counters(g, s))),
    ("F10", "as-it-was-brought", |g, s| Box::pin(as_brought(g, s))),
];

fn fleet(ground: &Ground) -> Result<Arc<dyn Fleet>, Failed> {
    ground.provider().fleet().ok_or_else(|| "the fixture has a release, the provider no fleet".into())
}

async fn release(ground: &Ground, (request, draft): &Subject) -> Result<Release, Failed> {
    let artefact = fleet(ground)?.build(&ground.cx(), request).await.map_err(told)?;
    let bundle = Bundle {
        app: ground.stack().app,
        environment: ground.stack().environment,
        version: draft.version.clone(),
        artefact,
        services: draft.services.clone(),
        env: draft.env.clone(),
        smoke: draft.smoke.clone(),
        strategy: draft.strategy.clone(),
        domain: draft.domain.clone(),
        front: draft.front.clone(),
        capacity: draft.capacity.clone(),
        resources: draft.resources.clone(),
        migrations: draft.migrations.clone(),
    };
    Release::new(ReleaseNumber(1), bundle).map_err(|e| e.to_string().into())
}

async fn staged(ground: &Ground, subject: &Subject) -> Result<Release, Failed> {
    let release = release(ground, subject).await?;
    fleet(ground)?.stage(&ground.cx(), &release).await.map_err(told)?;
    Ok(release)
}

async fn start_and_stop(ground: &Ground, subject: &Subject) -> Result<(), Failed> {
    let (release, fleet, cx) = (staged(ground, subject).await?, fleet(ground)?, ground.cx());
    let Some(unit) = release.bundle.services.iter().flat_map(|(name, config)| units(name, config)).next()
    else {
        return skip("the release has no unit");
    };
    for _ in 0..2 {
        fleet.start(&cx, &release, &unit).await.map_err(told)?;
        let count = fleet.list(&cx).await.map_err(told)?.len();
        ensure(count == 1, || format!("{count} units run"))?;
    }
    for _ in 0..2 {
        fleet.stop(&cx, release.number, &unit).await.map_err(told)?;
        let running = fleet.list(&cx).await.map_err(told)?;
        let any = running.iter().any(|u| u.state == vrooli_deploy_core::provider::UnitState::Running);
        ensure(!any, || format!("{running:?}"))?;
    }
    Ok(())
}

async fn stage_and_remove(ground: &Ground, subject: &Subject) -> Result<(), Failed> {
    let (release, fleet, cx) = (staged(ground, subject).await?, fleet(ground)?, ground.cx());
    fleet.stage(&cx, &release).await.map_err(told)?;
    let staged = fleet.staged(&cx).await.map_err(told)?;
    ensure(staged == [release.clone()], || format!("its own records say {staged:?}"))?;
    for _ in 0..2 {
        fleet.remove(&cx, release.number).await.map_err(told)?;
        let staged = fleet.staged(&cx).await.map_err(told)?;
        ensure(staged.is_empty(), || format!("{staged:?} is still staged"))?;
    }
    Ok(())
}

async fn older_holder(ground: &Ground, subject: &Subject) -> Result<(), Failed> {
    let (release, fleet) = (release(ground, subject).await?, fleet(ground)?);
    let newer = ground.cx_of(ground.stack(), 5);
    fleet.route(&newer, &Routing::default()).await.map_err(told)?;
    let older = ground.cx_of(ground.stack(), 4);
    match fleet.stage(&older, &release).await {
        Err(error) => ensure(error.kind() == ErrorKind::Fenced, || format!("it said {:?}", error.kind()))?,
        Ok(()) => return Err("an older lease holder could stage a release".into()),
    }
    let staged = fleet.staged(&newer).await.map_err(told)?;
    ensure(staged.is_empty(), || "a call that was refused took effect".to_owned())
}

async fn reading(ground: &Ground, _: &Subject) -> Result<(), Failed> {
    let fleet = fleet(ground)?;
    fleet.route(&ground.cx_of(ground.stack(), 5), &Routing::default()).await.map_err(told)?;
    let reader = ground.cx_of(ground.stack(), 0);
    fleet.list(&reader).await.map_err(told)?;
    fleet.routing(&reader).await.map_err(told)?;
    fleet.staged(&reader).await.map_err(told)?;
    Ok(())
}

async fn not_there(ground: &Ground, (_, draft): &Subject) -> Result<(), Failed> {
    let (fleet, cx) = (fleet(ground)?, ground.cx());
    if let Some(unit) = draft.services.iter().flat_map(|(name, config)| units(name, config)).next() {
        fleet.stop(&cx, ReleaseNumber(9), &unit).await.map_err(told)?;
    }
    fleet.remove(&cx, ReleaseNumber(9)).await.map_err(told)
}

async fn route(ground: &Ground, subject: &Subject) -> Result<(), Failed> {
    let (release, fleet, cx) = (staged(ground, subject).await?, fleet(ground)?, ground.cx());
    for unit in release.bundle.services.iter().flat_map(|(name, config)| units(name, config)) {
        fleet.start(&cx, &release, &unit).await.map_err(told)?;
    }
    let to = Routing::all_to(release.number);
    let before = fleet.route(&cx, &to).await.map_err(told)?;
    ensure(before.weights.is_empty(), || format!("before anything was routed it said {before:?}"))?;
    let before = fleet.route(&cx, &to).await.map_err(told)?;
    ensure(before.weights == to.weights, || format!("then it said {before:?}"))?;
    let now = fleet.routing(&cx).await.map_err(told)?;
    ensure(now.weights == to.weights, || format!("it routes {now:?}"))
}

async fn resting(ground: &Ground, subject: &Subject) -> Result<(), Failed> {
    let (release, fleet, cx) = (staged(ground, subject).await?, fleet(ground)?, ground.cx());
    let all: Vec<_> = release.bundle.services.iter().flat_map(|(name, config)| units(name, config)).collect();
    for unit in &all {
        fleet.start(&cx, &release, unit).await.map_err(told)?;
    }
    let Some(unit) = all.first() else { return skip("the release has no unit") };
    let rests = std::collections::BTreeSet::from([unit.clone()]);
    let routing =
        Routing { resting: [(release.number, rests.clone())].into(), ..Routing::all_to(release.number) };
    fleet.route(&cx, &routing).await.map_err(told)?;
    let now = fleet.routing(&cx).await.map_err(told)?;
    ensure(now.resting == routing.resting, || format!("it routes {now:?}"))?;
    let within = std::time::Duration::from_secs(5);
    let report = fleet.drain(&cx, release.number, &rests, within).await.map_err(told)?;
    ensure(report.cut == 0, || format!("nobody asked it anything, and it cut {}", report.cut))
}

async fn goes_back(ground: &Ground, subject: &Subject) -> Result<(), Failed> {
    let (release, fleet, cx) = (staged(ground, subject).await?, fleet(ground)?, ground.cx());
    if !fleet.capabilities().reverts {
        return skip("it does not go back by itself");
    }
    for unit in release.bundle.services.iter().flat_map(|(name, config)| units(name, config)) {
        fleet.start(&cx, &release, &unit).await.map_err(told)?;
    }
    let soon = jiff::Timestamp::now() + std::time::Duration::from_secs(2);
    let back = std::collections::BTreeMap::from([(release.number, 50)]);
    let routing =
        Routing { revert_at: Some(soon), revert_to: back.clone(), ..Routing::all_to(release.number) };
    fleet.route(&cx, &routing).await.map_err(told)?;
    for _ in 0..120 {
        let now = fleet.routing(&cx).await.map_err(told)?;
        if now.weights == back {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    }
    Err("its time came, and it did not go back".into())
}

async fn counters(ground: &Ground, subject: &Subject) -> Result<(), Failed> {
    let (release, fleet) = (staged(ground, subject).await?, fleet(ground)?);
    if !fleet.capabilities().measures {
        return skip("it measures nothing");
    }
    for unit in release.bundle.services.iter().flat_map(|(name, config)| units(name, config)) {
        fleet.start(&ground.cx(), &release, &unit).await.map_err(told)?;
    }
    let reader = ground.cx_of(ground.stack(), 0);
    let first = fleet.samples(&reader, None).await.map_err(told)?;
    let Some(last) = first.last() else { return Err("a fleet that measures gave no reading".into()) };
    ensure(last.releases.contains_key(&release.number), || format!("{last:?} lacks {}", release.number))?;
    ensure(first.is_sorted_by_key(|r| r.at), || format!("not oldest first: {first:?}"))?;
    let later = fleet.samples(&reader, Some(last.at)).await.map_err(told)?;
    ensure(later.iter().all(|r| r.at >= last.at), || format!("older than asked for: {later:?}"))
}

async fn as_brought(ground: &Ground, subject: &Subject) -> Result<(), Failed> {
    let (release, fleet, cx) = (staged(ground, subject).await?, fleet(ground)?, ground.cx());
    for unit in release.bundle.services.iter().flat_map(|(name, config)| units(name, config)) {
        fleet.start(&cx, &release, &unit).await.map_err(told)?;
    }
    fleet.route(&cx, &Routing::all_to(release.number)).await.map_err(told)?;
    let reader = ground.cx_of(ground.stack(), 0);
    let seen = fleet.differences(&reader, &release).await.map_err(told)?;
    ensure(seen.is_empty(), || format!("{seen:?}"))?;
    let bundle = Bundle { version: format!("{}-other", release.bundle.version), ..release.bundle.clone() };
    let other = Release::new(release.number, bundle).map_err(|e| e.to_string())?;
    let seen = fleet.differences(&reader, &other).await.map_err(told)?;
    ensure(seen.len() < 2 && seen.iter().all(|one| one.part == FleetPart::Record), || format!("{seen:?}"))
}

async fn migrate(ground: &Ground, subject: &Subject) -> Result<(), Failed> {
    if subject.1.migrations.is_empty() {
        return skip("the release has no SQL files");
    }
    let (release, fleet, cx) = (staged(ground, subject).await?, fleet(ground)?, ground.cx());
    let files: Vec<_> = release.bundle.migrations.iter().map(|m| m.file.clone()).collect();
    let first = fleet.migrate(&cx, &release).await.map_err(told)?;
    ensure(first.applied == files, || format!("it applied {:?} of {files:?}", first.applied))?;
    let second = fleet.migrate(&cx, &release).await.map_err(told)?;
    ensure(second.applied.is_empty() && second.already == files, || format!("then {second:?}"))
}

async fn build(ground: &Ground, subject: &Subject) -> Result<(), Failed> {
    let (fleet, cx) = (fleet(ground)?, ground.cx());
    let source = fleet.source_digest(&cx, &subject.0).await.map_err(told)?;
    let first = fleet.build(&cx, &subject.0).await.map_err(told)?;
    let second = fleet.build(&cx, &subject.0).await.map_err(told)?;
    ensure(first == second, || format!("{first:?}, then {second:?}"))?;
    ensure(first.source == source, || format!("built from {}, but the source is {source}", first.source))
}
