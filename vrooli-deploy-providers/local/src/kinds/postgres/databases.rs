//! The databases of this machine, for files of SQL.

use async_trait::async_trait;
use vrooli_deploy_core::provider::{ErrorKind, OpCtx, ProviderError, Result};
use vrooli_deploy_core::release::migration::{Database, Databases};
use vrooli_deploy_core::requirements::ResourceRequirement;

use super::cluster;
use crate::kinds::Machine;

#[async_trait]
impl Databases for Machine {
    async fn open(&self, cx: &OpCtx, requirement: &ResourceRequirement) -> Result<Option<Database>> {
        let key = requirement.key().ok_or_else(|| {
            ProviderError::new(ErrorKind::Config, format!("`{}` cannot be part of a key", requirement.name))
        })?;
        if !cluster::exists(self, cx, &key)? {
            return Ok(None);
        }
        let (app, superuser) = cluster::sessions(self, cx, &key).await?;
        Ok(Some(Database { app: Box::new(app), superuser: Box::new(superuser) }))
    }
}
