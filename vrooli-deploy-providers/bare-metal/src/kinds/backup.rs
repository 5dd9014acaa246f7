//! `bare-metal.backup`: a timer of a server that saves what a database or a cache of a stack holds, and
//! tries each time whether it can be restored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::BillItem;
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Op, Ownership, Permission, PhysicalId, ResourceKindDef,
};

/// The kind `bare-metal.backup`.
#[derive(Debug, Clone, Copy)]
pub struct Backup;

/// What is saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BackupOf {
    /// A database, with `pg_dump`.
    Postgres,
    /// A copy of what Redis writes to the disk.
    Redis,
}

/// What is wanted of backups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupSpec {
    /// The server.
    pub host: String,
    /// As the app calls what is saved, in lower case.
    pub name: String,
    /// What it is.
    pub of: BackupOf,
    /// The database that is saved; none of Redis.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// How many are kept, at least one.
    pub keep: u32,
    /// When, as `OnCalendar=` of systemd has it, in UTC: `*-*-* 03:00:00`.
    pub schedule: String,
}

/// What is seen of backups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackupObserved {
    /// The server.
    pub host: String,
    /// The timer's unit.
    pub unit: String,
    /// The folder that they are in.
    pub path: String,
    /// How many are kept.
    pub keep: u32,
    /// When.
    pub schedule: String,
    /// The database that is saved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// What came of the last one, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LastBackup>,
    /// What is not as it was made: files and their keys, what does not run, a backup that failed.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unlike: BTreeSet<String>,
}

/// What came of a backup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LastBackup {
    /// When it ended, `20261121T030412Z`.
    pub at: String,
    /// Was it made, and could it be restored?
    pub restorable: bool,
    /// Its name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Bytes.
    #[serde(default)]
    pub bytes: u64,
    /// Tables that were there after it was restored, or keys.
    #[serde(default)]
    pub counted: u64,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub words: String,
}

/// What backups are made like, unless something else is wanted.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Knowledge {
    /// How many are kept.
    pub(crate) keep: u32,
    /// When.
    pub(crate) schedule: String,
    spread: String,
    room_percent: u32,
}

pub(crate) static KNOWN: LazyLock<Knowledge> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../data/backup.json")).unwrap_or_default());

impl ResourceKindDef for Backup {
    type Spec<F: Form> = BackupSpec;
    type Observed = BackupObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("bare-metal.backup")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["folder"]
    }
    fn takes_up_data(&self) -> bool {
        true
    }
    fn diff(&self, want: &BackupSpec, have: &BackupObserved) -> Change {
        let BackupSpec { host, name: _, of: _, database, keep, schedule } = want;
        let same = Diff::new()
            .replace("host", *host != have.host)
            .update("database", *database != have.database)
            .update("keep", *keep != have.keep)
            .update("schedule", *schedule != have.schedule);
        have.unlike.iter().fold(same, |diff, field| diff.update(field, true)).done()
    }
    fn bill(&self, _: &BackupSpec) -> Vec<BillItem> {
        Vec::new()
    }
    fn permissions(&self, op: Op, want: &BackupSpec) -> Vec<Permission> {
        super::on_server(op, &want.host)
    }
    fn ownership(&self, _: &ResourceKey, _: &BackupSpec) -> Ownership {
        Ownership::HostLedger
    }
    fn outputs(&self, _: &PhysicalId, have: &BackupObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([("folder", have.path.clone().into())])
    }
}

#[cfg(feature = "native")]
pub(crate) use prepared::{folder, id, last};

mod prepared {
    use std::collections::BTreeSet;

    use vrooli_deploy_core::provider::Result;

    use super::{Backup, BackupObserved, BackupOf, BackupSpec, KNOWN, LastBackup};
    use crate::ground::{HostSurvey, Making, Place, Prepared, RoleSeen, Written, differences};
    use crate::kinds::{is_role_name, is_sql_name};

    /// What makes a backup, tries it and restores it.
    const PROGRAM: &str = include_str!("../scripts/backup.sh");

    /// What we call it on its host.
    pub(crate) fn id(want: &BackupSpec) -> String {
        format!("backup-{}", want.name)
    }

    /// Where backups are.
    pub(crate) fn folder(want: &BackupSpec, place: &Place) -> String {
        format!("/var/backups/vrooli-deploy/{}/{}", place.name, want.name)
    }

    fn unit(want: &BackupSpec, place: &Place) -> String {
        format!("vrooli-deploy-backup-{}-{}", place.name, want.name)
    }

    /// Where its program and its settings are.
    fn home(want: &BackupSpec, place: &Place) -> String {
        format!("/var/lib/vrooli-deploy/roles/{}/{}", place.name, id(want))
    }

