use std::sync::Arc;

use vrooli_deploy_core::diagnostics::Checked;
use vrooli_deploy_core::names::{ProviderName, StackId};
use vrooli_deploy_core::provider::{
    ErrorKind, LowerOptions, OpenContext, Provider, ProviderError, ProviderFactory, ProviderSet, Result,
};
use vrooli_deploy_core::requirements::Requirements;
use vrooli_deploy_core::stack::Stack;

use crate::fleet::LocalFleet;
use crate::kinds::{LocalClient, Port, Postgres, Redis, Volume};
use crate::layout::Layout;
use crate::process::Program;

/// Makes the `local` provider: this machine.
#[derive(Debug, Clone, Default)]
pub struct LocalFactory {
    program: Program,
}

impl LocalFactory {
    /// Runs supervisor, edge and shims as hidden subcommands of this program, which must call
    /// [`run_if_child`](crate::run_if_child) first in its `main`.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs them as hidden subcommands of another program.
    #[must_use]
    pub fn with_program(program: Program) -> Self {
        Self { program }
    }
}

impl ProviderFactory for LocalFactory {
    fn name(&self) -> ProviderName {
        crate::provider_name()
    }

    fn lower(&self, stack: &StackId, requirements: &Requirements, options: &LowerOptions) -> Checked<Stack> {
        crate::lower::lower(stack, requirements, options)
    }

    fn open(&self, context: &OpenContext) -> Result<Arc<dyn Provider>> {
        if cfg!(windows) {
            return Err(ProviderError::new(ErrorKind::Unsupported, "the local provider runs on Linux and macOS, not on Windows")
                .with_help("use it inside WSL, or deploy to another provider"));
        }
        let workspace = Layout::new(&context.dir);
        let layout = workspace.stack(&context.stack);
        let client = Arc::new(LocalClient::new(layout.clone(), context.owner, Arc::clone(&context.secrets)));
        let fleet = LocalFleet::new(workspace, layout, self.program.clone(), Arc::clone(&context.secrets));
        Ok(Arc::new(
            ProviderSet::new(self.name())
                .with(Port, &client)
                .with(Volume, &client)
                .with(Postgres, &client)
                .with(Redis, &client)
                .with_fleet(Arc::new(fleet)),
        ))
    }
}
