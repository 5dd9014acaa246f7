//! What turning needs into resources has in common, whatever the provider.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::kind::{Field, ResourceKindDef, Wanted};
use super::registry::LowerOptions;
use crate::diagnostics::{Checked, Code, Diagnostic, Severity, rules};
use crate::manifest::crosswalk::embedded;
use crate::manifest::places::Places;
use crate::manifest::{EncryptionKey, PartConfig, PasswordKeeper};
use crate::names::{DependencyName, Digest, OutputName, ResourceKey, StackId, VariableName};
use crate::requirements::ResourceRequirement;
use crate::stack::{Input, Reference, Resource, Stack};

/// Collects the resources of a stack, and what there is to say about them.
#[derive(Debug)]
pub struct Lowering<'a> {
    stack: &'a StackId,
    options: &'a LowerOptions,
    resources: BTreeMap<ResourceKey, Resource>,
    diagnostics: Vec<Diagnostic>,
}

impl<'a> Lowering<'a> {
    /// Nothing yet.
    #[must_use]
    pub fn new(stack: &'a StackId, options: &'a LowerOptions) -> Self {
        Self { stack, options, resources: BTreeMap::new(), diagnostics: Vec::new() }
    }

    /// Whose stack it is.
    #[must_use]
    pub fn stack(&self) -> &'a StackId {
        self.stack
    }

    /// What the user chose.
    #[must_use]
    pub fn options(&self) -> &'a LowerOptions {
        self.options
    }

    /// Says something.
    pub fn say(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Says something about a place of the manifest, given as a JSON pointer.
    pub fn say_at(&mut self, pointer: &str, mut diagnostic: Diagnostic) {
        let place = self.options.spans.place(pointer);
        let span = place.and_then(|place| place.value.clone().or_else(|| place.key.clone()));
        // What a profile or a flag chose stands in no file: its key is the place.
        if span.is_none() && diagnostic.severity == Severity::Error {
            let key = pointer.trim_start_matches('/').replace('/', ".");
            diagnostic.message = format!("`{key}`: {}", diagnostic.message);
        }
        self.diagnostics.push(diagnostic.at(span, ""));
    }

    /// Says something about a dependency, where the app declares it.
    pub fn say_of(&mut self, name: &DependencyName, diagnostic: Diagnostic) {
        let span = Places::new(Some(&self.options.spans)).resource(name).span;
        self.diagnostics.push(diagnostic.at(span, ""));
    }

    /// Adds a resource under its key. Two with one key are an error.
    pub fn add<K: ResourceKindDef>(
        &mut self,
        key: &ResourceKey,
        kind: &K,
        spec: &K::Spec<Wanted>,
        holds_data: bool,
    ) {
        let after = BTreeSet::new();
        match to_json(spec) {
            Ok(spec) => {
                let resource = Resource { kind: ResourceKindDef::kind(kind), spec, after, holds_data };
                match self.resources.entry(key.clone()) {
                    Entry::Vacant(entry) => {
                        entry.insert(resource);
                    }
                    Entry::Occupied(_) => self.say(
                        rules::RESOURCE_UNUSABLE
                            .diagnostic(format!("two resources would both be `{key}`"))
                            .help("rename one of the dependencies"),
                    ),
                }
            }
            Err(message) => {
                self.say(
                    rules::RESOURCE_UNUSABLE.diagnostic(format!("`{key}` cannot be written: {message}")),
                );
            }
        }
    }

    /// What was added of a kind so far: keys and specs, in order.
    pub fn of_kind<K: ResourceKindDef>(&self, kind: &K) -> impl Iterator<Item = (&ResourceKey, &Value)> {
        let kind = ResourceKindDef::kind(kind);
        let all = self.resources.iter().filter(move |(_, resource)| resource.kind == kind);
        all.map(|(key, resource)| (key, &resource.spec))
    }

    /// Makes a resource wait for another that its spec does not refer to.
    pub fn after(&mut self, key: &ResourceKey, first: &ResourceKey) {
        if let Some(resource) = self.resources.get_mut(key) {
            resource.after.insert(first.clone());
        }
    }

    /// Is something an error so far?
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// The stack. It is there even with errors, so that a report can show it.
    pub fn finish(self) -> Checked<Stack> {
        let value = Stack { id: self.stack.clone(), resources: self.resources };
        Checked { value: Some(value), diagnostics: self.diagnostics }
    }

    /// Says, where the manifest asks for a key of the user's own, that this provider (`DigitalOcean`) has none.
    pub fn no_customer_key(&mut self, provider: &str) {
        if self.options.infrastructure.encryption == EncryptionKey::CustomerManaged {
            let message = format!("{provider} does not encrypt with a key of yours");
            let help = "leave `infrastructure.encryption` out, or choose a provider that does (aws)";
            self.say_at("/infrastructure/encryption", rules::CUSTOMER_KEY.diagnostic(message).help(help));
        }
    }

    /// Says, where the manifest asks the provider (`DigitalOcean`) to keep the password of any of these parts
    /// (`database`, `cache`, `storage`), that it keeps none.
    pub fn no_managed_password(&mut self, provider: &str, parts: &[&str]) {
        let infrastructure = &self.options.infrastructure;
        let all = [
            ("database", &infrastructure.database),
            ("cache", &infrastructure.cache),
            ("storage", &infrastructure.storage),
        ];
        let managed = |part: &Option<PartConfig>| {
            part.as_ref().is_some_and(|part| part.password == PasswordKeeper::Managed)
        };
        for (name, _) in all.into_iter().filter(|(name, part)| parts.contains(name) && managed(part)) {
            let message = format!("{provider} makes and keeps no password of a {name}");
            let help = "leave `password` out: one is made, and kept with the app's secrets; AWS keeps those of databases";
            let place = format!("/infrastructure/{name}/password");
            self.say_at(&place, rules::NO_MANAGED_PASSWORD.diagnostic(message).help(help));
        }
    }

    /// Says, where the manifest gives a budget, that this provider (`DigitalOcean`) has none.
    pub fn no_budget(&mut self, provider: &str) {
        if self.options.infrastructure.budget.is_some() {
            let message = format!("{provider} tells nobody that a stack costs more than its budget");
            let help = "leave `infrastructure.budget` out, or choose a provider that does (aws); \
                        `validate --max-monthly USD` says beforehand what would cost more";
            self.say_at("/infrastructure/budget", rules::NO_BUDGET.diagnostic(message).help(help));
        }
    }

    /// Is a resource not made because the manifest points to one that is there? Then this says so.
    pub fn pointed_elsewhere(&mut self, requirement: &ResourceRequirement) -> bool {
        let Some(variable) = pointed_elsewhere(requirement, &self.options.provided) else {
            return false;
        };
        let message = format!("`{}` is not made here: `{variable}` is set in the manifest", requirement.name);
        self.say_of(&requirement.name, rules::RESOURCE_ELSEWHERE.diagnostic(message));
        true
    }

    /// Says what becomes of a resource that a cloud does not make. What is used by an API, and
    /// programs that the app brings itself, need nothing to be made; all else is an error with
    /// the ways out. `compute` is the cloud's word for machines of one's own.
    pub fn not_made(&mut self, requirement: &ResourceRequirement, cloud: &str, compute: &str) {
        let (name, resource) = (&requirement.name, requirement.resource.as_str());
        let listed = |list: &[String]| list.iter().any(|known| known == resource);
        let variable = requirement
            .env
            .iter()
            .find(|(_, output)| matches!(output.as_str(), "url" | "host" | "endpoint"))
            .or_else(|| requirement.env.iter().next())
            .map(|(variable, _)| variable);
        if listed(&ELSEWHERE.by_api) {
            let help = variable.map_or_else(
                || "its vendor bills for it".to_owned(),
                |variable| format!("give its key: `{variable}` under `secrets`; its vendor bills for it"),
            );
            let message = format!("`{name}` is used by its API: nothing is made for it");
            return self.say_of(name, rules::RESOURCE_BY_API.diagnostic(message).help(help));
        }
        if listed(&ELSEWHERE.programs) {
            let message = format!("`{name}` is a program that the app brings itself: nothing is made for it");
            let help = "its image, or its machines, must have it";
            return self.say_of(name, rules::RESOURCE_BY_API.diagnostic(message).help(help));
        }
        let mut ways = Vec::new();
        ways.extend(ELSEWHERE.alternatives.get(resource).cloned());
        ways.push(format!(
            "run it as a service of the app: declare it under `services`, on machines of its own (compute type `{compute}`)"
        ));
        if let Some(variable) = variable {
            ways.push(format!("point to one that is there: set `{variable}` under `env` or `secrets`"));
        }
        ways.push(format!("if the app can do without: `--drop {name}`"));
        self.say_of(
            name,
            rules::RESOURCE_NOT_IN_CLOUD
                .diagnostic(format!("`{name}` ({resource}) is nothing that {cloud} offers"))
                .help(ways.join("; ")),
        );
    }
}

