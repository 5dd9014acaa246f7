use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::time::{Instant, sleep};
use vrooli_deploy_core::names::{Digest, ReleaseNumber, UnitId};
use vrooli_deploy_core::provider::{
    Artefact, BuildRequest, DrainReport, ErrorKind, Fleet, FleetCapabilities, LogPage, LogQuery,
    MigrationReport, OpCtx, ProbeReport, ProviderError, Reading, Result, Retryability, Routing, SmokeReport,
    UnitObserved, UnitState,
};
use vrooli_deploy_core::release::Release;

use super::world::{Host, SimWorld};

/// How long a host that does not answer is waited for.
const CONNECT: Duration = Duration::from_secs(2);

/// Carries releases on many hosts. A release whose version says `sick:N` has unit N that is
/// never well, `unsmoked` fails its smoke tests, `dying` does not survive its watch. Cheap to
/// clone; clones are the same hosts.
#[derive(Debug, Clone)]
pub struct SimFleet {
    world: Arc<Mutex<SimWorld>>,
    keeps_old: bool,
    measures: bool,
    whole: bool,
}

impl SimFleet {
    /// So many hosts with nothing on them.
    #[must_use]
    pub fn new(hosts: usize, keeps_old: bool) -> Self {
        let mut world = SimWorld::default();
        world.hosts = vec![Host::default(); hosts.max(1)];
        Self { world: Arc::new(Mutex::new(world)), keeps_old, measures: false, whole: false }
    }

    /// The same, and it says what its apps are asked: nothing, as long as nobody asks them.
    #[must_use]
    pub fn measuring(mut self) -> Self {
        self.measures = true;
        self
    }

    /// The same, and instances of a release start and stop together.
    #[must_use]
    pub fn whole(mut self) -> Self {
        self.whole = true;
        self
    }

    /// Its inside, as of now.
    pub fn world(&self) -> MutexGuard<'_, SimWorld> {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.pass(Instant::now());
        world
    }

    /// A call to one host. It arrives even when its caller is gone meanwhile, unless the host is
    /// away or has seen a newer lease by then.
    async fn at<T: Send + 'static>(
        &self,
        host: usize,
        fence: Option<u64>,
        name: String,
        effect: impl FnOnce(&mut Host) -> T + Send + 'static,
    ) -> Result<T> {
        let fleet = self.clone();
        // Hosts are not equally far away, nor is a call as fast as the next.
        let far = {
            let world = fleet.world.lock().unwrap_or_else(PoisonError::into_inner);
            Duration::from_millis(5 + (host as u64 * 7 + world.calls * 13) % 60)
        };
        let call = tokio::spawn(async move {
            sleep(far).await;
            let arrived = {
                let mut world = fleet.world.lock().unwrap_or_else(PoisonError::into_inner);
                let arrived = world.arrive(host, fence, Instant::now(), effect);
                world.check(&name);
                arrived
            };
            match arrived {
                Some(answer) => {
                    sleep(far).await;
                    answer
                }
                None => {
                    sleep(CONNECT).await;
                    Err(ProviderError::new(ErrorKind::Unavailable, format!("host {host} does not answer"))
                        .with_retry(Retryability::Safe)
                        .with_context("host", host.to_string()))
                }
            }
        });
        match call.await {
            Ok(answer) => answer,
            Err(e) => Err(ProviderError::new(ErrorKind::Unexpected, e.to_string())),
        }
    }

    /// The same call to every host. Fails with the first that failed, once all have answered.
    async fn everywhere<T: Send + 'static>(
        &self,
        fence: Option<u64>,
        name: &str,
        effect: impl Fn(&mut Host) -> T + Clone + Send + Sync + 'static,
    ) -> Result<Vec<T>> {
        let count = self.world().hosts.len();
        let calls = (0..count).map(|host| self.at(host, fence, format!("{name} on {host}"), effect.clone()));
        join_all(calls).await.into_iter().collect()
    }

    fn host_of(&self, unit: &UnitId) -> usize {
        self.world().host_of(unit)
    }
}

#[async_trait]
impl Fleet for SimFleet {
    fn capabilities(&self) -> FleetCapabilities {
        let mut capabilities = FleetCapabilities::default();
        capabilities.keeps_old = self.keeps_old;
        capabilities.migrates = true;
        capabilities.weights = true;
        capabilities.reverts = self.keeps_old;
        capabilities.measures = self.measures;
        capabilities.whole = self.whole;
        capabilities
    }

    async fn source_digest(&self, _: &OpCtx, request: &BuildRequest) -> Result<Digest> {
        Digest::of_json(request).map_err(|e| ProviderError::new(ErrorKind::Unexpected, e.to_string()))
    }

    async fn build(&self, cx: &OpCtx, request: &BuildRequest) -> Result<Artefact> {
        let source = self.source_digest(cx, request).await?;
        Ok(Artefact {
            digest: source.clone(),
            source,
            location: "x".to_owned(),
            root: ".".to_owned(),
            images: BTreeMap::new(),
        })
    }

    async fn stage(&self, cx: &OpCtx, release: &Release) -> Result<()> {
        self.everywhere(Some(cx.fence), "stage", |_| ()).await?;
        self.world().staged.insert(release.number, release.clone());
        Ok(())
    }

    async fn migrate(&self, _: &OpCtx, _: &Release) -> Result<MigrationReport> {
        Ok(MigrationReport::default())
    }

