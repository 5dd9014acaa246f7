//! Running a part of this test binary as a process of its own, to be killed or to live on
//! another file system.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

/// A new folder, in memory where that is possible: these tests sync thousands of times, and
/// what survives a killed process does not depend on the disk.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

/// Where a child finds its folder. A test that plays a child does nothing without it.
const DIR: &str = "VROOLI_DEPLOY_TEST_DIR";

/// The folder of this child; `None` when this process is no child.
pub(crate) fn child_dir() -> Option<PathBuf> {
    std::env::var_os(DIR).map(PathBuf::from)
}

fn arguments(test: &str) -> Vec<OsString> {
    let binary = std::env::current_exe().unwrap();
    let mut all = vec![binary.into_os_string()];
    all.extend([test, "--exact", "--ignored", "--nocapture"].map(OsString::from));
    all
}

/// A child that is killed when this value is dropped.
pub(crate) struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    /// Starts the test `test` (which must be `#[ignore]`d) as a child.
    pub(crate) fn start(test: &str, dir: &Path) -> Self {
        let arguments = arguments(test);
        let mut child = Command::new(&arguments[0])
            .args(&arguments[1..])
            .env(DIR, dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The rest of the next line that begins with `word` and a space; `None` at its end.
    pub(crate) fn next(&mut self, word: &str) -> Option<String> {
        for line in self.lines.by_ref() {
            if let Some(rest) = line.unwrap().strip_prefix(word).and_then(|rest| rest.strip_prefix(' ')) {
                return Some(rest.to_owned());
            }
        }
        None
    }

    /// Kills it (SIGKILL) and returns what it had said until then.
    pub(crate) fn kill(mut self, word: &str) -> Vec<String> {
        self.child.kill().unwrap();
        let mut said = Vec::new();
        while let Some(rest) = self.next(word) {
            said.push(rest);
        }
        self.child.wait().unwrap();
        said
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the test `test` to its end after `prepare`, a line of shell that mounts something on
/// `$DIR`, in mount namespace of its own. False when this machine does not let us mount.
pub(crate) fn run_mounted(test: &str, dir: &Path, prepare: &str) -> bool {
    let probe = Command::new("unshare")
        .args(["-rm", "sh", "-c", "mount -t tmpfs none /tmp"])
        .stderr(Stdio::null())
        .status();
    if !probe.is_ok_and(|status| status.success()) {
        return false;
    }
    let script = format!("DIR=${DIR}; {prepare} && exec \"$@\"");
    let status = Command::new("unshare")
        .args(["-rm", "sh", "-c", &script, "sh"])
        .args(arguments(test))
        .env(DIR, dir)
        .status()
        .unwrap();
    assert!(status.success(), "{test} failed on its own file system");
    true
}
