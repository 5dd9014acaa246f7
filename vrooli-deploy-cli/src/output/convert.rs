//! From the library's types to the published format.

use serde::Serialize;
use serde_json::Value;
use vrooli_deploy_core::cost::PlannedCost;
use vrooli_deploy_core::diagnostics::{Diagnostic, Severity};
use vrooli_deploy_core::engine::{Event, JournalRecord, StepFailure};
use vrooli_deploy_core::names::ReleaseNumber;
use vrooli_deploy_core::plan::{Plan, StepAction};
use vrooli_deploy_core::provider::{Counters, LogLine};
use vrooli_deploy_core::workspace::{ReleaseSummary, StackSummary, StatusReport, Waiting};

use super::json::{
    AppLine, CertificateLine, DiagnosticLine, LastChangeLine, LeaseLine, Line, PlaceLine, PlanLine,
    ReleaseLine, ResourceLine, SeenLine, StatusLine, StepLine, UnitLine, WaitingLine, WatchLine,
};
use crate::errors::Failure;

/// A unit variant as serde writes it: `snake_case`.
pub(crate) fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        _ => String::new(),
    }
}

impl Line {
    /// The line for an event. `None` for the end of the run: the result says that.
    pub(crate) fn event(event: &Event) -> Option<Self> {
        let failure = |failure: &StepFailure| Failure::step(None, failure);
        Some(match event {
            Event::Recovering { dangling } => {
                Self::Recovering { dangling: dangling.iter().map(ToString::to_string).collect() }
            }
            Event::PlanStarted { steps } => Self::PlanStarted { steps: *steps },
            Event::StepStarted { step, stage, title } => {
                Self::StepStarted { step: step.to_string(), stage: word(stage), title: title.clone() }
            }
            Event::StepOutput { step, line } => {
                Self::StepOutput { step: step.to_string(), line: line.clone() }
            }
            Event::StepSucceeded { step, millis } => {
                Self::StepSucceeded { step: step.to_string(), millis: *millis }
            }
            Event::StepRetried { step, reason } => {
                Self::StepRetried { step: step.to_string(), reason: reason.clone() }
            }
            Event::StepFailed { step, failure: f } => {
                Self::StepFailed { step: step.to_string(), error: failure(f) }
            }
            Event::UndoStarted { step } => Self::UndoStarted { step: step.to_string() },
            Event::UndoSucceeded { step } => Self::UndoSucceeded { step: step.to_string() },
            Event::UndoFailed { step, failure: f } => {
                Self::UndoFailed { step: step.to_string(), error: failure(f) }
            }
            Event::Watching { step, new, old, seen_new, seen_old, elapsed_ms, window_ms, verdict } => {
                let mut releases = vec![SeenLine::of(*new, None, seen_new)];
                releases.extend(old.map(|old| SeenLine::of(old, None, seen_old)));
                Self::Watching {
                    step: step.to_string(),
                    elapsed_millis: *elapsed_ms,
                    window_millis: *window_ms,
                    verdict: verdict.word().to_owned(),
                    reason: verdict.reason().map(ToOwned::to_owned),
                    releases,
                }
            }
            Event::Held { step, reason } => Self::Held { step: step.to_string(), reason: reason.clone() },
            Event::Note { message } => Self::Note { message: message.clone() },
            Event::Finished { .. } => return None,
            // An event that this version of the format has no line for is still worth knowing.
            other => Self::Note { message: serde_json::to_string(other).ok()? },
        })
    }

    pub(crate) fn log(line: &LogLine) -> Self {
        Self::Log { release: line.release.to_string(), unit: line.unit.to_string(), line: line.line.clone() }
    }

    pub(crate) fn record(record: &JournalRecord) -> Self {
        Self::Record {
            seq: record.seq,
            at: record.at.to_string(),
            fence: record.fence,
            entry: serde_json::to_value(&record.entry).unwrap_or_default(),
        }
    }
}

impl SeenLine {
    pub(crate) fn of(release: ReleaseNumber, percent: Option<u32>, seen: &Counters) -> Self {
        Self {
            release: release.to_string(),
            percent,
            requests: seen.requests,
            errors: seen.errors,
            p50_us: seen.latency.quantile_us(0.5),
            p99_us: seen.latency.quantile_us(0.99),
            restarts: seen.restarts,
            memory: seen.memory,
        }
    }
}

impl PlanLine {
    pub(crate) fn new(plan: &Plan, cost: Option<&PlannedCost>) -> Self {
        Self {
            cost: cost.map(Into::into),
            app: plan.stack.app.to_string(),
            environment: plan.stack.environment.to_string(),
            provider: plan.provider.to_string(),
            command: plan.command.clone(),
            digest: plan.digest.to_string(),
            current: plan.current.map(|r| r.to_string()),
            release: plan.release.as_ref().map(|r| r.number.to_string()),
            steps: plan
                .steps
                .iter()
                .map(|step| StepLine {
                    step: step.id.to_string(),
                    stage: word(&step.stage),
                    action: match step.action {
                        StepAction::Create { .. } => "create",
                        StepAction::Update { .. } => "update",
                        StepAction::Delete { .. } => "delete",
                        StepAction::Adopt { .. } => "adopt",
                        StepAction::Release { .. } => "release",
                    }
                    .to_owned(),
                    deletes_data: matches!(step.action, StepAction::Delete { holds_data: true, .. }),
                    reason: step.reason.clone(),
                    after: step.after.iter().map(ToString::to_string).collect(),
                })
                .collect(),
            notes: plan.notes.clone(),
        }
    }
}

