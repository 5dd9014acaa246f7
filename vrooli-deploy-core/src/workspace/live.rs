use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{OperationError, StatusReport, Workspace};
use crate::engine::{EngineOptions, OpenPlan, StackState};
use crate::names::{ReleaseNumber, StackId};
use crate::plan::{ReleaseAction, StepAction};
use crate::provider::{Cancellation, Counters, Reading};
use crate::release::verdict::{Samples, Verdict, WatchRules};

/// Readings that are kept; at one a second an hour.
const KEPT: usize = 3_600;

/// What a release does, in `status --watch`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReleaseTraffic {
    /// Which.
    pub release: ReleaseNumber,
    /// Its share of the traffic, in percent.
    pub percent: u32,
    /// What it did since the watch began; without one, since the first look.
    pub seen: Counters,
}

/// A watch that is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchStatus {
    /// The new release.
    pub release: ReleaseNumber,
    /// The one it is compared with.
    pub old: Option<ReleaseNumber>,
    /// Since when.
    pub since: Timestamp,
    /// How long it is to be watched.
    #[serde(with = "crate::duration")]
    pub window: Duration,
    /// What is thought of it, by what this process has seen.
    pub verdict: Verdict,
}

/// Looks at a stack again and again.
#[derive(Debug)]
pub struct Live {
    workspace: Workspace,
    stack: StackId,
    readings: Vec<Reading>,
}

struct Watch {
    release: ReleaseNumber,
    old: Option<ReleaseNumber>,
    since: Timestamp,
    window: Duration,
    rules: WatchRules,
}

impl Workspace {
    /// Somebody who looks at a stack again and again: no lease, and nothing is changed.
    #[must_use]
    pub fn live(&self, stack: &StackId) -> Live {
        Live { workspace: self.clone(), stack: stack.clone(), readings: Vec::new() }
    }
}

impl Live {
    /// How it is now: what `status` says, what each release does, and the open watch.
    ///
    /// # Errors
    /// When the stack is not there or the state cannot be read.
    pub async fn look(&mut self) -> Result<StatusReport, OperationError> {
        let mut report = self.workspace.status(&self.stack).await?;
        self.read().await?;
        let state = self.workspace.0.store.load(&self.stack).await?;
        let watch = open_watch(&state);
        let Some((first, last)) = self.readings.first().zip(self.readings.last()) else { return Ok(report) };
        let begun = watch.as_ref().map_or(first.at, |watch| watch.since);
        let weights = report.routing.as_ref().map(|routing| routing.weights.clone()).unwrap_or_default();
        let total: u64 = weights.values().map(|weight| u64::from(*weight)).sum();
        report.traffic = last
            .releases
            .keys()
            .map(|release| {
                let weight = u64::from(weights.get(release).copied().unwrap_or_default());
                ReleaseTraffic {
                    release: *release,
                    percent: u32::try_from(weight * 100 / total.max(1)).unwrap_or(100),
                    seen: Samples::of(&self.readings, *release, begun).total(),
                }
            })
            // What gets nothing and did nothing is of no interest.
            .filter(|traffic| traffic.percent > 0 || traffic.seen.requests > 0)
            .collect();
        report.watch = watch.map(|watch| {
            let new = Samples::of(&self.readings, watch.release, begun);
            let old = watch.old.map(|old| Samples::of(&self.readings, old, begun)).unwrap_or_default();
            let elapsed =
                Duration::try_from(Timestamp::now().duration_since(watch.since)).unwrap_or_default();
            WatchStatus {
                release: watch.release,
                old: watch.old,
                since: watch.since,
                window: watch.window,
                verdict: EngineOptions::default().judge.judge(&watch.rules, &old, &new, elapsed),
            }
        });
        Ok(report)
    }

    async fn read(&mut self) -> Result<(), OperationError> {
        let Some(source) = self.workspace.source(&self.stack).await? else { return Ok(()) };
        let provider = self.workspace.provider(&self.stack, &source.provider, None).await?;
        let Some(fleet) = provider.fleet() else { return Ok(()) };
        if !fleet.capabilities().measures {
            return Ok(());
        }
        let cx = self.workspace.observe_context(&self.stack, 0, Cancellation::new());
        let last = self.readings.last().map(|reading| reading.at);
        // What does not answer now may answer at the next look.
        let more = fleet.samples(&cx, last).await.unwrap_or_default();
        self.readings.extend(more.into_iter().filter(|reading| last.is_none_or(|last| reading.at > last)));
        let over = self.readings.len().saturating_sub(KEPT);
        self.readings.drain(..over);
        Ok(())
    }
}

fn open_watch(state: &StackState) -> Option<Watch> {
    let open = state.open.as_ref()?;
    let waiting = OpenPlan::waiting(open)?;
    let StepAction::Release { release, action: ReleaseAction::Watch { window, old, rules } } =
        open.action(&waiting.step)?
    else {
        return None;
    };
    let since = open.begun(&waiting.step).unwrap_or(waiting.since);
    Some(Watch { release: *release, old: *old, since, window: *window, rules: rules.clone() })
}
