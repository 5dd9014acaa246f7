//! Which secrets an app has: every vocabulary, the rules of precedence, the corpus, and what
//! is written out for a store.

use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};
use vrooli_deploy_core::diagnostics::{Diagnostic, Severity, rules};
use vrooli_deploy_core::manifest::yaml::{Document, SourceFile};
use vrooli_deploy_core::manifest::{DeploymentManifest, LoadedManifest, SecretSource, Tier, load, load_text};
use vrooli_deploy_core::names::{AppName, EnvironmentName, StackId};
use vrooli_deploy_core::requirements::{DeriveOptions, derive};
use vrooli_deploy_core::secrets::{
    Charset, GeneratorSpec, SecretClass, SecretMetadata, SecretOrigin, SecretStatus, SecretStrategy,
    SecretsPlan, TemplateFormat, TemplateOptions, identify, template,
};

use crate::corpus;

fn manifest(resources: Value, rest: Value) -> DeploymentManifest {
    let mut manifest = json!({
        "schema_version": "v0.1", "target": "saas", "provider": "digitalocean",
        "app": {"name": "shop"},
        "services": {"api": {"run": "./api"}},
        "dependencies": {"resources": resources},
    });
    for (key, value) in rest.as_object().cloned().unwrap_or_default() {
        manifest[key] = value;
    }
    serde_json::from_value(manifest).unwrap()
}

fn document(path: &str, text: &str) -> Document {
    Document::parse(SourceFile::new(path, text)).value.unwrap()
}

/// What these documents say about the app, and what was wrong with them.
fn metadata(documents: &[(&str, Value)]) -> (SecretMetadata, Vec<Diagnostic>) {
    let app = AppName::new("shop").unwrap();
    let mut metadata = SecretMetadata::default();
    let mut found = Vec::new();
    for (path, value) in documents {
        found.extend(metadata.add(&document(path, &format!("{value:#}")), &app));
    }
    (metadata, found)
}

fn plan(manifest: &DeploymentManifest, metadata: &SecretMetadata, tier: Tier) -> SecretsPlan {
    let options = DeriveOptions { tier: Some(tier), ..DeriveOptions::default() };
    identify(manifest, &derive(manifest, &options).value.unwrap(), metadata, tier)
}

/// Class, strategy and status of one secret that one document declares.
fn one(path: &str, value: Value, name: &str, tier: Tier) -> (SecretClass, SecretStrategy, &'static str) {
    let (metadata, found) = metadata(&[(path, value)]);
    assert_eq!(found, [], "nothing is odd about it");
    let plan = plan(&manifest(json!({"sidecar": {}}), json!({})), &metadata, tier);
    let secret = plan.get(name).unwrap_or_else(|| panic!("{name} is not in {plan:#?}"));
    assert!(secret.said[0].place.as_ref().is_some_and(|place| place.line > 0), "it is said where");
    (secret.class, secret.strategy, secret.status.word())
}

use SecretClass::{Infrastructure, PerInstallGenerated, RemoteFetch, UserPrompt};

