//! What a child has to say first.

use std::io::{self, Read};
use std::process::ChildStdout;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

/// Longest line, in bytes.
const LIMIT: usize = 64 * 1024;

/// Reads one line, or what there is when the child closes its output without ending one. A
/// child that says nothing for too long is an error.
pub(crate) fn line(mut from: ChildStdout, patience: Duration) -> io::Result<Vec<u8>> {
    let until = Instant::now() + patience;
    let mut line = Vec::new();
    let mut part = [0; 4096];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(|_| io::ErrorKind::InvalidInput)?;
        let ready = match rustix::event::poll(&mut [PollFd::new(&from, PollFlags::IN)], Some(&left)) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        if ready == 0 {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("nothing was heard for {patience:?}"),
            ));
        }
        let read = from.read(&mut part)?;
        line.extend_from_slice(part.get(..read).unwrap_or_default());
        if read == 0 || line.ends_with(b"\n") || line.len() > LIMIT {
            return Ok(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn said(script: &str, patience: Duration) -> io::Result<Vec<u8>> {
        let mut child = Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let line = line(child.stdout.take().unwrap(), patience);
        child.kill().unwrap();
        child.wait().unwrap();
        line
    }

    #[test]
    fn a_line_the_end_and_silence_are_told_apart() {
        let long = Duration::from_secs(30);
        assert_eq!(said("echo ready; exec sleep 100", long).unwrap(), b"ready\n");
        assert_eq!(said("exit 1", long).unwrap(), b"");
        assert_eq!(said("exec sleep 100", Duration::ZERO).unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
