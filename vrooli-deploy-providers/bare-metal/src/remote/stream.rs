//! A phase's stream on its way: not before the host asks for it, nor much faster than it is taken.
//!
//! What a host's `sshd` has received and nobody has read it keeps, in a buffer that OpenSSH makes larger
//! by copying it whole, some kilobytes at a time: with all that one session may have under way that cost
//! a host more than everything else that it did with the bytes.

use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;

use super::PhaseStream;
use super::phase::{READY, TAKEN};

/// So many bytes are under way at most to a host that says how many it has taken. As many fit
/// into a line of 80 Mbit/s that takes 100 ms there and back.
const WINDOW: u64 = 1024 * 1024;
/// What is read and sent at a time, in bytes.
const BLOCK: usize = 256 * 1024;
/// No line that is looked for is longer, in bytes.
const LONGEST_LINE: usize = 64;

/// What a host has said, as far as it is about the stream: fed with its output as that comes.
#[derive(Debug)]
pub(crate) struct Asked {
    line: Vec<u8>,
    ready: bool,
    taken: Option<u64>,
    /// How many bytes may be sent in all.
    allowed: watch::Sender<u64>,
}

impl Asked {
    pub(crate) fn new() -> (Self, watch::Receiver<u64>) {
        let (allowed, told) = watch::channel(0);
        (Self { line: Vec::new(), ready: false, taken: None, allowed }, told)
    }

    pub(super) fn read(&mut self, output: &[u8]) {
        for byte in output {
            match byte {
                b'\n' => self.end_line(),
                byte if self.line.len() <= LONGEST_LINE => self.line.push(*byte),
                _ => {}
            }
        }
    }

    fn end_line(&mut self) {
        if self.line == READY.as_bytes() {
            self.ready = true;
        } else if let Some(taken) = self.line.strip_prefix(TAKEN.as_bytes())
            && let Some(taken) = std::str::from_utf8(taken).ok().and_then(|taken| taken.parse().ok())
        {
            self.taken = Some(taken);
        }
        self.line.clear();
        if self.ready {
            // Who does not say what it takes is sent all of it.
            let allowed = self.taken.map_or(u64::MAX, |taken| taken.saturating_add(WINDOW));
            self.allowed.send_replace(allowed);
        }
    }
}

/// Sends what is read here, a little at a time and no more than is allowed; nothing to who never asks
/// for it. The disk is waited for in a thread of its own.
pub(crate) async fn send(
    stream: &dyn PhaseStream,
    to: &mut (impl AsyncWrite + Unpin),
    mut allowed: watch::Receiver<u64>,
) -> std::io::Result<()> {
    if allowed.wait_for(|allowed| *allowed > 0).await.is_err() {
        return Ok(());
    }
    let mut reader = stream.open()?;
    let mut buffer = vec![0; BLOCK];
    let mut sent = 0;
    loop {
        let read = tokio::task::spawn_blocking(move || {
            let count = reader.read(&mut buffer);
            (reader, buffer, count)
        });
        let count;
        (reader, buffer, count) = read.await.map_err(std::io::Error::other)?;
        let count = count?;
        sent += count as u64;
        // Whoever says nothing more, or does not read on, has ended, and the status says why.
        if count == 0
            || allowed.wait_for(|allowed| *allowed >= sent).await.is_err()
            || to.write_all(&buffer[..count]).await.is_err()
        {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use futures_util::FutureExt as _;

    use super::*;

    const SIZE: u64 = 5 * WINDOW + 1;

    #[derive(Debug)]
    struct Zeros;

    impl PhaseStream for Zeros {
        fn name(&self) -> String {
            "zeros".to_owned()
        }
        fn open(&self) -> io::Result<Box<dyn io::Read + Send>> {
            Ok(Box::new(io::Read::take(io::repeat(0), SIZE)))
        }
    }

    /// A host that says as late as it may what it has taken: when no further block may come.
    struct Slow {
        asked: Asked,
        allowed: watch::Receiver<u64>,
        taken: u64,
        says: bool,
    }

    impl AsyncWrite for Slow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.taken += bytes.len() as u64;
            let (taken, allowed) = (self.taken, *self.allowed.borrow());
            assert!(taken <= allowed, "{taken} of {allowed}");
            if self.says && taken + BLOCK as u64 > allowed {
                assert_eq!(allowed % WINDOW, 0, "less is under way than may be");
                let (line, end) = (format!("{TAKEN}{}", taken / WINDOW * WINDOW), b"\n");
                // It comes in parts.
                self.asked.read(line.as_bytes());
                self.asked.read(end);
            }
            Poll::Ready(Ok(bytes.len()))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// How much arrives at a host that has printed that, and says what it takes or not.
    async fn arrived(printed: &str, says: bool) -> u64 {
        let (mut asked, allowed) = Asked::new();
        asked.read(printed.as_bytes());
        let mut host = Slow { asked, allowed: allowed.clone(), taken: 0, says };
        send(&Zeros, &mut host, allowed).await.unwrap();
        host.taken
    }

    #[tokio::test]
    async fn no_more_than_the_window_is_under_way_to_who_says_what_it_takes() {
        assert_eq!(arrived(&format!("a\n{TAKEN}0\n{READY}\n"), true).await, SIZE);
    }

    #[tokio::test]
    async fn who_asks_and_says_no_more_is_sent_all_of_it() {
        assert_eq!(arrived(&format!("{READY}\n"), false).await, SIZE);
    }

    #[tokio::test]
    async fn who_does_not_ask_is_sent_nothing_and_who_ends_is_not_waited_for() {
        let begin = format!("{TAKEN}0\n{READY}\n");
        for (printed, sent) in [
            (format!("{READY}er\n{TAKEN}5\n{}\n", "x".repeat(100_000)), 0),
            (READY.to_owned(), 0),
            (begin, WINDOW),
        ] {
            let (mut asked, allowed) = Asked::new();
            asked.read(printed.as_bytes());
            let mut to = Vec::new();
            let mut sending = Box::pin(send(&Zeros, &mut to, allowed));
            assert!((&mut sending).now_or_never().is_none());
            drop(asked);
            sending.await.unwrap();
            assert_eq!(to.len() as u64, sent);
        }
    }
}
