//! Does a document have the shape that a JSON schema asks for? Every deviation becomes a
//! diagnostic with its place; nothing stops at the first. Covers what schemars writes.

use serde_json::{Map, Value};

use super::credentials::{has_key_format, is_secret_name, url_password};
use super::yaml::{Document, child};
use crate::diagnostics::{Diagnostic, Fix, rules};
use crate::names::{
    AppName, DependencyName, EmailAddress, EnvironmentName, ImageRef, NameError, PortName, ProfileName,
    ProviderName, ServiceName, VariableName,
};

/// Holds a document against a schema. Unknown keys are warnings, everything else an error.
pub(crate) fn check(document: &Document, schema: &Value) -> Vec<Diagnostic> {
    let mut check = Check { document, root: schema, patterns: patterns(), found: Vec::new() };
    check.value(&document.value, schema, "");
    check.found
}

/// The word nearest to `word`, if one is near enough to be meant.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_ascii_lowercase();
    known
        .into_iter()
        .map(|candidate| {
            (strsim::normalized_damerau_levenshtein(&lower, &candidate.to_ascii_lowercase()), candidate)
        })
        .filter(|(likeness, candidate)| {
            *likeness >= 0.6 || (lower.len() >= 3 && candidate.to_ascii_lowercase().starts_with(&lower))
        })
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

type NameCheck = fn(&str) -> Result<(), NameError>;

