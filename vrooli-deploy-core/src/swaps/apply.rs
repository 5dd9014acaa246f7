use super::known::{Verdict, effective, known};
use crate::diagnostics::{Checked, Diagnostic, Severity, rules};
use crate::manifest::places::Places;
use crate::manifest::shape::nearest;
use crate::manifest::yaml::SpanIndex;
use crate::manifest::{DeploymentManifest, SwapConfig, Tier};
use crate::names::DependencyName;
use crate::requirements::catalogue;

/// Writes swaps into a manifest, after those that it has. A swap that takes back an earlier
/// one removes that; one that is there already changes nothing. The rest of the manifest
/// stays as it is, so that a swap can always be taken back.
///
/// No value when a swap is refused in the tier or names something unknown.
pub fn apply(manifest: &DeploymentManifest, swaps: &[SwapConfig], tier: Tier) -> Checked<DeploymentManifest> {
    let all = joined(&manifest.swaps, swaps);
    // What was swapped back is not there to be checked; whether it could be is.
    let mut diagnostics = check(manifest, &[&manifest.swaps, swaps].concat(), tier, &SpanIndex::default());
    diagnostics.dedup();
    let failed = diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    let value = (!failed).then(|| DeploymentManifest { swaps: all, ..manifest.clone() });
    Checked { value, diagnostics }
}

/// Swaps after others: one that takes back an earlier one removes that, one that is there
/// already is not repeated.
#[must_use]
pub fn joined(earlier: &[SwapConfig], later: &[SwapConfig]) -> Vec<SwapConfig> {
    let mut all = earlier.to_vec();
    for swap in later {
        if let Some(place) = all.iter().rposition(|other| is_inverse(swap, other)) {
            all.remove(place);
        } else if !all.iter().any(|other| same(swap, other)) {
            all.push(swap.clone());
        }
    }
    all
}

fn same(a: &SwapConfig, b: &SwapConfig) -> bool {
    let canonical = |name: &DependencyName| catalogue().canonical(name.as_str()).to_owned();
    canonical(&a.from) == canonical(&b.from) && canonical(&a.to) == canonical(&b.to)
}

fn is_inverse(a: &SwapConfig, b: &SwapConfig) -> bool {
    same(&a.inverse(), b)
}

/// What is to be said of these swaps, made in this order, in a tier: names that nobody knows
/// and swaps that the tier refuses are errors; a swap of nothing, one that is meant for other
/// tiers and one of which nothing is known are warnings. `spans` are the places of the
/// manifest's own.
#[must_use]
pub fn check(
    manifest: &DeploymentManifest,
    swaps: &[SwapConfig],
    tier: Tier,
    spans: &SpanIndex,
) -> Vec<Diagnostic> {
    let places = Places::new(Some(spans));
    let mut found = Vec::new();
    let mut met = vec![false; swaps.len()];
    for (name, dependency) in &manifest.dependencies.resources {
        let effective = effective(name, dependency, swaps);
        for place in effective.met {
            met[place] = true;
        }
        let net = effective.declared.and_then(|declared| {
            Some(SwapConfig {
                from: DependencyName::new(declared).ok()?,
                to: DependencyName::new(effective.kind).ok()?,
            })
        });
        if let Some(net) = net
            && dependency.enabled
        {
            let place = places.resource(name).span;
            found.extend(judged(&net, tier).map(|found| found.at(place, "what is swapped is declared here")));
        }
    }
    for (index, (swap, met)) in swaps.iter().zip(met).enumerate() {
        // Only the manifest's own stand in a file.
        let is_own = manifest.swaps.get(index) == Some(swap);
        let place = is_own.then(|| places.field(&[&format!("/swaps/{index}")]).span).flatten();
        if catalogue().find(swap.to.as_str()).is_none() {
            found.push(
                rules::SWAP_UNKNOWN
                    .diagnostic(format!(
                        "`{}` is no resource that is known, so nothing can be swapped for it",
                        swap.to
                    ))
                    .at(place.clone(), "here")
                    .help(catalogue().nearest(swap.to.as_str()).map_or_else(
                        || "`vrooli-deploy swaps list` shows what is known".to_owned(),
                        |near| format!("did you mean `{near}`?"),
                    )),
            );
        }
        if !met {
            let names = manifest.dependencies.resources.keys().map(DependencyName::as_str);
            found.push(
                rules::SWAP_WITHOUT_TARGET
                    .diagnostic(format!("`{}` is to be swapped, but the app does not need it", swap.from))
                    .at(place, "here")
                    .help(nearest(swap.from.as_str(), names).map_or_else(
                        || "check the name".to_owned(),
                        |near| format!("did you mean `{near}`?"),
                    )),
            );
        }
    }
    found
}

