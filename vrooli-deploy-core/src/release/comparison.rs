//! New against current old: is it worse, is it fine, or can that not be said yet?

use std::sync::LazyLock;

use serde::Deserialize;

use super::sequential::{Counts, Evidence, Null};
use crate::manifest::crosswalk::embedded;

/// What counts as worse and as fine, and how sure one must be.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Limits {
    /// Of failed requests.
    pub errors: Margins,
    /// Of requests slower than the old release's quantile.
    pub slow: Margins,
    /// The chance that a release that is no worse is found worse, at most. Both comparisons
    /// together, over all looks.
    pub false_abort: f64,
    /// The chance that a release that is worse than `fine_within` is found fine, at most.
    pub miss: f64,
    /// The quantile of the old release's latency beyond which a request is slow.
    pub slow_quantile: f64,
    /// One look weighs no more than so many requests of each release: requests that fail
    /// together are not independent.
    pub look_at_most: u64,
}

/// Differences of proportions, 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
pub struct Margins {
    /// More than this is worse.
    pub worse_by: f64,
    /// Less than this is fine. Not less than `worse_by`.
    pub fine_within: f64,
}

impl Default for Limits {
    fn default() -> Self {
        *LIMITS
    }
}

static LIMITS: LazyLock<Limits> =
    LazyLock::new(|| embedded::<Option<Limits>>(include_str!("data/comparison.json")).unwrap_or(STRICT));

/// Never used: a test proves that the data file can be read.
const STRICT: Limits = Limits {
    errors: Margins { worse_by: 0.0, fine_within: 0.0 },
    slow: Margins { worse_by: 0.0, fine_within: 0.0 },
    false_abort: 0.0,
    miss: 0.0,
    slow_quantile: 0.0,
    look_at_most: 0,
};

/// What the comparison has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// New fails more than old.
    FailsMore,
    /// New is slower than old.
    Slower,
    /// New is neither, within the margins.
    Fine,
    /// That cannot be said yet.
    Open,
}

/// A running comparison. Errors and latency each have evidence for both answers; a
/// difference that lies between the two margins stays open for ever, which is an answer too.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    limits: Limits,
    fails_more: Evidence,
    fails_no_more: Evidence,
    slower: Evidence,
    no_slower: Evidence,
}

impl Comparison {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            fails_more: Evidence::against(Null::NotWorse, limits.errors.worse_by),
            fails_no_more: Evidence::against(Null::Worse, limits.errors.fine_within),
            slower: Evidence::against(Null::NotWorse, limits.slow.worse_by),
            no_slower: Evidence::against(Null::Worse, limits.slow.fine_within),
        }
    }

    /// Adds requests that both ended since the last look, and how many of them failed.
    pub fn look_at_errors(&mut self, old: Counts, new: Counts) {
        let weigh = |counts: Counts| counts.at_most(self.limits.look_at_most);
        self.fails_more.look(weigh(old), weigh(new));
        self.fails_no_more.look(weigh(old), weigh(new));
    }

    /// Adds requests that both answered since the last look, and how many of them were slower
    /// than a threshold. It must have been fixed before the look began: see
    /// [`Limits::slow_quantile`].
    pub fn look_at_latency(&mut self, old: Counts, new: Counts) {
        let weigh = |counts: Counts| counts.at_most(self.limits.look_at_most);
        self.slower.look(weigh(old), weigh(new));
        self.no_slower.look(weigh(old), weigh(new));
    }

    /// What it has come to. May be asked after every look: the error rates hold for all of
    /// them together.
    #[must_use]
    pub fn finding(&self) -> Finding {
        if self.fails_more.old().total.min(self.fails_more.new_release().total) == 0 {
            return Finding::Open;
        }
        // Two ways to be worse share the one rate; to be fine both must hold.
        let each = self.limits.false_abort / 2.0;
        if self.fails_more.p_value() <= each {
            Finding::FailsMore
        } else if self.slower.p_value() <= each {
            Finding::Slower
        } else if self.fails_no_more.p_value() <= self.limits.miss
            && self.no_slower.p_value() <= self.limits.miss
        {
            Finding::Fine
        } else {
            Finding::Open
        }
    }

    /// Shares of failed requests of old and new so far, for people.
    #[must_use]
    pub fn failed(&self) -> (f64, f64) {
        (self.fails_more.old().share(), self.fails_more.new_release().share())
    }

    /// Shares of slow requests of old and new so far, for people.
    #[must_use]
    pub fn slow(&self) -> (f64, f64) {
        (self.slower.old().share(), self.slower.new_release().share())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Failed and slow ones of 50 requests, or of none.
    fn run(old: Option<(u64, u64)>, new: (u64, u64), looks: usize) -> Finding {
        let of = |bad| Counts { total: 50, bad };
        let mut comparison = Comparison::new(Limits::default());
        for _ in 0..looks {
            comparison.look_at_errors(old.map_or_else(Counts::default, |old| of(old.0)), of(new.0));
            comparison.look_at_latency(old.map_or_else(Counts::default, |old| of(old.1)), of(new.1));
        }
        comparison.finding()
    }

    #[test]
    fn the_data_file_is_read_and_makes_sense() {
        let limits = Limits::default();
        assert!(limits.errors.worse_by < limits.errors.fine_within);
        assert!(limits.slow.worse_by < limits.slow.fine_within);
        assert!(limits.false_abort > 0.0 && limits.miss > 0.0);
        assert!((0.5..1.0).contains(&limits.slow_quantile));
        assert!(limits.look_at_most > 0);
    }

    #[test]
    fn each_finding_is_reached() {
        assert_eq!(run(Some((0, 2)), (0, 2), 60), Finding::Fine);
        assert_eq!(run(Some((0, 2)), (10, 2), 60), Finding::FailsMore);
        assert_eq!(run(Some((0, 2)), (0, 30), 60), Finding::Slower);
        assert_eq!(run(None, (50, 0), 60), Finding::Open);
        assert_eq!(run(Some((0, 2)), (0, 2), 0), Finding::Open);
    }

    #[test]
    fn a_broken_old_release_does_not_block_its_fix() {
        assert_eq!(run(Some((50, 50)), (0, 0), 60), Finding::Fine);
        // Nor is it a reason to call a new one worse that is just as broken.
        assert_ne!(run(Some((50, 50)), (50, 50), 60), Finding::FailsMore);
    }
}
