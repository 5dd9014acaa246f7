//! Fitness with costs and secrets taken for real, and swaps of profiles and manifests alike.

use std::path::Path;

use vrooli_deploy_core::cost::Money;
use vrooli_deploy_core::diagnostics::rules;
use vrooli_deploy_core::manifest::{SwapConfig, Tier};
use vrooli_deploy_core::profile::{Swap, set};
use vrooli_deploy_core::provider::Registry;
use vrooli_deploy_core::requirements::{DeriveOptions, derive};
use vrooli_deploy_core::validate::{CheckStatus, ValidateOptions};
use vrooli_deploy_core::workspace::{
    EstimateOptions, FitnessChoices, ProfileEdit, Target, TargetOptions, Workspace, WorkspaceOptions,
};

use crate::process::folder;
use crate::state::block_on;

const SHOP: &str = r#"
schema_version: v0.1
target: saas
provider: bare-metal
app: { name: shop, license: MIT }
infrastructure:
  servers: [{ host: a.example.com, role: app, monthly_usd: "60" }]
services:
  api: { run: [./shop], ports: { http: { env_var: API_PORT } }, health: { path: /health } }
dependencies:
  resources:
    db: { type: postgres }
    llm: { type: ollama }
"#;

async fn open(dir: &Path) -> Workspace {
    let mut options = WorkspaceOptions::new(dir.join("state"));
    options.key_dir = Some(dir.join("keys"));
    Workspace::open(options, Registry::new()).await.unwrap()
}

async fn target(workspace: &Workspace, argument: &str) -> Target {
    workspace.resolve(argument, &TargetOptions::default()).await.unwrap()
}

fn limit(text: &str) -> EstimateOptions {
    let mut options = EstimateOptions::default();
    options.max_monthly = Some(Money::parse(text).unwrap().amount);
    options
}

#[test]
fn an_estimate_over_the_limit_blocks_and_one_within_does_not() {
    let dir = folder();
    let file = dir.path().join("shop.yaml");
    std::fs::write(&file, SHOP).unwrap();
    block_on(async {
        let workspace = open(dir.path()).await;
        let shop = target(&workspace, file.to_str().unwrap()).await;
        let mut choices = FitnessChoices::default();
        let codes = |report: &vrooli_deploy_core::workspace::FitnessReport| -> Vec<_> {
            report.fitness.tier(Tier::Saas).unwrap().blockers.iter().map(|b| b.code).collect()
        };
        let free = workspace.fitness(&shop, &choices).await.unwrap();
        assert!(free.estimate.is_none() && !codes(&free).contains(&rules::BLOCKED_BY_COST));
        choices.estimate = limit("60");
        let within = workspace.fitness(&shop, &choices).await.unwrap();
        assert!(within.estimate.is_some() && !codes(&within).contains(&rules::BLOCKED_BY_COST));
        choices.estimate = limit("59.99");
        let over = workspace.fitness(&shop, &choices).await.unwrap();
        assert!(codes(&over).contains(&rules::BLOCKED_BY_COST));

        let validated = |budget: EstimateOptions| {
            let (workspace, shop) = (workspace.clone(), shop.clone());
            async move {
                let report = workspace.validate(&shop, &ValidateOptions::default(), &budget).await.unwrap();
                report.validation.checks.iter().find(|check| check.name == "budget").unwrap().status
            }
        };
        assert_eq!(validated(limit("60")).await, CheckStatus::Pass);
        assert_eq!(validated(limit("59.99")).await, CheckStatus::Fail);
    });
}

#[test]
fn an_infrastructure_secret_that_nothing_gives_blocks_until_the_manifest_says_where_it_is() {
    let dir = folder();
    let file = dir.path().join("shop.yaml");
    let vault = SHOP.replace("    llm: { type: ollama }", "    vault: {}");
    std::fs::write(&file, &vault).unwrap();
    block_on(async {
        let workspace = open(dir.path()).await;
        let blocked = |report: vrooli_deploy_core::workspace::FitnessReport| {
            let tier = report.fitness.tiers.into_iter().next().unwrap();
            tier.blockers.into_iter().filter(|b| b.code == rules::BLOCKED_BY_SECRET).count()
        };
        let shop = target(&workspace, file.to_str().unwrap()).await;
        let plan = workspace.identify_secrets(&shop, &Default::default()).await.unwrap().plan;
        let expected = plan
            .unresolved()
            .filter(|secret| secret.class == vrooli_deploy_core::secrets::SecretClass::Infrastructure)
            .count();
        let before = workspace.fitness(&shop, &FitnessChoices::default()).await.unwrap();
        assert_eq!(blocked(before), expected, "as the plan of the secrets says");
        let mut local = FitnessChoices::default();
        local.assess.tiers = vec![Tier::Local];
        assert_eq!(blocked(workspace.fitness(&shop, &local).await.unwrap()), 0);
        let given: String = plan
            .unresolved()
            .map(|secret| format!("  {}: {{ from: {{ prompt: {{}} }} }}\n", secret.name))
            .collect();
        if !given.is_empty() {
            std::fs::write(&file, format!("{vault}secrets:\n{given}")).unwrap();
        }
        let shop = target(&workspace, file.to_str().unwrap()).await;
        let after = workspace.fitness(&shop, &FitnessChoices::default()).await.unwrap();
        assert_eq!(blocked(after), 0);
    });
}

