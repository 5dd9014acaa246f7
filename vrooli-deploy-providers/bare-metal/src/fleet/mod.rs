//! Carries releases on servers: built here, delivered to each, run and served there by our own
//! program, and switched on all of them as one.
//!
//! A unit runs on every server that runs the app; of a service that must not run twice the first
//! server has the only one. Each server's edge serves what runs beside it.

mod app_host;
mod by_talk;
mod counted;
mod deliver;
mod differences;
mod leaving;
mod logs;
mod programs;
mod remembered;
mod routing;
mod secure;
mod together;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tempfile::TempPath;
use tokio::sync::Mutex;
use vrooli_deploy_core::diagnostics::rules;
use vrooli_deploy_core::manifest::Overlap;
use vrooli_deploy_core::names::{Digest, ReleaseNumber, ServiceName, UnitId};
use vrooli_deploy_core::plan::Draft;
use vrooli_deploy_core::provider::wire::{FleetSeen, HostSettings};
use vrooli_deploy_core::provider::{
    Artefact, ArtefactBuilder, BuildRequest, CertificateSeen, DrainReport, ErrorKind, Fleet,
    FleetCapabilities, FleetDifference, LogPage, LogQuery, MigrationReport, OpCtx, ProbeReport,
    ProviderError, Reading, Result, Routing, SmokeReport, UnitObserved, UnitState,
};
use vrooli_deploy_core::release::strategy::{overlap, units};
use vrooli_deploy_core::release::{Release, claims, migration};
use vrooli_deploy_core::secrets::{Secret, SecretRef, SecretStore};

use crate::ground::Servers;
use crate::host::HostName;
use crate::own::{ProgramDigests, Programs};
use crate::store::StoredFile;
use app_host::AppHost;
use counted::Counted;
use deliver::Packed;
use leaving::Leaving;
use programs::OwnPrograms;
use together::{all, each};

/// Where apps are reached on a server: by HTTP, on all of its addresses.
const FRONT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 80);

/// The same by TLS, for apps that have a certificate.
const SECURE_FRONT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 443);

pub use secure::Authorities;

/// Carries releases on servers.
#[derive(Debug)]
pub struct BareMetalFleet {
    servers: Arc<Servers>,
    /// In the order of their names.
    hosts: Vec<AppHost>,
    builder: Option<Arc<dyn ArtefactBuilder>>,
    secrets: Arc<dyn SecretStore>,
    packed: Mutex<Option<Arc<Packed>>>,
    /// Images that were saved, by their ids; their files go with this.
    saved: Mutex<BTreeMap<Digest, (TempPath, StoredFile)>>,
    counted: Mutex<Counted>,
    /// What was set last, by this run.
    routed: Mutex<Option<Routing>>,
    authorities: Authorities,
}

impl BareMetalFleet {
    /// A fleet of the servers that run the app. Reaches none. Without a builder only releases that
    /// were built before can be carried.
    #[must_use]
    pub fn new(
        servers: &Arc<Servers>,
        builder: Option<Arc<dyn ArtefactBuilder>>,
        secrets: Arc<dyn SecretStore>,
        programs: Programs,
        authorities: Authorities,
    ) -> Self {
        let digests = ProgramDigests::in_file(servers.folder().join("programs.json"));
        let programs = Arc::new(OwnPrograms::new(programs, digests));
        let settings = HostSettings { listen: FRONT, secure: Some(SECURE_FRONT) };
        let host = |name| AppHost::new(servers, name, Arc::clone(&programs), settings.clone());
        servers.ended_by(Box::new(Leaving(servers.leaving().iter().map(host).collect())));
        Self {
            servers: Arc::clone(servers),
            hosts: servers.apps().iter().map(host).collect(),
            builder,
            secrets,
            packed: Mutex::default(),
            saved: Mutex::default(),
            counted: Mutex::default(),
            routed: Mutex::default(),
            authorities,
        }
    }

    fn builder(&self) -> Result<&Arc<dyn ArtefactBuilder>> {
        self.builder.as_ref().ok_or_else(|| {
            ProviderError::new(ErrorKind::Unsupported, "this build has nobody who builds apps for servers")
                .with_help("build with the feature `local` as well: artefacts are made on this machine")
        })
    }

