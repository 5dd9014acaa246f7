//! Carries releases on this machine: staged in folders of their own, run by the supervisor,
//! served by the edge.

mod health;
mod http;
mod listening;
mod logs;
mod probe;
mod smoke;
mod stage;

use std::fs;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use vrooli_deploy_core::names::{Digest, ReleaseNumber, UnitId};
use vrooli_deploy_core::provider::{
    Artefact, BuildRequest, DrainReport, Fleet, FleetCapabilities, LogPage, LogQuery, MigrationReport, OpCtx,
    ProbeReport, Result, Routing, SmokeReport, UnitObserved,
};
use vrooli_deploy_core::release::Release;
use vrooli_deploy_core::secrets::SecretStore;

use crate::build::Builder;
use crate::kinds::PortRecord;
use crate::layout::{Layout, StackLayout, read_json, remove_tree};
use crate::migrate::Migrator;
use crate::process::{Program, SupervisorClient};

use stage::io_error;

/// Carries the releases of one stack on this machine.
#[derive(Debug)]
pub struct LocalFleet {
    workspace: Layout,
    layout: StackLayout,
    program: Program,
    builder: Builder,
    migrator: Migrator,
}

impl LocalFleet {
    /// The fleet of one stack. Makes nothing and starts nothing.
    #[must_use]
    pub fn new(
        workspace: Layout,
        layout: StackLayout,
        program: Program,
        secrets: Arc<dyn SecretStore>,
    ) -> Self {
        Self {
            builder: Builder::new(layout.clone(), program.clone()),
            migrator: Migrator::new(layout.clone(), secrets),
            workspace,
            layout,
            program,
        }
    }

    async fn supervisor(&self) -> Result<SupervisorClient> {
        SupervisorClient::connect_or_spawn(&self.workspace, &self.program).await
    }

    /// The supervisor if one runs: nothing is started to find out that nothing runs.
    async fn running_supervisor(&self) -> Result<Option<SupervisorClient>> {
        SupervisorClient::connect(&self.workspace).await
    }

    async fn units(&self, cx: &OpCtx) -> Result<Vec<UnitObserved>> {
        match self.running_supervisor().await? {
            Some(supervisor) => supervisor.list(&cx.stack).await,
            None => Ok(Vec::new()),
        }
    }

    async fn unit(&self, cx: &OpCtx, release: &Release, unit: &UnitId) -> Result<Option<UnitObserved>> {
        Ok(self.units(cx).await?.into_iter().find(|u| u.release == release.number && u.unit == *unit))
    }

    fn port_record(&self) -> Result<Option<PortRecord>> {
        let path = self.layout.port_record();
        read_json(&path).map_err(|e| io_error("read", &path, &e))
    }

    fn public_port(&self) -> Result<Option<u16>> {
        Ok(self.port_record()?.map(|record| record.port))
    }
}

#[async_trait]
impl Fleet for LocalFleet {
    fn capabilities(&self) -> FleetCapabilities {
        let mut capabilities = FleetCapabilities::default();
        capabilities.keeps_old = true;
        capabilities.weights = true;
        capabilities
    }

    async fn source_digest(&self, cx: &OpCtx, request: &BuildRequest) -> Result<Digest> {
        self.builder.source_digest(cx, request).await
    }

    async fn build(&self, cx: &OpCtx, request: &BuildRequest) -> Result<Artefact> {
        self.builder.build(cx, request).await
    }

    async fn stage(&self, cx: &OpCtx, release: &Release) -> Result<()> {
        self.stage_release(cx, release)
    }

    async fn migrate(&self, cx: &OpCtx, release: &Release) -> Result<MigrationReport> {
        self.migrator.migrate(cx, release).await
    }

    async fn start(&self, cx: &OpCtx, release: &Release, unit: &UnitId) -> Result<UnitObserved> {
        self.migrator.ensure_running(cx, release).await?;
        self.supervisor().await?.start(cx, release.number, unit).await
    }

    async fn probe(&self, cx: &OpCtx, release: &Release, unit: &UnitId) -> Result<ProbeReport> {
        self.probe_unit(cx, release, unit).await
    }

    async fn smoke(&self, cx: &OpCtx, release: &Release, through_edge: bool) -> Result<SmokeReport> {
        self.run_smoke(cx, release, through_edge).await
    }

    async fn route(&self, cx: &OpCtx, routing: &Routing) -> Result<Routing> {
        if routing.weights.is_empty() {
            // Nothing is to be served: nothing is started for that.
            return match self.running_supervisor().await? {
                Some(supervisor) => {
                    let before = supervisor.route(cx, routing).await?;
                    supervisor.close_port(cx).await?;
                    Ok(before)
                }
                None => Ok(Routing::default()),
            };
        }
        let supervisor = self.supervisor().await?;
        if self.port_record()?.is_some() {
            supervisor.open_port(cx).await?;
        }
        supervisor.route(cx, routing).await
    }

    async fn routing(&self, cx: &OpCtx) -> Result<Routing> {
        match self.running_supervisor().await? {
            Some(supervisor) => supervisor.routing(&cx.stack).await,
            None => Ok(Routing::default()),
        }
    }

    async fn drain(&self, cx: &OpCtx, release: ReleaseNumber, deadline: Duration) -> Result<DrainReport> {
        match self.running_supervisor().await? {
            Some(supervisor) => supervisor.drain(cx, release, deadline).await,
            None => Ok(DrainReport::default()),
        }
    }

    async fn stop(&self, cx: &OpCtx, release: ReleaseNumber, unit: &UnitId) -> Result<()> {
        match self.running_supervisor().await? {
            Some(supervisor) => supervisor.stop(cx, release, unit).await,
            None => Ok(()),
        }
    }

    async fn remove(&self, cx: &OpCtx, release: ReleaseNumber) -> Result<()> {
        for seen in self.units(cx).await?.into_iter().filter(|u| u.release == release) {
            self.stop(cx, release, &seen.unit).await?;
        }
        // The record first: without it the folder is not staged, whatever is left of it.
        let record = self.layout.release_record(release);
        match fs::remove_file(&record) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(io_error("remove", &record, &e)),
        }
        for folder in
            [self.layout.release(release), self.layout.release_units(release), self.layout.logs(release)]
        {
            remove_tree(&folder).map_err(|e| io_error("remove", &folder, &e))?;
        }
        Ok(())
    }

    async fn list(&self, cx: &OpCtx) -> Result<Vec<UnitObserved>> {
        self.units(cx).await
    }

    async fn staged(&self, _cx: &OpCtx) -> Result<Vec<Release>> {
        self.staged_releases()
    }

    async fn forget(&self, cx: &OpCtx, data: bool) -> Result<()> {
        if let Some(supervisor) = self.running_supervisor().await? {
            supervisor.forget(cx).await?;
        }
        self.layout.forget(data).map_err(|e| io_error("remove", self.layout.root(), &e))
    }

    async fn urls(&self, _cx: &OpCtx) -> Result<Vec<String>> {
        Ok(self.port_record()?.map(|record| record.url()).into_iter().collect())
    }

    async fn logs(&self, cx: &OpCtx, query: &LogQuery) -> Result<LogPage> {
        self.read_logs(cx, query).await
    }
}
