//! Whoever goes on with an open watch when the command that began it is gone. The journal is
//! not ours to write: a hidden subcommand of the same program takes the lease, watches, and
//! commits or goes back through the engine, as the command itself would have.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use vrooli_deploy_core::names::StackId;
use vrooli_deploy_core::provider::Result;

use super::super::key::Legacy;
use super::Supervisor;
use crate::failure::at;

/// Between two tries.
const AGAIN: Duration = Duration::from_secs(5);

/// Who watches one stack.
#[derive(Debug)]
pub(super) struct Watcher {
    /// When traffic was set or renewed last.
    told: Timestamp,
    /// Somebody asked for it.
    asked: bool,
    child: Option<Child>,
    not_before: Instant,
}

impl Watcher {
    pub(super) fn new() -> Self {
        Self { told: Timestamp::now(), asked: false, child: None, not_before: Instant::now() }
    }

    pub(super) fn told(&mut self) {
        self.told = Timestamp::now();
    }

    pub(super) fn ask(&mut self) {
        self.asked = true;
        self.not_before = Instant::now();
    }

    /// Whoever is at work renews the traffic four times in the time it has: when half of it is
    /// over, nobody is.
    fn is_abandoned(&self, revert_at: Option<Timestamp>, now: Timestamp) -> bool {
        let Some(at) = revert_at else { return false };
        let all = Duration::try_from(at.duration_since(self.told)).unwrap_or_default();
        let gone = Duration::try_from(now.duration_since(self.told)).unwrap_or_default();
        gone >= all / 2
    }

    pub(super) fn see_to(&mut self, supervisor: &Supervisor, stack: &StackId, revert_at: Option<Timestamp>) {
        if let Some(child) = &mut self.child {
            match child.try_wait() {
                Ok(None) => return,
                Ok(Some(status)) => supervisor.note(&format!("{stack}: the watch has ended ({status})")),
                Err(e) => supervisor.note(&format!("{stack}: the watch cannot be looked at: {e}")),
            }
            self.child = None;
            self.not_before = Instant::now() + AGAIN;
        }
        // In a program that embeds us there is nobody to start: the program itself goes on, and
        // without it the edge goes back.
        if supervisor.leash.is_some() {
            return;
        }
        if supervisor.is_deleted() || !supervisor.config.watches {
            return;
        }
        let wanted = self.asked || self.is_abandoned(revert_at, Timestamp::now());
        if !wanted || Instant::now() < self.not_before {
            return;
        }
        self.asked = false;
        self.not_before = Instant::now() + AGAIN;
        match spawn(supervisor, stack) {
            Ok(child) => {
                supervisor.note(&format!("{stack}: goes on watching (process {})", child.id()));
                self.child = Some(child);
            }
            Err(e) => supervisor.note(&format!("{stack}: cannot go on watching: {}", e.message())),
        }
    }
}

fn spawn(supervisor: &Supervisor, stack: &StackId) -> Result<Child> {
    let root = supervisor.named()?.root().to_owned();
    let arguments =
        [root.clone().into_os_string(), stack.app.as_str().into(), stack.environment.as_str().into()];
    let mut command = supervisor.program.command(crate::child::WATCH, arguments);
    command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().map_err(at("run a watch of", &root))?;
    // The key of the secret store, if we were given one; the end of the pipe says that it is all.
    let given = Legacy { key: supervisor.key().clone(), replaces: false };
    let told = child.stdin.take().map_or(Ok(()), |to| given.write_to(to));
    if let Err(error) = told {
        supervisor.note(&format!("{stack}: the watch does not take what it needs: {error}"));
    }
    Ok(child)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_time_without_a_renewal_is_too_long() {
        let mut watcher = Watcher::new();
        watcher.told = Timestamp::from_second(100).unwrap();
        let at = |second| Timestamp::from_second(second).unwrap();
        let revert = Some(at(130));
        assert!(!watcher.is_abandoned(revert, at(108)));
        assert!(watcher.is_abandoned(revert, at(115)));
        assert!(!watcher.is_abandoned(None, at(200)));
    }
}
