//! What the edge has counted of each release, and what its processes need.

use std::collections::BTreeMap;

use jiff::Timestamp;
use vrooli_deploy_core::names::ReleaseNumber;
use vrooli_deploy_core::provider::{Counters, LatencyHistogram, OpCtx, Reading, Result, UnitState};
use vrooli_deploy_edge::{EdgeReader, Failure, ReleaseMetrics, Sample};

use super::LocalFleet;
use crate::process::{edge_folder, memory};

/// Failures that say something of the release. A client that leaves, or is too slow, and what
/// a drain cut, do not; a truncated answer was counted as one already.
const UNANSWERED: [Failure; 4] =
    [Failure::Unreachable, Failure::Broken, Failure::TimedOut, Failure::NoBackend];

/// The edge keeps a sample a second. So far apart are those that are taken from it: what fails
/// within a moment often has one cause, and weighs as one look.
const APART_MS: u64 = 5_000;

impl LocalFleet {
    /// What the edge had counted at moments since the last reading, and now. An edge that was
    /// started anew in between is seen by its first sample, however much it has counted since.
    pub(super) async fn read_samples(&self, cx: &OpCtx, since: Option<Timestamp>) -> Result<Vec<Reading>> {
        let mut readings = Vec::new();
        let since_ms = since.and_then(|at| u64::try_from(at.as_millisecond()).ok());
        let folder = edge_folder(&self.machine.layout)?;
        // An edge that is just being started again has counted nothing.
        if let Ok(Some(edge)) = EdgeReader::connect(&folder).await
            && let Ok(kept) = edge.samples(since_ms.unwrap_or_default()).await
        {
            let site = cx.stack.to_string();
            readings = thin(kept, since_ms).iter().filter_map(|sample| reading(sample, &site)).collect();
        }
        if readings.is_empty() {
            readings.push(Reading { at: Timestamp::now(), releases: BTreeMap::new() });
        }
        let mut running: BTreeMap<ReleaseNumber, Vec<u32>> = BTreeMap::new();
        for unit in self.units(cx).await? {
            // It is not known when in between: all of these know of them, as later ones will.
            for reading in &mut readings {
                reading.releases.entry(unit.release).or_default().restarts += unit.restarts;
            }
            if unit.state == UnitState::Running {
                running.entry(unit.release).or_default().extend(unit.pid);
            }
        }
        let memory = tokio::task::spawn_blocking(move || memory(&running)).await.unwrap_or_default();
        if let Some(now) = readings.last_mut() {
            for (release, bytes) in memory {
                now.releases.entry(release).or_default().memory = Some(bytes);
            }
        }
        Ok(readings)
    }
}

/// Those that lie far enough apart, the last, and both sides of a start from 0.
fn thin(samples: Vec<Sample>, since_ms: Option<u64>) -> Vec<Sample> {
    let mut kept: Vec<Sample> = Vec::new();
    let mut samples = samples.into_iter().peekable();
    let mut last_ms = since_ms;
    let mut anew = false;
    while let Some(sample) = samples.next() {
        let ends_here = samples.peek().is_none_or(|next| began_anew(&sample, next));
        let far = last_ms.is_none_or(|last| sample.at_unix_ms >= last.saturating_add(APART_MS));
        if ends_here || far || anew {
            last_ms = Some(sample.at_unix_ms);
            anew = ends_here;
            kept.push(sample);
        }
    }
    kept
}

/// Has some release fewer requests than before?
fn began_anew(earlier: &Sample, later: &Sample) -> bool {
    earlier.releases.iter().any(|before| {
        let now = later.releases.iter().find(|now| now.site == before.site && now.release == before.release);
        now.is_none_or(|now| now.requests < before.requests)
    })
}

fn reading(sample: &Sample, site: &str) -> Option<Reading> {
    let at = Timestamp::from_millisecond(i64::try_from(sample.at_unix_ms).ok()?).ok()?;
    let of_site = sample.releases.iter().filter(|counted| counted.site.as_str() == site);
    let releases = of_site
        .filter_map(|counted| Some((counted.release.as_str().parse().ok()?, counters(counted))))
        .collect();
    Some(Reading { at, releases })
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

    fn counted(requests: u64) -> ReleaseMetrics {
        ReleaseMetrics {
            site: SiteId::new("shop/default").unwrap(),
            release: ReleaseName::new("r2").unwrap(),
            in_flight: 0,
            requests,
            responses: [0, requests, 0, 0, 0],
            failures: BTreeMap::new(),
            latency: Latency::default(),
        }
    }

    /// A sample a second, from 1 s on.
    fn samples(requests: &[u64]) -> Vec<Sample> {
        let at = |second: usize| u64::try_from(second).unwrap() * 1_000;
        let counted = |requests: &u64| vec![counted(*requests)];
        let sample = |(n, requests)| Sample { at_unix_ms: at(n + 1), releases: counted(requests) };
        requests.iter().enumerate().map(sample).collect()
    }

    fn kept(requests: &[u64], since_ms: Option<u64>) -> Vec<(u64, u64)> {
        let kept = thin(samples(requests), since_ms);
        kept.iter().map(|sample| (sample.at_unix_ms / 1_000, sample.releases[0].requests)).collect()
    }

    #[test]
    fn samples_lie_apart_and_none_is_lost_around_a_new_start() {
        let steady: Vec<u64> = (1..=12).collect();
        assert_eq!(kept(&steady, None), [(1, 1), (6, 6), (11, 11), (12, 12)]);
        assert_eq!(kept(&steady, Some(500)), [(6, 6), (11, 11), (12, 12)]);
        assert_eq!(kept(&[10, 20, 30, 5, 90, 95], Some(0)), [(3, 30), (4, 5), (6, 95)]);
        assert_eq!(kept(&[], None), []);
    }

    #[test]
    fn what_an_edge_counted_before_and_after_it_was_killed_is_all_there() {
        // Seen as one difference, 95 − 10 would be taken for the whole.
        let readings: Vec<Reading> = thin(samples(&[10, 20, 30, 5, 90, 95]), None)
            .iter()
            .filter_map(|sample| reading(sample, "shop/default"))
            .collect();
        let of = |reading: &Reading| reading.releases[&ReleaseNumber(2)].clone();
        let steps = readings.windows(2).map(|two| of(&two[1]).since(&of(&two[0])).requests);
        assert_eq!(steps.sum::<u64>(), 20 + 5 + 90);
        assert!(reading(&samples(&[1])[0], "other/default").unwrap().releases.is_empty());
    }

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