    /// Holds all servers for this run, one after the other.
    async fn hold(&self, cx: &OpCtx) -> Result<()> {
        for host in &self.hosts {
            host.talk(cx).await.map_err(|error| together::failed(vec![(host.name().clone(), error)]))?;
        }
        Ok(())
    }

    /// Those that a service runs on.
    fn of(&self, release: &Release, service: &ServiceName) -> &[AppHost] {
        let config = release.bundle.services.get(service);
        if config.is_some_and(|config| overlap(config) == Overlap::Exclusive) {
            self.hosts.get(..1).unwrap_or_default()
        } else {
            &self.hosts
        }
    }

    /// Tables that should be there and are not. Servers that run the app see no database, so it is asked
    /// once for all of them; by the files, if they are here still.
    async fn missing_tables(&self, cx: &OpCtx, release: &Release) -> Result<Vec<String>> {
        let bundle = &release.bundle;
        if bundle.migrations.is_empty() {
            return Ok(Vec::new());
        }
        let root = self.app_root(release)?;
        if !root.is_dir() {
            return Ok(Vec::new());
        }
        let servers = &*self.servers;
        let missing =
            migration::missing_tables(servers, cx, &root, &bundle.resources, &bundle.migrations).await?;
        Ok(missing.into_iter().map(|table| format!("the database has no table `{table}`")).collect())
    }

    /// What is there on each: by who is talked with, else by the survey.
    async fn seen<'a>(&'a self, cx: &'a OpCtx) -> Result<Vec<(&'a AppHost, FleetSeen)>> {
        let seen = each(&self.hosts, async |host: &AppHost| {
            let Some(talk) = host.open_talk().await else {
                return Ok(host.seen(cx).await?.unwrap_or_default());
            };
            let (units, routing, staged, certificate) = tokio::join!(
                talk.fleet.list(cx),
                talk.fleet.routing(cx),
                talk.fleet.staged(cx),
                talk.fleet.look_at_certificate(cx)
            );
            let (units, routing, staged, certificate) = (units?, routing?, staged?, certificate?);
            Ok(FleetSeen { units, routing, staged, supervised: true, certificate, ..FleetSeen::default() })
        });
        all(seen.await, |host| host.name())
    }

    /// The values that servers keep beside a release, each once.
    pub(crate) async fn kept_values(
        &self,
        cx: &OpCtx,
        release: ReleaseNumber,
    ) -> Result<Vec<(SecretRef, Secret<String>)>> {
        let kept = async |host: &AppHost| match host.seen(cx).await? {
            Some(seen) if seen.staged.iter().any(|there| there.number == release) => {
                host.talk(cx).await?.fleet.kept_values(cx, release).await
            }
            _ => Ok(Vec::new()),
        };
        let kept = all(each(&self.hosts, kept).await, |host| host.name())?;
        let kept: BTreeMap<_, _> = kept.into_iter().flat_map(|(_, values)| values).collect();
        Ok(kept.into_iter().collect())
    }

    /// Does it on all that are given, whatever becomes of the others: a server that is lost keeps no
    /// other from being changed, or taken back. Each is held by who talks with it.
    async fn change<'a, T, F>(
        &'a self,
        hosts: &'a [AppHost],
        what: impl Fn(&'a AppHost) -> F,
    ) -> Result<Vec<(&'a AppHost, T)>>
    where
        F: Future<Output = Result<T>> + 'a,
    {
        all(each(hosts, what).await, |host| host.name())
    }
}

/// The same unit, with the name that the user gave the server.
fn on(host: &AppHost, mut unit: UnitObserved) -> UnitObserved {
    unit.host = host.name().to_string();
    unit
}

