//! Vrooli's `.vrooli/service.json`, in every shape that exists.
//!
//! The file's schema is not enforced where it is written, so nothing here is a decoding
//! error: what is odd is named, with its place, and then read as it was meant, or left out.
//! Errors remain where a guess would be wrong: nothing that runs, placeholders of a
//! template, paths that leave the folder, tables whose file is missing.

mod commands;
mod files;
mod health;
mod initialization;
mod layout;
mod metadata;
mod patterns;
mod ports;
mod reader;
mod resources;
mod said;
mod steps;

use std::collections::BTreeMap;
use std::path::Path;

use self::patterns::PATTERNS;
use self::reader::Reader;
use self::steps::ServiceStep;
use crate::diagnostics::{Checked, Severity, rules};
use crate::manifest::yaml::{Document, child};
use crate::manifest::{
    AppConfig, Command, DependenciesConfig, DeploymentManifest, IfUnavailable, PortConfig, RouteConfig,
    Runtime, SCHEMA_VERSION, SecretConfig, SecretSource, ServiceConfig, Tier, credentials, placeholders,
    redaction,
};
use crate::names::{AppName, PortName, ProviderName, ServiceName, VariableName};
use crate::requirements::{catalogue, orphans};

/// Reads a `service.json`. `root` is the scenario's folder, where its files are at hand:
/// with it, declared files are looked for, guesses are confirmed and the layout is found.
/// The manifest is for this machine: tier and provider `local`.
pub fn import(document: &Document, root: Option<&Path>) -> Checked<DeploymentManifest> {
    let reader = Reader::new(document);
    let manifest = read(&reader, document, root);
    let mut diagnostics = reader.into_diagnostics();
    let mut templates = placeholders(document);
    // A template has one problem; what follows from it is noise.
    if !templates.is_empty() {
        diagnostics.retain(|diagnostic| diagnostic.severity != Severity::Error);
        templates.append(&mut diagnostics);
        diagnostics = templates;
    }
    Checked { value: manifest, diagnostics }
}

/// What a `service.json` depends on, wherever it declares it. Files are not looked at.
pub(crate) fn declared_dependencies(document: &Document) -> DependenciesConfig {
    resources::read(&Reader::new(document), None)
}

/// The version of a scenario, as its `service.json` says.
pub(crate) fn declared_version(document: &Document) -> Option<String> {
    version(&Reader::new(document))
}

fn version(reader: &Reader<'_>) -> Option<String> {
    reader.full_text("/service/version").or_else(|| reader.full_text("/version"))
}