#[test]
fn secrets_managers_words_are_understood_and_the_strategy_of_the_tier_comes_first() {
    let answer = |extra: Value| {
        let mut secret =
            json!({"id": "uuid-1", "secret_key": "SIDECAR_SECRET", "classification": "infrastructure"});
        for (key, value) in extra.as_object().cloned().unwrap_or_default() {
            secret[key] = value;
        }
        json!({"scenario": "shop", "tier": "tier-4-saas", "secrets": [secret], "bundle_secrets": []})
    };
    let tier4 = |extra: Value| one("answer.json", answer(extra), "SIDECAR_SECRET", Tier::Saas);
    let (strip, generate, prompt, fetch, nothing) = (
        SecretStrategy::Strip,
        SecretStrategy::Generate,
        SecretStrategy::Prompt,
        SecretStrategy::Fetch,
        SecretStrategy::Unspecified,
    );
    for (word, class, strategy, status) in [
        ("strip", Infrastructure, strip, "not_needed"),
        ("generate", PerInstallGenerated, generate, "generated"),
        ("prompt", UserPrompt, prompt, "asked"),
        ("delegate", RemoteFetch, fetch, "fetched"),
        ("fetch", RemoteFetch, fetch, "fetched"),
        ("unspecified", Infrastructure, nothing, "unresolved"),
    ] {
        assert_eq!(tier4(json!({"handling_strategy": word})), (class, strategy, status), "{word}");
        let by_tier = json!({"handling_strategy": "unspecified", "tier_strategies": {"tier-4-saas": word}});
        assert_eq!(tier4(by_tier), (class, strategy, status), "{word} by tier");
    }
    // Classification `infrastructure` with `generate` on tier 4 is generated, unlike upstream.
    assert_eq!(
        tier4(json!({"tier_strategies": {"tier-4-saas": "generate", "tier-2-desktop": "strip"}})).0,
        PerInstallGenerated
    );
    assert_eq!(tier4(json!({"tier_strategies": {"tier-2-desktop": "generate"}})).0, Infrastructure);
    assert_eq!(
        tier4(json!({"handling_strategy": "unspecified", "fallback_strategy": "prompt"})).0,
        UserPrompt
    );
    for (word, class) in [
        ("service", PerInstallGenerated),
        ("user", UserPrompt),
        ("user_defined", UserPrompt),
        ("integration", UserPrompt),
        ("infrastructure", Infrastructure),
    ] {
        assert_eq!(tier4(json!({"classification": word})).0, class, "{word}");
    }
    assert_eq!(tier4(json!({"requires_user_input": true})).0, UserPrompt);
    assert_eq!(tier4(json!({"bundle_hints": {"class": "per_install_generated"}})).0, PerInstallGenerated);
}

#[test]
fn deployment_files_of_scenarios_are_understood() {
    let by_action = |action: &str| {
        let value = json!({"secrets": [{
            "id": "payment-key", "description": "d", "classification": "service",
            "tiers": {"tier-4-saas": {"action": action, "template": "${X}", "rotation": "per-deployment"}},
        }]});
        one(".vrooli/secrets-deployment.json", value, "PAYMENT_KEY", Tier::Saas)
    };
    assert_eq!(by_action("prompt_user").0, UserPrompt);
    assert_eq!(by_action("environment_variable").0, RemoteFetch);
    assert_eq!(by_action("reuse").0, RemoteFetch);
    assert_eq!(by_action("generate").0, PerInstallGenerated);

    let tiers = json!({"service": {"name": "shop"}, "deployment": {"tiers": {"tier-4-saas": {"secrets": [
        {"secret_id": "shop/payment-key", "classification": "service", "strategy_ref": "file:.vrooli/secrets-deployment.json#payment-key.tier-4-saas"},
        {"secret_id": "shop/mail-key", "classification": "infrastructure", "strategy_ref": "prompt"},
    ]}}}});
    assert_eq!(one(".vrooli/service.json", tiers.clone(), "PAYMENT_KEY", Tier::Saas).0, PerInstallGenerated);
    assert_eq!(one(".vrooli/service.json", tiers.clone(), "MAIL_KEY", Tier::Saas).0, UserPrompt);
    // The strategy was said for another tier; the classification holds everywhere.
    assert_eq!(one(".vrooli/service.json", tiers, "MAIL_KEY", Tier::Enterprise).0, Infrastructure);
}

