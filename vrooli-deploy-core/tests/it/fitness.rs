//! Fitness: what a plain scenario comes to, what blocks, and every file of the corpus.

use serde_json::{Value, json};
use vrooli_deploy_core::cost::{Decimal, Money};
use vrooli_deploy_core::diagnostics::{Code, Severity, rules};
use vrooli_deploy_core::fitness::{
    AssessOptions, CostGate, Dimension, Fitness, NO_ALTERNATIVE, SecretReadiness, Status, TIERS, TierFitness,
    assess,
};
use vrooli_deploy_core::manifest::{LoadedManifest, Tier, load_text};
use vrooli_deploy_core::names::{DependencyName, ProviderName};
use vrooli_deploy_core::requirements::{DeriveOptions, derive};

use crate::corpus;

/// A scenario like most: a Go API, a Node page, PostgreSQL.
fn plain(more: Value) -> LoadedManifest {
    let mut scenario = json!({
        "service": { "name": "plain", "version": "1.0.0", "license": "MIT" },
        "ports": { "api": { "env_var": "API_PORT" }, "ui": { "env_var": "UI_PORT" } },
        "lifecycle": {
            "health": { "endpoints": { "api": "/health", "ui": "/health" } },
            "setup": { "steps": [{ "name": "build-api", "run": "cd api && go build -o plain-api ." }] },
            "develop": { "steps": [
                { "name": "start-api", "run": "cd api && ./plain-api", "background": true },
                { "name": "start-ui", "run": "cd ui && node server.js", "background": true }
            ] }
        },
        "dependencies": { "resources": {
            "postgres": { "type": "postgres", "enabled": true, "required": true, "purpose": "rows" }
        } }
    });
    merge(&mut scenario, more);
    read("scenarios/plain/.vrooli/service.json", &scenario.to_string())
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}

fn read(path: &str, text: &str) -> LoadedManifest {
    let checked = load_text(path.as_ref(), text);
    assert!(!checked.has_errors(), "{path}: {:?}", checked.diagnostics);
    checked.value.unwrap()
}

fn resources(resources: Value) -> Value {
    json!({ "dependencies": { "resources": resources } })
}

fn all() -> AssessOptions {
    let mut options = AssessOptions::default();
    options.tiers = TIERS.to_vec();
    options
}

fn scored(loaded: &LoadedManifest, options: &AssessOptions) -> Fitness {
    let fitness = assess(loaded, options).value.unwrap();
    for tier in &fitness.tiers {
        sound(tier);
    }
    fitness
}

fn saas(loaded: &LoadedManifest, change: impl FnOnce(&mut AssessOptions)) -> TierFitness {
    let mut options = AssessOptions::default();
    options.tiers = vec![Tier::Saas];
    change(&mut options);
    scored(loaded, &options).tiers.remove(0)
}

fn codes(fitness: &TierFitness) -> Vec<Code> {
    fitness.blockers.iter().map(|blocker| blocker.code).collect()
}

/// What holds for every score: it is the sum of its terms, and each has a cause.
fn sound(fitness: &TierFitness) {
    let mut weighted = 0;
    for dimension in &fitness.dimensions {
        let sum: i32 = dimension.terms.iter().map(|term| term.points).sum();
        assert_eq!(sum, i32::from(dimension.score), "{:?}", dimension);
        weighted += u32::from(dimension.weight) * u32::from(dimension.score);
        for term in &dimension.terms {
            let cause = &term.cause;
            assert!(!term.why.is_empty());
            assert!(
                cause.knowledge.is_some() || cause.dependency.is_some() || cause.field.is_some(),
                "{term:?}"
            );
        }
    }
    let adjusted: i32 = fitness.adjustments.iter().map(|term| term.points).sum();
    assert_eq!(i32::from(fitness.overall), i32::try_from((weighted + 50) / 100).unwrap() + adjusted);
    assert_eq!(fitness.status == Status::Blocked, !fitness.blockers.is_empty());
    for blocker in &fitness.blockers {
        assert!(blocker.code.rule().is_some());
        assert!(!blocker.suggestions.is_empty(), "{blocker:?}");
    }
}

