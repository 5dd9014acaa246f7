//! What may be typed after `hosts`.

use clap::{Args, Subcommand};
use vrooli_deploy_providers::bare_metal::host::{HostName, role, roles};
use vrooli_deploy_providers::bare_metal::remote::Fingerprint;

#[derive(Debug, Subcommand)]
pub(crate) enum Hosts {
    /// Vouch for a server's key, look at the server, and keep it in the workspace
    Add(HostsAdd),
    /// Take a server off the workspace's list, or give it up
    Remove(HostsRemove),
    /// List the servers that are known
    List(HostsOf),
    /// Look at servers: system, machine, memory, disk, rights
    Check(HostsOf),
}

impl Hosts {
    /// The verb as it is typed.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Add(_) => "hosts add",
            Self::Remove(_) => "hosts remove",
            Self::List(_) => "hosts list",
            Self::Check(_) => "hosts check",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct HostsAdd {
    /// Host name, address, or a `Host` of your ~/.ssh/config
    pub(crate) host: HostName,
    /// What it is for: app, cache, database
    #[arg(long, value_name = "ROLE", default_value = "app", value_parser = known_role)]
    pub(crate) role: String,
    /// The server's key, as `ssh-keygen -lf` shows it there; without it you are asked
    #[arg(long, value_name = "SHA256:…")]
    pub(crate) fingerprint: Option<Fingerprint>,
}

#[derive(Debug, Args)]
pub(crate) struct HostsRemove {
    /// The server
    pub(crate) host: HostName,
    /// It is gone for good, with all that was on it: no deployment asks it any more
    #[arg(long)]
    pub(crate) lost: bool,
}

#[derive(Debug, Args)]
pub(crate) struct HostsOf {
    /// An app: its manifest's servers, too (folder, manifest file, profile or name)
    pub(crate) app: Option<String>,
}

fn known_role(word: &str) -> Result<String, String> {
    role(word)
        .map(ToOwned::to_owned)
        .ok_or_else(|| format!("no role of a server; roles are {}", roles().collect::<Vec<_>>().join(", ")))
}
