//! Resolves what an interrupted run left: each dangling step, then its plan.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Engine;
use super::apply::{interrupted_ending, roll_back};
use super::call::Calls;
use super::codes;
use super::entry::{Entry, StepFailure, StepOutput};
use super::error::ApplyError;
use super::event::Event;
use super::events::EventSink;
use super::failure::{StepError, StepResult, interrupted, is_real, own};
use super::journal::Journal;
use super::options::RecoverOptions;
use super::outcome::{Outcome, OutcomeKind};
use super::run::{Ending, Opened, close, leave_open, left_behind, not_done};
use super::stack_state::{OpenPlan, StackState, StepState};
use super::undo::{Undone, after_interruption, undo};
use crate::plan::{ReleaseAction, Stage, Step, StepAction, StepId};
use crate::provider::ErrorKind;
use crate::state::Lease;

/// What recovery found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryReport {
    /// Steps that had been left without an answer, and what became of each.
    pub resolved: BTreeMap<StepId, Resolution>,
    /// What came of the interrupted plan; `None` when there was none.
    pub outcome: Option<Outcome>,
}

/// What became of a step that had been left without an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "resolution")]
pub enum Resolution {
    /// It had happened, or was brought about with the same token.
    Happened,
    /// It had not, and will not.
    NeverHappened,
    /// It is still not known. The plan stays open.
    Unknown {
        /// Why not.
        failure: StepFailure,
    },
}

impl Engine {
    /// Resolves an interrupted plan, if there is one, and closes it: committed releases go
    /// forward (what is left to do is found by the next plan), others are taken back unless
    /// `options.keep_candidate`. What expand made stays for the next plan. Being killed in
    /// here is like being killed anywhere: the next recovery goes on.
    ///
    /// The plan stays open, with outcome `Stuck` or `Interrupted`, when something is not known,
    /// an undo failed or the caller asked to stop.
    ///
    /// # Errors
    /// When the journal cannot be written or the lease is lost.
    pub async fn recover(
        &self,
        lease: &dyn Lease,
        state: &mut StackState,
        options: &RecoverOptions,
        events: &EventSink,
    ) -> Result<RecoveryReport, ApplyError> {
        let Some(open) = &state.open else { return Ok(RecoveryReport::default()) };
        let opened = Opened::new(Arc::new(open.plan.clone()));
        events.send(&Event::Recovering { dangling: open.dangling() });
        let calls = Calls::new(self, &opened.plan, lease.info().fence, options.cancellation.clone(), events);
        let mut journal = Journal::new(lease, state, &self.options.hooks);
        let waiting = journal.state.open.as_ref().and_then(OpenPlan::waiting);
        if let Some(waiting) = waiting
            && !options.keep_candidate
        {
            // An open watch or hold keeps nobody out: whoever comes ends it.
            let failure = own(
                codes::ENDED,
                ErrorKind::Cancelled,
                format!("{} came before it was decided", lease.info().holder.name),
                Some("the release before it serves as before; deploy it again to go on with it"),
            );
            journal.append(&[Entry::Failed { step: waiting.step, failure }]).await?;
        }

        let resolved = match resolve(&mut journal, &calls, &opened).await {
            Ok(resolved) => resolved,
            Err(Stopped::Cancelled) => {
                let outcome = leave_open(&journal, &calls, interrupted_ending(&journal));
                return Ok(RecoveryReport { resolved: BTreeMap::new(), outcome: Some(outcome) });
            }
            Err(Stopped::Error(error)) => return Err(error),
        };
        let unknown = resolved.iter().find_map(|(step, resolution)| match resolution {
            Resolution::Unknown { failure } => Some((step.clone(), failure.clone())),
            _ => None,
        });
        let outcome = match unknown {
            Some(cause) if !options.abandon => leave_open(&journal, &calls, stuck(&journal, Some(cause))),
            _ => finish(&mut journal, &calls, &opened, options).await?,
        };
        Ok(RecoveryReport { resolved, outcome: Some(outcome) })
    }
}

