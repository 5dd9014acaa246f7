//! Task sets: what runs of a release in a service of ECS, and how it is.

use std::time::{Duration, Instant};

use aws_sdk_ecs::types::{
    AssignPublicIp, AwsVpcConfiguration, LaunchType, LoadBalancer, NetworkConfiguration, Scale, ScaleUnit,
    Service, Task, TaskSet, TaskStopCode,
};
use aws_sdk_elasticloadbalancingv2::types::TargetHealthStateEnum;
use uuid::Uuid;
use vrooli_deploy_core::manifest::HealthConfig;
use vrooli_deploy_core::names::{ReleaseNumber, UnitId};
use vrooli_deploy_core::provider::{ErrorKind, OpCtx, ProbeReport, ProviderError, Result};
use vrooli_deploy_core::release::Release;
use vrooli_deploy_core::release::strategy::units;

use super::FargateFleet;
use super::definition::{revisions, tags};
use super::site::{Pair, Place, ports};
use crate::kinds::ecs_service::native as services;
use crate::native::{Calls, unexpected};

/// So long Fargate may take until a task runs: machine, network and image.
const PROVISIONED: Duration = Duration::from_secs(300);
/// How long a service without a port must run to be called well.
const STEADY: Duration = Duration::from_secs(2);
/// So long a task set may take to end: connections are finished, then each task has its grace.
const ENDED: Duration = Duration::from_secs(240);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);
/// As many tasks as one call describes.
const BATCH: usize = 100;
/// Lines of the log that go with a failure.
const LOG_LINES: usize = 20;

/// What a task set is called outside: its release.
pub(super) fn release_of(set: &TaskSet) -> Option<ReleaseNumber> {
    set.external_id()?.parse().ok()
}

/// The service of a place; `None` where there is none that is the stack's.
pub(super) async fn service(at: &Calls<'_>, place: &Place) -> Result<Option<Service>> {
    let there = services::one(at, &place.cluster, &place.name).await?;
    Ok(there.filter(|there| services::seen(at, there).is_some_and(|seen| seen.marks.are_of(at.cx))))
}

/// Those that run or are to run, not those that end.
pub(super) fn live(service: &Service) -> impl Iterator<Item = &TaskSet> {
    service.task_sets().iter().filter(|set| set.status() != Some("DRAINING"))
}

fn set_of(service: &Service, release: ReleaseNumber) -> Option<&TaskSet> {
    live(service).find(|set| release_of(set) == Some(release))
}

/// ARNs of the groups of a pair, blue first.
pub(super) async fn groups(at: &Calls<'_>, pair: &Pair) -> Result<[String; 2]> {
    let ask = at.region.balancing.describe_target_groups().names(&pair.blue).names(&pair.green).send();
    let answer = at.read("elasticloadbalancing:DescribeTargetGroups", ask).await?;
    let of = |name: &str| {
        let group = answer.target_groups().iter().find(|one| one.target_group_name() == Some(name));
        let arn = group.and_then(|one| one.target_group_arn()).map(str::to_owned);
        arn.ok_or_else(|| unexpected("elasticloadbalancing:DescribeTargetGroups", "target group"))
    };
    Ok([of(&pair.blue)?, of(&pair.green)?])
}

/// Tasks of a task set, those that ended too.
async fn tasks(at: &Calls<'_>, place: &Place, set: &TaskSet) -> Result<Vec<Task>> {
    let mut all = Vec::new();
    for status in ["RUNNING", "STOPPED"] {
        let ask = |next| {
            let ask = at.region.ecs.list_tasks().cluster(&place.cluster).service_name(&place.name);
            ask.desired_status(status.into()).set_next_token(next).send()
        };
        let pages = at.pages("ecs:ListTasks", ask, |page| page.next_token.clone()).await?;
        let arns: Vec<String> =
            pages.into_iter().flat_map(|page| page.task_arns.unwrap_or_default()).collect();
        for batch in arns.chunks(BATCH) {
            let ask = at.region.ecs.describe_tasks().cluster(&place.cluster);
            let answer = at.read("ecs:DescribeTasks", ask.set_tasks(Some(batch.to_vec())).send()).await?;
            all.extend(answer.tasks.unwrap_or_default());
        }
    }
    all.retain(|task| task.started_by() == set.id());
    all.sort_by_key(|task| task.created_at().map(aws_smithy_types::DateTime::as_nanos));
    Ok(all)
}

