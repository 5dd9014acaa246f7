//! The part that all changing commands share: show, ask, apply, say what came of it.

use vrooli_deploy_core::diagnostics::{Diagnostic, Severity};
use vrooli_deploy_core::engine::OutcomeKind;
use vrooli_deploy_core::workspace::{Change, Report};

use super::context::Context;
use crate::errors::Failure;
use crate::output::json::{Line, PlanLine};
use crate::output::{self, Console};

/// Shows what will happen, asks if it takes something away, and does it.
pub(crate) async fn apply(context: &Context, command: &str, change: Change) -> Result<Report, Failure> {
    let console = &context.console;
    input(console, change.diagnostics());
    console.line(&Line::Plan(Box::new(PlanLine::new(change.plan(), change.cost()))));
    let asks = change.needs_confirmation();
    let shown = output::plan(console.err, change.plan(), change.cost(), console.verbose > 0);
    if asks && !context.global.yes {
        // Also with --quiet: nobody can decide about what they do not see.
        console.error(&shown);
        console.error(&output::in_words(console.err, change.plan(), change.cost()));
    } else if asks || console.verbose > 0 {
        console.note(&shown);
    }
    if asks {
        context.confirm(command).await?;
    }
    Ok(change.apply().await?)
}

/// Says what came of it: to stdout if it is what was asked for.
pub(crate) fn say(console: &Console, command: &str, report: &Report) {
    if matches!(report.outcome.kind, OutcomeKind::Applied | OutcomeKind::NoChange | OutcomeKind::OnHold) {
        console.result(&output::report(console.out, command, report));
        if command == "stop" {
            return;
        }
        for url in &report.urls {
            console.result(&format!("  {}", console.out.link(url)));
        }
    } else {
        console.error(&output::report(console.err, command, report));
    }
}

/// What was noticed about the input: warnings, and with -v also what is merely worth knowing.
pub(crate) fn input(console: &Console, diagnostics: &[Diagnostic]) {
    for diagnostic in diagnostics {
        console.line(&Line::Diagnostic(diagnostic.into()));
    }
    let shown: Vec<_> =
        diagnostics.iter().filter(|d| console.verbose > 0 || d.severity != Severity::Info).cloned().collect();
    if !shown.is_empty() {
        console.note(&output::diagnostics(console.err, console.width(), &shown));
    }
}
