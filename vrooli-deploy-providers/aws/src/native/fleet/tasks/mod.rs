//! Releases as tasks on Fargate: a slot is a service of ECS, and a release a revision of a task definition
//! that says all of it.

mod definition;
mod ended;
mod scaling;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_ecs::types::{Deployment, LoadBalancer, Service};
use vrooli_deploy_core::names::{ReleaseNumber, ResourceKey};
use vrooli_deploy_core::provider::{ErrorKind, ProviderError, Result, Wanted};
use vrooli_deploy_core::release::Release;
use vrooli_deploy_core::secrets::SecretRef;

use self::definition::Read;
use self::ended::{ended, tasks};
use self::scaling::{Word, say};
use super::carrier::{Carrier, Run, Sight, Slot, Target};
use super::site::{Place, Site, name_of, pairs_of};
use super::slots::nothing_there;
use crate::kinds::ecs_cluster::EcsCluster;
use crate::kinds::ecs_service::{EcsService, EcsServiceSpec, native as services};
use crate::kinds::service_scaling::ServiceScaling;
use crate::kinds::task_definition::TaskDefinition;
use crate::native::{Account, Calls, Look};

/// What Fargate runs where a task definition names nothing else, and ours names nothing (developer guide of
/// ECS, `runtimePlatform`).
const PLATFORM: &str = "linux/amd64";
/// So long tasks that a switch adds are waited for; then it is made without them.
const ADDED: Duration = Duration::from_secs(180);

/// Carries releases as tasks on Fargate.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    read: Read,
}

/// What a place of tasks has of its own.
#[derive(Debug, Clone)]
pub(super) struct OnFargate {
    /// The family of the task definitions of releases.
    family: String,
    /// The cluster, by name.
    cluster: String,
    /// What a service of ECS has when no release is in it, by family.
    idle: String,
    cpu_units: u32,
    memory_mib: u32,
}

type There = Slot<Service>;

/// What AWS makes of what was asked for last. A task says which deployment it is of.
fn deployment(service: &Service) -> Option<&Deployment> {
    service.deployments().iter().find(|one| one.status() == Some("PRIMARY"))
}

/// AWS knows a rule that was made just now at the load balancer, and not yet where it starts tasks.
fn not_attached(error: ProviderError) -> ProviderError {
    if error.message().contains("does not have an associated load balancer") {
        return ProviderError::new(ErrorKind::NotFound, error.message())
            .with_code("InvalidParameterException");
    }
    error
}

fn balancer(group: &Target) -> LoadBalancer {
    LoadBalancer::builder()
        .target_group_arn(&group.arn)
        .container_name(&group.service)
        .set_container_port(group.port.map(i32::from))
        .build()
}

#[async_trait]
impl Carrier for Tasks {
    type On = OnFargate;
    type There = Service;

    const HOST: &'static str = "fargate";
    const WHAT: &'static str = "tasks";
    /// Machine, network and image.
    const PROVISIONED: Duration = Duration::from_secs(300);
    /// Connections are finished, then each task has its grace.
    const ENDED: Duration = Duration::from_secs(240);

    fn places(account: &Account) -> Vec<Place<OnFargate>> {
        let cluster = name_of(account, &EcsCluster, "compute/cluster");
        let idle = name_of(account, &TaskDefinition, "compute/idle");
        let (Some(cluster), Some(idle)) = (cluster, idle) else { return Vec::new() };
        let scaled: Vec<&ResourceKey> =
            account.wanted(&ServiceScaling, Look::Stack).map(|(key, _)| key).collect();
        let place = |(key, [blue, green]): (String, [EcsServiceSpec<Wanted>; 2])| Place {
            scaled: scaled.iter().any(|one| one.as_str().starts_with(&format!("{key}/"))),
            key,
            region: blue.region,
            count: blue.count.max(green.count),
            on: OnFargate {
                family: crate::kinds::place(&blue.name).to_owned(),
                cluster: cluster.clone(),
                idle: idle.clone(),
                cpu_units: blue.cpu_units,
                memory_mib: blue.memory_mib,
            },
            slots: [blue.name, green.name],
        };
        pairs_of(account, &EcsService).into_iter().map(place).collect()
    }

    fn size(on: &OnFargate) -> String {
        format!("{} CPU units and {} MiB", on.cpu_units, on.memory_mib)
    }

