//! Ctrl-C and SIGTERM: the first asks to stop and allows a little time, the second allows none.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use vrooli_deploy_core::provider::Cancellation;

use crate::errors::Failure;
use crate::output::Console;

/// What a change may take to stop by itself. Nothing needs to be waited for: the next run
/// resolves what is left; the program is gone within 2 s.
const GRACE: Duration = Duration::from_millis(1_800);

/// Was the program asked to stop, and is its time over?
#[derive(Debug, Clone)]
pub(crate) struct Interrupt {
    asked: Cancellation,
    over: Cancellation,
}

impl Interrupt {
    /// Listens from now on. A command that only reads gets no time.
    pub(crate) fn listen(console: &Console, changes: bool) -> Result<Self, Failure> {
        let failed = |e: std::io::Error| Failure::system("cannot listen for signals", &e);
        let mut interrupted = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminated = signal(SignalKind::terminate()).map_err(failed)?;
        let interrupt = Self { asked: Cancellation::new(), over: Cancellation::new() };
        let (this, console) = (interrupt.clone(), console.clone());
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupted.recv() => {}
                _ = terminated.recv() => {}
            }
            this.asked.cancel();
            if changes {
                console.note("stopping (once more to stop at once)");
                tokio::select! {
                    () = tokio::time::sleep(GRACE) => {}
                    _ = interrupted.recv() => std::process::exit(130),
                    _ = terminated.recv() => std::process::exit(130),
                }
            }
            this.over.cancel();
        });
        Ok(interrupt)
    }

    /// Handed to the library.
    pub(crate) fn cancellation(&self) -> Cancellation {
        self.asked.clone()
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.asked.is_cancelled()
    }

    /// Resolves when the program must end.
    pub(crate) async fn over(&self) {
        self.over.cancelled().await;
    }
}
