//! What holds for the fitness of every app.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use vrooli_deploy_core::fitness::{AssessOptions, Fitness, TIERS, assess};
use vrooli_deploy_core::manifest::{LoadedManifest, SwapConfig, Tier, load_text};
use vrooli_deploy_core::names::DependencyName;
use vrooli_deploy_core::requirements::catalogue;
use vrooli_deploy_core::swaps;

/// Resources by name: what it is, enabled, required, guessed.
type Resources = BTreeMap<String, (String, bool, bool, bool)>;

fn kind() -> impl Strategy<Value = String> {
    let mut kinds: Vec<String> = catalogue().iter().map(|known| known.name.clone()).collect();
    kinds.push("nobody-knows-it".to_owned());
    prop::sample::select(kinds)
}

fn resources() -> impl Strategy<Value = Resources> {
    let entry = (kind(), prop::bool::weighted(0.9), prop::bool::weighted(0.8), prop::bool::weighted(0.1));
    prop::collection::btree_map("r[0-9]{1,2}", entry, 0..6)
}

fn loaded(resources: &Resources) -> LoadedManifest {
    let resources: BTreeMap<&str, Value> = resources
        .iter()
        .map(|(name, (kind, enabled, required, heuristic))| {
            let entry =
                json!({ "type": kind, "enabled": enabled, "required": required, "heuristic": heuristic });
            (name.as_str(), entry)
        })
        .collect();
    let manifest = json!({
        "schema_version": "v0.1", "target": "saas", "provider": "aws", "app": { "name": "a", "license": "MIT" },
        "services": { "api": { "run": ["./api"], "ports": { "api": {} }, "health": { "path": "/health" } } },
        "dependencies": { "resources": resources },
    });
    let checked = load_text("m.json".as_ref(), manifest.to_string());
    checked.value.unwrap_or_else(|| panic!("{:?}", checked.diagnostics))
}

fn scored(loaded: &LoadedManifest, include_optional: bool) -> Fitness {
    let mut options = AssessOptions::default();
    options.tiers = TIERS.to_vec();
    options.include_optional = include_optional;
    assess(loaded, &options).value.unwrap()
}

fn blockers(fitness: &Fitness) -> Vec<(Tier, String)> {
    fitness
        .tiers
        .iter()
        .flat_map(|tier| tier.blockers.iter().map(|blocker| (tier.tier, blocker.message.clone())))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_score_is_the_sum_of_its_terms(resources in resources(), optional in any::<bool>()) {
        let fitness = scored(&loaded(&resources), optional);
        for tier in &fitness.tiers {
            prop_assert!(tier.overall <= 100);
            for dimension in &tier.dimensions {
                let sum: i32 = dimension.terms.iter().map(|term| term.points).sum();
                prop_assert_eq!(sum, i32::from(dimension.score));
            }
        }
        let again = scored(&loaded(&resources), optional);
        prop_assert_eq!(serde_json::to_string(&fitness).unwrap(), serde_json::to_string(&again).unwrap());
    }

    #[test]
    fn what_is_added_never_raises_a_score(
        resources in resources(),
        more in prop_oneof![
            kind(),
            prop::sample::select(vec!["n8n", "comfyui", "browserless", "home-assistant"]).prop_map(str::to_owned),
        ],
    ) {
        let before = scored(&loaded(&resources), false);
        let mut with = resources.clone();
        with.insert("another".to_owned(), (more, true, true, false));
        let after = scored(&loaded(&with), false);
        for (before, after) in before.tiers.iter().zip(&after.tiers) {
            prop_assert!(after.overall <= before.overall, "{:?}: {} > {}", after.tier, after.overall, before.overall);
        }
        let kept = blockers(&after);
        for blocker in blockers(&before) {
            prop_assert!(kept.contains(&blocker), "{:?} went", blocker);
        }
    }

    #[test]
    fn optional_and_disabled_and_guessed_entries_never_change_blockers(
        resources in resources(),
        optional in resources(),
        include_optional in any::<bool>(),
    ) {
        let before = blockers(&scored(&loaded(&resources), include_optional));
        let mut with = resources.clone();
        for (index, (name, (kind, enabled, required, heuristic))) in optional.into_iter().enumerate() {
            let (enabled, required, heuristic) = match index % 3 {
                0 => (enabled, false, heuristic),
                1 => (false, required, heuristic),
                _ => (enabled, required, true),
            };
            with.insert(format!("o{name}"), (kind, enabled, required, heuristic));
        }
        prop_assert_eq!(before, blockers(&scored(&loaded(&with), include_optional)));
    }

    #[test]
    fn a_swap_that_is_taken_back_restores_the_bytes(
        resources in resources(),
        swap in prop::sample::select(swaps::list().to_vec()),
    ) {
        let mut resources = resources;
        resources.insert("swapped".to_owned(), (swap.from.clone(), true, true, false));
        // Another that is what this one becomes would be swapped back with it.
        resources.retain(|_, (kind, ..)| catalogue().canonical(kind) != swap.to);
        let before = loaded(&resources);
        let name = |text: &str| DependencyName::new(text).unwrap();
        let config = SwapConfig { from: name(&swap.from), to: name(&swap.to) };
        let tier = swap.tiers[0];
        let made = swaps::apply(&before.manifest, std::slice::from_ref(&config), tier).value.unwrap();
        prop_assert_ne!(&made, &before.manifest);
        let swapped = LoadedManifest { manifest: made.clone(), ..before.clone() };
        // Taken back in the manifest.
        let back = swaps::apply(&made, &[config.inverse()], tier).value.unwrap();
        prop_assert_eq!(&back, &before.manifest);
        // And made a second time the other way.
        let mut options = AssessOptions::default();
        options.tiers = vec![tier];
        let wanted = assess(&before, &options).value.unwrap();
        options.swaps = vec![config.inverse()];
        let restored = assess(&swapped, &options).value.unwrap();
        prop_assert_eq!(
            serde_json::to_string(&wanted.tiers).unwrap(),
            serde_json::to_string(&restored.tiers).unwrap()
        );
    }
}
