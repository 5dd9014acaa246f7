//! Validation with what only a workspace knows: stored secrets, prices.

use super::fitness::usable;
use super::{EstimateOptions, OperationError, SecretsOptions, Target, Workspace};
use crate::diagnostics::{Diagnostic, Severity};
use crate::validate::{Budget, ValidateOptions, Validation, validate};

/// What the rules said of an app.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ValidationReport {
    /// Every rule and what it found.
    pub validation: Validation,
    /// What was noticed while the input was read.
    pub diagnostics: Vec<Diagnostic>,
}

impl Workspace {
    /// Holds an app against every rule, as a deployment would meet it. Looks for the values of
    /// its secrets where they come from, and makes no other call; changes nothing.
    ///
    /// `budget` says what it may cost and what that is said with; without its `max_monthly`
    /// nothing is estimated. What `options` says of secrets and budget is replaced.
    ///
    /// # Errors
    /// When the manifest cannot be used, or a store or a price book cannot be read. A rule that
    /// says no is no error: see [`Validation::status`].
    pub async fn validate(
        &self,
        target: &Target,
        options: &ValidateOptions,
        budget: &EstimateOptions,
    ) -> Result<ValidationReport, OperationError> {
        let loaded = usable(target)?;
        let mut options = options.clone();
        options.include_optional |= target.include_optional();
        let secrets = SecretsOptions {
            tier: None,
            include_optional: options.include_optional,
            drop: options.drop.clone(),
        };
        let looked = self.validate_secrets(target, &secrets).await?;
        options.secrets = Some(looked.diagnostics);
        options.budget = match budget.max_monthly {
            None => None,
            Some(_) => {
                let mut asked = budget.clone();
                asked.include_optional |= options.include_optional;
                asked.drop.extend(options.drop.iter().cloned());
                if asked.provider.is_none() {
                    asked.provider.clone_from(&options.provider);
                }
                Some(self.judged(target, &asked)?)
            }
        };
        let checked = validate(self.registry(), &target.stack, loaded, &options);
        let mut diagnostics = target.diagnostics.clone();
        diagnostics.extend(checked.diagnostics);
        match checked.value {
            Some(validation) => Ok(ValidationReport { validation, diagnostics }),
            None => Err(OperationError::Input(diagnostics)),
        }
    }

    /// What the budget says. That an app cannot be priced is a finding; that a price book cannot
    /// be read is an error.
    fn judged(&self, target: &Target, options: &EstimateOptions) -> Result<Budget, OperationError> {
        // Books first: one that is damaged is no fault of the app.
        self.prices()?;
        if let Some(choice) = &options.prices {
            self.price_book(choice)?;
        }
        match self.estimate(target, options) {
            Ok(report) => match report.assessment.judgement {
                Some(judgement) => Ok(Budget::Judged(Box::new(judgement))),
                None => Ok(Budget::Unknown(Vec::new())),
            },
            Err(OperationError::Input(mut found)) => {
                found.retain(|found| found.severity == Severity::Error);
                Ok(Budget::Unknown(found))
            }
            Err(other) => Err(other),
        }
    }
}
