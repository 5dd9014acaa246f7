//! Progress in a pipe or a log: a line for each thing that happens, none that moves. What takes long is named once a
//! minute: who runs pipelines ends those that say nothing for ten.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use vrooli_deploy_core::engine::Event;
use vrooli_deploy_core::plan::StepId;

use super::style::elapsed;

/// So long is long.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Titles of steps, to say what was done.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    titles: BTreeMap<StepId, String>,
    /// What is under way, as it is said, and since when.
    running: BTreeMap<StepId, (String, Instant)>,
    /// What was said of a watch last.
    watched: Option<(u64, &'static str)>,
}

impl Plain {
    fn title<'a>(&'a self, step: &'a StepId) -> &'a str {
        self.titles.get(step).map_or(&step.0, String::as_str)
    }

    /// What has been under way for a minute and more.
    pub(crate) fn still(&self, now: Instant) -> Option<String> {
        let long = self.running.values().filter_map(|(what, since)| {
            let time = now.saturating_duration_since(*since);
            let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            (time >= LONG).then(|| format!("{what} ({})", elapsed(millis)))
        });
        let long: Vec<String> = long.collect();
        (!long.is_empty()).then(|| format!("still  {}", long.join(", ")))
    }

    /// Keeps in mind what is under way.
    fn follow(&mut self, event: &Event) {
        match event {
            Event::StepStarted { step, title, .. } => {
                self.running.insert(step.clone(), (title.clone(), Instant::now()));
            }
            Event::UndoStarted { step } => {
                let what = format!("undo {}", self.title(step));
                self.running.insert(step.clone(), (what, Instant::now()));
            }
            Event::StepSucceeded { step, .. }
            | Event::StepFailed { step, .. }
            | Event::UndoSucceeded { step }
            | Event::UndoFailed { step, .. } => _ = self.running.remove(step),
            _ => {}
        }
    }

    pub(crate) fn lines(&mut self, event: &Event) -> Vec<String> {
        self.follow(event);
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

    #[test]
    fn what_takes_long_is_named_until_it_is_done() {
        let mut plain = Plain::default();
        let step = StepId("create:database/wheels".to_owned());
        let title = "create database/wheels".to_owned();
        plain.lines(&Event::StepStarted { step: step.clone(), stage: Stage::Expand, title });
        let after = |seconds| Instant::now() + Duration::from_secs(seconds);
        assert_eq!(plain.still(after(50)), None);
        let said = plain.still(after(125)).unwrap();
        assert!(said.starts_with("still  create database/wheels (2"), "{said}");
        plain.lines(&Event::StepSucceeded { step, millis: 125_000 });
        assert_eq!(plain.still(after(190)), None);
    }
}