/// The regular expressions of the names, as they stand in the schema, and what tests them here.
fn patterns() -> Vec<(String, NameCheck)> {
    fn entry<T: schemars::JsonSchema>(check: NameCheck) -> Option<(String, NameCheck)> {
        let schema = schemars::SchemaGenerator::default().into_root_schema_for::<T>();
        Some((schema.get("pattern")?.as_str()?.to_owned(), check))
    }
    [
        entry::<AppName>(|v| AppName::new(v).map(drop)),
        entry::<EnvironmentName>(|v| EnvironmentName::new(v).map(drop)),
        // Same pattern as an app's name; the message would say "app name", so it comes second.
        entry::<ServiceName>(|v| ServiceName::new(v).map(drop)),
        // And so has a profile's: what is only a number is refused when the name is made.
        entry::<ProfileName>(|v| ProfileName::new(v).map(drop)),
        entry::<PortName>(|v| PortName::new(v).map(drop)),
        entry::<DependencyName>(|v| DependencyName::new(v).map(drop)),
        entry::<VariableName>(|v| VariableName::new(v).map(drop)),
        entry::<ProviderName>(|v| ProviderName::new(v).map(drop)),
        entry::<ImageRef>(|v| ImageRef::new(v).map(drop)),
        entry::<EmailAddress>(|v| EmailAddress::new(v).map(drop)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

struct Check<'a> {
    document: &'a Document,
    root: &'a Value,
    patterns: Vec<(String, NameCheck)>,
    found: Vec<Diagnostic>,
}

impl<'a> Check<'a> {
    fn resolve(&self, schema: &'a Value) -> &'a Value {
        let mut schema = schema;
        // A chain of references is short; a cycle of nothing but references would not be a schema.
        for _ in 0..8 {
            let Some(target) = schema.get("$ref").and_then(Value::as_str) else {
                break;
            };
            let Some(target) = target.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer)) else {
                break;
            };
            schema = target;
        }
        schema
    }

    fn value(&mut self, value: &Value, schema: &'a Value, at: &str) {
        let schema = self.resolve(schema);
        if let Some(choices) = schema.get("oneOf").or_else(|| schema.get("anyOf")).and_then(Value::as_array) {
            return self.choice(value, choices, schema, at);
        }
        let types = types(schema);
        if !types.is_empty() && !types.iter().any(|name| has_type(value, name)) {
            return self.wrong_type(value, &types, schema, at);
        }
        match value {
            Value::Object(map) => self.object(map, schema, at),
            Value::Array(items) => {
                if let Some(item_schema) = schema.get("items") {
                    for (index, item) in items.iter().enumerate() {
                        self.value(item, item_schema, &child(at, &index.to_string()));
                    }
                }
            }
            Value::String(text) => self.text(text, schema, at),
            Value::Number(number) => self.number(number, schema, at),
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn choice(&mut self, value: &Value, choices: &'a [Value], whole: &'a Value, at: &str) {
        let choices: Vec<&'a Value> = choices.iter().map(|choice| self.resolve(choice)).collect();
        // A list of constants, perhaps among other choices.
        let constants = self.constants(&choices);
        if let Value::String(text) = value
            && !constants.is_empty()
        {
            if constants.contains(&text.as_str()) {
                return;
            }
            if !choices
                .iter()
                .any(|choice| types(choice).contains(&"string") && choice.get("const").is_none())
            {
                return self.unknown_constant(text, &constants, at);
            }
        }
        // Objects told apart by their one key.
        if let Value::Object(map) = value {
            let tagged: Vec<(&str, &'a Value)> = choices
                .iter()
                .filter_map(|choice| {
                    let required = choice.get("required")?.as_array()?;
                    let [key] = required.as_slice() else {
                        return None;
                    };
                    (choice.get("additionalProperties") == Some(&Value::Bool(false)))
                        .then_some((key.as_str()?, *choice))
                })
                .collect();
            if tagged.len() > 1 {
                if let Some((_, choice)) = tagged.iter().find(|(key, _)| map.contains_key(*key)) {
                    return self.object(map, choice, at);
                }
                let keys: Vec<&str> = tagged.iter().map(|(key, _)| *key).collect();
                let span = self.document.spans.key(at);
                let mut diagnostic = rules::MISSING_FIELD
                    .diagnostic(format!("{} holds none of {}", named(at), list(&keys)))
                    .at(span, "here");
                let near = map.keys().find_map(|key| nearest(key, keys.iter().copied()));
                diagnostic = diagnostic.help(match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("give exactly one of {}", list(&keys)),
                });
                return self.found.push(diagnostic);
            }
        }
        let fitting = choices.iter().find(|choice| {
            if choice.get("oneOf").or_else(|| choice.get("anyOf")).is_some() {
                return matches!(value, Value::String(_));
            }
            let types = types(choice);
            types.is_empty() || types.iter().any(|name| has_type(value, name))
        });
        match fitting {
            Some(choice) => self.value(value, choice, at),
            None => {
                let mut expected: Vec<&str> = choices.iter().flat_map(|choice| types(choice)).collect();
                if !constants.is_empty() {
                    expected.push("string");
                }
                expected.dedup();
                self.wrong_type(value, &expected, whole, at);
            }
        }
    }

    fn constants(&self, choices: &[&'a Value]) -> Vec<&'a str> {
        choices
            .iter()
            .flat_map(|choice| match choice.get("oneOf").and_then(Value::as_array) {
                Some(inner) => inner.iter().filter_map(|inner| inner.get("const")?.as_str()).collect(),
                None => choice
                    .get("const")
                    .and_then(Value::as_str)
                    .into_iter()
                    .chain(
                        choice
                            .get("enum")
                            .and_then(Value::as_array)
                            .into_iter()
                            .flatten()
                            .filter_map(Value::as_str),
                    )
                    .collect::<Vec<_>>(),
            })
            .collect()
    }

    fn unknown_constant(&mut self, text: &str, constants: &[&str], at: &str) {
        let span = self.document.spans.value(at);
        let near = nearest(text, constants.iter().copied());
        let mut diagnostic = rules::INVALID_VALUE
            .diagnostic(format!("`{text}` is not a value of {}", named(at)))
            .at(span.clone(), "here")
            .help(match near {
                Some(near) => format!("did you mean `{near}`? Known are {}", list(constants)),
                None => format!("known are {}", list(constants)),
            });
        if let (Some(near), Some(span)) = (near, span) {
            diagnostic.fix = Some(Fix { replacement: self.requote(&span, near), span });
        }
        self.found.push(diagnostic);
    }

    fn object(&mut self, map: &Map<String, Value>, schema: &'a Value, at: &str) {
        let properties = schema.get("properties").and_then(Value::as_object);
        let patterns = schema.get("patternProperties").and_then(Value::as_object);
        let open = match schema.get("additionalProperties") {
            Some(Value::Bool(open)) => *open,
            Some(_) => true,
            None => properties.is_none(),
        };
        for (key, value) in map {
            let here = child(at, key);
            if let Some(schema) = properties.and_then(|properties| properties.get(key)) {
                self.value(value, schema, &here);
            } else if let Some((pattern, schema)) = patterns.and_then(|patterns| patterns.iter().next()) {
                if let Err(error) = self.test(pattern, key, at) {
                    let span = self.document.spans.key(&here);
                    self.found.push(rules::INVALID_VALUE.diagnostic(error).at(span, "here"));
                }
                self.value(value, schema, &here);
            } else if let Some(schema @ Value::Object(_)) = schema.get("additionalProperties") {
                self.value(value, schema, &here);
            } else if !key.starts_with("x-") && (!open || properties.is_some()) {
                self.unknown_key(key, properties.into_iter().flatten().map(|(key, _)| key.as_str()), at);
            }
        }
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        for key in required.filter_map(Value::as_str).filter(|key| !map.contains_key(*key)) {
            let span = self.document.spans.key(at);
            let about = properties
                .and_then(|properties| properties.get(key))
                .and_then(|property| property.get("description"))
                .and_then(Value::as_str)
                .unwrap_or_default();
            self.found.push(
                rules::MISSING_FIELD
                    .diagnostic(format!("{} lacks `{key}`", named(at)))
                    .at(span, "here")
                    .help(format!("add `{key}`: {about}")),
            );
        }
    }

    fn unknown_key<'k>(&mut self, key: &str, known: impl Iterator<Item = &'k str>, at: &str) {
        let span = self.document.spans.key(&child(at, key));
        let known: Vec<&str> = known.filter(|known| *known != "$schema").collect();
        let near = nearest(key, known.iter().copied());
        let mut diagnostic = rules::UNKNOWN_KEY
            .diagnostic(format!("{} has no key `{key}`; it is ignored", named(at)))
            .at(span.clone(), "here")
            .help(match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known are {}", list(&known)),
            });
        if let (Some(near), Some(span)) = (near, span) {
            diagnostic.fix = Some(Fix { replacement: self.requote(&span, near), span });
        }
        self.found.push(diagnostic);
    }

    fn wrong_type(&mut self, value: &Value, expected: &[&str], schema: &Value, at: &str) {
        let span = self.document.spans.value(at);
        let mut wanted: Vec<&str> =
            expected.iter().filter(|name| **name != "null").map(|name| phrase(name)).collect();
        wanted.dedup();
        let mut diagnostic = rules::WRONG_TYPE
            .diagnostic(format!("{} must be {}, not {}", named(at), wanted.join(" or "), described(value)))
            .at(span.clone(), "here");
        let scalar = matches!(value, Value::Number(_) | Value::Bool(_));
        if scalar && expected.contains(&"string") {
            diagnostic = diagnostic.help("put it in quotes");
            let secret = at.rsplit('/').next().is_some_and(is_secret_name);
            if let Some(span) = span.filter(|span| span.length > 0 && !secret) {
                let text = self.document.text(&span);
                diagnostic.fix = text.map(|text| Fix { replacement: format!("\"{text}\""), span });
            }
        } else if let Some(about) = schema.get("description").and_then(Value::as_str) {
            diagnostic = diagnostic.help(about.to_owned());
        }
        self.found.push(diagnostic);
    }

    fn text(&mut self, text: &str, schema: &'a Value, at: &str) {
        if let Some(constant) = schema.get("const").and_then(Value::as_str)
            && constant != text
        {
            return self.unknown_constant(text, &[constant], at);
        }
        if let Some(constants) = schema.get("enum").and_then(Value::as_array) {
            let constants: Vec<&str> = constants.iter().filter_map(Value::as_str).collect();
            if !constants.contains(&text) {
                return self.unknown_constant(text, &constants, at);
            }
        }
        if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
            && let Err(error) = self.test(pattern, text, at)
        {
            let span = self.document.spans.value(at);
            self.found.push(rules::INVALID_VALUE.diagnostic(error).at(span, "here"));
        }
    }

    /// Tests a text against one of the patterns that the schema uses.
    fn test(&self, pattern: &str, text: &str, at: &str) -> Result<(), String> {
        if pattern == crate::duration::PATTERN {
            return crate::duration::parse(text).map(drop).map_err(|error| format!("{}: {error}", named(at)));
        }
        match self.patterns.iter().find(|(known, _)| known == pattern) {
            // A value in the wrong field may be the secret itself.
            Some((_, check)) if has_key_format(text) || url_password(text).is_some() => {
                check(text).map_err(|error| format!("{} cannot be used: {}", named(at), error.rule))
            }
            Some((_, check)) => {
                check(text).map_err(|error| format!("{}: `{text}` cannot be used: {}", named(at), error.rule))
            }
            None => Ok(()),
        }
    }

    fn number(&mut self, number: &serde_json::Number, schema: &Value, at: &str) {
        let Some(value) = number.as_f64() else { return };
        let largest = match schema.get("format").and_then(Value::as_str) {
            Some("uint32") => f64::from(u32::MAX),
            _ => f64::INFINITY,
        };
        let minimum = schema.get("minimum").and_then(Value::as_f64).unwrap_or(f64::NEG_INFINITY);
        let maximum = schema.get("maximum").and_then(Value::as_f64).unwrap_or(f64::INFINITY).min(largest);
        if value < minimum || value > maximum {
            let span = self.document.spans.value(at);
            let range = match (minimum.is_finite(), maximum.is_finite()) {
                (true, true) => format!("between {minimum} and {maximum}"),
                (true, false) => format!("at least {minimum}"),
                _ => format!("at most {maximum}"),
            };
            self.found.push(
                rules::INVALID_VALUE
                    .diagnostic(format!("{} must be {range}, not {number}", named(at)))
                    .at(span, "here"),
            );
        }
    }

    /// A replacement in the quotes that the original has.
    fn requote(&self, span: &crate::diagnostics::Span, replacement: &str) -> String {
        let original = self.document.text(span).unwrap_or_default();
        match original.chars().next() {
            Some(quote @ ('"' | '\'')) => format!("{quote}{replacement}{quote}"),
            _ => replacement.to_owned(),
        }
    }
}

fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn has_type(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        _ => true,
    }
}

fn phrase(name: &str) -> &str {
    match name {
        "boolean" => "true or false",
        "string" => "a text",
        "array" => "a list",
        "object" => "a map",
        "number" => "a number",
        "integer" => "a whole number",
        other => other,
    }
}

fn described(value: &Value) -> &'static str {
    match value {
        Value::Null => "empty",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

/// A pointer as people name a place: `services.api.run`.
pub(crate) fn named(pointer: &str) -> String {
    if pointer.is_empty() {
        return "the manifest".to_owned();
    }
    let path = pointer.trim_start_matches('/').replace('/', ".").replace("~1", "/").replace("~0", "~");
    format!("`{path}`")
}

fn list(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}
