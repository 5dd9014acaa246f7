//! Real `service.json` files, read in place. They lie beside the checkout, not in it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use vrooli_deploy_core::diagnostics::{Diagnostic, Severity, rules};
use vrooli_deploy_core::manifest::yaml::{Document, SourceFile};
use vrooli_deploy_core::manifest::{Command, DeploymentManifest, Tier, load_text};
use vrooli_deploy_core::names::DependencyName;
use vrooli_deploy_core::requirements::{DeriveOptions, DropReason, derive};

/// The folder of the corpus, or `None` after saying that its tests are skipped.
pub(crate) fn folder() -> Option<PathBuf> {
    let shared = std::env::var_os("VROOLI_DEPLOY_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared")), PathBuf::from);
    let folder = shared.join("corpus").join("service-json");
    if folder.is_dir() {
        return Some(folder);
    }
    println!(
        "skipped: no corpus of service.json files at {} (VROOLI_DEPLOY_SHARED says where it is)",
        folder.display()
    );
    None
}

/// Name and text of every file.
pub(crate) fn files() -> Vec<(String, String)> {
    let Some(folder) = folder() else {
        return Vec::new();
    };
    let mut files: Vec<(String, String)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect();
    files.sort();
    assert!(files.len() >= 48, "the corpus has {} files", files.len());
    files
}

fn load(name: &str) -> Option<(DeploymentManifest, Vec<Diagnostic>)> {
    let text = std::fs::read_to_string(folder()?.join(format!("{name}.json"))).unwrap();
    let checked = load_text(format!("scenarios/{name}/.vrooli/service.json").as_ref(), text);
    Some((checked.value.unwrap().manifest, checked.diagnostics))
}

fn names<'a, T: std::fmt::Display + 'a>(names: impl IntoIterator<Item = &'a T>) -> Vec<String> {
    names.into_iter().map(ToString::to_string).collect()
}

#[test]
fn every_file_loads_without_an_error_and_says_what_runs() {
    for (name, text) in files() {
        let checked = load_text(format!("scenarios/{name}/.vrooli/service.json").as_ref(), text.clone());
        let errors: Vec<_> = checked.diagnostics.iter().filter(|d| d.severity == Severity::Error).collect();
        assert!(errors.is_empty(), "{name}: {errors:?}");
        let manifest = checked.value.unwrap().manifest;
        assert_eq!(manifest.app.name.as_str(), name);
        assert!(manifest.services.keys().any(|service| service.as_str() == "api"), "{name} has an API");
        let front =
            if manifest.services.keys().any(|service| service.as_str() == "ui") { "ui" } else { "api" };
        for (service, config) in &manifest.services {
            let root = config.routes.iter().any(|route| route.path == "/");
            assert_eq!(root, service.as_str() == front, "{name}: / goes to {front}");
            let Command::Shell(run) = &config.run else { panic!("{name}: a shell command") };
            assert!(
                text.contains(&run[..run.len().min(12)].replace('"', "\\\"")),
                "{name}: `{run}` is as written"
            );
        }
        for diagnostic in &checked.diagnostics {
            assert!(diagnostic.code.rule().is_some(), "{name}: {diagnostic}");
            assert!(!diagnostic.labels.is_empty(), "{name}: {diagnostic} has a place");
        }
        // Every declared port with a variable has an owner.
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let declared: BTreeSet<&str> = value["ports"]
            .as_object()
            .unwrap()
            .values()
            .filter_map(|port| port["env_var"].as_str())
            .collect();
        let owned: BTreeSet<String> = manifest
            .services
            .values()
            .flat_map(|service| service.ports.values())
            .filter_map(|port| port.env_var.as_ref().map(ToString::to_string))
            .collect();
        assert_eq!(declared, owned.iter().map(String::as_str).collect(), "{name}");
        // What we write, we read back as the same, in both languages.
        for (file, written) in
            [("m.yaml", manifest.to_yaml().unwrap()), ("m.json", manifest.to_json().unwrap())]
        {
            let back = load_text(file.as_ref(), written.clone());
            let errors: Vec<_> =
                back.diagnostics.iter().filter(|d| d.severity >= Severity::Warning).collect();
            assert!(errors.is_empty(), "{name}: {errors:?}\n{written}");
            assert_eq!(back.value.unwrap().manifest, manifest, "{name}");
        }
    }
}

#[test]
fn both_parsers_read_the_same() {
    for (name, text) in files() {
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let yaml = Document::parse(SourceFile::new(format!("{name}.yaml"), text)).value.unwrap();
        assert_eq!(json, yaml.value, "{name}");
    }
}

