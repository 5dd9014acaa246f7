//! Backups of all databases and caches of a stack, on whichever of its servers they are.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{
    BackupMade, BackupSet, BackupTried, Backups, ErrorKind, OpCtx, ProviderError, ResourceKindDef as _,
    Result,
};

use super::Servers;
use crate::kinds::backup::{Backup, id, last};

/// The backups that the servers of a stack make.
#[derive(Debug)]
pub(crate) struct ServersBackups(pub(crate) Arc<Servers>);

#[async_trait]
impl Backups for ServersBackups {
    async fn list(&self, cx: &OpCtx) -> Result<Vec<BackupSet>> {
        let mut sets = Vec::new();
        for (host, survey) in self.0.survey_all(cx, &cx.stack).await? {
            super::queue::owned(&host, cx, &survey)?;
            let recorded = survey.record.iter().flat_map(|record| &record.resources);
            for (key, _) in recorded.filter(|(_, recorded)| recorded.kind == Backup.kind()) {
                let (want, files) = self.0.backup(cx, key).await?;
                let tried = survey.roles.get(&id(&want)).and_then(last).map(|last| BackupTried {
                    at: at(&last.at),
                    name: last.name,
                    restorable: last.restorable,
                    counted: last.counted,
                    words: last.words,
                });
                let made = |file: super::BackupFile| BackupMade {
                    at: at(&file.name),
                    name: file.name,
                    bytes: file.bytes,
                    path: file.path,
                };
                sets.push(BackupSet {
                    key: key.clone(),
                    name: want.name.clone(),
                    place: host.to_string(),
                    backups: files.into_iter().map(made).collect(),
                    last: tried,
                });
            }
        }
        sets.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(sets)
    }

    async fn make(&self, cx: &OpCtx, key: &ResourceKey) -> Result<String> {
        let survey = self.0.save(cx, key).await?;
        let (want, _) = self.0.backup(cx, key).await?;
        let made = survey.roles.get(&id(&want)).and_then(last).filter(|last| last.restorable);
        made.map(|last| last.name).ok_or_else(|| {
            ProviderError::new(ErrorKind::Unexpected, format!("`{key}` does not say which backup was made"))
        })
    }

    async fn restore(&self, cx: &OpCtx, key: &ResourceKey, name: &str) -> Result<String> {
        Ok(self.0.restore(cx, key, name).await?.before)
    }
}

/// The time in a name, `20261121T030412Z.dump`.
fn at(name: &str) -> Option<Timestamp> {
    let time = name.split('.').next()?.strip_suffix('Z')?;
    let time = DateTime::strptime("%Y%m%dT%H%M%S", time).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_when_it_was_made() {
        assert_eq!(at("20261121T030412Z.dump"), "2026-11-21T03:04:12Z".parse().ok());
        assert_eq!(at("20261121T030412Z"), "2026-11-21T03:04:12Z".parse().ok());
        assert_eq!(at("other.dump"), None);
    }
}
