//! The watch: new against current old, look by look, until its time is over.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use super::call::{Call, Calls};
use super::codes;
use super::entry::StepOutput;
use super::event::Event;
use super::failure::{StepError, StepResult, own};
use super::release_steps::Given;
use crate::duration;
use crate::names::ReleaseNumber;
use crate::plan::StepId;
use crate::provider::{ErrorKind, Reading, UnitObserved, UnitState};
use crate::release::Release;
use crate::release::strategy::units;
use crate::release::verdict::{Inconclusive, Samples, Verdict, WatchRules};

/// How often a watched release is looked at, at most and at least.
const LOOKS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// How many looks fit into a watch, if that is neither too often nor too seldom.
const LOOKS_IN_A_WATCH: u32 = 60;

/// How often a release is asked itself when its clients say too little.
const PROBES: u32 = 5;

/// What is watched.
pub(super) struct Watch<'a> {
    pub(super) step: &'a StepId,
    pub(super) release: &'a Release,
    /// What it is compared with.
    pub(super) old: Option<ReleaseNumber>,
    pub(super) window: Duration,
    pub(super) rules: &'a WatchRules,
    /// When somebody else began it.
    pub(super) begun: Option<Timestamp>,
}

/// Units that ended by themselves, of one release.
fn ended(units: &[UnitObserved], release: ReleaseNumber) -> u32 {
    units
        .iter()
        .filter(|u| u.release == release)
        .map(|u| u.restarts + u32::from(u.state == UnitState::Restarting))
        .sum()
}

impl Calls<'_> {
    /// Looks until the time is over, or it is seen that the new release is worse.
    pub(super) async fn watch(&self, watch: &Watch<'_>) -> StepResult<Given> {
        let measures = self.fleet()?.capabilities().measures;
        let mut readings = if measures { self.samples(watch.step, None).await? } else { Vec::new() };
        let begun = watch.begun.or(readings.last().map(|r| r.at)).unwrap_or_else(Timestamp::now);
        let before = watch.begun.map_or(Duration::ZERO, |at| {
            Duration::try_from(Timestamp::now().duration_since(at)).unwrap_or_default()
        });
        let first = self.units(watch.step).await?;
        let started = Instant::now();
        let pause = (watch.window / LOOKS_IN_A_WATCH).clamp(LOOKS.0, LOOKS.1);
        loop {
            let left = watch.window.saturating_sub(before + started.elapsed());
            sleep(if left.is_zero() { pause } else { left.min(pause) }).await;
            let elapsed = before + started.elapsed();
            self.alive(watch, &first, &self.units(watch.step).await?)?;
            if measures {
                let last = readings.last().map(|r| r.at);
                let more = self.samples(watch.step, last).await?;
                readings.extend(more.into_iter().filter(|r| last.is_none_or(|last| r.at > last)));
            }
            let verdict = self.verdict(watch, &readings, begun, elapsed, measures);
            if let Verdict::Fail { reason } = &verdict {
                return Err(self.worse(
                    watch,
                    codes::VERDICT,
                    format!("{} is worse: {reason}", watch.release.number),
                ));
            }
            if elapsed < watch.window {
                continue;
            }
            let Verdict::Inconclusive { reason } = verdict else {
                return Ok(Given::Output(StepOutput::Nothing));
            };
            match watch.rules.inconclusive {
                Inconclusive::Extend if elapsed < watch.rules.deadline => {}
                Inconclusive::Extend | Inconclusive::Fail => {
                    return Err(self.worse(
                        watch,
                        codes::UNDECIDED,
                        format!("too little was seen of {}: {reason}", watch.release.number),
                    ));
                }
                Inconclusive::Hold => {
                    return Ok(Given::Undecided(format!("too little was seen of it: {reason}")));
                }
                Inconclusive::Probe => {
                    self.note(format!(
                        "too little was seen of {} ({reason}), so it was asked itself",
                        watch.release.number
                    ));
                    self.ask(watch).await?;
                    return Ok(Given::Output(StepOutput::Nothing));
                }
            }
        }
    }

    fn verdict(
        &self,
        watch: &Watch<'_>,
        readings: &[Reading],
        begun: Timestamp,
        elapsed: Duration,
        measures: bool,
    ) -> Verdict {
        let number = watch.release.number;
        let new = Samples::of(readings, number, begun);
        let old = watch.old.map(|old| Samples::of(readings, old, begun)).unwrap_or_default();
        let verdict = if measures {
            self.engine.options.judge.judge(watch.rules, &old, &new, elapsed)
        } else {
            // Only that it runs can be seen there.
            Verdict::Pass
        };
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.events.send(&Event::Watching {
            step: watch.step.clone(),
            new: number,
            old: watch.old,
            seen_new: new.total(),
            seen_old: old.total(),
            elapsed_ms: millis(elapsed),
            window_ms: millis(watch.window),
            verdict: verdict.clone(),
        });
        verdict
    }

    /// A unit that is gone fails it, and so do more that ended by themselves than of the old one.
    fn alive(&self, watch: &Watch<'_>, first: &[UnitObserved], now: &[UnitObserved]) -> StepResult<()> {
        let release = watch.release.number;
        let gone = gone(release, first, now);
        let more = |of| ended(now, of).saturating_sub(ended(first, of));
        let old = watch.old.map_or(0, more);
        if gone.is_none() && more(release) <= old {
            return Ok(());
        }
        let unit = gone.or_else(|| now.iter().filter(|u| u.release == release).max_by_key(|u| u.restarts));
        let name = unit.map_or_else(|| "a unit".to_owned(), |u| u.unit.to_string());
        let exit = unit
            .and_then(|u| u.last_exit.as_ref())
            .map(|exit| format!(" ({})", self.engine.options.redact.apply(exit)))
            .unwrap_or_default();
        Err(self.worse(
            watch,
            codes::WATCH,
            format!("{name} of {release} did not keep running while it was watched{exit}"),
        ))
    }

    fn worse(&self, watch: &Watch<'_>, code: crate::diagnostics::Code, message: String) -> StepError {
        let mut failure = own(
            code,
            ErrorKind::App,
            message,
            Some("look at its logs; the earlier release takes over again"),
        );
        failure.context.push(("judged by".to_owned(), self.engine.options.judge.name().to_owned()));
        failure.context.push(("watched".to_owned(), duration::format(watch.window)));
        StepError::Failed(failure)
    }

    /// Asks the release itself: every probe, and the smoke tests through the edge.
    async fn ask(&self, watch: &Watch<'_>) -> StepResult<()> {
        for round in 0..PROBES {
            if round > 0 {
                sleep(LOOKS.0).await;
            }
            for (service, config) in &watch.release.bundle.services {
                if config.health.is_none() && config.ports.is_empty() {
                    continue;
                }
                for unit in units(service, config) {
                    self.probe(watch.step, watch.release, &unit).await?;
                }
            }
            if !watch.release.bundle.smoke.is_empty() {
                self.smoke(watch.step, watch.release, false).await?;
            }
        }
        Ok(())
    }

    async fn samples(&self, step: &StepId, since: Option<Timestamp>) -> StepResult<Vec<Reading>> {
        let fleet = self.fleet()?;
        let call = Call::new(step, "samples", self.engine.options.deadlines.find).repeatable();
        self.make(call, |cx| {
            let fleet = &fleet;
            async move { fleet.samples(&cx, since).await }
        })
        .await
        .map_err(|e| self.step_error(step, &e))
    }
}

