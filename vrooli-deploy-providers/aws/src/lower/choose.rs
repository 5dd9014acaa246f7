//! Choosing where, from the catalogue.

use vrooli_deploy_core::diagnostics::rules;
use vrooli_deploy_core::provider::choosing::Versions;
use vrooli_deploy_core::provider::lowering::{Lowering, unknown};

use crate::catalogue::{Catalogue, Engine, Region};

/// The region of the app.
pub(super) fn region(lowering: &mut Lowering<'_>, known: &'static Catalogue) -> Option<&'static Region> {
    let asked = lowering.options().infrastructure.region.as_deref();
    let region = named_region(known, asked.unwrap_or(&known.regions.default));
    if region.is_none() {
        let names = known.regions.regions.iter().map(|region| region.name.as_str());
        let diagnostic = unknown(rules::UNKNOWN_REGION, "region of AWS", asked.unwrap_or_default(), names);
        lowering.say_at("/infrastructure/region", diagnostic);
    }
    region
}

/// A region by its name.
pub(super) fn named_region(known: &'static Catalogue, name: &str) -> Option<&'static Region> {
    known.regions.regions.iter().find(|region| region.name == name)
}

/// Versions of an engine of the catalogue.
pub(super) fn versions<'a>(engine: &'a Engine, pointer: &'a str) -> Versions<'a> {
    Versions {
        engine: &engine.engine,
        pointer,
        offered: &engine.versions,
        surcharged: &engine.extended_support,
        default: &engine.default,
    }
}
