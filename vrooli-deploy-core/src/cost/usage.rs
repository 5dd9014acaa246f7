//! What an app's users cause in a month: low, expected and high, each figure with its source.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::number::decimal;
use super::{Decimal, Metric};
use crate::diagnostics::{Checked, Code, Diagnostic, Severity, rules};
use crate::manifest::shape::{named, nearest};
use crate::manifest::yaml::{Document, SourceFile, child};

/// What a usage file's `schema` says.
pub const USAGE_SCHEMA: &str = "vrooli-deploy.usage/1";
const FAMILY: &str = "vrooli-deploy.usage/";
/// The profile that is used when nothing names one.
pub const DEFAULT_USAGE: &str = "web-app";

/// Which of the three values of a usage profile.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// A quiet month.
    Low,
    /// The month to plan with.
    #[default]
    Expected,
    /// A busy month.
    High,
}

impl Level {
    /// All of them, the smallest first.
    pub const ALL: [Self; 3] = [Self::Low, Self::Expected, Self::High];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Expected => "expected",
            Self::High => "high",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A value for each [`Level`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Levels<T> {
    /// In a quiet month.
    pub low: T,
    /// In the month to plan with.
    pub expected: T,
    /// In a busy month.
    pub high: T,
}

impl<T> Levels<T> {
    /// The value of a level.
    pub const fn at(&self, level: Level) -> &T {
        match level {
            Level::Low => &self.low,
            Level::Expected => &self.expected,
            Level::High => &self.high,
        }
    }

    /// One value for each level.
    ///
    /// # Errors
    /// The first that cannot be made.
    pub fn try_each<E>(mut make: impl FnMut(Level) -> Result<T, E>) -> Result<Self, E> {
        Ok(Self { low: make(Level::Low)?, expected: make(Level::Expected)?, high: make(Level::High)? })
    }
}

/// A figure of a usage profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Figure {
    /// What is billed by use.
    Metric(Metric),
    /// How often a new release takes over.
    DeploysPerMonth,
    /// How long two releases run side by side each time.
    OverlapMinutes,
    /// Behind a content delivery network: the share of [`Metric::EgressGb`] that it sends
    /// instead of the servers, unless the profile says [`Metric::CdnGb`] itself.
    CdnPercent,
}

/// A figure, its name in files, and how people read it.
struct Known {
    figure: Figure,
    name: &'static str,
    note: fn(&str) -> String,
}

const KNOWN: [Known; 15] = [
    Known {
        figure: Figure::Metric(Metric::EgressGb),
        name: "egress_gb",
        note: |n| format!("Bandwidth estimate based on {n}GB/month"),
    },
    Known {
        figure: Figure::Metric(Metric::CdnGb),
        name: "cdn_gb",
        note: |n| format!("Content delivery estimate based on {n}GB/month"),
    },
    Known {
        figure: Figure::Metric(Metric::RequestsMillions),
        name: "requests_millions",
        note: |n| format!("Request estimate based on {n} million/month"),
    },
    Known {
        figure: Figure::Metric(Metric::StorageGb),
        name: "storage_gb",
        note: |n| format!("Storage estimate based on {n}GB"),
    },
    Known {
        figure: Figure::Metric(Metric::StorageWritesMillions),
        name: "storage_writes_millions",
        note: |n| format!("Storage write estimate based on {n} million/month"),
    },
    Known {
        figure: Figure::Metric(Metric::StorageReadsMillions),
        name: "storage_reads_millions",
        note: |n| format!("Storage read estimate based on {n} million/month"),
    },
    Known {
        figure: Figure::Metric(Metric::LogsGb),
        name: "logs_gb",
        note: |n| format!("Log estimate based on {n}GB/month"),
    },
    Known {
        figure: Figure::Metric(Metric::BackupGb),
        name: "backup_gb",
        note: |n| format!("Backup estimate based on {n}GB beyond what is free"),
    },
    Known {
        figure: Figure::Metric(Metric::NatGb),
        name: "nat_gb",
        note: |n| format!("Address translation estimate based on {n}GB/month"),
    },
    Known {
        figure: Figure::Metric(Metric::RegistryGb),
        name: "registry_gb",
        note: |n| format!("Image registry estimate based on {n}GB"),
    },
    Known {
        figure: Figure::Metric(Metric::DnsQueriesMillions),
        name: "dns_queries_millions",
        note: |n| format!("Name service estimate based on {n} million queries/month"),
    },
    Known {
        figure: Figure::Metric(Metric::LoadBalancerUnits),
        name: "load_balancer_units",
        note: |n| format!("Load balancer estimate based on {n} capacity units on average"),
    },
    Known {
        figure: Figure::DeploysPerMonth,
        name: "deploys_per_month",
        note: |n| format!("Overlap estimate based on {n} deployments/month"),
    },
    Known {
        figure: Figure::OverlapMinutes,
        name: "overlap_minutes",
        note: |n| format!("Overlap estimate based on {n} minutes side by side each"),
    },
    Known {
        figure: Figure::CdnPercent,
        name: "cdn_percent",
        note: |n| format!("Content delivery estimate based on {n} % of the traffic"),
    },
];

impl Figure {
    fn known(self) -> Option<&'static Known> {
        KNOWN.iter().find(|known| known.figure == self)
    }

