//! Carries releases on AWS: as tasks on Fargate or as machines of EC2. Each place that runs something of the app
//! has two slots, and a release runs in one of them. Requests are split by the weights of target groups.

mod carrier;
mod environment;
mod image;
mod logs;
mod machines;
mod probe;
mod routing;
mod site;
mod slots;
mod smoke;
mod tags;
mod tasks;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use vrooli_deploy_core::names::{Digest, ReleaseNumber, ServiceName, UnitId};
use vrooli_deploy_core::provider::{
    Artefact, BuildRequest, DrainReport, ErrorKind, Fleet, FleetCapabilities, LogPage, LogQuery,
    MigrationReport, OpCtx, ProbeReport, ProviderError, Reading, Result, Routing, SmokeReport, UnitObserved,
    UnitState,
};
use vrooli_deploy_core::release::strategy::units;
use vrooli_deploy_core::release::{Capacity, Release};
use vrooli_deploy_core::secrets::{Secret, SecretRef};

use self::carrier::{Carrier, Slot};
use self::site::{Place, Site};
use super::{Account, Calls};

/// A fleet of what the stack has, if that runs apps; with what runs on tasks and on machines, or on one machine
/// alone, why there is none. Makes no call.
pub(super) fn of(account: &Arc<Account>) -> std::result::Result<Option<Arc<dyn Fleet>>, &'static str> {
    let (on_tasks, on_machines) = (tasks::Tasks::places(account), machines::Machines::places(account));
    if !on_tasks.is_empty() && !on_machines.is_empty() {
        return Err(
            "a stack keeps what runs its app (tasks on Fargate, or machines of EC2): deploy to another environment (`--env`), or `destroy` this one first",
        );
    }
    if account.is_one_machine() {
        return Err(
            "releases go to a group of machines behind a load balancer or to Fargate, and it is to run on one machine without (`infrastructure.compute.count: 2`, `networking.load_balancer: true` or `infrastructure.compute.type: fargate`)",
        );
    }
    let on_tasks = AwsFleet::<tasks::Tasks>::over(account).map(|fleet| fleet as Arc<dyn Fleet>);
    Ok(on_tasks.or_else(|| Some(AwsFleet::<machines::Machines>::over(account)? as Arc<dyn Fleet>)))
}

/// Carries releases on AWS.
#[derive(Debug)]
struct AwsFleet<C> {
    account: Arc<Account>,
    carrier: C,
    /// Held while a slot is chosen.
    starting: tokio::sync::Mutex<()>,
}

impl<C: Carrier> AwsFleet<C> {
    fn over(account: &Arc<Account>) -> Option<Arc<Self>> {
        Site::of(account, C::places(account)).ok()?;
        let (account, carrier) = (Arc::clone(account), C::default());
        Some(Arc::new(Self { account, carrier, starting: tokio::sync::Mutex::default() }))
    }

    fn site(&self) -> Result<Site<C::On>> {
        Site::of(&self.account, C::places(&self.account))
    }

    async fn at<'a>(&'a self, cx: &'a OpCtx, site: &Site<C::On>) -> Calls<'a> {
        Calls::new(&self.account, cx).await.at(&site.region).await
    }

    /// Releases that are staged.
    async fn releases(&self, at: &Calls<'_>, site: &Site<C::On>) -> Result<BTreeMap<ReleaseNumber, Release>> {
        let mut all = BTreeMap::new();
        for place in &site.places {
            let staged = self.carrier.staged(at, place).await?;
            all.extend(staged.into_iter().map(|release| (release.number, release)));
        }
        Ok(all)
    }
}

/// What AWS keeps of releases of a state that was lost.
#[async_trait]
pub(super) trait Kept: Debug + Send + Sync {
    /// Values of the secrets that a release is given.
    async fn values(&self, cx: &OpCtx, release: ReleaseNumber) -> Result<Vec<(SecretRef, Secret<String>)>>;
}

/// What is kept of the releases of a stack that has something which runs them.
pub(super) fn kept(account: &Arc<Account>) -> Option<Arc<dyn Kept>> {
    match tasks::Tasks::places(account).is_empty() {
        true => Some(AwsFleet::<machines::Machines>::over(account)? as Arc<dyn Kept>),
        false => Some(AwsFleet::<tasks::Tasks>::over(account)? as Arc<dyn Kept>),
    }
}

