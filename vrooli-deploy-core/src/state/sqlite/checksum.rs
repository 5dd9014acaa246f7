//! Checksums over what is stored. They tell damage, not tampering.

/// CRC-32 over parts, each with its length, so that no two splits of the same bytes agree.
pub(super) fn checksum(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize()
}

/// Where the chain of a stack's journal begins.
pub(super) fn origin(stack: &str) -> u32 {
    checksum(&[b"journal", stack.as_bytes()])
}

/// The checksum of a record: over the one before it and everything that is stored of it.
pub(super) fn link(previous: u32, seq: u64, fence: u64, at: &str, entry: &str) -> u32 {
    checksum(&[
        &previous.to_le_bytes(),
        &seq.to_le_bytes(),
        &fence.to_le_bytes(),
        at.as_bytes(),
        entry.as_bytes(),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_record_counts() {
        let record = link(1, 2, 3, "at", "entry");
        for other in [
            link(9, 2, 3, "at", "entry"),
            link(1, 9, 3, "at", "entry"),
            link(1, 2, 9, "at", "entry"),
            link(1, 2, 3, "ax", "entry"),
            link(1, 2, 3, "at", "entrx"),
            link(1, 2, 3, "ate", "ntry"),
        ] {
            assert_ne!(record, other);
        }
        assert_ne!(origin("a/default"), origin("b/default"));
    }
}
