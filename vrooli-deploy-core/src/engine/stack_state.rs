//! The state of a stack: what its journal says, folded.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::OnceLock;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::codes;
use super::entry::{Entry, JournalRecord, StepFailure, StepOutput};
use super::outcome::{Outcome, OutcomeKind};
use crate::names::{ReleaseNumber, ResourceKey, ResourceKind};
use crate::plan::{Plan, ReleaseAction, Step, StepAction, StepId, Undo};
use crate::provider::{OpToken, Outputs, PhysicalId, Routing};
use crate::release::Release;

/// The state of a stack. A pure fold of its journal: replay equals live state.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StackState {
    /// Sequence number of the last record folded.
    pub seq: u64,
    /// Minted when the stack was first planned; nil before.
    pub incarnation: Uuid,
    /// Resources that are there, by key.
    pub resources: BTreeMap<ResourceKey, ResourceState>,
    /// Generations of keys, also of those that are gone: a token is never minted twice.
    pub generations: BTreeMap<ResourceKey, u32>,
    /// Releases that were made, by number.
    pub releases: BTreeMap<ReleaseNumber, ReleaseRecord>,
    /// The last committed release.
    pub current: Option<ReleaseNumber>,
    /// The highest number given so far.
    pub last_release: u32,
    /// A plan that is not closed.
    pub open: Option<OpenPlan>,
    /// What came of the last plan.
    pub last_outcome: Option<Outcome>,
    /// What that plan was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<LastRun>,
}

/// The last plan that was closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRun {
    /// What for: `deploy`, `rollback`, …
    pub command: String,
    /// The release that it was to bring, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseNumber>,
    /// When it was closed.
    pub at: Timestamp,
    /// Closed by another than the one who opened it: whoever did may not know what came of it.
    pub taken_over: bool,
}

/// A resource that is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResourceState {
    /// Its kind.
    pub kind: ResourceKind,
    /// What the provider calls it.
    pub id: PhysicalId,
    /// Its generation.
    pub generation: u32,
    /// The spec that was last applied, references symbolic.
    pub spec: Value,
    /// What was last seen. Kept apart from the spec: an apply never hides drift.
    pub observed: Value,
    /// Its outputs.
    pub outputs: Outputs,
    /// Holds data that cannot be made again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub holds_data: bool,
    /// Resources that must outlive it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub needs: BTreeSet<ResourceKey>,
    /// Was there before us and was taken over: no undo of ours may delete it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
}

/// A release in a stack's history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReleaseRecord {
    /// The release.
    pub release: Release,
    /// When its bundle was fixed.
    pub created: Timestamp,
    /// When it was last made current.
    pub committed: Option<Timestamp>,
    /// Why its deployment failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// What became of it.
    pub status: ReleaseStatus,
}

/// What became of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseStatus {
    /// Being deployed.
    Candidate,
    /// Was or is current; its gate passed.
    Good,
    /// Its deployment failed.
    Failed,
    /// Good once, but no longer staged.
    Removed,
}

/// A plan that is not closed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenPlan {
    /// The run.
    pub run: Uuid,
    /// The plan.
    pub plan: Plan,
    /// The lease under which it was opened; 0 where that is not known.
    #[serde(default)]
    pub fence: u64,
    /// How far each step is; one that is not named is pending.
    pub steps: BTreeMap<StepId, StepState>,
    /// Was its release committed?
    pub committed: bool,
    /// What steps gave. A shift of traffic is here from its start on: what was routed before.
    pub outputs: BTreeMap<StepId, StepOutput>,
    /// The first step that failed by itself, and why: what an undo does to the step hides it.
    #[serde(default)]
    pub cause: Option<(StepId, StepFailure)>,
    /// Resources as they were before the plan touched them, for undo.
    #[serde(default)]
    pub previous: BTreeMap<ResourceKey, ResourceState>,
    /// Set while the plan is held on purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// A person took its release for good: nothing asks again. What is seen to be worse goes back
    /// all the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub promoted: bool,
    #[serde(skip)]
    index: StepIndex,
}

/// That a plan is held with both releases there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The step that waits.
    pub step: StepId,
    /// Why, for people.
    pub reason: String,
    /// True: its watch goes on without whoever began it. False: a person decides.
    pub watching: bool,
    /// Since when.
    pub since: Timestamp,
}