/// Why a task ended; `None` of one that was told to.
fn ended(task: &Task) -> Option<String> {
    if task.last_status() != Some("STOPPED") && task.desired_status() != Some("STOPPED") {
        return None;
    }
    let failed = task
        .containers()
        .iter()
        .filter(|one| one.reason().is_some() || one.exit_code().is_some_and(|code| code != 0));
    let mut words: Vec<String> = failed
        .map(|one| {
            let code =
                one.exit_code().map(|code| format!(" ended with exit code {code}")).unwrap_or_default();
            let reason = one.reason().map(|reason| format!(": {reason}")).unwrap_or_default();
            format!("container `{}`{code}{reason}", one.name().unwrap_or_default())
        })
        .collect();
    if matches!(task.stop_code(), Some(TaskStopCode::ServiceSchedulerInitiated | TaskStopCode::UserInitiated))
        && words.is_empty()
        && !task.stopped_reason().is_some_and(|reason| reason.contains("failed"))
    {
        return None;
    }
    words.splice(0..0, task.stopped_reason().map(str::to_owned));
    Some(words.join("; "))
}

impl FargateFleet {
    /// The task set of a release, made if it is not there. Its units start together.
    pub(super) async fn start_unit(&self, cx: &OpCtx, release: &Release, unit: &UnitId) -> Result<TaskSet> {
        let site = self.site()?;
        let at = self.at(cx, &site).await;
        let place = site.place(&release.bundle, &unit.service)?;
        let pair = site.pair(place, &release.bundle);
        let there = service(&at, place).await?.ok_or_else(|| no_service(place))?;
        if let Some(set) = set_of(&there, release.number) {
            return Ok(set.clone());
        }
        let revisions = revisions(&at, place).await?;
        let revision =
            revisions.iter().find(|one| one.release.number == release.number).ok_or_else(|| {
                let words = format!("{} has no task definition of `{}`", release.number, place.name);
                ProviderError::new(ErrorKind::NotFound, words)
                    .with_help("deploy again: a release that is gone is made anew")
            })?;
        let seen = services::seen(&at, &there).ok_or_else(|| no_service(place))?.observed;
        let network = AwsVpcConfiguration::builder()
            .set_subnets(Some(seen.subnets))
            .set_security_groups(Some(seen.security_groups))
            .assign_public_ip(if seen.public_address {
                AssignPublicIp::Enabled
            } else {
                AssignPublicIp::Disabled
            })
            .build()
            .map_err(|_| unexpected("ecs:CreateTaskSet", "network"))?;
        self.count(&at, place, release, &there).await?;
        let mut make = at
            .region
            .ecs
            .create_task_set()
            .cluster(&place.cluster)
            .service(&place.name)
            .external_id(release.number.to_string())
            .task_definition(&revision.arn)
            .launch_type(LaunchType::Fargate)
            .network_configuration(NetworkConfiguration::builder().awsvpc_configuration(network).build())
            .scale(Scale::builder().unit(ScaleUnit::Percent).value(100.0).build())
            .client_token(token(cx, place, release).to_string())
            .set_tags(Some(tags(&at, release)));
        if let Some(pair) = pair {
            let group = self.free(&at, pair, &there).await?;
            let number = ports(&release.bundle)
                .into_iter()
                .find(|((service, _), _)| service.as_str() == pair.service)
                .map(|(_, number)| i32::from(number));
            let balancer = LoadBalancer::builder().target_group_arn(group);
            make = make
                .load_balancers(balancer.container_name(&pair.service).set_container_port(number).build());
        }
        match at.change("ecs:CreateTaskSet", make.send()).await {
            Ok(made) => made.task_set.ok_or_else(|| unexpected("ecs:CreateTaskSet", "task set")),
            // Asked for twice, and the first was not seen yet.
            Err(error) => {
                match service(&at, place).await?.as_ref().and_then(|there| set_of(there, release.number)) {
                    Some(set) => Ok(set.clone()),
                    None => Err(error),
                }
            }
        }
    }