#[test]
fn references_and_bundles_are_understood() {
    for (reference, status) in [
        (json!({"source": "environment", "key": "MY_KEY"}), "fetched"),
        (json!({"source": "file", "key": "/run/key"}), "fetched"),
        (json!({"source": "vault", "name": "secret/data/side", "key": "k", "namespace": "team"}), "fetched"),
        (json!({"source": "aws-secrets", "name": "x", "key": "k"}), "unresolved"),
    ] {
        let mut reference = reference;
        reference["name"] = reference.get("name").cloned().unwrap_or_else(|| json!("sidecar-key"));
        let value = json!({"service": {"name": "shop"}, "dependencies": {"resources": {"sidecar": {"apiKey": reference}}}});
        assert_eq!(one("service.json", value, "SIDECAR_API_KEY", Tier::Saas).2, status);
    }
    let bundle = json!({"schema_version": "v0.1", "target": "desktop", "app": {"name": "shop"}, "secrets": [
        {"id": "session", "class": "per_install_generated", "target": {"type": "env", "name": "SESSION_SECRET"},
         "generator": {"type": "random", "length": 48, "charset": "hex"}},
        {"id": "trace", "class": "per_install_generated", "target": {"type": "env", "name": "TRACE_ID"},
         "generator": {"type": "uuid"}},
        {"id": "api", "class": "user_prompt", "target": {"type": "env", "name": "API_KEY"}, "required": false,
         "format": "^k", "prompt": {"label": "The key", "description": "from the vendor"}},
        {"id": "remote", "class": "remote_fetch", "target": {"type": "env", "name": "REMOTE"},
         "vault": {"type": "hashicorp", "path": "kv/data/shop", "key": "remote"}},
    ]});
    let (metadata, found) = metadata(&[("bundle.json", bundle)]);
    assert_eq!(found, []);
    let plan = plan(&manifest(json!({}), json!({})), &metadata, Tier::Desktop);
    let spec = GeneratorSpec::Random { length: 48, charset: Charset::Hexadecimal };
    assert_eq!(plan.get("SESSION_SECRET").unwrap().generator(), Some(spec));
    assert_eq!(plan.get("TRACE_ID").unwrap().generator(), Some(GeneratorSpec::Uuid));
    let api = plan.get("API_KEY").unwrap();
    assert_eq!((api.class, api.required, api.format.as_deref()), (UserPrompt, false, Some("^k")));
    assert_eq!(api.prompt.as_ref().unwrap().description.as_deref(), Some("from the vendor"));
    let SecretOrigin::Source(SecretSource::Vault(vault)) = &plan.get("REMOTE").unwrap().origin else {
        panic!("from Vault");
    };
    assert_eq!(
        (vault.mount.as_deref(), vault.path.as_str(), vault.key.as_str()),
        (Some("kv"), "shop", "remote")
    );
}

#[test]
fn resources_files_and_reports_are_understood() {
    let yaml = "resource: sidecar\nsecrets:\n  api_keys:\n    - name: sidecar_api_key\n      required: true\n      format: string\n      \
                validation: {pattern: '^sk-'}\n      default_env: SIDECAR_API_KEY\n  passwords:\n    - {name: sidecar_password, path: 'x'}\n\
                initialization:\n  prompt_user:\n    - {name: sidecar_api_key, prompt: Enter the key}\n  auto_generate:\n    \
                - {name: sidecar_password, type: random, generator: {length: 20}}\n";
    let mut metadata = SecretMetadata::default();
    let app = AppName::new("shop").unwrap();
    assert_eq!(metadata.add(&document("resources/sidecar/config/secrets.yaml", yaml), &app), []);
    let plan = plan(&manifest(json!({"sidecar": {}}), json!({})), &metadata, Tier::Saas);
    let key = plan.get("SIDECAR_API_KEY").unwrap();
    assert_eq!((key.class, key.format.as_deref()), (UserPrompt, Some("^sk-")));
    assert_eq!(key.prompt.as_ref().unwrap().label.as_deref(), Some("Enter the key"));
    assert_eq!(key.resource.as_ref().unwrap().as_str(), "sidecar");
    let spec = GeneratorSpec::Random { length: 20, charset: Charset::Alphanumeric };
    assert_eq!(plan.get("SIDECAR_PASSWORD").unwrap().generator(), Some(spec));

    let report = json!({"scenario": "shop", "metadata_gaps": {"secret_requirements": [
        {"dependency_name": "sidecar", "secret_type": "api", "required_secrets": ["api_key", "sidecar_password"], "priority": "required"},
        {"dependency_name": "elsewhere", "required_secrets": ["api_key"], "priority": "required"},
    ]}});
    let (metadata, found) = self::metadata(&[("report.json", report)]);
    assert_eq!(found, []);
    let plan = self::plan(&manifest(json!({"sidecar": {}}), json!({})), &metadata, Tier::Saas);
    let names: Vec<_> = plan.secrets.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["SIDECAR_API_KEY", "SIDECAR_PASSWORD"]);
    assert_eq!(plan.left_out[0].name.as_str(), "ELSEWHERE_API_KEY");
}

