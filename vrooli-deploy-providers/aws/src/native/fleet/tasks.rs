//! Tasks: what runs of a release in a slot, and how it is.

use std::time::{Duration, Instant};

use aws_sdk_ecs::types::{Task, TaskStopCode};
use aws_sdk_elasticloadbalancingv2::types::TargetHealthStateEnum;
use vrooli_deploy_core::manifest::HealthConfig;
use vrooli_deploy_core::names::UnitId;
use vrooli_deploy_core::provider::{ErrorKind, OpCtx, ProbeReport, ProviderError, Result};
use vrooli_deploy_core::release::Release;

use super::FargateFleet;
use super::site::Place;
use super::slots::Slot;
use crate::native::Calls;

/// So long Fargate may take until a task runs: machine, network and image.
const PROVISIONED: Duration = Duration::from_secs(300);
/// How long a service without a port must run to be called well.
const STEADY: Duration = Duration::from_secs(2);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);
/// As many tasks as one call describes.
const BATCH: usize = 100;
/// Lines of the log that go with a failure.
const LOG_LINES: usize = 20;

/// Tasks of what a slot was asked for last, those that ended too.
async fn tasks(at: &Calls<'_>, place: &Place, slot: &Slot) -> Result<Vec<Task>> {
    let mut all = Vec::new();
    for status in ["RUNNING", "STOPPED"] {
        let ask = |next| {
            let ask = at.region.ecs.list_tasks().cluster(&place.cluster).service_name(slot.name());
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
    let deployment = slot.deployment().and_then(|one| one.id());
    all.retain(|task| deployment.is_some() && task.started_by() == deployment);
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
        let health = release.bundle.services.get(&unit.service).and_then(|config| config.health.as_ref());
        let grace = HealthConfig::startup_grace_of(health);
        let begun = Instant::now();
        let mut runs_since: Option<Instant> = None;
        loop {
            let slots = self.slots(&at, place).await?;
            let Some(slot) = slots.iter().find(|slot| slot.runs() == Some(release.number)) else {
                return Ok(ProbeReport {
                    healthy: false,
                    status: None,
                    body: None,
                    reason: Some("it was stopped, or its service is gone".to_owned()),
                    log: Vec::new(),
                });
            };
            let tasks = tasks(&at, place, slot).await?;
            if let Some(reason) = tasks.iter().find_map(ended) {
                return self.not_well(cx, release, unit, reason).await;
            }
            let running = tasks.iter().filter(|task| task.last_status() == Some("RUNNING")).count();
            let runs = running > unit.index as usize;
            let mut why = "its task is not running yet".to_owned();
            if runs {
                let since = *runs_since.get_or_insert_with(Instant::now);
                let groups = slot.service.load_balancers().iter();
                let mut groups = groups.filter(|one| one.container_name() == Some(unit.service.as_str()));
                match groups.find_map(|one| one.target_group_arn()) {
                    Some(group) => {
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
