//! How a unit is: what it runs in, and what the load balancer says of it.

use std::time::{Duration, Instant};

use aws_sdk_elasticloadbalancingv2::types::TargetHealthStateEnum;
use vrooli_deploy_core::manifest::HealthConfig;
use vrooli_deploy_core::names::UnitId;
use vrooli_deploy_core::provider::{ErrorKind, OpCtx, ProbeReport, ProviderError, Result};
use vrooli_deploy_core::release::Release;

use super::AwsFleet;
use super::carrier::{Carrier, Sight};
use super::slots::groups;
use crate::native::Calls;

/// How long a service without a port must run to be called well.
const STEADY: Duration = Duration::from_secs(2);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);
/// Lines of the log that go with a failure.
const LOG_LINES: usize = 20;

impl<C: Carrier> AwsFleet<C> {
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
        let mut pairs = site.pairs(place, &release.bundle);
        pairs.retain(|pair| pair.service == unit.service.as_str());
        let pair = groups(&at, &pairs).await?.pop();
        let begun = Instant::now();
        let mut runs_since: Option<Instant> = None;
        loop {
            let slots = self.carrier.slots(&at, place).await?;
            let Some(slot) = slots.iter().find(|slot| slot.runs() == Some(release.number)) else {
                return Ok(not_well("it was stopped, or its slot is gone".to_owned(), Vec::new()));
            };
            let (running, mut why) = match self.carrier.look(&at, &site, place, slot).await? {
                Sight::Running(running, why) => (running, why),
                Sight::Failed(reason, lines) => {
                    return Ok(self.last_words(cx, release, unit, reason, lines).await);
                }
            };
            if running > unit.index as usize {
                let since = *runs_since.get_or_insert_with(Instant::now);
                match &pair {
                    Some(pair) => {
                        let (well, said) = targets(&at, &pair[slot.colour.min(1)]).await?;
                        if well > unit.index as usize {
                            return Ok(well_report());
                        }
                        why = format!("its target is {said}");
                    }
                    None if since.elapsed() >= STEADY => return Ok(well_report()),
                    None => why = "it runs for a moment only".to_owned(),
                }
            }
            let over = match runs_since {
                Some(since) => since.elapsed() >= grace,
                None => begun.elapsed() >= C::PROVISIONED,
            };
            if over || Instant::now() + PAUSE >= cx.deadline {
                return Ok(self.last_words(cx, release, unit, why, Vec::new()).await);
            }
            at.wait(PAUSE).await.map_err(|_| {
                ProviderError::new(ErrorKind::Cancelled, "stopped while waiting for a unit to be well")
            })?;
        }
    }

    /// Why a unit is not well, with its last lines where none are given.
    async fn last_words(
        &self,
        cx: &OpCtx,
        release: &Release,
        unit: &UnitId,
        reason: String,
        lines: Vec<String>,
    ) -> ProbeReport {
        if !lines.is_empty() {
            let from = lines.len().saturating_sub(LOG_LINES);
            return not_well(reason, lines[from..].to_vec());
        }
        // That its lines cannot be read is no reason to hide why it is not well.
        let log = self.last_lines(cx, release.number, &unit.service, LOG_LINES).await.unwrap_or_default();
        not_well(reason, log)
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

fn not_well(reason: String, log: Vec<String>) -> ProbeReport {
    ProbeReport { healthy: false, status: None, body: None, reason: Some(reason), log }
}