#[test]
fn a_managed_resource_makes_its_own_password_whatever_the_strategy_says() {
    let answer = json!({"tier": "tier-4-saas", "secrets": [
        {"secret_key": "POSTGRES_PASSWORD", "resource_name": "postgres", "classification": "infrastructure", "handling_strategy": "generate"},
        {"secret_key": "POSTGRES_HOST", "resource_name": "postgres", "classification": "infrastructure", "handling_strategy": "strip"},
    ]});
    let (metadata, _) = metadata(&[("answer.json", answer)]);
    let own = plan(&manifest(json!({"db": {"type": "postgresql"}}), json!({})), &metadata, Tier::Saas);
    for name in ["POSTGRES_PASSWORD", "POSTGRES_HOST"] {
        let secret = own.get(name).unwrap();
        assert_eq!(secret.status, SecretStatus::FollowsResource, "{name}");
        assert_eq!(secret.resource.as_ref().unwrap().as_str(), "db");
        assert_eq!(secret.from(), "follows the resource `db`");
    }
    assert_eq!(own.unresolved().count(), 0);

    // Without metadata it is known all the same.
    let bare = plan(&manifest(json!({"postgres": {}}), json!({})), &SecretMetadata::default(), Tier::Saas);
    assert_eq!(bare.get("POSTGRES_PASSWORD").unwrap().status, SecretStatus::FollowsResource);

    // A database of the user's own needs no password of ours.
    let elsewhere = json!({"secrets": {"POSTGRES_URL": {"from": {"environment": {"name": "PG"}}}}});
    let theirs = plan(&manifest(json!({"postgres": {}}), elsewhere), &metadata, Tier::Saas);
    assert_eq!(theirs.get("POSTGRES_PASSWORD").unwrap().status.word(), "not_needed");
    assert_eq!(theirs.get("POSTGRES_URL").unwrap().class, RemoteFetch);
    assert_eq!(theirs.unresolved().count(), 0);

    // Optional, disabled and undeclared resources have no secrets here.
    let optional =
        plan(&manifest(json!({"postgres": {"required": false}}), json!({})), &metadata, Tier::Saas);
    assert_eq!(optional.secrets, []);
    assert_eq!(optional.left_out.len(), 2);
}

#[test]
fn nothing_is_made_up_for_what_others_made() {
    // Whoever makes MySQL makes its password.
    let mysql = plan(&manifest(json!({"mysql": {}}), json!({})), &SecretMetadata::default(), Tier::Saas);
    assert_eq!(mysql.get("MYSQL_PASSWORD").unwrap().status, SecretStatus::FollowsResource);
    // What nobody makes is made here if somebody says so.
    let answer = json!({"tier": "4", "secrets": [{"secret_key": "SIDECAR_PASSWORD", "handling_strategy": "generate"}]});
    let (said, _) = metadata(&[("answer.json", answer)]);
    let sidecar = plan(&manifest(json!({}), json!({})), &said, Tier::Saas);
    assert_eq!(sidecar.get("SIDECAR_PASSWORD").unwrap().status, SecretStatus::Generated);
    // A name in a list of values is somebody's value.
    let (values, _) = metadata(&[("secrets.json", json!({"ADMIN_PASSWORD": "x", "DB_HOST": "h"}))]);
    let plan = plan(&manifest(json!({}), json!({})), &values, Tier::Saas);
    assert_eq!(plan.get("ADMIN_PASSWORD").unwrap().status, SecretStatus::Asked);
    assert!(plan.secrets.iter().all(|secret| !secret.required));
}

