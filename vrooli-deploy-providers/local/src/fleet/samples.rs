//! What the edge has counted of each release, and what its processes need.

use std::collections::BTreeMap;

use jiff::Timestamp;
use vrooli_deploy_core::names::ReleaseNumber;
use vrooli_deploy_core::provider::{Counters, LatencyHistogram, OpCtx, Reading, Result, UnitState};
use vrooli_deploy_edge::{EdgeReader, Failure, ReleaseMetrics};

use super::LocalFleet;
use crate::process::{edge_folder, memory};

/// Failures that say something of the release. A client that leaves, or is too slow, and what
/// a drain cut, do not; a truncated answer was counted as one already.
const UNANSWERED: [Failure; 4] =
    [Failure::Unreachable, Failure::Broken, Failure::TimedOut, Failure::NoBackend];

impl LocalFleet {
    /// The reading of now. The edge keeps no older ones.
    pub(super) async fn read_samples(&self, cx: &OpCtx) -> Result<Vec<Reading>> {
        let mut releases: BTreeMap<ReleaseNumber, Counters> = BTreeMap::new();
        let folder = edge_folder(&self.machine.layout)?;
        // An edge that is just being started again has counted nothing.
        if let Ok(Some(edge)) = EdgeReader::connect(&folder).await
            && let Ok(metrics) = edge.metrics().await
        {
            let site = cx.stack.to_string();
            for counted in metrics.releases.iter().filter(|r| r.site.as_str() == site) {
                if let Ok(number) = counted.release.as_str().parse() {
                    releases.insert(number, counters(counted));
                }
            }
        }
        let mut running: BTreeMap<ReleaseNumber, Vec<u32>> = BTreeMap::new();
        for unit in self.units(cx).await? {
            releases.entry(unit.release).or_default().restarts += unit.restarts;
            if unit.state == UnitState::Running {
                running.entry(unit.release).or_default().extend(unit.pid);
            }
        }
        let memory = tokio::task::spawn_blocking(move || memory(&running)).await.unwrap_or_default();
        for (release, bytes) in memory {
            releases.entry(release).or_default().memory = Some(bytes);
        }
        Ok(vec![Reading { at: Timestamp::now(), releases }])
    }
}

fn counters(counted: &ReleaseMetrics) -> Counters {
    let failed = |failure: &Failure| counted.failures.get(failure).copied().unwrap_or_default();
    let unanswered: u64 = UNANSWERED.iter().map(failed).sum();
    Counters {
        requests: counted.responses.iter().sum::<u64>() + unanswered,
        errors: counted.responses[4] + unanswered + failed(&Failure::Truncated),
        latency: LatencyHistogram {
            sum_us: counted.latency.sum_us,
            steps: counted.latency.steps.iter().copied().collect(),
        },
        ..Counters::default()
    }
}

#[cfg(test)]
mod tests {
    use vrooli_deploy_edge::{Latency, ReleaseName, SiteId};

    use super::*;

    #[test]
    fn only_what_the_release_did_wrong_is_an_error() {
        let counted = ReleaseMetrics {
            site: SiteId::new("shop/default").unwrap(),
            release: ReleaseName::new("r2").unwrap(),
            in_flight: 3,
            requests: 120,
            responses: [0, 90, 5, 10, 2],
            failures: [
                (Failure::Unreachable, 4),
                (Failure::Truncated, 1),
                (Failure::ClientGone, 7),
                (Failure::Cut, 1),
            ]
            .into(),
            latency: Latency { count: 107, sum_us: 5, steps: vec![(127, 107)] },
        };
        let counters = counters(&counted);
        assert_eq!((counters.requests, counters.errors), (111, 7));
        assert_eq!(counters.latency.count(), 107);
    }
}