#[test]
fn a_plain_scenario_lands_on_the_documented_baselines() {
    let fitness = scored(&plain(json!({})), &all());
    let scores: Vec<(Tier, u8)> = fitness.tiers.iter().map(|tier| (tier.tier, tier.overall)).collect();
    assert_eq!(
        scores,
        [
            (Tier::Local, 100),
            (Tier::Desktop, 75),
            (Tier::Mobile, 40),
            (Tier::Saas, 85),
            (Tier::Enterprise, 60)
        ]
    );
    let dimensions: Vec<Vec<u8>> =
        fitness.tiers.iter().map(|tier| tier.dimensions.iter().map(|d| d.score).collect()).collect();
    assert_eq!(dimensions[0], [100, 100, 100, 100]);
    assert_eq!(dimensions[1], [80, 70, 80, 70]);
    assert_eq!(dimensions[2], [50, 30, 60, 20]);
    assert_eq!(dimensions[3], [90, 80, 85, 85]);
    for tier in &fitness.tiers {
        assert_eq!(tier.baseline, tier.overall, "the policy says the same as the score");
        assert!(tier.blockers.is_empty(), "{:?}", tier.blockers);
    }
    // The fifth is 65 by the documented dimensions; one term, by name, makes it 60.
    let enterprise = fitness.tier(Tier::Enterprise).unwrap();
    let audit = enterprise.dimension(Dimension::PlatformSupport).unwrap().terms.iter();
    assert_eq!(audit.filter(|term| term.name == "audit-logging").map(|term| term.points).sum::<i32>(), -25);
    let mut options = all();
    options.fitness.confirmed.insert("audit-logging".to_owned());
    assert_eq!(scored(&plain(json!({})), &options).tier(Tier::Enterprise).unwrap().overall, 65);
    // Terms say where their cause stands.
    let database = fitness.tier(Tier::Saas).unwrap().dimension(Dimension::Portability).unwrap();
    let cause = &database.terms.iter().find(|term| term.name == "database").unwrap().cause;
    assert_eq!(cause.dependency.as_ref().unwrap().as_str(), "postgres");
    assert_eq!(cause.field.as_deref(), Some("/dependencies/resources/postgres"));
    assert!(cause.place.as_ref().unwrap().line >= 1);
}

#[test]
fn it_says_why_another_differs() {
    let bare = plain(json!({ "dependencies": { "resources": { "postgres": null } } }));
    assert!(saas(&bare, |_| ()).overall > 85);
    let heavy = plain(resources(json!({
        "ollama": { "enabled": true, "required": true, "models": ["llava:13b"] },
        "qdrant": { "enabled": true, "required": true },
    })));
    let heavy = saas(&heavy, |_| ());
    assert!(heavy.overall < 85 && heavy.blockers.is_empty(), "{}", heavy.overall);
    let memory = heavy.dimension(Dimension::Resources).unwrap().terms.iter();
    let memory = memory.filter(|term| term.name == "memory").collect::<Vec<_>>();
    assert!(
        memory[0].why.contains("ollama 16384, postgres 1024, qdrant 1024, ui 64, api 15"),
        "{}",
        memory[0].why
    );
    assert_eq!(memory[0].cause.dependency.as_ref().unwrap().as_str(), "ollama");
}

#[test]
fn a_low_score_and_an_own_threshold() {
    let mut options = AssessOptions::default();
    options.tiers = vec![Tier::Mobile];
    let mobile = scored(&plain(json!({})), &options).tiers.remove(0);
    assert_eq!(mobile.status, Status::BelowThreshold);
    assert_eq!(mobile.gate().iter().map(|d| d.code).collect::<Vec<_>>(), [rules::FITNESS_TOO_LOW]);
    options.fitness.threshold = Some(40);
    assert_eq!(scored(&plain(json!({})), &options).tiers[0].status, Status::Warning);
    let saas = saas(&plain(json!({})), |options| options.fitness.threshold = Some(86));
    assert!(!saas.passes());
}

