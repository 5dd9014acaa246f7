//! What a manifest must fulfil beyond its shape: references, ports, routes, paths, cycles.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use super::shape::{named, nearest};
use super::yaml::{Document, child};
use super::{
    BuildStep, Command, DeploymentManifest, PortConfig, SecretSource, ServiceConfig, VaultSource,
    credentials, redaction,
};
use crate::diagnostics::{Code, Diagnostic, Span, rules};
use crate::names::{PortName, ServiceName};
use crate::secrets::{GENERATED_LENGTH, GENERATED_LENGTHS};

/// All checks that need no files.
pub(crate) fn check(document: &Document, manifest: &DeploymentManifest) -> Vec<Diagnostic> {
    let mut check = Check { document, manifest, found: Vec::new() };
    check.services();
    check.ports();
    check.routes();
    check.needs();
    check.smoke();
    check.secrets();
    check.build();
    check.strategy();
    check.budget();
    check.initialization();
    check.metadata();
    check.found
}

/// Do the files that the manifest names exist? A missing file is an error: the author of a
/// manifest meant it.
pub(crate) fn check_files(
    document: &Document,
    manifest: &DeploymentManifest,
    root: &Path,
) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (name, resource) in &manifest.dependencies.resources {
        for (index, item) in resource.initialization.iter().enumerate() {
            if stays_inside(&item.file) && !root.join(&item.file).exists() {
                let at = format!(
                    "{}/initialization/{index}/file",
                    child("/dependencies/resources", name.as_str())
                );
                let mut diagnostic = rules::FILE_MISSING
                    .diagnostic(format!("`{}`, which prepares `{name}`, does not exist", item.file))
                    .at(document.spans.value(&at), "here")
                    .help(format!("add the file to `{}`, or remove the entry", root.display()));
                diagnostic.severity = crate::diagnostics::Severity::Error;
                found.push(diagnostic);
            }
        }
    }
    found
}

/// Is the path relative and does it stay in the folder that it starts from?
pub(crate) fn stays_inside(path: &str) -> bool {
    let mut depth = 0_i32;
    !path.is_empty()
        && !path.contains('\0')
        && !path.contains('\\')
        && Path::new(path).components().all(|part| match part {
            Component::Normal(_) => {
                depth += 1;
                true
            }
            Component::CurDir => true,
            Component::ParentDir => {
                depth -= 1;
                depth >= 0
            }
            Component::RootDir | Component::Prefix(_) => false,
        })
}

/// Reads `15000-19999`.
pub(crate) fn parse_range(text: &str) -> Option<(u16, u16)> {
    let (low, high) = text.split_once('-')?;
    let (low, high) = (low.trim().parse().ok()?, high.trim().parse().ok()?);
    (low >= 1 && low <= high).then_some((low, high))
}

struct Check<'a> {
    document: &'a Document,
    manifest: &'a DeploymentManifest,
    found: Vec<Diagnostic>,
}

