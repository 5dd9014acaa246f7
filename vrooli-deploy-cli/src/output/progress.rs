//! What happens, as it happens.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use vrooli_deploy_core::engine::Event;

use super::Console;
use super::json::Line;
use super::plain::{LONG, Plain};
use super::terminal::Terminal;

/// Draws events. Called from the engine's task, so it only writes.
#[derive(Debug)]
pub(crate) struct Progress {
    console: Console,
    how: How,
}

#[derive(Debug)]
enum How {
    /// Lines of JSON.
    Json,
    /// Nothing: the outcome says it.
    Quiet,
    /// Lines that stay.
    Plain(Arc<Mutex<Plain>>),
    /// Lines that move.
    Live(Mutex<Terminal>),
}

/// Lines that stay, and a look now and then at what takes long, as long as there is anybody who draws.
fn plain(console: &Console) -> Arc<Mutex<Plain>> {
    let plain = Arc::<Mutex<Plain>>::default();
    let (looks, console) = (Arc::downgrade(&plain), console.clone());
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(LONG);
            let Some(plain) = looks.upgrade() else { return };
            let still = plain.lock().unwrap_or_else(PoisonError::into_inner).still(Instant::now());
            if let Some(line) = still {
                console.error(&line);
            }
        }
    });
    plain
}

impl Progress {
    pub(crate) fn new(console: &Console) -> Self {
        let how = if console.json {
            How::Json
        } else if console.quiet {
            How::Quiet
        } else if console.live {
            How::Live(Mutex::new(Terminal::new(
                &console.bars,
                console.err,
                console.width(),
                console.verbose > 0,
            )))
        } else {
            How::Plain(plain(console))
        };
        Self { console: console.clone(), how }
    }

    pub(crate) fn event(&self, event: &Event) {
        match &self.how {
            How::Json => {
                if let Some(line) = Line::event(event) {
                    self.console.line(&line);
                }
            }
            How::Quiet => {}
            How::Plain(plain) => {
                let lines = plain.lock().unwrap_or_else(PoisonError::into_inner).lines(event);
                for line in lines {
                    self.console.error(&line);
                }
            }
            How::Live(terminal) => terminal.lock().unwrap_or_else(PoisonError::into_inner).event(event),
        }
    }
}