#[test]
fn what_makes_it_impossible_blocks_and_says_what_would_help() {
    let needing = |name: &str| plain(resources(json!({ name: { "enabled": true, "required": true } })));
    // A licence.
    let browser = needing("browserless");
    let blocked = saas(&browser, |_| ());
    assert_eq!(codes(&blocked), [rules::LICENCE_FORBIDS]);
    assert_eq!(blocked.blockers[0].swaps[0].to.as_str(), "playwright");
    assert!(saas(&browser, |o| o.fitness.confirmed.extend(["browserless".to_owned()])).passes());
    assert!(saas(&browser, |o| o.swaps = vec!["browserless=playwright".parse().unwrap()]).passes());
    let mut desktop = AssessOptions::default();
    desktop.tiers = vec![Tier::Desktop];
    assert!(scored(&browser, &desktop).tiers[0].blockers.is_empty(), "nobody is hosted on a desktop");
    // A graphics card.
    let images = needing("comfyui");
    let blocked = saas(&images, |_| ());
    assert_eq!(codes(&blocked), [rules::GPU_WITHOUT_BUDGET]);
    assert!(saas(&images, |o| o.fitness.gpu_budget = true).blockers.is_empty());
    // A tier.
    let house = saas(&needing("home-assistant"), |_| ());
    assert_eq!(codes(&house), [rules::TIER_UNSUPPORTED]);
    assert_eq!(house.blockers[0].suggestions, [NO_ALTERNATIVE]);
    // A dead resource.
    let dead = needing("n8n");
    let blocked = saas(&dead, |_| ());
    assert_eq!(codes(&blocked), [rules::DEAD_RESOURCE]);
    assert!(blocked.blockers[0].suggestions[0].contains("--drop n8n"));
    assert_eq!(blocked.overall, 85, "a blocker is no low score");
    assert_eq!(saas(&dead, |o| o.drop = vec![DependencyName::new("n8n").unwrap()]).overall, 85);
    // Money.
    let gate = |monthly, budget| CostGate {
        monthly: Money::usd(Decimal::new(monthly, 2)),
        budget: Money::usd(Decimal::new(budget, 2)),
    };
    let over = saas(&plain(json!({})), |o| o.fitness.cost = Some(gate(10_500, 10_000)));
    assert_eq!(codes(&over), [rules::BLOCKED_BY_COST]);
    assert!(over.blockers[0].message.contains("105.00 USD"), "{}", over.blockers[0].message);
    assert!(saas(&plain(json!({})), |o| o.fitness.cost = Some(gate(10_000, 10_000))).passes());
    // A secret.
    let secret = |infrastructure, resolved| SecretReadiness {
        name: "POSTGRES_PASSWORD".to_owned(),
        dependency: DependencyName::new("postgres").ok(),
        infrastructure,
        resolved,
        why: None,
    };
    let open = |secret| saas(&plain(json!({})), |o| o.fitness.secrets = Some(vec![secret]));
    assert_eq!(codes(&open(secret(true, false))), [rules::BLOCKED_BY_SECRET]);
    assert!(open(secret(true, true)).blockers.is_empty());
    assert!(open(secret(false, false)).blockers.is_empty());
}

