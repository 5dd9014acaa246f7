//! The shim: one an instance. Leader of its own session, parent of the app and heir of all
//! that the app's processes leave; it knows how the app ended, and ends all of it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::process::{WaitOptions, WaitStatus};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::config::Program;
use super::files::{Durability, remove_file, through, write_json};
use super::identity::ProcessIdentity;
use super::launch::{Launch, LaunchFailure, Report, Target};
use super::log;
use super::paths::UnitLayout;
use super::record::{Ended, ExitRecord, InstanceRecord};
use super::table::{Ending, MARKER, Table};

/// How often it looks at its log and its folder.
const TICK: Duration = Duration::from_millis(500);
/// How often it looks for processes while it ends them.
const ENDING: Duration = Duration::from_millis(20);
/// A child between fork and exec, or a look by the supervisor, may hold the lock this long.
const LOCK_PATIENCE: Duration = Duration::from_millis(300);

/// Runs a shim to the end of its instance.
pub(crate) fn run() -> u8 {
    let report = match Shim::start() {
        Ok(Some((shim, runtime))) => return runtime.block_on(shim.watch()),
        Ok(None) => Report::Taken,
        Err(failure) => Report::Failed(failure),
    };
    answer(&report);
    72
}

/// The supervisor may be gone by now; its successor finds what it needs in the files.
fn answer(report: &Report) {
    let mut line = serde_json::to_vec(report).unwrap_or_default();
    line.push(b'\n');
    let mut out = io::stdout();
    let _ = out.write_all(&line).and_then(|()| out.flush());
}

struct Shim {
    me: u32,
    app: u32,
    target: Target,
    /// Through the descriptor: the state folder may be moved.
    files: UnitLayout,
    log: PathBuf,
    lock: File,
    _dirs: [OwnedFd; 2],
    signals: Signals,
    ended: Option<Ended>,
}

struct Signals {
    child: Signal,
    stop: Signal,
    now: Signal,
    /// Kept so that they do not end us: without a terminal nobody means us by them.
    _ignored: [Signal; 2],
}

type Started = (Shim, tokio::runtime::Runtime);

impl Shim {
    /// `None`: another shim has the unit.
    fn start() -> Result<Option<Started>, LaunchFailure> {
        let mut launch = Launch::read_from(io::stdin())?;
        std::env::set_current_dir("/")?;
        // Fails only for a group leader, and then we lead a group of our own already.
        let _ = rustix::process::setsid();
        inherit_orphans()?;
        let me = std::process::id();
        let target = launch.target.clone();
        launch.target.parent = me;

        let dir: OwnedFd = File::open(&target.unit)?.into();
        let files = UnitLayout::at(through(&dir, &target.unit, ""));
        let Some(lock) = take(&files)? else {
            return Ok(None);
        };
        let (logs, log) = open_log_dir(&target.log)?;

        // Registered before the app exists: nothing it does or is sent can be missed.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let signals = {
            let _inside = runtime.enter();
            Signals {
                child: signal(SignalKind::child())?,
                stop: signal(SignalKind::terminate())?,
                now: signal(SignalKind::quit())?,
                _ignored: [signal(SignalKind::hangup())?, signal(SignalKind::interrupt())?],
            }
        };

