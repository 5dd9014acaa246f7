//! Shapes of `service.json`, each in a small file made for it.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use vrooli_deploy_core::diagnostics::{Checked, Code, Diagnostic, Severity, format, rules};
use vrooli_deploy_core::manifest::{
    Command, DeploymentManifest, Dialect, InitializationKind, LoadedManifest, SecretSource, StrategyKind,
    load, load_text,
};
use vrooli_deploy_core::requirements::{DeriveOptions, derive};

/// A scenario with an API, with some parts replaced.
fn scenario(parts: Value) -> Value {
    let mut file = json!({
        "$schema": "../../../../.vrooli/schemas/service.schema.json",
        "version": "1.0.0",
        "service": { "name": "toy", "version": "1.2.3", "license": "MIT" },
        "ports": { "api": { "env_var": "API_PORT", "range": "15000-19999" } },
        "lifecycle": {
            "health": { "endpoints": { "api": "/health" } },
            "setup": { "steps": [{ "name": "build-api", "run": "cd api && go build -o toy-api ." }] },
            "develop": { "steps": [{ "name": "start-api", "run": "cd api && ./toy-api", "background": true }] },
        },
        "dependencies": { "resources": {}, "scenarios": {} },
    });
    merge(&mut file, parts);
    file
}

fn merge(base: &mut Value, parts: Value) {
    match (base, parts) {
        (Value::Object(base), Value::Object(parts)) => {
            for (key, part) in parts {
                merge(base.entry(key).or_insert(Value::Null), part);
            }
        }
        (base, part) => *base = part,
    }
}

fn read(parts: Value) -> (DeploymentManifest, Vec<Diagnostic>) {
    let checked = read_file(scenario(parts));
    (checked.value.unwrap().manifest, checked.diagnostics)
}

fn read_file(file: Value) -> Checked<LoadedManifest> {
    load_text("toy/.vrooli/service.json".as_ref(), format!("{file:#}"))
}

fn of(found: &[Diagnostic], code: Code) -> Vec<&Diagnostic> {
    found.iter().filter(|diagnostic| diagnostic.code == code).collect()
}

fn resources(parts: Value) -> (DeploymentManifest, Vec<Diagnostic>) {
    read(json!({ "dependencies": { "resources": parts } }))
}

fn shell(command: &Command) -> &str {
    match command {
        Command::Shell(line) => line,
        Command::Exec(_) => panic!("a shell command"),
    }
}

#[test]
fn the_plain_form() {
    let (manifest, found) = read(json!({}));
    assert!(found.iter().all(|diagnostic| diagnostic.severity == Severity::Info), "{found:?}");
    assert_eq!(manifest.app.version, "1.2.3");
    let env: Vec<_> = manifest.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        env,
        [
            ("SCENARIO_NAME", "toy"),
            ("VROOLI_API_SKIP_STALE_CHECK", "true"),
            ("VROOLI_LIFECYCLE_MANAGED", "true")
        ]
    );
    let api = manifest.services.values().next().unwrap();
    assert_eq!(shell(&api.run), "cd api && ./toy-api");
    assert_eq!(api.dir, None);
    assert_eq!(api.health.as_ref().unwrap().path.as_deref(), Some("/health"));
    assert_eq!(api.health.as_ref().unwrap().startup_grace, None, "without a database the default does");
    assert_eq!(api.routes.len(), 1);
    assert_eq!(api.routes[0].path, "/");
}

#[test]
fn groups_are_the_same_as_entries() {
    let shapes = [
        json!({ "postgres": { "type": "postgres", "enabled": true, "required": true }, "redis": { "type": "redis", "enabled": true, "required": false } }),
        json!({ "required": ["postgres"], "optional": ["redis"] }),
        json!({ "required": [{ "name": "postgres" }], "optional": [{ "name": "redis" }] }),
        json!({ "required": { "postgres": {} }, "optional": { "redis": {} } }),
        json!([{ "name": "postgres", "required": true }, { "name": "redis", "required": false }]),
        json!({ "postgres": { "required": true }, "redis": {} }),
    ];
    for shape in shapes {
        let (manifest, _) = resources(shape.clone());
        let declared: Vec<_> = manifest
            .dependencies
            .resources
            .iter()
            .map(|(name, resource)| (name.as_str(), resource.enabled, resource.required))
            .collect();
        assert_eq!(declared, [("postgres", true, true), ("redis", true, false)], "{shape}");
    }
}

