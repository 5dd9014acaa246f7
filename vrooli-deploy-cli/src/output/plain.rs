//! Progress in a pipe or a log: a line for each thing that happens, none that moves.

use std::collections::BTreeMap;

use vrooli_deploy_core::engine::Event;
use vrooli_deploy_core::plan::StepId;

use super::style::elapsed;

/// Titles of steps, to say what was done.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    titles: BTreeMap<StepId, String>,
    /// What was said of a watch last.
    watched: Option<(u64, &'static str)>,
}

impl Plain {
    fn title<'a>(&'a self, step: &'a StepId) -> &'a str {
        self.titles.get(step).map_or(&step.0, String::as_str)
    }

    pub(crate) fn lines(&mut self, event: &Event) -> Vec<String> {
        match event {
            Event::Recovering { dangling } => {
                let mut lines = vec!["resolving an interrupted run first".to_owned()];
                lines.extend(dangling.iter().map(|step| format!("  was under way: {step}")));
                lines
            }
            Event::StepStarted { step, title, .. } => {
                self.titles.insert(step.clone(), title.clone());
                vec![format!("begin  {title}")]
            }
            Event::StepOutput { line, .. } => vec![format!("  | {line}")],
            Event::StepSucceeded { step, millis } => {
                vec![format!("done   {} ({})", self.title(step), elapsed(*millis))]
            }
            Event::StepRetried { step, reason } => {
                vec![format!("again  {}: {reason}", self.title(step))]
            }
            Event::StepFailed { step, failure } => {
                vec![format!("failed {}: {}", self.title(step), failure.message)]
            }
            Event::UndoStarted { step } => vec![format!("undo   {}", self.title(step))],
            Event::UndoSucceeded { step } => vec![format!("undone {}", self.title(step))],
            Event::UndoFailed { step, failure } => {
                vec![format!("failed to undo {}: {}", self.title(step), failure.message)]
            }
            Event::Watching { seen_new, elapsed_ms, window_ms, verdict, .. } => {
                // Said when it changes, and ten times in a watch at most.
                let tenth = elapsed_ms * 10 / (*window_ms).max(1);
                let now = (tenth, verdict.word());
                if self.watched == Some(now) {
                    return Vec::new();
                }
                self.watched = Some(now);
                vec![format!(
                    "watch  {} of {}: {} requests, {} errors: {}",
                    elapsed(*elapsed_ms),
                    elapsed(*window_ms),
                    seen_new.requests,
                    seen_new.errors,
                    verdict.word()
                )]
            }
            Event::Held { reason, .. } => vec![format!("hold   {reason}")],
            Event::Note { message } => vec![format!("note   {message}")],
            // The outcome says the rest.
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use vrooli_deploy_core::plan::Stage;

    use super::*;

    #[test]
    fn what_was_done_is_named_by_its_title() {
        let mut plain = Plain::default();
        let step = StepId("build:r1".to_owned());
        plain.lines(&Event::StepStarted {
            step: step.clone(),
            stage: Stage::Release,
            title: "build r1".to_owned(),
        });
        assert_eq!(plain.lines(&Event::StepSucceeded { step, millis: 1_500 }), ["done   build r1 (1.5 s)"]);
    }
}