/// A unit that failed, or that ran when the watch began and does not any more. One that must not run twice is only
/// started after it, and does not run on either occasion.
fn gone<'a>(
    release: ReleaseNumber,
    first: &[UnitObserved],
    now: &'a [UnitObserved],
) -> Option<&'a UnitObserved> {
    let ran = |unit: &UnitObserved| {
        first.iter().any(|seen| {
            (seen.release, &seen.unit, &seen.host) == (unit.release, &unit.unit, &unit.host)
                && seen.state != UnitState::Stopped
        })
    };
    now.iter().filter(|unit| unit.release == release).find(|unit| match unit.state {
        UnitState::Failed => true,
        UnitState::Stopped => ran(unit),
        UnitState::Running | UnitState::Restarting => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(name: &str, host: &str, state: UnitState) -> UnitObserved {
        UnitObserved {
            release: ReleaseNumber(2),
            unit: name.parse().unwrap(),
            host: host.to_owned(),
            state,
            pid: None,
            ports: std::collections::BTreeMap::new(),
            restarts: 0,
            last_exit: None,
            log: None,
        }
    }

    #[test]
    fn what_was_not_to_run_yet_is_not_missed() {
        let gone = |first: UnitState, now: UnitState| {
            let first = [unit("web.0", "a", UnitState::Running), unit("worker.0", "a", first)];
            let now = [unit("web.0", "a", UnitState::Running), unit("worker.0", "a", now)];
            gone(ReleaseNumber(2), &first, &now).map(|unit| unit.unit.to_string())
        };
        assert_eq!(gone(UnitState::Stopped, UnitState::Stopped), None);
        assert_eq!(gone(UnitState::Running, UnitState::Running), None);
        assert_eq!(gone(UnitState::Running, UnitState::Stopped).as_deref(), Some("worker.0"));
        assert_eq!(gone(UnitState::Restarting, UnitState::Stopped).as_deref(), Some("worker.0"));
        assert_eq!(gone(UnitState::Stopped, UnitState::Failed).as_deref(), Some("worker.0"));
        // The same unit on another host is another one.
        let (here, there) = (unit("web.0", "a", UnitState::Running), unit("web.0", "b", UnitState::Stopped));
        assert!(super::gone(ReleaseNumber(2), &[here], &[there]).is_none());
    }
}