#[test]
fn steps_that_only_serve_a_developer_are_dropped_and_named() {
    for (name, text) in files() {
        let checked = load_text(format!("scenarios/{name}/.vrooli/service.json").as_ref(), text.clone());
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let manifest = checked.value.unwrap().manifest;
        let kept: BTreeSet<&str> = manifest.build.steps.iter().map(|step| step.name.as_str()).collect();
        for phase in ["setup", "develop", "stop"] {
            for step in value["lifecycle"][phase]["steps"].as_array().into_iter().flatten() {
                let step_name = step["name"].as_str().unwrap();
                let never = phase == "stop"
                    || matches!(step_name, "install-cli" | "add-data" | "generate-embeddings" | "show-urls");
                if never {
                    assert!(!kept.contains(step_name), "{name}: {step_name}");
                    let named = checked.diagnostics.iter().any(|d| {
                        d.code == rules::STEP_DROPPED && d.message.contains(&format!("`{step_name}`"))
                    });
                    assert!(named, "{name}: {step_name} is named");
                }
            }
        }
        for built in ["build-api", "build-ui"] {
            let declared = value["lifecycle"]["setup"]["steps"]
                .as_array()
                .unwrap()
                .iter()
                .any(|step| step["name"] == built);
            assert_eq!(kept.contains(built), declared, "{name}: {built}");
        }
    }
}

#[test]
fn picker_wheel_needs_only_postgres() {
    let Some((manifest, _)) = load("picker-wheel") else {
        return;
    };
    let checked = derive(&manifest, &DeriveOptions::default());
    let requirements = checked.value.unwrap();
    assert_eq!(requirements.resources.len(), 1);
    let postgres = &requirements.resources[0];
    assert_eq!(postgres.resource, "postgres");
    assert_eq!(postgres.database.as_deref(), Some("vrooli_picker_wheel"));
    assert_eq!(postgres.initialization[0].file, "initialization/postgres/schema.sql");
    let dropped: Vec<_> =
        requirements.dropped.iter().map(|dropped| (dropped.name.as_str(), dropped.reason)).collect();
    assert_eq!(
        dropped,
        [("n8n", DropReason::Dead), ("ollama", DropReason::Optional), ("qdrant", DropReason::Heuristic)]
    );
    let n8n = checked.diagnostics.iter().find(|d| d.code == rules::DEAD_RESOURCE).unwrap();
    assert_eq!(n8n.severity, Severity::Warning);
    assert!(
        checked
            .diagnostics
            .iter()
            .any(|d| d.code == rules::HEURISTIC_RESOURCE && d.message.contains("qdrant"))
    );
    assert!(
        checked
            .diagnostics
            .iter()
            .any(|d| d.code == rules::OPTIONAL_RESOURCE && d.message.contains("ollama"))
    );

    // Away from this machine the user agrees first.
    let mut options = DeriveOptions { tier: Some(Tier::Saas), ..DeriveOptions::default() };
    assert!(derive(&manifest, &options).has_errors());
    options.drop = vec![DependencyName::new("n8n").unwrap()];
    assert!(!derive(&manifest, &options).has_errors());

    let api = manifest.services.values().next().unwrap();
    let health = api.health.as_ref().unwrap();
    assert!(health.startup_grace.unwrap().as_secs() >= 138, "the database is retried for so long");
    assert!(
        !manifest.services.values().next_back().unwrap().health.as_ref().unwrap().critical,
        "the UI's check is not critical"
    );
}

