//! Backups, as people read them.

use vrooli_deploy_core::provider::{BackupSet, BackupTried};
use vrooli_deploy_core::workspace::RestoredBackup;

use super::profile::instant;
use super::style::{Paint, harmless};
use super::table;

/// A row a backup, and what came of the last try of each thing that is saved.
pub(crate) fn backups(paint: Paint, sets: &[BackupSet]) -> String {
    if sets.is_empty() {
        return "nothing of this app is saved".to_owned();
    }
    let mut rows = Vec::new();
    for set in sets {
        for backup in &set.backups {
            let at = backup.at.map(instant).unwrap_or_default();
            rows.push(vec![set.name.clone(), set.place.clone(), backup.name.clone(), at, size(backup.bytes)]);
        }
    }
    let mut text = table(paint, &["OF", "ON", "BACKUP", "MADE", "SIZE"], &rows);
    for set in sets {
        text.push_str(&format!("\n{}: {}", paint.bold(&set.name), tried(set.last.as_ref())));
    }
    text
}

/// Each backup is restored for a try when it is made.
fn tried(last: Option<&BackupTried>) -> String {
    let Some(last) = last else { return "none was made yet".to_owned() };
    let at = last.at.map(instant).unwrap_or_default();
    if last.restorable {
        format!("the last one was restored for a try on {at}: {} tables or keys", last.counted)
    } else {
        format!("the last try, on {at}, failed: {}", harmless(&last.words))
    }
}

/// What was done, in order.
pub(crate) fn restored(paint: Paint, restored: &RestoredBackup) -> String {
    let RestoredBackup { of, place, name, saved, before } = restored;
    let done = paint.green("✓");
    format!(
        "{done} what {of} on {place} held is saved: {saved}\n{done} {name} is restored and has taken its place; the app runs on\n{done} what was there before is kept as {before} until the next restore"
    )
}

#[expect(clippy::cast_precision_loss, reason = "shown in tenths")]
fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}
