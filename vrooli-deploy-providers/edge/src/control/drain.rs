//! Letting what is under way end, and cutting what does not: of a release, of some backends,
//! and of the whole edge.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Control;
use crate::error::Refusal;
use crate::flight::Stop;
use crate::names::{ReleaseName, SiteId};
use crate::protocol::DrainReport;
use crate::worker::{Command, Flights};

/// How often it is looked whether some backends have nothing to do any more.
const LOOK: Duration = Duration::from_millis(10);
/// How long what is cut has to end politely, before its connection ends too.
const CUT_POLITELY: Duration = Duration::from_millis(1_500);
/// How long the end of a connection may take.
const CUT_AT_ONCE: Duration = Duration::from_millis(500);

impl Control {
    /// Waits until nothing is under way for a release that gets no traffic; cuts what is left
    /// at the deadline.
    pub(crate) async fn drain(
        &self,
        site: SiteId,
        release: ReleaseName,
        deadline: Duration,
    ) -> Result<DrainReport, Refusal> {
        let routed = self.sites.borrow().get(&site).is_some_and(|held| {
            let route = held.table.releases.get(&release);
            route.is_some_and(|route| route.weight > 0)
        });
        if routed {
            return Err(Refusal::StillRouted { site, release });
        }
        let started = Instant::now();
        let stats = self.stats.borrow().get(&(site, release)).cloned();
        let Some(stats) = stats else {
            return Ok(DrainReport { in_flight: 0, cut: 0, took: Duration::ZERO });
        };
        stats.set_draining(true);
        let in_flight = stats.in_flight();
        let mut cut = 0;
        if tokio::time::timeout(deadline, stats.idle()).await.is_err() {
            cut = self.cut(Flights::Of(stats.clone()), Stop::Drained, false).await;
            if tokio::time::timeout(CUT_POLITELY, stats.idle()).await.is_err() {
                self.cut(Flights::Of(stats.clone()), Stop::Drained, true).await;
                // What does not end now has nobody left to tell; it is counted as cut.
                let _ = tokio::time::timeout(CUT_AT_ONCE, stats.idle()).await;
            }
        }
        Ok(DrainReport { in_flight, cut, took: started.elapsed() })
    }

    /// The same for backends of a release that still gets traffic elsewhere.
    pub(crate) async fn drain_backends(
        &self,
        site: SiteId,
        release: ReleaseName,
        backends: BTreeSet<SocketAddr>,
        deadline: Duration,
    ) -> Result<DrainReport, Refusal> {
        let routed = self.sites.borrow().get(&site).is_some_and(|held| {
            let live = held.table.releases.values().filter(|route| route.weight > 0);
            live.flat_map(|route| route.backends.values().flatten()).any(|at| backends.contains(at))
        });
        if routed {
            return Err(Refusal::StillRouted { site, release });
        }
        let which = Flights::At(Arc::new(backends));
        let started = Instant::now();
        let in_flight = self.busy(&which).await;
        let mut cut = 0;
        if !self.idle(&which, deadline).await {
            cut = self.cut(which.clone(), Stop::Drained, false).await;
            if !self.idle(&which, CUT_POLITELY).await {
                self.cut(which.clone(), Stop::Drained, true).await;
                // What does not end now has nobody left to tell; it is counted as cut.
                self.idle(&which, CUT_AT_ONCE).await;
            }
        }
        Ok(DrainReport { in_flight, cut, took: started.elapsed() })
    }

    async fn busy(&self, which: &Flights) -> u64 {
        self.ask(|done| Command::Busy(which.clone(), done)).await.into_iter().sum()
    }

    /// Looks until nothing is under way; false when that takes too long.
    async fn idle(&self, which: &Flights, within: Duration) -> bool {
        let until = Instant::now() + within;
        loop {
            if self.busy(which).await == 0 {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            tokio::time::sleep(LOOK.min(until - Instant::now())).await;
        }
    }

    async fn cut(&self, which: Flights, stop: Stop, at_once: bool) -> u64 {
        let asked = self.ask(|done| Command::Cut { which: which.clone(), stop, at_once, done });
        asked.await.into_iter().sum()
    }

    /// Stops accepting and changing; from its end on another edge may serve.
    pub(crate) async fn retire(&self) {
        self.stopping.set(true);
        self.ask(Command::Retire).await;
        self.listeners.borrow_mut().clear();
    }

    /// Lets what is under way end: idle connections are kept for `linger` at most, in case
    /// their clients are about to use them; the rest may take until `grace` and is cut then.
    pub(crate) async fn finish(&self, grace: Duration, linger: Duration) {
        let started = Instant::now();
        let done = self.wait_for_end(started + linger.min(grace)).await;
        if done {
            return;
        }
        for worker in &self.workers {
            // A worker that is gone has no connections.
            let _ = worker.send(Command::CloseIdle);
        }
        if self.wait_for_end(started + grace).await {
            return;
        }
        let cut = self.cut(Flights::All, Stop::EdgeEnds, false).await;
        if cut > 0 {
            tracing::warn!(cut, "requests and tunnels were cut as the edge ended");
        }
        self.wait_for_end(Instant::now() + CUT_POLITELY).await;
    }

    async fn wait_for_end(&self, until: Instant) -> bool {
        loop {
            let open: usize = self.ask(Command::Count).await.into_iter().sum();
            if open == 0 {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
