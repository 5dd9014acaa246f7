use std::time::Duration;

use super::{Judge, Samples, Verdict, WatchRules};
use crate::duration;
use crate::provider::{Counters, LatencyHistogram};
use crate::release::comparison::{Comparison, Finding, Limits};
use crate::release::sequential::Counts;

/// Compares errors and latency of new and *current* old by a sequential test that may be looked
/// at any time ([`Comparison`]; Turner, Ly and Grünwald 2024). Beside it: units that ended by
/// themselves, and memory that grows and does not stop.
///
/// A request is slow when it took longer than most of the old one's did up to the look before
/// (`slow_quantile`, times `slower`). Where the old release gets no requests any more, what it
/// did before the watch stands in, look by look, until it is used up; the error rates then hold
/// only as far as the traffic is still the same. Where there is no old release at all, only many
/// errors fail a new one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sequential {
    /// What counts as worse and as fine, and how sure one must be.
    pub limits: Limits,
    /// Requests that are slower than this many times the old one's quantile are slow. Default 1.5.
    pub slower: f64,
    /// The share of errors that fails a release that nothing is compared with. Default 0.2.
    pub errors_alone: f64,
    /// Memory that grew by more than this from the middle to the end of what was seen grows
    /// without end. Default 0.5.
    pub growth: f64,
}

impl Default for Sequential {
    fn default() -> Self {
        Self { limits: Limits::default(), slower: 1.5, errors_alone: 0.2, growth: 0.5 }
    }
}

/// Slices below which memory says nothing.
const MEMORY_SLICES: usize = 9;

/// The time below which memory says nothing: programs fill their caches first.
const MEMORY_TIME: Duration = Duration::from_secs(60);

impl Judge for Sequential {
    fn name(&self) -> &'static str {
        "sequential test of two proportions (Turner, Ly, Grünwald 2024)"
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
        if let Some(reason) = self.memory(old, new, elapsed) {
            return fail(reason);
        }
        let too_few = || Verdict::Inconclusive {
            reason: format!(
                "{} of at least {least} requests in {}",
                new_total.requests,
                duration::format(Duration::from_secs(elapsed.as_secs()))
            ),
        };
        if new_total.requests < least {
            return too_few();
        }
        let past = old.before.clone().unwrap_or_default();
        if old_total.requests + past.requests < least {
            return if new_total.error_share() > self.errors_alone {
                let share = percent(new_total.error_share());
                fail(format!("{share} of {} requests failed", new_total.requests))
            } else {
                Verdict::Pass
            };
        }
        let comparison = self.compare(&past, old, new);
        match comparison.finding() {
            Finding::FailsMore => fail(format!(
                "{} of its {} requests failed, {} of the old one's",
                percent(new_total.error_share()),
                new_total.requests,
                percent(comparison.failed().0)
            )),
            Finding::Slower => fail(format!(
                "{} of its requests took longer than most of the old one's, {} of the old one's",
                percent(comparison.slow().1),
                percent(comparison.slow().0)
            )),
            Finding::Fine => Verdict::Pass,
            Finding::Open => Verdict::Inconclusive {
                reason: format!(
                    "{} requests do not tell yet: {} failed, {} of the old one's",
                    new_total.requests,
                    percent(new_total.error_share()),
                    percent(comparison.failed().0)
                ),
            },
        }
    }
}

fn fail(reason: String) -> Verdict {
    Verdict::Fail { reason }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// What the old release did before the watch, dealt out look by look.
struct Past {
    errors: Counts,
    latency: LatencyHistogram,
    /// So many requests a look at most, so that there is some of it for several looks.
    a_look: u64,
    used: u64,
}

/// The past lasts for so many looks at least.
const LOOKS_OF_THE_PAST: u64 = 10;

impl Past {
    /// As many requests as the new release had, of what is left, with their share of bad ones.
    fn deal(&mut self, wanted: u64, of: Counts) -> Counts {
        let left = of.total.saturating_sub(self.used);
        let (from, upto) = (self.used, self.used + wanted.min(self.a_look).min(left));
        let bad = |upto: u64| {
            let all = u128::from(of.bad) * u128::from(upto) / u128::from(of.total.max(1));
            u64::try_from(all).unwrap_or(of.bad)
        };
        Counts { total: upto - from, bad: bad(upto) - bad(from) }
    }
}

impl Sequential {
    /// Plays all looks again: each learns from those before it.
    fn compare(&self, before: &Counters, old: &Samples, new: &Samples) -> Comparison {
        let mut comparison = Comparison::new(self.limits);
        let mut past = Past {
            errors: Counts { total: before.requests, bad: before.errors },
            latency: before.latency.clone(),
            a_look: before.requests.div_ceil(LOOKS_OF_THE_PAST).min(self.limits.look_at_most),
            used: 0,
        };
        let mut known = before.latency.clone();
        for (at, slice) in new.slices.iter().enumerate() {
            let new = &slice.counted;
            let old = old.slices.get(at).map(|slice| &slice.counted).filter(|old| old.requests > 0);
            let errors = |counters: &Counters| Counts { total: counters.requests, bad: counters.errors };
            let old_errors = old.map_or_else(|| past.deal(new.requests, past.errors), errors);
            comparison.look_at_errors(old_errors, errors(new));
            if let Some(limit) = self.slow_from(&known) {
                let slow = |latency: &LatencyHistogram| Counts {
                    total: latency.count(),
                    bad: latency.above_us(limit),
                };
                let all = slow(&past.latency);
                let old_slow =
                    old.map_or_else(|| past.deal(new.latency.count(), all), |old| slow(&old.latency));
                comparison.look_at_latency(old_slow, slow(&new.latency));
            }
            match old {
                Some(old) => known.add(&old.latency),
                None => past.used = (past.used + new.requests.min(past.a_look)).min(past.errors.total),
            }
        }
        comparison
    }

    /// From how many microseconds on a request is slow, by what is known of the old release.
    fn slow_from(&self, known: &LatencyHistogram) -> Option<u64> {
        let usual = known.quantile_us(self.limits.slow_quantile)?;
        #[expect(clippy::cast_precision_loss, reason = "microseconds of a request")]
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and small")]
        let limit = (usual as f64 * self.slower) as u64;
        (known.count() > 0).then_some(limit)
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
        Sequential::default().judge(&rules(), old, new, Duration::from_secs(120))
    }

    #[test]
    fn as_good_passes_worse_fails_and_little_says_nothing() {
        let old = samples(vec![counters(100, 1, 1_000); 10]);
        assert_eq!(verdict(&old, &samples(vec![counters(100, 1, 1_000); 10])), Verdict::Pass);
        // As good as far as one sees, and too few to be sure.
        let few = verdict(&old, &samples(vec![counters(10, 0, 1_000); 10]));
        assert!(
            matches!(&few, Verdict::Inconclusive { reason } if reason.contains("do not tell")),
            "{few:?}"
        );
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
            if matches!(verdict(&old, &new), Verdict::Fail { .. }) {
                failed += 1;
            }
        }
        assert!(failed <= 6, "{failed} of 300");
    }
}
