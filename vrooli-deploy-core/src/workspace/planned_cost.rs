//! What a plan does to the bill of a month, shown with it and held against what it may come to.

use std::collections::BTreeMap;

use super::deploy::Prepared;
use super::{OperationError, Target, Workspace};
use crate::cost::{AssessOptions, Decimal, Judgement, PlannedCost, PlannedCostInput, Prices, planned};
use crate::diagnostics::Diagnostic;
use crate::engine::{ResourceState, StackState};
use crate::manifest::LoadedManifest;
use crate::names::{ProviderName, ResourceKey};
use crate::plan::Plan;
use crate::stack::{Resource, Stack};

/// What a plan is priced with.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct CostOptions {
    /// `low`, `expected`, `high`, the name of a usage profile, or a file.
    pub usage: Option<String>,
    /// The name of a price book, or a file. It is asked before all others.
    pub prices: Option<String>,
    /// The most that the stack may cost a month once the plan is done, in US dollars.
    pub max_monthly: Option<Decimal>,
}

/// What would be done.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PlanReport {
    /// The plan.
    pub plan: Plan,
    /// What it does to the bill; `None` where nobody bills for any of it.
    pub cost: Option<PlannedCost>,
    /// What was noticed about the input.
    pub diagnostics: Vec<Diagnostic>,
}

impl PlanReport {
    /// Lets the plan pass, or says why not.
    ///
    /// # Errors
    /// [`OperationError::Budget`] (exit 7) when there is a budget and it is not known to be kept.
    pub fn gate(&self) -> Result<(), OperationError> {
        gate(self.cost.as_ref())
    }
}

/// Whose bill.
#[derive(Debug, Clone, Copy)]
pub(super) struct Billed<'a> {
    /// Who bills.
    pub(super) provider: &'a ProviderName,
    /// The manifest as it is deployed.
    pub(super) manifest: Option<&'a LoadedManifest>,
    /// Is all made that it asks for?
    pub(super) whole: bool,
    /// Are optional dependencies in it?
    pub(super) include_optional: bool,
}

/// Lets a cost pass, or says why not.
pub(super) fn gate(cost: Option<&PlannedCost>) -> Result<(), OperationError> {
    match cost.and_then(|cost| cost.judgement.as_ref()) {
        Some(judgement) if !judgement.passes() => {
            Err(OperationError::Budget(Box::new(Judgement::clone(judgement))))
        }
        _ => Ok(()),
    }
}

impl Workspace {
    /// What a deployment does to the bill; a note joins the plan where that is over the stack's own budget.
    ///
    /// # Errors
    /// Only with a limit: when nobody can say what it comes to. That it comes to more is for
    /// [`PlanReport::gate`].
    pub(super) fn cost_of_deployment(
        &self,
        target: &Target,
        prepared: &Prepared,
        state: &StackState,
        plan: &mut Plan,
        options: &CostOptions,
    ) -> Result<Option<PlannedCost>, OperationError> {
        let manifest = target.manifest.as_ref().map(|loaded| prepared.laid_over(loaded));
        let of = Billed {
            provider: &prepared.provider,
            manifest: manifest.as_ref(),
            whole: prepared.left_out.is_empty(),
            include_optional: prepared.include_optional,
        };
        let cost = self.planned_cost(&of, state, plan, options)?;
        let budget = manifest.as_ref().and_then(|loaded| loaded.manifest.infrastructure.budget.as_ref());
        if let Some(limit) = budget.and_then(|budget| budget.monthly().ok())
            && let Some(cost) = &cost
            && let Some(total) = cost.after.as_ref().map(|after| after.total(cost.level))
            && total.amount > limit.amount
        {
            plan.notes.push(format!(
                "`infrastructure.budget` of {limit} USD a month is less than the {total} USD that are estimated: whom it tells will be told"
            ));
        }
        Ok(cost)
    }

    /// What a plan does to the bill. `None` where nobody bills for any of it.
    ///
    /// # Errors
    /// Only with a limit: when prices or usage cannot be read, or something has no price.
    pub(super) fn planned_cost(
        &self,
        of: &Billed<'_>,
        state: &StackState,
        plan: &Plan,
        options: &CostOptions,
    ) -> Result<Option<PlannedCost>, OperationError> {
        let before = Stack { id: plan.stack.clone(), resources: standing(state) };
        let after = plan.after(&before);
        let asked = self.priced_with(options.usage.as_deref(), options.prices.as_deref());
        let (found, (prices, level, usage)) = match asked {
            Ok(asked) => (Vec::new(), asked),
            // Who asked for nothing of it is not kept from a deployment by a damaged book.
            Err(OperationError::Input(found)) if *options == CostOptions::default() => {
                (found, super::estimate::usual(Prices::embedded())?)
            }
            Err(error) => return Err(error),
        };
        let mut assess = AssessOptions::new(&usage, &prices);
        assess.level = level;
        assess.max_monthly = options.max_monthly;
        assess.include_optional = of.include_optional;
        let mut cost = planned(&PlannedCostInput {
            registry: self.registry(),
            provider: of.provider,
            manifest: of.manifest,
            before: &before,
            after: &after,
            whole: of.whole,
            options: &assess,
        });
        cost.diagnostics.extend(found);
        if cost.after.is_none() && options.max_monthly.is_some() {
            return Err(OperationError::Input(cost.diagnostics));
        }
        Ok(Some(cost).filter(|cost| !cost.is_nothing()))
    }
}

/// What the state says is there, as far as prices go by it.
fn standing(state: &StackState) -> BTreeMap<ResourceKey, Resource> {
    let resource = |known: &ResourceState| Resource {
        kind: known.kind.clone(),
        spec: known.spec.clone(),
        after: known.needs.clone(),
        holds_data: known.holds_data,
    };
    state.resources.iter().map(|(key, known)| (key.clone(), resource(known))).collect()
}
