//! What apply, undo and recovery share: the open plan, its tasks, how it is closed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Value;

use super::call::Calls;
use super::entry::{Entry, StepFailure, StepOutput};
use super::error::ApplyError;
use super::event::Event;
use super::failure::StepResult;
use super::journal::Journal;
use super::outcome::{LeftBehind, Outcome, OutcomeKind};
use super::release_steps::{Given, ReleaseSubject, draft};
use super::resolve;
use super::resources::Subject;
use super::stack_state::{OpenPlan, StackState, StepState};
use crate::names::{OutputName, ReleaseNumber, ResourceKey};
use crate::plan::{Plan, ReleaseAction, ReleaseSource, Stage, Step, StepAction, StepId, Undo};
use crate::provider::{Artefact, OpToken, PhysicalId};
use crate::release::Release;

/// A plan that is open, with what is derived from it once.
pub(super) struct Opened {
    pub(super) plan: Arc<Plan>,
    pub(super) index: HashMap<StepId, usize>,
    /// Outputs that something in the plan refers to.
    needed: BTreeMap<ResourceKey, BTreeSet<OutputName>>,
    /// Was no release ever committed before this plan?
    pub(super) first: bool,
}

/// A call that is ready to leave.
pub(super) enum Task {
    Create(Subject),
    Update(Subject, PhysicalId, Value),
    Adopt(Subject, PhysicalId),
    Delete(Subject, PhysicalId),
    Release(ReleaseSubject),
}

impl Opened {
    pub(super) fn new(plan: Arc<Plan>) -> Self {
        let index = plan.steps.iter().enumerate().map(|(at, step)| (step.id.clone(), at)).collect();
        let needed = resolve::needed(&plan);
        let first = plan.current.is_none();
        Self { plan, index, needed, first }
    }

    /// A resource of the plan in a call.
    pub(super) fn subject(
        &self,
        step: &Step,
        key: &ResourceKey,
        state: &StackState,
        spec: Value,
    ) -> Option<Subject> {
        let (kind, making) = match &step.action {
            StepAction::Create { kind, .. } => (kind, true),
            StepAction::Update { kind, .. }
            | StepAction::Adopt { kind, .. }
            | StepAction::Delete { kind, .. } => (kind, false),
            StepAction::Release { .. } => return None,
        };
        let before = state.resources.get(key);
        Some(Subject {
            step: step.id.clone(),
            key: key.clone(),
            kind: kind.clone(),
            token: if making {
                step.token
            } else {
                before
                    .filter(|r| r.generation > 0)
                    .map(|r| OpToken::new(self.plan.incarnation, key, r.generation))
            },
            spec,
            needed: self.needed.get(key).cloned().unwrap_or_default(),
            known: if making { None } else { before.cloned() },
            other: if making { before.map(|r| r.id.clone()) } else { None },
        })
    }

    /// What a step does, with references resolved. Also the spec to write down before it.
    pub(super) fn task(&self, step: &Step, state: &StackState) -> Result<(Task, Option<Value>), StepFailure> {
        Ok(match &step.action {
            StepAction::Create { key, spec, .. } => {
                let resolved = resolve::spec(spec, state)?;
                let subject = self.subject(step, key, state, resolved.clone()).ok_or_else(broken)?;
                (Task::Create(subject), Some(resolved))
            }
            StepAction::Update { key, id, spec, observed, .. } => {
                let resolved = resolve::spec(spec, state)?;
                let subject = self.subject(step, key, state, resolved.clone()).ok_or_else(broken)?;
                // What was adopted a moment ago was seen more lately than the plan.
                let have = state.resources.get(key).filter(|r| r.id == *id).map_or(observed, |r| &r.observed);
                let have = if self.index.contains_key(&adopt_id(key)) { have } else { observed };
                (Task::Update(subject, id.clone(), have.clone()), Some(resolved))
            }
            StepAction::Adopt { key, id, .. } => {
                let subject = self.subject(step, key, state, Value::Null).ok_or_else(broken)?;
                (Task::Adopt(subject, id.clone()), None)
            }
            StepAction::Delete { key, id, .. } => {
                let subject = self.subject(step, key, state, Value::Null).ok_or_else(broken)?;
                (Task::Delete(subject, id.clone()), None)
            }
            StepAction::Release { release, action } => {
                let build = match (&self.plan.release, action) {
                    (Some(planned), ReleaseAction::Build) => {
                        draft(&planned.source).map(|(_, r)| Arc::new(r.clone()))
                    }
                    _ => None,
                };
                let subject = ReleaseSubject {
                    step: step.id.clone(),
                    action: action.clone(),
                    release: self.release(*release, state),
                    build,
                    begun: state.open.as_ref().and_then(|open| open.begun(&step.id)),
                };
                (Task::Release(subject), None)
            }
        })
    }

