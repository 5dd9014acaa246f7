//! The forward half: dispatch on readiness, write ahead, and what a failure leads to.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::Instant;
use uuid::Uuid;

use super::Engine;
use super::call::Calls;
use super::entry::{Entry, StepFailure, StepOutput};
use super::error::ApplyError;
use super::event::Event;
use super::events::EventSink;
use super::failure::{StepError, StepResult, interrupted};
use super::journal::Journal;
use super::options::ApplyOptions;
use super::outcome::{Outcome, OutcomeKind};
use super::release_steps::Given;
use super::run::{Ending, Opened, Task, close, leave_open, left_behind, not_done, only_waits, say_failed};
use super::schedule::Schedule;
use super::stack_state::{StackState, StepState};
use super::undo::{Undone, undo};
use crate::plan::{self, Plan, ReleaseAction, Stage, StepAction, StepId};
use crate::provider::{Cancellation, Routing};
use crate::state::Lease;

/// A step that came back.
struct Back {
    at: usize,
    result: StepResult<Given>,
    millis: u64,
}

impl Engine {
    /// Runs a plan. `state` must be the stack's state as the lease's store has it, and is
    /// kept equal to it. Every intent is durable before its call leaves; dropping the future
    /// at any point is safe, the next run resolves what was left.
    ///
    /// An empty plan changes nothing and writes nothing.
    ///
    /// # Errors
    /// When a plan is open ([`recover`](Self::recover) comes first), the plan breaks a rule,
    /// the journal cannot be written or the lease is lost. A step that fails is no error but
    /// an [`Outcome`].
    pub async fn apply(
        &self,
        lease: &dyn Lease,
        state: &mut StackState,
        plan: Plan,
        options: ApplyOptions,
        events: &EventSink,
    ) -> Result<Outcome, ApplyError> {
        if state.open.is_some() {
            return Err(ApplyError::Open { stack: plan.stack });
        }
        if plan.is_empty() {
            let outcome = Outcome {
                kind: OutcomeKind::NoChange,
                release: state.current,
                cause: None,
                left_behind: Vec::new(),
            };
            events.send(&Event::Finished { outcome: outcome.clone() });
            return Ok(outcome);
        }
        let findings = plan::check(&plan, state);
        if !findings.is_empty() {
            return Err(ApplyError::Refused { stack: plan.stack, findings });
        }
        let opened = Opened::new(Arc::new(plan));
        let calls = Calls::new(self, &opened.plan, lease.info().fence, options.cancellation, events);
        let mut journal = Journal::new(lease, state, &self.options.hooks);
        let entry = Entry::PlanOpened { run: Uuid::now_v7(), plan: (*opened.plan).clone() };
        journal.append(&[entry]).await?;
        events.send(&Event::PlanStarted { steps: opened.plan.steps.len() });

        let forward = Forward::new(&opened, &calls, options.detach).run(&mut journal).await?;
        conclude(&mut journal, &calls, &opened, forward).await
    }
}

/// What becomes of a plan whose forward half has ended.
pub(super) async fn conclude(
    journal: &mut Journal<'_>,
    calls: &Calls<'_>,
    opened: &Opened,
    forward: Ended,
) -> Result<Outcome, ApplyError> {
    match forward {
        Ended::Cancelled => Ok(leave_open(journal, calls, interrupted_ending(journal))),
        Ended::Done => {
            close(journal, calls, Ending { kind: OutcomeKind::Applied, cause: None, left_behind: Vec::new() })
                .await
        }
        Ended::Held(held) => hold(journal, calls, held).await,
        Ended::Failed { unknown: None } if past_undo(journal, opened) => {
            let open = journal.state.open.as_ref();
            let ending = Ending {
                kind: OutcomeKind::Partial,
                cause: open.and_then(|open| open.cause.clone()),
                left_behind: open.map(not_done).unwrap_or_default(),
            };
            close(journal, calls, ending).await
        }
        Ended::Failed { unknown } => roll_back(journal, calls, opened, unknown).await,
    }
}

/// Leaves the plan open with both releases there. Where a person decides traffic stays as it
/// is for as long as that takes; a watch that goes on without us is renewed by whoever does.
async fn hold(journal: &mut Journal<'_>, calls: &Calls<'_>, held: HeldAt) -> Result<Outcome, ApplyError> {
    let HeldAt { step, reason, watching } = held;
    journal.append(&[Entry::Held { step: step.clone(), reason: reason.clone(), watching }]).await?;
    calls.events.send(&Event::Held { step: step.clone(), reason });
    let routed = journal.state.open.as_ref().and_then(|open| open.routed().cloned());
    if let Some(routing) = routed.filter(|routing| !routing.revert_to.is_empty()) {
        let told =
            if watching { calls.route(&step, &routing).await } else { calls.settle(&step, &routing).await };
        match told {
            Err(StepError::Stop(error)) => return Err(error),
            Err(StepError::Failed(failure) | StepError::Unknown(failure)) => {
                calls.note(format!("traffic may go back by itself: {}", failure.message));
            }
            Ok(()) | Err(StepError::Cancelled) => {}
        }
    }
    let ending = Ending { kind: OutcomeKind::OnHold, cause: None, left_behind: Vec::new() };
    Ok(leave_open(journal, calls, ending))
}

