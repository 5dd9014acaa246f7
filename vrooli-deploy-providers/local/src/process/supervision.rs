//! Whether apps outlive the program that deploys them.

use rustix::process::Pid;
use vrooli_deploy_core::provider::Result;

use super::config::Program;
use super::in_process::{self, InProcess};
use super::service::Service;
use crate::build::Guard;
use crate::layout::Layout;

/// Where supervisor, edge and what keeps an instance run.
#[derive(Debug, Clone)]
pub enum Supervision {
    /// As processes of their own, hidden subcommands of a program: apps outlive it.
    Detached(Program),
    /// As a unit that the system keeps: it is asked to start it, and nobody else does.
    Service(Service),
    /// In this program, and everything ends with it.
    InProcess(InProcess),
}

impl Default for Supervision {
    fn default() -> Self {
        Self::Detached(Program::default())
    }
}

impl Supervision {
    /// Before anything is changed: waits for what a program left that ran apps in itself, and
    /// refuses a workspace that is served in the other way.
    ///
    /// # Errors
    /// `Conflict` with who serves it.
    pub(crate) async fn admit(&self, layout: &Layout) -> Result<()> {
        match self {
            Self::Detached(_) | Self::Service(_) => in_process::wait_for_programs(layout).await,
            Self::InProcess(here) => here.leash().await.map(drop),
        }
    }

    /// Sees to it that a server, which leads a process group, ends with us if all does.
    ///
    /// # Errors
    /// When that cannot be seen to.
    pub(crate) async fn keep_server(&self, pid: Option<Pid>) -> Result<()> {
        if let (Self::InProcess(here), Some(pid)) = (self, pid) {
            let pid = pid.as_raw_nonzero().get().unsigned_abs();
            here.leash().await?.keep_server(pid).map_err(|e| in_process::not_kept(&e))?;
        }
        Ok(())
    }

    /// The variable by which a server is found that was started and not yet kept.
    ///
    /// # Errors
    /// When the workspace is served by somebody else.
    pub(crate) async fn server_mark(&self) -> Result<Option<(&'static str, String)>> {
        match self {
            Self::Detached(_) | Self::Service(_) => Ok(None),
            Self::InProcess(here) => Ok(Some(here.leash().await?.server_mark())),
        }
    }

    /// What ends the steps of a build when we end.
    pub(crate) fn build_guard(&self) -> Guard {
        match self {
            Self::Detached(program) => crate::child::build_guard(program),
            Self::Service(_) => crate::child::build_guard(&Program::default()),
            Self::InProcess(here) => Guard::Leash(here.clone()),
        }
    }
}
