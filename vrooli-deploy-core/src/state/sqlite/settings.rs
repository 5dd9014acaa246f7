//! Settings: short values beside the journal, each a transaction of its own.

use rusqlite::{Connection, OptionalExtension};
use serde_json::Value;

use super::checksum::checksum;
use super::fault::Fault;
use crate::names::StackId;

/// Reads a setting. `connection` must be in a transaction.
pub(super) fn read(connection: &Connection, stack: &StackId, name: &str) -> Result<Option<Value>, Fault> {
    check(connection)?;
    let found: Option<String> = connection
        .prepare_cached("SELECT value FROM settings WHERE stack = ?1 AND name = ?2")?
        .query_row((stack.to_string(), name), |row| row.get(0))
        .optional()?;
    let Some(value) = found else {
        return Ok(None);
    };
    serde_json::from_str(&value)
        .map(Some)
        .map_err(|error| Fault::Damaged(format!("the setting `{name}` of `{stack}`: {error}")))
}

/// Writes or removes a setting. `connection` must be in a transaction.
pub(super) fn write(
    connection: &Connection,
    stack: &StackId,
    name: &str,
    value: Option<&Value>,
) -> Result<(), Fault> {
    check(connection)?;
    let key = stack.to_string();
    connection.execute("DELETE FROM settings WHERE stack = ?1 AND name = ?2", (&key, name))?;
    if let Some(value) = value {
        let value = value.to_string();
        connection.execute(
            "INSERT INTO settings (stack, name, value, checksum) VALUES (?1, ?2, ?3, ?4)",
            (&key, name, &value, checksum_of(&key, name, &value)),
        )?;
    }
    set_sum(connection)
}

/// Removes all settings of a stack. `connection` must be in a transaction.
pub(super) fn forget(connection: &Connection, stack: &StackId) -> Result<(), Fault> {
    check(connection)?;
    connection.execute("DELETE FROM settings WHERE stack = ?1", [stack.to_string()])?;
    set_sum(connection)
}

/// Holds every setting against its checksum. And since a setting that is not there is no
/// fault, rows that are gone would not be missed without a sum over all of them.
pub(super) fn check(connection: &Connection) -> Result<(), Fault> {
    let noted: i64 = connection.query_row("SELECT settings FROM meta", [], |row| row.get(0))?;
    if noted == sum(connection)? {
        Ok(())
    } else {
        Err(Fault::Damaged("a setting is missing or was changed".to_owned()))
    }
}

fn set_sum(connection: &Connection) -> Result<(), Fault> {
    connection.execute("UPDATE meta SET settings = ?1", [sum(connection)?])?;
    Ok(())
}

fn sum(connection: &Connection) -> Result<i64, Fault> {
    let mut statement = connection.prepare_cached("SELECT stack, name, value, checksum FROM settings")?;
    let mut rows = statement.query([])?;
    let mut sum = 0;
    while let Some(row) = rows.next()? {
        let (stack, name, value): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let noted: i64 = row.get(3)?;
        if noted != checksum_of(&stack, &name, &value) {
            return Err(Fault::Damaged(format!(
                "the setting `{name}` of `{stack}` does not fit its checksum"
            )));
        }
        sum ^= noted;
    }
    Ok(sum)
}

fn checksum_of(stack: &str, name: &str, value: &str) -> i64 {
    i64::from(checksum(&[b"setting", stack.as_bytes(), name.as_bytes(), value.as_bytes()]))
}
