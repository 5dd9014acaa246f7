//! Reading journals. Everything that is read is held against its checksum, its place in
//! the chain, the head of the journal and the witness.

use rusqlite::{Connection, OptionalExtension, Row};

use super::checksum::{checksum, link, origin};
use super::fault::Fault;
use super::lock::Witness;
use crate::engine::{JournalRecord, StackState};
use crate::names::StackId;

/// Version of [`StackState::apply`] and of the shape of [`StackState`]. Raise it when either
/// changes: older snapshots are then ignored and the journal is folded anew.
pub(super) const FOLD: u32 = 1;

/// A folded journal and the checksum of its last record.
#[derive(Debug, Clone)]
pub(super) struct Fold {
    pub(super) state: StackState,
    pub(super) checksum: u32,
}

/// Folds a stack's journal from its last snapshot on. `connection` must be in a transaction,
/// and `witness` must have been read before it began.
pub(super) fn fold(
    connection: &Connection,
    stack: &StackId,
    witness: Option<Witness>,
) -> Result<Fold, Fault> {
    let base = base(connection, stack)?;
    if let Some(snapshot) = snapshot(connection, stack)? {
        match finish(connection, stack, snapshot, witness, &base) {
            // The journal is the truth: a snapshot that it does not bear out is left aside.
            Err(Fault::Damaged(message)) => {
                tracing::warn!(%stack, message, "the journal is read from its beginning");
            }
            other => return other,
        }
    }
    finish(connection, stack, base.clone(), witness, &base)
}

/// Folds a stack's journal from its very beginning, without its snapshot.
pub(super) fn replay(
    connection: &Connection,
    stack: &StackId,
    witness: Option<Witness>,
) -> Result<Fold, Fault> {
    let base = base(connection, stack)?;
    finish(connection, stack, base.clone(), witness, &base)
}

fn finish(
    connection: &Connection,
    stack: &StackId,
    mut fold: Fold,
    witness: Option<Witness>,
    base: &Fold,
) -> Result<Fold, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, fence, at, entry, checksum FROM journal WHERE stack = ?1 AND seq > ?2 ORDER BY seq",
    )?;
    let mut rows = statement.query((stack.to_string(), to_sql(fold.state.seq)?))?;
    while let Some(row) = rows.next()? {
        let record = record(row, stack, fold.state.seq + 1, &mut fold.checksum)?;
        fold.state.apply(&record).map_err(|illegal| Fault::Damaged(format!("`{stack}`: {illegal}")))?;
    }
    check_end(connection, stack, &fold)?;
    check_witness(connection, stack, &fold, witness, base)?;
    Ok(fold)
}

/// Records from `from` on, each checked.
pub(super) fn records(
    connection: &Connection,
    stack: &StackId,
    from: u64,
    witness: Option<Witness>,
) -> Result<Vec<JournalRecord>, Fault> {
    let base = base(connection, stack)?;
    let mut fold = base.clone();
    let before = from.saturating_sub(1);
    if before > base.state.seq {
        let Some(checksum) = checksum_of(connection, stack, before)? else {
            // Past the end, unless records are missing.
            let whole = replay(connection, stack, witness)?;
            return if whole.state.seq < before { Ok(Vec::new()) } else { Err(missing(stack, before)) };
        };
        fold.state.seq = before;
        fold.checksum = checksum;
    }
    let mut statement = connection.prepare_cached(
        "SELECT seq, fence, at, entry, checksum FROM journal WHERE stack = ?1 AND seq > ?2 ORDER BY seq",
    )?;
    let mut rows = statement.query((stack.to_string(), to_sql(fold.state.seq)?))?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        let record = record(row, stack, fold.state.seq + 1, &mut fold.checksum)?;
        fold.state.seq = record.seq;
        records.push(record);
    }
    check_end(connection, stack, &fold)?;
    check_witness(connection, stack, &fold, witness, &base)?;
    Ok(records)
}

