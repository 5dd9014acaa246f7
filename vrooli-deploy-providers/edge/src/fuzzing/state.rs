//! The state file.

use crate::held::Held;
use crate::state::{Record, line, parse};

/// The bytes as a whole file, and as a part of a good one: what they say is believed only if
/// it is said again in the same way, and lines around them are not lost.
pub fn state(bytes: &[u8]) {
    let Ok((loaded, bad_lines)) = parse(bytes) else { return };
    assert_eq!(loaded.rejected.is_empty(), bad_lines.is_empty(), "what is rejected is kept aside");
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
    let told = loaded.records.len() + loaded.rejected.len();
    assert!(told == lines || told + 1 == lines, "each line but the first is loaded or rejected");
    for (_, record) in &loaded.records {
        let again = line(record).expect("what was read can be written");
        let (again, _) = parse(again.as_bytes()).expect("and read again");
        assert_eq!(again.records.first().map(|(_, record)| record), Some(record));
        if let Record::Site { table, revert_at_unix_ms, reverted } = record.clone() {
            let mut held = Held::loaded(*table, revert_at_unix_ms, reverted);
            super::visit(&held.current());
            held.revert();
            held.current().check().expect("weights to go back to are as good as others");
            super::visit(&held.table);
        }
    }
    between_good_ones(bytes);
}

fn between_good_ones(bytes: &[u8]) {
    let fence =
        |name: &str| Record::Fence { site: crate::names::SiteId::new(name).expect("a name"), fence: 7 };
    let good = ["first", "last"].map(|name| line(&fence(name)).expect("a line"));
    // The header may say that all of it is of another version, so the first line is ours.
    let file = [good[0].as_bytes(), bytes, b"\n", good[1].as_bytes()].concat();
    let (loaded, _) = parse(&file).expect("only a header says a version");
    for name in ["first", "last"] {
        let kept = loaded.records.iter().any(|(_, record)| *record == fence(name));
        assert!(kept, "a bad line took {name:?} with it");
    }
}