    /// As many tasks as the release wants, where nothing else says so, and as much time to start as it
    /// asks for before the load balancer's word ends one.
    async fn count(&self, at: &Calls<'_>, place: &Place, release: &Release, there: &Service) -> Result<()> {
        let most = place.services(&release.bundle).map(|(name, config)| units(name, config).count()).max();
        let wanted = u32::try_from(most.unwrap_or(1)).unwrap_or(u32::MAX).max(place.count);
        let wanted = i32::try_from(wanted).unwrap_or(i32::MAX);
        let scaled = place.scaled && there.desired_count() > 0;
        let wanted = if scaled { there.desired_count() } else { wanted };
        let graces = place.services(&release.bundle).filter(|(_, config)| !config.routes.is_empty());
        let grace = graces.map(|(_, config)| HealthConfig::startup_grace_of(config.health.as_ref())).max();
        let grace = grace.map(|grace| i32::try_from(grace.as_secs()).unwrap_or(i32::MAX));
        if there.desired_count() == wanted && there.health_check_grace_period_seconds() == grace {
            return Ok(());
        }
        let put = || {
            let put = at.region.ecs.update_service().cluster(&place.cluster).service(&place.name);
            put.desired_count(wanted).set_health_check_grace_period_seconds(grace).send()
        };
        at.put("ecs:UpdateService", put).await.map(drop)
    }

    /// The target group of a pair that nobody is in; of two the one that gets less.
    async fn free(&self, at: &Calls<'_>, pair: &Pair, there: &Service) -> Result<String> {
        let groups = groups(at, pair).await?;
        let taken = |arn: &String| {
            live(there).any(|set| set.load_balancers().iter().any(|one| one.target_group_arn() == Some(arn)))
        };
        let weights = self.weights(at, &groups).await?;
        let mut free: Vec<&String> = groups.iter().filter(|arn| !taken(arn)).collect();
        free.sort_by_key(|arn| weights.get(*arn).copied().unwrap_or(0));
        free.first().map(|arn| (*arn).clone()).ok_or_else(|| {
            let releases: Vec<_> = live(there).filter_map(|set| set.external_id()).collect();
            let words =
                format!("both target groups of `{}` are in use ({})", pair.service, releases.join(", "));
            ProviderError::new(ErrorKind::Conflict, words)
                .with_help("two releases can run side by side, not three: end one first")
        })
    }

    /// Waits until a unit is well, or certainly is not.
    pub(super) async fn probe_unit(
        &self,
        cx: &OpCtx,
        release: &Release,
        unit: &UnitId,
    ) -> Result<ProbeReport> {
        let site = self.site()?;
        let at = self.at(cx, &site).await;
        let place = site.place(&release.bundle, &unit.service)?;
        let routed = site.pair(place, &release.bundle).is_some();
        let health = release.bundle.services.get(&unit.service).and_then(|config| config.health.as_ref());
        let grace = HealthConfig::startup_grace_of(health);
        let begun = Instant::now();
        let mut runs_since: Option<Instant> = None;
        loop {
            let there = service(&at, place).await?;
            let Some(set) = there.as_ref().and_then(|there| set_of(there, release.number)) else {
                return Ok(ProbeReport {
                    healthy: false,
                    status: None,
                    body: None,
                    reason: Some("its task set is not there".to_owned()),
                    log: Vec::new(),
                });
            };
            let tasks = tasks(&at, place, set).await?;
            if let Some(reason) = tasks.iter().find_map(ended) {
                return self.not_well(cx, release, unit, reason).await;
            }
            let running = tasks.iter().filter(|task| task.last_status() == Some("RUNNING")).count();
            let runs = running > unit.index as usize;
            let mut why = "its task is not running yet".to_owned();
            if runs {
                let since = *runs_since.get_or_insert_with(Instant::now);
                let group = set.load_balancers().first().and_then(|one| one.target_group_arn());
                match group {
                    Some(group) if routed => {
                        let (well, said) = targets(&at, group).await?;
                        if well > unit.index as usize {
                            return Ok(well_report());
                        }
                        why = format!("its target is {said}");
                    }
                    _ if since.elapsed() >= STEADY => return Ok(well_report()),
                    _ => why = "it runs for a moment only".to_owned(),
                }
            }
            let over = match runs_since {
                Some(since) => since.elapsed() >= grace,
                None => begun.elapsed() >= PROVISIONED,
            };
            if over || Instant::now() + PAUSE >= cx.deadline {
                return self.not_well(cx, release, unit, why).await;
            }
            at.wait(PAUSE).await.map_err(|_| {
                ProviderError::new(ErrorKind::Cancelled, "stopped while waiting for a unit to be well")
            })?;
        }
    }

