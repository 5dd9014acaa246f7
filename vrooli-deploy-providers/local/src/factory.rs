use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vrooli_deploy_core::diagnostics::{Checked, Diagnostic, Severity, rules};
use vrooli_deploy_core::names::{ProviderName, StackId};
use vrooli_deploy_core::provider::pure::provider_name;
use vrooli_deploy_core::provider::{
    AnyKind, ErrorKind, LowerOptions, OpenContext, Provider, ProviderError, ProviderFactory, ProviderSet,
    Result,
};
use vrooli_deploy_core::requirements::Requirements;
use vrooli_deploy_core::secrets::SecretStore;
use vrooli_deploy_core::stack::Stack;

use crate::fleet::LocalFleet;
use crate::kinds::{Machine, Port, Postgres, Redis, Volume};
use crate::layout::Layout;
use crate::ledger::FolderLedger;
use crate::process::{InProcess, Program, Supervision, SupervisorConfig, resolver};
use crate::servers::ServerOptions;

/// Makes the `local` provider: this machine.
///
/// Apps outlive the program that deploys them, kept by processes of their own that are hidden
/// subcommands of the program ([`run_if_child`](crate::run_if_child)); or, with
/// [`in_process`](Self::in_process), they run inside the program and end with it.
#[derive(Debug, Clone)]
pub struct LocalFactory {
    place: Place,
    servers: Option<ServerOptions>,
}

#[derive(Debug, Clone)]
enum Place {
    Detached(Program),
    InProcess(Arc<Inside>),
}

/// What a program runs in itself, of all workspaces that it opened by this factory.
#[derive(Debug, Default)]
struct Inside {
    config: SupervisorConfig,
    open: Mutex<Vec<InProcess>>,
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
        // Where the key of the secret store is found: the supervisor opens the store itself. A
        // key that is in no file it gets from us, by pipe or socket.
        Self::with_program(Program::default().passing("XDG_CONFIG_HOME"))
    }

    /// Runs them as hidden subcommands of another program.
    #[must_use]
    pub fn with_program(program: Program) -> Self {
        Self { place: Place::Detached(program), servers: None }
    }

    /// Says how private servers are run, whatever the environment says; see
    /// [`ServerOptions::from_environment`].
    #[must_use]
    pub fn with_servers(self, servers: ServerOptions) -> Self {
        Self { servers: Some(servers), ..self }
    }

    /// Runs supervisor and edge on threads of this program, and apps as its children. The
    /// program is not started again, and nothing outlives it: apps, private database servers
    /// and build steps are asked to end when it ends, and forced to after their grace, also
    /// when it is killed. Until then a small shell (`/bin/sh`) waits for that; it is the one
    /// process that lives a moment longer.
    ///
    /// What is wanted is kept: the next program that deploys, starts or resumes an app of the
    /// workspace brings all its apps back. Call [`shutdown`](Self::shutdown) before the program
    /// ends, so that apps are stopped one by one and their exit is written down.
    ///
    /// A server in a container is a process of its engine and not of ours: `shutdown` stops all
    /// that the workspace has, and so does letting go of the last handle while the program goes
    /// on. When the program is killed they run on; the next one that opens the workspace takes
    /// them over as they are, and stops them with its own `shutdown`.
    ///
    /// A workspace is served in one way at a time: while a supervisor process serves it, every
    /// change from here is refused with who that is, and the other way round.
    ///
    /// Holds on Linux for every process that stays in its group, or keeps the environment that
    /// it was started with. One that leaves both (a daemon that overwrites its environment in
    /// a session of its own) is found by nothing here; the shims of the other mode find it.
    #[must_use]
    pub fn in_process(self) -> Self {
        self.in_process_with(SupervisorConfig::default())
    }

    /// The same with other numbers for the supervisor.
    #[must_use]
    pub fn in_process_with(self, config: SupervisorConfig) -> Self {
        Self { place: Place::InProcess(Arc::new(Inside { config, open: Mutex::default() })), ..self }
    }

    /// Ends what this program runs in itself by this factory or a clone of it: apps by their
    /// own grace, then their servers, also those in containers. Returns when nothing is left. Nothing to do otherwise.
    pub async fn shutdown(&self) {
        let Place::InProcess(inside) = &self.place else { return };
        let open = std::mem::take(&mut *inside.open());
        futures_util::future::join_all(open.iter().map(InProcess::end)).await;
    }

    fn supervision(&self, layout: &Layout, secrets: &Arc<dyn SecretStore>) -> Supervision {
        match &self.place {
            Place::Detached(program) => Supervision::Detached(program.clone().with_key(secrets.given_key())),
            Place::InProcess(inside) => {
                let here = InProcess::of(layout, &inside.config, resolver(Arc::clone(secrets)));
                let mut open = inside.open();
                if !open.iter().any(|there| there.is(&here)) {
                    open.push(here.clone());
                }
                Supervision::InProcess(here)
            }
        }
    }
}

impl Inside {
    fn open(&self) -> MutexGuard<'_, Vec<InProcess>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nothing is billed here, so nobody has to be told: an app with a budget elsewhere runs here as well.
fn no_budget(options: &LowerOptions) -> Option<Diagnostic> {
    options.infrastructure.budget.as_ref()?;
    let place = options.spans.place("/infrastructure/budget").and_then(|place| place.key.clone());
    let mut said = rules::NO_BUDGET
        .diagnostic("`infrastructure.budget` says nothing on this machine: nothing here is billed")
        .at(place, "");
    said.severity = Severity::Warning;
    Some(said)
}

impl ProviderFactory for LocalFactory {
    fn name(&self) -> ProviderName {
        provider_name("local")
    }

    fn lower(&self, stack: &StackId, requirements: &Requirements, options: &LowerOptions) -> Checked<Stack> {
        let mut checked = crate::lower::lower(
            requirements,
            &crate::lower::LowerOptions {
                environment: stack.environment.clone(),
                listen: options.listen.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
                port: options.port,
                given: options.provided.clone(),
                spans: options.spans.clone(),
            },
        );
        checked.diagnostics.extend(no_budget(options));
        checked
    }

    fn kinds(&self) -> Vec<&'static dyn AnyKind> {
        crate::kinds::all()
    }

    fn images(&self, dir: &std::path::Path) -> Option<Arc<dyn vrooli_deploy_core::provider::ImageBuilder>> {
        Some(crate::build::image_builder(dir))
    }

    fn open(&self, context: &OpenContext) -> Result<Arc<dyn Provider>> {
        if cfg!(windows) {
            return Err(ProviderError::new(
                ErrorKind::Unsupported,
                "the local provider runs on Linux and macOS, not on Windows",
            )
            .with_help("use it inside WSL, or deploy to another provider"));
        }
        let layout = Layout::new(&context.dir);
        let servers = match &self.servers {
            Some(servers) => servers.clone(),
            None => ServerOptions::from_environment()?,
        };
        let supervision = self.supervision(&layout, &context.secrets);
        let machine = Machine { layout, secrets: Arc::clone(&context.secrets), supervision, servers };
        let client = Arc::new(machine.clone());
        Ok(Arc::new(
            ProviderSet::new(self.name())
                .with(Port, &client)
                .with(Volume, &client)
                .with(Postgres, &client)
                .with(Redis, &client)
                .with_ledger(Arc::new(FolderLedger(machine.clone())))
                .with_fleet(Arc::new(LocalFleet::new(machine))),
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