#[test]
fn groups_hold_scenarios_and_empty_lists_hold_nothing() {
    let (manifest, found) = resources(json!({
        "required": ["postgres", "scenario-authenticator", "mail-in-a-box"],
        "optional": ["notification-hub"],
        "details": { "postgres": { "size": "10GB" } },
    }));
    let names = |names: Vec<String>| names;
    assert_eq!(
        names(manifest.dependencies.resources.keys().map(ToString::to_string).collect()),
        ["mail-in-a-box", "postgres"]
    );
    let scenarios: Vec<_> = manifest
        .dependencies
        .scenarios
        .iter()
        .map(|(name, scenario)| (name.as_str(), scenario.required))
        .collect();
    assert_eq!(scenarios, [("notification-hub", false), ("scenario-authenticator", true)]);
    assert_eq!(of(&found, rules::SCENARIO_AS_RESOURCE).len(), 2);
    let (manifest, found) = resources(json!({ "required": [], "optional": [] }));
    assert!(manifest.dependencies.resources.is_empty() && of(&found, rules::ODD_SHAPE).is_empty());
}

#[test]
fn a_guess_yields_to_what_a_person_wrote() {
    let (manifest, found) = resources(json!({
        "required": { "postgres": { "database": "mine", "purpose": "events" } },
        "postgres": { "type": "postgres", "enabled": true, "required": false, "description": "Auto-detected via analyzer (heuristic)" },
    }));
    let postgres = manifest.dependencies.resources.values().next().unwrap();
    assert!(postgres.required && !postgres.heuristic);
    assert_eq!(postgres.database.as_deref(), Some("mine"));
    assert_eq!(of(&found, rules::CONTRADICTION)[0].labels.len(), 2, "both places are named");
}

#[test]
fn a_resource_says_what_it_holds() {
    let (manifest, found) = resources(json!({
        "minio": { "enabled": true, "required": true, "buckets": { "default_buckets": ["a", "b", "a"] } },
        "ollama": { "enabled": true, "required": true, "models": ["llama3.2", "AI_MODEL_PLACEHOLDER", "whisper"], "config": { "model": "mistral" } },
        "unstructured_io": { "enabled": true, "required": true, "version": ">=2023.0" },
        "pg": { "type": "postgres", "enabled": true, "required": true, "config": { "extensions": ["vector"] } },
        "huginn": { "type": "external-service", "enabled": false, "required": true, "default_port": 4111 },
    }));
    let resource =
        |name: &str| manifest.dependencies.resources.iter().find(|(own, _)| own.as_str() == name).unwrap().1;
    assert_eq!(resource("minio").buckets, ["a", "b"]);
    assert_eq!(resource("ollama").models, ["llama3.2", "mistral"]);
    assert_eq!(resource("unstructured_io").kind.as_deref(), Some("unstructured-io"));
    assert_eq!(resource("pg").database.as_deref(), Some("vrooli_toy"));
    assert_eq!(resource("pg").extensions, ["vector"]);
    assert!(!resource("huginn").enabled);
    assert_eq!(of(&found, rules::CONTRADICTION).len(), 1);
    assert_eq!(of(&found, rules::PLACEHOLDER)[0].severity, Severity::Warning);
}