/// Stacks that have a journal. `connection` must be in a transaction.
pub(super) fn stacks(connection: &Connection) -> Result<Vec<StackId>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT stack, seq,
                EXISTS (SELECT 1 FROM journal WHERE journal.stack = stacks.stack),
                EXISTS (SELECT 1 FROM tombstones WHERE tombstones.stack = stacks.stack)
         FROM stacks ORDER BY stack",
    )?;
    let mut rows = statement.query([])?;
    let mut stacks = Vec::new();
    while let Some(row) = rows.next()? {
        let (text, seq): (String, i64) = (row.get(0)?, row.get(1)?);
        let (has_journal, was_forgotten): (bool, bool) = (row.get(2)?, row.get(3)?);
        let stack = parse(&text)?;
        if has_journal {
            stacks.push(stack);
        } else if seq != 0 && !was_forgotten {
            return Err(missing(&stack, 1));
        }
    }
    Ok(stacks)
}

/// Where a stack's journal begins: at nothing, or where it was forgotten.
fn base(connection: &Connection, stack: &StackId) -> Result<Fold, Fault> {
    let key = stack.to_string();
    let found: Option<(i64, i64, i64, i64, i64)> = connection
        .prepare_cached("SELECT seq, head, last_release, fence, checksum FROM tombstones WHERE stack = ?1")?
        .query_row([&key], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))
        .optional()?;
    let Some((seq, head, last_release, fence, sum)) = found else {
        return Ok(Fold { state: StackState::default(), checksum: origin(&key) });
    };
    let fits = i64::from(tombstone_checksum(&key, [seq, head, last_release, fence])) == sum;
    match (u64::try_from(seq), u32::try_from(head), u32::try_from(last_release)) {
        (Ok(seq), Ok(checksum), Ok(last_release)) if fits => {
            Ok(Fold { state: StackState { seq, last_release, ..StackState::default() }, checksum })
        }
        _ => Err(Fault::Damaged(format!("the tombstone of `{stack}` does not fit its checksum"))),
    }
}

pub(super) fn tombstone_checksum(stack: &str, numbers: [i64; 4]) -> u32 {
    let [seq, head, last_release, fence] = numbers.map(i64::to_le_bytes);
    checksum(&[b"tombstone", stack.as_bytes(), &seq, &head, &last_release, &fence])
}

/// The last snapshot, if it is whole and was made by this fold.
fn snapshot(connection: &Connection, stack: &StackId) -> Result<Option<Fold>, Fault> {
    let key = stack.to_string();
    let found: Option<(i64, i64, i64, String, i64)> = connection
        .prepare_cached("SELECT seq, head, fold, state, checksum FROM snapshots WHERE stack = ?1")?
        .query_row([&key], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))
        .optional()?;
    let Some((seq, head, version, state, sum)) = found else {
        return Ok(None);
    };
    if version != i64::from(FOLD) {
        return Ok(None);
    }
    let read = || -> Option<Fold> {
        let (seq, head) = (u64::try_from(seq).ok()?, u32::try_from(head).ok()?);
        if i64::from(snapshot_checksum(&key, seq, head, &state)) != sum {
            return None;
        }
        let state: StackState = serde_json::from_str(&state).ok()?;
        (state.seq == seq).then_some(Fold { state, checksum: head })
    };
    let Some(fold) = read() else {
        tracing::warn!(%stack, "the snapshot is damaged; the journal is read from its beginning");
        return Ok(None);
    };
    // The record it was made at must be the one in the journal.
    Ok((checksum_of(connection, stack, seq.unsigned_abs())? == Some(fold.checksum)).then_some(fold))
}

pub(super) fn snapshot_checksum(stack: &str, seq: u64, head: u32, state: &str) -> u32 {
    checksum(&[b"snapshot", stack.as_bytes(), &seq.to_le_bytes(), &head.to_le_bytes(), state.as_bytes()])
}