/// Units of releases that run elsewhere and are not there at all.
fn missing(
    host: &AppHost,
    first: bool,
    here: &[UnitObserved],
    releases: &BTreeMap<ReleaseNumber, Release>,
) -> Vec<UnitObserved> {
    let gone = |release: &Release, unit: UnitId| UnitObserved {
        release: release.number,
        unit,
        host: host.name().to_string(),
        state: UnitState::Stopped,
        pid: None,
        ports: BTreeMap::new(),
        restarts: 0,
        last_exit: Some("it is not there".to_owned()),
        log: None,
    };
    releases
        .values()
        .flat_map(|release| release.bundle.services.iter().map(move |(name, config)| (release, name, config)))
        .filter(|(_, _, config)| first || overlap(config) == Overlap::Allowed)
        .flat_map(|(release, name, config)| units(name, config).map(move |unit| (release, unit)))
        .filter(|(release, unit)| {
            !here.iter().any(|seen| seen.release == release.number && seen.unit == *unit)
        })
        .map(|(release, unit)| gone(release, unit))
        .collect()
}

#[async_trait]
impl Fleet for BareMetalFleet {
    fn capabilities(&self) -> FleetCapabilities {
        let mut capabilities = FleetCapabilities::default();
        capabilities.keeps_old = true;
        capabilities.migrates = true;
        capabilities.weights = true;
        capabilities.reverts = true;
        capabilities.measures = true;
        capabilities.containers = true;
        capabilities
    }

    async fn admits(&self, cx: &OpCtx, draft: &Draft) -> Result<()> {
        let own = claims(&draft.services, draft.domain.as_deref());
        let seen = each(&self.hosts, async |host: &AppHost| host.seen(cx).await);
        for (host, seen) in all(seen.await, |host| host.name())? {
            for (stack, theirs) in seen.iter().flat_map(|seen| &seen.claims) {
                if let Some(claim) = own.intersection(theirs).next() {
                    let words = format!("{}: requests for {claim} are those of {stack}", host.name());
                    return Err(ProviderError::new(ErrorKind::Conflict, words)
                        .with_code(rules::ROUTE_TAKEN.to_string())
                        .with_help(
                            "give the app a host name (`app.domain`) or a path of its own (`routes`)",
                        ));
                }
            }
        }
        Ok(())
    }

    async fn source_digest(&self, cx: &OpCtx, request: &BuildRequest) -> Result<Digest> {
        self.builder()?.source_digest(cx, request).await
    }

    async fn foresee(&self, cx: &OpCtx, request: &BuildRequest) -> Result<Vec<String>> {
        self.builder()?.foresee(cx, request).await
    }

    async fn build(&self, cx: &OpCtx, request: &BuildRequest) -> Result<Artefact> {
        // Servers are got ready meanwhile: one that cannot be reached is known before anything is sent.
        let (built, held) = tokio::join!(self.builder()?.build(cx, request), self.hold(cx));
        let built = built?;
        held.map(|()| built)
    }

    async fn stage(&self, cx: &OpCtx, release: &Release) -> Result<()> {
        let values = self.values(release)?;
        self.hold(cx).await?;
        let deliver = async |host: &AppHost| self.deliver(cx, host, release, &values).await;
        self.change(&self.hosts, deliver).await.map(drop)
    }

    async fn migrate(&self, cx: &OpCtx, release: &Release) -> Result<MigrationReport> {
        let bundle = &release.bundle;
        if bundle.migrations.is_empty() {
            return Ok(MigrationReport::default());
        }
        let root = self.app_root(release)?;
        let done = migration::apply(&*self.servers, cx, &root, &bundle.resources, &bundle.migrations).await?;
        Ok(done.report)
    }

    async fn start(&self, cx: &OpCtx, release: &Release, unit: &UnitId) -> Result<UnitObserved> {
        let start = async |host: &AppHost| host.talk(cx).await?.fleet.start(cx, release, unit).await;
        let started = self.change(self.of(release, &unit.service), start).await?;
        started.into_iter().next().map(|(host, unit)| on(host, unit)).ok_or_else(nowhere)
    }

