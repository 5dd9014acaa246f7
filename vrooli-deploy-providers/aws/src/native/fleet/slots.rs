//! Slots: each place has two services of ECS, and a release runs in one of them. Which one says the
//! service's task definition; it runs when the service is to have tasks.

use std::time::Duration;

use aws_sdk_ecs::types::{Deployment, LoadBalancer, Service};
use vrooli_deploy_core::manifest::HealthConfig;
use vrooli_deploy_core::names::{ReleaseNumber, UnitId};
use vrooli_deploy_core::provider::{ErrorKind, OpCtx, ProviderError, Result};
use vrooli_deploy_core::release::Release;
use vrooli_deploy_core::release::strategy::units;

use super::FargateFleet;
use super::definition::Revision;
use super::scaling::{Word, say};
use super::site::{Pair, Place, Site, ports};
use crate::kinds::ecs_service::native as services;
use crate::native::{Calls, unexpected};

/// So long tasks may take to end: connections are finished, then each task has its grace.
const ENDED: Duration = Duration::from_secs(240);
/// So long tasks that a switch adds are waited for; then it is made without them.
const ADDED: Duration = Duration::from_secs(180);

/// One of the two services of a place.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    /// Where it stands in the pair: blue is 0.
    pub(super) colour: usize,
    pub(super) service: Service,
    /// The release whose task definition it has, whether tasks run of it or not.
    release: Option<ReleaseNumber>,
}

impl Slot {
    /// The release that runs in it, or is to.
    pub(super) fn runs(&self) -> Option<ReleaseNumber> {
        self.release.filter(|_| self.service.desired_count() > 0)
    }

    pub(super) fn name(&self) -> &str {
        self.service.service_name().unwrap_or_default()
    }

    /// What AWS makes of what was asked for last. A task says which deployment it is of.
    pub(super) fn deployment(&self) -> Option<&Deployment> {
        self.service.deployments().iter().find(|one| one.status() == Some("PRIMARY"))
    }

    fn is_empty(&self) -> bool {
        empty(&self.service) && self.service.desired_count() == 0
    }
}

fn empty(service: &Service) -> bool {
    service.running_count() == 0 && service.pending_count() == 0
}

pub(super) fn no_service(place: &Place) -> ProviderError {
    let words = format!("there is no service `{}` of this stack", place.slots[0]);
    ProviderError::new(ErrorKind::NotFound, words)
        .with_help("`drift` says what is missing; a deployment makes it")
}

/// AWS knows a rule that was made just now at the load balancer, and not yet where it starts tasks.
fn not_attached(error: ProviderError) -> ProviderError {
    if error.message().contains("does not have an associated load balancer") {
        return ProviderError::new(ErrorKind::NotFound, error.message())
            .with_code("InvalidParameterException");
    }
    error
}

/// ARNs of the groups of pairs, blue first.
pub(super) async fn groups(at: &Calls<'_>, pairs: &[&Pair]) -> Result<Vec<[String; 2]>> {
    const ACTION: &str = "elasticloadbalancing:DescribeTargetGroups";
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    let names = pairs.iter().flat_map(|pair| pair.groups.clone()).collect();
    let answer =
        at.read(ACTION, at.region.balancing.describe_target_groups().set_names(Some(names)).send()).await?;
    let of = |name: &String| {
        let group = answer.target_groups().iter().find(|one| one.target_group_name() == Some(name));
        let arn = group.and_then(|one| one.target_group_arn()).map(str::to_owned);
        arn.ok_or_else(|| unexpected(ACTION, "target group"))
    };
    pairs.iter().map(|pair| Ok([of(&pair.groups[0])?, of(&pair.groups[1])?])).collect()
}

impl FargateFleet {
    /// The slots of a place that are there and the stack's, blue first.
    pub(super) async fn slots(&self, at: &Calls<'_>, place: &Place) -> Result<Vec<Slot>> {
        let there = services::described(at, &place.cluster, &place.slots).await?;
        let mut slots = Vec::new();
        for (colour, name) in place.slots.iter().enumerate() {
            let ours = |one: &&Service| services::seen(at, one).is_some_and(|seen| seen.marks.are_of(at.cx));
            let service = there.iter().filter(|one| one.service_name() == Some(name)).find(ours);
            let Some(service) = service else { continue };
            let release = match service.task_definition() {
                Some(arn) => self.revision(at, place, arn).await?.map(|one| one.release.number),
                None => None,
            };
            slots.push(Slot { colour, service: service.clone(), release });
        }
        Ok(slots)
    }