    fn platform(_: &Site<OnFargate>) -> &'static str {
        PLATFORM
    }

    async fn slots(&self, at: &Calls<'_>, place: &Place<OnFargate>) -> Result<Vec<There>> {
        let there = services::described(at, &place.on.cluster, &place.slots).await?;
        let mut slots = Vec::new();
        for (colour, name) in place.slots.iter().enumerate() {
            let ours = |one: &&Service| services::seen(at, one).is_some_and(|seen| seen.marks.are_of(at.cx));
            let service = there.iter().filter(|one| one.service_name() == Some(name)).find(ours);
            let Some(service) = service else { continue };
            let release = match service.task_definition() {
                Some(arn) => self.revision(at, place, arn).await?.map(|one| one.release),
                None => None,
            };
            let running = deployment(service).map_or(0, |deployment| deployment.running_count());
            slots.push(Slot {
                colour,
                name: name.clone(),
                release,
                wanted: service.desired_count(),
                running: u32::try_from(running).unwrap_or(0),
                empty: service.running_count() == 0 && service.pending_count() == 0,
                there: service.clone(),
            });
        }
        Ok(slots)
    }

    async fn staged(&self, at: &Calls<'_>, place: &Place<OnFargate>) -> Result<Vec<Release>> {
        Ok(self.revisions(at, place).await?.into_iter().map(|one| one.release).collect())
    }

    async fn stage(
        &self,
        at: &Calls<'_>,
        site: &Site<OnFargate>,
        place: &Place<OnFargate>,
        release: &Release,
        values: &BTreeMap<SecretRef, String>,
    ) -> Result<()> {
        let slots = self.slots(at, place).await?;
        let slot = slots.first().ok_or_else(|| nothing_there(place))?;
        // `arn:aws:ecs:<region>:<account>:service/…`
        let arn = slot.there.service_arn().unwrap_or_default();
        let account = arn.split(':').nth(4).unwrap_or_default();
        let partition = arn.split(':').nth(1).unwrap_or("aws");
        let role = format!("arn:{partition}:iam::{account}:role/{}", site.role);
        self.register(at, site, place, release, (values, &role)).await
    }

    async fn start(
        &self,
        at: &Calls<'_>,
        place: &Place<OnFargate>,
        slot: &There,
        release: &Release,
        run: Run,
    ) -> Result<()> {
        let revisions = self.revisions(at, place).await?;
        let revision =
            revisions.iter().find(|one| one.release.number == release.number).ok_or_else(|| {
                let words = format!("{} has no task definition of `{}`", release.number, place.on.family);
                ProviderError::new(ErrorKind::NotFound, words)
                    .with_help("deploy again: a release that is gone is made anew")
            })?;
        let grace = run.grace.map(|grace| i32::try_from(grace.as_secs()).unwrap_or(i32::MAX));
        if place.scaled {
            say(at, place, &slot.name, Word::MoreOnly).await?;
        }
        let balancers: Vec<_> = run.groups.iter().map(balancer).collect();
        // An empty list takes a service out of groups that a release before was in.
        let balancers =
            (!balancers.is_empty() || !slot.there.load_balancers().is_empty()).then_some(balancers);
        let put = || {
            let put = at.region.ecs.update_service().cluster(&place.on.cluster).service(&slot.name);
            put.task_definition(&revision.arn)
                .desired_count(run.count)
                .set_load_balancers(balancers.clone())
                .set_health_check_grace_period_seconds(grace)
                // Also where the slot had this release before: what ended then is not of this start.
                .force_new_deployment(true)
                .send()
        };
        let start = || async { at.put("ecs:UpdateService", put).await.map_err(not_attached) };
        at.known(start).await.map(drop)
    }

    async fn look(
        &self,
        at: &Calls<'_>,
        _: &Site<OnFargate>,
        place: &Place<OnFargate>,
        slot: &There,
    ) -> Result<Sight> {
        let tasks = tasks(at, place, slot).await?;
        if let Some(reason) = tasks.iter().find_map(ended) {
            return Ok(Sight::Failed(reason, Vec::new()));
        }
        let running = tasks.iter().filter(|task| task.last_status() == Some("RUNNING")).count();
        Ok(Sight::Running(running, "its task is not running yet".to_owned()))
    }

    async fn end(&self, at: &Calls<'_>, place: &Place<OnFargate>, slot: &There) -> Result<()> {
        if place.scaled {
            say(at, place, &slot.name, Word::Nobodys).await?;
        }
        let take = || {
            let put = at.region.ecs.update_service().cluster(&place.on.cluster).service(&slot.name);
            put.desired_count(0).send()
        };
        at.take("ecs:UpdateService", take).await
    }

    /// AWS changes no service whose task definition is taken out of use.
    async fn rest(&self, at: &Calls<'_>, place: &Place<OnFargate>, slot: &There) -> Result<()> {
        let none = (!slot.there.load_balancers().is_empty()).then(Vec::new);
        let take = || {
            let put = at.region.ecs.update_service().cluster(&place.on.cluster).service(&slot.name);
            put.task_definition(&place.on.idle).set_load_balancers(none.clone()).send()
        };
        at.take("ecs:UpdateService", take).await
    }

    async fn unstage(
        &self,
        at: &Calls<'_>,
        place: &Place<OnFargate>,
        release: Option<ReleaseNumber>,
    ) -> Result<()> {
        self.deregister(at, place, |number| release.is_none_or(|release| release == number)).await
    }

    /// It gets as many tasks as what had all requests before: its scaler may have added some since this was
    /// started.
    async fn taking_over(
        &self,
        at: &Calls<'_>,
        place: &Place<OnFargate>,
        release: ReleaseNumber,
    ) -> Result<()> {
        if !place.scaled {
            return Ok(());
        }
        let slots = self.slots(at, place).await?;
        let most = slots.iter().map(|slot| slot.wanted).max().unwrap_or(0);
        let Some(slot) = slots.iter().find(|slot| slot.runs() == Some(release)) else { return Ok(()) };
        if slot.wanted >= most {
            return Ok(());
        }
        let put = || {
            let put = at.region.ecs.update_service().cluster(&place.on.cluster).service(&slot.name);
            put.desired_count(most).send()
        };
        at.put("ecs:UpdateService", put).await?;
        let look = || async {
            let there = services::one(at, &place.on.cluster, &slot.name).await?;
            Ok(there.is_none_or(|there| there.running_count() >= most).then_some(()))
        };
        at.until(ADDED, look).await.map(drop)
    }

    /// Tells the scalers of the place.
    async fn routed(
        &self,
        at: &Calls<'_>,
        place: &Place<OnFargate>,
        alone: Option<ReleaseNumber>,
    ) -> Result<()> {
        if !place.scaled {
            return Ok(());
        }
        for slot in self.slots(at, place).await? {
            let word = match slot.runs() {
                None => Word::Nobodys,
                Some(release) if Some(release) == alone => Word::All,
                Some(_) => Word::MoreOnly,
            };
            say(at, place, &slot.name, word).await?;
        }
        Ok(())
    }
}