#[test]
fn ports_find_their_services() {
    let (manifest, found) = read(json!({
        "ports": {
            "ui": { "env_var": "UI_PORT", "port": 36222, "range": "35000-39999" },
            "websocket": { "env_var": "WS_PORT" },
            "driver_port": { "env_var": "DRIVER_PORT", "port": "39400" },
            "odd": { "env_var": "1BAD", "range": "9-1", "port": "${X}" },
        },
        "lifecycle": { "develop": { "steps": [
            { "name": "start-ui-server", "run": "npx serve -s dist -l ${UI_PORT}", "background": true },
            { "name": "start-api-server", "run": "cd api && ./toy-api", "background": true },
            { "name": "start-driver", "run": "cd driver && node . --port $DRIVER_PORT", "background": true },
        ] } },
    }));
    let owned: Vec<(&str, Vec<&str>)> = manifest
        .services
        .iter()
        .map(|(name, service)| (name.as_str(), service.ports.keys().map(|port| port.as_str()).collect()))
        .collect();
    assert_eq!(
        owned,
        [("api", vec!["api", "odd", "websocket"]), ("driver", vec!["driver_port"]), ("ui", vec!["ui"])]
    );
    let fixed: Vec<_> = manifest
        .services
        .values()
        .flat_map(|service| service.ports.values())
        .filter_map(|port| port.port)
        .collect();
    assert!(fixed.is_empty(), "a number that the app is told is not fixed");
    assert!(of(&found, rules::PORT_IMPORT).iter().any(|d| d.message.contains("36222")));
    let api = &manifest.services.values().next().unwrap();
    assert_eq!(api.routes[0].path, "/api");
    assert_eq!(api.routes[0].port.as_ref().unwrap().as_str(), "api");
}

#[test]
fn health_is_put_together_from_endpoints_and_checks() {
    let (manifest, found) = read(json!({
        "ports": { "ui": { "env_var": "UI_PORT" } },
        "dependencies": { "resources": { "postgres": { "enabled": true, "required": true } } },
        "lifecycle": {
            "health": {
                "endpoints": { "api": "/healthz", "metrics": "/metrics" },
                "startup_grace_period": 10000,
                "timeout": 9000,
                "checks": [
                    { "name": "deep", "type": "http", "target": "http://localhost:${API_PORT}/deep", "critical": false },
                    { "name": "api", "type": "http", "target": "http://127.0.0.1:${API_PORT}/healthz", "timeout": 4000 },
                    { "name": "ui", "type": "http", "target": "http://localhost:${UI_PORT}/", "critical": false, "interval": 45000 },
                    { "name": "db", "type": "postgres", "target": "postgres" },
                    { "name": "far", "type": "http", "target": "http://localhost:6333/" },
                ],
            },
            "develop": { "steps": [
                { "name": "start-api", "run": "cd api && ./toy-api", "background": true },
                { "name": "start-ui", "run": "cd ui && node server.js", "background": true },
            ] },
        },
    }));
    let mut services = manifest.services.values();
    let api = services.next().unwrap().health.clone().unwrap();
    assert_eq!(
        (api.path.as_deref(), api.timeout.unwrap().as_millis(), api.critical),
        (Some("/healthz"), 4000, true)
    );
    assert!(api.startup_grace.unwrap().as_secs() >= 138);
    let ui = services.next().unwrap().health.clone().unwrap();
    assert_eq!(
        (ui.path.as_deref(), ui.interval.unwrap().as_millis(), ui.critical),
        (Some("/"), 45000, false)
    );
    assert_eq!(ui.timeout.unwrap().as_millis(), 9000);
    assert_eq!(ui.startup_grace, None);
    let dropped: Vec<_> = of(&found, rules::HEALTH_IMPORT);
    for name in ["`deep`", "`db`", "`far`"] {
        assert!(dropped.iter().any(|diagnostic| diagnostic.message.contains(name)), "{name}");
    }
}