#[test]
fn data_lies_where_it_may_and_rules_are_vouched_for() {
    let loaded = plain(json!({ "deployment": { "cloud": {
        "preferred_providers": ["do", "aws"], "residency": ["eu"], "compliance": ["gdpr"]
    } } }));
    let at = |provider: &str, region: &str, confirmed: &[&str]| {
        saas(&loaded, |options| {
            options.fitness.provider = ProviderName::new(provider).ok();
            options.fitness.region = Some(region.to_owned()).filter(|region| !region.is_empty());
            options.fitness.confirmed = confirmed.iter().map(|word| (*word).to_owned()).collect();
        })
    };
    assert!(at("digitalocean", "fra1", &["gdpr"]).passes());
    let wrong = at("digitalocean", "nyc1", &["gdpr"]);
    assert_eq!(codes(&wrong), [rules::RESIDENCY]);
    assert!(wrong.blockers[0].suggestions[0].contains("ams3, fra1"), "{:?}", wrong.blockers[0].suggestions);
    assert_eq!(codes(&at("aws", "eu-west-2", &["gdpr"])), [rules::RESIDENCY], "not in the union any more");
    let unplaced = at("aws", "", &["gdpr"]);
    assert!(unplaced.blockers.is_empty() && unplaced.warnings.iter().any(|w| w.code == rules::RESIDENCY));
    assert_eq!(codes(&at("aws", "eu-west-1", &[])), [rules::COMPLIANCE]);
    assert_eq!(codes(&at("kubernetes", "here", &["gdpr"])), [rules::RESIDENCY]);
    assert!(at("kubernetes", "here", &["gdpr", "residency"]).blockers.is_empty());
}

#[test]
fn metadata_counts_in_every_shape() {
    let declared = plain(json!({ "deployment": {
        "tiers": {
            "tier-4-saas": { "status": "ready", "fitness_score": 0.6 },
            "tier-3-mobile": { "status": "blocked", "constraints": ["no browser there"],
                "adaptations": [{ "dependency": "postgres", "swap": "sqlite", "impact": "one writer" }] }
        },
        "overrides": [
            { "tier": "tier-2-desktop", "field": "fitness_score", "value": 0.3, "reason": "measured", "expires_at": "2026-03-01" },
            { "tier": "tier-1-local", "field": "fitness_score", "value": 90, "reason": "slow" }
        ],
        "dependencies": { "resources": { "postgresql": {
            "footprint": { "ram_mb": 3000 },
            "platform_support": { "tier-5-enterprise": { "supported": false, "reason": "air gap", "alternatives": ["mysql"] } }
        } } }
    } }));
    let mut options = all();
    let fitness = scored(&declared, &options);
    let saas = fitness.tier(Tier::Saas).unwrap();
    let platform = saas.dimension(Dimension::PlatformSupport).unwrap();
    assert!(!platform.terms.iter().any(|term| term.name == "undeclared-tier"));
    assert!(platform.terms.iter().any(|term| term.name == "declared-fitness" && term.points == 0));
    assert_eq!(saas.size.total.minimum.ram_mb, Some(3079), "its own figure, not the catalogue's");
    let mobile = fitness.tier(Tier::Mobile).unwrap();
    assert_eq!(codes(mobile), [rules::DECLARED_BLOCKED]);
    assert!(mobile.blockers[0].suggestions[0].contains("`sqlite` for `postgres`"));
    assert_eq!(codes(fitness.tier(Tier::Enterprise).unwrap()), [rules::TIER_UNSUPPORTED]);
    assert_eq!(fitness.tier(Tier::Local).unwrap().overall, 90);
    // An override that ends is used while it lasts, and only by who says what day it is.
    let desktop = |options: &AssessOptions| scored(&declared, options).tier(Tier::Desktop).unwrap().clone();
    assert!(desktop(&options).warnings.iter().any(|w| w.code == rules::OVERRIDE_NOT_USED));
    options.fitness.today = Some("2026-02-28".parse().unwrap());
    assert_eq!(desktop(&options).overall, 30);
    options.fitness.today = Some("2026-03-02".parse().unwrap());
    assert_ne!(desktop(&options).overall, 30);
    // The other shapes.
    let numbered = plain(json!({ "deployment": { "supported_tiers": [1, 4], "desktop_ready": true } }));
    let metadata = &numbered.manifest.metadata;
    assert_eq!(metadata.supported_tiers, [Tier::Local, Tier::Saas]);
    assert_eq!(self::saas(&numbered, |_| ()).overall, 86);
    let platforms = plain(
        json!({ "deployment": { "platforms": { "cloud": false, "desktop": { "supported": true } }, "offline_capable": true } }),
    );
    assert_eq!(codes(&self::saas(&platforms, |_| ())), [rules::DECLARED_BLOCKED]);
    assert_eq!(platforms.manifest.metadata.offline_capable, Some(true));
}

