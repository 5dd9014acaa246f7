//! Servers that a stack leaves, because the manifest does not name them any more, and those that
//! are lost.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use async_trait::async_trait;
use tokio::sync::Mutex;
use vrooli_deploy_core::diagnostics::rules;
use vrooli_deploy_core::provider::{ErrorKind, OpCtx, ProviderError, Result};

use crate::host::HostName;

/// Ends what a stack runs on a server.
#[async_trait]
pub(crate) trait Ending: std::fmt::Debug + Send + Sync {
    /// Nothing of the app runs there afterwards; its data stay. What does not run is no error.
    async fn end(&self, cx: &OpCtx, host: &HostName) -> Result<()>;
}

/// Who is left, and how.
#[derive(Debug)]
pub(super) struct Departure {
    leaving: BTreeSet<HostName>,
    lost: BTreeSet<HostName>,
    ending: OnceLock<Box<dyn Ending>>,
    ended: Mutex<BTreeSet<HostName>>,
}

impl Departure {
    /// Of servers that ran the app and are to do so no more, and of those that somebody gave up.
    pub(super) fn new(leaving: BTreeSet<HostName>, lost: BTreeSet<HostName>) -> Self {
        Self { leaving, lost, ending: OnceLock::new(), ended: Mutex::default() }
    }

    pub(super) const fn leaving(&self) -> &BTreeSet<HostName> {
        &self.leaving
    }

    /// Says who ends what runs there, once.
    pub(super) fn by(&self, ending: Box<dyn Ending>) {
        // The first stays: there is one fleet.
        let _ = self.ending.set(ending);
    }

    /// Did somebody give it up? Then nobody asks it, and nothing is there as far as a plan goes.
    pub(super) fn is_lost(&self, host: &HostName) -> bool {
        self.lost.contains(host)
    }

    /// Refuses to bring anything about on a server that was given up.
    pub(super) fn not_lost(&self, host: &HostName) -> Result<()> {
        if !self.is_lost(host) {
            return Ok(());
        }
        Err(ProviderError::new(ErrorKind::Config, format!("{host} was given up as lost"))
            .with_code(rules::HOST_LOST.to_string())
            .with_help(format!(
                "take it out of the manifest, or, if it is there again, `vrooli-deploy hosts add {host}`"
            )))
    }

    /// Before anything that the stack has on a server is taken away: the app is ended there, once.
    pub(super) async fn end(&self, cx: &OpCtx, host: &HostName) -> Result<()> {
        let Some(ending) = self.ending.get().filter(|_| self.leaving.contains(host)) else { return Ok(()) };
        let mut ended = self.ended.lock().await;
        if !ended.contains(host) {
            ending.end(cx, host).await?;
            ended.insert(host.clone());
        }
        Ok(())
    }
}
