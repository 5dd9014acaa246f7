//! Cuts a stream into pieces, each known by its digest.
//!
//! A stream is cut where its content says so, not at fixed places: a line that is added in the middle
//! moves all that comes after it, and with fixed places every piece from there on would be another.
//! The sizes weigh what a small change costs (a piece, at least) against what each piece costs (a
//! line to ask, a file on the host): an image of 300 MB is some thousand pieces.

use sha2::{Digest as _, Sha256};

use super::stored_file::hex;

/// No piece but the last is smaller, in bytes.
pub(super) const SMALLEST: usize = 64 * 1024;
/// A piece ends, past the smallest, at one place in so many: so it is about 320 KiB.
const ONE_IN: u64 = 1 << 18;
/// No piece is larger, in bytes.
pub(super) const LARGEST: usize = 1024 * 1024;
/// So many bytes decide whether a piece ends behind them: those before have left the sum.
const WINDOW: usize = 64;

/// A piece of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) digest: String,
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// Cuts what it is given, part by part: where parts begin and end makes no difference.
#[derive(Debug)]
pub(crate) struct Cutter {
    gear: [u64; 256],
    rolling: u64,
    hash: Sha256,
    /// Of the piece that is not whole yet, in bytes.
    length: usize,
    offset: u64,
    pieces: Vec<Piece>,
}

impl Cutter {
    pub(crate) fn new() -> Self {
        Self { gear: gear(), rolling: 0, hash: Sha256::new(), length: 0, offset: 0, pieces: Vec::new() }
    }

    pub(crate) fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (length, ends) = self.within(bytes);
            let (of_piece, rest) = bytes.split_at(length);
            self.hash.update(of_piece);
            self.length += length;
            if ends {
                self.cut();
            }
            bytes = rest;
        }
    }

    pub(super) fn end(mut self) -> Vec<Piece> {
        if self.length > 0 {
            self.cut();
        }
        self.pieces
    }

    fn cut(&mut self) {
        let (digest, length) = (hex(&self.hash.finalize_reset()), self.length as u64);
        self.pieces.push(Piece { digest, offset: self.offset, length });
        self.offset += length;
        (self.length, self.rolling) = (0, 0);
    }

    /// How many of these bytes belong to the piece, and whether it ends with them.
    fn within(&mut self, bytes: &[u8]) -> (usize, bool) {
        // No piece ends in its first bytes: most of them are not even looked at.
        let unseen = (SMALLEST - WINDOW).saturating_sub(self.length).min(bytes.len());
        let most = (LARGEST - self.length).min(bytes.len());
        let mut rolling = self.rolling;
        for (at, byte) in (unseen..most).zip(bytes.get(unseen..most).unwrap_or_default()) {
            rolling = (rolling << 1).wrapping_add(self.gear[usize::from(*byte)]);
            // The upper bits have seen the last 46 bytes and more.
            if rolling >> (64 - ONE_IN.trailing_zeros()) == 0 && self.length + at + 1 >= SMALLEST {
                return (at + 1, true);
            }
        }
        self.rolling = rolling;
        (most, self.length + most == LARGEST)
    }
}

/// A number for each byte that has nothing to do with the byte.
fn gear() -> [u64; 256] {
    let mut gear = [0; 256];
    for (byte, number) in (0_u8..=255).zip(&mut gear) {
        let digest = Sha256::digest([byte]);
        *number = digest.iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte));
    }
    gear
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(bytes: &[u8], part: usize) -> Vec<Piece> {
        let mut cutter = Cutter::new();
        bytes.chunks(part).for_each(|part| cutter.take(part));
        cutter.end()
    }

    /// Bytes without a pattern, the same for the same seed.
    fn noise(length: usize, seed: u64) -> Vec<u8> {
        let mut state = seed;
        let step = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        (0..length).map(step).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn parts_make_no_difference(seed in any::<u64>(), length in 0_usize..3_000_000, part in 1_usize..400_000) {
            let bytes = noise(length, seed);
            let whole = cut(&bytes, usize::MAX);
            prop_assert_eq!(&cut(&bytes, part), &whole);
            let mut at = 0;
            for (number, piece) in whole.iter().enumerate() {
                prop_assert_eq!(piece.offset, at);
                let end = at + piece.length;
                prop_assert_eq!(&piece.digest, &hex(&Sha256::digest(&bytes[at as usize..end as usize])));
                let size = piece.length as usize;
                prop_assert!(size <= LARGEST && (size >= SMALLEST || number + 1 == whole.len()));
                at = end;
            }
            prop_assert_eq!(at, length as u64);
        }
    }

    #[test]
    fn pieces_end_where_they_always_did() {
        // Hosts have pieces of them: with another cut all would be sent once more.
        let ends: Vec<u64> =
            cut(&noise(1_500_000, 1), 1 << 20).iter().map(|piece| piece.offset + piece.length).collect();
        assert_eq!(ends, [256174, 402115, 632599, 734519, 1001743, 1113697, 1326662, 1500000]);
    }
}