    async fn probe(&self, cx: &OpCtx, release: &Release, unit: &UnitId) -> Result<ProbeReport> {
        let probe = async |host: &AppHost| host.talk(cx).await?.fleet.probe(cx, release, unit).await;
        let probed = all(each(self.of(release, &unit.service), probe).await, |host| host.name())?;
        let several = probed.len() > 1;
        let mut report = None;
        for (host, mut seen) in probed {
            if several {
                seen.reason = seen.reason.map(|reason| format!("on {}: {reason}", host.name()));
            }
            // One that is not well says more than all that are.
            if report.is_none() || !seen.healthy {
                report = Some(seen);
            }
        }
        report.ok_or_else(nowhere)
    }

    async fn smoke(&self, cx: &OpCtx, release: &Release, through_edge: bool) -> Result<SmokeReport> {
        let smoke = async |host: &AppHost| host.talk(cx).await?.fleet.smoke(cx, release, through_edge).await;
        let smoked = all(each(&self.hosts, smoke).await, |host| host.name())?;
        let several = smoked.len() > 1;
        let mut report = SmokeReport::default();
        for (host, seen) in smoked {
            report.passed += seen.passed;
            let name = |test: String| if several { format!("on {}: {test}", host.name()) } else { test };
            report.failed.extend(seen.failed.into_iter().map(name));
        }
        if !through_edge {
            report.failed.extend(self.missing_tables(cx, release).await?);
        }
        Ok(report)
    }

    async fn route(&self, cx: &OpCtx, routing: &Routing) -> Result<Routing> {
        self.switch(cx, routing).await
    }

    async fn routing(&self, cx: &OpCtx) -> Result<Routing> {
        let seen = self.seen(cx).await?;
        Ok(routing::of_all(
            seen.into_iter().filter(|(_, seen)| !seen.staged.is_empty()).map(|(_, seen)| seen.routing),
        ))
    }

    async fn drain(
        &self,
        cx: &OpCtx,
        release: ReleaseNumber,
        units: &BTreeSet<UnitId>,
        deadline: Duration,
    ) -> Result<DrainReport> {
        let drain =
            async |host: &AppHost| host.talk(cx).await?.fleet.drain(cx, release, units, deadline).await;
        let drained = all(each(&self.hosts, drain).await, |host| host.name())?;
        Ok(DrainReport { cut: drained.into_iter().map(|(_, report)| report.cut).sum() })
    }

    async fn samples(&self, cx: &OpCtx, since: Option<Timestamp>) -> Result<Vec<Reading>> {
        let mut counted = self.counted.lock().await;
        let samples = {
            let counted = &*counted;
            async |host: &AppHost| {
                let since = since.map(|at| counted.there(host.name(), at));
                host.talk(cx).await?.fleet.samples(cx, since).await
            }
        };
        let said = all(each(&self.hosts, samples).await, |host| host.name())?;
        let said = said.into_iter().map(|(host, readings)| (host.name().clone(), readings)).collect();
        Ok(counted.add(Timestamp::now(), said))
    }

    async fn keep_watch(&self, _: &OpCtx) -> Result<()> {
        Err(ProviderError::new(ErrorKind::Unsupported, "nobody on servers goes on with a watch")
            .with_help("wait for it: traffic goes back by itself if this program is killed"))
    }

    async fn stop(&self, cx: &OpCtx, release: ReleaseNumber, unit: &UnitId) -> Result<()> {
        let stop = async |host: &AppHost| host.talk(cx).await?.fleet.stop(cx, release, unit).await;
        self.change(&self.hosts, stop).await.map(drop)
    }

    async fn remove(&self, cx: &OpCtx, release: ReleaseNumber) -> Result<()> {
        let remove = async |host: &AppHost| {
            // Where nothing of ours is there is nothing to remove.
            if host.open_talk().await.is_none() && host.seen(cx).await?.is_none() {
                return Ok(());
            }
            host.talk(cx).await?.fleet.remove(cx, release).await?;
            host.queue().forget_seen().await;
            Ok(())
        };
        self.change(&self.hosts, remove).await?;
        let Some(builder) = &self.builder else { return Ok(()) };
        let needed: BTreeSet<Digest> =
            self.staged(cx).await?.into_iter().map(|r| r.bundle.artefact.digest).collect();
        builder.prune(cx, &needed).await
    }

