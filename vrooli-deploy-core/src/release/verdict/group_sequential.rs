use std::time::Duration;

use super::exact::tail;
use super::{Judge, Samples, Verdict, WatchRules};
use crate::duration;
use crate::provider::Counters;

/// A group-sequential comparison of proportions: looks count when the new release has had
/// `min_requests`, twice, four times … as many requests, and each may spend half of what the
/// one before it may, so that all of them together wrongly fail a release that is as good as
/// the old one with at most the chance that is spent (Pocock 1977; here with Fisher's exact
/// test at each look, and the union bound). What is compared: requests that failed, and
/// requests slower than most of the old one's. Beside it: restarts, and memory that grows
/// and does not stop.
///
/// Where there is no old release to compare with, only many errors fail a new one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupSequential {
    /// The chance of failing a release that is as good, spent over all looks at errors; as
    /// much again at latency. Default 0.01.
    pub alpha: f64,
    /// A share of errors that is higher by no more than this is never a reason. Default 0.01.
    pub error_margin: f64,
    /// Requests that are slower than this many times the old one's 95th percentile are slow.
    /// Default 1.5.
    pub slower: f64,
    /// A share of slow ones that is higher by no more than this is never a reason. Default 0.1.
    pub slow_margin: f64,
    /// The share of errors that fails a release that nothing is compared with. Default 0.2.
    pub errors_alone: f64,
    /// Memory that grew by more than this from the middle to the end of what was seen grows
    /// without end. Default 0.5.
    pub growth: f64,
}

impl Default for GroupSequential {
    fn default() -> Self {
        Self {
            alpha: 0.01,
            error_margin: 0.01,
            slower: 1.5,
            slow_margin: 0.1,
            errors_alone: 0.2,
            growth: 0.5,
        }
    }
}

/// Slices below which memory says nothing.
const MEMORY_SLICES: usize = 9;

/// The time below which memory says nothing: programs fill their caches first.
const MEMORY_TIME: Duration = Duration::from_secs(60);

impl Judge for GroupSequential {
    fn name(&self) -> &'static str {
        "group-sequential, Fisher's exact test at doubling numbers of requests"
    }

    fn judge(&self, rules: &WatchRules, old: &Samples, new: &Samples, elapsed: Duration) -> Verdict {
        let least = rules.min_requests.max(1);
        let (old_total, new_total) = (old.total(), new.total());
        if new_total.restarts > old_total.restarts {
            return fail(format!(
                "its units ended by themselves {} time(s), the old one's {}",
                new_total.restarts, old_total.restarts
            ));
        }
        if let Some(reason) = self.errors(least, old, new) {
            return fail(reason);
        }
        if let Some(reason) = self.memory(old, new, elapsed) {
            return fail(reason);
        }
        if new_total.requests < least {
            return Verdict::Inconclusive {
                reason: format!(
                    "{} of at least {least} requests in {}",
                    new_total.requests,
                    duration::format(Duration::from_secs(elapsed.as_secs()))
                ),
            };
        }
        Verdict::Pass
    }
}

fn fail(reason: String) -> Verdict {
    Verdict::Fail { reason }
}

/// What to compare with: the same time, and what came before only where that has too little.
fn reference(least: u64, old: &Samples, same_time: &Counters) -> Option<Counters> {
    if same_time.requests >= least {
        return Some(same_time.clone());
    }
    let mut all = old.before.clone().unwrap_or_default();
    all.add(same_time);
    (all.requests >= least).then_some(all)
}

impl GroupSequential {
    /// Looks at each number of requests that is doubled.
    fn errors(&self, least: u64, old: &Samples, new: &Samples) -> Option<String> {
        let (mut old_sum, mut new_sum) = (Counters::default(), Counters::default());
        let (mut look, mut alpha) = (least, self.alpha / 2.0);
        for (at, slice) in new.slices.iter().enumerate() {
            new_sum.add(&slice.counted);
            if let Some(old) = old.slices.get(at) {
                old_sum.add(&old.counted);
            }
            if new_sum.requests < look {
                continue;
            }
            if let Some(reason) = self.look(alpha, reference(least, old, &old_sum).as_ref(), &new_sum) {
                return Some(reason);
            }
            while look <= new_sum.requests {
                look = look.saturating_mul(2);
            }
            alpha /= 2.0;
        }
        None
    }

    fn look(&self, alpha: f64, old: Option<&Counters>, new: &Counters) -> Option<String> {
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        let Some(old) = old else {
            return (new.error_share() > self.errors_alone)
                .then(|| format!("{} of {} requests failed", percent(new.error_share()), new.requests));
        };
        let worse = new.error_share() > old.error_share() + self.error_margin;
        if worse && tail(old.errors, old.requests, new.errors, new.requests) < alpha {
            return Some(format!(
                "{} of its {} requests failed, {} of the old one's {}",
                percent(new.error_share()),
                new.requests,
                percent(old.error_share()),
                old.requests
            ));
        }
        let usual = old.latency.quantile_us(0.95)?;
        #[expect(clippy::cast_precision_loss, reason = "microseconds of a request")]
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and small")]
        let limit = (usual as f64 * self.slower) as u64;
        let slow = |counters: &Counters| (counters.latency.above_us(limit), counters.latency.count());
        let ((old_slow, old_all), (new_slow, new_all)) = (slow(old), slow(new));
        #[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
        let share = |part: u64, of: u64| if of == 0 { 0.0 } else { part as f64 / of as f64 };
        let worse = share(new_slow, new_all) > share(old_slow, old_all) + self.slow_margin;
        if worse && tail(old_slow, old_all, new_slow, new_all) < alpha {
            return Some(format!(
                "{} of its requests took longer than {} ms, {} of the old one's",
                percent(share(new_slow, new_all)),
                limit.div_ceil(1000),
                percent(share(old_slow, old_all))
            ));
        }
        None
    }