        remove_file(&files.exit())?;
        let mut record = InstanceRecord {
            instance: target.instance,
            shim: ProcessIdentity::of(me)?,
            in_process: false,
            app: None,
            at: Timestamp::now(),
        };
        write_json(&files.instance(), &record, Durability::Volatile)?;
        let app = match spawn(&launch, &log) {
            Ok(app) => app,
            Err(failure) => {
                // There was no instance, so nobody has to look for what it left.
                remove_file(&files.instance())?;
                return Err(failure);
            }
        };
        drop(launch);
        record.app = Some(app);
        write_json(&files.instance(), &record, Durability::Volatile)?;
        answer(&Report::Started(app));
        Ok(Some((
            Self { me, app, target, files, log, lock, _dirs: [dir, logs], signals, ended: None },
            runtime,
        )))
    }

    /// Lives as long as any process of the instance.
    async fn watch(mut self) -> u8 {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut ending: Option<Ending> = None;
        loop {
            let pause = if ending.is_some() { ENDING } else { Duration::from_secs(3600) };
            tokio::select! {
                _ = self.signals.child.recv() => {}
                _ = self.signals.stop.recv() => {
                    ending.get_or_insert_with(|| self.ending());
                }
                _ = self.signals.now.recv() => ending.get_or_insert_with(|| self.ending()).hurry(),
                _ = tick.tick() => {
                    if self.is_deleted() {
                        ending.get_or_insert_with(|| self.ending());
                    } else {
                        self.rotate();
                    }
                }
                () = tokio::time::sleep(pause) => {}
            }
            if self.reap() {
                break;
            }
            if let Some(ending) = &mut ending {
                let me = self.me;
                // Tried again in the next round; there is nobody to tell.
                let _ = ending.round(&|table: &Table| table.kept(me));
            }
        }
        if let (Some(container), Some(Ended::Signal(_))) = (&self.target.container, self.ended) {
            // Its keeper was killed. Whoever starts the unit again removes what could not be removed here.
            let _ = container.remove().await;
        }
        self.finish(ending.is_some());
        0
    }

    fn ending(&self) -> Ending {
        Ending::new(Duration::from_millis(self.target.grace_ms))
    }

    /// Buries the dead. True when nobody is left.
    fn reap(&mut self) -> bool {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    if pid.as_raw_nonzero().get().unsigned_abs() == self.app {
                        self.ended = Some(ended(status));
                    }
                }
                Ok(None) => return false,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return true,
            }
        }
    }

    /// Was the folder of the unit deleted? (A moved one was not.)
    fn is_deleted(&self) -> bool {
        self.lock.metadata().is_ok_and(|m| m.nlink() == 0)
    }

    fn rotate(&self) {
        // Tried again at the next tick; there is nobody to tell.
        let _ = log::rotate(&self.log, self.target.rotation);
    }

    fn finish(&self, asked: bool) {
        if self.is_deleted() {
            return;
        }
        let record =
            ExitRecord { instance: self.target.instance, ended: self.ended, asked, at: Timestamp::now() };
        // Without the file the supervisor says that the status is unknown.
        let _ = write_json(&self.files.exit(), &record, Durability::Volatile);
    }
}

fn ended(status: WaitStatus) -> Ended {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(status), _) => Ended::Status(status),
        (None, Some(signal)) => Ended::Signal(signal),
        (None, None) => Ended::Status(status.as_raw()),
    }
}

/// Takes the lock of the unit; `None` when another shim has it.
fn take(files: &UnitLayout) -> io::Result<Option<File>> {
    let lock = super::lock::open(&files.lock())?;
    let until = Instant::now() + LOCK_PATIENCE;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(Some(lock)),
            Err(std::fs::TryLockError::Error(e)) => return Err(e),
            Err(std::fs::TryLockError::WouldBlock) if Instant::now() > until => return Ok(None),
            Err(std::fs::TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Opens the folder of the log, and names the log through it.
fn open_log_dir(log: &Path) -> io::Result<(OwnedFd, PathBuf)> {
    let (Some(dir), Some(name)) = (log.parent(), log.file_name().and_then(|n| n.to_str())) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the log has no place"));
    };
    let opened: OwnedFd = File::open(dir)?.into();
    let path = through(&opened, dir, name);
    Ok((opened, path))
}

/// Starts the launcher and waits until it has become the app.
fn spawn(launch: &Launch, log: &Path) -> Result<u32, LaunchFailure> {
    let out = log::open(log)?;
    let (ours, theirs) = UnixStream::pair()?;
    let mark = launch.environment.get(MARKER).unwrap_or_default().to_owned();
    let contained = launch.target.container.is_some();
    let role = if contained { crate::child::KEEPER } else { crate::child::LAUNCHER };
    let mut command = Program::default().command(role, []);
    command
        .env(MARKER, mark)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(out.try_clone()?)
        .stderr(out)
        .process_group(0);
    if let Some(account) = launch.target.account {
        // Before it asks to die with us: the kernel forgets that when the account changes. Groups
        // of ours it loses with it.
        command.uid(account.uid).gid(account.gid);
    }
    // The parent-death signal counts from the thread that forks: this is the main one, which
    // lives as long as the process.
    let child = command.spawn()?;
    drop(command);
    let mut ours = ours;
    // If it ended before it read everything, its answer says why.
    let _ = launch.write_to(&ours).and_then(|()| ours.shutdown(Shutdown::Write));
    let mut answer = Vec::new();
    ours.read_to_end(&mut answer)?;
    if answer.is_empty() {
        // Dropped without a wait: it is buried with all others.
        return Ok(child.id());
    }
    let mut child = child;
    let _ = child.wait();
    Err(serde_json::from_slice(&answer)
        .unwrap_or_else(|_| LaunchFailure::from(io::Error::other("the launcher ended without a word"))))
}

#[cfg(target_os = "linux")]
fn inherit_orphans() -> io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

#[cfg(not(target_os = "linux"))]
fn inherit_orphans() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