    async fn revive(&self, cx: &OpCtx) -> Result<()> {
        let revive = async |host: &AppHost| match host.seen(cx).await? {
            Some(seen) if !seen.supervised || host.unit_was_changed(cx).await? => {
                let revived = host.talk(cx).await?.fleet.revive(cx).await;
                host.queue().forget_seen().await;
                revived
            }
            _ => Ok(()),
        };
        all(each(&self.hosts, revive).await, |host| host.name()).map(drop)
    }

    async fn list(&self, cx: &OpCtx) -> Result<Vec<UnitObserved>> {
        let seen = self.seen(cx).await?;
        let runs: BTreeSet<ReleaseNumber> = seen
            .iter()
            .flat_map(|(_, seen)| &seen.units)
            .filter(|unit| unit.state != UnitState::Stopped)
            .map(|unit| unit.release)
            .collect();
        let releases: BTreeMap<ReleaseNumber, Release> = seen
            .iter()
            .flat_map(|(_, seen)| &seen.staged)
            .filter(|release| runs.contains(&release.number))
            .map(|release| (release.number, release.clone()))
            .collect();
        let mut units = Vec::new();
        for (at, (host, seen)) in seen.into_iter().enumerate() {
            units.extend(missing(host, at == 0, &seen.units, &releases));
            units.extend(seen.units.into_iter().map(|unit| on(host, unit)));
        }
        units.sort_by(|a, b| (a.release, &a.unit, &a.host).cmp(&(b.release, &b.unit, &b.host)));
        Ok(units)
    }

    async fn staged(&self, cx: &OpCtx) -> Result<Vec<Release>> {
        let seen = self.seen(cx).await?;
        let releases: BTreeMap<ReleaseNumber, Release> = seen
            .into_iter()
            .flat_map(|(_, seen)| seen.staged)
            .map(|release| (release.number, release))
            .collect();
        Ok(releases.into_values().collect())
    }

    async fn differences(&self, cx: &OpCtx, release: &Release) -> Result<Vec<FleetDifference>> {
        self.altered(cx, release).await
    }

    async fn forget(&self, cx: &OpCtx, data: bool) -> Result<()> {
        let forget = async |host: &AppHost| host.forget(cx, data).await;
        self.change(&self.hosts, forget).await?;
        *self.routed.lock().await = None;
        match &self.builder {
            Some(builder) => builder.forget(cx).await,
            None => Ok(()),
        }
    }

    async fn urls(&self, cx: &OpCtx) -> Result<Vec<String>> {
        let mut urls = BTreeSet::new();
        for (host, seen) in self.seen(cx).await? {
            let serves =
                |release: &&Release| seen.routing.weights.get(&release.number).is_some_and(|w| *w > 0);
            if let Some(release) = seen.staged.iter().rev().find(serves) {
                let name = release.bundle.domain.clone().unwrap_or_else(|| at(host.name()));
                let served = seen.certificate.as_ref().is_some_and(|certificate| certificate.serves);
                urls.insert(format!("{}://{name}/", if served { "https" } else { "http" }));
            }
        }
        Ok(urls.into_iter().collect())
    }

    async fn secure(&self, cx: &OpCtx, release: &Release) -> Vec<String> {
        self.see_to_tls(cx, release).await
    }

    async fn certificates(&self, cx: &OpCtx) -> Result<Vec<CertificateSeen>> {
        let seen = self.seen_certificates(cx).await?;
        let on = |(host, seen): (&AppHost, Option<CertificateSeen>)| {
            Some(CertificateSeen { host: host.name().to_string(), ..seen? })
        };
        Ok(seen.into_iter().filter_map(on).collect())
    }

    async fn logs(&self, cx: &OpCtx, query: &LogQuery) -> Result<LogPage> {
        self.read_logs(cx, query).await
    }
}

/// A host in a URL.
fn at(host: &HostName) -> String {
    if host.as_str().contains(':') { format!("[{host}]") } else { host.to_string() }
}

fn nowhere() -> ProviderError {
    ProviderError::new(ErrorKind::Config, "no server is there to run the app")
        .with_help("name one: `infrastructure.servers: [{host: server1.example.com, role: app}]`")
}
