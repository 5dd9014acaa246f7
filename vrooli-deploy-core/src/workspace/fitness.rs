//! How fit an app is, with what it costs and what becomes of its secrets taken for real.

use std::path::Path;

use super::target::default_environment;
use super::{
    EstimateOptions, EstimateReport, OperationError, SecretsOptions, Target, TargetOptions, Workspace,
};
use crate::diagnostics::{Diagnostic, Severity, rules};
use crate::fitness::{AssessOptions, CostGate, Fitness, assess, load_with};
use crate::manifest::{Layer, Layers, LoadedManifest, SwapConfig, Tier};
use crate::names::StackId;
use crate::swaps::{self, Consequence, SwapAnalysis};
use crate::validate::readiness;

/// What an app is scored with, beside what it is.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct FitnessChoices {
    /// Tiers, drops, swaps, and how to score.
    pub assess: AssessOptions,
    /// What it may cost a month, and what that is said with. Without a limit nothing is estimated.
    pub estimate: EstimateOptions,
}

/// How fit an app is, and what that was worked out from.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FitnessReport {
    /// The scores.
    pub fitness: Fitness,
    /// What it costs, where a limit was set.
    pub estimate: Option<EstimateReport>,
    /// What was noticed on the way.
    pub diagnostics: Vec<Diagnostic>,
}