#[test]
fn a_profile_s_swap_and_a_manifest_s_come_to_the_same_in_every_spelling() {
    let dir = folder();
    let file = dir.path().join("shop.yaml");
    std::fs::write(&file, SHOP).unwrap();
    let swapped = dir.path().join("swapped.yaml");
    std::fs::write(&swapped, format!("{SHOP}swaps: [{{ from: ollama, to: openrouter }}]\n")).unwrap();
    // The other spelling, as deployment-manager's manifests have it.
    let other: Swap = {
        let text = "schema_version: v0.1\nname: other\nscenario: shop.yaml\napp: shop\ntier: saas\n\
                    swaps: [{ original: ollama, replacement: openrouter }]\n";
        let source = vrooli_deploy_core::manifest::yaml::SourceFile::new("p.yaml", text);
        vrooli_deploy_core::profile::read(source, None).value.unwrap().swaps.remove(0)
    };
    block_on(async {
        let workspace = open(dir.path()).await;
        let (options, edit) = (TargetOptions::default(), ProfileEdit::new());
        for (name, swap) in [("one", None), ("two", Some(other))] {
            let profile = workspace
                .create_profile(name.parse().unwrap(), &file, &options, None, &edit, |profile| {
                    profile.swaps.extend(swap.clone());
                    Ok(())
                })
                .await
                .unwrap();
            if name == "one" {
                let values = ["ollama=openrouter".to_owned()];
                let set = |profile: &mut _| set(profile, "swap", &values, Path::new("/"));
                workspace.change_profile(profile.id, &edit, set).await.unwrap();
            }
            let by_profile = target(&workspace, name).await.manifest.unwrap().manifest;
            let by_manifest = target(&workspace, swapped.to_str().unwrap()).await.manifest.unwrap().manifest;
            assert_eq!(by_profile.swaps, by_manifest.swaps);
            assert_eq!(by_profile.dependencies, by_manifest.dependencies, "what is declared stays");
            let needs = |manifest| derive(manifest, &DeriveOptions::default()).value.unwrap();
            assert_eq!(needs(&by_profile), needs(&by_manifest));
            assert!(needs(&by_profile).resources.iter().any(|r| r.resource == "openrouter"));
        }
    });
}

#[test]
fn swaps_are_judged_by_the_profile_s_tier_before_anything_is_written() {
    let dir = folder();
    let file = dir.path().join("shop.yaml");
    std::fs::write(&file, SHOP).unwrap();
    block_on(async {
        let workspace = open(dir.path()).await;
        let (options, edit) = (TargetOptions::default(), ProfileEdit::new());
        let profile = workspace
            .create_profile("prod".parse().unwrap(), &file, &options, None, &edit, |_| Ok(()))
            .await
            .unwrap();
        let apply = |text: &str| {
            let swap: SwapConfig = text.parse().unwrap();
            let workspace = workspace.clone();
            async move { workspace.swap_profile(profile.id, &ProfileEdit::new(), &[swap]).await }
        };
        let refused = apply("postgres=sqlite").await.unwrap_err();
        assert_eq!(refused.code(), rules::SWAP_REFUSED);
        assert_eq!(workspace.profile_versions(profile.id).await.unwrap().len(), 1);
        let odd = apply("ollama=packaged-models").await.unwrap();
        assert!(odd.changed && odd.diagnostics.iter().any(|found| found.code == rules::SWAP_UNUSUAL));
        assert!(!apply("ollama=packaged-models").await.unwrap().changed);
        let back = apply("packaged-models=ollama").await.unwrap();
        assert!(back.changed && back.version.profile.unwrap().swaps.is_empty());
    });
}
