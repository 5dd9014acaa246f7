//! Reading: no lease, and nothing is changed.

use super::error::never_deployed;
use super::session::{Interrupted, fleet};
use super::{
    Health, OperationError, ReleaseSummary, Report, ResourceSummary, Run, StackSummary, StatusReport,
    Waiting, Workspace,
};
use crate::engine::{Decision, JournalRecord, OpenPlan, Outcome, OutcomeKind, StackState};
use crate::names::{Digest, StackId};
use crate::provider::{Cancellation, CertificateSeen, LogPage, LogQuery, Routing, UnitObserved, UnitState};

/// What was seen of a stack.
struct Seen {
    units: Vec<UnitObserved>,
    routing: Option<Routing>,
    urls: Vec<String>,
    certificates: Vec<CertificateSeen>,
    problem: Option<String>,
}

impl Workspace {
    /// All stacks of the workspace, one line each.
    ///
    /// # Errors
    /// When the state cannot be read. A provider that does not answer is no error.
    pub async fn list(&self) -> Result<Vec<StackSummary>, OperationError> {
        let mut summaries = Vec::new();
        for stack in self.0.store.stacks().await? {
            let state = self.0.store.load(&stack).await?;
            let seen = self.look(&stack).await?;
            summaries.push(self.summary(&stack, &state, &seen).await?);
        }
        Ok(summaries)
    }

    /// Everything about one stack.
    ///
    /// # Errors
    /// When the stack is not there or the state cannot be read.
    pub async fn status(&self, stack: &StackId) -> Result<StatusReport, OperationError> {
        self.exists(stack).await?;
        let state = self.0.store.load(stack).await?;
        let seen = self.look(stack).await?;
        let summary = self.summary(stack, &state, &seen).await?;
        let mut notes = Vec::new();
        let waiting = Waiting::of(&state, seen.routing.as_ref());
        if let Some(waiting) = &waiting {
            let (release, serves, app) = (waiting.release, waiting.who_serves(), &stack.app);
            notes.push(if waiting.watching {
                format!("{release} is being watched: {serves}; `vrooli-deploy promote {app}` takes it for good, `vrooli-deploy abort {app}` gives it up")
            } else {
                format!("{release} is on hold: {serves}; {}; `vrooli-deploy promote {app}` goes on, `vrooli-deploy abort {app}` goes back", waiting.reason)
            });
        }
        if let Some(open) = &state.open
            && waiting.is_none()
            && summary.lease.is_none()
        {
            notes.push(format!(
                "`{}` was interrupted; the next command on this app resolves it (or `vrooli-deploy resume {}`)",
                open.plan.command, stack.app
            ));
        }
        notes.extend(seen.problem.clone());
        notes.extend(seen.certificates.iter().filter_map(|seen| seen.problem.clone()));
        Ok(StatusReport {
            units: seen
                .units
                .into_iter()
                .filter(|u| u.state != UnitState::Stopped || Some(u.release) == summary.release)
                .collect(),
            summary,
            routing: seen.routing,
            resources: state
                .resources
                .iter()
                .map(|(key, r)| ResourceSummary {
                    key: key.to_string(),
                    kind: r.kind.to_string(),
                    id: r.id.to_string(),
                })
                .collect(),
            last_outcome: state.last_outcome,
            last_run: state.last_run,
            certificates: seen.certificates,
            traffic: Vec::new(),
            watch: None,
            notes,
        })
    }

    /// The releases of a stack, newest first.
    ///
    /// # Errors
    /// When the stack is not there or the state cannot be read.
    pub async fn releases(&self, stack: &StackId) -> Result<Vec<ReleaseSummary>, OperationError> {
        self.exists(stack).await?;
        let state = self.0.store.load(stack).await?;
        let made_from = self.made_from(stack).await?;
        Ok(state
            .releases
            .values()
            .rev()
            .map(|record| ReleaseSummary {
                number: record.release.number,
                digest: record.release.digest.clone(),
                version: record.release.bundle.version.clone(),
                created: record.created,
                committed: record.committed,
                status: record.status,
                current: state.current == Some(record.release.number),
                failure: record.failure.clone(),
                profile: made_from.get(&record.release.number).copied(),
            })
            .collect())
    }

    /// Lines that units wrote, without secrets.
    ///
    /// # Errors
    /// When the stack is not there or its logs cannot be read.
    pub async fn logs(&self, stack: &StackId, query: &LogQuery) -> Result<LogPage, OperationError> {
        let source = self.source(stack).await?.ok_or_else(|| never_deployed(stack))?;
        let provider = self.provider(stack, &source.provider, None).await?;
        let cx = self.observe_context(stack, 0, Cancellation::new());
        let redactor = self.redactor().await?;
        let mut page = fleet(&*provider)?.logs(&cx, query).await?;
        for line in &mut page.lines {
            line.line = redactor.redact(&line.line);
        }
        Ok(page)
    }

    /// The journal of a stack from a sequence number on.
    ///
    /// # Errors
    /// When the stack is not there or the state cannot be read.
    pub async fn history(&self, stack: &StackId, from: u64) -> Result<Vec<JournalRecord>, OperationError> {
        self.exists(stack).await?;
        Ok(self.0.store.journal(stack, from).await?)
    }

