use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::time::{Instant, sleep};
use vrooli_deploy_core::names::{Digest, ReleaseNumber, UnitId};
use vrooli_deploy_core::provider::{
    Artefact, BuildRequest, DrainReport, ErrorKind, Fleet, FleetCapabilities, LogPage, LogQuery,
    MigrationReport, OpCtx, ProbeReport, ProviderError, Reading, Result, Routing, SmokeReport, UnitObserved,
    UnitState,
};
use vrooli_deploy_core::release::Release;

use super::cloud::FakeCloud;
use super::fault::CallRecord;
use super::world::World;

/// A fleet in memory. A release whose version says `unhealthy`, `unsmoked`, `dying`, `erring`
/// (30 % of requests fail), `slow`, `leaking` or `quiet` (nobody asks it anything) is so; a
/// build step called `fail` fails.
#[derive(Debug)]
pub struct FakeFleet {
    cloud: FakeCloud,
}

impl FakeFleet {
    /// The fleet of a cloud.
    #[must_use]
    pub fn new(cloud: FakeCloud) -> Self {
        Self { cloud }
    }

    async fn call<T: Send + 'static>(
        &self,
        cx: &OpCtx,
        name: &'static str,
        about: impl ToString,
        changes: bool,
        effect: impl FnOnce(&mut World, &OpCtx) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let record = CallRecord { name, kind: "fleet".to_owned(), about: about.to_string(), changes };
        let inner = cx.clone();
        self.cloud
            .call(cx, record, move |world| {
                let answer = effect(world, &inner);
                world.watch(&inner.stack, name);
                answer
            })
            .await
    }
}

fn source(request: &BuildRequest) -> Result<Digest> {
    let mut request = request.clone();
    request.root = Path::new("").to_owned();
    Digest::of_json(&request).map_err(|e| ProviderError::new(ErrorKind::Unexpected, e.to_string()))
}

#[async_trait]
impl Fleet for FakeFleet {
    fn capabilities(&self) -> FleetCapabilities {
        let mut capabilities = FleetCapabilities::default();
        capabilities.keeps_old = true;
        capabilities.migrates = true;
        capabilities.weights = true;
        capabilities.reverts = true;
        capabilities.keeps_watch = true;
        capabilities.measures = true;
        capabilities
    }

    async fn source_digest(&self, cx: &OpCtx, request: &BuildRequest) -> Result<Digest> {
        let digest = source(request)?;
        self.call(cx, "source", "", false, move |_, _| Ok(digest)).await
    }

    async fn build(&self, cx: &OpCtx, request: &BuildRequest) -> Result<Artefact> {
        let (digest, fails) = (source(request)?, request.steps.iter().any(|step| step.name == "fail"));
        cx.output.line("building");
        self.call(cx, "build", "", true, move |world, cx| {
            world.fleet(cx)?;
            if fails {
                return Err(ProviderError::new(ErrorKind::App, "step `fail` ended with status 1")
                    .with_context("log", "error: it does not compile"));
            }
            Ok(Artefact {
                digest: Digest::of(digest.as_str().as_bytes()),
                location: format!("artefacts/{}", digest.short()),
                source: digest,
                root: ".".to_owned(),
                images: BTreeMap::new(),
            })
        })
        .await
    }

    async fn stage(&self, cx: &OpCtx, release: &Release) -> Result<()> {
        let release = release.clone();
        self.call(cx, "stage", release.number, true, move |world, cx| {
            world.fleet(cx)?.staged.insert(release.number, release);
            Ok(())
        })
        .await
    }

    async fn migrate(&self, cx: &OpCtx, release: &Release) -> Result<MigrationReport> {
        let files: Vec<String> = release.bundle.migrations.iter().map(|m| m.file.clone()).collect();
        self.call(cx, "migrate", release.number, true, move |world, cx| {
            let fleet = world.fleet(cx)?;
            let mut report = MigrationReport::default();
            for file in files {
                if fleet.ledger.contains_key(&file) {
                    report.already.push(file);
                } else {
                    fleet.ledger.insert(file.clone(), 1);
                    report.applied.push(file);
                }
            }
            Ok(report)
        })
        .await
    }

    async fn start(&self, cx: &OpCtx, release: &Release, unit: &UnitId) -> Result<UnitObserved> {
        let observed = UnitObserved {
            release: release.number,
            unit: unit.clone(),
            host: "fake".to_owned(),
            state: UnitState::Running,
            pid: None,
            ports: BTreeMap::new(),
            restarts: 0,
            last_exit: None,
            log: None,
        };
        self.call(cx, "start", format!("{}/{unit}", release.number), true, move |world, cx| {
            let fleet = world.fleet(cx)?;
            if !fleet.staged.contains_key(&observed.release) {
                return Err(ProviderError::new(
                    ErrorKind::NotFound,
                    format!("{} is not staged", observed.release),
                ));
            }
            fleet.starts += 1;
            let key = (observed.release, observed.unit.clone());
            Ok(fleet.units.entry(key).or_insert(observed).clone())
        })
        .await
    }

