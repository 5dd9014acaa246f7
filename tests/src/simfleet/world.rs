use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;
use vrooli_deploy_core::manifest::Overlap;
use vrooli_deploy_core::names::{ReleaseNumber, ServiceName, UnitId};
use vrooli_deploy_core::provider::{ErrorKind, ProviderError, Result, Routing};
use vrooli_deploy_core::release::Release;
use vrooli_deploy_core::release::strategy::{overlap, units};

/// One host: what runs on it, and what its edge was told.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// Units that run.
    pub units: BTreeSet<(ReleaseNumber, UnitId)>,
    /// Traffic as its edge has it.
    pub routing: Routing,
    /// When its edge goes back by itself.
    revert: Option<Instant>,
    /// Which of the tables that were ever set its edge has.
    table: usize,
    /// It was told something else.
    told: bool,
    /// What runs on it changed.
    changed: bool,
    /// The highest lease number that it saw.
    fence: u64,
    /// When it cannot be reached, from and until.
    pub away: Vec<(Instant, Instant)>,
}

/// Many hosts, and what must hold on them at any moment.
#[derive(Debug, Default)]
pub struct SimWorld {
    /// The hosts. Unit N of a service runs on host N, and starts over at the last.
    pub hosts: Vec<Host>,
    /// Releases that are staged.
    pub staged: BTreeMap<ReleaseNumber, Release>,
    /// The release that was committed last.
    pub committed: Option<ReleaseNumber>,
    /// Instances of each service that serve at any moment, once something is committed.
    pub floor: Option<usize>,
    /// Instances of each service that may be there at any moment.
    pub ceiling: Option<usize>,
    /// Old instances stay until the commit.
    pub warm: bool,
    /// What must never be and was.
    pub violations: BTreeSet<String>,
    /// Calls so far.
    pub calls: u64,
    /// Every table that was ever set: many hosts have few.
    tables: Vec<Routing>,
    /// Something changed since it was looked at.
    changed: bool,
    /// Tables that were looked at since what runs has changed.
    looked: BTreeSet<usize>,
    /// Was anything else looked at since then, and for which release?
    looked_at: Option<Option<ReleaseNumber>>,
}

impl Host {
    fn is_away(&self, now: Instant) -> bool {
        self.away.iter().any(|(from, until)| (*from..*until).contains(&now))
    }

    fn pass(&mut self, now: Instant) {
        if self.revert.is_some_and(|due| due <= now) {
            self.revert = None;
            let weights = std::mem::take(&mut self.routing.revert_to);
            self.routing = Routing { weights, ..Routing::default() };
            self.told = true;
        }
    }

    pub(super) fn start(&mut self, key: (ReleaseNumber, UnitId)) {
        self.changed |= self.units.insert(key);
    }

    pub(super) fn stop(&mut self, key: &(ReleaseNumber, UnitId)) {
        self.changed |= self.units.remove(key);
    }

    fn admit(&mut self, fence: u64) -> Result<()> {
        if fence < self.fence {
            return Err(ProviderError::new(
                ErrorKind::Fenced,
                format!("lease {fence} was passed by {}", self.fence),
            ));
        }
        self.fence = fence;
        Ok(())
    }
}

impl SimWorld {
    /// The host of a unit.
    #[must_use]
    pub fn host_of(&self, unit: &UnitId) -> usize {
        unit.index as usize % self.hosts.len().max(1)
    }

    /// Lets time pass on every host.
    pub fn pass(&mut self, now: Instant) {
        for at in 0..self.hosts.len() {
            self.hosts[at].pass(now);
            self.note_table(at);
        }
        self.check("time passed");
    }

    /// A call arrives at a host: `None` when the host cannot be reached.
    pub(super) fn arrive<T>(
        &mut self,
        at: usize,
        fence: Option<u64>,
        now: Instant,
        effect: impl FnOnce(&mut Host) -> T,
    ) -> Option<Result<T>> {
        self.calls += 1;
        let host = self.hosts.get_mut(at)?;
        host.pass(now);
        if host.is_away(now) {
            return None;
        }
        if let Some(fence) = fence
            && let Err(error) = host.admit(fence)
        {
            return Some(Err(error));
        }
        let answer = effect(host);
        self.note_table(at);
        Some(Ok(answer))
    }