    fn files(want: &BackupSpec, place: &Place) -> Vec<Written> {
        let (unit, home) = (unit(want, place), home(want, place));
        let (word, server) = match want.of {
            BackupOf::Postgres => ("postgres", format!("postgres-{}", want.name)),
            BackupOf::Redis => ("redis", format!("redis-{}", want.name)),
        };
        let settings = format!(
            "of {word}\nserver /var/lib/vrooli-deploy/roles/{}/{server}\ndatabase {}\nkeep {}\nroom_percent {}\nfolder {}\n",
            place.name,
            want.database.as_deref().unwrap_or_default(),
            want.keep,
            KNOWN.room_percent,
            folder(want, place)
        );
        let own = |name: &str, mode, text| Written {
            path: format!("{home}/{name}"),
            mode,
            owner: "root",
            group: "root",
            text,
        };
        let head = "# Written by vrooli-deploy; changes made here are put back.\n";
        vec![
            own("backup.sh", "700", PROGRAM.to_owned()),
            own("settings", "600", settings),
            Written::public(
                format!("/etc/systemd/system/{unit}.service"),
                format!(
                    "{head}[Unit]\nDescription=Backup of {} of {}\nStartLimitIntervalSec=0\n\n[Service]\nType=oneshot\nUMask=0077\n\
                     Nice=10\nIOSchedulingClass=idle\nExecStart=/bin/sh {home}/backup.sh {home} backup\n",
                    want.name, place.name
                ),
            ),
            Written::public(
                format!("/etc/systemd/system/{unit}.timer"),
                format!(
                    "{head}[Unit]\nDescription=Backups of {} of {}\n\n[Timer]\nOnCalendar={} UTC\n\
                     RandomizedDelaySec={}\nPersistent=true\n\n[Install]\nWantedBy=timers.target\n",
                    want.name, place.name, want.schedule, KNOWN.spread
                ),
            ),
        ]
    }

    pub(crate) fn last(role: &RoleSeen) -> Option<LastBackup> {
        let text = |name: &str| role.live(name).unwrap_or_default().to_owned();
        Some(LastBackup {
            at: role.live("at")?.to_owned(),
            restorable: role.live("result") == Some("ok"),
            name: text("file"),
            bytes: text("bytes").parse().unwrap_or(0),
            counted: text("counted").parse().unwrap_or(0),
            words: text("words"),
        })
    }

    impl Prepared for Backup {
        type Plain = BackupSpec;
        const WORD: &'static str = "backup";
        const RANK: u8 = 6;

        fn host(want: &BackupSpec) -> &str {
            &want.host
        }
        fn name(want: &BackupSpec, place: &Place) -> String {
            format!("backup/{}", unit(want, place))
        }
        fn items_there(want: &BackupSpec, making: &Making<'_>) -> Result<Vec<Vec<String>>> {
            let place = making.place;
            let mut items = vec![vec![id(want), unit(want, place), folder(want, place)]];
            items.extend(files(want, place).iter().flat_map(Written::items));
            Ok(items)
        }
        fn observe(want: &BackupSpec, place: &Place, seen: &HostSurvey) -> BackupObserved {
            let role = seen.roles.get(&id(want)).cloned().unwrap_or_default();
            let mut unlike = BTreeSet::new();
            if role.made.is_empty() {
                unlike.insert("timer".to_owned());
            } else {
                unlike = differences(&files(want, place), seen, "");
                if !role.is("timer") {
                    unlike.insert("timer".to_owned());
                }
            }
            let last = last(&role);
            if let Some(last) = last.as_ref().filter(|last| !last.restorable) {
                unlike.insert(format!("last backup: {}", last.words));
            }
            BackupObserved {
                host: want.host.clone(),
                unit: format!("{}.timer", unit(want, place)),
                path: folder(want, place),
                keep: want.keep,
                schedule: want.schedule.clone(),
                database: want.database.clone(),
                last,
                unlike,
            }
        }
        fn check(want: &BackupSpec, _: &Place) -> std::result::Result<(), String> {
            if !is_role_name(&want.name) {
                return Err(format!("`{}` is no name for backups", want.name));
            }
            match (&want.of, &want.database) {
                (BackupOf::Postgres, Some(name)) if is_sql_name(name) => {}
                (BackupOf::Postgres, _) => return Err("no database is named that is saved".to_owned()),
                (BackupOf::Redis, _) => {}
            }
            if want.keep == 0 {
                return Err("at least one backup is kept".to_owned());
            }
            let valid = |c: char| c.is_ascii_alphanumeric() || " *-:/,.~".contains(c);
            if want.schedule.is_empty() || !want.schedule.chars().all(valid) {
                return Err(format!("`{}` is no time as systemd writes it", want.schedule));
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use vrooli_deploy_core::provider::AnyKind;

    use super::*;

    #[test]
    fn differences_are_answered() {
        let want = json!({
            "host": "a", "name": "main", "of": "postgres", "database": "a", "keep": 7, "schedule": "daily"
        });
        let have = json!({
            "host": "a", "unit": "u", "path": "/b", "database": "a", "keep": 7, "schedule": "daily",
            "last": { "at": "20261121T030412Z", "restorable": true }
        });
        let diff = |field: &str, value: Value| {
            let mut have = have.clone();
            have[field] = value;
            AnyKind::diff(&Backup, &want, &have).unwrap()
        };
        let changed = |field: &str| Change::InPlace(vec![field.to_owned()]);
        assert_eq!(AnyKind::diff(&Backup, &want, &have).unwrap(), Change::None);
        assert_eq!(diff("last", Value::Null), Change::None);
        assert_eq!(diff("host", json!("b")), Change::Replace(vec!["host".to_owned()]));
        assert_eq!(diff("keep", json!(3)), changed("keep"));
        assert_eq!(diff("schedule", json!("hourly")), changed("schedule"));
        assert_eq!(diff("database", json!("b")), changed("database"));
        assert_eq!(diff("unlike", json!(["timer"])), changed("timer"));
    }

    #[test]
    fn the_data_file_can_be_read() {
        assert!(KNOWN.keep > 0 && !KNOWN.schedule.is_empty());
    }
}
