//! One stack: its units, who may change it, and what of it is served.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vrooli_deploy_core::names::{ReleaseNumber, StackId, UnitId};
use vrooli_deploy_core::provider::{DrainReport, ErrorKind, ProviderError, Result, Routing, UnitObserved};

use super::super::fence;
use super::super::files::{Durability, read_json, remove_file, remove_tree, sweep_drafts, write_json};
use super::super::table::Mark;
use super::super::{ports, sockets};
use super::Supervisor;
use super::instance::end_leftovers;
use super::route::{self, Absent};
use super::unit::{UnitHandle, UnitKey};
use super::watcher::Watcher;
use crate::failure::{at, real};

/// `serving.json`: what is served of a stack.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Serving {
    /// The highest that was seen.
    pub(super) fence: u64,
    /// Which releases get traffic.
    #[serde(default)]
    pub(super) routing: Routing,
    /// Is the app's port open?
    #[serde(default)]
    pub(super) open: bool,
}

/// What is served of a stack, as its file says it: for when no supervisor runs.
///
/// # Errors
/// When the file cannot be read.
pub fn last_routing(layout: &crate::layout::Layout, stack: &StackId) -> Result<Routing> {
    let path = layout.serving(stack);
    let serving: Serving = read_json(&path).map_err(at("read", &path))?.unwrap_or_default();
    Ok(serving.routing)
}

/// Refuses whoever has lost the lease, by the file: for changes that need no supervisor.
///
/// # Errors
/// `Fenced` when a newer holder was seen; when the file cannot be read.
pub(crate) fn check_fence(layout: &crate::layout::Layout, stack: &StackId, fence: u64) -> Result<()> {
    fence::refuse(stack, fence, served_fence(layout, stack)?)
}

/// The highest lease that changed what is served.
pub(crate) fn served_fence(layout: &crate::layout::Layout, stack: &StackId) -> Result<u64> {
    let path = layout.serving(stack);
    let serving: Serving = read_json(&path).map_err(at("read", &path))?.unwrap_or_default();
    Ok(serving.fence)
}

impl Serving {
    fn check(&self, stack: &StackId, fence: u64) -> Result<()> {
        fence::refuse(stack, fence, self.fence)
    }
}

/// One stack.
#[derive(Debug)]
pub(super) struct Stack {
    pub(super) id: StackId,
    /// Held while what is served changes: two changes never cross.
    serving: tokio::sync::Mutex<Serving>,
    units: Mutex<BTreeMap<(ReleaseNumber, UnitId), UnitHandle>>,
    watcher: Mutex<Watcher>,
}

impl Stack {
    /// Reads what is on disk.
    pub(super) fn load(supervisor: &Supervisor, id: StackId) -> Result<Self> {
        let path = supervisor.layout().serving(&id);
        let serving = read_json(&path).map_err(at("read", &path))?.unwrap_or_default();
        Ok(Self {
            id,
            serving: tokio::sync::Mutex::new(serving),
            units: Mutex::default(),
            watcher: Mutex::new(Watcher::new()),
        })
    }

    /// Makes a task for each unit that is on disk.
    pub(super) fn recover_units(&self, supervisor: &Arc<Supervisor>) -> Result<()> {
        let layout = supervisor.layout();
        let folder = layout.units(&self.id);
        for release in layout.supervised_releases(&self.id).map_err(at("read", &folder))? {
            sweep_drafts(&layout.release_units(&self.id, release));
            for unit in layout.supervised_units(&self.id, release).map_err(at("read", &folder))? {
                self.unit(supervisor, release, &unit);
            }
        }
        Ok(())
    }

    /// Refuses whoever has lost the lease, and remembers who has it.
    pub(super) async fn admit(&self, supervisor: &Supervisor, fence: u64) -> Result<()> {
        let mut serving = self.serving.lock().await;
        self.admit_locked(supervisor, &mut serving, fence)
    }

    fn admit_locked(&self, supervisor: &Supervisor, serving: &mut Serving, fence: u64) -> Result<()> {
        serving.check(&self.id, fence)?;
        // What needs no supervisor may have been done by a newer holder.
        fence::check(supervisor.layout(), &self.id, fence)?;
        if fence > serving.fence {
            let next = Serving { fence, ..serving.clone() };
            self.save(supervisor, &next)?;
            *serving = next;
        }
        Ok(())
    }

