//! Values files and choices laid over manifests, and whole manifests made of profiles.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use vrooli_deploy_core::diagnostics::{Severity, rules};
use vrooli_deploy_core::manifest::yaml::SpanIndex;
use vrooli_deploy_core::manifest::{DeploymentManifest, Layer, Layers, Tier, load, load_text, load_with};
use vrooli_deploy_core::profile::{self, Profile};

use crate::corpus;

fn layers(environment: Option<&str>, layers: Vec<Layer>) -> Layers {
    Layers { environment: environment.map(|name| name.parse().unwrap()), layers }
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path
}

const MANIFEST: &str = "\
schema_version: v0.1
target: local
provider: local
app: {name: shop}
env: {A: base, B: base, C: base}
services:
  api: {run: [sleep, '1'], scaling: {min: 1, max: 1}}
environments:
  staging:
    env: {B: staging}
";

#[test]
fn layers_are_laid_from_weak_to_strong() {
    let folder = tempfile::tempdir().unwrap();
    let base = write(folder.path(), "m.yaml", MANIFEST);
    let file = write(
        folder.path(),
        "v.json",
        r#"{"env": {"C": "file", "A": null}, "environments": {"staging": {"env": {"C": "both"}}}}"#,
    );
    let env = |layers: &Layers| {
        let (loaded, found) = load_with(&base, layers).into_result().unwrap();
        assert!(found.is_empty(), "{found:?}");
        serde_json::to_value(&loaded.manifest.env).unwrap()
    };
    assert_eq!(env(&layers(None, vec![])), json!({"A": "base", "B": "base", "C": "base"}));
    assert_eq!(env(&layers(Some("staging"), vec![]))["B"], "staging");
    assert_eq!(
        env(&layers(Some("production"), vec![Layer::File(file.clone())])),
        json!({"B": "base", "C": "file"})
    );
    let made = Layer::Made(json!({"env": {"D": "made"}}));
    assert_eq!(
        env(&layers(Some("staging"), vec![Layer::File(file), made])),
        json!({"B": "staging", "C": "both", "D": "made"})
    );
}

#[test]
fn what_is_wrong_is_said_in_the_file_that_says_it() {
    let folder = tempfile::tempdir().unwrap();
    let base = write(folder.path(), "m.yaml", MANIFEST);
    for (text, code, line) in [
        ("env: {A: 1}\n", rules::WRONG_TYPE, 1),
        ("\nprovider: digitalocan\n", rules::UNKNOWN_PROVIDER, 2),
        ("services:\n  api:\n    scaling: {min: 3}\n", rules::SCALING, 3),
        ("env:\n  DB_PASSWORD: hunter22\n", rules::PLAIN_SECRET, 2),
        ("schema_version: v9.0\n", rules::SCHEMA_VERSION, 1),
        ("environments: {NO GOOD: {}}\n", rules::OVERLAY, 1),
        ("a: [\n", rules::SYNTAX, 1),
    ] {
        let file = write(folder.path(), "v.yaml", text);
        let found =
            load_with(&base, &layers(None, vec![Layer::File(file.clone())])).into_result().unwrap_err();
        let wrong: Vec<_> = found.iter().filter(|d| d.severity == Severity::Error).collect();
        assert_eq!(wrong.len(), 1, "{text}: {wrong:?}");
        assert_eq!(wrong[0].code, code, "{text}: {wrong:?}");
        let span = &wrong[0].labels[0].span;
        // A scaling is wrong as a whole: its place is that of the map, which the manifest began.
        if code != rules::SCALING {
            assert_eq!((&span.file, span.line), (&file, line), "{text}: {wrong:?}");
        }
        assert!(!format!("{found:?}").contains("hunter22"));
    }
    // A mend is made of the text of the right file.
    let file = write(folder.path(), "v.yaml", "# a comment that moves everything\nenv: {A: 12}\n");
    let found = load_with(&base, &layers(None, vec![Layer::File(file.clone())])).into_result().unwrap_err();
    let fix = found.iter().find_map(|d| d.fix.as_ref()).unwrap();
    assert_eq!((fix.replacement.as_str(), &fix.span.file), ("\"12\"", &file));
}

