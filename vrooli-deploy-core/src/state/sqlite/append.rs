//! One append: tried on the fold first, then written under a compare-and-swap on the
//! fence and on the head of the journal.

use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::checksum::link;
use super::fault::Fault;
use super::read::{FOLD, Fold, fold, snapshot_checksum, to_sql};
use super::writer::Append;
use crate::engine::{Entry, JournalRecord};
use crate::names::StackId;

/// Writes the entries of one request. On a fault the caller rolls back and drops the fold.
pub(super) fn append(
    connection: &Connection,
    folds: &mut HashMap<StackId, Fold>,
    request: &Append,
) -> Result<Vec<JournalRecord>, Fault> {
    let stack = &request.stack;
    let fold = match folds.entry(stack.clone()) {
        Occupied(entry) => entry.into_mut(),
        // The witness was held against the journal when the lease was taken.
        Vacant(entry) => entry.insert(fold(connection, stack, None)?),
    };
    if fold.state.seq != request.expected {
        return Err(lost(connection, request)?);
    }
    let key = stack.to_string();
    let mut records = Vec::with_capacity(request.entries.len());
    for entry in &request.entries {
        let (record, at, text) = prepare(fold.state.seq + 1, request, entry)?;
        let before = fold.state.seq;
        fold.state.apply(&record).map_err(|illegal| Fault::Refused(stack.clone(), illegal.message))?;
        let checksum = link(fold.checksum, record.seq, record.fence, &at, &text);
        let inserted = connection
            .prepare_cached(
                "INSERT INTO journal (stack, seq, fence, at, entry, checksum)
                 SELECT ?1, ?2, ?3, ?4, ?5, ?6
                 WHERE (SELECT fence FROM leases WHERE stack = ?1) = ?3
                   AND (SELECT checksum FROM stacks WHERE stack = ?1 AND seq = ?7) = ?8",
            )?
            .execute((
                &key,
                to_sql(record.seq)?,
                to_sql(record.fence)?,
                &at,
                &text,
                checksum,
                to_sql(before)?,
                fold.checksum,
            ))?;
        if inserted != 1 {
            return Err(lost(connection, request)?);
        }
        connection
            .prepare_cached("UPDATE stacks SET seq = ?2, checksum = ?3 WHERE stack = ?1")?
            .execute((&key, to_sql(record.seq)?, checksum))?;
        fold.checksum = checksum;
        records.push(record);
    }
    if request.entries.iter().any(ends_a_chapter) {
        write_snapshot(connection, &key, fold)?;
    }
    Ok(records)
}

/// The record as it will be read again. What is folded and returned went through the same
/// text as what is stored, so a later load cannot come to another state.
fn prepare(seq: u64, request: &Append, entry: &Entry) -> Result<(JournalRecord, String, String), Fault> {
    let unwritable = |error: serde_json::Error| Fault::Refused(request.stack.clone(), error.to_string());
    let at = Timestamp::now();
    let text = serde_json::to_string(entry).map_err(unwritable)?;
    let entry = serde_json::from_str(&text).map_err(unwritable)?;
    Ok((JournalRecord { seq, fence: request.fence, at, entry }, at.to_string(), text))
}

/// Is this a place to start reading from?
fn ends_a_chapter(entry: &Entry) -> bool {
    matches!(entry, Entry::PlanClosed { .. } | Entry::Destroyed | Entry::Rebuilt { .. })
}

fn write_snapshot(connection: &Connection, key: &str, fold: &Fold) -> Result<(), Fault> {
    let state = serde_json::to_string(&fold.state).map_err(|error| Fault::Io(error.to_string()))?;
    let sum = snapshot_checksum(key, fold.state.seq, fold.checksum, &state);
    connection.execute(
        "INSERT OR REPLACE INTO snapshots (stack, seq, head, fold, state, checksum) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        (key, to_sql(fold.state.seq)?, fold.checksum, FOLD, &state, sum),
    )?;
    Ok(())
}

/// Says how the lease or the race was lost.
fn lost(connection: &Connection, request: &Append) -> Result<Fault, Fault> {
    let key = request.stack.to_string();
    let fence: Option<i64> = connection
        .query_row("SELECT fence FROM leases WHERE stack = ?1", [&key], |row| row.get(0))
        .optional()?;
    let seq: Option<i64> = connection
        .query_row("SELECT seq FROM stacks WHERE stack = ?1", [&key], |row| row.get(0))
        .optional()?;
    let message = match (fence, seq) {
        (Some(fence), _) if fence != to_sql(request.fence)? => {
            format!("it was taken over (fence {fence}, ours is {})", request.fence)
        }
        (Some(_), Some(seq)) => {
            format!("record {seq} is the last one, {} was expected", request.expected)
        }
        _ => "the state knows no such lease".to_owned(),
    };
    Ok(Fault::Lost(request.stack.clone(), message))
}
