//! What becomes of a release that waits: promoted, given up, or watched to its end.

use super::error::never_deployed;
use super::session::{Interrupted, Session};
use super::{OperationError, Report, Run, Waiting, Workspace};
use crate::engine::{ApplyOptions, Decision, OpenPlan, Outcome, OutcomeKind, StackState, codes};
use crate::names::StackId;

impl Workspace {
    /// Takes the release that is on hold, or being watched, for good: the rest of its
    /// deployment follows, and nothing of it asks a person again. What is still to be watched is
    /// watched, and goes back (outcome `RolledBack`) if it is worse.
    ///
    /// # Errors
    /// When nothing waits, or someone else holds the lease.
    pub async fn promote(&self, stack: &StackId, run: &Run) -> Result<Report, OperationError> {
        self.decide(stack, Decision::Promote, run).await
    }

    /// Gives up the release that is on hold, or being watched: the one before it serves as
    /// before. The report's outcome is `Applied`, because that is what was asked for; the
    /// journal says that the deployment was rolled back.
    ///
    /// # Errors
    /// When nothing waits, or someone else holds the lease.
    pub async fn abort(&self, stack: &StackId, run: &Run) -> Result<Report, OperationError> {
        let mut report = self.decide(stack, Decision::Abort, run).await?;
        let aborted =
            report.outcome.cause.as_ref().is_some_and(|(_, failure)| failure.code == codes::ABORTED);
        if aborted && report.outcome.kind == OutcomeKind::RolledBack {
            report.outcome.kind = OutcomeKind::Applied;
            report.outcome.cause = None;
        }
        Ok(report)
    }

    /// Goes on with an open watch until it commits or goes back. What waits for a person is
    /// left alone (outcome `OnHold`).
    ///
    /// # Errors
    /// When nothing waits, or someone else holds the lease.
    pub async fn watch(&self, stack: &StackId, run: &Run) -> Result<Report, OperationError> {
        self.decide(stack, Decision::Watch, run).await
    }

    async fn decide(&self, stack: &StackId, decision: Decision, run: &Run) -> Result<Report, OperationError> {
        let source = self.source(stack).await?.ok_or_else(|| never_deployed(stack))?;
        let command = match decision {
            Decision::Promote => "promote",
            Decision::Abort => "abort",
            Decision::Watch => "watch",
        };
        // Asked before the lease is taken: nobody is kept out for nothing.
        let waiting = |open: &Option<OpenPlan>| open.as_ref().is_some_and(|open| open.waiting().is_some());
        let state = self.0.store.load(stack).await?;
        if !waiting(&state.open) {
            return Err(nothing_waits(stack, &state));
        }
        if decision == Decision::Watch && self.is_asked_for(stack).await? {
            return Err(made_way(stack));
        }
        let session = self.session(stack, &source.provider, run, command, Interrupted::Decide).await?;
        if !waiting(&session.state.open) {
            return Err(nothing_waits(stack, &session.state));
        }
        session.revive().await?;
        session.decide(decision).await
    }
}

impl Session {
    /// Goes on with the plan that waits.
    pub(super) async fn decide(mut self, decision: Decision) -> Result<Report, OperationError> {
        let plan = self.state.open.as_ref().map(|open| (open.plan.digest.clone(), open.plan.steps.len()));
        let engine = self.engine().await?;
        let options = ApplyOptions { cancellation: self.run.cancellation.clone(), ..ApplyOptions::default() };
        let (workspace, stack) = (self.workspace.clone(), self.stack.clone());
        let cancellation = options.cancellation.clone();
        let work = engine.proceed(&*self.lease, &mut self.state, decision, options, &self.run.events);
        let (outcome, made_way) = workspace.making_way(&stack, &cancellation, work).await;
        let outcome: Outcome = outcome?;
        if outcome.kind == OutcomeKind::Applied {
            self.secure().await;
        }
        let urls = self.fleet()?.urls(&self.context()).await.unwrap_or_default();
        let (digest, steps) = plan.unwrap_or_else(|| (crate::names::Digest::of(&[]), 0));
        let report = Report {
            app: self.stack.app.clone(),
            environment: self.stack.environment.clone(),
            urls: if self.state.current.is_some() { urls } else { Vec::new() },
            outcome,
            steps,
            plan: digest,
            waiting: Waiting::of(&self.state, None),
        };
        self.end(made_way).await?;
        Ok(report)
    }
}

fn made_way(stack: &StackId) -> OperationError {
    OperationError::Nothing {
        message: format!("somebody else goes on with `{stack}`"),
        help: format!("`vrooli-deploy status {}` shows how it is", stack.app),
    }
}

fn nothing_waits(stack: &StackId, state: &StackState) -> OperationError {
    let went_back = state.went_back_unseen().map_or_else(String::new, |(release, failure)| {
        format!(": {release} was rolled back already ({})", failure.message)
    });
    OperationError::Nothing {
        message: format!("no release of `{stack}` is on hold or being watched{went_back}"),
        help: format!("`vrooli-deploy status {}` shows how it is", stack.app),
    }
}
