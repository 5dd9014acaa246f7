//! What a workspace remembers of where an app came from, beside its journal.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{OperationError, Workspace};
use crate::names::{ImageRef, ProviderName, ReleaseNumber, StackId, VariableName};
use crate::profile::ProfileRef;

const SOURCE: &str = "source";

/// The versions of profiles that releases were made from.
const MADE_FROM: &str = "made-from";

/// Where an app came from and what was chosen for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Source {
    /// The manifest's folder.
    pub(super) root: PathBuf,
    /// The manifest's file.
    pub(super) file: PathBuf,
    /// Who runs it.
    pub(super) provider: ProviderName,
    /// The region that was chosen instead of the manifest's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) region: Option<String>,
    /// Fixed public port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) port: Option<u16>,
    /// Address to listen on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) listen: Option<IpAddr>,
    /// Variables that builds may see.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) pass_env: Vec<VariableName>,
    /// Images to build and to run in that were chosen beside the manifest's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) base_images: BTreeMap<String, ImageRef>,
    /// The profile that it was last deployed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) profile: Option<ProfileRef>,
    /// Values files that it was last deployed with, beside the profile's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) values: Vec<PathBuf>,
    /// Stopped on purpose.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) stopped: bool,
}

impl Workspace {
    pub(super) async fn source(&self, stack: &StackId) -> Result<Option<Source>, OperationError> {
        let value = self.0.store.setting(stack, SOURCE).await?;
        Ok(value.and_then(|v| serde_json::from_value(v).ok()))
    }

    pub(super) async fn set_source(&self, stack: &StackId, source: &Source) -> Result<(), OperationError> {
        // A struct of plain fields: it can always be written as JSON.
        let value = serde_json::to_value(source).ok();
        self.0.store.set_setting(stack, SOURCE, value.as_ref()).await?;
        Ok(())
    }

    /// Remembers whether the app is stopped on purpose, if it is remembered at all.
    pub(super) async fn set_stopped(&self, stack: &StackId, stopped: bool) -> Result<(), OperationError> {
        if let Some(mut source) = self.source(stack).await?
            && source.stopped != stopped
        {
            source.stopped = stopped;
            self.set_source(stack, &source).await?;
        }
        Ok(())
    }

    /// The version of a profile that each release was made from.
    pub(super) async fn made_from(
        &self,
        stack: &StackId,
    ) -> Result<BTreeMap<ReleaseNumber, ProfileRef>, OperationError> {
        let value = self.0.store.setting(stack, MADE_FROM).await?;
        Ok(value.and_then(|v| serde_json::from_value(v).ok()).unwrap_or_default())
    }

    /// Remembers what a release is made from, before it is made. A number that was given
    /// before and came to nothing is given anew: what it says then is replaced.
    pub(super) async fn set_made_from(
        &self,
        stack: &StackId,
        release: ReleaseNumber,
        profile: Option<ProfileRef>,
    ) -> Result<(), OperationError> {
        let mut all = self.made_from(stack).await?;
        let before = all.get(&release).copied();
        match profile {
            Some(profile) => all.insert(release, profile),
            None => all.remove(&release),
        };
        if before != profile {
            // A map of plain values: it can always be written as JSON.
            let value = serde_json::to_value(all).ok();
            self.0.store.set_setting(stack, MADE_FROM, value.as_ref()).await?;
        }
        Ok(())
    }
}
