use std::path::PathBuf;

use super::secrets::{PendingSecret, store_secrets};
use super::session::Session;
use super::source::Source;
use super::{OperationError, Report, Waiting};
use crate::cost::PlannedCost;
use crate::diagnostics::Diagnostic;
use crate::engine::{ApplyOptions, Outcome, OutcomeKind};
use crate::plan::{Plan, PlannedRelease, ReleaseSource, StepAction};
use crate::profile::ProfileRef;

/// A change that is planned and whose lease is held: look at it, then apply or drop it.
#[derive(Debug)]
pub struct Change {
    pub(super) session: Session,
    pub(super) plan: Plan,
    pub(super) cost: Option<PlannedCost>,
    pub(super) diagnostics: Vec<Diagnostic>,
    pub(super) after: After,
}

/// What is remembered once a change was applied.
#[derive(Debug, Default)]
pub(super) struct After {
    /// Where the app came from.
    pub(super) source: Option<Source>,
    /// The version of a profile that a new release is made from.
    pub(super) profile: Option<ProfileRef>,
    /// Stopped or started on purpose.
    pub(super) stopped: Option<bool>,
    /// Values of the manifest's secrets that are not in the store yet.
    pub(super) secrets: Vec<PendingSecret>,
    /// Watches are left to whoever goes on with them.
    pub(super) detach: bool,
    /// The stack goes: with its data, or without.
    pub(super) destroyed: Option<Destroyed>,
    /// It is about what is in no state.
    pub(super) orphans: Option<Orphans>,
}

impl Change {
    /// What will happen.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What it does to the bill of a month; `None` where nobody bills for any of it.
    #[must_use]
    pub fn cost(&self) -> Option<&PlannedCost> {
        self.cost.as_ref()
    }

    /// Does it remove or replace anything that people use, or may it make the month dearer without a budget
    /// that allows it? What only adds what nobody bills for asks nothing.
    #[must_use]
    pub fn needs_confirmation(&self) -> bool {
        let unasked = |cost: &PlannedCost| cost.judgement.is_none() && cost.may_rise();
        self.after.destroyed.is_some()
            || self.plan.steps.iter().any(|step| matches!(step.action, StepAction::Delete { .. }))
            || (!self.plan.is_empty() && self.cost.as_ref().is_some_and(unasked))
    }

    /// What was noticed about the input: dropped dependencies, steps that are not run.
    #[must_use]
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// Does it. The engine writes each step down before it is done; killed at any moment,
    /// the next command on the stack resolves what was left.
    ///
    /// # Errors
    /// When the journal cannot be written or the lease was lost. What the steps came to is
    /// in the report's outcome.
    pub async fn apply(mut self) -> Result<Report, OperationError> {
        let workspace = self.session.workspace.clone();
        let stack = self.session.stack.clone();
        store_secrets(&workspace, &mut self.plan, std::mem::take(&mut self.after.secrets))?;
        if let Some(source) = &self.after.source {
            workspace.set_source(&stack, source).await?;
        }
        if let Some(PlannedRelease { number, source: ReleaseSource::Build { .. } }) = &self.plan.release {
            workspace.set_made_from(&stack, *number, self.after.profile).await?;
        }
        if let Some(orphans) = self.after.orphans.as_ref().filter(|orphans| orphans.take_over)
            && let Some(ledger) = self.session.provider.ledger()
        {
            ledger.take_over(&self.session.context().with_regions(orphans.regions.clone())).await?;
        }
        let digest = self.plan.digest.clone();
        let steps = self.plan.steps.len();
        let mut made_way = false;
        let mut outcome = if self.plan.is_empty() {
            Outcome {
                kind: OutcomeKind::NoChange,
                release: self.session.state.current,
                cause: None,
                left_behind: Vec::new(),
            }
        } else {
            let engine = self.session.engine().await?;
            let options = ApplyOptions {
                cancellation: self.session.run.cancellation.clone(),
                detach: self.after.detach,
            };
            let cancellation = options.cancellation.clone();
            let work = engine.apply(
                &*self.session.lease,
                &mut self.session.state,
                self.plan.clone(),
                options,
                &self.session.run.events,
            );
            let (outcome, way) = workspace.making_way(&stack, &cancellation, work).await;
            made_way = way;
            outcome?
        };
        let done = matches!(outcome.kind, OutcomeKind::Applied | OutcomeKind::NoChange);
        if done && let Some(stopped) = self.after.stopped {
            workspace.set_stopped(&stack, stopped).await?;
        }
        let mut urls = Vec::new();
        if let Some(destroyed) = &self.after.destroyed {
            if done {
                outcome.left_behind.extend(self.session.finish_destroy(destroyed).await?);
                outcome.kind = OutcomeKind::Applied;
                outcome.release = None;
            }
        } else if let Some(fleet) = self.session.provider.fleet() {
            if done && self.after.stopped != Some(true) {
                self.session.secure().await;
            }
            urls = fleet.urls(&self.session.context()).await.unwrap_or_default();
            let stopped = done && self.after.stopped == Some(true);
            if stopped || self.session.state.current.is_none() {
                urls.clear();
            }
        }
        if done && self.after.orphans.as_ref().is_some_and(|orphans| orphans.forget) {
            self.session.forget().await?;
        }
        let report = Report {
            app: stack.app.clone(),
            environment: stack.environment.clone(),
            outcome,
            urls,
            steps,
            plan: digest,
            waiting: Waiting::of(&self.session.state, None),
        };
        self.session.end(made_way).await?;
        Ok(report)
    }
}

/// What goes with a change of orphans.
#[derive(Debug)]
pub(super) struct Orphans {
    /// What another state owns becomes this one's before anything is done.
    pub(super) take_over: bool,
    /// Where to look for it, too.
    pub(super) regions: std::collections::BTreeSet<String>,
    /// The stack is not this workspace's: nothing of it is remembered.
    pub(super) forget: bool,
}

/// What a destroy leaves.
#[derive(Debug)]
pub(super) struct Destroyed {
    /// Databases and volumes went too.
    pub(super) data: bool,
    /// Those that stay.
    pub(super) kept: Vec<Staying>,
}

/// A resource that outlives its stack.
#[derive(Debug)]
pub(super) struct Staying {
    /// Its key, and where it lies.
    pub(super) what: String,
    /// Why, if it is not for data of its own.
    pub(super) needed: Option<String>,
    /// Its folder on this machine, if that is where it lies.
    pub(super) here: Option<PathBuf>,
}