    fn save(&self, supervisor: &Supervisor, serving: &Serving) -> Result<()> {
        let path = supervisor.layout().serving(&self.id);
        write_json(&path, serving, Durability::Synced).map_err(at("write", &path))
    }

    fn unit(&self, supervisor: &Arc<Supervisor>, release: ReleaseNumber, unit: &UnitId) -> UnitHandle {
        let mut units = self.units.lock().unwrap_or_else(PoisonError::into_inner);
        units
            .entry((release, unit.clone()))
            .or_insert_with(|| {
                let key = UnitKey { stack: self.id.clone(), release, unit: unit.clone() };
                UnitHandle::spawn(supervisor, key)
            })
            .clone()
    }

    /// The units there are.
    pub(super) fn units(&self) -> Vec<UnitHandle> {
        self.units.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn known(&self, release: ReleaseNumber, unit: &UnitId) -> Option<UnitHandle> {
        let units = self.units.lock().unwrap_or_else(PoisonError::into_inner);
        units.get(&(release, unit.clone())).cloned()
    }

    pub(super) async fn start(
        &self,
        supervisor: &Arc<Supervisor>,
        release: ReleaseNumber,
        unit: &UnitId,
    ) -> Result<UnitObserved> {
        // Before anything is made: a release that is not there leaves no trace.
        super::prepare::release(supervisor, &self.id, release)?;
        let handle = self.unit(supervisor, release, unit);
        handle.start().await?;
        self.refresh(supervisor, release).await?;
        handle.observed(supervisor)
    }

    pub(super) async fn stop(
        &self,
        supervisor: &Supervisor,
        release: ReleaseNumber,
        unit: &UnitId,
    ) -> Result<()> {
        let Some(handle) = self.known(release, unit) else {
            return Ok(());
        };
        handle.stop().await?;
        self.refresh(supervisor, release).await
    }

    pub(super) fn list(&self, supervisor: &Supervisor) -> Result<Vec<UnitObserved>> {
        self.units().iter().map(|unit| unit.observed(supervisor)).collect()
    }

    /// Sets which releases get traffic. The answer is what was set before.
    pub(super) async fn route(
        &self,
        supervisor: &Supervisor,
        routing: Routing,
        fence: u64,
    ) -> Result<Routing> {
        let mut serving = self.serving.lock().await;
        self.admit_locked(supervisor, &mut serving, fence)?;
        let next = Serving { routing, ..serving.clone() };
        let table = route::table(supervisor, self, &next, Absent::Refused)?;
        // On disk first: a supervisor that is killed between has a successor that finishes it.
        self.save(supervisor, &next)?;
        if let Err(error) = supervisor.front.set_site(supervisor, table).await {
            self.save(supervisor, &serving)?;
            return Err(error);
        }
        self.watcher().told();
        Ok(std::mem::replace(&mut *serving, next).routing)
    }

    fn watcher(&self) -> MutexGuard<'_, Watcher> {
        self.watcher.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody gave up the lease while a release is being watched: goes on with it.
    pub(super) fn keep_watch(&self, supervisor: &Supervisor) {
        self.watcher().ask();
        self.see_to_watch(supervisor);
    }

    /// Starts somebody who goes on with a watch whose traffic nobody renews any more.
    pub(super) fn see_to_watch(&self, supervisor: &Supervisor) {
        // Who holds the lock is about to change it: looked at again at the next tick.
        let Ok(serving) = self.serving.try_lock() else { return };
        self.watcher().see_to(supervisor, &self.id, serving.routing.revert_at);
    }

    pub(super) async fn routing(&self) -> Routing {
        self.serving.lock().await.routing.clone()
    }

    /// Tells the edge what serves now, if the release is among what it is told of.
    async fn refresh(&self, supervisor: &Supervisor, release: ReleaseNumber) -> Result<()> {
        let serving = self.serving.lock().await;
        if !serving.routing.weights.contains_key(&release) {
            return Ok(());
        }
        // Its last unit may have been stopped: then the edge answers that nobody is there.
        let table = route::table(supervisor, self, &serving, Absent::Allowed)?;
        supervisor.front.set_site(supervisor, table).await
    }

    /// Tells the edge how the stack is served, where it is.
    #[cfg(feature = "tls")]
    pub(super) async fn tell_edge(&self, supervisor: &Supervisor) -> Result<()> {
        let serving = self.serving.lock().await;
        if serving.routing.weights.is_empty() {
            return Ok(());
        }
        let table = route::table(supervisor, self, &serving, Absent::Allowed)?;
        supervisor.front.set_site(supervisor, table).await
    }

    /// Brings edge and socket to what is on disk, after the supervisor was started.
    pub(super) async fn recover_serving(&self, supervisor: &Supervisor) {
        let serving = self.serving.lock().await;
        if serving.open
            && let Err(e) = self.listen(supervisor).await
        {
            supervisor.note(&format!("{}: {}", self.id, e.message()));
        }
        if !serving.routing.weights.is_empty() {
            let told = match route::table(supervisor, self, &serving, Absent::Allowed) {
                Ok(table) => supervisor.front.set_site(supervisor, table).await,
                Err(e) => Err(e),
            };
            if let Err(e) = told {
                supervisor.note(&format!("{}: {}", self.id, e.message()));
            }
        }
    }

    /// Goes back if nobody came in time.
    pub(super) async fn revert_if_due(&self, supervisor: &Supervisor) {
        // Who holds the lock is about to change it: looked at again at the next tick.
        let Ok(mut serving) = self.serving.try_lock() else {
            return;
        };
        let due = serving.routing.revert_at.is_some_and(|at| at <= jiff::Timestamp::now());
        if !due {
            return;
        }
        let back = Routing { weights: serving.routing.revert_to.clone(), ..Routing::default() };
        let next = Serving { routing: back, ..serving.clone() };
        supervisor.note(&format!("{}: nobody renewed the routing, so it goes back", self.id));
        let done = match route::table(supervisor, self, &next, Absent::Allowed) {
            Ok(table) => match self.save(supervisor, &next) {
                Ok(()) => supervisor.front.set_site(supervisor, table).await,
                Err(e) => Err(e),
            },
            Err(e) => Err(e),
        };
        match done {
            Ok(()) => *serving = next,
            // The edge went back by itself; the record follows at the next try.
            Err(e) => supervisor.note(&format!("{}: {}", self.id, e.message())),
        }
    }

    pub(super) async fn drain(
        &self,
        supervisor: &Supervisor,
        release: ReleaseNumber,
        units: &BTreeSet<UnitId>,
        deadline: Duration,
    ) -> Result<DrainReport> {
        let mut backends = BTreeSet::new();
        if !units.is_empty() {
            let ports = ports::read(supervisor.layout(), &self.id, release)?;
            let numbers = units.iter().filter_map(|unit| ports.of(unit)).flat_map(BTreeMap::values);
            backends.extend(numbers.map(|port| SocketAddr::new(sockets::loopback(*port), *port)));
            if backends.is_empty() {
                // They listen nowhere.
                return Ok(DrainReport::default());
            }
        }
        supervisor.front.drain(&self.id, release, backends, deadline).await
    }

    pub(super) async fn open_port(&self, supervisor: &Supervisor, fence: u64) -> Result<()> {
        let mut serving = self.serving.lock().await;
        self.admit_locked(supervisor, &mut serving, fence)?;
        self.listen(supervisor).await?;
        let next = Serving { open: true, ..serving.clone() };
        if next != *serving {
            self.save(supervisor, &next)?;
            *serving = next;
        }
        Ok(())
    }

    pub(super) async fn close_port(&self, supervisor: &Supervisor, fence: u64) -> Result<()> {
        let mut serving = self.serving.lock().await;
        self.admit_locked(supervisor, &mut serving, fence)?;
        let next = Serving { open: false, ..serving.clone() };
        if next != *serving {
            self.save(supervisor, &next)?;
            *serving = next;
        }
        supervisor.front.close(&self.id).await
    }

    async fn listen(&self, supervisor: &Supervisor) -> Result<()> {
        let public = ports::public(supervisor.layout(), &self.id)?.ok_or_else(|| {
            let path = supervisor.layout().port_file(&self.id);
            ProviderError::new(
                ErrorKind::NotFound,
                format!("no port was chosen for {}: {} is not there", self.id, real(&path).display()),
            )
        })?;
        supervisor.front.open(supervisor, &self.id, public).await
    }

    pub(super) async fn urls(&self, supervisor: &Supervisor) -> Result<Vec<String>> {
        if !self.serving.lock().await.open {
            return Ok(Vec::new());
        }
        Ok(ports::public(supervisor.layout(), &self.id)?
            .map(|public| url(public.address))
            .into_iter()
            .collect())
    }

    /// Stops everything of a release and forgets it.
    pub(super) async fn remove(&self, supervisor: &Supervisor, release: ReleaseNumber) -> Result<()> {
        if self.serving.lock().await.routing.weights.get(&release).is_some_and(|w| *w > 0) {
            return Err(ProviderError::new(
                ErrorKind::Conflict,
                format!("release {release} of {} still gets traffic", self.id),
            ));
        }
        self.end(supervisor, |r| r == release).await?;
        end_leftovers(supervisor.release_mark(&self.id, release), supervisor.config.stop_grace).await?;
        let layout = supervisor.layout();
        ports::forget(layout, &self.id, Some(release))?;
        let logs = layout.release_logs(&self.id, release);
        remove_tree(&logs).map_err(at("remove", &logs))
    }

    /// Stops everything of the stack and forgets it.
    pub(super) async fn forget(&self, supervisor: &Supervisor) -> Result<()> {
        let mut serving = self.serving.lock().await;
        supervisor.certificates.forget(supervisor, &self.id).await;
        supervisor.front.forget(&self.id, serving.fence).await?;
        self.end(supervisor, |_| true).await?;
        end_leftovers(supervisor.stack_mark(&self.id), supervisor.config.stop_grace).await?;
        let layout = supervisor.layout();
        ports::forget(layout, &self.id, None)?;
        let record = layout.serving(&self.id);
        remove_file(&record).map_err(at("remove", &record))?;
        *serving = Serving { fence: serving.fence, ..Serving::default() };
        Ok(())
    }

    /// Stops the units of some releases side by side, and ends their tasks.
    async fn end(&self, supervisor: &Supervisor, which: impl Fn(ReleaseNumber) -> bool) -> Result<()> {
        let units: Vec<UnitHandle> = self.units().into_iter().filter(|u| which(u.key.release)).collect();
        futures_util::future::try_join_all(units.iter().map(UnitHandle::stop)).await?;
        self.units.lock().unwrap_or_else(PoisonError::into_inner).retain(|(release, _), _| !which(*release));
        supervisor.touch();
        Ok(())
    }

    /// Is anything of it on disk? Where nothing is, nothing is written either.
    pub(super) fn is_known(&self, supervisor: &Supervisor) -> bool {
        let layout = supervisor.layout();
        layout.serving(&self.id).exists() || layout.units(&self.id).exists()
    }

    /// Is there anything to look after?
    pub(super) fn is_active(&self) -> bool {
        // Whoever holds the lock is at work.
        self.units().iter().any(|u| u.view().is_active()) || self.serving.try_lock().map_or(true, |s| s.open)
    }

    /// Is the app's port meant to be open?
    pub(super) async fn is_open(&self) -> bool {
        self.serving.lock().await.open
    }

    /// The units of a release that are meant to run.
    pub(super) fn wanted(&self, release: ReleaseNumber) -> Vec<UnitId> {
        self.units()
            .iter()
            .filter(|u| u.key.release == release && u.view().record.wanted)
            .map(|u| u.key.unit.clone())
            .collect()
    }

    /// The releases with units that are meant to run.
    pub(super) fn releases(&self) -> BTreeSet<ReleaseNumber> {
        self.units().iter().filter(|u| u.view().record.wanted).map(|u| u.key.release).collect()
    }
}

/// The URL under which this machine reaches what listens there.
fn url(address: std::net::SocketAddr) -> String {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}/", SocketAddr::new(ip, address.port()))
}

/// Names what the mark of a killed shim's processes begins with.
pub(super) fn mark_of(workspace: uuid::Uuid, parts: &[&dyn std::fmt::Display]) -> Mark {
    let mut mark = workspace.to_string();
    for part in parts {
        mark.push('/');
        mark.push_str(&part.to_string());
    }
    Mark::new(mark)
}