    /// A release by number: one that is known, or the planned one if it is staged already.
    pub(super) fn release(&self, number: ReleaseNumber, state: &StackState) -> Option<Arc<Release>> {
        if let Some(record) = state.releases.get(&number) {
            return Some(Arc::new(record.release.clone()));
        }
        match &self.plan.release {
            Some(planned) if planned.number == number => match &planned.source {
                ReleaseSource::Staged { release } => Some(Arc::new((**release).clone())),
                ReleaseSource::Build { .. } => None,
            },
            _ => None,
        }
    }

    /// The release with its bundle fixed, from what was built.
    pub(super) fn built(&self, artefact: Artefact, state: &StackState) -> Result<StepOutput, StepFailure> {
        let planned = self.plan.release.as_ref().ok_or_else(broken)?;
        let (draft, _) = draft(&planned.source).ok_or_else(broken)?;
        let bundle = resolve::bundle(draft, artefact, state)?;
        let release = Release::new(planned.number, bundle).map_err(|_| broken())?;
        Ok(StepOutput::Release { release: Box::new(release) })
    }
}

fn adopt_id(key: &ResourceKey) -> StepId {
    StepId(format!("adopt:{key}"))
}

fn broken() -> StepFailure {
    super::failure::own(
        super::codes::REFUSED,
        crate::provider::ErrorKind::Unexpected,
        "the step does not fit its plan",
        Some("this is a fault of the planner or of a strategy; please report it with the plan"),
    )
}

impl Calls<'_> {
    /// Makes the calls of a task.
    pub(super) async fn run(&self, task: &Task) -> StepResult<Given> {
        Ok(Given::Output(match task {
            Task::Create(subject) => self.create(subject).await?,
            Task::Update(subject, id, have) => self.update(subject, id, have).await?,
            Task::Adopt(subject, id) => self.adopt(subject, id).await?,
            Task::Delete(subject, id) => {
                self.delete(subject, id).await?;
                StepOutput::Nothing
            }
            Task::Release(subject) => return self.release_step(subject).await,
        }))
    }
}

/// Steps that only wait and change nothing: when another step failed there is no reason to
/// wait for them.
pub(super) fn only_waits(action: &StepAction) -> bool {
    matches!(
        action,
        StepAction::Release {
            action: ReleaseAction::Probe { .. } | ReleaseAction::Smoke { .. } | ReleaseAction::Watch { .. },
            ..
        }
    )
}

/// How a plan ended, before it is closed.
pub(super) struct Ending {
    pub(super) kind: OutcomeKind,
    pub(super) cause: Option<(StepId, StepFailure)>,
    pub(super) left_behind: Vec<LeftBehind>,
}

/// Closes the open plan and says what came of it.
pub(super) async fn close(
    journal: &mut Journal<'_>,
    calls: &Calls<'_>,
    ending: Ending,
) -> Result<Outcome, ApplyError> {
    let outcome = Outcome {
        kind: ending.kind,
        release: journal.state.current,
        cause: ending.cause,
        left_behind: ending.left_behind,
    };
    journal.append(&[Entry::PlanClosed { outcome: outcome.clone() }]).await?;
    calls.events.send(&Event::Finished { outcome: outcome.clone() });
    Ok(outcome)
}

