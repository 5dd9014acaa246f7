//! Steps of the change of release, by way of the fleet.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::call::{Call, Calls};
use super::codes;
use super::entry::{StepFailure, StepOutput};
use super::event::Event;
use super::failure::{StepError, StepResult, own};
use super::watch::Watch;
use crate::names::{ReleaseNumber, UnitId};
use crate::plan::{Draft, ReleaseAction, ReleaseSource, StepId};
use crate::provider::{Artefact, BuildRequest, ErrorKind, Fleet, ProbeReport, Routing, UnitObserved};
use crate::release::Release;

/// What a release step works on, owned.
#[derive(Debug, Clone)]
pub(super) struct ReleaseSubject {
    pub(super) step: StepId,
    pub(super) action: ReleaseAction,
    /// The release that the step belongs to, once it is fixed.
    pub(super) release: Option<Arc<Release>>,
    /// What to build.
    pub(super) build: Option<Arc<BuildRequest>>,
    /// When the step was begun, if somebody else began it.
    pub(super) begun: Option<Timestamp>,
}

/// What a release step gave, before the journal knows it.
pub(super) enum Given {
    /// As it is.
    Output(StepOutput),
    /// An artefact: the release is fixed from it and the draft.
    Built(Artefact),
    /// A watch that saw too little: a person decides.
    Undecided(String),
}

