//! Which vocabulary a document is written in, and where in it the secrets are.

use std::collections::BTreeMap;

use serde_json::Value;

use super::item::{Item, read_item, variable};
use super::{Declaration, SecretMetadata, Vocabulary};
use crate::diagnostics::{Diagnostic, rules};
use crate::manifest::yaml::{Document, child};
use crate::manifest::{Tier, crosswalk};
use crate::names::AppName;
use crate::secrets::SecretStrategy;
use crate::secrets::class::{look_up, words};

/// Adds what a document says. `resource` is the resource whose file it is, if it is one's.
pub(super) fn read(
    metadata: &mut SecretMetadata,
    document: &Document,
    app: &AppName,
    resource: Option<&str>,
) -> Vec<Diagnostic> {
    let before = metadata.declarations.len();
    let mut reading = Reading { metadata, document, app, resource, found: Vec::new() };
    reading.document();
    let mut found = reading.found;
    let added = &mut metadata.declarations[before..];
    let holds_values = found.iter().any(|diagnostic| diagnostic.code == rules::SECRET_VALUE_IN_FILE)
        || added.iter().any(|declaration| declaration.vocabulary == Vocabulary::ValuesFile);
    if holds_values {
        // Whoever draws a diagnostic shows the lines around its place.
        for declaration in added {
            declaration.holds_values = true;
        }
        for diagnostic in &mut found {
            if let Some(label) = diagnostic.labels.first() {
                diagnostic.message.push_str(&format!(" ({}:{})", label.span.file.display(), label.span.line));
            }
            diagnostic.labels.clear();
        }
    }
    found
}

struct Reading<'a> {
    metadata: &'a mut SecretMetadata,
    document: &'a Document,
    app: &'a AppName,
    resource: Option<&'a str>,
    found: Vec<Diagnostic>,
}