impl Check<'_> {
    fn value(&self, pointer: &str) -> Option<Span> {
        self.document.spans.value(pointer)
    }

    fn report(&mut self, code: Code, pointer: &str, message: String, help: impl Into<String>) {
        let span = self.value(pointer);
        self.found.push(code.diagnostic(message).at(span, "here").help(help));
    }

    fn metadata(&mut self) {
        for name in crate::requirements::orphans(self.manifest) {
            self.report(
                rules::METADATA_ORPHAN,
                &child("/metadata/dependencies", name.as_str()),
                crate::requirements::orphan(&name),
                "declare it under `dependencies`, or remove what is said of it",
            );
        }
    }

    fn strategy(&mut self) {
        for problem in self.manifest.strategy.problems() {
            let place = [format!("/strategy/{}", problem.field), "/strategy".to_owned()];
            let span = place.iter().find_map(|at| self.value(at));
            let mut diagnostic =
                rules::STRATEGY_OPTION.diagnostic(problem.message).at(span, "here").help(problem.help);
            if problem.harmless {
                diagnostic.severity = crate::diagnostics::Severity::Warning;
            }
            self.found.push(diagnostic);
        }
    }

    fn budget(&mut self) {
        let problems = self.manifest.infrastructure.budget.iter().flat_map(|budget| budget.problems());
        for problem in problems {
            let at = format!("/infrastructure/budget/{}", problem.field);
            self.report(rules::INVALID_VALUE, &at, problem.message, problem.help);
        }
    }

    fn services(&mut self) {
        let manifest = self.manifest;
        for (name, service) in &manifest.services {
            let at = child("/services", name.as_str());
            self.command(&service.run, &format!("{at}/run"));
            if let Some(dir) = &service.dir {
                self.inside(dir, &format!("{at}/dir"));
            }
            if service.scaling.min > service.scaling.max {
                self.report(
                    rules::SCALING,
                    &format!("{at}/scaling"),
                    format!(
                        "`{name}` runs at least {} and at most {}",
                        service.scaling.min, service.scaling.max
                    ),
                    "let `min` be no more than `max`",
                );
            }
            if let Some(health) = &service.health {
                if let Some(path) = health.path.as_ref().filter(|path| !path.starts_with('/')) {
                    self.report(
                        rules::INVALID_VALUE,
                        &format!("{at}/health/path"),
                        format!("the path `{path}` does not start with `/`"),
                        format!("write `/{path}`"),
                    );
                }
                self.port_exists(
                    name,
                    service,
                    health.port.as_ref(),
                    &format!("{at}/health/port"),
                    "is asked for its health",
                );
            }
            for (index, step) in service.build.iter().enumerate() {
                self.step(step, &format!("{at}/build/{index}"));
            }
        }
        if manifest.services.is_empty() {
            let mut diagnostic = rules::NO_SERVICE
                .diagnostic("the manifest names no service, so nothing would run")
                .at(self.document.spans.key("/services"), "")
                .help("add `services:` with what runs, or deploy the scenario's folder, whose `.vrooli/service.json` says it");
            diagnostic.severity = crate::diagnostics::Severity::Warning;
            self.found.push(diagnostic);
        }
    }

    fn port_exists(
        &mut self,
        name: &ServiceName,
        service: &ServiceConfig,
        port: Option<&PortName>,
        at: &str,
        what: &str,
    ) {
        match port {
            Some(port) if !service.ports.contains_key(port) => {
                let known: Vec<&str> = service.ports.keys().map(PortName::as_str).collect();
                let help = match nearest(port.as_str(), known.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None if known.is_empty() => format!("add `ports:` to `{name}`"),
                    None => format!("its ports are {}", known.join(", ")),
                };
                self.report(rules::UNKNOWN_REFERENCE, at, format!("`{name}` has no port `{port}`"), help);
            }
            None if service.ports.is_empty() => {
                let at = at.rsplit_once('/').map_or(at, |(parent, _)| parent);
                self.report(
                    rules::UNKNOWN_REFERENCE,
                    at,
                    format!("`{name}` {what}, but has no port"),
                    format!("add `ports:` to `{name}`"),
                );
            }
            _ => {}
        }
    }

    fn ports(&mut self) {
        let manifest = self.manifest;
        let mut numbers: BTreeMap<u16, String> = BTreeMap::new();
        let mut variables: BTreeMap<&str, String> = BTreeMap::new();
        for (service_name, service) in &manifest.services {
            for (port_name, port) in &service.ports {
                let at = child(
                    &format!("{}/ports", child("/services", service_name.as_str())),
                    port_name.as_str(),
                );
                let PortConfig { env_var, port: number, range } = port;
                if let Some(number) = *number {
                    let at = format!("{at}/port");
                    if number == 0 {
                        self.report(
                            rules::PORT,
                            &at,
                            format!("{} must be between 1 and 65535", named(&at)),
                            "leave it out to have a port chosen",
                        );
                    } else if let Some(first) = numbers.insert(number, at.clone()) {
                        self.twice(
                            rules::PORT,
                            format!("port {number} is given twice"),
                            &at,
                            &first,
                            "give each port its own number, or leave the number out",
                        );
                    }
                }
                if let Some(variable) = env_var {
                    let at = format!("{at}/env_var");
                    if let Some(first) = variables.insert(variable.as_str(), at.clone()) {
                        self.twice(
                            rules::PORT,
                            format!("two ports are given in the same variable `{variable}`"),
                            &at,
                            &first,
                            "every service finds a port by its variable, so each needs its own",
                        );
                    }
                }
                if let Some(range) = range {
                    let at = format!("{at}/range");
                    match parse_range(range) {
                        None => self.report(
                            rules::PORT,
                            &at,
                            format!("`{range}` is not a range of ports"),
                            "write e.g. `15000-19999`",
                        ),
                        Some((low, high))
                            if number
                                .is_some_and(|number| number != 0 && !(low..=high).contains(&number)) =>
                        {
                            self.report(
                                rules::PORT,
                                &at,
                                format!("the port's own number lies outside `{range}`"),
                                "remove one of the two",
                            );
                        }
                        Some(_) => {}
                    }
                }
            }
        }
    }

    fn twice(&mut self, code: Code, message: String, again: &str, first: &str, help: &str) {
        let (again, first) = (self.value(again), self.value(first));
        self.found.push(code.diagnostic(message).at(again, "again here").at(first, "first here").help(help));
    }

    fn routes(&mut self) {
        let manifest = self.manifest;
        let mut taken: BTreeMap<(Option<&str>, &str), String> = BTreeMap::new();
        for (name, service) in &manifest.services {
            for (index, route) in service.routes.iter().enumerate() {
                let at = format!("{}/routes/{index}", child("/services", name.as_str()));
                let path_at = format!("{at}/path");
                if !route.path.starts_with('/') {
                    self.report(
                        rules::ROUTE,
                        &path_at,
                        format!("the path `{}` does not start with `/`", route.path),
                        format!("write `/{}`", route.path),
                    );
                } else if route.path.contains(['?', '#', ' ', '*']) {
                    self.report(
                        rules::ROUTE,
                        &path_at,
                        format!("the path `{}` is no prefix", route.path),
                        "a route is a plain path prefix, without `*`, `?`, `#` and spaces",
                    );
                }
                let key = (route.host.as_deref(), trimmed(&route.path));
                if let Some(first) = taken.insert(key, path_at.clone()) {
                    self.twice(
                        rules::ROUTE,
                        format!("the path `{}` goes to two services", route.path),
                        &path_at,
                        &first,
                        "let each path go to one service",
                    );
                }
                self.port_exists(name, service, route.port.as_ref(), &format!("{at}/port"), "gets requests");
            }
        }
    }

    fn needs(&mut self) {
        let manifest = self.manifest;
        let known: Vec<&str> = manifest.services.keys().map(ServiceName::as_str).collect();
        for (name, service) in &manifest.services {
            for (index, need) in service.needs.iter().enumerate() {
                if !manifest.services.contains_key(need) {
                    let at = format!("{}/needs/{index}", child("/services", name.as_str()));
                    let help = reference_help(need.as_str(), &known);
                    self.report(
                        rules::UNKNOWN_REFERENCE,
                        &at,
                        format!("`{name}` needs `{need}`, which is no service"),
                        help,
                    );
                }
            }
        }
        if let Some(cycle) = cycle(manifest) {
            let path = cycle.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" → ");
            let at = cycle
                .first()
                .map(|name| format!("{}/needs", child("/services", name.as_str())))
                .unwrap_or_default();
            self.report(
                rules::NEEDS_CYCLE,
                &at,
                format!("services wait for each other: {path}"),
                "remove one `needs` of the circle",
            );
        }
    }

    fn smoke(&mut self) {
        let manifest = self.manifest;
        let known: Vec<&str> = manifest.services.keys().map(ServiceName::as_str).collect();
        for (index, test) in manifest.smoke.iter().enumerate() {
            let at = format!("/smoke/{index}");
            match manifest.services.get(&test.service) {
                None => self.report(
                    rules::UNKNOWN_REFERENCE,
                    &format!("{at}/service"),
                    format!("the smoke test asks `{}`, which is no service", test.service),
                    reference_help(test.service.as_str(), &known),
                ),
                Some(service) => self.port_exists(
                    &test.service,
                    service,
                    None,
                    &format!("{at}/service"),
                    "is asked by a smoke test",
                ),
            }
            if !test.path.starts_with('/') {
                self.report(
                    rules::INVALID_VALUE,
                    &format!("{at}/path"),
                    format!("the path `{}` does not start with `/`", test.path),
                    format!("write `/{}`", test.path),
                );
            }
            if test.method.is_empty() || !test.method.bytes().all(|byte| byte.is_ascii_uppercase()) {
                self.report(
                    rules::INVALID_VALUE,
                    &format!("{at}/method"),
                    format!("`{}` is not a method of HTTP", test.method),
                    "write `GET`, `POST`, …",
                );
            }
            if test.expect.status.is_some_and(|status| !(100..=599).contains(&status)) {
                self.report(
                    rules::INVALID_VALUE,
                    &format!("{at}/expect/status"),
                    "a status of HTTP is between 100 and 599".to_owned(),
                    "write e.g. `200`",
                );
            }
            for pointer in
                test.expect.json.keys().filter(|pointer| !pointer.is_empty() && !pointer.starts_with('/'))
            {
                let at = child(&format!("{at}/expect/json"), pointer);
                self.report(
                    rules::INVALID_VALUE,
                    &at,
                    format!("`{pointer}` is not a JSON pointer"),
                    format!("write `/{}`", pointer.replace('.', "/")),
                );
            }
        }
    }

    fn secrets(&mut self) {
        let manifest = self.manifest;
        let known: Vec<&str> = manifest.services.keys().map(ServiceName::as_str).collect();
        for (variable, secret) in &manifest.secrets {
            let at = child("/secrets", variable.as_str());
            for (index, service) in secret.services.iter().enumerate() {
                if !manifest.services.contains_key(service) {
                    self.report(
                        rules::UNKNOWN_REFERENCE,
                        &format!("{at}/services/{index}"),
                        format!("`{variable}` goes to `{service}`, which is no service"),
                        reference_help(service.as_str(), &known),
                    );
                }
            }
            match &secret.from {
                SecretSource::Generate { length: Some(length), .. }
                    if !GENERATED_LENGTHS.contains(length) =>
                {
                    let (least, most) = (GENERATED_LENGTHS.start(), GENERATED_LENGTHS.end());
                    self.report(
                        rules::INVALID_VALUE,
                        &format!("{at}/from/generate/length"),
                        format!("a generated secret has between {least} and {most} characters, not {length}"),
                        format!("leave it out for {GENERATED_LENGTH}"),
                    );
                }
                SecretSource::Vault(vault) => self.vault(vault, &format!("{at}/from/vault")),
                SecretSource::Store { path } => self.inside(path, &format!("{at}/from/store/path")),
                _ => {}
            }
        }
        self.plain_secrets("/env", &manifest.env);
        for (name, service) in &manifest.services {
            let at = child("/services", name.as_str());
            self.plain_secrets(&format!("{at}/env"), &service.env);
        }
    }

    fn vault(&mut self, vault: &VaultSource, at: &str) {
        let mount = vault.mount.as_deref().map(|mount| ("mount", mount));
        for (field, path) in [("path", vault.path.as_str())].into_iter().chain(mount) {
            let segments = path.trim_matches('/').split('/');
            if path.trim_matches('/').is_empty() || segments.into_iter().any(|s| matches!(s, "" | "." | ".."))
            {
                self.report(
                    rules::INVALID_VALUE,
                    &format!("{at}/{field}"),
                    format!("`{path}` is no {field} in Vault"),
                    "write e.g. `apps/shop`, without the mount and without `data/`",
                );
            }
        }
        if vault.key.is_empty() {
            let message = "the key of a secret in Vault is empty".to_owned();
            self.report(rules::INVALID_VALUE, &format!("{at}/key"), message, "name the key");
        }
        if let Some(address) = &vault.address {
            let scheme = address.starts_with("http://") || address.starts_with("https://");
            // Not repeated: what stands before an `@` may be a password.
            if !scheme || address.contains('@') {
                self.report(
                    rules::INVALID_VALUE,
                    &format!("{at}/address"),
                    "the address of Vault is no `http://` or `https://` address, or holds a user".to_owned(),
                    "write e.g. `http://127.0.0.1:8200`; the token comes from `token`",
                );
            }
        }
    }

    fn plain_secrets(&mut self, at: &str, env: &BTreeMap<crate::names::VariableName, String>) {
        for (variable, value) in env.iter().filter(|(name, _)| !self.manifest.not_secret.contains(*name)) {
            if let Some(suspicion) = credentials::suspect(variable.as_str(), value) {
                self.report(
                    rules::PLAIN_SECRET,
                    &child(at, variable.as_str()),
                    format!("the value of `{variable}` looks like a secret: {}", suspicion.reason()),
                    format!("move it to `secrets:`, e.g. `{variable}: {{from: {{environment: {{name: {variable}}}}}}}`; values of secrets are never in a manifest. If it is none, say so: `not_secret: [{variable}]`"),
                );
            }
        }
    }

    fn build(&mut self) {
        let manifest = self.manifest;
        if let Some(context) = &manifest.build.context {
            let ancestor = Path::new(context)
                .components()
                .all(|part| matches!(part, Component::ParentDir | Component::CurDir));
            if context.is_empty() || !ancestor {
                self.report(
                    rules::BUILD_CONTEXT,
                    "/build/context",
                    format!("`{context}` is not the manifest's folder or one above it"),
                    "write `.`, or `../..` for a scenario in its repository",
                );
            }
        }
        for (index, step) in manifest.build.steps.iter().enumerate() {
            self.step(step, &format!("/build/steps/{index}"));
        }
    }

    fn step(&mut self, step: &BuildStep, at: &str) {
        self.command(&step.run, &format!("{at}/run"));
        for (field, paths) in [("if_exists", &step.if_exists), ("unless_exists", &step.unless_exists)] {
            for (index, path) in paths.iter().enumerate() {
                self.inside(path, &format!("{at}/{field}/{index}"));
            }
        }
    }

    fn command(&mut self, command: &Command, at: &str) {
        let (empty, null) = match command {
            Command::Shell(line) => (line.trim().is_empty(), line.contains('\0')),
            Command::Exec(arguments) => (
                arguments.first().is_none_or(String::is_empty),
                arguments.iter().any(|argument| argument.contains('\0')),
            ),
        };
        if empty {
            self.report(rules::INVALID_VALUE, at, format!("{} is empty", named(at)), "say what to run");
        }
        let line = match command {
            Command::Shell(line) => line.clone(),
            Command::Exec(arguments) => arguments.join(" "),
        };
        for variable in redaction::redact(&line).variables {
            if self.manifest.not_secret.iter().any(|name| name.as_str() == variable) {
                continue;
            }
            self.report(
                rules::PLAIN_SECRET,
                at,
                format!("{} holds what looks like a secret", named(at)),
                format!(
                    "name it under `secrets:`, e.g. as `{variable}`, and write `${{{variable}}}` in its place. If it is none, say so: `not_secret: [{variable}]`"
                ),
            );
        }
        if null {
            self.report(
                rules::INVALID_VALUE,
                at,
                format!("{} holds a null character", named(at)),
                "remove it",
            );
        }
    }

    fn initialization(&mut self) {
        let manifest = self.manifest;
        for (name, resource) in &manifest.dependencies.resources {
            let at = child("/dependencies/resources", name.as_str());
            for (index, item) in resource.initialization.iter().enumerate() {
                self.inside(&item.file, &format!("{at}/initialization/{index}/file"));
            }
        }
        let declared: BTreeSet<&str> = manifest
            .dependencies
            .resources
            .keys()
            .chain(manifest.dependencies.scenarios.keys())
            .map(|name| name.as_str())
            .collect();
        for (index, name) in manifest.drop.iter().enumerate() {
            if !declared.contains(name.as_str()) {
                let known: Vec<&str> = declared.iter().copied().collect();
                let help = reference_help(name.as_str(), &known);
                self.report(
                    rules::DROP_WITHOUT_TARGET,
                    &format!("/drop/{index}"),
                    format!("`{name}` is dropped, but is no dependency"),
                    help,
                );
            }
        }
    }

    fn inside(&mut self, path: &str, at: &str) {
        if !stays_inside(path) {
            self.report(
                rules::PATH_OUTSIDE,
                at,
                format!("the path `{path}` leaves the folder that it starts from"),
                "write a relative path with `/` that stays inside",
            );
        }
    }
}

