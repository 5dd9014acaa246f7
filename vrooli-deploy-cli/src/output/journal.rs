//! Records of the journal as people read them.

use vrooli_deploy_core::engine::{Entry, JournalRecord};

use super::convert::word;

/// A row: number, time, what, which step, more.
pub(crate) fn record(record: &JournalRecord) -> Vec<String> {
    let (what, step, more) = match &record.entry {
        Entry::PlanOpened { plan, .. } => (
            "plan opened",
            plan.command.clone(),
            format!("{} steps, {}", plan.steps.len(), plan.digest.short()),
        ),
        Entry::Started { step, .. } => ("started", step.to_string(), String::new()),
        Entry::Succeeded { step, .. } => ("succeeded", step.to_string(), String::new()),
        Entry::Failed { step, failure } => ("failed", step.to_string(), failure.message.clone()),
        Entry::UndoStarted { step } => ("undo started", step.to_string(), String::new()),
        Entry::UndoSucceeded { step } => ("undone", step.to_string(), String::new()),
        Entry::UndoFailed { step, failure } => ("undo failed", step.to_string(), failure.message.clone()),
        Entry::Held { step, reason, .. } => ("held", step.to_string(), reason.clone()),
        Entry::Resumed { step } => ("resumed", step.to_string(), String::new()),
        Entry::Promoted { step } => ("promoted", step.to_string(), String::new()),
        Entry::Committed { release } => ("committed", release.to_string(), String::new()),
        Entry::PlanClosed { outcome } => ("plan closed", word(&outcome.kind), String::new()),
        Entry::Destroyed => ("destroyed", String::new(), String::new()),
        Entry::Rebuilt { .. } => ("rebuilt", String::new(), String::new()),
    };
    let at = record.at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    vec![record.seq.to_string(), at, what.to_owned(), step, super::harmless(&more)]
}
