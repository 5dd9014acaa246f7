//! A terminal with a person at it.

use std::fs::File;
use std::io::Read as _;
use std::process::{Command, ExitStatus};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// Runs a program on a terminal of its own. Whenever more is seen, `person` is given all of it
/// and may type; what was seen at the end is returned.
pub(crate) fn on_terminal(
    program: &mut Command,
    mut person: impl FnMut(&str, &mut File),
) -> (ExitStatus, Vec<u8>) {
    let pty = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&pty).unwrap();
    unlockpt(&pty).unwrap();
    let name = ptsname(&pty, Vec::new()).unwrap().into_string().unwrap();
    let terminal = || File::options().read(true).write(true).open(&name).unwrap();
    let mut child = program.stdin(terminal()).stdout(terminal()).stderr(terminal()).spawn().unwrap();
    // The program's own copies are all that keeps the terminal open from now on.
    program.stdin(std::process::Stdio::null());
    program.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut master = File::from(pty);
    let mut writer = master.try_clone().unwrap();
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    // Ends with an error when the last process on the terminal is gone.
    while let Ok(read) = master.read(&mut buffer) {
        if read == 0 {
            break;
        }
        seen.extend_from_slice(&buffer[..read]);
        person(&String::from_utf8_lossy(&seen), &mut writer);
    }
    (child.wait().unwrap(), seen)
}
