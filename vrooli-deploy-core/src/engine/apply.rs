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
use super::stack_state::StackState;
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
        let calls =
            Calls::new(self, opened.plan.stack.clone(), lease.info().fence, options.cancellation, events);
        let mut journal = Journal::new(lease, state, &self.options.hooks);
        let entry = Entry::PlanOpened { run: Uuid::now_v7(), plan: (*opened.plan).clone() };
        journal.append(&[entry]).await?;
        events.send(&Event::PlanStarted { steps: opened.plan.steps.len() });

        let forward = Forward::new(&opened, &calls).run(&mut journal).await?;
        match forward {
            Ended::Cancelled => Ok(leave_open(&journal, &calls, interrupted_ending(&journal))),
            Ended::Done => {
                close(
                    &mut journal,
                    &calls,
                    Ending { kind: OutcomeKind::Applied, cause: None, left_behind: Vec::new() },
                )
                .await
            }
            Ended::Failed { unknown: None } if past_undo(&journal, &opened) => {
                let open = journal.state.open.as_ref();
                let ending = Ending {
                    kind: OutcomeKind::Partial,
                    cause: open.and_then(|open| open.cause.clone()),
                    left_behind: open.map(not_done).unwrap_or_default(),
                };
                close(&mut journal, &calls, ending).await
            }
            Ended::Failed { unknown } => roll_back(&mut journal, &calls, &opened, unknown).await,
        }
    }
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
        Undone::Stuck => {
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
    Ok(serde_json::to_value(Routing { weights: before.weights, ..Routing::default() }).ok())
}

/// How the forward half ended.
enum Ended {
    Done,
    Failed {
        /// A step of which it is not known whether it happened, and that may not be forgotten.
        unknown: Option<(StepId, StepFailure)>,
    },
    Cancelled,
}

struct Forward<'a> {
    opened: &'a Opened,
    calls: &'a Calls<'a>,
    schedule: Schedule,
    running: FuturesUnordered<BoxFuture<'a, Back>>,
    /// Set when a step failed: those that only wait need not go on.
    give_up: Cancellation,
    failed: bool,
    unknown: Option<(StepId, StepFailure)>,
    left: usize,
}

impl<'a> Forward<'a> {
    fn new(opened: &'a Opened, calls: &'a Calls<'a>) -> Self {
        Self {
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

    async fn run(mut self, journal: &mut Journal<'_>) -> Result<Ended, ApplyError> {
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
                return Ok(if self.left == 0 {
                    Ended::Done
                } else {
                    Ended::Failed { unknown: self.unknown }
                });
            }
            tokio::select! {
                biased;
                first = self.running.next() => back.extend(first),
                () = calls.cancellation.cancelled() => return Ok(Ended::Cancelled),
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
