//! A supervisor that the system keeps: a unit of systemd, which restarts it when it ends.

use std::process::Stdio;

use tokio::process::Command;
use vrooli_deploy_core::provider::{ErrorKind, ProviderError, Result};

/// The unit that a supervisor runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    unit: String,
}

impl Service {
    /// The unit of that name.
    #[must_use]
    pub fn new(unit: impl Into<String>) -> Self {
        Self { unit: unit.into() }
    }

    /// Has the system start it, if it does not run, and waits until it is ready.
    ///
    /// # Errors
    /// What the system says when it does not start.
    pub(crate) async fn start(&self) -> Result<()> {
        let output = Command::new("systemctl")
            .args(["start", "--", &self.unit])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|error| {
                ProviderError::new(ErrorKind::Missing, format!("cannot run `systemctl`: {error}"))
            })?;
        if output.status.success() {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(ProviderError::new(ErrorKind::Unavailable, format!("{} does not start", self.unit))
            .with_context("said", words)
            .with_help(format!("`journalctl -u {}` on the server says more", self.unit)))
    }
}