    async fn start(&self, cx: &OpCtx, release: &Release, unit: &UnitId) -> Result<UnitObserved> {
        let (key, host) = ((release.number, unit.clone()), self.host_of(unit));
        let observed = observed(&key, host, UnitState::Running);
        self.at(host, Some(cx.fence), format!("start {}/{unit}", release.number), move |host| {
            host.start(key);
        })
        .await?;
        Ok(observed)
    }

    async fn probe(&self, cx: &OpCtx, release: &Release, unit: &UnitId) -> Result<ProbeReport> {
        let (key, host) = ((release.number, unit.clone()), self.host_of(unit));
        let sick =
            release.bundle.version.split_once("sick:").is_some_and(|(_, n)| n == unit.index.to_string());
        // It takes a moment to come up.
        sleep(Duration::from_millis(500)).await;
        let runs =
            self.at(host, Some(cx.fence), "probe".to_owned(), move |host| host.units.contains(&key)).await?;
        Ok(ProbeReport {
            healthy: runs && !sick,
            status: Some(if sick { 503 } else { 200 }),
            body: None,
            reason: (!runs).then(|| "it does not run".to_owned()),
            log: Vec::new(),
        })
    }

    async fn smoke(&self, _: &OpCtx, release: &Release, _: bool) -> Result<SmokeReport> {
        let fails = release.bundle.version.contains("unsmoked");
        Ok(SmokeReport {
            passed: u32::from(!fails),
            failed: if fails { vec!["GET / answered 500".to_owned()] } else { Vec::new() },
        })
    }

    async fn route(&self, cx: &OpCtx, routing: &Routing) -> Result<Routing> {
        let before = self.routing(cx).await?;
        let routing = routing.clone();
        self.everywhere(Some(cx.fence), &format!("route {:?}", routing.weights), move |host| {
            SimWorld::set_routing(host, routing.clone(), Instant::now())
        })
        .await?;
        Ok(before)
    }

    /// What all hosts have. Where they differ, what any of them has: none of it is what was wanted.
    async fn routing(&self, cx: &OpCtx) -> Result<Routing> {
        let all = self.everywhere(Some(cx.fence), "routing", |host| host.routing.clone()).await?;
        let first = all.first().cloned().unwrap_or_default();
        let same = all.iter().all(|r| (&r.weights, &r.resting) == (&first.weights, &first.resting));
        if same {
            return Ok(first);
        }
        let weights = all.iter().flat_map(|r| r.weights.keys().map(|release| (*release, 1))).collect();
        Ok(Routing { weights, ..Routing::default() })
    }

    async fn drain(
        &self,
        _: &OpCtx,
        _: ReleaseNumber,
        _: &BTreeSet<UnitId>,
        _: Duration,
    ) -> Result<DrainReport> {
        sleep(Duration::from_secs(1)).await;
        Ok(DrainReport::default())
    }

    async fn samples(&self, _: &OpCtx, _: Option<Timestamp>) -> Result<Vec<Reading>> {
        Ok(Vec::new())
    }

    async fn keep_watch(&self, _: &OpCtx) -> Result<()> {
        Err(ProviderError::new(ErrorKind::Unsupported, "nothing of ours runs there"))
    }

    async fn stop(&self, cx: &OpCtx, release: ReleaseNumber, unit: &UnitId) -> Result<()> {
        let (key, host) = ((release, unit.clone()), self.host_of(unit));
        self.at(host, Some(cx.fence), format!("stop {release}/{unit}"), move |host| {
            host.stop(&key);
        })
        .await
    }

    async fn remove(&self, cx: &OpCtx, release: ReleaseNumber) -> Result<()> {
        self.everywhere(Some(cx.fence), "remove", |_| ()).await?;
        self.world().staged.remove(&release);
        Ok(())
    }

    async fn revive(&self, _: &OpCtx) -> Result<()> {
        Ok(())
    }

    async fn list(&self, cx: &OpCtx) -> Result<Vec<UnitObserved>> {
        let hosts = self.everywhere(Some(cx.fence), "list", |host| host.units.clone()).await?;
        let world = self.world();
        let dying = |release: &ReleaseNumber| {
            world.staged.get(release).is_some_and(|r| r.bundle.version.contains("dying"))
        };
        Ok(hosts
            .iter()
            .enumerate()
            .flat_map(|(at, units)| units.iter().map(move |key| (at, key)))
            .map(|(at, key)| {
                observed(key, at, if dying(&key.0) { UnitState::Failed } else { UnitState::Running })
            })
            .collect())
    }

    async fn staged(&self, _: &OpCtx) -> Result<Vec<Release>> {
        Ok(self.world().staged.values().cloned().collect())
    }

    async fn forget(&self, _: &OpCtx, _: bool) -> Result<()> {
        Ok(())
    }

    async fn urls(&self, _: &OpCtx) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    async fn logs(&self, _: &OpCtx, _: &LogQuery) -> Result<LogPage> {
        Ok(LogPage::default())
    }
}

fn observed((release, unit): &(ReleaseNumber, UnitId), host: usize, state: UnitState) -> UnitObserved {
    UnitObserved {
        release: *release,
        unit: unit.clone(),
        host: format!("host-{host}"),
        state,
        pid: None,
        ports: BTreeMap::new(),
        restarts: 0,
        last_exit: None,
        log: None,
    }
}