fn read(reader: &Reader<'_>, document: &Document, root: Option<&Path>) -> Option<DeploymentManifest> {
    if !document.value.is_object() {
        reader.note(
            rules::WRONG_TYPE,
            "",
            "a `service.json` is a map",
            "start with `{\"service\": {\"name\": …}}`",
        );
        return None;
    }
    let app = app(reader, root)?;
    let mut dependencies = resources::read(reader, root);
    if let Some(root) = root {
        resources::confirm_heuristics(reader, root, &mut dependencies);
        initialization::name_undeclared(reader, root, &dependencies);
    }
    let enabled = |name: &str| is_enabled(&dependencies, name);
    let steps = steps::read(reader, root, &enabled);
    let services = named_services(reader, steps.services);
    if services.is_empty() {
        reader.note(
            rules::NOTHING_RUNS,
            if steps.run_phase.is_empty() { "/lifecycle" } else { &steps.run_phase },
            "the file says nothing that runs",
            "a service is a step of `lifecycle.develop` or `lifecycle.production` with `\"background\": true`",
        );
    }
    name_databases(reader, &app.name, &services, &mut dependencies);
    let declared_ports = ports::read(reader);
    let owned = ports::assign(reader, &declared_ports, &services);
    let needs_database = dependencies.resources.iter().any(|(name, resource)| {
        let kind = resource.kind.as_deref().unwrap_or(name.as_str());
        resource.enabled
            && resource.required
            && !resource.heuristic
            && catalogue().find(kind).is_some_and(|known| known.has_databases())
    });
    let mut health = health::read(reader, &owned, needs_database);
    let metadata = metadata::read(reader);
    let mut routes = routes(reader, root, &services, &owned);
    let secrets = secrets(reader, &services, &dependencies);
    let services: BTreeMap<ServiceName, ServiceConfig> = services
        .into_iter()
        .map(|(name, step)| {
            let config = ServiceConfig {
                build: Vec::new(),
                run: Command::Shell(step.run),
                dir: None,
                ports: owned.get(&name).cloned().unwrap_or_default(),
                health: health.remove(&name),
                routes: routes.remove(&name).unwrap_or_default(),
                scaling: metadata
                    .scaling
                    .clone()
                    .filter(|_| name.as_str() == PATTERNS.routes.api)
                    .unwrap_or_default(),
                overlap: None,
                env: BTreeMap::new(),
                needs: Vec::new(),
                stop_grace: None,
                runtime: Runtime::default(),
                image: None,
            };
            (name, config)
        })
        .collect();
    let mut build = layout::context(root);
    build.steps = steps.build;
    let manifest = DeploymentManifest {
        schema: None,
        schema_version: SCHEMA_VERSION.to_owned(),
        target: Tier::Local,
        provider: ProviderName::new("local").ok()?,
        env: environment(&app.name),
        app,
        infrastructure: crate::manifest::InfrastructureConfig::default(),
        networking: crate::manifest::NetworkingConfig::default(),
        build,
        services,
        dependencies,
        drop: Vec::new(),
        swaps: Vec::new(),
        not_secret: std::collections::BTreeSet::new(),
        secrets,
        smoke: Vec::new(),
        strategy: metadata.strategy,
        metadata: metadata.said,
    };
    for name in orphans(&manifest) {
        let at = ["resources", "scenarios"]
            .map(|group| child(&format!("/deployment/dependencies/{group}"), name.as_str()))
            .into_iter()
            .find(|at| reader.get(at).is_some())
            .unwrap_or_default();
        reader.note(
            rules::METADATA_ORPHAN,
            &at,
            crate::requirements::orphan(&name),
            "declare it under `dependencies`, or remove what is said of it",
        );
    }
    Some(manifest)
}

fn app(reader: &Reader<'_>, root: Option<&Path>) -> Option<AppConfig> {
    let at = "/service/name";
    let folder = root.and_then(Path::file_name).and_then(|name| name.to_str()).map(str::to_owned);
    let written = reader.full_text(at).or_else(|| reader.full_text("/name"));
    let wanted = written.clone().filter(|name| crate::manifest::placeholder(name).is_none()).or(folder);
    let Some(wanted) = wanted else {
        reader.note(
            rules::MISSING_FIELD,
            "/service",
            "the app has no name",
            "add `\"service\": {\"name\": \"my-app\"}`",
        );
        return None;
    };
    let name = match AppName::new(normalised(&wanted)) {
        Ok(name) => name,
        Err(error) => {
            reader.note(
                rules::INVALID_VALUE,
                at,
                format!("`{wanted}` cannot be made the name of an app: {}", error.rule),
                "rename it",
            );
            return None;
        }
    };
    if name.as_str() != wanted {
        reader.note(
            rules::NAME_CHANGED,
            at,
            format!("the app `{wanted}` is called `{name}` here"),
            "names have lower-case letters, digits and hyphens",
        );
    } else if written.is_none() {
        reader.note(
            rules::NAME_CHANGED,
            "/service",
            format!("the app has no name; it is called `{name}` after its folder"),
            "add `service.name`",
        );
    }
    Some(AppConfig {
        name,
        version: version(reader).unwrap_or_else(|| "0.0.0".to_owned()),
        domain: None,
        description: reader.full_text("/service/description"),
        license: reader.full_text("/service/license"),
    })
}

/// Lower case, other characters as hyphens, at most 63.
fn normalised(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for c in name.trim().chars() {
        if c.is_ascii_alphanumeric() {
            text.push(c.to_ascii_lowercase());
        } else if !text.ends_with('-') {
            text.push('-');
        }
    }
    text.truncate(63);
    text.trim_matches('-').to_owned()
}

fn environment(app: &AppName) -> BTreeMap<VariableName, String> {
    let mut env: BTreeMap<VariableName, String> = PATTERNS
        .environment
        .iter()
        .filter_map(|(name, value)| Some((VariableName::new(name.as_str()).ok()?, value.clone())))
        .collect();
    if let Ok(variable) = VariableName::new(PATTERNS.name_variable.as_str()) {
        env.insert(variable, app.to_string());
    }
    env
}