#[test]
fn steps_become_builds_with_their_conditions() {
    let (manifest, found) = read(json!({
        "dependencies": { "resources": { "redis": { "enabled": false } } },
        "lifecycle": {
            "setup": { "condition": { "checks": [] }, "steps": [
                { "name": "build-api", "run": "cd api && go build .", "condition": { "file_exists": ["api/go.mod", "../x"] } },
                { "name": "fetch", "run": "make fetch", "condition": { "file_not_exists": "vendor", "command_exists": "make" } },
                { "name": "warm", "run": "make warm", "condition": { "resource_enabled": "redis" } },
                { "name": "prepare", "run": "psql -h localhost -f a.sql" },
                { "name": "install-cli", "run": "cd cli && ./install.sh" },
                { "name": "hello", "run": "echo 'a; b' && printf x" },
                { "name": "env", "run": "export A=1" },
                { "name": "later", "run": "make later", "condition": { "env_var_set": "SOMETHING" } },
                { "name": "empty" },
            ] },
            "develop": { "steps": [
                { "name": "install-ui-dependencies", "run": "cd ui && npm install" },
                { "name": "start-api", "run": "cd api && ./toy-api", "background": true, "condition": { "file_exists": "api/toy-api" } },
                { "name": "tidy", "run": "./tidy.sh" },
            ] },
            "stop": { "steps": [{ "name": "stop-api", "run": "pkill -f toy-api" }] },
        },
    }));
    let steps: Vec<_> = manifest.build.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(steps, ["build-api", "fetch", "install-ui-dependencies"]);
    assert_eq!(manifest.build.steps[0].if_exists, ["api/go.mod"]);
    assert_eq!(manifest.build.steps[1].unless_exists, ["vendor"]);
    for (code, name) in [
        (rules::STEP_DROPPED, "`warm`"),
        (rules::STEP_NEEDS_PLATFORM, "`prepare`"),
        (rules::STEP_DROPPED, "`install-cli`"),
        (rules::STEP_DROPPED, "`hello`"),
        (rules::STEP_DROPPED, "`env`"),
        (rules::STEP_DROPPED, "`later`"),
        (rules::STEP_DROPPED, "`empty`"),
        (rules::STEP_DROPPED, "`tidy`"),
        (rules::STEP_DROPPED, "`stop-api`"),
        (rules::CONDITION_NOT_KEPT, "`command_exists`"),
        (rules::PATH_OUTSIDE, "`../x`"),
    ] {
        assert!(of(&found, code).iter().any(|diagnostic| diagnostic.message.contains(name)), "{code} {name}");
    }
    assert!(of(&found, rules::KILLS_BY_PATTERN).is_empty(), "a stop step is never run");
}

#[test]
fn production_is_preferred_and_a_foreground_start_will_do() {
    let (manifest, _) = read(json!({ "lifecycle": { "production": { "steps": [
        { "name": "start-api", "run": "cd api && exec ./toy-api --prod", "background": true },
    ] } } }));
    assert_eq!(shell(&manifest.services.values().next().unwrap().run), "cd api && exec ./toy-api --prod");
    let (manifest, found) = read(json!({ "lifecycle": { "develop": { "steps": [
        { "name": "start-api", "run": "./toy-api" },
        { "name": "start-agent", "run": "echo later" },
    ] } } }));
    assert_eq!(manifest.services.len(), 1);
    assert_eq!(of(&found, rules::ODD_SHAPE).len(), 1);
    let checked = read_file(scenario(
        json!({ "lifecycle": { "develop": { "steps": [{ "name": "show-urls", "run": "echo x" }] } } }),
    ));
    assert_eq!(of(&checked.diagnostics, rules::NOTHING_RUNS)[0].severity, Severity::Error);
}

