//! What the bytes of a client connection tell before the parser has a whole header: how long
//! the client takes for it, and whether it gives its body two lengths.
//!
//! The parser follows the RFC and lets `Transfer-Encoding` win over `Content-Length` when both
//! are given, without a trace in the parsed header. We refuse such requests, so we look for
//! the two names ourselves while a header comes in.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Milliseconds since the worker started, moved on by its tick: good enough for limits, and
/// free to read.
pub(crate) type Clock = Arc<AtomicU64>;

/// Nothing of the next request has come.
const IDLE: u8 = 0;
/// As idle, but what comes next may be the rest of a body that nobody read.
const UNSURE: u8 = 1;
/// The header is coming in.
const HEAD: u8 = 2;
/// A request is being answered.
const BUSY: u8 = 3;

const TRANSFER_ENCODING: &[u8] = b"transfer-encoding:";
const CONTENT_LENGTH: &[u8] = b"content-length:";
const SAW_ENCODING: u8 = 1;
const SAW_LENGTH: u8 = 2;

/// Shared by a connection's socket, its handler and the tick. Atomic only because the upgrade
/// of a connection wants its socket to be `Send`; all of it happens on one thread.
#[derive(Debug)]
pub(crate) struct HeadWatch {
    clock: Clock,
    phase: AtomicU8,
    since: AtomicU64,
    saw: AtomicU8,
}

/// What a connection is doing, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientPhase {
    Idle(u64),
    Head(u64),
    Busy,
}

impl HeadWatch {
    pub(crate) fn new(clock: Clock) -> Arc<Self> {
        let since = AtomicU64::new(clock.load(Ordering::Relaxed));
        Arc::new(Self { clock, phase: AtomicU8::new(IDLE), since, saw: AtomicU8::new(0) })
    }

    pub(crate) fn now(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    pub(crate) fn phase(&self) -> ClientPhase {
        let since = self.since.load(Ordering::Relaxed);
        match self.phase.load(Ordering::Relaxed) {
            IDLE | UNSURE => ClientPhase::Idle(since),
            HEAD => ClientPhase::Head(since),
            _ => ClientPhase::Busy,
        }
    }

    /// A whole header was parsed. Says whether it had both lengths.
    pub(crate) fn begin(&self) -> bool {
        self.phase.store(BUSY, Ordering::Relaxed);
        self.saw.swap(0, Ordering::Relaxed) == SAW_ENCODING | SAW_LENGTH
    }

    /// Something was done that is no request: the idle time counts from here.
    #[cfg(feature = "tls")]
    pub(crate) fn rest(&self) {
        self.since.store(self.now(), Ordering::Relaxed);
    }

    /// The request was answered; `whole` says whether its body was read to the end.
    pub(crate) fn end(&self, whole: bool) {
        self.since.store(self.now(), Ordering::Relaxed);
        let phase = if whole { IDLE } else { UNSURE };
        self.phase.store(phase, Ordering::Relaxed);
    }

    fn read(&self, bytes: &[u8], scan: &mut Scan) {
        match self.phase.load(Ordering::Relaxed) {
            BUSY => return,
            HEAD => {}
            phase => {
                *scan = Scan::default();
                scan.done = phase == UNSURE;
                self.saw.store(0, Ordering::Relaxed);
                self.since.store(self.now(), Ordering::Relaxed);
                self.phase.store(HEAD, Ordering::Relaxed);
            }
        }
        let saw = scan.feed(bytes);
        if saw != 0 {
            self.saw.fetch_or(saw, Ordering::Relaxed);
        }
    }
}

/// Looks for two names at the beginnings of lines, up to the first blank one.
#[derive(Debug, Default)]
struct Scan {
    start: [u8; TRANSFER_ENCODING.len()],
    filled: usize,
    any_line: bool,
    done: bool,
}

impl Scan {
    fn feed(&mut self, mut bytes: &[u8]) -> u8 {
        let mut saw = 0;
        while !self.done && !bytes.is_empty() {
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let part = &bytes[..end.unwrap_or(bytes.len())];
            let take = part.len().min(self.start.len() - self.filled);
            self.start[self.filled..self.filled + take].copy_from_slice(&part[..take]);
            self.filled += take;
            let Some(end) = end else { break };
            saw |= self.line();
            bytes = &bytes[end + 1..];
        }
        saw
    }

    fn line(&mut self) -> u8 {
        let line = &self.start[..self.filled];
        self.filled = 0;
        if line.is_empty() || line == b"\r" {
            // Blank lines before a request line are allowed.
            self.done = self.any_line;
            return 0;
        }
        self.any_line = true;
        let starts = |name: &[u8]| line.len() >= name.len() && line[..name.len()].eq_ignore_ascii_case(name);
        if starts(TRANSFER_ENCODING) {
            SAW_ENCODING
        } else if starts(CONTENT_LENGTH) {
            SAW_LENGTH
        } else {
            0
        }
    }
}

/// A client's bytes with a watch on them.
#[derive(Debug)]
pub(crate) struct ClientIo<S> {
    stream: S,
    watch: Arc<HeadWatch>,
    scan: Scan,
}

impl<S> ClientIo<S> {
    pub(crate) fn new(stream: S, watch: Arc<HeadWatch>) -> Self {
        Self { stream, watch, scan: Scan::default() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientIo<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        let fresh = &buffer.filled()[before..];
        if !fresh.is_empty() {
            this.watch.read(fresh, &mut this.scan);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ClientIo<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(head: &[u8], chunk: usize) -> bool {
        let watch = HeadWatch::new(Clock::default());
        let mut scan = Scan::default();
        for part in head.chunks(chunk) {
            watch.read(part, &mut scan);
        }
        watch.begin()
    }

    #[test]
    fn two_lengths_are_seen_however_the_header_is_cut() {
        let cases: [(&[u8], bool); 6] = [
            (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n", true),
            (
                b"\r\nPOST / HTTP/1.1\r\nCONTENT-LENGTH:4\r\nhost: a\r\ntransfer-encoding:chunked\r\n\r\n",
                true,
            ),
            (b"POST / HTTP/1.1\nContent-Length: 4\nTransfer-Encoding: chunked\n\n", true),
            (b"POST / HTTP/1.1\r\nContent-Length: 4\r\nX-Transfer-Encoding: chunked\r\n\r\n", false),
            (b"POST / HTTP/1.1\r\nContent-Length: 40\r\n\r\nTransfer-Encoding: chunked\r\n", false),
            (b"GET /Content-Length:/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", false),
        ];
        for (head, expected) in cases {
            for chunk in 1..head.len() {
                let text = String::from_utf8_lossy(head);
                assert_eq!(both(head, chunk), expected, "{text} in {chunk}s");
            }
        }
    }

    #[test]
    fn what_is_no_header_is_not_read_as_one() {
        let watch = HeadWatch::new(Clock::default());
        let mut scan = Scan::default();
        let lengths = b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n";
        watch.begin();
        watch.read(lengths, &mut scan);
        watch.end(false);
        watch.read(lengths, &mut scan);
        assert!(!watch.begin(), "the rest of an unread body");
        watch.end(true);
        assert_eq!(watch.phase(), ClientPhase::Idle(0));
        watch.read(lengths, &mut scan);
        assert_eq!(watch.phase(), ClientPhase::Head(0));
        assert!(watch.begin());
        assert_eq!(watch.phase(), ClientPhase::Busy);
    }
}