impl From<&Diagnostic> for DiagnosticLine {
    fn from(diagnostic: &Diagnostic) -> Self {
        Self {
            code: diagnostic.code.to_string(),
            severity: match diagnostic.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Info => "info",
            }
            .to_owned(),
            message: diagnostic.message.clone(),
            places: diagnostic
                .labels
                .iter()
                .map(|label| PlaceLine {
                    file: label.span.file.display().to_string(),
                    line: label.span.line,
                    column: label.span.column,
                    text: label.text.clone(),
                })
                .collect(),
            help: diagnostic.help.clone(),
        }
    }
}

impl From<&StackSummary> for AppLine {
    fn from(summary: &StackSummary) -> Self {
        Self {
            app: summary.app.to_string(),
            environment: summary.environment.to_string(),
            provider: summary.provider.as_ref().map(ToString::to_string),
            source: summary.source.as_ref().map(|s| s.display().to_string()),
            release: summary.release.map(|r| r.to_string()),
            health: word(&summary.health),
            urls: summary.urls.clone(),
            changed_by: summary.lease.as_ref().map(|lease| LeaseLine {
                name: lease.holder.name.clone(),
                host: lease.holder.host.clone(),
                since: lease.since.to_string(),
                run_url: lease.holder.run_url.clone(),
            }),
        }
    }
}

impl From<&StatusReport> for StatusLine {
    fn from(report: &StatusReport) -> Self {
        Self {
            app: (&report.summary).into(),
            units: report
                .units
                .iter()
                .map(|unit| UnitLine {
                    release: unit.release.to_string(),
                    unit: unit.unit.to_string(),
                    host: unit.host.clone(),
                    state: word(&unit.state),
                    pid: unit.pid,
                    ports: unit.ports.clone(),
                    restarts: unit.restarts,
                    last_exit: unit.last_exit.clone(),
                })
                .collect(),
            routing: report
                .routing
                .iter()
                .flat_map(|routing| {
                    routing.weights.iter().map(|(release, weight)| (release.to_string(), *weight))
                })
                .collect(),
            resources: report
                .resources
                .iter()
                .map(|r| ResourceLine { key: r.key.clone(), kind: r.kind.clone(), id: r.id.clone() })
                .collect(),
            certificates: report
                .certificates
                .iter()
                .map(|seen| CertificateLine {
                    host: seen.host.clone(),
                    names: seen.names.clone(),
                    issuer: seen.issuer.clone(),
                    serial: seen.serial.clone(),
                    not_after: seen.not_after.map(|at| at.to_string()),
                    renew_at: seen.renew_at.map(|at| at.to_string()),
                    serves: seen.serves,
                    problem: seen.problem.clone(),
                })
                .collect(),
            releases: report
                .traffic
                .iter()
                .map(|traffic| SeenLine::of(traffic.release, Some(traffic.percent), &traffic.seen))
                .collect(),
            watch: report.watch.as_ref().map(|watch| WatchLine {
                release: watch.release.to_string(),
                old: watch.old.map(|old| old.to_string()),
                since: watch.since.to_string(),
                window_millis: u64::try_from(watch.window.as_millis()).unwrap_or(u64::MAX),
                verdict: watch.verdict.word().to_owned(),
                reason: watch.verdict.reason().map(ToOwned::to_owned),
            }),
            last_change: report.last_run.as_ref().zip(report.last_outcome.as_ref()).map(|(run, outcome)| {
                LastChangeLine {
                    command: run.command.clone(),
                    release: run.release.map(|release| release.to_string()),
                    at: run.at.to_string(),
                    outcome: word(&outcome.kind),
                    taken_over: run.taken_over,
                    error: Failure::outcome(outcome),
                }
            }),
            notes: report.notes.clone(),
        }
    }
}

impl From<&Waiting> for WaitingLine {
    fn from(waiting: &Waiting) -> Self {
        Self {
            release: waiting.release.to_string(),
            old: waiting.old.map(|old| old.to_string()),
            watching: waiting.watching,
            reason: waiting.reason.clone(),
            routing: waiting.weights.iter().map(|(release, weight)| (release.to_string(), *weight)).collect(),
        }
    }
}

impl From<&ReleaseSummary> for ReleaseLine {
    fn from(release: &ReleaseSummary) -> Self {
        Self {
            release: release.number.to_string(),
            digest: release.digest.to_string(),
            version: release.version.clone(),
            created: release.created.to_string(),
            committed: release.committed.map(|at| at.to_string()),
            status: word(&release.status),
            current: release.current,
            failure: release.failure.clone(),
            profile: release.profile.map(|profile| profile.to_string()),
        }
    }
}
