//! Releases on machines of EC2: a slot is an Auto Scaling group, and a release a version of the place's launch
//! template that says all of it.

mod boot;
mod user_data;
mod versions;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_autoscaling::types::{AutoScalingGroup as Group, LaunchTemplateSpecification, LifecycleState};
use vrooli_deploy_core::names::{ReleaseNumber, ResourceKey};
use vrooli_deploy_core::provider::{ErrorKind, ProviderError, Result, Wanted};
use vrooli_deploy_core::release::Release;
use vrooli_deploy_core::secrets::SecretRef;

use super::carrier::{Carrier, Run, Sight, Slot};
use super::site::{Place, Site, pairs_of, specs};
use super::slots::nothing_there;
use crate::catalogue::catalogue;
use crate::kinds::auto_scaling_group::{AutoScalingGroup, AutoScalingGroupSpec, native as groups};
use crate::kinds::launch_template::{LaunchTemplate, LaunchTemplateSpec};
use crate::native::{Account, Calls};

/// As many target groups as one call attaches or detaches.
const BATCH: usize = 10;
/// Whose word on a machine counts: the load balancer's, or only that it runs.
const ASKED: &str = "ELB";
const RUNS: &str = "EC2";

/// Carries releases on machines.
#[derive(Debug, Default)]
pub(super) struct Machines {
    read: versions::Read,
    known: tokio::sync::Mutex<boot::Known>,
}

/// What a place of machines has of its own.
#[derive(Debug, Clone)]
pub(super) struct OnMachines {
    /// The launch template of both slots, by name.
    template: String,
    instance_type: String,
    disk_gib: u32,
    /// The public parameter that names their image.
    image: String,
}

const UPDATE: &str = "autoscaling:UpdateAutoScalingGroup";

type There = Slot<Group>;

fn version_of(group: &Group) -> Option<(&str, &str)> {
    let template = group.launch_template()?;
    Some((template.launch_template_id()?, template.version()?))
}

/// How many machines of the version that a group has are in service.
fn running(group: &Group) -> usize {
    let of_it = boot::machines(group);
    let serves = group.instances().iter().filter(|one| {
        one.lifecycle_state() == Some(&LifecycleState::InService)
            && one.instance_id().is_some_and(|id| of_it.contains(id))
    });
    serves.count()
}

fn template(id: &str, version: impl Into<String>) -> LaunchTemplateSpecification {
    LaunchTemplateSpecification::builder().launch_template_id(id).version(version).build()
}

/// Puts a group in these target groups and in no others.
async fn join(at: &Calls<'_>, slot: &There, wanted: &BTreeSet<&str>) -> Result<()> {
    let have: BTreeSet<&str> = slot.there.target_group_arns().iter().map(String::as_str).collect();
    let of = |arns: Vec<&&str>| arns.into_iter().map(|arn| (*arn).to_owned()).collect::<Vec<String>>();
    for batch in of(wanted.difference(&have).collect()).chunks(BATCH) {
        let put = || {
            let put = at.region.groups.attach_load_balancer_target_groups();
            put.auto_scaling_group_name(&slot.name).set_target_group_arns(Some(batch.to_vec())).send()
        };
        let put = || at.put("autoscaling:AttachLoadBalancerTargetGroups", put);
        at.known(put).await?;
    }
    for batch in of(have.difference(wanted).collect()).chunks(BATCH) {
        let take = || {
            let take = at.region.groups.detach_load_balancer_target_groups();
            take.auto_scaling_group_name(&slot.name).set_target_group_arns(Some(batch.to_vec())).send()
        };
        at.take("autoscaling:DetachLoadBalancerTargetGroups", take).await?;
    }
    Ok(())
}

#[async_trait]
impl Carrier for Machines {
    type On = OnMachines;
    type There = Group;

    const HOST: &'static str = "ec2";
    const WHAT: &'static str = "machines";
    /// The machine, Docker and the image.
    const PROVISIONED: Duration = Duration::from_secs(600);
    /// Connections are finished, the app has its grace, the machine is switched off.
    const ENDED: Duration = Duration::from_secs(280);

    fn places(account: &Account) -> Vec<Place<OnMachines>> {
        let templates: Vec<(ResourceKey, LaunchTemplateSpec<Wanted>)> = specs(account, &LaunchTemplate);
        let place = |(key, [blue, green]): (String, [AutoScalingGroupSpec<Wanted>; 2])| {
            let template = templates.iter().find(|(one, _)| one.as_str() == format!("{key}/template"));
            let template = template?.1.clone();
            Some(Place {
                key,
                region: blue.region,
                count: blue.count.max(green.count),
                scaled: false,
                on: OnMachines {
                    template: template.name,
                    instance_type: template.instance_type,
                    disk_gib: template.disk_gib,
                    image: template.image,
                },
                slots: [blue.name, green.name],
            })
        };
        pairs_of(account, &AutoScalingGroup).into_iter().filter_map(place).collect()
    }

    fn size(on: &OnMachines) -> String {
        format!("{} with {} GiB of {}", on.instance_type, on.disk_gib, on.image)
    }

