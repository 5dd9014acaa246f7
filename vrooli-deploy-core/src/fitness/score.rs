use super::policy::{Policy, TierPolicy};
use super::sheet::Sheet;
use super::{
    Cause, DimensionScore, Fitness, FitnessInput, Remark, Status, Term, TierFitness, blockers, licensing,
    platform, portability, resources,
};
use crate::diagnostics::rules;
use crate::manifest::Tier;
use crate::requirements::{DropReason, Requirements, aggregate};

/// Scores an app for the tiers that are asked for. Pure: nothing but the arguments counts,
/// and the same arguments give the same bytes.
#[must_use]
pub fn score(requirements: &Requirements, input: &FitnessInput<'_>, tiers: &[Tier]) -> Fitness {
    let policy = input.options.policy.as_ref().unwrap_or_else(|| Policy::embedded());
    let mut tiers = tiers.to_vec();
    tiers.sort();
    tiers.dedup();
    let nothing = TierPolicy::default();
    Fitness {
        app: requirements.app.clone(),
        policy: policy.version,
        policy_as_of: policy.as_of.clone(),
        dropped: requirements
            .dropped
            .iter()
            .filter(|dropped| dropped.reason == DropReason::Asked)
            .map(|dropped| dropped.name.clone())
            .collect(),
        swaps: input.manifest.swaps.clone(),
        tiers: tiers
            .into_iter()
            .map(|tier| {
                let rules = policy.tiers.get(&tier).unwrap_or(&nothing);
                score_tier(Sheet::new(tier, input, requirements, policy, rules))
            })
            .collect(),
    }
}

fn score_tier(mut sheet: Sheet<'_>) -> TierFitness {
    let size = aggregate(sheet.manifest, sheet.requirements);
    portability::score(&mut sheet);
    resources::score(&mut sheet, &size);
    licensing::score(&mut sheet);
    platform::score(&mut sheet);
    blockers::check(&mut sheet);
    said(&mut sheet);
    let dimensions = sheet.dimensions();
    let computed = mean(&dimensions);
    let adjustments = overrides(&mut sheet, computed);
    let change: i32 = adjustments.iter().map(|term| term.points).sum();
    let overall = u8::try_from((i32::from(computed) + change).clamp(0, 100)).unwrap_or(0);
    let threshold = sheet.input.options.threshold.unwrap_or(sheet.policy.thresholds.gate).min(100);
    let warning = sheet.policy.thresholds.warning;
    let status = if !sheet.blockers.is_empty() {
        Status::Blocked
    } else if overall < threshold {
        Status::BelowThreshold
    } else if overall < warning {
        Status::Warning
    } else {
        Status::Ready
    };
    TierFitness {
        tier: sheet.tier,
        overall,
        band: sheet.policy.band(overall).to_owned(),
        status,
        threshold,
        warning,
        baseline: sheet.rules.documented_baseline,
        dimensions,
        adjustments,
        blockers: sheet.blockers,
        warnings: sheet.warnings,
        size,
    }
}

/// The weighted mean, rounded half up. Whole numbers throughout.
fn mean(dimensions: &[DimensionScore]) -> u8 {
    let weights: u32 = dimensions.iter().map(|dimension| u32::from(dimension.weight)).sum();
    let sum: u32 = dimensions.iter().map(|d| u32::from(d.weight) * u32::from(d.score)).sum();
    if weights == 0 {
        return 0;
    }
    u8::try_from((sum + weights / 2) / weights).unwrap_or(100)
}

/// What the app's metadata says of the tier, where that differs from what is worked out.
fn said(sheet: &mut Sheet<'_>) {
    let metadata = &sheet.manifest.metadata;
    if let Some(fitness) = metadata.tiers.get(&sheet.tier).and_then(|tier| tier.fitness) {
        let cause = sheet.places.tier(sheet.tier);
        sheet.note(
            super::Dimension::PlatformSupport,
            "declared-fitness",
            format!("its metadata says {fitness}; the score is worked out all the same"),
            cause,
        );
    }
    let wished = &metadata.preferred_providers;
    if sheet.rules.hosted
        && let Some(provider) = &sheet.provider
        && !wished.is_empty()
        && !wished.contains(provider)
    {
        let names: Vec<&str> = wished.iter().map(|name| name.as_str()).collect();
        let cause =
            sheet.places.field(&["/deployment/cloud/preferred_providers", "/metadata/preferred_providers"]);
        sheet.warnings.push(Remark {
            code: rules::METADATA_NOT_USED,
            message: format!("its author would choose {}, not `{provider}`", names.join(" or ")),
            cause,
        });
    }
}

/// A score that a person put in place of the one that was worked out, while it lasts.
fn overrides(sheet: &mut Sheet<'_>, computed: u8) -> Vec<Term> {
    let mut terms = Vec::new();
    for (index, over) in sheet.manifest.metadata.overrides.iter().enumerate() {
        if over.tier != sheet.tier {
            continue;
        }
        let pointers = [format!("/deployment/overrides/{index}"), format!("/metadata/overrides/{index}")];
        let cause = Cause {
            knowledge: Some("metadata of the app".to_owned()),
            ..sheet.places.field(&pointers.each_ref().map(String::as_str))
        };
        let reason = over.reason.as_deref().unwrap_or("no reason is given");
        if let Some(text) = &over.expires_at {
            let last = text.get(..10).and_then(|date| date.parse::<jiff::civil::Date>().ok());
            let lasts = last.zip(sheet.input.options.today).is_some_and(|(last, today)| today <= last);
            if !lasts {
                let why = match (last, sheet.input.options.today) {
                    (None, _) => format!("`{text}` is no date"),
                    (_, None) => "what day it is was not said".to_owned(),
                    _ => format!("it ended with {text}"),
                };
                sheet.warn(
                    rules::OVERRIDE_NOT_USED,
                    format!("the override of {} is not used: {why}", over.fitness),
                    cause,
                );
                continue;
            }
        }
        let so_far: i32 = i32::from(computed) + terms.iter().map(|term: &Term| term.points).sum::<i32>();
        terms.push(Term {
            name: "override".to_owned(),
            points: i32::from(over.fitness.min(100)) - so_far,
            why: reason.to_owned(),
            cause,
        });
    }
    terms
}
