//! Usage profiles as files, and those that are part of the program.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::Decimal;
use super::number::decimal;
use super::usage::{DEFAULT_USAGE, Figure, Levels, UsageProfile, UsageValue, rising};
use crate::diagnostics::{Checked, Code, Diagnostic, Severity, rules};
use crate::manifest::shape::{named, nearest};
use crate::manifest::yaml::{Document, SourceFile, child};

/// What a usage file's `schema` says.
pub const USAGE_SCHEMA: &str = "vrooli-deploy.usage/1";
const FAMILY: &str = "vrooli-deploy.usage/";

static PROFILES: LazyLock<Vec<UsageProfile>> = LazyLock::new(|| {
    let text = include_str!("data/usage.json");
    let Some(document) = Document::parse(SourceFile::new("usage.json", text)).value else {
        return Vec::new();
    };
    let entries = document.value.get("profiles").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut profiles: Vec<UsageProfile> = Vec::new();
    for (index, _) in entries.iter().enumerate() {
        let mut reader = Reader { document: &document, known: &profiles, found: Vec::new() };
        // A unit test proves that all of them can be read.
        let profile = reader.profile(&format!("/profiles/{index}"), String::new());
        profiles.extend(profile);
    }
    profiles
});

/// The profiles that are part of the program.
pub(super) fn profiles() -> &'static [UsageProfile] {
    &PROFILES
}

/// Reads a usage profile from a YAML or JSON file. What it does not say comes from the profile
/// that it names as `base`, else from [`DEFAULT_USAGE`].
pub fn read_usage_file(path: &Path) -> Checked<UsageProfile> {
    match SourceFile::read(path) {
        Ok(source) => parse(source),
        Err(diagnostic) => Checked { value: None, diagnostics: vec![*diagnostic] },
    }
}

/// Reads a usage profile from text; `path` is what its places are named after.
pub fn read_usage(path: &Path, text: String) -> Checked<UsageProfile> {
    parse(SourceFile::new(path, text))
}

fn parse(source: SourceFile) -> Checked<UsageProfile> {
    let stem = source.path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let Checked { value, diagnostics } = Document::parse(source);
    let Some(document) = value else { return Checked { value: None, diagnostics } };
    let mut reader = Reader { document: &document, known: profiles(), found: diagnostics };
    let value = reader.profile("", stem);
    let failed = reader.found.iter().any(|d| d.severity == Severity::Error);
    Checked { value: value.filter(|_| !failed), diagnostics: reader.found }
}

struct Reader<'a> {
    document: &'a Document,
    known: &'a [UsageProfile],
    found: Vec<Diagnostic>,
}

impl<'a> Reader<'a> {
    fn refuse(&mut self, code: Code, at: &str, message: impl Into<String>) {
        let span = self.document.spans.value(at);
        self.found.push(code.diagnostic(message).at(span, "here"));
    }

    fn unknown(&mut self, at: &str, key: &str, known: &[&str]) {
        let span = self.document.spans.key(&child(at, key));
        let help = match nearest(key, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known are {}", known.join(", ")),
        };
        let what = if at.is_empty() { "a usage profile".to_owned() } else { named(at) };
        self.found.push(
            rules::USAGE_KEY.diagnostic(format!("{what} has no key `{key}`")).at(span, "here").help(help),
        );
    }