fn stuck(journal: &Journal<'_>, known: Option<(StepId, StepFailure)>) -> Ending {
    let open = journal.state.open.as_ref();
    Ending {
        kind: OutcomeKind::Stuck,
        cause: known.or_else(|| open.and_then(|open| open.cause.clone())),
        left_behind: open.map(left_behind).unwrap_or_default(),
    }
}

/// Every step is resolved now: goes forward or back, and closes the plan.
async fn finish(
    journal: &mut Journal<'_>,
    calls: &Calls<'_>,
    opened: &Opened,
    options: &RecoverOptions,
) -> Result<Outcome, ApplyError> {
    let Some(open) = &journal.state.open else { return Ok(leave_open(journal, calls, stuck(journal, None))) };
    let all_done = opened.plan.steps.iter().all(|s| open.steps.get(&s.id) == Some(&StepState::Succeeded));
    if all_done {
        return close(
            journal,
            calls,
            Ending { kind: OutcomeKind::Applied, cause: None, left_behind: Vec::new() },
        )
        .await;
    }
    if rolling_back(open, opened) {
        let outcome = roll_back(journal, calls, opened, None).await?;
        return abandon(journal, calls, options, outcome).await;
    }
    let candidate = opened.plan.release.as_ref().map(|planned| planned.number);
    let take_back = !open.committed && candidate.is_some() && candidate != journal.state.current;
    if take_back {
        let done =
            undo(journal, calls, opened, |step, _| after_interruption(options.keep_candidate, step)).await?;
        match done {
            Undone::All => {}
            Undone::Stuck | Undone::Unreached => {
                let mut ending = stuck(journal, None);
                if done == Undone::Unreached {
                    ending.kind = OutcomeKind::Partial;
                }
                let outcome = leave_open(journal, calls, ending);
                return abandon(journal, calls, options, outcome).await;
            }
            Undone::Cancelled => return Ok(leave_open(journal, calls, interrupted_ending(journal))),
        }
    }
    let open = journal.state.open.as_ref();
    let left = open.map(if take_back { left_behind } else { not_done }).unwrap_or_default();
    close(
        journal,
        calls,
        Ending {
            kind: OutcomeKind::Interrupted,
            cause: open.and_then(|open| open.cause.clone()),
            left_behind: left,
        },
    )
    .await
}

/// Closes a plan that is stuck, if the caller wants to go on without it.
async fn abandon(
    journal: &mut Journal<'_>,
    calls: &Calls<'_>,
    options: &RecoverOptions,
    outcome: Outcome,
) -> Result<Outcome, ApplyError> {
    let undecided = matches!(outcome.kind, OutcomeKind::Stuck | OutcomeKind::Partial);
    if options.abandon && undecided && journal.state.open.is_some() {
        let ending = Ending { kind: outcome.kind, cause: outcome.cause, left_behind: outcome.left_behind };
        return close(journal, calls, ending).await;
    }
    Ok(outcome)
}

/// Was the run already on its way back when it was interrupted? Steps that were only left
/// behind are no cause.
fn rolling_back(open: &OpenPlan, opened: &Opened) -> bool {
    let failed = open.cause.as_ref().and_then(|(step, _)| opened.index.get(step));
    !open.committed && failed.is_some_and(|at| opened.plan.steps[*at].stage != Stage::Contract)
}

enum Stopped {
    Cancelled,
    Error(ApplyError),
}

impl From<ApplyError> for Stopped {
    fn from(error: ApplyError) -> Self {
        Self::Error(error)
    }
}