/// An outcome of a plan that stays open: the next run goes on with it.
pub(super) fn leave_open(journal: &Journal<'_>, calls: &Calls<'_>, ending: Ending) -> Outcome {
    let outcome = Outcome {
        kind: ending.kind,
        release: journal.state.current,
        cause: ending.cause,
        left_behind: ending.left_behind,
    };
    calls.events.send(&Event::Finished { outcome: outcome.clone() });
    outcome
}

/// What stays of a plan whose release did not come to be.
pub(super) fn left_behind(open: &OpenPlan) -> Vec<LeftBehind> {
    let mut left = Vec::new();
    for step in &open.plan.steps {
        let state = open.steps.get(&step.id);
        let keep = match &step.undo {
            Undo::Keep { reason } => Some(reason.as_str()),
            _ => None,
        };
        match (&step.action, state) {
            (action, Some(StepState::UndoFailed { failure })) => {
                left.push(behind(action.title(), format!("it could not be taken back: {}", failure.message)));
            }
            (action, Some(StepState::Started { .. } | StepState::UndoStarted)) => {
                left.push(behind(
                    action.title(),
                    "it is not known whether it happened; the next run resolves it".to_owned(),
                ));
            }
            (StepAction::Create { key, .. }, Some(StepState::Succeeded)) => {
                left.push(behind(
                    key.to_string(),
                    keep.unwrap_or("it was made for the new release; the next deployment uses it").to_owned(),
                ));
            }
            (StepAction::Update { key, .. }, Some(StepState::Succeeded)) => {
                left.push(behind(
                    key.to_string(),
                    keep.unwrap_or("it was changed for the new release, and stays so").to_owned(),
                ));
            }
            (StepAction::Adopt { key, .. }, Some(StepState::Succeeded)) => {
                left.push(behind(key.to_string(), keep.unwrap_or("an earlier attempt made it").to_owned()));
            }
            (StepAction::Delete { key, .. }, Some(StepState::Succeeded)) if step.stage == Stage::Expand => {
                left.push(behind(
                    key.to_string(),
                    "it was deleted to make room, and its successor failed".to_owned(),
                ));
            }
            _ => {}
        }
    }
    migrations(open, &mut left);
    left
}

/// SQL that ran stays as long as what it ran on does.
fn migrations(open: &OpenPlan, left: &mut Vec<LeftBehind>) {
    let first = open.plan.current.is_none();
    let stays = !first || !left.is_empty();
    if !stays {
        return;
    }
    for step in &open.plan.steps {
        let StepAction::Release { action: ReleaseAction::Migrate, release } = &step.action else { continue };
        match (open.steps.get(&step.id), open.outputs.get(&step.id)) {
            (Some(StepState::Succeeded), Some(StepOutput::Migrated { report })) => {
                for file in &report.applied {
                    left.push(behind(
                        format!("migration {file}"),
                        "SQL that ran is not taken back".to_owned(),
                    ));
                }
            }
            (Some(StepState::Failed { .. } | StepState::Started { .. }), _) => {
                left.push(behind(
                    format!("migrations of {release}"),
                    "files that were applied before it stopped stay applied; none is applied twice"
                        .to_owned(),
                ));
            }
            _ => {}
        }
    }
}

fn behind(what: String, why: String) -> LeftBehind {
    LeftBehind { what, why }
}

/// Steps of a plan that are not done, and why.
pub(super) fn not_done(open: &OpenPlan) -> Vec<LeftBehind> {
    open.plan
        .steps
        .iter()
        .filter_map(|step| {
            let why = match open.steps.get(&step.id) {
                Some(StepState::Succeeded) => return None,
                Some(StepState::Failed { failure }) => failure.message.clone(),
                Some(StepState::Started { .. }) => "it is not known whether it happened".to_owned(),
                Some(StepState::UndoStarted | StepState::Undone) => "it was taken back".to_owned(),
                Some(StepState::UndoFailed { failure }) => failure.message.clone(),
                None => "it was not begun".to_owned(),
            };
            Some(behind(step.action.title(), why))
        })
        .collect()
}

/// Says that a step failed.
pub(super) fn say_failed(calls: &Calls<'_>, step: &StepId, failure: &StepFailure) {
    calls.events.send(&Event::StepFailed { step: step.clone(), failure: failure.clone() });
}
