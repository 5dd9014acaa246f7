use schemars::JsonSchema;
use serde::Serialize;
use vrooli_deploy_core::provider::{BackupSet, BackupTried};
use vrooli_deploy_core::workspace::RestoredBackup;

/// A backup of a database or a cache.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct BackupLine {
    /// What it is a backup of, as the app calls it.
    pub(crate) of: String,
    /// The server.
    pub(crate) host: String,
    /// Its name; absent: none is there, and `last_try` says why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// When it was made, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) at: Option<String>,
    /// Its size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<u64>,
    /// Where it lies on the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    /// What came of making and trying this one, if it is the last, or of the last try if none is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_try: Option<BackupTryLine>,
}

/// What came of making a backup and restoring it for a try.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct BackupTryLine {
    /// When that ended, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) at: Option<String>,
    /// Could it be restored?
    pub(crate) restorable: bool,
    /// Tables or keys that were there after it was restored.
    pub(crate) counted: u64,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) words: Option<String>,
}

impl From<&BackupTried> for BackupTryLine {
    fn from(tried: &BackupTried) -> Self {
        Self {
            at: tried.at.map(|at| at.to_string()),
            restorable: tried.restorable,
            counted: tried.counted,
            words: (!tried.words.is_empty()).then(|| tried.words.clone()),
        }
    }
}

/// A line a backup; one for what is saved and has none.
pub(crate) fn backups(sets: &[BackupSet]) -> Vec<BackupLine> {
    let none = |set: &BackupSet| BackupLine {
        of: set.name.clone(),
        host: set.place.clone(),
        name: None,
        at: None,
        bytes: None,
        path: None,
        last_try: set.last.as_ref().map(Into::into),
    };
    let mut lines = Vec::new();
    for set in sets {
        if set.backups.is_empty() {
            lines.push(none(set));
        }
        for backup in &set.backups {
            let tried = set.last.as_ref().filter(|last| last.name == backup.name);
            lines.push(BackupLine {
                name: Some(backup.name.clone()),
                at: backup.at.map(|at| at.to_string()),
                bytes: Some(backup.bytes),
                path: Some(backup.path.clone()),
                last_try: tried.map(Into::into),
                ..none(set)
            });
        }
    }
    lines
}

/// A backup that was put back.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct RestoredLine {
    /// What it is a backup of.
    pub(crate) of: String,
    /// The server.
    pub(crate) host: String,
    /// The backup.
    pub(crate) name: String,
    /// The backup of what was there before, made first.
    pub(crate) saved: String,
    /// Where what was there before is kept until the next restore.
    pub(crate) before: String,
}

impl From<&RestoredBackup> for RestoredLine {
    fn from(restored: &RestoredBackup) -> Self {
        let RestoredBackup { of, place, name, saved, before } = restored.clone();
        Self { of, host: place, name, saved, before }
    }
}
