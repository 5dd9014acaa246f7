//! Is a process the server that a record tells of? A number alone does not say: after a
//! crash or a reboot it may be anybody's.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::Pid;

/// Does the kernel tell where processes work?
pub(crate) fn can_tell() -> bool {
    Path::new("/proc/self").exists()
}

/// Is that process alive, with that folder as its working directory? Servers change into
/// their data. Folders are compared, not their names: one that was moved while its server
/// ran is still the same. Where the kernel does not tell, being alive must do.
pub(crate) fn works_in(pid: Pid, folder: &Path) -> bool {
    if !can_tell() {
        return rustix::process::test_kill_process(pid).is_ok();
    }
    let process = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
    let same = || -> io::Result<bool> {
        let (here, there) = (fs::metadata(folder)?, fs::metadata(process.join("cwd"))?);
        Ok(here.ino() == there.ino() && here.dev() == there.dev())
    };
    same().unwrap_or(false) && !is_zombie(&process)
}

/// Does any process work in that folder, as far as the kernel tells?
pub(crate) fn anybody_works_in(folder: &Path) -> bool {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.any(|pid| Pid::from_raw(pid).is_some_and(|pid| works_in(pid, folder)))
}

fn is_zombie(process: &Path) -> bool {
    fs::read_to_string(process.join("stat"))
        .ok()
        .and_then(|stat| stat.rsplit_once(')').map(|(_, rest)| rest.trim_start().starts_with('Z')))
        .unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_where_it_works() {
        if !can_tell() {
            println!("skipped: no /proc here");
            return;
        }
        let here = std::env::current_dir().unwrap();
        let us = rustix::process::getpid();
        assert!(works_in(us, &here));
        assert!(!works_in(us, Path::new("/proc")));
        assert!(!works_in(Pid::from_raw(i32::MAX).unwrap(), &here));
    }
}
