use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use vrooli_deploy_core::diagnostics::Checked;
use vrooli_deploy_core::names::{ProviderName, StackId};
use vrooli_deploy_core::provider::{
    ErrorKind, LowerOptions, OpenContext, Provider, ProviderError, ProviderFactory, ProviderSet, Result,
};
use vrooli_deploy_core::requirements::Requirements;
use vrooli_deploy_core::stack::Stack;

use crate::fleet::LocalFleet;
use crate::kinds::{Machine, Port, Postgres, Redis, Volume};
use crate::layout::Layout;
use crate::process::Program;
use crate::servers::ServerOptions;

/// The variable that may hold the key of the secret store, base64 of 32 bytes.
pub const KEY_VARIABLE: &str = "VROOLI_DEPLOY_KEY";

/// Makes the `local` provider: this machine.
#[derive(Debug, Clone)]
pub struct LocalFactory {
    program: Program,
    servers: Option<ServerOptions>,
}

impl Default for LocalFactory {
    fn default() -> Self {
        Self::new()
    }
}

impl LocalFactory {
    /// Runs supervisor, edge and shims as hidden subcommands of this program, which must call
    /// [`run_if_child`](crate::run_if_child) first in its `main`.
    #[must_use]
    pub fn new() -> Self {
        // Where the key of the secret store is found: the supervisor opens the store itself.
        Self::with_program(Program::default().passing("XDG_CONFIG_HOME").passing(KEY_VARIABLE))
    }

    /// Runs them as hidden subcommands of another program.
    #[must_use]
    pub fn with_program(program: Program) -> Self {
        Self { program, servers: None }
    }

    /// Says how private servers are run, whatever the environment says; see
    /// [`ServerOptions::from_environment`].
    #[must_use]
    pub fn with_servers(self, servers: ServerOptions) -> Self {
        Self { servers: Some(servers), ..self }
    }
}

impl ProviderFactory for LocalFactory {
    fn name(&self) -> ProviderName {
        match ProviderName::new("local") {
            Ok(name) => name,
            // A literal of ours, and valid: see the test.
            Err(error) => unreachable!("{error}"),
        }
    }

    fn lower(&self, stack: &StackId, requirements: &Requirements, options: &LowerOptions) -> Checked<Stack> {
        crate::lower::lower(
            requirements,
            &crate::lower::LowerOptions {
                environment: stack.environment.clone(),
                listen: options.listen.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
                port: options.port,
                given: options.provided.clone(),
            },
        )
    }

    fn open(&self, context: &OpenContext) -> Result<Arc<dyn Provider>> {
        if cfg!(windows) {
            return Err(ProviderError::new(
                ErrorKind::Unsupported,
                "the local provider runs on Linux and macOS, not on Windows",
            )
            .with_help("use it inside WSL, or deploy to another provider"));
        }
        let servers = match &self.servers {
            Some(servers) => servers.clone(),
            None => ServerOptions::from_environment()?,
        };
        let machine =
            Machine { layout: Layout::new(&context.dir), secrets: Arc::clone(&context.secrets), servers };
        let client = Arc::new(machine.clone());
        Ok(Arc::new(
            ProviderSet::new(self.name())
                .with(Port, &client)
                .with(Volume, &client)
                .with(Postgres, &client)
                .with(Redis, &client)
                .with_fleet(Arc::new(LocalFleet::new(machine, self.program.clone()))),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_name_is_valid() {
        assert_eq!(LocalFactory::new().name().as_str(), "local");
    }
}
