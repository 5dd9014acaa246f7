//! Where words go: results to stdout, the rest to stderr.

mod backups;
mod convert;
mod diagnostics;
mod drift;
mod estimate;
mod fitness;
mod hosts;
mod journal;
pub(crate) mod json;
mod orphans;
mod outcome;
mod plain;
mod plan;
mod planned_cost;
mod profile;
mod progress;
pub(crate) mod prompt;
mod render;
mod secrets;
mod state;
mod status;
mod style;
mod table;
mod terminal;
mod validate;

use std::io::{IsTerminal as _, Write as _};

use indicatif::MultiProgress;

use crate::arguments::{ColourChoice, Global};
use json::Line;

pub(crate) use backups::{backups, restored};
pub(crate) use convert::word;
pub(crate) use diagnostics::diagnostics;
pub(crate) use drift::drift;
pub(crate) use estimate::{estimate, price_rows};
pub(crate) use fitness::{analysis, consequences, fitness, tiers};
pub(crate) use hosts::{host, hosts, is_it, preflight, removed, trusted};
pub(crate) use journal::record;
pub(crate) use orphans::orphans;
pub(crate) use outcome::{failure, more, report};
pub(crate) use plan::plan;
pub(crate) use planned_cost::in_words;
pub(crate) use profile::{difference, instant, profile, read_from};
pub(crate) use progress::Progress;
pub(crate) use render::rendered;
pub(crate) use secrets::secrets;
pub(crate) use state::{rebuilt, set_aside};
pub(crate) use status::{ago, name, status};
pub(crate) use style::{Paint, harmless};
pub(crate) use table::table;
pub(crate) use validate::validation;

/// How to talk, decided once.
#[derive(Debug, Clone)]
pub(crate) struct Console {
    /// Lines of JSON on stdout, nothing on stderr.
    pub(crate) json: bool,
    /// Only results and errors.
    pub(crate) quiet: bool,
    /// How much more to say.
    pub(crate) verbose: u8,
    /// For stdout.
    pub(crate) out: Paint,
    /// For stderr.
    pub(crate) err: Paint,
    /// Is a person looking at stderr?
    pub(crate) live: bool,
    /// Can a person be asked?
    pub(crate) can_ask: bool,
    /// Lines that move; everything else is written around them.
    bars: MultiProgress,
}

impl Console {
    pub(crate) fn new(global: &Global) -> Self {
        let able = std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let (out, err) = (std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let paint = |terminal: bool| {
            Paint(match global.color {
                ColourChoice::Always => true,
                ColourChoice::Never => false,
                ColourChoice::Auto => terminal && able && !unwanted,
            })
        };
        Self {
            json: global.json,
            quiet: global.quiet,
            verbose: global.verbose,
            out: paint(out),
            err: paint(err),
            live: err && able && !global.json && !global.quiet,
            can_ask: err && std::io::stdin().is_terminal() && !global.json,
            bars: MultiProgress::new(),
        }
    }

    /// A result for people.
    pub(crate) fn result(&self, text: &str) {
        if !self.json {
            self.print(text);
        }
    }

    /// A result for programs.
    pub(crate) fn line(&self, line: &Line) {
        if self.json
            && let Ok(text) = serde_json::to_string(line)
        {
            self.print(&text);
        }
    }

    /// A result as it is, for whoever asked for that format.
    pub(crate) fn print(&self, text: &str) {
        self.around(|| {
            let mut out = std::io::stdout().lock();
            if writeln!(out, "{}", text.strip_suffix('\n').unwrap_or(text))
                .and_then(|()| out.flush())
                .is_err()
            {
                // Nobody reads any more (`… | head`): there is nothing to say it to.
            }
        });
    }

    /// Something worth knowing.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet && !self.json {
            self.error(text);
        }
    }

    /// Something that must be said.
    pub(crate) fn error(&self, text: &str) {
        self.around(|| {
            // See `print`.
            let _ = writeln!(std::io::stderr().lock(), "{}", text.strip_suffix('\n').unwrap_or(text));
        });
    }

    /// Writes while no line moves.
    fn around(&self, write: impl FnOnce()) {
        if self.live {
            self.bars.suspend(write);
        } else {
            write();
        }
    }

    /// Columns of the terminal behind stderr.
    pub(crate) fn width(&self) -> usize {
        rustix::termios::tcgetwinsize(std::io::stderr())
            .ok()
            .map(|size| usize::from(size.ws_col))
            .filter(|columns| *columns >= 20)
            .unwrap_or(100)
    }
}