    async fn probe(&self, cx: &OpCtx, release: &Release, unit: &UnitId) -> Result<ProbeReport> {
        let (number, unit) = (release.number, unit.clone());
        let sick = release.bundle.version.contains("unhealthy");
        self.call(cx, "probe", format!("{number}/{unit}"), false, move |world, cx| {
            let runs = world.fleet_seen(cx).units.contains_key(&(number, unit));
            let healthy = runs && !sick;
            Ok(ProbeReport {
                healthy,
                status: runs.then_some(if sick { 503 } else { 200 }),
                body: sick.then(|| r#"{"status":"unhealthy"}"#.to_owned()),
                reason: (!healthy)
                    .then(|| if runs { "it says `unhealthy`" } else { "it does not run" }.to_owned()),
                log: if sick { vec!["cannot reach the database".to_owned()] } else { Vec::new() },
            })
        })
        .await
    }

    async fn smoke(&self, cx: &OpCtx, release: &Release, _through_edge: bool) -> Result<SmokeReport> {
        let fails = release.bundle.version.contains("unsmoked");
        self.call(cx, "smoke", release.number, false, move |world, cx| {
            world.fleet_seen(cx);
            Ok(SmokeReport {
                passed: u32::from(!fails),
                failed: if fails { vec!["GET / answered 500".to_owned()] } else { Vec::new() },
            })
        })
        .await
    }

    async fn route(&self, cx: &OpCtx, routing: &Routing) -> Result<Routing> {
        let routing = routing.clone();
        self.call(cx, "route", format!("{:?}", routing.weights), true, move |world, cx| {
            Ok(world.fleet(cx)?.route(routing, Instant::now()))
        })
        .await
    }

    async fn routing(&self, cx: &OpCtx) -> Result<Routing> {
        self.call(cx, "routing", "", false, |world, cx| Ok(world.fleet_seen(cx).routing.clone())).await
    }

    async fn drain(
        &self,
        cx: &OpCtx,
        release: ReleaseNumber,
        _units: &BTreeSet<UnitId>,
        deadline: Duration,
    ) -> Result<DrainReport> {
        sleep(deadline.min(Duration::from_secs(1))).await;
        self.call(cx, "drain", release, false, |world, cx| {
            world.fleet_seen(cx);
            Ok(DrainReport::default())
        })
        .await
    }

    async fn samples(&self, cx: &OpCtx, _since: Option<Timestamp>) -> Result<Vec<Reading>> {
        self.call(cx, "samples", "", false, |world, cx| {
            Ok(vec![world.fleet_seen(cx).reading(Instant::now())])
        })
        .await
    }

    async fn keep_watch(&self, _cx: &OpCtx) -> Result<()> {
        // A test is what goes on with it.
        Ok(())
    }

    async fn stop(&self, cx: &OpCtx, release: ReleaseNumber, unit: &UnitId) -> Result<()> {
        let key = (release, unit.clone());
        self.call(cx, "stop", format!("{release}/{unit}"), true, move |world, cx| {
            world.fleet(cx)?.units.remove(&key);
            Ok(())
        })
        .await
    }

    async fn remove(&self, cx: &OpCtx, release: ReleaseNumber) -> Result<()> {
        self.call(cx, "remove", release, true, move |world, cx| {
            let fleet = world.fleet(cx)?;
            if fleet.units.keys().any(|(of, _)| *of == release) {
                return Err(ProviderError::new(ErrorKind::Conflict, format!("{release} still runs")));
            }
            fleet.staged.remove(&release);
            Ok(())
        })
        .await
    }

    async fn list(&self, cx: &OpCtx) -> Result<Vec<UnitObserved>> {
        self.call(cx, "list", "", false, |world, cx| {
            let fleet = world.fleet_seen(cx);
            let mut units: Vec<UnitObserved> = fleet.units.values().cloned().collect();
            for unit in &mut units {
                let dying =
                    fleet.staged.get(&unit.release).is_some_and(|r| r.bundle.version.contains("dying"));
                if dying {
                    unit.state = UnitState::Failed;
                    unit.last_exit = Some("exit status 1".to_owned());
                }
            }
            Ok(units)
        })
        .await
    }

    async fn staged(&self, cx: &OpCtx) -> Result<Vec<Release>> {
        self.call(cx, "staged", "", false, |world, cx| {
            Ok(world.fleet_seen(cx).staged.values().cloned().collect())
        })
        .await
    }

    async fn forget(&self, cx: &OpCtx, _data: bool) -> Result<()> {
        self.call(cx, "forget", "", true, |world, cx| {
            world.fleet(cx)?;
            Ok(())
        })
        .await
    }

    async fn revive(&self, _cx: &OpCtx) -> Result<()> {
        // Nothing of ours runs in this cloud.
        Ok(())
    }

    async fn urls(&self, cx: &OpCtx) -> Result<Vec<String>> {
        Ok(vec![format!("https://{}.fake.example/", cx.stack.app)])
    }

    async fn logs(&self, cx: &OpCtx, _query: &LogQuery) -> Result<LogPage> {
        self.call(cx, "logs", "", false, |world, cx| {
            world.fleet_seen(cx);
            Ok(LogPage::default())
        })
        .await
    }
}
