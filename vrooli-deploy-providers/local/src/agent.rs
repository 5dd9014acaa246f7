//! This machine's fleet for somebody far away: a hidden subcommand that a server runs, which speaks
//! on its standard input and output and ends with the conversation. What it started goes on.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::io::AsyncReadExt as _;
use uuid::Uuid;
use vrooli_deploy_core::names::{ReleaseNumber, StackId};
use vrooli_deploy_core::provider::wire::{
    self, Exited, FleetSeen, HostSettings, Incoming, Printed, ProgramSeen,
};
use vrooli_deploy_core::provider::{
    Cancellation, CertificateRequest, CertificateSeen, ErrorKind, Fleet, OpCtx, ProviderError, Result,
};
use vrooli_deploy_core::secrets::{Secret, SecretError, SecretRef, SecretStore};

use crate::child::MARKER;
use crate::fleet::LocalFleet;
use crate::kinds::Machine;
use crate::layout::Layout;
use crate::process::certificates::{self, Kept};
use crate::process::{
    Program, Service, Supervision, SupervisorClient, Values, highest, refuse_older, share_front,
};
use crate::servers::ServerOptions;

/// Serves the fleet of a workspace whose supervisor is a unit of the system. Returns the status
/// that the process ends with.
pub(crate) fn run(root: &Path, unit: &str) -> u8 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("cannot make a runtime: {error}")),
    };
    let agent = Arc::new(Agent::new(root, Supervision::Service(Service::new(unit))));
    let served = runtime.block_on(wire::serve(agent, tokio::io::stdin(), tokio::io::stdout()));
    // Reading from standard input cannot be given up: it must not be waited for.
    runtime.shutdown_background();
    match served {
        Ok(()) => 0,
        Err(error) => failed(&error.to_string()),
    }
}

/// Prints what there is of a stack, for whoever surveys the machine: a [`FleetSeen`] in one line. Starts
/// nothing.
pub(crate) fn look(root: &Path, app: &str, environment: &str) -> u8 {
    let (Ok(app), Ok(environment)) = (app.parse(), environment.parse()) else { return 64 };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("cannot make a runtime: {error}")),
    };
    let fleet = Agent::new(root, Supervision::default()).fleet;
    let deadline = Instant::now() + Duration::from_secs(20);
    let stack = StackId { app, environment };
    let cx = OpCtx::new(stack, Uuid::nil(), 0, deadline, Cancellation::new());
    let seen = runtime.block_on(async {
        let (layout, routing) = (Layout::new(root), fleet.routing(&cx).await?);
        let staged = fleet.staged(&cx).await?;
        let mut images = BTreeMap::new();
        for release in staged.iter().filter(|release| routing.weights.contains_key(&release.number)) {
            let other = fleet.other_images(&cx, release).await?;
            if !other.is_empty() {
                images.insert(release.number, other);
            }
        }
        let values = |number: &ReleaseNumber| (*number, Values::known_by(&layout, &cx.stack, *number));
        Ok::<_, ProviderError>(FleetSeen {
            units: fleet.list(&cx).await?,
            values: routing.weights.keys().map(values).collect(),
            routing,
            staged,
            images,
            claims: fleet.claims_of_others(&cx)?,
            fence: highest(&layout, &cx.stack)?,
            supervised: SupervisorClient::connect(&layout).await?.is_some(),
            certificate: certificates::seen(&layout, &cx.stack)?,
            program: Some(ProgramSeen::own()),
        })
    });
    match seen.map(|seen| serde_json::to_string(&seen)) {
        Ok(Ok(line)) => {
            // Whoever asked may be gone.
            let _ = writeln!(std::io::stdout(), "{line}");
            0
        }
        Ok(Err(error)) => failed(&error.to_string()),
        Err(error) => failed(&error.to_string()),
    }
}

fn failed(words: &str) -> u8 {
    let _ = writeln!(std::io::stderr(), "{words}");
    1
}

/// The fleet of one workspace.
#[derive(Debug)]
struct Agent {
    layout: Layout,
    fleet: Arc<LocalFleet>,
}

impl Agent {
    fn new(root: &Path, supervision: Supervision) -> Self {
        let layout = Layout::new(root);
        let machine = Machine {
            layout: layout.clone(),
            secrets: Arc::new(NoStore),
            supervision,
            servers: ServerOptions::default(),
        };
        Self { layout, fleet: Arc::new(LocalFleet::new(machine).delivered()) }
    }

    async fn supervisor(&self) -> Result<SupervisorClient> {
        let gone = || ProviderError::new(ErrorKind::Unavailable, "what serves apps does not run");
        SupervisorClient::connect(&self.layout).await?.ok_or_else(gone)
    }
}

#[async_trait]
impl wire::Agent for Agent {
    fn fleet(&self) -> Arc<dyn Fleet> {
        Arc::clone(&self.fleet) as Arc<dyn Fleet>
    }

    async fn begin(&self, settings: &HostSettings) -> Result<()> {
        share_front(&self.layout, settings.listen, settings.secure)
    }

    async fn keep_values(
        &self,
        cx: &OpCtx,
        release: ReleaseNumber,
        values: Vec<(SecretRef, Secret<String>)>,
    ) -> Result<()> {
        refuse_older(&self.layout, &cx.stack, cx.fence)?;
        Values::keep(&self.layout, &cx.stack, release, &values)
    }