/// Is it too late to take anything back: was the release committed, or had contract begun?
fn past_undo(journal: &Journal<'_>, opened: &Opened) -> bool {
    journal.state.open.as_ref().is_some_and(|open| {
        open.committed
            || opened
                .plan
                .steps
                .iter()
                .any(|step| step.stage == Stage::Contract && open.steps.contains_key(&step.id))
    })
}

pub(super) fn interrupted_ending(journal: &Journal<'_>) -> Ending {
    let open = journal.state.open.as_ref();
    Ending {
        kind: OutcomeKind::Interrupted,
        cause: open.and_then(|open| open.cause.clone()),
        left_behind: open.map(not_done).unwrap_or_default(),
    }
}

/// Takes back what a failed plan did, and closes it unless something is not known.
pub(super) async fn roll_back(
    journal: &mut Journal<'_>,
    calls: &Calls<'_>,
    opened: &Opened,
    unknown: Option<(StepId, StepFailure)>,
) -> Result<Outcome, ApplyError> {
    let done =
        undo(journal, calls, opened, |step, state| super::undo::after_failure(opened.first, step, state))
            .await?;
    let open = journal.state.open.as_ref();
    let cause = unknown.clone().or_else(|| open.and_then(|open| open.cause.clone()));
    let left_behind = open.map(left_behind).unwrap_or_default();
    match done {
        Undone::Cancelled => Ok(leave_open(journal, calls, interrupted_ending(journal))),
        Undone::Unreached if unknown.is_none() => {
            Ok(leave_open(journal, calls, Ending { kind: OutcomeKind::Partial, cause, left_behind }))
        }
        Undone::Stuck | Undone::Unreached => {
            Ok(leave_open(journal, calls, Ending { kind: OutcomeKind::Stuck, cause, left_behind }))
        }
        Undone::All if unknown.is_some() => {
            Ok(leave_open(journal, calls, Ending { kind: OutcomeKind::Stuck, cause, left_behind }))
        }
        Undone::All => {
            close(journal, calls, Ending { kind: OutcomeKind::RolledBack, cause, left_behind }).await
        }
    }
}

/// Did a person take the release for good?
fn is_promoted(state: &StackState) -> bool {
    state.open.as_ref().is_some_and(|open| open.promoted)
}

/// A sign of life, after some time.
fn renewal<'a>(calls: &'a Calls<'a>) -> BoxFuture<'a, StepResult<()>> {
    async move {
        tokio::time::sleep(calls.engine.options.revert_after / 4).await;
        calls.renew().await
    }
    .boxed()
}

/// What is written down with a step: its resolved spec, or the traffic before a shift.
async fn written_with(
    calls: &Calls<'_>,
    step: &StepId,
    action: &StepAction,
    spec: Option<serde_json::Value>,
) -> StepResult<Option<serde_json::Value>> {
    if !matches!(action, StepAction::Release { action: ReleaseAction::Shift { .. }, .. }) {
        return Ok(spec);
    }
    let before = tokio::select! {
        before = calls.routing(step) => before?,
        () = calls.cancellation.cancelled() => return Err(StepError::Cancelled),
    };
    // A time at which an older shift would have gone back by itself is no state to go back to.
    let before = Routing { weights: before.weights, resting: before.resting, ..Routing::default() };
    Ok(serde_json::to_value(before).ok())
}

/// Where a plan is held, and why.
pub(super) struct HeldAt {
    step: StepId,
    reason: String,
    watching: bool,
}

/// How the forward half ended.
pub(super) enum Ended {
    Done,
    Held(HeldAt),
    Failed {
        /// A step of which it is not known whether it happened, and that may not be forgotten.
        unknown: Option<(StepId, StepFailure)>,
    },
    Cancelled,
}

pub(super) struct Forward<'a> {
    opened: &'a Opened,
    calls: &'a Calls<'a>,
    schedule: Schedule,
    running: FuturesUnordered<BoxFuture<'a, Back>>,
    /// Set when a step failed: those that only wait need not go on.
    give_up: Cancellation,
    failed: bool,
    unknown: Option<(StepId, StepFailure)>,
    left: usize,
    /// Watches are begun and not waited for.
    detach: bool,
    /// Set when a step waits for somebody else; what runs beside it comes to its end.
    held: Option<HeldAt>,
    /// Tells the fleet from time to time that we are still at it.
    renewal: BoxFuture<'a, StepResult<()>>,
}

