//! What a command came to.

use vrooli_deploy_core::workspace::Report;

use crate::errors::Failure;
use crate::output::json::{DeploymentLine, LeftBehindLine, OutcomeWord};
use vrooli_deploy_core::engine::OutcomeKind;

/// What a command came to, for the last line and the exit code.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) exit: u8,
    pub(crate) outcome: OutcomeWord,
    pub(crate) deployment: Option<DeploymentLine>,
    pub(crate) error: Option<Failure>,
}

impl Done {
    /// What was asked for was shown.
    pub(crate) const fn read() -> Self {
        Self { exit: 0, outcome: OutcomeWord::Done, deployment: None, error: None }
    }

    /// Something was changed that is no app, or was so already.
    pub(crate) const fn changed(changed: bool) -> Self {
        let outcome = if changed { OutcomeWord::Applied } else { OutcomeWord::NoChange };
        Self { exit: 0, outcome, deployment: None, error: None }
    }

    /// The same, and the exit code says more.
    pub(crate) const fn exit(exit: u8) -> Self {
        Self { exit, outcome: OutcomeWord::of_exit(exit), deployment: None, error: None }
    }

    /// A change came to this.
    pub(crate) fn report(report: &Report) -> Self {
        let kind = report.outcome.kind;
        Self {
            exit: kind.exit_code(),
            outcome: match kind {
                OutcomeKind::NoChange => OutcomeWord::NoChange,
                OutcomeKind::Applied => OutcomeWord::Applied,
                OutcomeKind::OnHold => OutcomeWord::OnHold,
                OutcomeKind::RolledBack => OutcomeWord::RolledBack,
                OutcomeKind::Partial => OutcomeWord::Partial,
                OutcomeKind::Stuck => OutcomeWord::Stuck,
                OutcomeKind::Interrupted => OutcomeWord::Interrupted,
            },
            deployment: Some(DeploymentLine {
                app: report.app.to_string(),
                environment: report.environment.to_string(),
                release: report.outcome.release.map(|r| r.to_string()),
                urls: report.urls.clone(),
                steps: report.steps,
                left_behind: report
                    .outcome
                    .left_behind
                    .iter()
                    .map(|left| LeftBehindLine { what: left.what.clone(), why: left.why.clone() })
                    .collect(),
                plan: report.plan.to_string(),
                waiting: report.waiting.as_ref().map(Into::into),
            }),
            error: Failure::outcome(&report.outcome),
        }
    }
}