#[test]
fn infrastructure_that_nothing_provides_is_unresolved_and_an_error_off_this_machine() {
    let answer = json!({"secrets": [{"secret_key": "SIDECAR_ROOT", "classification": "infrastructure", "handling_strategy": "unspecified"}]});
    let (metadata, _) = metadata(&[("answer.json", answer)]);
    let bare = manifest(json!({}), json!({}));
    for (tier, severity) in
        [(Tier::Saas, Severity::Error), (Tier::Enterprise, Severity::Error), (Tier::Local, Severity::Warning)]
    {
        let plan = plan(&bare, &metadata, tier);
        let names: Vec<_> = plan.unresolved().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["SIDECAR_ROOT"]);
        let found = plan.check();
        assert_eq!((found[0].code, found[0].severity), (rules::SECRET_UNRESOLVED, severity));
        assert!(found[0].labels[0].span.file.ends_with("answer.json") && found[0].help.is_some());
    }
    // The manifest's word comes first.
    let named = manifest(json!({}), json!({"secrets": {"SIDECAR_ROOT": {"from": {"prompt": {}}}}}));
    let plan = plan(&named, &metadata, Tier::Saas);
    assert_eq!((plan.unresolved().count(), plan.get("SIDECAR_ROOT").unwrap().class), (0, UserPrompt));
}

#[test]
fn unknown_words_are_said_with_place_and_suggestion() {
    let answer = json!({"secrets": [
        {"secret_key": "A", "classification": "infrastrcture", "handling_strategy": "promt"},
        {"secret_key": "B", "tier_strategies": {"tier-9": "prompt"}, "generator": {"type": "timestamp", "length": 3, "charset": "emoji"}},
        {"description": "nameless"}, "text", {"secret_key": "%%%"},
    ]});
    let (_, found) = metadata(&[("answer.json", answer)]);
    let codes: Vec<_> = found.iter().map(|d| d.code).collect();
    let (word, generator, odd) = (rules::SECRET_WORD, rules::SECRET_GENERATOR, rules::SECRET_METADATA);
    assert_eq!(codes, [word, word, word, generator, generator, generator, odd, odd, odd]);
    assert!(found.iter().all(|d| !d.labels.is_empty() && d.severity < Severity::Error));
    assert!(found[1].help.as_ref().unwrap().contains("did you mean `prompt`?"), "{:?}", found[1]);
}

#[test]
fn values_beside_names_are_neither_read_nor_shown_nor_pointed_at() {
    let canary = "canary-in-a-file";
    for (path, value, code) in [
        (".vrooli/secrets.json", json!({"_metadata": {"x": 1}, "ADMIN_PASSWORD": canary}), None),
        (
            ".vrooli/secrets-deployment.json",
            json!({"secrets": [{"id": "ADMIN_PASSWORD", "value": canary, "classification": "odd-word"}]}),
            Some(rules::SECRET_VALUE_IN_FILE),
        ),
        (
            "service.json",
            json!({"service": {}, "dependencies": {"resources": {"admin": {"password": canary}}}}),
            Some(rules::SECRET_VALUE_IN_FILE),
        ),
    ] {
        let (metadata, found) = metadata(&[(path, value)]);
        assert_eq!(found.first().map(|d| d.code), code, "{path}");
        // Whoever draws a diagnostic shows the lines around its place.
        assert!(found.iter().all(|d| d.labels.is_empty()), "{found:?}");
        assert!(!format!("{metadata:?} {found:?}").contains(canary));
        let plan = plan(&manifest(json!({}), json!({})), &metadata, Tier::Saas);
        assert!(!format!("{plan:?}").contains(canary));
        if let Some(secret) = plan.get("ADMIN_PASSWORD") {
            assert!(secret.said[0].place.is_some());
            assert_eq!(secret.diagnostic(rules::SECRET_MISSING, "x").labels, []);
        }
    }
}

