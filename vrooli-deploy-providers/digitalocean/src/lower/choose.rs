//! Choosing where, from the catalogue.

use vrooli_deploy_core::diagnostics::rules;
use vrooli_deploy_core::provider::lowering::{Lowering, unknown};

use crate::catalogue::{Catalogue, Region};

/// The region of the app: the one that is named, else that of its storage, so that both are
/// together, else the default.
pub(super) fn region(lowering: &mut Lowering<'_>, known: &'static Catalogue) -> Option<&'static Region> {
    let infrastructure = &lowering.options().infrastructure;
    let named = infrastructure.region.as_deref();
    let of_storage = infrastructure.storage.as_ref().and_then(|storage| storage.region.as_deref());
    let beside = of_storage.filter(|name| known.region(name).is_some());
    let name = named.or(beside).unwrap_or(&known.regions.default);
    let region = known.region(name);
    if region.is_none() {
        lowering.say_at("/infrastructure/region", unknown_region(known, name, |_| true));
    }
    region
}

/// A region that is not known, or does not fit.
pub(super) fn unknown_region(
    known: &'static Catalogue,
    name: &str,
    fits: impl Fn(&Region) -> bool,
) -> vrooli_deploy_core::diagnostics::Diagnostic {
    let names = known.regions.regions.iter().filter(|region| fits(region)).map(|region| region.name.as_str());
    unknown(rules::UNKNOWN_REGION, "region of DigitalOcean", name, names)
}

/// The region nearest to another, by its name, that has something: of the same city if there
/// is one, else the default.
pub(super) fn beside(
    known: &'static Catalogue,
    region: &Region,
    has: impl Fn(&Region) -> bool,
) -> Option<&'static Region> {
    let city = region.name.get(..3).unwrap_or_default();
    let same_city =
        known.regions.regions.iter().rev().find(|other| other.name.starts_with(city) && has(other));
    same_city.or_else(|| known.region(&known.regions.default).filter(|other| has(other)))
}