    /// The slot that a release runs in, given one if it has none. Its units start together.
    pub(super) async fn start_unit(&self, cx: &OpCtx, release: &Release, unit: &UnitId) -> Result<Slot> {
        let site = self.site()?;
        let at = self.at(cx, &site).await;
        let place = site.place(&release.bundle, &unit.service)?;
        // Two units of a release are not to choose a slot each.
        let _alone = self.starting.lock().await;
        let slots = self.slots(&at, place).await?;
        if let Some(slot) = slots.iter().find(|slot| slot.runs() == Some(release.number)) {
            return Ok(slot.clone());
        }
        let revisions = self.revisions(&at, place).await?;
        let revision =
            revisions.iter().find(|one| one.release.number == release.number).ok_or_else(|| {
                let words = format!("{} has no task definition of `{}`", release.number, place.family);
                ProviderError::new(ErrorKind::NotFound, words)
                    .with_help("deploy again: a release that is gone is made anew")
            })?;
        let slot = self.free(&at, &site, place, &slots).await?;
        emptied(&at, place, slot).await?;
        self.take(&at, &site, place, (slot, &slots), revision).await
    }

    /// Starts a release in a slot where nothing runs.
    async fn take(
        &self,
        at: &Calls<'_>,
        site: &Site,
        place: &Place,
        (slot, all): (&Slot, &[Slot]),
        Revision { arn, release }: &Revision,
    ) -> Result<Slot> {
        let pairs = site.pairs(place, &release.bundle);
        let numbers = ports(&release.bundle);
        let balancer = |(pair, groups): (&&Pair, [String; 2])| {
            let port = numbers.iter().find(|((service, _), _)| service.as_str() == pair.service);
            let [blue, green] = groups;
            LoadBalancer::builder()
                .target_group_arn(if slot.colour == 0 { blue } else { green })
                .container_name(&pair.service)
                .set_container_port(port.map(|(_, number)| i32::from(*number)))
                .build()
        };
        let balancers: Vec<_> = pairs.iter().zip(groups(at, &pairs).await?).map(balancer).collect();
        // The load balancer's word ends a task only when the app had the time it asks for.
        let graces = place.services(&release.bundle).filter(|(_, config)| !config.routes.is_empty());
        let grace = graces.map(|(_, config)| HealthConfig::startup_grace_of(config.health.as_ref())).max();
        let grace = grace.filter(|_| !balancers.is_empty());
        let grace = grace.map(|grace| i32::try_from(grace.as_secs()).unwrap_or(i32::MAX));
        let count = count(place, release, all);
        if place.scaled {
            say(at, place, slot.name(), Word::MoreOnly).await?;
        }
        // An empty list takes a service out of groups that a release before was in.
        let balancers =
            (!balancers.is_empty() || !slot.service.load_balancers().is_empty()).then_some(balancers);
        let put = || {
            let put = at.region.ecs.update_service().cluster(&place.cluster).service(slot.name());
            put.task_definition(arn)
                .desired_count(count)
                .set_load_balancers(balancers.clone())
                .set_health_check_grace_period_seconds(grace)
                // Also where the slot had this release before: what ended then is not of this start.
                .force_new_deployment(true)
                .send()
        };
        let start = || async { at.put("ecs:UpdateService", put).await.map_err(not_attached) };
        let answer = at.known(start).await?;
        let service = answer.service.ok_or_else(|| unexpected("ecs:UpdateService", "service"))?;
        Ok(Slot { colour: slot.colour, service, release: Some(release.number) })
    }