    async fn serve_by_tls(
        &self,
        cx: &OpCtx,
        request: Option<CertificateRequest>,
    ) -> Result<Option<CertificateSeen>> {
        refuse_older(&self.layout, &cx.stack, cx.fence)?;
        match request {
            Some(request) => Kept::keep(&self.layout, &cx.stack, request, Timestamp::now())?,
            None => Kept::forget(&self.layout, &cx.stack)?,
        }
        self.supervisor().await?.certificate(cx, false).await
    }

    async fn look_at_certificate(&self, cx: &OpCtx) -> Result<Option<CertificateSeen>> {
        certificates::seen(&self.layout, &cx.stack)
    }

    async fn order_certificate(&self, cx: &OpCtx) -> Result<Option<CertificateSeen>> {
        self.supervisor().await?.certificate(cx, true).await
    }

    async fn give_certificate(&self, cx: &OpCtx) -> Result<Secret<Vec<u8>>> {
        refuse_older(&self.layout, &cx.stack, cx.fence)?;
        Kept::give(&self.layout, &cx.stack)
    }

    async fn take_certificate(
        &self,
        cx: &OpCtx,
        carried: Secret<Vec<u8>>,
    ) -> Result<Option<CertificateSeen>> {
        refuse_older(&self.layout, &cx.stack, cx.fence)?;
        Kept::put_carried(&self.layout, &cx.stack, &carried)?;
        self.supervisor().await?.certificate(cx, false).await
    }

    async fn exec(&self, cx: &OpCtx, words: &[String], input: Incoming, output: &Printed) -> Result<Exited> {
        match words {
            [role, ..] if role == STORE => beside(cx, words, input, output).await,
            _ => Err(ProviderError::new(ErrorKind::Unsupported, "this is nothing that it runs")),
        }
    }

    async fn kept_values(
        &self,
        cx: &OpCtx,
        release: ReleaseNumber,
    ) -> Result<Vec<(SecretRef, Secret<String>)>> {
        refuse_older(&self.layout, &cx.stack, cx.fence)?;
        let values = Values::read(&self.layout, &cx.stack, release)?;
        Ok(values.map(Values::into_all).unwrap_or_default())
    }
}

/// What takes a delivery into a server's store. Bare-metal's data knows the word, too.
const STORE: &str = "store";
/// What is read of a program at a time, in bytes.
const BLOCK: usize = 64 * 1024;
/// How much is kept of what it complains, in bytes.
const LARGEST_WORDS: usize = 4 * 1024;

/// Runs a hidden subcommand until it has ended or nobody waits for it.
async fn beside(cx: &OpCtx, words: &[String], mut input: Incoming, output: &Printed) -> Result<Exited> {
    let cannot = |error: io::Error| {
        ProviderError::new(ErrorKind::Unexpected, format!("`{}` cannot be run: {error}", words.join(" ")))
    };
    let mut child = tokio::process::Command::new(Program::default().path)
        .arg(MARKER)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Also when this is dropped.
        .kill_on_drop(true)
        .spawn()
        .map_err(cannot)?;
    let (Some(mut stdin), Some(mut stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(cannot(io::ErrorKind::BrokenPipe.into()));
    };
    let feed = async move {
        // One that reads no more has ended, or is about to: its status says why.
        let _ = tokio::io::copy(&mut input, &mut stdin).await;
        drop(stdin);
        std::future::pending::<()>().await;
    };
    let print = async {
        loop {
            let mut block = Vec::with_capacity(BLOCK);
            match stdout.read_buf(&mut block).await {
                Ok(1..) if output.print(block).await => {}
                _ => return,
            }
        }
    };
    let complain = async {
        let mut said = Vec::new();
        let mut stderr = stderr;
        let _ = (&mut stderr).take(LARGEST_WORDS as u64).read_to_end(&mut said).await;
        // Whoever complains on must not be stopped by it.
        let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
        String::from_utf8_lossy(&said).trim().to_owned()
    };
    let ended = async {
        let ((), words, status) = tokio::join!(print, complain, child.wait());
        Ok(Exited { status: status.map_err(cannot)?.code().unwrap_or(-1), words })
    };
    tokio::select! {
        ended = ended => ended,
        () = feed => Err(cannot(io::ErrorKind::BrokenPipe.into())),
        () = cx.cancellation.cancelled() => Err(ProviderError::new(ErrorKind::Cancelled, "it was ended")),
        () = tokio::time::sleep_until(cx.deadline.into()) => {
            Err(ProviderError::new(ErrorKind::Timeout, format!("`{}` took too long and was ended", words.join(" "))))
        }
    }
}

/// A server keeps no store: values lie beside the releases that they came with.
#[derive(Debug)]
struct NoStore;

impl NoStore {
    fn none() -> SecretError {
        SecretError::Io {
            place: "this server".to_owned(),
            message: "it has none: values are kept beside each release".to_owned(),
        }
    }
}

impl SecretStore for NoStore {
    fn name(&self) -> &'static str {
        "none"
    }
    fn put(&self, _: &str, _: &Secret<String>) -> std::result::Result<SecretRef, SecretError> {
        Err(Self::none())
    }
    fn get(&self, _: &SecretRef) -> std::result::Result<Secret<String>, SecretError> {
        Err(Self::none())
    }
    fn latest(&self, _: &str) -> std::result::Result<Option<SecretRef>, SecretError> {
        Ok(None)
    }
    fn list(&self, _: &str) -> std::result::Result<Vec<SecretRef>, SecretError> {
        Ok(Vec::new())
    }
    fn remove(&self, _: &[SecretRef]) -> std::result::Result<(), SecretError> {
        Ok(())
    }
}