#[async_trait]
impl<C: Carrier> Kept for AwsFleet<C> {
    async fn values(&self, cx: &OpCtx, release: ReleaseNumber) -> Result<Vec<(SecretRef, Secret<String>)>> {
        let site = self.site()?;
        let at = self.at(cx, &site).await;
        let Some(release) = self.releases(&at, &site).await?.remove(&release) else { return Ok(Vec::new()) };
        let services: Vec<ServiceName> = release.bundle.services.keys().cloned().collect();
        values::had_back(&at, environment::secrets(&release, &services).collect()).await
    }
}

fn unsupported(words: &str) -> ProviderError {
    ProviderError::new(ErrorKind::Unsupported, words)
}

#[async_trait]
impl<C: Carrier> Fleet for AwsFleet<C> {
    fn capabilities(&self) -> FleetCapabilities {
        let mut capabilities = FleetCapabilities::default();
        capabilities.keeps_old = true;
        capabilities.weights = true;
        capabilities.images = true;
        capabilities.builds_images = self.account.images().is_some();
        capabilities.whole = true;
        capabilities
    }

    /// Where something scales it, how many run is that one's business.
    fn capacity(&self) -> BTreeMap<String, Capacity> {
        let of = |place: Place<C::On>| {
            let count = (!place.scaled).then_some(place.count);
            (place.key, Capacity { count, size: C::size(&place.on) })
        };
        C::places(&self.account).into_iter().map(of).collect()
    }

    /// Also says what cannot be run here: nothing has been made yet.
    async fn source_digest(&self, cx: &OpCtx, request: &BuildRequest) -> Result<Digest> {
        let site = self.site()?;
        match self.image_source(cx, request).await? {
            image::Source::Given(image) => Ok(image.digest()),
            image::Source::Built(source) => {
                self.can_build(cx, &site, &source).await?;
                Ok(source.digest)
            }
        }
    }

    async fn foresee(&self, cx: &OpCtx, request: &BuildRequest) -> Result<Vec<String>> {
        Ok(match self.image_source(cx, request).await? {
            image::Source::Given(_) => Vec::new(),
            image::Source::Built(source) => source.notes,
        })
    }

    async fn build(&self, cx: &OpCtx, request: &BuildRequest) -> Result<Artefact> {
        match &request.image {
            Some(image) => Ok(image::given(image)),
            None => self.publish(cx, request).await,
        }
    }

    async fn stage(&self, cx: &OpCtx, release: &Release) -> Result<()> {
        let site = self.site()?;
        for service in release.bundle.services.keys() {
            site.place(&release.bundle, service)?;
        }
        let at = self.at(cx, &site).await;
        for place in &site.places {
            let names: Vec<ServiceName> =
                place.services(&release.bundle).map(|(name, _)| name.clone()).collect();
            if names.is_empty() {
                continue;
            }
            let needed: BTreeSet<&SecretRef> = environment::secrets(release, &names).collect();
            let values = values::put(&at, &*self.account.secrets, &needed).await?;
            self.carrier.stage(&at, &site, place, release, &values).await?;
        }
        Ok(())
    }

    async fn migrate(&self, _: &OpCtx, release: &Release) -> Result<MigrationReport> {
        match release.bundle.migrations.first() {
            None => Ok(MigrationReport::default()),
            Some(file) => Err(unsupported(&format!("files are not applied to databases: `{}`", file.file))),
        }
    }

    async fn start(&self, cx: &OpCtx, release: &Release, unit: &UnitId) -> Result<UnitObserved> {
        let slot = self.start_unit(cx, release, unit).await?;
        Ok(observed::<C>(release.number, unit.clone(), &slot))
    }

    async fn probe(&self, cx: &OpCtx, release: &Release, unit: &UnitId) -> Result<ProbeReport> {
        self.probe_unit(cx, release, unit).await
    }

    async fn smoke(&self, cx: &OpCtx, release: &Release, through_edge: bool) -> Result<SmokeReport> {
        // They stand in a network of their own: until requests are routed to them nobody reaches them.
        if through_edge { self.run_smoke(cx, release).await } else { Ok(SmokeReport::default()) }
    }