/// Reads one row as the record `seq`, and moves the chain on.
fn record(row: &Row<'_>, stack: &StackId, seq: u64, chain: &mut u32) -> Result<JournalRecord, Fault> {
    let found: i64 = row.get(0)?;
    if u64::try_from(found) != Ok(seq) {
        return Err(missing(stack, seq));
    }
    let fence: i64 = row.get(1)?;
    let (at, entry): (String, String) = (row.get(2)?, row.get(3)?);
    let sum: i64 = row.get(4)?;
    let misfit = || Fault::Damaged(format!("record {seq} of `{stack}` does not fit its checksum"));
    let fence = u64::try_from(fence).map_err(|_| misfit())?;
    let expected = link(*chain, seq, fence, &at, &entry);
    if i64::from(expected) != sum {
        return Err(misfit());
    }
    *chain = expected;
    let unreadable = |error: String| {
        Fault::Damaged(format!(
            "record {seq} of `{stack}` is whole, but this program cannot read it ({error})"
        ))
    };
    Ok(JournalRecord {
        seq,
        fence,
        at: at.parse().map_err(|error: jiff::Error| unreadable(error.to_string()))?,
        entry: serde_json::from_str(&entry).map_err(|error| unreadable(error.to_string()))?,
    })
}

fn missing(stack: &StackId, seq: u64) -> Fault {
    Fault::Damaged(format!("record {seq} of `{stack}` is missing"))
}

fn checksum_of(connection: &Connection, stack: &StackId, seq: u64) -> Result<Option<u32>, Fault> {
    let found: Option<i64> = connection
        .prepare_cached("SELECT checksum FROM journal WHERE stack = ?1 AND seq = ?2")?
        .query_row((stack.to_string(), to_sql(seq)?), |row| row.get(0))
        .optional()?;
    Ok(found.and_then(|sum| u32::try_from(sum).ok()))
}

/// The journal must end where its head says.
fn check_end(connection: &Connection, stack: &StackId, fold: &Fold) -> Result<(), Fault> {
    let head: Option<(i64, i64)> = connection
        .prepare_cached("SELECT seq, checksum FROM stacks WHERE stack = ?1")?
        .query_row([stack.to_string()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let end = (to_sql(fold.state.seq)?, i64::from(fold.checksum));
    match head {
        Some(head) if head == end => Ok(()),
        None if fold.state.seq == 0 => Ok(()),
        Some((seq, _)) if seq > end.0 => Err(missing(stack, fold.state.seq + 1)),
        _ => Err(Fault::Damaged(format!("the journal of `{stack}` does not end where its head says"))),
    }
}

/// The journal must hold the record that was acknowledged last.
fn check_witness(
    connection: &Connection,
    stack: &StackId,
    fold: &Fold,
    witness: Option<Witness>,
    base: &Fold,
) -> Result<(), Fault> {
    let Some(witness) = witness else {
        return Ok(());
    };
    if witness.seq > fold.state.seq {
        return Err(Fault::Damaged(format!(
            "the journal of `{stack}` ends at record {}, but record {} was written: a log beside the file was \
             damaged or is gone",
            fold.state.seq, witness.seq
        )));
    }
    let checksum = if witness.seq == fold.state.seq {
        Some(fold.checksum)
    } else if witness.seq > base.state.seq {
        checksum_of(connection, stack, witness.seq)?
    } else {
        // Before the first record, or forgotten since.
        return Ok(());
    };
    if checksum == Some(witness.checksum) {
        Ok(())
    } else {
        Err(Fault::Damaged(format!(
            "record {} of `{stack}` is not the one that was written: the file comes from another time or place than \
             the rest of its folder",
            witness.seq
        )))
    }
}

pub(super) fn parse(text: &str) -> Result<StackId, Fault> {
    let read = || {
        let (app, environment) = text.split_once('/')?;
        Some(StackId { app: app.parse().ok()?, environment: environment.parse().ok()? })
    };
    read().ok_or_else(|| Fault::Damaged(format!("`{text}` is no stack")))
}

/// SQLite's integers are signed. No journal gets that long.
pub(super) fn to_sql(number: u64) -> Result<i64, Fault> {
    i64::try_from(number).map_err(|_| Fault::Io(format!("the number {number} is too large for the journal")))
}