#[derive(Debug, Default, Deserialize)]
struct Elsewhere {
    by_api: Vec<String>,
    programs: Vec<String>,
    alternatives: BTreeMap<String, String>,
}

static ELSEWHERE: LazyLock<Elsewhere> = LazyLock::new(|| embedded(include_str!("data/elsewhere.json")));

fn to_json<S: Serialize>(spec: &S) -> Result<serde_json::Value, String> {
    serde_json::to_value(spec).map_err(|error| error.to_string())
}

/// The variable by which a manifest points to a resource that is there: one that says where
/// it is (or all that its contract has). A user name or a database name alone does not.
fn pointed_elsewhere<'a>(
    requirement: &'a ResourceRequirement,
    provided: &BTreeSet<VariableName>,
) -> Option<&'a VariableName> {
    let says_where = |output: &str| matches!(output, "url" | "host" | "endpoint");
    let any_says_where = requirement.env.values().any(|output| says_where(output));
    requirement
        .env
        .iter()
        .find(|(variable, output)| provided.contains(*variable) && (says_where(output) || !any_says_where))
        .map(|(variable, _)| variable)
}

/// A key of a provider's own making. The text is put together from literals and names that
/// are valid in a key.
#[must_use]
pub fn resource_key(text: &str) -> ResourceKey {
    match ResourceKey::new(text.to_ascii_lowercase()) {
        Ok(key) => key,
        // Providers' tests lower every key that they make.
        Err(error) => unreachable!("{error}"),
    }
}

