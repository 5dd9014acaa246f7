//! Carries releases on this machine: staged in folders of their own, run by the supervisor,
//! served by the edge.

mod beside;
mod health;
mod http;
mod images;
mod logs;
mod probe;
mod samples;
mod smoke;
mod stage;

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use vrooli_deploy_core::names::{Digest, ReleaseNumber, StackId, UnitId};
use vrooli_deploy_core::provider::{
    Artefact, BuildRequest, DrainReport, ErrorKind, Fleet, FleetCapabilities, FleetDifference, FleetPart,
    LogPage, LogQuery, MigrationReport, OpCtx, ProbeReport, Reading, Result, Routing, SmokeReport,
    UnitObserved, UnitState,
};
use vrooli_deploy_core::release::{Release, migration};

use crate::build::Builder;
use crate::kinds::{Machine, port, postgres, redis};
use crate::process::{
    Supervision, SupervisorClient, admit, certificates, edge_folder, last_routing, observe, public,
    refuse_older, secure_front,
};
use crate::{failure, files};

/// Carries releases on this machine.
#[derive(Debug)]
pub struct LocalFleet {
    machine: Machine,
    builder: Builder,
    /// Does somebody else put release folders where they belong?
    delivered: bool,
}

impl LocalFleet {
    /// A fleet whose units run as the machine says. Makes nothing and starts nothing.
    #[must_use]
    pub fn new(machine: Machine) -> Self {
        let builder = Builder::new(machine.layout.clone(), machine.supervision.build_guard());
        Self { machine, builder, delivered: false }
    }

    /// The same where release folders are delivered whole by somebody else, each with its record:
    /// staging only makes them ready.
    #[must_use]
    pub(crate) fn delivered(mut self) -> Self {
        self.delivered = true;
        self
    }

    /// The supervisor, started if none runs. One that is started starts everything that is
    /// wanted, so the servers that apps need run before it.
    async fn supervisor(&self, cx: &OpCtx) -> Result<SupervisorClient> {
        let running = self.running_supervisor().await?;
        if running.is_none() {
            self.machine.supervision.admit(&self.machine.layout).await?;
            self.ensure_servers_of_all(cx).await?;
        }
        let supervision = self.machine.supervision.clone();
        let client = SupervisorClient::connect_or_start(&self.machine.layout, supervision).await?;
        Ok(client.with_connections_of(running.as_ref()))
    }

    async fn ensure_servers_of_all(&self, cx: &OpCtx) -> Result<()> {
        let layout = &self.machine.layout;
        for stack in layout.stacks().map_err(failure::at("read", &layout.apps()))? {
            let wanted: BTreeSet<ReleaseNumber> = observe(layout, &stack)?
                .into_iter()
                .filter(|unit| unit.state != UnitState::Stopped)
                .map(|unit| unit.release)
                .collect();
            let mut cx = cx.clone();
            cx.stack = stack;
            for number in wanted {
                let Ok(Some(release)) = self.staged_release(&cx.stack, number) else { continue };
                // Another app's server must not keep this one from starting.
                if let Err(error) = self.ensure_servers(&cx, &release).await {
                    tracing::warn!(stack = %cx.stack, %error, "a server of an app does not run");
                }
            }
        }
        Ok(())
    }

    /// The supervisor if one runs: nothing is started to find out that nothing runs.
    async fn running_supervisor(&self) -> Result<Option<SupervisorClient>> {
        SupervisorClient::connect(&self.machine.layout).await
    }

    /// Containers outlive who starts them, by processes that only Linux has.
    fn runs_containers(&self) -> bool {
        cfg!(target_os = "linux") && !matches!(self.machine.supervision, Supervision::InProcess(_))
    }

    async fn edge_serves(&self) -> bool {
        let Ok(folder) = edge_folder(&self.machine.layout) else { return false };
        matches!(vrooli_deploy_edge::EdgeReader::connect(&folder).await, Ok(Some(_)))
    }

    async fn units(&self, cx: &OpCtx) -> Result<Vec<UnitObserved>> {
        match self.running_supervisor().await? {
            Some(supervisor) => supervisor.list(cx).await,
            None => observe(&self.machine.layout, &cx.stack),
        }
    }

    async fn unit(&self, cx: &OpCtx, release: &Release, unit: &UnitId) -> Result<Option<UnitObserved>> {
        Ok(self.units(cx).await?.into_iter().find(|u| u.release == release.number && u.unit == *unit))
    }

    fn public_port(&self, stack: &StackId) -> Result<Option<u16>> {
        Ok(public(&self.machine.layout, stack)?.map(|public| public.address.port()))
    }

    /// Where it is reached by TLS, if it is.
    fn secure_port(&self, stack: &StackId) -> Result<Option<u16>> {
        let layout = &self.machine.layout;
        let served = certificates::seen(layout, stack)?.is_some_and(|seen| seen.serves);
        Ok(if served { secure_front(layout)?.map(|address| address.port()) } else { None })
    }