#[test]
fn everything_beside_a_manifest_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("scenarios/shop");
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write(
        "scenarios/shop/.vrooli/service.json",
        r#"{"service": {"name": "shop"}, "lifecycle": {"develop": {"steps": [{"name": "start-api", "run": "./api", "background": true}]}},
            "ports": {"api": {"env_var": "API_PORT"}},
            "dependencies": {"resources": {"openrouter": {"type": "openrouter", "enabled": true, "required": true}}},
            "deployment": {"tiers": {"saas": {"secrets": [{"secret_id": "shop/one", "classification": "service"}]}}}}"#,
    );
    write(
        "scenarios/shop/.vrooli/secrets-deployment.json",
        r#"{"secrets": [{"id": "two", "tiers": {"saas": {"action": "prompt_user"}}}]}"#,
    );
    write("scenarios/shop/.vrooli/secrets.json", r#"{"THREE_TOKEN": "canary"}"#);
    write("scenarios/shop/.vrooli/secrets.yaml", "secrets: {keys: [{name: four_token}]}");
    write(
        "resources/openrouter/config/secrets.yaml",
        "secrets: {keys: [{name: openrouter_api_key, default_env: OPENROUTER_API_KEY, required: true, validation: {pattern: '^x'}}]}",
    );
    let loaded: LoadedManifest = load(&root).value.unwrap();
    let checked = SecretMetadata::load(&loaded);
    assert_eq!(checked.diagnostics, []);
    let plan = plan(&loaded.manifest, &checked.value.unwrap(), Tier::Saas);
    let names: Vec<_> = plan.secrets.iter().map(|s| (s.name.as_str(), s.class)).collect();
    assert_eq!(
        names,
        [
            ("FOUR_TOKEN", UserPrompt),
            ("ONE", PerInstallGenerated),
            ("OPENROUTER_API_KEY", UserPrompt),
            ("THREE_TOKEN", UserPrompt),
            ("TWO", UserPrompt),
        ]
    );
    let key = plan.get("OPENROUTER_API_KEY").unwrap();
    assert_eq!(key.format.as_deref(), Some("^x"), "the resource's own file before what we know");
    assert!(!plan.get("THREE_TOKEN").unwrap().required, "a name in a list of values is no demand");
    // A broken file is said and hides nothing of the rest.
    write("scenarios/shop/.vrooli/secrets-deployment.json", "{");
    let checked = SecretMetadata::load(&loaded);
    assert_eq!(checked.diagnostics[0].code, rules::SYNTAX);
    assert!(checked.value.unwrap().len() >= 4);
}

fn options() -> TemplateOptions {
    TemplateOptions::new(StackId {
        app: AppName::new("shop").unwrap(),
        environment: EnvironmentName::new("staging").unwrap(),
    })
}

