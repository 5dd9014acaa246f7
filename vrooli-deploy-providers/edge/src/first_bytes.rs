//! What a client speaks shows in its first bytes: a TLS handshake, HTTP/2 without one, or
//! HTTP/1. They are read once and given back to whoever goes on.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// RFC 9113, 3.4.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The type of a handshake record, RFC 8446, 5.1. No method of HTTP begins so.
const TLS_HANDSHAKE: u8 = 0x16;
/// A usual header fits. What does not is read later.
const FIRST_READ: usize = 4 << 10;

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    Tls,
    Http1,
    Http2,
}

/// A socket whose first bytes were looked at.
#[derive(Debug)]
pub(crate) struct Looked {
    stream: TcpStream,
    first: Vec<u8>,
    given: usize,
}

/// Reads until it shows what the client speaks. None when it leaves before it says anything.
pub(crate) async fn look(mut stream: TcpStream) -> io::Result<Option<(Speaks, Looked)>> {
    let mut first = Vec::with_capacity(FIRST_READ);
    loop {
        if stream.read_buf(&mut first).await? == 0 {
            return Ok(None);
        }
        if let Some(speaks) = speaks(&first) {
            return Ok(Some((speaks, Looked { stream, first, given: 0 })));
        }
    }
}

/// None when more bytes are needed.
pub(crate) fn speaks(first: &[u8]) -> Option<Speaks> {
    if first.first()? == &TLS_HANDSHAKE {
        return Some(Speaks::Tls);
    }
    let common = first.len().min(HTTP2_PREFACE.len());
    if first[..common] != HTTP2_PREFACE[..common] {
        return Some(Speaks::Http1);
    }
    (common == HTTP2_PREFACE.len()).then_some(Speaks::Http2)
}

impl AsyncRead for Looked {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.given < this.first.len() {
            let rest = &this.first[this.given..];
            let take = rest.len().min(buffer.remaining());
            buffer.put_slice(&rest[..take]);
            this.given += take;
            if this.given == this.first.len() {
                this.first = Vec::new();
                this.given = 0;
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Looked {
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

    #[test]
    fn what_a_client_speaks_shows_however_its_bytes_are_cut() {
        for (bytes, expected) in [
            (&b"GET / HTTP/1.1\r\n"[..], Speaks::Http1),
            (b"PROPFIND / HTTP/1.1\r\n", Speaks::Http1),
            (b"PRI / HTTP/1.1\r\n", Speaks::Http1),
            (b"\r\nGET / HTTP/1.1\r\n", Speaks::Http1),
            (HTTP2_PREFACE, Speaks::Http2),
            (&[TLS_HANDSHAKE, 3, 1], Speaks::Tls),
        ] {
            let first = (1..=bytes.len()).find_map(|upto| speaks(&bytes[..upto]));
            assert_eq!(first, Some(expected), "{}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(speaks(&HTTP2_PREFACE[..20]), None);
        assert_eq!(speaks(b""), None);
    }
}
