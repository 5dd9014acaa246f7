//! What a plan adds, held against the limits of the account before anything is made.

use std::collections::BTreeMap;

use super::OperationError;
use crate::plan::{PlanError, Step, StepAction};
use crate::provider::{Added, OpCtx, Provider, QuotaReading, QuotaSeen};

/// What could not be asked, as notes for the plan. Makes no call where nothing is made.
///
/// # Errors
/// When there would be more of something than there may be: all such limits together.
pub(super) async fn within_quotas(
    provider: &dyn Provider,
    cx: &OpCtx,
    steps: &[Step],
) -> Result<Vec<String>, OperationError> {
    let added: Vec<Added<'_>> = steps
        .iter()
        .filter_map(|step| match &step.action {
            StepAction::Create { key, kind, spec, .. } => Some(Added { key, kind, spec }),
            _ => None,
        })
        .collect();
    let Some(quotas) = provider.quotas().filter(|_| !added.is_empty()) else { return Ok(Vec::new()) };
    let readings = quotas.readings(cx, &added).await?;
    let notes = unasked(&readings);
    let over: Vec<_> = readings.into_iter().filter(|reading| reading.is_over()).collect();
    if over.is_empty() { Ok(notes) } else { Err(PlanError::Quotas { over }.into()) }
}

/// One note for all that could not be asked for the same reason.
fn unasked(readings: &[QuotaReading]) -> Vec<String> {
    let mut causes: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for reading in readings {
        if let QuotaSeen::Unknown { why, .. } = &reading.seen {
            causes.entry(why).or_default().push(reading.to_string());
        }
    }
    let note = |(why, all): (&str, Vec<String>)| {
        format!("whether quotas leave room was not seen ({why}): {}", all.join("; "))
    };
    causes.into_iter().map(note).collect()
}
