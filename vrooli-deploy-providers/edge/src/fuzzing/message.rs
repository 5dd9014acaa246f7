//! What supervisors and edges tell each other.

use crate::held::Held;
use crate::lines::LineBuffer;
use crate::protocol::{Call, Greeting, Request, Response};
use crate::session::{RawRequest, Role};
use crate::state::{line, parse};

/// The bytes as they would come in, in pieces: each line as a greeting, a request and a
/// response. What is understood says the same when it is said again, who may only read gets
/// nothing else, and a table that is taken can be kept and served.
pub fn message(bytes: &[u8]) {
    let piece = 1 + bytes.len() % 7;
    let mut lines = LineBuffer::default();
    let mut taken = 0;
    for part in bytes.chunks(piece) {
        lines.push(part);
        while let Ok(Some(line)) = lines.next() {
            assert!(!line.contains(&b'\n'));
            assert_eq!(bytes.get(taken..taken + line.len()), Some(&line[..]), "a line is what was sent");
            taken += line.len() + 1;
            one(&line);
        }
    }
    assert_eq!(taken, bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
}

fn one(bytes: &[u8]) {
    if let Ok(greeting) = serde_json::from_slice::<Greeting>(bytes) {
        let again = serde_json::to_vec(&greeting).expect("what was read can be written");
        assert_eq!(serde_json::from_slice::<Greeting>(&again).expect("and read again"), greeting);
    }
    if let Ok(response) = serde_json::from_slice::<Response>(bytes) {
        let again = serde_json::to_string(&response).expect("what was read can be written");
        let twice: Response = serde_json::from_str(&again).expect("and read again");
        assert_eq!(serde_json::to_string(&twice).expect("as before"), again);
    }
    let Ok(raw) = serde_json::from_slice::<RawRequest>(bytes) else { return };
    if let Ok(call) = raw.call(Role::Reader) {
        assert!(call.is_reading());
    }
    let Ok(call) = raw.call(Role::Supervisor) else { return };
    let again = serde_json::to_string(&Request { id: raw.id, call }).expect("what was read can be written");
    let twice: RawRequest = serde_json::from_str(&again).expect("and read again");
    let call = twice.call(Role::Supervisor).expect("and understood");
    assert_eq!(serde_json::to_string(&Request { id: twice.id, call }).expect("as before"), again);
    if let Ok(Call::SetSite { table }) = raw.call(Role::Supervisor) {
        take(*table);
    }
}

fn take(table: crate::table::SiteTable) {
    if table.check().is_err() {
        return;
    }
    table.check_beside(std::iter::once(&table)).expect("a site stands not in its own way");
    super::visit(&table);
    let mut held = Held::new(table);
    let record = held.record();
    let kept = line(&record).expect("a table can be written");
    let (loaded, _) = parse(kept.as_bytes()).expect("and read again");
    assert_eq!(loaded.records.first().map(|(_, kept)| kept), Some(&record));
    held.revert();
    super::visit(&held.current());
}