    async fn not_well(
        &self,
        cx: &OpCtx,
        release: &Release,
        unit: &UnitId,
        reason: String,
    ) -> Result<ProbeReport> {
        // That its lines cannot be read is no reason to hide why it is not well.
        let log = self.last_lines(cx, release.number, &unit.service, LOG_LINES).await.unwrap_or_default();
        Ok(ProbeReport { healthy: false, status: None, body: None, reason: Some(reason), log })
    }

    /// Ends what runs of a release where a unit does; all of it there ends together.
    pub(super) async fn stop_unit(&self, cx: &OpCtx, release: ReleaseNumber, unit: &UnitId) -> Result<()> {
        let site = self.site()?;
        let at = self.at(cx, &site).await;
        let worker = format!("compute/worker-{}", unit.service);
        let place = site.places.iter().find(|place| place.key.as_str() == worker);
        let place = place.or_else(|| site.places.iter().find(|place| place.key.as_str() == "compute/app"));
        match place {
            Some(place) => end(&at, place, release).await,
            None => Ok(()),
        }
    }
}

/// Ends the task set of a release.
pub(super) async fn end(at: &Calls<'_>, place: &Place, release: ReleaseNumber) -> Result<()> {
    let ecs = &at.region.ecs;
    let there = service(at, place).await?;
    let Some(set) = there.as_ref().and_then(|there| set_of(there, release)) else { return Ok(()) };
    let arn = set.task_set_arn().unwrap_or_default().to_owned();
    let take = || {
        let take = ecs.delete_task_set().cluster(&place.cluster).service(&place.name);
        take.task_set(&arn).force(true).send()
    };
    at.take("ecs:DeleteTaskSet", take).await?;
    let look = || async {
        let there = service(at, place).await?;
        let left =
            there.is_some_and(|there| there.task_sets().iter().any(|set| set.task_set_arn() == Some(&arn)));
        Ok((!left).then_some(()))
    };
    at.until(ENDED, look).await?.ok_or_else(|| {
        let words = format!("tasks of {release} in `{}` are still ending", place.name);
        ProviderError::new(ErrorKind::Timeout, words)
    })
}

/// How many targets of a group are well, and how one is that is not.
async fn targets(at: &Calls<'_>, group: &str) -> Result<(usize, String)> {
    let ask = at.region.balancing.describe_target_health().target_group_arn(group).send();
    let answer = at.read("elasticloadbalancing:DescribeTargetHealth", ask).await?;
    let all = answer.target_health_descriptions().iter().filter_map(|one| one.target_health());
    let (mut well, mut said) = (0, "not registered yet".to_owned());
    for health in all {
        match health.state() {
            Some(TargetHealthStateEnum::Healthy) => well += 1,
            // That of a release before, which was in this group.
            Some(TargetHealthStateEnum::Draining) => {}
            state => {
                let state = state.map_or("unknown", TargetHealthStateEnum::as_str);
                said = match health.description() {
                    Some(words) => format!("{state}: {words}"),
                    None => state.to_owned(),
                };
            }
        }
    }
    Ok((well, said))
}

fn well_report() -> ProbeReport {
    ProbeReport { healthy: true, status: None, body: None, reason: None, log: Vec::new() }
}

/// A run that asks again gives the same; a release that was ended and is started anew gives another.
fn token(cx: &OpCtx, place: &Place, release: &Release) -> Uuid {
    let said = format!("{}\n{}\n{}\n{}", cx.owner, place.name, release.number, cx.fence);
    Uuid::new_v5(&Uuid::NAMESPACE_OID, said.as_bytes())
}

fn no_service(place: &Place) -> ProviderError {
    ProviderError::new(ErrorKind::NotFound, format!("there is no service `{}` of this stack", place.name))
        .with_help("`drift` says what is missing; a deployment makes it")
}
