use std::time::{Duration, Instant};

use vrooli_deploy_core::manifest::{HealthConfig, ServiceConfig};
use vrooli_deploy_core::names::UnitId;
use vrooli_deploy_core::provider::{
    ErrorKind, OpCtx, ProbeReport, ProviderError, Result, UnitObserved, UnitState,
};
use vrooli_deploy_core::release::Release;

use super::LocalFleet;
use super::health::{Verdict, judge};
use super::http::{Ask, ask, connect};
use crate::process::listeners;

/// Of one probe, when the manifest does not say.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long an uncritical service is waited for.
const UNCRITICAL: Duration = Duration::from_secs(10);
/// How long a service without a port must run to be called well.
const STEADY: Duration = Duration::from_secs(2);
/// Between two looks at first, and at most: an app that is up at once is not kept waiting.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(50));
/// A process that ended this often is not going to be well.
const RESTARTS: u32 = 2;
/// Lines of the log that go with a failure.
const LOG_LINES: usize = 20;
/// Characters of a body that go with a failure.
const BODY_CHARS: usize = 600;

/// What one look saw.
struct Look {
    verdict: Verdict,
    status: Option<u16>,
    body: Option<String>,
}

impl LocalFleet {
    pub(super) async fn probe_unit(
        &self,
        cx: &OpCtx,
        release: &Release,
        unit: &UnitId,
    ) -> Result<ProbeReport> {
        let service = release.bundle.services.get(&unit.service).ok_or_else(|| {
            ProviderError::new(
                ErrorKind::Config,
                format!("release {} has no service `{}`", release.number, unit.service),
            )
        })?;
        let health = service.health.as_ref();
        let critical = health.is_none_or(|h| h.critical);
        let grace = HealthConfig::startup_grace_of(health);
        let grace = if critical { grace } else { grace.min(UNCRITICAL) };
        let begun = Instant::now();
        let mut running_since: Option<(u32, Instant)> = None;
        let mut pause = PAUSES.0;
        loop {
            let seen = self.unit(cx, release, unit).await?;
            let Some(seen) = seen else {
                return Ok(self.failed(cx, release, unit, None, "it is not running".to_owned()));
            };
            if seen.state == UnitState::Failed || (seen.restarts >= RESTARTS && critical) {
                let exit = seen.last_exit.clone().unwrap_or_else(|| "it ended".to_owned());
                return Ok(self.failed(cx, release, unit, None, format!("it does not stay up: {exit}")));
            }
            let look = if seen.state == UnitState::Running {
                match running_since {
                    Some((restarts, _)) if restarts == seen.restarts => {}
                    _ => running_since = Some((seen.restarts, Instant::now())),
                }
                let up = running_since.map_or(Duration::ZERO, |(_, since)| since.elapsed());
                look(service, health, &seen, up).await
            } else {
                running_since = None;
                let exit = seen.last_exit.clone().unwrap_or_else(|| "it is being started".to_owned());
                Look { verdict: Verdict::Unhealthy(exit), status: None, body: None }
            };
            let allowed = health.is_some_and(|h| h.allow_degraded);
            match &look.verdict {
                Verdict::Healthy => return Ok(well(look.status, exposed(&seen))),
                Verdict::Degraded(why) if allowed => {
                    return Ok(well(look.status, Some(format!("degraded, which is allowed: {why}"))));
                }
                Verdict::Degraded(why) | Verdict::Unhealthy(why) => {
                    if begun.elapsed() >= grace || Instant::now() >= cx.deadline {
                        if !critical {
                            return Ok(well(look.status, Some(format!("not well, but not critical: {why}"))));
                        }
                        let mut why = why.clone();
                        if look.status.is_none() {
                            why.push_str(&elsewhere(&seen));
                        }
                        return Ok(self.failed(cx, release, unit, Some(look), why));
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = PAUSES.1.min(pause * 2),
                () = cx.cancellation.cancelled() => {
                    return Err(ProviderError::new(ErrorKind::Cancelled, "stopped while waiting for a unit to be well"));
                }
            }
        }
    }

    fn failed(
        &self,
        cx: &OpCtx,
        release: &Release,
        unit: &UnitId,
        look: Option<Look>,
        reason: String,
    ) -> ProbeReport {
        let (status, body) = look.map_or((None, None), |l| (l.status, l.body));
        ProbeReport {
            healthy: false,
            status,
            body: body.map(|b| b.chars().take(BODY_CHARS).collect()),
            reason: Some(reason),
            log: self.tail(&cx.stack, release.number, unit, LOG_LINES),
        }
    }
}

fn well(status: Option<u16>, reason: Option<String>) -> ProbeReport {
    ProbeReport { healthy: true, status, body: None, reason, log: Vec::new() }
}

async fn look(
    service: &ServiceConfig,
    health: Option<&HealthConfig>,
    seen: &UnitObserved,
    up: Duration,
) -> Look {
    let none = |verdict| Look { verdict, status: None, body: None };
    let named = health.and_then(|h| h.port.as_ref()).or_else(|| service.ports.keys().next());
    let Some(port) = named.and_then(|name| seen.ports.get(name.as_str())).copied() else {
        return none(if up >= STEADY {
            Verdict::Healthy
        } else {
            Verdict::Unhealthy("it has only just started".to_owned())
        });
    };
    let timeout = health.and_then(|h| h.timeout).unwrap_or(TIMEOUT);
    let Some(path) = health.and_then(|h| h.path.as_deref()) else {
        return none(match connect(port).await {
            Ok(_) => Verdict::Healthy,
            Err(why) => Verdict::Unhealthy(why),
        });
    };
    match ask(&Ask { port, method: "GET", path, host: "localhost", json: None, timeout, secure: false }).await
    {
        Ok(answer) => {
            Look { verdict: judge(path, &answer), status: Some(answer.status), body: Some(answer.body) }
        }
        Err(why) => none(Verdict::Unhealthy(why)),
    }
}

/// A warning when it can be reached from other machines, past the edge.
fn exposed(seen: &UnitObserved) -> Option<String> {
    let open = listeners(seen.pid?).into_iter().find(|at| at.ip().is_unspecified())?;
    Some(format!(
        "it listens on all interfaces ({open}), not only on 127.0.0.1: other machines may reach it past the edge"
    ))
}

/// Where it listens instead, if it listens anywhere.
fn elsewhere(seen: &UnitObserved) -> String {
    let Some(pid) = seen.pid else { return String::new() };
    let given: Vec<u16> = seen.ports.values().copied().collect();
    let other: std::collections::BTreeSet<u16> =
        listeners(pid).into_iter().map(|at| at.port()).filter(|port| !given.contains(port)).collect();
    let other: Vec<String> = other.into_iter().map(|port| port.to_string()).collect();
    if other.is_empty() {
        String::new()
    } else {
        format!(
            "; it listens on {} instead: does it read the variable that its port is given in?",
            other.join(", ")
        )
    }
}
