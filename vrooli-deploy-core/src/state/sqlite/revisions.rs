//! Revisions: versions of what a workspace keeps beside its stacks.

use jiff::Timestamp;
use rusqlite::{Connection, Row};

use super::checksum::checksum;
use super::fault::Fault;
use crate::state::{NewRevision, Revision};

/// The newest version of everything in a collection, deleted things too, by key.
/// `connection` must be in a transaction, here and below.
pub(super) fn newest(connection: &Connection, collection: &str) -> Result<Vec<Revision>, Fault> {
    let mut newest: Vec<Revision> = Vec::new();
    for revision in all(connection)? {
        if revision.collection != collection {
            continue;
        }
        match newest.last_mut() {
            Some(last) if last.key == revision.key => *last = revision,
            _ => newest.push(revision),
        }
    }
    Ok(newest)
}

/// All versions of one thing, the oldest first.
pub(super) fn versions(connection: &Connection, collection: &str, key: &str) -> Result<Vec<Revision>, Fault> {
    let mut versions = all(connection)?;
    versions.retain(|revision| revision.collection == collection && revision.key == key);
    Ok(versions)
}

/// Adds a version, if it follows the one that was expected.
pub(super) fn add(connection: &Connection, new: NewRevision) -> Result<Revision, Fault> {
    let newest = newest(connection, &new.collection)?;
    let found = newest.iter().find(|revision| revision.key == new.key).map_or(0, |revision| revision.version);
    if found != new.expected {
        return Err(Fault::Changed { key: new.key, expected: new.expected, found });
    }
    if let Some(name) = &new.name
        && new.body.is_some()
        && let Some(other) = newest
            .iter()
            .find(|other| other.key != new.key && other.body.is_some() && other.name.as_ref() == Some(name))
    {
        return Err(Fault::NameTaken { name: name.clone(), key: other.key.clone() });
    }
    let revision = Revision {
        collection: new.collection,
        key: new.key,
        version: found + 1,
        at: Timestamp::now(),
        by: new.by,
        reason: new.reason,
        name: new.name,
        body: new.body,
    };
    let body = revision.body.as_ref().map(ToString::to_string);
    let at = revision.at.to_string();
    let sum = checksum_of(&revision, &at, body.as_deref());
    connection.execute(
        "INSERT INTO revisions (collection, key, version, at, by, reason, name, body, checksum)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        (
            &revision.collection,
            &revision.key,
            revision.version,
            &at,
            &revision.by,
            &revision.reason,
            &revision.name,
            &body,
            sum,
        ),
    )?;
    let noted: i64 = connection.query_row("SELECT revisions FROM meta", [], |row| row.get(0))?;
    connection.execute("UPDATE meta SET revisions = ?1", [noted ^ sum])?;
    Ok(revision)
}

/// Holds every revision against its checksum, its place and the sum over all of them.
pub(super) fn check(connection: &Connection) -> Result<(), Fault> {
    all(connection).map(drop)
}

fn all(connection: &Connection) -> Result<Vec<Revision>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT collection, key, version, at, by, reason, name, body, checksum FROM revisions
         ORDER BY collection, key, version",
    )?;
    let mut rows = statement.query([])?;
    let mut revisions: Vec<Revision> = Vec::new();
    let mut sum = 0;
    while let Some(row) = rows.next()? {
        let revision = read(row, &mut sum)?;
        let before = revisions
            .last()
            .filter(|last| last.collection == revision.collection && last.key == revision.key)
            .map_or(0, |last| last.version);
        if revision.version != before + 1 {
            return Err(Fault::Damaged(format!("version {} of `{}` is missing", before + 1, revision.key)));
        }
        revisions.push(revision);
    }
    let noted: i64 = connection.query_row("SELECT revisions FROM meta", [], |row| row.get(0))?;
    if noted == sum {
        Ok(revisions)
    } else {
        Err(Fault::Damaged("a version of a profile or of the configuration is missing".to_owned()))
    }
}

fn read(row: &Row<'_>, sum: &mut i64) -> Result<Revision, Fault> {
    let (at, body): (String, Option<String>) = (row.get(3)?, row.get(7)?);
    let mut revision = Revision {
        collection: row.get(0)?,
        key: row.get(1)?,
        version: row.get(2)?,
        at: Timestamp::UNIX_EPOCH,
        by: row.get(4)?,
        reason: row.get(5)?,
        name: row.get(6)?,
        body: None,
    };
    let noted: i64 = row.get(8)?;
    let damaged = || {
        Fault::Damaged(format!(
            "version {} of `{}` does not fit its checksum",
            revision.version, revision.key
        ))
    };
    if noted != checksum_of(&revision, &at, body.as_deref()) {
        return Err(damaged());
    }
    *sum ^= noted;
    let time = at.parse().map_err(|_| damaged())?;
    let value = body.map(|body| serde_json::from_str(&body)).transpose().map_err(|_| damaged())?;
    revision.at = time;
    revision.body = value;
    Ok(revision)
}

fn checksum_of(revision: &Revision, at: &str, body: Option<&str>) -> i64 {
    // An absent part is told from an empty one.
    let part =
        |text: Option<&str>| text.map_or_else(|| b"-".to_vec(), |text| format!("+{text}").into_bytes());
    i64::from(checksum(&[
        b"revision",
        revision.collection.as_bytes(),
        revision.key.as_bytes(),
        &revision.version.to_le_bytes(),
        at.as_bytes(),
        revision.by.as_bytes(),
        revision.reason.as_bytes(),
        &part(revision.name.as_deref()),
        &part(body),
    ]))
}