#[test]
fn commands_that_will_trouble_are_named() {
    let (_, found) = read(json!({ "lifecycle": { "develop": { "steps": [
        { "name": "start-a", "run": "nohup ./a &", "background": true },
        { "name": "start-b", "run": "pkill -f old; ./b", "background": true },
        { "name": "start-c", "run": "vrooli resource start x; U=${resource.ollama.url} ./c", "background": true },
        { "name": "start-d", "run": "P=${RESOURCE_PORTS[postgres]} ./d $(resource-postgres get)", "background": true },
    ] } } }));
    for (code, part) in [
        (rules::RUNS_IN_BACKGROUND, "start-a"),
        (rules::KILLS_BY_PATTERN, "`pkill`"),
        (rules::STEP_NEEDS_PLATFORM, "`vrooli`"),
        (rules::TEMPLATE_REFERENCE, "`${resource.ollama.url}`"),
        (rules::TEMPLATE_REFERENCE, "`${RESOURCE_PORTS[postgres]}`"),
        (rules::STEP_NEEDS_PLATFORM, "`resource-postgres`"),
    ] {
        assert!(of(&found, code).iter().any(|diagnostic| diagnostic.message.contains(part)), "{code} {part}");
    }
}

#[test]
fn no_credential_gets_through() {
    let checked = read_file(scenario(json!({
        "dependencies": { "resources": { "postgres": { "enabled": true, "required": true } } },
        "lifecycle": {
            "setup": { "steps": [{ "name": "build", "run": "NPM_TOKEN=planted0 npm ci" }] },
            "health": { "checks": [{ "name": "db", "type": "postgres", "target": "postgres://u:planted9@h/d" }] },
            "develop": { "steps": [
                { "name": "start-api", "background": true,
                  "run": "export DATABASE_URL=postgres://u:planted1@localhost/db JWT_SECRET='planted2'; ./api --api-key planted3 ${X_TOKEN:-planted4} redis://:planted5@h" },
                { "name": "start-worker", "background": true, "run": "JWT_SECRET=planted6 ./worker -H 'Authorization: Bearer planted7-long'" },
            ] },
        },
    })));
    let loaded = checked.value.unwrap();
    let secrets: Vec<_> = loaded
        .manifest
        .secrets
        .iter()
        .map(|(name, config)| (name.as_str(), config.services.len(), &config.from))
        .collect();
    let names: Vec<_> = secrets.iter().map(|(name, services, _)| (*name, *services)).collect();
    assert_eq!(
        names,
        [("API_KEY", 1), ("BEARER_TOKEN", 1), ("JWT_SECRET", 2), ("URL_PASSWORD", 1), ("X_TOKEN", 1)]
    );
    assert!(matches!(secrets[2].2, SecretSource::Generate { .. }), "a JWT secret is made anew");
    assert!(matches!(secrets[0].2, SecretSource::Environment { .. }), "a key comes from its owner");
    let everything = [
        loaded.manifest.to_yaml().unwrap(),
        loaded.manifest.to_json().unwrap(),
        format!("{loaded:?}"),
        format!("{:?}", checked.diagnostics),
        format::json(&checked.diagnostics),
        format::sarif(&checked.diagnostics),
        format::github(&checked.diagnostics),
    ];
    for text in everything {
        assert!(!text.contains("planted"), "{text}");
    }
    assert_eq!(
        shell(&loaded.manifest.services.values().next().unwrap().run),
        "export DATABASE_URL=${DATABASE_URL} JWT_SECRET=${JWT_SECRET}; ./api --api-key ${API_KEY} ${X_TOKEN} redis://:${URL_PASSWORD}@h"
    );
}

#[test]
fn a_template_is_named_once_a_placeholder() {
    let checked = load_text(
        "t/.vrooli/service.json".as_ref(),
        format!(
            "{:#}",
            scenario(json!({
                "service": { "name": "{{SCENARIO_ID}}", "description": "{{SCENARIO_DESCRIPTION}}" },
                "lifecycle": { "develop": { "steps": [{ "name": "start-api", "run": "./{{SCENARIO_ID}}-api", "background": true }] } },
            }))
        ),
    );
    let errors: Vec<_> = checked.diagnostics.iter().filter(|d| d.severity == Severity::Error).collect();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors.iter().all(|error| error.code == rules::PLACEHOLDER && !error.labels.is_empty()));
    assert!(
        errors.iter().any(
            |error| error.message.contains("`{{SCENARIO_ID}}`") && error.message.contains("1 more place")
        )
    );
}