/// Where each step of a plan is, made when it is first asked for. Derived, so it is neither
/// written nor compared.
#[derive(Debug, Clone, Default)]
struct StepIndex(OnceLock<HashMap<StepId, usize>>);

impl PartialEq for StepIndex {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// How far a step is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum StepState {
    /// Its call may have left.
    Started {
        /// Token of a create.
        token: Option<OpToken>,
        /// When.
        at: Timestamp,
        /// The resolved spec that left with the call.
        spec: Option<Value>,
    },
    /// Done.
    Succeeded,
    /// Failed.
    Failed {
        /// Why.
        failure: StepFailure,
    },
    /// Its undo may have left.
    UndoStarted,
    /// Undone.
    Undone,
    /// Could not be undone.
    UndoFailed {
        /// Why.
        failure: StepFailure,
    },
}

/// A journal whose entries do not follow each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("journal record {seq} cannot follow: {message}")]
pub struct IllegalTransition {
    /// Which record.
    pub seq: u64,
    /// Why.
    pub message: String,
}

impl StackState {
    /// Folds one record.
    ///
    /// # Errors
    /// When the record cannot follow: a gap, a step that is in no open plan, an undo of what was not done.
    pub fn apply(&mut self, record: &JournalRecord) -> Result<(), IllegalTransition> {
        let illegal = |message: String| IllegalTransition { seq: record.seq, message };
        if record.seq != self.seq + 1 {
            return Err(illegal(format!("expected record {}", self.seq + 1)));
        }
        match &record.entry {
            Entry::PlanOpened { run, plan } => {
                if self.open.is_some() {
                    return Err(illegal("a plan is open already".to_owned()));
                }
                self.incarnation = plan.incarnation;
                if let Some(release) = &plan.release {
                    self.last_release = self.last_release.max(release.number.0);
                }
                self.open = Some(OpenPlan {
                    run: *run,
                    plan: plan.clone(),
                    fence: record.fence,
                    steps: BTreeMap::new(),
                    committed: false,
                    outputs: BTreeMap::new(),
                    cause: None,
                    previous: BTreeMap::new(),
                    held: None,
                    promoted: false,
                    index: StepIndex::default(),
                });
            }
            Entry::Started { step, token, spec } => {
                let open = self.open.as_mut().ok_or_else(|| illegal("no plan is open".to_owned()))?;
                let action =
                    open.action(step).ok_or_else(|| illegal(format!("no step `{step}` in the plan")))?;
                match action {
                    StepAction::Create { key, generation, .. } => {
                        let seen = self.generations.entry(key.clone()).or_insert(0);
                        *seen = (*seen).max(*generation);
                    }
                    // Known before the call leaves: whatever becomes of it can be taken back.
                    StepAction::Release { action: ReleaseAction::Shift { .. }, .. } => {
                        let before = spec.as_ref().and_then(|spec| Routing::deserialize(spec).ok());
                        if let Some(before) = before {
                            open.outputs.insert(step.clone(), StepOutput::Shifted { before });
                        }
                    }
                    _ => {}
                }
                open.steps.insert(
                    step.clone(),
                    StepState::Started { token: *token, at: record.at, spec: spec.clone() },
                );
            }
            Entry::Succeeded { step, output } => {
                self.succeeded(step, output, record.at).map_err(illegal)?;
            }
            Entry::Failed { step, failure } => {
                let open = self.open.as_mut().ok_or_else(|| illegal("no plan is open".to_owned()))?;
                if failure.code != codes::INTERRUPTED && open.cause.is_none() {
                    open.cause = Some((step.clone(), failure.clone()));
                }
                open.held = None;
                open.steps.insert(step.clone(), StepState::Failed { failure: failure.clone() });
            }
            Entry::UndoStarted { step } => {
                let open = self.open.as_mut().ok_or_else(|| illegal("no plan is open".to_owned()))?;
                open.steps.insert(step.clone(), StepState::UndoStarted);
            }
            Entry::UndoSucceeded { step } => {
                self.undone(step).map_err(illegal)?;
            }
            Entry::UndoFailed { step, failure } => {
                let open = self.open.as_mut().ok_or_else(|| illegal("no plan is open".to_owned()))?;
                open.steps.insert(step.clone(), StepState::UndoFailed { failure: failure.clone() });
            }
            Entry::Held { step, reason, watching } => {
                let open = self.open.as_mut().ok_or_else(|| illegal("no plan is open".to_owned()))?;
                if open.action(step).is_none() {
                    return Err(illegal(format!("no step `{step}` in the plan")));
                }
                open.held = Some(Held {
                    step: step.clone(),
                    reason: reason.clone(),
                    watching: *watching,
                    since: record.at,
                });
            }
            Entry::Resumed { step } => {
                let open = self.open.as_mut().ok_or_else(|| illegal("no plan is open".to_owned()))?;
                if open.held.take().is_none_or(|held| held.step != *step) {
                    return Err(illegal(format!("the plan is not held at `{step}`")));
                }
            }
            Entry::Promoted { step } => {
                let open = self.open.as_mut().ok_or_else(|| illegal("no plan is open".to_owned()))?;
                if open.action(step).is_none() {
                    return Err(illegal(format!("no step `{step}` in the plan")));
                }
                open.promoted = true;
            }
            Entry::Committed { release } => {
                let open = self.open.as_mut().ok_or_else(|| illegal("no plan is open".to_owned()))?;
                open.committed = true;
                let record_of = self
                    .releases
                    .get_mut(release)
                    .ok_or_else(|| illegal(format!("release {release} was never built")))?;
                record_of.status = ReleaseStatus::Good;
                record_of.committed = Some(record.at);
                self.current = Some(*release);
            }
            Entry::PlanClosed { outcome } => {
                let open = self.open.take().ok_or_else(|| illegal("no plan is open".to_owned()))?;
                if let Some(planned) = &open.plan.release
                    && let Some(candidate) = self.releases.get_mut(&planned.number)
                {
                    if outcome.kind != OutcomeKind::Interrupted
                        && candidate.status == ReleaseStatus::Candidate
                    {
                        candidate.status = ReleaseStatus::Failed;
                    }
                    if candidate.status == ReleaseStatus::Failed {
                        candidate.failure =
                            outcome.cause.as_ref().map(|(_, failure)| failure.message.clone());
                    }
                }
                if outcome.kind == OutcomeKind::Applied {
                    for (key, spec) in &open.plan.specs {
                        if let Some(known) = self.resources.get_mut(key) {
                            known.spec.clone_from(spec);
                        }
                    }
                }
                self.last_outcome = Some(outcome.clone());
                self.last_run = Some(LastRun {
                    command: open.plan.command.clone(),
                    release: open.plan.release.as_ref().map(|planned| planned.number),
                    at: record.at,
                    // A plan that an earlier program opened does not say.
                    taken_over: open.fence != 0 && record.fence != open.fence,
                });
            }
            Entry::Destroyed => {
                let (seq, last_release) = (self.seq, self.last_release);
                let (last_outcome, last_run) = (self.last_outcome.take(), self.last_run.take());
                *self = Self { seq, last_release, last_outcome, last_run, ..Self::default() };
            }
            Entry::Rebuilt { state } => {
                let seq = self.seq;
                *self = Self { seq, ..(**state).clone() };
            }
        }
        self.seq = record.seq;
        Ok(())
    }