    /// The last third needs much more than the middle one, and more than the old one ever did.
    fn memory(&self, old: &Samples, new: &Samples, elapsed: Duration) -> Option<String> {
        let seen: Vec<u64> = new.slices.iter().filter_map(|s| s.counted.memory).collect();
        if elapsed < MEMORY_TIME || seen.len() < MEMORY_SLICES {
            return None;
        }
        let third = seen.len() / 3;
        let mean = |part: &[u64]| part.iter().sum::<u64>() / part.len().max(1) as u64;
        let (middle, end) = (mean(&seen[third..2 * third]), mean(&seen[2 * third..]));
        let highest = old
            .slices
            .iter()
            .map(|s| s.counted.memory)
            .chain([old.before.as_ref().and_then(|c| c.memory)])
            .flatten()
            .max()
            .unwrap_or_default();
        #[expect(clippy::cast_precision_loss, reason = "bytes of memory are below 2^52")]
        let grew = end as f64 > middle as f64 * (1.0 + self.growth) && end > highest;
        grew.then(|| format!("its memory grows: {} MiB, then {} MiB", middle >> 20, end >> 20))
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::provider::LatencyHistogram;
    use crate::release::verdict::{Inconclusive, Sample};

    fn rules() -> WatchRules {
        WatchRules { min_requests: 50, inconclusive: Inconclusive::Probe, deadline: Duration::from_secs(600) }
    }

    fn counters(requests: u64, errors: u64, us: u64) -> Counters {
        Counters {
            requests,
            errors,
            latency: LatencyHistogram { sum_us: us * requests, steps: [(us, requests)].into() },
            ..Counters::default()
        }
    }

    fn samples(slices: Vec<Counters>) -> Samples {
        let at = |n: usize| Timestamp::from_second(n as i64).unwrap();
        let slices = slices
            .into_iter()
            .enumerate()
            .map(|(n, counted)| Sample { from: at(n), to: at(n + 1), counted })
            .collect();
        Samples { before: None, slices }
    }

    fn verdict(old: &Samples, new: &Samples) -> Verdict {
        GroupSequential::default().judge(&rules(), old, new, Duration::from_secs(120))
    }

    #[test]
    fn as_good_passes_worse_fails_and_little_says_nothing() {
        let old = samples(vec![counters(100, 1, 1_000); 10]);
        assert_eq!(verdict(&old, &samples(vec![counters(10, 0, 1_000); 10])), Verdict::Pass);
        let worse = verdict(&old, &samples(vec![counters(10, 2, 1_000); 10]));
        assert!(matches!(&worse, Verdict::Fail { reason } if reason.contains("20.0 %")), "{worse:?}");
        let little = verdict(&old, &samples(vec![counters(1, 0, 1_000); 10]));
        assert!(matches!(little, Verdict::Inconclusive { .. }), "{little:?}");
    }

    #[test]
    fn slow_fails() {
        let old = samples(vec![counters(100, 0, 1_000); 10]);
        let slow = verdict(&old, &samples(vec![counters(100, 0, 9_000); 10]));
        assert!(matches!(&slow, Verdict::Fail { reason } if reason.contains("took longer")), "{slow:?}");
    }

    #[test]
    fn a_broken_old_release_does_not_block_its_fix() {
        let old = samples(vec![counters(100, 100, 1_000); 10]);
        assert_eq!(verdict(&old, &samples(vec![counters(100, 3, 1_000); 10])), Verdict::Pass);
    }

    #[test]
    fn without_requests_to_the_old_one_its_past_is_what_is_compared_with() {
        let mut old = samples(vec![counters(0, 0, 0); 10]);
        old.before = Some(counters(5_000, 5, 1_000));
        let new = samples(vec![counters(100, 20, 1_000); 10]);
        assert!(matches!(verdict(&old, &new), Verdict::Fail { .. }));
        old.before = None;
        assert_eq!(verdict(&old, &new), Verdict::Pass);
        let dreadful = samples(vec![counters(100, 50, 1_000); 10]);
        assert!(matches!(verdict(&old, &dreadful), Verdict::Fail { .. }));
    }

    #[test]
    fn memory_that_grows_fails_and_memory_that_is_filled_once_does_not() {
        let with = |memory: &dyn Fn(u64) -> u64| {
            samples(
                (0..30)
                    .map(|n| Counters { memory: Some(memory(n) << 20), ..counters(100, 0, 1_000) })
                    .collect(),
            )
        };
        let old = with(&|_| 100);
        assert_eq!(verdict(&old, &with(&|n| if n < 5 { 20 } else { 150 })), Verdict::Pass);
        assert!(matches!(verdict(&old, &with(&|n| 50 + 20 * n)), Verdict::Fail { .. }));
    }

    /// A small simulation with fixed numbers: as good as the old one is failed rarely.
    #[test]
    fn equal_releases_are_rarely_failed() {
        let mut seed = 7_u64;
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as f64 / (1_u64 << 31) as f64
        };
        let mut failed = 0;
        for _ in 0..300 {
            let mut errors = |n: u64| (0..n).filter(|_| random() < 0.03).count() as u64;
            let old = samples((0..40).map(|_| counters(90, errors(90), 1_000)).collect());
            let new = samples((0..40).map(|_| counters(10, errors(10), 1_000)).collect());
            if !matches!(verdict(&old, &new), Verdict::Pass) {
                failed += 1;
            }
        }
        assert!(failed <= 6, "{failed} of 300");
    }
}
