//! The counters behind the metrics, one set a release and worker so that no two cores write
//! to the same cache line.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::metrics::{Failure, Latency, ReleaseMetrics};
use crate::names::{ReleaseName, SiteId};

const SUB_BITS: u32 = 3;
const SUBS: usize = 1 << SUB_BITS;
/// Values from 2^36 µs (19 hours) up share the last step.
const MAX_POWER: u32 = 36;
const STEPS: usize = SUBS + (MAX_POWER - SUB_BITS) as usize * SUBS;

/// Counters of one release.
#[derive(Debug)]
pub(crate) struct ReleaseStats {
    pub(crate) site: SiteId,
    pub(crate) release: ReleaseName,
    shards: Box<[Shard]>,
    /// Set while a drain waits: whoever ends a request then says so, and assets are not asked
    /// of this release any more.
    draining: AtomicBool,
    ended: Notify,
}

#[derive(Debug)]
#[repr(align(128))]
struct Shard {
    in_flight: AtomicU64,
    requests: AtomicU64,
    responses: [AtomicU64; 5],
    failures: [AtomicU64; Failure::ALL.len()],
    latency_sum: AtomicU64,
    latency: [AtomicU64; STEPS],
}

impl Default for Shard {
    fn default() -> Self {
        Self {
            in_flight: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            responses: Default::default(),
            failures: Default::default(),
            latency_sum: AtomicU64::new(0),
            latency: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl ReleaseStats {
    pub(crate) fn new(site: SiteId, release: ReleaseName, workers: usize) -> Arc<Self> {
        Arc::new(Self {
            site,
            release,
            shards: (0..workers.max(1)).map(|_| Shard::default()).collect(),
            draining: AtomicBool::new(false),
            ended: Notify::new(),
        })
    }

    fn shard(&self, worker: usize) -> &Shard {
        &self.shards[worker % self.shards.len()]
    }

    /// Counts a request as under way. Sequentially consistent together with the generation of
    /// the routing table: either the drain sees the count, or the worker sees the new table.
    pub(crate) fn enter(&self, worker: usize) {
        self.shard(worker).in_flight.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn leave(&self, worker: usize) {
        self.shard(worker).in_flight.fetch_sub(1, Ordering::SeqCst);
        if self.draining.load(Ordering::SeqCst) {
            self.ended.notify_waiters();
        }
    }

    pub(crate) fn in_flight(&self) -> u64 {
        let total = |shard: &Shard| shard.in_flight.load(Ordering::SeqCst);
        self.shards.iter().map(total).sum()
    }

    pub(crate) fn set_draining(&self, draining: bool) {
        self.draining.store(draining, Ordering::SeqCst);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Waits until nothing is under way.
    pub(crate) async fn idle(&self) {
        loop {
            // Registered before the count is read, so that no end is missed.
            let ended = self.ended.notified();
            if self.in_flight() == 0 {
                return;
            }
            ended.await;
        }
    }

    pub(crate) fn request(&self, worker: usize) {
        add(&self.shard(worker).requests, 1);
    }

    pub(crate) fn response(&self, worker: usize, status: u16, micros: u64) {
        let shard = self.shard(worker);
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        add(&shard.responses[class], 1);
        add(&shard.latency_sum, micros);
        add(&shard.latency[step(micros)], 1);
    }

    pub(crate) fn failure(&self, worker: usize, failure: Failure) {
        add(&self.shard(worker).failures[failure as usize], 1);
    }

    pub(crate) fn report(&self) -> ReleaseMetrics {
        let sum = |read: &dyn Fn(&Shard) -> &AtomicU64| -> u64 {
            let value = |shard| read(shard).load(Ordering::Relaxed);
            self.shards.iter().map(value).sum()
        };
        let steps: Vec<_> = (0..STEPS)
            .map(|index| (largest(index), sum(&|shard| &shard.latency[index])))
            .filter(|(_, count)| *count > 0)
            .collect();
        ReleaseMetrics {
            site: self.site.clone(),
            release: self.release.clone(),
            in_flight: self.in_flight(),
            requests: sum(&|shard| &shard.requests),
            responses: std::array::from_fn(|class| sum(&|shard| &shard.responses[class])),
            failures: Failure::ALL
                .into_iter()
                .map(|failure| (failure, sum(&|shard| &shard.failures[failure as usize])))
                .filter(|(_, count)| *count > 0)
                .collect(),
            latency: Latency {
                count: steps.iter().map(|(_, count)| count).sum(),
                sum_us: sum(&|shard| &shard.latency_sum),
                steps,
            },
        }
    }
}

fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// The step that holds a value in microseconds.
fn step(micros: u64) -> usize {
    let micros = micros.min((1 << MAX_POWER) - 1);
    if micros < SUBS as u64 {
        return usize::try_from(micros).unwrap_or(0);
    }
    let power = micros.ilog2();
    let sub = usize::try_from((micros >> (power - SUB_BITS)) & (SUBS as u64 - 1)).unwrap_or(0);
    SUBS + (power - SUB_BITS) as usize * SUBS + sub
}

/// The largest value in microseconds that a step holds.
fn largest(step: usize) -> u64 {
    if step < SUBS {
        return step as u64;
    }
    let shift = (step - SUBS) / SUBS;
    let sub = (step - SUBS) % SUBS;
    ((SUBS + sub + 1) as u64).wrapping_shl(u32::try_from(shift).unwrap_or(0)) - 1
}

/// What a worker counts that belongs to no release.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct WorkerTotals {
    pub(crate) connections: AtomicU64,
    pub(crate) accepted: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) expired: AtomicU64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_step() {
        let mut values: Vec<u64> = (0..MAX_POWER)
            .flat_map(|power| [1_u64 << power, (1 << power) + 1, (1 << (power + 1)) - 1])
            .collect();
        values.extend(0..3_000);
        for value in values {
            let index = step(value);
            assert!(index < STEPS, "{value}");
            assert!(value <= largest(index), "{value} over {}", largest(index));
            assert!(index == 0 || value > largest(index - 1), "{value}");
            assert!(largest(index) <= value + value / 8, "{value} is off by too much");
        }
        assert_eq!(step(u64::MAX), STEPS - 1);
    }

    #[test]
    fn what_was_counted_on_two_workers_is_reported_as_one() {
        let site = SiteId::new("s").unwrap();
        let stats = ReleaseStats::new(site, ReleaseName::new("r1").unwrap(), 2);
        for worker in [0, 1, 1] {
            stats.enter(worker);
            stats.request(worker);
            stats.response(worker, 200, 1_000);
        }
        stats.failure(1, Failure::Cut);
        stats.leave(0);
        let report = stats.report();
        assert_eq!((report.in_flight, report.requests), (2, 3));
        assert_eq!(report.responses, [0, 3, 0, 0, 0]);
        assert_eq!(report.failures.get(&Failure::Cut), Some(&1));
        assert_eq!(report.latency.count, 3);
        let median = report.latency.quantile_us(0.5).unwrap();
        assert!((1_000..=1_125).contains(&median), "{median}");
    }

    #[test]
    fn the_prometheus_text_has_every_request_under_infinity() {
        let site = SiteId::new("s/default").unwrap();
        let stats = ReleaseStats::new(site, ReleaseName::new("r1").unwrap(), 1);
        stats.response(0, 503, 100);
        stats.response(0, 200, u64::MAX);
        let metrics = crate::metrics::Metrics {
            since_unix_ms: 0,
            connections: 1,
            accepted: 2,
            refused: 0,
            expired: 0,
            down: Vec::new(),
            releases: vec![stats.report()],
        };
        let text = metrics.to_prometheus();
        let labels = "site=\"s/default\",release=\"r1\"";
        for line in [
            format!("edge_responses_total{{{labels},class=\"5xx\"}} 1"),
            format!("edge_latency_seconds_bucket{{{labels},le=\"0.000127\"}} 1"),
            format!("edge_latency_seconds_bucket{{{labels},le=\"+Inf\"}} 2"),
            "edge_accepted_total 2".to_owned(),
        ] {
            assert!(text.lines().any(|have| have == line), "{line}\nnot in\n{text}");
        }
    }
}