fn is_enabled(dependencies: &DependenciesConfig, name: &str) -> bool {
    let wanted = catalogue().find(name).map_or(name, |known| known.name.as_str());
    dependencies.resources.iter().any(|(own, resource)| {
        let kind = resource.kind.as_deref().unwrap_or(own.as_str());
        resource.enabled
            && (own.as_str() == name
                || catalogue().find(kind).map_or(kind, |known| known.name.as_str()) == wanted)
    })
}

/// Names services after their steps: `start-api` → `api`.
fn named_services(reader: &Reader<'_>, steps: Vec<ServiceStep>) -> BTreeMap<ServiceName, ServiceStep> {
    let mut services: BTreeMap<ServiceName, ServiceStep> = BTreeMap::new();
    for step in steps {
        let prefix =
            PATTERNS.service_prefixes.iter().find_map(|prefix| step.name.strip_prefix(prefix.as_str()));
        let plain = normalised(prefix.unwrap_or(&step.name));
        let short = PATTERNS.service_suffixes.iter().find_map(|suffix| plain.strip_suffix(suffix.as_str()));
        let plain =
            PATTERNS.service_aliases.get(&plain).map(String::as_str).or(short).unwrap_or(&plain).to_owned();
        let mut candidates = std::iter::once(plain.clone())
            .chain((2..=99).map(|number| format!("{}-{number}", &plain[..plain.len().min(58)])))
            .filter_map(|name| ServiceName::new(name).ok());
        match candidates.find(|name| !services.contains_key(name)) {
            Some(name) => {
                services.insert(name, step);
            }
            None => reader.note_as(
                Severity::Warning,
                rules::ODD_SHAPE,
                &step.at,
                format!("the step `{}` cannot be made the name of a service; it is ignored", step.name),
                "name it like `start-api`",
            ),
        }
    }
    services
}

/// Every database gets its name: the declared one, else the one that a service sets for
/// itself, else the usual one. What a command sets over our values is named.
fn name_databases(
    reader: &Reader<'_>,
    app: &AppName,
    services: &BTreeMap<ServiceName, ServiceStep>,
    dependencies: &mut DependenciesConfig,
) {
    for (name, resource) in &mut dependencies.resources {
        if !resource.enabled {
            continue;
        }
        let Some(known) = catalogue().find(resource.kind.as_deref().unwrap_or(name.as_str())) else {
            continue;
        };
        let has_database = known.has_databases();
        for (service, step) in services {
            for assignment in redaction::assignments(&step.run) {
                let Some((variable, output)) =
                    known.env.iter().find(|(variable, _)| variable.as_str() == assignment.name)
                else {
                    continue;
                };
                let value = step.run[assignment.value].trim_matches(['"', '\'']);
                // A credential that was taken out refers to the variable itself now.
                let itself =
                    value.trim_start_matches("${").trim_start_matches('$').starts_with(variable.as_str());
                if itself {
                    continue;
                }
                let run_at = format!("{}/run", step.at);
                if output == "database"
                    && resource.database.is_none()
                    && resources::check_database_name(value).is_ok()
                {
                    resource.database = Some(value.to_owned());
                    reader.note(
                        rules::INITIALIZATION_IMPORT,
                        &run_at,
                        format!("`{service}` sets `{variable}`, so its database is called `{value}`"),
                        format!("say so in `dependencies.resources.{name}.database`"),
                    );
                } else if !(output == "database" && resource.database.as_deref() == Some(value)) {
                    reader.note_as(
                        Severity::Warning,
                        rules::TEMPLATE_REFERENCE,
                        &run_at,
                        format!("`{service}` sets `{variable}` itself when it starts, over the value that `{name}` is given"),
                        "remove the assignment, or read another variable",
                    );
                }
            }
        }
        if has_database && resource.database.is_none() {
            resource.database = Some(catalogue().database_name(app));
        }
    }
}

