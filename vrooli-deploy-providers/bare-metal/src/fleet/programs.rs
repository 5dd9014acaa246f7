use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Mutex;
use vrooli_deploy_core::provider::{ErrorKind, ProviderError, Result};

use crate::facts::Machine;
use crate::host::HostName;
use crate::own::{OwnProgram, ProgramDigests, Programs};

/// The programs of ours that hosts get, each read once.
#[derive(Debug)]
pub(super) struct OwnPrograms {
    programs: Programs,
    digests: ProgramDigests,
    read: Mutex<BTreeMap<Machine, Arc<OwnProgram>>>,
}

impl OwnPrograms {
    pub(super) fn new(programs: Programs, digests: ProgramDigests) -> Self {
        Self { programs, digests, read: Mutex::default() }
    }

    /// The one for a host.
    pub(super) async fn choose(&self, host: &HostName, machine: &Machine) -> Result<Arc<OwnProgram>> {
        let mut read = self.read.lock().await;
        if let Some(program) = read.get(machine) {
            return Ok(Arc::clone(program));
        }
        let (programs, digests) = (self.programs.clone(), self.digests.clone());
        let (host, key) = (host.clone(), machine.clone());
        let chosen = tokio::task::spawn_blocking(move || programs.choose_by(&host, &key, &digests))
            .await
            .map_err(|error| ProviderError::new(ErrorKind::Unexpected, error.to_string()))??;
        let chosen = Arc::new(chosen);
        read.insert(machine.clone(), Arc::clone(&chosen));
        Ok(chosen)
    }
}
