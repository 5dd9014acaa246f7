//! From what an app needs to what this machine makes. Pure.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use serde::Serialize;
use vrooli_deploy_core::diagnostics::{Checked, Code, Diagnostic, Label, Severity};
use vrooli_deploy_core::manifest::yaml::{SpanIndex, child};
use vrooli_deploy_core::names::{EnvironmentName, ResourceKey, ResourceKind, StackId, VariableName};
use vrooli_deploy_core::requirements::{Requirements, ResourceRequirement};
use vrooli_deploy_core::stack::{Resource, Stack};

use crate::kinds::port::PortSpec;
use crate::kinds::postgres::{PostgresSpec, SqlName};
use crate::kinds::redis::RedisSpec;
use crate::kinds::volume::VolumeSpec;

/// This machine has no such resource.
pub const NOT_HERE: Code = Code(741);
/// A resource is not made because the manifest points to one that is there.
pub const POINTED_ELSEWHERE: Code = Code(742);
/// A name or a setting of a resource cannot be used.
pub const UNUSABLE: Code = Code(743);

/// What the user chose beside the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LowerOptions {
    /// The environment of the stack.
    pub environment: EnvironmentName,
    /// The address to listen on; loopback unless asked otherwise.
    pub listen: IpAddr,
    /// A fixed public port.
    pub port: Option<u16>,
    /// Variables that the manifest sets itself, by `env` or `secrets`.
    pub given: BTreeSet<VariableName>,
    /// Where the app's file says what.
    pub spans: SpanIndex,
}

impl LowerOptions {
    /// Loopback, a port that is chosen, nothing given.
    #[must_use]
    pub fn new(environment: EnvironmentName) -> Self {
        Self {
            environment,
            listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: None,
            given: BTreeSet::new(),
            spans: SpanIndex::default(),
        }
    }
}

/// The stack of an app on this machine, keyed `port/public`, `volume/data`,
/// `database/<name>`, `cache/<name>`.
pub fn lower(requirements: &Requirements, options: &LowerOptions) -> Checked<Stack> {
    let mut lowering = Lowering { resources: BTreeMap::new(), diagnostics: Vec::new() };
    let listens = requirements.services.values().any(|service| !service.ports.is_empty());
    if listens {
        lowering.add(
            "port",
            "public",
            "local.port",
            &PortSpec { port: options.port, listen: options.listen },
            false,
        );
    } else if options.port.is_some() {
        lowering.say(
            UNUSABLE,
            Severity::Warning,
            format!("`{}` has no service that listens, so `--port` means nothing", requirements.app),
            None,
        );
    }
    // Whether the app writes to `../data` cannot be seen from here: it always finds it.
    lowering.add("volume", "data", "local.volume", &VolumeSpec {}, true);
    for requirement in &requirements.resources {
        let earlier = lowering.diagnostics.len();
        lowering.requirement(requirement, requirements, &options.given);
        let place = options.spans.place(&child("/dependencies/resources", requirement.name.as_str()));
        if let Some(span) = place.and_then(|place| place.key.clone()) {
            for found in lowering.diagnostics.iter_mut().skip(earlier) {
                found.labels.push(Label { span: span.clone(), text: String::new() });
            }
        }
    }
    let value = Stack {
        id: StackId { app: requirements.app.clone(), environment: options.environment.clone() },
        resources: lowering.resources,
    };
    Checked { value: Some(value), diagnostics: lowering.diagnostics }
}

/// The variable by which a manifest points to a resource that is there: one that says
/// where it is. A user name or a database name alone does not.
fn pointed_elsewhere<'a>(
    requirement: &'a ResourceRequirement,
    given: &BTreeSet<VariableName>,
) -> Option<&'a VariableName> {
    let says_where = |output: &str| matches!(output, "url" | "host" | "endpoint");
    let any_says_where = requirement.env.values().any(|output| says_where(output));
    requirement
        .env
        .iter()
        .find(|(variable, output)| given.contains(*variable) && (says_where(output) || !any_says_where))
        .map(|(variable, _)| variable)
}