fn scenario(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let scenario = folder.path().join(name);
    write(&scenario, ".vrooli/service.json", text);
    // The corpus has no other files; those that are declared are there.
    for missing in load(&scenario).diagnostics.iter().filter(|d| d.code.0 == 219) {
        let path = missing.message.split('`').nth(1).unwrap();
        write(&scenario, path, "");
    }
    (folder, scenario)
}

#[test]
fn laying_nothing_over_a_real_scenario_changes_nothing() {
    for (name, text) in corpus::files() {
        let (_folder, scenario) = scenario(&name, &text);
        let plain = load(&scenario);
        let laid = load_with(&scenario, &layers(Some("staging"), vec![Layer::Made(json!({}))]));
        assert_eq!(laid.value.unwrap().manifest, plain.value.unwrap().manifest, "{name}");
        assert_eq!(laid.diagnostics, plain.diagnostics, "{name}");
    }
}

/// What a profile comes to over an app's manifest.
fn generated(profile: &Profile, scenario: &Path) -> DeploymentManifest {
    let (base, _) = load(scenario).into_result().unwrap();
    let layer = profile::layer(profile, &base.manifest).value.unwrap();
    let layers = layers(Some(profile.environment.as_str()), vec![Layer::Made(layer)]);
    let (loaded, _) = load_with(scenario, &layers).into_result().unwrap();
    profile::generate(profile, &loaded.manifest, &loaded.spans)
        .into_result()
        .unwrap_or_else(|e| panic!("{e:?}"))
        .0
}

fn choose(profile: &mut Profile, lines: &[&str]) {
    for line in lines {
        let mut words: Vec<String> = line.split(' ').map(ToOwned::to_owned).collect();
        let key = words.remove(0);
        profile::set(profile, &key, &words, Path::new("/")).unwrap();
    }
}

#[test]
fn a_generated_manifest_is_read_back_equal_for_every_real_scenario() {
    for (name, text) in corpus::files() {
        let (_folder, scenario) = scenario(&name, &text);
        let app = load(&scenario).value.unwrap().manifest.app.name;
        let mut profile = Profile::new("p".parse().unwrap(), scenario.clone(), app, Tier::Saas);
        choose(
            &mut profile,
            &["provider do", "region nyc1", "count 2", "size.compute s-2vcpu-4gb", "env LEVEL info"],
        );
        for dead in ["n8n", "windmill"] {
            if text.contains(dead) {
                choose(&mut profile, &[&format!("drop {dead}")]);
            }
        }
        let manifest = generated(&profile, &scenario);
        assert_eq!(manifest, generated(&profile, &scenario), "{name}: the same input, the same manifest");
        let compute = manifest.infrastructure.compute.as_ref().unwrap();
        assert_eq!((compute.kind.as_str(), compute.count), ("droplet", Some(2)), "{name}");
        for (file, text) in [
            ("deployment.yaml", manifest.to_yaml_for_editors().unwrap()),
            ("deployment.json", manifest.to_json().unwrap()),
        ] {
            let checked = load_text(file.as_ref(), text);
            let wrong: Vec<_> =
                checked.diagnostics.iter().filter(|d| d.severity == Severity::Error).collect();
            assert!(wrong.is_empty(), "{name}: {wrong:?}");
            assert_eq!(checked.value.unwrap().manifest, manifest, "{name}: {file}");
        }
    }
}