/// `/` goes to the UI, or to the API if there is none; `/api` to the API.
///
/// Many UI servers pass `/api` on and many do not, and pages of those that do not answer
/// 200 with HTML there. So the edge always routes it itself, with the path as it is, unless
/// the UI's server rewrites the path (its source says so): then only it can.
fn routes(
    reader: &Reader<'_>,
    root: Option<&Path>,
    services: &BTreeMap<ServiceName, ServiceStep>,
    ports: &BTreeMap<ServiceName, BTreeMap<PortName, PortConfig>>,
) -> BTreeMap<ServiceName, Vec<RouteConfig>> {
    let patterns = &PATTERNS.routes;
    let listens = |wanted: &str| {
        services
            .keys()
            .find(|name| name.as_str() == wanted && ports.get(*name).is_some_and(|ports| !ports.is_empty()))
    };
    let (ui, api) = (listens(&patterns.ui), listens(&patterns.api));
    let first = services.keys().find(|name| ports.get(*name).is_some_and(|ports| !ports.is_empty()));
    let mut routes: BTreeMap<ServiceName, Vec<RouteConfig>> = BTreeMap::new();
    let mut route = |service: &ServiceName, path: &str| {
        let own = ports.get(service);
        // With several ports the first by name may be a side port.
        let port = own.filter(|ports| ports.len() > 1).and_then(|ports| {
            ports.keys().find(|port| port.as_str() == service.as_str()).or_else(|| ports.keys().next())
        });
        routes.entry(service.clone()).or_default().push(RouteConfig {
            host: None,
            path: path.to_owned(),
            port: port.cloned(),
        });
    };
    if let Some(front) = ui.or(api).or(first) {
        route(front, "/");
    }
    if let (Some(ui), Some(api)) = (ui, api) {
        let rewriting = root.and_then(|root| rewriting_server(root, &services[ui]));
        match rewriting {
            None => route(api, &patterns.api_path),
            Some(file) => reader.note(
                rules::API_ROUTE,
                &format!("{}/run", services[ui].at),
                format!(
                    "`{}` goes through the service `{ui}`: `{file}` rewrites the path",
                    patterns.api_path
                ),
                "nothing to do",
            ),
        }
    }
    routes
}

/// The UI's server, if its source rewrites the paths that it passes on.
fn rewriting_server(root: &Path, ui: &ServiceStep) -> Option<String> {
    let folder = commands::folder(&ui.run).unwrap_or_default();
    PATTERNS.routes.ui_servers.iter().filter(|server| ui.run.contains(server.as_str())).find_map(|server| {
        let file = if folder.is_empty() {
            server.clone()
        } else {
            format!("{}/{server}", folder.trim_end_matches('/'))
        };
        if !crate::manifest::semantics::stays_inside(&file) {
            return None;
        }
        let text = std::fs::read_to_string(root.join(&file)).ok()?;
        PATTERNS.routes.rewriting_markers.iter().any(|marker| text.contains(marker.as_str())).then_some(file)
    })
}

/// A secret for each credential that was taken out of a service's command, unless a
/// resource fills the variable. Secrets that an app makes up for itself are generated.
fn secrets(
    reader: &Reader<'_>,
    services: &BTreeMap<ServiceName, ServiceStep>,
    dependencies: &DependenciesConfig,
) -> BTreeMap<VariableName, SecretConfig> {
    let mut secrets: BTreeMap<VariableName, SecretConfig> = BTreeMap::new();
    for (service, step) in services {
        for name in &step.secrets {
            let provided = dependencies.resources.iter().any(|(own, resource)| {
                let known = catalogue().find(resource.kind.as_deref().unwrap_or(own.as_str()));
                resource.enabled
                    && known.is_some_and(|known| known.env.keys().any(|variable| variable.as_str() == name))
            });
            let Ok(variable) = VariableName::new(name.as_str()) else {
                continue;
            };
            if provided {
                continue;
            }
            let config = secrets.entry(variable.clone()).or_insert_with(|| {
                let from = if credentials::is_self_made(name) {
                    SecretSource::Generate { kind: None, length: None, charset: None }
                } else {
                    reader.note_as(
                        Severity::Warning,
                        rules::CREDENTIAL_IN_COMMAND,
                        &format!("{}/run", step.at),
                        format!(
                            "the secret `{variable}` is read from the environment of the program that deploys"
                        ),
                        format!("set `{variable}` before you deploy"),
                    );
                    SecretSource::Environment { name: variable.clone() }
                };
                SecretConfig {
                    from,
                    description: Some(format!("taken out of the command of `{service}`")),
                    format: None,
                    services: Vec::new(),
                    required: true,
                    if_unavailable: IfUnavailable::default(),
                }
            });
            config.services.push(service.clone());
        }
    }
    secrets
}