#[test]
fn every_corpus_file_identifies_and_every_template_is_the_same_twice() {
    for (name, text) in corpus::files() {
        let path = format!("scenarios/{name}/.vrooli/service.json");
        let loaded = load_text(Path::new(&path), text.clone()).value.unwrap();
        let read = || {
            let mut metadata = SecretMetadata::default();
            let found = metadata.add(&document(&path, &text), &loaded.manifest.app.name);
            assert_eq!(found, [], "{name}");
            metadata
        };
        let (one, two) = (read(), read());
        for tier in [Tier::Local, Tier::Desktop, Tier::Mobile, Tier::Saas, Tier::Enterprise] {
            let (plan, again) = (plan(&loaded.manifest, &one, tier), plan(&loaded.manifest, &two, tier));
            assert_eq!(plan, again, "{name}");
            for secret in &plan.secrets {
                assert!(!secret.said.is_empty(), "{name}: {} is said somewhere", secret.name);
                assert!(!secret.from().is_empty());
            }
            for format in TemplateFormat::ALL {
                let text = template(&plan, format, &options());
                assert_eq!(text, template(&again, format, &options()));
                for secret in &plan.secrets {
                    assert!(text.contains(secret.name.as_str()), "{name}: {format} names {}", secret.name);
                }
            }
        }
    }
}

#[test]
fn the_corpus_means_what_its_authors_meant() {
    let Some(folder) = corpus::folder() else { return };
    let identify = |name: &str| {
        let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
        let path = format!("scenarios/{name}/.vrooli/service.json");
        let loaded = load_text(Path::new(&path), text.clone()).value.unwrap();
        let mut metadata = SecretMetadata::default();
        metadata.add(&document(&path, &text), &loaded.manifest.app.name);
        plan(&loaded.manifest, &metadata, Tier::Saas)
    };
    let wheel = identify("picker-wheel");
    let names: Vec<_> = wheel.secrets.iter().map(|s| (s.name.as_str(), s.status.word())).collect();
    assert_eq!(names, [("POSTGRES_PASSWORD", "follows_resource")]);
    assert_eq!(wheel.unresolved().count(), 0);
    let studio = identify("browser-automation-studio");
    assert_eq!(studio.get("POSTGRES_URL").unwrap().status, SecretStatus::FollowsResource);
    assert_eq!(studio.get("OPENROUTER_API_KEY").unwrap().class, UserPrompt);
    assert_eq!(studio.left_out[0].name.as_str(), "BROWSERLESS_API_KEY", "not even declared as a dependency");
}

#[test]
fn templates_hold_references_in_the_shapes_of_their_stores() {
    let manifest = manifest(
        json!({"postgres": {}}),
        json!({"secrets": {
            "JWT_SECRET": {"from": {"generate": {"length": 40}}},
            "MAIL_KEY": {"from": {"prompt": {"label": "Key of the\nmailer"}}, "format": "^m"},
            "PAY_KEY": {"from": {"vault": {"mount": "kv", "path": "apps/shop", "key": "pay", "namespace": "team"}}},
        }}),
    );
    let plan = plan(&manifest, &SecretMetadata::default(), Tier::Saas);
    let write = |format| template(&plan, format, &options());
    let env = write(TemplateFormat::Env);
    let assignments: Vec<_> = env.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    assert_eq!(assignments, ["MAIL_KEY=", "PAY_KEY="]);
    assert!(env.contains("# Key of the mailer; required") && env.contains("# format: ^m"), "{env}");
    assert!(
        env.contains("# JWT_SECRET is generated") && env.contains("# POSTGRES_PASSWORD follows"),
        "{env}"
    );

    let vault: Value = serde_json::from_str(&write(TemplateFormat::Vault)).unwrap();
    assert_eq!(vault["secrets"][0]["path"], "secret/data/shop/staging");
    assert_eq!(vault["secrets"][0]["key"], "MAIL_KEY");
    assert_eq!(vault["secrets"][1]["path"], "kv/data/apps/shop");
    assert_eq!(vault["secrets"][1]["key"], "pay");
    // What stands under `from` is a source as a manifest takes it.
    for entry in vault["secrets"].as_array().unwrap() {
        let source: SecretSource = serde_json::from_value(entry["from"].clone()).unwrap();
        assert!(matches!(source, SecretSource::Vault(_)));
    }
    let aws: Value = serde_json::from_str(&write(TemplateFormat::Aws)).unwrap();
    assert_eq!(aws["secrets"][0]["name"], "shop/staging/MAIL_KEY");
    assert!(
        aws["secrets"][0]["arn"].as_str().unwrap().contains("${AWS_REGION}:${AWS_ACCOUNT_ID}:secret:shop/")
    );

    let objects: Vec<Value> = write(TemplateFormat::K8s)
        .split("---\n")
        .skip(1)
        .map(|part| document("k8s.yaml", part).value)
        .collect();
    assert_eq!(objects[0]["kind"], "ExternalSecret");
    assert_eq!(objects[0]["spec"]["data"][1]["remoteRef"], json!({"key": "apps/shop", "property": "pay"}));
    assert_eq!((&objects[1]["kind"], objects[1].get("data")), (&json!("Secret"), None));
    assert_eq!(objects[1]["metadata"]["annotations"]["vrooli-deploy/keys"], "JWT_SECRET");
}

