//! What the edge has counted, as it is reported.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::names::{ReleaseName, SiteId};

/// Why a request did not end as the app meant it to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Failure {
    /// No backend accepted a connection (502).
    Unreachable,
    /// The backend closed, reset or answered what is not HTTP, before its answer began (502).
    Broken,
    /// The backend took too long to answer (504).
    TimedOut,
    /// The release has no backend for the service (503).
    NoBackend,
    /// The backend ended its answer before it was whole.
    Truncated,
    /// The client left before the answer was whole.
    ClientGone,
    /// The client was too slow to send or to take.
    ClientSlow,
    /// The drain deadline or the end of the edge cut it.
    Cut,
    /// The request's body was larger than its site takes (413).
    TooLarge,
}

impl Failure {
    /// Every failure, in the order of their numbers.
    pub(crate) const ALL: [Self; 9] = [
        Self::Unreachable,
        Self::Broken,
        Self::TimedOut,
        Self::NoBackend,
        Self::Truncated,
        Self::ClientGone,
        Self::ClientSlow,
        Self::Cut,
        Self::TooLarge,
    ];

    /// The word for it in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Broken => "broken",
            Self::TimedOut => "timed_out",
            Self::NoBackend => "no_backend",
            Self::Truncated => "truncated",
            Self::ClientGone => "client_gone",
            Self::ClientSlow => "client_slow",
            Self::Cut => "cut",
            Self::TooLarge => "too_large",
        }
    }
}

/// Counters since the edge started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metrics {
    /// When the edge started, in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// Client connections open now, tunnels not counted.
    pub connections: u64,
    /// Client connections accepted.
    pub accepted: u64,
    /// Requests refused before any release was chosen: malformed, ambiguous, or for no site.
    pub refused: u64,
    /// Connections closed because the client was too slow with its header, or idle too long.
    pub expired: u64,
    /// Backends that do not answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub down: Vec<SocketAddr>,
    /// What each release did, in the order of site and release.
    pub releases: Vec<ReleaseMetrics>,
}

/// What had been counted at some moment: the difference of two says what happened between.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// When, in milliseconds since 1970 by the machine's clock.
    pub at_unix_ms: u64,
    /// What each release had done by then, in the order of site and release.
    pub releases: Vec<ReleaseMetrics>,
}

/// Counters of one release of one site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseMetrics {
    /// The site.
    pub site: SiteId,
    /// The release.
    pub release: ReleaseName,
    /// Requests and tunnels under way.
    pub in_flight: u64,
    /// Requests that were sent its way.
    pub requests: u64,
    /// Answers by status class, from 1xx (upgrades) to 5xx, as the app gave them. The edge's
    /// own 502, 503 and 504 are in `failures`.
    pub responses: [u64; 5],
    /// Requests that failed, by cause. Those that did not are left out.
    pub failures: BTreeMap<Failure, u64>,
    /// Time until the answer began, of every request that the app answered.
    pub latency: Latency,
}

/// A histogram with eight steps to each doubling, so that no value is off by more than 12.5 %.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// How many values.
    pub count: u64,
    /// Their sum in microseconds.
    pub sum_us: u64,
    /// Pairs of the largest value in microseconds that a step takes and how many it holds,
    /// rising; empty steps are left out.
    pub steps: Vec<(u64, u64)>,
}

impl Latency {
    /// The value in microseconds that a share of all (0 to 1) does not exceed, rounded up to
    /// its step; none without values.
    #[must_use]
    pub fn quantile_us(&self, share: f64) -> Option<u64> {
        #[allow(clippy::cast_precision_loss)] // counts far beyond 2^52 do not occur
        let wanted = share.clamp(0.0, 1.0) * self.count as f64;
        let mut seen = 0_u64;
        for (upto, count) in &self.steps {
            seen += count;
            #[allow(clippy::cast_precision_loss)]
            if seen as f64 >= wanted {
                return Some(*upto);
            }
        }
        self.steps.last().map(|(upto, _)| *upto)
    }
}

impl Metrics {
    /// One release's counters, if it has any.
    #[must_use]
    pub fn release(&self, site: &SiteId, release: &ReleaseName) -> Option<&ReleaseMetrics> {
        self.releases.iter().find(|entry| entry.site == *site && entry.release == *release)
    }

    /// The counters in the Prometheus text format.
    #[must_use]
    pub fn to_prometheus(&self) -> String {
        let mut out = String::new();
        for (name, kind, value) in [
            ("edge_connections", "gauge", self.connections),
            ("edge_accepted_total", "counter", self.accepted),
            ("edge_refused_total", "counter", self.refused),
            ("edge_expired_total", "counter", self.expired),
        ] {
            let _ = writeln!(out, "# TYPE {name} {kind}\n{name} {value}");
        }
        let _ = writeln!(out, "# TYPE edge_backend_down gauge");
        for backend in &self.down {
            let _ = writeln!(out, "edge_backend_down{{backend=\"{backend}\"}} 1");
        }
        let _ = writeln!(out, "# TYPE edge_in_flight gauge");
        for entry in &self.releases {
            let _ = writeln!(out, "edge_in_flight{{{}}} {}", labels(entry), entry.in_flight);
        }
        let _ = writeln!(out, "# TYPE edge_requests_total counter");
        for entry in &self.releases {
            let _ = writeln!(out, "edge_requests_total{{{}}} {}", labels(entry), entry.requests);
        }
        let _ = writeln!(out, "# TYPE edge_responses_total counter");
        for entry in &self.releases {
            for (class, count) in (1..).zip(entry.responses) {
                let _ =
                    writeln!(out, "edge_responses_total{{{},class=\"{class}xx\"}} {count}", labels(entry));
            }
        }
        let _ = writeln!(out, "# TYPE edge_failures_total counter");
        for entry in &self.releases {
            for failure in Failure::ALL {
                let _ = writeln!(
                    out,
                    "edge_failures_total{{{},cause=\"{}\"}} {}",
                    labels(entry),
                    failure.as_str(),
                    entry.failures.get(&failure).unwrap_or(&0)
                );
            }
        }
        let _ = writeln!(out, "# TYPE edge_latency_seconds histogram");
        for entry in &self.releases {
            latency(&mut out, entry);
        }
        out
    }
}

fn labels(entry: &ReleaseMetrics) -> String {
    // Names hold no character that the format would need escaped.
    format!("site=\"{}\",release=\"{}\"", entry.site, entry.release)
}

fn latency(out: &mut String, entry: &ReleaseMetrics) {
    let labels = labels(entry);
    let mut rest = entry.latency.steps.iter().peekable();
    let mut seen = 0_u64;
    // From 0.1 ms to two minutes, one boundary a doubling: these are edges of steps, so the
    // counts are exact.
    for power in 7..=27_u32 {
        let upto = (1_u64 << power) - 1;
        while let Some((_, count)) = rest.next_if(|(step, _)| *step <= upto) {
            seen += count;
        }
        let _ = writeln!(
            out,
            "edge_latency_seconds_bucket{{{labels},le=\"{}.{:06}\"}} {seen}",
            upto / 1_000_000,
            upto % 1_000_000
        );
    }
    let Latency { count, sum_us, .. } = entry.latency;
    let _ = writeln!(
        out,
        "edge_latency_seconds_bucket{{{labels},le=\"+Inf\"}} {count}\n\
         edge_latency_seconds_sum{{{labels}}} {}.{:06}\n\
         edge_latency_seconds_count{{{labels}}} {count}",
        sum_us / 1_000_000,
        sum_us % 1_000_000
    );
}