impl<'a> Forward<'a> {
    pub(super) fn new(opened: &'a Opened, calls: &'a Calls<'a>, detach: bool) -> Self {
        Self {
            detach,
            held: None,
            renewal: renewal(calls),
            schedule: Schedule::forwards(&opened.plan, &opened.index),
            running: FuturesUnordered::new(),
            give_up: Cancellation::new(),
            failed: false,
            unknown: None,
            left: opened.plan.steps.len(),
            opened,
            calls,
        }
    }

    /// The same, but for what an earlier run has done. A watch that it had begun goes on.
    pub(super) fn resume(mut self, state: &StackState) -> Result<Self, StepFailure> {
        let Some(open) = &state.open else { return Ok(self) };
        for (at, step) in self.opened.plan.steps.iter().enumerate() {
            if open.steps.get(&step.id) == Some(&StepState::Succeeded) {
                self.left -= 1;
                self.schedule.skip(at);
            }
        }
        // Handed out before: it is launched again, and stays begun when it was.
        let begun: Vec<usize> = (0..self.opened.plan.steps.len())
            .filter(|at| open.begun(&self.opened.plan.steps[*at].id).is_some())
            .collect();
        for at in begun {
            let (task, _) = self.opened.task(&self.opened.plan.steps[at], state)?;
            self.schedule.take(at);
            self.launch(at, task);
        }
        Ok(self)
    }

    pub(super) async fn run(mut self, journal: &mut Journal<'_>) -> Result<Ended, ApplyError> {
        let ended = self.drive(journal).await?;
        // A renewal on its way must not arrive after what is routed next.
        if !matches!(ended, Ended::Cancelled) && self.calls.shifted.try_lock().is_err() {
            let _ = self.renewal.await;
        }
        Ok(ended)
    }

    async fn drive(&mut self, journal: &mut Journal<'_>) -> Result<Ended, ApplyError> {
        let calls = self.calls;
        let mut back: Vec<Back> = Vec::new();
        loop {
            let mut entries = Vec::new();
            for back in back.drain(..) {
                self.came_back(back, journal.state, &mut entries)?;
            }
            // Folded first: what may start now refers to outputs of what just came back.
            journal.append(&entries).await?;
            if calls.cancellation.is_cancelled() {
                return Ok(Ended::Cancelled);
            }
            for (at, task) in self.start(journal).await? {
                self.launch(at, task);
            }
            if self.running.is_empty() {
                if !self.failed
                    && let Some(held) = self.held.take()
                {
                    return Ok(Ended::Held(held));
                }
                return Ok(if self.left == 0 {
                    Ended::Done
                } else {
                    Ended::Failed { unknown: self.unknown.take() }
                });
            }
            tokio::select! {
                biased;
                first = self.running.next() => back.extend(first),
                () = calls.cancellation.cancelled() => return Ok(Ended::Cancelled),
                renewed = &mut self.renewal => {
                    match renewed {
                        Err(StepError::Stop(error)) => return Err(error),
                        Err(StepError::Failed(failure) | StepError::Unknown(failure)) => {
                            calls.note(format!("traffic may go back by itself: {}", failure.message));
                        }
                        Ok(()) | Err(StepError::Cancelled) => {}
                    }
                    self.renewal = renewal(calls);
                }
            }
            while let Some(Some(more)) = self.running.next().now_or_never() {
                back.push(more);
            }
        }
    }

