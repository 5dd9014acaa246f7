//! What ends our processes when we end, even when we are killed: a shell that reads from a
//! pipe which only we write to. Its end is ours, and the shell then ends what it was told of
//! and what bears our mark. It also holds the workspace's lock until that is done, so that
//! whoever comes next finds nothing half ended.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use super::super::table::{self, RUN};

/// POSIX shell, with what every such system has.
const SCRIPT: &str = include_str!("leash.sh");
const SHELL: &str = "/bin/sh";
/// Where the shell finds `grep` and `sleep` if we have no PATH ourselves.
const FOLDERS: &str = "/usr/local/bin:/usr/bin:/bin";

/// What ends with us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kept {
    /// A process group whose leader is our child: nobody else can have its number until we
    /// bury it.
    App(u32),
    /// A server that detached itself, and when it started.
    Server(u32, u64),
}

impl std::fmt::Display for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::App(group) => write!(f, "app {group}"),
            Self::Server(pid, started) => write!(f, "server {pid} {started}"),
        }
    }
}

/// The shell, and what it was told.
#[derive(Debug)]
pub(crate) struct Leash {
    run: String,
    lock: File,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    shell: Option<Child>,
    kept: BTreeSet<Kept>,
    /// The longest that any app was promised.
    grace: Duration,
}

impl State {
    fn grace(&self) -> String {
        format!("grace {}", self.grace.as_secs().max(1))
    }
}

impl Leash {
    /// Starts the shell, with a lock that it holds as long as it lives. `grace`: how long apps
    /// may take to end by themselves.
    pub(super) fn new(lock: File, grace: Duration) -> io::Result<Self> {
        let state = Mutex::new(State { grace, ..State::default() });
        let leash = Self { run: Uuid::new_v4().to_string(), lock, state };
        leash.spawn(&mut leash.state())?;
        Ok(leash)
    }

    /// The variable that marks an app's processes, so that the shell finds those that left
    /// their group, and others see by whom they are held.
    pub(crate) fn app_mark(&self) -> (&'static str, String) {
        (RUN, self.mark("app"))
    }

    /// The variable that marks a server's processes.
    pub(crate) fn server_mark(&self) -> (&'static str, String) {
        (RUN, self.mark("server"))
    }

    /// `<run>:<sort>:<our pid>:<when we started>`.
    fn mark(&self, sort: &str) -> String {
        let me = std::process::id();
        let started = table::started(me).unwrap_or_default();
        format!("{}:{sort}:{me}:{started}", self.run)
    }

    /// Puts a process group on the leash, whose leader is a child of ours that nobody has
    /// waited for. It may take `grace` to end by itself.
    pub(crate) fn keep_app(&self, group: u32, grace: Duration) -> io::Result<()> {
        let mut state = self.state();
        if grace > state.grace {
            state.grace = grace;
            let words = state.grace();
            // A shell that is gone is replaced below.
            let _ = tell(&mut state, &words);
        }
        drop(state);
        self.keep(Kept::App(group))
    }

    /// Keeps the process group of a build's step until the answer is dropped.
    pub(crate) fn keep_step(self: &Arc<Self>, group: u32) -> io::Result<KeptStep> {
        self.keep(Kept::App(group))?;
        Ok(KeptStep { leash: Arc::clone(self), group })
    }

    /// Puts a server on the leash, which leads a group of its own.
    pub(crate) fn keep_server(&self, pid: u32) -> io::Result<()> {
        let started = table::started(pid).unwrap_or_default();
        self.keep(Kept::Server(pid, started))
    }

    /// Takes a group off the leash: nothing of it is left.
    pub(crate) fn let_go(&self, group: u32) {
        let mut state = self.state();
        if state.kept.remove(&Kept::App(group)) {
            // A shell that is gone knows of nothing; the next one is told what is left.
            let _ = tell(&mut state, &format!("gone {group}"));
        }
    }

    /// Starts another shell if somebody killed it.
    pub(crate) fn check(&self) -> io::Result<()> {
        let mut state = self.state();
        match state.shell.as_mut().map(Child::try_wait) {
            Some(Ok(None)) => Ok(()),
            _ => self.spawn(&mut state),
        }
    }