/// Resolves every step whose call may have left. Each answer is written down as it comes.
async fn resolve(
    journal: &mut Journal<'_>,
    calls: &Calls<'_>,
    opened: &Opened,
) -> Result<BTreeMap<StepId, Resolution>, Stopped> {
    let mut resolved = BTreeMap::new();
    let mut entries = Vec::new();
    let mut running = FuturesUnordered::new();
    let now = Timestamp::now();
    let dangling: Vec<_> =
        journal.state.open.iter().flat_map(|open| &open.steps).filter_map(started).collect();
    for (id, at, spec) in dangling {
        let Some(step) = opened.index.get(&id).and_then(|at| opened.plan.steps.get(*at)) else { continue };
        if let StepAction::Release { action, .. } = &step.action {
            // Calls to a fleet have the effect of once: each is made again, or taken back, whether
            // it happened or not. Where the plan says nothing of undo there is nothing to find out.
            entries.push(Entry::Failed { step: id.clone(), failure: interrupted(release_words(action)) });
            resolved.insert(id, Resolution::NeverHappened);
            continue;
        }
        // A clock that went back tells nothing: then all of the time is waited for.
        let ago = Duration::try_from(now.duration_since(at)).unwrap_or_default();
        let question = question(opened, step, journal.state, spec);
        running.push(async move { (id, calls.answer(question, ago).await) });
    }
    journal.append(&entries).await?;
    loop {
        let next = tokio::select! {
            biased;
            next = running.next() => next,
            () = calls.cancellation.cancelled() => return Err(Stopped::Cancelled),
        };
        let Some((id, answer)) = next else { return Ok(resolved) };
        let resolution = match answer {
            Ok(output) => {
                journal.append(&[Entry::Succeeded { step: id.clone(), output }]).await?;
                Resolution::Happened
            }
            Err(StepError::Failed(failure)) => {
                // Whatever the lookup says, the step itself did not fail: it was left behind.
                let failure = if is_real(&failure) { interrupted(&failure.message) } else { failure };
                journal.append(&[Entry::Failed { step: id.clone(), failure }]).await?;
                Resolution::NeverHappened
            }
            Err(StepError::Unknown(failure)) => Resolution::Unknown { failure },
            Err(StepError::Cancelled) => return Err(Stopped::Cancelled),
            Err(StepError::Stop(error)) => return Err(error.into()),
        };
        resolved.insert(id, resolution);
    }
}

fn started((id, state): (&StepId, &StepState)) -> Option<(StepId, Timestamp, Option<serde_json::Value>)> {
    match state {
        StepState::Started { at, spec, .. } => Some((id.clone(), *at, spec.clone())),
        _ => None,
    }
}

fn release_words(action: &ReleaseAction) -> &'static str {
    match action {
        ReleaseAction::Migrate => "interrupted; files that were applied stay applied",
        _ => "interrupted",
    }
}

/// What is asked about a step that was left behind.
enum Question {
    Create(super::resources::Subject),
    Update(super::resources::Subject, crate::provider::PhysicalId),
    Adopt(super::resources::Subject, crate::provider::PhysicalId),
    Delete(super::resources::Subject, crate::provider::PhysicalId),
    Nothing,
}

fn question(opened: &Opened, step: &Step, state: &StackState, spec: Option<serde_json::Value>) -> Question {
    let subject = |key| opened.subject(step, key, state, spec.clone().unwrap_or_default());
    let question = match &step.action {
        StepAction::Create { key, .. } => subject(key).map(Question::Create),
        StepAction::Update { key, id, .. } => subject(key).map(|s| Question::Update(s, id.clone())),
        StepAction::Adopt { key, id, .. } => subject(key).map(|s| Question::Adopt(s, id.clone())),
        StepAction::Delete { key, id, .. } => subject(key).map(|s| Question::Delete(s, id.clone())),
        StepAction::Release { .. } => None,
    };
    question.unwrap_or(Question::Nothing)
}

impl Calls<'_> {
    async fn answer(&self, question: Question, ago: Duration) -> StepResult<StepOutput> {
        let never = |message: &str| Err(StepError::Failed(interrupted(message)));
        match question {
            Question::Create(subject) => self.recover_create(&subject, ago).await,
            Question::Update(subject, id) => match self.recover_update(&subject, &id).await? {
                Some(output) => Ok(output),
                None => never("it has not taken effect"),
            },
            Question::Adopt(subject, id) => self.adopt(&subject, &id).await,
            Question::Delete(subject, id) => {
                if self.is_gone(&subject, &id).await? {
                    Ok(StepOutput::Nothing)
                } else {
                    never("it is still there")
                }
            }
            Question::Nothing => never("interrupted"),
        }
    }
}