#[test]
fn the_manifest_of_the_workflow_document_is_what_its_choices_come_to() {
    let text = r#"{"service": {"name": "picker-wheel", "version": "1.0.0"},
        "ports": {"api": {"env_var": "API_PORT", "range": "15000-19999"}},
        "dependencies": {"resources": {
            "postgres": {"enabled": true, "required": true}, "redis": {"enabled": true, "required": true},
            "minio": {"enabled": true, "required": true}}},
        "lifecycle": {"develop": {"steps": [{"name": "start-api", "run": "cd api && ./x", "background": true}]}}}"#;
    let (_folder, scenario) = scenario("picker-wheel", text);
    let app = "picker-wheel".parse().unwrap();
    let mut profile = Profile::new("p".parse().unwrap(), scenario.clone(), app, Tier::Saas);
    choose(
        &mut profile,
        &[
            "provider digitalocean",
            "domain picker-wheel.example.com",
            "size.compute s-2vcpu-4gb",
            "count.compute 2",
            "size.database db-s-1vcpu-1gb",
            "size.cache db-s-1vcpu-1gb",
            "region.storage nyc3",
            "load_balancer true",
            "ssl letsencrypt",
            "cdn true",
        ],
    );
    let manifest = serde_json::to_value(generated(&profile, &scenario)).unwrap();
    // As the document shows it.
    let document: Value = json!({
        "schema_version": "v0.1",
        "target": "saas",
        "provider": "digitalocean",
        "app": {"name": "picker-wheel", "version": "1.0.0", "domain": "picker-wheel.example.com"},
        "infrastructure": {
            "compute": {"type": "droplet", "size": "s-2vcpu-4gb", "count": 2},
            "database": {"type": "managed-postgres", "size": "db-s-1vcpu-1gb"},
            "cache": {"type": "managed-redis", "size": "db-s-1vcpu-1gb"},
            "storage": {"type": "spaces", "region": "nyc3"},
        },
        "networking": {"load_balancer": true, "ssl": "letsencrypt", "cdn": true},
    });
    for (key, value) in document.as_object().unwrap() {
        assert_eq!(&manifest[key], value, "{key}");
    }
    assert!(manifest["$schema"].as_str().unwrap().ends_with("manifest.v0.1.json"));
}

#[test]
fn what_was_chosen_is_stronger_than_what_a_service_says_and_odd_choices_are_named() {
    let text = "schema_version: v0.1\ntarget: local\nprovider: local\napp: {name: shop}\n\
                services: {api: {run: [sleep, '1'], env: {LEVEL: warn}}}\n\
                dependencies: {resources: {redis: {}}}\n\
                secrets: {TOKEN_FILE_NAME: {from: {generate: {}}}}\n";
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "m.yaml", text);
    let base = load(&file).value.unwrap().manifest;
    let mut profile = Profile::new("p".parse().unwrap(), file.clone(), "shop".parse().unwrap(), Tier::Local);
    choose(
        &mut profile,
        &[
            "env LEVEL debug",
            "env TOKEN_FILE_NAME x",
            "swap redis=valkey",
            "swap ollma=openrouter",
            "drop reddis",
        ],
    );
    let checked = profile::layer(&profile, &base);
    let codes: Vec<_> = checked.diagnostics.iter().map(|d| d.code).collect();
    assert_eq!(codes, [rules::DROP_WITHOUT_TARGET]);
    // A swap is the manifest's own, and judged with it.
    let said = profile::generate(&profile, &generated(&profile, &file), &SpanIndex::default()).diagnostics;
    assert!(said.iter().any(|d| d.code == rules::SWAP_WITHOUT_TARGET && d.message.contains("`ollma`")));
    let manifest = generated(&profile, &file);
    let service = manifest.services.values().next().unwrap();
    assert_eq!(service.env.values().next().unwrap(), "debug");
    assert!(manifest.secrets.is_empty());
    assert_eq!(manifest.dependencies, base.dependencies, "what is declared stays");
    assert_eq!(manifest.swaps.len(), 2);
    // On a tier that needs a provider somebody must have chosen one.
    choose(&mut profile, &["tier saas"]);
    let found = profile::generate(&profile, &base, &SpanIndex::default()).into_result().unwrap_err();
    assert!(found.iter().any(|d| d.code == rules::NO_PROVIDER));
}