    /// Lets the shell do its work, and waits until it is done. Blocks.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.kept.clear();
        if let Some(mut shell) = state.shell.take() {
            drop(shell.stdin.take());
            let _ = shell.wait();
        }
    }

    fn keep(&self, what: Kept) -> io::Result<()> {
        let mut state = self.state();
        state.kept.insert(what);
        match tell(&mut state, &what.to_string()) {
            Ok(()) => Ok(()),
            Err(_) => self.spawn(&mut state),
        }
    }

    fn spawn(&self, state: &mut State) -> io::Result<()> {
        if let Some(mut old) = state.shell.take() {
            let _ = old.kill();
            let _ = old.wait();
        }
        let shell = Command::new(SHELL)
            .args(["-c", SCRIPT, "vrooli-deploy-leash", &self.run])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| FOLDERS.into()))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(OwnedFd::from(self.lock.try_clone()?))
            .stderr(Stdio::null())
            // A terminal's Ctrl-C is for us.
            .process_group(0)
            .spawn()
            .map_err(|e| io::Error::new(e.kind(), format!("{SHELL}: {e}")))?;
        state.shell = Some(shell);
        let mut words = state.grace() + "\n";
        for kept in &state.kept {
            words.push_str(&format!("{kept}\n"));
        }
        write(state, words.as_bytes())
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A build's step that is kept.
#[derive(Debug)]
pub(crate) struct KeptStep {
    leash: Arc<Leash>,
    group: u32,
}

impl Drop for KeptStep {
    fn drop(&mut self) {
        self.leash.let_go(self.group);
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut shell) = state.shell.take() {
            drop(shell.stdin.take());
            // Buried when it is done, if we live so long.
            std::thread::spawn(move || drop(shell.wait()));
        }
    }
}

fn tell(state: &mut State, words: &str) -> io::Result<()> {
    write(state, format!("{words}\n").as_bytes())
}

fn write(state: &mut State, words: &[u8]) -> io::Result<()> {
    match state.shell.as_mut().and_then(|shell| shell.stdin.as_mut()) {
        Some(to) => to.write_all(words),
        None => Err(io::ErrorKind::BrokenPipe.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn leash() -> Leash {
        let dir = tempfile::tempdir().unwrap();
        Leash::new(File::create(dir.path().join("lock")).unwrap(), Duration::from_secs(1)).unwrap()
    }

    fn sleeper() -> Child {
        Command::new("sleep").arg("1000").process_group(0).spawn().unwrap()
    }

    #[test]
    fn what_is_kept_ends_with_it_and_what_was_let_go_does_not() {
        let leash = leash();
        let (mut kept, mut other) = (sleeper(), sleeper());
        let mut marked = {
            let (name, value) = leash.app_mark();
            // Only Linux shows the environment of a process.
            let length = if cfg!(target_os = "linux") { "1000" } else { "0" };
            Command::new("sleep").arg(length).env(name, value).spawn().unwrap()
        };
        leash.keep_app(kept.id(), Duration::ZERO).unwrap();
        leash.keep_app(other.id(), Duration::ZERO).unwrap();
        leash.let_go(other.id());
        // Another process has the number of a server by now: it started at another time.
        leash.keep(Kept::Server(other.id(), 1)).unwrap();
        leash.end();
        assert!(!kept.wait().unwrap().success());
        assert_eq!(marked.wait().unwrap().success(), !cfg!(target_os = "linux"));
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    }

    #[test]
    fn a_killed_shell_is_replaced_and_told_again() {
        let leash = leash();
        let mut kept = sleeper();
        leash.keep_app(kept.id(), Duration::ZERO).unwrap();
        leash.state().shell.as_mut().unwrap().kill().unwrap();
        let until = Instant::now() + Duration::from_secs(30);
        while leash.state().shell.as_mut().unwrap().try_wait().unwrap().is_none() {
            assert!(Instant::now() < until);
        }
        leash.check().unwrap();
        leash.end();
        assert!(!kept.wait().unwrap().success());
    }
}