#[test]
fn impossible_figures_are_refused_with_their_place() {
    for (block, at) in [
        (json!({ "aggregate_requirements": { "ram_mb": -5 } }), "-5"),
        (json!({ "tiers": { "tier-4-saas": { "fitness_score": 150 } } }), "150"),
        (
            json!({ "dependencies": { "resources": { "postgres": { "footprint": { "cpu_cores": "many" } } } } }),
            "many",
        ),
    ] {
        let text = json!({
            "service": { "name": "a", "license": "MIT" },
            "lifecycle": { "develop": { "steps": [{ "name": "start-api", "run": "./a", "background": true }] } },
            "dependencies": { "resources": { "postgres": { "enabled": true, "required": true } } },
            "deployment": block
        });
        let found = load_text("a/.vrooli/service.json".as_ref(), text.to_string()).diagnostics;
        let error = found.iter().find(|d| d.severity == Severity::Error).unwrap();
        assert_eq!(error.code, rules::INVALID_VALUE);
        assert!(error.message.contains(at) && !error.labels.is_empty(), "{error}");
    }
}

#[test]
fn optional_disabled_and_guessed_entries_never_block() {
    let entries = |optional: Value| {
        plain(resources(json!({
            "ollama": { "enabled": true, "required": false, "models": ["phi3.5:3.8b"] },
            "comfyui": { "enabled": true, "required": false },
            "browserless": { "enabled": false, "required": true },
            "home-assistant": { "enabled": true, "required": true, "description": "Auto-detected via analyzer (heuristic)" },
            "n8n": optional,
        })))
    };
    let loaded = entries(json!({ "enabled": true, "required": false }));
    for include in [false, true] {
        let fitness = saas(&loaded, |options| options.include_optional = include);
        assert!(fitness.blockers.is_empty(), "{:?}", fitness.blockers);
        // It is said all the same what would stand in the way.
        assert_eq!(include, fitness.warnings.iter().any(|w| w.code == rules::GPU_WITHOUT_BUDGET));
    }
}

#[test]
fn every_file_of_the_corpus_has_requirements_and_fitness() {
    let mut options = all();
    options.include_optional = false;
    let mut blocked = 0;
    for (name, text) in corpus::files() {
        let path = format!("scenarios/{name}/.vrooli/service.json");
        let loaded = read(&path, &text);
        let fitness = scored(&loaded, &options);
        assert_eq!(fitness.tiers.len(), 5, "{name}");
        for tier in &fitness.tiers {
            // What needs a person's decision can be acted on.
            for blocker in &tier.blockers {
                assert!(!blocker.message.is_empty() && !blocker.suggestions.is_empty(), "{name}");
                assert!(
                    blocker.cause.place.is_some() || blocker.cause.dependency.is_some(),
                    "{name}: {blocker:?}"
                );
            }
            let by_ollama = tier.blockers.iter().any(|b| b.message.contains("`ollama`"));
            assert!(!by_ollama || tier.tier == Tier::Mobile, "{name}: ollama keeps nobody from being hosted");
        }
        assert!(fitness.tier(Tier::Local).unwrap().passes(), "{name} runs on this machine");
        blocked += usize::from(fitness.tier(Tier::Saas).unwrap().status == Status::Blocked);
        let again = scored(&read(&path, &text), &options);
        assert_eq!(
            serde_json::to_string(&fitness).unwrap(),
            serde_json::to_string(&again).unwrap(),
            "{name}"
        );
        let derived =
            derive(&loaded.manifest, &DeriveOptions { tier: Some(Tier::Saas), ..DeriveOptions::default() });
        assert!(derived.value.is_some(), "{name}");
    }
    println!("{blocked} of the corpus are blocked in the tier saas until somebody decides");
}