impl Calls<'_> {
    pub(super) fn fleet(&self) -> StepResult<Arc<dyn Fleet>> {
        self.provider().fleet().ok_or_else(|| {
            StepError::Failed(own(
                codes::REFUSED,
                ErrorKind::Unsupported,
                format!("provider `{}` carries no releases", self.provider().name()),
                None,
            ))
        })
    }

    /// The routing now, written down before a shift leaves.
    pub(super) async fn routing(&self, step: &StepId) -> StepResult<Routing> {
        let fleet = self.fleet()?;
        let call = Call::new(step, "routing", self.engine.options.deadlines.find).repeatable();
        self.make(call, |cx| {
            let fleet = &fleet;
            async move { fleet.routing(&cx).await }
        })
        .await
        .map_err(|e| self.step_error(step, &e))
    }

    /// Sets the routing. Every fleet call has the effect of once, however often it is made. A
    /// routing with a way back gets its time now, and is renewed from then on.
    pub(super) async fn route(&self, step: &StepId, routing: &Routing) -> StepResult<()> {
        let mut shifted = self.shifted.lock().await;
        *shifted = None;
        self.send_routing(step, routing).await?;
        if !routing.revert_to.is_empty() {
            *shifted = Some((step.clone(), routing.clone()));
        }
        Ok(())
    }

    /// Says that we are still at it. What is routed now stays for some time more; it never
    /// comes between two shifts.
    pub(super) async fn renew(&self) -> StepResult<()> {
        let shifted = self.shifted.lock().await;
        let Some((step, routing)) = &*shifted else { return Ok(()) };
        self.send_routing(step, routing).await
    }

    /// Traffic does not go back by itself any more, and is not renewed.
    pub(super) async fn settle(&self, step: &StepId, routing: &Routing) -> StepResult<()> {
        let routing =
            Routing { revert_at: None, revert_to: std::collections::BTreeMap::new(), ..routing.clone() };
        self.route(step, &routing).await
    }

    async fn send_routing(&self, step: &StepId, routing: &Routing) -> StepResult<()> {
        let fleet = self.fleet()?;
        let call = Call::new(step, "route", self.engine.options.deadlines.fleet).repeatable();
        self.make(call, |cx| {
            let fleet = &fleet;
            let mut routing = routing.clone();
            routing.revert_at = (!routing.revert_to.is_empty())
                .then(|| Timestamp::now().saturating_add(self.engine.options.revert_after).ok())
                .flatten();
            async move { fleet.route(&cx, &routing).await }
        })
        .await
        .map(drop)
        .map_err(|e| self.step_error(step, &e))
    }

    pub(super) async fn stop(&self, step: &StepId, release: ReleaseNumber, unit: &UnitId) -> StepResult<()> {
        let fleet = self.fleet()?;
        let call = Call::new(step, "stop", self.engine.options.deadlines.fleet).repeatable();
        self.make(call, |cx| {
            let fleet = &fleet;
            async move { fleet.stop(&cx, release, unit).await }
        })
        .await
        .map_err(|e| self.step_error(step, &e))
    }

    pub(super) async fn remove(&self, step: &StepId, release: ReleaseNumber) -> StepResult<()> {
        let fleet = self.fleet()?;
        let call = Call::new(step, "remove", self.engine.options.deadlines.fleet).repeatable();
        self.make(call, |cx| {
            let fleet = &fleet;
            async move { fleet.remove(&cx, release).await }
        })
        .await
        .map_err(|e| self.step_error(step, &e))
    }

    pub(super) async fn start(&self, step: &StepId, release: &Release, unit: &UnitId) -> StepResult<()> {
        let fleet = self.fleet()?;
        let call = Call::new(step, "start", self.engine.options.deadlines.fleet).repeatable();
        self.make(call, |cx| {
            let fleet = &fleet;
            async move { fleet.start(&cx, release, unit).await }
        })
        .await
        .map(drop)
        .map_err(|e| self.step_error(step, &e))
    }

    /// Waits until a unit is well.
    pub(super) async fn probe(&self, step: &StepId, release: &Release, unit: &UnitId) -> StepResult<()> {
        let fleet = self.fleet()?;
        let call = Call::new(step, "probe", self.engine.options.deadlines.probe).repeatable();
        let report = self
            .make(call, |cx| {
                let fleet = &fleet;
                async move { fleet.probe(&cx, release, unit).await }
            })
            .await
            .map_err(|e| self.step_error(step, &e))?;
        if report.healthy {
            if let Some(odd) = &report.reason {
                self.note(format!("{unit} is well, but {odd}"));
            }
            return Ok(());
        }
        let health = release.bundle.services.get(&unit.service).and_then(|s| s.health.as_ref());
        if health.is_some_and(|h| !h.critical) {
            let why = report.reason.as_deref().unwrap_or("its probe says so");
            self.note(format!("{unit} is not well ({why}); its health is not critical"));
            return Ok(());
        }
        Err(StepError::Failed(self.unhealthy(release, unit, &report)))
    }

    pub(super) fn note(&self, message: String) {
        self.events.send(&Event::Note { message: self.engine.options.redact.apply(&message) });
    }

    fn unhealthy(&self, release: &Release, unit: &UnitId, report: &ProbeReport) -> StepFailure {
        let redact = |text: &str| self.engine.options.redact.apply(text);
        let reason = report.reason.as_deref().map_or_else(|| "its probe failed".to_owned(), redact);
        let mut failure = own(
            codes::UNHEALTHY,
            ErrorKind::App,
            format!("{unit} of {} is not well: {reason}", release.number),
            Some("its last log lines are below; the earlier release was left as it was"),
        );
        if let Some(status) = report.status {
            failure.context.push(("status".to_owned(), status.to_string()));
        }
        if let Some(body) = &report.body {
            failure.context.push(("body".to_owned(), redact(body)));
        }
        if !report.log.is_empty() {
            failure.context.push(("log".to_owned(), redact(&report.log.join("\n"))));
        }
        failure
    }

    /// Does a release step.
    pub(super) async fn release_step(&self, subject: &ReleaseSubject) -> StepResult<Given> {
        let ReleaseSubject { step, action, .. } = subject;
        let nothing = Given::Output(StepOutput::Nothing);
        match action {
            ReleaseAction::Build => {
                let request = subject.build.as_deref().ok_or_else(|| StepError::Failed(no_release(step)))?;
                let fleet = self.fleet()?;
                let call = Call::new(step, "build", self.engine.options.deadlines.build).repeatable();
                let artefact = self
                    .make(call, |cx| {
                        let fleet = &fleet;
                        async move { fleet.build(&cx, request).await }
                    })
                    .await
                    .map_err(|e| self.step_error(step, &e))?;
                Ok(Given::Built(artefact))
            }
            ReleaseAction::Stage => {
                let (fleet, release) = (self.fleet()?, subject.release()?);
                let call = Call::new(step, "stage", self.engine.options.deadlines.fleet).repeatable();
                self.make(call, |cx| {
                    let fleet = &fleet;
                    async move { fleet.stage(&cx, release).await }
                })
                .await
                .map_err(|e| self.step_error(step, &e))?;
                Ok(nothing)
            }
            ReleaseAction::Migrate => {
                let (fleet, release) = (self.fleet()?, subject.release()?);
                // A ledger keeps each file from being applied twice.
                let call = Call::new(step, "migrate", self.engine.options.deadlines.migrate).repeatable();
                let report = self
                    .make(call, |cx| {
                        let fleet = &fleet;
                        async move { fleet.migrate(&cx, release).await }
                    })
                    .await
                    .map_err(|e| self.step_error(step, &e))?;
                Ok(Given::Output(StepOutput::Migrated { report }))
            }
            ReleaseAction::Yield { old, unit } | ReleaseAction::Stop { old, unit } => {
                self.stop(step, *old, unit).await?;
                Ok(nothing)
            }
            ReleaseAction::Start { unit } => {
                self.start(step, subject.release()?, unit).await?;
                Ok(nothing)
            }
            ReleaseAction::Probe { unit } => {
                self.probe(step, subject.release()?, unit).await?;
                Ok(nothing)
            }
            ReleaseAction::Smoke { through_edge } => {
                self.smoke(step, subject.release()?, *through_edge).await?;
                Ok(nothing)
            }
            // What was routed before is in the journal since before the call left.
            ReleaseAction::Shift { routing } => {
                self.route(step, routing).await?;
                Ok(nothing)
            }
            ReleaseAction::Watch { window, old, rules } => {
                let watch = Watch {
                    step,
                    release: subject.release()?,
                    old: *old,
                    window: *window,
                    rules,
                    begun: subject.begun,
                };
                self.watch(&watch).await
            }
            // Entries of the journal, no calls.
            ReleaseAction::Commit | ReleaseAction::Hold => Ok(nothing),
            ReleaseAction::Drain { old, units, deadline } => {
                self.drain(step, *old, units, *deadline).await?;
                Ok(nothing)
            }
            ReleaseAction::Remove { old } => {
                self.remove(step, *old).await?;
                Ok(nothing)
            }
        }
    }

    pub(super) async fn smoke(&self, step: &StepId, release: &Release, through_edge: bool) -> StepResult<()> {
        let fleet = self.fleet()?;
        let call = Call::new(step, "smoke", self.engine.options.deadlines.fleet).repeatable();
        let report = self
            .make(call, |cx| {
                let fleet = &fleet;
                async move { fleet.smoke(&cx, release, through_edge).await }
            })
            .await
            .map_err(|e| self.step_error(step, &e))?;
        if report.failed.is_empty() {
            return Ok(());
        }
        let redact = |text: &String| self.engine.options.redact.apply(text);
        let all = report.passed as usize + report.failed.len();
        let mut failure = own(
            codes::SMOKE,
            ErrorKind::App,
            format!("{} of {all} smoke tests of {} failed", report.failed.len(), release.number),
            Some("each failed test is listed; the earlier release was left as it was"),
        );
        failure.context.extend(report.failed.iter().map(|text| ("test".to_owned(), redact(text))));
        Err(StepError::Failed(failure))
    }

    async fn drain(
        &self,
        step: &StepId,
        old: ReleaseNumber,
        units: &BTreeSet<UnitId>,
        deadline: Duration,
    ) -> StepResult<()> {
        let fleet = self.fleet()?;
        let within = self.engine.options.deadlines.fleet.saturating_add(deadline);
        let call = Call::new(step, "drain", within).repeatable();
        let report = self
            .make(call, |cx| {
                let fleet = &fleet;
                async move { fleet.drain(&cx, old, units, deadline).await }
            })
            .await
            .map_err(|e| self.step_error(step, &e))?;
        if report.cut > 0 {
            self.note(format!(
                "{} request(s) to {old} were still open after {} and are cut",
                report.cut,
                crate::duration::format(deadline)
            ));
        }
        Ok(())
    }

    pub(super) async fn units(&self, step: &StepId) -> StepResult<Vec<UnitObserved>> {
        let fleet = self.fleet()?;
        let call = Call::new(step, "list", self.engine.options.deadlines.find).repeatable();
        self.make(call, |cx| {
            let fleet = &fleet;
            async move { fleet.list(&cx).await }
        })
        .await
        .map_err(|e| self.step_error(step, &e))
    }
}

impl ReleaseSubject {
    fn release(&self) -> StepResult<&Release> {
        self.release.as_deref().ok_or_else(|| StepError::Failed(no_release(&self.step)))
    }
}

fn no_release(step: &StepId) -> StepFailure {
    own(
        codes::REFERENCE,
        ErrorKind::Unexpected,
        format!("step `{step}` belongs to a release that was never fixed"),
        Some("this is a fault of the strategy: Build must come before it"),
    )
}

/// The draft of a planned release, if it is to be built.
pub(super) fn draft(source: &ReleaseSource) -> Option<(&Draft, &BuildRequest)> {
    match source {
        ReleaseSource::Build { draft, request, .. } => Some((draft, request)),
        ReleaseSource::Staged { .. } => None,
    }
}