impl<'a> Reading<'a> {
    fn at(&self, pointer: &str) -> Option<&'a Value> {
        self.document.value.pointer(pointer)
    }

    fn document(&mut self) {
        let Some(root) = self.document.value.as_object() else {
            if !self.document.value.is_null() {
                self.odd("", "a description of secrets is a map");
            }
            return;
        };
        let has = |key: &str| root.contains_key(key);
        if has("lifecycle") || has("service") || has("deployment") {
            return self.service_json();
        }
        if has("metadata_gaps") {
            return self.report();
        }
        let listed = root.get("secrets").is_some_and(Value::is_array);
        if has("bundle_secrets") || (listed && self.any("/secrets", &["secret_key", "handling_strategy"])) {
            self.list("/secrets", Vocabulary::SecretsManager, None);
            return self.list("/bundle_secrets", Vocabulary::SecretsManager, None);
        }
        if listed {
            let bundle =
                has("schema_version") || has("services") || self.any("/secrets", &["class", "target"]);
            let vocabulary = if bundle { Vocabulary::Bundle } else { Vocabulary::SecretsDeployment };
            return self.list("/secrets", vocabulary, None);
        }
        if root.get("secrets").is_some_and(Value::is_object) {
            return self.groups();
        }
        self.names_alone();
    }

    fn odd(&mut self, at: &str, message: impl Into<String>) {
        let span = self.document.spans.value(at);
        self.found.push(rules::SECRET_METADATA.diagnostic(message).at(span, "here"));
    }

    fn any(&self, list: &str, keys: &[&str]) -> bool {
        let items = self.at(list).and_then(Value::as_array).into_iter().flatten();
        items.into_iter().any(|item| keys.iter().any(|key| item.get(key).is_some()))
    }

    fn item(&mut self, value: &Value, at: &str, vocabulary: Vocabulary) -> Option<Declaration> {
        let item = Item { document: self.document, value, at, vocabulary, app: Some(self.app) };
        let mut declaration = read_item(&item, &mut self.found)?;
        if declaration.resource.is_none() {
            declaration.resource = self.resource.map(ToOwned::to_owned);
        }
        Some(declaration)
    }

    fn list(&mut self, list: &str, vocabulary: Vocabulary, tier: Option<Tier>) {
        // Of an answer of secrets-manager the tier stands beside the list.
        let answer_tier = self
            .document
            .value
            .get("tier")
            .and_then(Value::as_str)
            .and_then(|word| crosswalk::tier(word).ok())
            .filter(|_| vocabulary == Vocabulary::SecretsManager);
        let Some(value) = self.at(list) else { return };
        let Some(items) = value.as_array() else {
            return self.odd(list, "secrets are described by a list");
        };
        for (index, value) in items.iter().enumerate() {
            let at = child(list, &index.to_string());
            if let Some(mut declaration) = self.item(value, &at, vocabulary) {
                declaration.tier = tier;
                for (of, _) in &mut declaration.strategies {
                    *of = of.or(answer_tier);
                }
                self.metadata.declarations.push(declaration);
            }
        }
    }

    /// `deployment.tiers.<tier>.secrets`, and secret references of resources.
    fn service_json(&mut self) {
        for tiers in ["/deployment/tiers", "/tiers"] {
            let Some(value) = self.at(tiers) else { continue };
            for (word, tier_value) in value.as_object().into_iter().flatten() {
                let at = child(tiers, word);
                if tier_value.get("secrets").is_none() {
                    continue;
                }
                match crosswalk::tier(word) {
                    Ok(tier) => self.tier_secrets(&format!("{at}/secrets"), tier),
                    Err(unknown) => {
                        let span = self.document.spans.key(&at);
                        self.found.push(
                            rules::SECRET_WORD
                                .diagnostic(unknown.to_string())
                                .at(span, "here")
                                .help(unknown.help()),
                        );
                    }
                }
            }
        }
        self.list("/deployment/secrets", Vocabulary::ServiceJson, None);
        for resources in ["/dependencies/resources", "/resources"] {
            let Some(value) = self.at(resources).and_then(Value::as_object) else { continue };
            for (name, resource) in value {
                for key in ["apiKey", "api_key", "token", "password"] {
                    if let Some(reference) = resource.get(key) {
                        self.reference(reference, name, key, &child(&child(resources, name), key));
                    }
                }
            }
        }
    }

    fn tier_secrets(&mut self, list: &str, tier: Tier) {
        let before = self.metadata.declarations.len();
        self.list(list, Vocabulary::ServiceJson, Some(tier));
        for declaration in &mut self.metadata.declarations[before..] {
            // What is said here is said for this tier.
            for (of, _) in &mut declaration.strategies {
                *of = of.or(Some(tier));
            }
        }
        let items = self.at(list).and_then(Value::as_array).into_iter().flatten();
        for (index, item) in items.enumerate() {
            let reference = item.get("strategy_ref").and_then(Value::as_str);
            let Some(reference) = reference.filter(|text| !text.trim().is_empty()) else { continue };
            let name = ["secret_id", "id", "name"].iter().find_map(|key| item.get(key)?.as_str());
            let Some(name) = name.and_then(|id| variable(id, Some(self.app))) else { continue };
            let at = format!("{list}/{index}/strategy_ref");
            // `file:.vrooli/secrets-deployment.json#id.tier` says where; that file is read anyhow.
            // A bare word is the strategy itself.
            let strategy = look_up(&words().strategies, reference).ok();
            match strategy {
                Some(strategy) => {
                    let own = self.metadata.declarations[before..].iter_mut().find(|d| d.name == name);
                    if let Some(own) = own {
                        own.strategies.push((Some(tier), strategy));
                    }
                }
                None if reference.starts_with("file:") => {}
                None => {
                    self.odd(&at, format!("`strategy_ref` of `{name}` is neither a strategy nor a `file:`"))
                }
            }
        }
    }

    /// `apiKey: {name, key, namespace, source}`; a plain text there is a value, or refers to one.
    fn reference(&mut self, reference: &Value, resource: &str, key: &str, at: &str) {
        let written = if key == "apiKey" { "api_key" } else { key };
        let Some(name) = variable(&format!("{resource}/{written}"), Some(self.app)) else { return };
        if let Some(text) = reference.as_str() {
            if !text.is_empty() && !text.starts_with('$') && !text.starts_with("{{") {
                let span = self.document.spans.key(at);
                self.found.push(
                    rules::SECRET_VALUE_IN_FILE
                        .diagnostic(format!("`{key}` of `{resource}` is written out; its value is not read"))
                        .at(span, "here")
                        .help(format!(
                            "remove it from the file and store it with `vrooli-deploy secrets set APP {name}`"
                        )),
                );
            }
            return;
        }
        if let Some(mut declaration) = self.item(reference, at, Vocabulary::ServiceJson) {
            declaration.name = name;
            declaration.resource = Some(resource.to_owned());
            if declaration.source.is_some() || declaration.foreign_store.is_some() {
                declaration.strategies.push((None, SecretStrategy::Fetch));
            }
            self.metadata.declarations.push(declaration);
        }
    }

    /// `metadata_gaps.secret_requirements[]` of the analyzer's report.
    fn report(&mut self) {
        let list = "/metadata_gaps/secret_requirements";
        let items = self.at(list).and_then(Value::as_array).into_iter().flatten();
        for (index, item) in items.enumerate() {
            let at = format!("{list}/{index}");
            let dependency = item.get("dependency_name").and_then(Value::as_str);
            let required = item.get("priority").and_then(Value::as_str).map(|word| word == "required");
            let names = item.get("required_secrets").and_then(Value::as_array).into_iter().flatten();
            for (number, id) in names.enumerate() {
                let place = format!("{at}/required_secrets/{number}");
                // `api_key` alone would be everybody's.
                let id = id.as_str().map(|id| match dependency {
                    Some(dependency) if !id.starts_with(dependency) => format!("{dependency}_{id}"),
                    _ => id.to_owned(),
                });
                let Some(name) = id.and_then(|id| variable(&id, Some(self.app))) else {
                    self.odd(&place, "a secret is named by a text");
                    continue;
                };
                let span = self.document.spans.value(&place);
                let mut declaration = Declaration::new(name, Vocabulary::Report, span);
                declaration.resource = dependency.map(ToOwned::to_owned);
                declaration.required = required;
                self.metadata.declarations.push(declaration);
            }
        }
    }

    /// A resource's `secrets.yaml`: lists by group, and how each begins its life.
    fn groups(&mut self) {
        let resource = self.document.value.get("resource").and_then(Value::as_str).or(self.resource);
        self.resource = resource;
        let mut groups: BTreeMap<String, &Value> = BTreeMap::new();
        for (group, items) in self.at("/secrets").and_then(Value::as_object).into_iter().flatten() {
            groups.insert(child("/secrets", group), items);
        }
        let before = self.metadata.declarations.len();
        for (at, items) in groups {
            match items {
                Value::Array(items) => {
                    for (index, value) in items.iter().enumerate() {
                        if let Some(declaration) =
                            self.item(value, &child(&at, &index.to_string()), Vocabulary::ResourceSecrets)
                        {
                            self.metadata.declarations.push(declaration);
                        }
                    }
                }
                // `secrets: {NAME: {…}}`
                Value::Object(map) => {
                    let mut map = map.clone();
                    let id = at.rsplit('/').next().unwrap_or_default().to_owned();
                    map.entry("id").or_insert(Value::String(id));
                    let value = Value::Object(map);
                    if let Some(declaration) = self.item(&value, &at, Vocabulary::ResourceSecrets) {
                        self.metadata.declarations.push(declaration);
                    }
                }
                _ => self.odd(&at, "a group of secrets is a list"),
            }
        }
        for (list, strategy) in [
            ("/initialization/auto_generate", SecretStrategy::Generate),
            ("/initialization/prompt_user", SecretStrategy::Prompt),
        ] {
            let items = self.at(list).and_then(Value::as_array).into_iter().flatten();
            for (index, value) in items.enumerate() {
                let id = value.as_str().or_else(|| value.get("name")?.as_str());
                let Some(id) = id else { continue };
                // Named as in the groups, where the variable may be another.
                let at = child(list, &index.to_string());
                let begun = value
                    .is_object()
                    .then(|| {
                        let item = Item {
                            document: self.document,
                            value,
                            at: &at,
                            vocabulary: Vocabulary::ResourceSecrets,
                            app: Some(self.app),
                        };
                        // Unknown words were said where the secret itself stands.
                        read_item(&item, &mut Vec::new())
                    })
                    .flatten();
                let wanted = self.variable_of(id);
                let own = self.metadata.declarations[before..]
                    .iter_mut()
                    .find(|declaration| wanted.as_ref() == Some(&declaration.name));
                if let Some(own) = own {
                    own.strategies.push((None, strategy));
                    own.generator = own.generator.or(begun.as_ref().and_then(|begun| begun.generator));
                    own.prompt = own.prompt.take().or(begun.and_then(|begun| begun.prompt));
                }
            }
        }
    }

    /// The variable of a secret that a `secrets.yaml` knows by its own name.
    fn variable_of(&self, id: &str) -> Option<crate::names::VariableName> {
        let groups = self.at("/secrets").and_then(Value::as_object)?;
        let named = groups
            .values()
            .filter_map(Value::as_array)
            .flatten()
            .find(|item| item.get("name").or_else(|| item.get("id")).and_then(Value::as_str) == Some(id));
        let env = named.and_then(|item| item.get("default_env")).and_then(Value::as_str);
        variable(env.unwrap_or(id), Some(self.app))
    }

    /// `{"NAME": …}`: upstream keeps values so. The names are taken, nothing else.
    fn names_alone(&mut self) {
        let Some(root) = self.document.value.as_object() else { return };
        for (key, value) in root {
            let is_name = !key.starts_with(['_', '$']) && value.is_string();
            if let Some(name) = variable(key, Some(self.app)).filter(|_| is_name) {
                let span = self.document.spans.key(&child("", key));
                self.metadata.declarations.push(Declaration::new(name, Vocabulary::ValuesFile, span));
            }
        }
    }
}