fn trimmed(path: &str) -> &str {
    match path.trim_end_matches('/') {
        "" => "/",
        path => path,
    }
}

fn reference_help(word: &str, known: &[&str]) -> String {
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "there is none".to_owned(),
        None => format!("there are {}", known.join(", ")),
    }
}

/// A circle of `needs`, first name repeated at the end.
fn cycle(manifest: &DeploymentManifest) -> Option<Vec<&ServiceName>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        Open,
        Done,
    }
    let mut marks: BTreeMap<&ServiceName, Mark> = BTreeMap::new();
    for start in manifest.services.keys() {
        if marks.contains_key(start) {
            continue;
        }
        // Depth first without recursion: a manifest may name thousands of services.
        let mut path: Vec<(&ServiceName, usize)> = vec![(start, 0)];
        marks.insert(start, Mark::Open);
        while let Some((name, next)) = path.last_mut() {
            let needs =
                manifest.services.get(*name).map(|service| service.needs.as_slice()).unwrap_or_default();
            let Some(need) = needs.get(*next) else {
                marks.insert(*name, Mark::Done);
                path.pop();
                continue;
            };
            *next += 1;
            match marks.get(need) {
                Some(Mark::Open) => {
                    let from = path.iter().position(|(name, _)| *name == need)?;
                    let mut cycle: Vec<&ServiceName> = path[from..].iter().map(|(name, _)| *name).collect();
                    cycle.push(need);
                    return Some(cycle);
                }
                Some(Mark::Done) => {}
                None => {
                    if manifest.services.contains_key(need) {
                        marks.insert(need, Mark::Open);
                        path.push((need, 0));
                    }
                }
            }
        }
    }
    None
}