impl Workspace {
    /// What an argument means to somebody who only wants to know: as
    /// [`resolve`](Self::resolve), but files that the manifest names and that are not there are
    /// a warning, because scores need none.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    pub async fn resolve_to_assess(
        &self,
        argument: &str,
        options: &TargetOptions,
    ) -> Result<Target, OperationError> {
        let found = match self.resolve(argument, options).await {
            Err(OperationError::Input(found)) => found,
            other => return other,
        };
        let errors = || found.iter().filter(|found| found.severity == Severity::Error);
        let path = Path::new(argument);
        if !path.exists() || errors().any(|error| error.code != rules::FILE_MISSING) {
            return Err(OperationError::Input(found));
        }
        let environment = match &options.environment {
            Some(environment) => environment.clone(),
            None => default_environment()?,
        };
        let values = options.values.clone();
        let layers = Layers {
            environment: Some(environment.clone()),
            layers: values.iter().cloned().map(Layer::File).collect(),
        };
        let loaded = load_with(path, &layers).into_result();
        let (manifest, diagnostics) = loaded.map_err(OperationError::Input)?;
        let app = options.name.clone().unwrap_or_else(|| manifest.manifest.app.name.clone());
        let stack = StackId { app, environment };
        Ok(Target { stack, manifest: Some(manifest), diagnostics, profile: None, values })
    }

    /// Scores an app for the tiers that are asked for (default: the manifest's). Secrets count
    /// as they stand in the store; with a limit of costs the estimate counts, too.
    ///
    /// # Errors
    /// When the manifest cannot be used, or a limit is set and no estimate can be made.
    pub async fn fitness(
        &self,
        target: &Target,
        choices: &FitnessChoices,
    ) -> Result<FitnessReport, OperationError> {
        let loaded = usable(target)?;
        let mut options = choices.assess.clone();
        options.include_optional |= target.include_optional();
        let estimate = match choices.estimate.max_monthly {
            None => None,
            Some(limit) => {
                let mut asked = choices.estimate.clone();
                asked.include_optional |= options.include_optional;
                asked.drop.extend(options.drop.iter().cloned());
                if asked.provider.is_none() {
                    asked.provider.clone_from(&options.fitness.provider);
                }
                let swapped = with_swaps(target, &options.swaps);
                let report = self.estimate(&swapped, &asked)?;
                let of = &report.assessment;
                let monthly = of.estimate.total(of.level);
                let budget = crate::cost::Money { amount: limit, currency: monthly.currency };
                options.fitness.cost = Some(CostGate { monthly, budget });
                Some(report)
            }
        };
        let asked = if options.tiers.is_empty() {
            vec![loaded.manifest.target]
        } else {
            std::mem::take(&mut options.tiers)
        };
        let mut diagnostics = target.diagnostics.clone();
        let mut whole: Option<Fitness> = None;
        // Each tier has secrets of its own.
        for tier in asked {
            let secrets = SecretsOptions {
                tier: Some(tier),
                include_optional: options.include_optional,
                drop: options.drop.clone(),
            };
            let plan = self.identify_secrets(&with_swaps(target, &options.swaps), &secrets).await?;
            let mut one = options.clone();
            one.tiers = vec![tier];
            let stored = |secret: &crate::secrets::PlannedSecret| plan.stored.contains_key(&secret.name);
            one.fitness.secrets = Some(readiness(&plan.plan, &stored));
            let assessed = assess(loaded, &one);
            for found in assessed.diagnostics {
                let same = |d: &Diagnostic| d.code == found.code && d.message == found.message;
                if !diagnostics.iter().any(same) {
                    diagnostics.push(found);
                }
            }
            let Some(mut fitness) = assessed.value else { continue };
            fitness.app = target.stack.app.clone();
            match &mut whole {
                Some(whole) => whole.tiers.extend(fitness.tiers),
                None => whole = Some(fitness),
            }
        }
        let Some(mut fitness) = whole else { return Err(OperationError::Input(diagnostics)) };
        fitness.tiers.sort_by_key(|fitness| fitness.tier);
        fitness.tiers.dedup_by_key(|fitness| fitness.tier);
        Ok(FitnessReport { fitness, estimate, diagnostics })
    }

    /// What a swap would do to an app in every tier, and what it forces.
    ///
    /// # Errors
    /// When the manifest cannot be used.
    pub fn analyze_swap(
        &self,
        target: &Target,
        swap: &SwapConfig,
        options: &AssessOptions,
    ) -> Result<(SwapAnalysis, Vec<Diagnostic>), OperationError> {
        let checked = swaps::analyze(usable(target)?, swap, options);
        let mut diagnostics = target.diagnostics.clone();
        diagnostics.extend(checked.diagnostics);
        match checked.value {
            Some(analysis) => Ok((analysis, diagnostics)),
            None => Err(OperationError::Input(diagnostics)),
        }
    }

    /// What a swap would force in an app: who else has to change, and what is to be said of the
    /// swap itself in a tier (`None`: the manifest's). A refused one has its consequences too.
    ///
    /// # Errors
    /// When the manifest cannot be used.
    pub fn cascade_swap(
        &self,
        target: &Target,
        swap: &SwapConfig,
        tier: Option<Tier>,
    ) -> Result<SwapCascade, OperationError> {
        let loaded = usable(target)?;
        let manifest = &loaded.manifest;
        let tier = tier.unwrap_or(manifest.target);
        let judged = swaps::check(manifest, std::slice::from_ref(swap), tier, &loaded.spans);
        let (refusals, remarks): (Vec<_>, Vec<_>) =
            judged.into_iter().partition(|found| found.severity == Severity::Error);
        let diagnostics = target.diagnostics.iter().cloned().chain(remarks).collect();
        Ok(SwapCascade { consequences: swaps::cascade(manifest, swap, tier), diagnostics, refusals })
    }
}

/// What a swap would force.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SwapCascade {
    /// Who else has to change, and how.
    pub consequences: Vec<Consequence>,
    /// What was noticed.
    pub diagnostics: Vec<Diagnostic>,
    /// Why the tier refuses the swap; empty: it does not.
    pub refusals: Vec<Diagnostic>,
}

/// The manifest, or why there is none.
pub(super) fn usable(target: &Target) -> Result<&LoadedManifest, OperationError> {
    match &target.manifest {
        Some(loaded) => Ok(loaded),
        None if !target.diagnostics.is_empty() => Err(OperationError::Input(target.diagnostics.clone())),
        None => Err(gone(&target.stack)),
    }
}

fn gone(stack: &StackId) -> OperationError {
    OperationError::Nothing {
        message: format!("the folder of `{}` is gone", stack.app),
        help: "give the folder where it is now".to_owned(),
    }
}

/// The target with swaps beside those of its manifest.
pub(super) fn with_swaps(target: &Target, swaps: &[SwapConfig]) -> Target {
    let mut target = target.clone();
    if let Some(loaded) = &mut target.manifest {
        loaded.manifest.swaps = swaps::joined(&loaded.manifest.swaps, swaps);
    }
    target
}