#[test]
fn all_four_deployment_blocks_are_tolerated() {
    for (block, kept) in [
        (
            json!({ "metadata_version": 1, "tiers": { "tier-4-saas": { "status": "ready" } }, "dependencies": {}, "overrides": [] }),
            3,
        ),
        (
            json!({ "supported_tiers": [1, 4], "platforms": ["linux"], "desktop_ready": true, "build_configs": { "api": {} } }),
            4,
        ),
        (json!({ "platforms": { "cloud": {} }, "offline_capable": false, "complexity": "low" }), 3),
        (json!({ "cloud": { "preferred_providers": ["digitalocean", "aws"] } }), 1),
        (json!("nonsense"), 0),
    ] {
        let (manifest, found) = read(json!({ "deployment": block.clone() }));
        assert_eq!(of(&found, rules::METADATA_NOT_USED).len(), kept, "{block}");
        assert_eq!(manifest.strategy.kind, StrategyKind::BlueGreen);
    }
    let (manifest, _) = read(
        json!({ "deployment": { "strategy": "rolling-update", "scaling": { "min": 2, "max": 4, "targetCPU": 70 } } }),
    );
    assert_eq!(manifest.strategy.kind, StrategyKind::Rolling);
    let scaling = &manifest.services.values().next().unwrap().scaling;
    assert_eq!((scaling.min, scaling.max), (2, 4));
    let checked = read_file(scenario(json!({ "deployment": { "strategy": "canery" } })));
    assert_eq!(of(&checked.diagnostics, rules::UNKNOWN_STRATEGY)[0].severity, Severity::Error);
}

#[test]
fn names_are_made_valid_or_refused() {
    let (manifest, found) = read(json!({ "service": { "name": "My_Fine App!" } }));
    assert_eq!(manifest.app.name.as_str(), "my-fine-app");
    assert_eq!(of(&found, rules::NAME_CHANGED).len(), 1);
    for bad in [json!("___"), json!("日本"), json!([1])] {
        let checked = read_file(scenario(json!({ "service": { "name": bad.clone() } })));
        assert!(checked.has_errors() && checked.value.is_none(), "{bad}");
    }
}