    /// Finds the host's table among those that were ever set.
    fn note_table(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        if std::mem::take(&mut host.changed) {
            self.changed = true;
            self.looked.clear();
            self.looked_at = None;
        }
        if !std::mem::take(&mut host.told) {
            return;
        }
        self.changed = true;
        let same =
            |table: &Routing| table.weights == host.routing.weights && table.resting == host.routing.resting;
        host.table = match self.tables.iter().rposition(same) {
            Some(table) => table,
            None => {
                self.tables.push(Routing {
                    weights: host.routing.weights.clone(),
                    resting: host.routing.resting.clone(),
                    ..Routing::default()
                });
                self.tables.len() - 1
            }
        };
    }

    pub(super) fn set_routing(host: &mut Host, routing: Routing, now: Instant) -> Routing {
        host.revert = routing.revert_at.filter(|_| !routing.revert_to.is_empty()).map(|at| {
            now + Duration::try_from(at.duration_since(jiff::Timestamp::now())).unwrap_or_default()
        });
        host.told = true;
        std::mem::replace(&mut host.routing, routing)
    }

    /// All units that run anywhere.
    #[must_use]
    pub fn running(&self) -> BTreeSet<(ReleaseNumber, UnitId)> {
        self.hosts.iter().flat_map(|host| host.units.iter().cloned()).collect()
    }

    fn services(&self, release: ReleaseNumber) -> impl Iterator<Item = (&ServiceName, usize)> {
        self.staged
            .get(&release)
            .into_iter()
            .flat_map(|release| &release.bundle.services)
            .filter(|(_, config)| overlap(config) == Overlap::Allowed)
            .map(|(service, config)| (service, units(service, config).count()))
    }

    /// Notes what must never be.
    pub(super) fn check(&mut self, after: &str) {
        if !std::mem::take(&mut self.changed) {
            return;
        }
        let committed = self.looked_at.replace(self.committed);
        if committed != Some(self.committed) {
            self.looked.clear();
        }
        let tables: Vec<usize> = {
            let all: BTreeSet<usize> = self.hosts.iter().map(|host| host.table).collect();
            all.into_iter().filter(|table| self.looked.insert(*table)).collect()
        };
        if tables.is_empty() && committed == Some(self.committed) {
            return;
        }
        let running = self.running();
        let mut seen = Vec::new();
        let serves = |routing: &Routing, release: ReleaseNumber, service: &ServiceName| {
            let resting = routing.resting.get(&release);
            running
                .iter()
                .filter(|(r, unit)| *r == release && unit.service == *service)
                .filter(|(_, unit)| !resting.is_some_and(|resting| resting.contains(unit)))
                .count()
        };
        for table in tables.iter().filter_map(|at| self.tables.get(*at)) {
            let live: Vec<ReleaseNumber> =
                table.weights.iter().filter(|(_, w)| **w > 0).map(|(r, _)| *r).collect();
            for release in &live {
                for (service, _) in self.services(*release) {
                    if serves(table, *release, service) == 0 && self.floor != Some(0) {
                        seen.push(format!("after {after}: nothing of {service} of {release} serves"));
                    }
                }
            }
            if let (Some(floor), Some(committed)) = (self.floor, self.committed)
                && !live.is_empty()
            {
                for (service, _) in self.services(committed) {
                    let all: usize = live.iter().map(|r| serves(table, *r, service)).sum();
                    if all < floor {
                        seen.push(format!("after {after}: {all} of {service} serve, not {floor}"));
                    }
                }
            }
        }
        if let (true, Some(committed)) = (self.warm, self.committed) {
            for (service, count) in self.services(committed) {
                let there = running.iter().filter(|(r, u)| *r == committed && u.service == *service).count();
                if there < count {
                    seen.push(format!("after {after}: {there} of {count} of {service} of {committed} run"));
                }
            }
        }
        if let Some(ceiling) = self.ceiling {
            let mut all: BTreeMap<&ServiceName, usize> = BTreeMap::new();
            for (release, unit) in &running {
                if self.services(*release).any(|(service, _)| *service == unit.service) {
                    *all.entry(&unit.service).or_default() += 1;
                }
            }
            seen.extend(
                all.into_iter().filter(|(_, count)| *count > ceiling).map(|(service, count)| {
                    format!("after {after}: {count} of {service} run, over {ceiling}")
                }),
            );
        }
        let mut workers: BTreeMap<&UnitId, usize> = BTreeMap::new();
        for (_, unit) in running.iter().filter(|(_, unit)| unit.service.as_str() == "worker") {
            *workers.entry(unit).or_default() += 1;
        }
        seen.extend(
            workers
                .into_iter()
                .filter(|(_, count)| *count > 1)
                .map(|(unit, count)| format!("after {after}: {unit} runs {count} times")),
        );
        self.violations.extend(seen);
    }
}
