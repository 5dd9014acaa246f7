//! What a plan does to the bill of a month: what is there, what will be, and whether that may be.

use std::collections::BTreeSet;

use super::alternatives::ManifestAlternatives;
use super::assess::{AssessOptions, Request, items};
use super::budget::{Alternatives, Change, Judgement, judge};
use super::estimate::{Bill, Estimate};
use super::reckon::estimate;
use super::usage::Level;
use super::{BillItem, Line, Money};
use crate::diagnostics::{Diagnostic, Severity};
use crate::manifest::LoadedManifest;
use crate::names::{ProviderName, ResourceKey};
use crate::provider::Registry;
use crate::stack::Stack;

/// What is asked of the cost of a plan.
#[derive(Debug, Clone, Copy)]
pub struct PlannedCostInput<'a> {
    /// The providers of this program.
    pub registry: &'a Registry,
    /// Who bills.
    pub provider: &'a ProviderName,
    /// The manifest as it is deployed; `None` where the plan is not about one.
    pub manifest: Option<&'a LoadedManifest>,
    /// What is there.
    pub before: &'a Stack,
    /// What is there when the plan is done.
    pub after: &'a Stack,
    /// Is that all that the manifest asks for? If not, nothing is proposed in place of what costs too much.
    pub whole: bool,
    /// Usage, prices and the budget; the rest of it is not looked at.
    pub options: &'a AssessOptions<'a>,
}

/// What a plan does to the bill of a month.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PlannedCost {
    /// The usage that decides.
    pub level: Level,
    /// What is there costs so much; `None` when that cannot be said.
    pub before: Option<Estimate>,
    /// What will be there costs so much; `None` when that cannot be said.
    pub after: Option<Estimate>,
    /// Why something cannot be said, and what else was noticed.
    pub diagnostics: Vec<Diagnostic>,
    /// What the budget says of what will be there. `None` without a budget, and when it cannot be said.
    pub judgement: Option<Judgement>,
}

impl PlannedCost {
    /// How much more a month costs then than now, less where it is negative; `None` when that cannot be said.
    #[must_use]
    pub fn change(&self) -> Option<Money> {
        let (before, after) = (self.before.as_ref()?, self.after.as_ref()?);
        let amount = after.total(self.level).amount.checked_sub(before.total(self.level).amount)?;
        Some(Money { amount, currency: after.currency })
    }

    /// The lines that change, in the order of [`Line`], and by how much. Empty when that cannot be said.
    #[must_use]
    pub fn lines(&self) -> Vec<(Line, Money)> {
        let (Some(before), Some(after)) = (&self.before, &self.after) else { return Vec::new() };
        let kinds: BTreeSet<Line> = before.kinds().union(&after.kinds()).copied().collect();
        kinds
            .into_iter()
            .filter_map(|line| {
                let (was, is) = (before.sum(line, self.level).amount, after.sum(line, self.level).amount);
                let amount = is.checked_sub(was)?;
                (!amount.is_zero()).then_some((line, Money { amount, currency: after.currency }))
            })
            .collect()
    }

    /// Does it make the month dearer, as far as anybody can say? What cannot be priced may.
    #[must_use]
    pub fn may_rise(&self) -> bool {
        self.change().is_none_or(|change| change.amount.is_sign_positive() && !change.amount.is_zero())
    }

    /// Is there nothing to say: nobody bills for any of it, before and after?
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        let empty = |estimate: &Option<Estimate>| {
            estimate.as_ref().is_some_and(|estimate| estimate.lines.is_empty() && estimate.complete())
        };
        self.judgement.is_none() && empty(&self.before) && empty(&self.after)
    }
}

/// What a plan does to the bill of a month, and what the budget says of it. Pure.
#[must_use]
pub fn planned(input: &PlannedCostInput<'_>) -> PlannedCost {
    let PlannedCostInput { registry, provider, manifest, before, after, whole, options } = *input;
    let mut diagnostics = Vec::new();
    let request = manifest.map(|loaded| Request::new(registry, &after.id, loaded, options));
    let kinds = registry.get(provider).map(|factory| factory.kinds()).unwrap_or_default();
    let frame = match &request {
        Some(request) => request.frame(&request.loaded.manifest, provider, &mut diagnostics),
        None => Bill { provider: provider.to_string(), ..Bill::default() },
    };
    let mut price = |stack: &Stack| {
        let mut found = Vec::new();
        let mut bill = frame.clone();
        items(&kinds, stack, &mut bill, &mut found);
        let priced = if is_wrong(&found) {
            None
        } else {
            let checked = estimate(&bill, options.usage, options.prices);
            let value = checked.value.filter(|_| !is_wrong(&checked.diagnostics));
            found.extend(checked.diagnostics);
            value.map(|estimate| (bill, estimate))
        };
        // What is there and stays is said once.
        for diagnostic in found {
            if !diagnostics.iter().any(|known: &Diagnostic| known.message == diagnostic.message) {
                diagnostics.push(diagnostic);
            }
        }
        priced
    };
    let priced_before = price(before);
    let priced_after = price(after);
    let judgement = match (&priced_after, options.max_monthly) {
        (Some((bill, estimated)), Some(limit)) => {
            let chosen: Option<(ManifestAlternatives<'_>, Vec<(ResourceKey, BillItem)>)> =
                request.as_ref().filter(|_| whole).map(|request| {
                    let alternatives = ManifestAlternatives::new(request, provider, bill);
                    (alternatives, beside(request, provider, bill))
                });
            let none: &dyn Alternatives = &Nothing;
            let alternatives = chosen.as_ref().map_or(none, |(alternatives, _)| alternatives);
            let stays = chosen.as_ref().map_or(&[][..], |(_, stays)| stays);
            let price = |other: &Bill| {
                let mut other = other.clone();
                other.items.extend(stays.iter().cloned());
                let (estimate, _) = estimate(&other, options.usage, options.prices).into_result().ok()?;
                estimate.complete().then(|| estimate.total(options.level))
            };
            Some(judge(estimated, options.level, limit, alternatives, &price))
        }
        _ => None,
    };
    PlannedCost {
        level: options.level,
        before: priced_before.map(|(_, estimate)| estimate),
        after: priced_after.map(|(_, estimate)| estimate),
        diagnostics,
        judgement,
    }
}

fn is_wrong(found: &[Diagnostic]) -> bool {
    found.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
}

/// What is billed although the manifest does not ask for it: data that outlived what it was made for.
fn beside(request: &Request<'_>, provider: &ProviderName, bill: &Bill) -> Vec<(ResourceKey, BillItem)> {
    let asked = request.bill_of(&request.loaded.manifest, provider).value.unwrap_or_default();
    let asked: BTreeSet<&ResourceKey> = asked.items.iter().map(|(key, _)| key).collect();
    bill.items.iter().filter(|(key, _)| !asked.contains(key)).cloned().collect()
}

/// No other way is known.
struct Nothing;

impl Alternatives for Nothing {
    fn changes(&self) -> Vec<Change> {
        Vec::new()
    }
    fn bill(&self, _: &[usize]) -> Option<Bill> {
        None
    }
}