/// A field whose value is an output of another resource. The name is a literal of the kind.
#[must_use]
pub fn output<T: Field>(key: &ResourceKey, name: &'static str) -> Input<T> {
    match OutputName::new(name) {
        Ok(output) => Input::Ref(Reference { key: key.clone(), output }),
        // As above.
        Err(error) => unreachable!("{error}"),
    }
}

/// A name for an object of a stack: `<app>-<environment>-<part>`, letters, digits and hyphens,
/// starting with a letter, at most `max` long. One that would be longer, or that would begin
/// otherwise, is told apart by a few digits of its digest, so two names never fall together.
#[must_use]
pub fn object_name(stack: &StackId, part: &str, max: usize) -> String {
    let mut whole = format!("{}-{}", stack.app, stack.environment);
    if !part.is_empty() {
        whole.push('-');
        whole.push_str(&part.to_ascii_lowercase().replace(['.', '_', '/'], "-"));
    }
    if whole.starts_with(|first: char| first.is_ascii_digit()) {
        whole.insert_str(0, "v-");
    }
    if whole.len() <= max {
        return whole;
    }
    // Names are ASCII: any byte is a boundary.
    let digest = Digest::of(whole.as_bytes());
    let digest = digest.short().get(..6).unwrap_or_default();
    whole.truncate(max.saturating_sub(7));
    format!("{}-{digest}", whole.trim_end_matches('-'))
}

/// An unknown word as a diagnostic, with the nearest known one.
#[must_use]
pub fn unknown<'a>(
    code: Code,
    what: &str,
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Diagnostic {
    let known: Vec<&str> = known.into_iter().collect();
    let near = crate::manifest::shape::nearest(word, known.iter().copied());
    let some = known.iter().take(12).map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    let more = if known.len() > 12 { ", …" } else { "" };
    code.diagnostic(format!("`{word}` is no {what} that is known")).help(match near {
        Some(near) => format!("did you mean `{near}`? Known are {some}{more}"),
        None => format!("known are {some}{more}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{AppName, EnvironmentName};

    fn stack(app: &str) -> StackId {
        StackId { app: AppName::new(app).unwrap(), environment: EnvironmentName::new("production").unwrap() }
    }

    #[test]
    fn names_are_short_valid_and_different() {
        assert_eq!(object_name(&stack("picker-wheel"), "web", 63), "picker-wheel-production-web");
        assert_eq!(object_name(&stack("3d-view"), "", 63), "v-3d-view-production");
        let long = |part| object_name(&stack("a-very-long-name-of-an-app"), part, 32);
        assert!(long("blue").len() <= 32 && long("green").len() <= 32);
        assert_ne!(long("blue"), long("green"));
        assert_eq!(long("blue"), long("blue"));
    }

    #[test]
    fn the_data_can_be_read_and_knows_only_known_resources() {
        let data: Elsewhere = serde_json::from_str(include_str!("data/elsewhere.json")).unwrap();
        for name in data.by_api.iter().chain(&data.programs).chain(data.alternatives.keys()) {
            assert!(crate::requirements::catalogue().find(name).is_some(), "{name}");
        }
    }

    #[test]
    fn what_a_cloud_does_not_offer_has_ways_out() {
        let said = |resource: &str| {
            let stack = stack("a");
            let options = LowerOptions::default();
            let mut lowering = Lowering::new(&stack, &options);
            let requirement: ResourceRequirement = serde_json::from_value(serde_json::json!({
                "name": resource, "resource": resource, "primitive": "service",
                "env": { "X_KEY": "api_key", "X_URL": "url" }
            }))
            .unwrap();
            lowering.not_made(&requirement, "AWS", "ec2");
            lowering.finish().diagnostics.remove(0)
        };
        let qdrant = said("qdrant");
        assert_eq!((qdrant.code, qdrant.severity), (rules::RESOURCE_NOT_IN_CLOUD, Severity::Error));
        let help = qdrant.help.unwrap();
        for part in ["Qdrant Cloud", "`ec2`", "X_URL", "--drop qdrant"] {
            assert!(help.contains(part), "{help}");
        }
        assert_eq!(said("openrouter").severity, Severity::Warning);
    }

    #[test]
    fn what_is_unknown_gets_a_suggestion() {
        let diagnostic = unknown(rules::INVALID_VALUE, "size", "db-s-1vcpu-1g", ["db-s-1vcpu-1gb", "x"]);
        assert!(diagnostic.help.unwrap().contains("did you mean `db-s-1vcpu-1gb`"));
        assert!(unknown(rules::INVALID_VALUE, "size", "", []).help.is_some());
    }
}
