//! Backups of a server: which there are, and putting one back.

use std::sync::Arc;

use vrooli_deploy_core::diagnostics::rules;
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{ErrorKind, Known, OpCtx, ProviderError, ResourceKindDef as _, Result};

use super::{Change, HostSurvey, Place, Servers, Verb};
use crate::kinds::backup::{Backup, BackupSpec, folder, id};

/// A backup that is on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupFile {
    /// Its name, `20261121T030412Z.dump`: the time it was made, in UTC.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Where it is on the server.
    pub path: String,
}

/// What came of putting a backup back.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restored {
    /// The backup.
    pub name: String,
    /// The database that what was there before is kept in, until the next restore; of Redis the file.
    pub before: String,
}

type Spec = <Backup as vrooli_deploy_core::provider::ResourceKindDef>::Spec<Known>;

impl Servers {
    /// The backups of a resource of the kind `bare-metal.backup`, the oldest first.
    ///
    /// # Errors
    /// When its server cannot be asked, or no such resource is recorded there.
    pub async fn backups(&self, cx: &OpCtx, key: &ResourceKey) -> Result<Vec<BackupFile>> {
        let (_, files) = self.backup(cx, key).await?;
        Ok(files)
    }

    /// Puts a backup back: into a fresh database, which takes the place of the one that is there once
    /// all of it is restored; that one is kept under another name until the next restore. What is
    /// connected meanwhile is cut off once. It needs the lease of the stack, as every change does.
    ///
    /// # Errors
    /// `NotFound` (VD0951) when there is no such backup; what kept it from being restored: then the
    /// database is as it was.
    pub async fn restore(&self, cx: &OpCtx, key: &ResourceKey, name: &str) -> Result<Restored> {
        let (want, files) = self.backup(cx, key).await?;
        if !files.iter().any(|file| file.name == name) {
            let there = files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(ProviderError::new(
                ErrorKind::NotFound,
                format!("`{key}` on {} has no backup `{name}`", want.host),
            )
            .with_code(rules::NO_BACKUP.to_string())
            .with_help(if there.is_empty() {
                "none was made yet".to_owned()
            } else {
                format!("there are: {there}")
            }));
        }
        self.change_backup(cx, key, Verb::Restore, vec![id(&want), name.to_owned()]).await?;
        let before = match want.of {
            crate::kinds::backup::BackupOf::Postgres => "vrooli_deploy_before",
            crate::kinds::backup::BackupOf::Redis => "before.rdb",
        };
        Ok(Restored { name: name.to_owned(), before: before.to_owned() })
    }

    /// Makes a backup now, and tries whether it can be restored: how the server is after that. It needs
    /// the lease of the stack.
    ///
    /// # Errors
    /// What kept it from being made or restored.
    pub(super) async fn save(&self, cx: &OpCtx, key: &ResourceKey) -> Result<Arc<HostSurvey>> {
        let (want, _) = self.backup(cx, key).await?;
        self.change_backup(cx, key, Verb::Save, vec![id(&want)]).await
    }

    async fn change_backup(
        &self,
        cx: &OpCtx,
        key: &ResourceKey,
        verb: Verb,
        item: Vec<String>,
    ) -> Result<Arc<HostSurvey>> {
        let change = Change {
            kind: "backup",
            rank: u8::MAX,
            verb,
            key: key.clone(),
            begun: String::new(),
            done: String::new(),
            items: vec![item],
        };
        self.queue(&self.host_of(key, None)?).change(cx, change, None).await
    }

    pub(super) async fn backup(&self, cx: &OpCtx, key: &ResourceKey) -> Result<(Spec, Vec<BackupFile>)> {
        let survey = self.queue(&self.host_of(key, None)?).survey(cx, &cx.stack).await?;
        let recorded = survey.record.as_ref().and_then(|record| record.resources.get(key));
        let recorded = recorded.filter(|one| one.kind == Backup.kind());
        let want: Option<BackupSpec> = recorded.and_then(|one| serde_json::from_value(one.spec.clone()).ok());
        let want = want.ok_or_else(|| {
            ProviderError::new(ErrorKind::NotFound, format!("`{key}` are no backups of `{}`", cx.stack))
                .with_code(rules::NO_BACKUP.to_string())
                .with_help("deploy first; `backup/<name>` is the key of the backups of a database")
        })?;
        let folder = folder(&want, &Place::of(&cx.stack));
        let file = |line: &String| {
            let (name, bytes) = line.split_once(' ')?;
            let path = format!("{folder}/{name}");
            Some(BackupFile { name: name.to_owned(), bytes: bytes.parse().ok()?, path })
        };
        let role = survey.roles.get(&id(&want));
        let lines = role.and_then(|role| role.live.get("backup"));
        let mut files: Vec<BackupFile> = lines.into_iter().flatten().filter_map(file).collect();
        files.sort_by(|one, other| one.name.cmp(&other.name));
        Ok((want, files))
    }
}