    /// Its name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.known().map_or("", |known| known.name)
    }

    /// The figure of that name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        KNOWN.iter().find(|known| known.name == name).map(|known| known.figure)
    }

    /// What an estimate assumed, as a sentence.
    pub(super) fn note(self, value: Decimal) -> String {
        self.known().map_or_else(String::new, |known| (known.note)(&value.normalize().to_string()))
    }
}

/// A figure's values and where they come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageValue {
    /// The values; low ≤ expected ≤ high, none negative.
    pub values: Levels<Decimal>,
    /// Where they come from, if not from the profile's source.
    pub source: Option<String>,
    /// Why these.
    pub rationale: Option<String>,
}

/// What an app's users cause in a month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageProfile {
    /// What it is called.
    pub name: String,
    /// A sentence about it.
    pub about: Option<String>,
    /// Where its figures come from.
    pub source: Option<String>,
    /// When that was looked at.
    pub as_of: Option<String>,
    values: BTreeMap<Figure, UsageValue>,
}

impl UsageProfile {
    /// The profile of that name that is part of the program.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        PROFILES.iter().find(|profile| profile.name == name)
    }

    /// Names of the profiles that are part of the program.
    pub fn names() -> impl Iterator<Item = &'static str> {
        PROFILES.iter().map(|profile| profile.name.as_str())
    }

    /// The profile of that name.
    ///
    /// # Errors
    /// `VD0409` with the nearest.
    pub fn find(name: &str) -> Result<&'static Self, Box<Diagnostic>> {
        Self::named(name).ok_or_else(|| {
            let near = nearest(name, Self::names());
            let near = near.map_or_else(String::new, |near| format!("did you mean `{near}`? "));
            let known = Self::names().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            Box::new(
                rules::UNKNOWN_USAGE
                    .diagnostic(format!("there is no usage profile `{name}`, and no file of that name"))
                    .help(format!("{near}give `low`, `expected`, `high`, a file, or one of {known}")),
            )
        })
    }

    /// A figure. `None` only for [`Metric::CdnGb`], which most profiles leave to
    /// [`Figure::CdnPercent`].
    #[must_use]
    pub fn value(&self, figure: Figure) -> Option<&UsageValue> {
        self.values.get(&figure)
    }

    /// The same with another value of a figure, for all levels or for each.
    ///
    /// # Errors
    /// `VD0408` when the values are negative or do not rise.
    pub fn with(mut self, figure: Figure, values: Levels<Decimal>) -> Result<Self, Box<Diagnostic>> {
        rising(figure.name(), &values).map_err(|why| Box::new(rules::USAGE_VALUE.diagnostic(why)))?;
        self.values.insert(figure, UsageValue { values, source: None, rationale: None });
        Ok(self)
    }

    /// Every figure that the profile has, by name.
    pub fn figures(&self) -> impl Iterator<Item = (&'static str, &UsageValue)> {
        self.values.iter().map(|(figure, value)| (figure.name(), value))
    }

    pub(super) fn at(&self, figure: Figure, level: Level) -> Option<Decimal> {
        self.values.get(&figure).map(|value| *value.values.at(level))
    }
}

fn rising(name: &str, values: &Levels<Decimal>) -> Result<(), String> {
    if values.low.is_sign_negative() && !values.low.is_zero() {
        return Err(format!("`{name}` must not be negative, and is {}", values.low));
    }
    if values.low > values.expected || values.expected > values.high {
        return Err(format!(
            "`{name}` must rise from low to high, and is {}, {}, {}",
            values.low, values.expected, values.high
        ));
    }
    Ok(())
}

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
    let mut reader = Reader { document: &document, known: &PROFILES, found: diagnostics };
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
                        let known: Vec<&str> = KNOWN.iter().map(|known| known.name).collect();
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

    fn read(text: &str) -> Checked<UsageProfile> {
        read_usage(Path::new("u.yaml"), text.to_owned())
    }

    #[test]
    fn the_profiles_of_the_program_have_every_figure() {
        assert_eq!(UsageProfile::names().collect::<Vec<_>>(), [DEFAULT_USAGE, "saas-workflow-document"]);
        for profile in PROFILES.iter() {
            for known in &KNOWN {
                let optional = known.figure == Figure::Metric(Metric::CdnGb);
                assert!(optional || profile.value(known.figure).is_some(), "{} {}", profile.name, known.name);
            }
            assert!(profile.source.is_some() && profile.as_of.is_some());
            for (name, value) in profile.figures() {
                assert!(value.rationale.is_some(), "{name}");
            }
        }
    }

    #[test]
    fn the_names_of_figures_are_those_of_metrics() {
        for known in &KNOWN {
            if let Figure::Metric(metric) = known.figure {
                assert_eq!(serde_json::to_value(metric).unwrap(), known.name);
            }
        }
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