    /// Resolves an interrupted run, or goes on with an open watch, and starts no new one. A
    /// release that went back meanwhile with nobody there is told as such (outcome `RolledBack`).
    ///
    /// # Errors
    /// When the stack is not there, or someone else holds the lease.
    pub async fn resume(&self, stack: &StackId, run: &Run) -> Result<Report, OperationError> {
        let source = self.source(stack).await?.ok_or_else(|| never_deployed(stack))?;
        let before = self.0.store.load(stack).await?;
        let session = self.session(stack, &source.provider, run, "resume", Interrupted::Decide).await?;
        let cx = session.revive().await?;
        if session.state.open.is_some() {
            // It waits with both releases there: a watch is gone on with.
            return session.decide(Decision::Watch).await;
        }
        let told = before.open.is_some() || session.state.went_back_unseen().is_some();
        let outcome = if told { session.state.last_outcome.clone() } else { None }.unwrap_or(Outcome {
            kind: OutcomeKind::NoChange,
            release: session.state.current,
            cause: None,
            left_behind: Vec::new(),
        });
        let urls = match session.provider.fleet() {
            Some(fleet) => fleet.urls(&cx).await.unwrap_or_default(),
            None => Vec::new(),
        };
        let report = Report {
            app: stack.app.clone(),
            environment: stack.environment.clone(),
            outcome,
            urls,
            steps: 0,
            plan: before.open.map_or_else(|| Digest::of(&[]), |open| open.plan.digest),
            waiting: None,
        };
        session.lease.release().await?;
        Ok(report)
    }

    async fn exists(&self, stack: &StackId) -> Result<(), OperationError> {
        if self.0.store.stacks().await?.contains(stack) { Ok(()) } else { Err(never_deployed(stack)) }
    }

    async fn look(&self, stack: &StackId) -> Result<Seen, OperationError> {
        let empty = |problem: Option<String>| Seen {
            units: Vec::new(),
            routing: None,
            urls: Vec::new(),
            certificates: Vec::new(),
            problem,
        };
        let Some(source) = self.source(stack).await? else { return Ok(empty(None)) };
        let provider = match self.provider(stack, &source.provider, None).await {
            Ok(provider) => provider,
            Err(e) => return Ok(empty(Some(e.to_string()))),
        };
        let cx = self.observe_context(stack, 0, Cancellation::new());
        let Some(fleet) = provider.fleet() else { return Ok(empty(None)) };
        let units = match fleet.list(&cx).await {
            Ok(units) => units,
            Err(e) => return Ok(empty(Some(format!("provider `{}` does not answer: {e}", source.provider)))),
        };
        Ok(Seen {
            units,
            routing: fleet.routing(&cx).await.ok(),
            urls: fleet.urls(&cx).await.unwrap_or_default(),
            certificates: fleet.certificates(&cx).await.unwrap_or_default(),
            problem: None,
        })
    }

    async fn summary(
        &self,
        stack: &StackId,
        state: &StackState,
        seen: &Seen,
    ) -> Result<StackSummary, OperationError> {
        let source = self.source(stack).await?;
        let lease = self.0.store.holder(stack).await?;
        let stopped = source.as_ref().is_some_and(|s| s.stopped);
        let health = health(state, seen, stopped, lease.is_some());
        let reachable = matches!(
            health,
            Health::Running | Health::Impaired | Health::Interrupted | Health::OnHold | Health::Watched
        );
        Ok(StackSummary {
            app: stack.app.clone(),
            environment: stack.environment.clone(),
            provider: source.as_ref().map(|s| s.provider.clone()),
            source: source.map(|s| s.root),
            release: state.current,
            health,
            urls: if reachable { seen.urls.clone() } else { Vec::new() },
            lease,
        })
    }
}

fn health(state: &StackState, seen: &Seen, stopped: bool, busy: bool) -> Health {
    // Who watches holds the lease: that it is watched is true all the same.
    match state.open.as_ref().map(OpenPlan::waiting) {
        Some(Some(waiting)) if waiting.watching => return Health::Watched,
        Some(Some(_)) => return Health::OnHold,
        Some(None) if !busy => return Health::Interrupted,
        _ => {}
    }
    let Some(current) = state.current.and_then(|n| state.releases.get(&n)) else {
        return match (state.seq > 0 && state.incarnation.is_nil(), state.resources.is_empty()) {
            (true, _) => Health::DataOnly,
            (false, true) => Health::Empty,
            (false, false) => Health::Prepared,
        };
    };
    if seen.problem.is_some() {
        return Health::Unknown;
    }
    if stopped && seen.units.iter().all(|u| u.state == UnitState::Stopped) {
        return Health::Stopped;
    }
    let complete = current
        .release
        .bundle
        .services
        .iter()
        .flat_map(|(name, config)| crate::release::strategy::units(name, config))
        .all(|unit| {
            let mut instances = seen
                .units
                .iter()
                .filter(|u| u.unit == unit && u.release == current.release.number)
                .map(|u| u.state)
                .peekable();
            instances.peek().is_some() && instances.all(|state| state == UnitState::Running)
        });
    let routed = seen.routing.as_ref().is_some_and(|r| !r.weights.is_empty());
    if complete && routed { Health::Running } else { Health::Impaired }
}
