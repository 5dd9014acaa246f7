//! The process between us and a build step. It outlives neither of them: when we end,
//! however that is, its standard input ends, and it ends the step with everything that the
//! step started; when the step ends, it ends what the step left running.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::io::{self, BufRead, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

use crate::process::InProcess;

/// How long a step may take to end by itself once nobody waits for it any more. Short: the
/// next build waits for it.
const GRACE: Duration = Duration::from_millis(1500);
const POLL: Duration = Duration::from_millis(10);

/// What is to be run, as one line of JSON on standard input: arguments and environment of
/// the guard itself tell nothing.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) program: OsString,
    pub(super) arguments: Vec<OsString>,
    pub(super) folder: OsString,
    /// Pairs, for names that are no text are no keys of JSON.
    pub(super) environment: Vec<(OsString, OsString)>,
}

/// How a program is started that must end when we do.
#[derive(Debug, Clone)]
pub enum Guard {
    /// By a hidden subcommand of this program or another: program and arguments that lead
    /// to [`run_build_step`]. What it runs is ended even if we are killed.
    Program {
        /// The program.
        program: PathBuf,
        /// Its arguments.
        arguments: Vec<OsString>,
    },
    /// Directly. What it runs is ended when we give up, but not if we are killed.
    InProcess,
    /// Directly, and kept by what a program runs in itself: it is ended if we are killed.
    Leash(InProcess),
}

/// The hidden subcommand: runs the order on standard input. The answer is the exit status
/// for `main`: that of the step, or 128 and the number of the signal that ended it.
#[must_use]
pub fn run_build_step() -> u8 {
    match guard() {
        Ok(status) => status
            .code()
            .or_else(|| status.signal().map(|signal| 128 + signal))
            .and_then(|c| u8::try_from(c).ok())
            .unwrap_or(1),
        Err(error) => {
            // To where the step's own words go.
            let _ = writeln!(io::stdout(), "cannot run the step: {error}");
            127
        }
    }
}

fn guard() -> io::Result<ExitStatus> {
    let us = rustix::process::getpid();
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(us))?;
    let mut line = String::new();
    let mut stdin = io::stdin().lock();
    stdin.read_line(&mut line)?;
    let order: Order = serde_json::from_str(&line).map_err(io::Error::other)?;
    drop(line);
    drop(stdin);
    // Our standard error is the lock of the build; the step gets our standard output twice.
    let output = io::stdout().as_fd().try_clone_to_owned()?;
    let mut child = Command::new(&order.program)
        .args(&order.arguments)
        .env_clear()
        .envs(order.environment)
        .current_dir(&order.folder)
        .stdin(Stdio::null())
        .stdout(Stdio::inherit())
        .stderr(output)
        .process_group(0)
        .spawn()
        .map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", order.program.to_string_lossy()))
        })?;
    let step = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let done = Arc::new(AtomicBool::new(false));
    {
        let done = Arc::clone(&done);
        std::thread::spawn(move || {
            // Nothing more is ever written: this returns when the other end is gone.
            let _ = io::stdin().read_to_end(&mut Vec::new());
            if !done.load(Ordering::SeqCst) {
                end_all(us, step);
            }
        });
    }
    let status = child.wait()?;
    done.store(true, Ordering::SeqCst);
    end_all(us, step);
    Ok(status)
}

/// Ends all descendants: asked first, then by force, until none is left.
fn end_all(us: Pid, step: Option<Pid>) {
    let force_at = Instant::now() + GRACE;
    let mut asked: HashSet<Pid> = HashSet::new();
    if let Some(step) = step {
        let _ = rustix::process::kill_process_group(step, Signal::TERM);
    }
    loop {
        // Ended ones that nobody waits for go to init with us.
        let living = descendants(us);
        if living.is_empty() {
            return;
        }
        let force = Instant::now() >= force_at;
        for pid in living {
            if force {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            } else if asked.insert(pid) {
                let _ = rustix::process::kill_process(pid, Signal::TERM);
            }
        }
        std::thread::sleep(POLL);
    }
}

/// Living processes under one, by the kernel's table.
fn descendants(of: Pid) -> HashSet<Pid> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let Ok(stat) = std::fs::read(entry.path().join("stat")) else {
            continue;
        };
        if let Some((state, parent)) = state_and_parent(&String::from_utf8_lossy(&stat))
            && state != 'Z'
            && state != 'X'
        {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = HashSet::new();
    let mut open = vec![of.as_raw_nonzero().get()];
    while let Some(pid) = open.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            if let Some(child_pid) = Pid::from_raw(*child)
                && found.insert(child_pid)
            {
                open.push(*child);
            }
        }
    }
    found
}

/// The third and fourth field; the second is a name in parentheses that may hold anything.
fn state_and_parent(stat: &str) -> Option<(char, i32)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_is_read() {
        assert_eq!(state_and_parent("12 (a) b) S 7 12"), Some(('S', 7)));
        assert_eq!(state_and_parent("nonsense"), None);
    }
}
