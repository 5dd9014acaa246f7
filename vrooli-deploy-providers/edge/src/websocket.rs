//! Just enough of RFC 6455 to say goodbye: where one frame ends and the next begins.

/// "Service restart": the release behind this connection was replaced.
pub(crate) const CLOSE_RESTART: [u8; 4] = [0x88, 0x02, 0x03, 0xf4];
/// "Going away": the edge ends.
pub(crate) const CLOSE_GOING_AWAY: [u8; 4] = [0x88, 0x02, 0x03, 0xe9];

const CLOSE: u8 = 0x8;

/// Follows the frames that a server sends.
#[derive(Debug, Clone, Default)]
pub(crate) struct Frames {
    header: [u8; 14],
    filled: usize,
    payload_left: u64,
    closed: bool,
}

impl Frames {
    /// Whether the server has said goodbye itself.
    pub(crate) fn closed(&self) -> bool {
        self.closed
    }

    pub(crate) fn at_boundary(&self) -> bool {
        self.filled == 0 && self.payload_left == 0
    }

    /// Takes bytes in, up to the end of the frame if `one_frame`; says how many it took.
    pub(crate) fn take(&mut self, bytes: &[u8], one_frame: bool) -> usize {
        let mut taken = 0;
        while taken < bytes.len() {
            if one_frame && taken > 0 && self.at_boundary() {
                break;
            }
            if self.payload_left > 0 {
                let left = usize::try_from(self.payload_left).unwrap_or(usize::MAX);
                let step = left.min(bytes.len() - taken);
                self.payload_left -= step as u64;
                taken += step;
                continue;
            }
            self.header[self.filled] = bytes[taken];
            self.filled += 1;
            taken += 1;
            if self.filled == self.header_length() {
                self.header_done();
            }
        }
        taken
    }

    fn header_length(&self) -> usize {
        if self.filled < 2 {
            return 2;
        }
        let mask = if self.header[1] & 0x80 == 0 { 0 } else { 4 };
        mask + match self.header[1] & 0x7f {
            126 => 4,
            127 => 10,
            _ => 2,
        }
    }

    fn header_done(&mut self) {
        self.payload_left = match self.header[1] & 0x7f {
            126 => u64::from(u16::from_be_bytes([self.header[2], self.header[3]])),
            127 => {
                let mut length = [0; 8];
                length.copy_from_slice(&self.header[2..10]);
                u64::from_be_bytes(length)
            }
            short => u64::from(short),
        };
        self.closed |= self.header[0] & 0x0f == CLOSE;
        self.filled = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(opcode: u8, payload: usize) -> Vec<u8> {
        let mut bytes = vec![0x80 | opcode];
        match payload {
            0..=125 => bytes.push(payload as u8),
            126..=65_535 => {
                bytes.push(126);
                bytes.extend((payload as u16).to_be_bytes());
            }
            _ => {
                bytes.push(127);
                bytes.extend((payload as u64).to_be_bytes());
            }
        }
        bytes.resize(bytes.len() + payload, 0x88);
        bytes
    }

    #[test]
    fn frames_of_every_length_end_where_they_end() {
        let frames: Vec<_> =
            [0, 1, 125, 126, 65_535, 65_536].into_iter().map(|length| frame(1, length)).collect();
        let all = frames.concat();
        for chunk in [1, 2, 3, 7, 1_000, all.len()] {
            let mut follow = Frames::default();
            for part in all.chunks(chunk) {
                assert_eq!(follow.take(part, false), part.len());
            }
            assert!(follow.at_boundary() && !follow.closed());
        }
        let mut follow = Frames::default();
        let mut at = 0;
        for frame in &frames {
            let taken = follow.take(&all[at..], true);
            assert_eq!(taken, frame.len());
            at += taken;
        }
    }

    #[test]
    fn a_masked_frame_and_a_goodbye_are_understood() {
        let mut follow = Frames::default();
        assert_eq!(follow.take(&[0x81, 0x81, 1, 2, 3, 4, 9, 0x88, 0], false), 9);
        assert!(follow.at_boundary() && follow.closed());
        let mut follow = Frames::default();
        follow.take(&CLOSE_RESTART[..3], false);
        assert!(!follow.at_boundary());
        follow.take(&CLOSE_RESTART[3..], false);
        assert!(follow.at_boundary() && follow.closed());
    }
}