    fn platform(site: &Site<OnMachines>) -> &'static str {
        let size = site.places.first().map_or("", |place| &place.on.instance_type);
        if catalogue().ec2.architecture(size) == "arm64" { "linux/arm64" } else { "linux/amd64" }
    }

    async fn slots(&self, at: &Calls<'_>, place: &Place<OnMachines>) -> Result<Vec<There>> {
        let there = groups::described(at, &place.slots).await?;
        let mut slots = Vec::new();
        for (colour, name) in place.slots.iter().enumerate() {
            let ours = |one: &&Group| groups::seen(at, one).is_some_and(|seen| seen.marks.are_of(at.cx));
            let mut named = there.iter().filter(|one| one.auto_scaling_group_name() == Some(name));
            let Some(group) = named.rfind(ours) else { continue };
            let release = match version_of(group) {
                Some((template, version)) => self.release_of(at, template, version).await?,
                None => None,
            };
            let ended = |state: Option<&LifecycleState>| state == Some(&LifecycleState::Terminated);
            slots.push(Slot {
                colour,
                name: name.clone(),
                release,
                wanted: group.desired_capacity().unwrap_or(0),
                running: u32::try_from(running(group)).unwrap_or(u32::MAX),
                empty: group.instances().iter().all(|one| ended(one.lifecycle_state())),
                there: group.clone(),
            });
        }
        Ok(slots)
    }

    async fn staged(&self, at: &Calls<'_>, place: &Place<OnMachines>) -> Result<Vec<Release>> {
        let versions = self.versions(at, place).await?;
        Ok(versions.into_iter().flat_map(|(_, all)| all).map(|one| one.release).collect())
    }

    async fn stage(
        &self,
        at: &Calls<'_>,
        site: &Site<OnMachines>,
        place: &Place<OnMachines>,
        release: &Release,
        values: &BTreeMap<SecretRef, String>,
    ) -> Result<()> {
        self.make_version(at, site, place, release, values).await
    }

    async fn start(
        &self,
        at: &Calls<'_>,
        place: &Place<OnMachines>,
        slot: &There,
        release: &Release,
        run: Run,
    ) -> Result<()> {
        let (id, versions) = self.versions(at, place).await?.ok_or_else(|| nothing_there(place))?;
        let version = versions.iter().find(|one| one.release.number == release.number).ok_or_else(|| {
            let words = format!("{} has no version of `{}`", release.number, place.on.template);
            ProviderError::new(ErrorKind::NotFound, words)
                .with_help("deploy again: a release that is gone is made anew")
        })?;
        let wanted: BTreeSet<&str> = run.groups.iter().map(|group| &*group.arn).collect();
        join(at, slot, &wanted).await?;
        self.starting(at, &slot.name).await?;
        let grace = run.grace.map(|grace| Self::PROVISIONED + grace);
        let grace = grace.map(|grace| i32::try_from(grace.as_secs()).unwrap_or(i32::MAX));
        // A group that was made anew may have fewer than a release that is gone back to had.
        let count = slot.there.max_size().map_or(run.count, |most| run.count.min(most));
        let put = || {
            let put = at.region.groups.update_auto_scaling_group().auto_scaling_group_name(&slot.name);
            put.launch_template(template(&id, version.number.to_string()))
                .health_check_type(if grace.is_some() { ASKED } else { RUNS })
                .set_health_check_grace_period(grace)
                .min_size(0)
                .desired_capacity(count)
                .send()
        };
        // AWS may still be busy with what was asked for before.
        let start = || at.put(UPDATE, put);
        at.freed(|| async { at.known(start).await.map(drop) }).await
    }

    async fn look(
        &self,
        at: &Calls<'_>,
        site: &Site<OnMachines>,
        _: &Place<OnMachines>,
        slot: &There,
    ) -> Result<Sight> {
        self.sight(at, &site.logs, slot).await
    }

    async fn end(&self, at: &Calls<'_>, _: &Place<OnMachines>, slot: &There) -> Result<()> {
        let take = || {
            let put = at.region.groups.update_auto_scaling_group().auto_scaling_group_name(&slot.name);
            put.min_size(0).desired_capacity(0).send()
        };
        at.freed(|| at.take(UPDATE, take)).await
    }

    async fn rest(&self, at: &Calls<'_>, _: &Place<OnMachines>, slot: &There) -> Result<()> {
        join(at, slot, &BTreeSet::new()).await?;
        let Some((id, _)) = version_of(&slot.there) else { return Ok(()) };
        let take = || {
            let put = at.region.groups.update_auto_scaling_group().auto_scaling_group_name(&slot.name);
            put.launch_template(template(id, groups::DEFAULT)).health_check_type(RUNS).send()
        };
        at.freed(|| at.take(UPDATE, take)).await
    }

    async fn unstage(
        &self,
        at: &Calls<'_>,
        place: &Place<OnMachines>,
        release: Option<ReleaseNumber>,
    ) -> Result<()> {
        self.delete_versions(at, place, release).await
    }

    /// Nothing scales machines.
    async fn taking_over(&self, _: &Calls<'_>, _: &Place<OnMachines>, _: ReleaseNumber) -> Result<()> {
        Ok(())
    }

    /// Nothing scales machines.
    async fn routed(&self, _: &Calls<'_>, _: &Place<OnMachines>, _: Option<ReleaseNumber>) -> Result<()> {
        Ok(())
    }
}