struct Lowering {
    resources: BTreeMap<ResourceKey, Resource>,
    diagnostics: Vec<Diagnostic>,
}

impl Lowering {
    fn say(&mut self, code: Code, severity: Severity, message: String, help: Option<String>) {
        let mut diagnostic = Diagnostic::new(code, severity, message);
        diagnostic.help = help;
        self.diagnostics.push(diagnostic);
    }

    /// One thing that the app needs: it is made, or it is said why not.
    fn requirement(
        &mut self,
        requirement: &ResourceRequirement,
        requirements: &Requirements,
        given: &BTreeSet<VariableName>,
    ) {
        match pointed_elsewhere(requirement, given) {
            Some(variable) => self.say(
                POINTED_ELSEWHERE,
                Severity::Info,
                format!("`{}` is not made here: `{variable}` is set in the manifest", requirement.name),
                None,
            ),
            None => self.resource(requirement, requirements),
        }
    }

    fn resource(&mut self, requirement: &ResourceRequirement, requirements: &Requirements) {
        let name = requirement.name.as_str();
        match requirement.resource.as_str() {
            "postgres" => {
                let default = || format!("vrooli_{}", requirements.app.as_str().replace('-', "_"));
                let database = requirement.database.clone().unwrap_or_else(default);
                let Some(database) = self.sql_name(name, &database) else {
                    return;
                };
                let extensions: Option<BTreeSet<SqlName>> =
                    requirement.extensions.iter().map(|extension| self.sql_name(name, extension)).collect();
                let Some(extensions) = extensions else { return };
                let spec = PostgresSpec { database, version: requirement.version.clone(), extensions };
                self.add("database", name, "local.postgres", &spec, true);
            }
            "redis" => {
                let spec = RedisSpec { version: requirement.version.clone() };
                self.add("cache", name, "local.redis", &spec, false);
            }
            other => {
                let variable = requirement
                    .env
                    .iter()
                    .find(|(_, output)| matches!(output.as_str(), "url" | "host" | "endpoint"));
                let variable = variable
                    .or_else(|| requirement.env.iter().next())
                    .map(|(variable, _)| variable.to_string());
                let point = variable.map_or_else(
                    || "point the app to one that is there by a variable under `env` or `secrets`".to_owned(),
                    |variable| format!("point the app to one that is there: set `{variable}` under `env` or `secrets` in the manifest"),
                );
                self.say(
                    NOT_HERE,
                    Severity::Error,
                    format!("`{name}` ({other}) cannot be made on this machine"),
                    Some(format!("leave it out with `--drop {name}` if the app can do without, or {point}")),
                );
            }
        }
    }

    fn sql_name(&mut self, resource: &str, name: &str) -> Option<SqlName> {
        match SqlName::new(name) {
            Ok(name) => Some(name),
            Err(rule) => {
                self.say(
                    UNUSABLE,
                    Severity::Error,
                    format!("in `{resource}`: {rule}"),
                    Some("change it in the manifest".to_owned()),
                );
                None
            }
        }
    }

