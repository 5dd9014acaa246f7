//! The backward half: takes steps back in the reverse of the order in which they became ready.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use serde_json::Value;

use super::call::Calls;
use super::codes;
use super::entry::{Entry, StepFailure};
use super::error::ApplyError;
use super::event::Event;
use super::failure::{StepError, StepResult, own};
use super::journal::Journal;
use super::release_steps::ReleaseSubject;
use super::resolve;
use super::resources::Subject;
use super::run::Opened;
use super::schedule::Schedule;
use super::stack_state::{StackState, StepState};
use crate::names::{ReleaseNumber, UnitId};
use crate::plan::{ReleaseAction, Step, StepAction, Undo};
use crate::provider::{ErrorKind, PhysicalId, Routing};
use crate::release::Release;

/// How an undo ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Undone {
    /// Everything that was to be taken back is.
    All,
    /// Something could not be taken back, and so nothing that came before it was.
    Stuck,
    /// The same, and only because who was asked does not answer: the next run takes it back.
    Unreached,
    /// The caller asked to stop.
    Cancelled,
}

/// Steps to take back when a step failed: those of the release, and at a first deployment
/// all that was made, so that nothing is left.
pub(super) fn after_failure(first: bool, step: &Step, state: &StepState) -> bool {
    match step.action {
        StepAction::Release { .. } => has_undo(step),
        _ => {
            first
                && matches!(step.undo, Undo::Delete | Undo::Restore { .. })
                && matches!(
                    state,
                    StepState::Succeeded | StepState::UndoStarted | StepState::UndoFailed { .. }
                )
        }
    }
}

/// Steps to take back when a run was interrupted: those of the release. A release that goes
/// on keeps its units; traffic and units that had to make room go back all the same.
pub(super) fn after_interruption(keep_candidate: bool, step: &Step) -> bool {
    match &step.action {
        StepAction::Release { action, .. } => {
            has_undo(step)
                && (!keep_candidate
                    || matches!(action, ReleaseAction::Shift { .. } | ReleaseAction::Yield { .. }))
        }
        _ => false,
    }
}

/// Did who was asked not answer, so that asking again is all there is to do?
fn is_unreached(failure: &StepFailure) -> bool {
    matches!(failure.kind, ErrorKind::Unavailable | ErrorKind::Ambiguous | ErrorKind::Timeout)
}

fn has_undo(step: &Step) -> bool {
    !matches!(step.undo, Undo::Nothing | Undo::Keep { .. })
}

/// What takes a step back, ready to leave.
enum Task {
    Delete(Subject, PhysicalId),
    Restore(Subject, PhysicalId, Value),
    Route(Routing),
    Stop(ReleaseNumber, UnitId),
    Release(ReleaseSubject, Option<(Arc<Release>, UnitId)>),
    Nothing,
}

