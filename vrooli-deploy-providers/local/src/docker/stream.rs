//! Answers that come bit by bit: lines of JSON, and a process's output, which is frames of a stream's
//! number, a length and bytes.

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// How much of each stream is kept, in bytes. The rest is read and dropped, so that the
/// process never waits for us.
const KEPT: usize = 1 << 20;
/// A frame's head: the stream's number, three bytes that mean nothing, the length.
const HEAD: usize = 8;

/// The lines of an answer.
pub(super) struct Lines {
    body: Incoming,
    left: Vec<u8>,
}

impl Lines {
    pub(super) fn new(body: Incoming) -> Self {
        Self { body, left: Vec::new() }
    }

    /// The next line; the error is a phrase.
    pub(super) async fn next(&mut self) -> Option<std::result::Result<Vec<u8>, String>> {
        loop {
            if let Some(end) = self.left.iter().position(|byte| *byte == b'\n') {
                return Some(Ok(self.left.drain(..=end).collect()));
            }
            match self.body.frame().await {
                None if self.left.is_empty() => return None,
                None => return Some(Ok(std::mem::take(&mut self.left))),
                Some(Err(error)) => return Some(Err(error.to_string())),
                Some(Ok(frame)) => self.left.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data)),
            }
        }
    }
}

/// What a process said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

/// Reads to the end, or to where the connection breaks.
pub(super) async fn read(from: &mut (impl AsyncRead + Unpin)) -> Said {
    let mut said = Said::default();
    let keep = |number: u8, bytes: &[u8]| {
        let kept = if number == 2 { &mut said.stderr } else { &mut said.stdout };
        if kept.len() < KEPT {
            kept.extend_from_slice(bytes);
        }
        true
    };
    pour(from, &mut { keep }).await;
    said
}

/// Hands over what comes with the number of its stream, to the end (true), to where the connection breaks
/// (true), or to the end of a frame whose taker wants no more (false).
pub(super) async fn pour(
    from: &mut (impl AsyncRead + Unpin),
    take: &mut (dyn FnMut(u8, &[u8]) -> bool + Send),
) -> bool {
    let mut head = [0_u8; HEAD];
    let mut buffer = vec![0_u8; 16 * 1024];
    while from.read_exact(&mut head).await.is_ok() {
        let [number, _, _, _, a, b, c, d] = head;
        let mut left = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        let mut more = true;
        while left > 0 {
            let most = left.min(buffer.len());
            let Some(space) = buffer.get_mut(..most) else { break };
            let Ok(length @ 1..) = from.read(space).await else { return true };
            left -= length;
            more &= take(number, buffer.get(..length).unwrap_or_default());
        }
        if !more {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_are_put_together() {
        let mut bytes: Vec<u8> = Vec::new();
        for (number, text) in [(1_u8, "one "), (2, "bad"), (1, ""), (1, "two")] {
            bytes.extend([number, 0, 0, 0]);
            bytes.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
            bytes.extend(text.as_bytes());
        }
        let said = read(&mut &bytes[..]).await;
        assert_eq!(said, Said { stdout: b"one two".to_vec(), stderr: b"bad".to_vec() });
        // Broken off in the middle of a frame: what came is kept.
        let said = read(&mut &bytes[..bytes.len() - 1]).await;
        assert_eq!(said.stdout, b"one tw");
    }
}