    /// Writes down what may start now, all in one append, and gives back its calls.
    async fn start(&mut self, journal: &mut Journal<'_>) -> Result<Vec<(usize, Task)>, ApplyError> {
        let (opened, calls) = (self.opened, self.calls);
        let (mut tasks, mut entries) = (Vec::new(), Vec::new());
        while !self.failed && self.running.len() + tasks.len() < calls.limit() {
            let Some(at) = self.schedule.next() else { break };
            let step = &opened.plan.steps[at];
            calls.events.send(&Event::StepStarted {
                step: step.id.clone(),
                stage: step.stage,
                title: step.action.title(),
            });
            if plan::is_commit(step) {
                let StepAction::Release { release, .. } = step.action else { continue };
                journal.append(&std::mem::take(&mut entries)).await?;
                // One transaction: the release is current from here on, before anybody is told.
                let succeeded = Entry::Succeeded { step: step.id.clone(), output: StepOutput::Nothing };
                journal.append(&[Entry::Committed { release }, succeeded]).await?;
                calls.events.send(&Event::StepSucceeded { step: step.id.clone(), millis: 0 });
                self.done(at);
                continue;
            }
            if matches!(step.action, StepAction::Release { action: ReleaseAction::Hold, .. }) {
                if is_promoted(journal.state) {
                    entries.push(Entry::Succeeded { step: step.id.clone(), output: StepOutput::Nothing });
                    journal.append(&std::mem::take(&mut entries)).await?;
                    calls.events.send(&Event::StepSucceeded { step: step.id.clone(), millis: 0 });
                    self.done(at);
                    continue;
                }
                self.held = Some(HeldAt {
                    step: step.id.clone(),
                    reason: "a person decides".to_owned(),
                    watching: false,
                });
                continue;
            }
            let prepared = match opened.task(step, journal.state) {
                Ok((task, spec)) => {
                    written_with(calls, &step.id, &step.action, spec).await.map(|spec| (task, spec))
                }
                Err(failure) => Err(StepError::Failed(failure)),
            };
            match prepared {
                Ok((task, spec)) => {
                    entries.push(Entry::Started { step: step.id.clone(), token: step.token, spec });
                    tasks.push((at, task));
                }
                Err(StepError::Stop(error)) => return Err(error),
                Err(StepError::Cancelled) => break,
                Err(StepError::Failed(failure) | StepError::Unknown(failure)) => {
                    self.fail(at, failure, &mut entries);
                }
            }
        }
        journal.append(&entries).await?;
        if self.detach {
            tasks.retain(|(at, _)| {
                let step = &opened.plan.steps[*at];
                let StepAction::Release { action: ReleaseAction::Watch { window, .. }, .. } = &step.action
                else {
                    return true;
                };
                self.held = Some(HeldAt {
                    step: step.id.clone(),
                    reason: format!("it is watched for {}", crate::duration::format(*window)),
                    watching: true,
                });
                false
            });
        }
        Ok(tasks)
    }

    fn launch(&mut self, at: usize, task: Task) {
        let (calls, give_up) = (self.calls, self.give_up.clone());
        let waits = only_waits(&self.opened.plan.steps[at].action);
        self.running.push(
            async move {
                let begun = Instant::now();
                let result = if waits {
                    tokio::select! {
                        biased;
                        result = calls.run(&task) => result,
                        () = give_up.cancelled() => {
                            Err(StepError::Failed(interrupted("another step failed first")))
                        }
                    }
                } else {
                    calls.run(&task).await
                };
                let millis = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                Back { at, result, millis }
            }
            .boxed(),
        );
    }

    fn came_back(
        &mut self,
        back: Back,
        state: &StackState,
        entries: &mut Vec<Entry>,
    ) -> Result<(), ApplyError> {
        let step = &self.opened.plan.steps[back.at];
        let output = match back.result {
            Ok(Given::Output(output)) => Ok(match state.routing_before(&step.id) {
                Some(before) => StepOutput::Shifted { before: before.clone() },
                None => output,
            }),
            Ok(Given::Built(artefact)) => self.opened.built(artefact, state),
            Ok(Given::Undecided(reason)) if is_promoted(state) => {
                self.calls.note(format!("{reason}; it goes on because it was promoted"));
                Ok(StepOutput::Nothing)
            }
            Ok(Given::Undecided(reason)) => {
                self.held = Some(HeldAt { step: step.id.clone(), reason, watching: false });
                return Ok(());
            }
            Err(StepError::Failed(failure)) => Err(failure),
            Err(StepError::Unknown(failure)) => {
                if matches!(step.action, StepAction::Create { .. }) {
                    say_failed(self.calls, &step.id, &failure);
                    self.unknown.get_or_insert((step.id.clone(), failure));
                    self.failed = true;
                    self.give_up.cancel();
                    return Ok(());
                }
                Err(failure)
            }
            Err(StepError::Cancelled) => return Ok(()),
            Err(StepError::Stop(error)) => return Err(error),
        };
        match output {
            Ok(output) => {
                self.calls.events.send(&Event::StepSucceeded { step: step.id.clone(), millis: back.millis });
                entries.push(Entry::Succeeded { step: step.id.clone(), output });
                self.done(back.at);
            }
            Err(failure) => self.fail(back.at, failure, entries),
        }
        Ok(())
    }

    fn done(&mut self, at: usize) {
        self.left -= 1;
        self.schedule.done(at);
    }

    /// Contract steps do not need each other's success, only their own turn: the others go on.
    fn fail(&mut self, at: usize, failure: StepFailure, entries: &mut Vec<Entry>) {
        let step = &self.opened.plan.steps[at];
        say_failed(self.calls, &step.id, &failure);
        entries.push(Entry::Failed { step: step.id.clone(), failure });
        if step.stage != Stage::Contract {
            self.failed = true;
            self.give_up.cancel();
        }
    }
}
