//! What supervisors and edges tell each other.

use crate::challenges::{Answers, ChallengeAnswer};
use crate::held::Held;
use crate::lines::LineBuffer;
use crate::protocol::{Call, Greeting, Request, Response};
use crate::session::{RawRequest, Role};
use crate::state::{Record, line, parse};

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
    match raw.call(Role::Supervisor) {
        Ok(Call::SetSite { table }) => take(*table),
        Ok(Call::PlaceAnswers { answers, .. }) => give(answers),
        _ => {}
    }
}

/// An answer is found under its own path only, says its token first, and can be kept.
fn give(given: Vec<ChallengeAnswer>) {
    for answer in &given {
        let text = answer.to_string();
        assert!(text.starts_with(answer.token().as_str()) && text.is_ascii());
        let path = answer.token().path();
        assert!(crate::challenges::may_be_asked(&path) && !path[1..].contains("//"));
        let record = Record::Answer { answer: answer.clone(), until_unix_ms: 7 };
        let kept = line(&record).expect("an answer can be written");
        let (loaded, _) = parse(kept.as_bytes()).expect("and read again");
        assert_eq!(loaded.records.first().map(|(_, kept)| kept), Some(&record));
    }
    let mut answers = Answers::default();
    if answers.place(given.clone(), 1, 0) {
        for answer in &given {
            let found = answers.find(None, &answer.token().path(), || 0).expect("it is there");
            assert_eq!(found.token(), answer.token());
        }
        assert!(answers.find(None, "/", || 0).is_none());
        let tokens: Vec<_> = given.iter().map(|answer| answer.token().clone()).collect();
        answers.remove(&tokens, 0);
        assert_eq!(answers, Answers::default());
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