    /// A slot where nothing is to run; of two the one whose groups get less.
    async fn free<'a>(
        &self,
        at: &Calls<'_>,
        site: &Site,
        place: &Place,
        slots: &'a [Slot],
    ) -> Result<&'a Slot> {
        let weights = match site.pairs.first().filter(|_| place.is_front()) {
            Some(pair) => self.pair_weights(at, site, pair).await?,
            None => [0, 0],
        };
        let idle = slots.iter().filter(|slot| slot.service.desired_count() == 0);
        if let Some(slot) = idle.min_by_key(|slot| weights[slot.colour.min(1)]) {
            return Ok(slot);
        }
        if slots.is_empty() {
            return Err(no_service(place));
        }
        let releases: Vec<String> = slots
            .iter()
            .map(|slot| slot.runs().map_or_else(|| "another's".to_owned(), |release| release.to_string()))
            .collect();
        let words = format!("all slots of `{}` are in use ({})", place.family, releases.join(", "));
        Err(ProviderError::new(ErrorKind::Conflict, words)
            .with_help("two releases can run side by side, not three: end one first"))
    }

    /// Ends what runs of a release where a unit does; all of it there ends together.
    pub(super) async fn stop_unit(&self, cx: &OpCtx, release: ReleaseNumber, unit: &UnitId) -> Result<()> {
        let site = self.site()?;
        let at = self.at(cx, &site).await;
        match site.place_of(&unit.service) {
            Some(place) => self.end(&at, place, release).await,
            None => Ok(()),
        }
    }

    /// Ends the tasks of a release in a place.
    pub(super) async fn end(&self, at: &Calls<'_>, place: &Place, release: ReleaseNumber) -> Result<()> {
        for slot in self.slots(at, place).await? {
            if slot.release != Some(release) || slot.is_empty() {
                continue;
            }
            if place.scaled {
                say(at, place, slot.name(), Word::Nobodys).await?;
            }
            let take = || {
                let put = at.region.ecs.update_service().cluster(&place.cluster).service(slot.name());
                put.desired_count(0).send()
            };
            at.take("ecs:UpdateService", take).await?;
            emptied(at, place, &slot).await?;
        }
        Ok(())
    }

    /// Gives slots that a release was in what they were made with: AWS changes no service whose task
    /// definition is taken out of use.
    pub(super) async fn rest(
        &self,
        at: &Calls<'_>,
        site: &Site,
        place: &Place,
        release: ReleaseNumber,
    ) -> Result<()> {
        for slot in self.slots(at, place).await?.iter().filter(|slot| slot.release == Some(release)) {
            let none = (!slot.service.load_balancers().is_empty()).then(Vec::new);
            let take = || {
                let put = at.region.ecs.update_service().cluster(&place.cluster).service(slot.name());
                put.task_definition(&site.idle).set_load_balancers(none.clone()).send()
            };
            at.take("ecs:UpdateService", take).await?;
        }
        Ok(())
    }

    /// What is to get all requests of a place that is scaled gets as many tasks as what had them: its scaler
    /// may have added some since it was started.
    pub(super) async fn carry_over(&self, at: &Calls<'_>, place: &Place, to: ReleaseNumber) -> Result<()> {
        let slots = self.slots(at, place).await?;
        let most = slots.iter().map(|slot| slot.service.desired_count()).max().unwrap_or(0);
        let Some(slot) = slots.iter().find(|slot| slot.runs() == Some(to)) else { return Ok(()) };
        if slot.service.desired_count() >= most {
            return Ok(());
        }
        let put = || {
            let put = at.region.ecs.update_service().cluster(&place.cluster).service(slot.name());
            put.desired_count(most).send()
        };
        at.put("ecs:UpdateService", put).await?;
        let look = || async {
            let there = services::one(at, &place.cluster, slot.name()).await?;
            Ok(there.is_none_or(|there| there.running_count() >= most).then_some(()))
        };
        at.until(ADDED, look).await.map(drop)
    }
}

/// As many tasks as the release wants; where a scaler has the word, as many as run of what serves.
fn count(place: &Place, release: &Release, slots: &[Slot]) -> i32 {
    let most = place.services(&release.bundle).map(|(name, config)| units(name, config).count()).max();
    let wanted = u32::try_from(most.unwrap_or(1)).unwrap_or(u32::MAX).max(place.count);
    let wanted = i32::try_from(wanted).unwrap_or(i32::MAX);
    let running = slots.iter().map(|slot| slot.service.desired_count()).max().filter(|_| place.scaled);
    wanted.max(running.unwrap_or(0))
}

/// Waits until no task is left in a slot that is to have none.
async fn emptied(at: &Calls<'_>, place: &Place, slot: &Slot) -> Result<()> {
    let look = || async {
        let there = services::one(at, &place.cluster, slot.name()).await?;
        Ok(there.as_ref().is_none_or(empty).then_some(()))
    };
    at.until(ENDED, look).await?.ok_or_else(|| {
        ProviderError::new(ErrorKind::Timeout, format!("tasks of `{}` are still ending", slot.name()))
    })
}