    fn text(&mut self, map: &'a Map<String, Value>, at: &str, key: &str) -> Option<String> {
        match map.get(key) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(_) => {
                self.refuse(rules::USAGE_VALUE, &child(at, key), format!("`{key}` must be a text"));
                None
            }
        }
    }

    fn profile(&mut self, at: &str, stem: String) -> Option<UsageProfile> {
        const KEYS: [&str; 8] = ["$schema", "schema", "name", "about", "source", "as_of", "base", "values"];
        let Some(Value::Object(map)) = self.document.value.pointer(at) else {
            self.refuse(rules::USAGE_VALUE, at, "a usage profile is a map with `values`");
            return None;
        };
        match self.text(map, at, "schema").as_deref() {
            None | Some(USAGE_SCHEMA) => {}
            Some(other) => {
                let why =
                    if other.starts_with(FAMILY) { "is newer than this program" } else { "is not known" };
                let message = format!("`{other}` {why}; it reads `{USAGE_SCHEMA}`");
                self.refuse(rules::USAGE_VALUE, &child(at, "schema"), message);
                return None;
            }
        }
        for key in map.keys().filter(|key| !KEYS.contains(&key.as_str()) && !key.starts_with("x-")) {
            self.unknown(at, key, &KEYS);
        }
        let base = self.text(map, at, "base");
        let mut values = BTreeMap::new();
        let wanted = base.as_deref().unwrap_or(DEFAULT_USAGE);
        match self.known.iter().find(|profile| profile.name == wanted) {
            Some(profile) => values.clone_from(&profile.values),
            // The first of the program's own stands on nothing.
            None if base.is_none() => {}
            None => {
                let near = nearest(wanted, self.known.iter().map(|profile| profile.name.as_str()));
                let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                let message = format!("there is no usage profile `{wanted}`{near}");
                self.refuse(rules::UNKNOWN_USAGE, &child(at, "base"), message);
            }
        }
        let at_values = child(at, "values");
        match map.get("values") {
            None => {}
            Some(Value::Object(entries)) => {
                for (name, entry) in entries {
                    let Some(figure) = Figure::of(name) else {
                        let known = Figure::names();
                        self.unknown(&at_values, name, &known);
                        continue;
                    };
                    if let Some(value) = self.value(name, entry, &child(&at_values, name)) {
                        values.insert(figure, value);
                    }
                }
            }
            Some(_) => self.refuse(rules::USAGE_VALUE, &at_values, "`values` must be a map of figures"),
        }
        let name = self.text(map, at, "name").unwrap_or(stem);
        Some(UsageProfile {
            name,
            about: self.text(map, at, "about"),
            source: self.text(map, at, "source"),
            as_of: self.text(map, at, "as_of"),
            values,
        })
    }

    fn value(&mut self, name: &str, entry: &'a Value, at: &str) -> Option<UsageValue> {
        const KEYS: [&str; 5] = ["low", "expected", "high", "source", "rationale"];
        let number = |this: &mut Self, value: &Value, at: &str, what: &str| match decimal(value) {
            Ok(number) => Some(number),
            Err(why) => {
                this.refuse(rules::USAGE_VALUE, at, format!("`{what}` {why}"));
                None
            }
        };
        let value = match entry {
            Value::Object(map) => {
                for key in map.keys().filter(|key| !KEYS.contains(&key.as_str())) {
                    self.unknown(at, key, &KEYS);
                }
                let level = |this: &mut Self, key: &str| match map.get(key) {
                    Some(value) => number(this, value, &child(at, key), key),
                    None => {
                        this.refuse(rules::USAGE_VALUE, at, format!("`{name}` lacks `{key}`"));
                        None
                    }
                };
                let (low, expected, high) =
                    (level(self, "low"), level(self, "expected"), level(self, "high"));
                UsageValue {
                    values: Levels { low: low?, expected: expected?, high: high? },
                    source: self.text(map, at, "source"),
                    rationale: self.text(map, at, "rationale"),
                }
            }
            single => {
                let number = number(self, single, at, name)?;
                UsageValue {
                    values: Levels { low: number, expected: number, high: number },
                    source: None,
                    rationale: None,
                }
            }
        };
        if let Err(why) = rising(name, &value.values) {
            self.refuse(rules::USAGE_VALUE, at, why);
            return None;
        }
        if name == Figure::CdnPercent.name() && value.values.high > Decimal::ONE_HUNDRED {
            self.refuse(rules::USAGE_VALUE, at, format!("`{name}` must be at most 100"));
            return None;
        }
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::{Level, Metric};

    fn read(text: &str) -> Checked<UsageProfile> {
        read_usage(Path::new("u.yaml"), text.to_owned())
    }

    #[test]
    fn a_file_says_what_differs() {
        let checked =
            read("name: ours\nvalues:\n  egress_gb: 7\n  storage_gb: {low: 1, expected: 2, high: 3.5}\n");
        let profile = checked.into_result().unwrap().0;
        assert_eq!(profile.name, "ours");
        assert_eq!(profile.at(Figure::Metric(Metric::EgressGb), Level::High), Some(7.into()));
        assert_eq!(profile.at(Figure::Metric(Metric::StorageGb), Level::High).unwrap().to_string(), "3.5");
        assert_eq!(profile.at(Figure::DeploysPerMonth, Level::Expected), Some(20.into()));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, code, line, help) in [
            ("values:\n  egres_gb: 1\n", rules::USAGE_KEY, 2, Some("did you mean `egress_gb`?")),
            ("valeus: {}\n", rules::USAGE_KEY, 1, Some("did you mean `values`?")),
            ("values:\n  egress_gb: -1\n", rules::USAGE_VALUE, 2, None),
            ("values:\n  egress_gb: {low: 3, expected: 2, high: 4}\n", rules::USAGE_VALUE, 2, None),
            ("values:\n  egress_gb: {low: 1, high: 4}\n", rules::USAGE_VALUE, 2, None),
            (
                "values:\n  egress_gb: {low: 1, expected: 2, high: 99999999999999999999}\n",
                rules::USAGE_VALUE,
                2,
                None,
            ),
            ("values:\n  cdn_percent: 101\n", rules::USAGE_VALUE, 2, None),
            ("values: 3\n", rules::USAGE_VALUE, 1, None),
            ("base: web-ap\n", rules::UNKNOWN_USAGE, 1, None),
            ("schema: vrooli-deploy.usage/2\n", rules::USAGE_VALUE, 1, None),
            ("- a\n", rules::USAGE_VALUE, 1, None),
        ] {
            let checked = read(text);
            assert!(checked.value.is_none(), "{text}");
            let found = &checked.diagnostics[0];
            assert_eq!((found.code, found.labels[0].span.line), (code, line), "{text}");
            if let Some(help) = help {
                assert_eq!(found.help.as_deref(), Some(help));
            }
        }
    }
}
