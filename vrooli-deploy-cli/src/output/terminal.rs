//! Progress on a terminal: a line for each running step with the last lines that it
//! wrote below, a check mark and its time when it is done.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use vrooli_deploy_core::engine::Event;
use vrooli_deploy_core::plan::StepId;

use super::style::{Paint, elapsed, harmless, shorten};

/// Lines of a step's output that are shown while it runs.
const WINDOW: usize = 5;
const TICK: Duration = Duration::from_millis(100);

/// What moves.
#[derive(Debug)]
pub(crate) struct Terminal {
    bars: MultiProgress,
    paint: Paint,
    width: usize,
    /// Output lines stay instead of passing by.
    keep_output: bool,
    running: BTreeMap<StepId, Running>,
    titles: BTreeMap<StepId, String>,
}

#[derive(Debug)]
struct Running {
    bar: ProgressBar,
    window: VecDeque<String>,
}

impl Terminal {
    pub(crate) fn new(bars: &MultiProgress, paint: Paint, width: usize, keep_output: bool) -> Self {
        Self {
            bars: bars.clone(),
            paint,
            width,
            keep_output,
            running: BTreeMap::new(),
            titles: BTreeMap::new(),
        }
    }

    pub(crate) fn event(&mut self, event: &Event) {
        let paint = self.paint;
        match event {
            Event::Recovering { dangling } => {
                self.say(&format!("{} resolving an interrupted run first", paint.yellow("↻")));
                for step in dangling {
                    self.say(&paint.dim(&format!("    was under way: {step}")));
                }
            }
            Event::StepStarted { step, title, .. } => {
                self.titles.insert(step.clone(), title.clone());
                self.begin(step, title);
            }
            Event::StepOutput { step, line } => self.output(step, line),
            Event::StepSucceeded { step, millis } => {
                self.end(step, &paint.green("✓"), &paint.dim(&format!("  {}", elapsed(*millis))));
            }
            Event::StepRetried { step, reason } => {
                let line = format!("    {}", paint.yellow(&format!("again: {}", harmless(reason))));
                match self.running.get(step) {
                    Some(running) => running.bar.set_message(format!("\n{line}")),
                    None => self.say(&line),
                }
            }
            Event::StepFailed { step, failure } => {
                let why =
                    format!("  {}", shorten(&harmless(&failure.message), self.width.saturating_sub(10)));
                self.end(step, &paint.red("✗"), &why);
            }
            Event::UndoStarted { step } => {
                let title = format!("undo: {}", self.title(step));
                self.begin(step, &title);
            }
            Event::UndoSucceeded { step } => self.end(step, &paint.yellow("↶"), &paint.dim("  undone")),
            Event::UndoFailed { step, failure } => {
                self.end(
                    step,
                    &paint.red("✗"),
                    &format!("  could not be undone: {}", harmless(&failure.message)),
                );
            }
            Event::Watching { step, seen_new, seen_old, verdict, .. } => {
                if let Some(running) = self.running.get(step) {
                    let side = |seen: &vrooli_deploy_core::provider::Counters| {
                        format!("{} requests, {:.1} % errors", seen.requests, seen.error_share() * 100.0)
                    };
                    running.bar.set_message(format!(
                        "\n    new: {}; old: {}: {}",
                        side(seen_new),
                        side(seen_old),
                        verdict.word()
                    ));
                }
            }
            Event::Held { reason, .. } => self.say(&format!("{} {}", paint.yellow("‖"), harmless(reason))),
            Event::Note { message } => self.say(&format!("{} {}", paint.cyan("i"), harmless(message))),
            Event::Finished { .. } => {
                for running in std::mem::take(&mut self.running).into_values() {
                    running.bar.finish_and_clear();
                }
            }
            _ => {}
        }
    }

    fn title(&self, step: &StepId) -> String {
        harmless(self.titles.get(step).map_or(&step.0, String::as_str))
    }

    fn begin(&mut self, step: &StepId, title: &str) {
        let bar = self.bars.add(ProgressBar::new_spinner());
        // The template is a constant; without it the default one does.
        if let Ok(style) = ProgressStyle::with_template("{spinner:.cyan} {prefix}  {elapsed:.dim}{msg}") {
            bar.set_style(style.tick_strings(&["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏", " "]));
        }
        bar.set_prefix(shorten(&harmless(title), self.width.saturating_sub(12)));
        bar.enable_steady_tick(TICK);
        self.running.insert(step.clone(), Running { bar, window: VecDeque::new() });
    }

    fn output(&mut self, step: &StepId, line: &str) {
        let line = harmless(line);
        if line.trim().is_empty() {
            return;
        }
        if self.keep_output {
            self.say(&self.paint.dim(&format!("    {line}")));
            return;
        }
        let (paint, width) = (self.paint, self.width.saturating_sub(6));
        let Some(running) = self.running.get_mut(step) else {
            return;
        };
        if running.window.len() == WINDOW {
            running.window.pop_front();
        }
        running.window.push_back(paint.dim(&format!("    {}", shorten(&line, width))));
        let message = running.window.iter().fold(String::new(), |all, line| all + "\n" + line);
        running.bar.set_message(message);
    }

    fn end(&mut self, step: &StepId, mark: &str, after: &str) {
        if let Some(running) = self.running.remove(step) {
            running.bar.finish_and_clear();
            self.bars.remove(&running.bar);
        }
        self.say(&format!("{mark} {}{after}", self.title(step)));
    }

    /// A line that stays above those that move.
    fn say(&self, line: &str) {
        self.bars.suspend(|| {
            use std::io::Write as _;
            // A terminal that is gone is told nothing more.
            let _ = writeln!(std::io::stderr().lock(), "{line}");
        });
    }
}
