use std::path::Path;

use super::{Fitness, FitnessInput, FitnessOptions, score};
use crate::diagnostics::{Checked, Diagnostic, Severity, rules};
use crate::manifest::yaml::SpanIndex;
use crate::manifest::{self, DeploymentManifest, Layers, LoadedManifest, SwapConfig, Tier};
use crate::names::DependencyName;
use crate::requirements::{DeriveOptions, Requirements, derive_at, scenarios_around};

/// What a manifest is assessed with.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct AssessOptions {
    /// Tiers to score; empty means the manifest's.
    pub tiers: Vec<Tier>,
    /// Dependencies to leave out, beside those that the manifest drops.
    pub drop: Vec<DependencyName>,
    /// Swaps, after those of the manifest.
    pub swaps: Vec<SwapConfig>,
    /// Count optional resources, too. They never block.
    pub include_optional: bool,
    /// How to score.
    pub fitness: FitnessOptions,
}

/// Reads the manifest at `path`, as [`manifest::load`] does, for somebody who only wants to
/// know: that files which it names are not there is a warning, because scores need none.
pub fn load(path: &Path) -> Checked<LoadedManifest> {
    load_with(path, &Layers::default())
}

/// The same with layers over it.
pub fn load_with(path: &Path, layers: &Layers) -> Checked<LoadedManifest> {
    let mut checked = manifest::load_with(path, layers);
    for found in &mut checked.diagnostics {
        if found.code == rules::FILE_MISSING && found.severity == Severity::Error {
            found.severity = Severity::Warning;
        }
    }
    checked
}

/// Derives what an app needs, looks for the scenarios that it needs, and scores it for each
/// tier. The diagnostics are what was noticed on the way, once each; what keeps the app from
/// being deployed in a tier is a blocker there and nowhere else.
pub fn assess(loaded: &LoadedManifest, options: &AssessOptions) -> Checked<Fitness> {
    let mut manifest = loaded.manifest.clone();
    manifest.drop.extend(options.drop.iter().cloned());
    manifest.swaps.extend(options.swaps.iter().cloned());
    let tiers = if options.tiers.is_empty() { vec![manifest.target] } else { options.tiers.clone() };
    let mut diagnostics: Vec<Diagnostic> = Vec::new();
    let mut fitness: Option<Fitness> = None;
    for tier in tiers {
        let (requirements, found) = needs(&manifest, &loaded.spans, options, tier);
        add(&mut diagnostics, found);
        let around = scenarios_around(loaded, &manifest, tier);
        let closure = around.map(|(closure, found)| {
            add(&mut diagnostics, found);
            closure
        });
        let Some(requirements) = requirements else { continue };
        let input = FitnessInput {
            manifest: &manifest,
            spans: Some(&loaded.spans),
            scenarios: closure.as_ref(),
            options: &options.fitness,
        };
        let scored = score(&requirements, &input, &[tier]);
        match &mut fitness {
            Some(fitness) => fitness.tiers.extend(scored.tiers),
            None => fitness = Some(scored),
        }
    }
    if let Some(fitness) = &mut fitness {
        fitness.tiers.sort_by_key(|fitness| fitness.tier);
        fitness.tiers.dedup_by_key(|fitness| fitness.tier);
    }
    // Said again where it counts, with what would help.
    diagnostics.retain(|found| {
        found.severity != Severity::Error
            && ![rules::DEAD_RESOURCE, rules::SCENARIO_MISSING, rules::SCENARIO_VERSION].contains(&found.code)
    });
    Checked { value: fitness, diagnostics }
}

fn needs(
    manifest: &DeploymentManifest,
    spans: &SpanIndex,
    options: &AssessOptions,
    tier: Tier,
) -> (Option<Requirements>, Vec<Diagnostic>) {
    // Drops that name nothing are only noticed where they are given apart from the manifest's.
    let derive_options = DeriveOptions {
        include_optional: options.include_optional,
        drop: options.drop.clone(),
        swaps: Vec::new(),
        tier: Some(tier),
    };
    let derived = derive_at(manifest, &derive_options, spans);
    (derived.value, derived.diagnostics)
}

fn add(all: &mut Vec<Diagnostic>, found: Vec<Diagnostic>) {
    for diagnostic in found {
        let same = |other: &Diagnostic| other.code == diagnostic.code && other.message == diagnostic.message;
        if !all.iter().any(same) {
            all.push(diagnostic);
        }
    }
}