#[test]
fn the_odd_ones_are_read_as_they_were_meant() {
    // Lists of objects.
    let Some((quiz, _)) = load("quiz-generator") else {
        return;
    };
    let postgres =
        quiz.dependencies.resources.iter().find(|(name, _)| name.as_str() == "postgres").unwrap().1;
    assert!(postgres.required && postgres.enabled);
    assert_eq!(postgres.database.as_deref(), Some("quiz_generator"));
    assert_eq!(postgres.initialization[0].file, "initialization/storage/postgres/schema.sql");
    assert!(
        quiz.dependencies
            .resources
            .iter()
            .any(|(name, resource)| name.as_str() == "redis" && !resource.required)
    );

    // Groups beside entries, scenarios in a group, a credential in a command.
    let (calendar, found) = load("calendar").unwrap();
    assert_eq!(names(calendar.dependencies.resources.keys()), ["ollama", "postgres", "qdrant"]);
    assert_eq!(names(calendar.dependencies.scenarios.keys()), ["notification-hub", "scenario-authenticator"]);
    assert!(
        !calendar.dependencies.resources.values().any(|resource| resource.heuristic),
        "a person declared all three"
    );
    assert!(calendar.secrets.keys().any(|variable| variable.as_str() == "JWT_SECRET"));
    let written = calendar.to_yaml().unwrap();
    assert!(!written.contains("development-secret"), "the value is nowhere");
    assert!(found.iter().any(|d| d.code == rules::CREDENTIAL_IN_COMMAND));
    assert!(!format!("{found:?}").contains("development-secret"));

    // The production phase is preferred; a disabled resource is none.
    let (landing, _) = load("landing-page-business-suite").unwrap();
    assert_eq!(names(landing.services.keys()), ["api", "ui"]);
    let needed = derive(&landing, &DeriveOptions::default()).value.unwrap().resources;
    assert_eq!(needed.iter().map(|resource| resource.name.as_str()).collect::<Vec<_>>(), ["postgres"]);

    // A database named in a command, versions of scenarios.
    let (manager, _) = load("deployment-manager").unwrap();
    let database = manager.dependencies.resources.values().find_map(|resource| resource.database.clone());
    assert_eq!(database.as_deref(), Some("deployment_manager"));
    assert!(
        manager
            .dependencies
            .scenarios
            .values()
            .any(|scenario| scenario.version.as_deref() == Some("2.0.0-file-based"))
    );

    // No type and no `enabled`, extensions, a folder of migrations.
    let (token, _) = load("token-economy").unwrap();
    let postgres =
        token.dependencies.resources.iter().find(|(name, _)| name.as_str() == "postgres").unwrap().1;
    assert_eq!(postgres.extensions, ["uuid-ossp", "pgcrypto"]);
    let kinds: Vec<String> =
        postgres.initialization.iter().map(|item| format!("{:?} {}", item.kind, item.file)).collect();
    assert_eq!(
        kinds,
        [
            "Schema initialization/storage/postgres/schema.sql",
            "Seed initialization/storage/postgres/seeds.sql",
            "Migration initialization/storage/postgres/migrations",
        ]
    );

    // A worker of its own, without a port.
    let (social, _) = load("social-media-scheduler").unwrap();
    assert_eq!(names(social.services.keys()), ["api", "job-processor", "ui"]);
    let worker = social.services.iter().find(|(name, _)| name.as_str() == "job-processor").unwrap().1;
    assert!(worker.ports.is_empty() && worker.health.is_none() && worker.routes.is_empty());

    // Three services, each with its port.
    let (mcp, found) = load("scenario-to-mcp").unwrap();
    assert_eq!(names(mcp.services.keys()), ["api", "registry", "ui"]);
    let registry = mcp.services.iter().find(|(name, _)| name.as_str() == "registry").unwrap().1;
    assert_eq!(names(registry.ports.keys()), ["registry"]);
    assert!(found.iter().any(|d| d.code == rules::TEMPLATE_REFERENCE && d.message.contains("DATABASE_URL")));

    // `websocket` is WS_PORT, and the API's.
    let (studio, found) = load("browser-automation-studio").unwrap();
    let api = studio.services.iter().find(|(name, _)| name.as_str() == "api").unwrap().1;
    assert_eq!(names(api.ports.keys()), ["api", "playwright_driver", "websocket"]);
    assert_eq!(api.health.as_ref().unwrap().port.as_ref().unwrap().as_str(), "api");
    assert_eq!(api.routes[0].port.as_ref().unwrap().as_str(), "api");
    assert!(found.iter().any(|d| d.code == rules::METADATA_NOT_USED));

    // Nothing but an API.
    let (ios, _) = load("scenario-to-ios").unwrap();
    assert_eq!(names(ios.services.keys()), ["api"]);
    assert!(ios.dependencies.resources.is_empty());

    // Aliases, scenarios among resources, a disabled requirement.
    let (home, _) = load("home-automation").unwrap();
    let agent = home
        .dependencies
        .resources
        .iter()
        .find(|(name, _)| name.as_str() == "resource-claude-code")
        .unwrap()
        .1;
    assert_eq!(agent.kind.as_deref(), Some("claude-code"));
    assert!(home.dependencies.scenarios.values().any(|scenario| !scenario.enabled));
    let (_, found) = load("audio-intelligence-platform").unwrap();
    assert!(found.iter().any(|d| d.code == rules::CONTRADICTION && d.message.contains("whisper")));
    let (math, found) = load("math-tools").unwrap();
    assert!(found.iter().any(|d| d.code == rules::PLACEHOLDER && d.message.contains("AI_MODEL_PLACEHOLDER")));
    assert!(math.dependencies.resources.values().all(|resource| resource.models.is_empty()));
}