    /// Brings back the servers of what is served. One that cannot be is no reason not to
    /// change the app: the change may be just what does without it.
    async fn revive_servers(&self, cx: &OpCtx) -> Result<()> {
        let routed = last_routing(&self.machine.layout, &cx.stack)?.weights;
        for release in self.staged_releases(&cx.stack)? {
            if routed.contains_key(&release.number)
                && let Err(error) = self.ensure_servers(cx, &release).await
            {
                tracing::warn!(stack = %cx.stack, %error, "a server of the running release does not run");
            }
        }
        Ok(())
    }

    /// Lets servers whose data is kept end; where their engine does not answer they do not run.
    async fn stop_servers(&self, cx: &OpCtx) -> Result<()> {
        for stopped in [postgres::stop_all(&self.machine, cx).await, redis::stop_all(&self.machine, cx).await]
        {
            match stopped {
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    tracing::warn!(stack = %cx.stack, %error, "a server could not be stopped");
                }
                other => other?,
            }
        }
        Ok(())
    }

    /// Sees to it that the release's own servers run: after a reboot nothing else does.
    async fn ensure_servers(&self, cx: &OpCtx, release: &Release) -> Result<()> {
        for requirement in &release.bundle.resources {
            let Some(key) = requirement.key() else { continue };
            let running = match requirement.resource.as_str() {
                "postgres" => postgres::ensure_running(&self.machine, cx, &key).await.map(drop),
                "redis" => redis::ensure_running(&self.machine, cx, &key).await.map(drop),
                _ => Ok(()),
            };
            match running {
                // Never made: the manifest points to one that is not ours.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Fleet for LocalFleet {
    fn capabilities(&self) -> FleetCapabilities {
        let mut capabilities = FleetCapabilities::default();
        capabilities.keeps_old = true;
        capabilities.migrates = true;
        capabilities.weights = true;
        capabilities.reverts = true;
        // Where all ends with the program, nothing of ours is left to go on with a watch.
        // On a server there is no state to go on from, either.
        capabilities.keeps_watch = matches!(self.machine.supervision, Supervision::Detached(_));
        capabilities.measures = true;
        capabilities.containers = self.runs_containers();
        capabilities
    }

    async fn source_digest(&self, cx: &OpCtx, request: &BuildRequest) -> Result<Digest> {
        self.builder.source_digest(cx, request).await
    }

    async fn foresee(&self, cx: &OpCtx, request: &BuildRequest) -> Result<Vec<String>> {
        self.builder.foresee(cx, request).await
    }

    async fn build(&self, cx: &OpCtx, request: &BuildRequest) -> Result<Artefact> {
        self.machine.supervision.admit(&self.machine.layout).await?;
        admit(&self.machine.layout, &cx.stack, cx.fence)?;
        self.builder.build(cx, request).await
    }

    async fn stage(&self, cx: &OpCtx, release: &Release) -> Result<()> {
        admit(&self.machine.layout, &cx.stack, cx.fence)?;
        if self.delivered { self.take_delivered(cx, release) } else { self.stage_release(cx, release) }
    }

    async fn migrate(&self, cx: &OpCtx, release: &Release) -> Result<MigrationReport> {
        admit(&self.machine.layout, &cx.stack, cx.fence)?;
        let root = self.app_root(&cx.stack, release)?;
        let bundle = &release.bundle;
        let done = migration::apply(&self.machine, cx, &root, &bundle.resources, &bundle.migrations).await?;
        Ok(done.report)
    }

    async fn start(&self, cx: &OpCtx, release: &Release, unit: &UnitId) -> Result<UnitObserved> {
        self.ensure_servers(cx, release).await?;
        self.supervisor(cx).await?.start(cx, release.number, unit).await
    }

    async fn probe(&self, cx: &OpCtx, release: &Release, unit: &UnitId) -> Result<ProbeReport> {
        self.probe_unit(cx, release, unit).await
    }

    async fn smoke(&self, cx: &OpCtx, release: &Release, through_edge: bool) -> Result<SmokeReport> {
        self.run_smoke(cx, release, through_edge).await
    }

    async fn route(&self, cx: &OpCtx, routing: &Routing) -> Result<Routing> {
        let supervisor = self.supervisor(cx).await?;
        if routing.weights.is_empty() {
            let before = supervisor.route(cx, routing).await?;
            supervisor.close_port(cx).await?;
            return Ok(before);
        }
        // Routes first: whoever connects once the port is open is served.
        let before = supervisor.route(cx, routing).await?;
        if self.public_port(&cx.stack)?.is_some() {
            supervisor.open_port(cx).await?;
        }
        Ok(before)
    }

    async fn routing(&self, cx: &OpCtx) -> Result<Routing> {
        match self.running_supervisor().await? {
            Some(supervisor) => supervisor.routing(cx).await,
            // Without a supervisor what was last set is served only as long as the edge lives.
            None if self.edge_serves().await => last_routing(&self.machine.layout, &cx.stack),
            None => Ok(Routing::default()),
        }
    }

    async fn revive(&self, cx: &OpCtx) -> Result<()> {
        // Every change comes by here first: one that cannot be made is refused before it begins.
        self.machine.supervision.admit(&self.machine.layout).await?;
        self.revive_servers(cx).await?;
        if self.running_supervisor().await?.is_some() {
            if self.machine.secrets.given_key().is_some() {
                // It may have been started by somebody who did not have the key.
                self.supervisor(cx).await?;
            }
            return Ok(());
        }
        let layout = &self.machine.layout;
        let wanted = observe(layout, &cx.stack)?.iter().any(|u| u.state != UnitState::Stopped);
        if wanted || !last_routing(layout, &cx.stack)?.weights.is_empty() {
            self.supervisor(cx).await?;
        }
        Ok(())
    }

    async fn drain(
        &self,
        cx: &OpCtx,
        release: ReleaseNumber,
        units: &BTreeSet<UnitId>,
        deadline: Duration,
    ) -> Result<DrainReport> {
        match self.running_supervisor().await? {
            Some(supervisor) => supervisor.drain(cx, release, units, deadline).await,
            None => Ok(DrainReport::default()),
        }
    }

    async fn samples(&self, cx: &OpCtx, since: Option<Timestamp>) -> Result<Vec<Reading>> {
        self.read_samples(cx, since).await
    }

    async fn keep_watch(&self, cx: &OpCtx) -> Result<()> {
        self.supervisor(cx).await?.keep_watch(cx).await
    }

    async fn stop(&self, cx: &OpCtx, release: ReleaseNumber, unit: &UnitId) -> Result<()> {
        self.supervisor(cx).await?.stop(cx, release, unit).await
    }

    async fn remove(&self, cx: &OpCtx, release: ReleaseNumber) -> Result<()> {
        let (layout, stack) = (&self.machine.layout, &cx.stack);
        refuse_older(layout, stack, cx.fence)?;
        for seen in self.units(cx).await?.into_iter().filter(|u| u.release == release) {
            self.stop(cx, release, &seen.unit).await?;
        }
        // The record first: without it the folder is not staged, whatever is left of it.
        let record = layout.release_record(stack, release);
        files::absent_is_ok(std::fs::remove_file(&record)).map_err(failure::at("remove", &record))?;
        if let Some(supervisor) = self.running_supervisor().await? {
            supervisor.remove(cx, release).await?;
        }
        for folder in [
            layout.release(stack, release),
            layout.release_units(stack, release),
            layout.release_logs(stack, release),
        ] {
            files::remove_tree(&folder).map_err(failure::at("remove", &folder))?;
        }
        let needed: BTreeSet<Digest> =
            self.staged_releases(stack)?.into_iter().map(|r| r.bundle.artefact.digest).collect();
        self.builder.prune(cx, &needed).await
    }

    async fn list(&self, cx: &OpCtx) -> Result<Vec<UnitObserved>> {
        self.units(cx).await
    }

    async fn staged(&self, cx: &OpCtx) -> Result<Vec<Release>> {
        self.staged_releases(&cx.stack)
    }

    async fn differences(&self, cx: &OpCtx, release: &Release) -> Result<Vec<FleetDifference>> {
        let staged = self.staged_releases(&cx.stack)?;
        let record = FleetDifference::of_record("", &staged, release);
        let other = self.other_images(cx, release).await?.into_iter();
        let other =
            other.map(|reason| FleetDifference { host: String::new(), part: FleetPart::Image, reason });
        Ok(record.into_iter().chain(other).collect())
    }

    async fn forget(&self, cx: &OpCtx, data: bool) -> Result<()> {
        refuse_older(&self.machine.layout, &cx.stack, cx.fence)?;
        if let Some(supervisor) = self.running_supervisor().await? {
            supervisor.forget(cx).await?;
            // It ends by itself as well; at once is tidier. Others may still need it, and what the
            // system keeps stays.
            if !matches!(self.machine.supervision, Supervision::Service(_)) {
                let _ = supervisor.shutdown().await;
            }
        }
        let (layout, stack) = (&self.machine.layout, &cx.stack);
        self.stop_servers(cx).await?;
        self.builder.forget_images(cx).await?;
        let folder = layout.stack(stack);
        let kept = [layout.data(stack), layout.servers(stack, "postgres"), layout.servers(stack, "redis")];
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(failure::io("read", &folder, &e)),
        };
        for entry in entries {
            let path = entry.map_err(failure::at("read", &folder))?.path();
            if data || !kept.contains(&path) {
                if path.is_dir() && !path.is_symlink() {
                    files::remove_tree(&path).map_err(failure::at("remove", &path))?;
                } else {
                    files::absent_is_ok(std::fs::remove_file(&path)).map_err(failure::at("remove", &path))?;
                }
            }
        }
        // A folder for data that holds none keeps nothing; one with something in it stays.
        let _ = std::fs::remove_dir(layout.data(stack));
        files::remove_empty_up_to(&folder, &layout.apps());
        Ok(())
    }

    async fn urls(&self, cx: &OpCtx) -> Result<Vec<String>> {
        Ok(port::read(&self.machine.layout, &cx.stack)?.iter().map(port::url).collect())
    }

    async fn logs(&self, cx: &OpCtx, query: &LogQuery) -> Result<LogPage> {
        self.read_logs(cx, query).await
    }
}
