//! Servers that run the app and are to do so no more.

use async_trait::async_trait;
use vrooli_deploy_core::provider::{OpCtx, Result};

use super::app_host::AppHost;
use crate::ground::Ending;
use crate::host::HostName;

/// Those that the manifest does not name any more: no release is brought there, and what runs ends
/// before the server is taken off the stack.
#[derive(Debug)]
pub(super) struct Leaving(pub(super) Vec<AppHost>);

#[async_trait]
impl Ending for Leaving {
    async fn end(&self, cx: &OpCtx, host: &HostName) -> Result<()> {
        match self.0.iter().find(|leaving| leaving.name() == host) {
            Some(leaving) => leaving.forget(cx, false).await,
            None => Ok(()),
        }
    }
}