#[test]
fn picker_wheel_needs_a_decision_about_n8n_and_nothing_else() {
    let Some(folder) = corpus::folder() else { return };
    let text = std::fs::read_to_string(folder.join("picker-wheel.json")).unwrap();
    let loaded = read("scenarios/picker-wheel/.vrooli/service.json", &text);
    let before = saas(&loaded, |_| ());
    assert_eq!(codes(&before), [rules::DEAD_RESOURCE]);
    assert!(before.blockers[0].cause.place.is_some());
    let after = saas(&loaded, |options| options.drop = vec![DependencyName::new("n8n").unwrap()]);
    assert_eq!((after.overall, after.status), (85, Status::Ready));
    let notes: Vec<(&str, i32)> = after
        .dimension(Dimension::Portability)
        .unwrap()
        .terms
        .iter()
        .filter(|term| term.points <= 0)
        .map(|term| (term.name.as_str(), term.points))
        .collect();
    assert_eq!(notes, [("database", -10), ("left-out", 0), ("optional", 0), ("heuristic", 0)]);
    assert_eq!(after.size.parts.len(), 3, "API, page and PostgreSQL");
}

#[test]
fn metadata_of_the_one_real_file_is_joined_and_orphans_are_named() {
    let Some(folder) = corpus::folder() else { return };
    let text = std::fs::read_to_string(folder.join("browser-automation-studio.json")).unwrap();
    let checked = load_text("scenarios/browser-automation-studio/.vrooli/service.json".as_ref(), text);
    let orphans: Vec<&str> = checked
        .diagnostics
        .iter()
        .filter(|d| d.code == rules::METADATA_ORPHAN)
        .map(|d| d.message.as_str())
        .collect();
    assert_eq!(orphans.len(), 1, "{orphans:?}");
    assert!(orphans[0].contains("`browserless`"));
    let loaded = checked.value.unwrap();
    let saas = saas(&loaded, |_| ());
    assert!(saas.passes(), "{:?}", saas.blockers);
    let memory =
        saas.dimension(Dimension::Resources).unwrap().terms.iter().find(|t| t.name == "memory").unwrap();
    assert!(memory.why.contains("its metadata says 10240 MB"), "{}", memory.why);
    let postgres = saas.size.parts.iter().find(|part| part.name == "postgres").unwrap();
    assert_eq!(postgres.size.minimum.ram_mb, Some(768));
    let driver = saas.size.parts.iter().find(|part| part.what == "playwright").unwrap();
    assert_eq!(driver.size.minimum.ram_mb, Some(768));
}

#[test]
fn a_swap_that_a_tier_refuses_blocks_there_and_helps_elsewhere() {
    let mut options = all();
    options.swaps = vec!["postgres=sqlite".parse().unwrap()];
    let before = scored(&plain(json!({})), &all());
    let after = scored(&plain(json!({})), &options);
    let scores = |tier| (before.tier(tier).unwrap().overall, after.tier(tier).unwrap().overall);
    let (was, is) = scores(Tier::Desktop);
    assert!(is > was && after.tier(Tier::Desktop).unwrap().blockers.is_empty());
    let (was, is) = scores(Tier::Saas);
    assert_eq!(i16::from(is) - i16::from(was), -5, "as the documents say, though nothing here says so");
    assert_eq!(codes(after.tier(Tier::Saas).unwrap()), [rules::SWAP_REFUSED]);
}
