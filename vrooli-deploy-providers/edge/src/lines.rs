//! Lines out of bytes that come in pieces.

use std::io;

use crate::protocol::MAX_LINE;

/// What has come and was not taken yet.
#[derive(Debug, Default)]
pub(crate) struct LineBuffer {
    bytes: Vec<u8>,
    /// Bytes known to hold no newline.
    searched: usize,
}

impl LineBuffer {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The next whole line without its newline.
    ///
    /// # Errors
    /// `InvalidData` when it is longer than [`MAX_LINE`].
    pub(crate) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let end = self.bytes[self.searched..].iter().position(|byte| *byte == b'\n');
        let length = end.map_or(self.bytes.len(), |end| self.searched + end);
        if length > MAX_LINE {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a line is longer than {MAX_LINE} bytes"),
            ));
        }
        self.searched = length;
        if end.is_none() {
            return Ok(None);
        }
        let rest = self.bytes.split_off(length + 1);
        let mut line = std::mem::replace(&mut self.bytes, rest);
        line.pop();
        self.searched = 0;
        Ok(Some(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_and_none_is_too_long() {
        let mut lines = LineBuffer::default();
        lines.push(b"one\n\ntw");
        assert_eq!(lines.next().unwrap().unwrap(), b"one");
        assert_eq!(lines.next().unwrap().unwrap(), b"");
        assert_eq!(lines.next().unwrap(), None);
        lines.push(b"o\n");
        assert_eq!(lines.next().unwrap().unwrap(), b"two");
        assert!(lines.is_empty());
        lines.push(&vec![b'x'; MAX_LINE]);
        assert_eq!(lines.next().unwrap(), None);
        lines.push(b"\n");
        assert_eq!(lines.next().unwrap().unwrap().len(), MAX_LINE);
        // Also when it comes with its end in one piece.
        for end in [&b""[..], b"\n"] {
            let mut lines = LineBuffer::default();
            lines.push(&vec![b'x'; MAX_LINE + 1]);
            lines.push(end);
            assert_eq!(lines.next().unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }
}
