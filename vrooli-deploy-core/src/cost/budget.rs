//! The budget gate, and what would fit if it says no.

use super::estimate::{Bill, Estimate};
use super::usage::Level;
use super::{Decimal, Money};

/// Other ways to build the same stack. Pure: asked again, it says the same.
pub trait Alternatives {
    /// Single changes that could be made.
    fn changes(&self) -> Vec<Change>;
    /// What would be billed with these changes, by their place in [`changes`](Self::changes).
    /// `None` when they cannot go together or the provider refuses the result.
    fn bill(&self, chosen: &[usize]) -> Option<Bill>;
}

/// A change that could be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What it changes: two changes of one part exclude each other.
    pub part: String,
    /// For people: `compute.size: s-2vcpu-2gb instead of s-2vcpu-4gb`.
    pub what: String,
}

/// Does it fit?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is within the budget.
    Within,
    /// It is over the budget.
    Over,
    /// What is known is within, but something is not known.
    Unknown,
}

/// What a budget says of an estimate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The budget, a month.
    pub limit: Money,
    /// What the estimate comes to.
    pub total: Money,
    /// At this usage.
    pub level: Level,
    /// Does it fit?
    pub verdict: Verdict,
    /// When it does not: the fewest changes that fit, and among those the ones that give up
    /// least.
    pub fits: Option<Proposal>,
    /// When nothing fits: what comes nearest.
    pub nearest: Option<Proposal>,
    /// Names of what is not known.
    pub unknown: Vec<String>,
}

/// Changes, and what they come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// For people.
    pub changes: Vec<String>,
    /// What the stack costs then.
    pub total: Money,
}

impl Judgement {
    /// True when the gate lets it pass.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.verdict == Verdict::Within
    }
}

/// At most so many changes at once, and so many bills, are looked at: a search that ends.
const DEEPEST: usize = 3;
const MOST: usize = 1000;

/// Holds an estimate against a budget. `price` says what a bill comes to at the same level,
/// `None` when that cannot be said or not all of it is known.
pub fn judge(
    estimate: &Estimate,
    level: Level,
    limit: Decimal,
    alternatives: &dyn Alternatives,
    price: &dyn Fn(&Bill) -> Option<Money>,
) -> Judgement {
    let limit = Money { amount: limit, currency: estimate.currency };
    let total = estimate.total(level);
    let mut judgement = Judgement {
        limit,
        total,
        level,
        verdict: Verdict::Within,
        fits: None,
        nearest: None,
        unknown: estimate.unknown.iter().map(|unknown| unknown.what.clone()).collect(),
    };
    if total.amount <= limit.amount {
        if !estimate.complete() {
            judgement.verdict = Verdict::Unknown;
        }
        return judgement;
    }
    judgement.verdict = Verdict::Over;
    let changes = alternatives.changes();
    let mut left = MOST;
    let mut nearest: Option<(Money, Vec<usize>)> = None;
    let mut level_before: Vec<Vec<usize>> = vec![Vec::new()];
    for _ in 0..DEEPEST {
        let mut fitting: Option<(Money, Vec<usize>)> = None;
        let mut looked_at = Vec::new();
        for before in &level_before {
            let next = before.last().map_or(0, |last| last + 1);
            for (index, change) in changes.iter().enumerate().skip(next) {
                let excluded =
                    before.iter().any(|other| changes.get(*other).is_some_and(|o| o.part == change.part));
                if excluded || left == 0 {
                    continue;
                }
                left -= 1;
                let mut chosen = before.clone();
                chosen.push(index);
                let total = alternatives.bill(&chosen).and_then(|bill| price(&bill));
                if let Some(total) = total {
                    if total.amount <= limit.amount
                        && fitting.as_ref().is_none_or(|(best, _)| total.amount > best.amount)
                    {
                        fitting = Some((total, chosen.clone()));
                    }
                    if nearest.as_ref().is_none_or(|(best, _)| total.amount < best.amount) {
                        nearest = Some((total, chosen.clone()));
                    }
                }
                // Refused alone, it may be taken with another.
                looked_at.push(chosen);
            }
        }
        if fitting.is_some() {
            judgement.fits = fitting.map(|found| proposal(&changes, found));
            return judgement;
        }
        level_before = looked_at;
    }
    judgement.nearest = nearest
        .filter(|(total, _)| total.amount < judgement.total.amount)
        .map(|found| proposal(&changes, found));
    judgement
}

fn proposal(changes: &[Change], (total, chosen): (Money, Vec<usize>)) -> Proposal {
    let changes = chosen.iter().filter_map(|index| changes.get(*index)).map(|change| change.what.clone());
    Proposal { changes: changes.collect(), total }
}