    async fn route(&self, cx: &OpCtx, routing: &Routing) -> Result<Routing> {
        self.switch(cx, routing).await
    }

    async fn routing(&self, cx: &OpCtx) -> Result<Routing> {
        self.routed(cx).await
    }

    /// AWS finishes what is open itself when something leaves its target group (`drain_seconds`).
    async fn drain(
        &self,
        _: &OpCtx,
        _: ReleaseNumber,
        _: &BTreeSet<UnitId>,
        _: Duration,
    ) -> Result<DrainReport> {
        Ok(DrainReport::default())
    }

    async fn samples(&self, _: &OpCtx, _: Option<Timestamp>) -> Result<Vec<Reading>> {
        Ok(Vec::new())
    }

    async fn keep_watch(&self, _: &OpCtx) -> Result<()> {
        Err(unsupported("nobody on AWS goes on with a watch").with_help("wait for it"))
    }

    async fn stop(&self, cx: &OpCtx, release: ReleaseNumber, unit: &UnitId) -> Result<()> {
        self.stop_unit(cx, release, unit).await
    }

    async fn remove(&self, cx: &OpCtx, release: ReleaseNumber) -> Result<()> {
        let site = self.site()?;
        let at = self.at(cx, &site).await;
        for place in &site.places {
            self.end(&at, place, release).await?;
            let slots = self.carrier.slots(&at, place).await?;
            for slot in slots.iter().filter(|slot| slot.has() == Some(release)) {
                self.carrier.rest(&at, place, slot).await?;
            }
            self.carrier.unstage(&at, place, Some(release)).await?;
        }
        let left = self.releases(&at, &site).await?;
        let names: Vec<Vec<ServiceName>> =
            left.values().map(|release| release.bundle.services.keys().cloned().collect()).collect();
        let kept: BTreeSet<&SecretRef> =
            left.values().zip(&names).flat_map(|(release, of)| environment::secrets(release, of)).collect();
        values::remove(&at, &kept).await
    }

    async fn revive(&self, _: &OpCtx) -> Result<()> {
        Ok(())
    }

    async fn list(&self, cx: &OpCtx) -> Result<Vec<UnitObserved>> {
        let site = self.site()?;
        let at = self.at(cx, &site).await;
        let mut all = Vec::new();
        for place in &site.places {
            for slot in self.carrier.slots(&at, place).await?.iter().filter(|slot| slot.wanted > 0) {
                let Some(release) = &slot.release else { continue };
                for (name, config) in place.services(&release.bundle) {
                    all.extend(units(name, config).map(|unit| observed::<C>(release.number, unit, slot)));
                }
            }
        }
        all.sort_by(|a, b| (a.release, &a.unit).cmp(&(b.release, &b.unit)));
        Ok(all)
    }

    async fn staged(&self, cx: &OpCtx) -> Result<Vec<Release>> {
        let site = self.site()?;
        let at = self.at(cx, &site).await;
        Ok(self.releases(&at, &site).await?.into_values().collect())
    }

    async fn forget(&self, cx: &OpCtx, _: bool) -> Result<()> {
        let Ok(site) = self.site() else { return Ok(()) };
        let at = self.at(cx, &site).await;
        for place in &site.places {
            self.carrier.unstage(&at, place, None).await?;
        }
        values::remove(&at, &BTreeSet::new()).await
    }

    async fn urls(&self, cx: &OpCtx) -> Result<Vec<String>> {
        let site = self.site()?;
        let at = self.at(cx, &site).await;
        Ok(self.url(&at, &site).await?.into_iter().collect())
    }

    async fn logs(&self, cx: &OpCtx, query: &LogQuery) -> Result<LogPage> {
        self.read_logs(cx, query).await
    }
}

/// A unit runs when as many tasks or machines do.
fn observed<C: Carrier>(release: ReleaseNumber, unit: UnitId, slot: &Slot<C::There>) -> UnitObserved {
    UnitObserved {
        release,
        state: if slot.running > unit.index { UnitState::Running } else { UnitState::Restarting },
        unit,
        host: C::HOST.to_owned(),
        pid: None,
        ports: BTreeMap::new(),
        restarts: 0,
        last_exit: None,
        log: None,
    }
}
