//! A test of two proportions that may be looked at any time.
//!
//! The method is an *e-process for two proportions*: Turner, Ly, Grünwald, "Generic
//! E-variables for exact sequential k-sample tests that allow for optional stopping",
//! J. Stat. Plan. Inference 230 (2024), with the null that a margin bounds from Turner,
//! Grünwald, "Exact anytime-valid confidence intervals for contingency tables and beyond",
//! Stat. Probab. Lett. 198 (2023). Each look bets on an alternative that was learned from
//! the looks before it; the stakes multiply. While the null holds, the chance that the
//! stake *ever* reaches 1/α is at most α, however often it is looked at and whatever made
//! one stop (Ville's inequality). A threshold on a rate, looked at again and again, has no
//! such bound.
//!
//! It is exact for independent requests. Requests that fail together (one bad host, one bad
//! second) carry less evidence than their number says; callers bound that by
//! [`Counts::at_most`].

/// Requests of one release between two looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// How many.
    pub total: u64,
    /// How many of them were bad: failed, or slower than the threshold.
    pub bad: u64,
}

impl Counts {
    /// The same proportion with no more weight than `limit` requests. One look then never
    /// decides by itself because of one burst. Rounded towards fewer bad ones.
    #[must_use]
    pub fn at_most(self, limit: u64) -> Self {
        if self.total <= limit || self.total == 0 {
            return self;
        }
        let bad = u128::from(self.bad) * u128::from(limit) / u128::from(self.total);
        Self { total: limit, bad: u64::try_from(bad).unwrap_or(limit) }
    }

    /// Requests of both.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self { total: self.total + other.total, bad: self.bad + other.bad }
    }

    /// The share of bad ones, 0 when there were none at all.
    #[must_use]
    pub fn share(self) -> f64 {
        if self.total == 0 { 0.0 } else { number(self.bad) / number(self.total) }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
fn number(count: u64) -> f64 {
    count as f64
}

/// What the evidence is gathered against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Null {
    /// New is at most `margin` worse than old. Evidence against it says that new is worse.
    NotWorse,
    /// New is at least `margin` worse than old. Evidence against it says that new is no worse.
    Worse,
}

/// Evidence against a null hypothesis about two proportions, gathered look by look.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    null: Null,
    margin: f64,
    old: Counts,
    new: Counts,
    /// Logarithms of the stakes of each bet.
    stakes: [f64; BETS.len()],
    highest: f64,
}

/// How much of the way from the null to what was learned each bet goes. A bold bet grows
/// fast where the difference is large, a shy one survives where it is small; the evidence
/// is their mean.
const BETS: [f64; 3] = [1.0, 0.5, 0.2];

/// Proportions are kept this far from 0 and 1, so that no single request decides.
const EDGE: f64 = 1e-6;

/// What is believed of a proportion before anything was seen: this many requests …
const PRIOR_TOTAL: f64 = 1.0;
/// … of which so many were bad.
const PRIOR_BAD: f64 = 0.02;

impl Evidence {
    /// No evidence yet. `margin` is a difference of proportions, 0 to 1.
    #[must_use]
    pub fn against(null: Null, margin: f64) -> Self {
        let margin = if margin.is_finite() { margin.clamp(0.0, 1.0 - 4.0 * EDGE) } else { 0.0 };
        Self {
            null,
            margin,
            old: Counts::default(),
            new: Counts::default(),
            stakes: [0.0; BETS.len()],
            highest: 0.0,
        }
    }

    /// Adds what was seen since the last look. A look that saw only one of the two releases
    /// is learned from, but says nothing about their difference.
    pub fn look(&mut self, old: Counts, new: Counts) {
        if old.total > 0 && new.total > 0 {
            let learned = (believed(self.old), believed(self.new));
            for (stake, boldness) in self.stakes.iter_mut().zip(BETS) {
                *stake += growth(self.null, self.margin, learned, boldness, old, new);
            }
            self.highest = self.highest.max(self.log_stake());
        }
        self.old = self.old.plus(old);
        self.new = self.new.plus(new);
    }

    /// Everything seen of the old release.
    #[must_use]
    pub const fn old(&self) -> Counts {
        self.old
    }

    /// Everything seen of the new release.
    #[must_use]
    pub const fn new_release(&self) -> Counts {
        self.new
    }

    /// The p-value that holds at any time: the chance to see as much evidence, at any look
    /// up to now, if the null were true. Never rises.
    #[must_use]
    pub fn p_value(&self) -> f64 {
        (-self.highest).exp().min(1.0)
    }

    /// Natural logarithm of the mean of the stakes.
    fn log_stake(&self) -> f64 {
        let top = self.stakes.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if top == f64::NEG_INFINITY {
            return top;
        }
        let sum: f64 = self.stakes.iter().map(|stake| (stake - top).exp()).sum();
        top + (sum / number(BETS.len() as u64)).ln()
    }
}

fn believed(seen: Counts) -> f64 {
    inside((number(seen.bad) + PRIOR_BAD) / (number(seen.total) + PRIOR_TOTAL))
}

fn inside(share: f64) -> f64 {
    share.clamp(EDGE, 1.0 - EDGE)
}

/// The logarithm by which a stake grows in one look.
fn growth(null: Null, margin: f64, learned: (f64, f64), boldness: f64, old: Counts, new: Counts) -> f64 {
    let (n_old, n_new) = (number(old.total), number(new.total));
    let is_alternative = match null {
        Null::NotWorse => learned.1 - learned.0 > margin,
        Null::Worse => learned.1 - learned.0 < margin,
    };
    // What was learned agrees with the null: there is nothing to bet on.
    if !is_alternative {
        return 0.0;
    }
    let Some(nearest) = project(learned, margin, n_old, n_new) else { return 0.0 };
    let bet = (
        inside(nearest.0 + boldness * (learned.0 - nearest.0)),
        inside(nearest.1 + boldness * (learned.1 - nearest.1)),
    );
    // The stakes must be set against the point of the null that is nearest to the bet itself.
    let Some(nearest) = project(bet, margin, n_old, n_new) else { return 0.0 };
    ratio(bet.0, nearest.0, old) + ratio(bet.1, nearest.1, new)
}