fn write(root: &Path, file: &str, text: &str) {
    let path = root.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn a_folder_in_its_repository() {
    let repository = tempfile::tempdir().unwrap();
    let root = repository.path().join("scenarios").join("toy");
    fs::create_dir_all(repository.path().join("packages/api-core")).unwrap();
    write(repository.path(), "scenarios/other/.vrooli/service.json", "{}");
    write(&root, "api/main.go", "package main // os.Getenv(\"REDIS_URL\")");
    write(&root, "ui/server.js", "app.use('/api', proxy({ pathRewrite: {} }))");
    write(&root, "initialization/postgres/schema.sql", "");
    write(&root, "initialization/postgres/migrations/1.sql", "");
    write(&root, "initialization/postgres/forgotten.sql", "");
    let guess = "Auto-detected via analyzer (heuristic)";
    let file = scenario(json!({
        "ports": { "ui": { "env_var": "UI_PORT" } },
        "lifecycle": { "develop": { "steps": [
            { "name": "start-api", "run": "cd api && ./toy-api", "background": true },
            { "name": "start-ui", "run": "cd ui && node server.js", "background": true },
        ] } },
        "dependencies": { "resources": {
            "postgres": { "enabled": true, "required": true, "initialization": [
                { "directory": "initialization/postgres/migrations", "type": "migration", "order": 2 },
                { "file": "initialization/postgres/schema.sql", "type": "schema", "order": 1 },
                { "file": "initialization/postgres/gone.sql", "type": "data", "order": 3 },
            ] },
            "n8n": { "enabled": true, "required": true, "initialization": [{ "file": "initialization/n8n/w.json", "type": "workflow" }] },
            "redis": { "enabled": true, "required": true, "description": guess },
            "qdrant": { "enabled": true, "required": true, "description": guess },
            "other": { "enabled": true, "required": true },
        } },
    }));
    write(&root, ".vrooli/service.json", &file.to_string());
    let checked = load(&root);
    let loaded = checked.value.unwrap();
    assert_eq!(loaded.dialect, Dialect::ServiceJson);
    assert_eq!(loaded.context, fs::canonicalize(repository.path()).unwrap());
    assert_eq!(loaded.root, fs::canonicalize(&root).unwrap());
    assert_eq!(loaded.manifest.build.context.as_deref(), Some("../.."));
    assert!(loaded.manifest.build.include.contains(&"/packages/".to_owned()));
    assert!(loaded.manifest.build.include.contains(&"/scenarios/toy/".to_owned()));

    let postgres = loaded
        .manifest
        .dependencies
        .resources
        .iter()
        .find(|(name, _)| name.as_str() == "postgres")
        .unwrap()
        .1;
    let kinds: Vec<_> = postgres.initialization.iter().map(|item| (item.kind, item.file.as_str())).collect();
    assert_eq!(
        kinds,
        [
            (InitializationKind::Schema, "initialization/postgres/schema.sql"),
            (InitializationKind::Migration, "initialization/postgres/migrations"),
        ]
    );
    let missing: Vec<_> = of(&checked.diagnostics, rules::FILE_MISSING).iter().map(|d| d.severity).collect();
    assert_eq!(
        missing,
        [Severity::Warning, Severity::Info],
        "a seed warns, a file of a dead resource is a remark"
    );
    let undeclared = of(&checked.diagnostics, rules::UNDECLARED_FILE);
    assert_eq!(undeclared.len(), 1);
    assert!(undeclared[0].message.contains("forgotten.sql"));
    assert!(of(&checked.diagnostics, rules::HEURISTIC_CONFIRMED)[0].message.contains("REDIS_URL"));
    assert!(loaded.manifest.dependencies.scenarios.keys().any(|name| name.as_str() == "other"));
    let needed = derive(&loaded.manifest, &DeriveOptions::default()).value.unwrap();
    assert_eq!(
        needed.resources.iter().map(|resource| resource.name.as_str()).collect::<Vec<_>>(),
        ["postgres", "redis"]
    );
    // The UI's server rewrites the path, so only it can answer `/api`.
    assert_eq!(of(&checked.diagnostics, rules::API_ROUTE).len(), 1);
    assert!(
        loaded.manifest.services.values().flat_map(|service| &service.routes).all(|route| route.path == "/")
    );

    fs::remove_file(root.join("initialization/postgres/schema.sql")).unwrap();
    let checked = load(&root);
    assert!(checked.has_errors(), "without its tables an app only seems to work");
}

#[test]
fn a_folder_by_itself_is_its_own_context() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), ".vrooli/service.json", &scenario(json!({})).to_string());
    for path in [folder.path().to_owned(), folder.path().join(".vrooli/service.json")] {
        let loaded = load(&path).value.unwrap();
        assert_eq!(loaded.manifest.build.context.as_deref(), Some("."));
        assert_eq!(loaded.context, loaded.root);
        assert_eq!(loaded.root, fs::canonicalize(folder.path()).unwrap());
    }
}

#[test]
fn paths_stay_inside() {
    let checked = read_file(scenario(
        json!({ "dependencies": { "resources": { "postgres": { "enabled": true, "initialization": [
        { "file": "../../etc/passwd", "type": "schema" },
        { "file": "/etc/passwd", "type": "schema" },
        { "file": "ok/schema.sql", "type": "schema" },
    ] } } } }),
    ));
    assert_eq!(of(&checked.diagnostics, rules::PATH_OUTSIDE).len(), 2);
    let manifest = checked.value.unwrap().manifest;
    assert_eq!(manifest.dependencies.resources.values().next().unwrap().initialization.len(), 1);
}