    fn succeeded(&mut self, step: &StepId, output: &StepOutput, at: Timestamp) -> Result<(), String> {
        let open = self.open.as_mut().ok_or("no plan is open")?;
        let action = open.action(step).ok_or_else(|| format!("no step `{step}` in the plan"))?.clone();
        open.steps.insert(step.clone(), StepState::Succeeded);
        open.outputs.insert(step.clone(), output.clone());
        if let Some(key) = action.key()
            && let Some(before) = self.resources.get(key)
        {
            open.previous.entry(key.clone()).or_insert_with(|| before.clone());
        }
        match (action, output) {
            (
                StepAction::Create { key, kind, spec, generation, holds_data, needs },
                StepOutput::Resource { id, observed, outputs },
            ) => {
                self.generations.insert(key.clone(), generation);
                self.resources.insert(
                    key,
                    ResourceState {
                        kind,
                        id: id.clone(),
                        generation,
                        spec,
                        observed: observed.clone(),
                        outputs: outputs.clone(),
                        holds_data,
                        needs,
                        adopted: false,
                    },
                );
            }
            (
                StepAction::Update { key, kind, spec, holds_data, needs, .. }
                | StepAction::Adopt { key, kind, spec, holds_data, needs, .. },
                StepOutput::Resource { id, observed, outputs },
            ) => {
                // What is in no state yet was there before us; an update keeps what was known.
                let known = self.resources.get(&key).filter(|r| r.id == *id);
                let generation = known
                    .map(|r| r.generation)
                    .or_else(|| self.generations.get(&key).copied())
                    .unwrap_or_default();
                let adopted = known.is_none_or(|r| r.adopted);
                self.resources.insert(
                    key,
                    ResourceState {
                        kind,
                        id: id.clone(),
                        generation,
                        spec,
                        observed: observed.clone(),
                        outputs: outputs.clone(),
                        holds_data,
                        needs,
                        adopted,
                    },
                );
            }
            // Unless a replacement has taken the key over already: then only the old object went.
            (StepAction::Delete { key, id, .. }, _)
                if self.resources.get(&key).is_some_and(|r| r.id == id) =>
            {
                self.resources.remove(&key);
            }
            (StepAction::Release { action: ReleaseAction::Build, .. }, StepOutput::Release { release }) => {
                self.last_release = self.last_release.max(release.number.0);
                self.releases.insert(
                    release.number,
                    ReleaseRecord {
                        release: (**release).clone(),
                        created: at,
                        committed: None,
                        failure: None,
                        status: ReleaseStatus::Candidate,
                    },
                );
            }
            (StepAction::Release { action: ReleaseAction::Remove { old }, .. }, _) => {
                if let Some(record) = self.releases.get_mut(&old)
                    && record.status == ReleaseStatus::Good
                {
                    record.status = ReleaseStatus::Removed;
                }
                // A destroy that was cut short: nothing serves, and nothing is there to start.
                if self.current == Some(old) {
                    self.current = None;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn undone(&mut self, step: &StepId) -> Result<(), String> {
        let open = self.open.as_mut().ok_or("no plan is open")?;
        let action = open.action(step).ok_or_else(|| format!("no step `{step}` in the plan"))?.clone();
        open.steps.insert(step.clone(), StepState::Undone);
        match action {
            StepAction::Create { key, .. }
            | StepAction::Adopt { key, .. }
            | StepAction::Update { key, .. } => {
                let deleted = matches!(open.undo(step), Some(Undo::Delete));
                match open.previous.get(&key) {
                    // A replacement went: the object before it is there still. An object that
                    // an earlier attempt made went with it.
                    Some(before)
                        if !deleted || self.resources.get(&key).is_some_and(|r| r.id != before.id) =>
                    {
                        self.resources.insert(key, before.clone());
                    }
                    _ => {
                        self.resources.remove(&key);
                    }
                }
            }
            StepAction::Release { release, action: ReleaseAction::Stage } => {
                if let Some(record) = self.releases.get_mut(&release)
                    && record.status == ReleaseStatus::Candidate
                {
                    record.status = ReleaseStatus::Failed;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Without what is only told to people: a snapshot that an earlier program wrote has none of it.
    #[cfg(feature = "engine")]
    pub(crate) fn without_telling(mut self) -> Self {
        self.last_run = None;
        if let Some(open) = &mut self.open {
            open.fence = 0;
        }
        for record in self.releases.values_mut() {
            record.failure = None;
        }
        self
    }

    /// The last release that went back with nobody there who waited for it, and why: nobody was
    /// told yet. What a person ended is known to a person.
    #[must_use]
    pub fn went_back_unseen(&self) -> Option<(ReleaseNumber, &StepFailure)> {
        let (run, outcome) = (self.last_run.as_ref()?, self.last_outcome.as_ref()?);
        let (_, failure) = outcome.cause.as_ref()?;
        let decided = failure.code == codes::ABORTED || failure.code == codes::ENDED;
        let unseen = run.taken_over && outcome.kind == OutcomeKind::RolledBack && !decided;
        unseen.then_some((run.release?, failure))
    }

    /// What a step of the open plan said the routing was before it.
    #[must_use]
    pub fn routing_before(&self, step: &StepId) -> Option<&Routing> {
        match self.open.as_ref()?.outputs.get(step)? {
            StepOutput::Shifted { before } => Some(before),
            _ => None,
        }
    }
}

impl OpenPlan {
    /// What a step of the plan does.
    #[must_use]
    pub fn action(&self, step: &StepId) -> Option<&StepAction> {
        self.step(step).map(|step| &step.action)
    }

    /// What takes a step of the plan back.
    #[must_use]
    pub fn undo(&self, step: &StepId) -> Option<&Undo> {
        self.step(step).map(|step| &step.undo)
    }

    /// A step of the plan. Every entry of a journal asks, so it is not searched for.
    fn step(&self, id: &StepId) -> Option<&Step> {
        let steps = &self.plan.steps;
        let index = self.index.0.get_or_init(|| {
            let mut index = HashMap::with_capacity(steps.len());
            for (at, step) in steps.iter().enumerate() {
                // Of two with one id the first counts, as ever.
                index.entry(step.id.clone()).or_insert(at);
            }
            index
        });
        // The plan is open to the public: one that was changed since is searched.
        let known = index.get(id).and_then(|at| steps.get(*at)).filter(|step| step.id == *id);
        known.or_else(|| steps.iter().find(|step| step.id == *id))
    }

    /// Where the plan waits with both releases there: held on purpose, or being watched by
    /// somebody who may be gone. `None` for a plan that is anywhere else.
    #[must_use]
    pub fn waiting(&self) -> Option<Held> {
        if self.committed || self.cause.is_some() {
            return None;
        }
        let mut watch = None;
        for (step, state) in &self.steps {
            match (state, self.action(step)) {
                (StepState::Succeeded, _) => {}
                (
                    StepState::Started { at, .. },
                    Some(StepAction::Release { action: ReleaseAction::Watch { .. }, .. }),
                ) => {
                    watch = Some(Held {
                        step: step.clone(),
                        reason: "it is being watched".to_owned(),
                        watching: true,
                        since: *at,
                    });
                }
                _ => return None,
            }
        }
        self.held.clone().or(watch)
    }

    /// When a step's call left, while it has no answer.
    #[must_use]
    pub fn begun(&self, step: &StepId) -> Option<Timestamp> {
        match self.steps.get(step)? {
            StepState::Started { at, .. } => Some(*at),
            _ => None,
        }
    }

    /// Traffic as the last shift that was done left it.
    #[must_use]
    pub fn routed(&self) -> Option<&Routing> {
        self.plan
            .steps
            .iter()
            .rev()
            .filter(|step| self.steps.get(&step.id) == Some(&StepState::Succeeded))
            .find_map(|step| match &step.action {
                StepAction::Release { action: ReleaseAction::Shift { routing }, .. } => Some(routing),
                _ => None,
            })
    }

    /// Steps whose call, or whose undo, may have left without an answer.
    #[must_use]
    pub fn dangling(&self) -> Vec<StepId> {
        self.steps
            .iter()
            .filter(|(_, state)| matches!(state, StepState::Started { .. } | StepState::UndoStarted))
            .map(|(step, _)| step.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Stage;

    fn step(id: &str) -> serde_json::Value {
        serde_json::to_value(Step {
            id: StepId(id.to_owned()),
            stage: Stage::Expand,
            action: StepAction::Release { release: ReleaseNumber(1), action: ReleaseAction::Build },
            undo: Undo::Nothing,
            after: BTreeSet::new(),
            reason: id.to_owned(),
            token: None,
        })
        .unwrap()
    }

    #[test]
    fn a_step_is_found_by_its_id_also_in_a_plan_that_was_changed() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let mut open: OpenPlan = serde_json::from_value(serde_json::json!({
            "run": Uuid::nil(), "fence": 1, "steps": {}, "committed": false, "outputs": {},
            "plan": {
                "schema": 1, "stack": { "app": "a", "environment": "default" }, "provider": "local",
                "incarnation": Uuid::nil(), "command": "deploy", "digest": digest,
                "steps": [step("one"), step("two")],
            },
        }))
        .unwrap();
        let fresh = open.clone();
        let reason = |open: &OpenPlan, id: &str| open.step(&StepId(id.to_owned())).map(|s| s.reason.clone());
        assert_eq!(reason(&open, "two").as_deref(), Some("two"));
        assert_eq!(reason(&open, "three"), None);
        assert_eq!(open, fresh, "what is derived is not compared");
        assert_eq!(serde_json::to_string(&open).unwrap(), serde_json::to_string(&fresh).unwrap());
        open.plan.steps.remove(0);
        assert_eq!(reason(&open, "two").as_deref(), Some("two"));
        assert_eq!(reason(&open, "one"), None);
    }
}