fn judged(swap: &SwapConfig, tier: Tier) -> Option<Diagnostic> {
    let known = known(swap);
    match known.map_or(Verdict::Unknown, |known| known.verdict(tier)) {
        Verdict::Meant => None,
        Verdict::Refused { why } => Some(
            rules::SWAP_REFUSED
                .diagnostic(format!("`{}` cannot become `{}` in the tier {tier}: {why}", swap.from, swap.to))
                .help(format!("leave `{}` as it is: in this tier somebody can run it for you", swap.from)),
        ),
        Verdict::Unusual => Some(
            rules::SWAP_UNUSUAL
                .diagnostic(format!("`{}` for `{}` is not meant for the tier {tier}", swap.to, swap.from))
                .help(format!(
                    "it is meant for {}",
                    known.map(|known| words(&known.tiers)).unwrap_or_default()
                )),
        ),
        Verdict::Unknown => Some(
            rules::SWAP_UNUSUAL
                .diagnostic(format!("nothing is known of a swap of `{}` for `{}`", swap.from, swap.to))
                .help("whether the app works with it is for you to see"),
        ),
    }
}

fn words(tiers: &[Tier]) -> String {
    tiers.iter().map(|tier| tier.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> DeploymentManifest {
        serde_json::from_value(serde_json::json!({
            "schema_version": "v0.1", "target": "desktop", "provider": "local", "app": { "name": "a" },
            "dependencies": { "resources": { "db": { "type": "postgresql" }, "ollama": {} } },
        }))
        .unwrap()
    }

    fn swap(text: &str) -> SwapConfig {
        text.parse().unwrap()
    }

    #[test]
    fn a_swap_and_its_inverse_leave_the_manifest_as_it_was() {
        let before = manifest();
        let swapped = apply(&before, &[swap("postgres=sqlite")], Tier::Desktop).into_result().unwrap().0;
        assert_eq!(swapped.swaps, [swap("postgres=sqlite")]);
        assert_eq!(swapped.dependencies, before.dependencies);
        let again = apply(&swapped, &[swap("postgres=sqlite")], Tier::Desktop).value.unwrap();
        assert_eq!(again, swapped);
        let back = apply(&swapped, &[swap("sqlite=postgres")], Tier::Desktop);
        assert!(back.diagnostics.is_empty(), "{:?}", back.diagnostics);
        assert_eq!(back.value.unwrap(), before);
    }

    #[test]
    fn what_cannot_be_is_refused_and_what_is_odd_is_said() {
        let codes = |text: &str, tier| -> (bool, Vec<_>) {
            let checked = apply(&manifest(), &[swap(text)], tier);
            (checked.value.is_some(), checked.diagnostics.iter().map(|d| d.code).collect())
        };
        assert_eq!(codes("postgres=sqlite", Tier::Saas), (false, vec![rules::SWAP_REFUSED]));
        assert_eq!(codes("ollama=packaged-models", Tier::Saas), (true, vec![rules::SWAP_UNUSUAL]));
        assert_eq!(codes("postgres=mysql", Tier::Saas), (true, vec![rules::SWAP_UNUSUAL]));
        assert_eq!(codes("redis=in-process", Tier::Desktop), (true, vec![rules::SWAP_WITHOUT_TARGET]));
        let (made, found) = codes("postgres=sqlit", Tier::Desktop);
        assert!(!made && found.contains(&rules::SWAP_UNKNOWN));
    }
}
