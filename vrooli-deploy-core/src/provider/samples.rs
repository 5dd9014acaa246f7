use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::names::ReleaseNumber;

/// What had been counted at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// When.
    pub at: Timestamp,
    /// Each release that has units or had requests.
    pub releases: BTreeMap<ReleaseNumber, Counters>,
}

/// What had been counted of one release. Counters only rise, until whoever counts is started
/// anew: then they begin at 0 again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Requests that came to an end, well or not. Those that the client gave up are no part.
    pub requests: u64,
    /// Those of them that failed through the release: answered with 5xx, cut short, refused,
    /// or not answered in time.
    pub errors: u64,
    /// Time until the answer began, of those that were answered.
    pub latency: LatencyHistogram,
    /// How often units were started again because they had ended by themselves.
    pub restarts: u32,
    /// Memory of all its units now, in bytes, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
}

impl Counters {
    /// What came on top of an earlier reading of the same release.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        // They began anew: all of it is later.
        if self.requests < earlier.requests || self.errors < earlier.errors {
            return self.clone();
        }
        Self {
            requests: self.requests - earlier.requests,
            errors: self.errors - earlier.errors,
            latency: self.latency.since(&earlier.latency),
            restarts: self.restarts.saturating_sub(earlier.restarts),
            memory: self.memory,
        }
    }

    /// Adds what came later. Memory is the later one's.
    pub fn add(&mut self, later: &Self) {
        self.requests += later.requests;
        self.errors += later.errors;
        self.latency.add(&later.latency);
        self.restarts += later.restarts;
        self.memory = later.memory.or(self.memory);
    }

    /// The share of requests that failed, 0 without requests.
    #[must_use]
    pub fn error_share(&self) -> f64 {
        share(self.errors, self.requests)
    }
}

/// How many values lie in which step. Releases that are compared have the same steps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencyHistogram {
    /// Sum of all values, in microseconds.
    pub sum_us: u64,
    /// The largest value that a step takes, in microseconds, and how many it holds. Empty
    /// steps are left out.
    pub steps: BTreeMap<u64, u64>,
}

impl LatencyHistogram {
    /// How many values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.steps.values().sum()
    }

    /// The value in microseconds that a share of all (0 to 1) does not exceed, rounded up to
    /// its step; none without values.
    #[must_use]
    pub fn quantile_us(&self, share: f64) -> Option<u64> {
        let wanted = share.clamp(0.0, 1.0) * number(self.count());
        let mut seen = 0;
        for (upto, count) in &self.steps {
            seen += count;
            if number(seen) >= wanted {
                return Some(*upto);
            }
        }
        None
    }

    /// How many values lie above one, as far as steps can tell: those in steps whose largest
    /// value is above it.
    #[must_use]
    pub fn above_us(&self, limit: u64) -> u64 {
        self.steps.iter().filter(|(upto, _)| **upto > limit).map(|(_, count)| count).sum()
    }

    fn since(&self, earlier: &Self) -> Self {
        let steps = self
            .steps
            .iter()
            .map(|(upto, count)| {
                (*upto, count.saturating_sub(earlier.steps.get(upto).copied().unwrap_or_default()))
            })
            .filter(|(_, count)| *count > 0)
            .collect();
        Self { sum_us: self.sum_us.saturating_sub(earlier.sum_us), steps }
    }

    /// Adds the values of another.
    pub fn add(&mut self, other: &Self) {
        self.sum_us += other.sum_us;
        for (upto, count) in &other.steps {
            *self.steps.entry(*upto).or_default() += count;
        }
    }
}

fn share(part: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { number(part) / number(of) }
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(requests: u64, errors: u64, steps: &[(u64, u64)]) -> Counters {
        Counters {
            requests,
            errors,
            latency: LatencyHistogram { sum_us: 0, steps: steps.iter().copied().collect() },
            ..Counters::default()
        }
    }

    #[test]
    fn what_came_later_is_the_difference_unless_counting_began_anew() {
        let earlier = counters(10, 1, &[(100, 10)]);
        let later = counters(15, 3, &[(100, 12), (200, 3)]);
        assert_eq!(later.since(&earlier), counters(5, 2, &[(100, 2), (200, 3)]));
        let anew = counters(4, 0, &[(100, 4)]);
        assert_eq!(anew.since(&later), anew);
        let mut sum = earlier;
        sum.add(&counters(5, 2, &[(100, 2), (200, 3)]));
        assert_eq!(sum, later);
    }

    #[test]
    fn quantiles_and_what_lies_above() {
        let latency = counters(0, 0, &[(100, 90), (1_000, 9), (5_000, 1)]).latency;
        assert_eq!(latency.quantile_us(0.5), Some(100));
        assert_eq!(latency.quantile_us(0.95), Some(1_000));
        assert_eq!(latency.quantile_us(1.0), Some(5_000));
        assert_eq!(latency.above_us(100), 10);
        assert_eq!(LatencyHistogram::default().quantile_us(0.5), None);
    }
}