/// Any JSON, with the keys and words of the vocabularies in it more often than chance would have.
fn anything() -> impl Strategy<Value = Value> {
    let words = prop::sample::select(vec![
        "secrets",
        "bundle_secrets",
        "deployment",
        "tiers",
        "saas",
        "tier-4-saas",
        "secret_id",
        "secret_key",
        "id",
        "name",
        "class",
        "classification",
        "handling_strategy",
        "tier_strategies",
        "generator",
        "type",
        "length",
        "charset",
        "prompt",
        "label",
        "target",
        "env",
        "file",
        "vault",
        "path",
        "key",
        "source",
        "environment",
        "value",
        "initialization",
        "auto_generate",
        "prompt_user",
        "metadata_gaps",
        "secret_requirements",
        "required_secrets",
        "dependency_name",
        "dependencies",
        "resources",
        "apiKey",
        "strategy_ref",
        "random",
        "uuid",
        "infrastructure",
        "generate",
        "delegate",
        "postgres",
        "POSTGRES_PASSWORD",
        "shop/x",
        "",
        "~/0",
        "ü",
    ])
    .prop_map(str::to_owned);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        words.clone().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(words.clone(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Whatever lies there: no panic, a place for each thing that is odd, the same plan twice,
    /// and templates that can be read back.
    #[test]
    fn anything_is_read(value in anything(), tier in prop::sample::select(vec![Tier::Local, Tier::Saas])) {
        let manifest = manifest(json!({"postgres": {}}), json!({}));
        let (metadata, found) = metadata(&[("x.json", value)]);
        prop_assert!(found.iter().all(|d| d.code.rule().is_some() && d.severity < Severity::Error));
        let plan = plan(&manifest, &metadata, tier);
        prop_assert_eq!(&plan, &self::plan(&manifest, &metadata, tier));
        prop_assert!(plan.secrets.is_sorted_by(|a, b| a.name < b.name), "each once, in order");
        prop_assert!(plan.check().iter().all(|d| d.code.rule().is_some()));
        serde_json::from_str::<Value>(&template(&plan, TemplateFormat::Vault, &options())).unwrap();
        serde_json::from_str::<Value>(&template(&plan, TemplateFormat::Aws, &options())).unwrap();
        for part in template(&plan, TemplateFormat::K8s, &options()).split("---\n") {
            prop_assert!(Document::parse(SourceFile::new("k.yaml", part)).value.is_some(), "{}", part);
        }
        let env = template(&plan, TemplateFormat::Env, &options());
        prop_assert!(env.lines().all(|line| line.is_empty() || line.starts_with('#') || line.ends_with('=')), "{}", env);
    }

    /// Text that is no JSON and YAML at all.
    #[test]
    fn any_text_is_read(text in "\\PC{0,200}") {
        let app = AppName::new("shop").unwrap();
        if let Some(document) = Document::parse(SourceFile::new("x.yaml", text)).value {
            SecretMetadata::default().add(&document, &app);
        }
    }
}
