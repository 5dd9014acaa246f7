use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use vrooli_deploy_core::names::StackId;
use vrooli_deploy_core::provider::Cancellation;

use super::{OwnError, OwnProgram};
use crate::facts::Lines;
use crate::remote::{Phase, RemoteError, RemoteExec};

const INSTALL: &str = include_str!("../scripts/supervisor_install.sh");
const REMOVE: &str = include_str!("../scripts/supervisor_remove.sh");

/// The unit, as data: nothing that anybody says of an app is in it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Sections {
    unit: Vec<(String, String)>,
    service: Vec<(String, String)>,
    install: Vec<(String, String)>,
}

#[derive(Debug, Default, Deserialize)]
struct UnitFile {
    unit: String,
    arguments: Vec<String>,
    /// What the edge runs as; the last of the arguments.
    edge_account: String,
    sections: Sections,
}

static UNIT: LazyLock<UnitFile> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../data/supervisor.json")).unwrap_or_default());

/// The supervisor of a host: a unit of systemd that runs our program, and with it all apps that are
/// there. They, and the edge, outlive it: it may be restarted at any time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Supervisor;

/// What became of the unit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Installed {
    /// Was the unit written, or anything of it changed?
    pub changed: bool,
    /// Was it started, or started again? It is not where it runs and nothing has changed.
    pub started: bool,
    /// The process that runs.
    pub process: u32,
}

impl Supervisor {
    /// What its unit is called.
    #[must_use]
    pub fn unit() -> &'static str {
        &UNIT.unit
    }

    /// The text of the unit, the same for every host.
    #[must_use]
    pub fn text() -> String {
        let mut text = "# Written by vrooli-deploy; what is changed here is written over.\n".to_owned();
        let Sections { unit, service, install } = &UNIT.sections;
        for (name, lines) in [("Unit", unit), ("Service", service), ("Install", install)] {
            text.push_str(&format!("\n[{name}]\n"));
            if name == "Service" {
                let arguments = UNIT.arguments.join(" ");
                text.push_str(&format!("ExecStart={} {arguments}\n", OwnProgram::path_on_host()));
            }
            for (key, value) in lines {
                text.push_str(&format!("{key}={value}\n"));
            }
        }
        text
    }

    /// The SHA-256 of the unit's text in hexadecimal: a survey that finds another on a host, by
    /// `sha256sum` of the unit's file, has something to do.
    #[must_use]
    pub fn digest() -> String {
        Sha256::digest(Self::text()).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Sees to it that the unit is there, enabled and active, and runs the program that the host
    /// uses: one round trip. Where all of that is so, nothing is touched. A restart leaves apps and
    /// the edge with its sockets as they are.
    ///
    /// # Errors
    /// [`OwnError::DoesNotStart`] with what systemd says of the unit, or the last that the
    /// supervisor said; then what was there before the call is there again.
    pub async fn install(
        self,
        remote: &dyn RemoteExec,
        program: &OwnProgram,
        cancellation: &Cancellation,
    ) -> Result<Installed, OwnError> {
        let text = STANDARD.encode(Self::text());
        let input = format!("{}\n{}\n{text}\n{}\n", UNIT.unit, program.digest(), UNIT.edge_account);
        let phase = Phase::new("install the supervisor", INSTALL)
            .as_root()
            .within(Duration::from_secs(300))
            .with_input(input);
        let output = remote.run(&phase, cancellation).await.map_err(failed)?;
        let lines = Lines::new(&output.stdout);
        let process = lines.get("process").and_then(|process| process.parse().ok());
        let Some(process) = process.filter(|process| *process > 0) else {
            return Err(RemoteError::Unreadable {
                host: remote.host().clone(),
                phase: phase.name,
                words: "it does not say which process runs".to_owned(),
            }
            .into());
        };
        Ok(Installed {
            changed: lines.get("changed").is_some(),
            started: lines.get("started").is_some(),
            process,
        })
    }

    /// Ends the supervisor, the edge and whatever else runs in its unit, and removes unit, program
    /// and store: one round trip. Data of apps that were destroyed and kept stay. What is not there
    /// is no error.
    ///
    /// # Errors
    /// [`OwnError::StillUsed`] while any app has artefacts on the host; nothing is changed then.
    pub async fn remove(self, remote: &dyn RemoteExec, cancellation: &Cancellation) -> Result<(), OwnError> {
        self.end(remote, None, cancellation).await
    }

    /// An app has left the host: its artefacts are kept for nobody any more, and with the last app
    /// all goes that [`remove`](Self::remove) removes. One round trip. Did that go?
    ///
    /// # Errors
    /// What became of the phase.
    pub async fn leave(
        self,
        remote: &dyn RemoteExec,
        stack: &StackId,
        cancellation: &Cancellation,
    ) -> Result<bool, OwnError> {
        match self.end(remote, Some(stack), cancellation).await {
            Ok(()) => Ok(true),
            Err(OwnError::StillUsed { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn end(
        self,
        remote: &dyn RemoteExec,
        leaves: Option<&StackId>,
        cancellation: &Cancellation,
    ) -> Result<(), OwnError> {
        let leaves = leaves.map(ToString::to_string).unwrap_or_default();
        let phase = Phase::new("remove the supervisor", REMOVE)
            .as_root()
            .within(Duration::from_secs(300))
            .with_input(format!("{}\n{leaves}\n{}\n", UNIT.unit, UNIT.edge_account));
        remote.run(&phase, cancellation).await.map_err(failed)?;
        Ok(())
    }
}

fn failed(error: RemoteError) -> OwnError {
    match error {
        RemoteError::Failed { host, status: 31, words, .. } => OwnError::DoesNotStart { host, words },
        RemoteError::Failed { host, status: 32, words, .. } => {
            OwnError::StillUsed { host, stacks: words.lines().map(ToOwned::to_owned).collect() }
        }
        error => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_data() {
        serde_json::from_str::<UnitFile>(include_str!("../../data/supervisor.json")).unwrap();
        let text = Supervisor::text();
        let start = "[Service]\nExecStart=/var/lib/vrooli-deploy/program __vrooli-deploy-child supervisor /var/lib/vrooli-deploy/workspace resident vd-edge\n";
        assert!(text.contains(start), "{text}");
        // Its edge on 80 and 443 is no stranger there.
        assert!(include_str!("../../data/preflight.json").contains(&format!("\"{}\"", Supervisor::unit())));
        // Apps and the edge outlive a restart.
        assert!(text.contains("\nKillMode=process\n"), "{text}");
        assert_eq!(Supervisor::digest().len(), 64);
    }
}