/// Takes back every step of the open plan that was begun and that `which` says, unless it is
/// taken back already.
pub(super) async fn undo(
    journal: &mut Journal<'_>,
    calls: &Calls<'_>,
    opened: &Opened,
    which: impl Fn(&Step, &StepState) -> bool,
) -> Result<Undone, ApplyError> {
    let mut schedule = Schedule::backwards(&opened.plan, &opened.index);
    let selected: Vec<bool> = opened
        .plan
        .steps
        .iter()
        .map(|step| {
            let state = journal.state.open.as_ref().and_then(|open| open.steps.get(&step.id));
            state.is_some_and(|state| *state != StepState::Undone && which(step, state))
        })
        .collect();
    let mut running: FuturesUnordered<BoxFuture<'_, (usize, StepResult<()>)>> = FuturesUnordered::new();
    let mut ended = Undone::All;
    loop {
        if calls.cancellation.is_cancelled() {
            return Ok(Undone::Cancelled);
        }
        let (mut entries, mut tasks) = (Vec::new(), Vec::new());
        while running.len() + tasks.len() < calls.limit() {
            let Some(at) = schedule.next() else { break };
            if !selected[at] {
                schedule.done(at);
                continue;
            }
            let step = &opened.plan.steps[at];
            calls.events.send(&Event::UndoStarted { step: step.id.clone() });
            entries.push(Entry::UndoStarted { step: step.id.clone() });
            tasks.push((at, task(opened, step, journal.state)));
        }
        journal.append(&entries).await?;
        for (at, task) in tasks {
            let step = &opened.plan.steps[at];
            running.push(
                async move {
                    let result = match task {
                        Ok(task) => calls.take_back(step, &task).await,
                        Err(error) => Err(error),
                    };
                    (at, result)
                }
                .boxed(),
            );
        }
        if running.is_empty() {
            return Ok(ended);
        }
        let back = tokio::select! {
            biased;
            back = running.next() => back,
            () = calls.cancellation.cancelled() => return Ok(Undone::Cancelled),
        };
        let mut all: Vec<_> = back.into_iter().collect();
        while let Some(Some(more)) = running.next().now_or_never() {
            all.push(more);
        }
        let mut entries = Vec::new();
        for (at, result) in all {
            let step = opened.plan.steps[at].id.clone();
            match result {
                Ok(()) => {
                    calls.events.send(&Event::UndoSucceeded { step: step.clone() });
                    entries.push(Entry::UndoSucceeded { step });
                    schedule.done(at);
                }
                Err(StepError::Failed(failure) | StepError::Unknown(failure)) => {
                    // What came before it must not be taken back under it.
                    ended = match ended {
                        Undone::All | Undone::Unreached if is_unreached(&failure) => Undone::Unreached,
                        _ => Undone::Stuck,
                    };
                    calls.events.send(&Event::UndoFailed { step: step.clone(), failure: failure.clone() });
                    entries.push(Entry::UndoFailed { step, failure });
                }
                Err(StepError::Cancelled) => return Ok(Undone::Cancelled),
                Err(StepError::Stop(error)) => return Err(error),
            }
        }
        journal.append(&entries).await?;
    }
}

fn task(opened: &Opened, step: &Step, state: &StackState) -> StepResult<Task> {
    let resource = |spec: Value| {
        let key = step.action.key()?;
        let known = state.resources.get(key)?;
        let subject = Subject { other: None, ..opened.subject(step, key, state, spec)? };
        Some((subject, known.id.clone(), known.observed.clone()))
    };
    Ok(match (&step.undo, &step.action) {
        (Undo::Delete, _) => match resource(Value::Null) {
            Some((subject, id, _)) => Task::Delete(subject, id),
            None => Task::Nothing,
        },
        (Undo::Restore { previous }, _) => {
            let spec = resolve::spec(previous, state).map_err(StepError::Failed)?;
            match resource(spec) {
                Some((subject, id, have)) => Task::Restore(subject, id, have),
                None => Task::Nothing,
            }
        }
        (Undo::Unshift, _) => match state.routing_before(&step.id) {
            Some(before) => Task::Route(before.clone()),
            None => Task::Nothing,
        },
        (Undo::Stop, StepAction::Release { release, action: ReleaseAction::Start { unit } }) => {
            Task::Stop(*release, unit.clone())
        }
        (Undo::Release { release, action }, _) => {
            let fixed = opened.release(*release, state);
            let probe = match (action, &fixed) {
                (ReleaseAction::Start { unit }, Some(release)) => Some((Arc::clone(release), unit.clone())),
                _ => None,
            };
            let subject = ReleaseSubject {
                step: step.id.clone(),
                action: action.clone(),
                release: fixed,
                build: None,
                begun: None,
            };
            Task::Release(subject, probe)
        }
        (Undo::Nothing | Undo::Keep { .. }, _) => Task::Nothing,
        (Undo::Stop, _) => {
            return Err(StepError::Failed(own(
                codes::UNDO,
                ErrorKind::Unexpected,
                "its undo does not fit what it does",
                Some("this is a fault of the strategy; please report it with the plan"),
            )));
        }
    })
}

impl Calls<'_> {
    async fn take_back(&self, step: &Step, task: &Task) -> StepResult<()> {
        match task {
            Task::Delete(subject, id) => self.delete(subject, id).await,
            Task::Restore(subject, id, have) => self.update(subject, id, have).await.map(drop),
            Task::Route(routing) => self.route(&step.id, routing).await,
            Task::Stop(release, unit) => self.stop(&step.id, *release, unit).await,
            Task::Release(subject, probe) => {
                self.release_step(subject).await?;
                match probe {
                    // What had to make room serves again only once it is well.
                    Some((release, unit)) => self.probe(&step.id, release, unit).await,
                    None => Ok(()),
                }
            }
            Task::Nothing => Ok(()),
        }
    }
}
