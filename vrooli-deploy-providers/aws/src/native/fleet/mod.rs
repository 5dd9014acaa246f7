//! Carries releases on Fargate. A release is a task definition that says all of it, run by one of the two
//! services of ECS of each place that runs something of it. Requests are split by the weights of target groups.

mod definition;
mod image;
mod logs;
mod routing;
mod scaling;
mod site;
mod slots;
mod smoke;
mod tasks;
mod values;

use std::collections::{BTreeMap, BTreeSet};
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
use vrooli_deploy_core::release::Release;
use vrooli_deploy_core::release::strategy::units;
use vrooli_deploy_core::secrets::SecretRef;

use self::site::Site;
use super::{Account, Calls};

/// Carries releases on Fargate.
#[derive(Debug)]
pub(super) struct FargateFleet {
    account: Arc<Account>,
    read: definition::Read,
    /// Held while a slot is chosen.
    starting: tokio::sync::Mutex<()>,
}

impl FargateFleet {
    /// A fleet of what the stack has, if that runs apps on Fargate. Makes no call.
    pub(super) fn of(account: &Arc<Account>) -> Option<Self> {
        Site::of(account).is_ok().then(|| Self {
            account: Arc::clone(account),
            read: definition::Read::default(),
            starting: tokio::sync::Mutex::default(),
        })
    }

    fn site(&self) -> Result<Site> {
        Site::of(&self.account)
    }

    async fn at<'a>(&'a self, cx: &'a OpCtx, site: &Site) -> Calls<'a> {
        Calls::new(&self.account, cx).await.at(&site.region).await
    }

    /// Releases that are staged.
    async fn releases(&self, at: &Calls<'_>, site: &Site) -> Result<BTreeMap<ReleaseNumber, Release>> {
        let mut all = BTreeMap::new();
        for place in &site.places {
            let revisions = self.revisions(at, place).await?;
            all.extend(revisions.into_iter().map(|one| (one.release.number, one.release)));
        }
        Ok(all)
    }
}

fn unsupported(words: &str) -> ProviderError {
    ProviderError::new(ErrorKind::Unsupported, words)
}

#[async_trait]
impl Fleet for FargateFleet {
    fn capabilities(&self) -> FleetCapabilities {
        let mut capabilities = FleetCapabilities::default();
        capabilities.keeps_old = true;
        capabilities.weights = true;
        capabilities.images = true;
        capabilities.builds_images = self.account.images().is_some();
        capabilities.whole = true;
        capabilities
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
            let slots = self.slots(&at, place).await?;
            let slot = slots.first().ok_or_else(|| slots::no_service(place))?;
            // `arn:aws:ecs:<region>:<account>:service/…`
            let arn = slot.service.service_arn().unwrap_or_default();
            let account = arn.split(':').nth(4).unwrap_or_default();
            let partition = arn.split(':').nth(1).unwrap_or("aws");
            let role = format!("arn:{partition}:iam::{account}:role/{}", site.role);
            let needed: BTreeSet<&SecretRef> = definition::secrets(release, &names).collect();
            let values = values::put(&at, &*self.account.secrets, &needed).await?;
            self.register(&at, &site, place, release, (&values, &role)).await?;
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
        Ok(observed(release.number, unit.clone(), &slot))
    }

    async fn probe(&self, cx: &OpCtx, release: &Release, unit: &UnitId) -> Result<ProbeReport> {
        self.probe_unit(cx, release, unit).await
    }

    async fn smoke(&self, cx: &OpCtx, release: &Release, through_edge: bool) -> Result<SmokeReport> {
        // Tasks stand in a network of their own: until requests are routed to them nobody reaches them.
        if through_edge { self.run_smoke(cx, release).await } else { Ok(SmokeReport::default()) }
    }

    async fn route(&self, cx: &OpCtx, routing: &Routing) -> Result<Routing> {
        self.switch(cx, routing).await
    }

    async fn routing(&self, cx: &OpCtx) -> Result<Routing> {
        self.routed(cx).await
    }

    /// AWS finishes what is open itself when tasks leave their target group (`drain_seconds`).
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
            self.rest(&at, &site, place, release).await?;
            self.deregister(&at, place, |number| number == release).await?;
        }
        let left = self.releases(&at, &site).await?;
        let names: Vec<Vec<ServiceName>> =
            left.values().map(|release| release.bundle.services.keys().cloned().collect()).collect();
        let kept: BTreeSet<&SecretRef> =
            left.values().zip(&names).flat_map(|(release, of)| definition::secrets(release, of)).collect();
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
            for slot in self.slots(&at, place).await? {
                let Some(release) = slot.runs() else { continue };
                let arn = slot.service.task_definition().unwrap_or_default();
                let Some(revision) = self.revision(&at, place, arn).await? else { continue };
                for (name, config) in place.services(&revision.release.bundle) {
                    all.extend(units(name, config).map(|unit| observed(release, unit, &slot)));
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
            self.deregister(&at, place, |_| true).await?;
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

/// A unit runs when as many tasks do.
fn observed(release: ReleaseNumber, unit: UnitId, slot: &slots::Slot) -> UnitObserved {
    let running = slot.deployment().map_or(0, |deployment| deployment.running_count());
    let running = u32::try_from(running).unwrap_or(0);
    UnitObserved {
        release,
        state: if running > unit.index { UnitState::Running } else { UnitState::Restarting },
        unit,
        host: "fargate".to_owned(),
        pid: None,
        ports: BTreeMap::new(),
        restarts: 0,
        last_exit: None,
        log: None,
    }
}
