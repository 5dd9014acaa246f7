//! Which process: a pid alone may be another process by now.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

use super::table;

/// A process, told from every other that ever had its pid on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// Its pid.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub started: u64,
    /// Of which boot.
    pub boot: String,
}

impl ProcessIdentity {
    /// The identity of a process that runs.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let stat = table::stat(pid)?;
        Ok(Self { pid, started: stat.started, boot: boot_id()? })
    }

    /// Is it this process?
    pub(crate) fn is_this(&self) -> bool {
        self.pid == std::process::id() && Self::of(self.pid).is_ok_and(|me| me == *self)
    }

    /// Opens the process; `None` when it is gone.
    pub(crate) fn open(&self) -> io::Result<Option<Handle>> {
        if boot_id()? != self.boot {
            return Ok(None);
        }
        let Some(handle) = Handle::open(self.pid)? else {
            return Ok(None);
        };
        // Looked at after the open: the descriptor keeps the pid from meaning another one.
        match table::stat(self.pid) {
            Ok(stat) if stat.started == self.started && stat.state != 'Z' => Ok(Some(handle)),
            Ok(_) => Ok(None),
            Err(e) if table::is_gone(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// The id of this boot of the machine.
pub(crate) fn boot_id() -> io::Result<String> {
    os::boot_id()
}

/// A process held by descriptor: signals go to it and to no successor of its pid. The
/// descriptor can be read from once it has ended.
#[derive(Debug)]
pub(crate) struct Handle(OwnedFd);

impl Handle {
    /// Opens a process; `None` when there is none with this pid.
    pub(crate) fn open(pid: u32) -> io::Result<Option<Self>> {
        let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
            return Ok(None);
        };
        match os::open(pid) {
            Ok(fd) => Ok(Some(Self(fd))),
            Err(rustix::io::Errno::SRCH) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Sends a signal. A process that has ended is fine.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        match os::signal(&self.0, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// A second descriptor of the same process.
    pub(crate) fn try_clone(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }
}

impl AsFd for Handle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(target_os = "linux")]
mod os {
    use super::{OwnedFd, Pid, Signal, io};

    pub(super) fn boot_id() -> io::Result<String> {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned())
    }
    pub(super) fn open(pid: Pid) -> rustix::io::Result<OwnedFd> {
        rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
    }
    pub(super) fn signal(fd: &OwnedFd, signal: Signal) -> rustix::io::Result<()> {
        rustix::process::pidfd_send_signal(fd, signal)
    }
}

#[cfg(not(target_os = "linux"))]
mod os {
    use super::{OwnedFd, Pid, Signal, io};

    pub(super) fn boot_id() -> io::Result<String> {
        Err(io::ErrorKind::Unsupported.into())
    }
    pub(super) fn open(_: Pid) -> rustix::io::Result<OwnedFd> {
        Err(rustix::io::Errno::NOSYS)
    }
    pub(super) fn signal(_: &OwnedFd, _: Signal) -> rustix::io::Result<()> {
        Err(rustix::io::Errno::NOSYS)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_ended_or_never_was_is_not_opened() {
        let me = ProcessIdentity::of(std::process::id()).unwrap();
        assert!(me.open().unwrap().is_some());
        assert!(ProcessIdentity { started: me.started + 1, ..me.clone() }.open().unwrap().is_none());
        assert!(ProcessIdentity { boot: "another".into(), ..me }.open().unwrap().is_none());

        let mut child = std::process::Command::new("true").spawn().unwrap();
        let gone = ProcessIdentity::of(child.id());
        child.wait().unwrap();
        if let Ok(gone) = gone {
            assert!(gone.open().unwrap().is_none());
        }
    }
}