fn ratio(bet: f64, null: f64, seen: Counts) -> f64 {
    let (bad, good) = (number(seen.bad), number(seen.total - seen.bad.min(seen.total)));
    bad * (bet / null).ln() + good * ((1.0 - bet) / (1.0 - null)).ln()
}

/// The point (q, q + margin) of the null's border that is nearest to a bet in the sense of
/// Kullback and Leibler, weighted by the numbers of requests. That choice is what makes the
/// stake fair: its expectation is at most 1 everywhere in the null (both are convex).
fn project(bet: (f64, f64), margin: f64, n_old: f64, n_new: f64) -> Option<(f64, f64)> {
    let slope = |q: f64| {
        let other = q + margin;
        n_old * (q - bet.0) / (q * (1.0 - q)) + n_new * (other - bet.1) / (other * (1.0 - other))
    };
    let (mut low, mut high) = (EDGE / 2.0, 1.0 - margin - EDGE / 2.0);
    if low >= high || slope(low) > 0.0 || slope(high) < 0.0 {
        return None;
    }
    // The slope rises from below zero to above it; 60 halvings are exact for an f64.
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if slope(middle) > 0.0 { high = middle } else { low = middle }
    }
    let q = 0.5 * (low + high);
    Some((q, q + margin))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(total: u64, bad: u64) -> Counts {
        Counts { total, bad }
    }

    /// Expectation of one look's growth factor over all that could be seen, if old fails with
    /// chance `q.0` and new with `q.1`.
    fn expectation(null: Null, margin: f64, learned: (f64, f64), boldness: f64, q: (f64, f64)) -> f64 {
        let (n_old, n_new) = (4_u64, 3_u64);
        let choose = |n: u64, k: u64| (0..k).fold(1.0, |c, i| c * number(n - i) / number(i + 1));
        let chance = |n: u64, k: u64, q: f64| {
            choose(n, k) * q.powi(i32::try_from(k).unwrap()) * (1.0 - q).powi(i32::try_from(n - k).unwrap())
        };
        let mut sum = 0.0;
        for a in 0..=n_old {
            for b in 0..=n_new {
                let grown = growth(null, margin, learned, boldness, counts(n_old, a), counts(n_new, b)).exp();
                sum += chance(n_old, a, q.0) * chance(n_new, b, q.1) * grown;
            }
        }
        sum
    }

    #[test]
    fn no_bet_is_better_than_fair_anywhere_in_the_null() {
        let grid: Vec<f64> = (0_i32..=20).map(|i| f64::from(i) / 20.0).collect();
        for null in [Null::NotWorse, Null::Worse] {
            for margin in [0.0, 0.02, 0.2] {
                for learned in [(0.01, 0.5), (0.3, 0.31), (0.6, 0.1), (0.02, 0.02), (0.0001, 0.9)] {
                    for boldness in BETS {
                        for &q_old in &grid {
                            for &q_new in &grid {
                                let holds = match null {
                                    Null::NotWorse => q_new <= q_old + margin,
                                    Null::Worse => q_new >= q_old + margin,
                                };
                                if !holds {
                                    continue;
                                }
                                let fair = expectation(null, margin, learned, boldness, (q_old, q_new));
                                assert!(
                                    fair <= 1.0 + 1e-9,
                                    "{null:?} {margin} {learned:?} {boldness} at ({q_old}, {q_new}): {fair}"
                                );
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_plain_is_seen_soon() {
        let mut evidence = Evidence::against(Null::NotWorse, 0.01);
        let mut looks = 0;
        while evidence.p_value() > 0.001 {
            evidence.look(counts(20, 0), counts(20, 10));
            looks += 1;
            assert!(looks < 5, "{evidence:?}");
        }
        let mut evidence = Evidence::against(Null::Worse, 0.05);
        let mut looks = 0;
        while evidence.p_value() > 0.05 {
            evidence.look(counts(20, 0), counts(20, 0));
            looks += 1;
            assert!(looks < 20, "{evidence:?}");
        }
    }

    #[test]
    fn one_side_alone_proves_nothing() {
        let mut evidence = Evidence::against(Null::NotWorse, 0.0);
        for _ in 0..100 {
            evidence.look(counts(0, 0), counts(50, 50));
        }
        assert_eq!(evidence.p_value().to_bits(), 1.0_f64.to_bits());
    }

    #[test]
    fn a_burst_has_bounded_weight() {
        assert_eq!(counts(1000, 100).at_most(50), counts(50, 5));
        assert_eq!(counts(10, 3).at_most(50), counts(10, 3));
        assert_eq!(counts(u64::MAX, u64::MAX).at_most(7), counts(7, 7));
    }

    #[test]
    fn margins_and_counts_at_the_edge_give_numbers() {
        for margin in [0.0, 1.0, f64::NAN, -3.0] {
            for null in [Null::NotWorse, Null::Worse] {
                let mut evidence = Evidence::against(null, margin);
                for seen in [(0, 0), (5, 5), (5, 0), (1_000_000, 999_999)] {
                    evidence.look(counts(seen.0, seen.1), counts(seen.0, seen.0 - seen.1));
                    assert!((0.0..=1.0).contains(&evidence.p_value()), "{evidence:?}");
                }
            }
        }
    }
}