    fn add<S: Serialize>(&mut self, group: &str, name: &str, kind: &'static str, spec: &S, holds_data: bool) {
        let made = ResourceKey::new(format!("{group}/{}", name.to_ascii_lowercase()))
            .map_err(|e| e.to_string())
            .and_then(|key| {
                let kind = ResourceKind::new(kind).map_err(|e| e.to_string())?;
                let spec = serde_json::to_value(spec).map_err(|e| e.to_string())?;
                Ok((key, Resource { kind, spec, after: BTreeSet::new(), holds_data }))
            });
        match made {
            Ok((key, resource)) => match self.resources.entry(key) {
                Entry::Vacant(entry) => {
                    entry.insert(resource);
                }
                Entry::Occupied(entry) => {
                    let message = format!("two dependencies are both called `{}`", entry.key());
                    self.say(UNUSABLE, Severity::Error, message, Some("rename one of them".to_owned()));
                }
            },
            Err(message) => self.say(UNUSABLE, Severity::Error, message, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn requirements(resources: serde_json::Value) -> Requirements {
        serde_json::from_value(json!({
            "app": "picker-wheel",
            "services": { "api": { "run": "./api", "ports": { "api": { "env_var": "API_PORT" } } } },
            "resources": resources, "dropped": [], "data_volume": true
        }))
        .unwrap()
    }

    fn options() -> LowerOptions {
        LowerOptions::new(EnvironmentName::new("default").unwrap())
    }

    fn postgres() -> serde_json::Value {
        json!({ "name": "postgres", "resource": "postgres", "primitive": "database", "extensions": ["pgcrypto"],
                "env": { "POSTGRES_URL": "url", "POSTGRES_DB": "database" } })
    }

    #[test]
    fn needs_become_resources_that_their_kinds_take() {
        let redis = json!({ "name": "Redis", "resource": "redis", "primitive": "cache", "env": {} });
        let (stack, diagnostics) =
            lower(&requirements(json!([postgres(), redis])), &options()).into_result().unwrap();
        assert!(diagnostics.is_empty(), "{diagnostics:?}");
        let keys: Vec<&str> = stack.resources.keys().map(ResourceKey::as_str).collect();
        assert_eq!(keys, ["cache/redis", "database/postgres", "port/public", "volume/data"]);
        for (key, resource) in &stack.resources {
            let kind = crate::kinds::all().into_iter().find(|kind| kind.kind() == resource.kind).unwrap();
            kind.check(&resource.spec).unwrap();
            assert_eq!(resource.holds_data, matches!(key.as_str(), "database/postgres" | "volume/data"));
        }
        assert_eq!(
            stack.resources[&ResourceKey::new("database/postgres").unwrap()].spec["database"],
            "vrooli_picker_wheel"
        );
    }

    #[test]
    fn what_this_machine_does_not_have_is_refused_with_two_ways_out() {
        let qdrant = json!({ "name": "qdrant", "resource": "qdrant", "primitive": "vector-store", "env": { "QDRANT_URL": "url" } });
        let problems = lower(&requirements(json!([qdrant])), &options()).into_result().unwrap_err();
        assert_eq!(problems[0].code, NOT_HERE);
        let help = problems[0].help.as_deref().unwrap();
        assert!(help.contains("--drop qdrant") && help.contains("QDRANT_URL"), "{help}");

        let mut options = options();
        options.given.insert(VariableName::new("QDRANT_URL").unwrap());
        let (stack, notes) = lower(&requirements(json!([qdrant])), &options).into_result().unwrap();
        assert_eq!(stack.resources.len(), 2);
        assert_eq!(notes[0].code, POINTED_ELSEWHERE);
    }

    #[test]
    fn a_database_name_alone_points_nowhere() {
        let mut options = options();
        options.given.insert(VariableName::new("POSTGRES_DB").unwrap());
        let (stack, _) = lower(&requirements(json!([postgres()])), &options).into_result().unwrap();
        assert!(stack.resources.contains_key(&ResourceKey::new("database/postgres").unwrap()));
        options.given.insert(VariableName::new("POSTGRES_URL").unwrap());
        let (stack, _) = lower(&requirements(json!([postgres()])), &options).into_result().unwrap();
        assert!(!stack.resources.contains_key(&ResourceKey::new("database/postgres").unwrap()));
    }

    #[test]
    fn a_name_that_is_no_name_is_refused() {
        let mut bad = postgres();
        bad["database"] = json!("a\"; DROP");
        let problems = lower(&requirements(json!([bad])), &options()).into_result().unwrap_err();
        assert_eq!(problems[0].code, UNUSABLE);
    }
}
